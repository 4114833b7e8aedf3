"""geometry.places: extent, hemisphere and part of the tract, on tubes whose answers can be written down."""

from __future__ import annotations

import numpy as np
import pytest

from spectra_bids.bundle import Bundle
from spectra_bids.geometry.grid import Grid, build_grid, nodes_only
from spectra_bids.geometry.places import cell_points, place, side


def ribbon(axis: int, at: tuple[float, float, float] = (-30.0, 0.0, 0.0), length: float = 90.0) -> Grid:
    """Straight streamlines along an axis, 20 mm wide across another, about a point."""
    across = (axis + 1) % 3
    lines = []
    for offset in np.linspace(-10, 10, 21):
        points = np.tile(np.array(at), (91, 1))
        points[:, axis] += np.linspace(-length / 2, length / 2, 91)
        points[:, across] += offset
        lines.append(points)
    return build_grid(Bundle.from_streamlines(lines), "X", s_len=5, r_len=5)


def test_extents_are_millimetres_of_nodes_and_bins():
    grid = ribbon(1)
    s, r = np.array([3, 4, 4, 5]), np.array([1, 1, 2, 1])
    found = place(grid, s, r)
    assert found.s_extent == pytest.approx(3 * grid.s_len)
    assert found.r_extent == pytest.approx(grid.edges[3] - grid.edges[1])
    assert found.area == pytest.approx(4 * grid.s_len * grid.r_len)
    assert found.share == pytest.approx(grid.n_points_2d[s, r].sum() / (21 * 91))
    alone = place(grid, s[:1], None)
    assert np.isnan(alone.r_extent)
    assert np.isnan(alone.area)
    assert alone.share == pytest.approx(grid.n_points_1d[3] / (21 * 91))


def test_the_whole_grid_is_the_whole_bundle():
    grid = ribbon(1)
    s, r = np.nonzero(grid.n_points_2d)
    found = place(grid, s, r)
    assert found.share == pytest.approx(1)
    assert found.part == "whole length"
    points, weights = cell_points(grid, s, r)
    np.testing.assert_allclose(weights @ points / weights.sum(), [-30, 0, 0], atol=1e-3)


@pytest.mark.parametrize(
    ("axis", "low", "high"), [(0, "left", "right"), (1, "posterior", "anterior"), (2, "inferior", "superior")]
)
def test_thirds_are_named_by_the_ends_of_the_tract(axis, low, high):
    grid = ribbon(axis, (0.0, 0.0, 0.0))
    n = grid.ns
    thirds = [place(grid, np.array([s]), None).part for s in range(n)]
    assert thirds[:6] == [f"{low} third"] * 6
    assert thirds[-6:] == [f"{high} third"] * 6
    assert thirds[n // 2] == "middle third"
    assert place(grid, np.arange(3, 9), None).part == f"{low} and middle thirds"
    assert place(grid, np.arange(n), None).part == "whole length"


def test_a_third_with_less_than_a_fifth_of_the_points_is_not_named():
    grid = ribbon(1)
    last = max(s for s in range(grid.ns) if place(grid, np.array([s]), None).part == "posterior third")
    assert place(grid, np.arange(last - 4, last + 2), None).part == "posterior third"
    assert place(grid, np.arange(last - 1, last + 2), None).part == "posterior and middle thirds"


@pytest.mark.parametrize(
    ("x", "weights", "expected"),
    [
        ([-30.0, -20.0], [1, 1], "left"),
        ([30.0, 6.0], [1, 1], "right"),
        ([-2.0, 3.0, 20.0], [1, 1, 1], "midline"),
        ([-30.0, 30.0], [1, 1], "both"),
        ([-30.0, 30.0], [95, 5], "left"),
        ([-30.0, 0.0], [6, 4], "left"),
        ([5.0, -5.0], [1, 1], "midline"),
    ],
)
def test_sides(x, weights, expected):
    assert side(np.array(x), np.array(weights, float)) == expected


def test_a_commissure_has_a_left_a_middle_and_a_right():
    grid = ribbon(0, (0.0, 0.0, 0.0))
    assert [place(grid, np.array(s), None).side for s in ([1, 2], [grid.ns // 2], [grid.ns - 2], [0, grid.ns - 1])] == [
        "left", "midline", "right", "both"
    ]  # fmt: skip


def test_nodes_stand_for_the_cells_across_them():
    grid = ribbon(1)
    points, weights = cell_points(grid, np.array([4]), None)
    assert len(points) == grid.nr
    assert weights.sum() == grid.n_points_1d[4]
    np.testing.assert_allclose(weights @ points / weights.sum(), grid.centres_1d[4])


def test_of_imported_profiles_nothing_is_known_but_how_many_nodes():
    found = place(nodes_only("X", np.ones(5, bool)), np.array([1, 2]), None)
    assert (found.side, found.part) == ("", "")
    assert np.isnan(found.s_extent)
    assert np.isnan(found.share)


def test_the_real_arcuate_lies_to_the_left_and_the_forceps_on_both_sides(shared_data):
    from spectra_bids.io.tractograms import read_bundle

    where = {
        "Association_ArcuateFasciculusL": "left",
        "ProjectionBrainstem_CorticospinalTractR": "right",
        "Commissure_CorpusCallosum_ForcepsMajor": "both",
    }
    for name, expected in where.items():
        grid = build_grid(read_bundle(shared_data / "atlas-hcp1065" / f"{name}.trk"), name)
        assert place(grid, np.flatnonzero(grid.in_1d), None).side == expected
        assert place(grid, np.flatnonzero(grid.in_1d), None).part == "whole length"
