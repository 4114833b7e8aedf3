"""Page model -> HTML: one file, everything inline, no other host, the same bytes for the same model.

The Content-Security-Policy in the page forbids every request and every script but ours (by its hash); autoescape is
on, so labels from users' files stay text.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

from spectra_bids import __version__
from spectra_bids.figures.svg import inline
from spectra_bids.report import drawings, lines, ltpa, quality, results, subject, voxels
from spectra_bids.report.pages import FigureItem, GroupPage, ParticipantPage, Section
from spectra_bids.report.payload import PAGE_BYTES, payload
from spectra_bids.report.privacy import without_persons
from spectra_bids.report.quality_model import QualityPage
from spectra_bids.report.words import families

_LONG_WORD = re.compile(r"(?<![^\s(])([^\W_]{17,})(?![-_/\w])")  # no part of a path or an address
_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z][a-z])")


def participant_figures(page: ParticipantPage) -> tuple[FigureItem, ...]:
    """Figures of a participant page: `name` is the stem of the file, `svg` its text."""
    return subject.figures(page)


def group_figures(page: GroupPage) -> tuple[FigureItem, ...]:
    """Figures of a group page: `name` is the stem of the file, `svg` its text."""
    return _distinct(drawings.figures(without_persons(page)))


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
    page = without_persons(page)
    title, sections = f"model-{page.name}", results.sections(page, shown)
    if not families(page):
        return _render(title, "Group report", sections)
    assets = Assets(
        (*lines.scene_scripts(page), _explorer_script()), tuple(lines.scene_elements(page)), lines.scene_hashes(page)
    )
    bare = _render(title, "Group report", sections, assets)
    carried = payload(page, PAGE_BYTES - len(bare.encode()))
    return _render(
        title, "Group report", sections, replace(assets, data=(*assets.data, *carried.elements), said=carried.said)
    )


def quality_figures(page: QualityPage) -> tuple[FigureItem, ...]:
    """Figures of the page about the quality of all sessions: `name` is the stem of the file, `svg` its text."""
    return _distinct(quality.figures(page))


def quality_page(page: QualityPage, drawn: tuple[FigureItem, ...] | None = None) -> str:
    """HTML of the page about the quality of all sessions; `drawn` as in `group_page`."""
    shown = quality_figures(page) if drawn is None else drawn
    return _render("Quality control", "All sessions", quality.sections(page, shown))


def ltpa_page(page: ltpa.LtpaPage) -> str:
    """HTML of the page of a local termination pattern analysis."""
    return _render(f"ltpa-{page.name}", "Local termination patterns", ltpa.sections(page))


def voxel_page(page: voxels.VoxelPage) -> str:
    """HTML of the page of a voxel-wise analysis."""
    return _render(page.name, "Voxel-wise report", voxels.sections(page))


def _distinct(drawn: tuple[FigureItem, ...]) -> tuple[FigureItem, ...]:
    """Labels lose their punctuation in file names; where two names fall together, the later gets a number."""
    seen: dict[str, int] = {}
    out = []
    for item in drawn:
        seen[item.name] = seen.get(item.name, 0) + 1
        out.append(item if seen[item.name] == 1 else replace(item, name=f"{item.name}{seen[item.name]}"))
    return tuple(out)


@dataclass(frozen=True)
class Assets:
    """What a page carries beside its words: scripts, data elements (id, type, text), hashes of scripts made later."""

    scripts: tuple[str, ...] = ()
    data: tuple[tuple[str, str, str], ...] = ()
    hashes: tuple[str, ...] = ()
    said: str = ""


def _explorer_script() -> str:
    """The explorer's files as one script, their names to themselves."""
    parts = (_asset(f"explorer{part}.js") for part in ("-data", "-map", "-values", ""))
    return '"use strict";\n(() => {\n' + "".join(parts) + "})();\n"


def _render(title: str, subtitle: str, sections: tuple[Section, ...], assets: Assets = Assets()) -> str:
    environment = _environment()
    scripts = (_asset("page.js"), *assets.scripts)
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    counter = iter(range(1_000_000))
    explored = bool(assets.scripts)
    return str(
        environment.get_template("base.html.jinja").render(
            title=title,
            subtitle=subtitle,
            sections=sections,
            css=_asset("page.css") + (_asset("explorer.css") if explored else ""),
            scripts=scripts,
            hashes=" ".join(f"'{value}'" for value in (*(f"sha256-{d}" for d in digests), *assets.hashes)),
            data=assets.data,
            said=assets.said,
            version=__version__,
            svg=lambda panel: _safe(inline(panel, f"f{next(counter)}-")),
            soft=_soft,
        )
    )


def _soft(text: str) -> Any:
    """A text whose long words may break where a capital letter begins."""
    from markupsafe import Markup, escape

    words = _LONG_WORD.split(text)  # every second one is long
    soft = [_CAPITAL.sub("\0", word) if k % 2 else word for k, word in enumerate(words)]
    return Markup("<wbr>").join(map(escape, "".join(soft).split("\0")))


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
