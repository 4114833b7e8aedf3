"""The group page: summary in plain words, results with explorer, figures, coverage, design, fits, methods."""

from __future__ import annotations

from typing import Any

import pandas as pd

from spectra_bids.columns import FIT_STATUSES, STATUSES
from spectra_bids.report import procedures, words
from spectra_bids.report.drawings import BLOCK_HEADINGS, DESCRIPTIONS, block_heading, folds, further
from spectra_bids.report.findings import explorer
from spectra_bids.report.pages import (
    Block,
    Bullets,
    Cell,
    ContrastItem,
    DesignColumn,
    DesignSummary,
    Facts,
    FigureItem,
    Fold,
    GroupPage,
    Notice,
    Prose,
    Section,
    TableItem,
)
from spectra_bids.report.subject import provenance, status_words
from spectra_bids.report.tables import cell, p_text, table
from spectra_bids.report.trust import harmonization, miscalibrated, trust
from spectra_bids.report.words import Family, counted, families

#: Levels of a random factor that are listed; of more, the number and their sizes are said.
MOST_LEVELS = 12
#: Findings of the summary; the table of results has all.
MOST_FAMILIES = 8


def sections(page: GroupPage, drawn: tuple[FigureItem, ...]) -> tuple[Section, ...]:
    """All sections, in reading order."""
    every = families(page)
    random = any(column.role == "random factor" for column in page.design.columns)
    notices: tuple[Block, ...] = page.notices
    results: tuple[Block, ...] = (explorer(page),) if every else (Prose(("Nothing was tested.",)),)
    blocks = (Section("blocks", f"All {page.noun}s, all families", (_all_blocks(page, every),)),)
    return (
        Section("summary", "Summary", (*_summary(page, every), *miscalibrated(page), *notices)),
        Section("results", "Results", results),
        Section("figures", "Figures", folds(page, every, drawn)),
        *(blocks if page.noun != "bundle" else ()),
        Section("coverage", "Coverage", _coverage(page, drawn)),
        Section("design", "Design", _design(page)),
        Section("fits", "Fits", (*harmonization(page), *_fits(page, every))),
        *trust(page, every),
        Section("guarantee", "What the procedure guarantees", (Prose(procedures.guarantee(page.settings.decision)),)),
        Section(
            "methods",
            "Methods",
            (
                Prose(_imported(page)),
                Prose(procedures.group_methods(page.settings, page.formula, random, page.exchanged)),
                Fold("References", (Prose(procedures.group_references(page.settings, random)),)),
            ),
        ),
        provenance(page.provenance, page.command),
    )


def _imported(page: GroupPage) -> tuple[str, ...]:
    if not page.is_imported:
        return ()
    return (
        "The profiles were made by another program and imported as values per node: this program neither sampled them "
        "nor knows where in the brain the nodes are, so that there are no coordinates, no millimetres unless the "
        "tables had them, and no profiles across the tract.",
    )


def _summary(page: GroupPage, every: list[Family]) -> tuple[Block, ...]:
    blocks: list[Block] = [Prose(words.tested(page), lead=True)]
    found = [family for family in every if family.found]
    nothing = [family for family in every if family.tested and not family.found]
    untested = tuple((family.name, words.outcome(family)) for family in every if not family.tested)
    shown = found[:MOST_FAMILIES]
    blocks += [Bullets(tuple(words.where(family, page)), family.name, words.outcome(family)) for family in shown]
    if len(found) > len(shown):
        rest = counted(len(found) - len(shown), "more family has", "more families have")
        blocks.append(Prose((f"{rest} findings; the results below hold all.",)))
    if nothing:
        head = (
            "Nothing was found" if not found else "Nothing was found in " + counted(len(nothing), "family", "families")
        )
        blocks.append(Notice("note", head, words.MEANING_OF_NOTHING))
    if untested:
        text = "No cell of these families has a p value; the fits below say why. This is no result in either direction."
        blocks += [Notice("warning", "Not tested", text), Bullets(untested)]
    if not every:
        blocks.append(Notice("warning", "Nothing was tested", "No family has a cell."))
    return (*blocks, *((_tested(every),) if any(family.tested for family in every) else ()))


def _tested(every: list[Family]) -> TableItem:
    """A row per family: what came out, how close it was, what could have been found."""
    rows = []
    for family in every:
        smallest = float(family.main["p_min"]) if family.tested else float("nan")
        best = family.blocks.dropna(subset=["q_block"]).sort_values("q_block", kind="stable")
        q = f"{p_text(float(best['q_block'].iloc[0]))} ({best['block'].iloc[0]})" if len(best) else "n/a"
        rows.append(
            (
                Cell(family.contrast),
                Cell(family.scalar),
                Cell(family.kind),
                Cell(words.short_outcome(family), "", "good" if family.found else "quiet"),
                cell(smallest, "p"),
                Cell(q, "", "" if len(best) else "quiet"),
                Cell(words.detectable(family) or "n/a", "", "" if words.detectable(family) else "quiet"),
            )
        )
    heads = (
        ("Contrast", ""),
        ("Scalar", ""),
        ("Profile", "1D: along the tract; 2D: and across it"),
        ("Found", ""),
        ("Smallest p", "of a node or cell, uncorrected"),
        ("Smallest q", f"of a {every[0].noun}"),
        ("Could have been found", "smallest effect found with 80 % power, in the median cell; n/a for F tests"),
    )
    caption = "Everything that was tested, and the effects that could have been found."
    return TableItem(
        "tested", heads, (False, False, False, False, True, False, False), tuple(rows), caption, len(rows) > 12
    )


def _coverage(page: GroupPage, drawn: tuple[FigureItem, ...]) -> tuple[Block, ...]:
    coverage = page.coverage.astype(str)
    if not coverage.size:
        return (Prose(("There is no coverage table.",)),)
    used = [status for status in STATUSES if (coverage == status).to_numpy().any()]
    rows = []
    for bundle in coverage.columns:
        counts = coverage[bundle].value_counts()
        share = counts.get("ok", 0) / len(coverage)
        rows.append({"bundle": bundle, "usable": f"{share:.0%}", **{s: int(counts.get(s, 0)) for s in used}})
    columns = [("bundle", "Bundle", ""), ("usable", "Usable", "share of sessions with status ok")]
    columns += [(s, status_words(s), STATUSES[s]) for s in used]
    complete = int((coverage == "ok").all(axis=1).sum())
    text = f"{complete} of {counted(len(coverage), 'session')} have all {counted(coverage.shape[1], 'bundle')}."
    meaning = tuple((status_words(s), STATUSES[s]) for s in used)
    counts_table = table("coverage-table", pd.DataFrame(rows), columns, "Sessions per bundle and status.", tools=True)
    picture = tuple(item for item in drawn if item.name.endswith("_desc-coverage"))
    return (Prose((text,)), *picture, Bullets(meaning), Fold("Sessions per bundle and status", (counts_table,)))


def _design(page: GroupPage) -> tuple[Block, ...]:
    return design_blocks(page.formula, page.design, page.contrasts)


def design_blocks(formula: str, design: DesignSummary, tested: tuple[ContrastItem, ...]) -> tuple[Block, ...]:
    """Formula, columns, contrasts, collinearity, and the rows that were left out."""
    blocks: list[Block] = [
        Facts(
            (
                ("Formula", formula),
                ("Rows", f"{counted(design.n_rows, 'session')} of {counted(design.n_subjects, 'person', 'people')}"),
                ("Condition number", cell(design.condition_number).text + " (columns of unit length)"),
            )
        )
    ]
    blocks += [Notice("warning", warning) for warning in design.warnings]
    unit = "people" if design.n_rows == design.n_subjects else "sessions"
    rows = tuple(
        (Cell(column.name), Cell(column.role), Cell(_reference(column)), Cell(_content(column)))
        for column in design.columns
    )
    about = (("Column", ""), ("Role", ""), ("Reference", "level that the others are compared with"), ("Content", ""))
    blocks.append(TableItem("design-columns", about, (False,) * 4, rows, f"Columns used; in brackets: {unit}."))
    if tested:
        said = tuple((Cell(c.name), Cell(c.text or "–")) for c in tested)
        caption = "Contrasts tested."
        blocks.append(TableItem("contrasts", (("Contrast", ""), ("Meaning", "")), (False, False), said, caption))
    if design.vif:
        heads = (("Column of the design matrix", ""), ("VIF", "variance inflation factor; above 5 is a lot"))
        inflated = tuple((Cell(name), cell(v, tone="warn" if v > 5 else "")) for name, v in design.vif)
        blocks.append(TableItem("vif", heads, (False, True), inflated, "Collinearity: variance inflation factors."))
    if design.dropped:
        heads = (("Row", ""), ("Reason", ""))
        dropped = tuple((Cell(row), Cell(reason)) for row, reason in design.dropped)
        many = len(dropped) > 12
        gone = TableItem("dropped", heads, (False, False), dropped, "Rows not in the design.", tools=many)
        blocks.append(Fold(f"{counted(len(dropped), 'row')} left out, and why", (gone,), is_open=not many))
    else:
        blocks.append(Prose(("No row was left out.",)))
    return tuple(blocks)


def _reference(column: DesignColumn) -> str:
    return column.levels[0][0] if column.role == "factor" and column.levels else "–"


def _content(column: DesignColumn) -> str:
    if column.role == "numeric":
        mean, sd, low, high = (cell(v).text for v in (column.mean, column.sd, column.low, column.high))
        return f"mean {mean}, SD {sd}" + ("" if low == "n/a" else f", {low} to {high}")
    if column.role == "random factor" and len(column.levels) > MOST_LEVELS:
        sizes = sorted(n for _, n in column.levels)
        few, usual, most = sizes[0], sizes[len(sizes) // 2], sizes[-1]
        return f"{counted(len(sizes), 'level')} of {few} to {most} rows (median {usual})"
    shown = ", ".join(f"{level} ({n})" for level, n in column.levels[:MOST_LEVELS])
    more = f", … {len(column.levels)} levels" if len(column.levels) > MOST_LEVELS else ""
    return f"{counted(len(column.levels), 'level')}: {shown}{more}" if column.role != "factor" else shown + more


def _all_blocks(page: GroupPage, every: list[Family]) -> TableItem:
    frames = [family.blocks.assign(kind=family.kind) for family in every]
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(BLOCK_HEADINGS))
    if len(frame):
        flags = frame["selected"].astype(str).str.lower()
        frame["selected"] = flags.map({"true": "selected", "false": "no"}).fillna("n/a")
    keys = [key for key in BLOCK_HEADINGS if key != "bundle" or further(page)]
    heads = [(key, block_heading(key, page), DESCRIPTIONS.get(key, "")) for key in keys]
    caption = f"Every {page.noun} of every family. Headings sort; the field filters."
    return table("all-blocks", frame, heads, caption, tools=True, tones=_block_tones)


def _block_tones(row: Any) -> dict[str, str]:
    return {"selected": "good" if row.get("selected") == "selected" else "quiet"}


def _fits(page: GroupPage, every: list[Family]) -> tuple[Block, ...]:
    rows = []
    for family in every:
        counts = family.stats["fit_status"].astype(str).value_counts()
        rows.append({"family": family.name, **{s: int(counts.get(s, 0)) for s in FIT_STATUSES}})
    if not rows:
        return (Prose(("There are no fits.",)),)
    frame = pd.DataFrame(rows)
    used = [s for s in FIT_STATUSES if frame[s].any()]
    heads = [("family", "Family", ""), *((s, status_words(s), FIT_STATUSES[s]) for s in used)]
    meaning = tuple((status_words(s), FIT_STATUSES[s]) for s in used)
    return (
        table("fit-statuses", frame, heads, "What became of the fits, in cells.", tools=len(rows) > 8),
        Bullets(meaning),
    )
