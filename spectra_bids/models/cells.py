"""Bookkeeping of the cells of a mass-univariate fit: what is observed, counts, scale, and who can be fitted at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spectra_bids.models.reml import Bool, F, I

_PIECE = 2048  # cells whose values are looked at together: a few MB, so that passes over them stay in the cache


class Cells:
    """Values of C cells with their counts and scale; standardised piece by piece, never as a whole copy.

    Parameters
    ----------
    y : (n, C) float64
        NaN = missing.
    p : int
        Columns of the design.
    groups, subjects : (n,) int or None
        Codes of the random factor's levels and of the people.
    factors : sequence of (n,) int
        Level codes (< 0: none) of tested factors.
    min_subjects : int or None
        Default max(10, p + 5).
    centre : bool
        Whether the design holds an intercept, so that values may be centred.
    root : (n,) or None
        Square roots of prior weights, by which standardised values are multiplied.

    Attributes
    ----------
    n, n_levels : (C,) int
    sd : (C,) float
        Standard deviation of each cell's values.
    shift : (C,) float
        What centring takes from the standardised values.
    status : (C,) str
        `ok` for those to be fitted, else `too_few` or `constant`.

    """

    def __init__(
        self,
        y: F,
        p: int,
        groups: I | None,
        subjects: I | None,
        factors: Sequence[I],
        min_subjects: int | None,
        centre: bool,
        root: F | None = None,
    ) -> None:
        self._y, self._root = y, root
        self.groups = None if groups is None else np.unique(groups, return_inverse=True)[1].astype(np.int64)
        self.observed: Bool | None = None
        mean, self.sd, self.n = self._moments()
        with np.errstate(invalid="ignore", divide="ignore"):
            constant = ~(self.sd > 1e-12 * np.abs(mean))
        self._scale = np.where(constant, 1.0, self.sd)
        self._offset = mean if centre else np.zeros_like(mean)
        self.shift = self._offset / self._scale
        least = max(10, p + 5) if min_subjects is None else min_subjects
        few = ((self.n if subjects is None else self.count_present(subjects)) < least) | (self.n <= p)
        for codes in factors:
            few |= self._fewest_in_level(codes, subjects) < 3
        self.status = np.where(few, "too_few", np.where(constant, "constant", "ok")).astype("U16")
        self.n_levels = np.zeros_like(self.n) if self.groups is None else self.count_present(self.groups)

    def _moments(self) -> tuple[F, F, I]:
        """Mean, SD and count of each cell; `observed` is kept only if something is missing."""
        rows, c = self._y.shape
        mean, sd, n = np.empty(c), np.empty(c), np.full(c, rows, dtype=np.int64)
        for start in range(0, c, _PIECE):
            piece = slice(start, min(start + _PIECE, c))
            block = self._y[:, piece]
            finite = np.isfinite(block)
            with np.errstate(invalid="ignore", divide="ignore"):
                if finite.all():
                    mean[piece] = block.mean(axis=0)
                    centred = block - mean[piece]
                else:
                    if self.observed is None:
                        self.observed = np.ones((rows, c), dtype=bool)
                    self.observed[:, piece] = finite
                    n[piece] = finite.sum(axis=0)
                    mean[piece] = np.where(finite, block, 0.0).sum(axis=0) / n[piece]
                    centred = np.where(finite, block - mean[piece], 0.0)
                sd[piece] = np.sqrt(np.einsum("ij,ij->j", centred, centred) / (n[piece] - 1))
        return mean, sd, n

    def seen(self, index: I) -> Bool:
        """Which values of some cells are observed, (n, len(index))."""
        if self.observed is None:
            return np.ones((len(self._y), len(index)), dtype=bool)
        return self.observed[:, index]

    def standardised(self, index: I) -> F:
        """Values of some cells in standard deviations (from the mean, if centred), 0 where missing."""
        first, last = int(index[0]), int(index[-1])
        run = last - first + 1 == len(index)  # a slice is copied four times faster than an index array
        block = self._y[:, first : last + 1] if run else self._y[:, index]
        z = block - self._offset[index]
        z /= self._scale[index]
        if self._root is not None:
            z *= self._root[:, None]
        if self.observed is not None:
            z[~self.seen(index)] = 0.0
        return np.asarray(z)

    def shared_patterns(self, todo: I, worth: float) -> list[I]:
        """Groups of at least `worth` cells of `todo` that are observed on the same rows."""
        if len(todo) < worth:
            return []
        if self.observed is None:
            return [todo]
        packed = np.packbits(self.observed[:, todo], axis=0).T
        keys = np.ascontiguousarray(packed).view(np.dtype((np.void, packed.shape[1]))).ravel()
        _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
        return [todo[inverse == k] for k in np.flatnonzero(counts >= worth)]

    def count_present(self, codes: I) -> I:
        """Number of distinct codes among each cell's rows, (C,)."""
        if self.observed is None:
            return np.full(len(self.n), len(np.unique(codes)), dtype=np.int64)
        return np.asarray(_any_per_code(self.observed, codes).sum(axis=0), dtype=np.int64)

    def _fewest_in_level(self, codes: I, subjects: I | None) -> I:
        """Smallest number of subjects in any level, (C,)."""
        counts = []
        for level in np.unique(codes[codes >= 0]):
            rows = np.flatnonzero(codes == level)
            who = rows if subjects is None else subjects[rows]
            if self.observed is None:
                counts.append(np.full(len(self.n), len(np.unique(who))))
            else:
                counts.append(_any_per_code(self.observed[rows], who).sum(axis=0))
        return np.asarray(np.min(counts, axis=0)) if counts else np.full(len(self.n), 3)


def _any_per_code(observed: Bool, codes: I) -> Bool:
    """Whether any row of each code is observed, (codes, C)."""
    order = np.argsort(codes, kind="stable")
    _, starts = np.unique(codes[order], return_index=True)
    return np.asarray(np.logical_or.reduceat(observed[order], starts, axis=0))
