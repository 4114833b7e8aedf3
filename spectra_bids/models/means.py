"""Means of groups adjusted for the other terms: what a model says at a level of one column, the others being equal.

They are those of R's emmeans: on the grid of all levels of the other factors, each counting the same, with numbers at
their mean. A numeric column has no levels; it is set to the mean of each third of the subjects, or to its values if
there are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectra_bids.models.design import Design
from spectra_bids.models.frame import model_frame
from spectra_bids.models.matrix import evaluate, evaluate_again

if TYPE_CHECKING:
    import pandas as pd

#: Numbers with more values than this are cut into thirds; factors with more levels have no means.
MOST_LEVELS = 6
#: Rows of a reference grid; beyond it the rows of the design take its place.
_MOST_ROWS = 5000
THIRDS = ("low third", "middle third", "high third")


@dataclass(frozen=True, eq=False)
class Level:
    """One group of rows by a column of the table.

    `at` is the number the column is set to (NaN for a factor's level), `low` and `high` bound a third (low < x <= high;
    infinite at the ends), `rows` (n,) tells which rows are in it.
    """

    column: str
    name: str
    at: float
    low: float
    high: float
    rows: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class AdjustedMean:
    """The mean at a level as weights over the columns of X, (p,)."""

    level: Level
    weights: NDArray[np.float64]


def split_column(values: pd.Series[Any], subjects: NDArray[Any]) -> tuple[Level, ...]:
    """Levels of a factor, values of a number that has few of them, or thirds of a number.

    Parameters
    ----------
    values : (n,) Series
        A column of the design's table; n/a is in no group.
    subjects : (n,)
        Who each row is of: thirds hold equal numbers of people (each counts with the first row).

    """
    import pandas as pd

    name = str(values.name)
    if isinstance(values.dtype, pd.CategoricalDtype) or not pd.api.types.is_numeric_dtype(values.dtype):
        levels = (
            list(values.cat.categories)
            if isinstance(values.dtype, pd.CategoricalDtype)
            else sorted(values.dropna().unique())
        )
        named = [(level, (values == level).to_numpy(bool)) for level in levels]
        return tuple(Level(name, str(level), np.nan, np.nan, np.nan, rows) for level, rows in named if rows.any())
    numbers = values.to_numpy(np.float64)
    distinct = np.unique(numbers[np.isfinite(numbers)])
    if len(distinct) <= MOST_LEVELS:
        return tuple(Level(name, f"{v:.6g}", float(v), float(v), float(v), numbers == v) for v in distinct)
    _, first = np.unique(subjects, return_index=True)
    people = numbers[first]
    people = people[np.isfinite(people)]
    cuts = [-np.inf, *np.quantile(people, [1 / 3, 2 / 3]), np.inf]
    out = []
    for third, low, high in zip(THIRDS, cuts[:-1], cuts[1:], strict=True):
        rows = (numbers > low) & (numbers <= high)
        if rows.any():
            out.append(Level(name, third, float(numbers[rows].mean()), float(low), float(high), rows))
    return tuple(out)


def adjusted_means(design: Design, table: pd.DataFrame, columns: Sequence[str]) -> tuple[AdjustedMean, ...]:
    """Adjusted means at the levels of some columns.

    Parameters
    ----------
    design : Design
    table : DataFrame
        The rows of the design, with the formula's columns.
    columns : sequence of str
        Columns of the fixed part. One whose mean cannot be formed (a factor with too many levels) is passed over.

    References
    ----------
    Searle, Speed, Milliken (1980), Population marginal means in the linear model; R's emmeans.

    """
    out: list[AdjustedMean] = []
    if not columns:
        return ()
    frame = model_frame(table, design.formula, [], design.formula.columns, design.formula.factor_columns)
    _, _, spec = evaluate(design.formula.fixed, frame, design.formula.text)
    for column in columns:
        levels = split_column(frame[column].rename(column), design.subjects)
        if len(levels) > MOST_LEVELS:
            continue
        for level in levels:
            grid = _grid(frame, column, level)
            try:
                rows = evaluate_again(spec, grid)
            except (ValueError, ArithmeticError):
                continue  # a function that is not defined there, such as log of the mean of a shifted column
            if np.isfinite(rows).all():
                out.append(AdjustedMean(level, np.where(np.abs(m := rows.mean(axis=0)) < 1e-14, 0.0, m)))
    return tuple(out)


def _grid(frame: pd.DataFrame, column: str, level: Level) -> pd.DataFrame:
    """Reference grid with one column at a level; the design's own rows where the grid is too large."""
    import pandas as pd

    factors = [c for c in frame.columns if isinstance(frame[c].dtype, pd.CategoricalDtype)]
    others = [c for c in factors if c != column]
    size = int(np.prod([len(frame[c].cat.categories) for c in others])) if others else 1
    if size > _MOST_ROWS:
        grid = frame.copy()
    else:
        combinations = list(product(*(frame[c].cat.categories for c in others)))
        grid = pd.DataFrame(index=pd.RangeIndex(size))
        for c in frame.columns:
            if c in others:
                values = [combination[others.index(c)] for combination in combinations]
                grid[c] = pd.Categorical(values, categories=frame[c].cat.categories)
            elif c not in factors:
                grid[c] = float(frame[c].mean())
    if column in factors:
        grid[column] = pd.Categorical([level.name] * len(grid), categories=frame[column].cat.categories)
    else:
        grid[column] = level.at
    return grid[list(frame.columns)]
