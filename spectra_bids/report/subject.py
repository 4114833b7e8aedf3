"""The participant page: what ran and what failed, coverage, profiles, quality, methods, provenance."""

from __future__ import annotations

from typing import Any

import pandas as pd

from spectra_bids.columns import BUNDLE
from spectra_bids.figures.sheets import heat_sheet, missing_marks, profile_sheet
from spectra_bids.report import methods, usable
from spectra_bids.report.cards import band_words, cards
from spectra_bids.report.pages import (
    Block,
    Code,
    Facts,
    FigureItem,
    Fold,
    Notice,
    ParticipantPage,
    Prose,
    Section,
    SessionPart,
)
from spectra_bids.report.tables import table
from spectra_bids.report.words import counted

_DESCRIPTIONS = {column.name: column.description for column in BUNDLE}
_COLUMNS = (
    ("bundle", "Bundle"),
    ("n_streamlines", "Streamlines"),
    ("length_mm", "Length, mm"),
    ("volume_mm3", "Volume, mm³"),
    ("source", "Name in the input"),
)


def figures(page: ParticipantPage) -> tuple[FigureItem, ...]:
    """Profile and heat sheets of every session and scalar, named as files."""
    out = []
    for part in page.sessions:
        stem = f"sub-{page.subject}" + (f"_ses-{part.label}" if part.label else "")
        for scalar, units in page.units.items():
            name = f"{stem}_desc-%s_scalar-{alphanumeric(scalar)}_tractometry"
            along, left_out = measured(part.profile_1d, scalar)
            if along is not None:
                marks = missing_marks(along, scalar)
                out.append(
                    FigureItem(
                        name % "profile1D",
                        f"{scalar} along the tract",
                        f"Line: mean at each node, weighted by the inverse distance to it. {band_words(page, scalar)} "
                        "All panels share one scale." + (f" Missing nodes: {marks}." if marks else "") + left_out,
                        profile_sheet(along, scalar, units, page.ends, page.norms),
                        part.label,
                        scalar,
                        _bundles(along),
                        tuple(marks.split(", ")) if marks else (),
                    )
                )
            across, left_out = measured(part.profile_2d, scalar)
            if across is not None:
                out.append(
                    FigureItem(
                        name % "profile2D",
                        f"{scalar} along and across the tract",
                        "Mean of each cell: along the tract to the right, across it upwards. Hatched cells have no "
                        "value; blank ones are outside the grid. All panels share one scale." + left_out,
                        heat_sheet(across, scalar, units, page.ends, page.sides),
                        part.label,
                        scalar,
                        _bundles(across),
                    )
                )
    return tuple(out)


def _bundles(table: pd.DataFrame) -> tuple[str, ...]:
    """Bundles in the order of the table's panels."""
    return tuple(dict.fromkeys(table["bundle"].astype(str)))


def measured(table: pd.DataFrame | None, scalar: str) -> tuple[pd.DataFrame | None, str]:
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
    frames = [_quality(page, part) for part in page.sessions]
    out = [Section("summary", "What ran", _summary(page, frames))]
    for part, frame in zip(page.sessions, frames, strict=True):
        name, said = suffix(part), f" · session {part.label}" if part.label else ""
        out.append(Section(f"quality{name}", f"Quality{said}", usable.blocks(part, frame, name)))
        mine = [item for item in drawn if item.group == part.label]
        out.append(Section(f"bundles{name}", f"Bundles{said}", cards(page, part, frame, mine)))
        out.append(Section(f"numbers{name}", f"Numbers{said}", _numbers(page, part)))
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


def _quality(page: ParticipantPage, part: SessionPart) -> pd.DataFrame:
    band = None
    if page.norms is not None and part.profile_1d is not None:
        band = usable.unusual(part.profile_1d, list(page.units), page.norms)
    return usable.quality(part, page.axis, band)


def provenance(items: Any, command: str) -> Section:
    """Where the numbers come from: inputs, versions, hash, command."""
    blocks: list[Block] = [
        Facts((*((str(k), str(v)) for k, v in items.items()), ("Software", methods.versions_text())))
    ]
    if command:
        blocks.append(Code(command, "Command"))
    return Section("provenance", "Provenance", tuple(blocks))


def _summary(page: ParticipantPage, frames: list[pd.DataFrame]) -> tuple[Block, ...]:
    blocks: list[Block] = []
    failed = len(page.crashes)
    for part, frame in zip(page.sessions, frames, strict=True):
        start = f"Session {part.label}. " if part.label else ""
        blocks.append(Prose((f"{start}{usable.verdict(frame)} Measured: {', '.join(page.units)}.",), lead=True))
        flags = part.bundles.loc[part.bundles["distance_median_mm"].notna(), "flag"].astype(str)
        if len(flags) and (flags != "none").all():  # a far bundle in a far session is flagged as the former
            meaning = usable.FLAGS["far_session"]
            text = f"{meaning[0].upper()}{meaning[1:]}. Look at the registration before using these profiles."
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


def _numbers(page: ParticipantPage, part: SessionPart) -> tuple[Block, ...]:
    """Size and means of every bundle."""
    described = [(key, heading, _DESCRIPTIONS.get(key, "")) for key, heading in _COLUMNS]
    described += [
        (s, f"{s}{', ' + u if u else ''}", f"Mean of {s} over all valid points of the bundle")
        for s, u in page.units.items()
    ]
    said = "Means over all valid points of each bundle; n/a is a value that could not be measured, never 0."
    return (table(f"bundles{suffix(part)}", part.bundles, described, said, tools=True),)


def suffix(part: SessionPart) -> str:
    """What tells a session's anchors from another's."""
    return f"-{alphanumeric(part.label)}" if part.label else ""


def status_words(status: str) -> str:
    """no_bundle -> no bundle."""
    return status.replace("_", " ")


def alphanumeric(text: object) -> str:
    """A label as a BIDS entity's value (and an id) may hold it: ASCII letters and digits; x where nothing is left."""
    return "".join(c for c in str(text) if c.isascii() and c.isalnum())[:60] or "x"
