"""Page model -> HTML: one file, everything inline, no other host, the same bytes for the same model.

The Content-Security-Policy in the page forbids every request and every script but ours (by its hash); autoescape is
on, so labels from users' files stay text.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

from spectra_bids import __version__
from spectra_bids.figures.svg import inline
from spectra_bids.report import results, subject, voxels
from spectra_bids.report.pages import FigureItem, GroupPage, ParticipantPage, Section


def participant_figures(page: ParticipantPage) -> tuple[FigureItem, ...]:
    """Figures of a participant page: `name` is the stem of the file, `svg` its text."""
    return subject.figures(page)


def group_figures(page: GroupPage) -> tuple[FigureItem, ...]:
    """Figures of a group page: `name` is the stem of the file, `svg` its text."""
    return _distinct(results.figures(page))


def participant_page(page: ParticipantPage, drawn: tuple[FigureItem, ...] | None = None) -> str:
    """HTML of a participant page.

    Parameters
    ----------
    page : ParticipantPage
        Tables and words of one subject.
    drawn : tuple of FigureItem, optional
        What `participant_figures(page)` returned, if it has been called already.

    """
    shown = participant_figures(page) if drawn is None else drawn
    return _render(f"sub-{page.subject}", "Participant report", subject.sections(page, shown))


def group_page(page: GroupPage, drawn: tuple[FigureItem, ...] | None = None) -> str:
    """HTML of a group page.

    Parameters
    ----------
    page : GroupPage
        Tables and words of one model.
    drawn : tuple of FigureItem, optional
        What `group_figures(page)` returned, if it has been called already.

    """
    shown = group_figures(page) if drawn is None else drawn
    return _render(f"model-{page.name}", "Group report", results.sections(page, shown))


def voxel_page(page: voxels.VoxelPage) -> str:
    """HTML of the page of a voxel-wise analysis."""
    return _render(page.name, "Voxel-wise report", voxels.sections(page))


def _distinct(drawn: tuple[FigureItem, ...]) -> tuple[FigureItem, ...]:
    """Labels lose their punctuation in file names; where two names fall together, the later gets a number."""
    from dataclasses import replace

    seen: dict[str, int] = {}
    out = []
    for item in drawn:
        seen[item.name] = seen.get(item.name, 0) + 1
        out.append(item if seen[item.name] == 1 else replace(item, name=f"{item.name}{seen[item.name]}"))
    return tuple(out)


def _render(title: str, subtitle: str, sections: tuple[Section, ...]) -> str:
    environment = _environment()
    script = _asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    counter = iter(range(1_000_000))
    return str(
        environment.get_template("base.html.jinja").render(
            title=title,
            subtitle=subtitle,
            sections=sections,
            css=_asset("page.css"),
            script=script,
            script_hash=f"sha256-{digest}",
            version=__version__,
            svg=lambda panel: _safe(inline(panel, f"f{next(counter)}-")),
        )
    )


def _safe(text: str) -> Any:
    """SVG that `figures.svg.inline` has serialised: its text nodes and attributes are escaped there."""
    from markupsafe import Markup

    return Markup(text)


@cache
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("spectra_bids.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _asset(name: str) -> str:
    return files("spectra_bids.report").joinpath("templates", name).read_text("utf-8")
