"""A block's p values in one: is there any effect in this block?

    simes        min_k n p_(k) / k                                                        Simes 1986
    acat         heavy-tailed sum: P(Cauchy > mean of tan((1/2 - p) π))                   Liu & Xie 2020
    bonferroni   min(1, n min p)
    minp-galwey  1 - (1 - min p)^M, M = (Σ √λ)² / Σ λ, λ > 0 the eigenvalues of the       Galwey 2009
                 correlation of the block's residuals
    gates        min_k M p_(k) / M_k, M_k the effective number of the k smallest          Li 2011

Size at nominal .05 for 96 cells under three strengths of spatial correlation (METHODS 5.3): Simes .020/.017/.016,
ACAT .034/.046/.052, Galwey .056/.054/.038, GATES .061/.048/.029. Those that take cells for independent are refused.
"""

from __future__ import annotations

from typing import get_args

import numpy as np
from numpy.typing import NDArray

from spectra_bids.errors import UsageError
from spectra_bids.settings import Combination

F = NDArray[np.float64]

#: Every method that `combine` knows.
COMBINATIONS = get_args(Combination)
#: Those that need the correlation of the block's residuals.
NEED_CORRELATION = ("minp-galwey", "gates")
_REFUSED = {
    "fisher": ".156/.228/.285",
    "stouffer": ".171/.254/.364",
    "simes-meff": ".073/.069/.127",
}
#: Correlation of two-sided p values from that of their statistics: Li 2011's polynomial, powers 1 to 6.
_P_VALUE_CORRELATION = (-0.0009, 0.6281, 0.0099, 0.0588, -0.0127, 0.2982)


def require_combination(method: str) -> None:
    """UsageError for a way of combining that is not offered, with the reason where it is refused on purpose."""
    if method in COMBINATIONS:
        return
    offered = f"Use one of {', '.join(COMBINATIONS)}"
    if method in _REFUSED:
        raise UsageError(
            f"The combination '{method}' takes the cells of a block for independent. Neighbouring cells are not: its "
            f"type I error at nominal .05 is {_REFUSED[method]} under weak, middle and strong spatial correlation "
            f"(96 cells), where Simes' is .020/.017/.016",
            offered,
        )
    raise UsageError(f"There is no combination of p values called '{method}'", offered)


def combine(p: F, method: str = "simes", correlation: F | None = None) -> float:
    """One p value for the finite ones of `p` (n,); NaN without any.

    Parameters
    ----------
    p : (n,) float
        NaN = not tested.
    method : str
        As in the module's table.
    correlation : (n, n) float, optional
        Correlation of the cells' residuals, rows as `p`; `minp-galwey` and `gates` need it.

    Raises
    ------
    UsageError
        For `fisher`, `stouffer`, `simes-meff` (not valid for correlated cells) and unknown names.
    ValueError
        If the correlation is missing or of another shape.

    Examples
    --------
    >>> import numpy as np
    >>> round(combine(np.array([0.01, 0.02, 0.4])), 12)
    0.03

    """
    require_combination(method)
    p = np.asarray(p, np.float64)
    keep = np.isfinite(p)
    valid = p[keep]
    if method not in NEED_CORRELATION:
        return {"simes": simes, "acat": acat, "bonferroni": bonferroni}[method](valid)
    if correlation is None:
        raise ValueError(f"combination '{method}' needs the correlation of the block's residuals")
    if np.shape(correlation) != (len(p), len(p)):
        raise ValueError(f"correlation must be {(len(p), len(p))}, as the p values. Got {np.shape(correlation)}")
    kept = np.asarray(correlation, np.float64)[np.ix_(keep, keep)]
    return minp_galwey(valid, kept) if method == "minp-galwey" else gates(valid, kept)


def simes(p: F) -> float:
    """Simes' combination min_k n p_(k) / k of the finite p values; NaN without any."""
    p = np.sort(p[np.isfinite(p)])
    return float((len(p) / np.arange(1, len(p) + 1) * p).min()) if len(p) else float("nan")


def bonferroni(p: F) -> float:
    """min(1, n min p) of the finite p values; NaN without any."""
    p = p[np.isfinite(p)]
    return float(min(1.0, len(p) * p.min())) if len(p) else float("nan")


def acat(p: F) -> float:
    """Aggregated Cauchy test with equal weights of the finite p values; NaN without any.

    A p of exactly 1 is -∞ on the Cauchy scale and would outweigh everything: it counts as 1 - 1/n, as in its authors'
    later programs.
    """
    p = p[np.isfinite(p)]
    if len(p) <= 1 or p.min() == 0:
        return float(p.min()) if len(p) else float("nan")
    p = np.where(p == 1, 1 - 1 / len(p), p)
    tiny = p < 1e-15  # tan(π/2 - πp) = 1/(πp) there, and 1/2 - p loses p
    t = float(np.where(tiny, 1 / (np.pi * np.maximum(p, 1e-300)), np.tan(np.pi * (0.5 - p))).mean())
    return float(np.arctan(1 / t) / np.pi if t > 0 else 0.5 - np.arctan(t) / np.pi)


def effective_tests(correlation: F) -> float:
    """Galwey's effective number of tests (Σ √λ)² / Σ λ over the positive eigenvalues; 0 of no tests."""
    if len(correlation) == 0:
        return 0.0
    values = np.linalg.eigvalsh(_usable(correlation))
    values = values[values > 0]
    return float(np.sqrt(values).sum() ** 2 / values.sum())


def minp_galwey(p: F, correlation: F) -> float:
    """1 - (1 - min p)^M of finite p values (n,) with the correlation (n, n) of their residuals; NaN without any."""
    if len(p) == 0:
        return float("nan")
    with np.errstate(divide="ignore"):
        return float(-np.expm1(effective_tests(correlation) * np.log1p(-p.min())))


def gates(p: F, correlation: F) -> float:
    """GATES, min_k M p_(k) / M_k, of finite p values (n,) with the correlation (n, n) of their residuals.

    M_k = k - Σ (λ - 1) over the eigenvalues λ > 1 of the correlation of the k smallest p values, which Li 2011
    approximates from that of the statistics. As M_k <= k, a k with M p_(k) / k above the best so far is not computed.
    """
    if len(p) == 0:
        return float("nan")
    order = np.argsort(p, kind="stable")
    ranked = p[order]
    r = _usable(correlation)[np.ix_(order, order)]
    between = sum(c * r**k for k, c in enumerate(_P_VALUE_CORRELATION, start=1))
    everything = _effective_ordered(np.asarray(between))
    bound = everything * ranked / np.arange(1, len(p) + 1)
    best = float(ranked[-1])
    for k in np.argsort(bound, kind="stable"):  # an eigenvalue problem each, 1 ms for 100 cells; mostly a few
        if bound[k] >= best:
            break
        best = min(best, everything * ranked[k] / _effective_ordered(np.asarray(between)[: k + 1, : k + 1]))
    return min(1.0, best)


def _effective_ordered(correlation: F) -> float:
    n = len(correlation)
    values = np.linalg.eigvalsh(correlation)
    if values[0] < 0:
        values = values[values > 0]
        values = values / values.sum() * n
    return float(n - (values[values > 1] - 1).sum())


def _usable(correlation: F) -> F:
    """Symmetric, 1 on the diagonal, 0 where cells share too few rows for a correlation."""
    r = np.nan_to_num(np.asarray(correlation, np.float64))
    r = (r + r.T) / 2
    np.fill_diagonal(r, 1.0)
    return r
