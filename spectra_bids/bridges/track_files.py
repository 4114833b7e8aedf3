"""What is known of the streamlines of a tractogram, as files beside it: voxels they pass through, regions they end in.

X_index.npz                                  io.voxel_index
X_tracklabels.npz  .tsv  .json               io.track_labels
X_connectivity.tsv                           counts between regions
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from spectra_bids.dataset.outputs import write_bytes, write_json, write_table
from spectra_bids.geometry.voxels import VoxelIndex
from spectra_bids.io.track_labels import LABEL_COLUMNS, Labeling, labeling_bytes
from spectra_bids.io.tractograms import EXTENSIONS, split_group
from spectra_bids.io.voxel_index import index_bytes


def tractogram_stem(path: Path) -> str:
    """A tractogram's file name without its ending; with the group, of `bundles.trx:AF_L`."""
    path, group = split_group(path)
    ending = next((e for e in EXTENSIONS if path.name.lower().endswith(e)), path.suffix)
    return path.name[: len(path.name) - len(ending)] + (f"_{group}" if group else "")


def write_index(path: Path, index: VoxelIndex, tractogram: str = "") -> None:
    """Write an index of voxels."""
    write_bytes(path, index_bytes(index, tractogram))


def write_labeling(stem: Path, labeling: Labeling) -> Path:
    """Write `stem`_tracklabels.{npz,tsv,json} and `stem`_connectivity.tsv; returns the .npz."""
    write_table(stem.with_name(f"{stem.name}_connectivity.tsv"), labeling.connectivity())
    write_table(stem.with_name(f"{stem.name}_tracklabels.tsv"), labeling.table())
    write_json(stem.with_name(f"{stem.name}_tracklabels.json"), labeling_sidecar(labeling))
    path = stem.with_name(f"{stem.name}_tracklabels.npz")
    write_bytes(path, labeling_bytes(labeling))
    return path


def labeling_sidecar(labeling: Labeling) -> dict[str, object]:
    """Facts of a labelling, and the columns of its table."""
    share = labeling.pairs.unlabelled_share
    return {
        "Name": labeling.name,
        "Parameters": dict(labeling.parameters),
        "EndSearchRadius": labeling.dilation,
        "EndSearchRadiusUnits": "mm",
        "Tractogram": labeling.tractogram,
        "Segmentation": labeling.volume,
        "Streamlines": len(labeling.pairs.labels),
        "UnlabelledStreamlines": int((labeling.pairs.labels == 0).sum()),
        "UnlabelledShare": round(share, 6) if np.isfinite(share) else None,
        **LABEL_COLUMNS,
    }


def bids_text(value: object) -> str:
    """A value as part of a BIDS label: letters and digits."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return re.sub(r"[^A-Za-z0-9]", "", re.sub(r"(?<=\d)\.(?=\d)", "p", text))


def labeling_entities(name: str, parameters: dict[str, object] | None = None, dilation: float = 0.0) -> str:
    """`_seg-Lausanne_scale-33_desc-dilation2`: the entities that tell a labelling from others.

    Parameters other than scale are joined in `desc`, in alphabetical order; so is a search radius.
    """
    known = dict(parameters or {})
    parts = [f"_seg-{bids_text(name) or 'unnamed'}"]
    if "scale" in known and bids_text(known["scale"]):
        parts.append(f"_scale-{bids_text(known.pop('scale'))}")
    rest = "".join(bids_text(key) + bids_text(value) for key, value in sorted(known.items()))
    rest += f"within{bids_text(float(dilation))}mm" if dilation else ""
    return "".join(parts) + (f"_desc-{rest}" if rest else "")
