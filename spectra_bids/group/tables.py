"""The group's input: every session's profile tables as one block of numbers per scalar.

Rows of a session's table are the grid's cells, the same in the same order for everyone; so a cohort is an array
(sessions, cells), and a table that disagrees was made on another grid and is refused.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectra_bids.errors import DatasetError, MissingInputError, NothingSelectedError

Dims = Literal["1D", "2D"]

_KEYS = {"1D": ["bundle", "s", "s_mm"], "2D": ["bundle", "s", "r", "s_mm", "r_mm"]}
_FIXED = {"n_points", "n_streamlines", "status"}
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
        NaN where missing.
    status : (N, C) of str

    """

    dims: Dims
    sessions: pd.DataFrame
    cells: pd.DataFrame
    values: dict[str, NDArray[np.float64]]
    status: NDArray[np.object_]

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
        nobody = (self.status == "no_bundle").all(axis=0)
        return tuple(b for b in self.bundles if nobody[self.columns_of(b)].all())

    def without(self, bundles: Collection[str]) -> Cohort:
        """The cohort without some bundles."""
        keep = ~self.cells["bundle"].isin(list(bundles)).to_numpy()
        values = {scalar: v[:, keep] for scalar, v in self.values.items()}
        return replace(self, cells=self.cells[keep].reset_index(drop=True), values=values, status=self.status[:, keep])

    def long(self) -> pd.DataFrame:
        """One row per session and cell with all scalars, as the group's parquet file holds it."""
        n, c = len(self.sessions), len(self.cells)
        head = self.sessions[["participant_id", "session_id"]].loc[np.repeat(np.arange(n), c)].reset_index(drop=True)
        body = pd.concat([self.cells] * n, ignore_index=True)
        table = pd.concat([head, body], axis=1)
        table["status"] = self.status.ravel()
        for scalar, values in self.values.items():
            table[scalar] = values.ravel()
        return table


def session_tables(out: Path, dims: Dims) -> pd.DataFrame:
    """Profile tables below an output directory: participant_id, session_id, path; one row per session."""
    rows = []
    for subject in sorted(out.glob("sub-*")):
        folders = [subject / "dwi", *(s / "dwi" for s in sorted(subject.glob("ses-*")))]
        for path in (p for f in folders for p in sorted(f.glob(f"*_desc-profile{dims}_tractometry.tsv"))):
            match = _NAME.match(path.name)
            if match:
                rows.append((match[1], match[2], path))
    table = pd.DataFrame(rows, columns=["participant_id", "session_id", "path"])
    double = table[table.duplicated(["participant_id", "session_id"], keep=False)]
    if len(double):
        names = ", ".join(p.name for p in double["path"][:2])
        raise DatasetError(
            f"{double['participant_id'].iloc[0]} has several {dims} profile tables, expected one per session: {names}",
            "Keep one space per output directory: use another OUTPUT_DIR for the other",
        )
    return table


def read_cohort(out: Path, dims: Dims, scalars: Sequence[str] = ("*",)) -> Cohort:
    """Read every session's profile table.

    Raises
    ------
    MissingInputError
        If there is no table: the participant level has not been run.
    DatasetError
        If a table's cells differ from the others'.
    NothingSelectedError
        If no scalar is selected.

    """
    sessions = session_tables(out, dims)
    if sessions.empty:
        raise MissingInputError(
            f"no {dims} profile tables in {out}. Expected sub-*/[ses-*/]dwi/*_desc-profile{dims}_tractometry.tsv",
            "Run the participant level into the same OUTPUT_DIR first",
        )
    keys = _KEYS[dims]
    tables = [_read(path) for path in sessions["path"]]
    cells = tables[0][keys]
    for path, table in zip(sessions["path"], tables, strict=True):
        if len(table) != len(cells) or not table[keys].equals(cells):
            raise DatasetError(
                f"{path.name} has other cells than {sessions['path'].iloc[0].name}: the grids differ",
                "Both must be made with the same atlas and grid settings; rerun the participant level for one of them",
            )
    found = sorted({c for t in tables for c in t.columns if c not in {*keys, *_FIXED} and not c.endswith("_sd")})
    chosen = select_scalars(found, scalars)
    nothing = np.full(len(cells), np.nan)
    values = {c: np.stack([t[c].to_numpy(np.float64) if c in t.columns else nothing for t in tables]) for c in chosen}
    status = np.stack([t["status"].to_numpy(dtype=object) for t in tables])
    return Cohort(dims, sessions, cells, values, status)


def select_scalars(found: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Scalars of `found` selected by full name, by parameter alone ("fa"), or all by "*"."""
    if "*" in wanted:
        return list(found)
    chosen = [c for c in found if c in wanted or c.rpartition("_")[2] in wanted]
    absent = [w for w in wanted if not any(c == w or c.rpartition("_")[2] == w for c in found)]
    if absent:
        raise NothingSelectedError(
            f"--scalars {' '.join(absent)}: not in the profile tables. There are: {', '.join(found) or 'none'}"
        )
    return chosen


def _read(path: Path) -> pd.DataFrame:
    from pyarrow import ArrowInvalid
    from pyarrow import csv as arrow_csv

    try:
        table: pd.DataFrame = arrow_csv.read_csv(
            path,
            parse_options=arrow_csv.ParseOptions(delimiter="\t"),
            convert_options=arrow_csv.ConvertOptions(null_values=["n/a"], strings_can_be_null=True),
        ).to_pandas()
    except (ArrowInvalid, OSError) as error:
        raise DatasetError(f"{path} cannot be read as a profile table: {error}", "Rerun this session") from error
    if "status" not in table.columns or "bundle" not in table.columns:
        raise DatasetError(f"{path} is not a profile table: it has no columns bundle and status", "Rerun this session")
    return table
