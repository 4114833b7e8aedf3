"""What every model of an output directory shares: all sessions' profiles in one file, rebuilt from their tables.

    group/desc-profile{1D,2D}_tractometry.parquet    participant_id, session_id, then the columns of a session's table
    group/tract_profiles.csv  group/subjects.csv     subjectID, sessionID, tractID, nodeID, scalars; and covariates

What quality control rejected (--qc-file) keeps its values in the Parquet file, with status qc_fail; the CSV, which has
no status, leaves them empty.

Sessions are read and written some at a time: the memory does not depend on how many there are, nor do the bytes depend
on the memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from spectra_bids.dataset.names import group_dir
from spectra_bids.dataset.outputs import write_bytes, writing
from spectra_bids.dataset.qc_files import QcFile
from spectra_bids.estimate import BATCH_BYTES
from spectra_bids.group.tables import ABSENT, Dims, column_type, read_columns, read_header, scalars_of, session_tables

if TYPE_CHECKING:
    import pyarrow as pa

#: Column of ours -> of AFQ's files.
_AFQ = {"participant_id": "subjectID", "session_id": "sessionID", "bundle": "tractID", "s": "nodeID"}


def shared_files(out: Path, dims: Dims) -> tuple[Path, ...]:
    """Files of the whole cohort that follow from its tables of one kind: Parquet, and what AFQ tools read."""
    folder = group_dir(out)
    parquet = folder / f"desc-profile{dims}_tractometry.parquet"
    return (parquet, folder / "tract_profiles.csv", folder / "subjects.csv") if dims == "1D" else (parquet,)


def write_shared(out: Path, dims: Dims, people: pd.DataFrame, decisions: QcFile | None = None) -> None:
    """Write the shared files of one kind of profile; `people`: covariates of the sessions, for subjects.csv."""
    import pyarrow.csv as arrow_csv
    import pyarrow.parquet as pq

    parquet, *afq = shared_files(out, dims)
    with ExitStack() as stack:
        long = tables = None
        for batch in long_tables(out, dims, decisions):
            if long is None:
                long = stack.enter_context(
                    pq.ParquetWriter(stack.enter_context(writing(parquet)), batch.schema, compression="zstd")
                )
                tables = stack.enter_context(writing(afq[0])) if afq else None
                columns = [*_AFQ, *scalars_of(batch.column_names)]
                if tables is not None:
                    tables.write((",".join(_AFQ.get(c, c) for c in columns) + "\n").encode())
            long.write_table(batch)
            if tables is not None:
                options = arrow_csv.WriteOptions(include_header=False, quoting_style="none")  # labels have no commas
                arrow_csv.write_csv(_kept(batch).select(columns), tables, options)
    if afq:
        csv = people.rename(columns=_AFQ).to_csv(index=False, float_format="%.6g", lineterminator="\n")
        write_bytes(afq[1], csv.encode())


def long_tables(out: Path, dims: Dims, decisions: QcFile | None = None) -> Iterator[pa.Table]:
    """All columns of all sessions' tables, one below the other, after participant_id and session_id; in batches."""
    import pyarrow as pa

    found = session_tables(out, dims)
    sessions = list(found.itertuples(index=False))
    rejected = _rejected(found, decisions)
    headers = [read_header(path) for *_, path in sessions]
    every = list(dict.fromkeys(column for header in headers for column in header))
    schema = pa.schema([(c, column_type(c)) for c in ("participant_id", "session_id", *every)])
    # Row groups of the Parquet file. By the first table's size, not by --mem: bytes depend on where they end.
    batch = max(1, BATCH_BYTES // Path(str(sessions[0].path)).stat().st_size) if sessions else 1
    for start in range(0, len(sessions), batch):
        here = slice(start, start + batch)
        part = zip(sessions[here], headers[here], rejected[here], strict=True)
        yield pa.concat_tables(
            [_long(path, header, (subject, session), schema, out) for (subject, session, path), header, out in part]
        )


def _rejected(sessions: pd.DataFrame, decisions: QcFile | None) -> list[list[str]]:
    """Bundles of each session that quality control rejects."""
    if decisions is None or sessions.empty:
        return [[] for _ in range(len(sessions))]
    path = sessions["path"].iloc[0]
    bundles = read_columns(path, read_header(path), ["bundle"])["bundle"].unique().to_pylist()
    return [[b for b, out in zip(bundles, row, strict=True) if out] for row in decisions.rejected(sessions, bundles)]


def _kept(table: pa.Table) -> pa.Table:
    """The table without the values of rejected bundles."""
    import pyarrow as pa
    import pyarrow.compute as pc

    out = pc.equal(table["status"], "qc_fail")
    if not pc.any(out).as_py():
        return table
    for scalar in scalars_of(table.column_names):
        at = table.column_names.index(scalar)
        table = table.set_column(at, scalar, pc.if_else(out, pa.scalar(None, table[scalar].type), table[scalar]))
    return table


def _long(
    path: Path, header: Sequence[str], labels: tuple[str, str | None], schema: pa.Schema, rejected: Sequence[str] = ()
) -> pa.Table:
    """One session's table with its labels, and with nulls for the columns that only others have."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = read_columns(path, header, header)
    if rejected:
        there = pc.invert(pc.is_in(table["status"], pa.array(ABSENT)))
        out = pc.and_(pc.is_in(table["bundle"], pa.array(rejected)), there)
        status = pc.if_else(out, "qc_fail", table["status"])
        table = table.set_column(table.column_names.index("status"), "status", status)
    columns = [pa.array([label] * len(table), pa.string()) for label in labels]
    for field in list(schema)[2:]:
        columns.append(table[field.name] if field.name in header else pa.nulls(len(table), field.type))
    return pa.table(columns, schema=schema)
