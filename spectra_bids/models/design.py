"""The design of a model: a formula and a table of people become X, groups and the facts a report shows of them.

Rows with n/a in a used column leave first (as R's na.omit; they are listed), then transformations such as scale()
or poly() see the rows that are left. Factors are coded by treatment contrasts; the reference is the first level: of
a pandas Categorical its first category (participants.json Levels), of text the first in sorted order. The columns
are those of R's model.matrix, named `(Intercept)`, `age`, `group[T.patient]`, `group[T.patient]:age`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectra_bids.errors import DesignError
from spectra_bids.models.formula import ModelFormula
from spectra_bids.models.frame import (
    model_frame,
    require_columns,
    require_rows,
    row_labels,
    subject_codes,
    where_missing,
)
from spectra_bids.models.matrix import Term, evaluate, terms_of
from spectra_bids.models.random import RandomPart
from spectra_bids.models.random_terms import random_parts
from spectra_bids.models.rank import inflation, require_full_rank
from spectra_bids.models.type3 import type3_hypotheses

if TYPE_CHECKING:
    import pandas as pd

#: A level combination of a term, e.g. ("group[patient]", "age"), in sorted order.
Cell = tuple[str, ...]

_MAX_CELLS = 1000


@dataclass(frozen=True, eq=False)
class Factor:
    """One factor of the fixed part: its levels (the first is the reference), rows in each, level of each row, (n,)."""

    name: str
    levels: tuple[str, ...]
    counts: tuple[int, ...]
    codes: NDArray[np.int64]


@dataclass(frozen=True)
class DroppedRow:
    """A row of the table that is not in the design, and the columns that are n/a there."""

    label: str
    columns: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Design:
    """What a model is fitted with.

    Parameters
    ----------
    formula : ModelFormula
    X : (n, p) float64
        Fixed effects, of full column rank.
    columns : p names
    terms : tuple of Term
        Without the intercept.
    factors : tuple of Factor
        Factors of the fixed part.
    random : tuple of RandomPart
        The random terms; none: ordinary least squares.
    hypotheses : mapping of term names to (k, p)
        What the type III test of a term says is 0.
    rows : (n,) int64
        Positions in the table of the rows of X.
    labels : n names of rows
    subjects : (n,) int64
        Code of the subject of each row; several sessions of one subject share one.
    cells : mapping of level combinations to (p,) weights
        How `group[patient]` or `group[patient]:age` is coded in the columns of X.
    dropped : tuple of DroppedRow
    vif : p floats
        Variance inflation factor per column; NaN for the intercept.
    condition_number : float
        Of X with its columns scaled to unit length.
    warnings : tuple of str
        What a reader of the results should know.

    """

    formula: ModelFormula
    X: NDArray[np.float64]
    columns: tuple[str, ...]
    terms: tuple[Term, ...]
    factors: tuple[Factor, ...]
    random: tuple[RandomPart, ...]
    hypotheses: Mapping[str, NDArray[np.float64]] = field(repr=False)
    rows: NDArray[np.int64]
    labels: tuple[str, ...]
    subjects: NDArray[np.int64]
    cells: Mapping[Cell, NDArray[np.float64]] = field(repr=False)
    dropped: tuple[DroppedRow, ...]
    vif: tuple[float, ...]
    condition_number: float
    warnings: tuple[str, ...]

    @property
    def n(self) -> int:
        """Rows."""
        return int(self.X.shape[0])

    @property
    def p(self) -> int:
        """Columns of X."""
        return int(self.X.shape[1])

    @property
    def largest(self) -> RandomPart | None:
        """The random part whose factor has most levels."""
        return max(self.random, key=lambda part: len(part.levels), default=None)

    @property
    def groups(self) -> NDArray[np.int64] | None:
        """Level of each row in the random factor that has most levels; None without a random part."""
        return None if self.largest is None else self.largest.codes

    @property
    def group_name(self) -> str:
        """Name of that factor; empty without one."""
        return "" if self.largest is None else self.largest.group

    @property
    def group_levels(self) -> tuple[str, ...]:
        """Levels of that factor."""
        return () if self.largest is None else self.largest.levels


def build_design(formula: ModelFormula, table: pd.DataFrame, participant: str = "participant_id") -> Design:
    """Design of a formula for the rows of a table.

    Parameters
    ----------
    formula : ModelFormula
        As `parse_formula` returns it.
    table : pandas.DataFrame
        One row per subject (or session); numbers, text, or Categorical with the levels in their order. n/a is NaN.
    participant : str
        Column that names the subject; without such a column every row is a subject.

    Raises
    ------
    DesignError
        For an unknown column, a factor with one level, columns of X that are linear combinations of others, no rows,
        random effects that cannot be told from the residuals.

    """
    used = list(formula.all_columns)
    require_columns(formula, table, used)
    labels = row_labels(table, participant)
    missing = {name: where_missing(table[name]) for name in used}
    keep = np.flatnonzero(~np.any(list(missing.values()), axis=0)) if used else np.arange(len(table))
    dropped = tuple(
        DroppedRow(labels[i], tuple(name for name in used if missing[name][i]))
        for i in np.setdiff1d(np.arange(len(table)), keep)
    )
    require_rows(formula, table, missing, keep)
    notes: list[str] = []
    rows = table.iloc[keep]
    frame = model_frame(rows, formula, notes, formula.columns, formula.factor_columns)
    X, columns, spec = evaluate(formula.fixed, frame, formula.text)
    if not columns:
        raise DesignError(f"'{formula.text}' leaves no fixed effect", "Keep the intercept: value ~ 1 + ...")
    terms = terms_of(spec, frame)
    factors = tuple(
        _factor(name, frame[name]) for name in formula.columns if any(name in term.factors for term in terms)
    )
    require_full_rank(X, columns, formula.text)
    random = random_parts(rows, formula, terms, notes)
    vif = inflation(X, columns)
    hypotheses, averaged = type3_hypotheses(X, spec, terms, frame, formula.text)
    _add_notes(columns, vif, terms, averaged, notes)
    return Design(
        formula=formula,
        X=X,
        columns=columns,
        terms=terms,
        factors=factors,
        random=random,
        hypotheses=hypotheses,
        rows=keep.astype(np.int64),
        labels=tuple(labels[i] for i in keep),
        subjects=subject_codes(table, participant)[keep],
        cells=_cells(X, terms, factors, frame),
        dropped=dropped,
        vif=vif,
        condition_number=float(np.linalg.cond(X / np.linalg.norm(X, axis=0))),
        warnings=tuple(notes),
    )


# --- factors and their cells ------------------------------------------------------------------------------------------


def _factor(name: str, values: pd.Series[Any]) -> Factor:
    """Levels and codes of a factor of the frame."""
    codes = values.cat.codes.to_numpy().astype(np.int64)
    levels = tuple(str(level) for level in values.cat.categories)
    return Factor(name, levels, tuple(int(c) for c in np.bincount(codes, minlength=len(levels))), codes)


def _cells(
    X: NDArray[np.float64], terms: tuple[Term, ...], factors: tuple[Factor, ...], frame: pd.DataFrame
) -> dict[Cell, NDArray[np.float64]]:
    """How level combinations are coded, read off X: a row with these levels, divided by its numeric columns.

    Only terms that are products of plain columns have such labels; poly(age, 2) has only its own column names.
    """
    by_name = {factor.name: factor for factor in factors}
    cells: dict[Cell, NDArray[np.float64]] = {}
    for term in terms:
        numeric = [name for name in term.variables if name not in term.factors]
        plain = {f"C({name})" for name in term.factors} | set(term.variables)
        expected = len(term.factors) + len(numeric)
        if len(term.name.split(":")) != expected or not all(_bare(part) in plain for part in term.name.split(":")):
            continue
        size = np.prod([frame[name].to_numpy(dtype=np.float64) for name in numeric], axis=0) * np.ones(len(X))
        choices = [range(len(by_name[name].levels)) for name in term.factors]
        if np.prod([len(choice) for choice in choices]) > _MAX_CELLS:
            continue
        for combination in product(*choices):
            here = np.ones(len(X), bool)
            for name, level in zip(term.factors, combination, strict=True):
                here &= by_name[name].codes == level
            row = int(np.argmax(np.where(here, np.abs(size), -1)))
            if not here[row] or size[row] == 0:
                continue
            weights = np.zeros(X.shape[1])
            weights[list(term.columns)] = np.round(X[row, list(term.columns)] / size[row], 12)
            names = [f"{f}[{by_name[f].levels[i]}]" for f, i in zip(term.factors, combination, strict=True)]
            cells[tuple(sorted([*names, *numeric]))] = weights
    return cells


def _bare(part: str) -> str:
    """`C(group, contr.sum)` -> `C(group)`; a column's name without backticks."""
    return (part.split(",")[0] + ")" if part.startswith("C(") and "," in part else part).replace("`", "")


# --- warnings ------------------------------------------------------------------------------------------------------


def _add_notes(
    columns: tuple[str, ...], vif: tuple[float, ...], terms: tuple[Term, ...],
    averaged: Mapping[str, tuple[str, ...]], notes: list[str],
) -> None:  # fmt: skip
    """Warnings on collinearity, and on what a main effect means beside its interaction."""
    high = [f"{name} ({value:.0f})" for name, value in zip(columns, vif, strict=True) if value > 10]
    if high:
        notes.append(f"variance inflation above 10: {', '.join(high)}; the estimates of these columns are imprecise")
    for term in terms:
        above = [
            t for t in terms if t.kind == "interaction" and t is not term and set(term.variables) < set(t.variables)
        ]
        if not above:
            continue
        over = averaged.get(term.name, ())
        numbers = dict.fromkeys(v for t in above for v in t.variables if v not in (*t.factors, *term.variables))
        where = [f"averaged over the levels of {', '.join(over)}, each counting the same"] if over else []
        where += [f"where {', '.join(numbers)} is 0"] if numbers else []
        beside = ", ".join(t.name for t in above)
        centred = "; with " + ", ".join(f"center({n})" for n in numbers) + " instead it is that at the mean"
        said = f"its effect is that {' and '.join(where)} (type III)"
        notes.append(f"{term.name} is tested beside {beside}: {said}{centred if numbers else ''}")
