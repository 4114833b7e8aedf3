"""How far each session's 1D profile is from the cohort's: a robust distance, and the limit above which it is unusual.

Values (n, nodes) of one bundle and scalar become z, deviations from the nodes' medians in 1.4826 MAD. Spherical
principal components (eigenvectors of the rows of z scaled to length 1, so that no row pulls more than another) span the
ways in which profiles vary; those that explain most of the robust variance are kept. As in ROBPCA there are two
distances: within these components the score distance, sqrt(sum_k ((t_k - median) / MAD)^2), for more than usual of what
is usual; and what they do not explain, the orthogonal distance, for a shape that nobody else has.

Limits hold over a whole bundle: with normal values about LEVEL of the bundles have any session above. The scores'
squares are held against k F(k, nu), the root of the orthogonal distance against t(nu), each at LEVEL / 2n. nu =
.37 (n - 1) as the MAD of n values knows the scale no better than the standard deviation of a third as many: few
sessions must be far out before they are called so. (ROBPCA takes the power 2/3, for a chi-squared sum of equal parts;
those left over are unequal, and it called 5-17 % of smooth normal bundles unusual where the root calls 1-8 %.)

References
----------
Locantore et al. (1999), Test 8: 1-73: spherical principal components.
Hubert, Rousseeuw & Vanden Branden (2005), Technometrics 47: 64-79: ROBPCA, equations 9 and 10 (score and orthogonal
distance), section 4.2 (limits).
Rousseeuw & Croux (1993), JASA 88: 1273-1283: efficiency of the MAD, 37 %.

"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F = NDArray[np.float64]

#: Share of bundles with any session above the limit, if values are normal.
LEVEL = 0.05
#: Fewer sessions than this say nothing about what is usual.
LEAST = 8
#: Components explain this share of the robust variance, and are at most this many.
EXPLAINED, MOST_COMPONENTS = 0.8, 6
_MAD, _EFFICIENCY = 1.4826, 0.37


@dataclass(frozen=True, eq=False)
class Distances:
    """Distances of n sessions.

    Parameters
    ----------
    score, orthogonal : (n,)
        The two distances; NaN for a session with fewer than half of the nodes, or where there is nothing to compare.
    score_limit, orthogonal_limit : float
    level : (n,)
        Median over nodes of z: how far a profile lies above (+) or below (-) the others as a whole.
    worst : (n,) int
        Node with the largest |z|; -1 without any.

    """

    score: F
    orthogonal: F
    score_limit: float
    orthogonal_limit: float
    level: F
    worst: NDArray[np.int64]

    @property
    def excess(self) -> F:
        """The larger of the two distances over its limit; above 1 is unusual."""
        with np.errstate(invalid="ignore"):
            return np.asarray(np.fmax(self.score / self.score_limit, self.orthogonal / self.orthogonal_limit))


def distances(values: F, usable: NDArray[np.bool_] | None = None) -> Distances:
    """Robust distances of profiles.

    Parameters
    ----------
    values : (n, nodes)
        NaN where not measured.
    usable : (n,) bool, optional
        Sessions that say what is usual; all are compared.

    """
    n = len(values)
    seen = np.isfinite(values)
    of = np.ones(n, bool) if usable is None else usable
    # First the nodes that half of the sessions have, then the sessions that have half of these nodes.
    nodes = np.flatnonzero(seen[of].mean(axis=0) >= 0.5) if of.any() else np.zeros(0, np.int64)
    whole = seen[:, nodes].mean(axis=1) >= 0.5 if len(nodes) else np.zeros(n, bool)
    z = _deviations(values[:, nodes], of & whole) if (of & whole).sum() >= LEAST else None
    if z is None:
        nothing = np.full(n, np.nan)
        return Distances(nothing, nothing, np.nan, np.nan, nothing, np.full(n, -1, np.int64))
    filled = _filled(z)
    filled[~whole] = 0.0
    score, orthogonal, k = _two_distances(filled, of & whole)
    m = int((of & whole).sum())
    score_limit, orthogonal_limit = _limits(orthogonal[of & whole], k, m)
    score[~whole], orthogonal[~whole] = np.nan, np.nan
    size = np.where(np.isfinite(z), np.abs(z), -1.0)
    worst = np.where(whole, nodes[size.argmax(axis=1)], -1)
    level = np.full(n, np.nan)
    level[whole] = np.nanmedian(z[whole], axis=1)
    return Distances(score, orthogonal, score_limit, orthogonal_limit, level, worst)


def _deviations(values: F, of: NDArray[np.bool_]) -> F | None:
    """Every value's z; None where no node varies. A node with next to no spread takes a tenth of the usual one."""
    middle, scale = _middle_and_scale(values[of])
    if not (scale > 0).any():
        return None
    floor = 0.1 * float(np.median(scale[scale > 0]))
    return np.asarray((values - middle) / np.maximum(scale, floor))


def _middle_and_scale(values: F) -> tuple[F, F]:
    """Median and 1.4826 MAD of each column."""
    middle = np.nanmedian(values, axis=0)
    return middle, _MAD * np.nanmedian(np.abs(values - middle), axis=0)


def _filled(z: F) -> F:
    """Gaps along the tract filled from the neighbouring nodes: what was not measured is taken as unremarkable."""
    out = z.copy()
    index = np.arange(z.shape[1])
    for row in np.flatnonzero(~np.isfinite(z).all(axis=1)):  # 10 microseconds each
        known = np.isfinite(z[row])
        if known.any():
            out[row] = np.interp(index, index[known], z[row, known])
    return out


def _two_distances(z: F, of: NDArray[np.bool_]) -> tuple[F, F, int]:
    """Score and orthogonal distance of all rows, and the number of components."""
    inner = z[of]
    lengths = np.linalg.norm(inner, axis=1)
    _, singular, axes = np.linalg.svd(inner[lengths > 0] / lengths[lengths > 0, None], full_matrices=False)
    axes = axes[singular > 1e-8 * singular[0]]
    scores = z @ axes.T
    middle, scale = _middle_and_scale(scores[of])
    order = np.argsort(-scale, kind="stable")
    shares = np.cumsum(scale[order] ** 2) / np.sum(scale**2)
    k = int(np.searchsorted(shares, EXPLAINED - 1e-12)) + 1
    k = max(1, min(k, MOST_COMPONENTS, int(of.sum()) // 5))
    kept = order[:k]
    score = np.sqrt((((scores[:, kept] - middle[kept]) / scale[kept]) ** 2).sum(axis=1))
    rest = (z**2).sum(axis=1) - (scores[:, kept] ** 2).sum(axis=1)
    return score, np.sqrt(np.maximum(rest, 0.0)), k


def _limits(orthogonal: F, k: int, n: int) -> tuple[float, float]:
    """Limits of the score distance and of the orthogonal distance of n sessions."""
    from scipy.stats import f, t

    nu = max(1.0, _EFFICIENCY * (n - 1))
    tail = LEVEL / (2 * n)
    middle, scale = _middle_and_scale(np.sqrt(orthogonal[:, None]))
    return float(np.sqrt(k * f.isf(tail, k, nu))), float((middle[0] + t.isf(tail, nu) * scale[0]) ** 2)
