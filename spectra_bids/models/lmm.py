"""Linear mixed models of thousands of cells at once: y = Xβ + Zb + e with one random intercept, REML, Satterthwaite.

The numbers are lmerTest's (Kuznetsova 2017): estimates and standard errors at the REML optimum, degrees of freedom by
Satterthwaite from the Hessian of the REML deviance in (θ, σ), θ = σ_b / σ; F tests as contestMD. Without a random
factor: ordinary least squares with exact t and F. `reml` holds the criterion; here are scaling, bookkeeping of cells,
and inference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from spectra_bids.models.cells import Cells
from spectra_bids.models.reml import Criterion, F, I, OwnPattern, SharedPattern, State, solve
from spectra_bids.models.satterthwaite import test_contrast, variance_of_parameters

_SINGULAR = 1e-4  # θ below which lme4 calls a fit singular
_RANK = 1e-9  # smallest eigenvalue of a cell's X'X, with X orthonormal over all rows
#: Default bound on the memory of one chunk of cells.
CHUNK_BYTES = 64e6


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

    coefficients (C, p); sd_residual, sd_random, sd_values (C,) in the units of y (sd_values: of the raw values);
    n, n_levels (C,) rows and levels in the fit; status (C,) as columns.FIT_STATUSES; tests: one per contrast.
    """

    coefficients: F
    sd_residual: F
    sd_random: F
    sd_values: F
    n: I
    n_levels: I
    status: NDArray[np.str_]
    tests: tuple[Test, ...]


def fit_lmm(
    y: F,
    x: F,
    groups: I | None = None,
    contrasts: Sequence[F] | None = None,
    *,
    subjects: I | None = None,
    factors: Sequence[I] = (),
    min_subjects: int | None = None,
    chunk_bytes: float = CHUNK_BYTES,
) -> LmmFit:
    """Fit one model per column of y.

    Parameters
    ----------
    y : (n, C) float
        Values; NaN = missing, per cell.
    x : (n, p) float
        Fixed effects, of full column rank.
    groups : (n,) int, optional
        Codes of the random factor's levels; None = no random factor.
    contrasts : sequence of (p,) or (k, p) float, optional
        What to test: t for one row, F for several. Default: every coefficient.
    subjects : (n,) int, optional
        Subject codes, for counting people where rows are sessions. Default: every row is one.
    factors : sequence of (n,) int
        Level codes (< 0: none) of tested factors: a cell with fewer than 3 subjects in a level is `too_few`.
    min_subjects : int, optional
        Fewest subjects of a cell. Default max(10, p + 5).
    chunk_bytes : float
        Bound on the memory of one chunk of cells.

    Returns
    -------
    LmmFit

    Raises
    ------
    ValueError
        If shapes disagree, x is rank-deficient or holds NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from spectra_bids import fit_lmm
    >>> rng = np.random.default_rng(0)
    >>> x = np.c_[np.ones(40), np.arange(40) % 2]
    >>> site = np.arange(40) // 10
    >>> y = rng.normal(size=(40, 5)) + rng.normal(size=(4, 5))[site] + 2 * x[:, [1]]
    >>> fit = fit_lmm(y, x, site)
    >>> fit.tests[1].p.shape
    (5,)

    """
    y, x = np.asarray(y, np.float64), np.asarray(x, np.float64)
    if y.ndim != 2 or x.ndim != 2 or len(x) != len(y):
        raise ValueError(f"y must be (n, C) and x (n, p) with the same n. Got {y.shape} and {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError("x must be finite: drop rows with missing covariates first")
    q, r = np.linalg.qr(x)
    if np.abs(np.diag(r)).min() < 1e-10 * np.abs(np.diag(r)).max():
        raise ValueError("x is rank-deficient: some columns are linear combinations of others")
    rows = [np.atleast_2d(c) for c in (np.eye(x.shape[1]) if contrasts is None else contrasts)]
    basis = [np.linalg.solve(r.T, c.T).T for c in rows]  # L β = (L R⁻¹) γ with X = QR
    ones = q.sum(axis=0)
    centre = bool(np.abs(q @ ones - 1).max() < 1e-8)  # values may be centred where X holds an intercept
    cells = Cells(y, x.shape[1], groups, subjects, factors, min_subjects, centre)
    out = _Collected(y.shape[1], basis, ones)
    for criterion, index in _batches(cells, q, chunk_bytes):
        _fit_batch(criterion, index, cells, out)
    return out.finish(cells, np.linalg.inv(r))


def _batches(cells: Cells, q: F, chunk_bytes: float) -> Iterator[tuple[Criterion, I]]:
    """Criteria of all cells that can be fitted, batch by batch: shared patterns first, the others in chunks."""
    n, p = q.shape
    todo = np.flatnonzero(cells.status == "ok")
    n_groups = 0 if cells.groups is None else int(cells.groups.max()) + 1
    if cells.groups is not None:
        # One decomposition costs about as much as this many cells of their own (measured).
        worth = 4 + n * n_groups**2 / 5e5
        for index in cells.shared_patterns(todo, worth):
            rows = cells.seen(index[:1])[:, 0]
            own_q, own_r = np.linalg.qr(q[rows])
            if np.abs(np.diag(own_r)).min() < np.sqrt(_RANK):
                continue  # left to the rank check of the cells' own patterns
            groups = np.unique(cells.groups[rows], return_inverse=True)[1]
            for part in _split(index, 8 * 12 * (n + n_groups), chunk_bytes):
                z = cells.standardised(part)
                yield _Rotated(SharedPattern(own_q, groups, z if rows.all() else z[rows]), own_r), part
            todo = np.setdiff1d(todo, index, assume_unique=True)
    size = 8 * (6 * n + 2 * (n_groups + 12) * (p + 2) ** 2)
    for part in _split(todo, size, chunk_bytes):
        criterion, part = _estimable(
            OwnPattern(q, cells.groups, cells.standardised(part), cells.seen(part)), part, cells
        )
        if len(part):
            yield criterion, part


def _estimable(criterion: OwnPattern, index: I, cells: Cells) -> tuple[OwnPattern, I]:
    """The cells whose own rows leave the design at full rank; the others are marked."""
    deficient = np.linalg.eigvalsh(criterion.gram)[:, 0] < _RANK
    if not deficient.any():
        return criterion, index
    cells.status[index[deficient]] = "not_estimable"
    return criterion.take(~deficient), index[~deficient]


class _Rotated:
    """A criterion in another basis, Q = Q_own R: rows of Q lose orthonormality when some are left out."""

    def __init__(self, inner: SharedPattern, r: F) -> None:
        self.inner, self.r = inner, r
        self.df, self.scale = inner.df, inner.scale
        self.grid, self.terms = inner.grid, inner.terms

    def state(self, lam: F) -> State:
        """Inference in the common basis: γ = R⁻¹ γ_own."""
        own = self.inner.state(lam)
        back = np.linalg.inv(self.r)
        return State(back @ own.inverse @ back.T, self.r.T @ own.slope @ self.r, own.coefficients @ back.T)


def _split(index: I, bytes_per_cell: float, chunk_bytes: float) -> list[I]:
    if len(index) == 0:
        return []
    size = int(max(1, min(4096, chunk_bytes // bytes_per_cell)))
    return np.array_split(index, -(-len(index) // size))


class _Collected:
    """Results of all cells in standardised units and the orthonormal basis, filled batch by batch."""

    def __init__(self, n_cells: int, basis: list[F], ones: F) -> None:
        self.basis, self.ones = basis, ones
        self.gamma = np.full((n_cells, basis[0].shape[1]), np.nan)
        self.sigma, self.theta = np.full(n_cells, np.nan), np.full(n_cells, np.nan)
        self.tests = [{k: np.full(n_cells, np.nan) for k in ("estimate", "se", "df_num", "df", "value")} for _ in basis]

    def finish(self, cells: Cells, r_inverse: F) -> LmmFit:
        """Back to the units of y and to p values."""
        sd = cells.sd
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
        fitted = np.isin(cells.status, ["ok", "singular"])
        return LmmFit(
            coefficients=self.gamma @ r_inverse.T * sd[:, None],
            sd_residual=self.sigma * sd,
            sd_random=self.theta * self.sigma * sd if cells.groups is not None else np.where(fitted, 0.0, np.nan),
            sd_values=sd,
            n=cells.n,
            n_levels=cells.n_levels,
            status=cells.status,
            tests=tuple(tests),
        )


def _fit_batch(criterion: Criterion, index: I, cells: Cells, out: _Collected) -> None:
    """Fit, test and store one batch of cells."""
    if cells.groups is None:
        lam, good = np.zeros(len(index)), np.ones(len(index), dtype=bool)
    else:
        lam, good = solve(criterion)
    terms = criterion.terms(lam, np.arange(len(index)))
    state = criterion.state(lam)
    # what centring took away: y / sd = (y - mean) / sd + (mean / sd) 1, and 1 = Q Q'1
    state.coefficients[...] += cells.shift[index, None] * out.ones
    sigma2 = terms.rss / criterion.df
    good &= sigma2 > 1e-20
    theta = np.sqrt(lam)
    status = np.where(
        good, np.where((theta < _SINGULAR) & (cells.groups is not None), "singular", "ok"), "not_converged"
    )
    cells.status[index] = status
    out.gamma[index] = np.where(good[:, None], state.coefficients, np.nan)
    out.sigma[index] = np.where(good, np.sqrt(sigma2), np.nan)
    out.theta[index] = np.where(good, theta, np.nan)
    variance = variance_of_parameters(terms, lam, sigma2, criterion.df)
    for rows, found in zip(out.basis, out.tests, strict=True):
        result = test_contrast(rows, state, theta, sigma2, variance)
        for key, value in result.items():
            found[key][index] = np.where(good, value, np.nan)
