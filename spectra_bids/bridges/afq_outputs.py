"""The output directory of an import: a table of nodes and one of bundles per session, with their sidecars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spectra_bids import __version__
from spectra_bids.columns import BUNDLE, PROFILE_1D, names, scalar_columns, sidecar
from spectra_bids.dataset.names import bundle_file, grid_files, profile_file
from spectra_bids.dataset.outputs import write_json, write_table
from spectra_bids.errors import OutputError, listed
from spectra_bids.settings import settings_hash

if TYPE_CHECKING:
    from spectra_bids.bridges.afq import AfqProfiles

LABEL = "afq"


def require_ours(out: Path, bids: Path, found: AfqProfiles) -> None:
    """OutputError where the folders hold what this import would not replace: the group level would take both."""
    if out.resolve() == bids.resolve():
        raise OutputError(f"the output directory and the BIDS folder must be two folders. Got {out} for both")
    other = [
        p.name for p in sorted((out / "atlas").glob("atlas-*_grid.json")) if not p.name.startswith(f"atlas-{LABEL}_")
    ]
    if other:
        raise OutputError(f"{out} holds profiles on other grids ({other[0]})", "Import into a folder of its own")
    grids = {grid_files(out, LABEL, name)[0] for name in found.grids}
    tables = {profile_file(out, *_who(found, row), None, "1D") for row in range(len(found.sessions))}
    left = [p for p in sorted((out / "atlas").glob(f"atlas-{LABEL}_*_grid.json")) if p not in grids]
    left += [p for p in sorted(out.glob("sub-*/**/*_desc-profile1D_tractometry.tsv")) if p not in tables]
    if left:
        raise OutputError(
            f"{out} holds an import that these tables would not replace: {listed([p.name for p in left[:3]])}",
            "Import into a folder of its own, or remove this one",
        )


def _who(found: AfqProfiles, row: int) -> tuple[str, str | None]:
    """Subject and session of a row."""
    who = found.sessions.iloc[row]
    return str(who["subject"]), None if pd.isna(who["session"]) else str(who["session"])


def write_session(out: Path, found: AfqProfiles, row: int, sources: Mapping[str, str], program: str) -> None:
    """Tables of one session with their sidecars; tables last."""
    subject, session = _who(found, row)
    checksums = {name: grid.checksum for name, grid in found.grids.items()}
    origin = "an AFQ table" if program == "AFQ" else f"{program}'s tables"
    facts: dict[str, Any] = {
        "Sources": list(sources),
        "SourceHashes": dict(sources),
        "Atlas": {"Name": f"{program} nodes (no atlas)", "Label": LABEL, "Space": "n/a", "License": "n/a"},
        "GridChecksums": checksums,
        "RegistrationRoute": "n/a",
        "Notes": [f"Imported from {origin}: nodes without places; why a value is missing is not known"],
        "SettingsHash": settings_hash(checksums, dict(sources), __version__),
        "SpectraBidsVersion": __version__,
    }
    content = {"profile1D": (_profile_table(found, row), PROFILE_1D), "bundle": (_bundle_table(found, row), BUNDLE)}
    place = {
        "profile1D": profile_file(out, subject, session, None, "1D"),
        "bundle": bundle_file(out, subject, session, None),
    }
    for kind, (_, fixed) in content.items():
        described = [asdict(c) for s in found.scalars for c in scalar_columns(s, "", spread=False)]
        more = {c["name"]: {"Description": f"{c['name']} of the imported table"} for c in described}
        write_json(place[kind].with_suffix(".json"), {**facts, **sidecar(fixed), **more})
    for kind, (table, _) in content.items():
        write_table(place[kind], table)


def _profile_table(found: AfqProfiles, row: int) -> pd.DataFrame:
    """Rows as columns.PROFILE_1D, then scalars."""
    parts = []
    for name, grid in found.grids.items():
        scalars = {scalar: block[row] for scalar, block in found.values[name].items()}
        missing = np.isnan(list(scalars.values()))
        status = np.where(missing.any(axis=0), "no_points", "ok") if not missing.all() else "no_bundle"
        table = pd.DataFrame({"bundle": name, "s": np.arange(grid.ns), "s_mm": np.nan, "n_points": np.nan,
                              "n_streamlines": np.nan, "status": status, **scalars})  # fmt: skip
        parts.append(table[grid.in_1d])
    return pd.concat(parts, ignore_index=True)


def _bundle_table(found: AfqProfiles, row: int) -> pd.DataFrame:
    """Rows as columns.BUNDLE, then scalars (n/a: these tables say nothing of the whole bundle)."""
    rows: list[dict[str, Any]] = []
    for name, tract in found.tracts.items():
        there = any(np.isfinite(block[row]).any() for block in found.values[name].values())
        empty = dict.fromkeys((*names(BUNDLE), *found.scalars), np.nan)
        status = "ok" if there else "no_bundle"
        rows.append({**empty, "bundle": name, "source": tract, "flag": "none", "status": status})
    return pd.DataFrame(rows)
