"""TreeBH: its authors' program, the paper's algorithm written out, two levels as before, properties."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import p_values, seeds

from spectra_bids.inference import hierarchical_fdr, tree_fdr

#: Three scalars of 3, 2 and 3 blocks; the last block has no valid cell.
P = np.r_[
    [0.0001, 0.004, 0.3, 0.02, 0.5, 0.0006, 0.8, 0.9, 0.03, 0.6, 0.2, 0.7, 0.04],
    [0.001, 0.02, 0.03, np.nan, 0.4, np.nan, np.nan],
]
SCALAR = np.repeat(["fa", "md", "rd"], [8, 5, 7])
BLOCK = np.repeat([1, 2, 3, 4, 5, 6, 7, 8], [3, 2, 3, 2, 3, 3, 2, 2])


def literal(p, scalar, block, q, combine=None):
    """The algorithm of Bogomolov et al. 2021, section 3, three levels, step by step: sets of what is selected.

    Step 1: Simes p values from the leaves up. Step 2: BH at q1 over the scalars. Step 3: for each selected one BH over
    its blocks at q2 x R1/m1. Step 4: for each block selected there BH over its cells at q3 x R1/m1 x R2/m2.
    """

    def simes(values):
        values = sorted(v for v in values if v == v)
        return min(len(values) * v / k for k, v in enumerate(values, 1)) if values else float("nan")

    def bh(values, level):
        """Keys that the step-up procedure rejects, of a dict key -> p without NaN, and their count."""
        ranked = sorted(values.values())
        k = max((i for i, v in enumerate(ranked, 1) if v <= level * i / len(ranked) * (1 + 1e-12)), default=0)
        return {key for key, v in values.items() if k and v <= ranked[k - 1]}

    cells = [(s, b, i) for i, (s, b) in enumerate(zip(scalar.tolist(), block.tolist(), strict=True))]
    p2 = {(s, b): simes([p[i] for t, c, i in cells if (t, c) == (s, b)]) for s, b, _ in cells}
    p1 = {s: simes([v for (t, _), v in p2.items() if t == s]) for s, _ in p2}
    p1, p2 = ({k: v for k, v in d.items() if v == v} for d in (p1, p2))
    top = bh(p1, q[0]) if p1 else set()
    blocks, leaves = set(), set()
    for s in top:
        family = {k: v for k, v in p2.items() if k[0] == s}
        share = len(top) / len(p1)
        chosen = bh(family, q[1] * share)
        blocks |= chosen
        for key in chosen:
            own = {i: p[i] for t, c, i in cells if (t, c) == key and p[i] == p[i]}
            leaves |= bh(own, q[2] * share * len(chosen) / len(family))
    return top, blocks, leaves


def selections(found):
    """The same sets of what `tree_fdr` found."""
    one, two = found.levels
    return (
        {label[0] for label, s in zip(one.labels, one.selected, strict=True) if s},
        {label for label, s in zip(two.labels, two.selected, strict=True) if s},
        set(np.flatnonzero(found.rejected[0]).tolist()),
    )


# Validation


def test_every_level_needs_its_error_rate():
    with pytest.raises(ValueError, match=r"one level for each of the 2 group levels\. Got 1"):
        tree_fdr(P, (SCALAR, BLOCK), (0.05,))


# The authors' program


@pytest.mark.parametrize(
    ("q", "scalars", "blocks", "cells"),
    [
        ((0.05, 0.05, 0.05), {"fa", "rd"}, {("fa", 1), ("fa", 3), ("rd", 6)}, {0, 1, 5, 13}),
        ((0.1, 0.05, 0.2), {"fa", "rd"}, {("fa", 1), ("fa", 3), ("rd", 6)}, {0, 1, 5, 13, 14, 15}),
    ],
)
def test_three_levels_are_those_of_the_r_package_treebh(q, scalars, blocks, cells):
    # R: s <- rep(1:3, c(8, 5, 7)); b <- rep(1:8, c(3, 2, 3, 2, 3, 3, 2, 2));
    #    TreeBH::get_TreeBH_selections(p, cbind(s, b, 1:20), q = c(.05, .05, .05)); then q = c(.1, .05, .2)
    found = tree_fdr(P, (SCALAR, BLOCK), q[:2], q[2])
    assert selections(found) == (scalars, blocks, cells)
    np.testing.assert_allclose(found.levels[0].p, [9e-4, 0.12, 0.006], rtol=1e-12)
    np.testing.assert_allclose(found.levels[1].p, [3e-4, 0.04, 0.0018, 0.06, 0.12, 0.003, 0.4, np.nan], rtol=1e-12)


def test_with_one_group_level_the_toy_and_the_study_of_treebh_come_out_exactly(shared_data):
    for name, group, expected in (("toy", "group", "sel_leaf"), ("sarica_fa", "tractID", "treebh_node")):
        table = pd.read_csv(shared_data / f"oracles/{name}_TreeBH.csv")
        found = tree_fdr(table.p.to_numpy(), (table[group].to_numpy(),), (0.05,), 0.05)
        assert found.rejected[0].astype(int).tolist() == table[expected].tolist()


def test_one_scalar_above_the_study_changes_nothing_and_a_second_null_one_halves_the_levels(shared_data):
    table = pd.read_csv(shared_data / "oracles/sarica_fa_TreeBH.csv")
    p, tract = table.p.to_numpy(), table.tractID.to_numpy()
    alone = tree_fdr(p, (np.full(len(p), "fa"), tract), (0.05, 0.05), 0.05)
    assert alone.rejected[0].astype(int).tolist() == table.treebh_node.tolist()
    null = np.linspace(0.06, 1, len(p))
    both = tree_fdr(np.r_[p, null], (np.repeat(["fa", "md"], len(p)), np.r_[tract, tract]), (0.05, 0.05), 0.05)
    assert both.levels[0].selected.tolist() == [True, False]
    halved = tree_fdr(p, (np.full(len(p), "fa"), tract), (0.05, 0.025), 0.025)
    assert both.rejected[0][: len(p)].tolist() == halved.rejected[0].tolist()


# The paper's algorithm


@st.composite
def trees(draw):
    p = draw(p_values())
    n = len(p)
    return p, *(np.array(draw(st.lists(st.integers(0, k), min_size=n, max_size=n)), dtype=object) for k in (2, 3))


@settings(max_examples=150, deadline=None)
@given(trees(), st.tuples(*[st.sampled_from([0.01, 0.05, 0.1, 0.3])] * 3))
def test_three_levels_are_the_algorithm_of_the_paper_written_out(tree, q):
    p, scalar, block = tree
    found = tree_fdr(p, (scalar, block), q[:2], q[2])
    near = [abs(level.q - a) < 1e-12 for level, a in zip(found.levels, q[:2], strict=True)]
    if any(n.any() for n in near) or (np.abs(found.q - q[2]) < 1e-12).any():
        return  # either side is right there
    assert selections(found) == literal(p, scalar, block, q)


# Properties


@settings(max_examples=80, deadline=None)
@given(trees(), st.sampled_from(["simes", "acat", "gates"]))
def test_without_a_level_above_it_is_hierarchical_fdr(tree, method):
    p, _, block = tree
    correlations = {b: 0.5 ** np.abs(np.subtract.outer(*[np.arange((block == b).sum())] * 2)) for b in set(block)}
    tupled = {(b,): r for b, r in correlations.items()}
    two = hierarchical_fdr(p, block, 0.1, (0.05, 0.2), method, correlations)
    found = tree_fdr(p, (block,), (0.1,), (0.05, 0.2), method, tupled)
    np.testing.assert_array_equal(found.levels[0].p, two.p_block)
    np.testing.assert_array_equal(found.levels[0].selected, two.selected)
    np.testing.assert_allclose(found.q, two.q, rtol=1e-12)
    np.testing.assert_array_equal(found.rejected, two.rejected)
    np.testing.assert_array_equal(found.q_cell, two.q_cell)


@settings(max_examples=60, deadline=None)
@given(trees(), seeds)
def test_nothing_is_rejected_below_what_is_not_selected_and_order_does_not_matter(tree, seed):
    p, scalar, block = tree
    found = tree_fdr(p, (scalar, block), (0.1, 0.1), 0.1)
    one, two = found.levels
    assert (two.selected <= one.selected[two.parent]).all()
    assert (found.rejected[0] <= two.selected[found.node]).all()
    assert not found.rejected[0, np.isnan(p)].any()
    shuffle = np.random.default_rng(seed).permutation(len(p))
    again = tree_fdr(p[shuffle], (scalar[shuffle], block[shuffle]), (0.1, 0.1), 0.1)
    assert again.levels[1].labels == two.labels
    np.testing.assert_array_equal(again.q, found.q[shuffle])


def test_blocks_of_one_name_in_two_scalars_are_two_blocks():
    p = np.array([0.001, 0.002, 0.7, 0.8])
    found = tree_fdr(p, (np.array(["fa", "fa", "md", "md"]), np.full(4, "AF")), (0.05, 0.05))
    assert found.levels[1].labels == (("fa", "AF"), ("md", "AF"))
    assert found.rejected[0].tolist() == [True, True, False, False]


def test_no_cells_are_no_decisions():
    empty = np.array([], dtype=object)
    found = tree_fdr(np.zeros(0), (empty, empty), (0.05, 0.05))
    assert found.rejected.shape == (1, 0)
    assert found.levels[0].labels == ()
