"""Profiles of an output directory in one file, for other programs.

    csv, tsv   tidy: a row per session, bundle, node (radial bin) and scalar: value, sd, the cell's counts and status
    json       {"profiles": [{participant_id, session_id, space, bundle, scalar, s, [r], value, sd, status}, ...]}
    wide       a row per session; a column per cell and scalar, <bundle>_<scalar>_s<node>[_r<bin>]

Beside the file stands <name>_provenance.json: software, source, selection, and every column with its unit. What was
not measured is n/a in a .tsv, empty in a .csv and null in .json. Sessions are read and written one at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, get_args

from spectra_bids import __version__
from spectra_bids.columns import PROFILE_2D, Column, sidecar
from spectra_bids.dataset.outputs import sha256, write_json, writing
from spectra_bids.errors import DatasetError, NothingSelectedError, OutputError, UsageError
from spectra_bids.group.loading import WHO, Selection, select, tables
from spectra_bids.group.tables import Dims, read_sidecars

if TYPE_CHECKING:
    import pandas as pd

Format = Literal["csv", "tsv", "json", "wide"]

_WHO = (
    Column("participant_id", "Subject"),
    Column("session_id", "Session; n/a where the subject has none"),
    Column("space", "Space of the subject's bundles, as the table's name says; n/a where it says none"),
)
_LONG = (
    Column("scalar", "Scalar map, <model>_<param>"),
    Column("value", "Mean of the scalar over the cell's points; in 1D weighted by 1 / distance to the node",
           "units of the scalar"),
    Column("sd", "Standard deviation of the scalar over the cell's points", "units of the scalar"),
)  # fmt: skip
_MISSING = {".csv": "", ".tsv": "n/a", ".json": "null"}


@dataclass(frozen=True)
class Exported:
    """What an export wrote: its files, and how much is in them."""

    path: Path
    provenance: Path | None
    sessions: int
    subjects: int
    scalars: tuple[str, ...]
    rows: int
    columns: int


def export_profiles(
    root: Path | str,
    path: Path | str,
    format: str | None = None,
    *,
    pattern: str = "*",
    space: str | None = None,
    subjects: Sequence[str] | None = None,
    sessions: Sequence[str] | None = None,
    scalars: Sequence[str] = ("*",),
    bundles: Sequence[str] | None = None,
    profile: Dims = "1D",
    metadata: bool = True,
    overwrite: bool = False,
) -> Exported:
    """Write the profiles of an output directory to one file; a run that stops half-way leaves none.

    Parameters
    ----------
    root : Path
        OUTPUT_DIR of a run.
    path : Path
        File to write. Its ending must be the format's; `wide` takes .csv and .tsv.
    format : "csv", "tsv", "json" or "wide", optional
        As the module says. Default: what the ending says.
    pattern, space, subjects, sessions, scalars, bundles, profile
        As of `load_profiles`.
    metadata : bool
        Write the provenance beside it.
    overwrite : bool
        Replace files that are there.

    Raises
    ------
    UsageError
        The format is none, or the ending is another's.
    OutputError
        The file is there, or cannot be written.
    DatasetError
        `wide`: sessions were made on different grids, so that a column would mean two places.
    SpectraError
        What `load_profiles` raises.

    """
    path = Path(path)
    kind = _format(path, format)
    beside = path.with_name(f"{path.name.removesuffix(path.suffix)}_provenance.json")
    for there in (path, beside) if metadata else (path,):
        if there.exists() and not overwrite:
            raise OutputError(f"{there} is there already", "Choose another name, or replace it with --force")
    chosen = select(root, pattern, space, subjects, sessions, scalars, bundles, profile)
    if not chosen.scalars:
        raise NothingSelectedError(f"The profile tables of {root} hold no scalar")
    described = read_sidecars(chosen.sessions)  # refuses sessions of different grids
    with writing(path) as file:
        rows, columns = {"json": _write_json, "wide": _write_wide}.get(kind, _write_long)(file, path, chosen)
    made = Exported(
        path,
        beside if metadata else None,
        len(chosen.sessions),
        int(chosen.sessions["participant_id"].nunique()),
        chosen.scalars,
        rows,
        len(columns),
    )
    if metadata:
        write_json(beside, _provenance(chosen, kind, made, columns, described))
    return made


def _format(path: Path, asked: str | None) -> Format:
    ending = path.suffix.lower()
    kind = asked or ending.removeprefix(".")
    if kind not in get_args(Format):
        raise UsageError(f"--format must be one of {', '.join(get_args(Format))}. Got {kind!r} for {path}")
    fitting = (".csv", ".tsv") if kind == "wide" else (f".{kind}",)
    if ending not in fitting:
        raise UsageError(f"--format {kind} writes {' or '.join(fitting)}. Got {path}", "Name the file so, with -o")
    return kind  # type: ignore[return-value]


def _write_long(file: BinaryIO, path: Path, chosen: Selection) -> tuple[int, list[Column]]:
    columns = [*_WHO, *_cell_columns(chosen), *_LONG]
    names = [*WHO, *(c for c in chosen.cell if c != "status"), "scalar", "value", "sd", "status"]
    rows = 0
    for k, table in enumerate(tables(chosen)):
        long = _melted(table, chosen)[names]
        file.write(_text(long, path, header=k == 0))
        rows += len(long)
    return rows, sorted(columns, key=lambda c: names.index(c.name))


def _melted(table: pd.DataFrame, chosen: Selection) -> pd.DataFrame:
    """Scalars below each other; one that the session does not have keeps its rows, without values."""
    import pandas as pd

    fixed = table[[*WHO, *chosen.cell]]
    parts = [fixed.assign(scalar=s, value=table[s], sd=table[f"{s}_sd"]) for s in chosen.scalars]
    return pd.concat(parts, ignore_index=True)


def _write_wide(file: BinaryIO, path: Path, chosen: Selection) -> tuple[int, list[Column]]:
    # Text is put together here: pandas takes 20 ms for a row of thousands of columns.
    separator, missing = ("\t" if path.suffix.lower() == ".tsv" else ","), _MISSING[path.suffix.lower()]
    columns: list[Column] = []
    first: list[list[Any]] = []
    for k, table in enumerate(tables(chosen)):
        cells = [table[name].tolist() for name in ("bundle", "s", "r") if name in table]
        if k == 0:
            first, columns = cells, [*_WHO, *_wide_columns(chosen, cells)]
            file.write((separator.join(column.name for column in columns) + "\n").encode())
        if cells != first:
            raise DatasetError(f"{chosen.sessions['path'].iloc[k].name} has other cells than the first table",
                               "Run the participant level again with one atlas for everybody")  # fmt: skip
        who = [str(table[name].iloc[0] or missing) for name in WHO]
        values = [missing if v != v else f"{v:.6g}" for scalar in chosen.scalars for v in table[scalar].tolist()]
        file.write((separator.join((*who, *values)) + "\n").encode())
    return len(chosen.sessions), columns


def _wide_columns(chosen: Selection, cells: Sequence[Sequence[Any]]) -> list[Column]:
    """A column per scalar and cell; `cells` are the columns bundle, s and, in 2D, r."""
    places = [(b, f"s{s:02d}" + "".join(f"_r{k}" for k in r)) for b, s, *r in zip(*cells, strict=True)]
    return [
        Column(f"{bundle}_{scalar}_{node}", f"Mean of {scalar} in cell {node} of {bundle}", "units of the scalar")
        for scalar in chosen.scalars
        for bundle, node in places
    ]


def _write_json(file: BinaryIO, path: Path, chosen: Selection) -> tuple[int, list[Column]]:
    file.write(b'{"profiles": [')
    records = 0
    for table in tables(chosen):
        for record in _records(table, chosen):
            text = json.dumps(record, ensure_ascii=False, allow_nan=False)
            file.write((b",\n" if records else b"\n") + text.encode())
            records += 1
    file.write(b"\n]}\n")
    return records, [*_WHO, *_cell_columns(chosen), *_LONG]


def _records(table: pd.DataFrame, chosen: Selection) -> Iterator[dict[str, Any]]:
    """One object per bundle and scalar, cells as lists."""
    long = _melted(table, chosen)
    lists = [c for c in chosen.cell if c != "bundle"] + ["value", "sd"]
    for (scalar, bundle), rows in long.groupby(["scalar", "bundle"], sort=False):
        who = {name: table[name].iloc[0] for name in WHO}
        yield {**who, "bundle": bundle, "scalar": scalar, **{c: _listed(rows[c]) for c in lists}}


def _listed(values: pd.Series[Any]) -> list[Any]:
    """Values for JSON: six digits as in the tables, null where missing."""
    if values.dtype.kind == "f":
        return [None if v != v else float(f"{v:.6g}") for v in values]
    return list(values)


def _cell_columns(chosen: Selection) -> list[Column]:
    known = {column.name: column for column in PROFILE_2D}
    return [known[name] for name in chosen.cell]


def _text(table: pd.DataFrame, path: Path, header: bool) -> bytes:
    ending = path.suffix.lower()
    text = table.to_csv(
        sep="\t" if ending == ".tsv" else ",",
        index=False,
        header=header,
        na_rep=_MISSING[ending],
        float_format="%.6g",
        lineterminator="\n",
    )
    return str(text).encode("utf-8")


def _provenance(
    chosen: Selection, kind: Format, made: Exported, columns: list[Column], described: list[dict[str, Any]]
) -> dict[str, Any]:
    """Where the file comes from, and what its columns are; nothing of when, where or by whom it was made."""
    units = {s: next((d[s]["Units"] for d in described if d.get(s, {}).get("Units")), "n/a") for s in chosen.scalars}
    settings = sorted({str(d["SettingsHash"]) for d in described if d.get("SettingsHash")})
    return {
        "GeneratedBy": [{"Name": "spectra-bids", "Version": __version__}],
        "File": made.path.name,
        "SHA256": sha256(made.path),
        "Format": kind,
        "Profile": chosen.dims,
        "Missing": _MISSING[made.path.suffix.lower()],
        "Sessions": made.sessions,
        "Subjects": made.subjects,
        "Scalars": {name: {"Units": unit} for name, unit in units.items()},
        "Bundles": list(chosen.bundles) or "all",
        "Atlas": described[0]["Atlas"],
        "GridChecksums": described[0]["GridChecksums"],
        "SettingsHashes": settings,
        "SourceDataset": _description(chosen.root),
        "Sources": [f"bids::{path.relative_to(chosen.root).as_posix()}" for path in chosen.sessions["path"]],
        "Columns": sidecar(columns),
    }


def _description(root: Path) -> Any:
    """Content of dataset_description.json; null without a readable one."""
    try:
        return json.loads((root / "dataset_description.json").read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return None
