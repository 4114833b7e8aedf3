"""The group page: summary in plain words, coverage, design, results per family, all blocks, guarantee, methods."""

from __future__ import annotations

from typing import Any

import pandas as pd

from spectra_bids.columns import BLOCKS, CLUSTERS, FIT_STATUSES, STATUSES
from spectra_bids.figures.overviews import MOST_COLUMNS, coverage_map, detectable_overview, effect_overview
from spectra_bids.figures.plots import cell_map, effect_profile, group_profile, is_true
from spectra_bids.report import procedures, words
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
    Gallery,
    GroupPage,
    Notice,
    Prose,
    Section,
    TableItem,
)
from spectra_bids.report.subject import alphanumeric, provenance, status_words
from spectra_bids.report.tables import cell, table
from spectra_bids.report.trust import harmonization, miscalibrated, trust
from spectra_bids.report.words import Family, counted, families

#: Bundles drawn over all families; 20 kB each keeps the page well below its 10 MB.
MOST_BUNDLES = 150

_BLOCK_HEADINGS = {
    "contrast": "Contrast",
    "scalar": "Scalar",
    "kind": "Profile",
    "block": "Bundle",
    "bundle": "Bundle",
    "n_cells": "Cells",
    "n_valid": "Tested",
    "p_block": "p block",
    "q_block": "q block",
    "selected": "Selected",
    "n_rejected": "Rejected",
}
_CLUSTER_HEADINGS = {
    "cluster": "#",
    "bundle": "Bundle",
    "n_cells": "Cells",
    "direction": "Effect",
    "place": "Part of the tract",
    "side": "Side",
    "label_peak": "Region at the peak",
    "labels": "Regions",
    "s_low": "s from",
    "s_high": "s to",
    "r_low": "r from",
    "r_high": "r to",
    "x_mm": "x, mm",
    "y_mm": "y, mm",
    "z_mm": "z, mm",
    "value_peak": "Peak",
    "estimate_peak": "Estimate",
    "p_peak": "p",
    "q_peak": "q",
    "weight": "Weight",
    "length_mm": "Length, mm",
    "width_mm": "Width, mm",
    "share_bundle": "Of the bundle",
    "x_peak_mm": "Peak x, mm",
    "y_peak_mm": "Peak y, mm",
    "z_peak_mm": "Peak z, mm",
}
_DESCRIPTIONS = {c.name: c.description for c in (*CLUSTERS, *BLOCKS)} | {
    "kind": "1D: along the tract; 2D: and across it"
}


def figures(page: GroupPage) -> tuple[FigureItem, ...]:
    """Coverage, an overview per family, and maps and profiles of the bundles worth a look, named as files."""
    out = []
    if page.coverage.size:
        text = "One column per session, one row per bundle; the colour is the status."
        if len(page.coverage) > MOST_COLUMNS:
            text = "One bar per bundle: the share of the sessions with each status."
        out.append(
            FigureItem(f"model-{alphanumeric(page.name)}_desc-coverage", "Coverage", text, coverage_map(page.coverage))
        )
    left = MOST_BUNDLES
    for family in families(page):
        if len(family.stats):
            out.append(_overview(page, family))
            if "mde_std" in family.stats and family.stats["mde_std"].notna().any():
                out.append(_detectable(page, family))
        for bundle in family.shown[:left]:
            out += _bundle_figures(page, family, bundle)
        left -= len(family.shown[:left])
    return tuple(out)


def _stem(page: GroupPage, family: Family) -> str:
    parts = (f"model-{alphanumeric(page.name)}", f"contrast-{alphanumeric(family.contrast)}")
    return "_".join((*parts, f"scalar-{alphanumeric(family.scalar)}"))


def _overview(page: GroupPage, family: Family) -> FigureItem:
    of = "" if family.kind == "1D" else " Of each node the cell with the largest statistic is shown."
    caption = (
        "The statistic of every bundle, from its low end (left) to its high end, all drawn to one length. Bold: "
        f"selected bundles; underlined: rejected {'nodes' if family.kind == '1D' else 'nodes (any cell)'}; hatched: "
        f"not tested.{of}"
    )
    sheet = effect_overview(family.stats, page.ends, f"{family.contrast}, {family.scalar}")
    return FigureItem(f"{_stem(page, family)}_desc-overview{family.kind}", "All bundles", caption, sheet, family.name)


def _detectable(page: GroupPage, family: Family) -> FigureItem:
    of = "" if family.kind == "1D" else " Of each node the cell with the largest is shown."
    caption = (
        "The smallest effect that would have been found with 80 % power at the threshold the procedure came to, in "
        f"standard deviations of the cell's values (at most three times the median is drawn); hatched: not tested.{of}"
    )
    sheet = detectable_overview(family.stats, page.ends, f"{family.contrast}, {family.scalar}")
    name = f"{_stem(page, family)}_desc-mde{family.kind}"
    return FigureItem(name, "What could have been found", caption, sheet, family.name)


def _bundle_figures(page: GroupPage, family: Family, bundle: str) -> list[FigureItem]:
    rows = family.stats[family.stats["bundle"].astype(str) == bundle]
    ends, sides = page.ends.get(bundle), page.sides.get(bundle)
    units = page.units.get(family.scalar, "")
    stem = f"{_stem(page, family)}_bundle-{alphanumeric(bundle)}_desc-"
    remark = f"{family.contrast}, {family.scalar}"
    hit = rows.loc[is_true(rows["rejected"]), "s"].unique()
    out = []
    if family.kind == "2D":
        caption = "Statistic by node and radial bin; rejected cells are outlined, cells without a p value hatched."
        sheet = cell_map(rows, ends, sides, bundle, remark)
        out.append(FigureItem(f"{stem}map2D", bundle, caption, sheet, family.name))
    else:
        caption = (
            "Estimate of the contrast with its 95 % confidence interval, adjusted for the model's other terms."
            if rows["estimate"].notna().any()
            else "The statistic at every node."
        )
        sheet = effect_profile(rows, units, ends, bundle, remark)
        out.append(FigureItem(f"{stem}effect1D", bundle, caption, sheet, family.name))
    measured = page.profiles
    if measured is not None and family.scalar in measured:
        mine = measured[measured["bundle"] == bundle]
        if len(mine):
            by = next((c.by for c in page.contrasts if c.name == family.contrast), "")
            caption = "Measured mean with its 95 % confidence interval, not adjusted; number of people in brackets."
            caption += " Marked nodes have a rejected cell." if family.kind == "2D" else " Rejected nodes are marked."
            sheet = group_profile(mine, family.scalar, by, units, ends, hit, bundle)
            out.append(FigureItem(f"{stem}profile{family.kind}", bundle, caption, sheet, family.name))
    return out


def sections(page: GroupPage, drawn: tuple[FigureItem, ...]) -> tuple[Section, ...]:
    """All sections, in reading order."""
    every = families(page)
    random = any(column.role == "random factor" for column in page.design.columns)
    notices: tuple[Block, ...] = page.notices
    return (
        Section("summary", "Summary", (*_summary(page, every), *miscalibrated(page), *notices)),
        Section("coverage", "Coverage", _coverage(page, drawn)),
        Section("design", "Design", _design(page)),
        Section("results", "Results", _results(page, every, drawn)),
        Section("blocks", f"All {page.noun}s, all families", (_all_blocks(page, every),)),
        Section("fits", "Fits", (*harmonization(page), *_fits(page, every))),
        *trust(page, every),
        Section("guarantee", "What the procedure guarantees", (Prose(procedures.guarantee(page.settings.decision)),)),
        Section(
            "methods",
            "Methods",
            (
                Prose(procedures.group_methods(page.settings, page.formula, random, page.exchanged)),
                Fold("References", (Prose(procedures.group_references(page.settings, random)),)),
            ),
        ),
        provenance(page.provenance, page.command),
    )


def _summary(page: GroupPage, every: list[Family]) -> tuple[Block, ...]:
    blocks: list[Block] = [Prose(words.tested(page), lead=True)]
    found = [family for family in every if family.found]
    nothing = [family for family in every if family.tested and not family.found]
    untested = tuple((family.name, words.outcome(family)) for family in every if not family.tested)
    blocks += [Bullets(tuple(words.where(family, page)), family.name, words.outcome(family)) for family in found]
    if nothing:
        head = (
            "Nothing was found" if not found else "Nothing was found in " + counted(len(nothing), "family", "families")
        )
        items = tuple((family.name, f"{words.outcome(family)} {words.nothing_found(family)}") for family in nothing)
        blocks += [Notice("note", head, words.MEANING_OF_NOTHING), Bullets(items)]
    if untested:
        text = "No cell of these families has a p value; the fits below say why. This is no result in either direction."
        blocks += [Notice("warning", "Not tested", text), Bullets(untested)]
    if not every:
        blocks.append(Notice("warning", "Nothing was tested", "No family has a cell."))
    return tuple(blocks)


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
    rows = tuple(
        (Cell(column.name), Cell(column.role), Cell(_reference(column)), Cell(_content(column)))
        for column in design.columns
    )
    about = (("Column", ""), ("Role", ""), ("Reference", "level that the others are compared with"), ("Content", ""))
    blocks.append(TableItem("design-columns", about, (False,) * 4, rows, "Columns used."))
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
        return f"mean {mean}, SD {sd}, {low} to {high}"
    shown = ", ".join(f"{level} ({n})" for level, n in column.levels[:12])
    more = f", … {len(column.levels)} levels" if len(column.levels) > 12 else ""
    return f"{counted(len(column.levels), 'level')}: {shown}{more}" if column.role != "factor" else shown + more


def _results(page: GroupPage, every: list[Family], drawn: tuple[FigureItem, ...]) -> tuple[Block, ...]:
    blocks: list[Block] = []
    shown = sum(len(family.shown) for family in every)
    if shown > MOST_BUNDLES:
        text = f"{shown} bundles stand out over all families; the first {MOST_BUNDLES} are drawn, the tables hold all."
        blocks.append(Notice("note", "Not every bundle is drawn", text))
    for family in every:
        mine = [item for item in drawn if item.group == family.name]
        over = tuple(item for item in mine if "_desc-overview" in item.name or "_desc-mde" in item.name)
        rest = tuple(item for item in mine if item not in over)
        inside: list[Block] = [Prose((words.outcome(family),))]
        if family.found:
            inside += [_block_table(family, page), *_cluster_tables(family)]
            if rest:
                inside.append(Gallery(rest))
        elif said := words.nothing_found(family):
            inside.append(Prose((said,)))
        inside += [*over, *_sweep(family)]
        row = family.main
        remark = (
            f"{int(row['n_rejected'])} rejected" if family.found else "nothing found" if family.tested else "not tested"
        )
        blocks.append(Fold(family.name, tuple(inside), is_open=family.found, remark=remark))
    return tuple(blocks)


def _block_table(family: Family, page: GroupPage) -> TableItem:
    keys = ("block", *_further(page), "n_cells", "n_valid", "p_block", "q_block", "n_rejected")
    heads = [(key, _heading(key, page), _DESCRIPTIONS[key]) for key in keys]
    if family.kind == "1D":
        heads = [(key, "Nodes" if key == "n_cells" else text, said) for key, text, said in heads]
    name = f"selected-{alphanumeric(family.name)}"
    what = f"Selected {family.noun}s" if page.settings.decision.hierarchical else "Bundles with rejected cells"
    return table(name, family.chosen, heads, f"{what}, the smallest p first.", tools=len(family.chosen) > 12)


def _heading(key: str, page: GroupPage) -> str:
    return page.noun.capitalize() if key == "block" else _BLOCK_HEADINGS[key]


def _further(page: GroupPage) -> tuple[str, ...]:
    """The bundles of blocks that are none, where their names do not say them."""
    return ("bundle",) if page.noun == "block" else ()


def _cluster_tables(family: Family) -> tuple[TableItem, ...]:
    if not len(family.clusters):
        return ()
    heads = [(key, text, _DESCRIPTIONS[key]) for key, text in _CLUSTER_HEADINGS.items()]
    if family.kind == "1D":
        heads = [(key, "Nodes" if key == "n_cells" else text, said) for key, text, said in heads]
        heads = [head for head in heads if head[0] not in ("r_low", "r_high", "width_mm")]
    frame = family.clusters.sort_values("cluster", kind="stable").copy()
    frame = frame.drop(columns=[key for key in ("label_peak", "labels") if frame[key].isna().all()])
    frame["direction"] = frame["direction"].map({"+": "positive", "-": "negative"}).fillna("n/a")
    caption = "Clusters: rejected cells that touch each other, the heaviest first. Centres are weighted by −log10 p."
    return (table(f"clusters-{alphanumeric(family.name)}", frame, heads, caption, tools=len(frame) > 8),)


def _sweep(family: Family) -> tuple[Block, ...]:
    """The other cell levels, marked exploratory."""
    if len(family.levels) < 2:
        return ()
    heads = [
        ("alpha_cell", f"Level within {family.noun}s", ""),
        ("n_rejected", "Rejected", ""),
        ("exploratory", "Standing", "every level but the first is exploratory"),
    ]
    frame = family.levels.copy()
    frame["exploratory"] = ["exploratory" if x else "confirmatory" for x in is_true(frame["exploratory"])]
    return (
        table(
            f"sweep-{alphanumeric(family.name)}", frame, heads, f"Other levels within {family.noun}s are exploratory."
        ),
    )


def _all_blocks(page: GroupPage, every: list[Family]) -> TableItem:
    frames = [family.blocks.assign(kind=family.kind) for family in every]
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(_BLOCK_HEADINGS))
    if len(frame):
        flags = frame["selected"].astype(str).str.lower()
        frame["selected"] = flags.map({"true": "selected", "false": "no"}).fillna("n/a")
    keys = [key for key in _BLOCK_HEADINGS if key != "bundle" or _further(page)]
    heads = [(key, _heading(key, page), _DESCRIPTIONS.get(key, "")) for key in keys]
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
