"""Maps, tables and pictures of a voxel-wise analysis, and its results in the layout of ModelArray."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectra_bids.bridges.modelarray import write_results
from spectra_bids.columns import sidecar
from spectra_bids.dataset.outputs import write_bytes, write_json, write_table
from spectra_bids.errors import OutputError
from spectra_bids.figures.brains import glass_brain, mosaic
from spectra_bids.io.masks import Mask, map_bytes
from spectra_bids.voxels.decide import Decided
from spectra_bids.voxels.fit import STATUSES, VoxelFits
from spectra_bids.voxels.model import VoxelModel
from spectra_bids.voxels.peaks import PEAKS
from spectra_bids.voxels.settings import VoxelSettings

log = logging.getLogger("spectra_bids")

F = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ContrastOutput:
    """What there is of one contrast for the page: tables of peaks by mode, pictures as PNG."""

    peaks: Mapping[str, pd.DataFrame]
    mosaic: bytes
    glass: bytes


def maps_of(model: VoxelModel, fits: VoxelFits, decided: tuple[Decided, ...]) -> Iterator[tuple[str, F]]:
    """Name without suffix, and values (V,), of every map."""
    yield "stat-nobs_statmap", np.asarray(fits.nobs, np.float64)
    yield "stat-status_statmap", np.asarray(fits.status, np.float64)
    for label, test, found in zip(model.labels, fits.tests, decided, strict=True):
        maps = {test.statistic: test.value, "df": test.df, "p": found.p, "q": found.q}
        maps["rejected"] = np.where(np.isfinite(found.p), found.rejected, np.nan)
        if test.statistic == "t":
            maps |= {"effect": test.estimate, "se": test.se}
        for name, values in maps.items():
            yield f"contrast-{label}_stat-{name}_statmap", values


def write_maps(
    settings: VoxelSettings, mask: Mask, model: VoxelModel, fits: VoxelFits, decided: tuple[Decided, ...]
) -> list[Path]:
    """All maps; their paths."""
    written = []
    for name, values in maps_of(model, fits, decided):
        path = settings.folder / f"{name}.nii.gz"
        write_bytes(path, map_bytes(values, mask))
        written.append(path)
    status = settings.folder / "stat-status_statmap.json"
    write_json(status, {"Description": "How a voxel was fitted", "Levels": dict(enumerate(STATUSES, start=1))})
    return [*written, status]


def write_tables(settings: VoxelSettings, model: VoxelModel, shown: Mapping[str, ContrastOutput]) -> list[Path]:
    """Tables of peaks and pictures of every contrast, by its label; their paths."""
    written = []
    for label in model.labels:
        for mode, table in shown[label].peaks.items():
            path = settings.folder / f"contrast-{label}_desc-{mode}_peaks.tsv"
            write_table(path, table)
            written.append(path)
        for name, png in (("mosaic", shown[label].mosaic), ("glass", shown[label].glass)):
            path = settings.folder / "figures" / f"contrast-{label}_desc-{name}.png"
            write_bytes(path, png)
            written.append(path)
    about = settings.file("peaks.json")
    write_json(about, sidecar(PEAKS))
    return [*written, about]


def draw(settings: VoxelSettings, mask: Mask, values: F, two_sided: bool) -> tuple[bytes, bytes]:
    """Mosaic and glass brain of a statistic, (V,), as PNG."""
    shown, volume = settings.display, mask.volume(values)
    wide = mosaic(volume, shown.threshold, two_sided, shown.background)
    return wide, glass_brain(volume, shown.threshold, two_sided)


def design_table(model: VoxelModel) -> pd.DataFrame:
    """Inputs and their rows of X."""
    table = pd.DataFrame(model.design.X, columns=list(model.design.columns))
    table.insert(0, "input", list(model.design.labels))
    return table


def results_matrix(model: VoxelModel, fits: VoxelFits, decided: tuple[Decided, ...]) -> tuple[list[str], F]:
    """Names and values (K, V) in the manner of ModelArray's lm: element_id, <term>.estimate ..., model.nobs."""
    rows: dict[str, NDArray[Any]] = {"element_id": np.arange(len(fits.nobs))}
    for contrast, test, found in zip(model.contrasts, fits.tests, decided, strict=True):
        if test.statistic == "t":
            rows |= {f"{contrast.name}.estimate": test.estimate, f"{contrast.name}.std.error": test.se}
        rows |= {
            f"{contrast.name}.statistic": test.value,
            f"{contrast.name}.df": test.df,
            f"{contrast.name}.p.value": found.p,
            f"{contrast.name}.p.value.fdr": found.q,
            f"{contrast.name}.rejected": np.where(np.isfinite(found.p), found.rejected, np.nan),
        }
    rows["model.nobs"] = fits.nobs
    return list(rows), np.array(list(rows.values()), np.float64)


def write_back(settings: VoxelSettings, model: VoxelModel, fits: VoxelFits, decided: tuple[Decided, ...]) -> None:
    """Results into the HDF5 file that the values came from; a warning where it cannot be written."""
    if settings.hdf5 is None:
        return
    try:
        write_results(settings.hdf5, settings.name, *results_matrix(model, fits, decided))
    except OutputError as error:
        log.warning("%s The maps are in %s", error.message, settings.folder)
