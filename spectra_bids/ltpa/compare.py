"""Distributions compared by permutation: pair by pair, as wholes, and over many places.

The permuted statistics are those of `models.permutation` (Freedman-Lane, t or F by generalised least squares, as z):
one set of permutations for all cells. With z_k of the K pairs at a place,

    pair      p_fwe of |z_k| by the maximum over all pairs and places
    place     T = Σ z_k²      p = (b + 1) / (n + 1)        does the distribution differ at all?
    search    T^(1/3), standardised per place by its own permutations (the observed one among them), so that places
              with few and with many pairs compare; p_fwe by the maximum over places

Shares of one place add up to one: what one pair gains the others lose, so Σ z² counts the same change more than once.
That costs no validity, as every permutation does so too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spectra_bids.inference import Permutations, fwe_p
from spectra_bids.models.contrasts import Contrast
from spectra_bids.models.design import Design
from spectra_bids.models.fits import fit_design
from spectra_bids.models.permutation import Scan

F = NDArray[np.float64]
I = NDArray[np.int64]  # noqa: E741 - reads as F does

_TIE = 1 - 1e-9


@dataclass(frozen=True, eq=False)
class Compared:
    """One contrast: of C cells estimate, se (NaN for F), value (t or F), z, p, p_fwe, n; of V places the rest.

    `total` (V,) is T, `p_total` its p, `p_total_fwe` that over all places; NaN where no cell of a place was tested.
    """

    contrast: str
    statistic: str
    estimate: F
    se: F
    value: F
    z: F
    p: F
    p_fwe: F
    n: I
    total: F
    p_total: F
    p_total_fwe: F


def compare(
    values: F,
    place: I,
    n_places: int,
    design: Design,
    contrast: Contrast,
    permutations: Permutations,
    min_subjects: int | None = None,
) -> Compared:
    """Test one contrast.

    Parameters
    ----------
    values : (n, C) float
        NaN = missing.
    place : (C,) int
        Place of each cell, rising from 0.
    n_places : int
    design : Design
        Of the n rows, with one random intercept or none.
    contrast : Contrast
    permutations : Permutations
    min_subjects : int, optional
        Fewest subjects of a cell.

    """
    fit = fit_design(values, design, [contrast], min_subjects)
    test = fit.tests[0]
    tested = np.isfinite(test.p)
    scan = Scan(values, design.X, contrast.weights, design.groups, tested)
    value, z = scan.observed()
    cells = np.flatnonzero(np.isfinite(z))
    if not len(cells):
        nothing = np.full(n_places, np.nan)
        return Compared(
            contrast.name, scan.statistic, test.estimate, test.se, value, z, z, z, fit.n, nothing, nothing, nothing
        )
    starts = np.flatnonzero(np.r_[True, np.diff(place[cells]) > 0])
    size = np.abs(z[cells])
    exceed, peaks, totals = np.zeros(len(cells)), [], []
    for start in range(0, len(permutations.index), scan.batch):
        part = slice(start, start + scan.batch)
        drawn = np.abs(scan.permuted(permutations.index[part], None)[:, cells])
        exceed += (~(drawn < size * _TIE)).sum(axis=0)
        known = np.nan_to_num(drawn)
        peaks.append(known.max(axis=1))
        totals.append(np.add.reduceat(known**2, starts, axis=1))
    p, p_fwe = np.full(len(z), np.nan), np.full(len(z), np.nan)
    p[cells] = (exceed + 1) / (len(permutations.index) + 1)
    p_fwe[cells] = fwe_p(size, np.concatenate(peaks))
    here = np.add.reduceat(size**2, starts)
    total, p_total, p_search = (np.full(n_places, np.nan) for _ in range(3))
    there = place[cells][starts]
    total[there] = here
    p_total[there], p_search[there] = _places(here, np.concatenate(totals))
    return Compared(
        contrast.name, scan.statistic, test.estimate, test.se, value, z, p, p_fwe, fit.n, total, p_total, p_search
    )


def _places(observed: F, null: F) -> tuple[F, F]:
    """P of each place's T (V,), and over all places; `null` (B, V)."""
    p = ((null >= observed * _TIE).sum(axis=0) + 1) / (len(null) + 1)
    if len(observed) == 1:
        return p, p
    every = np.cbrt(np.concatenate([observed[None], null]))
    spread = every.std(axis=0)
    every = (every - every.mean(axis=0)) / np.where(spread > 0, spread, np.inf)
    largest = every[1:].max(axis=1)
    ranked = np.sort(largest)
    at_least = len(ranked) - np.searchsorted(ranked, every[0] - 1e-9, side="left")
    return p, (at_least + 1) / (len(ranked) + 1)
