"""Sampling of maps at points, and streamlines paired in two spaces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline
from scipy.ndimage import map_coordinates
from strategies import field, moved, moved_volume, ribbon, ribbons, rigid_motions, seeds, smooth_volume

from spectra_bids.bundle import Bundle, Volume
from spectra_bids.demo.people import load_people, load_template
from spectra_bids.geometry.centroid import arc_length, median_step
from spectra_bids.geometry.sampling import Interpolator, pair, refine, sample, sample_nearest, voxel_coordinates
from spectra_bids.io.tractograms import read_bundle
from spectra_bids.io.volumes import read_volume

OBLIQUE = np.array([[1.8, 0.3, 0, -20], [-0.2, 2.1, 0.4, -30], [0.1, -0.3, 2.4, -10], [0, 0, 0, 1.0]])


@st.composite
def volumes(draw):
    rng = np.random.default_rng(draw(seeds))
    shape = tuple(draw(st.tuples(*[st.integers(1, 6)] * 3)))
    return Volume(rng.random(shape), draw(st.sampled_from([OBLIQUE, np.diag([-2.0, 2, 2, 1])])))


@st.composite
def points_about(draw, volume):
    """Points inside and around a volume, some on voxel centres and on the border."""
    rng = np.random.default_rng(draw(seeds))
    top = np.array(volume.data.shape) - 1
    ijk = rng.uniform(-1.5, top + 1.5, (60, 3))
    ijk[:15] = np.clip(np.round(ijk[:15]), 0, top)
    ijk[15:25] = np.clip(ijk[15:25], 0, top)
    return ijk @ volume.affine[:3, :3].T + volume.affine[:3, 3]


def scipy_trilinear(volume: Volume, points: np.ndarray) -> np.ndarray:
    """SciPy's linear interpolation; NaN beyond the outermost voxel centres."""
    ijk = (np.linalg.inv(volume.affine) @ np.c_[points, np.ones(len(points))].T)[:3]
    top = np.array(volume.data.shape)[:, None] - 1
    inside = ((ijk > -1e-6) & (ijk < top + 1e-6)).all(axis=0)
    return np.where(inside, map_coordinates(volume.data, np.clip(ijk, 0, top), order=1, mode="nearest"), np.nan)


def test_a_volume_of_another_shape_is_refused():
    found = Interpolator.at(np.zeros((1, 3)), np.eye(4), (3, 3, 3))
    with pytest.raises(ValueError, match=r"\(4, 3, 3\).*\(3, 3, 3\)"):
        found.sample(np.zeros((4, 3, 3)))


def test_unequal_numbers_of_streamlines_are_refused_with_both_counts():
    with pytest.raises(ValueError, match="rec has 4 streamlines, org has 3"):
        pair(ribbon(n=4), ribbon(n=3))


def not_a_knot(line: np.ndarray, n: int) -> np.ndarray:
    """A streamline at n points evenly spaced along a cubic spline over its arc length."""
    line = line[np.r_[True, np.linalg.norm(np.diff(line, axis=0), axis=1) > 0]]
    arc = arc_length(line)
    return CubicSpline(arc, line, bc_type="not-a-knot")(np.linspace(0, arc[-1], n))


def test_the_published_profile_of_a_corticospinal_tract_is_reproduced_to_its_rounding(shared_data):
    folder = shared_data / "published-cst"
    bundle, fa = read_bundle(folder / "CST_L.trk"), read_volume(folder / "FA.nii.gz")
    published = np.genfromtxt(folder / "reference_trk_data.txt", skip_header=1, usecols=(4, 5))
    lines = [line.astype(np.float64) for line in np.split(bundle.points, bundle.offsets[1:-1])]
    upwards = [line if line[0, 2] < line[-1, 2] else line[::-1] for line in lines]
    points = np.array([not_a_knot(line, len(published)) for line in upwards])
    values = sample_nearest(fa, points.reshape(-1, 3)).reshape(points.shape[:2])
    error = np.abs(values.mean(axis=0) - published[:, 0])
    spread = np.abs(values.std(axis=0, ddof=1) - published[:, 1])
    print(f"largest error of {len(error)} nodes: mean {error.max():.2e}, SD {spread.max():.2e}")
    assert len(lines) == 734
    assert error.max() <= 5e-5
    assert spread.max() <= 5e-5


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_interpolation_equals_scipys_inside_and_is_nan_outside(data):
    volume = data.draw(volumes())
    points = data.draw(points_about(volume))
    np.testing.assert_allclose(sample(volume, points), scipy_trilinear(volume, points), atol=1e-5)


def test_interpolation_equals_scipys_on_a_template_at_real_streamlines():
    white = load_template("white_matter", 2)
    points = load_people()[0]["AF_L"].points
    points = points - points.mean(axis=0) + np.float32([-40, -20, 20])
    np.testing.assert_allclose(sample(white, points), scipy_trilinear(white, points), atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_nearest_voxel_is_the_nearest_by_search_and_nan_beyond_the_outer_faces(data):
    volume = data.draw(volumes())
    points = data.draw(points_about(volume))
    ijk = (np.linalg.inv(volume.affine) @ np.c_[points, np.ones(len(points))].T)[:3].T
    expected = np.full(len(points), np.nan)
    for n, at in enumerate(ijk):
        if (at >= -0.5).all() and (at < np.array(volume.data.shape) - 0.5).all():
            expected[n] = min((np.abs(np.array(v) - at).sum(), x) for v, x in np.ndenumerate(volume.data))[1]
    np.testing.assert_array_equal(sample_nearest(volume, points), expected)


def test_a_map_linear_in_space_is_sampled_exactly():
    ijk = np.stack(np.meshgrid(*[np.arange(7)] * 3, indexing="ij"), axis=-1)
    centres = ijk @ OBLIQUE[:3, :3].T + OBLIQUE[:3, 3]
    slope = np.array([0.3, -0.2, 0.5])
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 6, (200, 3)) @ OBLIQUE[:3, :3].T + OBLIQUE[:3, 3]
    np.testing.assert_allclose(sample(Volume(centres @ slope + 2, OBLIQUE), points), points @ slope + 2, atol=1e-10)


def test_a_constant_map_gives_exactly_its_constant():
    points = np.random.default_rng(0).uniform(0, 5, (500, 3))
    assert set(sample(Volume(np.full((6, 6, 6), 0.1, np.float32), np.eye(4)), points)) == {float(np.float32(0.1))}


def test_a_nan_voxel_spoils_what_it_contributes_to_and_nothing_else():
    data = np.ones((5, 5, 5))
    data[2, 2, 2] = np.nan
    volume = Volume(data, np.eye(4))
    near, on_the_next_centre, far = [1.5, 2, 2], [1, 2, 2], [0.5, 2, 2]
    on_it, one_voxel_diagonally = [2, 2, 2], [1.01, 1.01, 1.01]
    found = sample(volume, np.array([near, on_the_next_centre, far, on_it, one_voxel_diagonally], float))
    np.testing.assert_array_equal(found, [np.nan, 1, 1, np.nan, np.nan])
    data[2, 2, 2] = np.inf
    assert not np.isfinite(sample(volume, np.array([near, on_it], float))).any()


def test_the_border_is_the_outermost_voxel_centre_and_beyond_is_nan_not_zero():
    volume = Volume(np.ones((4, 4, 4)), np.diag([2.0, 2, 2, 1]))
    found = sample(volume, np.array([[0, 0, 0], [6, 6, 6], [-0.01, 3, 3], [6.01, 3, 3], [3, 3, 99]]))
    np.testing.assert_array_equal(found, [1, 1, np.nan, np.nan, np.nan])


def test_integer_maps_and_maps_in_fortran_order_are_read_like_any_other():
    data = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    points = np.array([[1, 2, 3], [0.5, 0, 0]])
    for stored in (data, np.asfortranarray(data)):
        np.testing.assert_allclose(sample(Volume(stored, np.eye(4)), points), [33, 10])
        np.testing.assert_allclose(sample_nearest(Volume(stored, np.eye(4)), points), [33, 20])


def test_no_points_are_sampled_to_no_values():
    volume = smooth_volume()
    nothing = np.empty((0, 3), np.float32)
    assert sample(volume, nothing).shape == sample_nearest(volume, nothing).shape == (0,)


@settings(max_examples=25, deadline=None)
@given(seeds, rigid_motions())
def test_values_move_with_the_map(seed, motion):
    points = np.random.default_rng(seed).uniform(-90, 90, (200, 3))
    there = points @ motion[:3, :3].T + motion[:3, 3]
    volume = smooth_volume(voxel=4.0)
    np.testing.assert_allclose(sample(moved_volume(motion, volume), there), sample(volume, points), atol=1e-9)


def test_a_smooth_map_is_recovered_between_its_voxels():
    points = ribbon(bend=1.0).points
    np.testing.assert_allclose(sample(smooth_volume(), points), field(points), atol=0.01)


def test_voxels_visited_are_counted_once():
    points = np.array([[0, 0, 0], [0.2, 0, 0], [1.1, 0, 0], [2, 2, 2], [9, 9, 9]])
    assert Interpolator.at(points, np.eye(4), (3, 3, 3)).n_visited == 3


def test_voxel_coordinates_invert_the_affine():
    ijk = np.random.default_rng(0).random((9, 3)) * 20
    points = ijk @ OBLIQUE[:3, :3].T + OBLIQUE[:3, 3]
    np.testing.assert_allclose(np.reshape(voxel_coordinates(points, OBLIQUE), (3, -1)).T, ijk, atol=1e-12)


def test_streamlines_with_equal_points_are_paired_as_they_are():
    rec = ribbon(1)
    org = moved(np.diag([1.1, 1, 0.9, 1]), rec)
    one, other, changed = pair(rec, org)
    assert one is rec
    assert other is org
    assert not changed


@settings(max_examples=20, deadline=None)
@given(ribbons(), seeds)
def test_streamlines_with_unequal_points_are_paired_by_arc_length(rec, seed):
    counts = np.random.default_rng(seed).integers(20, 60, rec.n_streamlines)
    lines = np.split(rec.points, rec.offsets[1:-1])
    org = Bundle.from_streamlines(
        [x[np.unique(np.linspace(0, len(x) - 1, n).round().astype(int))] for x, n in zip(lines, counts, strict=True)]
    )
    one, other, changed = pair(rec, org)
    assert changed == (rec.counts.tolist() != org.counts.tolist())
    assert one.counts.tolist() == other.counts.tolist() == org.counts.tolist()
    # org lies on rec: what is paired by arc length is the same place, up to the sagitta of org's coarser chords
    assert np.linalg.norm(one.points - other.points, axis=1).max() < 1.0


def test_a_streamline_without_points_on_one_side_has_none_on_either_afterwards():
    line = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0.0]])
    rec, org = (Bundle.from_streamlines(x) for x in ([line, line[:0], line], [line[:2], line, line[:0]]))
    one, other, changed = pair(rec, org)
    assert changed
    assert one.counts.tolist() == other.counts.tolist() == [2, 0, 0]
    assert one.points[:, 0].tolist() == [0, 2]


def test_fine_streamlines_are_left_alone_and_so_are_those_at_the_step_but_for_rounding():
    bundle = ribbon(step=1.0, bend=1.0)
    for step in (5.0, median_step(bundle), median_step(bundle) * (1 - 1e-6)):
        assert refine(bundle, bundle, step)[2] is False
    assert refine(bundle, bundle, median_step(bundle) * 0.99)[2] is True


@pytest.mark.parametrize("step", [0.7, 2.0])
def test_coarse_streamlines_get_points_on_their_own_segments(step):
    org = load_people()[0]["CST_R"]
    rec = moved(np.diag([1.2, 0.9, 1, 1]), org)
    fine_rec, fine_org, changed = refine(rec, org, step)
    assert changed
    assert np.diff(fine_org.arc)[np.diff(fine_org.streamline_ids) == 0].max() <= step * (1 + 2e-3)
    np.testing.assert_allclose(fine_org.lengths, org.lengths, rtol=1e-5)
    # every old point is there still, in its order
    kept = [np.abs(fine_org.points - p).max(axis=1).argmin() for p in org.points[:40]]
    assert kept == sorted(kept)
    np.testing.assert_allclose(fine_org.points[kept], org.points[:40], atol=1e-4)
    # and rec's points still belong to org's
    np.testing.assert_allclose(fine_rec.points, moved(np.diag([1.2, 0.9, 1, 1]), fine_org).points, atol=1e-3)


def test_refining_does_not_depend_on_the_direction_of_streamlines():
    org = load_people()[0]["CST_R"]
    forward, back = refine(org, org, 1.5)[0], refine(org.reversed(), org.reversed(), 1.5)[0]
    np.testing.assert_allclose(forward.points, back.reversed().points, atol=1e-4)
