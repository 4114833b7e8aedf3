"""Cells with any random part, batch by batch: those that share their rows together, the others in chunks of their own.

Cells of their own rows start from where the same model ends with their gaps filled by least squares: that shares one
set of rows, and its criterion over a grid of θ costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from spectra_bids.models.cells import Cells
from spectra_bids.models.general import Batch
from spectra_bids.models.optimise import Grid, Solution, Start, solve
from spectra_bids.models.random import F, I, Structure, chain
from spectra_bids.models.results import Collected
from spectra_bids.models.satterthwaite import Fitted, variance_of_parameters
from spectra_bids.models.sums import own_batch, shared_batch

_SINGULAR = 1e-4  # as lme4: a diagonal entry of Λ, here of columns of mean square 1
_RANK = 1e-9  # smallest eigenvalue of a cell's X'X, with X orthonormal over all rows
_WORTH = 8  # cells of one pattern from which on they share their sums
_WORKING = 16e6  # bytes of one chunk's arrays that stay near the processor (measured: more is slower)


def fit_general(
    structure: Structure, cells: Cells, q: F, root: F | None, reml: bool, out: Collected, chunk_bytes: float
) -> None:
    """Fit every cell that can be fitted.

    Parameters
    ----------
    structure : Structure
    cells : Cells
        Their status is updated.
    q : (n, p)
        Orthonormal fixed effects, times the root weights.
    root : (n,) or None
        Square roots of prior weights.
    reml : bool
    out : Collected
        Takes the results.
    chunk_bytes : float

    """
    _require_levels(structure, cells)
    todo = np.flatnonzero(cells.status == "ok")
    for index in cells.shared_patterns(todo, _WORTH):
        rows = np.flatnonzero(cells.seen(index[:1])[:, 0])
        own_q, own_r = np.linalg.qr(q[rows])
        todo = np.setdiff1d(todo, index, assume_unique=True)
        if np.abs(np.diag(own_r)).min() < np.sqrt(_RANK):
            cells.status[index] = "not_estimable"
            continue
        grid: Grid | None = None
        for part in _chunks(index, structure, q.shape[1], False, chunk_bytes):
            batch = shared_batch(structure, own_q, cells.standardised(part)[rows], rows, root, reml)
            grid = Grid(batch) if grid is None else grid
            solution = solve(batch, grid.start(batch), q.shape[1])
            _store(batch, solution, np.linalg.inv(own_r), part, cells, out)
    filled = _Filled(structure, q, root, reml)
    for part in _chunks(todo, structure, q.shape[1], True, chunk_bytes):
        observed, y = cells.seen(part).astype(np.float64), cells.standardised(part)
        batch = own_batch(structure, q, y, observed, root, reml)
        gram = batch.system.rr[:, structure.n_dense :, structure.n_dense :]
        able = np.linalg.eigvalsh(gram)[:, 0] >= _RANK
        cells.status[part[~able]] = "not_estimable"
        if not able.any():
            continue
        if not able.all():
            part, observed, y = part[able], observed[:, able], y[:, able]
            batch = own_batch(structure, q, y, observed, root, reml)
        solution = solve(batch, filled.start(batch, y, observed), q.shape[1])
        _store(batch, solution, np.eye(q.shape[1]), part, cells, out)


def _require_levels(structure: Structure, cells: Cells) -> None:
    """Cells with as many random effects of one term as rows are not estimable (lme4 refuses them)."""
    for factor in structure.factors:
        present = cells.count_present(factor.codes)
        for _, columns in factor.parts:
            few = present * len(columns) >= cells.n
            cells.status[few & (cells.status == "ok")] = "not_estimable"


def _chunks(index: I, structure: Structure, p: int, own: bool, chunk_bytes: float) -> Iterator[I]:
    """Runs of cells whose arrays fit the memory bound."""
    leaf = structure.factors[0]
    r, q = structure.n_dense + p, leaf.q
    levels = leaf.n_levels * (8 + 10 * q * q + q**4)
    size = 8 * (levels + (8 + 2 * len(leaf.entries)) * r * r + (3 * q * leaf.n_levels * r if own else 0))
    bound = min(chunk_bytes, max(_WORKING, 8 * size))
    count = int(max(1, min(2048, bound // size)))
    if len(index):
        yield from np.array_split(index, -(-len(index) // count))


class _Filled:
    """Where to start cells with gaps: the best of a grid with the gaps filled by least squares."""

    def __init__(self, structure: Structure, q: F, root: F | None, reml: bool) -> None:
        self.structure, self.q, self.root, self.reml = structure, q, root, reml
        self.grid: Grid | None = None

    def start(self, batch: Batch, y: F, observed: F) -> Start:
        """Start of the cells of a batch."""
        z = self.structure.n_dense
        gamma = np.linalg.solve(batch.system.rr[:, z:, z:], batch.system.ry[:, z:, None])[:, :, 0]
        filled = np.where(observed > 0, y, self.q @ gamma.T)
        whole = shared_batch(self.structure, self.q, filled, np.arange(len(self.q)), self.root, self.reml)
        self.grid = Grid(whole) if self.grid is None else self.grid
        return self.grid.start(whole)


def _store(batch: Batch, solution: Solution, back: F, index: I, cells: Cells, out: Collected) -> None:
    """Inference in the common basis, γ = R⁻¹ γ_own."""
    at = solution.at
    sigma2 = at.rss / batch.df
    good = solution.good & (sigma2 > 1e-20)
    theta, quadratic = solution.theta, batch.structure.quadratic
    scaled = sigma2[:, None]
    _, curvature = chain(at.logdet1 + at.rss1 / scaled, at.logdet2 + at.rss2 / scaled[:, :, None], theta, quadratic)
    jacobian = 2 * np.einsum("ijk,ck->cij", quadratic, theta)
    slopes = np.einsum("cij,cipq->cjpq", jacobian, at.slopes)
    fit = Fitted(
        inverse=back @ at.inverse @ back.T,
        slopes=back @ slopes @ back.T,
        coefficients=at.coefficients @ back.T,
        sigma2=sigma2,
        variance=variance_of_parameters(curvature, np.einsum("ci,cij->cj", at.rss1, jacobian), sigma2, batch.df),
    )
    logdet = at.logdet - (2 * np.log(np.abs(np.diag(back))).sum() if batch.reml else 0.0)
    singular = batch.structure.is_singular(theta, _SINGULAR)
    out.store(index, cells, fit, theta, logdet, good, singular)
