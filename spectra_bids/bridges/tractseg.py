"""TractSeg's Tractometry tables -> an output directory of ours.

    Tractometry_<subject>.csv    a column per bundle, a row per segment, ';' between them; one scalar per file
    subjects.txt                 '# tractometry_path=/.../SUBJECT_ID/.../Tractometry.csv', then a table of people

TractSeg writes 0 in every segment of a bundle in which it found (nearly) no streamlines. No scalar map is 0 along a
whole bundle: such a column is a bundle that the subject does not have, and 0 is no measurement.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from spectra_bids.bridges.afq import AfqColumns, AfqProfiles, load_table, profiles_of, write_profiles
from spectra_bids.dataset.names import plain
from spectra_bids.dataset.outputs import sha256
from spectra_bids.errors import InputDataError, MissingInputError, UsageError

_PLACE = re.compile(r"SUBJECT_ID|\{subject\}|\*")


@dataclass(frozen=True, eq=False)
class People:
    """A table of people: the file, its rows (text), the name of the subjects' column, the pattern it names, if any."""

    path: Path
    table: pd.DataFrame
    subject: str
    pattern: str


def import_tractseg(profiles: Mapping[str, str], subjects: Path | None, out: Path, bids: Path) -> AfqProfiles:
    """Write `out` (tables, sidecars, grids) and `bids` (participants.tsv).

    Parameters
    ----------
    profiles : mapping of scalar to pattern
        Path of the tables with SUBJECT_ID, {subject} or one * for the subject; empty: what `subjects` names, as fa.
    subjects : Path, optional
        TractSeg's subjects.txt, or a CSV or TSV with a column subject_id (or participant_id).
    out, bids : Path

    Raises
    ------
    MissingInputError
        Tables are not there.
    InputDataError
        A table is none of Tractometry, or tables differ in their segments.
    UsageError
        No pattern is given, or one without a place for the subject.

    """
    people = None if subjects is None else read_people(subjects)
    patterns = dict(profiles) or ({"fa": people.pattern} if people is not None and people.pattern else {})
    if not patterns:
        raise UsageError(
            "import-tractseg needs the tables: --profiles fa='folder/Tractometry_SUBJECT_ID.csv', or a subjects.txt "
            "with a line '# tractometry_path='"
        )
    files = {scalar: _find(pattern) for scalar, pattern in patterns.items()}
    if people is not None:
        known = {plain(str(name).removeprefix("sub-")) for name in people.table[people.subject]}
        files = {
            scalar: {who: path for who, path in found.items() if plain(who) in known} for scalar, found in files.items()
        }
        empty = next((scalar for scalar, found in files.items() if not found), "")
        if empty:
            raise InputDataError(
                f"nobody of {people.path} has a table {patterns[empty]}",
                "SUBJECT_ID stands for the subject's name there",
            )
    found = profiles_of(_long(files), Path(next(iter(patterns.values()))), AfqColumns())
    sources = [
        {path.name: sha256(path) for path in (of.get(who) for of in files.values()) if path is not None}
        for who in found.sessions["source"]
    ]
    columns = AfqColumns(subject="" if people is None else people.subject)
    rows, path = (None, None) if people is None else (people.table, people.path)
    write_profiles(found, rows, path, out, bids, sources, columns, "TractSeg")
    return found


def read_people(path: Path) -> People:
    """TractSeg's subjects.txt (columns by blanks, '# tractometry_path=' before them), or a CSV or TSV."""
    if not path.is_file():
        raise MissingInputError(f"There is no file {path}")
    pattern = ""
    if path.suffix == ".txt":
        lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        said = dict(line.lstrip("# ").split("=", 1) for line in lines if line.startswith("#") and "=" in line)
        pattern = said.get("tractometry_path", "").strip()
        rows = [line.split() for line in lines if not line.startswith("#")]
        odd = next((row for row in rows if len(row) != len(rows[0])), None)
        if not rows or odd is not None:
            got = "no row" if odd is None else f"{len(odd)} values in '{' '.join(odd)}'"
            raise InputDataError(f"{path} must hold a table with {len(rows[0]) if rows else 'some'} columns. Got {got}")
        table = pd.DataFrame(rows[1:], columns=rows[0])
    else:
        table = load_table(path)
    subject = next((c for c in ("subject_id", "participant_id", "subjectID") if c in table), "")
    if not subject:
        raise InputDataError(f"{path} has no column subject_id or participant_id. Got: {', '.join(map(str, table))}")
    return People(path, table, subject, pattern)


def _find(pattern: str) -> dict[str, Path]:
    """Subject -> table."""
    if not _PLACE.search(pattern):
        raise UsageError(f"a pattern must hold SUBJECT_ID, {{subject}} or * where the subject's name is. Got {pattern}")
    parts = _PLACE.split(pattern)
    named = "(?P<who>[^/]+)" + "(?P=who)".join(map(re.escape, parts[1:]))
    expression = re.compile(re.escape(parts[0]) + named)
    root = Path(parts[0]).parent if parts[0] and not parts[0].endswith("/") else Path(parts[0] or ".")
    glob = _PLACE.sub("*", pattern)
    relative = Path(glob).relative_to(root).as_posix() if parts[0] else glob
    found = {}
    for path in sorted(root.glob(relative)):
        match = expression.fullmatch(path.as_posix() if parts[0] else path.relative_to(root).as_posix())
        if match:
            found[match["who"]] = path
    if not found:
        raise MissingInputError(
            f"there is no table {pattern}", "SUBJECT_ID, {subject} or * stands for the subject's name"
        )
    return found


def _long(files: Mapping[str, Mapping[str, Path]]) -> pd.DataFrame:
    """All tables as one, as `profiles_of` reads them: subjectID, tractID, nodeID and the scalars, text."""
    parts, first = [], None
    for scalar, by_subject in files.items():
        for who, path in by_subject.items():
            table = _read(path)
            first = first or (path, len(table))
            if len(table) != first[1]:
                raise InputDataError(
                    f"{path} has {len(table)} segments, {first[0]} has {first[1]}: all must be of one --nr_points"
                )
            long = table.melt(var_name="tractID", value_name=scalar)
            long.insert(0, "nodeID", np.tile(np.arange(len(table)), table.shape[1]))
            long.insert(0, "subjectID", who)
            parts.append(long.set_index(["subjectID", "tractID", "nodeID"]))
    wide = parts[0] if len(parts) == 1 else pd.concat(parts).groupby(level=[0, 1, 2], sort=False).first()
    out = wide.reset_index()
    return out.assign(**{c: out[c].map(lambda v: None if pd.isna(v) else f"{v:.10g}") for c in files}).astype(
        {"subjectID": str, "tractID": str}
    )


def _read(path: Path) -> pd.DataFrame:
    """A column per bundle; NaN in the bundles that the subject does not have."""
    try:
        table = pd.read_csv(path, sep=";", encoding="utf-8-sig")
        if table.shape[1] < 2 or not len(table):
            raise ValueError(f"it has {table.shape[1]} columns and {len(table)} rows")
        values = table.to_numpy(np.float64)
    except (ValueError, OSError) as error:
        raise InputDataError(
            f"{path} is no Tractometry table: {error}", "Expected a column per bundle, numbers, ';' between them"
        ) from error
    return table.astype(np.float64).mask(np.broadcast_to((values == 0).all(axis=0), values.shape))
