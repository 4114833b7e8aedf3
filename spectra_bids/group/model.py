"""The model of a group run: which sessions have which covariates, the design, what is tested."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectra_bids.dataset.design_files import read_design
from spectra_bids.errors import DesignError, MissingInputError, UsageError, shown
from spectra_bids.models.contrasts import (
    Contrast,
    ContrastSpec,
    column_of,
    read_contrasts,
    require_unique,
    resolve_contrasts,
    term_contrasts,
)
from spectra_bids.models.design import Design, build_design
from spectra_bids.models.formula import parse_formula
from spectra_bids.models.nesting import require_nested
from spectra_bids.models.smdl import from_smdl
from spectra_bids.settings import FitSettings, GroupSettings, HarmonizeSettings


@dataclass(frozen=True, eq=False)
class Batches:
    """What ComBat is given: batch (n,), covariates (n, k) or None with their names, reference (n,) or None."""

    batch: NDArray[np.str_]
    covariates: NDArray[np.float64] | None
    reference: NDArray[np.bool_] | None
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class GroupModel:
    """A model on a cohort.

    Parameters
    ----------
    name : str
    design : Design
    contrasts : tuple of Contrast
    joined : DataFrame
        Covariates of all sessions that have some; the design has rows `design.rows` of it.
    sessions : (n,) int
        Position in the cohort of each row of the design.
    unmatched : tuple of (who, why)
        Sessions without covariates, and people without profiles.
    notes : tuple of str
        Decisions about columns and cells that a reader should know.
    used : tuple of str
        Columns that the fits use beside those of the formula: weights, offset, batches.
    null : Design, optional
        A nested model, of the same rows, for the likelihood-ratio test called `lrt`.

    """

    name: str
    design: Design
    contrasts: tuple[Contrast, ...]
    joined: pd.DataFrame
    sessions: NDArray[np.int64]
    unmatched: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    used: tuple[str, ...] = ()
    null: Design | None = None

    @property
    def compared(self) -> tuple[str, ...]:
        """Columns by which what is tested is shown: those that a contrast is of alone."""
        return tuple(dict.fromkeys(c for c in (column_of(contrast, self.design) for contrast in self.contrasts) if c))

    @property
    def rows(self) -> pd.DataFrame:
        """Columns beside the formula's that the fits use, row by row as `design.X`."""
        return self.table[[name for name in self.used if name in self.joined.columns]]

    def row_values(self, column: str) -> NDArray[np.float64] | None:
        """Numbers of a column, (n,); None without a column."""
        return None if not column else self.table[column].to_numpy(np.float64)

    def batches(self, chosen: HarmonizeSettings) -> Batches:
        """What ComBat is given."""
        table = self.table
        column, _, level = chosen.reference.partition("=")
        named = " + ".join(f"`{name}`" for name in chosen.covariates)
        covariates: NDArray[np.float64] | None = None
        names: tuple[str, ...] = ()
        if named:
            design = build_design(parse_formula(f"value ~ {named}"), table)
            covariates, names = design.X[:, 1:], design.columns[1:]
        reference = (table[column].astype(str) == level).to_numpy() if column else None
        return Batches(table[chosen.batch].astype(str).to_numpy(dtype=str), covariates, reference, names)

    @property
    def table(self) -> pd.DataFrame:
        """Covariates row by row as `design.X`."""
        return self.joined.iloc[self.design.rows].reset_index(drop=True)

    @property
    def dropped(self) -> tuple[tuple[str, str], ...]:
        """(who, why) of everything that is not in the design."""
        return (*self.unmatched, *((row.label, f"n/a in {', '.join(row.columns)}") for row in self.design.dropped))


def make_model(settings: GroupSettings, sessions: pd.DataFrame) -> GroupModel:
    """The model for the sessions (participant_id, session_id) that have profiles.

    Raises
    ------
    UsageError
        If there is neither --formula nor --model: the message lists the columns.
    DesignError, MissingInputError
        Whatever is wrong with the table, the formula or a contrast.

    """
    table, notes = read_design(settings.run.bids_dir, settings.design)
    formula_text, specs = _formula(settings, table)
    formula = parse_formula(formula_text)
    if formula.response != "value":
        raise DesignError(
            f"the left side of --formula must be 'value', for each scalar in turn. Got {formula.response!r}",
            f"Choose the scalar with --scalars {formula.response}",
        )
    joined, positions, unmatched = join_covariates(sessions, table, settings)
    design = build_design(formula, joined)
    contrasts = _contrasts(settings, specs, design)
    name = settings.model_name or default_name(formula.fixed)
    if not re.fullmatch(r"[A-Za-z0-9]+", name):
        raise UsageError(f"--model-name takes letters and digits. Got {name!r}")
    model = GroupModel(
        name, design, contrasts, joined, positions[design.rows], unmatched, notes, _used(settings.fitting),
        _null(settings.fitting, design, joined),
    )  # fmt: skip
    _require_used(settings.fitting, model)
    return model


def _null(fitting: FitSettings, design: Design, joined: pd.DataFrame) -> Design | None:
    """The nested model of --null-formula, on the rows of the design."""
    if not fitting.null_formula:
        return None
    null = build_design(parse_formula(fitting.null_formula), joined.iloc[design.rows].reset_index(drop=True))
    require_nested(null, design)
    return null


def _used(fitting: FitSettings) -> tuple[str, ...]:
    """Columns that the fits use beside those of the formula."""
    chosen = fitting.harmonize
    of_combat = () if chosen is None else (chosen.batch, *chosen.covariates, chosen.reference.partition("=")[0])
    return tuple(dict.fromkeys(name for name in (fitting.weights, fitting.offset, *of_combat) if name))


def _require_used(fitting: FitSettings, model: GroupModel) -> None:
    """DesignError for a column beside the formula's that is missing, incomplete, or of the wrong kind."""
    flags = {fitting.weights: "--weights", fitting.offset: "--offset"}
    chosen = fitting.harmonize
    batch, reference = ("", "") if chosen is None else (chosen.batch, chosen.reference.partition("=")[0])
    table = model.table
    for name in model.used:
        of_combat = {batch: "--harmonize-batch", reference: "--harmonize-reference"}.get(name, "--harmonize-covariates")
        flag = flags.get(name, of_combat)
        if name not in table.columns:
            there = ", ".join(c for c in map(str, table.columns) if c not in ("participant_id", "session_id"))
            raise DesignError(f"{flag} must name a column of the participants table. Got '{name}'; there are: {there}")
        values = table[name]
        if values.isna().any():
            where = [model.design.labels[i] for i in np.flatnonzero(values.isna().to_numpy())]
            raise DesignError(
                f"{flag} {name} is n/a for {', '.join(where[:5])}", "Fill it in, or leave these people out"
            )
        if name in flags and not pd.api.types.is_numeric_dtype(values.dtype):
            raise DesignError(f"{flag} {name} must hold numbers. Got '{shown(values.iloc[0])}'")
        if name == fitting.weights and not (values > 0).all():
            raise DesignError(f"--weights {name} must be above 0. Got {values.min():g}")
    if fitting.harmonize is not None and fitting.harmonize.reference:
        _require_reference(fitting.harmonize.reference, table)


def _require_reference(text: str, table: pd.DataFrame) -> None:
    column, sep, level = text.partition("=")
    levels = sorted(table[column].astype(str).unique())
    if not sep or level not in levels:
        raise DesignError(
            f"--harmonize-reference is COLUMN=LEVEL, such as group=control. Got '{text}'",
            f"Levels of {column}: {', '.join(levels[:10])}",
        )


def _contrasts(settings: GroupSettings, specs: Sequence[ContrastSpec], design: Design) -> tuple[Contrast, ...]:
    """What is tested: --contrast, else what the model file says, else every term."""
    if settings.contrasts:
        contrasts = tuple(c for source in settings.contrasts for c in read_contrasts(source, design))
    else:
        contrasts = resolve_contrasts(specs, design) or term_contrasts(design)
    require_unique(contrasts)
    if not contrasts:
        raise DesignError(
            f"the formula {design.formula.text!r} has no term to test beside the intercept", "Give a --contrast"
        )
    return contrasts


def subset_model(settings: GroupSettings, model: GroupModel, keep: NDArray[np.bool_]) -> GroupModel:
    """The model on some rows of its design: factors and contrasts are made anew.

    Raises
    ------
    DesignError
        If what is left cannot be fitted, or has other contrasts.

    """
    rows = model.design.rows[keep]
    joined = model.joined.iloc[rows].reset_index(drop=True)
    design = build_design(model.design.formula, joined)
    specs = read_model_file(settings.model_file)[1] if settings.model_file is not None else ()
    contrasts = _contrasts(settings, specs, design)
    if [c.name for c in contrasts] != [c.name for c in model.contrasts]:
        raise DesignError("without these rows the model has other contrasts")
    null = _null(settings.fitting, design, joined)
    return replace(model, design=design, contrasts=contrasts, joined=joined, sessions=model.sessions[keep], null=null)


def default_name(fixed: str) -> str:
    """Model name made of the fixed part of a formula: "group * age + sex" -> groupByAgeSex; "model" without any."""
    operators = {"*": "By", ":": "Of", "**": "To", "^": "To"}
    parts = [operators.get(t, t) for t in re.findall(r"[A-Za-z0-9_]+|\*\*|[*:^]", fixed)]
    words = [w for w in (re.sub(r"[^A-Za-z0-9]", "", p) for p in parts) if w not in ("", "0", "1")]
    joined = "".join(w if i == 0 else w[:1].upper() + w[1:] for i, w in enumerate(words))
    return joined[:60] or "model"


def _formula(settings: GroupSettings, table: pd.DataFrame) -> tuple[str, tuple[ContrastSpec, ...]]:
    if settings.formula:
        return settings.formula, ()
    if settings.model_file is not None:
        return read_model_file(settings.model_file)
    columns = [c for c in table.columns if c not in {"participant_id", "session_id", "source_id"}]
    raise UsageError(
        f"the group level needs a model: --formula or --model. Columns to use: {', '.join(columns) or 'none'}",
        f'For example: --formula "value ~ {" + ".join(columns[:3]) or "group"}"',
    )


def read_model_file(path: Path) -> tuple[str, tuple[ContrastSpec, ...]]:
    """Formula and contrasts of a BIDS Stats Models file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingInputError(f"--model {path} does not exist") from error
    except ValueError as error:
        raise DesignError(f"--model {path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise DesignError(f"--model {path} must hold a BIDS Stats Models object. Got a {type(content).__name__}")
    try:
        return from_smdl(content)
    except DesignError as error:
        raise DesignError(f"--model {path}: {error.message}", error.hint) from error
    except (AttributeError, TypeError, KeyError, ValueError) as error:  # objects, lists and texts in each other's place
        raise DesignError(
            f"--model {path} is not laid out as a BIDS Stats Models file: expected Nodes with Level, Model, Contrasts",
            "A model that this program ran stands in OUT/group/model-*/model-*_smdl.json as an example",
        ) from error


def join_covariates(
    sessions: pd.DataFrame, table: pd.DataFrame, settings: GroupSettings
) -> tuple[pd.DataFrame, NDArray[np.int64], tuple[tuple[str, str], ...]]:
    """Covariates of every session that has some, its position in the cohort, and who could not be joined.

    A session takes the row of its participant and session; where the table has no sessions, or the profiles have
    none, that of its participant.
    """
    keyed = table.assign(session_id=table["session_id"] if "session_id" in table.columns else None)
    pairs = zip(keyed["participant_id"], keyed["session_id"], strict=True)
    where = {(str(p), s if isinstance(s, str) else None): i for i, (p, s) in enumerate(pairs)}
    visits = keyed["participant_id"].value_counts()
    alone = {p: i for (p, _), i in where.items() if visits[p] == 1}
    rows, positions, dropped = [], [], []
    source = settings.design.name if settings.design else "participants.tsv"
    for k, (subject, session) in enumerate(zip(sessions["participant_id"], sessions["session_id"], strict=True)):
        found = where.get((subject, session if isinstance(session, str) else None), where.get((subject, None)))
        if found is None and not isinstance(session, str):
            found = alone.get(subject)
        if found is None:
            label = f"{subject} {session}" if isinstance(session, str) else subject
            dropped.append((label, f"not in {source}"))
            continue
        rows.append(found)
        positions.append(k)
    if not rows:
        raise DesignError(
            f"no subject of the profile tables is in {source}. Profiles: "
            f"{', '.join(sessions['participant_id'].head(3))}; "
            f"{source}: {', '.join(table['participant_id'].head(3)) or 'nobody'}",
            "participant_id must be the same in both, with or without sub-",
        )
    chosen = settings.run.participant_labels or settings.run.session_labels
    why = "no profile tables, or not selected" if chosen else "no profile tables"
    without = sorted(set(table["participant_id"]) - set(sessions["participant_id"]))
    joined = keyed.iloc[rows].reset_index(drop=True)
    joined["session_id"] = sessions["session_id"].to_numpy()[positions]
    if joined["session_id"].isna().all():
        joined = joined.drop(columns="session_id")
    return joined, np.array(positions, dtype=np.int64), (*dropped, *((s, why) for s in without))
