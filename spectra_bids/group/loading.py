"""Profiles of an output directory as tables, one session at a time: what `load_profiles` and the exports read.

A row is a cell of a session: participant_id, session_id, space, bundle, s, [r], s_mm, [r_mm], n_points, n_streamlines,
status, then per scalar its mean and its standard deviation (`_sd`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from spectra_bids.dataset.names import meant
from spectra_bids.errors import MissingInputError, NothingSelectedError, UsageError, listed
from spectra_bids.group.tables import (
    Dims,
    choose_sessions,
    read_columns,
    read_header,
    scalars_of,
    select_scalars,
    session_tables,
)

if TYPE_CHECKING:
    import pandas as pd

_FIXED = {
    "1D": ("bundle", "s", "s_mm", "n_points", "n_streamlines", "status"),
    "2D": ("bundle", "s", "r", "s_mm", "r_mm", "n_points", "n_streamlines", "status"),
}
#: Columns that say whose a row is.
WHO = ("participant_id", "session_id", "space")


@dataclass(frozen=True, eq=False)
class Selection:
    """Sessions and scalars of an output directory that are wanted.

    Parameters
    ----------
    root : Path
        Output directory.
    dims : "1D" or "2D"
    sessions : DataFrame of N rows
        participant_id, session_id (None without), space (empty if the name says none), path.
    scalars : tuple of str
        Full names, `<model>_<param>`; a session may lack some.
    bundles : tuple of str
        Empty: all.

    """

    root: Path
    dims: Dims
    sessions: pd.DataFrame
    scalars: tuple[str, ...]
    bundles: tuple[str, ...]

    @property
    def cell(self) -> tuple[str, ...]:
        """Columns of a row besides who and scalars."""
        return _FIXED[self.dims]


def load_profiles(
    root: Path | str,
    pattern: str = "*",
    space: str | None = None,
    subjects: Sequence[str] | None = None,
    *,
    sessions: Sequence[str] | None = None,
    scalars: Sequence[str] = ("*",),
    bundles: Sequence[str] | None = None,
    profile: Dims = "1D",
) -> pd.DataFrame:
    """Profiles of all sessions of an output directory in one table, a row per session and cell.

    Parameters
    ----------
    root : Path
        OUTPUT_DIR of a run.
    pattern : str
        Take tables with such a file name, as in a shell: "*ses-01*".
    space : str, optional
        Take tables of this space: "MNI152NLin2009cAsym".
    subjects, sessions : sequence of str, optional
        Labels, with or without sub- and ses-.
    scalars : sequence of str
        Full names ("dki_fa") or parameters ("fa").
    bundles : sequence of str, optional
        Names as the column `bundle` has them, or in another spelling of the tract: "AF_L".
    profile : "1D" or "2D"

    Returns
    -------
    DataFrame
        Columns as the module says; NaN for what was not measured, `status` says why.

    Raises
    ------
    MissingInputError
        There are no profile tables.
    NothingSelectedError
        The filters leave none.
    DatasetError
        A table cannot be read, or a session has several that fit (of two spaces, say).

    Examples
    --------
    >>> load_profiles("out", subjects=["01"], scalars=["fa"])  # doctest: +SKIP

    """
    import pandas as pd

    chosen = select(root, pattern, space, subjects, sessions, scalars, bundles, profile)
    return pd.concat(list(tables(chosen)), ignore_index=True)


def select(
    root: Path | str,
    pattern: str = "*",
    space: str | None = None,
    subjects: Sequence[str] | None = None,
    sessions: Sequence[str] | None = None,
    scalars: Sequence[str] = ("*",),
    bundles: Sequence[str] | None = None,
    profile: Dims = "1D",
) -> Selection:
    """Find what `load_profiles` reads; its parameters and errors."""
    root = Path(root)
    if profile not in _FIXED:
        raise UsageError(f"profile must be '1D' or '2D'. Got {profile!r}")
    if not root.is_dir():
        raise MissingInputError(f"There is no folder {root}", "Give the OUTPUT_DIR of a run")

    def wanted(name: str) -> bool:
        return fnmatchcase(name, pattern) and (space is None or space_of(name) == space)

    found = session_tables(root, profile, wanted)
    if found.empty:
        every = sorted(p.name for p in root.glob(f"sub-*/**/dwi/*_desc-profile{profile}_tractometry.tsv"))
        if every:
            there = ", ".join(sorted({space_of(name) or "none" for name in every}))
            asked = f"pattern {pattern!r}" + (f" and space {space!r}" if space else "")
            raise NothingSelectedError(f"{asked} fit none of {len(every)} profile tables in {root}. Spaces: {there}")
        raise MissingInputError(
            f"no {profile} profile tables in {root}: "
            f"expected sub-*/[ses-*/]dwi/*_desc-profile{profile}_tractometry.tsv",
            "Run the participant level into it first",
        )
    labels = [[text.removeprefix(p) for text in given or ()] for p, given in (("sub-", subjects), ("ses-", sessions))]
    found = choose_sessions(found, labels[0], labels[1])
    found.insert(2, "space", [space_of(path.name) for path in found["path"]])
    spelled = _bundles(found, bundles or ())
    names = {c for path in found["path"] for c in scalars_of(read_header(path))}
    return Selection(root, profile, found, tuple(select_scalars(sorted(names), scalars)), spelled)


def tables(chosen: Selection) -> Iterator[pd.DataFrame]:
    """One table per session, in the order of labels; all have the same columns.

    Raises
    ------
    DatasetError
        A table cannot be read.

    """
    import pandas as pd

    for session in chosen.sessions.to_dict("records"):
        path = session["path"]
        header = read_header(path)
        here = [c for c in (f"{s}{end}" for s in chosen.scalars for end in ("", "_sd")) if c in header]
        table = read_columns(path, header, [*chosen.cell, *here]).to_pandas()
        if chosen.bundles:
            table = table[table["bundle"].isin(chosen.bundles)]
        full = pd.DataFrame(
            {name: [session[name] or None] * len(table) for name in WHO}, dtype=object, index=table.index
        )
        columns = [*chosen.cell, *(f"{s}{end}" for s in chosen.scalars for end in ("", "_sd"))]
        measured = table.reindex(columns=columns)
        yield pd.concat([full, measured], axis=1).reset_index(drop=True)


def _bundles(found: pd.DataFrame, bundles: Sequence[str]) -> tuple[str, ...]:
    """The bundles that are asked for, as the tables spell them."""
    if not bundles:
        return ()
    there = {
        b
        for path in found["path"]
        for b in read_columns(path, read_header(path), ["bundle"])["bundle"].unique().to_pylist()
    }
    known = sorted({str(bundle) for bundle in there})
    spelled = [meant(bundle, known) for bundle in bundles]
    absent = [bundle for bundle, name in zip(bundles, spelled, strict=True) if name is None]
    if absent:
        raise NothingSelectedError(f"No profile table has the bundle {listed(absent)}. There are: {listed(known)}")
    return tuple(dict.fromkeys(name for name in spelled if name is not None))


def space_of(name: str) -> str:
    """Space that a file name says; empty if it says none."""
    found = re.search(r"_space-([A-Za-z0-9+]+)_", name)
    return found[1] if found else ""
