"""The model frame: the columns of the participants table that a formula uses, as numbers or as factors.

A number column stays a number; text, booleans and Categoricals become factors whose levels are text. Rows with n/a
are found here, and names that are no column.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectra_bids.errors import DesignError, listed, shown
from spectra_bids.models.formula import EXAMPLE, ModelFormula, formula_environment

if TYPE_CHECKING:
    import pandas as pd


def require_columns(formula: ModelFormula, table: pd.DataFrame, names: Iterable[str]) -> None:
    """DesignError for a name that is no column of the table."""
    there = [str(name) for name in table.columns]
    for name in names:
        if there.count(name) == 1:
            continue
        if name in there:
            raise DesignError(f"the table has several columns named '{name}'", "Give each column its own name.")
        close = difflib.get_close_matches(name, there, n=1)
        raise DesignError(
            f"a formula must name columns of the participants table. Got '{name}' in '{formula.text}'; "
            f"there are: {listed(there)}",
            f"Did you mean '{shown(close[0])}'?" if close else f"Example: --formula '{EXAMPLE}'",
        )
    sides = " ".join([formula.fixed, *(term.python for term in formula.random)])
    hidden = [name for name in formula.all_columns if name in formula_environment() and f"{name}(" in sides]
    if hidden:
        raise DesignError(
            f"column '{hidden[0]}' has the name of the function {hidden[0]}() that '{formula.text}' calls",
            "Rename the column.",
        )


def where_missing(values: pd.Series[Any]) -> NDArray[np.bool_]:
    """Where a column is n/a."""
    return np.asarray(values.isna() | values.astype(object).isin(["n/a"]), dtype=bool)


def row_labels(table: pd.DataFrame, participant: str) -> list[str]:
    """How a row is named to people: subject and session, or the table's index."""
    parts = [table[name].astype(str) for name in (participant, "session_id") if name in table.columns]
    if participant not in table.columns:
        return [str(name) for name in table.index]
    return [" ".join(values) for values in zip(*parts, strict=True)]


def subject_codes(table: pd.DataFrame, participant: str) -> NDArray[np.int64]:
    """Code of the subject of each row."""
    if participant not in table.columns:
        return np.arange(len(table), dtype=np.int64)
    _, codes = np.unique(table[participant].astype(str).to_numpy(dtype=str), return_inverse=True)
    return codes.astype(np.int64)


def require_rows(
    formula: ModelFormula, table: pd.DataFrame, missing: Mapping[str, NDArray[np.bool_]], keep: NDArray[np.integer]
) -> None:
    """DesignError if no row has a value in every used column."""
    if len(keep):
        return
    counts = ", ".join(f"{name} in {int(where.sum())}" for name, where in missing.items() if where.any())
    raise DesignError(
        f"no row of the participants table is complete for '{formula.text}': of {len(table)} rows, n/a in {counts}"
        if len(table)
        else f"the participants table has no rows for '{formula.text}'",
        "Leave a column out of the formula, or fill it in.",
    )


def model_frame(
    table: pd.DataFrame, formula: ModelFormula, notes: list[str], names: Iterable[str], as_factors: Iterable[str]
) -> pd.DataFrame:
    """Some columns, each as float64 or (text, and those of `as_factors`) as a Categorical without unused levels."""
    import pandas as pd

    frame = pd.DataFrame(index=pd.RangeIndex(len(table)))
    for name in names:
        values = table[name]
        if pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype):
            numbers = values.to_numpy(dtype=np.float64)
            frame[name] = as_factor(values, name, notes) if name in as_factors else numbers
        elif pd.api.types.is_datetime64_any_dtype(values.dtype):
            raise DesignError(f"column '{name}' holds dates", "Turn it into a number, for example days or years.")
        else:
            frame[name] = as_factor(values, name, notes)
        if isinstance(frame[name].dtype, pd.CategoricalDtype) and len(frame[name].cat.categories) < 2:
            raise DesignError(
                f"a factor needs two levels or more. '{name}' has only '{shown(frame[name].cat.categories[0])}' in the "
                f"{len(table)} rows that are complete for '{formula.text}'",
                f"Leave '{name}' out of the formula.",
            )
    return frame


def as_factor(values: pd.Series[Any], name: str, notes: list[str]) -> pd.Categorical:
    """A column as a factor whose levels are text: those of a Categorical in their order, of numbers by size."""
    import pandas as pd

    if isinstance(values.dtype, pd.CategoricalDtype):
        levels = [level for level in values.cat.categories if (values == level).any()]
        unused = [str(level) for level in values.cat.categories if level not in levels]
        if unused:
            notes.append(f"no row has {name} = {listed(unused)}; the level is left out")
    elif pd.api.types.is_numeric_dtype(values.dtype):
        levels = sorted(values.unique())
    else:
        values = values.astype(str)
        levels = sorted(values.unique())
        numbers = pd.to_numeric(pd.Series(levels), errors="coerce")
        if 0.5 < numbers.notna().mean() < 1 and len(levels) > 5:
            odd = [f"'{shown(level)}'" for level, bad in zip(levels, numbers.isna(), strict=True) if bad]
            raise DesignError(
                f"column '{name}' is meant as numbers, but holds {', '.join(odd[:20])}",
                "Correct the values, or write n/a.",
            )
    text = {level: _level_text(level) for level in levels}
    return pd.Categorical([text[value] for value in values], categories=list(text.values()))


def _level_text(level: object) -> str:
    """A level as text: 2.0 is '2'."""
    return str(int(level)) if isinstance(level, (float, np.floating)) and float(level).is_integer() else str(level)
