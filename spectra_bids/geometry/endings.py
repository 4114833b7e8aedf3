"""Where streamlines end: the region at either end, and a label per unordered pair of regions.

A streamline is labelled if both its ends lie in a region, or within the search radius of one; a streamline that starts
in A and ends in B is the same as one that starts in B and ends in A. Both ends may lie in one region.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Bundle
from spectra_bids.geometry.labels import LabelVolume

#: Label of a streamline of which an end lies in no region.
UNLABELLED = 0
#: Voxels as near as the nearest one, within rounding.
_TIE = 1 + 1e-6
_NEIGHBOURS = 8


@dataclass(frozen=True, eq=False)
class EndPairs:
    """Streamlines sorted by the regions that their ends lie in.

    Parameters
    ----------
    ends : (S, 2) int64
        Region at the first and at the last point; 0 = none.
    pairs : (K, 2) int64
        Pairs of regions that occur, the smaller number first, rising.
    labels : (S,) int64
        Row of `pairs`, counted from 1, of each streamline; 0 = unlabelled.

    """

    ends: NDArray[np.int64]
    pairs: NDArray[np.int64]
    labels: NDArray[np.int64]

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Streamlines of each pair, (K,)."""
        return count_labels(self.labels, len(self.pairs))

    @property
    def unlabelled_share(self) -> float:
        """Share of the streamlines without a label; NaN without streamlines."""
        return float(np.mean(self.labels == UNLABELLED)) if len(self.labels) else float("nan")

    def connectivity(self, regions: NDArray[np.integer]) -> NDArray[np.int64]:
        """Counts of streamlines between regions, symmetric, (R, R); `regions` (R,) rising, all that occur."""
        out = np.zeros((len(regions), len(regions)), np.int64)
        i, j = (np.searchsorted(regions, side) for side in self.pairs.T)
        out[i, j] = self.counts
        out[j, i] = self.counts
        return out


def end_regions(bundle: Bundle, volume: LabelVolume, dilation: float = 0.0) -> NDArray[np.int64]:
    """Region at the two ends of each streamline.

    Parameters
    ----------
    bundle : Bundle
        Mm RAS+, in the space of the volume.
    volume : LabelVolume
    dilation : float, mm
        An end in no region takes that of the nearest voxel of any region, if its centre is within this distance; of
        several that are equally near, the one with the smallest number.

    Returns
    -------
    (S, 2) int64
        0 = no region, or no point.

    Raises
    ------
    ValueError
        If the radius is negative.

    """
    if not dilation >= 0:
        raise ValueError(f"a search radius is at least 0 mm. Got {dilation}")
    out = np.zeros((bundle.n_streamlines, 2), np.int64)
    filled = np.flatnonzero(bundle.counts > 0)
    if len(filled) == 0:
        return out
    points = np.stack([bundle.points[bundle.offsets[filled]], bundle.points[bundle.offsets[filled + 1] - 1]], axis=1)
    flat = points.reshape(-1, 3).astype(np.float64)
    found = volume.at(flat)
    lost = np.flatnonzero(found == 0)
    if dilation > 0 and len(lost):
        found[lost] = _nearest(flat[lost], volume, dilation)
    out[filled] = found.reshape(-1, 2)
    return out


def _nearest(points: NDArray[np.float64], volume: LabelVolume, radius: float) -> NDArray[np.int64]:
    """Label of the nearest labelled voxel centre within a radius of each point (N, 3) mm, 0 = none; (N,)."""
    from scipy.spatial import cKDTree

    index = np.argwhere(volume.data != 0)
    centres = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    near = ((centres >= points.min(axis=0) - radius) & (centres <= points.max(axis=0) + radius)).all(axis=1)
    out = np.zeros(len(points), np.int64)
    if not near.any():
        return out
    labels = volume.data[tuple(index[near].T)].astype(np.int64)
    distance, which = cKDTree(centres[near]).query(points, k=_NEIGHBOURS, distance_upper_bound=radius * _TIE)
    named = np.append(labels, np.iinfo(np.int64).max)[which]  # beyond the radius: no neighbour
    ties = np.where(distance <= distance[:, :1] * _TIE, named, np.iinfo(np.int64).max)
    reached = distance[:, 0] <= radius * _TIE
    out[reached] = ties[reached].min(axis=1)
    return out


def pair_ends(ends: NDArray[np.int64]) -> EndPairs:
    """Label streamlines by the unordered pair of regions at their ends, (S, 2)."""
    both = (ends != 0).all(axis=1)
    ordered = np.sort(ends[both], axis=1)
    labels = np.zeros(len(ends), np.int64)
    if not both.any():
        return EndPairs(ends, np.zeros((0, 2), np.int64), labels)
    pairs, inverse = np.unique(ordered, axis=0, return_inverse=True)
    labels[both] = inverse.ravel() + 1
    return EndPairs(ends, pairs, labels)


def count_labels(labels: NDArray[np.int64], n_pairs: int) -> NDArray[np.int64]:
    """Streamlines with each label 1 ... n_pairs, (n_pairs,); those without a label are not counted."""
    return np.bincount(labels, minlength=n_pairs + 1)[1:].astype(np.int64)
