"""The random part of a mixed model: terms `(expr|factor)` become grouping factors with relative covariance factors.

A term gives every level of its grouping factor a vector of effects b ~ N(0, σ² Ψ), Ψ = Λ Λ' (Bates 2015, eq. 4).
Terms of one grouping factor are merged: their columns stand side by side and Λ is block diagonal. Each Λ is lower
triangular with free entries θ where its blocks are; Ψ has free entries ψ at the same places, and every ψ is a quadratic
form of θ, ψ_i = θ' Q_i θ. The criterion's derivatives are taken in ψ, where the model is linear, and carried to θ,
where it is free of constraints.

Columns are rescaled first, Z' = Z T with T lower triangular in every block, so that they are of mean square 1 and (in
a correlated block) uncorrelated: Λ = T Λ' then is lower triangular as well, θ is a linear function of θ', and an age
of 70 ± 5 years is no harder than a centred one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F = NDArray[np.float64]
I = NDArray[np.int64]  # noqa: E741 - reads as F does


@dataclass(frozen=True, eq=False)
class RandomPart:
    """One random term of n rows.

    Parameters
    ----------
    codes : (n,) int
        Level of the grouping factor.
    Z : (n, q) float, optional
        Columns whose effects vary between levels; default: the intercept.
    correlated : bool
        Whether the q effects of a level covary (`|`) or not (`||`).
    group : str
        Name of the grouping factor.
    names : q str
        Names of the columns.
    levels : G str
        Names of the levels; empty if they have none.

    """

    codes: I
    Z: F | None = None
    correlated: bool = True
    group: str = "group"
    names: tuple[str, ...] = ("(Intercept)",)
    levels: tuple[str, ...] = ()

    @property
    def columns(self) -> F:
        """Z, (n, q)."""
        z = np.ones((len(self.codes), 1)) if self.Z is None else np.asarray(self.Z, np.float64)
        return z[:, None] if z.ndim == 1 else z

    @property
    def is_intercept(self) -> bool:
        """Whether the part is `(1|group)`."""
        z = self.columns
        return z.shape[1] == 1 and bool((z == 1).all())

    @property
    def intercept(self) -> int | None:
        """Position of the column of ones; None without one."""
        ones = np.flatnonzero((self.columns == 1).all(axis=0))
        return int(ones[0]) if len(ones) else None

    @property
    def blocks(self) -> list[range]:
        """Runs of columns that covary."""
        q = self.columns.shape[1]
        return [range(q)] if self.correlated else [range(j, j + 1) for j in range(q)]


@dataclass(frozen=True, eq=False)
class Factor:
    """One grouping factor with the columns of all its terms, rescaled.

    codes (n,) are 0..G-1; z (n, q) is Z T; t (q, q) is T; entries are the places (a, b), a >= b, of θ and ψ.
    parts lists, per term merged here, its position and its columns within q.
    """

    codes: I
    n_levels: int
    z: F
    t: F
    entries: tuple[tuple[int, int], ...]
    parts: tuple[tuple[int, range], ...]

    @property
    def q(self) -> int:
        """Columns."""
        return int(self.z.shape[1])

    @property
    def is_indicator(self) -> bool:
        """Whether Z is the plain 0/1 indicator of levels."""
        return self.q == 1 and bool((self.z == 1).all())


class Structure:
    """All grouping factors of a model, the one that is eliminated level by level (the leaf) first.

    Attributes
    ----------
    factors : list of Factor
    owner : (m,) int
        Factor of each parameter.
    entries : m pairs (a, b)
        Place of each parameter in its Λ and Ψ.
    quadratic : (m, m, m)
        Q: ψ_i = θ' Q_i θ.
    diagonal : (m,) bool
        Whether a parameter lies on the diagonal of Λ.
    square : (m, M, M)
        The same with square blocks in place of triangular ones: ψ_i = φ' S_i φ.
    embedding : (m,) int
        Where θ stands in φ; the rest of φ is 0 there.

    """

    def __init__(self, parts: Sequence[RandomPart]) -> None:
        self.factors = sorted(_merged(parts), key=lambda f: -f.n_levels * f.q)
        self.owner = np.array([k for k, f in enumerate(self.factors) for _ in f.entries])
        self.entries = [e for f in self.factors for e in f.entries]
        self.diagonal = np.array([a == b for a, b in self.entries])
        psi = [(int(k), *e) for k, e in zip(self.owner, self.entries, strict=True)]
        self.quadratic = _quadratic(psi, psi)
        self._full = sorted({(k, a, b) for k, a, b in psi} | {(k, b, a) for k, a, b in psi})
        self.square = _quadratic(psi, self._full)
        self.embedding = np.array([self._full.index(place) for place in psi])

    def triangular(self, phi: F) -> F:
        """θ with the same Ψ as φ, (C, m)."""
        if phi.shape[1] == self.m:
            return phi[:, self.embedding]
        out = np.empty((len(phi), self.m))
        for k, factor in enumerate(self.factors):
            square = np.zeros((len(phi), factor.q, factor.q))
            for j, (owner, a, b) in enumerate(self._full):
                if owner == k:
                    square[:, a, b] = phi[:, j]
            # Λ = R' of the QR decomposition of the square root's transpose; blocks stay blocks
            lower = np.swapaxes(np.linalg.qr(np.swapaxes(square, 1, 2), mode="r"), 1, 2)
            for i in self.parameters(k):
                out[:, i] = lower[:, self.entries[i][0], self.entries[i][1]]
        return out

    @property
    def m(self) -> int:
        """Parameters θ."""
        return len(self.entries)

    @property
    def n_dense(self) -> int:
        """Columns of all factors but the leaf."""
        return sum(f.n_levels * f.q for f in self.factors[1:])

    def parameters(self, k: int) -> I:
        """Which parameters are of factor k."""
        return np.flatnonzero(self.owner == k)

    def lambdas(self, theta: F, k: int) -> F:
        """Λ' of factor k, (C, q, q), of the rescaled columns."""
        q = self.factors[k].q
        out = np.zeros((len(theta), q, q))
        for i in self.parameters(k):
            out[:, self.entries[i][0], self.entries[i][1]] = theta[:, i]
        return out

    def covariances(self, theta: F, part: int) -> F:
        """Ψ of one of the model's terms in its own columns, (C, q, q): covariances in units of σ²."""
        for k, factor in enumerate(self.factors):
            for number, columns in factor.parts:
                if number == part:
                    lam = factor.t @ self.lambdas(theta, k)
                    rows = lam[:, columns.start : columns.stop]
                    return np.asarray(rows @ np.swapaxes(rows, 1, 2))
        raise IndexError(part)

    def is_singular(self, theta: F, tolerance: float) -> NDArray[np.bool_]:
        """Whether a diagonal entry of a Λ is 0: a variance of 0 or a correlation of ±1 (lme4's isSingular)."""
        return np.asarray((np.abs(theta[:, self.diagonal]) < tolerance).any(axis=1))

    def basis(self, k: int) -> F:
        """dΨ_k/dψ of the parameters of factor k, (m_k, q, q)."""
        q = self.factors[k].q
        out = np.zeros((len(self.factors[k].entries), q, q))
        for i, (a, b) in enumerate(self.factors[k].entries):
            out[i, a, b] = out[i, b, a] = 1.0
        return out


def _quadratic(psi: list[tuple[int, int, int]], free: list[tuple[int, int, int]]) -> F:
    """Q with ψ_i = x' Q_i x, x the free entries (factor, row, column) of a root of Ψ."""
    out = np.zeros((len(psi), len(free), len(free)))
    for i, (k, a, b) in enumerate(psi):
        for u, (owner, row, column) in enumerate(free):
            if owner == k and row == a and (k, b, column) in free:
                v = free.index((k, b, column))
                out[i, u, v] += 0.5
                out[i, v, u] += 0.5
    return out


def chain(first: F, second: F, x: F, quadratic: F) -> tuple[F, F]:
    """Gradient and Hessian in x (C, M) from those in ψ, (C, m) and (C, m, m), where ψ_i = x' Q_i x."""
    jacobian = 2 * np.einsum("ijk,ck->cij", quadratic, x)
    bent = np.swapaxes(jacobian, 1, 2) @ second @ jacobian
    flat = first @ quadratic.reshape(len(quadratic), -1)
    return np.einsum("ci,cij->cj", first, jacobian), bent + 2 * flat.reshape(bent.shape)


def _merged(parts: Sequence[RandomPart]) -> list[Factor]:
    """Grouping factors with the columns of all terms that share their levels."""
    by_levels: dict[bytes, list[int]] = {}
    codes = [np.unique(part.codes, return_inverse=True)[1].astype(np.int64) for part in parts]
    for i, code in enumerate(codes):
        first = np.unique(code, return_index=True)[1]
        rank = np.empty(len(first), np.int64)
        rank[np.argsort(first)] = np.arange(len(first))  # levels numbered as they first occur: names do not matter
        by_levels.setdefault(rank[code].tobytes(), []).append(i)
    out = []
    for members in by_levels.values():
        z = np.hstack([parts[i].columns for i in members])
        blocks: list[range] = []
        places, start = [], 0
        for i in members:
            q = parts[i].columns.shape[1]
            places.append((i, range(start, start + q)))
            blocks += [range(start + b.start, start + b.stop) for b in parts[i].blocks]
            start += q
        t = _rescaling(z, blocks)
        # column by column, as lme4 orders theta
        entries = tuple((a, b) for block in blocks for b in block for a in block if a >= b)
        code = codes[members[0]]
        out.append(Factor(code, int(code.max()) + 1, z @ t, t, entries, tuple(places)))
    return out


def _rescaling(z: F, blocks: Sequence[range]) -> F:
    """T: lower triangular per block, so that Z T has columns of mean square 1, uncorrelated within a block."""
    t = np.zeros((z.shape[1], z.shape[1]))
    for block in blocks:
        here = slice(block.start, block.stop)
        gram = z[:, here].T @ z[:, here] / len(z)
        size = np.sqrt(np.diag(gram))
        size[size == 0] = 1.0
        flipped = (gram / np.outer(size, size))[::-1, ::-1]
        if np.linalg.eigvalsh(flipped)[0] > 1e-10:
            lower = np.linalg.cholesky(flipped)[::-1, ::-1].T  # gram = lower' lower
            t[here, here] = np.tril(np.linalg.inv(lower)) / size[:, None]
        else:
            t[here, here] = np.diag(1 / size)
    return t
