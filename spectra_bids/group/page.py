"""The group page: model, tables and coverage -> page model -> HTML and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectra_bids import __version__
from spectra_bids.dataset.names import model_dir, model_page
from spectra_bids.dataset.outputs import remove, write_text
from spectra_bids.geometry.grid import Grid
from spectra_bids.group.absence import absence_warnings
from spectra_bids.group.command import group_command
from spectra_bids.group.decide import Results
from spectra_bids.group.exchange import exchange_blocks
from spectra_bids.group.model import GroupModel
from spectra_bids.group.nested import NAME as LRT
from spectra_bids.group.pictures import with_pictures
from spectra_bids.group.tables import Cohort, Dims
from spectra_bids.models.contrasts import Contrast, column_of
from spectra_bids.models.design import Design
from spectra_bids.report.build import group_figures, group_page
from spectra_bids.report.designs import summarize_design
from spectra_bids.report.measured import Measured
from spectra_bids.report.pages import ContrastItem, DesignSummary, GroupPage, Notice
from spectra_bids.settings import GroupSettings


def write_page(
    settings: GroupSettings,
    model: GroupModel,
    cohorts: Mapping[Dims, Cohort],
    grids: Mapping[str, Grid],
    results: Mapping[Dims, Results],
    sidecars: Sequence[Mapping[str, Any]],
    absent: tuple[str, ...] = (),
    harmonization: pd.DataFrame | None = None,
    selftest: tuple[str, bool] | None = None,
) -> Path:
    """Write `model-<name>.html` and the figures beside the model's tables."""
    out = settings.run.output_dir
    coverage = bundle_status(next(iter(cohorts.values())), model)
    notices = [_notice(note) for note in model.notes]
    if absent:
        what = "1 bundle of the atlas is" if len(absent) == 1 else f"{len(absent)} bundles of the atlas are"
        title = f"{what} in nobody's data and not tested"
        notices.append(Notice("note", title, ", ".join(absent)))
    warnings = absence_warnings(coverage, model.design, model.table["participant_id"].tolist())
    if warnings:
        title = f"{'A bundle is' if len(warnings) == 1 else 'Bundles are'} absent unequally between groups"
        notices.append(Notice("warning", title, "; ".join(warnings)))
    page = GroupPage(
        name=model.name,
        formula=model.design.formula.text,
        contrasts=_contrasts(model),
        design=_design(model, warnings),
        settings=settings,
        stats={k: r.stats for k, r in results.items()},
        blocks={k: r.blocks for k, r in results.items()},
        summary={k: r.summary for k, r in results.items()},
        clusters={k: r.clusters for k, r in results.items()},
        profiles=_measured(cohorts.get("1D"), model),
        ends={n: g.ends for n, g in grids.items() if g.is_located},
        sides={n: g.sides for n, g in grids.items() if g.is_located},
        units=_units(sidecars, next(iter(cohorts.values())).scalars),
        coverage=coverage,
        space=str(sidecars[0]["Atlas"].get("Space", "atlas space")),
        provenance=_provenance(sidecars, grids, settings.atlas_labels),
        command=group_command(settings, model.name),
        notices=tuple(notices),
        outliers={k: r.outliers for k, r in results.items() if r.outliers is not None},
        normality={k: r.normality for k, r in results.items() if r.normality is not None},
        means={k: r.means for k, r in results.items() if r.means is not None},
        calibration={k: r.calibration for k, r in results.items() if r.calibration is not None},
        sensitivity={k: r.sensitivity for k, r in results.items() if r.sensitivity is not None},
        harmonization=harmonization,
        exchanged=_exchanged(settings, model),
        selftest=selftest,
        level=settings.report_level,
        measured={d: _sessions(cohort, model) for d, cohort in cohorts.items()},
        shape={n: (g.ns, g.nr) for n, g in grids.items()},
        is_imported=not any(g.is_located for g in grids.values()),
    )
    page = with_pictures(page, out, grids)
    drawn = group_figures(page)
    folder = model_dir(out, model.name) / "figures"
    for figure in drawn:
        write_text(folder / f"{figure.name}.svg", figure.svg)
    if settings.report_level == "group":  # what an earlier run drew of people goes
        for old in set(folder.glob("*.svg")) - {folder / f"{figure.name}.svg" for figure in drawn}:
            remove(old)
    path = model_page(out, model.name)
    write_text(path, group_page(page, drawn))
    return path


def _exchanged(settings: GroupSettings, model: GroupModel) -> dict[str, str]:
    """Who is exchanged with whom in mode perm, by contrast."""
    if settings.decision.mode != "perm":
        return {}
    return {c.name: exchange_blocks(settings.decision.permutation, model, c).words for c in model.contrasts}


def _notice(note: str) -> Notice:
    """A note; of a long one the part before its first colon is the title."""
    title, _, text = note.partition(": ")
    return Notice("note", title, text[:1].upper() + text[1:]) if len(note) > 120 and text else Notice("note", note)


def bundle_status(cohort: Cohort, model: GroupModel) -> pd.DataFrame:
    """Status of each bundle in each row of the design: why it is absent, else ok."""
    table = cohort.absence[model.sessions]
    return pd.DataFrame(table, index=pd.Index(model.design.labels), columns=list(cohort.bundles))


def _design(model: GroupModel, warnings: list[str]) -> DesignSummary:
    """The design as the report shows it, with everybody who is not in it."""
    summary = summarize_design(model.design, model.joined)
    return replace(summary, dropped=model.dropped, warnings=(*summary.warnings, *warnings))


def _contrasts(model: GroupModel) -> tuple[ContrastItem, ...]:
    """What was tested, in the order of the tables."""
    tested = [contrast_item(contrast, model.design) for contrast in model.contrasts]
    if model.null is not None:
        against = f"likelihood ratio of the model and {model.null.formula.text}"
        tested.append(ContrastItem(LRT, against))
    return tuple(tested)


def contrast_item(contrast: Contrast, design: Design) -> ContrastItem:
    """What a contrast says in weights, and the column that its effect is drawn by."""
    by = column_of(contrast, design)
    factor = next((f for f in design.factors if f.name == by), None)
    if contrast.kind == "term" and contrast.type == "F":
        among = f"over {len(contrast.weights)} columns of X"
        if factor is not None and factor.name == contrast.name:
            among = f"between {', '.join(factor.levels)}"
        return ContrastItem(contrast.name, f"any difference {among}", by)
    if contrast.kind == "term" and factor is not None and len(factor.levels) == 2:
        reference, other = factor.levels
        higher, lower = (f"{word} in {other} than in {reference}" for word in ("higher", "lower"))
        return ContrastItem(contrast.name, f"{other} − {reference}", by, higher, lower)
    if contrast.kind == "term" and by and factor is None:
        return ContrastItem(contrast.name, f"slope of {by}", by, f"rises with {by}", f"falls with {by}")
    rows = (" ".join(f"{w:+g}·{c}" for w, c in zip(row, design.columns, strict=True) if w) for row in contrast.weights)
    return ContrastItem(contrast.name, "; ".join(rows), by)


def _measured(cohort: Cohort | None, model: GroupModel) -> pd.DataFrame | None:
    """1D profiles of the sessions in the design, long, with their covariates."""
    if cohort is None:
        return None
    n, c = len(model.sessions), len(cohort.cells)
    cells = cohort.cells.assign(bundle=pd.Categorical(cohort.cells["bundle"]))  # found by number, not by text
    table = pd.concat([cells] * n, ignore_index=True)
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


def _sessions(cohort: Cohort, model: GroupModel) -> Measured:
    """What was measured in the sessions of the design, read bundle by bundle."""
    table = model.table[list(model.design.formula.columns)].copy()
    table.insert(0, "participant", model.table["participant_id"].to_numpy())
    keys = ["s", "r"] if cohort.dims == "2D" else ["s"]
    cells = {str(b): of[keys].reset_index(drop=True) for b, of in cohort.cells.groupby("bundle", sort=False)}

    def read(bundle: str) -> dict[str, NDArray[np.float64]]:
        return {scalar: values[model.sessions] for scalar, values in cohort.only(bundle).values.items()}

    return Measured(tuple(model.design.labels), table, cells, read)


def _units(sidecars: Sequence[Mapping[str, Any]], scalars: Sequence[str]) -> dict[str, str]:
    """Unit of each scalar, as the first session that has it says."""
    described: dict[str, Mapping[str, Any]] = {
        s: next((facts[s] for facts in sidecars if s in facts), {}) for s in scalars
    }
    return {s: str(entry.get("Units", "")) for s, entry in described.items()}


def _provenance(
    sidecars: Sequence[Mapping[str, Any]], grids: Mapping[str, Grid], labels: Sequence[str]
) -> dict[str, str]:
    atlas = sidecars[0]["Atlas"]
    hashes = dict.fromkeys(str(facts.get("SettingsHash")) for facts in sidecars)
    return {
        "Atlas": f"{atlas.get('Name', 'n/a')} ({atlas.get('Space', 'n/a')}; {atlas.get('License', 'n/a')})",
        **({"Atlas labels": ", ".join(labels)} if labels else {}),
        "Participant-level settings": ", ".join(hashes),
        "spectra-bids": __version__,
        **{f"Grid {name}": f"checksum {grid.checksum[:16]}…" for name, grid in grids.items()},
    }
