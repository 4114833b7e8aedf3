"""Tests of contrasts in fitted mixed models: t with Satterthwaite degrees of freedom, F as lmerTest's contestMD.

With v = σ² L'(X'V⁻¹X)⁻¹L and V_par = 2 H⁺ the covariance of (θ, σ), H the Hessian of the deviance

    logdet(θ) + rss(θ) / σ² + 2 ν log σ

at its minimum (METHODS 4.2): df = 2 v² / (g' V_par g), g the gradient of v in (θ, σ). Where θ = 0 this is ν.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spectra_bids.models.reml import Bool, F, Terms
from spectra_bids.models.reml import State as AtLambda

_EIGEN = 1e-8  # eigenvalues of the Hessian below this are dropped, as lmerTest does


@dataclass(frozen=True, eq=False)
class Fitted:
    """What inference needs of C fitted cells with m parameters θ.

    inverse (C, p, p) is (X'V⁻¹X)⁻¹, slopes (C, m, p, p) its derivatives in θ, coefficients (C, p), sigma2 (C,), and
    variance (C, m + 1, m + 1) the covariance of (θ, σ).
    """

    inverse: F
    slopes: F
    coefficients: F
    sigma2: F
    variance: F


def of_intercept(at: AtLambda, terms: Terms, lam: F, sigma2: F, df: F) -> Fitted:
    """The same for one random intercept, from derivatives in λ = θ²."""
    theta = np.sqrt(lam)
    slopes = -2 * theta[:, None, None] * (at.inverse @ at.slope @ at.inverse)
    d1 = terms.logdet1 + terms.rss1 / sigma2
    d2 = terms.logdet2 + terms.rss2 / sigma2
    curvature = 4 * lam * d2 + 2 * d1
    rss1 = 2 * theta * terms.rss1
    variance = variance_of_parameters(curvature[:, None, None], rss1[:, None], sigma2, df)
    return Fitted(at.inverse, slopes[:, None], at.coefficients, sigma2, variance)


def variance_of_parameters(curvature: F, rss1: F, sigma2: F, df: F) -> F:
    """Covariance of (θ, σ), 2 H⁺, (C, m + 1, m + 1).

    curvature (C, m, m) is logdet'' + rss''/σ² in θ, rss1 (C, m) the gradient of rss.
    """
    m = rss1.shape[1]
    sigma = np.sqrt(sigma2)
    h = np.empty((len(df), m + 1, m + 1))
    h[:, :m, :m] = curvature
    h[:, :m, m] = h[:, m, :m] = -2 * rss1 / (sigma2 * sigma)[:, None]
    h[:, m, m] = 4 * df / sigma2
    usable = np.asarray(np.isfinite(h).all(axis=(1, 2)))
    values, vectors = np.linalg.eigh(np.where(usable[:, None, None], h, np.eye(m + 1)))
    inverse = np.where(values > _EIGEN, 2.0 / np.where(values > _EIGEN, values, 1.0), 0.0)
    return np.asarray((vectors * inverse[:, None, :]) @ np.swapaxes(vectors, 1, 2))


def _satterthwaite(rows: F, fit: Fitted) -> tuple[F, F]:
    """Variance v of contrasts, (C, k), and their degrees of freedom 2 v² / (g'Vg), (C, k).

    rows : (k, p), or (C, k, p) where every cell has rows of its own.
    """
    v = fit.sigma2[:, None] * _quadratic(rows, fit.inverse[:, None])[:, :, 0]
    gradient = np.empty((*v.shape, fit.slopes.shape[1] + 1))
    gradient[:, :, :-1] = fit.sigma2[:, None, None] * _quadratic(rows, fit.slopes)
    gradient[:, :, -1] = 2 * v / np.sqrt(fit.sigma2)[:, None]
    spread = np.einsum("ckm,ckm->ck", gradient @ fit.variance, gradient)
    with np.errstate(divide="ignore", invalid="ignore"):
        return v, 2 * v**2 / spread


def _quadratic(rows: F, matrices: F) -> F:
    """L'AL per row, (C, k, m), of matrices (C, m, p, p), for rows (k, p) or (C, k, p)."""
    if rows.ndim == 3:
        return np.asarray(np.einsum("cmpk,ckp->ckm", matrices @ np.swapaxes(rows, 1, 2)[:, None], rows))
    cells, m, p, _ = matrices.shape
    # one product for all cells: many small ones cost five times as much
    half = (matrices.reshape(-1, p) @ rows.T).reshape(cells, m, p, len(rows))
    return np.asarray(np.einsum("cmpk,kp->ckm", half, rows))


def test_contrast(rows: F, fit: Fitted) -> dict[str, F]:
    """T test of one row, F test (lmerTest's contestMD) of several."""
    n = len(fit.sigma2)
    nothing = np.full(n, np.nan)
    if len(rows) == 1:
        v, df = _satterthwaite(rows, fit)
        estimate = fit.coefficients @ rows[0]
        se = np.sqrt(v[:, 0])
        with np.errstate(divide="ignore", invalid="ignore"):
            return {"estimate": estimate, "se": se, "df_num": np.ones(n), "df": df[:, 0], "value": estimate / se}
    cov = fit.sigma2[:, None, None] * (rows @ fit.inverse @ rows.T)
    usable = np.asarray(np.isfinite(cov).all(axis=(1, 2)))
    d, vectors = np.linalg.eigh(np.where(usable[:, None, None], cov, np.eye(len(rows))))
    used = d > np.sqrt(np.finfo(float).eps) * d[:, -1:]
    turned = np.swapaxes(vectors, 1, 2) @ rows  # (C, k, p)
    _, nu = _satterthwaite(turned, fit)
    with np.errstate(divide="ignore", invalid="ignore"):
        t2 = np.einsum("ckp,cp->ck", turned, fit.coefficients) ** 2 / d
    q = used.sum(axis=1)
    value = np.where(used, t2, 0.0).sum(axis=1) / q
    return {
        "estimate": nothing,
        "se": nothing,
        "df_num": q.astype(np.float64),
        "df": _pooled_df(nu, used),
        "value": value,
    }


def _pooled_df(nu: F, used: Bool) -> F:
    """Denominator df of an F statistic that averages squared t statistics with nu df each (lmerTest)."""
    q = used.sum(axis=1)
    top, bottom = np.where(used, nu, -np.inf).max(axis=1), np.where(used, nu, np.inf).min(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        e = np.where(used, nu / (nu - 2), 0.0).sum(axis=1)
        pooled = np.where(bottom <= 2, 2.0, 2 * e / (e - q))
        mean = np.where(used, nu, 0.0).sum(axis=1) / q
    return np.asarray(np.where(top - bottom < 1e-8, mean, pooled))
