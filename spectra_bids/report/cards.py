"""Bundles one by one: what each looks like, its profile along the tract, its map along and across it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from spectra_bids.figures.sheets import scale_strip
from spectra_bids.figures.style import label
from spectra_bids.figures.svg import Panel, retitled
from spectra_bids.report import usable
from spectra_bids.report.pages import Block, BundleCard, FigureItem, ParticipantPage, Prose, SessionPart
from spectra_bids.report.words import counted

#: Bytes of all panels of a page. What is beyond stays in the files that stand beside it.
MOST_PANEL_BYTES = 2_800_000


def cards(
    page: ParticipantPage, part: SessionPart, frame: pd.DataFrame, drawn: Sequence[FigureItem]
) -> tuple[Block, ...]:
    """The bundles of a session, in the atlas's order; `frame` as `usable.quality` makes it."""
    panels, left_out = _panels(page, part, drawn)
    records: list[Mapping[str, Any]] = frame.to_dict("records")  # type: ignore[assignment]
    found = [(row, usable.concerns(row)) for row in records]
    out: list[Block] = [Prose(_how_to_read(page, part, drawn, left_out))]
    scales = _scales(page, part)
    if scales.panels:
        out.append(scales)
    shown = [
        (row, told) for row, told in found if panels.get(str(row["bundle"])) or str(row["bundle"]) in part.pictures
    ]
    for k, (row, told) in enumerate(shown):
        out.append(_card(part, k, row, told, panels.get(str(row["bundle"]), ())))
    absent = [str(row["bundle"]) for row, _ in found if all(row is not other for other, _ in shown)]
    if absent:
        out.append(Prose((f"Nothing to show of {', '.join(absent)}: the table above says why.",)))
    return tuple(out)


def _card(
    part: SessionPart, k: int, row: Mapping[str, Any], told: Sequence[usable.Concern], panels: Sequence[Panel]
) -> BundleCard:
    name = str(row["bundle"])
    said = "; ".join(concern.text for concern in told) or "usable"
    count = counted(int(row["n_streamlines"]), "streamline")
    remark = said if count in said else f"{count} · {said}"
    if row.get("n_compared"):
        remark += f" · {row['n_out']} of {counted(int(row['n_compared']), 'node')} outside the cohort's band"
    start = f"{part.label}-" if part.label else ""
    return BundleCard(
        name=f"{start}{name if name.isascii() and name.isalnum() else k}",
        title=name,
        remark=remark,
        tone="warn" if told else "",
        panels=tuple(panels),
        picture=part.pictures.get(name),
        without=part.without if part.pictures and name not in part.pictures else "",
    )


def _panels(
    page: ParticipantPage, part: SessionPart, drawn: Sequence[FigureItem]
) -> tuple[dict[str, tuple[Panel, ...]], list[str]]:
    """Bundle -> its panels, scalar by scalar, along the tract before across; and the figures that have no room."""
    out: dict[str, tuple[Panel, ...]] = {}
    left_out, room = [], MOST_PANEL_BYTES // max(1, len(page.sessions))
    order = {scalar: k for k, scalar in enumerate(page.units)}
    for item in sorted(drawn, key=lambda i: ("profile2D" in i.name, order.get(i.scalar, 0))):
        size = sum(len(panel.svg) for panel in item.sheet.panels)
        if size > room:
            left_out.append(item.name)
            continue
        room -= size
    kept = [item for item in drawn if item.name not in left_out]
    for item in kept:
        is_1d = "desc-profile1D" in item.name
        units = page.units.get(item.scalar, "")
        title = f"{label(item.scalar, 18)} {'along the tract' if is_1d else 'along and across'}"
        title += f", {label(units, 8)}" if is_1d and units else ""
        for bundle, panel in zip(item.bundles, item.sheet.panels, strict=False):  # a map's scale comes last
            out[bundle] = (*out.get(bundle, ()), retitled(panel, title))
    return out, left_out


def _scales(page: ParticipantPage, part: SessionPart) -> BundleCard:
    """The colours of the maps and pictures, once for all bundles."""
    table = part.profile_2d
    shown = [s for s in page.units if table is not None and s in table and table[s].notna().any()]
    panels = tuple(scale_strip(table, scalar, page.units[scalar]) for scalar in shown if table is not None)
    name = f"{part.label}-scale" if part.label else "scale"
    return BundleCard(name, "Colours", "the same for all bundles; hatched: no value", "", panels)


def band_words(page: ParticipantPage, scalar: str) -> str:
    """What the band of a 1D profile is."""
    if page.norms is not None and (page.norms["scalar"].astype(str) == scalar).any():
        return (
            f"Grey: the cohort of {counted(page.cohort, 'session')}, median (dashed) and 5th to 95th percentile; a dot "
            "marks a node outside."
        )
    return (
        "Band: one standard deviation over the node's points. Once the group level has run, the participant level with "
        "--reports-only draws the profiles over the cohort's band instead."
    )


def _how_to_read(
    page: ParticipantPage, part: SessionPart, drawn: Sequence[FigureItem], left_out: Sequence[str]
) -> tuple[str, ...]:
    out = []
    if part.pictures:
        first = next(iter(page.units), "")
        out.append(
            f"Pictures: streamlines in atlas space, coloured by the profile of {first} along the tract with the "
            "colours of the maps (grey: not measured). The discs name the two ends as the axes do; letters at the "
            "edges are the directions: left, right, anterior, posterior, superior, inferior."
        )
    marks = dict.fromkeys(mark for item in drawn for mark in item.marks)
    band = band_words(page, next(iter(page.units), ""))
    if part.profile_1d is not None:
        out.append(
            f"Profile along the tract: the mean at each node, weighted by the inverse distance to it. {band}"
            + (f" Nodes without a value: {', '.join(marks)}." if marks else "")
        )
    if part.profile_2d is not None:
        out.append(
            "Map along and across: the mean of each cell, along the tract to the right, across it upwards. Hatched "
            "cells have no value; blank ones are outside the grid. All panels of a scalar share one scale."
        )
    if part.without:
        out.append(part.without)
    if left_out:
        out.append(f"To keep the page small, these are in the figures folder only: {', '.join(left_out)}.")
    return tuple(out)
