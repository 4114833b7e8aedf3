"""group.decide: fits become decisions family by family; the worked example, and clusters where they were put."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from spectra_bids.columns import BLOCKS, CLUSTERS, SUMMARY, names
from spectra_bids.group.decide import decide, level_column
from spectra_bids.settings import DecisionSettings

NAN = float("nan")
#: METHODS 5.2: two blocks of four selected, at both levels .05.
EXAMPLE = {
    "A": [0.001, 0.004, 0.03, 0.2, 0.6],
    "B": [0.02, 0.3, 0.5, 0.9],
    "C": [0.0004, 0.7, 0.8],
    "D": [0.4, 0.6, NAN],
}


def settings(**options) -> DecisionSettings:
    return DecisionSettings(**options)


def family(blocks: dict[str, list[float]], scalar: str = "fa", contrast: str = "group") -> pd.DataFrame:
    """Rows of fits in 1D: nodes in a row, estimates falling along the bundle."""
    rows = [
        {"bundle": b, "scalar": scalar, "contrast": contrast, "s": s, "s_mm": 5.0 * s, "x_mm": 1.0 * s, "y_mm": 0.0,
         "z_mm": 0.0, "statistic": "t", "estimate": -0.1, "estimate_std": -0.5, "se": 0.04, "df": 40.0,
         "value": -3.0, "p": p}
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
    found = decide(family(EXAMPLE), settings(mode="fdr", alpha=0.05, alpha_cell=(0.05, 0.2)))
    assert found.summary["mode"].tolist() == ["fdr (BH)"]
    assert np.isnan(found.summary["alpha_block"].iloc[0])
    assert found.stats["rejected"].sum() == 3
    assert found.stats["block_selected"].isna().all()
    adaptive = decide(family(EXAMPLE), settings(mode="fdr", adaptive=True))
    assert adaptive.summary["mode"].tolist() == ["fdr (BKY)"]


class Stored:
    """Evidence of a map step, given by hand."""

    def __init__(self, correlation=None, permuted=None, labels=None):
        self._correlation, self._permuted, self._labels = correlation, permuted, labels

    def correlations(self, scalar):
        return self._correlation

    def permuted(self, scalar, contrast):
        return self._permuted

    def blocks(self, cells):
        return np.array(self._labels, dtype=object)


def test_blocks_of_a_file_replace_bundles_and_what_is_in_none_is_not_tested():
    labels = ["x", "x", "y", "y", "y", "x", "x", "x", "x", "", "", "", "", "", ""]
    found = decide(family(EXAMPLE), settings(block_file="blocks.tsv"), Stored(labels=labels))
    blocks = found.blocks.set_index("block")
    assert list(blocks.index) == ["x", "y"]
    assert blocks.loc["x", "bundle"] == "A, B"
    assert found.summary["n_valid"].iloc[0] == 9
    assert found.summary["n_cells"].iloc[0] == 15
    outside = found.stats[found.stats["block"].isna()]
    assert outside["p"].notna().sum() == 5
    assert outside["q"].isna().all()
    assert not outside["rejected"].any()
    x = np.sort([0.001, 0.004, 0.02, 0.3, 0.5, 0.9])
    assert blocks.loc["x", "p_block"] == pytest.approx(np.min(6 * x / np.arange(1, 7)))


def test_resels_cut_a_bundle_by_the_smoothness_of_its_residuals():
    rho = np.exp(-2 * np.log(2) / 4**2)  # a full width at half maximum of four nodes
    s = np.arange(12)
    correlation = rho ** ((s[:, None] - s) ** 2)
    p = [0.001, 0.002, 0.003, 0.004, *([0.5] * 8)]
    found = decide(
        family({"A": p, "B": [0.5] * 12}), settings(mode="hfdr_resel"), Stored({"A": correlation, "B": correlation})
    )
    assert found.stats.groupby("bundle", sort=False)["block"].nunique().tolist() == [3, 3]
    chosen = found.blocks[found.blocks["selected"]]
    assert chosen["block"].tolist() == ["A resel 0"]
    assert found.stats.loc[found.stats["rejected"], "s"].tolist() == [0, 1, 2, 3]
    assert found.summary["mode"].iloc[0] == "hfdr_resel"


def test_a_combination_that_needs_the_correlation_gets_that_of_the_block():
    p = {"A": [0.01, 0.01, 0.01, 0.01]}
    same, apart = np.ones((4, 4)), np.eye(4)
    dependent = decide(family(p), settings(combination="minp-galwey"), Stored({"A": same}))
    independent = decide(family(p), settings(combination="minp-galwey"), Stored({"A": apart}))
    assert dependent.blocks["p_block"].iloc[0] == pytest.approx(0.01)
    assert independent.blocks["p_block"].iloc[0] == pytest.approx(1 - 0.99**4)
    assert independent.summary["mode"].iloc[0] == "hfdr (minp-galwey)"


def test_permutation_compares_with_the_family_and_does_not_touch_p():
    fwe = np.array([0.01, 0.2, 0.04, 1.0])
    found = decide(
        family({"A": [0.001, 0.02], "B": [0.003, NAN]}), settings(mode="perm"), Stored(permuted=(fwe, fwe / 10))
    )
    assert found.stats["rejected"].tolist() == [True, False, True, False]
    assert found.stats["p"].iloc[0] == 0.001
    np.testing.assert_allclose(found.stats["q"], [0.01, 0.2, 0.04, NAN])
    np.testing.assert_allclose(found.stats["q_cell"], [0.001, 0.02, 0.004, NAN])
    assert found.blocks.set_index("block")["p_block"].to_dict() == {"A": 0.01, "B": 0.04}
    assert found.blocks["n_valid"].tolist() == [2, 1]
    assert found.summary["mode"].iloc[0] == "perm (tfce)"


def test_a_level_over_scalars_closes_those_that_are_not_selected():
    two = pd.concat([family({"A": [0.0001, 0.001], "B": [0.6, 0.7]}, "fa"), family({"A": [0.04, 0.05]}, "md")])
    apart, together = decide(two, settings()), decide(two, settings(alpha_scalar=0.05))
    assert together.summary["scalar_selected"].tolist() == [True, True]
    assert apart.summary["scalar_selected"].isna().all()
    weak = pd.concat([family({"A": [0.0001, 0.001], "B": [0.6, 0.7]}, "fa"), family({"A": [0.06, 0.9]}, "md")])
    found = decide(weak, settings(alpha_scalar=0.05))
    assert found.summary.set_index("scalar")["scalar_selected"].to_dict() == {"fa": True, "md": False}
    assert not found.stats.query("scalar == 'md'")["rejected"].any()
    # One of two scalars is selected: the levels below are halved.
    mine = found.stats.query("scalar == 'fa' and bundle == 'A'")
    one = apart.stats.query("scalar == 'fa' and bundle == 'A'")
    np.testing.assert_allclose(mine["q"], 2 * one["q"])


def test_the_detectable_effect_follows_the_realised_threshold():
    found = decide(family(EXAMPLE), settings()).stats.set_index(["bundle", "s"])
    # A: the largest rejected p is .004. D: not selected; one cell must bring its block and itself below their levels.
    assert found.loc[("A", 2), "threshold"] == 0.004
    assert found.loc[("D", 0), "threshold"] == pytest.approx(0.05 * 3 / (4 * 2))
    assert np.isnan(found.loc[("D", 2), "mde"])
    assert (found["mde_std"] / found["mde"]).dropna().unique() == pytest.approx(5)
    loose, strict = found.loc[("D", 0), "mde"], found.loc[("A", 0), "mde"]
    assert 2 * 0.04 < loose < strict < 5 * 0.04
