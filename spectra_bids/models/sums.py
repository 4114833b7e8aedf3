"""From rows to the sums the criterion needs: `Batch`es of cells on shared rows, or on rows of their own.

Rows may carry prior weights: everything is then multiplied by their square roots, as lme4 does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from spectra_bids.models.dense import places
from spectra_bids.models.general import Batch, System
from spectra_bids.models.leaves import Leaf
from spectra_bids.models.level_sums import OwnLeaf, OwnSparseLeaf, SharedLeaf, SharedSparseLeaf, classes
from spectra_bids.models.random import F, I, Structure

_DENSE = 3e5  # classes x columns squared up to which a dense product is faster than a sparse one (measured)


@dataclass(frozen=True, eq=False)
class _Column:
    """One column of Z for all levels of its factor, or (codes 0, one level) one column of X."""

    codes: I
    n_levels: int
    start: int
    values: F


def _columns(structure: Structure, x: F, rows: I, root: F | None) -> tuple[list[_Column], list[_Column]]:
    """Columns of the leaf, and those of [Z₂ X] at their places, on some rows."""
    scale = np.ones(len(rows)) if root is None else root[rows]
    leaf, *_ = structure.factors
    first = [_Column(leaf.codes[rows], leaf.n_levels, 0, leaf.z[rows, a] * scale) for a in range(leaf.q)]
    rest = [
        _Column(f.codes[rows], f.n_levels, place.column(a).start, f.z[rows, a] * scale)
        for place in places(structure)
        for f in [structure.factors[place.factor]]
        for a in range(f.q)
    ]
    zero = np.zeros(len(rows), np.int64)
    rest += [_Column(zero, 1, structure.n_dense + j, x[:, j]) for j in range(x.shape[1])]
    return first, rest


def shared_batch(structure: Structure, x: F, y: F, rows: I, root: F | None, reml: bool) -> Batch:
    """Cells that are observed on the same rows.

    Parameters
    ----------
    structure : Structure
        Of all rows.
    x : (len(rows), p)
        Orthonormal fixed effects on these rows, times the root weights.
    y : (len(rows), C)
        Values, times the root weights.
    rows : int
        Which rows.
    root : (n,) or None
        Square roots of the prior weights.
    reml : bool

    """
    first, rest = _columns(structure, x, rows, root)
    n, r = len(rows), structure.n_dense + x.shape[1]
    u = np.zeros((n, r))
    for column in rest:
        u[np.arange(n), column.start + column.codes] = column.values
    levels = first[0].n_levels
    q = len(first)
    m, of_r, t = np.zeros((levels, q, q)), np.zeros((levels, q, r)), np.zeros((y.shape[1], q, levels))
    for a, one in enumerate(first):
        indicator = csr_matrix((one.values, (one.codes, np.arange(n))), shape=(levels, n))
        of_r[:, a] = indicator @ u
        t[:, a] = (indicator @ y).T
        for b, other in enumerate(first):
            m[:, a, b] = indicator @ other.values
    present = np.bincount(first[0].codes, minlength=levels) > 0
    m, of_r, t = m[present], of_r[present], np.ascontiguousarray(t[:, :, present])
    leaf: Leaf
    if structure.n_dense and len(classes(m)[1]) * r * r > _DENSE:
        leaf = SharedSparseLeaf(m, of_r, t)
    else:
        leaf = SharedLeaf(m, of_r, t)
    system = System((u.T @ u)[None], np.ascontiguousarray((u.T @ y).T), np.einsum("ij,ij->j", y, y))
    df = np.full(y.shape[1], float(n - x.shape[1] if reml else n))
    return Batch(structure, leaf, system, df, reml)


def own_batch(structure: Structure, x: F, y: F, observed: F, root: F | None, reml: bool) -> Batch:
    """Cells of which each is observed on rows of its own.

    Parameters
    ----------
    structure : Structure
    x : (n, p)
        Orthonormal fixed effects over all rows, times the root weights.
    y : (n, C)
        Values, times the root weights, 0 where missing.
    observed : (n, C) float
        1 where observed, 0 where missing.
    root : (n,) or None
    reml : bool

    """
    n, cells = y.shape
    first, rest = _columns(structure, x, np.arange(n), root)
    levels, q, r = first[0].n_levels, len(first), structure.n_dense + x.shape[1]
    m = np.zeros((cells, q, q, levels))
    t = np.zeros((cells, q, levels))
    rr, ry = np.zeros((cells, r, r)), np.zeros((cells, r))
    for a, one in enumerate(first):
        t[:, a] = _sums(one, y).T
        for b in range(a, q):
            weights = _sums(_Column(one.codes, levels, 0, one.values * first[b].values), observed).T
            m[:, a, b] = m[:, b, a] = weights
    leaf = _own_leaf(m, t, first, rest, observed, r, structure.n_dense > 0)
    for k, one in enumerate(rest):
        ry[:, one.start : one.start + one.n_levels] = _sums(one, y).T
        for other in rest[k:]:
            i, j, values = _crossed(one, other, observed)
            rr[:, one.start + i, j] = values
            rr[:, j, one.start + i] = values
    system = System(rr, ry, np.einsum("ij,ij->j", y, y))
    df = observed.sum(axis=0) - (x.shape[1] if reml else 0)
    return Batch(structure, leaf, system, df, reml)


def _own_leaf(m: F, t: F, first: list[_Column], rest: list[_Column], observed: F, r: int, sparse: bool) -> Leaf:
    """The leaf of cells with rows of their own."""
    levels, q = first[0].n_levels, len(first)
    if not sparse:
        of_r = np.empty((observed.shape[1], q, levels, r))
        for a, one in enumerate(first):
            for other in rest:
                column = _Column(one.codes, levels, 0, one.values * other.values)
                of_r[:, a, :, other.start] = _sums(column, observed).T
        return OwnLeaf(m, of_r, t)
    met = [_crossed(first[0], other, observed[:, :0])[:2] for other in rest]
    level = np.concatenate([i for i, _ in met])
    places = np.concatenate([j for _, j in met])
    values = np.stack([np.concatenate([_crossed(one, other, observed)[2].T for other in rest]) for one in first])
    order = np.lexsort((places, level))
    return OwnSparseLeaf(m, level[order], places[order], values[:, order], t, r)


def _sums(column: _Column, y: F) -> F:
    """Sums of column x y per level, (levels, C)."""
    n = len(column.codes)
    if column.n_levels == 1:
        return np.asarray(column.values[None] @ y)
    z = csr_matrix((column.values, (column.codes, np.arange(n))), shape=(column.n_levels, n))
    return np.asarray(z @ y)


def _crossed(one: _Column, other: _Column, observed: F) -> tuple[I, I, F]:
    """Pairs of levels that occur together: level of one, place of the other's, and their sums (C, pairs)."""
    both, code = np.unique(one.codes * other.n_levels + other.codes, return_inverse=True)
    column = _Column(code.ravel(), len(both), 0, one.values * other.values)
    return both // other.n_levels, other.start + both % other.n_levels, _sums(column, observed).T
