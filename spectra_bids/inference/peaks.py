"""Clusters and peaks of a statistic's volume above a threshold, with the regions that they lie in.

A cluster is a set of voxels above the threshold that touch (6: faces, 18: edges too, 26: corners too); positive and
negative voxels form clusters of their own. Three ways to report them:

    clusters   one row each: its peak, and the regions of all its voxels
    maxima     one row per local maximum, a voxel not below any of its 26 neighbours: the region that it lies in
    extended   one row per local maximum more than `min_distance` from any larger one of its cluster: the regions in a
               sphere around it

A flat top is one maximum, at the voxel of it that is nearest to its middle.

Clusters (6 neighbours), peaks and local maxima are those of nilearn's get_clusters_table. It differs in two ways: it
lists four peaks of a cluster at most, and it compares a sub-peak with the last one it kept alone, so that one near the
first and far from the second is listed; here every two peaks of a cluster are further apart than `min_distance`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, generate_binary_structure, label, maximum_filter

from spectra_bids.geometry.labels import LabelVolume, joined, label_text
from spectra_bids.inference.fdr import F, I

Mode = Literal["clusters", "maxima", "extended"]

_RANK = {6: 1, 18: 2, 26: 3}


@dataclass(frozen=True, eq=False)
class Clusters:
    """Clusters of a volume.

    Parameters
    ----------
    labels : (I, J, K) int64
        0 = in no cluster; 1, 2, ...: positive clusters by falling peak, then negative ones likewise.
    sizes : (N,) int64
        Voxels of cluster 1, 2, ...
    signs : (N,) int64
        1 or -1.

    """

    labels: I
    sizes: I
    signs: I


@dataclass(frozen=True)
class Peak:
    """A local maximum of |statistic|.

    Parameters
    ----------
    cluster : int
        Number of its cluster.
    rank : int
        0 for the cluster's peak, then 1, 2, ... by falling height.
    index : (int, int, int)
        Voxel.
    mm : (float, float, float)
        Its centre, RAS+.
    value : float
        The statistic there.
    n_voxels, volume : int, float
        Size of the cluster in voxels and mm^3.

    """

    cluster: int
    rank: int
    index: tuple[int, int, int]
    mm: tuple[float, float, float]
    value: float
    n_voxels: int
    volume: float


def find_clusters(
    stat: NDArray[np.floating],
    threshold: float,
    *,
    connectivity: Literal[6, 18, 26] = 18,
    extent: int = 0,
    two_sided: bool = False,
) -> Clusters:
    """Clusters of voxels with stat > threshold; with `two_sided` also those with stat < -threshold.

    Parameters
    ----------
    stat : (I, J, K) float
        NaN = not measured: in no cluster.
    threshold : float
        Above 0.
    connectivity : {6, 18, 26}
        Neighbours of a voxel; SPM has 18, nilearn 6, FSL 26.
    extent : int
        Smallest cluster that is kept, in voxels.

    Raises
    ------
    ValueError
        If the volume is not 3D, the threshold not above 0, or the connectivity another number.

    """
    if stat.ndim != 3 or not threshold > 0 or connectivity not in _RANK:
        raise ValueError(
            f"expected a 3D volume, a threshold above 0 and 6, 18 or 26 neighbours. Got {stat.shape}, {threshold:g}, "
            f"{connectivity}"
        )
    out = np.zeros(stat.shape, np.int64)
    sizes: list[int] = []
    signs: list[int] = []
    structure = generate_binary_structure(3, _RANK[connectivity])
    for sign in (1, -1) if two_sided else (1,):
        height = np.nan_to_num(sign * np.asarray(stat, np.float64), nan=0.0)
        found, n = label(height > threshold, structure)
        if n == 0:
            continue
        inside = found > 0
        count = np.bincount(found[inside], minlength=n + 1)[1:]
        top = np.zeros(n)
        np.maximum.at(top, found[inside] - 1, height[inside])
        order = [k for k in np.argsort(-top, kind="stable") if count[k] >= extent]
        number = np.zeros(n + 1, np.int64)
        number[np.array(order, int) + 1] = len(sizes) + 1 + np.arange(len(order))
        out += number[found]
        sizes += [int(count[k]) for k in order]
        signs += [sign] * len(order)
    return Clusters(out, np.array(sizes, np.int64), np.array(signs, np.int64))


def find_peaks(
    stat: NDArray[np.floating],
    affine: F,
    clusters: Clusters,
    mode: Mode = "extended",
    *,
    min_distance: float = 8.0,
    most: int | None = None,
) -> tuple[Peak, ...]:
    """Peaks of clusters, cluster by cluster, the highest first.

    Parameters
    ----------
    stat : (I, J, K) float
        What `clusters` were found in.
    affine : (4, 4) float
        Voxel indices -> mm RAS+.
    clusters : Clusters
    mode : {"clusters", "maxima", "extended"}
    min_distance : float, mm
        Mode extended: maxima are further apart than this; the higher one stays.
    most : int, optional
        Peaks of one cluster at most.

    """
    volume = float(abs(np.linalg.det(affine[:3, :3])))
    out = []
    for k, where in enumerate(find_objects(clusters.labels)):
        # The cluster alone, with a border of nothing: neighbours of another cluster do not count.
        mine = np.pad(clusters.labels[where] == k + 1, 1)
        height = np.where(mine, clusters.signs[k] * np.pad(np.asarray(stat[where], np.float64), 1), 0.0)
        index = _maxima(height) + [axis.start - 1 for axis in where]
        index = index[np.lexsort((*index.T[::-1], -clusters.signs[k] * stat[tuple(index.T)]))]
        mm = index @ affine[:3, :3].T + affine[:3, 3]
        kept = _apart(mm, min_distance) if mode == "extended" else list(range(len(mm)))
        for rank, i in enumerate(kept[: 1 if mode == "clusters" else most]):
            at, place = tuple(index[i].tolist()), tuple(mm[i].tolist())
            out.append(
                Peak(k + 1, rank, at, place, float(stat[at]), int(clusters.sizes[k]), float(clusters.sizes[k] * volume))
            )
    return tuple(out)


def regions(
    peaks: Sequence[Peak],
    clusters: Clusters,
    affine: F,
    labels: Sequence[LabelVolume],
    mode: Mode = "extended",
    *,
    radius: float = 10.0,
) -> tuple[tuple[str, str], ...]:
    """Of each peak the region that it lies in, and the regions with their shares, OUTSIDE counted.

    Parameters
    ----------
    peaks, clusters, affine, mode
        As of `find_peaks`.
    labels : sequence of LabelVolume
        One atlas or several, in the space of the statistic; their voxels may be others.
    radius : float, mm
        Mode extended: of the sphere around the peak, whose label voxels are counted, above the threshold or not.

    Returns
    -------
    tuple of (label_peak, labels)
        Such as ("Left SLF", "Left SLF 62 %; OUTSIDE 38 %"). Mode clusters: of all voxels of the peak's cluster; mode
        maxima: the region of the peak alone, 100 %.

    """
    voxels = find_objects(clusters.labels)
    out = []
    for peak in peaks:
        point = np.array(peak.mm)
        said, shares = [], []
        for volume in labels:
            said.append((volume.source, volume.name(int(volume.at(point[None])[0]))))
            if mode == "clusters":
                where = voxels[peak.cluster - 1]
                index = np.argwhere(clusters.labels[where] == peak.cluster) + [axis.start for axis in where]
                found = volume.shares(index @ affine[:3, :3].T + affine[:3, 3])
            else:
                found = volume.around(point, radius) if mode == "extended" else volume.shares(point[None])
            shares.append((volume.source, label_text(found)))
        out.append((joined(said), joined(shares)))
    return tuple(out)


def peak_table(
    stat: NDArray[np.floating],
    affine: F,
    threshold: float,
    labels: Sequence[LabelVolume] = (),
    mode: Mode = "extended",
    *,
    connectivity: Literal[6, 18, 26] = 18,
    extent: int = 0,
    two_sided: bool = False,
    min_distance: float = 8.0,
    most: int | None = None,
    radius: float = 10.0,
) -> list[dict[str, object]]:
    """Rows of columns.PEAKS: the parameters are those of `find_clusters`, `find_peaks` and `regions`.

    Without labels, their columns are None.
    """
    found = find_clusters(stat, threshold, connectivity=connectivity, extent=extent, two_sided=two_sided)
    peaks = find_peaks(stat, affine, found, mode, min_distance=min_distance, most=most)
    said = regions(peaks, found, affine, labels, mode, radius=radius) if labels else ((None, None),) * len(peaks)
    return [
        {
            "cluster": peak.cluster,
            "peak": peak.rank,
            "x_mm": peak.mm[0],
            "y_mm": peak.mm[1],
            "z_mm": peak.mm[2],
            "value": peak.value,
            "n_voxels": peak.n_voxels,
            "volume_mm3": peak.volume,
            "label_peak": label_peak,
            "labels": shares,
        }
        for peak, (label_peak, shares) in zip(peaks, said, strict=True)
    ]


def _maxima(height: F) -> I:
    """Voxels (M, 3) that are local maxima of one cluster; 0 outside it."""
    inside = height > 0
    candidates = inside & (height == maximum_filter(height, 3, mode="constant"))
    while True:  # a flat part is a top only if none of it touches anything higher
        others = maximum_filter(np.where(inside & ~candidates, height, 0.0), 3, mode="constant")
        if not (lower := candidates & (height == others)).any():
            break
        candidates &= ~lower
    found, n = label(candidates, generate_binary_structure(3, 3))
    out = np.zeros((n, 3), np.int64)
    for k, where in enumerate(find_objects(found)):
        voxels = np.argwhere(found[where] == k + 1) + [axis.start for axis in where]
        middle = voxels.mean(axis=0)
        out[k] = voxels[np.argmin(((voxels - middle) ** 2).sum(axis=1).round(9))]
    return out


def _apart(mm: F, distance: float) -> list[int]:
    """Positions of points, taken in order, that are further than `distance` from all taken before."""
    kept: list[int] = []
    for i in range(len(mm)):
        if (np.linalg.norm(mm[kept] - mm[i], axis=1) > distance).all():
            kept.append(i)
    return kept
