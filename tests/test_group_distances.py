"""group.distances: unusual profiles are far, usual ones are not, and the distance is that of other robust methods."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectra_bids.group.distances import LEAST, LEVEL, distances


def smooth(n: int, nodes: int, seed: int, level: float = 1.0) -> np.ndarray:
    """Profiles with a common shape, a level each, and noise that is correlated along the nodes."""
    rng = np.random.default_rng(seed)
    window = np.exp(-0.5 * np.linspace(-2.5, 2.5, 7) ** 2)
    noise = np.stack([np.convolve(row, window, "valid") for row in rng.normal(size=(n, nodes + 6))])
    noise /= np.sqrt((window**2).sum())
    return 0.4 + 0.1 * np.sin(np.linspace(0, 3, nodes)) + 0.02 * (noise + level * rng.normal(size=(n, 1)))


def test_of_two_dimensions_the_score_is_the_distance_by_the_minimum_covariance_determinant():
    # sklearn 1.9.1: MinCovDet(random_state=0).fit(x).mahalanobis(x), the root of which is a distance.
    sklearn = pytest.importorskip("sklearn.covariance")
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(400, 2)) * [2.0, 1.5]
    plane[:20] += [0, 12.0]
    x = plane @ np.array([[1.0, 1.0, 1.0, 1.0, 1.0, 1.0], [1, -1, 1, -1, 1, -1]])
    x += 1e-6 * rng.normal(size=x.shape)
    ours = distances(x)
    theirs = np.sqrt(sklearn.MinCovDet(random_state=0).fit(plane).mahalanobis(plane))
    both = np.corrcoef(ours.score, theirs)[0, 1]
    assert both > 0.99
    np.testing.assert_allclose(np.median(ours.score[20:] / theirs[20:]), 1, atol=0.1)
    assert set(np.flatnonzero(ours.score > ours.score_limit)) == set(range(20))


def test_distances_rank_as_those_of_the_ogk_covariance():
    # statsmodels 0.15: statsmodels.robust.covariance.cov_ogk(x).cov and .mean
    robust = pytest.importorskip("statsmodels.robust.covariance")
    x = smooth(300, 5, 3)
    x[:5, :2] += 0.3
    found = robust.cov_ogk(x)
    centred = x - found.mean
    theirs = np.sqrt(np.einsum("ij,jk,ik->i", centred, np.linalg.inv(found.cov), centred))
    ours = distances(x)
    assert set(np.argsort(-theirs)[:5]) == set(np.argsort(-ours.excess)[:5]) == set(range(5))
    assert (ours.excess[:5] > 1).all()
    assert (ours.excess[5:] < 1).all()


@pytest.mark.parametrize("n", [12, 24, 60, 200])
def test_with_normal_values_about_one_bundle_in_twenty_has_anybody_beyond(n):
    hits = [bool((distances(smooth(n, 24, seed)).excess > 1).any()) for seed in range(200)]
    # Binomial: four standard errors above the level; and limits are there to be passed sometimes.
    assert np.mean(hits) <= LEVEL + 4 * np.sqrt(LEVEL * (1 - LEVEL) / 200)


@pytest.mark.parametrize("n", [24, 60, 400])
@pytest.mark.parametrize(
    "change",
    [
        lambda y: y * 0.5,
        lambda y: y + np.where(np.arange(24) < 6, 0.25, 0.0),
        lambda y: y + 0.15 * np.sin(np.arange(24)),
        lambda y: np.where(np.arange(24) == 12, 1.5, y),
    ],
    ids=["a lower level", "a raised end", "another shape", "one wild node"],
)
def test_a_planted_profile_is_found_and_nobody_else(n, change):
    x = smooth(n, 24, 7)
    x[3] = change(x[3])
    found = distances(x)
    assert list(np.flatnonzero(found.excess > 1)) == [3]
    assert found.excess[3] > 1.2


def test_level_and_worst_node_say_what_is_unusual():
    x = smooth(60, 24, 1)
    x[3] -= 0.3
    x[5, 17] += 1.0
    found = distances(x)
    assert found.level[3] < -8
    assert abs(found.level[5]) < 3
    assert found.worst[5] == 17


def test_a_third_of_wrong_profiles_does_not_make_the_others_unusual():
    x = smooth(60, 24, 2)
    x[:18] += 0.5
    found = distances(x)
    assert (found.excess[:18] > 1).all()
    assert (found.excess[18:] < 1).all()


def test_gaps_neither_make_nor_hide_an_unusual_profile():
    x = smooth(80, 24, 4)
    x[3] += 0.4
    holes = np.random.default_rng(0).random(x.shape) < 0.15
    whole, gaps = distances(x), distances(np.where(holes, np.nan, x))
    assert list(np.flatnonzero(gaps.excess > 1)) == [3]
    assert np.nanmedian(np.abs(gaps.excess - whole.excess)) < 0.15


def test_a_session_with_less_than_half_of_the_nodes_has_no_distance():
    x = smooth(30, 24, 5)
    x[4, :13] = np.nan
    x[6] = np.nan
    found = distances(x)
    assert list(np.flatnonzero(np.isnan(found.excess))) == [4, 6]
    assert found.worst[6] == -1


def test_sessions_that_do_not_count_are_compared_with_the_others():
    x = smooth(40, 24, 6)
    x[:15] += 0.5
    usable = np.arange(40) >= 15
    found, alone = distances(x, usable), distances(x[15:])
    np.testing.assert_allclose(found.excess[15:], alone.excess, rtol=1e-12)
    assert (found.excess[:15] > 1).all()


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((0, 5)),
        np.zeros((20, 5)),
        np.full((20, 5), np.nan),
        np.ones((LEAST - 1, 5)) * np.arange(LEAST - 1)[:, None],
    ],
    ids=["nobody", "constant", "nothing measured", "too few"],
)
def test_where_nothing_can_be_said_nothing_is(values):
    found = distances(values)
    assert found.excess.shape == (len(values),)
    assert np.isnan(found.excess).all()


def test_one_node_is_enough():
    x = smooth(40, 24, 8)[:, :1]
    x[2] += 1
    assert list(np.flatnonzero(distances(x).excess > 1)) == [2]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.floats(1e-4, 1e4), st.floats(-10, 10))
def test_units_order_and_direction_do_not_matter(seed, factor, shift):
    x = smooth(30, 12, seed)
    expected = distances(x).excess
    order = np.random.default_rng(seed).permutation(30)
    np.testing.assert_allclose(distances(factor * (x + shift)).excess, expected, rtol=1e-4)
    np.testing.assert_allclose(distances(x[order]).excess, expected[order], rtol=1e-6)
    np.testing.assert_allclose(distances(x[:, ::-1]).excess, expected, rtol=1e-6)
