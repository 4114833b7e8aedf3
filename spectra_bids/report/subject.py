"""The participant page: what ran and what failed, coverage, profiles, quality, methods, provenance."""

from __future__ import annotations

from typing import Any

import pandas as pd

from spectra_bids.columns import BUNDLE, STATUSES
from spectra_bids.figures.sheets import heat_sheet, missing_marks, profile_sheet
from spectra_bids.report import methods
from spectra_bids.report.pages import (
    Block,
    Bullets,
    Code,
    Facts,
    FigureItem,
    Fold,
    Notice,
    ParticipantPage,
    Prose,
    Section,
    SessionPart,
    TableItem,
)
from spectra_bids.report.tables import table
from spectra_bids.report.words import counted

_DESCRIPTIONS = {column.name: column.description for column in BUNDLE}
_FLAGS = {
    "far_bundle": "the median distance of the bundle's points to the atlas bundle is above 8 mm",
    "far_session": "the median distance over all bundles of the session is above 4 mm",
}
ROUTES = {
    "none": "none: the bundles were used as they are",
    "xfm": "transforms of the preprocessing derivatives",
    "slr": "streamline linear registration (affine) to the atlas bundles",
}


def figures(page: ParticipantPage) -> tuple[FigureItem, ...]:
    """Profile and heat sheets of every session and scalar, named as files."""
    out = []
    for part in page.sessions:
        stem = f"sub-{page.subject}" + (f"_ses-{part.label}" if part.label else "")
        for scalar, units in page.units.items():
            name = f"{stem}_desc-%s_scalar-{alphanumeric(scalar)}_tractometry"
            along, left_out = _measured(part.profile_1d, scalar)
            if along is not None:
                marks = missing_marks(along, scalar)
                out.append(
                    FigureItem(
                        name % "profile1D",
                        f"{scalar} along the tract",
                        "Line: mean at each node, weighted by the inverse distance to it. Band: one standard deviation "
                        "over the node's points. All panels share one scale."
                        + (f" Missing nodes: {marks}." if marks else "")
                        + left_out,
                        profile_sheet(along, scalar, units, page.ends),
                        part.label,
                    )
                )
            across, left_out = _measured(part.profile_2d, scalar)
            if across is not None:
                out.append(
                    FigureItem(
                        name % "profile2D",
                        f"{scalar} along and across the tract",
                        "Mean of each cell: along the tract to the right, across it upwards. Hatched cells have no "
                        "value; blank ones are outside the grid. All panels share one scale." + left_out,
                        heat_sheet(across, scalar, units, page.ends, page.sides),
                        part.label,
                    )
                )
    return tuple(out)


def _measured(table: pd.DataFrame | None, scalar: str) -> tuple[pd.DataFrame | None, str]:
    """Rows of the bundles that have a value (None: no bundle has one), and a sentence on those that have none."""
    if table is None or scalar not in table or table.empty:
        return None, ""
    has = table[scalar].notna().groupby(table["bundle"], sort=False).transform("any")
    if not has.any():
        return None, ""
    absent = list(dict.fromkeys(table.loc[~has, "bundle"].astype(str)))
    return table[has], f" Without any value, hence not drawn: {', '.join(absent)}." if absent else ""


def sections(page: ParticipantPage, drawn: tuple[FigureItem, ...]) -> tuple[Section, ...]:
    """All sections, in reading order."""
    out = [Section("summary", "What ran", _summary(page))]
    for part in page.sessions:
        suffix, said = (f"-{alphanumeric(part.label)}", f" · session {part.label}") if part.label else ("", "")
        out.append(Section(f"coverage{suffix}", f"Bundles{said}", _coverage(page, part)))
        mine: list[Block] = [item for item in drawn if item.group == part.label]
        if mine:
            out.append(Section(f"profiles{suffix}", f"Profiles{said}", tuple(mine)))
        out.append(Section(f"registration{suffix}", f"Registration and quality{said}", _quality(part)))
    routes = [part.route for part in page.sessions]
    text: tuple[Block, ...] = (
        Prose(methods.participant_methods(page.settings, routes)),
        Fold("References", (Prose(methods.participant_references(routes)),)),
    )
    out.append(Section("methods", "Methods", text))
    out.append(provenance(page.provenance, page.command))
    if page.crashes:
        out.append(Section("errors", "Errors", tuple(Code(crash.text, crash.where) for crash in page.crashes)))
    return tuple(out)


def provenance(items: Any, command: str) -> Section:
    """Where the numbers come from: inputs, versions, hash, command."""
    blocks: list[Block] = [
        Facts((*((str(k), str(v)) for k, v in items.items()), ("Software", methods.versions_text())))
    ]
    if command:
        blocks.append(Code(command, "Command"))
    return Section("provenance", "Provenance", tuple(blocks))


def _summary(page: ParticipantPage) -> tuple[Block, ...]:
    blocks: list[Block] = []
    failed = len(page.crashes)
    for part in page.sessions:
        status = part.bundles["status"].astype(str)
        good = int((status == "ok").sum())
        name = f"Session {part.label}" if part.label else "This subject"
        lead = f"{name}: {good} of {counted(len(status), 'bundle')} usable, for {', '.join(page.units)}."
        blocks.append(Prose((lead,), lead=True))
        missing = [
            (f"{status_words(s)} ({int((status == s).sum())})", f"{STATUSES.get(s, '')}: {_where(part, 'status', s)}.")
            for s in dict.fromkeys(status)
            if s != "ok"
        ]
        if missing:
            blocks.append(Bullets(tuple(missing)))
        flags = part.bundles.loc[part.bundles["distance_median_mm"].notna(), "flag"].astype(str)
        if len(flags) and (flags != "none").all():  # a far bundle in a far session is flagged as the former
            text = f"{_FLAGS['far_session'].capitalize()}. Look at the registration before using these profiles."
            blocks.append(Notice("warning", "The bundles lie far from the atlas", text))
    if failed:
        blocks.insert(
            0,
            Notice(
                "error",
                f"{counted(failed, 'job')} crashed",
                "What went wrong is at the end of the page; the tracebacks are in the subject's log folder.",
            ),
        )
    if not page.sessions:
        blocks.append(Prose(("No session has results.",), lead=True))
    return (*blocks, *page.notices)


def _where(part: SessionPart, column: str, value: str) -> str:
    """Bundles with a value in a column, in words."""
    return ", ".join(part.bundles.loc[part.bundles[column].astype(str) == value, "bundle"].astype(str))


def _coverage(page: ParticipantPage, part: SessionPart) -> tuple[Block, ...]:
    columns = [
        ("bundle", "Bundle"),
        ("status", "Status"),
        ("n_streamlines", "Streamlines"),
        ("length_mm", "Length, mm"),
        ("volume_mm3", "Volume, mm³"),
        ("distance_median_mm", "Distance, median mm"),
        ("distance_p95_mm", "Distance, p95 mm"),
        ("share_outside", "Outside"),
        ("share_jumping", "Jumping"),
        ("flag", "Flag"),
        ("source", "Source"),
    ]
    described = [(key, heading, _DESCRIPTIONS.get(key, "")) for key, heading in columns]
    described += [
        (s, f"{s}{', ' + u if u else ''}", f"Mean of {s} over all valid points of the bundle")
        for s, u in page.units.items()
    ]
    frame = part.bundles.assign(status=part.bundles["status"].astype(str).map(status_words))
    frame["flag"] = frame["flag"].astype(str).map(status_words)
    item = table(
        f"bundles{'-' + alphanumeric(part.label) if part.label else ''}",
        frame,
        described,
        "One row per bundle of the atlas; n/a is a value that could not be measured, never 0.",
        tools=True,
        tones=_tones,
    )
    return (item,)


def _tones(row: Any) -> dict[str, str]:
    out = {}
    if str(row.get("status")) != "ok":
        out["status"] = "warn"
    if str(row.get("flag")).replace(" ", "_") in _FLAGS:
        out |= {"flag": "warn", "distance_median_mm": "warn"}
    return out


def _quality(part: SessionPart) -> tuple[Block, ...]:
    facts = (("Route to atlas space", ROUTES.get(part.route, part.route)), *part.route_facts)
    blocks: list[Block] = [Facts(facts)]
    flags = part.bundles["flag"].astype(str)
    raised = [
        (f"{status_words(flag)} ({int((flags == flag).sum())})", f"{meaning}: {_where(part, 'flag', flag)}.")
        for flag, meaning in _FLAGS.items()
        if (flags == flag).any()
    ]
    blocks.append(Bullets(tuple(raised)) if raised else Prose(("No registration flag was raised.",)))
    blocks.append(
        Prose(
            (
                "Distances are from the bundle's points to the nearest point of the atlas bundle. The 95th percentile "
                "is shown without judging it: it measures how bundles are defined, 8–11 mm even where alignment is "
                "right. Outside: share of points outside the scalar map's field of view. Jumping: share of streamlines "
                "whose node index leaps by more than a fifth of the bundle, as happens where a bundle curls back on "
                "itself.",
            )
        )
    )
    used = _statuses_used(part)
    if used.rows:
        blocks.append(used)
    return tuple(blocks)


def _statuses_used(part: SessionPart) -> TableItem:
    """What the statuses in the profile tables mean, with counts."""
    counts: dict[str, dict[str, int]] = {}
    for kind, profile in (("1D nodes", part.profile_1d), ("2D cells", part.profile_2d)):
        if profile is not None:
            for status, n in profile["status"].astype(str).value_counts().items():
                counts.setdefault(str(status), {})[kind] = int(n)
    rows = [
        {
            "status": s,
            "1D nodes": c.get("1D nodes", 0),
            "2D cells": c.get("2D cells", 0),
            "meaning": STATUSES.get(s, ""),
        }
        for s, c in sorted(
            counts.items(), key=lambda item: list(STATUSES).index(item[0]) if item[0] in STATUSES else 99
        )
    ]
    columns = [
        ("status", "Status", ""),
        ("1D nodes", "1D nodes", ""),
        ("2D cells", "2D cells", ""),
        ("meaning", "Meaning", ""),
    ]
    name = f"statuses{'-' + alphanumeric(part.label) if part.label else ''}"
    return table(
        name, pd.DataFrame(rows, columns=[c[0] for c in columns]), columns, "Status of every row of the profiles."
    )


def status_words(status: str) -> str:
    """no_bundle -> no bundle."""
    return status.replace("_", " ")


def alphanumeric(text: object) -> str:
    """A label as a BIDS entity's value (and an id) may hold it: ASCII letters and digits; x where nothing is left."""
    return "".join(c for c in str(text) if c.isascii() and c.isalnum())[:60] or "x"
