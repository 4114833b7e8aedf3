"""The grid of an atlas bundle: nodes s along its centroid, signed radial bins r, the cells that belong to it.

A grid depends on the atlas alone. It is built once, stored with a checksum and used unchanged for every subject, so
that a cell means the same place in everyone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Bundle
from spectra_bids.geometry.axis import radial_axes
from spectra_bids.geometry.centroid import (
    AXIS_LETTERS,
    arc_length,
    centroid,
    fit_ends,
    median_step,
    orient,
    resample_counts,
    resample_curve,
)

_PIECE = 8192  # points whose temporaries fit the cache together
_SPARSE = 0.2  # share of the median count below which a bin or cell is too sparse to keep


@dataclass(frozen=True, eq=False)
class Grid:
    """Frozen grid of one atlas bundle.

    Parameters
    ----------
    bundle : str
        The atlas bundle's name.
    nodes : (ns, 3) float64, mm RAS+
        Nodes along the centroid, evenly spaced, low end first.
    axes : (ns, 3) float64
        Unit radial axis of each node; zero for `radial="distance"`.
    anisotropy : (ns,) float64
        λ1 / (λ1 + λ2) of the atlas cross-section; below 0.6 the axis is poorly defined.
    edges : (nr + 1,) float64, mm
        Radial bin edges; the outermost bins are open-ended.
    s_len, r_len : float, mm
        Actual node spacing and (inner) bin width.
    n_points_1d, n_points_2d : (ns,), (ns, nr) int64
        Atlas points per node and cell.
    centres_1d, centres_2d : (ns, 3), (ns, nr, 3) float64, mm
        Mean of those points; NaN where there are none.
    in_1d, in_2d : (ns,), (ns, nr) bool
        Nodes and cells that belong to the grid.
    ends, sides : (str, str)
        Letters (L/R, P/A, I/S) of the low and high end of s, and of the negative and positive side of r.
    robust, radial : str
        The extension that was used, after any fall-back, and the kind of radial coordinate.

    """

    bundle: str
    nodes: NDArray[np.float64]
    axes: NDArray[np.float64]
    anisotropy: NDArray[np.float64]
    edges: NDArray[np.float64]
    s_len: float
    r_len: float
    n_points_1d: NDArray[np.int64]
    n_points_2d: NDArray[np.int64]
    centres_1d: NDArray[np.float64]
    centres_2d: NDArray[np.float64]
    in_1d: NDArray[np.bool_]
    in_2d: NDArray[np.bool_]
    ends: tuple[str, str]
    sides: tuple[str, str]
    robust: str = "linear"
    radial: str = "signed"

    @property
    def ns(self) -> int:
        """Number of nodes."""
        return len(self.nodes)

    @property
    def nr(self) -> int:
        """Number of radial bins."""
        return len(self.edges) - 1

    @property
    def is_located(self) -> bool:
        """Whether it is known where the nodes are; not of profiles that another program made (`nodes_only`)."""
        return bool(np.isfinite(self.nodes).all())

    @cached_property
    def s_mm(self) -> NDArray[np.float64]:
        """Arc length of each node from the low end, (ns,) mm; NaN where the nodes' places are not known."""
        return arc_length(self.nodes) if self.is_located else np.full(self.ns, np.nan)

    @cached_property
    def r_mm(self) -> NDArray[np.float64]:
        """Centre of each radial bin, (nr,) mm."""
        return np.asarray((self.edges[:-1] + self.edges[1:]) / 2)

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of what defines the grid, to seven digits: equal grids, equal text on every machine."""
        digest = hashlib.sha256(f"{self.bundle} {self.radial} {self.robust}".encode())
        for array in (self.nodes, self.axes, self.edges):
            digest.update(("%.4f " * array.size % tuple(array.ravel() + 0.0)).replace("-0.0000", "0.0000").encode())
        for mask in (self.in_1d, self.in_2d):
            digest.update(np.packbits(mask).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Assignment:
    """Where the points of a bundle lie on a grid: node s (P,), distance d (P,) mm, radial coordinate r (P,) mm, its
    bin (P,), and the share of streamlines whose node jumps by more than ns / 5 between neighbouring points.
    """

    s: NDArray[np.int64]
    d: NDArray[np.float64]
    r: NDArray[np.float64]
    r_bin: NDArray[np.int64]
    share_jumping: float


def nearest_node(
    nodes: NDArray[np.float64], points: NDArray[np.floating]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Nearest node of each point (the lower index on a tie) and the distance to it, (P,) and (P,) mm."""
    x, y, z = np.ascontiguousarray(points.T, dtype=np.float64)
    best = np.full(len(x), np.inf)
    s = np.zeros(len(x), dtype=np.int64)
    # Some tens of nodes: comparing with each in turn, in pieces that stay in the cache, beats a k-d tree by a factor
    # of three, and adds up the same squares.
    for start in range(0, len(x), _PIECE):
        piece = slice(start, start + _PIECE)
        px, py, pz, least, where = x[piece], y[piece], z[piece], best[piece], s[piece]
        for k, (cx, cy, cz) in enumerate(nodes):
            square = (px - cx) ** 2
            square += (py - cy) ** 2
            square += (pz - cz) ** 2
            closer = square < least
            where[closer] = k
            np.minimum(least, square, out=least)
    return s, np.sqrt(best)


def distance_to_polyline(
    points: NDArray[np.floating], nodes: NDArray[np.float64], s: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Distance from each point to the two segments of the polyline that meet in its nearest node, (P,) mm."""
    best = np.linalg.norm(points - nodes[s], axis=1)
    for low in (s - 1, s):
        ok = (low >= 0) & (low + 1 < len(nodes))
        a, b = nodes[low[ok]], nodes[low[ok] + 1]
        along = ((points[ok] - a) * (b - a)).sum(axis=1) / np.maximum(((b - a) ** 2).sum(axis=1), 1e-12)
        foot = a + np.clip(along, 0, 1)[:, None] * (b - a)
        best[ok] = np.minimum(best[ok], np.linalg.norm(points[ok] - foot, axis=1))
    return np.asarray(best)


def _radial(points: NDArray[np.floating], s: NDArray[np.int64], grid: Grid) -> NDArray[np.float64]:
    if grid.radial == "distance":
        return distance_to_polyline(points, grid.nodes, s)
    axes = grid.axes[s]
    # Σ_k (p - C_s)_k V_s,k with C_s·V_s looked up per node: one pass, no (P, 3) temporary of differences.
    origin = (grid.nodes * grid.axes).sum(axis=1)
    return np.asarray(np.einsum("ij,ij->i", points, axes) - origin[s])


def assign(grid: Grid, bundle: Bundle) -> Assignment:
    """Place every point of a bundle (atlas space) on a grid."""
    points = bundle.points.astype(np.float64)
    s, d = nearest_node(grid.nodes, points)
    r = _radial(points, s, grid)
    r_bin = np.searchsorted(grid.edges[1:-1], r, side="right").astype(np.int64)
    jump = np.abs(np.diff(s)) > grid.ns / 5
    ids = bundle.streamline_ids
    jumping = np.unique(ids[1:][jump & (np.diff(ids) == 0)])
    return Assignment(s, d, r, r_bin, len(jumping) / max(1, bundle.n_streamlines))


def _merge_sparse(edges: NDArray[np.float64], r: NDArray[np.float64]) -> NDArray[np.float64]:
    """Merge the outermost bins inwards while they hold less than 0.2 x the median count."""
    while len(edges) > 2:
        counts = np.bincount(np.searchsorted(edges[1:-1], r, side="right"), minlength=len(edges) - 1)
        floor = _SPARSE * np.median(counts)
        low, high = counts[0] < floor, counts[-1] < floor
        if not (low or high):
            break
        if low:
            edges = np.delete(edges, 1)
        if high and len(edges) > 2:
            edges = np.delete(edges, -2)
    return edges


def _radial_edges(
    r: NDArray[np.float64], r_len: float, nr: int | None, radial: str
) -> tuple[NDArray[np.float64], float]:
    low, high = np.percentile(r, [1.0, 99.0])
    if radial == "distance":
        low = 0.0
    count = nr if nr is not None else max(1, round((high - low) / r_len))
    edges = np.linspace(low, high, count + 1)
    return _merge_sparse(edges, r), float((high - low) / count)


def _occupied(counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    filled = counts[counts > 0]
    return counts >= max(2.0, _SPARSE * float(np.median(filled))) if len(filled) else np.zeros(counts.shape, bool)


def _means(points: NDArray[np.floating], index: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    counts = np.bincount(index, minlength=n)
    with np.errstate(invalid="ignore"):
        return np.stack([np.bincount(index, points[:, k], n) / counts for k in range(3)], axis=1)


def build_grid(
    bundle: Bundle,
    name: str = "",
    *,
    s_len: float = 5.0,
    r_len: float = 5.0,
    ns: int | None = None,
    nr: int | None = None,
    robust: Literal["linear", "spline", "none"] = "linear",
    radial: Literal["signed", "distance"] = "signed",
) -> Grid:
    """Build the grid of an atlas bundle.

    Parameters
    ----------
    bundle : Bundle
        Atlas streamlines; this alone defines the grid.
    name : str
        The bundle's name, kept in the grid.
    s_len, r_len : float, mm
        Wanted node spacing and radial bin width.
    ns, nr : int, optional
        Numbers of nodes and radial bins, instead of lengths.
    robust : {"linear", "spline", "none"}
        How the centroid's ends are prolonged to where the streamlines end.
    radial : {"signed", "distance"}
        Signed coordinate along the dominant axis of the cross-section, or plain distance to the centroid.

    Returns
    -------
    Grid

    Raises
    ------
    ValueError
        If the bundle has no streamline with two distinct points.

    """
    bundle = bundle.take((bundle.counts > 1) & (bundle.lengths > 0))
    if bundle.n_streamlines == 0:
        raise ValueError(f"atlas bundle {name!r} has no streamline with two distinct points")
    step = median_step(bundle)
    count = ns if ns is not None else max(1, round(float(bundle.lengths.mean()) / s_len))
    spacing = s_len if ns is None else float(bundle.lengths.mean()) / count
    curve = centroid(bundle)
    longer = fit_ends(curve, bundle, spacing, robust) if robust != "none" and count > 1 else None
    used = robust if longer is not None else "none"
    curve, ends = orient(curve if longer is None else longer)
    nodes = resample_curve(curve, count)
    if step > spacing / 2:  # coarse atlas streamlines would leave nodes empty
        bundle = resample_counts(bundle, np.ceil(bundle.lengths / (spacing / 2)).astype(np.int64) + 1)
    points = bundle.points.astype(np.float64)
    s, _ = nearest_node(nodes, points)
    axes, anisotropy = radial_axes(nodes, points, s, curve[-1] - curve[0])
    reach = float(arc_length(nodes)[-1] / (count - 1) if count > 1 else arc_length(curve)[-1])
    empty = np.zeros(0)
    grid = Grid(
        name, nodes, axes, anisotropy, empty, reach, 0.0,
        n_points_1d=np.bincount(s, minlength=count), n_points_2d=np.zeros((0, 0), np.int64),
        centres_1d=_means(points, s, count), centres_2d=empty, in_1d=np.zeros(0, bool), in_2d=np.zeros((0, 0), bool),
        ends=ends, sides=_sides(axes) if radial == "signed" else ("core", "rim"), robust=used, radial=radial,
    )  # fmt: skip
    if radial == "distance":
        grid = replace(grid, axes=np.zeros_like(axes))
    return _with_cells(grid, points, s, r_len, nr)


def nodes_only(name: str, in_1d: NDArray[np.bool_]) -> Grid:
    """Grid of a bundle of which nothing but the nodes' numbers is known: no places, no radial bins, no ends.

    Parameters
    ----------
    name : str
        The bundle's name.
    in_1d : (ns,) bool
        Nodes that there are profiles of.

    """
    ns = len(in_1d)
    nowhere = np.full((ns, 3), np.nan)
    return Grid(
        name, nowhere, nowhere, np.full(ns, np.nan), np.zeros(1), float("nan"), float("nan"),
        n_points_1d=np.zeros(ns, np.int64), n_points_2d=np.zeros((ns, 0), np.int64),
        centres_1d=nowhere, centres_2d=np.zeros((ns, 0, 3)), in_1d=in_1d, in_2d=np.zeros((ns, 0), bool),
        ends=("", ""), sides=("", ""), robust="none", radial="none",
    )  # fmt: skip


def _sides(axes: NDArray[np.float64]) -> tuple[str, str]:
    return AXIS_LETTERS[int(np.argmax(np.abs(axes).mean(axis=0)))]


def _with_cells(grid: Grid, points: NDArray[np.float64], s: NDArray[np.int64], r_len: float, nr: int | None) -> Grid:
    """The grid with its radial bins, counts and cells, from the atlas points and their nodes."""
    r = _radial(points, s, grid)
    edges, width = _radial_edges(r, r_len, nr, grid.radial)
    bins = len(edges) - 1
    cell = s * bins + np.searchsorted(edges[1:-1], r, side="right")
    counts = np.bincount(cell, minlength=grid.ns * bins).reshape(grid.ns, bins)
    return replace(
        grid,
        edges=edges,
        r_len=width,
        n_points_2d=counts,
        centres_2d=_means(points, cell, grid.ns * bins).reshape(grid.ns, bins, 3),
        in_1d=_occupied(grid.n_points_1d),
        in_2d=_occupied(counts),
    )
