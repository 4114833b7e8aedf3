"""A page without anything of one person: what `--report-level group` takes away before it is made."""

from __future__ import annotations

import re
from dataclasses import replace
from math import nan

from spectra_bids.report.measured import FEWEST
from spectra_bids.report.pages import DesignColumn, GroupPage, Notice

_ID = re.compile(r"\b(sub|ses)-[A-Za-z0-9]+")
_LABELS = re.compile(r"(--(?:participant|session)[-_](?:label|id))((?: +(?!-)\S+)+)")


def without_persons(page: GroupPage) -> GroupPage:
    """The page as it may be given away; as it is with the level "person".

    Ids of subjects and sessions are struck out of every text; who was left out and who stands out is not said; ranges
    of numbers, which are persons' values, go; levels of fewer than `FEWEST` people are joined into one without a name.
    """
    if page.level == "person":
        return page
    design = page.design
    dropped = ((f"{len(design.dropped)} rows", "not listed"),) if design.dropped else ()
    return replace(
        page,
        design=replace(
            design,
            columns=tuple(_column(column) for column in design.columns),
            dropped=dropped,
            warnings=tuple(map(struck, design.warnings)),
        ),
        coverage=page.coverage.reset_index(drop=True),
        notices=tuple(Notice(n.level, struck(n.title), struck(n.text)) for n in page.notices),
        command=struck(_LABELS.sub(r"\1 …", page.command)),
        provenance={name: struck(text) for name, text in page.provenance.items()},
        exchanged={name: struck(text) for name, text in page.exchanged.items()},
        outliers={},
        harmonization=None
        if page.harmonization is None
        else page.harmonization[page.harmonization["n"].fillna(0) >= FEWEST],
    )


def struck(text: str) -> str:
    """The text without ids of subjects and sessions."""
    return _ID.sub(r"\1-…", text)


def _column(column: DesignColumn) -> DesignColumn:
    large = tuple((name, n) for name, n in column.levels if n >= FEWEST)
    small = sum(n for _, n in column.levels if n < FEWEST)
    joined = ((f"levels of fewer than {FEWEST}", small),) if small >= FEWEST else ()
    return replace(column, low=nan, high=nan, levels=(*large, *joined))
