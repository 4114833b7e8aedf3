"""Profiles of one subject's bundle: geometry once, then every map.

1D (BUAN, Chandio 2020): profile_1d[s] = Σ w v / Σ w over the valid points of node s, w = 1 / (d + 1e-8).
2D (SPECTRA, Feng 2026): plain mean of the valid values of cell (s, r).
A value is valid if its point lies in the field of view, the map is finite there and the mask, if any, is set. What is
missing is NaN with a status, never 0.

Weights of streamlines (SIFT2) multiply w, and make the 2D mean a weighted one; counts and standard deviations are of
the points as they are. The lesion load of a cell is the share of its points in a lesion mask, valid or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Bundle, Volume
from spectra_bids.geometry.grid import Grid, assign
from spectra_bids.geometry.sampling import Interpolator, pair, refine, sample_nearest


@dataclass(frozen=True, eq=False)
class Cells:
    """Profile over one kind of cell: nodes (1D) or (s, r) cells (2D), all of the grid's, flattened.

    `mean` and `sd` hold an array (cells,) per scalar; `n_points`, `n_streamlines` (cells,) count points that are
    valid in at least one scalar; `status` (cells,) says why a value is missing; `lesion_load` (cells,) is NaN where
    there is no point, None without a lesion mask.
    """

    mean: dict[str, NDArray[np.float64]]
    sd: dict[str, NDArray[np.float64]]
    n_points: NDArray[np.int64]
    n_streamlines: NDArray[np.int64]
    status: NDArray[np.str_]
    lesion_load: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class Profile:
    """Profiles of one bundle: `along` has ns cells, `across` ns x nr in row-major order, with the whole-bundle means,
    the volume, and the QC shares of points and streamlines.
    """

    along: Cells
    across: Cells
    bundle_mean: dict[str, float]
    volume_mm3: float
    share_outside: float
    share_jumping: float
    resampled: bool
    lesion_load: float | None = None


@dataclass(frozen=True, eq=False)
class _Points:
    """What all maps share: validity does not, so values (P,) come per scalar."""

    streamline: NDArray[np.int64]
    n_streamlines: int
    outside: dict[str, NDArray[np.bool_]]
    volume_mm3: float
    values: dict[str, NDArray[np.float64]]
    finite: dict[str, NDArray[np.bool_]]
    weight: NDArray[np.float64] | None = None
    lesion: NDArray[np.bool_] | None = None


def _interpolators(points: NDArray[np.floating], volumes: Mapping[str, Volume]) -> dict[str, Interpolator]:
    """One interpolator per distinct voxel grid, by scalar."""
    known: dict[tuple[tuple[int, ...], bytes], Interpolator] = {}
    out = {}
    for name, volume in volumes.items():
        key = (volume.data.shape, np.round(volume.affine, 6).tobytes())
        if key not in known:
            known[key] = Interpolator.at(points, volume.affine, volume.data.shape)
        out[name] = known[key]
    return out


def _spread(
    index: NDArray[np.int64], n: int, values: NDArray[np.float64], count: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Standard deviation (n - 1) per cell in two passes; NaN below two points."""
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(index, values, n) / count
        square = np.bincount(index, (values - mean[index]) ** 2, n)
        return np.asarray(np.where(count > 1, np.sqrt(square / (count - 1)), np.nan))


def _count_streamlines(index: NDArray[np.int64], n: int, points: _Points, use: NDArray[np.bool_]) -> NDArray[np.int64]:
    seen = np.zeros((n, max(1, points.n_streamlines)), dtype=bool)
    seen[index[use], points.streamline[use]] = True
    return np.asarray(seen.sum(axis=1), dtype=np.int64)


def _cells(
    index: NDArray[np.int64], n: int, nearness: NDArray[np.float64] | None, points: _Points, min_points: int
) -> Cells:
    """Means of every scalar per cell, weighted by `nearness` (P,) and by the streamlines' own weights."""
    mean, sd = {}, {}
    weight = _product(nearness, points.weight)
    total = np.bincount(index, minlength=n)
    status = np.full(n, "ok", dtype="U16")
    valid_any = np.zeros(len(index), dtype=bool)
    for name, values in points.values.items():
        finite = points.finite[name]
        every = bool(finite.all())
        i, v = (index, values) if every else (index[finite], values[finite])
        w = None if weight is None else (weight if every else weight[finite])
        count = np.bincount(i, minlength=n)
        with np.errstate(invalid="ignore", divide="ignore"):
            m = np.bincount(i, v if w is None else v * w, n) / (count if w is None else np.bincount(i, w, n))
        spread = _spread(i, n, v, count)
        few = count < min_points
        mean[name], sd[name] = np.where(few, np.nan, m), np.where(few, np.nan, spread)
        outside = np.bincount(index[points.outside[name]], minlength=n)
        masked = total - outside - count
        reason = np.where(outside >= masked, "out_of_fov", "masked")
        reason = np.where(total < min_points, "few_points", reason)
        status = np.where(few & (status == "ok"), np.where(total == 0, "no_points", reason), status)
        valid_any |= finite
    n_points = total if valid_any.all() else np.bincount(index[valid_any], minlength=n)
    counts = _count_streamlines(index, n, points, valid_any)
    return Cells(mean, sd, n_points, counts, status.astype(np.str_), _lesion_load(index, n, points))


def _product(one: NDArray[np.float64] | None, other: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
    """Of two weights; None counts as 1."""
    if one is None or other is None:
        return one if other is None else other
    return one * other


def _lesion_load(index: NDArray[np.int64], n: int, points: _Points) -> NDArray[np.float64] | None:
    """Share of each cell's points in the lesion."""
    if points.lesion is None:
        return None
    total = np.bincount(index, minlength=n)
    return np.asarray(np.bincount(index[points.lesion], minlength=n) / np.where(total > 0, total, np.nan))


def profile(
    rec: Bundle,
    grid: Grid,
    volumes: Mapping[str, Volume],
    *,
    org: Bundle | None = None,
    mask: Volume | None = None,
    exclude: Volume | None = None,
    lesion: Volume | None = None,
    weights: NDArray[np.float64] | None = None,
    min_points: int = 5,
) -> Profile:
    """Profiles of one bundle on one grid.

    Parameters
    ----------
    rec : Bundle
        The subject's streamlines in atlas space.
    grid : Grid
        The atlas bundle's grid.
    volumes : mapping of str to Volume
        Scalar maps in the space of `org`, by name.
    org : Bundle, optional
        The same streamlines in the space of the maps; `rec` where the spaces agree.
    mask : Volume, optional
        Points whose nearest voxel is 0 do not count.
    exclude : Volume, optional
        Points whose nearest voxel is not 0 do not count.
    lesion : Volume, optional
        Not 0 in lesions: their share of each cell is measured; points in them count all the same.
    weights : (S,) float, optional
        How much each streamline counts, at least 0.
    min_points : int
        Cells with fewer valid points are missing.

    Returns
    -------
    Profile

    Raises
    ------
    ValueError
        If rec and org differ in their number of streamlines, weights have another number, or there is no map.

    """
    if not volumes:
        raise ValueError("profile needs at least one scalar map")
    rec, org, paired = pair(rec, org if org is not None else rec)
    finest = min(volume.voxel_size for volume in volumes.values())
    rec, org, refined = refine(rec, org, min(grid.s_len, finest) / 2)
    where = assign(grid, rec)
    if weights is not None and len(weights) != org.n_streamlines:
        raise ValueError(f"there are {len(weights)} weights for {org.n_streamlines} streamlines")
    points = _sample(org, volumes, mask, exclude)
    points = replace(
        points, weight=None if weights is None else weights[points.streamline], lesion=_inside(lesion, org)
    )
    return Profile(
        along=_cells(where.s, grid.ns, 1.0 / (where.d + 1e-8), points, min_points),
        across=_cells(where.s * grid.nr + where.r_bin, grid.ns * grid.nr, None, points, min_points),
        bundle_mean={name: _mean(points.values[name], points.finite[name], points.weight) for name in points.values},
        volume_mm3=points.volume_mm3,
        share_outside=_share_outside(points),
        share_jumping=where.share_jumping,
        resampled=paired or refined,
        lesion_load=None
        if points.lesion is None
        else float(points.lesion.mean())
        if len(points.lesion)
        else float("nan"),
    )


def _inside(mask: Volume | None, org: Bundle) -> NDArray[np.bool_] | None:
    """Where a mask is not 0, (P,); None without a mask."""
    return None if mask is None else np.asarray(np.nan_to_num(sample_nearest(mask, org.points)) != 0)


def _sample(org: Bundle, volumes: Mapping[str, Volume], mask: Volume | None, exclude: Volume | None) -> _Points:
    interpolators = _interpolators(org.points, volumes)
    values = {name: interpolators[name].sample(volume.data) for name, volume in volumes.items()}
    finite = {name: np.isfinite(v) for name, v in values.items()}
    kept, left_out = _inside(mask, org), _inside(exclude, org)
    if kept is not None:
        finite = {name: f & kept for name, f in finite.items()}
    if left_out is not None:
        finite = {name: f & ~left_out for name, f in finite.items()}
    outside = {name: ~found.inside for name, found in interpolators.items()}
    name, first = next(iter(volumes.items()))
    visited = interpolators[name].n_visited * abs(float(np.linalg.det(first.affine[:3, :3])))
    return _Points(org.streamline_ids, org.n_streamlines, outside, visited, values, finite)


def _share_outside(points: _Points) -> float:
    """Share of points that lie in no map's field of view."""
    nowhere = np.all(list(points.outside.values()), axis=0)
    return float(nowhere.mean()) if len(nowhere) else 0.0


def _mean(values: NDArray[np.float64], use: NDArray[np.bool_], weight: NDArray[np.float64] | None) -> float:
    if not use.any() or (weight is not None and not weight[use].any()):
        return float("nan")
    return float(values[use].mean() if weight is None else np.average(values[use], weights=weight[use]))
