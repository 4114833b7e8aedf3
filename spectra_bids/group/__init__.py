"""Group level: tables -> fits (map, one bundle at a time) -> decisions, tables and page (reduce)."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from spectra_bids import __version__
from spectra_bids.columns import (
    BLOCKS,
    CALIBRATION,
    CLUSTERS,
    DECISIONS,
    FITS_1D,
    FITS_2D,
    OUTLIERS,
    SENSITIVITY,
    SUMMARY,
    Column,
    names,
    sidecar,
)
from spectra_bids.dataset.grids import has_radial_bins, load_grid
from spectra_bids.dataset.names import (
    TableKind,
    canonical,
    grid_files,
    group_dir,
    model_dir,
    model_page,
    model_rows,
    model_table,
)
from spectra_bids.dataset.outputs import (
    clear_leftovers,
    read_table,
    remove,
    sha256,
    write_json,
    write_table,
    write_text,
)
from spectra_bids.dataset.qc_columns import ROWS
from spectra_bids.dataset.qc_files import QcFile, read_decisions
from spectra_bids.errors import DatasetError, MissingInputError, NothingSelectedError, listed
from spectra_bids.geometry.grid import Grid
from spectra_bids.group import norms
from spectra_bids.group.anatomy import label_facts, label_hashes, read_anatomy
from spectra_bids.group.batches import notes_on_batches, read_removed
from spectra_bids.group.clusters import Anatomy
from spectra_bids.group.command import group_command
from spectra_bids.group.decide import Results, decide, level_column
from spectra_bids.group.evidence import StoredEvidence
from spectra_bids.group.fit import fit_bundle
from spectra_bids.group.model import GroupModel, make_model
from spectra_bids.group.outliers import outliers
from spectra_bids.group.page import write_page
from spectra_bids.group.plan import print_plan
from spectra_bids.group.quality import is_current, notes_on_decisions, warn_of_unknown, write_quality
from spectra_bids.group.selftest import read_finding, selftest_file
from spectra_bids.group.sensitivity import site_columns
from spectra_bids.group.shared import shared_files, write_shared
from spectra_bids.group.tables import Cohort, Dims, read_cohort, read_sidecars
from spectra_bids.group.trust import FURTHER, fit_workers, further_kinds, require_decision, trust
from spectra_bids.models.smdl import to_smdl
from spectra_bids.report.methods import citation_bib, citation_md
from spectra_bids.settings import GroupSettings, settings_hash
from spectra_bids.workers import map_unordered

log = logging.getLogger("spectra_bids")

KINDS: tuple[TableKind, ...] = ("stats", "blocks", "summary", "clusters", "outliers")


def run(settings: GroupSettings) -> int:
    """Fit what is missing, correct over all, write tables and page; with `settings.bundles` the map step alone.

    Returns
    -------
    int
        Exit status 0; what goes wrong is raised.

    """
    out = settings.run.output_dir
    decisions = None if settings.qc_file is None else read_decisions(settings.qc_file)
    whole = _cohorts(settings, decisions)
    absent = next(iter(whole.values())).absent
    cohorts = {d: c.without(absent) for d, c in whole.items()}
    sidecars = read_sidecars(next(iter(cohorts.values())).sessions)
    grids = _grids(out, cohorts, sidecars[0], settings)
    model = make_model(settings, next(iter(cohorts.values())).sessions)
    model = replace(model, notes=(*model.notes, *notes_on_batches(settings.fitting, model)))
    model = replace(model, notes=(*model.notes, *notes_on_decisions(decisions, next(iter(cohorts.values())))))
    require_decision(settings, model, cohorts.values())
    warn_of_unknown(settings, decisions, next(iter(whole.values())).bundles)
    # Before hours of fits, though only the reduce step uses them.
    anatomy = read_anatomy(settings.atlas_labels, grids, str(sidecars[0]["Atlas"].get("Space", "")))
    wanted = _wanted(settings, list(grids), absent)
    if settings.run.dry_run:
        print_plan(settings, model, cohorts, wanted)
        return 0
    if model.dropped:
        told = listed(f"{who} ({why})" for who, why in model.dropped)
        log.info("not in the model: %s", told, extra={"outcome": True})
    clear_leftovers(out, recursive=False)
    clear_leftovers(group_dir(out), recursive=True)
    fits = _fit_all(settings, model, cohorts, {n: grids[n] for n in wanted})
    if settings.bundles:
        log.info("fitted %s; run without --bundle to correct over all and report", ", ".join(wanted))
        return 0
    return _reduce(settings, model, Shown(cohorts, anatomy, sidecars, absent, decisions), fits)


def _tell_quality(settings: GroupSettings, shown: Shown) -> None:
    page = write_quality(settings, shown.decisions)
    log.info("quality of all sessions: %s", page, extra={"outcome": True})


@dataclass(frozen=True, eq=False)
class Shown:
    """What the page shows beside the results: profiles, their grids, atlas labels and sidecars, and bundles that
    nobody has. `decisions` are those of quality control.
    """

    cohorts: Mapping[Dims, Cohort]
    anatomy: Anatomy
    sidecars: Sequence[Mapping[str, Any]]
    absent: tuple[str, ...]
    decisions: QcFile | None = None

    @property
    def grids(self) -> Mapping[str, Grid]:
        """Grids by bundle."""
        return self.anatomy.grids


def _reduce(settings: GroupSettings, model: GroupModel, shown: Shown, fits: Mapping[Dims, list[Path]]) -> int:
    """Correct over all bundles; page, then shared tables, then the model's tables."""
    out, only_page = settings.run.output_dir, settings.run.reports_only
    key = _reduce_key(settings, model, shown, fits)
    done = _is_reduced(out, model, shown.cohorts, _kinds(settings), key)
    if only_page and not done:
        raise MissingInputError(
            f"--reports-only: the tables of model {model.name} are missing or out of date",
            "Run the same command without --reports-only",
        )
    page = model_page(out, model.name)
    if done and page.is_file() and not (settings.run.force or only_page):
        log.info("model %s was done already: %s", model.name, page, extra={"outcome": True})
        if not is_current(settings, shown.decisions):
            _write_shared(out, shown, model)
            _tell_quality(settings, shown)
        return 0
    results = {d: _decided(settings, model, shown, d, paths) for d, paths in fits.items()}
    taken = read_removed(fits)
    finding = read_finding(out, model, settings)
    write_page(settings, model, shown.cohorts, shown.grids, results, shown.sidecars, shown.absent, taken, finding)
    if not only_page:
        _write_shared(out, shown, model)
        _write_model(out, model, results, settings, key, shown.anatomy)
    log.info("report: %s", page, extra={"outcome": True})
    if only_page or not is_current(settings, shown.decisions):
        _tell_quality(settings, shown)
    return 0


def _decided(settings: GroupSettings, model: GroupModel, shown: Shown, dims: Dims, paths: Sequence[Path]) -> Results:
    """Decisions of one kind of profile, with calibration and sensitivity where they are asked for."""
    out, bundles = settings.run.output_dir, list(shown.grids)
    fits = pd.concat([read_table(path) for path in paths], ignore_index=True)
    names_of = [contrast.name for contrast in model.contrasts]
    evidence = StoredEvidence(out, model.name, dims, bundles, settings.decision, names_of)
    sites = {name: model.table[name].astype(str).tolist() for name in site_columns(settings, model)}
    results = replace(
        decide(fits, settings.decision, evidence, shown.anatomy),
        outliers=outliers(model.design.labels, sites, evidence.sizes(fits["scalar"].unique().tolist())),
        normality=evidence.normality(),
        means=evidence.means(),
    )
    return replace(results, **trust(settings, model, shown.cohorts[dims], shown.grids, fits, evidence))


def _cohorts(settings: GroupSettings, decisions: QcFile | None) -> dict[Dims, Cohort]:
    kinds: tuple[Dims, ...] = ("1D", "2D") if settings.profile == "both" else (settings.profile,)
    run = settings.run
    if settings.profile == "both" and not has_radial_bins(run.output_dir):
        kinds = ("1D",)  # profiles that another program made have one dimension
    cohorts = {
        d: read_cohort(
            run.output_dir, d, settings.scalars, run.participant_labels, run.session_labels, run.mem_gb, decisions
        )
        for d in kinds
    }
    if len(cohorts) == 2:
        one, two = (c.sessions[["participant_id", "session_id"]] for c in cohorts.values())
        if not one.equals(two):
            odd = sorted(set(one["participant_id"]).symmetric_difference(two["participant_id"]))
            raise DatasetError(
                f"1D and 2D profile tables are not of the same sessions: {', '.join(odd[:5]) or 'sessions differ'}",
                "Run the participant level again for these",
            )
    return cohorts


def _grids(
    out: Path, cohorts: Mapping[Dims, Cohort], made: Mapping[str, Any], settings: GroupSettings
) -> dict[str, Grid]:
    """Grids of the bundles in the tables, those that the tables were made with (`made`: a table's sidecar).

    Raises
    ------
    MissingInputError
        If a bundle's grid is missing, unless --allow-partial.
    DatasetError
        If a stored grid is not that of the tables.

    """
    label, checksums = made["Atlas"]["Label"], made["GridChecksums"]
    bundles = next(iter(cohorts.values())).bundles
    absent = [b for b in bundles if not grid_files(out, label, b)[0].is_file()]
    if absent and not settings.allow_partial:
        raise MissingInputError(
            f"no grid of atlas {label} in {out / 'atlas'} for: {', '.join(absent)}",
            "Run the participant level again, or leave these bundles out with --allow-partial",
        )
    grids = {b: load_grid(out, label, b) for b in bundles if b not in absent}
    for name, grid in grids.items():
        if grid.checksum != checksums.get(name):
            raise DatasetError(
                f"the profile tables were made with another grid of {name} than the one in {out / 'atlas'}",
                "Run the participant level again for everybody",
            )
    return grids


def _wanted(settings: GroupSettings, bundles: list[str], absent: tuple[str, ...]) -> list[str]:
    """Bundles to fit.

    Raises
    ------
    MissingInputError
        If a bundle that --bundle names is in nobody's data, unless --allow-partial.

    """
    if not bundles:
        raise MissingInputError("no bundle of the atlas is in anybody's data", "Look at the participant pages for why")
    if not settings.bundles:
        return bundles
    keys = {canonical(b): b for b in settings.bundles}
    nobody = [b for b in absent if canonical(b) in keys]
    if nobody and not settings.allow_partial:
        raise MissingInputError(
            f"--bundle: in nobody's data: {', '.join(nobody)}", "Leave them out, or use --allow-partial"
        )
    keys = {k: b for k, b in keys.items() if k not in {canonical(n) for n in nobody}}
    unknown = [given for key, given in keys.items() if key not in {canonical(b) for b in bundles}]
    if unknown:
        raise NothingSelectedError(
            f"--bundle {' '.join(unknown)}: not in the profile tables. They have: {', '.join(bundles)}"
        )
    return [b for b in bundles if canonical(b) in keys]


def _fit_all(
    settings: GroupSettings, model: GroupModel, cohorts: Mapping[Dims, Cohort], grids: Mapping[str, Grid]
) -> dict[Dims, list[Path]]:
    """Files of the fits by kind of profile, in the order of the grids."""
    from tqdm import tqdm

    kinds = [d for _ in grids for d in cohorts]
    jobs = ((cohorts[d].only(name), grid) for name, grid in grids.items() for d in cohorts)  # lazy: each is a copy
    workers = fit_workers(settings)
    paths: dict[int, Path] = {}
    with closing(map_unordered(partial(_fit, settings, model), jobs, workers)) as done:
        for job, (path, computed) in tqdm(done, total=len(kinds), desc="Models", unit="bundle", disable=None):
            log.debug("%s %s", path.name, "fitted" if computed else "was fitted already")
            paths[job] = path
    return {d: [paths[job] for job, kind in enumerate(kinds) if kind == d] for d in cohorts}


def _fit(settings: GroupSettings, model: GroupModel, job: tuple[Cohort, Grid]) -> tuple[Path, bool]:
    """Fits of one bundle and kind of profile."""
    return fit_bundle(settings, model, *job)


def _reduce_key(settings: GroupSettings, model: GroupModel, shown: Shown, fits: Mapping[Dims, list[Path]]) -> str:
    """Hash of everything that decides the model's tables and page."""
    files = {p.name: sha256(p) for paths in fits.values() for p in paths}
    procedure = (repr(settings.decision), settings.calibrate, settings.sensitivity)
    if settings.decision.block_file is not None:
        files[settings.decision.block_file.name] = sha256(settings.decision.block_file)
    files |= {f"labels {name}": digest for name, digest in label_hashes(settings.atlas_labels).items()}
    tested = selftest_file(settings.run.output_dir, model.name)
    if tested.with_suffix(".json").is_file():
        files[tested.name] = sha256(tested.with_suffix(".json"))
    files |= {p.name: sha256(p) for p in sorted((settings.run.output_dir / "atlas").glob("*_streamlines.tck"))}
    digest = hashlib.sha256(model.joined.to_csv().encode())
    for cohort in shown.cohorts.values():
        digest.update("\t".join(cohort.absence.ravel()).encode())
    made = sorted({str(facts.get("SettingsHash")) for facts in shown.sidecars})
    said = (model.dropped, shown.absent, made, group_command(settings, model.name))
    return settings_hash(files, procedure, digest.hexdigest(), said, __version__)


def _is_reduced(
    out: Path, model: GroupModel, cohorts: Mapping[Dims, Cohort], kinds: Sequence[TableKind], key: str
) -> bool:
    """Whether the tables are there and were made of these fits, people and settings."""
    tables = [model_table(out, model.name, d, kind) for d in cohorts for kind in kinds]
    shared = [path for d in cohorts for path in shared_files(out, d)]
    followed = "1D" not in cohorts or norms.is_written(out)
    if not followed or not all(path.is_file() for path in (*tables, *shared, model_rows(out, model.name))):
        return False
    try:
        return all(json.loads(t.with_suffix(".json").read_text()).get("SettingsHash") == key for t in tables)
    except (OSError, ValueError):
        return False


def _kinds(settings: GroupSettings) -> tuple[TableKind, ...]:
    """Tables of the reduce step."""
    return (*KINDS, *further_kinds(settings))


def _write_shared(out: Path, shown: Shown, model: GroupModel) -> None:
    """Files that every model shares: all sessions and scalars, whatever this model uses."""
    both: tuple[Dims, ...] = ("1D", "2D")
    for dims in (d for d in both if d in shown.cohorts or shared_files(out, d)[0].is_file()):
        write_shared(out, dims, model.joined, shown.decisions)
        if dims == "1D":
            norms.write_norms(out, shown.sidecars[0]["GridChecksums"], shown.decisions)
    write_text(out / "logs" / "CITATION.md", citation_md())
    write_text(out / "logs" / "CITATION.bib", citation_bib())


def _write_model(
    out: Path, model: GroupModel, results: Mapping[Dims, Results], settings: GroupSettings, key: str, anatomy: Anatomy
) -> None:
    """Old tables go, then come the model file, sidecars, tables: what is there is complete, whenever it is killed."""
    for dims in results:
        for kind in (*KINDS, *FURTHER):
            remove(model_table(out, model.name, dims, kind))
            remove(model_table(out, model.name, dims, kind).with_suffix(".json"))
    write_json(
        model_dir(out, model.name) / f"model-{model.name}_smdl.json", to_smdl(model.name, model.contrasts, model.design)
    )
    sweep = tuple(
        Column(level_column(a), f"Rejected at the cell level {a:g} (exploratory)")
        for a in settings.decision.alpha_cell[1:]
    )
    _write_rows(out, model)
    for dims, found in results.items():
        columns: dict[TableKind, tuple[Column, ...]] = {
            "stats": (
                *(FITS_1D if dims == "1D" else FITS_2D),
                *DECISIONS,
                *(sweep if settings.decision.hierarchical else ()),
            ),
            "blocks": BLOCKS,
            "summary": SUMMARY,
            "clusters": CLUSTERS,
            "outliers": OUTLIERS,
            "calibration": CALIBRATION,
            "sensitivity": SENSITIVITY,
        }
        facts = {"SettingsHash": key, "Command": group_command(settings, model.name)}
        labels = {"AtlasLabels": label_facts(settings.atlas_labels, anatomy)} if anatomy.labels else {}
        for kind in _kinds(settings):
            path = model_table(out, model.name, dims, kind)
            of_kind = labels if kind == "clusters" else {}
            write_json(path.with_suffix(".json"), {**facts, **of_kind, **sidecar(columns[kind])})
            write_table(path, getattr(found, kind))


def _write_rows(out: Path, model: GroupModel) -> None:
    """Who is a row of the model, and why the others are not; the quality page counts them."""
    path = model_rows(out, model.name)
    rows: list[tuple[str, bool, str | None]] = [(label, True, None) for label in model.design.labels]
    rows += [(who, False, why) for who, why in model.dropped]
    write_json(path.with_suffix(".json"), sidecar(ROWS))
    write_table(path, pd.DataFrame(rows, columns=names(ROWS)))
