"""A group page without its people (--report-level group): no id, no line and no value of a single person is left.

What describes the cohort stays: counts, means, tests. What describes a person becomes a count, or goes. A mean of fewer
than `LEAST` people would be nearly a person's own line and is not drawn.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from math import nan
from typing import TYPE_CHECKING

from spectra_bids.report.pages import DesignColumn, DesignSummary, GroupPage

if TYPE_CHECKING:
    import pandas as pd

#: People behind a mean that is drawn at --report-level group.
LEAST = 5


def least_people(page: GroupPage) -> int:
    """People that a drawn mean needs on this page."""
    return LEAST if page.settings.report_level == "group" else 1


def without_people(page: GroupPage, people: Collection[str]) -> GroupPage:
    """The page model with nothing of a single person, as figures and sections are to be made of it.

    Parameters
    ----------
    page : GroupPage
    people : collection of str
        Ids of everybody in the tables, with or without `sub-`.

    Returns
    -------
    GroupPage
        Rows of `coverage` and people of `profiles` are numbers in an order of no meaning; `outliers` has no labels of
        sessions; the design has counts instead of left-out rows, and neither range nor levels that are people.

    """
    ids = {name.removeprefix("sub-") for name in people}
    coverage = page.coverage.sort_values(list(page.coverage.columns)) if page.coverage.size else page.coverage
    coverage = coverage.set_axis([str(k + 1) for k in range(len(coverage))], axis=0)
    return replace(
        page,
        design=_design(page.design, ids),
        coverage=coverage,
        profiles=None if page.profiles is None else _profiles(page.profiles, ids),
        outliers=_outliers(page.outliers),
    )


def _design(design: DesignSummary, ids: set[str]) -> DesignSummary:
    reasons = Counter(reason for _, reason in design.dropped)
    return replace(
        design,
        columns=tuple(_column(column, ids) for column in design.columns),
        dropped=tuple((f"{n} row{'s' if n > 1 else ''}", reason) for reason, n in sorted(reasons.items())),
    )


def _column(column: DesignColumn, ids: set[str]) -> DesignColumn:
    """No lowest and highest value, which are two people's own; no levels' names where these are people."""
    if any(_names_someone(level, ids) for level, _ in column.levels):
        return replace(column, levels=tuple(("", n) for _, n in column.levels))
    return replace(column, low=nan, high=nan)


def _names_someone(text: str, ids: set[str]) -> bool:
    """Whether one of the words of a label, as "sub-01 ses-1" or "site1:sub-01", is an id."""
    words = re.split(r"[\s:/_]+", text)
    return any(word.removeprefix("sub-") in ids for word in words if word.startswith("sub-")) or text in ids


def _profiles(profiles: pd.DataFrame, ids: set[str]) -> pd.DataFrame:
    """Profiles whose participants and sessions are numbers, without columns that tell people apart."""
    out = profiles.copy()
    for name in ("participant", "session"):
        if name in out:
            values = out[name].astype(str)
            order = {value: k for k, value in enumerate(dict.fromkeys(values))}
            out[name] = values.map(order)
    named = [c for c in out.columns if out[c].dtype == object or str(out[c].dtype) == "category"]
    return out.drop(
        columns=[c for c in named if c != "bundle" and any(_names_someone(str(v), ids) for v in out[c].unique())]
    )


def _outliers(found: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Sizes without labels of sessions: they are counted. Sites keep their names."""
    return {
        kind: table.assign(label=table["label"].where(table["kind"] != "session", "")) for kind, table in found.items()
    }
