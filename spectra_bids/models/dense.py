"""The second stage: all random factors but the leaf, and X, as one small dense system per cell.

With S = [Z₂ X]'V₁⁻¹[Z₂ X] after the leaf is eliminated and L = blockdiag(Λ₂ ⊗ I, I):

    B = L'SL + blockdiag(I, 0),   K = L B⁻¹ L',   log det V + log det X'V⁻¹X = log det V₁ + log det B

K's block of X is (X'V⁻¹X)⁻¹, and with P = V⁻¹ - V⁻¹X(X'V⁻¹X)⁻¹X'V⁻¹ also Z₂'PZ₂ = SJ and V⁻¹-products of Z₂ come from
J = I - KS. Under ML the first determinant alone counts; its K is that of the block of Z₂ alone.
Columns of Z₂ are ordered factor by factor, then column by column, then level by level.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spectra_bids.models.random import F, Structure


@dataclass(frozen=True)
class Place:
    """Where the columns of one dense factor stand in [Z₂ X]."""

    factor: int
    start: int
    levels: int
    q: int

    def column(self, a: int) -> slice:
        """Column a of all levels."""
        return slice(self.start + a * self.levels, self.start + (a + 1) * self.levels)


def places(structure: Structure) -> tuple[Place, ...]:
    """Places of the dense factors."""
    out, start = [], 0
    for k, factor in enumerate(structure.factors[1:], start=1):
        out.append(Place(k, start, factor.n_levels, factor.q))
        start += factor.n_levels * factor.q
    return tuple(out)


@dataclass(frozen=True, eq=False)
class Solved:
    """K (C, r, r), log det B (C,), and the K of the determinant under ML (K itself under REML)."""

    k: F
    logdet: F
    k_det: F


def solve_dense(s: F, lambdas: dict[int, F], where: tuple[Place, ...], n_dense: int, reml: bool) -> Solved:
    """Factorise B for every cell: s (C, r, r), lambdas per factor (C, q, q)."""
    b = _both_sides(s, lambdas, where, transposed=False)
    if n_dense:
        b[:, range(n_dense), range(n_dense)] += 1.0
    b, logdet = _inverse(b)
    k = _both_sides(b, lambdas, where, transposed=True)
    if reml:
        return Solved(k, logdet, k)
    k_det = np.zeros_like(k)
    z, x = slice(0, n_dense), slice(n_dense, None)
    inverse = np.linalg.inv(k[:, x, x])
    k_det[:, z, z] = k[:, z, z] - k[:, z, x] @ inverse @ k[:, x, z]
    return Solved(k, logdet - np.linalg.slogdet(inverse)[1], k_det)


def _inverse(b: F) -> tuple[F, F]:
    """Inverse and log determinant of positive definite matrices; NaN where rounding left one indefinite."""
    try:
        logdet = 2 * np.log(np.einsum("cii->ci", np.linalg.cholesky(b))).sum(axis=1)
        return np.asarray(np.linalg.inv(b), np.float64), logdet
    except np.linalg.LinAlgError:
        inverse, logdets = np.full_like(b, np.nan), np.full(len(b), np.nan)
        with np.errstate(invalid="ignore"):
            lowest = np.linalg.eigvalsh(np.where(np.isfinite(b), b, 0.0))[:, 0]
        for i in np.flatnonzero((lowest > 0) & np.isfinite(b).all(axis=(1, 2))):  # rare: one indefinite spoils a batch
            inverse[i], logdets[i] = np.linalg.inv(b[i]), np.linalg.slogdet(b[i])[1]
        return inverse, logdets


def _columns_times(x: F, lambdas: dict[int, F], where: tuple[Place, ...], transposed: bool) -> F:
    """X L, or X L' if transposed, a copy."""
    out = x.copy()
    for place in where:
        lam = lambdas[place.factor]
        lam = np.swapaxes(lam, 1, 2) if transposed else lam
        for target in range(place.q):
            sources = range(target + 1) if transposed else range(target, place.q)
            parts = [x[:, :, place.column(a)] * lam[:, a, target, None, None] for a in sources]
            out[:, :, place.column(target)] = parts[0] if len(parts) == 1 else sum(parts[1:], parts[0])
    return out


def _both_sides(x: F, lambdas: dict[int, F], where: tuple[Place, ...], transposed: bool) -> F:
    """L'XL, or LXL' if transposed, of symmetric X, a copy."""
    half = _columns_times(x, lambdas, where, transposed)
    return _columns_times(np.ascontiguousarray(np.swapaxes(half, 1, 2)), lambdas, where, transposed)


@dataclass(frozen=True, eq=False)
class DenseParameter:
    """dΨ/dψ of one parameter: the ordered pairs (row column, column column) of blocks where it is 1."""

    blocks: tuple[tuple[slice, slice], ...]

    def trace(self, n: F) -> F:
        """tr(N (E ⊗ I)) over the factor's levels, (C,)."""
        return np.asarray(sum(np.einsum("cii->c", n[:, a, b]) for a, b in self.blocks))

    def quadratic(self, z: F) -> F:
        """z'(E ⊗ I)z, (C,)."""
        return np.asarray(sum(np.einsum("ci,ci->c", z[:, a], z[:, b]) for a, b in self.blocks))

    def apply(self, z: F) -> F:
        """(E ⊗ I) z, (C, n_dense)."""
        out = np.zeros_like(z)
        for a, b in self.blocks:
            out[:, a] += z[:, b]
        return out

    def cross(self, n: F, other: DenseParameter) -> F:
        """tr((E ⊗ I) N (E' ⊗ I) N), (C,), for symmetric N."""
        return np.asarray(
            sum(np.einsum("cij,cij->c", n[:, b, c], n[:, a, d]) for a, b in self.blocks for c, d in other.blocks)
        )

    def with_leaf(self, j: F, dj: F) -> F:
        """tr(D J (E ⊗ I) J'), (C,), given J and DJ."""
        return np.asarray(sum(np.einsum("cij,cij->c", j[:, :, a], dj[:, :, b]) for a, b in self.blocks))

    def spread(self, j: F) -> F:
        """J (E ⊗ I) J' for the rows of J that are given, (C, p, p)."""
        return np.asarray(sum(j[:, :, a] @ np.swapaxes(j[:, :, b], 1, 2) for a, b in self.blocks))


def dense_parameters(structure: Structure, where: tuple[Place, ...]) -> dict[int, DenseParameter]:
    """The parameters of the dense factors, by number."""
    out = {}
    for place in where:
        for i in structure.parameters(place.factor):
            a, b = structure.entries[i]
            one = (place.column(a), place.column(b))
            out[int(i)] = DenseParameter((one,) if a == b else (one, one[::-1]))
    return out
