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
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from spectra_bids.errors import DesignError
from spectra_bids.models.formula import ModelFormula, formula_environment
from spectra_bids.models.frame import (
    as_factor,
    model_frame,
    require_columns,
    require_rows,
    row_labels,
    subject_codes,
    where_missing,
)
from spectra_bids.models.rank import inflation, require_full_rank

if TYPE_CHECKING:
    import pandas as pd

TermKind = Literal["factor", "numeric", "interaction"]

#: A level combination of a term, e.g. ("group[patient]", "age"), in sorted order.
Cell = tuple[str, ...]

_MAX_CELLS = 1000


@dataclass(frozen=True)
class Term:
    """One term of the fixed part: its columns of X, its kind, the table's columns in it and which are factors.

    `numeric` tells whether a number takes part: such a term is a slope, the others are differences between levels.
    """

    name: str
    columns: tuple[int, ...]
    kind: TermKind
    variables: tuple[str, ...]
    factors: tuple[str, ...]

    @property
    def numeric(self) -> bool:
        """Whether a numeric column takes part in the term."""
        return len(self.factors) < len(self.variables)


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
    groups : (n,) int64 or None
        Level of the random factor of each row; None without one (ordinary least squares).
    group_name, group_levels
        The random factor and its levels; empty without one.
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
    groups: NDArray[np.int64] | None
    group_name: str
    group_levels: tuple[str, ...]
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


def build_design(formula: ModelFormula, table: pd.DataFrame, participant: str = "participant_id") -> Design:
    """Design of a formula for the rows of a table.

    Parameters
    ----------
    formula : ModelFormula
        As `parse_formula` returns it; at most one random intercept.
    table : pandas.DataFrame
        One row per subject (or session); numbers, text, or Categorical with the levels in their order. n/a is NaN.
    participant : str
        Column that names the subject; without such a column every row is a subject.

    Raises
    ------
    DesignError
        For an unknown column, a factor with one level, columns of X that are linear combinations of others, no rows.

    """
    random = formula.random_intercept
    grouping = random.columns if random else ()
    require_columns(formula, table, (*formula.columns, *grouping))
    used = list(dict.fromkeys((*formula.columns, *grouping)))
    labels = row_labels(table, participant)
    missing = {name: where_missing(table[name]) for name in used}
    keep = np.flatnonzero(~np.any(list(missing.values()), axis=0)) if used else np.arange(len(table))
    dropped = tuple(
        DroppedRow(labels[i], tuple(name for name in used if missing[name][i]))
        for i in np.setdiff1d(np.arange(len(table)), keep)
    )
    require_rows(formula, table, missing, keep)
    notes: list[str] = []
    frame = model_frame(table.iloc[keep], formula, notes)
    X, columns, spec = _model_matrix(formula, frame)
    terms = _terms(spec, frame)
    factors = tuple(
        _factor(name, frame[name]) for name in formula.columns if any(name in term.factors for term in terms)
    )
    require_full_rank(X, columns, formula.text)
    groups, group_levels = _groups(table.iloc[keep], grouping, terms, formula, notes)
    vif = inflation(X, columns)
    _add_notes(columns, vif, terms, notes)
    return Design(
        formula=formula,
        X=X,
        columns=columns,
        terms=terms,
        factors=factors,
        groups=groups,
        group_name=random.factor if random and groups is not None else "",
        group_levels=group_levels,
        rows=keep.astype(np.int64),
        labels=tuple(labels[i] for i in keep),
        subjects=subject_codes(table, participant)[keep],
        cells=_cells(X, terms, factors, frame),
        dropped=dropped,
        vif=vif,
        condition_number=float(np.linalg.cond(X / np.linalg.norm(X, axis=0))),
        warnings=tuple(notes),
    )


# --- the matrix ----------------------------------------------------------------------------------------------------


def _model_matrix(formula: ModelFormula, frame: pd.DataFrame) -> tuple[NDArray[np.float64], tuple[str, ...], Any]:
    """X, its column names, formulaic's model specification."""
    from formulaic import Formula
    from formulaic.errors import FormulaicError
    from formulaic.materializers import PandasMaterializer
    from formulaic.utils.layered_mapping import LayeredMapping

    materializer = PandasMaterializer(frame)
    # formulaic would also offer numpy and more by name: only the table's columns and our functions are looked up.
    materializer.layered_context = LayeredMapping(
        LayeredMapping(frame, name="data"), LayeredMapping(formula_environment(), name="transforms")
    )
    try:
        with np.errstate(all="ignore"):
            matrix = materializer.get_model_matrix(Formula(formula.fixed), na_action="ignore")
    except (FormulaicError, ValueError, TypeError, ArithmeticError, LookupError) as error:
        raise DesignError(f"'{formula.text}' cannot be evaluated: {error}") from error
    X = np.ascontiguousarray(matrix.to_numpy(dtype=np.float64))
    columns = tuple("(Intercept)" if name == "Intercept" else str(name) for name in matrix.columns)
    if not columns:
        raise DesignError(f"'{formula.text}' leaves no fixed effect", "Keep the intercept: value ~ 1 + ...")
    bad = [name for name, values in zip(columns, X.T, strict=True) if not np.isfinite(values).all()]
    if bad:
        raise DesignError(
            f"the values of '{bad[0]}' are not all finite in '{formula.text}'",
            "log() takes positive numbers, sqrt() numbers that are not negative.",
        )
    return X, columns, matrix.model_spec


def _terms(spec: Any, frame: pd.DataFrame) -> tuple[Term, ...]:
    """Terms with columns, without the intercept."""
    terms = []
    for term, columns in spec.term_indices.items():
        parts = [factor for factor in term.factors if factor.eval_method.value != "literal"]
        if not columns or not parts:
            continue
        found: dict[str, bool] = {}
        for part in parts:
            # I(sex == 'M') is a number made of a factor: what counts is how formulaic encoded it.
            encoded = spec.encoder_state.get(part.expr, (None,))[0]
            categorical = encoded is not None and encoded.value == "categorical"
            found |= {str(name): categorical for name in spec.factor_variables[part]}
        variables = tuple(name for name in frame.columns if name in found)
        factors = tuple(name for name in variables if found[name])
        kind: TermKind = "interaction" if len(parts) > 1 else "factor" if factors else "numeric"
        terms.append(Term(str(term), tuple(columns), kind, variables, factors))
    return tuple(terms)


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


# --- random factor -------------------------------------------------------------------------------------------------


def _groups(
    table: pd.DataFrame, grouping: tuple[str, ...], terms: tuple[Term, ...], formula: ModelFormula, notes: list[str]
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Codes and levels of the random factor; (None, ()) without one or with one level."""
    if not grouping:
        return None, ()
    name = ":".join(grouping)
    for term in terms:
        if set(grouping) <= set(term.variables) and term.kind == "factor":
            raise DesignError(
                f"'{name}' is a fixed and a random factor in '{formula.text}'; its levels cannot be estimated twice",
                f"Remove '{term.name}' or (1|{name}).",
            )
    parts = [as_factor(table[column], column, []) for column in grouping]
    codes = np.zeros(len(table), dtype=np.int64)
    levels = [""]
    for part in parts:
        codes = codes * len(part.categories) + part.codes
        levels = [f"{a}:{b}" if a else str(b) for a in levels for b in part.categories]
    present, codes = np.unique(codes, return_inverse=True)
    kept = tuple(levels[i] for i in present)
    if len(kept) == 1:
        notes.append(f"(1|{name}) is left out: all rows have {name} = {kept[0]}. The model is fitted by least squares")
        return None, ()
    if len(kept) == len(table):
        raise DesignError(
            f"every row is its own level of '{name}' ({len(kept)} levels in {len(table)} rows): its variance cannot "
            "be told from the residual's",
            f"Leave (1|{name}) out unless subjects have several sessions.",
        )
    if len(kept) < 5:
        notes.append(f"the random factor {name} has only {len(kept)} levels: its variance is poorly estimated")
    return codes.astype(np.int64), kept


# --- warnings ------------------------------------------------------------------------------------------------------


def _add_notes(columns: tuple[str, ...], vif: tuple[float, ...], terms: tuple[Term, ...], notes: list[str]) -> None:
    """Warnings on collinearity, and on what a main effect means beside its interaction."""
    high = [f"{name} ({value:.0f})" for name, value in zip(columns, vif, strict=True) if value > 10]
    if high:
        notes.append(f"variance inflation above 10: {', '.join(high)}; the estimates of these columns are imprecise")
    for term in terms:
        above = [
            t.name
            for t in terms
            if t.kind == "interaction" and t is not term and set(term.variables) < set(t.variables)
        ]
        if above:
            notes.append(
                f"{term.name} is tested beside {', '.join(above)}: its coefficient is the effect where the other "
                "factors are at their reference level and the other numbers are 0"
            )
