"""Conditional residuals of many fits: what is left of y when fixed and predicted random effects are taken out.

With e = y - Xβ, U = Z Λ (so that Zb = σ U u, u ~ N(0, I)) and M = I + U'U:   e - U M⁻¹ U'e,   as residuals() of lme4.
With one grouping factor M is block diagonal, a small block per level.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spectra_bids.models.random import RandomPart
from spectra_bids.models.results import LmmFit

F = NDArray[np.float64]


def conditional_residuals(values: F, X: F, fit: LmmFit, weights: F | None = None) -> F:
    """Residuals of every cell, (n, C).

    Parameters
    ----------
    values : (n, C) float
        As they were fitted; NaN = missing, and stays so.
    X : (n, p) float
        Fixed effects.
    fit : LmmFit
        Of these values; a cell without coefficients or residual variance is NaN throughout.
    weights : (n,) float, optional
        Those of the fit.

    """
    root = np.ones(len(values)) if weights is None else np.sqrt(np.asarray(weights, np.float64))
    with np.errstate(invalid="ignore"):
        out = values - X @ fit.coefficients.T
    usable = np.isfinite(fit.coefficients).all(axis=1) & (fit.sd_residual > 0)
    out[:, ~usable] = np.nan
    if not fit.random:
        return np.asarray(out)
    if len(fit.random) == 1 and fit.random[0].is_intercept:
        return _without_intercept(out, fit, root)
    for cell in np.flatnonzero(usable):  # 0.1 to 1 ms each with one grouping factor: a bundle has some hundreds
        there = np.isfinite(out[:, cell])
        scaled = [_root(cov[cell]) / fit.sd_residual[cell] for cov in fit.covariances]
        out[there, cell] = _without_random(out[there, cell], fit.random, scaled, there, root[there])
    return np.asarray(out)


def _without_intercept(e: F, fit: LmmFit, root: F) -> F:
    """Residuals of all cells at once: b = λ Σwe / (1 + λ Σw) in every level, w the weights."""
    codes = np.unique(fit.random[0].codes, return_inverse=True)[1]
    seen = np.isfinite(e)
    level = np.zeros((int(codes.max()) + 1, len(codes)))
    level[codes, np.arange(len(codes))] = root**2
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.nan_to_num((fit.sd_random / fit.sd_residual) ** 2)
    b = level @ np.where(seen, e, 0.0) * (ratio / (1 + ratio * (level @ seen)))
    return np.asarray(e - b[codes])


def _root(covariance: F) -> F:
    """Λ with ΛΛ' = Ψ, of a covariance that may be singular; NaN (a part that is not in the cell) counts as none."""
    values, vectors = np.linalg.eigh(np.nan_to_num(covariance))
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def _without_random(e: F, parts: Sequence[RandomPart], roots: Sequence[F], there: NDArray[np.bool_], weight: F) -> F:
    """Residuals of one cell's rows, e - U M⁻¹ U'We, M = I + U'WU; `weight` is √W's diagonal."""
    columns = [part.columns[there] @ root for part, root in zip(parts, roots, strict=True)]
    codes = [np.unique(part.codes[there], return_inverse=True)[1] for part in parts]
    if len(parts) == 1:
        z, code = columns[0], codes[0]
        levels, q = int(code.max()) + 1, z.shape[1]
        gram, right = np.zeros((levels, q, q)), np.zeros((levels, q))
        heavy = z * weight[:, None] ** 2
        np.add.at(gram, code, heavy[:, :, None] * z[:, None, :])
        np.add.at(right, code, heavy * e[:, None])
        u = np.linalg.solve(gram + np.eye(q), right[:, :, None])[:, :, 0]
        return np.asarray(e - (z * u[code]).sum(axis=1))
    full = np.hstack([_spread(z, code) for z, code in zip(columns, codes, strict=True)])
    heavy = full * weight[:, None] ** 2
    return np.asarray(e - full @ np.linalg.solve(np.eye(full.shape[1]) + heavy.T @ full, heavy.T @ e))


def _spread(z: F, code: NDArray[np.int64]) -> F:
    """(n, q) columns and the level of each row -> (n, G q), those of a level beside each other."""
    n, q = z.shape
    out = np.zeros((n, int(code.max()) + 1, q))
    out[np.arange(n), code] = z
    return out.reshape(n, -1)
