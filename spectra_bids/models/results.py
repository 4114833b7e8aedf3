"""What a fit of many cells comes to: tests, coefficients, variance components, in the units of y."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from spectra_bids.models.cells import Cells
from spectra_bids.models.random import F, I, RandomPart
from spectra_bids.models.reml import Bool
from spectra_bids.models.satterthwaite import Fitted, test_contrast

Estimation = Literal["reml", "ml"]


@dataclass(frozen=True, eq=False)
class Test:
    """One contrast over all cells; every array is (C,). `estimate`, `se`, `ci_low`, `ci_high` are NaN for F."""

    statistic: str
    estimate: F
    se: F
    df_num: F
    df: F
    value: F
    p: F
    ci_low: F
    ci_high: F


@dataclass(frozen=True, eq=False)
class LmmFit:
    """Fits of C cells.

    coefficients (C, p); sd_residual, sd_random, sd_values (C,) in the units of y (sd_values: of the raw values;
    sd_random: root of the mean over rows of the variance of Zb, which for intercepts is the root of their variances'
    sum; Johnson 2014); n, n_levels (C,) rows, and levels of the random factor that has most, in the fit; status (C,)
    as columns.FIT_STATUSES; tests: one per contrast.

    deviance (C,) is minus twice the (restricted) log-likelihood, constants included, as lme4's REMLcrit or deviance;
    means: tests that were asked for beside the contrasts, of adjusted means; nobody corrects them.
    covariances holds (C, q, q) per random part; theta (C, m) are the relative factors the engine works with.
    """

    coefficients: F
    sd_residual: F
    sd_random: F
    sd_values: F
    n: I
    n_levels: I
    status: NDArray[np.str_]
    tests: tuple[Test, ...]
    deviance: F
    estimation: Estimation
    random: tuple[RandomPart, ...]
    covariances: tuple[F, ...]
    theta: F = field(repr=False)
    means: tuple[Test, ...] = ()

    @property
    def log_likelihood(self) -> F:
        """Restricted (REML) or full (ML) log-likelihood at the optimum, (C,)."""
        return np.asarray(-0.5 * self.deviance)


class Collected:
    """Results of all cells in standardised units and the orthonormal basis, filled batch by batch.

    Parameters
    ----------
    n_cells : int
    basis : sequence of (k, p)
        Contrasts in the orthonormal basis.
    ones : (p,)
        What the centring of values is in that basis.
    n_theta : int
        Parameters of the random part.

    """

    def __init__(self, n_cells: int, basis: Sequence[F], ones: F, n_theta: int) -> None:
        self.basis, self.ones = basis, ones
        self.gamma = np.full((n_cells, basis[0].shape[1]), np.nan)
        self.sigma, self.theta = np.full(n_cells, np.nan), np.full((n_cells, n_theta), np.nan)
        self.logdet = np.full(n_cells, np.nan)
        self.tests = [{k: np.full(n_cells, np.nan) for k in ("estimate", "se", "df_num", "df", "value")} for _ in basis]

    def store(self, index: I, cells: Cells, fit: Fitted, theta: F, logdet: F, good: Bool, singular: Bool) -> None:
        """Test and store the cells `index`; those that are not good become `not_converged`."""
        # what centring took away: y / sd = (y - mean) / sd + (mean / sd) 1, and 1 = Q Q'1
        fit.coefficients[...] += cells.shift[index, None] * self.ones
        cells.status[index] = np.where(good, np.where(singular, "singular", "ok"), "not_converged")
        self.gamma[index] = np.where(good[:, None], fit.coefficients, np.nan)
        with np.errstate(invalid="ignore"):
            self.sigma[index] = np.where(good, np.sqrt(fit.sigma2), np.nan)
        self.theta[index] = np.where(good[:, None], theta, np.nan)
        self.logdet[index] = np.where(good, logdet, np.nan)
        for rows, found in zip(self.basis, self.tests, strict=True):
            result = test_contrast(rows, fit)
            for key, value in result.items():
                found[key][index] = np.where(good, value, np.nan)

    def finished_tests(self, sd: F) -> tuple[Test, ...]:
        """Tests in the units of y, with p values and confidence intervals."""
        tests = []
        for rows, found in zip(self.basis, self.tests, strict=True):
            df, value = found["df"], found["value"]
            if len(rows) == 1:
                p = 2 * special.stdtr(df, -np.abs(value))
                reach = special.stdtrit(df, 0.975) * found["se"]
            else:
                p = special.fdtrc(found["df_num"], df, value)
                reach = np.full(len(df), np.nan)
            estimate, se = found["estimate"] * sd, found["se"] * sd
            tests.append(
                Test("t" if len(rows) == 1 else "F", estimate, se, found["df_num"], df, value, p,
                     (found["estimate"] - reach) * sd, (found["estimate"] + reach) * sd)
            )  # fmt: skip
        return tuple(tests)

    def deviance(self, cells: Cells, df: F, constant: F | float) -> F:
        """Minus twice the log-likelihood in the units of y; constant is what the basis and weights add."""
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.log(2 * np.pi * self.sigma**2) + 2 * np.log(cells.sd)
            return np.asarray(self.logdet + df * (1 + scale) + constant)
