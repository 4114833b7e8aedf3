"""The metadata: who is who, which effect is tested, and the formula where none is given."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from spectra_bids.errors import DesignError, MissingInputError, UsageError
from spectra_bids.lmm_fdr.task import Task
from spectra_bids.models.contrasts import Contrast, term_contrasts
from spectra_bids.models.design import Design, build_design
from spectra_bids.models.formula import parse_formula

#: Names of the column of subjects, the first that is there.
SUBJECT_COLUMNS = ("subject", "subject_id", "subjectID", "participant_id", "participant", "sub", "subj", "id", "ID")
_COVARIATES = ("age", "sex", "gender")
_MISSING = ["", "n/a", "N/A", "NA", "NaN", "nan", "#N/A"]


@dataclass(frozen=True, eq=False)
class People:
    """The metadata's rows and the model of them; `contrast` is the test of the effect, `rows` are texts for paths."""

    table: pd.DataFrame
    rows: tuple[dict[str, str], ...]
    effect: str
    design: Design
    contrast: Contrast


def read_people(task: Task) -> People:
    """Metadata, formula and design.

    Raises
    ------
    MissingInputError
        There is no such file.
    DesignError
        The file is no table or has no column of subjects, or the formula does not fit it.
    UsageError
        It is not clear which column is the effect: the message lists them.

    """
    table, subject = _read(task.metadata, task.subject_column)
    text = table.map(lambda value: None if pd.isna(value) else str(value))
    typed = pd.DataFrame({column: _typed(text[column]) for column in text})
    typed["participant_id"] = text[subject]
    effect = task.effect or _only_effect(typed, subject, task)
    formula = parse_formula(task.formula or default_formula(typed, subject, effect))
    design = build_design(formula, typed)
    contrasts = {c.name: c for c in term_contrasts(design)}
    if effect not in contrasts:
        raise UsageError(
            f"--effect {effect} is no term of '{formula.text}'. Its terms: {', '.join(contrasts) or 'none'}",
            "Name one of them, or add the effect to --formula",
        )
    rows = tuple(
        {**{str(k): str(v) for k, v in row.items() if v is not None}, "subject": str(row[subject])}
        for row in text.to_dict("records")
    )
    return People(typed, rows, effect, design, contrasts[effect])


def default_formula(table: pd.DataFrame, subject: str, effect: str) -> str:
    """`value ~ effect + age + sex + (1|site)`, of what there is; (1|participant_id) where subjects repeat."""
    others = [c for c in table if c not in (effect, subject)]
    covariates = [c for c in others if str(c).lower() in _COVARIATES and table[c].nunique() > 1]
    random = [c for c in table if str(c).lower() == "site" and c != effect and table[c].nunique() > 1]
    if table[subject].duplicated().any():
        random.append("participant_id")
    names = [f"`{c}`" if not str(c).isidentifier() else str(c) for c in (effect, *covariates)]
    return "value ~ " + " + ".join((*names, *(f"(1|{c})" for c in random)))


def _read(path: Path, column: str) -> tuple[pd.DataFrame, str]:
    """Table of text and its column of subjects."""
    if not path.is_file():
        raise MissingInputError(f"--metadata {path} does not exist")
    try:
        delimiter = "\t" if path.suffix == ".tsv" else ","
        table = pd.read_csv(path, sep=delimiter, dtype=str, keep_default_na=False, na_values=_MISSING,
                            encoding="utf-8-sig", quoting=csv.QUOTE_MINIMAL)  # fmt: skip
    except (ValueError, OSError) as error:
        raise DesignError(f"--metadata {path} cannot be read as a table: {error}", "Save it as CSV in UTF-8") from error
    table.columns = [str(c).strip() for c in table.columns]
    wanted = (column,) if column else SUBJECT_COLUMNS
    subject = next((c for c in wanted if c in table), None)
    if subject is None:
        raise DesignError(
            f"{path} has no column of subjects. Expected {' or '.join(wanted)}. Got: {', '.join(table.columns)}",
            "Name it with --subject_column",
        )
    if table[subject].isna().any() or not len(table):
        line = int(table[subject].isna().to_numpy().argmax()) + 2
        raise DesignError(f"{path} must name a subject in every row. Got none in line {line}")
    return table.map(lambda v: v.strip() if isinstance(v, str) else v), subject


def _typed(values: pd.Series) -> pd.Series:
    """Numbers if all values are."""
    numbers = pd.to_numeric(values, errors="coerce")
    whole = bool((numbers.notna() | values.isna()).all()) and bool(np.isfinite(numbers.dropna()).all())
    return numbers.astype(float) if whole else values


def _only_effect(table: pd.DataFrame, subject: str, task: Task) -> str:
    """The only column with two levels; text before numbers, sites (a random intercept) aside."""
    columns = [str(c) for c in table if c not in (subject, "participant_id") and str(c).lower() != "site"]
    two = [c for c in columns if table[c].nunique() == 2]
    texts = [c for c in two if table[c].dtype == object]
    found = texts or two
    if task.formula:
        used = set(parse_formula(task.formula).columns)
        found = [c for c in found if c in used]
    if len(found) != 1:
        what = f"several columns have two levels: {', '.join(found)}" if found else "no column has two levels"
        raise UsageError(
            f"--effect must name the column to test, for {what}. Columns of {task.metadata}: {', '.join(columns)}",
            f"For example: --effect {(found or columns or ['group'])[0]}",
        )
    return found[0]
