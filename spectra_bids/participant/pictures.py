"""3D pictures of a subject's bundles: one child process draws those of all sessions that are not there yet.

    OUT/sub-01/figures/sub-01[_ses-1][_space-X]_bundle-<X>_desc-picture_tractometry.png

A picture is a decoration: what goes wrong with one becomes a warning, and the page says that it is missing. Only a disk
that cannot be written to ends the subject, as it would for the page. A session that is computed anew drops its old
pictures, so one that is there belongs to the tables beside it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from spectra_bids.bundle import Bundle
from spectra_bids.dataset.atlases import Atlas
from spectra_bids.dataset.outputs import read_table, write_bytes
from spectra_bids.figures.bundle_pictures import Subject, draw, thin
from spectra_bids.figures.style import limits
from spectra_bids.geometry.grid import Grid
from spectra_bids.participant.session import Session, place_again
from spectra_bids.participant.stored import bundle_tables, picture_of, profile_table, scalar_units, session_label
from spectra_bids.settings import ParticipantSettings

Placed = Mapping[str, Mapping[str, Bundle]]


@dataclass(frozen=True, eq=False)
class _Wanted:
    """A picture that is not there: its file, the session's bundle table, the bundle."""

    path: Path
    table: Path
    bundle: str


def add_pictures(
    settings: ParticipantSettings, atlas: Atlas, grids: Mapping[str, Grid], subject: str, placed: Placed
) -> tuple[int, str]:
    """Draw what is missing of a subject's pictures.

    Parameters
    ----------
    placed : mapping of session to mapping of bundle to Bundle
        Thinned bundles in atlas space of the sessions that were just computed; the others are read again.

    Returns
    -------
    int
        Pictures that were made.
    str
        What a reader of the log should know; empty if all went well.

    """
    wanted = list(_missing(settings.run.output_dir, grids, subject))
    if not wanted:
        return 0, ""
    subjects: list[Subject] = []
    for table in dict.fromkeys(one.table for one in wanted):
        names = [one.bundle for one in wanted if one.table == table]
        session = Session(subject, session_label(table) or None)
        bundles = placed.get(str(session)) or place_again(settings, atlas, grids, session)
        subjects += _subjects(table, names, bundles, grids)
    files, reason = draw(subjects, threads=threads(settings))
    for one, content in zip(wanted, files, strict=True):
        write_bytes(one.path, content)
    return len(files), reason


def threads(settings: ParticipantSettings) -> int:
    """Threads of a renderer: the cores, shared among the processes that may each have one."""
    run = settings.run
    if run.dask_scheduler:
        return run.omp_nthreads
    return max(run.omp_nthreads, len(os.sched_getaffinity(0)) // max(1, run.n_procs))


def _missing(out: Path, grids: Mapping[str, Grid], subject: str) -> Iterator[_Wanted]:
    for table in bundle_tables(out, subject):
        rows = read_table(table)
        for name in rows.loc[rows["n_streamlines"] > 0, "bundle"].astype(str):
            path = picture_of(out, subject, table, name)
            if name in grids and grids[name].is_located and not path.is_file():
                yield _Wanted(path, table, name)


def _subjects(
    table: Path, names: list[str], bundles: Mapping[str, Bundle], grids: Mapping[str, Grid]
) -> Iterator[Subject]:
    """Bundles of a session with the colours of its first scalar: those of the page's (s, r) maps."""
    one, two = (read_table(profile_table(table, dims)) for dims in ("1D", "2D"))
    scalar = next(iter(scalar_units(json.loads(table.with_suffix(".json").read_text()))))
    scale = limits(two[scalar])
    for name in names:
        values = np.full(grids[name].ns, np.nan)
        rows = one[one["bundle"].astype(str) == name]
        values[rows["s"].to_numpy(int)] = pd.to_numeric(rows[scalar], errors="coerce").to_numpy(float)
        yield Subject(thin(bundles[name]), grids[name], values, scale)
