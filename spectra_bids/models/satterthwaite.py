"""Tests of contrasts in fitted mixed models: t with Satterthwaite degrees of freedom, F as lmerTest's contestMD.

With v = σ² L'A⁻¹L, A = X'V⁻¹X, and V_par = 2 H⁺ the covariance of (θ, σ) from the Hessian of the REML deviance
(METHODS 4.2): df = 2 v² / (g' V_par g), g the gradient of v in (θ, σ). At θ = 0 this is n - p.
"""

from __future__ import annotations

import numpy as np

from spectra_bids.models.reml import Bool, F, State, Terms

_EIGEN = 1e-8  # eigenvalues of the Hessian below this are dropped, as lmerTest does


def variance_of_parameters(terms: Terms, lam: F, sigma2: F, df: F) -> F:
    """Covariance matrix of (θ, σ): 2 H⁺, H the Hessian of the REML deviance, (C, 2, 2)."""
    d1 = terms.logdet1 + terms.rss1 / sigma2
    d2 = terms.logdet2 + terms.rss2 / sigma2
    sigma, theta = np.sqrt(sigma2), np.sqrt(lam)
    h = np.empty((len(lam), 2, 2))
    h[:, 0, 0] = 4 * lam * d2 + 2 * d1
    h[:, 0, 1] = h[:, 1, 0] = -4 * theta * terms.rss1 / (sigma2 * sigma)
    h[:, 1, 1] = 4 * df / sigma2
    usable = np.asarray(np.isfinite(h).all(axis=(1, 2)))
    values, vectors = np.linalg.eigh(np.where(usable[:, None, None], h, np.eye(2)))
    inverse = np.where(values > _EIGEN, 2.0 / np.where(values > _EIGEN, values, 1.0), 0.0)
    return np.asarray((vectors * inverse[:, None, :]) @ vectors.transpose(0, 2, 1))


def _satterthwaite(rows: F, state: State, theta: F, sigma2: F, variance: F) -> tuple[F, F]:
    """Variance v = σ² L'A⁻¹L of contrasts, (C, k), and their degrees of freedom 2 v² / (g'Vg), (C, k).

    rows : (k, p), or (C, k, p) where every cell has rows of its own.
    """
    al = state.inverse @ np.swapaxes(np.broadcast_to(rows, (len(theta), *rows.shape[-2:])), 1, 2)
    v = sigma2[:, None] * np.einsum("cpk,ckp->ck", al, np.broadcast_to(rows, (len(theta), *rows.shape[-2:])))
    v_theta = -2 * theta[:, None] * sigma2[:, None] * np.einsum("cpk,cpk->ck", al, state.slope @ al)
    v_sigma = 2 * v / np.sqrt(sigma2)[:, None]
    spread = (
        v_theta**2 * variance[:, 0, 0, None]
        + 2 * v_theta * v_sigma * variance[:, 0, 1, None]
        + v_sigma**2 * variance[:, 1, 1, None]
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        return v, 2 * v**2 / spread


def test_contrast(rows: F, state: State, theta: F, sigma2: F, variance: F) -> dict[str, F]:
    """T test of one row, F test (lmerTest's contestMD) of several."""
    n = len(theta)
    nothing = np.full(n, np.nan)
    if len(rows) == 1:
        v, df = _satterthwaite(rows, state, theta, sigma2, variance)
        estimate = state.coefficients @ rows[0]
        se = np.sqrt(v[:, 0])
        with np.errstate(divide="ignore", invalid="ignore"):
            return {"estimate": estimate, "se": se, "df_num": np.ones(n), "df": df[:, 0], "value": estimate / se}
    cov = sigma2[:, None, None] * (rows @ state.inverse @ rows.T)
    d, vectors = np.linalg.eigh(cov)
    used = d > np.sqrt(np.finfo(float).eps) * d[:, -1:]
    turned = np.swapaxes(vectors, 1, 2) @ rows  # (C, k, p)
    _, nu = _satterthwaite(turned, state, theta, sigma2, variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        t2 = np.einsum("ckp,cp->ck", turned, state.coefficients) ** 2 / d
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
