"""Figure -> SVG text: small, the same bytes every time, and fit to be put into a page or beside others.

A figure is a `Sheet`: one or more panels. On disk they stand in one file (`Sheet.svg`); a page sets them one by one,
so that they reflow on a narrow screen (`inline`).
"""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ET
from dataclasses import dataclass, replace
from typing import Any

from spectra_bids.figures.style import FONT_STACK, INKS, PAPER

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "{http://www.w3.org/1999/xlink}"
_FAMILY = re.compile(r"font-family:[^;]*;?\s*")
_NUMBER = re.compile(r"-?\d+\.\d{3,}(?!\d*e)")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


@dataclass(frozen=True)
class Panel:
    """One picture: standalone SVG text, what it shows in words, its size in points."""

    svg: str
    text: str
    width: float
    height: float


@dataclass(frozen=True)
class Sheet:
    """Panels of one figure, in reading order, and the number of columns they take on disk."""

    panels: tuple[Panel, ...]
    columns: int = 4

    @property
    def svg(self) -> str:
        """All panels in one standalone SVG, row by row."""
        if len(self.panels) == 1:
            return self.panels[0].svg
        columns = max(1, min(self.columns, len(self.panels)))
        width = max((p.width for p in self.panels), default=1)
        height = max((p.height for p in self.panels), default=1)
        rows = -(-len(self.panels) // columns)
        root = _root(width * columns, height * rows)
        for k, panel in enumerate(self.panels):
            inner = _prefixed(ET.fromstring(panel.svg), f"p{k}-")
            x, y = k % columns * width, k // columns * height
            inner.attrib.update(x=f"{x:g}", y=f"{y:g}", width=f"{panel.width:g}", height=f"{panel.height:g}")
            root.append(inner)
        return _text(root)


def panel(figure: Any, text: str) -> Panel:
    """Save a matplotlib figure: no date, no host, no link; text stays text.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Drawn within `style.house_style`.
    text : str
        What the picture shows, for those who cannot see it.

    """
    buffer = io.StringIO()
    with warnings.catch_warnings():
        # Text is stored as text: glyphs that our measuring font lacks are drawn by the reader's own.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(
            buffer,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    width, height = figure.get_figwidth() * 72, figure.get_figheight() * 72
    root = _root(width, height)
    for child in ET.fromstring(buffer.getvalue()):
        root.append(_lean(child))
    _drop_unused_ids(root)
    return Panel(_text(root), text, round(width, 2), round(height, 2))


def inline(item: Panel, prefix: str) -> str:
    """The panel as an element of an HTML page.

    Ids get the prefix, named inks become the page's custom properties, and namespaces (which look like links) go:
    HTML knows them.
    """
    root = _prefixed(ET.fromstring(item.svg), prefix)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        if "href" not in element.attrib and _XLINK + "href" in element.attrib:
            element.attrib["href"] = element.attrib.pop(_XLINK + "href")
        style = element.attrib.get("style")
        if style and "#" in style:
            element.attrib["style"] = re.sub(r"#[0-9a-f]{6}\b", _page_ink, style)
    for name in ("width", "height", "style", "font-family"):
        root.attrib.pop(name, None)
    root.attrib.update({"role": "img", "aria-label": item.text})
    return ET.tostring(root, encoding="unicode")


def retitled(item: Panel, title: str) -> Panel:
    """The panel with another heading: its first bold text."""
    root = ET.fromstring(item.svg)
    for element in root.iter():
        style = element.attrib.get("style", "")
        if element.tag.endswith("}text") and ("bold" in style or "700" in style):
            element.text = title
            break
    return replace(item, svg=_text(root))


def _page_ink(match: re.Match[str]) -> str:
    name = INKS.get(match[0])
    return f"var({name})" if name else match[0]


def _root(width: float, height: float) -> ET.Element:
    size = {"width": f"{width:g}", "height": f"{height:g}", "viewBox": f"0 0 {width:g} {height:g}"}
    paper = {"font-family": FONT_STACK, "style": f"background: {PAPER}", "stroke-linejoin": "round"}
    return ET.Element(f"{{{_SVG}}}svg", {**size, **paper})


def _lean(element: ET.Element) -> ET.Element:
    """Without matplotlib's page-wide style and font list, and with coordinates to a hundredth of a point."""
    for parent in list(element.iter()):
        for child in list(parent):
            if child.tag.endswith("}style"):
                parent.remove(child)
        parent.tail = None
        if parent.text and not parent.text.strip():
            parent.text = None
        attributes = parent.attrib
        if "d" in attributes:
            path = _NUMBER.sub(lambda m: f"{float(m[0]):.2f}", attributes["d"])
            attributes["d"] = " ".join(path.split())
        for name in ("x", "y"):
            if name in attributes and parent.tag.endswith(("}use", "}text")):
                attributes[name] = _NUMBER.sub(lambda m: f"{float(m[0]):.2f}", attributes[name])
        if parent.tag.endswith("}text"):
            attributes["style"] = _FAMILY.sub("", attributes.get("style", ""))
            if attributes.get("transform", "").startswith("rotate(-0 "):
                del attributes["transform"]
        if parent.tag.endswith("}image") and _XLINK + "href" in attributes:
            attributes[_XLINK + "href"] = "".join(attributes[_XLINK + "href"].split())
    return element


def _drop_unused_ids(root: ET.Element) -> None:
    used = set()
    for element in root.iter():
        for value in element.attrib.values():
            used.update(_REFERENCE.findall(value))
        used.add(element.attrib.get(_XLINK + "href", "").removeprefix("#"))
    for element in root.iter():
        if element.attrib.get("id", "") not in used:
            element.attrib.pop("id", None)


def _prefixed(root: ET.Element, prefix: str) -> ET.Element:
    """Every id and every reference to one with a prefix, so that several figures can share a document."""
    for element in root.iter():
        for name, value in element.attrib.items():
            if name == "id":
                element.attrib[name] = prefix + value
            elif name == _XLINK + "href" and value.startswith("#"):
                element.attrib[name] = f"#{prefix}{value[1:]}"
            elif "url(#" in value:
                element.attrib[name] = _REFERENCE.sub(rf"url(#{prefix}\1)", value)
    return root


def _text(root: ET.Element) -> str:
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _XLINK.strip("{}"))
    return ET.tostring(root, encoding="unicode")
