"""ComBat: site (batch) effects on location and scale, estimated by empirical Bayes over cells, and removed.

    y_ic = α_c + x_i β_c + σ_c (γ_bc + √δ_bc ε_ic),   b the batch of row i
    y*_ic = α_c + x_i β_c + σ_c (z_ic - γ*_bc) / √δ*_bc,   z the standardised y

γ*, δ* are posterior means under priors N(γ̄_b, τ²_b) and InverseGamma(a_b, b_b), whose parameters are moments over the
cells (Johnson, Li and Rabinovic 2007, equations 3.1-3.4; Fortin 2017, 2018). Missing values are left out cell by
cell; a batch without values in a cell has its posterior from the prior alone. Rows may be a chosen reference group
(healthy controls): then all parameters are theirs and everybody is moved by them, so that what tells the others from
the controls is no part of the estimate. Rows count as independent, also those of one person.

References
----------
Johnson, Li and Rabinovic 2007, doi 10.1093/biostatistics/kxj037; Fortin et al. 2018, 10.1016/j.neuroimage.2017.11.024

"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spectra_bids.errors import DesignError

F = NDArray[np.float64]
Bool = NDArray[np.bool_]

_RANK = 1e-9  # smallest eigenvalue of a cell's scaled D'D, relative to the largest
_CONVERGED = 1e-10  # in γ and in δ, both in standard deviations; the published programs stop at 1e-4
_MOST_STEPS = 10_000


@dataclass(frozen=True, eq=False)
class Harmonized:
    """Values without batch effects, and what was taken away.

    Parameters
    ----------
    values : (n, C) float64
        NaN where the values were, and in all of a cell that cannot be harmonised.
    batches : B str
    n : (B,) int
        Rows that the parameters were estimated from.
    shift : (B, C) float64
        γ*σ, in the units of the values: what was taken from a batch's values. NaN as above.
    scale : (B, C) float64
        √δ*: the factor by which a batch's residuals were divided.
    left_out : (C,) bool
        Cells that have values but cannot be harmonised: constant, or too few values for batches and covariates.

    """

    values: F
    batches: tuple[str, ...]
    n: NDArray[np.int64]
    shift: F
    scale: F
    left_out: Bool


def combat(
    values: F,
    batch: Sequence[str] | NDArray[np.str_],
    covariates: F | None = None,
    reference: Bool | None = None,
    names: Sequence[str] = (),
) -> Harmonized:
    """Remove batch effects from the cells of one bundle and scalar.

    Parameters
    ----------
    values : (n, C) float
        NaN = missing.
    batch : (n,) str
        Batch of each row.
    covariates : (n, k) float, optional
        Columns whose effects are kept, without an intercept.
    reference : (n,) bool, optional
        Rows that the parameters are estimated from; default all.
    names : k str
        Names of the covariates' columns, for messages.

    Returns
    -------
    Harmonized

    Raises
    ------
    DesignError
        One batch alone; a batch with fewer than two rows of the reference; covariates that are linear combinations of
        each other and the batches, or that are not finite.

    """
    values = np.asarray(values, np.float64)
    n = len(values)
    levels, codes = np.unique(np.asarray(batch, dtype=str), return_inverse=True)
    x = np.empty((n, 0)) if covariates is None else np.asarray(covariates, np.float64).reshape(n, -1)
    fit = np.ones(n, dtype=bool) if reference is None else np.asarray(reference, dtype=bool)
    counts = np.bincount(codes[fit], minlength=len(levels))
    _require(levels, counts, x, names)
    one_hot = (codes[:, None] == np.arange(len(levels))).astype(np.float64)
    _require_rank(one_hot[fit], x[fit], names)
    size = np.where(x[fit].std(axis=0) > 0, x[fit].std(axis=0), 1.0)
    x = (x - x[fit].mean(axis=0)) / size  # only for the conditioning: the intercept takes the means
    located = _locate(values[fit], one_hot[fit], x[fit])
    expected = located.alpha + x @ located.beta
    with np.errstate(invalid="ignore", divide="ignore"):
        z = (values - expected) / located.sigma
    gamma, delta = _posterior(z[fit], one_hot[fit])
    root = np.sqrt(delta)
    with np.errstate(invalid="ignore"):
        harmonized = expected + located.sigma * (z - gamma[codes]) / root[codes]
    bad = ~np.isfinite(located.sigma)
    return Harmonized(
        values=harmonized,
        batches=tuple(str(level) for level in levels),
        n=counts.astype(np.int64),
        shift=gamma * located.sigma,
        scale=np.where(bad, np.nan, root),
        left_out=bad & np.isfinite(values).any(axis=0),
    )


def _require(levels: NDArray[np.str_], counts: NDArray[np.int64], x: F, names: Sequence[str]) -> None:
    """DesignError for batches and covariates that ComBat cannot work with."""
    if len(levels) < 2:
        raise DesignError(
            f"ComBat needs two batches or more. Got {len(levels)}: {', '.join(levels)}", "Leave out --harmonize."
        )
    if (counts < 2).any():
        few = ", ".join(f"{level} ({count})" for level, count in zip(levels, counts, strict=True) if count < 2)
        raise DesignError(
            f"ComBat needs two people or more of every batch, of the reference group if there is one. Got {few}",
            "Join small batches in the table, leave these people out, or use the batch as a random effect: (1|site).",
        )
    bad = np.flatnonzero(~np.isfinite(x).all(axis=0))
    if len(bad):
        raise DesignError(f"a covariate that ComBat keeps must be complete. {_name(int(bad[0]), names)} has n/a")


def _require_rank(one_hot: F, x: F, names: Sequence[str]) -> None:
    """DesignError that names a covariate which the batches and the covariates before it make up."""
    centred = x - one_hot @ np.linalg.lstsq(one_hot, x, rcond=None)[0]
    size = np.linalg.norm(x, axis=0)
    kept: list[int] = []
    for j in range(x.shape[1]):
        weights = np.linalg.lstsq(centred[:, kept], centred[:, j], rcond=None)[0] if kept else np.empty(0)
        if np.linalg.norm(centred[:, j] - centred[:, kept] @ weights) <= 1e-7 * size[j]:
            raise DesignError(
                f"{_name(j, names)} cannot be told from the batches and the other covariates among the people whom "
                "ComBat is fitted to: its effect cannot be kept",
                "Leave the covariate out; one that defines the reference group is the same in all of it.",
            )
        kept.append(j)


def _name(column: int, names: Sequence[str]) -> str:
    return f"covariate '{names[column]}'" if column < len(names) else f"covariate {column}"


@dataclass(frozen=True, eq=False)
class _Located:
    """Mean over batches (C,), effects of covariates (k, C), pooled standard deviation (C,): NaN = cannot be had."""

    alpha: F
    beta: F
    sigma: F


def _locate(values: F, one_hot: F, x: F) -> _Located:
    """Least squares per cell on batches and covariates, over the values that are there."""
    design = np.hstack([one_hot, x])
    seen = np.isfinite(values)
    y, w = np.where(seen, values, 0.0), seen.astype(np.float64)
    centre = y.sum(axis=0) / np.maximum(w.sum(axis=0), 1)
    y = np.where(seen, y - centre, 0.0)
    gram = np.einsum("ni,nc,nj->cij", design, w, design, optimize=True)
    counts = w.T @ one_hot
    absent = np.zeros((len(gram), design.shape[1]), dtype=bool)
    absent[:, : one_hot.shape[1]] = counts == 0
    gram[absent] = 0.0
    gram[:, np.arange(gram.shape[1]), np.arange(gram.shape[1])] += absent  # a batch that is not there is estimated as 0
    d = np.sqrt(np.einsum("cii->ci", gram))
    d[d == 0] = 1.0
    eigen = np.linalg.eigvalsh(gram / (d[:, :, None] * d[:, None, :]))
    n_parameters = design.shape[1] - absent.sum(axis=1)
    able = (eigen[:, 0] > _RANK * eigen[:, -1]) & (w.sum(axis=0) > n_parameters)
    gram[~able] = np.eye(gram.shape[1])
    coefficients = np.linalg.solve(gram, (design.T @ y).T[:, :, None])[:, :, 0].T  # (B + k, C)
    total = np.maximum(w.sum(axis=0), 1)
    alpha = centre + np.einsum("cb,bc->c", counts, coefficients[: one_hot.shape[1]]) / total
    residual = np.where(seen, y - design @ coefficients, 0.0)
    sigma = np.sqrt(np.einsum("nc,nc->c", residual, residual) / total)
    able &= sigma > 1e-12 * (np.abs(centre) + np.abs(y).max(axis=0, initial=0.0))
    return _Located(alpha, coefficients[one_hot.shape[1] :], np.where(able, sigma, np.nan))


def _posterior(z: F, one_hot: F) -> tuple[F, F]:
    """Posterior means of γ and δ, (B, C); where a batch has too few values, by the prior alone."""
    gamma, delta = np.full((2, one_hot.shape[1], z.shape[1]), np.nan)
    usable = np.isfinite(z).any(axis=0)
    for b, rows in enumerate(one_hot.astype(bool).T):
        gamma[b, usable], delta[b, usable] = _posterior_of_batch(z[np.ix_(rows, usable)])
    return gamma, delta


def _posterior_of_batch(z: F) -> tuple[F, F]:
    """The same for one batch, z (n_b, C), by alternation between γ and δ."""
    seen = np.isfinite(z)
    n, y = seen.sum(axis=0), np.where(seen, z, 0.0)
    mean = y.sum(axis=0) / np.maximum(n, 1)
    square = np.where(seen, (z - mean) ** 2, 0.0).sum(axis=0)  # about the mean
    full = n >= 2
    spread = square[full] / (n[full] - 1)
    spread[spread == 0] = 1.0  # as the published programs
    if full.sum() < 2 or np.ptp(spread) == 0 or np.ptp(mean[full]) == 0:  # nothing to learn a prior from
        own = np.ones(len(n))
        own[full] = spread
        return np.where(n > 0, mean, mean[full].mean() if full.any() else 0.0), own
    bar, tau2 = mean[full].mean(), mean[full].var(ddof=1)
    m, s2 = spread.mean(), spread.var(ddof=1)
    a, b = (2 * s2 + m**2) / s2, (m * s2 + m**3) / s2
    delta = np.ones(len(n))
    delta[full] = spread
    gamma = mean
    for _ in range(_MOST_STEPS):
        new = (tau2 * n * mean + delta * bar) / (tau2 * n + delta)
        scale = (0.5 * (square + n * (mean - new) ** 2) + b) / (n / 2 + a - 1)
        change = max(np.abs(new - gamma).max(), np.abs(scale - delta).max())
        gamma, delta = new, scale
        if change < _CONVERGED:
            break
    return gamma, delta
