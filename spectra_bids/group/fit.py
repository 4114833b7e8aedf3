"""Map step: the fits of one bundle, `model-<name>_bundle-<X>_desc-profile{1D,2D}_fits.tsv`, resumable by content.

Beside them, for the procedures and diagnostics of the reduce step (`evidence`): the residuals' correlation, and, in
mode perm, what permutations of the rows give.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectra_bids import __version__
from spectra_bids.columns import (
    COMPONENTS_1D,
    COMPONENTS_2D,
    FITS_1D,
    FITS_2D,
    MEANS_1D,
    MEANS_2D,
    Column,
    names,
    sidecar,
)
from spectra_bids.dataset.names import map_file
from spectra_bids.dataset.outputs import read_table, remove, write_json, write_table
from spectra_bids.errors import MissingInputError, SpectraError
from spectra_bids.geometry.grid import Grid
from spectra_bids.group.batches import harmonize, harmonized, removed
from spectra_bids.group.evidence import OBSERVED, is_written, permutation_key, write_arrays
from spectra_bids.group.exchange import draw, exchange_blocks, require_permutable
from spectra_bids.group.model import GroupModel
from spectra_bids.group.nested import ratio_rows
from spectra_bids.group.tables import Cohort
from spectra_bids.inference import NullMaxima, Spatial, correlate
from spectra_bids.models.components import RESIDUAL, components
from spectra_bids.models.fits import fit_design, fits_table, means_table
from spectra_bids.models.means import AdjustedMean, adjusted_means
from spectra_bids.models.normality import normality
from spectra_bids.models.permutation import permutation_test
from spectra_bids.models.residuals import conditional_residuals
from spectra_bids.models.results import LmmFit
from spectra_bids.settings import FitSettings, GroupSettings

F = NDArray[np.float64]


def fit_bundle(settings: GroupSettings, model: GroupModel, cohort: Cohort, grid: Grid) -> tuple[Path, bool]:
    """Fits of one bundle and kind of profile, and what stands beside them; the file, and whether it was computed."""
    path = _path(settings, model, cohort, grid)
    key = fits_key(settings, model, cohort, grid)
    computed = settings.run.force or not _is_done(path, key)
    if computed:
        _only_reports(settings, path)
        _write_fits(settings, model, cohort, grid, key)
    if settings.decision.mode != "perm":
        return path, computed
    permuted = map_file(settings.run.output_dir, model.name, grid.bundle, cohort.dims, "permutations", "npz")
    chosen = settings.decision.permutation
    wanted = permutation_key(key, chosen, [exchange_blocks(chosen, model, c) for c in model.contrasts])
    if settings.run.force or not is_written(permuted, wanted):
        _only_reports(settings, permuted)
        _write_permutations(settings, model, cohort, grid, permuted, wanted)
        computed = True
    return path, computed


def _path(settings: GroupSettings, model: GroupModel, cohort: Cohort, grid: Grid) -> Path:
    return map_file(settings.run.output_dir, model.name, grid.bundle, cohort.dims)


def _only_reports(settings: GroupSettings, path: Path) -> None:
    if settings.run.reports_only:
        raise MissingInputError(
            f"--reports-only: {path} is missing or out of date", "Run the same command without --reports-only"
        )


def _write_fits(settings: GroupSettings, model: GroupModel, cohort: Cohort, grid: Grid, key: str) -> None:
    """The residuals' correlation first, the table of fits last: it makes the bundle done."""
    path = _path(settings, model, cohort, grid)
    remove(path)  # killed after the sidecar, old fits would pass for new ones
    fitted = fit_frame(settings, model, cohort, grid)
    flat = cohort.dims == "1D"
    term = fitted.components["term"]
    spread = fitted.components.assign(term=term.where(term != ""))  # residuals have none: n/a
    beside = partial(map_file, settings.run.output_dir, model.name, grid.bundle, cohort.dims)
    _write_aside(beside("components"), spread, COMPONENTS_1D if flat else COMPONENTS_2D, key)
    _write_aside(beside("means"), fitted.means, MEANS_1D if flat else MEANS_2D, key)
    stored = map_file(settings.run.output_dir, model.name, grid.bundle, cohort.dims, "residuals", "npz")
    said = {"Description": "Correlation (C, C) of the cells' conditional residuals, and their root mean square by row"}
    write_arrays(stored, fitted.residuals, key, said)
    columns = FITS_1D if flat else FITS_2D
    facts: dict[str, Any] = {
        "Bundle": grid.bundle,
        "Formula": model.design.formula.text,
        "Contrasts": {c.name: c.weights.tolist() for c in model.contrasts},
        "DesignColumns": list(model.design.columns),
        "Engine": engine_words(settings.fitting, model),
        "GridChecksum": grid.checksum,
        "SettingsHash": key,
        "SpectraBidsVersion": __version__,
    }
    if fitted.removed:
        facts["Harmonization"] = list(fitted.removed)
    write_json(path.with_suffix(".json"), {**facts, **sidecar(columns)})
    write_table(path, fitted.table)


def _write_aside(path: Path, table: pd.DataFrame, columns: tuple[Column, ...], key: str) -> None:
    """A table beside the fits; an empty one (no column has adjusted means) is not written."""
    remove(path)
    remove(path.with_suffix(".json"))
    if len(table):
        write_json(path.with_suffix(".json"), {"SettingsHash": key, **sidecar(columns)})
        write_table(path, table)


def engine_words(fitting: FitSettings, model: GroupModel) -> str:
    """Who fitted, and how."""
    ddf = {"satterthwaite": "Satterthwaite", "kenward-roger": "Kenward-Roger"}[fitting.ddf]
    what = f"{fitting.estimation.upper()}, {ddf}" if model.design.random else "ordinary least squares"
    if fitting.engine == "batched":
        return f"batched {what}" if model.design.random else what
    from spectra_bids.models.lme4 import r_versions

    return f"pymer4, {what} ({', '.join(f'{name} {version}' for name, version in r_versions().items())})"


def fits_key(settings: GroupSettings, model: GroupModel, cohort: Cohort, grid: Grid) -> str:
    """Hash of everything that decides a bundle's fits: model, people, values."""
    digest = hashlib.sha256(__version__.encode())
    for layout in (FITS_2D, COMPONENTS_2D, MEANS_2D):  # tables of other columns are made anew
        digest.update("\t".join(names(layout)).encode())
    columns = cohort.columns_of(grid.bundle)
    design = model.design
    for text in (design.formula.text, *design.columns, *design.labels, settings.fitting.key):
        digest.update(text.encode() + b"\0")
    for contrast in model.contrasts:
        digest.update(f"{contrast.name} {contrast.effect}".encode() + contrast.weights.tobytes())
    digest.update(design.X.tobytes() + (b"" if model.null is None else model.null.X.tobytes()))
    for part in design.random:
        digest.update(part.group.encode() + part.codes.tobytes() + part.columns.tobytes() + bytes([part.correlated]))
    for column in model.rows.columns:
        digest.update("\t".join([column, *model.rows[column].astype(str)]).encode())
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


@dataclass(frozen=True, eq=False)
class Fitted:
    """Fits of one bundle and kind of profile.

    Parameters
    ----------
    table : DataFrame
        Rows of columns.FITS, scalar by scalar.
    components : DataFrame
        Rows of columns.COMPONENTS: those of the batched engine, whoever tests.
    means : DataFrame
        Rows of columns.MEANS: adjusted means of the levels of what is tested, of the batched engine likewise.
    residuals : mapping
        By scalar the correlation of the cells' residuals (C, C), and by `<scalar>.rows` their size in each row (n,).
    removed : tuple of dict
        What ComBat took from every batch and scalar (`batches.removed`).

    """

    table: pd.DataFrame
    components: pd.DataFrame
    means: pd.DataFrame
    residuals: Mapping[str, NDArray[np.float32]]
    removed: tuple[Mapping[str, object], ...]


def fit_frame(
    settings: GroupSettings, model: GroupModel, cohort: Cohort, grid: Grid, *, only_table: bool = False
) -> Fitted:
    """Fits of one bundle; with `only_table` nothing beside the table."""
    index = cohort.columns_of(grid.bundle)
    cells = cohort.cells.iloc[index].reset_index(drop=True)
    head = pd.concat([cells, _centres(cells, grid)], axis=1)
    parts: list[pd.DataFrame] = []
    varied: list[pd.DataFrame] = []
    adjusted: list[pd.DataFrame] = []
    asked = () if only_table else adjusted_means(model.design, model.table, model.compared)
    stored, taken = {}, []
    for scalar, measured in cohort.values.items():
        values = measured[np.ix_(model.sessions, index)]
        found = harmonize(settings.fitting, model, values)
        if found is not None:
            taken += removed(scalar, found)
            values = found.values
        fits, fit = _fit(settings.fitting, model, values, asked)
        fits = pd.concat(
            [fits, ratio_rows(settings.fitting, model, values, fits.iloc[: len(cells)])], ignore_index=True
        )
        where = fits.pop("cell").to_numpy()
        parts.append(pd.concat([head.iloc[where].reset_index(drop=True).assign(scalar=scalar), fits], axis=1))
        if not only_table:
            weights = model.row_values(settings.fitting.weights)
            residuals = conditional_residuals(_shifted(settings.fitting, model, values), model.design.X, fit, weights)
            about_fit = pd.concat([components(fit), normality_rows(residuals)], ignore_index=True)
            where = about_fit.pop("cell").to_numpy()
            placed = cells.iloc[where].reset_index(drop=True).assign(scalar=scalar)
            varied.append(pd.concat([placed, about_fit], axis=1))
            if asked:
                means = means_table(fit, asked, values, model.row_values(settings.fitting.offset))
                where = means.pop("cell").to_numpy()
                adjusted.append(
                    pd.concat([cells.iloc[where].reset_index(drop=True).assign(scalar=scalar), means], axis=1)
                )
            stored[scalar] = correlate(residuals)
            stored[f"{scalar}.rows"] = row_sizes(residuals)
    flat = cohort.dims == "1D"
    table = pd.concat(parts, ignore_index=True)[names(FITS_1D if flat else FITS_2D)]
    about = names(COMPONENTS_1D if flat else COMPONENTS_2D)
    spread = pd.concat(varied, ignore_index=True)[about] if varied else pd.DataFrame(columns=about)
    of_means = names(MEANS_1D if flat else MEANS_2D)
    levels = pd.concat(adjusted, ignore_index=True)[of_means] if adjusted else pd.DataFrame(columns=of_means)
    return Fitted(table, spread, levels, stored, tuple(taken))


def normality_rows(residuals: F) -> pd.DataFrame:
    """Skewness, excess kurtosis and normality of each cell's residuals, as rows of `components`."""
    found = normality(residuals)
    kinds = {"skewness": found.skewness, "kurtosis": found.kurtosis, "p_normal": found.p}
    cells = np.arange(residuals.shape[1])
    parts = [
        pd.DataFrame({"cell": cells, "group": RESIDUAL, "term": "", "kind": kind, "value": value})
        for kind, value in kinds.items()
    ]
    return pd.concat(parts, ignore_index=True)


def _shifted(fitting: FitSettings, model: GroupModel, values: F) -> F:
    """Values less the offset."""
    offset = model.row_values(fitting.offset)
    return values if offset is None else values - offset[:, None]


def _fit(
    fitting: FitSettings, model: GroupModel, values: F, means: Sequence[AdjustedMean]
) -> tuple[pd.DataFrame, LmmFit]:
    """Fits of the cells of one scalar by the chosen engine, and those of the batched one, whose residuals are kept."""
    weights, offset = model.row_values(fitting.weights), model.row_values(fitting.offset)
    fit = fit_design(
        values,
        model.design,
        model.contrasts,
        fitting.min_subjects,
        estimation=fitting.estimation,
        weights=weights,
        offset=offset,
        means=means,
    )
    if fitting.engine == "batched":
        return fits_table(fit, model.contrasts), fit
    from spectra_bids.models.lme4 import fit_cells_lme4

    table = fit_cells_lme4(
        values,
        model.design,
        model.contrasts,
        ddf=fitting.ddf,
        estimation=fitting.estimation,
        ci=fitting.interval,
        min_subjects=fitting.min_subjects,
        weights=weights,
        offset=offset,
    )
    return table, fit


def row_sizes(residuals: F) -> NDArray[np.float32]:
    """Root mean square over cells of each row's residuals, in SDs of the cell, (n,); NaN without any."""
    with np.errstate(invalid="ignore", divide="ignore"):
        seen = np.isfinite(residuals)
        square = np.where(seen, residuals, 0.0) ** 2
        scale = square.sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
        size = np.sqrt(np.where(seen & (scale > 0), square / scale, 0.0).sum(axis=1) / (seen & (scale > 0)).sum(axis=1))
    return np.asarray(size, np.float32)


def _write_permutations(
    settings: GroupSettings, model: GroupModel, cohort: Cohort, grid: Grid, path: Path, key: str
) -> None:
    """What permutations of the rows give in a bundle; every bundle is permuted in the same way."""
    design, chosen = model.design, settings.decision.permutation
    require_permutable(settings, model)
    part = design.random[0] if design.random else None
    index = cohort.columns_of(grid.bundle)
    cells = cohort.cells.iloc[index]
    place = Spatial(cells["s"].to_numpy(np.int64), cells["r"].to_numpy(np.int64) if "r" in cells.columns else None)
    fits = read_table(_path(settings, model, cohort, grid))
    arrays: dict[str, NDArray[Any]] = {}
    said = []
    for k, contrast in enumerate(model.contrasts):
        exchange = exchange_blocks(chosen, model, contrast)
        said.append(exchange.words)
        drawn = draw(exchange, design.n, chosen.n, chosen.random_seed, contrast.name)
        for scalar, values in cohort.values.items():
            mine = fits[(fits["scalar"] == scalar) & (fits["contrast"] == contrast.name)]
            y = harmonized(settings.fitting, model, values[np.ix_(model.sessions, index)])
            found = permutation_test(
                _shifted(settings.fitting, model, y),
                design.X,
                contrast.weights,
                drawn,
                place,
                None if part is None else part.codes,
                tested=mine["p"].notna().to_numpy(),
            )
            arrays |= {f"{scalar}.{k}.{name}": getattr(found, name) for name in OBSERVED}
            arrays |= {f"{scalar}.{k}.null_{f.name}": getattr(found.null, f.name) for f in fields(NullMaxima)}
    write_arrays(path, arrays, key, {"Permutations": chosen.n, "Exchanged": said})


def _centres(cells: pd.DataFrame, grid: Grid) -> pd.DataFrame:
    """Centre of each cell in atlas space, mm."""
    s = cells["s"].to_numpy()
    xyz = grid.centres_1d[s] if "r" not in cells.columns else grid.centres_2d[s, cells["r"].to_numpy()]
    return pd.DataFrame(xyz, columns=["x_mm", "y_mm", "z_mm"])
