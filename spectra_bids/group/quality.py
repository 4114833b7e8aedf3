"""Quality of all sessions' profiles: who has what, who is far from the others, who is the wrong way round, sites.

    OUT/group/desc-{coverage,outliers,orientation}_qc.tsv, desc-sites_qc.tsv where there is a column of sites
    OUT/group_qc.html, OUT/group/figures/desc-*_qc.svg

All sessions and scalars of the output directory, whatever a model uses of them: every model writes the same files. What
--qc-file rejects is measured like the others, but does not count for what is usual.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectra_bids import __version__
from spectra_bids.columns import Column, names, sidecar
from spectra_bids.dataset.design_files import read_design
from spectra_bids.dataset.names import QcKind, group_dir, qc_page, qc_table
from spectra_bids.dataset.outputs import read_table, remove, sha256, write_json, write_table, write_text
from spectra_bids.dataset.qc_columns import QC_COVERAGE, QC_ORIENTATION, QC_OUTLIERS, QC_SITES
from spectra_bids.dataset.qc_files import QcFile
from spectra_bids.errors import SpectraError
from spectra_bids.group.distances import distances
from spectra_bids.group.model import join_covariates
from spectra_bids.group.orientation import audit
from spectra_bids.group.sites import compare_sites, session_means, site_like
from spectra_bids.group.tables import Cohort, read_cohort, read_sidecars, session_tables
from spectra_bids.report.build import quality_figures, quality_page
from spectra_bids.report.quality_model import FlippedProfile, ModelRows, QualityPage
from spectra_bids.settings import GroupSettings, settings_hash

log = logging.getLogger("spectra_bids")

_TABLES: dict[QcKind, tuple[Column, ...]] = {
    "coverage": QC_COVERAGE,
    "outliers": QC_OUTLIERS,
    "orientation": QC_ORIENTATION,
    "sites": QC_SITES,
}
#: Profiles that are drawn beside the cohort's mean.
MOST_FLIPPED = 12


@dataclass(frozen=True, eq=False)
class Quality:
    """What was seen: the tables, and the profiles whose reverse wins, the clearest first."""

    tables: Mapping[QcKind, pd.DataFrame]
    flipped: tuple[FlippedProfile, ...]


@dataclass(frozen=True, eq=False)
class _Context:
    """A cohort with the decisions in force (N, B), as positions in those of the file; -1 for none."""

    cohort: Cohort
    decisions: QcFile | None
    in_force: NDArray[np.int64]

    def words(self, bundle: int) -> NDArray[np.object_]:
        """Decision on a bundle of each session; None without one."""
        said = [] if self.decisions is None else [d.decision for d in self.decisions.decisions]
        return np.array([*said, None], dtype=object)[self.in_force[:, bundle]]

    @property
    def rejected(self) -> NDArray[np.bool_]:
        """(N, B)."""
        return np.column_stack([self.words(b) == "reject" for b in range(self.in_force.shape[1])])


def inspect(cohort: Cohort, decisions: QcFile | None, columns: Mapping[str, NDArray[np.object_]]) -> Quality:
    """Quality of a cohort of 1D profiles, as measured.

    Parameters
    ----------
    cohort : Cohort
        1D, no decision applied.
    decisions : QcFile or None
    columns : mapping of column to (N,) levels
        Sites.

    """
    bundles = cohort.bundles
    nothing = np.full((len(cohort.sessions), len(bundles)), -1, np.int64)
    context = _Context(
        cohort, decisions, nothing if decisions is None else decisions.in_force(cohort.sessions, bundles)
    )
    rejected = context.rejected
    far, turned, measured = [], [], []
    means: dict[tuple[str, str], NDArray[np.float64]] = {}
    flipped: list[FlippedProfile] = []
    for b, bundle in enumerate(bundles):
        one = cohort.only(bundle)
        usable = ~rejected[:, b]
        seen = np.zeros(next(iter(one.values.values())).shape, bool)
        for scalar, values in one.values.items():
            seen |= np.isfinite(values)
            far.append(_distance_rows(context, b, scalar, values, usable))
            rows, curves = _orientation_rows(context, b, scalar, values, usable, one.cells["s_mm"].to_numpy(np.float64))
            turned.append(rows)
            flipped += curves
            means[bundle, scalar] = np.where(usable, session_means(np.where(usable[:, None], values, np.nan)), np.nan)
        measured.append(_coverage_rows(context, b, seen))
    tables: dict[QcKind, pd.DataFrame] = {
        "coverage": _in_session_order(measured, cohort, QC_COVERAGE),
        "outliers": _in_session_order(far, cohort, QC_OUTLIERS),
        "orientation": _in_session_order(turned, cohort, QC_ORIENTATION),
    }
    if columns:
        tables["sites"] = compare_sites(columns, means)
    return Quality(tables, tuple(sorted(flipped, key=lambda f: -f.margin)))


def _distance_rows(
    context: _Context, b: int, scalar: str, values: NDArray[np.float64], usable: NDArray[np.bool_]
) -> pd.DataFrame:
    found = distances(values, usable)
    nodes = context.cohort.cells["s"].to_numpy()[context.cohort.columns_of(context.cohort.bundles[b])]
    excess = found.excess
    known = np.isfinite(excess)
    return pd.DataFrame(
        {
            "session": np.arange(len(values)),
            "bundle": context.cohort.bundles[b],
            "scalar": scalar,
            "score": found.score,
            "score_limit": np.where(known, found.score_limit, np.nan),
            "orthogonal": found.orthogonal,
            "orthogonal_limit": np.where(known, found.orthogonal_limit, np.nan),
            "excess": excess,
            "level": found.level,
            "worst_s": pd.array(np.where(known, nodes[found.worst], -1), dtype="Int64"),
            "flagged": pd.Series(excess > 1, dtype=object).where(pd.Series(known)),
            "decision": context.words(b),
        }
    ).assign(worst_s=lambda t: t["worst_s"].mask(t["worst_s"] < 0))


def _orientation_rows(
    context: _Context,
    b: int,
    scalar: str,
    values: NDArray[np.float64],
    usable: NDArray[np.bool_],
    s_mm: NDArray[np.float64],
) -> tuple[pd.DataFrame, list[FlippedProfile]]:
    bundle = context.cohort.bundles[b]
    found = audit(values, usable)
    rows = pd.DataFrame(
        {
            "session": np.arange(len(values)),
            "bundle": bundle,
            "scalar": scalar,
            "r_cohort": found.r_cohort,
            "r_reversed": found.r_reversed,
            "usual_margin": found.usual,
            "verdict": found.verdicts,
            "decision": context.words(b),
        }
    )
    turned = np.flatnonzero((found.verdicts == "reversed") & usable)
    order = turned[np.argsort(-(found.r_reversed - found.r_cohort)[turned], kind="stable")][:MOST_FLIPPED]
    labels = _labels(context.cohort.sessions)
    curves = [
        FlippedProfile(
            labels[k], bundle, scalar, s_mm, values[k], found.mean, float(found.r_cohort[k]), float(found.r_reversed[k])
        )
        for k in order
    ]
    return rows, curves


def _coverage_rows(context: _Context, b: int, seen: NDArray[np.bool_]) -> pd.DataFrame:
    cohort = context.cohort
    absence = cohort.absence[:, b]
    decided = [] if context.decisions is None else list(context.decisions.decisions)
    lines = np.array([*(d.line for d in decided), -1])[context.in_force[:, b]]
    reasons = np.array([*(d.reason or None for d in decided), None], dtype=object)[context.in_force[:, b]]
    words = context.words(b)
    return pd.DataFrame(
        {
            "session": np.arange(len(seen)),
            "bundle": cohort.bundles[b],
            "n_nodes": seen.shape[1],
            "n_measured": seen.sum(axis=1),
            "status": np.where((words == "reject") & (absence == "ok"), "qc_fail", absence),
            "decision": words,
            "line": pd.array(lines, dtype="Int64"),
            "reason": reasons,
        }
    ).assign(line=lambda t: t["line"].mask(t["line"] < 0))


def _in_session_order(parts: Sequence[pd.DataFrame], cohort: Cohort, columns: tuple[Column, ...]) -> pd.DataFrame:
    """Rows session by session, each with its labels."""
    table = pd.concat(parts, ignore_index=True).sort_values("session", kind="stable", ignore_index=True)
    at = table.pop("session").to_numpy()
    for name in ("participant_id", "session_id"):
        table[name] = cohort.sessions[name].to_numpy(dtype=object)[at]
    return table[names(columns)]


def _labels(sessions: pd.DataFrame) -> list[str]:
    """sub-01, or sub-01 ses-1."""
    pairs = zip(sessions["participant_id"], sessions["session_id"], strict=True)
    return [f"{subject} {session}" if isinstance(session, str) else str(subject) for subject, session in pairs]


# --- files -----------------------------------------------------------------------------------------------------------


def is_current(settings: GroupSettings, decisions: QcFile | None) -> bool:
    """Whether tables and page are there and were made of these profiles, decisions and models."""
    out = settings.run.output_dir
    if not qc_page(out).is_file():
        return False
    key = _key(settings, decisions)
    if _page_key(settings, decisions, key) not in qc_page(out).read_text(encoding="utf-8"):
        return False
    kinds: tuple[QcKind, ...] = ("coverage", "outliers", "orientation")
    try:
        facts = [json.loads(qc_table(out, kind).with_suffix(".json").read_text()) for kind in kinds]
    except (OSError, ValueError):
        return False
    there = (*kinds, *(["sites"] if facts[0].get("Sites") else []))
    return all(f.get("SettingsHash") == key for f in facts) and all(qc_table(out, k).is_file() for k in there)  # type: ignore[arg-type]


def write_quality(settings: GroupSettings, decisions: QcFile | None) -> Path:
    """Write page, figures and tables, the tables last; with --reports-only the page and its figures alone."""
    out, key = settings.run.output_dir, _key(settings, decisions)
    whole = read_cohort(out, "1D", in_file=settings.run.mem_gb is not None)
    cohort = whole.without(whole.absent)
    columns = site_like(_people(settings, cohort.sessions))
    found = inspect(cohort, decisions, columns)
    sidecars = read_sidecars(cohort.sessions)
    page = QualityPage(
        sessions=tuple(_labels(cohort.sessions)),
        n_people=cohort.sessions["participant_id"].nunique(),
        coverage=found.tables["coverage"],
        outliers=found.tables["outliers"],
        orientation=found.tables["orientation"],
        sites=found.tables.get("sites"),
        flipped=found.flipped[:MOST_FLIPPED],
        models=_models(out),
        units={s: str(next((f[s].get("Units", "") for f in sidecars if s in f), "")) for s in cohort.scalars},
        decisions=() if decisions is None else decisions.decisions,
        decisions_name="" if decisions is None else decisions.path.name,
        warnings=() if decisions is None else decisions.unknown(whole.sessions, whole.bundles),
        absent=whole.absent,
        by_person=settings.report_level == "person",
        fingerprint=_page_key(settings, decisions, key),
    )
    drawn = quality_figures(page)
    folder = group_dir(out) / "figures"
    for old in folder.glob("desc-*_qc.svg"):
        if old.stem not in {figure.name for figure in drawn}:
            remove(old)
    for figure in drawn:
        write_text(folder / f"{figure.name}.svg", figure.svg)
    write_text(qc_page(out), quality_page(page, drawn))
    if not settings.run.reports_only:
        _write_tables(out, found, key, tuple(columns))
    return qc_page(out)


def _write_tables(out: Path, found: Quality, key: str, sites: tuple[str, ...]) -> None:
    for kind in _TABLES:
        remove(qc_table(out, kind))
        remove(qc_table(out, kind).with_suffix(".json"))
    for kind, table in found.tables.items():
        facts = {"SettingsHash": key, "Sites": list(sites)}
        write_json(qc_table(out, kind).with_suffix(".json"), {**facts, **sidecar(_TABLES[kind])})
        write_table(qc_table(out, kind), table)


def _people(settings: GroupSettings, sessions: pd.DataFrame) -> pd.DataFrame:
    """Covariates row by row as the sessions, missing where somebody has none."""
    table, _ = read_design(settings.run.bids_dir, settings.design)
    joined, positions, _ = join_covariates(sessions, table, settings)
    return joined.set_index(positions).reindex(range(len(sessions)))


def _models(out: Path) -> tuple[ModelRows, ...]:
    """Rows of every model of the output directory, and why others are none."""
    found = []
    for path in sorted(group_dir(out).glob("model-*/model-*_rows.tsv")):
        try:
            table = read_table(path)
            left = table[~table["used"].astype(bool)]
            dropped = tuple(zip(left["row"].astype(str), left["reason"].astype(str), strict=True))
        except (SpectraError, KeyError):
            continue  # of a run that was killed: that model is done again
        name = path.parent.name.removeprefix("model-")
        found.append(ModelRows(name, len(table) - len(left), dropped))
    return tuple(found)


def _key(settings: GroupSettings, decisions: QcFile | None) -> str:
    """Hash of everything that decides the tables: no model does."""
    out = settings.run.output_dir
    sessions = session_tables(out, "1D")
    digest = hashlib.sha256()
    for path in sessions["path"]:
        digest.update(f"{path.name} {sha256(path)}\n".encode())
    people = _people(settings, sessions)
    sites = {name: [str(level) for level in levels] for name, levels in site_like(people).items()}
    said = None if decisions is None else [asdict(d) for d in decisions.decisions]
    return settings_hash(digest.hexdigest(), sites, said, __version__)


def _page_key(settings: GroupSettings, decisions: QcFile | None, key: str) -> str:
    """Hash of everything that decides the page, which says it: tables, rows of all models, what may be shown."""
    name = [] if decisions is None else [decisions.path.name, *decisions.unused]
    rows = sorted(group_dir(settings.run.output_dir).glob("model-*/model-*_rows.tsv"))
    return settings_hash(key, name, {p.parent.name: sha256(p) for p in rows}, settings.report_level)


def notes_on_decisions(decisions: QcFile | None, cohort: Cohort) -> tuple[str, ...]:
    """What quality control takes from a model, for its page: counts alone."""
    if decisions is None:
        return ()
    hit = cohort.absence == "qc_fail"
    if not hit.any():
        return (f"Quality control: {decisions.path.name} rejects nothing that was measured",)
    n, people = int(hit.sum()), int(hit.any(axis=1).sum())
    bundles = "1 bundle" if n == 1 else f"{n} bundles"
    return (f"Quality control: {decisions.path.name} rejects {bundles} of {people} session{'s' * (people > 1)}",)


def warn_of_unknown(settings: GroupSettings, decisions: QcFile | None, bundles: Sequence[str]) -> None:
    """Log a warning for every line that names nobody or nothing."""
    if decisions is None:
        return
    found = decisions.unknown(session_tables(settings.run.output_dir, "1D"), bundles)
    for warning in found[:20]:
        log.warning(warning)
    if len(found) > 20:
        log.warning("--qc-file %s: and %d more such lines", decisions.path.name, len(found) - 20)
