"""What was measured, for the page: values of every session of the design, and the groups that a column makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spectra_bids.figures.plots import groups

if TYPE_CHECKING:
    import pandas as pd

#: Groups of fewer people than this are not shown where nothing of one person may be.
FEWEST = 5


@dataclass(frozen=True, eq=False)
class Measured:
    """Values of one kind of profile.

    Parameters
    ----------
    labels : tuple of n str
        Session of each row of the design, as "sub-01 ses-1".
    table : DataFrame of n rows
        participant and the columns of the design.
    cells : mapping of bundle to DataFrame
        s and, in 2D, r, in the order of the values.
    read : callable
        Bundle -> mapping of scalar to its (n, cells) values; called when they are needed.

    """

    labels: tuple[str, ...]
    table: pd.DataFrame
    cells: Mapping[str, pd.DataFrame]
    read: Callable[[str], Mapping[str, NDArray[np.float64]]]


@dataclass(frozen=True, eq=False)
class Split:
    """The groups that a column of the design makes: names, the group of each row (-1: none), and its numbers.

    `within` tells that the column varies within persons.
    """

    names: tuple[str, ...]
    codes: NDArray[np.int64]
    numbers: NDArray[np.float64] | None
    within: bool

    def people(self, participants: NDArray[np.object_]) -> tuple[int, ...]:
        """People in each group."""
        return tuple(len(np.unique(participants[self.codes == k])) for k in range(len(self.names)))


def split(table: pd.DataFrame, by: str) -> Split:
    """Levels of a factor, or thirds of a number; one group without a column.

    Parameters
    ----------
    table : DataFrame of n rows
        participant and the columns of the design.
    by : str
        Column; empty for none.

    """
    import pandas as pd

    rows = table.reset_index(drop=True)
    parts = groups(rows, by)
    codes = np.full(len(rows), -1)
    for k, (_, of) in enumerate(parts):
        codes[of.index.to_numpy()] = k
    known = bool(by) and by in rows
    is_number = known and pd.api.types.is_numeric_dtype(rows[by]) and rows[by].nunique() > len(parts)
    numbers = rows[by].to_numpy(np.float64) if is_number else None
    within = known and varies_within(rows, by)
    return Split(tuple(name for name, _ in parts), codes, numbers, within)


def varies_within(table: pd.DataFrame, by: str) -> bool:
    """Whether a column has several values in one participant."""
    return bool(by in table and (table.groupby("participant", observed=True)[by].nunique() > 1).any())


def without_small_groups(table: pd.DataFrame, by: str) -> pd.DataFrame:
    """Rows of groups of at least `FEWEST` people."""
    kept = [of for _, of in groups(table, by) if of["participant"].nunique() >= FEWEST]
    return table.loc[sorted(set().union(*(of.index for of in kept)))] if kept else table.iloc[:0]


def summaries(
    values: NDArray[np.float64], split_by: Split, participants: NDArray[np.object_], fewest: int = 1
) -> dict[str, NDArray[np.float64]]:
    """People, mean, SD and quartiles of every group and cell, each (groups, cells); NaN below `fewest` people.

    Sessions of one participant in a group are averaged first, so that people are counted.
    """
    out = {
        name: np.full((len(split_by.names), values.shape[1]), np.nan) for name in ("n", "mean", "sd", "q1", "q2", "q3")
    }
    for k in range(len(split_by.names)):
        people = _people(values[split_by.codes == k], participants[split_by.codes == k])
        known = np.isfinite(people)
        n = known.sum(axis=0)
        total = np.where(known, people, 0.0).sum(axis=0)
        mean = np.divide(total, n, out=np.full(n.shape, np.nan), where=n > 0)
        squares = np.where(known, (people - mean) ** 2, 0.0).sum(axis=0)
        sd = np.sqrt(np.divide(squares, n - 1, out=np.full(n.shape, np.nan), where=n > 1))
        shown = n >= fewest
        for name, row in (("n", n), ("mean", mean), ("sd", sd)):
            out[name][k] = np.where(shown, row, np.nan)
        for name, q in (("q1", 0.25), ("q2", 0.5), ("q3", 0.75)):
            out[name][k] = np.where(shown, _quantile(np.sort(people, axis=0), n, q), np.nan)
    return out


def _people(values: NDArray[np.float64], participants: NDArray[np.object_]) -> NDArray[np.float64]:
    """Mean of each participant's sessions, (people, cells)."""
    names, index = np.unique(participants.astype(str), return_inverse=True)
    if len(names) == len(values):
        return values
    total, count = np.zeros((len(names), values.shape[1])), np.zeros((len(names), values.shape[1]))
    known = np.isfinite(values)
    np.add.at(total, index, np.where(known, values, 0.0))
    np.add.at(count, index, known)
    means: NDArray[np.float64] = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return means


def _quantile(ordered: NDArray[np.float64], n: NDArray[np.int_], q: float) -> NDArray[np.float64]:
    """Linear quantile of the first n rows of each column: missing values are sorted to the end."""
    if not len(ordered):
        return np.full(n.shape, np.nan)
    at = q * np.maximum(n - 1, 0)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, np.maximum(n - 1, 0))
    columns = np.arange(ordered.shape[1])
    a, b = ordered[low, columns], ordered[high, columns]
    return np.asarray(a + (at - low) * (b - a), np.float64)
