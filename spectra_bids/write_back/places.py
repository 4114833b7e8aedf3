"""Bundles with their grids and streamlines, and the image whose voxels all files share."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Bundle
from spectra_bids.columns import DECISIONS, FITS_2D
from spectra_bids.dataset.atlas_store import find_atlas
from spectra_bids.dataset.atlases import read_atlas
from spectra_bids.dataset.grids import load_grid, stored_grids
from spectra_bids.dataset.names import plain, streamlines_file
from spectra_bids.dataset.outputs import sha256
from spectra_bids.errors import AtlasError, InputDataError, MissingInputError, UsageError, listed
from spectra_bids.geometry.grid import Grid
from spectra_bids.io.contents import VoxelGrid
from spectra_bids.io.tractograms import read_bundle
from spectra_bids.io.volumes import read_grid
from spectra_bids.write_back.task import WriteBackTask

if TYPE_CHECKING:
    import pandas as pd

#: First voxel's centre and last one's of the MNI152NLin2009cAsym image, mm; every MNI152 atlas lies in it.
_MNI_BOX = (np.array([-96.0, -132.0, -78.0]), np.array([96.0, 96.0, 114.0]))


@dataclass(frozen=True, eq=False)
class Place:
    """A bundle: its grid, its streamlines, where they came from, and the image that all files share."""

    name: str
    atlas_label: str
    space: str
    grid: Grid
    bundle: Bundle
    source: Path
    image: VoxelGrid


@dataclass(frozen=True, eq=False)
class Atlas:
    """What is known of the bundles before any is read: grid files' labels, streamline files, space and image."""

    out: Path
    labels: dict[str, str]
    files: dict[str, Path]
    space: str
    image: VoxelGrid

    def place(self, name: str) -> Place:
        """One bundle, read."""
        grid = load_grid(self.out, self.labels[name], name)
        if not grid.is_located:
            raise InputDataError(
                f"It is not known where the nodes of {name} are: its profiles were imported from another program",
                "Results can be written back for bundles that this program has profiled",
            )
        file = self.files[name]
        return Place(name, self.labels[name], self.space, grid, read_bundle(file), file, self.image)


def find_places(task: WriteBackTask, bundles: list[str]) -> Atlas:
    """Where the bundles' grids and streamlines are.

    Raises
    ------
    SpectraError
        One of them is not there, the atlas is not the grids' own, or no image of its space is known.

    """
    known = stored_grids(task.out)
    absent = [name for name in bundles if name not in known]
    if absent:
        raise MissingInputError(f"{task.out}/atlas has no grid of {listed(absent)}", "Run the participant level again")
    files = _streamline_files(task, {name: known[name] for name in bundles})
    space = _space(task)
    return Atlas(task.out, {name: known[name][0] for name in bundles}, files, space, _image(task, space))


def _streamline_files(task: WriteBackTask, grids: dict[str, tuple[str, Path]]) -> dict[str, Path]:
    """Bundle -> file of its streamlines: of --atlas, which must be the one that the grids were made of, or of OUT."""
    if not task.atlas:
        shown = {name: streamlines_file(task.out, label, name) for name, (label, _) in grids.items()}
        absent = [path for path in shown.values() if not path.is_file()]
        if absent:
            raise MissingInputError(
                f"There is no {absent[0]}: the streamlines to write results on",
                "Name the atlas of the participant level with --atlas, or run that level again",
            )
        return shown
    atlas = read_atlas(find_atlas(task.atlas))
    for name, (_, description) in grids.items():
        if name not in atlas.bundles:
            raise AtlasError(f"The atlas {task.atlas} has no bundle {name}. There are: {listed(atlas.bundles)}")
        if sha256(atlas.bundles[name]) != json.loads(description.read_text()).get("AtlasFileSHA256"):
            raise AtlasError(
                f"{atlas.bundles[name]} is not the file that the grid of {name} in {task.out} was made of",
                "Give the atlas that the participant level ran with",
            )
    return {name: atlas.bundles[name] for name in grids}


def _space(task: WriteBackTask) -> str:
    """Space of the atlas, as the first session's sidecar says it; empty if none does."""
    for path in sorted(task.out.glob("sub-*/**/*_desc-profile*_tractometry.json")):
        try:
            atlas = json.loads(path.read_text()).get("Atlas", {})
        except (OSError, ValueError):
            continue
        if isinstance(atlas, dict) and atlas.get("Space"):
            return plain(str(atlas["Space"]))
    return ""


def _image(task: WriteBackTask, space: str) -> VoxelGrid:
    """Voxels of the volumes and of the .trk header."""
    if task.reference is not None:
        return VoxelGrid(*read_grid(task.reference))
    if space and not space.startswith("MNI152"):
        raise UsageError(
            f"The atlas is in {space}, of which no image is known here, and volumes and .trk, .trx headers need one",
            "Give an image of that space: --reference IMAGE.nii.gz",
        )
    low, high = _MNI_BOX
    affine = np.diag([task.voxel_size] * 3 + [1.0])
    affine[:3, 3] = low
    i, j, k = (int(n) for n in np.floor((high - low) / task.voxel_size + 1e-6).astype(int) + 1)
    return VoxelGrid(affine, (i, j, k))


def place_facts(task: WriteBackTask, place: Place) -> dict[str, Any]:
    """What every sidecar says; no path and no time."""
    return {
        "Bundle": place.name,
        "Profile": task.dims,
        "Atlas": place.atlas_label,
        "Space": place.space or "n/a",
        "GridChecksum": place.grid.checksum,
        "Streamlines": {"File": place.source.name, "SHA256": sha256(place.source), "Count": place.bundle.n_streamlines},
    }


def on_grid(grid: Grid, dims: str, rows: pd.DataFrame, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values of a table's rows in their cells, (ns,) or (ns, nr); NaN elsewhere."""
    out = np.full((grid.ns,) if dims == "1D" else (grid.ns, grid.nr), np.nan)
    index = (rows["s"].to_numpy(int),) if dims == "1D" else (rows["s"].to_numpy(int), rows["r"].to_numpy(int))
    if any((at >= size).any() for at, size in zip(index, out.shape, strict=True)):
        raise InputDataError(f"The results of {grid.bundle} are of another grid than the one in atlas/")
    out[index] = values
    return out


def description(column: str) -> str:
    """What a column of the results is, by the dictionary that their own sidecars are made of."""
    known = {c.name: c.description for c in (*FITS_2D, *DECISIONS)}
    return known.get(column, column)
