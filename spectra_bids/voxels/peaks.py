"""Tables of clusters and peaks of a contrast, with anatomical labels, in the three usual ways.

    clusters   a row per cluster and region: the share of the cluster in it, and of the region in the cluster
    maxima     a row per local maximum: the region that it lies in
    extended   a row per local maximum and region: the shares of a sphere around it

OUTSIDE is what no region covers. The percentages of one cluster or sphere add up to 100.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectra_bids.columns import Column
from spectra_bids.geometry.labels import OUTSIDE, LabelVolume, Shares
from spectra_bids.inference.peaks import Clusters, Mode, Peak, find_clusters, find_peaks
from spectra_bids.io.masks import Mask
from spectra_bids.voxels.decide import Decided
from spectra_bids.voxels.settings import DisplaySettings

F = NDArray[np.float64]

MODES: tuple[Mode, ...] = ("clusters", "maxima", "extended")

PEAKS = (
    Column("cluster", "Number of the cluster, by falling peak; positive clusters come first"),
    Column("x_mm", "Peak, right is positive", "mm"),
    Column("y_mm", "Peak, anterior is positive", "mm"),
    Column("z_mm", "Peak, superior is positive", "mm"),
    Column("value", "Statistic at the peak"),
    Column("p", "p at the peak, uncorrected"),
    Column("q", "Adjusted p at the peak, to be compared with the level"),
    Column("n_voxels", "Voxels of the cluster"),
    Column("n_rejected", "Voxels of the cluster that are rejected"),
    Column("atlas", "Atlas of the label"),
    Column("label", "Region; OUTSIDE: no region"),
    Column("percent", "Share of the cluster, of the sphere around the peak (extended), or 100 (maxima)", "%"),
    Column("percent_label", "Share of the region that the cluster covers; n/a for peaks", "%"),
    Column("n_voxels_label", "Voxels of the region in its atlas"),
)


def peak_tables(
    values: F, found: Decided, mask: Mask, display: DisplaySettings, labels: Sequence[LabelVolume], two_sided: bool
) -> dict[str, pd.DataFrame]:
    """Tables of a contrast, one per mode.

    Parameters
    ----------
    values : (V,) float
        The statistic.
    found : Decided
    mask : Mask
    display : DisplaySettings
    labels : sequence of LabelVolume
        None: columns atlas to n_voxels_label are n/a.
    two_sided : bool
        Whether negative values form clusters too.

    """
    volume = np.asarray(mask.volume(values).data)
    clusters = find_clusters(
        volume, display.threshold, connectivity=display.connectivity, extent=display.extent, two_sided=two_sided
    )
    maps = {
        "p": mask.volume(found.p).data,
        "q": mask.volume(found.q).data,
        "rejected": mask.volume(found.rejected).data,
    }
    sizes = [_sizes(atlas) for atlas in labels]
    out: dict[str, pd.DataFrame] = {}
    for mode in MODES:
        rows: list[dict[str, object]] = []
        for peak in find_peaks(volume, mask.affine, clusters, mode, min_distance=display.min_distance):
            head = _head(peak, clusters, maps)
            for atlas, voxels in zip(labels, sizes, strict=True):
                shares = _shares(peak, clusters, mask.affine, atlas, mode, display.radius)
                rows += [head | _label(peak, mask, atlas, voxels, name, share, mode) for name, share in shares]
            if not labels:
                rows.append(head)
        out[mode] = pd.DataFrame(rows, columns=[column.name for column in PEAKS])
    return out


def _head(peak: Peak, clusters: Clusters, maps: Mapping[str, NDArray[np.floating]]) -> dict[str, object]:
    """What is said of a peak whatever the region."""
    x, y, z = peak.mm
    rejected = int(np.nansum(maps["rejected"][clusters.labels == peak.cluster]))
    return {"cluster": peak.cluster, "x_mm": x, "y_mm": y, "z_mm": z, "value": peak.value,
            "p": float(maps["p"][peak.index]), "q": float(maps["q"][peak.index]), "n_voxels": peak.n_voxels,
            "n_rejected": rejected}  # fmt: skip


def _shares(peak: Peak, clusters: Clusters, affine: F, atlas: LabelVolume, mode: Mode, radius: float) -> Shares:
    """Regions with their shares of the cluster, the sphere, or the peak."""
    point = np.array(peak.mm)
    if mode == "extended":
        return atlas.around(point, radius)
    if mode == "maxima":
        return atlas.shares(point[None])
    index = np.argwhere(clusters.labels == peak.cluster)
    return atlas.shares(index @ affine[:3, :3].T + affine[:3, 3])


def _label(
    peak: Peak, mask: Mask, atlas: LabelVolume, voxels: Mapping[str, int], name: str, share: float, mode: Mode
) -> dict[str, object]:
    """Columns of one region."""
    n = voxels.get(name, 0)
    region = n * abs(np.linalg.det(atlas.affine[:3, :3]))
    covered: float = np.nan
    if mode == "clusters":
        covered = 0.0 if name == OUTSIDE else 100 * share * peak.volume / region
    return {"atlas": atlas.source, "label": name, "percent": round(100 * share, 2),
            "percent_label": round(covered, 2), "n_voxels_label": n}  # fmt: skip


def _sizes(atlas: LabelVolume) -> dict[str, int]:
    """Voxels of each region."""
    numbers, counts = np.unique(atlas.data, return_counts=True)
    sizes: dict[str, int] = {}
    for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
        if number:
            sizes[atlas.name(number)] = sizes.get(atlas.name(number), 0) + count
    return sizes
