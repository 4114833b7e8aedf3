"""Who is who: participants.tsv (+ sessions.tsv), or a design file -> one typed table.

Columns are typed by the JSON sidecars: `Levels` make a factor whose first level is the reference, `Units` make a
number. A column they say nothing of is numeric if every value is a number, else a factor with sorted levels. `n/a`,
`NaN`, `NA` and the empty cell are missing.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectra_bids.errors import DesignError, MissingInputError, listed, shown

if TYPE_CHECKING:
    import pandas as pd

_MISSING = {"", "n/a", "N/A", "NA", "NaN", "nan", "#N/A"}
#: A workbook may unpack to this many bytes, or to 200 times its size.
_MOST_BYTES = 2**28
_PREFIX = {"participant_id": "sub-", "session_id": "ses-"}


def read_design(bids_dir: Path, design: Path | None) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Typed table and notes.

    Parameters
    ----------
    bids_dir : Path
        Holds participants.tsv, participants.json and sub-*/sub-*_sessions.tsv.
    design : Path or None
        A .tsv, .csv or .xlsx that replaces participants.tsv and the sessions files.

    Returns
    -------
    table : DataFrame
        `participant_id` (sub-...), `session_id` (ses-...) if anybody has sessions, then numeric columns (float64)
        and factors (ordered Categorical, first level = reference).
    notes : tuple of str
        What was decided about a column, for the report.

    Raises
    ------
    MissingInputError
        There is no such file.
    DesignError
        The file is no table, or a value contradicts the sidecar; says file, column and value.

    """
    bids_dir = Path(bids_dir)
    described = _described(bids_dir / "participants.json")
    if design is not None:
        raw = _load(Path(design))
        described = {**described, **_described(Path(design).with_suffix(".json"))}
        source = Path(design)
    else:
        source = bids_dir / "participants.tsv"
        raw = _load(source)
        raw, described = _with_sessions(raw, bids_dir, described)
    notes: list[str] = []
    return _typed(raw, described, source, notes), tuple(notes)


def read_participants(path: Path) -> pd.DataFrame:
    """Typed table of a participants.tsv (or any design file), by the JSON file beside it."""
    return _typed(_load(Path(path)), _described(Path(path).with_suffix(".json")), Path(path), [])


def read_sessions(bids_dir: Path, subjects: Iterable[str]) -> pd.DataFrame:
    """Typed table of the subjects' sessions files; empty, with participant_id and session_id, if there are none."""
    raw, described = _sessions(Path(bids_dir), subjects)
    return _typed(raw, described, Path(bids_dir) / "sub-*" / "sub-*_sessions.tsv", [])


def read_image_table(
    path: Path, column: str = "", within: str = ""
) -> tuple[tuple[str, ...], pd.DataFrame, tuple[str, ...]]:
    """Images and covariates: a .tsv, .csv or .xlsx whose first column names files.

    Parameters
    ----------
    path : Path
    column : str
        Column that names them instead, if there is one of that name.
    within : str
        Column within whose values names are unique, if there is one.

    Returns
    -------
    images : tuple of str
        Their names, as written.
    table : DataFrame
        All columns, the others typed as `read_design` types them.
    notes : tuple of str
        What was decided about a column.

    Raises
    ------
    MissingInputError, DesignError
        As `read_design`; or a row names no image, or the same as another.

    """
    path = Path(path)
    raw = _raw(path, "")
    first = column if column in raw else str(raw.columns[0])
    lost, twice = raw[first].isna(), raw.duplicated([first, within] if within in raw else [first])
    if lost.any():
        raise DesignError(f"Column {first} of {path} must name an image in every row. Got none in line {_line(lost)}")
    if twice.any():
        raise DesignError(
            f"Rows of {path} must differ in {first}. Got {shown(raw.loc[twice, first].iloc[0])} twice",
            f"{first} is taken for the images' names: these stand in the first column"
            + (f", or in one called {column}." if column else "."),
        )
    notes: list[str] = []
    described = _described(path.with_suffix(".json"))
    table = _typed(raw.drop(columns=first), described, path, notes)
    table.insert(0, first, raw[first])  # text, whatever the names look like
    return tuple(map(str, raw[first])), table, tuple(notes)


def _sessions(bids_dir: Path, subjects: Iterable[str]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Raw sessions of all subjects, and their sidecars."""
    import pandas as pd

    described = _described(bids_dir / "sessions.json")
    tables = []
    for subject in subjects:
        name = f"sub-{subject.removeprefix('sub-')}"
        if not re.fullmatch(r"sub-[A-Za-z0-9+]+", name):
            continue  # no label: it has no folder, and must not become part of a path
        path = bids_dir / name / f"{name}_sessions.tsv"
        if not path.is_file():
            continue
        table = _load(path, required="session_id")
        table.insert(0, "participant_id", name)
        tables.append(table)
        for column, entry in _described(path.with_suffix(".json")).items():
            described.setdefault(column, entry)
    if not tables:
        return pd.DataFrame({"participant_id": [], "session_id": []}, dtype=object), described
    return pd.concat(tables, ignore_index=True), described


def _with_sessions(
    people: pd.DataFrame, bids_dir: Path, described: dict[str, Any]
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Participants with one row per session; what a session says overrides what the participant says."""
    visits, more = _sessions(bids_dir, people["participant_id"])
    if not len(visits):
        return people, described
    if "session_id" in people:
        raise DesignError(
            f"Sessions must be told in one place. Got a column session_id in {bids_dir / 'participants.tsv'} and "
            "sessions.tsv files"
        )
    table = people.merge(visits, on="participant_id", how="left", suffixes=("", "\0"))
    told = set(visits["participant_id"])
    for column in [c for c in map(str, table) if c.endswith("\0")]:
        own = table["participant_id"].isin(told)
        table[column[:-1]] = table[column].where(own, table[column[:-1]])
    table = table[[c for c in map(str, table) if not c.endswith("\0")]]
    front = ["participant_id", "session_id"]
    return table[[*front, *(c for c in table if c not in front)]], {**described, **more}


def _described(path: Path) -> dict[str, Any]:
    """Column -> entry of a JSON sidecar; empty if there is none."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(_content(path).decode("utf-8-sig"))
    except (ValueError, UnicodeDecodeError) as error:
        raise DesignError(f"{path} must be JSON. Got {error}") from error
    if not isinstance(content, dict):
        raise DesignError(f"{path} must hold an object with one entry per column. Got {type(content).__name__}")
    return {key: entry for key, entry in content.items() if isinstance(entry, dict)}


def _content(path: Path) -> bytes:
    """Bytes of a file that is there."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise MissingInputError(f"{path} cannot be read: {error.strerror}", "Check its rights and links") from error


def _load(path: Path, required: str = "participant_id") -> pd.DataFrame:
    """Table of text; missing values are None. Identifiers get their prefix and must be unique."""
    table = _raw(path, required)
    keys = [key for key in _PREFIX if key in table]
    for key in keys:
        lost = table[key].isna()
        if lost.any():
            raise DesignError(f"Column {key} of {path} must have a value in every row. Got none in line {_line(lost)}")
        table[key] = _PREFIX[key] + table[key].str.removeprefix(_PREFIX[key])
    twice = table.duplicated(keys)
    if twice.any():
        who = " ".join(table.loc[twice, keys].iloc[0])
        hint = "" if "session_id" in keys else "Rows of one participant need a column session_id."
        raise DesignError(f"Rows of {path} must differ in {' and '.join(keys)}. Got {shown(who)} twice", hint)
    return table


def _raw(path: Path, required: str) -> pd.DataFrame:
    """Table of text; missing values are None."""
    import pandas as pd

    if not path.is_file():
        raise MissingInputError(f"There is no file {path}", "Give the table of participants with --design FILE.")
    rows = _excel(path) if path.suffix == ".xlsx" else _delimited(path)
    if not rows:
        raise DesignError(f"{path} is empty: expected a header with {required or 'the names of the columns'}")
    header = [name.strip() for name in rows[0]]
    _check_header(path, header, required)
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise DesignError(f"Line {number} of {path} must have {len(header)} values, as the header. Got {len(row)}")
    cells = [[None if v.strip() in _MISSING else v.strip() for v in row] for row in rows[1:]]
    return pd.DataFrame(cells, columns=header, dtype=object)


def _line(mask: pd.Series[bool]) -> int:
    """Line of the first marked row in the file (the header is line 1)."""
    return int(mask.to_numpy().argmax()) + 2


def _check_header(path: Path, header: list[str], required: str) -> None:
    """Names must be there, unique, and include what is required."""
    if required and required not in header:
        hint = f"Name the column of identifiers {required!r}."
        if len(header) == 1 and re.search(r"[,;\t ]", header[0]):
            hint = f"Separate the columns of a {path.suffix} file by {'tabs' if path.suffix == '.tsv' else 'commas'}."
        raise DesignError(f"{path} must have a column {required}. Got: {listed(header)}", hint)
    twice = sorted({repr(shown(name)) for name in header if header.count(name) > 1})
    if twice:
        raise DesignError(f"Columns of {path} must have different names. Got twice: {', '.join(twice[:5])}")
    if "" in header:
        raise DesignError(f"Every column of {path} must have a name. Column {header.index('') + 1} has none")


def _delimited(path: Path) -> list[list[str]]:
    """Rows of a .tsv or .csv; empty lines left out."""
    if path.suffix not in (".tsv", ".csv"):
        raise DesignError(f"A table of participants must be .tsv, .csv or .xlsx. Got {path}")
    try:
        text = _content(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DesignError(
            f"{path} must be UTF-8. Got another encoding ({error.reason})", "Save it as UTF-8."
        ) from error
    lines = io.StringIO(text.replace("\r\n", "\n").replace("\r", "\n"))
    if path.suffix == ".tsv":
        rows = [[v.removeprefix('"').removesuffix('"') for v in line.rstrip("\n").split("\t")] for line in lines]
    else:
        rows = list(csv.reader(lines))
    return [row for row in rows if any(v.strip() for v in row)]


def _excel(path: Path) -> list[list[str]]:
    """Rows of the first sheet of a workbook; empty rows and trailing empty columns left out."""
    from zipfile import BadZipFile, ZipFile

    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    raw = _content(path)
    try:
        with ZipFile(io.BytesIO(raw)) as archive:
            unpacked = sum(item.file_size for item in archive.infolist())
        if unpacked > max(_MOST_BYTES, 200 * len(raw)):
            raise ValueError(f"{len(raw)} bytes that unpack to {unpacked}")
        book = load_workbook(io.BytesIO(raw), read_only=True, data_only=True)
    except (BadZipFile, InvalidFileException, KeyError, ValueError, OSError) as error:
        raise DesignError(f"{path} must be an Excel workbook (.xlsx). Got {error}") from error
    rows = [[_cell(v) for v in row] for row in book.worksheets[0].iter_rows(values_only=True)]
    book.close()
    rows = [row for row in rows if any(row)]
    width = max((i + 1 for row in rows for i, v in enumerate(row) if v), default=0)
    return [(row + [""] * width)[:width] for row in rows]


def _cell(value: object) -> str:
    """Excel keeps every number as a float: 3.0 was typed as 3."""
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) and value.is_integer() else str(value)


def _typed(raw: pd.DataFrame, described: Mapping[str, Any], path: Path, notes: list[str]) -> pd.DataFrame:
    """Text columns -> numbers and factors."""
    out = raw.copy()
    for column in map(str, raw):
        if column in _PREFIX:
            continue
        entry = described.get(column, {})
        levels = entry.get("Levels")
        if levels and not isinstance(levels, dict | list):
            raise DesignError(
                f"Levels of column {shown(column)} in the JSON file beside {path} must be an object or a list. "
                f"Got {shown(repr(levels))}",
                'For example: {"Levels": {"control": "healthy", "patient": "ill"}}.',
            )
        if levels:
            out[column] = _factor(raw[column], [str(x) for x in levels], column, path, notes)
        else:
            out[column] = _number_or_factor(raw[column], bool(entry.get("Units")), column, path, notes)
    return out


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _number_or_factor(
    values: pd.Series[Any], must_be_number: bool, column: str, path: Path, notes: list[str]
) -> pd.Series[Any]:
    """Numbers if all values are; else, unless the sidecar gives units, a factor with sorted levels."""
    import pandas as pd

    there = values.dropna()
    wrong = sorted({v for v in there if _number(v) is None})
    if not wrong:
        if not len(there):
            notes.append(f"Column {shown(column)} has no values")
        return pd.Series([float("nan") if v is None else float(v) for v in values], index=values.index, name=column)
    if must_be_number:
        raise DesignError(
            f"Column {shown(column)} of {path} has Units, so its values must be numbers or n/a. "
            f"Got {shown(wrong[0])!r}",
            "Write missing values as n/a, and a decimal point, not a comma.",
        )
    if sum(_number(v) is not None for v in there) > len(there) / 2:
        notes.append(
            f"Column {shown(column)} was read as a factor although most of its values are numbers: "
            f"{shown(wrong[0])!r} is not"
        )
    levels = sorted(
        set(there), key=lambda v: [(0, int(t), "") if t.isdigit() else (1, 0, t) for t in re.split(r"(\d+)", v)]
    )
    return pd.Series(pd.Categorical(values, categories=levels, ordered=True), index=values.index, name=column)


def _factor(values: pd.Series[Any], levels: list[str], column: str, path: Path, notes: list[str]) -> pd.Series[Any]:
    """Factor with the sidecar's levels in their order, without those that nobody has."""
    import pandas as pd

    by_number = {_number(level): level for level in levels if _number(level) is not None}
    named = [v if v is None or v in levels else by_number.get(_number(v), v) for v in values]
    unknown = sorted({v for v in named if v is not None and v not in levels})
    if unknown:
        raise DesignError(
            f"Column {shown(column)} of {path} must have the Levels of its sidecar: {listed(levels)}. "
            f"Got {shown(unknown[0])!r}",
            "Correct the value, or add the level to the sidecar.",
        )
    used = [level for level in levels if level in named]
    if used and len(used) < len(levels):
        absent = listed(level for level in levels if level not in used)
        notes.append(f"Nobody has {shown(column)} = {absent}; the level was left out")
    return pd.Series(pd.Categorical(named, categories=used, ordered=True), index=values.index, name=column)
