"""Decisions: the published procedure's worked example and programs, statsmodels, properties, clusters by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests
from strategies import p_values, seeds

from spectra_bids.inference import bh_adjust, bky_reject, clusters, combine, fdr, hierarchical_fdr, simes

#: METHODS of the procedure: four blocks of 5, 4, 3 and 3 cells, one of them not tested.
EXAMPLE = {
    "A": [0.001, 0.004, 0.03, 0.2, 0.6],
    "B": [0.02, 0.3, 0.5, 0.9],
    "C": [0.0004, 0.7, 0.8],
    "D": [0.4, 0.6, np.nan],
}


def flat(blocks: dict[str, list[float]]) -> tuple[np.ndarray, np.ndarray]:
    """p values and block labels."""
    return np.concatenate(list(blocks.values())), np.repeat(list(blocks), [len(p) for p in blocks.values()])


@st.composite
def families(draw):
    p = draw(p_values())
    return p, np.array(draw(st.lists(st.sampled_from("ABCDE"), min_size=len(p), max_size=len(p))))


def step_up(p: np.ndarray, alpha: float) -> np.ndarray:
    """BH as its authors wrote it: reject the k smallest, k the largest with p_(k) <= k alpha / m."""
    valid = p[np.isfinite(p)]
    line = np.sort(valid) <= alpha * np.arange(1, len(valid) + 1) / max(1, len(valid))
    k = np.flatnonzero(line)[-1] + 1 if line.any() else 0
    return (p <= np.sort(valid)[k - 1]) if k else np.zeros(len(p), bool)


# Published and computed examples


def test_the_worked_example_of_two_levels_comes_out_to_the_last_digit():
    p, blocks = flat(EXAMPLE)
    found = hierarchical_fdr(p, blocks, 0.05, 0.05)
    assert found.blocks.tolist() == ["A", "B", "C", "D"]
    np.testing.assert_allclose(found.p_block, [0.005, 0.08, 0.0012, 0.6], rtol=1e-12)
    np.testing.assert_allclose(found.q_block, [0.01, 0.32 / 3, 0.0048, 0.6], rtol=1e-12)
    assert found.selected.tolist() == [True, False, True, False]
    assert np.flatnonzero(found.rejected[0]).tolist() == [0, 1, 9]
    q = {b: found.q[blocks == b] for b in "ABCD"}
    np.testing.assert_allclose(q["A"], [0.01, 0.02, 0.1, 0.5, 1], rtol=1e-12)
    np.testing.assert_allclose(q["C"], [0.0024, 1, 1], rtol=1e-12)
    assert np.isnan(np.r_[q["B"], q["D"]]).all()
    assert found.block_selected.tolist() == [b in "AC" for b in blocks]


def test_the_toy_of_the_r_package_treebh_comes_out_exactly(shared_data):
    table = pd.read_csv(shared_data / "oracles/toy_TreeBH.csv")
    found = hierarchical_fdr(table.p.to_numpy(), table.group.to_numpy(), 0.05, 0.05)
    selected = dict(zip(found.blocks, found.selected, strict=True))
    expected = table.groupby("group").sel_group.max()
    assert {g: int(s) for g, s in selected.items()} == expected.to_dict()
    assert found.rejected[0].astype(int).tolist() == table.sel_leaf.tolist()


def test_treebh_on_twenty_tracts_of_a_real_study_comes_out_exactly(shared_data):
    table = pd.read_csv(shared_data / "oracles/sarica_fa_TreeBH.csv")
    found = hierarchical_fdr(table.p.to_numpy(), table.tractID.to_numpy(), 0.05, 0.05)
    tracts = table.groupby("tractID")[["treebh_tract", "simes_tract"]].max()
    assert found.blocks.tolist() == tracts.index.tolist()
    np.testing.assert_allclose(found.p_block, tracts.simes_tract, rtol=1e-12)
    assert found.selected.tolist() == (tracts.treebh_tract == 1).tolist()
    assert found.blocks[found.selected].tolist() == ["Right Corticospinal"]
    assert found.rejected[0].tolist() == (table.treebh_node == 1).tolist()
    assert found.rejected.sum() == 16


def test_r_p_adjust_on_the_same_study_comes_out_exactly(shared_data):
    table = pd.read_csv(shared_data / "oracles/sarica_fa_TreeBH.csv")
    within = fdr(table.p.to_numpy(), table.tractID.to_numpy())
    np.testing.assert_allclose(within.q, table.p_BH, rtol=1e-12)


# statsmodels


@settings(max_examples=150, deadline=None)
@given(p_values(), st.sampled_from([0.01, 0.05, 0.2]))
def test_benjamini_hochberg_is_that_of_statsmodels_without_the_nan(p, alpha):
    keep = np.isfinite(p)
    q = bh_adjust(p)
    assert np.isnan(q[~keep]).all()
    if keep.any():
        _, expected, _, _ = multipletests(p[keep], alpha, "fdr_bh")
        np.testing.assert_allclose(q[keep], expected, rtol=1e-12, atol=1e-300)
    found = fdr(p, np.zeros(len(p)), alpha)
    rejected = found.rejected[0]
    close = np.abs(q - alpha) < 1e-12  # either side is right there
    assert (rejected == step_up(p, alpha))[~close].all()


@settings(max_examples=150, deadline=None)
@given(p_values(), st.sampled_from([0.01, 0.05, 0.2]))
def test_the_adaptive_procedure_is_that_of_statsmodels_without_the_nan(p, alpha):
    keep = np.isfinite(p)
    rejected, q = bky_reject(p, alpha)
    assert not rejected[~keep].any()
    assert np.isnan(q[~keep]).all()
    assert (rejected == (q <= alpha)).all()
    if keep.any():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it divides by the number of true nulls, which may be estimated as 0
            expected = multipletests(p[keep], alpha, "fdr_tsbky")[0]
        close = np.abs(q[keep] - alpha) < 1e-12
        assert (rejected[keep] == expected)[~close].all()


def test_the_adaptive_procedure_rejects_more_where_many_are_false():
    p = np.r_[np.full(60, 1e-4), np.linspace(0.02, 0.06, 20), np.linspace(0.1, 1, 20)]
    plain, adaptive = (fdr(p, np.zeros(100), 0.05, adaptive=a).rejected.sum() for a in (False, True))
    assert 60 < plain < adaptive < 100
    with_nan = fdr(np.r_[p, [np.nan] * 50], np.zeros(150), 0.05, adaptive=True)
    assert with_nan.rejected.sum() == adaptive
    assert not with_nan.rejected[0, 100:].any()


# Properties


@settings(max_examples=100, deadline=None)
@given(p_values(), seeds)
def test_adjusted_p_values_are_never_below_p_keep_its_order_and_ignore_the_order_of_cells(p, seed):
    q = bh_adjust(p)
    valid = np.isfinite(p)
    assert (q[valid] >= p[valid]).all()
    assert (q[valid] <= 1).all()
    order = np.argsort(p[valid], kind="stable")
    assert (np.diff(q[valid][order]) >= 0).all()
    shuffle = np.random.default_rng(seed).permutation(len(p))
    np.testing.assert_array_equal(bh_adjust(p[shuffle]), q[shuffle])


@settings(max_examples=100, deadline=None)
@given(p_values(nan=False), st.integers(0, 39), st.floats(0, 1))
def test_a_smaller_p_makes_no_adjusted_p_larger(p, at, factor):
    smaller = p.copy()
    smaller[at % len(p)] *= factor
    assert (bh_adjust(smaller) <= bh_adjust(p) * (1 + 1e-12)).all()
    assert simes(smaller) <= simes(p) * (1 + 1e-12)


@settings(max_examples=100, deadline=None)
@given(p_values())
def test_simes_lies_between_the_smallest_p_and_bonferroni_and_is_the_smallest_adjusted_p(p):
    valid = p[np.isfinite(p)]
    if not len(valid):
        assert np.isnan(simes(p))
        return
    assert valid.min() <= simes(p) <= len(valid) * valid.min()
    assert simes(p) == np.nanmin(bh_adjust(p))


@settings(max_examples=100, deadline=None)
@given(families(), seeds, st.sampled_from([0.01, 0.05, 0.3]), st.sampled_from([0.01, 0.05, 0.3]))
def test_two_levels_are_what_the_definition_says_step_by_step(family, seed, alpha_block, alpha_cell):
    p, blocks = family
    found = hierarchical_fdr(p, blocks, alpha_block, alpha_cell)
    names = sorted(set(blocks))
    assert found.blocks.tolist() == names
    combined = np.array([simes(p[blocks == b]) for b in names])
    np.testing.assert_array_equal(found.p_block, combined)
    chosen = step_up(combined, alpha_block)
    close = np.abs(found.q_block - alpha_block) < 1e-12
    assert (found.selected == chosen)[~close].all()
    m, r = np.isfinite(combined).sum(), found.selected.sum()
    for name, selected in zip(names, found.selected, strict=True):
        cells = blocks == name
        rejected = found.rejected[0, cells]
        if not selected:
            assert not rejected.any()
            assert np.isnan(found.q[cells]).all()
            continue
        tight = np.abs(found.q[cells] - alpha_cell) < 1e-12
        assert (rejected == step_up(p[cells], alpha_cell * r / m))[~tight].all()
        np.testing.assert_allclose(found.q[cells], np.minimum(1, found.q_cell[cells] * m / r), rtol=1e-12, atol=1e-300)
    shuffle = np.random.default_rng(seed).permutation(len(p))
    again = hierarchical_fdr(p[shuffle], blocks[shuffle], alpha_block, alpha_cell)
    np.testing.assert_array_equal(again.q, found.q[shuffle])
    np.testing.assert_array_equal(again.rejected[0], found.rejected[0][shuffle])


@settings(max_examples=60, deadline=None)
@given(families())
def test_nan_is_never_rejected_and_its_removal_changes_nothing(family):
    p, blocks = family
    keep = np.isfinite(p)
    for decide in (
        lambda p, b: hierarchical_fdr(p, b, 0.3, 0.3),
        lambda p, b: fdr(p, b, 0.3),
        lambda p, b: fdr(p, b, 0.3, adaptive=True),
    ):
        found = decide(p, blocks)
        assert not found.rejected[:, ~keep].any()
        assert np.isnan(found.q[~keep]).all()
        assert np.isnan(found.q_cell[~keep]).all()
        without = decide(p[keep], blocks[keep])
        np.testing.assert_array_equal(without.q, found.q[keep])
        np.testing.assert_array_equal(without.rejected, found.rejected[:, keep])


@settings(max_examples=60, deadline=None)
@given(families())
def test_several_cell_levels_are_what_one_at_a_time_gives_and_grow(family):
    p, blocks = family
    levels = (0.05, 0.15, 0.25)
    found = hierarchical_fdr(p, blocks, 0.1, levels)
    assert found.rejected.shape == (3, len(p))
    for row, level in zip(found.rejected, levels, strict=True):
        np.testing.assert_array_equal(row, hierarchical_fdr(p, blocks, 0.1, level).rejected[0])
    assert (found.rejected[0] <= found.rejected[1]).all()
    assert (found.rejected[1] <= found.rejected[2]).all()


@pytest.mark.parametrize("method", ["acat", "bonferroni", "minp-galwey", "gates"])
def test_blocks_may_be_combined_otherwise_and_the_rest_stays_as_it_is(method):
    p, blocks = flat(EXAMPLE)
    correlations = {b: 0.6 ** np.abs(np.subtract.outer(*[np.arange(len(v))] * 2)) for b, v in EXAMPLE.items()}
    found = hierarchical_fdr(p, blocks, 0.05, 0.05, method, correlations)
    expected = [combine(np.array(v), method, correlations[b]) for b, v in EXAMPLE.items()]
    np.testing.assert_allclose(found.p_block, expected, rtol=1e-12)
    assert found.selected.tolist() == [True, False, True, False]
    plain = hierarchical_fdr(p, blocks)
    np.testing.assert_array_equal(found.q, plain.q)
    np.testing.assert_array_equal(found.rejected, plain.rejected)


def test_a_combination_that_needs_correlations_says_so():
    p, blocks = flat(EXAMPLE)
    with pytest.raises(ValueError, match="'gates' needs the correlation"):
        hierarchical_fdr(p, blocks, combination="gates")


def test_every_block_selected_leaves_the_cell_level_as_it_is():
    p, blocks = flat({"A": [0.001, 0.04], "B": [0.002, 0.03]})
    found = hierarchical_fdr(p, blocks)
    np.testing.assert_array_equal(found.q, found.q_cell)
    assert found.rejected[0].all()


def test_a_block_without_a_valid_cell_is_no_hypothesis():
    p, blocks = flat({"A": [0.02, 0.03], "Z": [np.nan, np.nan]})
    found = hierarchical_fdr(p, blocks)
    assert found.blocks.tolist() == ["A", "Z"]
    np.testing.assert_allclose(found.q_block, [0.03, np.nan])
    assert found.selected.tolist() == [True, False]
    assert found.rejected[0].tolist() == [True, True, False, False]


@pytest.mark.parametrize("p", [[], [np.nan, np.nan]])
def test_a_family_without_hypotheses_rejects_none(p):
    p = np.array(p, float)
    for found in (hierarchical_fdr(p, np.array(["A"] * len(p))), fdr(p, np.array(["A"] * len(p)), adaptive=True)):
        assert found.rejected.shape == (1, len(p))
        assert not found.rejected.any()
        assert not found.selected.any()


def test_fdr_reports_blocks_that_hold_a_rejected_cell():
    p, blocks = flat(EXAMPLE)
    found = fdr(p, blocks, 0.05)
    assert found.rejected[0].tolist() == step_up(p, 0.05).tolist()
    assert np.flatnonzero(found.rejected[0]).tolist() == [0, 1, 9]
    assert found.selected.tolist() == [True, False, True, False]
    np.testing.assert_allclose(found.p_block, [0.005, 0.08, 0.0012, 0.6])


# Clusters


def test_rejected_cells_that_touch_also_at_a_corner_are_one_cluster():
    picture = ["##..#", "...#.", ".....", "#..##"]
    s, r = np.array([(i, j) for i in range(4) for j in range(5)]).T
    rejected = np.array([picture[i][j] == "#" for i, j in zip(s, r, strict=True)])
    labels = clusters(s, r, rejected).reshape(4, 5)
    assert labels.tolist() == [[1, 1, 0, 0, 2], [0, 0, 0, 2, 0], [0, 0, 0, 0, 0], [3, 0, 0, 4, 4]]


def test_along_a_tract_clusters_are_runs_whatever_the_order_and_gaps_of_the_rows():
    s = np.array([7, 1, 2, 5, 6, 9])  # node 3, 4 and 8 are not in the grid
    rejected = np.array([True, True, True, False, True, True])
    assert clusters(s, None, rejected).tolist() == [2, 1, 1, 0, 2, 3]


def test_nothing_rejected_is_no_cluster():
    s = np.arange(4)
    assert clusters(s, s, np.zeros(4, bool)).tolist() == [0, 0, 0, 0]
    assert clusters(np.zeros(0, np.int64), None, np.zeros(0, bool)).tolist() == []


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_clusters_are_the_connected_components_of_touching_cells(seed):
    rng = np.random.default_rng(seed)
    s, r = (x.ravel() for x in np.meshgrid(np.arange(7), np.arange(5), indexing="ij"))
    keep = rng.random(35) < 0.8
    s, r = s[keep], r[keep]
    rejected = rng.random(len(s)) < 0.4
    labels = clusters(s, r, rejected)
    assert ((labels > 0) == rejected).all()
    group = np.where(rejected, np.arange(len(s)), -1)
    for _ in range(len(s)):  # spread the smallest number to every neighbour until nothing changes
        for a in np.flatnonzero(rejected):
            near = rejected & (np.abs(s - s[a]) <= 1) & (np.abs(r - r[a]) <= 1)
            group[a] = group[near].min()
    same_label = labels[:, None] == labels[None, :]
    same_group = group[:, None] == group[None, :]
    np.testing.assert_array_equal(same_label[np.ix_(rejected, rejected)], same_group[np.ix_(rejected, rejected)])
