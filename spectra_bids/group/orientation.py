"""Flip audit: is each session's 1D profile the way round that the cohort's is?

    r_cohort = cor(x_i, mean of the others)        r_reversed = cor(x_i, the same mean, its nodes in reverse order)

over the nodes that both have, and the margin r_cohort - r_reversed. Where it is negative the reverse wins. How much
that says depends on the bundle: with M the cohort's median margin and sigma its 1.4826 MAD, a bundle with M < 2.5 sigma
looks too much the same from both ends (cannot_tell). In the others a profile the wrong way round has a margin near -M:
one of -M / 2 or less, at least 3.75 sigma from the usual, is called reversed, one between that and 0 unclear.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F = NDArray[np.float64]

#: Usual margin, in robust standard deviations of the margins, from which on ends can be told apart.
TELLING = 2.5
#: Fewer sessions than this have no usual margin; nodes that a correlation takes at least.
LEAST, LEAST_NODES = 6, 5


@dataclass(frozen=True, eq=False)
class Audit:
    """Correlations (n,) with the others' mean and with its reverse, their usual difference, and verdicts (n,).

    Verdicts are those of qc_columns.VERDICTS; `mean` (nodes,) is that of all usable sessions.
    """

    r_cohort: F
    r_reversed: F
    usual: float
    verdicts: NDArray[np.object_]
    mean: F


def audit(values: F, usable: NDArray[np.bool_] | None = None) -> Audit:
    """Flip audit of the profiles (n, nodes) of one bundle and scalar; the means are over `usable` sessions."""
    seen = np.isfinite(values)
    of = np.ones(len(values), bool) if usable is None else usable
    counts = seen & of[:, None]
    total, n = np.where(counts, values, 0.0).sum(axis=0), counts.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / n
        others = (total - np.where(counts, values, 0.0)) / (n - counts)
    forward, backward = _correlations(values, others), _correlations(values, others[:, ::-1])
    margin = forward - backward
    known = np.isfinite(margin)
    usual, spread = np.nan, np.nan
    if (known & of).sum() >= LEAST:
        usual = float(np.median(margin[known & of]))
        spread = 1.4826 * float(np.median(np.abs(margin[known & of] - usual)))
    verdicts = np.full(len(values), "as_cohort", dtype=object)
    if usual > 0 and usual >= TELLING * spread:
        verdicts[known & (margin < 0)] = "unclear"
        verdicts[known & (margin <= -usual / 2)] = "reversed"
    else:
        verdicts[:] = "cannot_tell"
    verdicts[~known] = "not_measured"
    return Audit(forward, backward, usual, verdicts, mean)


def _correlations(a: F, b: F) -> F:
    """Row by row, over what both have; NaN with fewer than LEAST_NODES or without variance."""
    both = np.isfinite(a) & np.isfinite(b)
    n = both.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        x, y = (np.where(both, v - (np.where(both, v, 0).sum(axis=1) / n)[:, None], 0.0) for v in (a, b))
        xx, yy = (x**2).sum(axis=1), (y**2).sum(axis=1)
        size = (np.where(both, a, 0) ** 2).sum(axis=1), (np.where(both, b, 0) ** 2).sum(axis=1)
        varies = (xx > 1e-20 * size[0]) & (yy > 1e-20 * size[1]) & (n >= LEAST_NODES)
        return np.asarray(np.where(varies, (x * y).sum(axis=1) / np.sqrt(xx * yy), np.nan))
