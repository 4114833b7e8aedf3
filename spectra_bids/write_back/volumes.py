"""Results and cells as volumes in the atlas's space."""

from __future__ import annotations

import gzip
import io
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Bundle
from spectra_bids.dataset.outputs import write_bytes, write_json, write_table
from spectra_bids.errors import InputDataError
from spectra_bids.figures.scene_colours import cell_values
from spectra_bids.geometry.grid import Assignment, assign
from spectra_bids.geometry.sampling import refine, voxel_coordinates
from spectra_bids.write_back.places import Place, description, place_facts
from spectra_bids.write_back.task import WriteBackTask, sidecar


@lru_cache(maxsize=1)  # the same for all maps of a bundle
def voxels_of(place: Place) -> tuple[NDArray[np.int64], Assignment]:
    """Voxels that streamlines pass through, (3, V) in the order of the image, and where their centres lie."""
    image = place.image
    size = float(np.linalg.norm(image.affine[:3, :3], axis=0).min())
    bundle, _, _ = refine(place.bundle, place.bundle, size / 2)
    index = np.rint(voxel_coordinates(bundle.points, image.affine)).astype(np.int64)
    outside = ((index < 0) | (index >= np.array(image.shape)[:, None])).any(axis=0)
    if outside.any():
        raise InputDataError(
            f"{100 * outside.mean():.1f} % of the points of {place.name} lie outside of the image, of {image.shape}",
            "Give an image of the atlas's space that holds all of it: --reference IMAGE.nii.gz",
        )
    flat = np.unique(np.ravel_multi_index(tuple(index), image.shape))
    voxels = np.stack(np.unravel_index(flat, image.shape))
    centres = voxels.T @ image.affine[:3, :3].T + image.affine[:3, 3]
    alone = Bundle(centres.astype(np.float32), np.arange(len(centres) + 1))
    return voxels, assign(place.grid, alone)


def write_cells(path: Path, table: Path, task: WriteBackTask, place: Place) -> None:
    """The label volume of a bundle's cells, and the table of what each label is."""
    import pandas as pd

    grid = place.grid
    voxels, where = voxels_of(place)
    one = task.dims == "1D"
    belongs = grid.in_1d if one else grid.in_2d
    label = np.where(belongs, 1 + np.arange(belongs.size).reshape(belongs.shape), 0)
    data = np.zeros(place.image.shape, np.uint16)
    data[tuple(voxels)] = cell_values(label, where)
    _write_image(path, data, place)
    cells = np.argwhere(belongs)
    centres = (grid.centres_1d if one else grid.centres_2d)[tuple(cells.T)]
    columns: dict[str, Any] = {
        "index": label[tuple(cells.T)],
        "name": [f"s{s:02d}" if one else f"s{s:02d}r{r}" for s, *rest in cells for r in (rest or [0])],
        "s": cells[:, 0],
    }
    if not one:
        columns["r"] = cells[:, 1]
    columns |= {"s_mm": grid.s_mm[cells[:, 0]]} | ({} if one else {"r_mm": grid.r_mm[cells[:, 1]]})
    columns |= {axis: centres[:, k] for k, axis in enumerate(("x_mm", "y_mm", "z_mm"))}
    columns["n_voxels"] = np.bincount(data.ravel(), minlength=belongs.size + 1)[columns["index"]]
    write_table(table, pd.DataFrame(columns))
    told = {"Description": "Cells of the bundle's grid; 0: no streamlines, or a cell that does not belong to the grid"}
    write_json(sidecar(path), told | place_facts(task, place))


def write_map(path: Path, place: Place, column: str, cells: NDArray[np.float64], facts: dict[str, Any]) -> None:
    """A column of the results, (ns,) or (ns, nr), as a volume."""
    voxels, where = voxels_of(place)
    data = np.full(place.image.shape, np.nan, np.float32)
    data[tuple(voxels)] = cell_values(cells, where)
    _write_image(path, data, place)
    told = {"Description": description(column), "OutsideOfBundle": "NaN", "NotTested": "NaN"}
    write_json(sidecar(path), told | facts)


def _write_image(path: Path, data: NDArray[Any], place: Place) -> None:
    import nibabel as nib

    picture = nib.Nifti1Image(data, place.image.affine)
    picture.header.set_xyzt_units("mm")
    # 4: MNI152 and its kin; 2: another space than the scanner's
    picture.set_sform(place.image.affine, code=4 if place.space.startswith("MNI152") else 2)
    picture.set_qform(None, code=0)
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as packed:
        packed.write(picture.to_bytes())
    write_bytes(path, buffer.getvalue())
