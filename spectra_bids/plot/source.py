"""What a model's folder holds for figures: its families, bundles, grids, and the people's profiles with their groups.

Read are OUT/group/model-NAME/*_{stats,blocks,summary}.tsv, the model file beside them, OUT/atlas/*_grid.*, and, for
measured profiles, OUT/group/desc-profile1D_tractometry.parquet with OUT/group/subjects.csv.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectra_bids.dataset.grids import load_grid, stored_grids
from spectra_bids.dataset.names import Dims, TableKind, canonical, group_dir, model_dir, model_table
from spectra_bids.dataset.outputs import read_table
from spectra_bids.errors import DatasetError, MissingInputError, NothingSelectedError
from spectra_bids.geometry.grid import Grid

if TYPE_CHECKING:
    import pandas as pd

#: Tables that a family is drawn of.
_TABLES: tuple[TableKind, ...] = ("stats", "blocks", "summary")


@dataclass(frozen=True, eq=False)
class Family:
    """One contrast of one scalar and kind of profile, with its decisions: rows of stats, blocks and summary."""

    dims: Dims
    contrast: str
    scalar: str
    stats: pd.DataFrame
    blocks: pd.DataFrame
    summary: pd.Series[Any]

    @property
    def bundles(self) -> list[str]:
        """Bundles of the family, in the order of the tables."""
        return [str(name) for name in dict.fromkeys(self.stats["bundle"])]

    @property
    def found(self) -> list[str]:
        """Bundles that were selected, or have a rejected cell."""
        from spectra_bids.figures.plots import is_true

        hit = is_true(self.stats["block_selected"]) | is_true(self.stats["rejected"])
        return [str(name) for name in dict.fromkeys(self.stats.loc[hit, "bundle"])]

    def rows(self, bundle: str) -> pd.DataFrame:
        """Rows of one bundle."""
        return self.stats[self.stats["bundle"].astype(str) == bundle]


def choose_model(out: Path, wanted: str) -> str:
    """Name of the model to draw: the one asked for, or the only one.

    Raises
    ------
    MissingInputError
        There is no model, or none of that name.
    NothingSelectedError
        There are several and none was named.

    """
    found = sorted(p.name.removeprefix("model-") for p in group_dir(out).glob("model-*") if p.is_dir())
    named = wanted.removeprefix("model-")
    if not found:
        raise MissingInputError(
            f"there is no model in {group_dir(out)}", "Run the group level first: spectra-bids BIDS_DIR OUT group ..."
        )
    if named and named not in found:
        raise NothingSelectedError(f"--model {wanted}: no such model. There are: {', '.join(found)}")
    if not named and len(found) > 1:
        raise NothingSelectedError(f"there are several models: {', '.join(found)}", "Name one with --model")
    return named or found[0]


def kinds_of(out: Path, model: str) -> tuple[Dims, ...]:
    """Kinds of profiles that a model has tables of.

    Raises
    ------
    MissingInputError
        It has none: its bundles were fitted, but not decided on.

    """
    every: tuple[Dims, ...] = ("1D", "2D")
    kinds = tuple(d for d in every if all(model_table(out, model, d, kind).is_file() for kind in _TABLES))
    if not kinds:
        raise MissingInputError(
            f"model {model} has no tables of decisions in {model_dir(out, model)}",
            "Run the group level without --bundle: it corrects over all bundles",
        )
    return kinds


def read_families(out: Path, model: str, dims: Dims, contrasts: Sequence[str], scalars: Sequence[str]) -> list[Family]:
    """Families of a model by contrast and scalar; all where none is named.

    Raises
    ------
    NothingSelectedError
        A contrast or scalar is not in the tables.

    """
    stats, blocks, summary = (read_table(model_table(out, model, dims, kind)) for kind in _TABLES)
    there = list(dict.fromkeys(zip(summary["contrast"].astype(str), summary["scalar"].astype(str), strict=True)))
    chosen_c = _named("--contrast", contrasts, [c for c, _ in there])
    chosen_s = _named("--scalar", scalars, [s for _, s in there])
    families = []
    for contrast, scalar in there:
        if contrast in chosen_c and scalar in chosen_s:
            mine = [
                t[(t["contrast"].astype(str) == contrast) & (t["scalar"].astype(str) == scalar)].reset_index(drop=True)
                for t in (stats, blocks, summary)
            ]
            families.append(Family(dims, contrast, scalar, mine[0], mine[1], mine[2].iloc[0]))
    if not families:
        raise NothingSelectedError(f"model {model} has no {dims} family of these contrasts and scalars together")
    return families


def _named(flag: str, wanted: Sequence[str], there: Sequence[str]) -> list[str]:
    """Names among those that are there, scalars also by their parameter alone (fa for dti_fa)."""
    known = list(dict.fromkeys(there))
    if not wanted:
        return known
    found = [n for n in known if n in wanted or (flag == "--scalar" and n.rpartition("_")[2] in wanted)]
    absent = [w for w in wanted if not any(w in (n, n.rpartition("_")[2] if flag == "--scalar" else n) for n in known)]
    if absent:
        raise NothingSelectedError(f"{flag} {' '.join(absent)}: not in this model. There are: {', '.join(known)}")
    return found


def choose_bundles(family: Family, wanted: Sequence[str]) -> list[str]:
    """Bundles to draw: those named in any spelling, or by `all`; else those found; else all.

    Raises
    ------
    NothingSelectedError
        A name is none of the family's.

    """
    if not wanted:
        return family.found or family.bundles
    if "all" in wanted:
        return family.bundles
    keys = {canonical(bundle): bundle for bundle in family.bundles}
    absent = [name for name in wanted if name not in family.bundles and canonical(name) not in keys]
    if absent:
        raise NothingSelectedError(
            f"--bundle {' '.join(absent)}: not in this model. There are: {', '.join(family.bundles)}"
        )
    return [name if name in family.bundles else keys[canonical(name)] for name in wanted]


def read_grids(out: Path, bundles: Sequence[str]) -> dict[str, Grid]:
    """Grids of bundles, as far as they are stored."""
    stored = stored_grids(out)
    return {name: load_grid(out, stored[name][0], name) for name in bundles if name in stored}


@dataclass(frozen=True)
class Groups:
    """The column that a contrast compares people by ("" for none), and its levels, the reference first (or none)."""

    column: str
    levels: tuple[str, ...] = ()


def groups_of(out: Path, model: str, contrast: str, by: str) -> Groups:
    """Column that profiles are split by: `by`, else the one that the contrast's columns of X are made of."""
    document = _model_file(out, model)
    node = document["Nodes"][0]
    columns = [str(name) for name in node["Model"]["X"] if name != 1]
    entry: dict[str, Any] = next((c for c in node.get("Contrasts", []) if c.get("Name") == contrast), {})
    used = {_variable(str(name)) for name in entry.get("ConditionList", []) if name != 1}
    column = by or (used.pop() if len(used) == 1 else "")
    levels = tuple(m[1] for m in (re.fullmatch(rf"{re.escape(column)}\[T\.(.+)\]", name) for name in columns) if m)
    return Groups(column, levels)


def _variable(name: str) -> str:
    """Column of the design table that a column of X is made of; of an interaction the whole name."""
    return name if ":" in name else name.split("[")[0]


def _model_file(out: Path, model: str) -> dict[str, Any]:
    path = model_dir(out, model) / f"model-{model}_smdl.json"
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        content["Nodes"][0]["Model"]["X"]
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise DatasetError(
            f"{path} cannot be read as the model's file: {error}", "Run the group level again"
        ) from error
    return content


def read_profiles(out: Path, model: str, family: Family, bundles: Sequence[str], groups: Groups) -> pd.DataFrame:
    """Measured 1D profiles of some bundles: participant, bundle, s, s_mm, the scalar, and the column of the groups.

    Rows are the sessions that have what the model's formula asks for.

    Raises
    ------
    MissingInputError
        The shared tables are not there.
    NothingSelectedError
        The column of the groups, or the scalar, is not in them.

    """
    import pandas as pd

    parquet, people = group_dir(out) / "desc-profile1D_tractometry.parquet", group_dir(out) / "subjects.csv"
    for path in (parquet, people):
        if not path.is_file():
            raise MissingInputError(f"There is no file {path}", "Run the group level again: it writes the profiles")
    keys = ["participant_id", "session_id"]
    table = _measured(parquet, family.scalar, bundles)
    who = pd.read_csv(people, dtype={"subjectID": str, "sessionID": str})
    who = who.rename(columns={"subjectID": keys[0], "sessionID": keys[1]})
    if groups.column and groups.column not in who.columns:
        there = [c for c in who.columns if c not in keys]
        raise NothingSelectedError(
            f"profiles cannot be split by {groups.column}: subjects.csv has {', '.join(there) or 'no such columns'}",
            "Name a column with --by, or 'none'",
        )
    needed = [c for c in _formula_columns(out, model) if c in who.columns]
    who = _selected(out, model, family.dims, who.dropna(subset=needed))
    on = [key for key in keys if key in who.columns]
    columns = [*on, *([groups.column] if groups.column and groups.column not in on else [])]
    merged = table.merge(who[columns], on=on, how="inner").rename(columns={keys[0]: "participant"})
    if groups.levels:
        values = merged[groups.column].astype(str)
        others = [level for level in sorted(values.unique()) if level not in groups.levels]
        merged[groups.column] = pd.Categorical(values, categories=[*others, *groups.levels])
    return merged


def _measured(parquet: Path, scalar: str, bundles: Sequence[str]) -> pd.DataFrame:
    import pyarrow.parquet as pq

    columns = ["participant_id", "session_id", "bundle", "s", "s_mm", scalar]
    known = pq.read_schema(parquet).names
    if scalar not in known:
        raise NothingSelectedError(f"{parquet.name} has no column {scalar}")
    found: pd.DataFrame = pq.read_table(parquet, columns=columns, filters=[("bundle", "in", list(bundles))]).to_pandas()
    return found


def _formula_columns(out: Path, model: str) -> list[str]:
    """Words of the model's formula: those that are columns are the ones that a row must have."""
    text = _model_file(out, model)["Nodes"][0]["Model"].get("Software", {}).get("lme4", {}).get("Formula", "")
    return [word for word in dict.fromkeys(re.findall(r"`([^`]+)`|([A-Za-z_.][\w.]*)", text)) for word in word if word]


def _selected(out: Path, model: str, dims: Dims, who: pd.DataFrame) -> pd.DataFrame:
    """People whom the run was restricted to, as the command in the tables' sidecar says."""
    sidecar = model_table(out, model, dims, "stats").with_suffix(".json")
    try:
        words = shlex.split(str(json.loads(sidecar.read_text(encoding="utf-8")).get("Command", "")))
    except (OSError, ValueError):
        return who
    for flag, column, prefix in (
        ("--participant-label", "participant_id", "sub-"),
        ("--session-label", "session_id", "ses-"),
    ):
        if flag in words and column in who.columns:
            after = words[words.index(flag) + 1 :]
            labels = [prefix + w for w in after[: next((k for k, w in enumerate(after) if w[:1] == "-"), len(after))]]
            if who[column].isin(labels).any():
                who = who[who[column].isin(labels)]
    return who


def unit_of(out: Path, scalar: str) -> str:
    """Unit of a scalar, as the sidecar of the first session that has it says; "" if none does."""
    for folder in sorted(out.glob("sub-*")):
        for path in sorted(
            [*folder.glob("dwi/*_desc-profile1D_*.json"), *folder.glob("ses-*/dwi/*_desc-profile1D_*.json")]
        ):
            try:
                entry = json.loads(path.read_text(encoding="utf-8")).get(scalar)
            except (OSError, ValueError):
                continue
            if entry:
                return str(entry.get("Units", ""))
    return ""
