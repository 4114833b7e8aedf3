"""The factor that is eliminated level by level: V₁ = I + Σ_g Z_g Ψ Z_g', with all sums over its levels.

Of level g of a cell only three things matter: M_g = Z_g'Z_g (q x q), R_g = Z_g'[Z₂ X] (q x r; Z₂ are the columns of the
other factors) and t_g = Z_g'y. With W_g = Ψ(I + M_g Ψ)⁻¹ = Λ(I + Λ'M_gΛ)⁻¹Λ' and H_g = I - W_g M_g:

    [Z₂ X]'V₁⁻¹[Z₂ X] = [Z₂ X]'[Z₂ X] - Σ R_g'W_gR_g,   Z_g'V₁⁻¹Z_g = N_g = M_gH_g,   Z_g'V₁⁻¹[Z₂ X] = H_g'R_g

`level_sums` holds them and does the sums; here is the algebra of single levels. Symmetric q x q matrices of all levels
are kept as their upper triangles, (C, s, levels) with s = q(q + 1)/2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from spectra_bids.models.random import F, I


def pairs(q: int) -> list[tuple[int, int]]:
    """Places (a, b), a <= b, of the upper triangle, in the order they are kept in."""
    return [(a, b) for a in range(q) for b in range(a, q)]


class Leaf(Protocol):
    """The leaf factor's sums over levels, for the cells `which` of a batch."""

    q: int
    count: F
    """Levels in each class, (classes,)."""

    def moments(self, which: I) -> F:
        """M of each class, (1 or C, q, q, classes)."""

    def gram(self, weights: F, which: I) -> F:
        """Σ_g R_g' W_g R_g, (C, J, r, r), for J symmetric W, (C, J, s, classes)."""

    def project(self, k: F, which: I) -> F:
        """R_g K R_g' summed over the levels of a class, (C, s, classes), for symmetric K (C, r, r)."""

    def values(self, which: I) -> F:
        """t, (C, q, G)."""

    def forward(self, v: F, which: I) -> F:
        """R_g v, (C, q, G), for v (C, r)."""

    def backward(self, u: F, which: I) -> F:
        """Σ_g R_g'u_g, (C, r), for u (C, q, G)."""

    def each(self, x: F) -> F:
        """Per class (..., classes) -> per level (..., G)."""


@dataclass(frozen=True, eq=False)
class Eliminated:
    """W, H, N per class, (C, q, q, classes) each, and Σ_g log det(I + Λ'M_gΛ), (C,)."""

    w: F
    h: F
    n: F
    logdet: F


def eliminate(m: F, lam: F, count: F) -> Eliminated:
    """The level by level inverse at Λ (C, q, q), for M (1 or C, q, q, classes)."""
    q = lam.shape[1]
    if q == 1:
        psi = lam[:, :, :, None] ** 2
        t = 1.0 + psi * m
        h = 1.0 / t
        return Eliminated(psi * h, h, m * h, np.log(t[:, 0, 0]) @ count)
    left = _product(np.swapaxes(lam, 1, 2)[..., None], m)
    t = _product(left, lam[..., None])
    for a in range(q):
        t[:, a, a] += 1.0
    inverse, logdet = _inverse(t)
    half = _product(lam[..., None], inverse)
    w = _product(half, np.swapaxes(lam, 1, 2)[..., None])
    h = -_product(w, m)
    for a in range(q):
        h[:, a, a] += 1.0
    return Eliminated(w, h, _product(m, h), logdet @ count)


def _product(a: F, b: F) -> F:
    """Matrix product in the second and third axis, level by level in the last."""
    q = a.shape[1]
    out = np.empty(np.broadcast_shapes(a.shape, b.shape))
    for i in range(q):
        for j in range(q):
            np.multiply(a[:, i, 0], b[:, 0, j], out=out[:, i, j])
            for k in range(1, q):
                out[:, i, j] += a[:, i, k] * b[:, k, j]
    return out


def level_product(matrices: F, x: F) -> F:
    """Level by level product of (C, q, q, G) with (C, q, G)."""
    if x.shape[1] == 1:
        return np.asarray(matrices[:, 0] * x)
    return np.stack(
        [sum(matrices[:, a, b] * x[:, b] for b in range(1, x.shape[1])) + matrices[:, a, 0] * x[:, 0]
         for a in range(x.shape[1])],
        axis=1,
    )  # fmt: skip


def _inverse(t: F) -> tuple[F, F]:
    """Inverse and log determinant of symmetric positive definite (C, q, q, levels), by sweeping."""
    q = t.shape[1]
    a = t.copy()
    logdet = np.zeros((t.shape[0], t.shape[3]))
    for k in range(q):
        pivot = a[:, k, k].copy()
        logdet += np.log(pivot)
        row = a[:, k].copy()
        column = a[:, :, k] / pivot[:, None]
        for i in range(q):
            if i != k:
                a[:, i] -= column[:, i, None] * row
                a[:, i, k] = -column[:, i]
        a[:, k] = row / pivot[:, None]
        a[:, k, k] = 1.0 / pivot
    return a, logdet


def congruence(h: F, entries: tuple[tuple[int, int], ...]) -> F:
    """H E_i H' per class as upper triangles, (C, m, s, classes), for every parameter's E_i."""
    places = pairs(h.shape[1])
    out = np.empty((len(h), len(entries), len(places), h.shape[3]))
    for i, (a, b) in enumerate(entries):
        for j, (u, v) in enumerate(places):
            np.multiply(h[:, u, a], h[:, v, b], out=out[:, i, j])
            if a != b:
                out[:, i, j] += h[:, u, b] * h[:, v, a]
    return out


def turned(h: F, x: F) -> F:
    """H' X H per class as upper triangles, for symmetric X (C, s, classes)."""
    q = h.shape[1]
    if q == 1:
        return np.asarray(h[:, 0] ** 2 * x)
    full = np.empty((len(x), q, q, x.shape[2]))
    for u, (a, b) in enumerate(pairs(q)):
        full[:, a, b] = full[:, b, a] = x[:, u]
    both = _product(np.swapaxes(h, 1, 2), _product(full, h))
    return upper(both)


def upper(x: F) -> F:
    """Upper triangles (C, s, classes) of (C, q, q, classes)."""
    return np.stack([x[:, a, b] for a, b in pairs(x.shape[1])], axis=1)


def trace_form(basis: F) -> F:
    """T[i, j, u, v] = tr(E_i F_u E_j F_v), symmetric in i and j: traces of triangles kept as `pairs` orders them."""
    q = basis.shape[1]
    units = np.zeros((len(pairs(q)), q, q))
    for u, (a, b) in enumerate(pairs(q)):
        units[u, a, b] = units[u, b, a] = 1.0
    t = np.einsum("iab,ubc,jcd,vda->ijuv", basis, units, basis, units)
    return np.asarray((t + np.swapaxes(t, 0, 1)) / 2)
