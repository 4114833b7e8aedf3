"""Clusters and TFCE: nilearn's, SciPy's labels, a literal loop, many maps at once; maxima and their p values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nilearn.mass_univariate._utils import calculate_tfce
from scipy.ndimage import generate_binary_structure, label
from strategies import seeds

from spectra_bids.inference import NullMaxima, Spatial, fwe_p, fwe_threshold, joint_maxima, reduce_maxima


def grid(ns: int, nr: int) -> Spatial:
    s, r = np.meshgrid(np.arange(ns), np.arange(nr), indexing="ij")
    return Spatial(s.ravel(), r.ravel())


def literal_tfce(z: np.ndarray, s: np.ndarray, r: np.ndarray, step: float) -> np.ndarray:
    """Σ extent^.5 h² dh, cell by cell: the cluster of a cell at a height is found by walking to its neighbours."""
    out = np.zeros(len(z))
    places = {(a, b): i for i, (a, b) in enumerate(zip(s, r, strict=True))}
    for sign in (1, -1):
        for i in range(len(z)):
            k = 1
            while k * step <= sign * z[i] * (1 + 1e-12):
                cluster, todo = {i}, [i]
                while todo:
                    a, b = s[todo[-1]], r[todo.pop()]
                    for near in ((a + 1, b), (a - 1, b), (a, b + 1), (a, b - 1)):
                        j = places.get(near)
                        if j is not None and j not in cluster and sign * z[j] * (1 + 1e-12) >= k * step:
                            cluster.add(j)
                            todo.append(j)
                out[i] += sign * len(cluster) ** 0.5 * (k * step) ** 2 * step
                k += 1
    return out


# Other programs


def test_tfce_is_that_of_nilearn_times_the_step():
    z = np.random.default_rng(0).normal(size=(12, 5)) * 2
    z[3, 2] = 4.0  # nilearn's heights are even parts of the maximum
    z = np.clip(z, -4, 4)
    face = generate_binary_structure(3, 1)
    expected = calculate_tfce(z[:, :, None, None].copy(), face, dh=0.1)[:, :, 0, 0]
    np.testing.assert_allclose(grid(12, 5).tfce(z.reshape(1, -1), 0.1)[0], expected.ravel() * 0.1, rtol=1e-9)


@settings(max_examples=40, deadline=None)
@given(seeds, st.floats(0.1, 2))
def test_clusters_are_those_of_scipy_by_sign_and_mass_is_what_rises_above_the_threshold(seed, threshold):
    maps = np.random.default_rng(seed).normal(size=(4, 7 * 3))
    found, size, mass = grid(7, 3).clusters(maps, threshold)
    for z, own in zip(maps.reshape(4, 7, 3), found.reshape(4, 7, 3), strict=True):
        for sign in (1, -1):
            expected, n = label(sign * z > threshold)
            for k in range(1, n + 1):
                inside = expected == k
                number = np.unique(own[inside])
                assert len(number) == 1
                assert size[number[0]] == inside.sum()
                assert mass[number[0]] == pytest.approx((np.abs(z[inside]) - threshold).sum())
        assert ((own > 0) == (np.abs(z) > threshold)).all()
    assert size[1:].sum() == (found > 0).sum()
    assert size[0] == mass[0] == 0


# Definitions and properties


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_tfce_is_the_definition_cell_by_cell_on_grids_with_holes(seed):
    rng = np.random.default_rng(seed)
    s, r = grid(6, 3).s, grid(6, 3).r
    keep = rng.permutation(18)[:14]
    z = rng.normal(size=(2, 14)) * 2
    found = Spatial(s[keep], r[keep]).tfce(z, 0.25)
    for row, own in zip(z, found, strict=True):
        np.testing.assert_allclose(own, literal_tfce(row, s[keep], r[keep], 0.25), rtol=1e-9)


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_many_maps_at_once_are_each_alone_and_missing_cells_part_clusters(seed):
    rng = np.random.default_rng(seed)
    where = Spatial(np.arange(9))
    maps = rng.normal(size=(5, 9)) * 3
    maps[rng.random(maps.shape) < 0.2] = np.nan
    together = where.tfce(maps)
    label_all, size_all, _ = where.clusters(maps, 1.0)
    for k, z in enumerate(maps):
        np.testing.assert_allclose(where.tfce(z[None])[0], together[k], rtol=1e-12)
        own, size, _ = where.clusters(z[None], 1.0)
        np.testing.assert_array_equal(size[own[0]], size_all[label_all[k]])
        np.testing.assert_allclose(where.tfce(np.nan_to_num(-z)[None])[0], -together[k], rtol=1e-12)
    assert (together[np.isnan(maps)] == 0).all()


def test_cells_that_meet_at_a_corner_only_are_two_clusters():
    z = np.array([[3.0, 0, 0, 3]])
    found, size, _ = grid(2, 2).clusters(z, 2)
    assert found.tolist() == [[1, 0, 0, 2]]
    assert size.tolist() == [0, 1, 1]
    assert grid(2, 2).clusters(np.zeros((1, 4)), 1)[1].tolist() == [0]


# Maxima


def test_p_counts_the_permutations_that_are_as_large_and_the_data_themselves():
    null = np.array([1.0, 2, 3, 4])
    np.testing.assert_allclose(fwe_p(np.array([5.0, 4, -2.5, 0, np.nan]), null), [0.2, 0.4, 0.6, 1, np.nan])


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 60), st.sampled_from([0.05, 0.1, 0.25]))
def test_whatever_exceeds_the_threshold_is_significant_and_nothing_else(seed, n, alpha):
    null = np.abs(np.random.default_rng(seed).normal(size=n))
    cut = fwe_threshold(null, alpha)
    if np.isinf(cut):
        assert 1 / (n + 1) > alpha
        return
    assert fwe_p(np.array([cut * 1.001]), null)[0] <= alpha + 1e-12
    assert fwe_p(np.array([cut]), null)[0] > alpha


def test_a_family_takes_the_largest_of_its_bundles_permutation_by_permutation():
    a = NullMaxima(*np.array([[1.0, 5], [2, 2], [3, 1], [0, 9]]))
    b = NullMaxima(*np.array([[4.0, 1], [1, 3], [2, 2], [7, 8]]))
    joint = joint_maxima([a, b])
    assert [joint.peak.tolist(), joint.size.tolist(), joint.mass.tolist(), joint.tfce.tolist()] == [
        [4, 5], [2, 3], [3, 2], [7, 9]]  # fmt: skip
    with pytest.raises(ValueError, match=r"share their permutations. Got counts \[1, 2\]"):
        joint_maxima([a, NullMaxima(*np.ones((4, 1)))])
    with pytest.raises(ValueError, match="share"):
        joint_maxima([])


def test_cells_in_no_cluster_have_p_of_one_and_untested_cells_none():
    null = NullMaxima(*np.tile([[1.0, 2, 3]], (4, 1)))
    nan = np.nan
    found = reduce_maxima(
        np.array([2.5, -4, nan]), np.array([0, 4, nan]), np.array([0, 0.5, nan]), np.array([0, 2.5, nan]), null
    )
    np.testing.assert_allclose(found.peak, [0.5, 0.25, nan])
    np.testing.assert_allclose(found.size, [1, 0.25, nan])
    np.testing.assert_allclose(found.mass, [1, 1, nan])
    np.testing.assert_allclose(found.tfce, [1, 0.5, nan])
