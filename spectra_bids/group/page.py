"""The group page: model, tables and coverage -> page model -> HTML and figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spectra_bids import __version__
from spectra_bids.dataset.grids import stored_grids
from spectra_bids.dataset.names import model_dir, model_page
from spectra_bids.dataset.outputs import write_text
from spectra_bids.geometry.grid import Grid
from spectra_bids.group.decide import Results
from spectra_bids.group.model import GroupModel, absence_warnings
from spectra_bids.group.tables import Cohort
from spectra_bids.models.contrasts import Contrast
from spectra_bids.models.design import Design
from spectra_bids.report.build import group_figures, group_page
from spectra_bids.report.pages import ContrastItem, DesignColumn, DesignSummary, GroupPage, Notice
from spectra_bids.settings import GroupSettings


def write_page(
    settings: GroupSettings,
    model: GroupModel,
    cohorts: Mapping[str, Cohort],
    grids: Mapping[str, Grid],
    results: Mapping[str, Results],
) -> Path:
    """Write `model-<name>.html` and the figures beside the model's tables."""
    out = settings.run.output_dir
    coverage = bundle_status(next(iter(cohorts.values())), model)
    atlas, scalar_units, hashes = _facts(next(iter(cohorts.values())))
    warnings = absence_warnings(coverage, model.table, model.design)
    page = GroupPage(
        name=model.name,
        formula=model.design.formula.text,
        contrasts=tuple(_contrast(c, model.design) for c in model.contrasts),
        design=summarise(model, warnings),
        settings=settings,
        stats={k: r.stats for k, r in results.items()},
        blocks={k: r.blocks for k, r in results.items()},
        summary={k: r.summary for k, r in results.items()},
        clusters={k: r.clusters for k, r in results.items()},
        profiles=_measured(cohorts.get("1D"), model),
        ends={n: g.ends for n, g in grids.items()},
        sides={n: g.sides for n, g in grids.items()},
        units=scalar_units,
        coverage=coverage,
        space=str(atlas.get("Space", "atlas space")),
        provenance=_provenance(out, atlas, hashes),
        command=settings.run.command,
        notices=tuple(Notice("note", note) for note in model.notes),
    )
    drawn = group_figures(page)
    for figure in drawn:
        write_text(model_dir(out, model.name) / "figures" / f"{figure.name}.svg", figure.svg)
    path = model_page(out, model.name)
    write_text(path, group_page(page, drawn))
    return path


def bundle_status(cohort: Cohort, model: GroupModel) -> pd.DataFrame:
    """Status of each bundle in each row of the design: why it is absent, else ok."""
    absent = ("no_bundle", "few_streamlines", "qc_fail")
    columns = {}
    for bundle in cohort.bundles:
        first = cohort.status[model.sessions, cohort.columns_of(bundle)[0]]
        columns[bundle] = np.where(np.isin(first.astype(str), absent), first, "ok")
    return pd.DataFrame(columns, index=pd.Index(model.design.labels))


def summarise(model: GroupModel, warnings: list[str]) -> DesignSummary:
    """The design as the report shows it."""
    design = model.design
    random = [design.group_name] if design.groups is not None else []
    columns = [_column(c, model, design) for c in design.formula.columns if c not in random]
    if design.groups is not None:
        counts = np.bincount(design.groups, minlength=len(design.group_levels))
        levels = tuple((level, int(n)) for level, n in zip(design.group_levels, counts, strict=True))
        columns.append(DesignColumn(design.group_name, "random factor", levels))
    return DesignSummary(
        n_rows=design.n,
        n_subjects=len(np.unique(design.subjects)),
        columns=tuple(columns),
        dropped=model.dropped,
        vif=tuple(zip(design.columns, design.vif, strict=True)),
        condition_number=design.condition_number,
        warnings=(*design.warnings, *warnings),
    )


def _column(name: str, model: GroupModel, design: Design) -> DesignColumn:
    factor = next((f for f in design.factors if f.name == name), None)
    if factor is not None:
        return DesignColumn(name, "factor", tuple(zip(factor.levels, factor.counts, strict=True)))
    values = model.table[name].to_numpy(np.float64)
    return DesignColumn(
        name, "numeric", (), float(values.mean()), float(values.std(ddof=1)), float(values.min()), float(values.max())
    )


def _contrast(contrast: Contrast, design: Design) -> ContrastItem:
    """What a contrast says in weights, and the column that its effect is drawn by."""
    used = np.any(contrast.weights != 0, axis=0)
    terms = [t for t in design.terms if used[list(t.columns)].any()]
    by = terms[0].variables[0] if len(terms) == 1 and len(terms[0].variables) == 1 else ""
    if contrast.kind == "term":
        return ContrastItem(contrast.name, f"term {contrast.name} of the formula", by)
    rows = (" ".join(f"{w:+g}·{c}" for w, c in zip(row, design.columns, strict=True) if w) for row in contrast.weights)
    return ContrastItem(contrast.name, "; ".join(rows), by)


def _measured(cohort: Cohort | None, model: GroupModel) -> pd.DataFrame | None:
    """1D profiles of the sessions in the design, long, with their covariates."""
    if cohort is None:
        return None
    n, c = len(model.sessions), len(cohort.cells)
    table = pd.concat([cohort.cells] * n, ignore_index=True)
    table["participant"] = np.repeat(model.table["participant_id"].to_numpy(), c)
    if "session_id" in model.table.columns:
        table["session"] = np.repeat(model.table["session_id"].to_numpy(), c)
    for name in model.design.formula.columns:
        table[name] = model.table[name].iloc[np.repeat(np.arange(n), c)].to_numpy()
        if isinstance(model.table[name].dtype, pd.CategoricalDtype):
            table[name] = pd.Categorical(table[name], categories=model.table[name].cat.categories)
    for scalar, values in cohort.values.items():
        table[scalar] = values[model.sessions].ravel()
    return table


def _facts(cohort: Cohort) -> tuple[dict[str, Any], dict[str, str], tuple[str, ...]]:
    """Atlas, unit per scalar and settings hashes, from the sessions' sidecars."""
    atlas: dict[str, Any] = {}
    scalar_units: dict[str, str] = {}
    hashes: dict[str, None] = {}
    for path in cohort.sessions["path"]:
        sidecar = json.loads(path.with_suffix(".json").read_text())
        atlas = atlas or sidecar.get("Atlas", {})
        hashes[str(sidecar.get("SettingsHash"))] = None
        for scalar in cohort.scalars:
            if scalar in sidecar:
                scalar_units.setdefault(scalar, str(sidecar[scalar].get("Units", "")))
    return atlas, {s: scalar_units.get(s, "") for s in cohort.scalars}, tuple(hashes)


def _provenance(out: Path, atlas: Mapping[str, Any], hashes: tuple[str, ...]) -> dict[str, str]:
    facts = {
        "Atlas": f"{atlas.get('Name', 'n/a')} ({atlas.get('Space', 'n/a')}; {atlas.get('License', 'n/a')})",
        "Participant-level settings": ", ".join(hashes),
        "spectra-bids": __version__,
    }
    for bundle, (_, path) in stored_grids(out).items():
        facts[f"Grid {bundle}"] = f"checksum {json.loads(path.read_text())['Checksum'][:16]}…"
    return facts
