"""The θ that minimises the profiled criterion of every cell: Newton's method with exact derivatives, kept safe.

θ is free of constraints: the criterion is even in the diagonal of Λ, so that a variance of 0 (a singular fit) is an
ordinary stationary point. Steps use |eigenvalues| of the Hessian, which turns saddles into repellers, and a radius per
cell that shrinks when a step does not decrease the criterion. Cells leave the iteration as they converge.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from spectra_bids.models.dense import solve_dense
from spectra_bids.models.general import Batch, Evaluation
from spectra_bids.models.leaves import eliminate, level_product, upper
from spectra_bids.models.random import F, I, Structure, chain

_MAX_ITER = 80
_CLOSE = 1e-12  # predicted decrease of d at which a cell is done: θ within 1e-6 of its standard error
_SADDLE = 1e-5  # size of a negative eigenvalue of the Hessian that tells a saddle from a minimum
_LARGE = 1e4  # θ (of columns of mean square 1) beyond which no residual variance is left
#: Start values of θ times the root of the mean number of rows per level, by number of diagonal entries.
_GRIDS = {1: np.geomspace(0.15, 60, 12), 2: np.geomspace(0.2, 25, 7), 3: np.array([0.25, 0.8, 2.5, 8.0])}


class Solution:
    """θ (C, m), whether it was found (C,), and the evaluation there."""

    def __init__(self, n: int, m: int, p: int) -> None:
        self.theta, self.good = np.full((n, m), np.nan), np.zeros(n, dtype=bool)
        nan = np.nan
        self.at = Evaluation(
            np.full(n, nan), np.full(n, nan), np.full((n, m), nan), np.full((n, m), nan), np.full((n, m, m), nan),
            np.full((n, m, m), nan), np.full((n, p, p), nan), np.full((n, m, p, p), nan), np.full((n, p), nan),
        )  # fmt: skip
        self.evaluations = 0

    def keep(self, cells: I, theta: F, found: Evaluation, of: NDArray[np.bool_]) -> None:
        """Store θ and the evaluation of some cells."""
        self.theta[cells] = theta[of]
        for name, values in vars(found).items():
            getattr(self.at, name)[cells] = values[of]


def criterion(at: Evaluation, df: F) -> tuple[F, F, F]:
    """d, its gradient and Hessian in ψ."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = at.rss1 / at.rss[:, None]
        bent = at.rss2 / at.rss[:, None, None] - ratio[:, :, None] * ratio[:, None, :]
        d = at.logdet + df * np.log(at.rss)
    return d, at.logdet1 + df[:, None] * ratio, at.logdet2 + df[:, None, None] * bent


@dataclass(frozen=True, eq=False)
class Start:
    """Where to start from: the best candidates, (C, m), and the best of those far from a singular fit, (C, m)."""

    best: F
    inner: F


def solve(batch: Batch, start: Start, p: int) -> Solution:
    """Minimise; cells that end singular try again from inside, and the better end is kept.

    With several parameters the criterion may have a second minimum, seldom, and nearly always one of the two is
    singular and the other is not.
    """
    structure = batch.structure
    out = _minimise(batch, start.best, p, np.arange(len(start.best)))
    again = np.flatnonzero(~out.good | structure.is_singular(out.theta, 1e-3)) if structure.m > 1 else np.arange(0)
    if len(again):
        second = _minimise(batch, start.inner, p, again)
        with np.errstate(invalid="ignore", divide="ignore"):
            first_d, second_d = criterion(out.at, batch.df)[0], criterion(second.at, batch.df)[0]
        better = second.good & (~out.good | (second_d < first_d - 1e-9))
        out.keep(np.flatnonzero(better), second.theta, second.at, better)
        out.good |= better
        out.evaluations += second.evaluations
    return out


def _rows_per_level(structure: Structure) -> F:
    """Mean number of rows per level of each parameter's factor, (m,)."""
    return np.array([len(structure.factors[k].codes) / structure.factors[k].n_levels for k in structure.owner])


def _minimise(batch: Batch, start: F, p: int, active: I) -> Solution:
    """Minimise for some cells.

    Steps are taken in φ, a square root of Ψ that need not be triangular: where Λ is singular, triangular ones with the
    same Ψ lie on a circle, along which a straight step gets nowhere.
    """
    n, m = start.shape
    structure = batch.structure
    wide = len(structure.square[0])
    out = Solution(n, m, p)
    best = np.full(n, np.inf)
    gradient, hessian = np.zeros((n, wide)), np.zeros((n, wide, wide))
    radius, trial = np.full(n, np.inf), start.copy()
    predicted, length = np.zeros(n), np.zeros(n)
    for _ in range(_MAX_ITER):
        found = batch.evaluate(trial[active], active)
        out.evaluations += len(active)
        d, first, second = criterion(found, batch.df[active])
        usable = np.isfinite(d) & np.isfinite(first).all(axis=1) & np.isfinite(second).all(axis=(1, 2))
        better = usable & (d <= best[active] + 1e-9 + 1e-13 * np.abs(d))
        cells = active[better]
        with np.errstate(invalid="ignore", divide="ignore"):
            gain = (best[cells] - d[better]) / predicted[cells]
        radius[cells] = np.where(gain > 0.7, np.maximum(radius[cells], 2.5 * length[cells]), radius[cells])
        radius[cells] = np.where(gain < 0.2, 0.5 * length[cells], radius[cells])
        best[cells] = d[better]
        phi = _embedded(trial[cells], structure)
        gradient[cells], hessian[cells] = chain(first[better], second[better], phi, structure.square)
        out.keep(cells, trial[active], found, better)
        radius[active[~better]] = 0.25 * length[active[~better]]
        lost = ~np.isfinite(best[active])  # no usable point at all
        step, promised, saddle = _steps(gradient[active], hessian[active], out.theta[active], radius[active])
        done = ~lost & (promised < np.where(better, _CLOSE, 1e-9)) & ~saddle
        out.good[active[done]] = True
        predicted[active], length[active] = promised, np.linalg.norm(step, axis=1)
        active, step = active[~done & ~lost], step[~done & ~lost]
        trial[active] = structure.triangular(_embedded(out.theta[active], structure) + step)
        active = active[np.abs(trial[active]).max(axis=1) < _LARGE]
        if len(active) == 0:
            break
    out.good &= np.abs(out.theta).max(axis=1) < _LARGE
    return out


def _embedded(theta: F, structure: Structure) -> F:
    """φ at θ: the triangular root as a square one."""
    phi = np.zeros((len(theta), len(structure.square[0])))
    phi[:, structure.embedding] = theta
    return phi


def _steps(gradient: F, hessian: F, theta: F, radius: F) -> tuple[F, F, NDArray[np.bool_]]:
    """Step, predicted decrease, and whether it is a saddle, of every cell."""
    values, vectors = np.linalg.eigh(np.where(np.isfinite(hessian), hessian, 0.0))
    size = np.abs(values)
    size = np.maximum(size, np.maximum(1e-9 * size.max(axis=1), 1e-10)[:, None])
    along = np.einsum("cij,ci->cj", vectors, gradient)
    move = -along / size
    # at a saddle (an even function's 0) the gradient does not tell the way: leave along the lowest eigenvector
    # (roots of one Ψ are bent in φ: their curvature is of the gradient's size)
    saddle = values[:, 0] < -(_SADDLE + 100 * np.linalg.norm(gradient, axis=1))
    stuck = saddle & (0.5 * (along**2 / size).sum(axis=1) < 1e-8)
    move[stuck, 0] = 0.3
    length = np.linalg.norm(move, axis=1)
    reach = np.minimum(radius, np.maximum(1.0, np.linalg.norm(theta, axis=1)))
    with np.errstate(invalid="ignore", divide="ignore"):
        shrink = np.where(length > reach, reach / length, 1.0)
    move *= shrink[:, None]
    promised = -(along * move).sum(axis=1) - 0.5 * (size * move**2).sum(axis=1)
    promised = np.where(stuck, 1e-6, promised)
    return np.einsum("cij,cj->ci", vectors, move), promised, saddle


def candidates(structure: Structure) -> tuple[F, NDArray[np.bool_]]:
    """Values of θ to start from, (J, m), and which are far from singular, (J,).

    Sizes of the diagonal around what the rows per level can tell, with correlations of 0 and ±0.7.
    """
    places = np.flatnonzero(structure.diagonal)
    below = np.flatnonzero(~structure.diagonal)
    count = len(places)
    if count in _GRIDS:
        sizes = np.array(list(product(_GRIDS[count], repeat=count)))
    else:  # one column at a time is large or small
        middle = np.ones((1, count))
        each = [np.where(np.arange(count) == j, s, b) for j in range(count) for s in (0.2, 6.0) for b in (0.3, 1.2, 4)]
        sizes = np.vstack([0.3 * middle, middle, 3 * middle, np.array(each)])
    out = np.zeros((len(sizes), structure.m))
    out[:, places] = sizes
    turned = [out]
    for i in below if len(below) <= 3 else ():
        mine = (structure.owner[i], structure.entries[i][0])
        end = next(j for j in places if (structure.owner[j], structure.entries[j][0]) == mine)
        for correlation in (-0.7, 0.7):
            one = out.copy()
            one[:, i] = correlation * out[:, end]
            one[:, end] = np.sqrt(1 - correlation**2) * out[:, end]
            turned.append(one)
    inside = np.tile((sizes > 0.9).all(axis=1), len(turned))
    return np.vstack(turned) / np.sqrt(_rows_per_level(structure)), inside


class Grid:
    """The candidates on one set of rows: what does not depend on values is computed once for all batches of cells.

    Parameters
    ----------
    batch : Batch
        Any cells on these rows.

    """

    def __init__(self, batch: Batch) -> None:
        structure = batch.structure
        self.thetas, self.inside = candidates(structure)
        self._w: list[F] = []
        self._k: list[F] = []
        self._logdet: list[float] = []
        nobody = np.arange(0)
        for part in np.array_split(self.thetas, -(-len(self.thetas) // 16)):
            lambdas = {k: structure.lambdas(part, k) for k in range(len(structure.factors))}
            out = eliminate(batch.leaf.moments(nobody), lambdas[0], batch.leaf.count)
            s = batch.system.rr - batch.leaf.gram(upper(out.w)[:, None], nobody)[:, 0]
            solved = solve_dense(s, lambdas, batch.where, structure.n_dense, batch.reml)
            self._w.extend(out.w)
            self._k.extend(solved.k)
            self._logdet.extend(out.logdet + solved.logdet)

    def criterion(self, batch: Batch) -> F:
        """The criterion of every cell at every candidate, (C, J)."""
        leaf, sums = batch.leaf, batch.system
        every = np.arange(len(sums.yy))
        t = leaf.values(every)
        d = np.empty((len(every), len(self.thetas)))
        for j, (w, k, logdet) in enumerate(zip(self._w, self._k, self._logdet, strict=True)):
            wt = level_product(leaf.each(w[None]), t)
            sy = sums.ry - leaf.backward(wt, every)
            rss = sums.yy - np.einsum("cqg,cqg->c", t, wt) - np.einsum("cr,cr->c", sy @ k, sy)
            with np.errstate(invalid="ignore", divide="ignore"):
                d[:, j] = logdet + batch.df * np.log(rss)
        return np.where(np.isfinite(d), d, np.inf)

    def start(self, batch: Batch) -> Start:
        """Where to start the cells of a batch on the grid's rows."""
        d = self.criterion(batch)
        inner = np.where(self.inside, d, np.inf)
        return Start(self.thetas[np.argmin(d, axis=1)], self.thetas[np.argmin(inner, axis=1)])
