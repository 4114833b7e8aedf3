"""Linear mixed models of thousands of cells at once: y = Xβ + Zb + e, REML or ML, Satterthwaite.

The numbers are lmerTest's (Kuznetsova 2017): estimates and standard errors at the optimum, degrees of freedom by
Satterthwaite from the Hessian of the deviance in (θ, σ); F tests as contestMD. One random intercept has a criterion of
its own, `reml`; any other random part goes to `mixed`. Without a random part: ordinary least squares with exact t and
F. Here are scaling, the way each cell takes, and the results' assembly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from spectra_bids.models.cells import Cells
from spectra_bids.models.mixed import fit_general
from spectra_bids.models.random import F, I, RandomPart, Structure
from spectra_bids.models.reml import Criterion, OwnPattern, SharedPattern, State, solve
from spectra_bids.models.results import Collected, Estimation, LmmFit, Test
from spectra_bids.models.satterthwaite import of_intercept

__all__ = ["CHUNK_BYTES", "LmmFit", "Test", "fit_lmm"]

_SINGULAR = 1e-4  # θ below which lme4 calls a fit singular
_RANK = 1e-9  # smallest eigenvalue of a cell's X'X, with X orthonormal over all rows
#: Default bound on the memory of one chunk of cells.
CHUNK_BYTES = 64e6


def fit_lmm(
    y: F,
    x: F,
    groups: I | None = None,
    contrasts: Sequence[F] | None = None,
    *,
    random: Sequence[RandomPart] = (),
    estimation: Estimation = "reml",
    weights: F | None = None,
    offset: F | None = None,
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
        Codes of the levels of one random intercept; short for `random=[RandomPart(groups)]`.
    contrasts : sequence of (p,) or (k, p) float, optional
        What to test: t for one row, F for several. Default: every coefficient.
    random : sequence of RandomPart
        The random terms; none = ordinary least squares.
    estimation : {"reml", "ml"}
        ML is for comparing fixed parts (`lrt`); its variances are biased downwards.
    weights : (n,) float, optional
        Prior weights > 0: the residual variance of a row is σ² / weight, as in lme4.
    offset : (n,) float, optional
        Known part of the values, subtracted.
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
        If shapes disagree, x is rank-deficient or holds NaN, weights are not positive.

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
    parts = _require(y, x, groups, random, estimation, weights, offset)
    root = None if weights is None else np.sqrt(np.asarray(weights, np.float64))
    q, r = np.linalg.qr(x if root is None else x * root[:, None])
    if np.abs(np.diag(r)).min() < 1e-10 * np.abs(np.diag(r)).max():
        raise ValueError("x is rank-deficient: some columns are linear combinations of others")
    rows = [np.atleast_2d(c) for c in (np.eye(x.shape[1]) if contrasts is None else contrasts)]
    basis = [np.linalg.solve(r.T, c.T).T for c in rows]  # L β = (L R⁻¹) γ with X = QR
    unit = np.ones(len(y)) if root is None else root
    ones = q.T @ unit
    centre = bool(np.abs(q @ ones - unit).max() < 1e-8)  # values may be centred where X holds an intercept
    structure = Structure(parts) if parts else None
    leaf = None if structure is None else structure.factors[0].codes
    values = y if offset is None else y - np.asarray(offset, np.float64)[:, None]
    cells = Cells(values, x.shape[1], leaf, subjects, factors, min_subjects, centre, root)
    out = Collected(y.shape[1], basis, ones, structure.m if structure else 0)
    if structure is None or (len(parts) == 1 and parts[0].is_intercept and root is None and estimation == "reml"):
        for criterion, index in _batches(cells, q, chunk_bytes):
            _fit_batch(criterion, index, cells, out)
    else:
        fit_general(structure, cells, q, root, estimation == "reml", out, chunk_bytes)
    return _finish(out, cells, r, parts, structure, estimation, root)


def _require(
    y: F, x: F, groups: I | None, random: Sequence[RandomPart], estimation: str, weights: F | None, offset: F | None
) -> tuple[RandomPart, ...]:
    """The random parts; ValueError for what cannot be fitted."""
    if y.ndim != 2 or x.ndim != 2 or len(x) != len(y):
        raise ValueError(f"y must be (n, C) and x (n, p) with the same n. Got {y.shape} and {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError("x must be finite: drop rows with missing covariates first")
    if groups is not None and len(random):
        raise ValueError("give groups (one random intercept) or random, not both")
    if estimation not in ("reml", "ml"):
        raise ValueError(f"estimation is 'reml' or 'ml'. Got {estimation!r}")
    for name, given in (("weights", weights), ("offset", offset)):
        if given is not None and (np.shape(given) != (len(y),) or not np.isfinite(given).all()):
            raise ValueError(f"{name} must be {len(y)} finite numbers, one per row. Got {np.shape(given)}")
    if weights is not None and np.min(weights) <= 0:
        raise ValueError(f"weights must be positive. Got {np.min(weights)}")
    parts = tuple(random) if groups is None else (RandomPart(np.asarray(groups)),)
    for part in parts:
        if len(part.codes) != len(y) or len(part.columns) != len(y) or not np.isfinite(part.columns).all():
            raise ValueError(f"random part '{part.group}' must have {len(y)} rows of finite numbers, as y")
    return parts


def _finish(
    out: Collected, cells: Cells, r: F, parts: tuple[RandomPart, ...], structure: Structure | None,
    estimation: Estimation, root: F | None,
) -> LmmFit:  # fmt: skip
    """Back to the units of y."""
    sd, sigma2 = cells.sd, out.sigma**2
    fitted = np.isin(cells.status, ["ok", "singular"])
    mean_variance = np.where(fitted, 0.0, np.nan)
    covariances = []
    for i, part in enumerate(parts):
        assert structure is not None
        psi = structure.covariances(out.theta, i)
        mean_square = part.columns.T @ part.columns / len(part.codes)
        mean_variance = mean_variance + np.einsum("cij,ij->c", psi, mean_square)
        covariances.append(psi * (sigma2 * sd**2)[:, None, None])
    df, constant = cells.n.astype(np.float64), np.zeros(len(sd))
    if estimation == "reml":
        df, constant = df - len(r), constant + 2 * np.log(np.abs(np.diag(r))).sum()
    if root is not None:
        every = np.full(len(sd), 2 * np.log(root).sum())
        constant -= every if cells.observed is None else 2 * np.log(root) @ cells.observed
    return LmmFit(
        coefficients=np.linalg.solve(r, out.gamma.T).T * sd[:, None],
        sd_residual=out.sigma * sd,
        sd_random=np.sqrt(mean_variance) * out.sigma * sd if parts else mean_variance,
        sd_values=sd,
        n=cells.n,
        n_levels=cells.n_levels,
        status=cells.status,
        tests=out.finished_tests(sd),
        deviance=out.deviance(cells, df, constant),
        estimation=estimation,
        random=parts,
        covariances=tuple(covariances),
        theta=out.theta,
    )


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

    def logdet(self, lam: F) -> F:
        """Log det V + log det X'V⁻¹X, X in the common basis."""
        return np.asarray(self.inner.logdet(lam) + 2 * np.log(np.abs(np.diag(self.r))).sum())


def _split(index: I, bytes_per_cell: float, chunk_bytes: float) -> list[I]:
    if len(index) == 0:
        return []
    size = int(max(1, min(4096, chunk_bytes // bytes_per_cell)))
    return np.array_split(index, -(-len(index) // size))


def _fit_batch(criterion: Criterion, index: I, cells: Cells, out: Collected) -> None:
    """Fit, test and store one batch of cells."""
    if cells.groups is None:
        lam, good = np.zeros(len(index)), np.ones(len(index), dtype=bool)
    else:
        lam, good = solve(criterion)
    terms = criterion.terms(lam, np.arange(len(index)))
    sigma2 = terms.rss / criterion.df
    good &= sigma2 > 1e-20
    fit = of_intercept(criterion.state(lam), terms, lam, sigma2, criterion.df)
    theta = np.sqrt(lam)
    singular = (theta < _SINGULAR) & (cells.groups is not None)
    kept = theta[:, None] if cells.groups is not None else np.empty((len(index), 0))
    out.store(index, cells, fit, kept, criterion.logdet(lam), good, singular)
