"""The page of a voxel-wise analysis: summary, design, results by contrast with pictures and peaks, methods."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spectra_bids import __version__
from spectra_bids.report import procedures
from spectra_bids.report.pages import (
    Block,
    ContrastItem,
    DesignSummary,
    FigureItem,
    Fold,
    Notice,
    Prose,
    Section,
    TableItem,
)
from spectra_bids.report.references import MODEL_KEYS, REFERENCES
from spectra_bids.report.results import design_blocks
from spectra_bids.report.subject import provenance
from spectra_bids.report.tables import p_text, table
from spectra_bids.report.words import MEANING_OF_NOTHING, counted
from spectra_bids.settings import DecisionSettings, FitSettings

if TYPE_CHECKING:
    import pandas as pd

#: Rows of a table of peaks on the page; the files hold all.
MOST_ROWS = 60

_PEAK_HEADINGS = {
    "cluster": "#",
    "x_mm": "x, mm",
    "y_mm": "y, mm",
    "z_mm": "z, mm",
    "value": "Peak",
    "p": "p",
    "q": "q",
    "n_voxels": "Voxels",
    "n_rejected": "Rejected",
    "label": "Label",
    "percent": "%",
    "percent_label": "% of label",
    "n_voxels_label": "Voxels of label",
}
_MODES = {
    "clusters": "Clusters: a row per cluster and region",
    "extended": "Extended local maxima: a row per maximum and region around it",
    "maxima": "Local maxima: the region at each",
}


@dataclass(frozen=True)
class ContrastPart:
    """One contrast: its row of the summary, blocks, tables of peaks by mode, pictures."""

    item: ContrastItem
    label: str
    summary: Mapping[str, Any]
    blocks: pd.DataFrame
    peaks: Mapping[str, pd.DataFrame]
    figures: tuple[FigureItem, ...]
    two_sided: bool


@dataclass(frozen=True)
class VoxelPage:
    """One voxel-wise analysis.

    Parameters
    ----------
    name, formula : str
    contrasts : tuple of ContrastPart
    design : DesignSummary
    decision : DecisionSettings
    tails : "two" or "one"
    random : bool
        Whether the model has a random part.
    n_voxels : int
    statuses : DataFrame
        status, voxels, meaning.
    threshold, extent : float, int
        What pictures and tables show.
    peaks_about : mapping of column to description
    has_regions : bool
        Whether blocks are regions.
    facts, provenance : mapping of name to text
    command : str
    notices : tuple of Notice

    """

    name: str
    formula: str
    contrasts: tuple[ContrastPart, ...]
    design: DesignSummary
    decision: DecisionSettings
    tails: str
    random: bool
    n_voxels: int
    statuses: pd.DataFrame
    threshold: float
    extent: int
    peaks_about: Mapping[str, str]
    has_regions: bool
    provenance: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    notices: tuple[Notice, ...] = ()


def sections(page: VoxelPage) -> tuple[Section, ...]:
    """All sections, in reading order."""
    notices: tuple[Block, ...] = page.notices
    return (
        Section("summary", "Summary", (*_summary(page), *notices)),
        Section("design", "Design", design_blocks(page.formula, page.design, tuple(c.item for c in page.contrasts))),
        Section("results", "Results", tuple(_contrast(page, part) for part in page.contrasts)),
        Section("fits", "Fits", (_fits(page),)),
        Section(
            "guarantee", "What the procedure guarantees", (Prose(_voxelwise(procedures.guarantee(page.decision))),)
        ),
        Section("methods", "Methods", (Prose(_methods(page)), Fold("References", (Prose(_references(page)),)))),
        provenance(page.provenance, page.command),
    )


def _summary(page: VoxelPage) -> tuple[Block, ...]:
    lead = (
        f"{counted(page.design.n_rows, 'image')} of {counted(page.design.n_subjects, 'person', 'people')}, "
        f"{counted(page.n_voxels, 'voxel')} in the mask, {counted(len(page.contrasts), 'contrast')}: {page.formula}."
    )
    heads = [
        ("contrast", "Contrast", ""),
        ("n_valid", "Voxels tested", ""),
        ("n_selected", "Regions selected", ""),
        ("n_rejected", "Voxels rejected", ""),
        ("n_positive", "positive", "rejected, statistic above 0"),
        ("n_negative", "negative", "rejected, statistic below 0"),
        ("value_max", "Largest statistic", ""),
        ("value_min", "Smallest statistic", ""),
        ("p_min", "Smallest p", "uncorrected"),
    ]
    import pandas as pd

    frame = pd.DataFrame([dict(part.summary) for part in page.contrasts])
    out: list[Block] = [Prose((lead,), lead=True), table("summary-table", frame, heads, "What was found.")]
    if not any(part.summary["n_rejected"] for part in page.contrasts):
        out.append(Notice("note", "Nothing was found", MEANING_OF_NOTHING))
    return tuple(out)


def _contrast(page: VoxelPage, part: ContrastPart) -> Fold:
    """Words, pictures and tables of one contrast."""
    row = part.summary
    found = int(row["n_rejected"])
    text = f"{counted(found, 'voxel')} of {row['n_valid']:,} rejected"
    if page.has_regions and page.decision.hierarchical:
        text += f", in {counted(int(row['n_selected']), 'region')} of {int(row['n_blocks'])}"
    text += f"; the smallest p is {p_text(float(row['p_min']))}."
    if row["statistic"] == "t" and found:
        text += f" {int(row['n_positive']):,} of the rejected are above 0, {int(row['n_negative']):,} below."
    sides = "on both sides of 0" if part.two_sided else "above 0" if row["statistic"] == "t" else ""
    shown = (
        f"Pictures and tables show {' '.join(filter(None, (row['statistic'], sides)))} beyond {page.threshold:g}, the "
        f"tables clusters of at least {counted(page.extent, 'voxel')}. This threshold is for display: what is "
        "significant is said by q."
    )
    inside: list[Block] = [Prose((text, shown)), *part.figures]
    if page.has_regions:
        inside.append(Fold("All regions", (_regions(part),)))
    inside += [_peaks(page, part, mode) for mode in _MODES]
    shown_side = int(row["n_positive"]) if row["statistic"] == "t" and not part.two_sided else found
    remark = f"{shown_side:,} rejected" if shown_side else "nothing found"
    if found > shown_side:
        remark += f" above 0; {found - shown_side:,} below"
    return Fold(part.item.name, tuple(inside), is_open=shown_side > 0, remark=remark)


def _regions(part: ContrastPart) -> TableItem:
    heads = [
        ("block", "Region", ""),
        ("n_voxels", "Voxels", ""),
        ("n_valid", "Tested", ""),
        ("p_block", "p region", ""),
        ("q_block", "q region", ""),
        ("selected", "Selected", ""),
        ("n_rejected", "Rejected", ""),
    ]
    frame = part.blocks.sort_values("p_block", kind="stable")
    return table(f"regions-{part.label}", frame, heads, "Regions, the smallest p first.", tools=True)


def _peaks(page: VoxelPage, part: ContrastPart, mode: str) -> Block:
    """A table of peaks, folded."""
    frame = part.peaks[mode]
    if not len(frame):
        return Prose((f"{_MODES[mode].partition(':')[0]}: none.",)) if mode == "clusters" else Prose(())
    keys = [k for k in _PEAK_HEADINGS if mode == "clusters" or k != "percent_label"]
    if frame["label"].isna().all():
        keys = [k for k in keys if "label" not in k and k != "percent"]
    heads = [(key, _PEAK_HEADINGS[key], page.peaks_about.get(key, "")) for key in keys]
    rest = len(frame) - MOST_ROWS
    more = f" The file holds {rest:,} more rows." if rest > 0 else ""
    shown = table(f"{mode}-{part.label}", frame.head(MOST_ROWS), heads, _MODES[mode] + "." + more, tools=len(frame) > 8)
    return Fold(_MODES[mode].partition(":")[0], (shown,), is_open=mode == "clusters", remark=counted(len(frame), "row"))


def _fits(page: VoxelPage) -> TableItem:
    heads = [("status", "Fit", ""), ("voxels", "Voxels", ""), ("meaning", "Meaning", "")]
    return table("fit-statuses", page.statuses, heads, "What became of the fits.")


def _methods(page: VoxelPage) -> tuple[str, ...]:
    sided = (
        "p values of T contrasts are one-sided, in the direction of the contrast."
        if page.tails == "one"
        else "p values of T contrasts are two-sided, whatever side of them is shown."
    )
    regions = "" if page.has_regions else " All voxels of the mask are one family."
    text = procedures.model_text(FitSettings(), page.random)
    return _voxelwise(
        (
            f"Voxel-wise inference used spectra_bids {__version__} with the formula {page.formula}. {text} {sided}",
            "Missing values are left out voxel by voxel. Voxels without a valid p value leave the family: they are "
            f"neither p = 1 nor p = 0.{regions}",
            *procedures.correction(page.decision),
            "Maps were drawn by nilearn.",
        )
    )


def _voxelwise(paragraphs: tuple[str, ...]) -> tuple[str, ...]:
    """The procedures' words, whose cells are voxels here and whose blocks are regions."""
    words = {"cells": "voxels", "cell": "voxel", "Cells": "Voxels", "Cell": "Voxel", "bundles": "regions"}
    words |= {"bundle": "region", "Bundles": "Regions", "Bundle": "Region"}
    texts = (text.replace("one contrast of one scalar, 1D and 2D apart", "one contrast") for text in paragraphs)
    return tuple(re.sub(r"\b([Cc]ells?|[Bb]undles?)\b", lambda m: words[m[1]], text) for text in texts)


def _references(page: VoxelPage) -> tuple[str, ...]:
    keys = [*(MODEL_KEYS if page.random else ())]
    keys += ["benjamini2014", "bogomolov2021"] if page.decision.hierarchical else []
    keys += ["benjamini2006"] if page.decision.adaptive else ["benjamini1995"]
    return tuple(REFERENCES[key].text for key in dict.fromkeys(keys))
