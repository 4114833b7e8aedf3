"""geometry.voxels: which streamlines pass through which voxels, exactly; questions by voxel, mask and sphere."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import ribbon

from spectra_bids.bundle import Bundle
from spectra_bids.geometry.voxels import index_mask, index_voxels, passing, sphere_mask


def by_fine_steps(bundle: Bundle, affine: np.ndarray, shape: tuple[int, int, int], step: float) -> set[tuple[int, int]]:
    """(voxel, streamline) of points set so densely that hardly a corner is missed."""
    inverse = np.linalg.inv(affine)
    found = set()
    for k in range(bundle.n_streamlines):
        line = bundle.points[bundle.offsets[k] : bundle.offsets[k + 1]].astype(float)
        for a, b in itertools.pairwise(line):
            t = np.linspace(0, 1, max(2, int(np.linalg.norm(b - a) / step)))[:, None]
            ijk = np.floor((a + t * (b - a)) @ inverse[:3, :3].T + inverse[:3, 3] + 0.5).astype(int)
            for voxel in ijk[((ijk >= 0) & (ijk < shape)).all(axis=1)]:
                found.add((int(np.ravel_multi_index(voxel, shape)), k))
    return found


def pairs(index) -> set[tuple[int, int]]:
    rows = np.repeat(index.voxels, np.diff(index.offsets))
    return set(zip(rows.tolist(), index.streamlines.tolist(), strict=True))


def image(size: int = 20, voxel: float = 2.0) -> tuple[np.ndarray, tuple[int, int, int]]:
    affine = np.diag([-voxel, voxel, voxel, 1.0])
    affine[:3, 3] = [voxel * size / 2, -voxel * size / 2, -voxel * size / 2]
    return affine, (size, size, size)


def test_a_diagonal_passes_through_the_voxels_one_can_write_down():
    # in voxel coordinates from (0, 0) to (2, 1): faces at x .5 and 1.5, y .5 at x = 1
    bundle = Bundle.from_streamlines([np.array([[0, 0, 0], [2, 1, 0]], float)])
    index = index_voxels(bundle, np.eye(4), (4, 4, 4))
    where = np.column_stack(np.unravel_index(index.voxels, index.shape))
    np.testing.assert_array_equal(where, [[0, 0, 0], [1, 0, 0], [1, 1, 0], [2, 1, 0]])
    assert index.at_voxel((1, 1, 0)).tolist() == [0]
    assert index.at_voxel((2, 0, 0)).tolist() == []


def test_dipy_counts_the_same_streamlines_where_points_are_dense():
    from dipy.tracking.utils import density_map

    affine, shape = image(30, 3.0)
    dense = ribbon(n=30, step=0.02)
    index = index_voxels(dense, affine, shape)
    lines = np.split(dense.points, dense.offsets[1:-1])
    theirs = density_map(lines, affine, shape).ravel()
    ours = np.zeros(np.prod(shape), int)
    ours[index.voxels] = np.diff(index.offsets)
    assert (ours >= theirs).all()  # theirs sees points alone, and misses corners that are cut by less than a step
    assert (ours - theirs).sum() < 0.02 * ours.sum()


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 1000), st.floats(0.5, 9))
def test_nothing_that_fine_steps_find_is_missed_and_hardly_anything_else_is_found(seed, spacing):
    affine, shape = image(24, 2.5)
    bundle = ribbon(seed=seed, n=5, step=spacing)
    ours, theirs = pairs(index_voxels(bundle, affine, shape)), by_fine_steps(bundle, affine, shape, 0.002)
    assert len(theirs - ours) <= 2  # rounding at faces
    assert len(ours - theirs) <= 0.01 * len(ours) + 2


def test_the_order_and_direction_of_streamlines_change_no_count():
    affine, shape = image()
    bundle = ribbon(n=12)
    one, other = index_voxels(bundle, affine, shape), index_voxels(bundle.reversed(), affine, shape)
    assert len(pairs(one) ^ pairs(other)) <= 0.002 * len(pairs(one))
    turned = index_voxels(bundle.take(np.arange(12)[::-1]), affine, shape)
    np.testing.assert_array_equal(one.voxels, turned.voxels)
    np.testing.assert_array_equal(np.diff(one.offsets), np.diff(turned.offsets))


def test_pieces_of_any_size_give_the_same(monkeypatch):
    affine, shape = image()
    bundle = ribbon(n=12, step=6.0)  # several voxels a step
    whole = index_voxels(bundle, affine, shape)
    monkeypatch.setattr("spectra_bids.geometry.voxels._CHUNK", 7)
    pieces = index_voxels(bundle, affine, shape)
    for name in ("voxels", "offsets", "streamlines"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(pieces, name))


def test_masks_and_spheres_are_unions_of_voxels():
    affine, shape = image()
    index = index_voxels(ribbon(n=25), affine, shape)
    rng = np.random.default_rng(0)
    mask = rng.random(shape) < 0.01
    expected = sorted({s for v, s in pairs(index) if mask.ravel()[v]})
    assert index.in_mask(mask).tolist() == expected
    centre = np.array([1.0, 3.0, -2.0])
    sphere = sphere_mask(centre, 6.0, affine, shape)
    i = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    away = np.linalg.norm(i @ affine[:3, :3].T + affine[:3, 3] - centre, axis=-1)
    np.testing.assert_array_equal(sphere, away <= 6)
    assert index.in_sphere(centre, 6.0).tolist() == index.in_mask(sphere).tolist()
    assert sphere_mask(np.array([0.9, 0.9, 0.9]), 0.0, affine, shape).sum() == 1


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.floats(0, 25), st.floats(0.5, 9))
def test_streamlines_near_a_mask_alone_give_what_the_whole_index_gives(seed, radius, spacing):
    affine, shape = image()
    bundle = ribbon(seed=seed, n=8, step=spacing)
    centre = np.random.default_rng(seed).uniform(-25, 25, 3)
    mask = sphere_mask(centre, radius, affine, shape)
    whole = index_voxels(bundle, affine, shape)
    assert passing(bundle, mask, affine).tolist() == whole.in_mask(mask).tolist()
    part = index_mask(bundle, mask, affine)
    assert pairs(part) == {(v, s) for v, s in pairs(whole) if mask.ravel()[v]}
    assert (part.shape, part.n_streamlines) == (whole.shape, whole.n_streamlines)


def test_an_empty_mask_is_passed_by_nobody():
    affine, shape = image()
    assert passing(ribbon(n=3), np.zeros(shape, bool), affine).size == 0
    assert index_mask(ribbon(n=3), np.zeros(shape, bool), affine).voxels.size == 0


def test_what_lies_outside_or_has_one_point_or_none_is_no_error():
    lines = [np.array([[500.0, 0, 0], [600, 0, 0]]), np.array([[1.0, 1, 1]]), np.empty((0, 3)), np.zeros((2, 3))]
    affine, shape = image()
    index = index_voxels(Bundle.from_streamlines(lines), affine, shape)
    assert sorted(streamline for _, streamline in pairs(index)) == [1, 3]
    assert index_voxels(Bundle.from_streamlines([]), affine, shape).voxels.size == 0
    assert sphere_mask(np.array([900.0, 0, 0]), 3, affine, shape).sum() == 0


def test_questions_outside_the_image_are_refused():
    index = index_voxels(ribbon(n=3), *image())
    with pytest.raises(ValueError, match=r"voxel \(20, 0, 0\) lies outside"):
        index.at_voxel((20, 0, 0))
    with pytest.raises(ValueError, match="shape"):
        index.in_mask(np.zeros((2, 2, 2), bool))
    with pytest.raises(ValueError, match="at least 0 mm"):
        sphere_mask(np.zeros(3), -1.0, np.eye(4), (2, 2, 2))
