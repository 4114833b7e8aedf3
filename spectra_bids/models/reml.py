"""Profiled REML of one random intercept for many cells at once: the variance ratio λ = σ_b² / σ² of each cell.

The criterion of a cell, up to a constant (METHODS 4.1, 4.2; Bates 2015):

    d(λ) = (n - p) log rss(λ) + logdet(λ)

Two ways to the same numbers. `SharedPattern`: cells observed on the same rows share one decomposition of M Z, after
which a step costs O(levels) per cell. `OwnPattern`: every cell has its own rows; with V(λ) = I + λ ZZ' all that is
needed is the small matrix [X y]'V⁻¹[X y] = M0 - Σ_g w_g m_g, w_g = λ / (1 + λ n_g), whose derivatives are as cheap.
Both return (rss, rss', rss'', logdet', logdet'') in λ, and the same λ from the same safeguarded Newton iteration.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

F = NDArray[np.float64]
I = NDArray[np.int64]  # noqa: E741 - reads as F does
Bool = NDArray[np.bool_]

#: Start values of λ times the mean group size; 0 is the boundary, the last one means "no residual variance".
_GRID = np.array([0.0, 0.01, 0.05, 0.2, 0.6, 1.5, 4.0, 12.0, 50.0, 400.0, 1e4, 1e6])
_MAX_ITER = 60
_TOLERANCE = 1e-10


@dataclass(frozen=True, eq=False)
class Terms:
    """rss and logdet with their derivatives in λ, (C,) each."""

    rss: F
    rss1: F
    rss2: F
    logdet1: F
    logdet2: F


@dataclass(frozen=True, eq=False)
class State:
    """What inference needs of fitted cells, at their λ.

    inverse (C, p, p) is (X'V⁻¹X)⁻¹, slope (C, p, p) its inverse's derivative in λ, coefficients (C, p).
    """

    inverse: F
    slope: F
    coefficients: F


class Criterion(Protocol):
    """The REML criterion of a set of cells."""

    df: F
    """n - p of each cell, (C,)."""
    scale: float
    """Mean group size: λ is looked for around its inverse."""

    def grid(self, lambdas: F) -> F:
        """D at each of J values of λ, (C, J)."""

    def terms(self, lam: F, which: I) -> Terms:
        """Terms of the cells `which` at their own λ."""

    def state(self, lam: F) -> State:
        """What inference needs, for all cells."""

    def logdet(self, lam: F) -> F:
        """Log det V + log det X'V⁻¹X of all cells, X as given."""


class SharedPattern:
    """Cells that are observed on the same rows.

    Parameters
    ----------
    q : (n, p)
        Orthonormal basis of the fixed effects on these rows.
    groups : (n,) int
        Codes 0..G-1 of the random factor, each present.
    y : (n, C)
        Values, complete.

    """

    def __init__(self, q: F, groups: I, y: F) -> None:
        n, p = q.shape
        self.n_g = np.bincount(groups).astype(np.float64)
        zq = _sum_groups(groups, len(self.n_g), q)
        self.u = zq
        self.qy = q.T @ y
        zy = _sum_groups(groups, len(self.n_g), y)
        self.t = zy
        # Z'MZ = W diag(ξ) W'; e = ξ^-1/2 W'Z'My are the coordinates of My in the range of MZ.
        xi, w = np.linalg.eigh(np.diag(self.n_g) - zq @ zq.T)
        keep = xi > 1e-9 * max(float(self.n_g.max()), 1.0)
        self.xi, w = xi[keep], w[:, keep]
        e = (w.T @ (zy - zq @ self.qy)) / np.sqrt(self.xi)[:, None]
        self.e2 = np.ascontiguousarray((e**2).T)
        my = y - q @ self.qy
        self.r0 = np.maximum(np.einsum("ij,ij->j", my, my) - self.e2.sum(axis=1), 0.0)
        self.df = np.full(y.shape[1], float(n - p))
        self.scale = float(self.n_g.mean())

    def grid(self, lambdas: F) -> F:
        """D at each of J values of λ, (C, J)."""
        shrink = 1.0 / (1.0 + lambdas[None, :] * self.xi[:, None])
        with np.errstate(divide="ignore"):
            fit = self.df[:, None] * np.log(self.r0[:, None] + self.e2 @ shrink)
        return np.asarray(fit - np.log(shrink).sum(axis=0))

    def terms(self, lam: F, which: I) -> Terms:
        """Terms of the cells `which` at their own λ."""
        shrink = 1.0 / (1.0 + lam[:, None] * self.xi)
        q = self.xi * shrink
        part = self.e2[which] * shrink
        rss = self.r0[which] + part.sum(axis=1)
        part *= q
        rss1 = -part.sum(axis=1)
        rss2 = 2 * np.einsum("ij,ij->i", part, q)
        return Terms(rss, rss1, rss2, q.sum(axis=1), -np.einsum("ij,ij->i", q, q))

    def logdet(self, lam: F) -> F:
        """Log det V + log det Q'V⁻¹Q of all cells."""
        return np.asarray(np.log1p(lam[:, None] * self.xi).sum(axis=1))

    def state(self, lam: F) -> State:
        """What inference needs, for all cells."""
        p = self.u.shape[1]
        one = 1.0 / (1.0 + lam[:, None] * self.n_g)
        w, w1 = lam[:, None] * one, one**2
        uu = (self.u[:, :, None] * self.u[:, None, :]).reshape(len(self.n_g), p * p)
        a = np.eye(p) - (w @ uu).reshape(-1, p, p)
        b = self.qy.T - np.stack([np.einsum("cg,g,gc->c", w, self.u[:, j], self.t) for j in range(p)], axis=1)
        inverse = np.asarray(np.linalg.inv(a), np.float64)
        return State(inverse, -(w1 @ uu).reshape(-1, p, p), np.einsum("cij,cj->ci", inverse, b))


class OwnPattern:
    """Cells of which each is observed on rows of its own.

    Parameters
    ----------
    q : (n, p)
        Fixed effects, columns orthonormal over all rows.
    groups : (n,) int or None
        Codes of the random factor; None for ordinary least squares.
    y : (n, C)
        Values, 0 where missing.
    observed : (n, C) bool
        Which are not missing.

    """

    def __init__(self, q: F, groups: I | None, y: F, observed: Bool) -> None:
        p = q.shape[1]
        mask = observed.astype(np.float64)
        self.p = p
        self.pairs = np.triu_indices(p + 1)
        self.m0 = self._moments(q, y, mask)
        self.df = mask.sum(axis=0) - p
        n_groups = 0 if groups is None else int(groups.max()) + 1
        self.n_g = np.zeros((y.shape[1], n_groups))
        self.m = np.zeros((y.shape[1], n_groups, len(self.pairs[0])))
        if groups is not None:
            self.n_g = np.ascontiguousarray(_sum_groups(groups, n_groups, mask).T)
            u = np.stack([*(_sum_groups(groups, n_groups, mask * q[:, [j]]) for j in range(p)),
                          _sum_groups(groups, n_groups, y)])  # fmt: skip
            for k, (i, j) in enumerate(zip(*self.pairs, strict=True)):
                np.multiply(u[i].T, u[j].T, out=self.m[:, :, k])
        present = np.maximum((self.n_g > 0).sum(axis=1), 1)
        self.scale = float((self.n_g.sum(axis=1) / present).mean()) if n_groups else 1.0

    def _moments(self, q: F, y: F, mask: F) -> F:
        """[X y]'[X y] over each cell's rows, upper triangle, (C, pairs)."""
        p = self.p
        out = np.empty((y.shape[1], len(self.pairs[0])))
        columns = np.stack([q[:, i] * q[:, j] for i, j in zip(*self.pairs, strict=True) if j < p])
        out[:, self.pairs[1] < p] = (columns @ mask).T
        last = self.pairs[1] == p
        out[:, last] = np.vstack([q.T @ y, np.einsum("ij,ij->j", y, y)]).T
        return out

    def _full(self, packed: F) -> F:
        """Upper triangles (..., pairs) to symmetric matrices (..., p + 1, p + 1)."""
        out = np.empty((*packed.shape[:-1], self.p + 1, self.p + 1))
        out[..., self.pairs[0], self.pairs[1]] = packed
        out[..., self.pairs[1], self.pairs[0]] = packed
        return out

    def take(self, keep: Bool) -> OwnPattern:
        """The criterion of some of its cells."""
        out = copy(self)
        out.m0, out.df, out.n_g, out.m = self.m0[keep], self.df[keep], self.n_g[keep], self.m[keep]
        return out

    @property
    def gram(self) -> F:
        """X'X of each cell, (C, p, p)."""
        return self._full(self.m0)[:, : self.p, : self.p]

    def grid(self, lambdas: F) -> F:
        """D at each of J values of λ, (C, J)."""
        lam = lambdas[None, :, None]
        n_g = self.n_g[:, None, :]
        full = self._full(self.m0[:, None, :] - (lam / (1 + lam * n_g)) @ self.m)
        # det of the bordered matrix = det(A) rss, so that one more determinant gives rss
        sign, both = np.linalg.slogdet(full)
        log_a = np.linalg.slogdet(full[..., : self.p, : self.p])[1]
        d = self.df[:, None] * (both - log_a) + log_a + np.log1p(lam * n_g).sum(axis=2)
        return np.where(sign > 0, d, -np.inf)

    def terms(self, lam: F, which: I) -> Terms:
        """Terms of the cells `which` at their own λ."""
        p = self.p
        n_g = self.n_g[which]
        one = 1.0 / (1.0 + lam[:, None] * n_g)
        w = np.stack([lam[:, None] * one, one**2, -2 * n_g * one**3], axis=1)
        sums = w @ self.m[which]
        sums[:, 0] = self.m0[which] - sums[:, 0]
        m, m1, m2 = np.moveaxis(self._full(sums), 1, 0)
        m1, m2 = -m1, -m2
        inverse = np.linalg.inv(m[:, :p, :p])
        coef = np.einsum("cij,cj->ci", inverse, m[:, :p, p])
        v = np.concatenate([-coef, np.ones((len(coef), 1))], axis=1)
        h = np.einsum("cij,cj->ci", m1, v)
        rss = np.einsum("cj,cj->c", m[:, p, :], v)
        rss1 = np.einsum("ci,ci->c", v, h)
        rss2 = np.einsum("ci,cij,cj->c", v, m2, v) - 2 * np.einsum("ci,cij,cj->c", h[:, :p], inverse, h[:, :p])
        turn = inverse @ m1[:, :p, :p]
        logdet1 = np.einsum("cii->c", turn) + (n_g * one).sum(axis=1)
        logdet2 = np.einsum("cij,cji->c", inverse, m2[:, :p, :p]) - np.einsum("cij,cji->c", turn, turn)
        return Terms(rss, rss1, rss2, logdet1, logdet2 - ((n_g * one) ** 2).sum(axis=1))

    def logdet(self, lam: F) -> F:
        """Log det V + log det X'V⁻¹X of all cells."""
        w = lam[:, None] / (1.0 + lam[:, None] * self.n_g)
        a = self._full(self.m0 - (w[:, None] @ self.m)[:, 0])[:, : self.p, : self.p]
        return np.asarray(np.linalg.slogdet(a)[1] + np.log1p(lam[:, None] * self.n_g).sum(axis=1))

    def state(self, lam: F) -> State:
        """What inference needs, for all cells."""
        p = self.p
        one = 1.0 / (1.0 + lam[:, None] * self.n_g)
        sums = np.stack([lam[:, None] * one, one**2], axis=1) @ self.m
        m = self._full(self.m0 - sums[:, 0])
        inverse = np.asarray(np.linalg.inv(m[:, :p, :p]), np.float64)
        slope = -self._full(sums[:, 1])[:, :p, :p]
        return State(inverse, slope, np.einsum("cij,cj->ci", inverse, m[:, :p, p]))


def _sum_groups(groups: I, n_groups: int, x: F) -> F:
    """Sum of the rows of x (n, k) per group, (G, k)."""
    from scipy.sparse import csr_matrix

    z = csr_matrix((np.ones(len(groups)), (groups, np.arange(len(groups)))), shape=(n_groups, len(groups)))
    return np.asarray(z @ x)


def _gradient(criterion: Criterion, lam: F, which: I) -> tuple[F, F]:
    """First and second derivative of d in λ."""
    t = criterion.terms(lam, which)
    ratio = t.rss1 / t.rss
    df = criterion.df[which]
    return df * ratio + t.logdet1, df * (t.rss2 / t.rss - ratio**2) + t.logdet2


def solve(criterion: Criterion) -> tuple[F, Bool]:
    """λ that minimises d for every cell, (C,), and whether it was found, (C,) bool.

    A grid finds the basin; a Newton iteration, kept inside a shrinking bracket, finds its bottom. λ = 0 is kept when
    it is not worse.
    """
    lambdas = _GRID / criterion.scale
    d = criterion.grid(lambdas)
    d = np.where(np.isfinite(d), d, np.inf)  # at huge λ rounding may leave a between-group design singular
    best = np.argmin(d, axis=1)
    n = len(best)
    every = np.arange(n)
    lam = lambdas[best]
    low, high = lambdas[np.maximum(best - 1, 0)], lambdas[np.minimum(best + 1, len(lambdas) - 1)]
    good = np.isfinite(d.min(axis=1)) & (best < len(lambdas) - 1)
    at_zero = best == 0
    active = every[good & ~at_zero]
    zero = every[good & at_zero]
    if len(zero):
        inward = zero[_gradient(criterion, np.zeros(len(zero)), zero)[0] < 0]
        lam[inward] = lambdas[1] / 2
        active = np.sort(np.r_[active, inward])
    for _ in range(_MAX_ITER):
        if len(active) == 0:
            break
        x = lam[active]
        first, second = _gradient(criterion, x, active)
        lo = np.where(first < 0, x, low[active])
        hi = np.where(first < 0, high[active], x)
        with np.errstate(divide="ignore", invalid="ignore"):
            step = x - first / second
        middle = np.where(lo > 0, np.sqrt(lo * hi), hi / 8)
        usable = (second > 0) & (step > lo) & (step < hi)
        new = np.where(usable, step, middle)
        low[active], high[active], lam[active] = lo, hi, new
        small = np.abs(new - x) <= _TOLERANCE * (new + 1e-3 / criterion.scale)
        active = active[~small & (hi > 1e-12 / criterion.scale)]
    good[active] = False
    lam[lam < 1e-9 / criterion.scale] = 0.0
    return lam, good
