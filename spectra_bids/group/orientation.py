"""Flip audit: is each session's 1D profile the way round that the cohort's is?

    r_cohort = cor(x_i, mean of the others)        r_reversed = cor(x_i, the same mean, its nodes in reverse order)

over the nodes that both have. Where r_reversed > r_cohort the reverse wins. A mean that looks the same from both ends
(symmetry = cor(mean, its reverse) >= SYMMETRIC) cannot tell, nor can a profile that is like neither.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F = NDArray[np.float64]

#: Correlation of the mean with its reverse from which on ends cannot be told apart.
SYMMETRIC = 0.8
#: Nodes that a correlation takes at least, and the least that the reverse must correlate to be called a flip.
LEAST_NODES, LIKE = 5, 0.3


@dataclass(frozen=True, eq=False)
class Audit:
    """Correlations (n,) with the mean of the others and with its reverse, and verdicts (n,), of columns.VERDICTS."""

    r_cohort: F
    r_reversed: F
    symmetry: float
    verdicts: NDArray[np.object_]
    mean: F


def audit(values: F, usable: NDArray[np.bool_] | None = None) -> Audit:
    """Flip audit of the profiles (n, nodes) of one bundle and scalar; the means are over `usable` sessions."""
    seen = np.isfinite(values)
    counts = seen if usable is None else seen & usable[:, None]
    filled = np.where(seen, values, 0.0)
    total, n = np.where(counts, filled, 0.0).sum(axis=0), counts.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / n
        others = (total - np.where(counts, filled, 0.0)) / (n - counts)
    forward, backward = _correlations(values, others), _correlations(values, others[:, ::-1])
    symmetry = float(_correlations(mean[None], mean[None, ::-1])[0])
    verdicts = np.full(len(values), "as_cohort", dtype=object)
    with np.errstate(invalid="ignore"):
        wins = backward > forward
        verdicts[wins] = np.where(backward[wins] >= LIKE, "reversed", "unlike")
    if not symmetry < SYMMETRIC:
        verdicts[:] = "cannot_tell"
    verdicts[~(np.isfinite(forward) & np.isfinite(backward))] = "not_measured"
    return Audit(forward, backward, symmetry, verdicts, mean)


def _correlations(a: F, b: F) -> F:
    """Row by row, over what both have; NaN with fewer than LEAST_NODES or without variance."""
    both = np.isfinite(a) & np.isfinite(b)
    n = both.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        x, y = (np.where(both, v - (np.where(both, v, 0).sum(axis=1) / n)[:, None], 0.0) for v in (a, b))
        xx, yy = (x**2).sum(axis=1), (y**2).sum(axis=1)
        size = (np.where(both, a, 0) ** 2).sum(axis=1), (np.where(both, b, 0) ** 2).sum(axis=1)
        varies = (xx > 1e-20 * size[0]) & (yy > 1e-20 * size[1]) & (n >= LEAST_NODES)
        return np.where(varies, (x * y).sum(axis=1) / np.sqrt(xx * yy), np.nan)
