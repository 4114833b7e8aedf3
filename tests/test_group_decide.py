"""group.decide: fits become decisions family by family; the worked example, and clusters where they were put."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spectra_bids.columns import BLOCKS, CLUSTERS, SUMMARY, names
from spectra_bids.group.decide import decide, find_clusters, level_column
from spectra_bids.settings import GroupSettings, RunSettings

NAN = float("nan")
#: METHODS 5.2: two blocks of four selected, at both levels .05.
EXAMPLE = {
    "A": [0.001, 0.004, 0.03, 0.2, 0.6],
    "B": [0.02, 0.3, 0.5, 0.9],
    "C": [0.0004, 0.7, 0.8],
    "D": [0.4, 0.6, NAN],
}


def settings(**options) -> GroupSettings:
    return GroupSettings(RunSettings(Path("in"), Path("out")), "value ~ group", **options)


def family(blocks: dict[str, list[float]], scalar: str = "fa", contrast: str = "group") -> pd.DataFrame:
    """Rows of fits in 1D: nodes in a row, estimates falling along the bundle."""
    rows = [
        {"bundle": b, "scalar": scalar, "contrast": contrast, "s": s, "s_mm": 5.0 * s, "x_mm": 1.0 * s, "y_mm": 0.0,
         "z_mm": 0.0, "statistic": "t", "estimate": -0.1, "value": -3.0, "p": p}
        for b, values in blocks.items() for s, p in enumerate(values)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_the_worked_example_comes_out_exactly():
    found = decide(family(EXAMPLE), settings())
    blocks = found.blocks.set_index("block")
    np.testing.assert_allclose(blocks["p_block"], [0.005, 0.08, 0.0012, 0.6])
    np.testing.assert_allclose(blocks["q_block"], [0.01, 0.32 / 3, 0.0048, 0.6])
    assert list(blocks["selected"]) == [True, False, True, False]
    assert list(blocks["n_valid"]) == [5, 4, 3, 2]
    assert list(blocks["n_cells"]) == [5, 4, 3, 3]
    assert list(blocks["n_rejected"]) == [2, 0, 1, 0]
    stats = found.stats.set_index(["bundle", "s"])
    assert list(stats.index[stats["rejected"]]) == [("A", 0), ("A", 1), ("C", 0)]
    np.testing.assert_allclose(stats.loc["A", "q"], [0.01, 0.02, 0.1, 0.5, 1])
    np.testing.assert_allclose(stats.loc["C", "q"], [0.0024, 1, 1])
    assert stats.loc["B", "q"].isna().all()
    summary = found.summary.iloc[0]
    assert (summary["n_blocks"], summary["n_selected"], summary["n_rejected"]) == (4, 2, 3)


def test_families_do_not_touch_each_other():
    strong = family({"A": [1e-9] * 50}, contrast="age")
    other = family(EXAMPLE, scalar="md")
    alone, together = (
        decide(family(EXAMPLE), settings()),
        decide(pd.concat([family(EXAMPLE), strong, other]), settings()),
    )
    mine = together.stats.query("scalar == 'fa' and contrast == 'group'").reset_index(drop=True)
    pd.testing.assert_frame_equal(mine, alone.stats)
    assert len(together.summary) == 3


def test_tables_have_their_columns_even_where_nothing_is_found():
    nothing = decide(family({"A": [0.5, 0.6], "B": [NAN, NAN]}), settings())
    assert list(nothing.blocks.columns) == names(BLOCKS)
    assert list(nothing.summary.columns) == names(SUMMARY)
    assert list(nothing.clusters.columns) == names(CLUSTERS)
    assert len(nothing.clusters) == 0
    assert nothing.blocks.set_index("block").loc["B", "n_valid"] == 0
    assert nothing.summary["n_blocks"].iloc[0] == 1
    assert not nothing.stats["rejected"].any()


def test_a_family_without_any_p_value_is_a_row_that_says_so():
    found = decide(family({"A": [NAN, NAN]}), settings())
    assert found.summary["n_valid"].iloc[0] == 0
    assert np.isnan(found.summary["p_min"].iloc[0])


def test_a_sweep_widens_and_marks_itself_exploratory():
    found = decide(family(EXAMPLE), settings(alpha_cell=(0.05, 0.15, 0.5)))
    assert list(found.summary["alpha_cell"]) == [0.05, 0.15, 0.5]
    assert list(found.summary["n_rejected"]) == [3, 4, 5]
    assert list(found.summary["exploratory"]) == [False, True, True]
    assert found.stats["rejected_ac15"].sum() == 4
    assert found.stats["rejected_ac50"].sum() == 5


@pytest.mark.parametrize(
    ("alpha", "column"),
    [(0.05, "rejected_ac05"), (0.15, "rejected_ac15"), (0.5, "rejected_ac50"), (0.025, "rejected_ac025")],
)
def test_the_column_of_a_level_names_it(alpha, column):
    assert level_column(alpha) == column


def test_plain_fdr_has_one_level_and_no_blocks_to_select():
    found = decide(family(EXAMPLE), settings(stats_mode="fdr", alpha=0.05, alpha_cell=(0.05, 0.2)))
    assert found.summary["mode"].tolist() == ["fdr (BH)"]
    assert np.isnan(found.summary["alpha_block"].iloc[0])
    assert found.stats["rejected"].sum() == 3
    assert found.stats["block_selected"].isna().all()
    adaptive = decide(family(EXAMPLE), settings(stats_mode="fdr", adaptive=True))
    assert adaptive.summary["mode"].tolist() == ["fdr (BKY)"]


def rejected(cells: list[tuple[str, int, int, float, float]]) -> pd.DataFrame:
    rows = [
        {"bundle": b, "scalar": "fa", "contrast": "group", "s": s, "r": r, "p": p, "q": 2 * p, "rejected": p < 0.05,
         "value": v, "estimate": v / 10, "statistic": "t", "x_mm": 10.0 * s, "y_mm": 1.0 * r, "z_mm": 3.0}
        for b, s, r, p, v in cells
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_clusters_are_ranked_over_bundles_and_placed_by_weight():
    strong = [("B", 3, 0, 1e-6, -9), ("B", 4, 0, 1e-2, -3), ("B", 4, 1, 1e-4, -5)]
    found = find_clusters(rejected([("A", 0, 0, 0.01, 2), ("A", 1, 0, 0.5, 0), ("A", 2, 0, 0.01, 2), *strong]))
    assert [(c["bundle"], c["cluster"], c["n_cells"]) for c in found] == [("B", 1, 3), ("A", 2, 1), ("A", 3, 1)]
    first = found[0]
    assert first["weight"] == pytest.approx(12)
    assert first["x_mm"] == pytest.approx((6 * 30 + 2 * 40 + 4 * 40) / 12)
    assert first["y_mm"] == pytest.approx(4 / 12)
    assert (first["s_low"], first["s_high"], first["r_low"], first["r_high"]) == (3, 4, 0, 1)
    assert first["direction"] == "-"
    assert (first["p_peak"], first["value_peak"], first["estimate_peak"]) == (1e-6, -9, -0.9)
    assert found[1]["direction"] == "+"


def test_a_p_value_of_zero_has_a_finite_weight():
    (cluster,) = find_clusters(rejected([("A", 0, 0, 0.0, 40), ("A", 1, 0, 0.01, 3)]))
    assert np.isfinite(cluster["weight"])
    assert cluster["x_mm"] == pytest.approx(0, abs=0.1)


def test_an_f_test_has_no_direction():
    cells = rejected([("A", 0, 0, 0.001, 9)]).assign(statistic="F", estimate=NAN)
    assert find_clusters(cells)[0]["direction"] == "n/a"
