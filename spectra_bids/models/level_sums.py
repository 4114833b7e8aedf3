"""Sums over the levels of the leaf factor (`leaves.Leaf`), in the four shapes that cells come in.

SharedLeaf   cells on the same rows: levels with equal M_g form a class whose products R_g'R_g are summed once, so
             that a sum over levels is one small matrix product for all cells
SharedSparseLeaf   the same where few levels are equal and there are further random factors: a level meets few
             levels of the others, so that products and R are sparse matrices
OwnLeaf      cells on rows of their own, few columns (X alone): products of columns kept per cell
OwnSparseLeaf      cells on rows of their own with further random factors: only the pairs of columns that a level
             meets are kept; cells stand last, so that every step runs along them
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from spectra_bids.models.leaves import pairs
from spectra_bids.models.random import F, I


class SharedLeaf:
    """Cells on the same rows.

    Parameters
    ----------
    m : (G, q, q)
    r : (G, q, r)
    t : (C, q, G)

    """

    def __init__(self, m: F, r: F, t: F) -> None:
        n_levels, self.q, self.r = r.shape
        self.count, first, self._class = classes(m)
        self._m = np.ascontiguousarray(np.moveaxis(m[first], 0, 2))[None]
        products = np.empty((len(pairs(self.q)), len(first), self.r, self.r))
        order = np.argsort(self._class, kind="stable")
        starts = np.r_[0, np.cumsum(self.count)].astype(np.int64)
        for c in range(len(first)):
            members = r[order[starts[c] : starts[c + 1]]]
            for u, (a, b) in enumerate(pairs(self.q)):
                one = members[:, a].T @ members[:, b]
                products[u, c] = one if a == b else one + one.T
        self._products = products.reshape(-1, self.r * self.r)
        # R_g K R_g' of unequal places counts twice in the products
        self._halves = np.array([1.0 if a == b else 0.5 for a, b in pairs(self.q)])
        self._r = np.ascontiguousarray(np.moveaxis(r, 0, 1)).reshape(-1, self.r)  # (q G, r)
        self._t = t
        self._single = len(first) == n_levels and bool((self._class == np.arange(n_levels)).all())

    def moments(self, which: I) -> F:
        """M of each class."""
        return self._m

    def gram(self, weights: F, which: I) -> F:
        """Σ_g R_g' W_g R_g."""
        flat = weights.reshape(weights.shape[0] * weights.shape[1], -1) @ self._products
        return np.asarray(flat.reshape(*weights.shape[:2], self.r, self.r))

    def project(self, k: F, which: I) -> F:
        """R_g K R_g', summed per class."""
        out = (k.reshape(len(k), -1) @ self._products.T).reshape(len(k), len(self._halves), -1)
        return np.asarray(out * self._halves[:, None])

    def values(self, which: I) -> F:
        """Sums of the values per level."""
        return _of(self._t, which)

    def forward(self, v: F, which: I) -> F:
        """R_g v."""
        return np.asarray(v @ self._r.T).reshape(len(v), self.q, -1)

    def backward(self, u: F, which: I) -> F:
        """Σ_g R_g'u_g."""
        return np.asarray(u.reshape(len(u), -1) @ self._r)

    def each(self, x: F) -> F:
        """Per class -> per level."""
        return x if self._single else np.take(x, self._class, axis=-1)


class OwnLeaf:
    """Cells of which each has rows of its own.

    Parameters
    ----------
    m : (C, q, q, G)
    r : (C, q, G, r)
    t : (C, q, G)

    """

    def __init__(self, m: F, r: F, t: F) -> None:
        self._m, self._r, self._t = m, r, t
        cells, self.q, levels, width = r.shape
        self.count = np.ones(levels)
        self._upper = np.triu_indices(width)
        i, j = self._upper
        self._products = np.empty((cells, len(pairs(self.q)), levels, len(i)))
        for u, (a, b) in enumerate(pairs(self.q)):
            np.multiply(r[:, a][:, :, i], r[:, b][:, :, j], out=self._products[:, u])
            if a != b:
                self._products[:, u] += r[:, b][:, :, i] * r[:, a][:, :, j]
        # K's entries off the diagonal stand for two, R_g K R_g' of unequal places counts twice in the products
        self._twice = np.where(i == j, 1.0, 2.0)
        self._halves = np.array([1.0 if a == b else 0.5 for a, b in pairs(self.q)])

    def moments(self, which: I) -> F:
        """M of each level."""
        return _of(self._m, which)

    def gram(self, weights: F, which: I) -> F:
        """Σ_g R_g' W_g R_g."""
        n, many = weights.shape[:2]
        i, j = self._upper
        packed = weights.reshape(n, many, -1) @ _of(self._products, which).reshape(n, -1, len(i))
        out = np.empty((n, many, self._r.shape[3], self._r.shape[3]))
        out[:, :, i, j] = packed
        out[:, :, j, i] = packed
        return out

    def project(self, k: F, which: I) -> F:
        """R_g K R_g'."""
        products = _of(self._products, which)
        packed = k[:, self._upper[0], self._upper[1]] * self._twice
        out = (products.reshape(len(k), -1, len(self._twice)) @ packed[:, :, None]).reshape(products.shape[:3])
        return np.asarray(out * self._halves[:, None])

    def values(self, which: I) -> F:
        """Sums of the values per level."""
        return _of(self._t, which)

    def forward(self, v: F, which: I) -> F:
        """R_g v."""
        r = _of(self._r, which)
        return np.asarray(r.reshape(len(r), -1, r.shape[3]) @ v[:, :, None]).reshape(r.shape[:3])

    def backward(self, u: F, which: I) -> F:
        """Σ_g R_g'u_g."""
        r = _of(self._r, which)
        return np.asarray(u.reshape(len(r), 1, -1) @ r.reshape(len(r), -1, r.shape[3]))[:, 0]

    def each(self, x: F) -> F:
        """Every level is its own class."""
        return x


class SharedSparseLeaf:
    """Cells on the same rows, whose levels differ and meet few columns of [Z₂ X].

    Parameters
    ----------
    m : (G, q, q)
    r : (G, q, r)
    t : (C, q, G)

    """

    def __init__(self, m: F, r: F, t: F) -> None:
        n_levels, self.q, self.r = r.shape
        self.count = np.ones(n_levels)
        self._m, self._t = np.ascontiguousarray(np.moveaxis(m, 0, 2))[None], t
        level, column = np.nonzero((r != 0).any(axis=1))
        met = _Pairs(level, column, self.r)
        values = r[level, :, column]  # (nnz, q)
        blocks, rows = [], []
        for u, (a, b) in enumerate(pairs(self.q)):
            one = values[met.first, a] * values[met.second, b]
            blocks.append(one if a == b else one + values[met.first, b] * values[met.second, a])
            rows.append(u * n_levels + met.level)
        at = (np.tile(met.at, len(blocks)), np.concatenate(rows))
        self._products = csr_matrix((np.concatenate(blocks), at), shape=(len(met.twice), len(blocks) * n_levels))
        self._products_t = self._products.T.tocsr()
        self._place, self._twice = met.place, met.twice[:, None]
        self._halves = np.array([1.0 if a == b else 0.5 for a, b in pairs(self.q)])
        self._r = csr_matrix(np.moveaxis(r, 0, 1).reshape(-1, self.r))
        self._r_t = self._r.T.tocsr()

    def moments(self, which: I) -> F:
        """M of each level."""
        return self._m

    def gram(self, weights: F, which: I) -> F:
        """Σ_g R_g' W_g R_g."""
        n, many = weights.shape[:2]
        packed = (self._products @ np.ascontiguousarray(weights.reshape(n * many, -1).T)).T
        out = np.zeros((n * many, self.r, self.r))
        i, j = self._place
        out[:, i, j] = packed
        out[:, j, i] = packed
        return out.reshape(n, many, self.r, self.r)

    def project(self, k: F, which: I) -> F:
        """R_g K R_g'."""
        entries = np.ascontiguousarray(k[:, self._place[0], self._place[1]].T) * self._twice
        out = np.ascontiguousarray((self._products_t @ entries).T).reshape(len(k), len(self._halves), -1)
        return np.asarray(out * self._halves[:, None])

    def values(self, which: I) -> F:
        """Sums of the values per level."""
        return _of(self._t, which)

    def forward(self, v: F, which: I) -> F:
        """R_g v."""
        return np.ascontiguousarray((self._r @ np.ascontiguousarray(v.T)).T).reshape(len(v), self.q, -1)

    def backward(self, u: F, which: I) -> F:
        """Σ_g R_g'u_g."""
        return np.ascontiguousarray((self._r_t @ np.ascontiguousarray(u.reshape(len(u), -1).T)).T)

    def each(self, x: F) -> F:
        """Every level is its own class."""
        return x


class OwnSparseLeaf:
    """Cells on rows of their own, whose levels meet few columns of [Z₂ X].

    Parameters
    ----------
    m : (C, q, q, G)
    level, column : (nnz,) int
        Which level meets which column, sorted by level.
    values : (q, nnz, C)
        R of them.
    t : (C, q, G)
    r : int
        Columns of [Z₂ X].

    """

    def __init__(self, m: F, level: I, column: I, values: F, t: F, r: int) -> None:
        self._m, self._values, self._t, self.r = m, values, t, r
        self.q, n_levels = m.shape[1], m.shape[3]
        self.count = np.ones(n_levels)
        met = _Pairs(level, column, r)
        first, second = met.first, met.second
        self._level, self._column, self._of_pair = level, column, met.level
        self._place, self._at, self._twice = met.place, met.at, met.twice[met.at][:, None]
        self._sum_places = _indicator(met.at, len(met.twice))
        self._sum_levels = _indicator(met.level, n_levels)
        self._sum_values = _indicator(level, n_levels)
        self._sum_columns = _indicator(column, r)
        self._halves = np.array([1.0 if a == b else 0.5 for a, b in pairs(self.q)])
        products = []
        for a, b in pairs(self.q):
            one = values[a, first] * values[b, second]
            products.append(one if a == b else one + values[b, first] * values[a, second])
        self._products = np.stack(products)  # (s, pairs, C)
        self._now: tuple[I, F, F] | None = None

    def _active(self, which: I) -> tuple[F, F]:
        """Products and values of the cells `which`; the last choice is kept, for it is asked for several times."""
        if len(which) == self._products.shape[2]:
            return self._products, self._values
        if self._now is None or not np.array_equal(self._now[0], which):
            self._now = which, self._products[:, :, which], self._values[:, :, which]
        return self._now[1], self._now[2]

    def moments(self, which: I) -> F:
        """M of each level."""
        return _of(self._m, which)

    def gram(self, weights: F, which: I) -> F:
        """Σ_g R_g' W_g R_g."""
        products, _ = self._active(which)
        n, many = weights.shape[:2]
        i, j = self._place
        out = np.zeros((n, many, self.r, self.r))
        for k in range(many):
            w = np.ascontiguousarray(weights[:, k].transpose(1, 2, 0))  # (s, levels, C)
            total = products[0] * w[0][self._of_pair]
            for u in range(1, len(w)):
                total += products[u] * w[u][self._of_pair]
            packed = (self._sum_places @ total).T
            out[:, k, i, j] = packed
            out[:, k, j, i] = packed
        return out

    def project(self, k: F, which: I) -> F:
        """R_g K R_g'."""
        products, _ = self._active(which)
        entries = np.ascontiguousarray(k[:, self._place[0], self._place[1]].T)[self._at] * self._twice
        out = np.stack([self._sum_levels @ (one * entries) for one in products])  # (s, levels, C)
        return np.ascontiguousarray((out * self._halves[:, None, None]).transpose(2, 0, 1))

    def values(self, which: I) -> F:
        """Sums of the values per level."""
        return _of(self._t, which)

    def forward(self, v: F, which: I) -> F:
        """R_g v."""
        _, values = self._active(which)
        spread = np.ascontiguousarray(v.T)[self._column]
        out = np.stack([self._sum_values @ (one * spread) for one in values])
        return np.ascontiguousarray(out.transpose(2, 0, 1))

    def backward(self, u: F, which: I) -> F:
        """Σ_g R_g'u_g."""
        _, values = self._active(which)
        turned = np.ascontiguousarray(u.transpose(1, 2, 0))
        total = values[0] * turned[0][self._level]
        for a in range(1, self.q):
            total += values[a] * turned[a][self._level]
        return np.ascontiguousarray((self._sum_columns @ total).T)

    def each(self, x: F) -> F:
        """Every level is its own class."""
        return x


def classes(m: F) -> tuple[F, I, I]:
    """Levels with equal M (G, q, q): size of each class, its first level, and the class of each level."""
    _, first, of, counts = np.unique(
        m.reshape(len(m), -1), axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    return counts.astype(np.float64), first, of.ravel()


def _of(x: F, which: I) -> F:
    """The cells `which`; no copy if it is all of them."""
    return x if len(which) == len(x) else x[which]


def _indicator(code: I, n: int) -> csr_matrix:
    """Matrix (n, len(code)) that sums rows of one code."""
    return csr_matrix((np.ones(len(code)), (code, np.arange(len(code)))), shape=(n, len(code)))


class _Pairs:
    """Pairs of columns (each with itself too) that a level meets.

    first, second: positions in the list of what is met; level: of each pair; place: rows and columns of the upper
    triangle that occur; at: which of them each pair belongs to; twice: 2 off the diagonal, per place.
    """

    def __init__(self, level: I, column: I, r: int) -> None:
        one, other = _pairs_within(level)
        swap = column[one] > column[other]
        self.first, self.second = np.where(swap, other, one), np.where(swap, one, other)
        self.level = level[one]
        place, at = np.unique(column[self.first] * r + column[self.second], return_inverse=True)
        self.place, self.at = (place // r, place % r), at.ravel()
        self.twice = np.where(self.place[0] == self.place[1], 1.0, 2.0)


def _pairs_within(level: I) -> tuple[I, I]:
    """Pairs of positions (each with itself too) within runs of one level."""
    starts = np.flatnonzero(np.r_[True, level[1:] != level[:-1]])
    sizes = np.diff(np.r_[starts, len(level)])
    one, other = [], []
    for size in np.unique(sizes):
        i, j = np.triu_indices(size)
        begin = starts[sizes == size][:, None]
        one.append((begin + i).ravel())
        other.append((begin + j).ravel())
    return np.concatenate(one), np.concatenate(other)
