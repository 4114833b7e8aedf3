"""The smallest effect that a study could have seen: 80 % power at the threshold its procedure came to.

An effect β with standard error SE gives a noncentral t with df degrees of freedom and noncentrality δ = β / SE. The
detectable effect is the δ with P(|t| > t(1 - threshold/2, df)) = power, times SE. "Nothing found" means something
where it is small.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from spectra_bids.inference.fdr import Decisions, F, group

_FAR = 100.0  # critical values from here on: the normal part of t no longer counts (error of δ below 1e-4)
_OTHER_TAIL = 1e-8


def detectable_effect(se: F, df: F, threshold: F | float, power: float = 0.8) -> F:
    """Smallest effect found with a given probability by a two-sided t test, per cell.

    Parameters
    ----------
    se : (C,) float
        Standard errors; the result has their units (divide by the values' SD for a standardised effect).
    df : (C,) float
        Degrees of freedom.
    threshold : (C,) float or float
        Largest p that is rejected.
    power : float
        Probability to find it.

    Returns
    -------
    (C,) float
        Absolute size of the effect; NaN where an input is.

    Examples
    --------
    >>> import numpy as np
    >>> detectable_effect(np.array([1.0, 0.5]), np.array([58.0, 58.0]), 0.05).round(3)
    array([2.849, 1.425])

    """
    se, df, threshold = np.broadcast_arrays(*(np.asarray(a, np.float64) for a in (se, df, threshold)))
    delta = np.full(se.shape, np.nan)
    ok = np.isfinite(se) & (df > 0) & (threshold > 0) & (threshold <= 1)
    nu = np.minimum(df[ok], 1e6)
    with np.errstate(over="ignore"):
        critical = -special.stdtrit(nu, threshold[ok] / 2)
    found = critical * np.sqrt(special.chdtri(nu, 1 - power) / nu)  # P(δ > critical √(χ²/ν)) = power
    near = np.flatnonzero(critical < _FAR)
    nu, critical = nu[near], critical[near]
    close = special.nctdtrinc(nu, 1 - power, critical)
    for _ in range(20):  # the other tail: nothing at small thresholds, some at large ones
        other = special.nctdtr(nu, close, -critical)
        which = np.flatnonzero(other > _OTHER_TAIL)
        if not len(which):
            break
        # beyond 1 - power in the far tail alone, any effect is found that often
        target = np.minimum(1 - power + other[which], 1 - _OTHER_TAIL)
        close[which] = np.maximum(special.nctdtrinc(nu[which], target, critical[which]), 0.0)
    found[near] = close
    delta[ok] = found
    return np.asarray(delta * np.abs(se))


def cell_thresholds(
    p: F, blocks: NDArray[np.generic], decisions: Decisions, alpha: float, alpha_block: float | None = None
) -> F:
    """Largest p with which a cell is, or would first have been, rejected: the realised threshold of a procedure.

    Over all cells (`fdr`): the largest rejected p; if nothing was rejected alpha / n, what the first rejection among
    the family's n valid cells needs (for the adaptive form give alpha / (1 + alpha)).

    Over blocks (`hierarchical_fdr`, give `alpha_block`): in a block with rejections its largest rejected p; in a
    selected block without, alpha R / (m n_b); in the others what a single cell needs to have its block selected and
    itself rejected, min(alpha, alpha_block) (R + 1) / (m n_b), by Simes or Bonferroni.

    Parameters
    ----------
    p, blocks : (N,)
        As they were decided on.
    decisions : Decisions
    alpha : float
        The first cell level.
    alpha_block : float, optional
        Level over blocks; None for `fdr`.

    Returns
    -------
    (N,) float
        NaN where p is.

    """
    p = np.asarray(p, np.float64)
    rejected = decisions.rejected[0]
    out = np.full(len(p), np.nan)
    if alpha_block is None:
        valid = np.isfinite(p)
        out[valid] = p[rejected].max() if rejected.any() else alpha / max(1, int(valid.sum()))
        return out
    m, r = int(np.isfinite(decisions.p_block).sum()), int(decisions.selected.sum())
    for rows, selected in zip(group(blocks)[2], decisions.selected, strict=True):
        valid = rows[np.isfinite(p[rows])]
        hits = valid[rejected[valid]]
        if len(hits):
            out[valid] = p[hits].max()
        elif len(valid):
            out[valid] = (alpha * r if selected else min(alpha, alpha_block) * (r + 1)) / (m * len(valid))
    return out
