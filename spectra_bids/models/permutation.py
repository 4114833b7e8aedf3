"""Permutation tests of a contrast in many cells at once: Freedman-Lane, exchangeability blocks, one random intercept.

The reduced model (without what the contrast tests) is fitted once per cell. Its marginal residuals e = y - X0 γ are
permuted, rows as wholes: the same permutation for every cell, missing values travelling with their row, so that the
dependence between cells and between bundles is kept. The statistic of every permutation is the t or F of the contrast
by generalised least squares under V = I + λ ZZ',

    h = K⁻¹ X'V⁻¹ Pe,    X'V⁻¹X = KK',    F = |h_tested|² / (k σ²),    σ² = (e'P'V⁻¹Pe - |h|²) / (n - p),

with λ = σ_b² / σ² held at the reduced model's REML estimate of the cell. Under the null hypothesis and permutation
within, or of whole, exchangeability blocks λ is estimated from what the permutations leave as it is (exactly so with
an intercept alone; Freedman & Lane's approximation with covariates), so that the observed statistic is one of the
permuted ones; and 5000 permutations cost as much as a few refits. A true effect between the levels of the random
factor makes λ of the reduced model larger: the test then loses power, not validity.

Statistics of cells with different numbers of rows are compared as z: Wallace's (t) and Paulson's (F) approximations
with n - p degrees of freedom, both monotone. p does not depend on their accuracy: every permutation has the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spectra_bids.inference import NullMaxima, Permutations, Spatial
from spectra_bids.models.lmm import LmmFit, fit_lmm

F = NDArray[np.float64]
I = NDArray[np.int64]  # noqa: E741 - reads as F does
Bool = NDArray[np.bool_]

#: Bound on the memory of what is computed together.
BATCH_BYTES = 64e6
#: Two-sided p of a cell from which on it can be part of a cluster.
CLUSTER_P = 0.001
_TIE = 1 - 1e-9
_RANK = 1e-9


@dataclass(frozen=True, eq=False)
class PermutationTest:
    """Permutation test of one contrast in a bundle of C cells; NaN in cells that were not tested.

    statistic "t" or "F"; value (C,) t or F under the fixed λ; z (C,) the same on the normal scale; p (C,) by
    permutation, uncorrected; cluster (C,) number of the cell's cluster, 0 = none; size, mass (C,) of the cell's
    cluster; tfce (C,) with sign; ratio (C,) λ. `null` is for `inference.joint_maxima` and `reduce_maxima`.
    """

    statistic: str
    value: F
    z: F
    p: F
    cluster: I
    size: F
    mass: F
    tfce: F
    ratio: F
    null: NullMaxima


def permutation_test(
    y: F,
    x: F,
    contrast: F,
    permutations: Permutations,
    grid: Spatial,
    groups: I | None = None,
    *,
    tested: Bool | None = None,
    cluster_p: float = CLUSTER_P,
    batch_bytes: float = BATCH_BYTES,
) -> PermutationTest:
    """Test one contrast in the cells of one bundle by permutation (the map step of a family).

    Parameters
    ----------
    y : (n, C) float
        Values, NaN = missing.
    x : (n, p) float
        Fixed effects, of full column rank.
    contrast : (p,) or (k, p) float
        t for one row, F for several.
    permutations : Permutations
        Of the n rows; the same for every bundle of a family.
    grid : Spatial
        Positions of the C cells.
    groups : (n,) int, optional
        Codes of the one random factor.
    tested : (C,) bool, optional
        Cells that take part, as those with a p in the fits; default all that can be.
    cluster_p : float
        Two-sided p at which clusters are formed.
    batch_bytes : float
        Bound on memory.

    Returns
    -------
    PermutationTest

    Raises
    ------
    ValueError
        If shapes disagree.

    """
    from scipy.special import ndtri

    if permutations.index.shape[1] != len(y):
        raise ValueError(f"permutations must be of the {len(y)} rows of y. Got {permutations.index.shape[1]}")
    scan = Scan(y, x, contrast, groups, tested, batch_bytes)
    threshold = float(-ndtri(cluster_p / 2))
    value, z = scan.observed()
    label, size, mass = grid.clusters(z[None], threshold)
    exceed = np.zeros(len(z))
    maxima = []
    for index, signs in _batches(permutations, scan.batch):
        drawn = scan.permuted(index, signs)
        # a permutation that leaves a cell without full rank counts against that cell, and not in the maxima
        exceed += (~(np.abs(drawn) < np.abs(z) * _TIE)).sum(axis=0)
        maxima.append(_maxima(drawn, grid, threshold))
    untested = np.isnan(z)
    size, mass, tfce, p = (
        np.where(untested, np.nan, a)
        for a in (size[label[0]], mass[label[0]], grid.tfce(z[None])[0], (exceed + 1) / (len(permutations.index) + 1))
    )
    null = NullMaxima(*np.concatenate(maxima, axis=1))
    return PermutationTest(scan.statistic, value, z, p, label[0], size, mass, tfce, scan.ratio, null)


def _batches(permutations: Permutations, size: int) -> Iterator[tuple[I, F | None]]:
    for start in range(0, len(permutations.index), size):
        part = slice(start, start + size)
        yield permutations.index[part], None if permutations.signs is None else permutations.signs[part]


def _maxima(z: F, grid: Spatial, threshold: float) -> F:
    """Largest |z|, cluster size, cluster mass, |TFCE| of each map, (4, B)."""
    label, size, mass = grid.clusters(z, threshold)
    peak = np.abs(np.nan_to_num(z)).max(axis=1, initial=0.0)
    sizes, masses = (a[label].max(axis=1, initial=0.0) for a in (size, mass))
    return np.stack([peak, sizes, masses, np.abs(grid.tfce(z)).max(axis=1, initial=0.0)])


class Scan:
    """A bundle ready for permutations: residuals of the reduced model, λ, and what no permutation changes.

    Arrays end in (permutations, cells), 1 standing for "the same for all", so that the small matrices of all cells
    are handled by vector operations.
    """

    def __init__(
        self,
        y: F,
        x: F,
        contrast: F,
        groups: I | None = None,
        tested: Bool | None = None,
        batch_bytes: float = BATCH_BYTES,
    ) -> None:
        y, x = np.asarray(y, np.float64), np.asarray(x, np.float64)
        rows = np.atleast_2d(np.asarray(contrast, np.float64))
        if rows.shape[1] != x.shape[1] or len(x) != len(y):
            raise ValueError(f"y (n, C), x (n, p), contrast (k, p) disagree: {y.shape}, {x.shape}, {rows.shape}")
        self.k, (self.n, self.p) = len(rows), x.shape
        self.statistic = "t" if self.k == 1 else "F"
        self.basis = _nuisance_first(x, rows)
        self.codes = np.zeros(0, np.int64) if groups is None else np.unique(groups, return_inverse=True)[1]
        self.n_groups = int(self.codes.max(initial=-1)) + 1
        self.ratio, e = _reduced(y, self.basis, self.k, groups)
        good = np.isfinite(self.ratio) & (np.isfinite(e).sum(axis=0) > self.p)
        self.cells = np.flatnonzero(good if tested is None else good & tested)
        self.ratio = np.where(good, self.ratio, np.nan)
        self.n_cells = y.shape[1]
        e = e[:, self.cells]
        self.seen = np.isfinite(e).astype(np.float64)
        self.complete = bool(self.seen.all())
        self.df = self.seen.sum(axis=0) - self.p
        e = np.where(self.seen > 0, e, 0.0)
        self.e = e / np.sqrt(np.maximum((e**2).sum(axis=0), 1e-300))
        wide = self.p + 4 + (2 * self.n_groups if self.complete else self.p**2 + (self.p + 3) * self.n_groups)
        few = min(max(1, len(self.cells)), 256)
        self.batch = int(np.clip(batch_bytes // (8 * wide * few), 1, 256))
        self._part = int(max(1, batch_bytes // (8 * wide * self.batch)))

    def observed(self) -> tuple[F, F]:
        """Statistic of the data as they are, t or F, and as z; (C,) each."""
        value = self._all(np.arange(self.n)[None], None)
        return self._spread(value)[0], self._spread(self._z(value))[0]

    def permuted(self, index: I, signs: F | None = None) -> F:
        """Statistics as z under the permutations `index` (B, n), (B, C)."""
        return self._spread(self._z(self._all(index, signs)))

    def _spread(self, values: F) -> F:
        out = np.full((len(values), self.n_cells), np.nan)
        out[:, self.cells] = values
        return out

    def _all(self, index: I, signs: F | None) -> F:
        """Statistics of the tested cells, part by part, (B, tested)."""
        back = np.argsort(index, axis=1)  # D'Pe = (P'D)'e: row j of e meets row back[j] of the design
        turned = None if signs is None else np.take_along_axis(signs, back, axis=1)
        starts = range(0, len(self.cells), self._part)
        found = [self._statistics(back, turned, slice(k, k + self._part)) for k in starts]
        return np.concatenate(found, axis=1) if found else np.zeros((len(index), 0))

    def _statistics(self, back: I, signs: F | None, part: slice) -> F:
        """Values of t or F under B permutations of some cells, (B, cells)."""
        e, seen, lam = self.e[:, part], self.seen[:, part], self.ratio[self.cells[part]]
        rows = np.arange(self.n)[None] if self.complete else back
        columns = self.basis[back].transpose(2, 0, 1)
        xy = _dot(columns if signs is None else columns * signs, e)
        yy = (e**2).sum(axis=0)[None]
        present = seen[:, :1] if self.complete else seen
        design = self.basis[rows].transpose(2, 0, 1)
        gram = [[_dot(design[i] * design[j], present) for j in range(i + 1)] for i in range(self.p)]
        if self.n_groups:
            kept = signs is None and bool((self.codes[back] == self.codes).all())
            t = self._sums(back[:1] if kept else back, signs, e)
            n_g = self._sums(back[:1] if kept else rows, None, present)
            w = lam / (1 + lam * n_g)
            u = np.stack([self._sums(rows, column, present) for column in design])
            wt = w * t
            xy = xy - np.einsum("igbc,gbc->ibc", u, wt)
            yy = yy - (wt * t).sum(axis=0)
            gram = [
                [gram[i][j] - np.einsum("gbc,gbc,gbc->bc", w, u[i], u[j]) for j in range(i + 1)] for i in range(self.p)
            ]
        return self._test(gram, xy, yy, self.df[part])

    def _sums(self, back: I, weights: F | None, values: F) -> F:
        """Sums of rows of `values` (n, C) over the levels they are in when permuted, (G, B, C)."""
        from scipy.sparse import csr_matrix

        b = len(back)
        level = self.codes[back] * b + np.arange(b)[:, None]
        data = np.ones(back.size) if weights is None else weights.ravel()
        z = csr_matrix((data, (level.ravel(), np.tile(np.arange(self.n), b))), shape=(self.n_groups * b, self.n))
        return np.asarray(z @ values).reshape(self.n_groups, b, -1)

    def _test(self, gram: list[list[F]], xy: F, yy: F, df: F) -> F:
        """Cholesky factor K of the normal equations, h = K⁻¹ X'V⁻¹y, and from it t or F; NaN without full rank."""
        k: list[list[F]] = []
        h: list[F] = []
        with np.errstate(invalid="ignore", divide="ignore"):
            for i in range(self.p):
                row: list[F] = []
                for j in range(i):
                    row.append((gram[i][j] - sum(row[m] * k[j][m] for m in range(j))) / k[j][j])
                pivot = gram[i][i] - sum(a**2 for a in row)
                row.append(np.sqrt(np.where(pivot > _RANK * gram[i][i], pivot, np.nan)))
                k.append(row)
                h.append((xy[i] - sum(row[m] * h[m] for m in range(i))) / row[i])
            rest = (yy - sum(a**2 for a in h)) / df
            rest = np.where(rest > 1e-14, rest, np.nan)
            if self.k == 1:
                return np.asarray(h[-1] / np.sqrt(rest))
            return np.asarray(sum(a**2 for a in h[-self.k :]) / (self.k * rest))

    def _z(self, value: F) -> F:
        """A statistic (B, tested) on the two-sided normal scale; F without sign."""
        from scipy.special import ndtr, ndtri

        df = self.df
        if self.k == 1:  # Wallace 1959
            return np.asarray(np.sign(value) * (8 * df + 1) / (8 * df + 3) * np.sqrt(df * np.log1p(value**2 / df)))
        a, b, root = 2 / (9 * self.k), 2 / (9 * df), np.cbrt(value)  # Paulson 1942
        return np.asarray(-ndtri(ndtr(-((1 - b) * root - (1 - a)) / np.sqrt(b * root**2 + a)) / 2))


def _dot(columns: F, values: F) -> F:
    """Products of columns (..., B, n) with the rows of values (n, C), (..., B, C)."""
    flat = np.ascontiguousarray(columns).reshape(-1, columns.shape[-1])
    return np.asarray(flat @ values).reshape(*columns.shape[:-1], values.shape[1])


def _nuisance_first(x: F, rows: F) -> F:
    """Orthonormal columns (n, p) that span X: first what the contrast leaves free, last what it tests."""
    _, singular, v = np.linalg.svd(rows)
    if singular.min() < 1e-10 * singular.max():
        raise ValueError("the rows of a contrast must be linearly independent")
    free = v[len(rows) :].T
    ordered = np.concatenate([x @ free, x @ np.linalg.pinv(rows)], axis=1)
    q, r = np.linalg.qr(ordered)
    return np.asarray(q * np.sign(np.diag(r)))


def _reduced(y: F, basis: F, k: int, groups: I | None) -> tuple[F, F]:
    """λ (C,) of the reduced model, NaN where it cannot be fitted, and its marginal residuals (n, C)."""
    x0 = basis[:, : basis.shape[1] - k]
    fitted = x0 if x0.shape[1] else basis  # nothing but the tested columns: λ of the full model, y as it is
    fit = fit_lmm(y, fitted, groups, [np.eye(fitted.shape[1])[0]], min_subjects=1)
    e = y - x0 @ fit.coefficients.T if x0.shape[1] else y
    return _variance_ratio(fit), e


def _variance_ratio(fit: LmmFit) -> F:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(
            np.where(np.isin(fit.status, ["ok", "singular"]), (fit.sd_random / fit.sd_residual) ** 2, np.nan)
        )
