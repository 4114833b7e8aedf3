"""Neighbourhoods on a bundle's (s, r) grid: clusters, their size and mass, threshold-free cluster enhancement.

A cell touches those one step along s or along r (four neighbours, two in 1D); nothing touches across bundles. Maps of
many permutations are labelled at once, as slices of one array that do not touch each other. Positive and negative
cells form clusters of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spectra_bids.inference.fdr import Bool, F, I

#: Exponents of extent and height, and step of height (Smith & Nichols 2009).
TFCE_EXTENT, TFCE_HEIGHT, TFCE_STEP = 0.5, 2.0, 0.1


@dataclass(frozen=True, eq=False)
class Spatial:
    """Grid positions of a bundle's C cells: s (C,), r (C,) or None in 1D."""

    s: I
    r: I | None = None

    @property
    def across(self) -> I:
        """Radial index, 0 in 1D."""
        return np.zeros_like(self.s) if self.r is None else self.r

    def _field(self, maps: F) -> F:
        """Maps (B, C) side by side on the grid, (R, B, S + 1): an empty column parts them. 0 outside and for NaN."""
        field = np.zeros((int(self.across.max(initial=0)) + 1, len(maps), int(self.s.max(initial=0)) + 2))
        field[self.across, :, self.s] = np.nan_to_num(maps, posinf=0.0, neginf=0.0).T
        return field

    def clusters(self, maps: F, threshold: float) -> tuple[I, F, F]:
        """Clusters of cells with |z| > threshold, by sign.

        Parameters
        ----------
        maps : (B, C) float
            z values; NaN = no value.
        threshold : float
            Positive.

        Returns
        -------
        label : (B, C) int
            0 = in no cluster; numbers run through all maps.
        size, mass : (K + 1,) float
            Cells, and sum of |z| - threshold, of each cluster; 0 for label 0.

        """
        field = self._field(maps)
        above, below = _label(field > threshold), _label(-field > threshold)
        labels = np.where(below > 0, below + int(above.max(initial=0)), above)
        inside = np.flatnonzero(labels)
        found = labels.ravel()[inside]
        size = np.bincount(found, minlength=1).astype(np.float64)
        mass = np.bincount(found, weights=np.abs(field.ravel()[inside]) - threshold, minlength=1)
        return labels[self.across, :, self.s].T, size, np.asarray(mass, np.float64)

    def tfce(self, maps: F, step: float = TFCE_STEP) -> F:
        """Threshold-free cluster enhancement, Σ_h extent(h)^0.5 h² dh over h = step, 2 step, ... <= |z|, with sign.

        Parameters
        ----------
        maps : (B, C) float
            z values; NaN = no value (0 in the result).
        step : float
            Of the height; the same for all maps, so that they compare.

        Returns
        -------
        (B, C) float

        """
        field = self._field(maps)
        out = np.zeros_like(field)
        for sign in (1, -1):
            part = sign * field
            top = part.max(axis=(0, 2))
            for k in range(1, int(np.floor(top.max(initial=0.0) / step + 1e-9)) + 1):
                height = k * step
                alive = np.flatnonzero(top >= height * (1 - 1e-12))  # maps that reach so high
                labels = _label(part[:, alive] >= height * (1 - 1e-12))
                inside = np.nonzero(labels)
                found = labels[inside]
                gain = np.bincount(found).astype(np.float64) ** TFCE_EXTENT * height**TFCE_HEIGHT * step
                out[inside[0], alive[inside[1]], inside[2]] += sign * gain[found]
        return np.asarray(out[self.across, :, self.s].T)


def _label(inside: Bool) -> I:
    """Numbers from 1 of connected cells of maps side by side (R, B, S + 1), four neighbours; 0 outside."""
    from scipy.ndimage import label

    return np.asarray(label(inside.reshape(len(inside), -1))[0]).reshape(inside.shape)  # long lines: 4 times faster


def clusters(s: I, r: I | None, rejected: Bool) -> I:
    """Label rejected cells that touch each other on the grid, (N,); 0 = not rejected, 1, 2, ... clusters.

    Neighbours differ by one in s or in r, or by one in both: a cluster that moves diagonally is one cluster.
    """
    from scipy.ndimage import label

    out = np.zeros(len(s), dtype=np.int64)
    if not rejected.any():
        return out
    across = np.zeros_like(s) if r is None else r
    field = np.zeros((int(s.max()) + 1, int(across.max()) + 1), dtype=bool)
    field[s[rejected], across[rejected]] = True
    labels = label(field, structure=np.ones((3, 3)))[0]
    out[rejected] = labels[s[rejected], across[rejected]]
    return out
