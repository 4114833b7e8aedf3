"""The group's input: every session's profile tables as one block of numbers per scalar.

Rows of a session's table are the grid's cells, the same in the same order for everyone; so a cohort is an array
(sessions, cells), and a table that disagrees was made on another grid and is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectra_bids.columns import LESION_LOAD, PROFILE_2D, names
from spectra_bids.dataset.qc_files import QcFile
from spectra_bids.errors import DatasetError, MissingInputError, NothingSelectedError, UsageError
from spectra_bids.estimate import group_memory, least_mem
from spectra_bids.group.values import FiledValues

if TYPE_CHECKING:
    import pyarrow as pa

Dims = Literal["1D", "2D"]

#: Statuses of a bundle that a session does not have, or not well enough.
ABSENT = ("no_bundle", "few_streamlines", "qc_fail")

_KEYS = {"1D": ["bundle", "s", "s_mm"], "2D": ["bundle", "s", "r", "s_mm", "r_mm"]}
_NAME = re.compile(r"^(sub-[A-Za-z0-9]+)(?:_(ses-[A-Za-z0-9]+))?(?:_.*)?_desc-profile[12]D_tractometry\.tsv$")


@dataclass(frozen=True, eq=False)
class Cohort:
    """All sessions' profiles of one kind.

    Parameters
    ----------
    dims : "1D" or "2D"
    sessions : DataFrame of N rows
        participant_id, session_id (n/a: None), path.
    cells : DataFrame of C rows
        bundle, s, [r], s_mm, [r_mm], in file order.
    values : mapping of scalar to (N, C) float64
        NaN where missing. Arrays, or `FiledValues`, which reads them when they are asked for.
    absence : (N, B) of str
        Why a session lacks a bundle (a status of ABSENT), else ok; bundles in file order.

    """

    dims: Dims
    sessions: pd.DataFrame
    cells: pd.DataFrame
    values: Mapping[str, NDArray[np.float64]]
    absence: NDArray[np.object_]

    @property
    def scalars(self) -> tuple[str, ...]:
        """Scalars that at least one session has, sorted."""
        return tuple(self.values)

    @property
    def bundles(self) -> tuple[str, ...]:
        """Bundles in file order."""
        return tuple(dict.fromkeys(self.cells["bundle"]))

    def columns_of(self, bundle: str) -> NDArray[np.int64]:
        """Positions of a bundle's cells."""
        return np.flatnonzero((self.cells["bundle"] == bundle).to_numpy())

    @property
    def absent(self) -> tuple[str, ...]:
        """Bundles that no session has."""
        nobody = (self.absence == "no_bundle").all(axis=0)
        return tuple(b for b, none in zip(self.bundles, nobody, strict=True) if none)

    def without(self, bundles: Collection[str]) -> Cohort:
        """The cohort without some bundles."""
        return self._with({b for b in self.bundles if b not in bundles}) if bundles else self

    def only(self, bundle: str) -> Cohort:
        """The cohort with one bundle alone, in memory."""
        one = self._with({bundle})
        return replace(one, values=dict(one.values))

    def _with(self, bundles: Collection[str]) -> Cohort:
        wanted = [b in bundles for b in self.bundles]
        keep = self.cells["bundle"].isin(list(bundles)).to_numpy()
        values: Mapping[str, NDArray[np.float64]]
        if isinstance(self.values, FiledValues):
            values = self.values.keep(wanted)
        else:
            values = {scalar: np.asarray(v[:, keep]) for scalar, v in self.values.items()}
        cells = self.cells[keep].reset_index(drop=True)
        return replace(self, cells=cells, values=values, absence=self.absence[:, wanted])


def session_tables(out: Path, dims: Dims, keep: Callable[[str], bool] = bool) -> pd.DataFrame:
    """Profile tables below an output directory whose names `keep` wants: participant_id, session_id, path.

    One row per session.
    """
    rows = []
    for subject in sorted(out.glob("sub-*")):
        folders = [subject / "dwi", *(s / "dwi" for s in sorted(subject.glob("ses-*")))]
        for path in (p for f in folders for p in sorted(f.glob(f"*_desc-profile{dims}_tractometry.tsv"))):
            match = _NAME.match(path.name)
            if match and keep(path.name):
                rows.append((match[1], match[2], path))
    table = pd.DataFrame(rows, columns=["participant_id", "session_id", "path"])
    double = table[table.duplicated(["participant_id", "session_id"], keep=False)]
    if len(double):
        files = ", ".join(p.name for p in double["path"][:2])
        raise DatasetError(
            f"{double['participant_id'].iloc[0]} has several {dims} profile tables, expected one per session: {files}",
            "Keep one space per output directory: use another OUTPUT_DIR for the other",
        )
    return table


def choose_sessions(table: pd.DataFrame, participants: Sequence[str], sessions: Sequence[str]) -> pd.DataFrame:
    """Rows of `session_tables` of these labels (without sub-, ses-); all where none is given.

    Raises
    ------
    NothingSelectedError
        A label is nobody's.

    """
    for flag, column, prefix, wanted in (
        ("--participant-label", "participant_id", "sub-", participants),
        ("--session-label", "session_id", "ses-", sessions),
    ):
        if not wanted:
            continue
        there = table[column].dropna().unique()
        absent = [label for label in wanted if prefix + label not in there]
        if absent:
            known = ", ".join(there[:20]) + (" ..." if len(there) > 20 else "")
            raise NothingSelectedError(
                f"{flag} {' '.join(absent)}: no such profile tables. There are: {known or 'none'}"
            )
        table = table[table[column].isin([prefix + label for label in wanted])]
    if table.empty:
        raise NothingSelectedError("--participant-label and --session-label together select no profile table")
    return table.reset_index(drop=True)


def read_sidecars(sessions: pd.DataFrame) -> list[dict[str, Any]]:
    """JSON beside each session's table, in order.

    Raises
    ------
    DatasetError
        One is missing or unreadable, or the sessions were made with different atlases or grids.

    """
    found: list[dict[str, Any]] = []
    for path in sessions["path"]:
        try:
            facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            grids = (facts["Atlas"]["Label"], facts["GridChecksums"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            why = (
                error.strerror
                if isinstance(error, OSError)
                else f"no {error}"
                if isinstance(error, KeyError)
                else error
            )
            raise DatasetError(
                f"{path.with_suffix('.json')} cannot be read as the sidecar of a profile table: {why}",
                "Run the participant level again for this session",
            ) from error
        if found and grids != (found[0]["Atlas"]["Label"], found[0]["GridChecksums"]):
            raise DatasetError(
                f"{path.name} was made with another atlas or other grids than {sessions['path'].iloc[0].name}",
                "Run the participant level again with one atlas for everybody",
            )
        for key in ("Sources", "SourceHashes"):  # nine tenths of it, and nobody asks
            facts.pop(key, None)
        same = found[0] if found else facts
        found.append({key: same[key] if same.get(key) == value else value for key, value in facts.items()})
    return found


def read_cohort(
    out: Path,
    dims: Dims,
    scalars: Sequence[str] = ("*",),
    participants: Sequence[str] = (),
    session_labels: Sequence[str] = (),
    memory_gb: float | None = None,
    decisions: QcFile | None = None,
    *,
    in_file: bool = False,
) -> Cohort:
    """Read every session's profile table, or those of some participants and sessions, one at a time.

    Values for which `memory_gb` is too little, or all with `in_file`, are kept in a temporary file. What `decisions`
    reject is not measured, with status qc_fail; a bundle that is absent anyway keeps its status.

    Raises
    ------
    UsageError
        If `memory_gb` is less than a run needs that keeps them there.
    MissingInputError
        If there is no table: the participant level has not been run.
    DatasetError
        If a table's cells differ from the others'.
    NothingSelectedError
        If no scalar, participant or session is selected.
    DesignError
        If decisions contradict each other.

    """
    sessions = session_tables(out, dims)
    if sessions.empty:
        raise MissingInputError(
            f"no {dims} profile tables in {out}. Expected sub-*/[ses-*/]dwi/*_desc-profile{dims}_tractometry.tsv",
            "Run the participant level into the same OUTPUT_DIR first",
        )
    sessions = choose_sessions(sessions, participants, session_labels)
    paths, keys = list(sessions["path"]), _KEYS[dims]
    headers = [read_header(path) for path in paths]
    chosen = select_scalars(sorted({c for h in headers for c in scalars_of(h)}), scalars)
    grid = read_columns(paths[0], headers[0], keys)
    cells = grid.to_pandas()
    first = np.flatnonzero(~cells["bundle"].duplicated().to_numpy())
    widths = np.diff([*first, len(cells)]).tolist()
    bundles = cells["bundle"].iloc[first].tolist()
    rejected = None if decisions is None else decisions.rejected(sessions, bundles)
    values = FiledValues(chosen, len(paths), widths) if in_file else _room(chosen, len(paths), widths, memory_gb)
    absence = np.empty((len(paths), len(first)), dtype=object)
    for k, (path, header) in enumerate(zip(paths, headers, strict=True)):
        here = [c for c in chosen if c in header]
        table = read_columns(path, header, [*keys, "status", *here])
        if not table.select(keys).equals(grid):
            raise DatasetError(
                f"{path.name} has other cells than {paths[0].name}: the grids differ",
                "Both must be made with the same atlas and grid settings; rerun the participant level for one of them",
            )
        out_of_it = None if rejected is None or not rejected[k].any() else np.repeat(rejected[k], widths)
        for c in chosen:
            row = table[c].to_numpy() if c in here else np.full(len(cells), np.nan)
            row = row if out_of_it is None else np.where(out_of_it, np.nan, row)
            if isinstance(values, FiledValues):
                values.put(c, k, row)
            else:
                values[c][k] = row
        absence[k] = [status if status in ABSENT else "ok" for status in table["status"].take(first).to_pylist()]
        if rejected is not None:
            absence[k][rejected[k] & (absence[k] == "ok")] = "qc_fail"
    return Cohort(dims, sessions, cells, values, absence)


def _room(
    scalars: Sequence[str], n_sessions: int, widths: Sequence[int], memory_gb: float | None
) -> dict[str, NDArray[np.float64]] | FiledValues:
    """Where the values go: arrays, or a file if they and what else a run needs would take more than `memory_gb`.

    Raises
    ------
    UsageError
        If the run cannot do with so little.

    """
    if memory_gb is not None:
        least = group_memory(n_sessions, widths, len(scalars))
        if memory_gb < least:
            raise UsageError(
                f"--mem {memory_gb:.3g}G is too little: {n_sessions} sessions with {len(scalars)} scalars and up to "
                f"{max(widths)} cells in a bundle need about {least:.2f} GB",
                f"Give at least --mem {least_mem(least)}, or select fewer --scalars",
            )
        # Half of what is left, as there are two kinds of profiles.
        if 8e-9 * len(scalars) * n_sessions * sum(widths) > (memory_gb - least) / 2:
            return FiledValues(scalars, n_sessions, widths)
    return {c: np.empty((n_sessions, sum(widths))) for c in scalars}


def scalars_of(columns: Iterable[str]) -> list[str]:
    """Scalars among the columns of a profile table, in order; their standard deviations left out."""
    fixed = {"participant_id", "session_id", LESION_LOAD.name, *names(PROFILE_2D)}
    scalars = [c for c in columns if c not in fixed]
    return [c for c in scalars if not (c.endswith("_sd") and c.removesuffix("_sd") in scalars)]


def select_scalars(found: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Scalars of `found` selected by full name, by parameter alone ("fa"), or all by "*"."""
    if "*" in wanted:
        return list(found)
    chosen = [c for c in found if _is_wanted(c, wanted)]
    absent = [w for w in wanted if not any(_is_wanted(c, (w,)) for c in found)]
    if absent:
        raise NothingSelectedError(
            f"--scalars {' '.join(absent)}: not in the profile tables. There are: {', '.join(found) or 'none'}"
        )
    return chosen


def _is_wanted(scalar: str, wanted: Sequence[str]) -> bool:
    return "*" in wanted or scalar in wanted or scalar.rpartition("_")[2] in wanted


def read_header(path: Path) -> list[str]:
    """Columns of a profile table.

    Raises
    ------
    DatasetError
        It is none.

    """
    try:
        with path.open(encoding="utf-8") as file:
            columns = file.readline().rstrip("\r\n").split("\t")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read as a profile table: {error}", "Rerun this session") from error
    if "status" not in columns or "bundle" not in columns:
        raise DatasetError(f"{path} is not a profile table: it has no columns bundle and status", "Rerun this session")
    return columns


def read_columns(path: Path, header: Sequence[str], columns: Sequence[str]) -> pa.Table:
    """Some columns of a profile table: text, whole numbers or float64 as their names say, null where n/a.

    Raises
    ------
    DatasetError
        They are not there, or not of that kind.

    """
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    try:
        return arrow_csv.read_csv(
            path,
            read_options=arrow_csv.ReadOptions(use_threads=False),  # 200 kB: threads cost more than they save
            parse_options=arrow_csv.ParseOptions(delimiter="\t", quote_char=False),
            convert_options=arrow_csv.ConvertOptions(
                column_types={c: column_type(c) for c in columns},
                include_columns=list(columns),
                null_values=["n/a"],
                strings_can_be_null=True,
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
        named = re.sub(r"column #(\d+)", lambda m: f"column {header[int(m[1])]}", str(error))
        raise DatasetError(f"{path} cannot be read as a profile table: {named}", "Rerun this session") from error


def column_type(name: str) -> pa.DataType:
    """Arrow type of a column of a profile table."""
    import pyarrow as pa

    if name in ("participant_id", "session_id", "bundle", "status"):
        return pa.string()
    return pa.int64() if name in ("s", "r", "n_points", "n_streamlines") else pa.float64()
