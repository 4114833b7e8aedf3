"""Streamlines for looking at: what is kept of a bundle, and the cell of every vertex."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from strategies import ribbon

from spectra_bids.bundle import Bundle
from spectra_bids.figures.scene_lines import STRETCH, TOLERANCE, display_lines, resampled, sample
from spectra_bids.geometry.grid import assign, build_grid
from spectra_bids.io.tractograms import read_bundle

STRAIGHT = Bundle.from_streamlines([np.c_[np.linspace(0, 10, 21), np.zeros(21), np.zeros(21)]])


def arc_of_circle(radius: float, n: int) -> Bundle:
    angle = np.linspace(0, np.pi, n)
    return Bundle.from_streamlines([np.c_[radius * np.cos(angle), radius * np.sin(angle), np.zeros(n)]])


def test_a_straight_streamline_is_resampled_to_known_points():
    even = resampled(STRAIGHT, 2.5)
    np.testing.assert_allclose(even.points, [[x, 0, 0] for x in (0, 2.5, 5, 7.5, 10)], atol=1e-6)
    assert resampled(STRAIGHT, 3).n_streamlines == 1
    np.testing.assert_allclose(resampled(STRAIGHT, 100).points, [[0, 0, 0], [10, 0, 0]], atol=1e-6)


def test_a_sample_keeps_bends_and_drops_what_lies_on_a_line():
    assert len(sample(STRAIGHT).points) <= 10 / STRETCH + 2
    circle = arc_of_circle(30, 400)
    kept = sample(circle)
    assert len(kept.points) < 40
    dense = resampled(kept, 0.1)
    away, _ = cKDTree(dense.points).query(circle.points)
    assert away.max() <= TOLERANCE + 0.06  # half a step of the dense line


@pytest.mark.parametrize("name", ["Association_ArcuateFasciculusL", "Commissure_CorpusCallosum_Body"])
def test_a_sample_of_a_real_bundle_is_small_and_within_a_millimetre(shared_data, name):
    whole = read_bundle(shared_data / "atlas-hcp1065" / f"{name}.trk")
    kept = sample(whole)
    assert kept.n_streamlines == min(300, whole.n_streamlines)
    assert len(kept.points) * 12 < 120_000
    taken = whole.take(np.unique(np.round(np.linspace(0, whole.n_streamlines - 1, kept.n_streamlines)).astype(int)))
    dense = resampled(kept, 0.2)
    away, _ = cKDTree(dense.points).query(taken.points)
    assert away.max() < 1


def test_the_same_bundle_gives_the_same_sample():
    bundle = ribbon(3, n=80, bend=0.6)
    one, other = sample(bundle, 40), sample(bundle, 40)
    assert one.points.tobytes() == other.points.tobytes()
    assert one.offsets.tobytes() == other.offsets.tobytes()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 5), st.integers(200, 4000), st.floats(0.8, 6))
def test_vertices_keep_to_their_budget_their_step_and_the_cells_of_the_grid(seed, most, step):
    bundle = ribbon(seed, n=50, bend=0.5)
    grid = build_grid(bundle, "X")
    shown = display_lines(bundle, grid, most, step)
    longest = int(np.ceil(bundle.lengths.max() / step)) + 1
    assert len(shown.bundle.points) <= max(most, longest)
    inside = np.ones(len(shown.bundle.points), bool)
    inside[shown.bundle.offsets[:-1]] = False
    gaps = np.linalg.norm(np.diff(shown.bundle.points, axis=0, prepend=0), axis=1)[inside]
    assert gaps.max() <= step * 1.001
    where = assign(grid, shown.bundle)
    assert shown.shape == (grid.ns, grid.nr)
    np.testing.assert_array_equal(shown.cells, where.s * grid.nr + where.r_bin)


def test_streamlines_of_a_single_point_or_no_length_are_left_out():
    odd = Bundle.from_streamlines([np.zeros((1, 3)), np.ones((4, 3)), STRAIGHT.points])
    grid = build_grid(ribbon(0, n=40), "X")
    assert display_lines(odd, grid).bundle.n_streamlines == 1
    assert sample(Bundle.from_streamlines([np.zeros((1, 3))])).n_streamlines == 0
    assert display_lines(Bundle.from_streamlines([]), grid).bundle.n_streamlines == 0
