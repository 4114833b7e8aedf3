"""group.sites: site columns are known by name; a shift of one site is found where it was planted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control, kruskal

from spectra_bids.group.sites import compare_sites, session_means, site_like


@pytest.mark.parametrize("name", ["site", "Site", "scanner", "site_id", "ScannerModel", "center", "manufacturer"])
def test_columns_of_a_sites_name_are_found(name):
    assert list(site_like(pd.DataFrame({name: ["a", "b", None], "group": ["x", "y", "x"]}))) == [name]


@pytest.mark.parametrize("name", ["group", "age", "sex", "opposite", "website_visits", "participant_id"])
def test_other_columns_are_none(name):
    assert site_like(pd.DataFrame({name: ["a", "b", "a"]})) == {}


def test_numbers_are_levels_and_a_single_or_too_many_levels_are_no_sites():
    table = pd.DataFrame({"site": [1.0, 2.0, np.nan] * 40, "scanner": "a", "coil": [str(k) for k in range(120)]})
    found = site_like(table)
    assert list(found) == ["site"]
    assert set(found["site"]) == {"1", "2", None}


def test_means_make_up_for_missing_nodes():
    x = np.linspace(0.2, 0.8, 9) + np.arange(10)[:, None] * 0.01
    gaps = x.copy()
    gaps[3, :5] = np.nan
    np.testing.assert_allclose(session_means(x), x.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(session_means(gaps)[3], x[3].mean(), atol=5e-3)
    assert np.isnan(session_means(np.full((3, 4), np.nan))).all()


def test_boxes_and_tests_are_those_of_scipy_and_a_planted_shift_is_found_alone():
    rng = np.random.default_rng(0)
    levels = np.array([f"site{1 + k % 12}" for k in range(240)], dtype=object)
    levels[5] = None
    means = {("A", "fa"): rng.normal(size=240), ("B", "fa"): rng.normal(size=240), ("C", "fa"): np.full(240, np.nan)}
    means["B", "fa"][levels == "site2"] += 3
    table = compare_sites({"site": levels}, means)
    assert list(table["level"].unique())[:3] == ["site1", "site2", "site3"]
    one = table[(table["bundle"] == "B") & (table["level"] == "site2")].iloc[0]
    values = means["B", "fa"][levels == "site2"]
    np.testing.assert_allclose(one[["q1", "median", "q3"]].astype(float), np.quantile(values, [0.25, 0.5, 0.75]))
    assert one["n"] == 20
    tests = table.drop_duplicates("bundle").set_index("bundle")
    p = [kruskal(*(means[b, "fa"][levels == s] for s in table["level"].unique())).pvalue for b in "AB"]
    np.testing.assert_allclose(tests.loc[["A", "B"], "p"].astype(float), p)
    np.testing.assert_allclose(tests.loc[["A", "B"], "q"].astype(float), false_discovery_control(p))
    assert tests["q"]["B"] < 1e-6 < 0.05 < tests["q"]["A"]
    assert tests["share"]["B"] > 0.3
    assert tests["share"]["A"] < 0.1
    assert "C" not in tests.index


def test_without_levels_there_are_no_rows():
    assert compare_sites({"site": np.array([None, None])}, {("A", "fa"): np.array([1.0, 2.0])}).empty
    assert compare_sites({}, {("A", "fa"): np.array([1.0, 2.0])}).empty
