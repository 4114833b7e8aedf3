"""How far to trust the results: calibration and sensitivity where they are asked for, and what fits them again."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Mapping
from contextlib import closing
from functools import partial

import pandas as pd

from spectra_bids.dataset.block_files import read_blocks
from spectra_bids.dataset.names import TableKind, model_table
from spectra_bids.dataset.outputs import read_table, table_bytes
from spectra_bids.geometry.grid import Grid
from spectra_bids.group.calibrate import calibrate, require_calibratable
from spectra_bids.group.decide import Evidence
from spectra_bids.group.exchange import require_exchangeable
from spectra_bids.group.fit import fit_frame
from spectra_bids.group.model import GroupModel
from spectra_bids.group.sensitivity import require_decidable, sensitivity
from spectra_bids.group.tables import Cohort
from spectra_bids.settings import GroupSettings
from spectra_bids.workers import Workers, map_unordered

log = logging.getLogger("spectra_bids")

#: Tables that are written where they are asked for.
FURTHER: tuple[TableKind, ...] = ("calibration", "sensitivity")


def further_kinds(settings: GroupSettings) -> tuple[TableKind, ...]:
    """Those that are asked for."""
    asked = {"calibration": bool(settings.calibrate), "sensitivity": settings.sensitivity}
    return tuple(kind for kind in FURTHER if asked[kind])


def require_decision(settings: GroupSettings, model: GroupModel, cohorts: Iterable[Cohort]) -> None:
    """Raise at once what would be raised after hours of fits."""
    require_calibratable(settings)
    require_decidable(settings)
    require_exchangeable(settings, model)
    if settings.decision.block_file is not None:
        for cohort in cohorts:
            read_blocks(settings.decision.block_file, cohort.cells)


def trust(
    settings: GroupSettings,
    model: GroupModel,
    cohort: Cohort,
    grids: Mapping[str, Grid],
    fits: pd.DataFrame,
    evidence: Evidence,
) -> dict[str, pd.DataFrame]:
    """Tables of one kind of profile, by kind; with --reports-only those that are there."""
    out: dict[str, pd.DataFrame] = {}
    refit = partial(_refit, settings, cohort, grids)
    for kind in further_kinds(settings):
        if settings.run.reports_only:
            out[kind] = read_table(model_table(settings.run.output_dir, model.name, cohort.dims, kind))
            continue
        log.info("%s, %s", kind, cohort.dims)
        made = (calibrate if kind == "calibration" else sensitivity)(settings, model, fits, refit, evidence)
        out[kind] = pd.read_csv(io.BytesIO(table_bytes(made)), sep="\t", na_values=["n/a"], keep_default_na=False)
    return out


def fit_workers(settings: GroupSettings) -> Workers:
    """Who fits bundles: R takes 0.1 s for a cell; the batched engine is done before another process has started."""
    run = settings.run
    n = run.n_procs if settings.fitting.engine == "pymer4" else 1
    return Workers(n=n, threads=run.omp_nthreads, dask_scheduler=run.dask_scheduler)


def _refit(settings: GroupSettings, cohort: Cohort, grids: Mapping[str, Grid], model: GroupModel) -> pd.DataFrame:
    """Fits of all bundles under another model, in the order of the grids."""
    jobs = ((cohort.only(bundle), grid) for bundle, grid in grids.items())
    with closing(map_unordered(partial(_table, settings, model), jobs, fit_workers(settings))) as done:
        parts = dict(done)
    return pd.concat([parts[k] for k in sorted(parts)], ignore_index=True)


def _table(settings: GroupSettings, model: GroupModel, job: tuple[Cohort, Grid]) -> pd.DataFrame:
    return fit_frame(settings, model, *job, only_table=True).table
