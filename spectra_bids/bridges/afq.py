"""AFQ's tables of profiles -> an output directory of ours, and a BIDS folder with the people's covariates.

    tract_profiles.csv   subjectID [sessionID] tractID nodeID <scalars>      pyAFQ
    nodes.csv            subjectID tractID nodeID <scalars>, and subjects.csv         AFQ-Browser

AFQ resamples every tract to a number of nodes in every subject; where they are in an atlas, these tables do not say.
So the grids are nodes alone: no places in mm, no radial bins, no names of the ends; those columns are n/a.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectra_bids.bridges.afq_outputs import LABEL, require_ours, write_session
from spectra_bids.dataset.grids import write_grid
from spectra_bids.dataset.names import plain
from spectra_bids.dataset.outputs import sha256, write_dataset_files, write_json, write_table
from spectra_bids.errors import InputDataError, MissingInputError, UsageError, listed
from spectra_bids.geometry.grid import Grid, nodes_only

log = logging.getLogger("spectra_bids")

_KEYS = {"subject": ("subjectID", "subject_id"), "session": ("sessionID", "session_id"),
         "tract": ("tractID", "tract_id"), "node": ("nodeID", "node_id")}  # fmt: skip
_MISSING = ["", "n/a", "N/A", "NA", "NaN", "nan", "null"]


@dataclass(frozen=True)
class AfqColumns:
    """Names of a table's columns; an empty one is looked for among AFQ's own names.

    `covariates` are columns of the table of profiles that describe a session; where none is named, all that vary in no
    session. Those that are the same in all sessions of everybody go to participants.tsv, the others to sessions.tsv.
    `scalars` are all other columns of numbers where none is named.
    """

    subject: str = ""
    session: str = ""
    tract: str = ""
    node: str = ""
    covariates: tuple[str, ...] = ()
    scalars: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class AfqProfiles:
    """A table of profiles as blocks of numbers.

    Parameters
    ----------
    sessions : DataFrame of N rows
        subject, session (labels without sub- and ses-; None without sessions), source (the table's own name of the
        subject) and the covariates, as text.
    tracts : mapping of bundle name to the table's own name
    grids : mapping of bundle name to Grid
    values : mapping of bundle to mapping of scalar to (N, ns) float64

    """

    sessions: pd.DataFrame
    tracts: dict[str, str]
    grids: dict[str, Grid]
    values: dict[str, dict[str, NDArray[np.float64]]]

    @property
    def scalars(self) -> tuple[str, ...]:
        """Scalars of the columns, `<model>_<param>`."""
        return tuple(next(iter(self.values.values())))

    @property
    def absence(self) -> NDArray[np.bool_]:
        """Which session has no value of a bundle, (N, bundles)."""
        return np.array([np.isnan(list(v.values())).all(axis=(0, 2)) for v in self.values.values()]).T


def import_afq(
    profiles: Path, subjects: Path | None, out: Path, bids: Path, columns: AfqColumns | None = None
) -> AfqProfiles:
    """Write `out` (tables, sidecars, grids) and `bids` (participants.tsv, sessions.tsv).

    Raises
    ------
    MissingInputError
        A table is not there.
    InputDataError
        It is no table of profiles; a subject, tract or node is there twice, or two names make one label.
    OutputError
        `out` or `bids` holds something else.

    """
    columns = columns or AfqColumns()
    found = read_afq(profiles, columns)
    people = None if subjects is None else load_table(subjects)
    source = sha256(profiles)
    write_profiles(found, people, subjects, out, bids, [{profiles.name: source}] * len(found.sessions), columns)
    return found


def write_profiles(
    found: AfqProfiles,
    people: pd.DataFrame | None,
    people_path: Path | None,
    out: Path,
    bids: Path,
    sources: Sequence[Mapping[str, str]],
    columns: AfqColumns,
    program: str = "AFQ",
) -> None:
    """Write an output directory and a BIDS folder of profiles that another program made; raises as `import_afq`.

    Parameters
    ----------
    found : AfqProfiles
    people : DataFrame, optional
        A row per subject (or session), text; `people_path` is its file, for messages.
    out, bids : Path
    sources : sequence of N mappings
        File name to SHA-256 of what each session's profiles were read from.
    columns : AfqColumns
        Names of the columns of `people`.
    program : str
        Who made the profiles.

    """
    joined = _people(found, people, people_path, columns)
    require_ours(out, bids, found)
    write_dataset_files(out, (("raw", bids),))
    every = "".join(sorted({digest for each in sources for digest in each.values()}))
    made_of = every if len(every) <= 64 else hashlib.sha256(every.encode()).hexdigest()
    for grid in found.grids.values():
        write_grid(out, LABEL, grid, None, made_of)
    _write_people(bids, found, joined)
    for row in range(len(found.sessions)):
        write_session(out, found, row, sources[row], program)


def read_afq(path: Path, columns: AfqColumns) -> AfqProfiles:
    """Read a table of profiles; raises as `import_afq`."""
    return profiles_of(load_table(path), path, columns)


def profiles_of(table: pd.DataFrame, path: Path, columns: AfqColumns) -> AfqProfiles:
    """Profiles of a long table, text; `path` is its file, for messages. Raises as `import_afq`."""
    keys = {key: _column(table, path, key, getattr(columns, key)) for key in _KEYS}
    lost = [c for c in (*columns.covariates, *columns.scalars) if c not in table]
    if lost:
        raise UsageError(f"{path} has no column {lost[0]}. There are: {', '.join(map(str, table))}")
    subject, session = table[keys["subject"]], table[keys["session"]] if keys["session"] else None
    labels = pd.DataFrame({"source": subject, "session": session}).astype(object)
    groups = np.asarray(labels.groupby(["source", "session"], sort=False, dropna=False).ngroup(), np.int64)
    others = [c for c in map(str, table) if c not in keys.values() and c not in columns.scalars]
    covariates = columns.covariates or tuple(c for c in others if not _varies(table[c], groups).any())
    scalars = columns.scalars or tuple(c for c in others if c not in covariates and _is_numeric(table[c]))
    if not scalars:
        raise InputDataError(f"{path} has no column of numbers beside {', '.join(filter(None, keys.values()))}")
    sessions = _sessions(table, labels, groups, covariates, path)
    tracts = dict(zip(_labels(table[keys["tract"]].drop_duplicates(), "", "tracts", path),
                      table[keys["tract"]].drop_duplicates(), strict=True))  # fmt: skip
    node = _whole(table[keys["node"]], path)
    numbers = {_scalar(name): _floats(table[name], path) for name in scalars}
    grids, values = {}, {}
    for bundle, tract in tracts.items():
        rows = np.flatnonzero((table[keys["tract"]] == tract).to_numpy())
        inside = {scalar: column[rows] for scalar, column in numbers.items()}
        grids[bundle], values[bundle] = _stack(bundle, groups[rows], node[rows], inside, sessions, path)
    order = sessions.sort_values(["subject", "session"], kind="stable").index.to_numpy()
    values = {b: {k: v[order] for k, v in by.items()} for b, by in values.items()}
    return AfqProfiles(sessions.iloc[order].reset_index(drop=True), tracts, grids, values)


def _sessions(
    table: pd.DataFrame, labels: pd.DataFrame, groups: NDArray[np.int64], covariates: Iterable[str], path: Path
) -> pd.DataFrame:
    """One row per session in the order of the table: subject, source, session, covariates."""
    first = np.unique(groups, return_index=True)[1]
    sessions = labels.iloc[first].reset_index(drop=True)
    sessions.insert(0, "subject", list(_labels(sessions["source"], "sub-", "subjects", path)))
    if sessions["session"].notna().any():
        sessions["session"] = list(_labels(sessions["session"], "ses-", "sessions", path))
    for name in covariates:
        odd = _varies(table[name], groups)
        if odd.any():
            raise InputDataError(
                f"column {name} of {path} varies within a session of {sessions['source'].iloc[int(odd.argmax())]}: it "
                "is no covariate",
                "Leave it out of --covariates",
            )
        sessions[name] = [None if pd.isna(v) else str(v) for v in table[name].iloc[first]]
    return sessions


def _stack(
    bundle: str,
    row: NDArray[np.int64],
    node: NDArray[np.int64],
    numbers: dict[str, NDArray[np.float64]],
    sessions: pd.DataFrame,
    path: Path,
) -> tuple[Grid, dict[str, NDArray[np.float64]]]:
    """One tract: its grid, and (N, ns) values per scalar."""
    n, ns = len(sessions), int(node.max()) + 1
    flat = row * ns + node
    if len(np.unique(flat)) < len(flat):
        twice = flat[np.flatnonzero(pd.Series(flat).duplicated().to_numpy())[0]]
        who = " ".join(str(v) for v in sessions[["source", "session"]].iloc[int(twice // ns)] if v is not None)
        raise InputDataError(
            f"{path} must have one row per subject, session, tract and node. Got node {twice % ns} of {bundle} twice "
            f"in {who}",
            "Where rows are visits, name their column with --session-column",
        )
    in_1d = np.bincount(node, minlength=ns) > 0
    out = {}
    for name, column in numbers.items():
        block = np.full(n * ns, np.nan)
        block[flat] = column
        out[name] = block.reshape(n, ns)
    return nodes_only(bundle, in_1d), out


# --- the table ------------------------------------------------------------------------------------------------------


def load_table(path: Path) -> pd.DataFrame:
    """Table of text with its header; missing values are NaN, an index column without a name is left out."""
    if not path.is_file():
        raise MissingInputError(f"There is no file {path}")
    try:
        separator = "\t" if ".tsv" in path.suffixes else ","
        table = pd.read_csv(
            path, sep=separator, dtype=str, keep_default_na=False, na_values=_MISSING, encoding="utf-8-sig"
        )
    except (ValueError, OSError, EOFError) as error:
        raise InputDataError(f"{path} cannot be read as a table: {error}", "Expected CSV, or TSV, in UTF-8") from error
    table = table[[c for c in table if not str(c).startswith("Unnamed:")]]
    if not len(table):
        raise InputDataError(f"{path} has no rows")
    return table


def _column(table: pd.DataFrame, path: Path, key: str, given: str) -> str:
    """The column of a key; empty if there are no sessions."""
    found = next((name for name in ((given,) if given else _KEYS[key]) if name in table), "")
    if not found and (given or key != "session"):
        raise InputDataError(
            f"{path} has no column {given or ' or '.join(_KEYS[key])}. Got: {', '.join(map(str, table))}",
            f"Name it with --{key}-column",
        )
    if key == "session" and found and table[found].isna().all():
        return ""  # a table of people who were seen once
    if found and table[found].isna().any():
        raise InputDataError(f"column {found} of {path} must have a value in every row")
    return found


def _is_numeric(values: pd.Series[Any]) -> bool:
    """Whether every value is a number."""
    return bool((pd.to_numeric(values, errors="coerce").notna() == values.notna()).all())


def _varies(values: pd.Series[Any], groups: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Sessions in which a column has several values."""
    return np.asarray(values.groupby(groups).nunique(dropna=False) > 1)


def _floats(values: pd.Series[Any], path: Path) -> NDArray[np.float64]:
    try:
        numbers = pd.to_numeric(values).to_numpy(np.float64)
    except ValueError as error:
        raise InputDataError(f"column {values.name} of {path} must hold numbers: {error}") from error
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _whole(values: pd.Series[Any], path: Path) -> NDArray[np.int64]:
    numbers = _floats(values, path)
    if not (
        np.isfinite(numbers).all()
        and (numbers == np.round(numbers)).all()
        and 0 <= numbers.min() <= numbers.max() < 1e5
    ):
        raise InputDataError(f"column {values.name} of {path} must hold the numbers of nodes, 0, 1, 2 ...")
    return numbers.astype(np.int64)


def _labels(values: Iterable[str], prefix: str, what: str, path: Path) -> Iterable[str]:
    """BIDS labels of names, one each in their order; InputDataError where two names make one label."""
    seen: dict[str, str] = {}
    out = []
    for name in values:
        text = plain(str(name).removeprefix(prefix))
        if seen.setdefault(text, name) != name:
            raise InputDataError(f"the {what} {seen[text]!r} and {name!r} of {path} would both be called {text}")
        out.append(text)
    return out


def _scalar(name: str) -> str:
    """`dki_fa` stays; `fa`, of which the model is not known, becomes `dwi_fa`."""
    model, _, param = name.rpartition("_")
    return f"{plain(model).lower() if model else 'dwi'}_{plain(param).lower()}"


# --- the people -----------------------------------------------------------------------------------------------------


def _people(found: AfqProfiles, table: pd.DataFrame | None, path: Path | None, columns: AfqColumns) -> pd.DataFrame:
    """One row per session: subject, session, source and all covariates; those of subjects.csv joined."""
    sessions = found.sessions
    if table is None or path is None:
        return sessions
    key = _column(table, path, "subject", columns.subject)
    visit = next((c for c in ((columns.session,) if columns.session else _KEYS["session"]) if c in table), "")
    table = table.assign(subject=list(_labels(table[key], "sub-", "subjects", path)))
    on = ["subject"]
    if visit and sessions["session"].notna().any():
        table["session"] = [plain(str(v).removeprefix("ses-")) for v in table[visit]]
        on.append("session")
    if table.duplicated(on).any():
        who = table.loc[table.duplicated(on), key].iloc[0]
        raise InputDataError(f"{path} must have one row per {' and '.join(on)}. Got {who} twice")
    without = sorted(set(sessions["subject"]) - set(table["subject"]))
    if len(without) == sessions["subject"].nunique():
        raise InputDataError(
            f"nobody of the profiles is in {path}. Profiles: {', '.join(sessions['source'].head(3))}; {path.name}: "
            f"{', '.join(table[key].head(3))}"
        )
    _tell_unmatched(sessions, table, key, without, path)
    more = [c for c in map(str, table) if c not in (*on, key, visit, *sessions)]
    return sessions.merge(table[[*on, *more]], on=on, how="left")


def _tell_unmatched(
    sessions: pd.DataFrame, table: pd.DataFrame, key: str, without: Sequence[str], path: Path | None
) -> None:
    """Warnings about people of one table alone: a misspelled name must not pass for a small cohort."""
    if without:
        names_of = sessions.loc[sessions["subject"].isin(without), "source"].unique().tolist()
        log.warning("%d subjects of the profiles are not in %s, covariates n/a: %s", len(without), path,
                    listed(names_of[:5]))  # fmt: skip
    alone = table.loc[~table["subject"].isin(sessions["subject"]), key].unique().tolist()
    if alone:
        log.warning("%d subjects of %s have no profiles and are left out: %s", len(alone), path, listed(alone[:5]))


def _write_people(bids: Path, found: AfqProfiles, people: pd.DataFrame) -> None:
    """participants.tsv of what is the same in all sessions of everybody, sub-*_sessions.tsv of the rest."""
    write_json(bids / "dataset_description.json", {"Name": "People of an AFQ table", "BIDSVersion": "1.10.0",
                                                   "DatasetType": "raw"})  # fmt: skip
    covariates = [c for c in map(str, people) if c not in ("subject", "session", "source")]
    varying = [c for c in covariates if (people.groupby("subject")[c].nunique(dropna=False) > 1).any()]
    fixed = [c for c in covariates if c not in varying]
    once = people.drop_duplicates("subject")
    table = pd.DataFrame({"participant_id": "sub-" + once["subject"]})
    if (once["source"].str.removeprefix("sub-") != once["subject"]).any():
        table["source_id"] = once["source"]
    for name in fixed:
        table[_plain_column(name)] = once[name]
    write_table(bids / "participants.tsv", table)
    said = {c: {"Description": f"Column {c} of the imported tables"} for c in map(str, table) if c != "participant_id"}
    write_json(bids / "participants.json", said)
    if people["session"].isna().all():
        return
    write_json(
        bids / "sessions.json",
        {_plain_column(c): {"Description": f"Column {c} of the imported tables, by session"} for c in varying},
    )
    for subject, rows in people.groupby("subject", sort=False):
        visits = pd.DataFrame({"session_id": "ses-" + rows["session"]})
        for name in varying:
            visits[_plain_column(name)] = rows[name]
        write_table(bids / f"sub-{subject}" / f"sub-{subject}_sessions.tsv", visits)


def _plain_column(name: str) -> str:
    """A column's name as a formula can use it without backticks."""
    return re.sub(r"\W", "_", name)
