"""Family-wise error by permutation: the largest statistic over all cells of a family, under every permutation.

The same permutations are used for all bundles, so that the maximum over a family is the maximum of its bundles' maxima:
a bundle's map step stores its own (one per permutation), the reduce step takes the largest and compares. With b of n
permutations at least as large as what was observed, p = (b + 1) / (n + 1) (Phipson & Smyth 2010).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from spectra_bids.inference.fdr import F

#: Rounding must not decide ties: a permutation that equals the observed labelling counts as large.
_TIE = 1 - 1e-9


@dataclass(frozen=True, eq=False)
class NullMaxima:
    """Largest |z|, cluster size, cluster mass and |TFCE| of a bundle (or family) per permutation, (n,) each."""

    peak: F
    size: F
    mass: F
    tfce: F


@dataclass(frozen=True, eq=False)
class Corrected:
    """Family-wise p of each cell, (C,): of its own statistic, its cluster's size and mass (1 in no cluster), TFCE."""

    peak: F
    size: F
    mass: F
    tfce: F


def joint_maxima(parts: Sequence[NullMaxima]) -> NullMaxima:
    """Maxima over bundles, permutation by permutation.

    Raises
    ------
    ValueError
        Without parts, or if they hold different numbers of permutations.

    """
    counts = {len(part.peak) for part in parts}
    if len(counts) != 1:
        raise ValueError(f"the bundles of a family must share their permutations. Got counts {sorted(counts)}")
    return NullMaxima(*(np.max([getattr(part, f.name) for part in parts], axis=0) for f in fields(NullMaxima)))


def fwe_p(observed: F, null: F) -> F:
    """(b + 1) / (n + 1), b of n null maxima at least as large as each |observed|; NaN stays NaN.

    Examples
    --------
    >>> import numpy as np
    >>> fwe_p(np.array([2.0, -5.0]), np.array([1.0, 2.5, 3.0]))
    array([0.75, 0.25])

    """
    size = np.abs(np.asarray(observed, np.float64))
    ranked = np.sort(null)
    larger = len(ranked) - np.searchsorted(ranked, size * _TIE, side="left")
    return np.asarray(np.where(np.isnan(size), np.nan, (larger + 1) / (len(ranked) + 1)))


def fwe_threshold(null: F, alpha: float) -> float:
    """Largest statistic that is not yet significant at `alpha` by `fwe_p`; infinite with too few permutations."""
    ranked = np.sort(null)
    allowed = int(np.floor(alpha * (len(ranked) + 1) + 1e-9)) - 1
    return float(ranked[len(ranked) - 1 - allowed]) if allowed >= 0 else float("inf")


def reduce_maxima(peak: F, size: F, mass: F, tfce: F, null: NullMaxima) -> Corrected:
    """Family-wise p values of cells from what was observed in them, (C,) each, NaN = not tested."""
    untested = np.isnan(peak)
    outside = np.where(untested, np.nan, 1.0)
    in_cluster = size > 0
    return Corrected(
        fwe_p(peak, null.peak),
        np.where(in_cluster, fwe_p(size, null.size), outside),
        np.where(in_cluster, fwe_p(mass, null.mass), outside),
        np.where(untested, np.nan, fwe_p(tfce, null.tfce)),
    )
