"""A subject's page and figures, made from the tables and sidecars that are on disk."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from spectra_bids import __version__
from spectra_bids.columns import BUNDLE, LESION_LOAD, names
from spectra_bids.dataset.atlases import Atlas
from spectra_bids.dataset.names import subject_page
from spectra_bids.dataset.outputs import read_table, write_text
from spectra_bids.geometry.grid import Grid
from spectra_bids.participant.session import bundle_tables
from spectra_bids.report.build import participant_figures, participant_page
from spectra_bids.report.pages import Crash, Notice, ParticipantPage, SessionPart
from spectra_bids.settings import ParticipantSettings


def write_page(
    settings: ParticipantSettings,
    atlas: Atlas,
    grids: dict[str, Grid],
    subject: str,
    crashes: Sequence[tuple[str, str]] = (),
) -> Path:
    """Write `sub-XX.html` and `sub-XX/figures/*` from the subject's tables; crashes are (session, message)."""
    out = settings.run.output_dir
    folder = out / f"sub-{subject}"
    parts, facts = [], []
    for path in bundle_tables(out, subject):
        sidecar = json.loads(path.with_suffix(".json").read_text())
        facts.append(sidecar)
        parts.append(_part(path, sidecar))
    units = {name: unit for sidecar in facts for name, unit in _units(sidecar).items()}
    page = ParticipantPage(
        subject=subject,
        sessions=tuple(parts),
        units=units,
        ends={n: g.ends for n, g in grids.items()},
        sides={n: g.sides for n, g in grids.items()},
        settings=settings.profile,
        provenance=_provenance(atlas, facts),
        command=subject_command(settings, subject),
        notices=tuple(Notice("note", note) for sidecar in facts for note in sidecar.get("Notes", [])),
        crashes=tuple(Crash(where, text) for where, text in crashes),
    )
    drawn = participant_figures(page)
    for figure in drawn:
        write_text(folder / "figures" / f"{figure.name}.svg", figure.svg)
    path = subject_page(out, subject)
    write_text(path, participant_page(page, drawn))
    return path


def _part(path: Path, sidecar: dict[str, Any]) -> SessionPart:
    stem = path.name.removesuffix("_desc-bundle_tractometry.tsv")
    session = next((e.removeprefix("ses-") for e in stem.split("_") if e.startswith("ses-")), "")
    profiles = {k: path.with_name(f"{stem}_desc-profile{k}_tractometry.tsv") for k in ("1D", "2D")}
    distance = sidecar.get("DistanceToAtlas")
    facts = [("Space of the scalar maps", str(sidecar.get("ScalarSpace", "n/a")))]
    if sidecar.get("Transform"):
        facts.append(("Transform", sidecar["Transform"]))
    if distance:
        facts.append(
            ("Distance to the atlas", f"median {distance['Median']:.1f} mm, 95th percentile {distance['P95']:.1f} mm")
        )
    if sidecar.get("Resampled"):
        facts.append(("Resampled to finer steps", ", ".join(sidecar["Resampled"])))
    return SessionPart(
        label=session,
        bundles=read_table(path),
        profile_1d=read_table(profiles["1D"]),
        profile_2d=read_table(profiles["2D"]),
        route=str(sidecar.get("RegistrationRoute", "none")),
        route_facts=tuple(facts),
    )


def _units(sidecar: dict[str, Any]) -> dict[str, str]:
    """Scalar -> unit, from the columns that a bundle table's sidecar describes beyond the fixed ones."""
    fixed = {*names(BUNDLE), LESION_LOAD.name}
    described = {k: v for k, v in sidecar.items() if isinstance(v, dict) and "Description" in v and k not in fixed}
    return {name: str(entry.get("Units", "")) for name, entry in described.items()}


def _provenance(atlas: Atlas, facts: Sequence[dict[str, Any]]) -> dict[str, str]:
    out = {"Atlas": f"{atlas.name} ({atlas.space}; {atlas.license})", "spectra-bids": __version__}
    for sidecar in facts[:1]:
        out["Settings hash"] = str(sidecar["SettingsHash"])
    for sidecar in facts:
        for uri, digest in sidecar["SourceHashes"].items():
            out[uri] = f"sha256 {digest[:16]}…"
    return out


def subject_command(settings: ParticipantSettings, subject: str) -> str:
    """Command that makes this subject's outputs: the same however many subjects the actual run had."""
    run, profile, grid = settings.run, settings.profile, settings.profile.grid
    words = ["spectra-bids", str(run.bids_dir), str(run.output_dir), "participant", "--participant-label", subject]
    if run.derivatives:
        words += ["-d", *(f"{name}={path}" for name, path in run.derivatives)]
    words += ["--atlas", str(settings.atlas), "--scalars", *settings.scalars]
    if settings.bundles:
        words += ["--bundle", *settings.bundles]
    words += ["--registration", profile.registration, "-s", f"{grid.s_len:.12g}", "-r", f"{grid.r_len:.12g}"]
    for flag, count in (("--ns", grid.ns), ("--nr", grid.nr)):
        words += [flag, str(count)] if count is not None else []
    words += ["--robust", grid.robust, "--radial", grid.radial]
    words += ["--min-streamlines", str(profile.min_streamlines), "--min-points", str(profile.min_points)]
    for field in fields(profile.points):
        value = getattr(profile.points, field.name)
        words += ["--" + field.name.replace("_", "-"), value] if value else []
    return shlex.join([*words, "--random-seed", str(profile.random_seed)])
