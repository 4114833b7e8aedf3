"""Smoothness of residuals on a bundle's grid, and blocks as large as it: resels.

Noise smoothed by a Gaussian of width FWHM has between neighbours the correlation ρ = exp(-2 ln 2 / FWHM²), so that

    FWHM = √(-2 ln 2 / ln ρ) cells,    edge of a block = max(1, round(FWHM)),

along s and r apart, ρ the mean correlation of neighbours. Everything follows from the correlation matrix of a bundle's
residuals, which a map step can store (float32) and a reduce step read.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spectra_bids.inference.fdr import F, I, group


@dataclass(frozen=True)
class Smoothness:
    """Mean correlation of neighbouring residuals and FWHM in cells, along s and r (NaN without such neighbours).

    FWHM is 0 where neighbours are not positively correlated, infinite where they are identical.
    """

    rho_s: float
    rho_r: float
    fwhm_s: float
    fwhm_r: float


def correlate(residuals: F) -> NDArray[np.float32]:
    """Correlation of cells over rows, pairwise complete.

    Parameters
    ----------
    residuals : (n, C) float
        NaN = missing. Conditional residuals of the model (random effects taken out): those that the tests' noise
        is made of.

    Returns
    -------
    (C, C) float32
        NaN where two cells share fewer than 3 rows or one of them is constant there.

    """
    residuals = np.asarray(residuals, np.float64)
    seen = np.isfinite(residuals)
    with np.errstate(invalid="ignore", divide="ignore"):
        count = np.maximum(seen.sum(axis=0), 1)
        mean = np.where(seen, residuals, 0.0).sum(axis=0) / count
        centred = np.where(seen, residuals - mean, 0.0)
        sd = np.sqrt((centred**2).sum(axis=0) / count)
        z = np.where(sd > 0, centred / sd, 0.0)
        mask = seen.astype(np.float64)
        n = mask.T @ mask
        total, square = z.T @ mask, (z**2).T @ mask  # of cell i over the rows that cell j has too
        cross = z.T @ z - total * total.T / n
        spread = np.where(square - total**2 / n > 1e-12 * n, square - total**2 / n, np.nan)
        r = np.where(n >= 3, cross / np.sqrt(spread * spread.T), np.nan)
    return np.clip(r, -1, 1).astype(np.float32)


def smoothness(correlation: NDArray[np.floating], s: I, r: I | None = None) -> Smoothness:
    """Smoothness of a bundle from the correlation (C, C) of its cells' residuals and their grid positions (C,).

    Positions need not be complete: neighbours are cells whose index differs by one along one axis only.
    """
    across = np.zeros_like(s) if r is None else r
    rho_s = _neighbours(correlation, s, across)
    rho_r = _neighbours(correlation, across, s) if r is not None else float("nan")
    return Smoothness(rho_s, rho_r, _fwhm(rho_s), _fwhm(rho_r))


def _neighbours(correlation: NDArray[np.floating], along: I, across: I) -> float:
    """Mean correlation of the pairs one step apart along an axis; NaN without any."""
    row = {position: k for k, position in enumerate(zip(along.tolist(), across.tolist(), strict=True))}
    pairs = [(k, row[a + 1, b]) for (a, b), k in row.items() if (a + 1, b) in row]
    if not pairs:
        return float("nan")
    first, second = np.array(pairs).T
    found = np.asarray(correlation, np.float64)[first, second]
    return float(found[np.isfinite(found)].mean()) if np.isfinite(found).any() else float("nan")


def _fwhm(rho: float) -> float:
    if np.isnan(rho):
        return float("nan")
    if rho <= 0:
        return 0.0
    return float(np.sqrt(-2 * np.log(2) / np.log(rho))) if rho < 1 else float("inf")


def resels(s: I, r: I | None, smooth: Smoothness) -> I:
    """Number of each cell's block, (C,): 0, 1, ... along s, then r.

    The extent of the grid along an axis is cut into round(extent / edge) even pieces; a block of fewer than two cells
    joins the smallest block that touches it (the nearest, if none does).
    """
    across = np.zeros_like(s) if r is None else r
    label = _piece(s, smooth.fwhm_s) * (int(across.max(initial=0)) + 1) + _piece(across, smooth.fwhm_r)
    label = np.asarray(np.unique(label, return_inverse=True)[1], np.int64)
    while True:
        counts = np.bincount(label)
        lonely = np.flatnonzero(counts == 1)
        if not len(lonely) or len(counts) < 2:
            return label
        cell = int(np.flatnonzero(label == lonely[0])[0])
        others = np.flatnonzero(label != lonely[0])
        distance = np.hypot(s[others] - s[cell], across[others] - across[cell])
        near = label[others[distance == distance.min()]]
        label[cell] = near[np.argmin(counts[near])]
        label = np.asarray(np.unique(label, return_inverse=True)[1], np.int64)


def _piece(position: I, fwhm: float) -> I:
    """Which even piece of the axis each position lies in."""
    if not len(position):
        return position
    low, extent = int(position.min()), int(position.max() - position.min()) + 1
    edge = 1 if np.isnan(fwhm) else max(1.0, float(np.round(min(fwhm, extent))))
    pieces = max(1, round(extent / edge))
    return np.asarray((position - low) * pieces // extent, np.int64)


def block_correlations(
    bundles: NDArray[np.generic], blocks: NDArray[np.generic], by_bundle: Mapping[Hashable, NDArray[np.floating]]
) -> dict[Hashable, F]:
    """Correlations of blocks, cut out of those of the bundles that they are parts of.

    Parameters
    ----------
    bundles, blocks : (N,)
        Labels of each cell; a block lies in one bundle.
    by_bundle : mapping of bundle -> (C, C)
        Correlation of residuals, rows as the bundle's cells come in `bundles`.

    Returns
    -------
    dict of block -> (n_b, n_b) float
        As `hierarchical_fdr` takes it.

    Raises
    ------
    ValueError
        If a block spans bundles, or a correlation has not as many rows as its bundle has cells.

    """
    place = np.empty(len(bundles), np.int64)
    for name, _, rows in zip(*_grouped(bundles), strict=True):
        if name in by_bundle and np.shape(by_bundle[name]) != (len(rows), len(rows)):
            shape = np.shape(by_bundle[name])
            raise ValueError(f"correlation of bundle {name!r} must be {(len(rows), len(rows))}, its cells. Got {shape}")
        place[rows] = np.arange(len(rows))
    found: dict[Hashable, F] = {}
    for name, _, rows in zip(*_grouped(blocks), strict=True):
        inside = set(np.asarray(bundles, dtype=object)[rows])
        if len(inside) > 1:
            raise ValueError(f"block {name!r} must lie in one bundle. Got {sorted(map(str, inside))}")
        matrix = by_bundle.get(inside.pop())
        if matrix is not None:
            found[name] = np.asarray(matrix[np.ix_(place[rows], place[rows])], np.float64)
    return found


def _grouped(labels: NDArray[np.generic]) -> tuple[list[Hashable], range, list[I]]:
    names, _, members = group(labels)
    return names.tolist(), range(len(names)), members
