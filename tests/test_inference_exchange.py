"""Permutations: what may move moves, what may not stays, counts of what is possible, determinism."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds

from spectra_bids.inference import draw_permutations


def test_blocks_that_leave_nothing_to_permute_are_an_error():
    with pytest.raises(ValueError, match="nothing to permute"):
        draw_permutations(3, 10, 0, within=np.arange(3))
    with pytest.raises(ValueError, match="nothing to permute"):
        draw_permutations(3, 10, 0, whole=np.array([0, 0, 1]))  # of unequal size
    with pytest.raises(ValueError, match="nothing to permute"):
        draw_permutations(3, 10, 0, exchange=False)


def test_a_whole_block_across_blocks_is_an_error():
    with pytest.raises(ValueError, match=r"whole block 1 must lie in one block.*Got blocks \[0, 1\]"):
        draw_permutations(4, 10, 0, within=np.array([0, 0, 0, 1]), whole=np.array([0, 0, 1, 1]))


@settings(max_examples=50, deadline=None)
@given(seeds, st.integers(2, 5), st.integers(2, 8))
def test_within_blocks_every_row_stays_in_its_block(seed, n_blocks, size):
    block = np.random.default_rng(seed).permutation(np.repeat(np.arange(n_blocks), size))
    drawn = draw_permutations(len(block), 20, seed, within=block)
    assert (np.sort(drawn.index, axis=1) == np.arange(len(block))).all()
    assert (block[drawn.index] == block).all()
    assert drawn.log10_possible == pytest.approx(n_blocks * math.log10(math.factorial(size)))
    assert drawn.signs is None


@settings(max_examples=50, deadline=None)
@given(seeds)
def test_whole_blocks_move_as_they_are_and_only_for_blocks_of_their_size(seed):
    rng = np.random.default_rng(seed)
    subject = rng.permutation(np.repeat(np.arange(7), [1, 1, 2, 2, 2, 3, 3]))
    drawn = draw_permutations(len(subject), 30, seed, whole=subject)
    sizes = np.bincount(subject)
    for index in drawn.index:
        for k in range(7):
            source = index[subject == k]
            assert len(set(subject[source])) == 1
            assert sizes[subject[source[0]]] == sizes[k]
            assert (np.diff(source) > 0).all()  # sessions stay in their order
    assert drawn.log10_possible == pytest.approx(math.log10(2 * 6 * 2))


def test_whole_subjects_may_be_exchanged_within_sites_only():
    site, subject = np.repeat([0, 1], 6), np.repeat(np.arange(6), 2)
    drawn = draw_permutations(12, 50, 0, within=site, whole=subject)
    assert (site[drawn.index] == site).all()
    assert (drawn.index[:, ::2] + 1 == drawn.index[:, 1::2]).all()
    assert drawn.log10_possible == pytest.approx(2 * math.log10(6))


def test_signs_flip_for_whole_blocks_at_once():
    subject = np.repeat(np.arange(5), 2)
    drawn = draw_permutations(10, 200, 0, whole=subject, exchange=False, flip_signs=True)
    assert (drawn.index == np.arange(10)).all()
    assert (drawn.signs[:, ::2] == drawn.signs[:, 1::2]).all()
    assert set(np.unique(drawn.signs)) == {-1, 1}
    assert abs(drawn.signs.mean()) < 0.15
    assert drawn.log10_possible == pytest.approx(5 * math.log10(2))


def test_every_order_is_as_likely_as_any_other():
    drawn = draw_permutations(3, 6000, 0)
    _, counts = np.unique(drawn.index, axis=0, return_counts=True)
    assert len(counts) == 6
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(1000)


def test_the_seed_alone_decides_and_more_permutations_begin_with_the_fewer():
    few, again, many, other = (draw_permutations(9, n, s).index for n, s in ((5, 3), (5, 3), (8, 3), (5, 4)))
    assert (few == again).all()
    assert (many[:5] == few).all()
    assert (few != other).any()
