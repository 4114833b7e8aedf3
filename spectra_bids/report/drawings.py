"""Figures of the group page, and the folds in which they stand, family by family: all that is there without script."""

from __future__ import annotations

from spectra_bids.columns import BLOCKS, CLUSTERS
from spectra_bids.figures.overviews import MOST_COLUMNS, coverage_map, detectable_overview, effect_overview
from spectra_bids.figures.plots import cell_map, effect_profile, group_profile, is_true
from spectra_bids.report import words
from spectra_bids.report.lines import picture
from spectra_bids.report.measured import FEWEST, varies_within, without_small_groups
from spectra_bids.report.pages import Block, FigureItem, Fold, Gallery, GroupPage, Notice, Picture, Prose, TableItem
from spectra_bids.report.subject import alphanumeric
from spectra_bids.report.tables import table
from spectra_bids.report.words import Family, families

#: Bundles drawn over all families.
MOST_BUNDLES = 150
#: Bytes of figures that stand in a page; all of them are files.
FIGURE_BYTES = 1_000_000

BLOCK_HEADINGS = {
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
DESCRIPTIONS = {c.name: c.description for c in (*CLUSTERS, *BLOCKS)} | {
    "kind": "1D: along the tract; 2D: and across it"
}


def figures(page: GroupPage) -> tuple[FigureItem, ...]:
    """Coverage, an overview per family, and maps and profiles of the bundles worth a look, named as files."""
    out = []
    if page.coverage.size:
        text = "One column per session, one row per bundle; the colour is the status."
        shares = page.level == "group"
        if shares or len(page.coverage) > MOST_COLUMNS:
            text = "One bar per bundle: the share of the sessions with each status."
        out.append(
            FigureItem(
                f"model-{alphanumeric(page.name)}_desc-coverage", "Coverage", text, coverage_map(page.coverage, shares)
            )
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
            if page.level == "group":
                mine = without_small_groups(mine, by)
            if not len(mine):
                return out
            if varies_within(mine, by):
                caption += (
                    f" {by} differs between the sessions of a person, so these curves mix changes within people with "
                    "differences between them."
                )
            caption += " Marked nodes have a rejected cell." if family.kind == "2D" else " Rejected nodes are marked."
            sheet = group_profile(
                mine, family.scalar, by, units, ends, hit, bundle, FEWEST if page.level == "group" else 1
            )
            out.append(FigureItem(f"{stem}profile{family.kind}", bundle, caption, sheet, family.name))
    return out


def folds(page: GroupPage, every: list[Family], drawn: tuple[FigureItem, ...]) -> tuple[Block, ...]:
    """A fold per family: selected blocks, clusters and figures, as many as the page has room for."""
    blocks: list[Block] = []
    shown = sum(len(family.shown) for family in every)
    if shown > MOST_BUNDLES:
        text = f"{shown} bundles stand out over all families; the first {MOST_BUNDLES} are drawn, the tables hold all."
        blocks.append(Notice("note", "Not every bundle is drawn", text))
    kept = within_budget(drawn, {family.name for family in every if family.found})
    if len(kept) < len(drawn):
        text = (
            f"{len(kept)} of {len(drawn)} figures stand in this page, so that it stays small; all are files in "
            f"group/model-{page.name}/figures."
        )
        blocks.append(Notice("note", "Not every figure is in this page", text))
    for f, family in enumerate(every):
        mine = [item for item in drawn if item.group == family.name and item.name in kept]
        over = tuple(item for item in mine if "_desc-overview" in item.name or "_desc-mde" in item.name)
        rest = tuple(item for item in mine if item not in over)
        inside: list[Block] = [Prose((words.outcome(family),))]
        if family.found:
            inside += [_block_table(family, page), *_cluster_tables(family)]
            seen = _pictures(page, f, family)
            if rest or seen:
                inside.append(Gallery((*rest, *seen)))
        elif said := words.nothing_found(family):
            inside.append(Prose((said,)))
        inside += [*over, *_sweep(family)]
        row = family.main
        remark = (
            f"{int(row['n_rejected'])} rejected" if family.found else "nothing found" if family.tested else "not tested"
        )
        blocks.append(Fold(family.name, tuple(inside), remark=remark))
    return tuple(blocks)


def _pictures(page: GroupPage, f: int, family: Family) -> tuple[Picture, ...]:
    """Bundles in 3D, those that were rendered."""
    caption = "The statistic on the bundle's streamlines, in the colours of the map."
    found = ((b, picture(page, family.kind, family.scalar, family.contrast, b)) for b in family.shown)
    return tuple(Picture(uri, f, b, f"{b}. {caption}") for b, uri in found if uri)


def within_budget(drawn: tuple[FigureItem, ...], found: set[str], budget: int = FIGURE_BYTES) -> set[str]:
    """Names of the figures that stand in the page: those of families with findings first."""
    kept: set[str] = set()
    for item in sorted(drawn, key=lambda item: bool(item.group) and item.group not in found):
        size = sum(len(panel.svg) for panel in item.sheet.panels)
        if size <= budget:
            budget -= size
            kept.add(item.name)
    return kept


def _block_table(family: Family, page: GroupPage) -> TableItem:
    keys = ("block", *further(page), "n_cells", "n_valid", "p_block", "q_block", "n_rejected")
    heads = [(key, block_heading(key, page), DESCRIPTIONS[key]) for key in keys]
    if family.kind == "1D":
        heads = [(key, "Nodes" if key == "n_cells" else text, said) for key, text, said in heads]
    name = f"selected-{alphanumeric(family.name)}"
    what = f"Selected {family.noun}s" if page.settings.decision.hierarchical else "Bundles with rejected cells"
    return table(name, family.chosen, heads, f"{what}, the smallest p first.", tools=len(family.chosen) > 12)


def block_heading(key: str, page: GroupPage) -> str:
    """Heading of a column of BLOCKS."""
    return page.noun.capitalize() if key == "block" else BLOCK_HEADINGS[key]


def further(page: GroupPage) -> tuple[str, ...]:
    """The bundles of blocks that are none, where their names do not say them."""
    return ("bundle",) if page.noun == "block" else ()


def _cluster_tables(family: Family) -> tuple[TableItem, ...]:
    if not len(family.clusters):
        return ()
    heads = [(key, text, DESCRIPTIONS[key]) for key, text in _CLUSTER_HEADINGS.items()]
    if family.kind == "1D":
        heads = [(key, "Nodes" if key == "n_cells" else text, said) for key, text, said in heads]
        heads = [head for head in heads if head[0] not in ("r_low", "r_high", "width_mm")]
    frame = family.clusters.sort_values("cluster", kind="stable").copy()
    unknown = (
        "label_peak",
        "labels",
        "place",
        "side",
        *(f"{a}{p}_mm" for p in ("", "_peak") for a in "xyz"),
        "length_mm",
    )
    frame = frame.drop(columns=[key for key in unknown if key in frame and frame[key].isna().all()])  # as if imported
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
