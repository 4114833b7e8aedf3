"""Centroids: resampling by arc length, the flip-invariant mean, the ends, the orientation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import atlas_bundles, ribbon, ribbons, scrambles

from spectra_bids.bundle import Bundle
from spectra_bids.demo.people import load_people
from spectra_bids.geometry.centroid import (
    arc_length,
    centroid,
    fit_ends,
    flip_invariant_mean,
    median_step,
    orient,
    resample_counts,
    resample_curve,
    resample_evenly,
)

#: Seen: 0.06 mm at most. QuickBundles decides each flip against the mean so far, we against the mean of all.
QUICKBUNDLES_MM = 0.2


def quickbundles_centroid(bundle: Bundle, n: int = 100) -> np.ndarray:
    """The one centroid that DIPY's QuickBundles makes at an unbounded threshold."""
    from dipy.segment.clustering import QuickBundles
    from dipy.segment.metricspeed import AveragePointwiseEuclideanMetric
    from dipy.tracking.streamline import Streamlines, set_number_of_points

    lines = Streamlines(np.split(bundle.points, bundle.offsets[1:-1]))
    found = QuickBundles(threshold=1e6, metric=AveragePointwiseEuclideanMetric()).cluster(
        set_number_of_points(lines, nb_points=n)
    )
    assert len(found) == 1
    return np.asarray(found.centroids[0], float)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Mean distance of two curves point by point, whichever way they run."""
    return min(np.linalg.norm(one - x, axis=1).mean() for x in (other, other[::-1]))


def dipy_lines(bundle: Bundle, n: int) -> np.ndarray:
    from dipy.tracking.streamline import Streamlines, set_number_of_points

    lines = Streamlines(np.split(bundle.points, bundle.offsets[1:-1]))
    return np.array(list(set_number_of_points(lines, nb_points=n)))


def test_resampling_evenly_equals_dipys_set_number_of_points():
    bundle = load_people()[0]["AF_L"]
    np.testing.assert_allclose(resample_evenly(bundle, 37), dipy_lines(bundle, 37), atol=1e-3)


def test_resampling_to_counts_equals_dipys_streamline_by_streamline():
    bundle = load_people()[1]["CST_R"]
    counts = np.arange(5, 5 + bundle.n_streamlines)
    found = resample_counts(bundle, counts)
    assert found.counts.tolist() == counts.tolist()
    for k in (0, 17, 49):
        one = bundle.take(np.array([k]))
        np.testing.assert_allclose(found.take(np.array([k])).points, dipy_lines(one, counts[k])[0], atol=1e-3)


def test_a_straight_streamline_is_resampled_to_exact_places():
    bundle = Bundle.from_streamlines([np.array([[0, 0, 0], [1, 0, 0], [1, 0, 0], [8.0, 0, 0]])])
    np.testing.assert_allclose(resample_evenly(bundle, 5)[0, :, 0], [0, 2, 4, 6, 8], atol=1e-6)
    assert resample_counts(bundle, np.array([3])).points[:, 0].tolist() == [0, 4, 8]


def test_streamlines_without_points_stay_without_and_cannot_be_given_any():
    bundle = Bundle.from_streamlines([np.zeros((0, 3)), np.array([[0, 0, 0], [4.0, 0, 0]]), np.zeros((0, 3))])
    assert resample_counts(bundle, np.array([0, 3, 0])).points[:, 0].tolist() == [0, 2, 4]
    with pytest.raises(ValueError, match="without points"):
        resample_counts(bundle, np.array([2, 3, 0]))
    assert resample_counts(Bundle.from_streamlines([]), np.zeros(0, np.int64)).n_streamlines == 0


def test_the_median_step_ignores_the_gaps_between_streamlines():
    lines = [np.array([[0, 0, 0], [2.0, 0, 0], [4, 0, 0]]), np.array([[90, 0, 0], [93.0, 0, 0]])]
    assert median_step(Bundle.from_streamlines(lines)) == 2.0
    assert median_step(Bundle.from_streamlines([x[:1] for x in lines])) == 0.0


def test_the_mean_of_streamlines_that_run_either_way_is_their_middle():
    t = np.linspace(0, 50, 20)
    lines = [np.stack([np.full(20, x), t, 0 * t], axis=1) for x in (-3.0, -1.0, 1.0, 3.0)]
    lines = np.array([lines[0], lines[1][::-1], lines[2], lines[3][::-1]])
    expected = np.stack([0 * t, t, 0 * t], axis=1)
    assert distance(flip_invariant_mean(lines), expected) < 1e-12


@settings(max_examples=25, deadline=None)
@given(ribbons(), st.data())
def test_the_centroid_ignores_the_order_and_the_direction_of_streamlines(bundle, data):
    other = data.draw(scrambles(bundle))
    assert distance(centroid(bundle), centroid(other)) < 1e-9


def test_the_centroid_is_close_to_quickbundles_on_packaged_bundles():
    for person in load_people():
        for name, bundle in person.items():
            found = distance(centroid(bundle), quickbundles_centroid(bundle))
            assert found < QUICKBUNDLES_MM, (name, found)


def test_the_centroid_is_close_to_quickbundles_on_the_atlas(shared_data):
    far = {n: distance(centroid(b), quickbundles_centroid(b)) for n, b in atlas_bundles(shared_data).items()}
    print({name: round(d, 3) for name, d in far.items()})
    assert max(far.values()) < QUICKBUNDLES_MM


def test_a_curve_is_resampled_evenly_by_arc_length_and_to_its_middle_for_one():
    curve = np.array([[0, 0, 0], [3, 0, 0], [3, 4.0, 0]])
    found = resample_curve(curve, 8)
    np.testing.assert_allclose(arc_length(curve), [0, 3, 7])
    np.testing.assert_allclose(found[3:5], [[3, 0, 0], [3, 1, 0]])
    np.testing.assert_allclose(resample_curve(curve, 1), [[3, 0.5, 0]])


@pytest.mark.parametrize(
    ("chord", "flipped", "letters"),
    [
        ((1, 2, 9), False, ("I", "S")),
        ((1, 2, -9), True, ("I", "S")),
        ((1, -9, 2), True, ("P", "A")),
        ((9, -8, -8), False, ("L", "R")),
        ((-9, 8, 8), True, ("L", "R")),
    ],
)
def test_a_curve_runs_towards_right_front_or_up_whichever_it_does_most(chord, flipped, letters):
    curve = np.array([[0, 0, 0], chord], float)
    turned, found = orient(curve)
    assert found == letters
    np.testing.assert_array_equal(turned, curve[::-1] if flipped else curve)


@pytest.mark.parametrize("robust", ["linear", "spline"])
@pytest.mark.parametrize("bend", [0.0, 0.8])
def test_extended_ends_reach_to_where_the_streamlines_end(robust, bend):
    bundle = ribbon(3, n=200, length=100, bend=bend, ragged=25.0)
    # Ends are ragged by 25 mm a side: the mean curve is some 25 mm shorter than the longest streamlines.
    short = centroid(bundle)
    long = fit_ends(short, bundle, 5.0, robust)
    assert arc_length(short)[-1] == pytest.approx(75, abs=3)
    assert arc_length(long)[-1] == pytest.approx(98, abs=4)
    if not bend:
        np.testing.assert_allclose(np.abs(long[[0, -1], 1]), 49, atol=2)
        assert np.abs(long[:, [0, 2]] - long[50, [0, 2]]).max() < 1.0


def test_ends_are_taken_back_where_streamlines_end_before_the_curve():
    curve = np.stack([np.zeros(101), np.linspace(-50, 50, 101), np.zeros(101)], axis=1)
    found = fit_ends(curve, ribbon(1, length=60, ragged=0.0), 5.0, "linear")
    assert found[0, 1] == pytest.approx(-30, abs=1)
    assert found[-1, 1] == pytest.approx(30, abs=1)


def test_two_per_cent_of_outlying_ends_on_either_side_do_not_stretch_the_curve():
    bundle = ribbon(1, n=100, length=60, ragged=0.0)
    stray = np.array([[0, -44.0, 0], [0, 44.0, 0]])
    more = Bundle.from_streamlines([*np.split(bundle.points, bundle.offsets[1:-1]), stray])
    plain, found = (fit_ends(centroid(bundle), b, 5.0, "linear") for b in (bundle, more))
    np.testing.assert_allclose(found[[0, -1]], plain[[0, -1]], atol=0.7)


@pytest.mark.parametrize("robust", ["linear", "spline"])
def test_a_curve_that_stands_still_cannot_be_extended(robust):
    curve = np.zeros((100, 3))
    assert fit_ends(curve, ribbon(), 5.0, robust) is None
    ends_in_one_place = Bundle.from_streamlines([np.array([[0, 0, 0], [9, 0, 0], [0, 0, 0.0]])] * 3)
    straight = np.stack([np.linspace(0, 40, 100), np.zeros(100), np.zeros(100)], axis=1)
    assert fit_ends(straight, ends_in_one_place, 5.0, robust) is None
