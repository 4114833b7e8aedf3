"""Decisions of quality control: a TSV or CSV with columns `participant_id [session_id] [bundle] decision [reason]`.

`decision` is accept or reject. No `session_id` (no such column, n/a or *) means all sessions, no `bundle` all bundles.
Labels stand with or without sub- and ses-, bundles in any spelling that `names.canonical` knows.

Of the lines that concern a session's bundle the one that names most (session, bundle) wins: a rejected session may keep
a bundle that a line of its own accepts. Two lines that name equally much and contradict each other are an error.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from spectra_bids.dataset.names import canonical
from spectra_bids.errors import DatasetError, DesignError, MissingInputError, listed, shown

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = ("participant_id", "session_id", "bundle", "decision", "reason")
_ALL = ("", "*", "n/a")
_HINT = "Columns: participant_id, decision and, where they matter, session_id, bundle, reason; separated by tabs."


@dataclass(frozen=True)
class QcDecision:
    """One line: whom it names (None: every session, every bundle), what was decided, and why."""

    line: int
    participant: str
    session: str | None
    bundle: str | None
    decision: Literal["accept", "reject"]
    reason: str = ""

    @property
    def key(self) -> tuple[str, str | None, str | None]:
        """Participant, session, and the key that all spellings of the bundle share."""
        return self.participant, self.session, None if self.bundle is None else canonical(self.bundle)

    @property
    def named(self) -> int:
        """How much it names beside the participant: 0 to 2."""
        return (self.session is not None) + (self.bundle is not None)

    @property
    def whom(self) -> str:
        """In words."""
        return " ".join([self.participant, self.session or "all sessions", self.bundle or "all bundles"])


@dataclass(frozen=True, eq=False)
class QcFile:
    """All decisions of a file; `unused` are columns that have no meaning in it."""

    path: Path
    decisions: tuple[QcDecision, ...]
    unused: tuple[str, ...] = ()

    def in_force(self, sessions: pd.DataFrame, bundles: Sequence[str]) -> NDArray[np.int64]:
        """Which decision holds for each session and bundle, (N, B) positions in `decisions`; -1 for none.

        Parameters
        ----------
        sessions : DataFrame of N rows
            participant_id (sub-...), session_id (ses-... or None).
        bundles : sequence of B names

        Raises
        ------
        DesignError
            Two lines that name equally much contradict each other.

        """
        found = np.full((len(sessions), len(bundles)), -1, np.int64)
        keys = [canonical(bundle) for bundle in bundles]
        where: dict[str, list[int]] = {}
        for k, participant in enumerate(sessions["participant_id"]):
            where.setdefault(participant, []).append(k)
        visits = sessions["session_id"].to_list()
        for number in sorted(range(len(self.decisions)), key=lambda k: self.decisions[k].named):
            mine = self.decisions[number]
            rows = [k for k in where.get(mine.participant, ()) if mine.session in (None, visits[k])]
            wanted = mine.key[2]
            for row in rows:
                for column in (b for b, key in enumerate(keys) if wanted in (None, key)):
                    other = self.decisions[found[row, column]]
                    if found[row, column] >= 0 and other.named == mine.named:
                        self._require_agreement(other, mine)
                    else:
                        found[row, column] = number
        return found

    def rejected(self, sessions: pd.DataFrame, bundles: Sequence[str]) -> NDArray[np.bool_]:
        """Which bundles of which sessions are rejected, (N, B)."""
        rejects = np.array([d.decision == "reject" for d in self.decisions] + [False])
        return np.asarray(rejects[self.in_force(sessions, bundles)])

    def unknown(self, sessions: pd.DataFrame, bundles: Sequence[str]) -> tuple[str, ...]:
        """A warning for every line that names nobody or nothing of the data, and for columns without meaning."""
        people = set(sessions["participant_id"])
        visits = set(zip(sessions["participant_id"], sessions["session_id"], strict=True))
        keys = {canonical(bundle) for bundle in bundles}
        listed_once = False
        out = []
        if self.unused:
            out.append(
                f"--qc-file {self.path.name}: columns without a meaning there: {listed(self.unused)}; "
                f"known are {', '.join(_COLUMNS)}"
            )
        for mine in self.decisions:
            at = f"--qc-file {self.path.name}, line {mine.line}"
            if mine.participant not in people:
                out.append(f"{at}: there are no profiles of {shown(mine.participant)}")
            elif mine.session is not None and (mine.participant, mine.session) not in visits:
                out.append(f"{at}: there are no profiles of {mine.participant} {shown(mine.session)}")
            if mine.bundle is not None and mine.key[2] not in keys:
                beside = "" if listed_once else f". There are: {listed(bundles)}"
                listed_once = True
                out.append(f"{at}: there is no bundle {shown(mine.bundle)}{beside}")
        return tuple(out)

    def _require_agreement(self, one: QcDecision, other: QcDecision) -> None:
        if one.decision != other.decision:
            first, second = sorted((one, other), key=lambda d: d.line)
            raise DesignError(
                f"--qc-file {self.path}, lines {first.line} and {second.line} contradict each other: "
                f"{first.decision} for {first.whom}, {second.decision} for {second.whom}",
                "Delete one of them, or add a line that names session and bundle: the line that names most wins.",
            )


def read_decisions(path: Path) -> QcFile:
    """Decisions of a file, in its order.

    Raises
    ------
    MissingInputError
        There is no such file.
    DesignError
        It is no table, lacks a column, or holds what is no decision or no label; says line and column. Two lines
        decide the same thing differently.

    """
    rows = _rows(path)
    _, header = next(rows, (1, []))
    header = [name.strip() for name in header]
    for needed in ("participant_id", "decision"):
        if header.count(needed) != 1:
            raise DesignError(f"--qc-file {path} must have one column '{needed}'. It has: {listed(header)}", _HINT)
    decisions = []
    for line, row in rows:
        if len(row) > len(header):
            raise DesignError(f"--qc-file {path}, line {line}: expected {len(header)} values. Got {len(row)}", _HINT)
        values = [v.strip() for v in row] + [""] * (len(header) - len(row))
        decisions.append(_decision(path, line, dict(zip(header, values, strict=True))))
    unused = tuple(name for name in header if name not in _COLUMNS)
    made = QcFile(path, tuple(decisions), unused)
    seen: dict[object, QcDecision] = {}
    for mine in made.decisions:
        made._require_agreement(seen.setdefault(mine.key, mine), mine)
    return made


def _decision(path: Path, line: int, row: dict[str, str]) -> QcDecision:
    """One line, checked."""
    participant = row["participant_id"].removeprefix("sub-")
    if participant in _ALL:
        raise DesignError(
            f"--qc-file {path}, line {line}, column participant_id: expected a subject. "
            f"Got {shown(row['participant_id'])!r}",
            "Name one subject in each line.",
        )
    word = row["decision"].lower()
    if word not in ("accept", "reject"):
        raise DesignError(
            f"--qc-file {path}, line {line}, column decision: expected accept or reject. "
            f"Got {shown(row['decision'])!r}",
            "Leave out lines that are not decided yet.",
        )
    session, bundle = row.get("session_id", "").removeprefix("ses-"), row.get("bundle", "")
    if bundle not in _ALL:
        try:
            canonical(bundle)
        except DatasetError as error:
            raise DesignError(
                f"--qc-file {path}, line {line}, column bundle: expected a name with letters or digits. "
                f"Got {shown(bundle)!r}"
            ) from error
    return QcDecision(
        line,
        f"sub-{participant}",
        None if session in _ALL else f"ses-{session}",
        None if bundle in _ALL else bundle,
        "accept" if word == "accept" else "reject",
        "" if row.get("reason", "") == "n/a" else row.get("reason", ""),
    )


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, values) of a table's lines, header first; empty lines left out."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise MissingInputError(f"--qc-file {path} does not exist") from error
    except UnicodeDecodeError as error:
        raise DesignError(f"--qc-file {path} must be UTF-8. Got another encoding ({error.reason})", _HINT) from error
    except OSError as error:
        raise MissingInputError(f"--qc-file {path} cannot be read: {error.strerror}") from error
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    if path.suffix.lower() == ".csv":
        reader = csv.reader(io.StringIO(lines))
        rows = [(reader.line_num, row) for row in reader]
    else:
        split = ([v.removeprefix('"').removesuffix('"') for v in line.split("\t")] for line in lines.split("\n"))
        rows = list(enumerate(split, start=1))
    yield from ((line, row) for line, row in rows if any(value.strip() for value in row))
