"""The radial axis: frames, the choice of angles, and how steady it is on real atlas bundles."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d
from strategies import atlas_bundles, atlas_grids, ribbon, seeds

from spectra_bids.demo.people import load_people
from spectra_bids.geometry.axis import best_angles, radial_axes, rotation_minimising_frame, tangents
from spectra_bids.geometry.centroid import resample_counts
from spectra_bids.geometry.grid import build_grid, nearest_node


def helix(n: int = 60, radius: float = 20.0, pitch: float = 40.0, turns: float = 1.5) -> np.ndarray:
    t = np.linspace(0, 2 * np.pi * turns, n)
    return np.stack([radius * np.cos(t), radius * np.sin(t), pitch * t / (2 * np.pi)], axis=1)


def brute_force(explained: np.ndarray, max_shift: int) -> float:
    """Largest sum over every admissible path."""
    ns, n = explained.shape
    best = -np.inf
    for path in itertools.product(range(n), repeat=ns):
        turn = np.abs(np.diff(path))
        if (np.minimum(turn, n - turn) <= max_shift).all():
            best = max(best, explained[np.arange(ns), list(path)].sum())
    return best


def leading_variance(nodes, points, s):
    """(ns, 2, 2) tensors of the smoothed second moments in the rotation-minimising frame, and their leading values."""
    frame = np.stack(rotation_minimising_frame(nodes), axis=1)
    offset = np.einsum("pj,pkj->pk", points - nodes[s], frame[s])
    tensor = np.zeros((len(nodes), 2, 2))
    np.add.at(tensor, s, offset[:, :, None] * offset[:, None, :])
    tensor = gaussian_filter1d(tensor, 1.0, axis=0, mode="nearest")
    return frame, tensor, np.linalg.eigvalsh(tensor)[:, ::-1]


def turns_in_frame(axes: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Turn of the axis between neighbouring nodes in a frame (ns, 2, 3), degrees, signs as they are."""
    angle = np.arctan2(*np.einsum("kj,kij->ik", axes, frame)[::-1])
    return np.degrees(np.abs(np.angle(np.exp(1j * np.diff(angle)))))


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 5), st.integers(3, 6), st.integers(0, 2))
def test_the_angles_chosen_are_the_best_of_all_admissible_paths(seed, ns, n, max_shift):
    explained = np.random.default_rng(seed).random((ns, n))
    path = best_angles(explained, max_shift)
    turn = np.abs(np.diff(path))
    assert (np.minimum(turn, n - turn) <= max_shift).all()
    assert explained[np.arange(ns), path].sum() == pytest.approx(brute_force(explained, max_shift))


def test_tangents_of_a_straight_line_are_its_direction():
    nodes = np.linspace(0, 1, 7)[:, None] * np.array([2.0, -1.0, 2.0])
    np.testing.assert_allclose(tangents(nodes), np.tile([2 / 3, -1 / 3, 2 / 3], (7, 1)))


def test_the_frame_is_orthonormal_and_perpendicular_to_the_curve():
    nodes = helix()
    normal, binormal = rotation_minimising_frame(nodes)
    frame = np.stack([tangents(nodes), normal, binormal], axis=1)
    np.testing.assert_allclose(frame @ frame.transpose(0, 2, 1), np.tile(np.eye(3), (len(nodes), 1, 1)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(frame), 1.0)


def test_the_frame_of_a_plane_curve_does_not_turn_about_it():
    t = np.linspace(0, 2.5, 40)
    nodes = np.stack([30 * np.cos(t), 30 * np.sin(t), 0 * t], axis=1)
    normal, binormal = rotation_minimising_frame(nodes)
    np.testing.assert_allclose(np.ptp(np.abs(normal[:, 2])), 0, atol=1e-12)
    np.testing.assert_allclose(np.ptp(np.abs(binormal[:, 2])), 0, atol=1e-12)


def test_the_frame_turns_against_the_torsion_of_a_helix():
    nodes = helix(n=400)
    normal, _ = rotation_minimising_frame(nodes)
    t = tangents(nodes)
    inward = -nodes * [1, 1, 0]
    inward /= np.linalg.norm(inward, axis=1, keepdims=True)
    angle = np.unwrap(np.arctan2((np.cross(t, inward) * normal).sum(1), (inward * normal).sum(1)))
    radius, rise = 20.0, 40.0 / (2 * np.pi)
    arc = np.linalg.norm(np.diff(nodes, axis=0), axis=1).sum()
    expected = -rise / (radius**2 + rise**2) * arc
    # End tangents are one-sided differences: ten nodes at each end are left out, 380 of 399 steps remain.
    share = (angle[-10] - angle[10]) / expected
    assert share == pytest.approx(380 / 399, rel=1e-3)


def test_the_frame_carried_back_is_the_frame_carried_forward():
    nodes = helix()
    forward, back = (rotation_minimising_frame(x)[0] for x in (nodes, nodes[::-1]))
    angle = np.sum(forward * back[::-1], axis=1)
    np.testing.assert_allclose(angle, angle[0], atol=1e-12)


@pytest.mark.parametrize("bend", [0.0, 1.5])
def test_the_axis_of_a_ribbon_is_its_wide_side(bend):
    bundle = ribbon(1, n=300, bend=bend, width=8.0, thickness=1.5)
    grid = build_grid(bundle)
    inner = grid.in_1d
    assert np.abs(grid.axes[inner, 0]).min() > 0.98
    assert (grid.axes[inner, 0] > 0).all()
    assert grid.sides == ("L", "R")
    np.testing.assert_allclose(np.linalg.norm(grid.axes, axis=1), 1.0)
    np.testing.assert_allclose((grid.axes * tangents(grid.nodes)).sum(axis=1), 0, atol=1e-12)


def test_anisotropy_is_the_leading_share_of_the_cross_section():
    rng = np.random.default_rng(0)
    nodes = np.stack([np.zeros(9), np.linspace(0, 40, 9), np.zeros(9)], axis=1)
    points = np.stack([3 * rng.standard_normal(90_000), 40 * rng.random(90_000), rng.standard_normal(90_000)], axis=1)
    s, _ = nearest_node(nodes, points)
    axes, anisotropy = radial_axes(nodes, points, s)
    np.testing.assert_allclose(anisotropy, 0.9, atol=0.005)
    np.testing.assert_allclose(axes, np.tile([1, 0, 0], (9, 1)), atol=0.02)
    none = radial_axes(nodes, points[:0], s[:0])[1]
    assert none.tolist() == [0.5] * 9


def test_a_twisted_ribbon_is_followed_no_faster_than_thirty_degrees_per_node():
    rng = np.random.default_rng(0)
    nodes = np.stack([np.zeros(12), np.arange(12) * 5.0, np.zeros(12)], axis=1)
    s = np.repeat(np.arange(12), 400)
    for per_node, allowed in ((20.0, 20.0), (60.0, 30.0)):
        wide = 8 * rng.standard_normal(len(s))
        angle = np.radians(per_node * s)
        points = nodes[s] + np.stack([wide * np.cos(angle), 0 * wide, wide * np.sin(angle)], axis=1)
        axes, _ = radial_axes(nodes, points, s)
        turn = turns_in_frame(axes, np.stack(rotation_minimising_frame(nodes), axis=1))
        assert turn.max() <= allowed + 4.0001  # the angles are multiples of 2 degrees
        assert turn.max() <= 30 + 1e-9
        assert np.median(turn) == pytest.approx(allowed, abs=4)


def test_a_single_node_takes_the_direction_of_its_bundle():
    bundle = ribbon(2, n=100, length=40)
    turned = bundle.with_points(bundle.points[:, [1, 0, 2]])  # runs along x, wide along y
    assert build_grid(bundle, ns=1).axes[0].tolist() == pytest.approx([1, 0, 0], abs=0.06)
    assert build_grid(turned, ns=1).axes[0].tolist() == pytest.approx([0, 1, 0], abs=0.06)
    assert build_grid(turned, ns=1).ends == ("L", "R")


def quarter_cosines(bundle, grid, runs: int) -> np.ndarray:
    """Cosines between the radial axes of random quarters of a bundle and those of the whole, (runs, nodes)."""
    out = []
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        part = bundle.take(np.sort(rng.permutation(bundle.n_streamlines)[: max(8, bundle.n_streamlines // 4)]))
        s, _ = nearest_node(grid.nodes, part.points)
        axes, _ = radial_axes(grid.nodes, part.points.astype(float), s)
        out.append((axes * grid.axes).sum(axis=1)[grid.in_1d])
    return np.array(out)


def check_axis(bundle, grid) -> tuple[float, float]:
    """Largest turn of the axis (degrees) and the share of the leading variance it keeps."""
    s, _ = nearest_node(grid.nodes, bundle.points)
    frame, tensor, leading = leading_variance(grid.nodes, bundle.points.astype(float), s)
    inside = np.einsum("kj,kij->ki", grid.axes, frame)
    kept = np.einsum("ki,kij,kj->k", inside, tensor, inside)
    return turns_in_frame(grid.axes, frame).max(), kept.sum() / leading[:, 0].sum()


def test_the_axes_of_packaged_bundles_turn_slowly_and_keep_the_variance():
    for name, bundle in load_people()[0].items():
        grid = build_grid(bundle)
        dense = resample_counts(bundle, np.ceil(bundle.lengths / 2.0).astype(np.int64))
        turn, kept = check_axis(dense, grid)
        assert turn <= 30 + 1e-6, name
        assert kept > 0.95, (name, kept)


def test_the_axes_of_atlas_bundles_turn_slowly_and_keep_the_variance(shared_data):
    grids = atlas_grids(shared_data)
    found = {name: check_axis(bundle, grids[name]) for name, bundle in atlas_bundles(shared_data).items()}
    print({name: (round(turn, 1), round(kept, 4)) for name, (turn, kept) in found.items()})
    assert max(turn for turn, _ in found.values()) <= 30 + 1e-6
    assert min(kept for _, kept in found.values()) >= 0.993


def test_the_axes_of_quarters_of_atlas_bundles_are_those_of_the_whole(shared_data):
    grids = atlas_grids(shared_data)
    cosines = {n: quarter_cosines(b, grids[n], runs=8) for n, b in atlas_bundles(shared_data).items()}
    flips = {n: ((c < 0).any(axis=1) & (c > 0).any(axis=1)).mean() for n, c in cosines.items()}
    for n, c in cosines.items():
        print(f"{n:15s} mean |cos| {np.abs(c).mean():.4f}, runs with a flip {flips[n]:.2f}")
    assert np.mean([np.abs(c).mean() for c in cosines.values()]) > 0.97
    # Where the whole's cross-section is round, the axis of a quarter may turn the other way round to the next node, and
    # its sign differs from there on. It does so as often (12 % of 380 runs) without dynamic programming.
    assert np.mean(list(flips.values())) < 0.2
    clear = [n for n, grid in grids.items() if grid.anisotropy.min() > 0.65]
    assert len(clear) >= 3
    assert [n for n in clear if flips[n] > 0] == []
