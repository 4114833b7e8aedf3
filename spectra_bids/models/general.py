"""The profiled criterion of any random part, for many cells at once, with first and second derivatives.

    d(θ) = logdet(θ) + ν log rss(θ)      REML: logdet V + logdet X'V⁻¹X, ν = n - p;  ML: logdet V, ν = n

With G_i = ∂V/∂ψ_i, V being linear in ψ (`random`), and P as in `dense` (for the determinant under ML: V⁻¹):

    ∂ logdet = tr(P G_i)      ∂² logdet = -tr(P G_i P G_j)      ∂ rss = -y'PG_iPy      ∂² rss = 2 y'PG_iPG_jPy

All of them are sums over the levels of the leaf factor (`leaves`) and entries of the dense stage (`dense`); nothing of
the size rows x levels is formed. `random.chain` carries them to θ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spectra_bids.models.dense import dense_parameters, places, solve_dense
from spectra_bids.models.leaves import (
    Eliminated,
    Leaf,
    congruence,
    eliminate,
    level_product,
    pairs,
    trace_form,
    turned,
    upper,
)
from spectra_bids.models.random import F, I, Structure


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The criterion's parts at θ for C cells, with derivatives in ψ.

    logdet, rss (C,); logdet1, rss1 (C, m); logdet2, rss2 (C, m, m); inverse (C, p, p) is (X'V⁻¹X)⁻¹ and slopes
    (C, m, p, p) its derivatives; coefficients (C, p).
    """

    logdet: F
    rss: F
    logdet1: F
    rss1: F
    logdet2: F
    rss2: F
    inverse: F
    slopes: F
    coefficients: F


@dataclass(frozen=True, eq=False)
class System:
    """Sums of a batch's cells: [Z₂ X]'[Z₂ X] (1 or C, r, r), [Z₂ X]'y (C, r), y'y (C,)."""

    rr: F
    ry: F
    yy: F


class Batch:
    """Cells that are fitted together.

    Parameters
    ----------
    structure : Structure
    leaf : Leaf
    system : System
    df : (C,) float
        ν of each cell.
    reml : bool

    """

    def __init__(self, structure: Structure, leaf: Leaf, system: System, df: F, reml: bool) -> None:
        self.structure, self.leaf, self.system, self.df, self.reml = structure, leaf, system, df, reml
        self.where = places(structure)
        self._dense = dense_parameters(structure, self.where)
        self._leaf_entries = structure.factors[0].entries
        self._traces = trace_form(structure.basis(0))

    def evaluate(self, theta: F, which: I) -> Evaluation:
        """The criterion of the cells `which` at their own θ, (len(which), m)."""
        structure, leaf, sums = self.structure, self.leaf, self.system
        z = structure.n_dense
        lambdas = {k: structure.lambdas(theta, k) for k in range(len(structure.factors))}
        out = eliminate(leaf.moments(which), lambdas[0], leaf.count)
        rr = sums.rr if len(sums.rr) == 1 else sums.rr[which]
        weights = np.concatenate([upper(out.w)[:, None], congruence(out.h, self._leaf_entries)], axis=1)
        grams = leaf.gram(weights, which)
        s = rr - grams[:, 0]
        solved = solve_dense(s, lambdas, self.where, z, self.reml)
        k = solved.k
        h, t = leaf.each(out.h), leaf.values(which)
        wt = level_product(leaf.each(out.w), t)
        sy = sums.ry[which] - leaf.backward(wt, which)
        v = -(k @ sy[:, :, None])[:, :, 0]
        rss = sums.yy[which] - np.einsum("cqg,cqg->c", t, wt) + np.einsum("cr,cr->c", sy, v)
        zg = level_product(np.swapaxes(h, 1, 2), t + leaf.forward(v, which))
        z2 = (sy + (s @ v[:, :, None])[:, :, 0])[:, :z]
        parts = _Derivatives(self, out, grams[:, 1:], s, k, solved.k_det, h, zg, z2, which)
        logdet1, rss1, logdet2, rss2, slopes = parts.all()
        return Evaluation(
            out.logdet + solved.logdet, rss, logdet1, rss1, logdet2, rss2, k[:, z:, z:], slopes, -v[:, z:]
        )


class _Derivatives:
    """Derivatives in ψ, assembled from the leaf's and the dense stage's parameters."""

    def __init__(self, batch: Batch, out: Eliminated, d: F, s: F, k: F, k_det: F, h: F, zg: F, z2: F, which: I) -> None:
        self.batch, self.out, self.s, self.k, self.k_det = batch, out, s, k, k_det
        self.h, self.zg, self.z2, self.which = h, zg, z2, which
        self.leaf = batch.leaf
        entries = batch._leaf_entries
        self.d = [d[:, i] for i in range(len(entries))]
        ez = [_unit(zg, a, b) for a, b in entries]
        self.a = [self.leaf.backward(level_product(h, one), which) for one in ez]
        z = batch.structure.n_dense
        self.n_dense = z
        self.kd = [k @ d for d in self.d]
        if z:
            self.j = -(k @ s[:, :, :z])
            self.j[:, range(z), range(z)] += 1.0
            self.n = s[:, :z] @ self.j
            self.j_det, self.n_det = self.j, self.n
            if k_det is not k:
                self.j_det = -(k_det @ s[:, :, :z])
                self.j_det[:, range(z), range(z)] += 1.0
                self.n_det = s[:, :z] @ self.j_det

    def all(self) -> tuple[F, F, F, F, F]:
        """logdet', rss' (C, m), logdet'', rss'' (C, m, m), slopes (C, m, p, p)."""
        m, n, z = self.batch.structure.m, len(self.k), self.n_dense
        p = self.k.shape[1] - z
        logdet1, rss1 = np.empty((n, m)), np.empty((n, m))
        logdet2, rss2 = np.empty((n, m, m)), np.empty((n, m, m))
        slopes = np.empty((n, m, p, p))
        leafs = len(self.d)
        self._leaf(logdet1, rss1, logdet2, rss2)
        for i in range(leafs):
            slopes[:, i] = self.kd[i][:, z:] @ self.k[:, :, z:]
        dense = self.batch._dense
        ez = {i: parameter.apply(self.z2) for i, parameter in dense.items()}
        dj = [d @ self.j_det for d in self.d] if dense else []
        for i, parameter in dense.items():
            logdet1[:, i] = parameter.trace(self.n_det)
            rss1[:, i] = -parameter.quadratic(self.z2)
            slopes[:, i] = parameter.spread(self.j[:, z:])
            je = (self.j @ ez[i][:, :, None])[:, :, 0]
            for u in range(leafs):
                logdet2[:, i, u] = logdet2[:, u, i] = -parameter.with_leaf(self.j_det, dj[u])
                rss2[:, i, u] = rss2[:, u, i] = 2 * np.einsum("cr,cr->c", self.a[u], je)
            ne = (self.n @ ez[i][:, :, None])[:, :, 0]
            for other in (k for k in dense if k <= i):
                logdet2[:, i, other] = logdet2[:, other, i] = -parameter.cross(self.n_det, dense[other])
                rss2[:, i, other] = rss2[:, other, i] = 2 * np.einsum("cr,cr->c", ne, ez[other])
        return logdet1, rss1, logdet2, rss2, slopes

    def _leaf(self, logdet1: F, rss1: F, logdet2: F, rss2: F) -> None:
        """The block of the leaf's own parameters."""
        count, leaf = self.leaf.count, self.leaf
        n = upper(self.out.n)
        kd_det = self.kd if self.k_det is self.k else [self.k_det @ d for d in self.d]
        q_det = turned(self.out.h, leaf.project(self.k_det, self.which))
        places_ = pairs(leaf.q)
        zz = np.stack([self.zg[:, a] * self.zg[:, b] for a, b in places_], axis=1)
        n_each = leaf.each(n)
        for i, (a, b) in enumerate(self.batch._leaf_entries):
            place = places_.index((min(a, b), max(a, b)))
            twice = 1.0 if a == b else 2.0
            trace = twice * (n[:, place] @ count)
            logdet1[:, i] = trace - np.einsum("cij,cij->c", self.k_det, self.d[i])
            rss1[:, i] = -twice * zz[:, place].sum(axis=1)
        nt = np.swapaxes(n, 1, 2)
        both = (n * count) @ nt - 2 * np.asarray(q_det @ nt)
        nz = zz @ np.swapaxes(n_each, 1, 2)
        form = self.batch._traces
        leaf_det = -np.einsum("ijuv,cuv->cij", form, both)
        leaf_rss = 2 * np.einsum("ijuv,cvu->cij", form, nz)
        for i in range(len(self.d)):
            ka = (self.k @ self.a[i][:, :, None])[:, :, 0]
            for j in range(i + 1):
                crossed = np.einsum("cij,cji->c", kd_det[i], kd_det[j])
                logdet2[:, i, j] = logdet2[:, j, i] = leaf_det[:, i, j] - crossed
                bent = leaf_rss[:, i, j] - 2 * np.einsum("cr,cr->c", ka, self.a[j])
                rss2[:, i, j] = rss2[:, j, i] = bent


def _unit(x: F, a: int, b: int) -> F:
    """E x level by level, E symmetric with 1 at (a, b)."""
    if x.shape[1] == 1:
        return x
    out = np.zeros_like(x)
    out[:, a] = x[:, b]
    out[:, b] = x[:, a]
    return out
