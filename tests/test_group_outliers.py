"""Sessions and sites that do not fit."""

from __future__ import annotations

import numpy as np

from spectra_bids.columns import OUTLIERS, names
from spectra_bids.group.outliers import outliers


def sizes(seed: int = 0, n: int = 20) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {bundle: 1 + 0.1 * rng.normal(size=n) for bundle in ("A", "B", "C")}


def test_a_session_with_a_wrong_bundle_is_flagged_and_the_bundle_named():
    made = sizes()
    made["B"][7] = 4.0
    found = outliers([f"sub-{k:02d}" for k in range(20)], {}, {"fa": made})
    assert list(found.columns) == names(OUTLIERS)
    first = found.iloc[0]
    assert (first["label"], first["worst_bundle"], first["flagged"]) == ("sub-07", "B", True)
    assert first["size"] == np.sqrt(np.mean([made[b][7] ** 2 for b in made]))
    assert found["flagged"].sum() == 1


def test_a_site_is_as_large_as_its_sessions():
    made = sizes()
    site = ["x"] * 5 + ["y"] * 5 + ["z"] * 10
    for bundle in made.values():
        bundle[5:10] *= 3
    found = outliers([str(k) for k in range(20)], {"site": site}, {"fa": made}).query("kind == 'site'")
    assert found["label"].tolist()[0] == "y"
    assert found["size"].iloc[0] > 2.5 * found["size"].iloc[1]


def test_who_has_no_residuals_has_no_size_and_no_flag():
    made = sizes()
    for bundle in made.values():
        bundle[3] = np.nan
    made["A"][4] = np.nan
    found = outliers([str(k) for k in range(20)], {}, {"fa": made}).set_index("label")
    assert np.isnan(found.loc["3", "size"])
    assert found.loc["3", "worst_bundle"] is None
    assert not found.loc["3", "flagged"]
    assert found.loc["4", "n_bundles"] == 2


def test_where_all_are_alike_nobody_is_flagged():
    same = {"A": np.ones(6), "B": np.ones(6)}
    found = outliers(list("abcdef"), {}, {"fa": same})
    assert not found["flagged"].any()
    assert (found["robust_z"] == 0).all()
