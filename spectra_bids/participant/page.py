"""A subject's page and figures, made from the tables and sidecars that are on disk."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spectra_bids import __version__
from spectra_bids.dataset.atlases import Atlas
from spectra_bids.dataset.names import norms_file, subject_page
from spectra_bids.dataset.outputs import read_table, sha256, write_text
from spectra_bids.errors import SpectraError, TemporaryError
from spectra_bids.figures.bundle_pictures import Still
from spectra_bids.geometry.grid import Grid
from spectra_bids.participant.stored import bundle_tables, pictures_of, profile_table, scalar_units, session_label
from spectra_bids.report.build import participant_figures, participant_page
from spectra_bids.report.pages import Crash, Notice, ParticipantPage, SessionPart
from spectra_bids.report.usable import ROUND
from spectra_bids.settings import GridSettings, ParticipantSettings, PointSettings, ProfileSettings

#: Bytes of a bundle's picture in a page, and of all of them.
PICTURE_BYTES, PICTURES_BYTES = 40_000, 1_500_000
#: A picture of fewer shows nothing.
_LEAST_BYTES = 4_000


def write_page(
    settings: ParticipantSettings,
    atlas: Atlas,
    grids: dict[str, Grid],
    subject: str,
    crashes: Sequence[tuple[str, str]] = (),
) -> Path:
    """Write `sub-XX.html` and `sub-XX/figures/*.svg` from what is on disk; crashes are (session, message)."""
    out = settings.run.output_dir
    folder = out / f"sub-{subject}"
    tables = bundle_tables(out, subject)
    facts = [json.loads(path.with_suffix(".json").read_text()) for path in tables]
    made = _made_with(settings, facts)
    stills = _stills(settings, subject, tables)
    units = {name: unit for sidecar in facts for name, unit in scalar_units(sidecar).items()}
    norms, n_norms = _norms(out, facts)
    page = ParticipantPage(
        subject=subject,
        sessions=tuple(
            _part(path, sidecar, pictures, _without(settings, path, pictures))
            for path, sidecar, pictures in zip(tables, facts, stills, strict=True)
        ),
        units=units,
        ends={n: g.ends for n, g in grids.items()},
        sides={n: g.sides for n, g in grids.items()},
        settings=made.profile,
        provenance=_provenance(atlas, facts) | (_norms_source(out) if norms is not None else {}),
        command=subject_command(made, subject),
        notices=tuple(
            Notice("note", note[:1].upper() + note[1:]) for sidecar in facts for note in sidecar.get("Notes", [])
        ),
        crashes=tuple(Crash(where, text) for where, text in crashes),
        norms=norms,
        cohort=n_norms,
        axis={n: _axis(g) for n, g in grids.items() if g.nr and g.radial == "signed"},
    )
    drawn = participant_figures(page)
    for figure in drawn:
        write_text(folder / "figures" / f"{figure.name}.svg", figure.svg)
    path = subject_page(out, subject)
    write_text(path, participant_page(page, drawn))
    return path


def _made_with(settings: ParticipantSettings, facts: Sequence[dict[str, Any]]) -> ParticipantSettings:
    """The settings that the tables were made with, which --reports-only need not be given again."""
    stored = dict(facts[0].get("Settings", {})) if facts else {}
    try:
        scalars = stored.pop("scalars")
        profile = ProfileSettings(
            **{**stored, "grid": GridSettings(**stored["grid"]), "points": PointSettings(**stored["points"])}
        )
    except (KeyError, TypeError):
        return settings
    same = sorted(scalars) == sorted(settings.scalars)
    return replace(settings, profile=profile, scalars=settings.scalars if same else tuple(scalars))


def _axis(grid: Grid) -> tuple[float, float]:
    """Share of a grid's nodes with a round cross-section, and the least anisotropy."""
    here = grid.anisotropy[grid.in_1d]
    return (float(np.mean(here < ROUND)), float(here.min())) if len(here) else (np.nan, np.nan)


def _stills(settings: ParticipantSettings, subject: str, tables: Sequence[Path]) -> list[dict[str, Still]]:
    """Pictures of each session as the page carries them, all together within their share of it."""
    from spectra_bids.figures.bundle_pictures import read_small

    out = settings.run.output_dir
    found = [
        {path.name.split("_bundle-")[1].split("_")[0]: path for path in pictures_of(out, subject, table)}
        for table in (tables if settings.pictures != "none" else ())
    ]
    most = min(PICTURE_BYTES, PICTURES_BYTES // max(1, sum(map(len, found))))
    if most < _LEAST_BYTES or not found:
        return [{} for _ in tables]
    stills = []
    for pictures in found:
        made = {b: read_small(p, most, f"{b} from three sides, coloured along the tract") for b, p in pictures.items()}
        stills.append({b: still for b, still in made.items() if still is not None})
    return stills


def _without(settings: ParticipantSettings, table: Path, pictures: dict[str, Still]) -> str:
    """Why bundles of a session have no picture."""
    if settings.pictures == "none":
        return "Pictures were left out (--pictures none)."
    there = pictures_of(settings.run.output_dir, _subject(table), table)
    if len(there) > len(pictures):
        return "Pictures are in the figures folder only: there are too many for one page."
    wanted = int((read_table(table)["n_streamlines"] > 0).sum())
    return "" if len(there) >= wanted else "No picture: it could not be drawn, or this page was made without drawing."


def _subject(table: Path) -> str:
    return table.name.split("_")[0].removeprefix("sub-")


def _norms(out: Path, facts: Sequence[dict[str, Any]]) -> tuple[pd.DataFrame | None, int]:
    """The cohort's norms of the bundles that are on this subject's grids, and the number of its sessions."""
    path = norms_file(out)
    if not facts or not path.is_file():
        return None, 0
    try:
        told = json.loads(path.with_suffix(".json").read_text())
        table = read_table(path)
        theirs, mine = told["GridChecksums"], facts[0]["GridChecksums"]
        table = table[table["bundle"].astype(str).map(lambda b: b in mine and theirs.get(b) == mine[b])]
        return (table, int(told["Sessions"])) if table["p50"].notna().any() else (None, 0)
    except TemporaryError:  # SIGTERM
        raise
    except (OSError, ValueError, KeyError, TypeError, SpectraError):  # half a copy: the page does without
        return None, 0


def _norms_source(out: Path) -> dict[str, str]:
    path = norms_file(out)
    return {f"Cohort's band: {path.relative_to(out).as_posix()}": f"sha256 {sha256(path)[:16]}…"}


def _part(path: Path, sidecar: dict[str, Any], pictures: dict[str, Still], without: str) -> SessionPart:
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
        label=session_label(path),
        bundles=read_table(path),
        profile_1d=read_table(profile_table(path, "1D")),
        profile_2d=read_table(profile_table(path, "2D")),
        route=str(sidecar.get("RegistrationRoute", "none")),
        route_facts=tuple(facts),
        pictures=pictures,
        without=without,
    )


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
    words += ["--pictures", settings.pictures]
    words += ["--min-streamlines", str(profile.min_streamlines), "--min-points", str(profile.min_points)]
    for field in fields(profile.points):
        value = getattr(profile.points, field.name)
        words += ["--" + field.name.replace("_", "-"), value] if value else []
    return shlex.join([*words, "--random-seed", str(profile.random_seed)])
