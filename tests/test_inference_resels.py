"""Smoothness and resels: known widths are recovered, correlations are pandas', blocks by hand, properties."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from strategies import seeds

from spectra_bids.inference import Smoothness, block_correlations, correlate, resels, smoothness


def grid(ns: int, nr: int) -> tuple[np.ndarray, np.ndarray]:
    s, r = np.meshgrid(np.arange(ns), np.arange(nr), indexing="ij")
    return s.ravel(), r.ravel()


def smooth_noise(seed: int, n: int, ns: int, nr: int, fwhm: tuple[float, float]) -> np.ndarray:
    """White noise through SciPy's Gaussian filter, cut from a wider field, (n, ns x nr)."""
    rng = np.random.default_rng(seed)
    sigma = np.array(fwhm) / np.sqrt(8 * np.log(2))
    wide = rng.standard_normal((n, ns + 20, nr + 20))
    return gaussian_filter(wide, (0, *sigma), truncate=6)[:, 10:-10, 10:-10].reshape(n, -1)


# Validation


def test_a_correlation_of_another_size_and_a_block_across_bundles_are_errors():
    bundles, blocks = np.array(["A", "A", "B"]), np.array(["x", "x", "x"])
    with pytest.raises(ValueError, match=r"bundle 'A' must be \(2, 2\)"):
        block_correlations(bundles, bundles, {"A": np.eye(3)})
    with pytest.raises(ValueError, match=r"block 'x' must lie in one bundle. Got \['A', 'B'\]"):
        block_correlations(bundles, blocks, {"A": np.eye(2)})


# Another program


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_correlations_are_those_of_pandas_pairwise_complete(seed):
    rng = np.random.default_rng(seed)
    e = rng.normal(size=(25, 6)) @ rng.normal(size=(6, 6)) + 100
    e[rng.random(e.shape) < 0.2] = np.nan
    expected = pd.DataFrame(e).corr(min_periods=3).to_numpy()
    found = correlate(e)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_cells_that_share_too_few_rows_or_do_not_vary_have_no_correlation():
    e = np.array([[1.0, np.nan, 2], [2, np.nan, 2], [3, 1, 2], [4, 2, 2], [np.nan, 3, 2]])
    found = correlate(e)
    assert found[0, 0] == pytest.approx(1)
    assert np.isnan(found[0, 1])
    assert np.isnan(found[2]).all()


# Known answers


@pytest.mark.parametrize("fwhm", [(4, 2), (6, 3), (2, 1.5)])
@pytest.mark.parametrize("n", [30, 400])
def test_the_width_of_the_noise_is_recovered(fwhm, n):
    s, r = grid(24, 6)
    found = [smoothness(correlate(smooth_noise(k, n, 24, 6, fwhm)), s, r) for k in range(20 if n < 100 else 5)]
    along, across = np.mean([f.fwhm_s for f in found]), np.mean([f.fwhm_r for f in found])
    assert along == pytest.approx(fwhm[0], rel=0.07)
    assert across == pytest.approx(fwhm[1], rel=0.07)


def test_along_a_tract_and_with_gaps_the_width_is_recovered_too():
    noise = smooth_noise(0, 300, 60, 1, (5, 0.01))
    s = np.arange(60)
    found = smoothness(correlate(noise), s)
    assert found.fwhm_s == pytest.approx(5, rel=0.07)
    assert np.isnan(found.rho_r)
    assert np.isnan(found.fwhm_r)
    noise[np.random.default_rng(1).random(noise.shape) < 0.1] = np.nan
    keep = np.r_[0:20, 23:60]
    shuffle = np.random.default_rng(2).permutation(keep)
    assert smoothness(correlate(noise[:, shuffle]), s[shuffle]).fwhm_s == pytest.approx(5, rel=0.07)


def test_the_width_is_the_formula_and_has_limits():
    r = np.array([[1, 0.5, 0.1], [0.5, 1, 0.7], [0.1, 0.7, 1]])
    found = smoothness(r, np.array([0, 1, 2]))
    assert found.rho_s == pytest.approx(0.6)
    assert found.fwhm_s == pytest.approx(np.sqrt(-2 * np.log(2) / np.log(0.6)))
    assert smoothness(-r, np.array([0, 1, 2])).fwhm_s == 0
    assert smoothness(np.ones((2, 2)), np.array([0, 1])).fwhm_s == np.inf
    assert np.isnan(smoothness(np.eye(2), np.array([0, 5])).fwhm_s)


# Blocks


def test_a_grid_is_cut_evenly_into_blocks_of_the_width():
    s, r = grid(24, 4)
    labels = resels(s, r, Smoothness(0.9, 0.6, 4.3, 1.9)).reshape(24, 4)
    assert labels.max() == 11
    assert np.bincount(labels.ravel()).tolist() == [8] * 12
    assert labels[:5].tolist() == [[0, 0, 1, 1]] * 4 + [[2, 2, 3, 3]]
    assert np.bincount(resels(np.arange(10), None, Smoothness(0.8, np.nan, 3.2, np.nan))).tolist() == [4, 3, 3]


def test_whatever_is_infinitely_smooth_is_one_block():
    s, r = grid(6, 3)
    assert resels(s, r, Smoothness(1, 1, np.inf, np.inf)).tolist() == [0] * 18


def test_a_block_of_one_cell_joins_the_smallest_that_touches_it():
    s, r = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, 0])  # the last is alone in its piece
    labels = resels(s, r, Smoothness(0.5, 0.9, 1.0, 2.0))
    assert labels.tolist() == [0, 0, 1, 1, 1]
    assert resels(np.array([3]), np.array([0]), Smoothness(0.5, 0.5, 1, 1)).tolist() == [0]
    assert resels(np.zeros(0, np.int64), None, Smoothness(0.5, 0.5, 1, 1)).tolist() == []


@settings(max_examples=60, deadline=None)
@given(seeds, st.floats(0, 8), st.floats(0, 8))
def test_every_cell_is_in_one_block_of_at_least_two_whatever_the_order(seed, fwhm_s, fwhm_r):
    rng = np.random.default_rng(seed)
    s, r = grid(9, 5)
    keep = rng.random(45) < 0.8
    s, r = s[keep], r[keep]
    if len(s) < 2:
        return
    smooth = Smoothness(0.5, 0.5, fwhm_s, fwhm_r)
    labels = resels(s, r, smooth)
    counts = np.bincount(labels)
    assert counts.min() >= 2
    assert (np.unique(labels) == np.arange(len(counts))).all()


def test_the_correlation_of_a_block_is_cut_out_of_its_bundle_in_the_order_of_the_cells():
    bundles, blocks = np.array(["B", "A", "B", "B", "A"]), np.array(["B1", "A1", "B0", "B1", "A1"])
    b = np.arange(9.0).reshape(3, 3)
    found = block_correlations(bundles, blocks, {"B": b})
    assert set(found) == {"B0", "B1"}
    assert found["B1"].tolist() == [[0, 2], [6, 8]]
    assert found["B0"].tolist() == [[4]]
