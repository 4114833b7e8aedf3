"""Streamlines for looking at: a sample of a bundle, few vertices each, every vertex with its cell of the grid.

    sample        an atlas bundle -> what is stored beside its grid: some streamlines, straight stretches thinned out
    display_lines that, with the grid -> vertices at even steps, so that no cell is jumped over, and their cells

A vertex belongs to the cell that `geometry.grid.assign` gives it: a colour is the colour of the cell that was tested.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Bundle
from spectra_bids.geometry.grid import Assignment, Grid, assign

#: Streamlines of a sample, the largest error of its straight stretches (mm), and their largest length (mm).
MOST_LINES, TOLERANCE, STRETCH = 300, 0.25, 10.0
#: Distance of neighbouring vertices that is aimed at, mm: about half a node.
STEP = 2.5


@dataclass(frozen=True, eq=False)
class DisplayLines:
    """Streamlines with the place of every vertex on the grid.

    Parameters
    ----------
    bundle : Bundle
        mm RAS+.
    where : Assignment
        Node and radial bin of each vertex, (P,).
    shape : (ns, nr)
        Of the grid.

    """

    bundle: Bundle
    where: Assignment
    shape: tuple[int, int]

    @property
    def cells(self) -> NDArray[np.int64]:
        """Cell of each vertex, s * nr + r, (P,)."""
        return self.where.s * self.shape[1] + self.where.r_bin


def sample(bundle: Bundle, most: int = MOST_LINES) -> Bundle:
    """At most `most` streamlines, evenly taken from the file's order, with the vertices that their bends need."""
    from dipy.tracking.streamlinespeed import compress_streamlines

    whole = bundle.take(bundle.counts > 1)
    taken = whole.take(_evenly(whole.n_streamlines, most))
    if not taken.n_streamlines:
        return taken
    lines = np.split(taken.points, taken.offsets[1:-1])
    return Bundle.from_streamlines(compress_streamlines(lines, tol_error=TOLERANCE, max_segment_length=STRETCH))


def display_lines(bundle: Bundle, grid: Grid, most_vertices: int = 20_000, step: float = STEP) -> DisplayLines:
    """Streamlines at even steps, as many as have room in `most_vertices`, and the cells that they pass.

    Parameters
    ----------
    bundle : Bundle
        In the space of the grid, mm RAS+.
    grid : Grid
        With places (not one of imported profiles).
    most_vertices : int
        Over all streamlines.
    step : float, mm
        Between neighbouring vertices, at most.

    """
    whole = bundle.take((bundle.counts > 1) & (bundle.lengths > 0))
    counts = _vertices(whole, step)
    n = whole.n_streamlines
    if n and counts.sum() > most_vertices:
        kept = _evenly(n, max(1, int(n * most_vertices / counts.sum())))
        while len(kept) > 1 and counts[kept].sum() > most_vertices:
            kept = _evenly(n, len(kept) - 1)
        whole = whole.take(kept)
    even = resampled(whole, step)
    return DisplayLines(even, assign(grid, even), (grid.ns, grid.nr))


def resampled(bundle: Bundle, step: float) -> Bundle:
    """Every streamline with equal distances of at most `step` mm between its vertices; its ends stay."""
    counts = _vertices(bundle, step)
    offsets = np.r_[0, np.cumsum(counts)].astype(np.int64)
    if not bundle.n_streamlines:
        return bundle
    index = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
    share = index / np.repeat(counts - 1, counts)
    # One long line: every streamline starts beyond the end of the one before, so that one interpolation does all.
    starts = np.r_[0.0, np.cumsum(bundle.lengths + 1.0)[:-1]]
    known = bundle.arc + starts[bundle.streamline_ids]
    wanted = np.repeat(starts, counts) + share * np.repeat(bundle.lengths, counts)
    points = np.column_stack([np.interp(wanted, known, bundle.points[:, k].astype(np.float64)) for k in range(3)])
    return Bundle(points.astype(np.float32), offsets)


def _vertices(bundle: Bundle, step: float) -> NDArray[np.int64]:
    """Vertices of each streamline at steps of at most `step` mm, (S,)."""
    return np.asarray(np.ceil(bundle.lengths / step).astype(np.int64) + 1).clip(min=2)


def _evenly(n: int, most: int) -> NDArray[np.int64]:
    """At most `most` numbers out of 0..n-1, evenly spread."""
    return np.unique(np.round(np.linspace(0, max(n - 1, 0), min(n, most))).astype(np.int64))
