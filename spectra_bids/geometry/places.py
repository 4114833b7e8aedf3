"""Where some cells of a grid lie: how far they reach, in which hemisphere, in which part of the tract.

A cell stands for its atlas points, as many as there are, all at their mean. A node of a 1D profile stands for the
cells across it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spectra_bids.geometry.grid import Grid

Ints = NDArray[np.int64]
F = NDArray[np.float64]

#: Nearer to the plane x = 0 than this is the midline, in mm.
MIDLINE = 5.0
_HALF, _FEW, _PART = 0.5, 0.1, 0.2
_ENDS = {"L": "left", "R": "right", "P": "posterior", "A": "anterior", "I": "inferior", "S": "superior"}


@dataclass(frozen=True)
class Place:
    """Where some cells lie.

    Parameters
    ----------
    s_extent, r_extent : float, mm
        From the first node to the last along the tract, half a node spacing added at both ends; from the lowest edge
        of a radial bin to the highest (NaN in 1D). Outermost bins are open-ended and count with their edges.
    area : float, mm^2
        Node spacing x bin width, over the cells; NaN in 1D.
    share : float
        Share of the atlas bundle's points that lie in the cells.
    side : str
        left, right, midline, both; empty if it is not known where the grid is.
    part : str
        Part of the tract in words, such as "posterior third"; empty if it is not known where the grid is.

    """

    s_extent: float
    r_extent: float
    area: float
    share: float
    side: str
    part: str


def cell_points(grid: Grid, s: Ints, r: Ints | None) -> tuple[F, F]:
    """Centres of cells and their numbers of atlas points.

    Parameters
    ----------
    grid : Grid
    s, r : (N,) int
        Nodes and radial bins; r is None for nodes of a 1D profile, which then stand for all cells across.

    Returns
    -------
    points : (M, 3) float64, mm
    weights : (M,) float64

    """
    if r is None and grid.nr == 0:
        points, counts = grid.centres_1d[s], grid.n_points_1d[s]
    elif r is None:
        points, counts = grid.centres_2d[s].reshape(-1, 3), grid.n_points_2d[s].ravel()
    else:
        points, counts = grid.centres_2d[s, r], grid.n_points_2d[s, r]
    some = (counts > 0) & np.isfinite(points).all(axis=1)
    return points[some], counts[some].astype(np.float64)


def place(grid: Grid, s: Ints, r: Ints | None) -> Place:
    """Where cells (s, r), both (N,), or nodes (r is None) of a grid lie."""
    width = np.diff(grid.edges)
    low, high = int(s.min()), int(s.max())
    points, weights = cell_points(grid, s, r)
    every = grid.n_points_1d if r is None else grid.n_points_2d
    mine = every[s] if r is None else every[s, r]
    known = grid.is_located and len(points) > 0
    return Place(
        s_extent=(high - low + 1) * grid.s_len,
        r_extent=float("nan") if r is None else float(grid.edges[r.max() + 1] - grid.edges[r.min()]),
        area=float("nan") if r is None else float(width[r].sum() * grid.s_len),
        share=float(mine.sum() / every.sum()) if every.sum() else float("nan"),
        side=side(points[:, 0], weights) if known else "",
        part=part(grid, s, mine.astype(np.float64)) if known else "",
    )


def side(x: F, weights: F) -> str:
    """Hemisphere of points by their x (N,) mm, 0 = the midsagittal plane.

    midline: less than half lie further than 5 mm from the plane; else left or right if nine tenths of those are on
    one side; else both.
    """
    total = weights.sum()
    left, right = weights[x < -MIDLINE].sum() / total, weights[x > MIDLINE].sum() / total
    if left + right < _HALF:
        return "midline"
    if min(left, right) >= _FEW * (left + right):
        return "both"
    return "left" if left > right else "right"


def part(grid: Grid, s: Ints, weights: F) -> str:
    """Thirds of the tract, by arc length, that hold at least a fifth of the weight: "posterior third"."""
    length = grid.s_mm[-1]
    third = np.clip((3 * grid.s_mm[s] / length).astype(int), 0, 2) if length > 0 else np.ones(len(s), int)
    held = np.bincount(third, weights, minlength=3)
    names = [_ENDS.get(grid.ends[0], "first"), "middle", _ENDS.get(grid.ends[1], "last")]
    named = [name for name, share in zip(names, held / held.sum(), strict=True) if share >= _PART]
    if len(named) == 3:
        return "whole length"
    return " and ".join(named) + (" third" if len(named) == 1 else " thirds")
