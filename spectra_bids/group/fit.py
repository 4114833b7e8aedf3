"""Map step: the fits of one bundle, `model-<name>_bundle-<X>_desc-profile{1D,2D}_fits.tsv`, resumable by content."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd

from spectra_bids import __version__
from spectra_bids.columns import FITS_1D, FITS_2D, names, sidecar
from spectra_bids.dataset.names import fits_file
from spectra_bids.dataset.outputs import read_table, remove, write_json, write_table
from spectra_bids.errors import MissingInputError, SpectraError
from spectra_bids.geometry.grid import Grid
from spectra_bids.group.model import GroupModel
from spectra_bids.group.tables import Cohort
from spectra_bids.models.fits import fit_cells
from spectra_bids.models.lmm import CHUNK_BYTES
from spectra_bids.settings import GroupSettings


def fit_bundle(settings: GroupSettings, model: GroupModel, cohort: Cohort, grid: Grid) -> tuple[Path, bool]:
    """Fits of one bundle and kind of profile; the file, and whether it had to be computed."""
    path = fits_file(settings.run.output_dir, model.name, grid.bundle, cohort.dims)
    key = fits_key(settings, model, cohort, grid)
    if not settings.run.force and _is_done(path, key):
        return path, False
    if settings.run.reports_only:
        raise MissingInputError(
            f"--reports-only: {path} is missing or out of date", "Run the same command without --reports-only"
        )
    table = _fit(settings, model, cohort, grid)
    columns = FITS_1D if cohort.dims == "1D" else FITS_2D
    facts = {
        "Formula": model.design.formula.text,
        "Contrasts": {c.name: c.weights.tolist() for c in model.contrasts},
        "DesignColumns": list(model.design.columns),
        "Engine": "batched REML, Satterthwaite" if model.design.groups is not None else "ordinary least squares",
        "GridChecksum": grid.checksum,
        "SettingsHash": key,
        "SpectraBidsVersion": __version__,
    }
    remove(path)  # killed after the sidecar, old fits would pass for new ones
    write_json(path.with_suffix(".json"), {**facts, **sidecar(columns)})
    write_table(path, table)
    return path, True


def fits_key(settings: GroupSettings, model: GroupModel, cohort: Cohort, grid: Grid) -> str:
    """Hash of everything that decides a bundle's fits: model, people, values."""
    digest = hashlib.sha256(__version__.encode())
    columns = cohort.columns_of(grid.bundle)
    for text in (model.design.formula.text, *model.design.columns, *model.design.labels, str(settings.min_subjects)):
        digest.update(text.encode() + b"\0")
    for contrast in model.contrasts:
        digest.update(f"{contrast.name} {contrast.effect}".encode() + contrast.weights.tobytes())
    digest.update(model.design.X.tobytes() + (b"" if model.design.groups is None else model.design.groups.tobytes()))
    digest.update(grid.checksum.encode())
    for scalar, values in cohort.values.items():
        digest.update(scalar.encode() + np.ascontiguousarray(values[np.ix_(model.sessions, columns)]).tobytes())
    return digest.hexdigest()[:16]


def _is_done(path: Path, key: str) -> bool:
    try:
        facts = json.loads(path.with_suffix(".json").read_text())
        return facts.get("SettingsHash") == key and not read_table(path).empty
    except (OSError, ValueError, SpectraError):
        return False


def _fit(settings: GroupSettings, model: GroupModel, cohort: Cohort, grid: Grid) -> pd.DataFrame:
    index = cohort.columns_of(grid.bundle)
    cells = cohort.cells.iloc[index].reset_index(drop=True)
    centres = _centres(cells, grid)
    parts = []
    for scalar, values in cohort.values.items():
        fits = fit_cells(
            values[np.ix_(model.sessions, index)],
            model.design,
            model.contrasts,
            settings.min_subjects,
            chunk_bytes(settings.run.mem_gb),
        )
        where = fits.pop("cell").to_numpy()
        head = pd.concat([cells, centres], axis=1).iloc[where].reset_index(drop=True)
        parts.append(pd.concat([head.assign(scalar=scalar), fits], axis=1))
    return pd.concat(parts, ignore_index=True)[names(FITS_1D if cohort.dims == "1D" else FITS_2D)]


def chunk_bytes(memory_gb: float | None) -> float:
    """Bytes of the cells that are fitted together: at most a tenth of --mem, and never more than helps the speed."""
    return CHUNK_BYTES if memory_gb is None else min(CHUNK_BYTES, 0.1e9 * memory_gb)


def _centres(cells: pd.DataFrame, grid: Grid) -> pd.DataFrame:
    """Centre of each cell in atlas space, mm."""
    s = cells["s"].to_numpy()
    xyz = grid.centres_1d[s] if "r" not in cells.columns else grid.centres_2d[s, cells["r"].to_numpy()]
    return pd.DataFrame(xyz, columns=["x_mm", "y_mm", "z_mm"])
