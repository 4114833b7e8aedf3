"""Figures for print: sizes in mm, type in points, the inks of a theme, fonts embedded, the same bytes every time.

A figure is laid out in mm from its upper left corner (`axes_at`), drawn in the house's inks at the house's type size,
and brought to the size, theme and least line width of the press at the end (`finish`).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from spectra_bids.errors import UsageError
from spectra_bids.figures.style import ACCENT, FONT_SIZE, INK, MUTED, PAPER, RULE, SERIES, house_style, label

Format = Literal["svg", "pdf", "png"]
FORMATS: tuple[Format, ...] = ("svg", "pdf", "png")
_SHORT_SIDE = {", left": " L", ", right": " R"}
_SHORT = {"fasciculus": "fasc.", "longitudinal": "long.", "Inferior": "Inf.", "Superior": "Sup.", "radiation": "rad."}
#: Thinner lines break up in print.
THINNEST = 0.5
_MM = 25.4
#: Inks on a dark ground, as the report's pages have them.
_DARK = {
    INK: "#e3e8ed",
    MUTED: "#9fadba",
    RULE: "#47535f",
    ACCENT: "#ef9a61",
    PAPER: "#171e26",
    **dict(zip(SERIES, ("#74b2dc", "#e6ad5c", "#b79be0", "#62c8ba", "#e291b1", "#a3b2c2"), strict=True)),
}


@dataclass(frozen=True)
class Press:
    """How figures are printed.

    Parameters
    ----------
    width : float, mm
    dpi : int
        Of PNG files, and of pictures inside SVG and PDF files.
    font_size : float, points
    font : str
        Family; DejaVu Sans comes with matplotlib and is the same on every machine.
    dark, transparent : bool
        Inks for a dark ground; no ground at all.
    letters : tuple of str
        Letters of the panels; empty for none.
    title : str or None
        Heading; None for none.
    outlines : bool
        Text of SVG files as outlines instead of text.

    """

    width: float = 180.0
    dpi: int = 300
    font_size: float = 8.0
    font: str = "DejaVu Sans"
    dark: bool = False
    transparent: bool = False
    letters: tuple[str, ...] = ()
    title: str | None = None
    outlines: bool = True

    def __post_init__(self) -> None:
        if not 30 <= self.width <= 600:
            raise UsageError(f"--width must lie in 30..600 mm. Got {self.width:g} mm", "85mm is a column, 180mm a page")
        if not 4 <= self.font_size <= 24:
            raise UsageError(f"--font-size must lie in 4..24 points. Got {self.font_size:g}")
        if not 50 <= self.dpi <= 1200:
            raise UsageError(f"--dpi must lie in 50..1200. Got {self.dpi}")

    @property
    def em(self) -> float:
        """The type's size in mm."""
        return self.font_size / 72 * _MM

    @property
    def ground(self) -> str:
        """Colour behind the figure."""
        return _DARK[PAPER] if self.dark else "#ffffff"

    @property
    def head(self) -> float:
        """Height in mm that the heading takes."""
        return 0.0 if self.title is None else 2.0 * self.em


@contextmanager
def press_style(press: Press) -> Iterator[None]:
    """Settings of matplotlib for one press, while a figure is made and saved."""
    import matplotlib as mpl

    ink = _DARK if press.dark else {}
    muted = ink.get(MUTED, MUTED)
    with house_style():
        mpl.rcParams.update(
            {
                "font.family": [press.font],
                "font.size": press.font_size,
                "pdf.fonttype": 42,
                "svg.fonttype": "path" if press.outlines else "none",
                "axes.facecolor": "none",
                "axes.linewidth": THINNEST,
                "hatch.linewidth": THINNEST,
                "hatch.color": _DARK[MUTED],
                "text.color": ink.get(INK, INK),
                **{f"{axis}tick.{name}": muted for axis in "xy" for name in ("color", "labelcolor")},
                **{f"{axis}tick.major.width": THINNEST for axis in "xy"},
            }
        )
        yield


def require_font(name: str) -> None:
    """UsageError for a font family that is not installed; names those that sound alike."""
    from difflib import get_close_matches

    from matplotlib.font_manager import fontManager

    known = sorted({font.name for font in fontManager.ttflist})
    if name not in known:
        near = get_close_matches(name, known, 5, 0.4) or known[:5]
        raise UsageError(
            f"--font {name!r} is not installed. There are: {', '.join(near)}", "DejaVu Sans is always there"
        )


def new_figure(press: Press, height: float) -> Any:
    """A figure of the press's width and of a height, both mm, with its heading."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(press.width / _MM, height / _MM), dpi=press.dpi)
    FigureCanvasAgg(figure)
    figure.patch.set(facecolor=press.ground, alpha=0.0 if press.transparent else 1.0)
    if press.title:
        write(figure, press, 0.4 * press.em, 0.4 * press.em, press.title, weight="bold", va="top", size=FONT_SIZE + 1)
    return figure


def axes_at(figure: Any, press: Press, x: float, y: float, width: float, height: float) -> Any:
    """Axes whose upper left corner is x, y mm from the figure's."""
    full = figure.get_figheight() * _MM
    box = (x / press.width, 1 - (y + height) / full, width / press.width, height / full)
    axes = figure.add_axes(box)
    axes.patch.set_alpha(0.0)
    return axes


def write(figure: Any, press: Press, x: float, y: float, text: str, **look: Any) -> None:
    """Text at x, y mm from the upper left corner."""
    look = {"size": FONT_SIZE, "va": "baseline"} | look
    figure.text(x / press.width, 1 - y / (figure.get_figheight() * _MM), text, **look)


def text_width(press: Press, text: str, size: float = FONT_SIZE) -> float:
    """Width in mm of a text at one of the house's sizes, as the press prints it."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    if not text.strip():
        return 0.0
    path = TextPath((0, 0), text, size=size * press.font_size / FONT_SIZE, prop=FontProperties(family=press.font))
    return float(path.get_extents().x1) / 72 * _MM


def fitted(press: Press, text: str, width: float, size: float = FONT_SIZE) -> str:
    """A bundle's name in so many mm: as it is, else with the side as a letter, abbreviated, cut."""
    text = label(text, 60)
    for change in ({}, _SHORT_SIDE, _SHORT):
        for long, short in change.items():
            text = text.replace(long, short)
        if text_width(press, text, size) <= width:
            return text
    while len(text) > 4 and text_width(press, text + "…", size) > width:
        text = text[:-1].rstrip(" ,.")
    return text + "…"


def panel_letter(figure: Any, press: Press, number: int, x: float, y: float) -> None:
    """Letter of a panel, its baseline at x, y mm; nothing where letters are not wanted."""
    if not press.letters:
        return
    last = press.letters[-1]
    beyond = number - len(press.letters) + 1
    letter = press.letters[number] if beyond <= 0 else chr(ord(last[-1]) + beyond)
    write(figure, press, x, y, letter, weight="bold", size=FONT_SIZE + 1.5)


def columns(press: Press, panels: int, least: float) -> int:
    """Columns that panels are set in, each at least so many mm wide."""
    return max(1, min(panels, int(press.width / least)))


def legend_height(press: Press, names: Sequence[str]) -> float:
    """Height in mm that a legend above the panels takes."""
    rows = -(-len(names) // max(1, _legend_columns(press, names)))
    return (0.9 + 1.5 * rows) * press.em


def _legend_columns(press: Press, names: Sequence[str]) -> int:
    """Columns in which a legend's entries fit the figure: one row if their widths do, else as many as the widest."""
    widths = _entry_widths(press, names)
    room = press.width - 2 * press.em
    return len(names) if sum(widths) <= room else max(1, int(room / max(widths)))


def _entry_widths(press: Press, names: Sequence[str]) -> list[float]:
    return [text_width(press, name) + 4.4 * press.em for name in names] or [0.0]


def legend(figure: Any, press: Press, left: float, handles: Sequence[Any], names: Sequence[str]) -> None:
    """Legend above the panels, from `left` mm on, or further to the left where it is wide."""
    columns, widths = _legend_columns(press, names), _entry_widths(press, names)
    wide = sum(widths) if columns == len(names) else columns * max(widths)
    x = max(press.em, min(left, press.width - press.em - wide))
    figure.legend(
        list(handles), list(names), loc="upper left", ncols=columns, frameon=False, handlelength=2.0,
        bbox_to_anchor=(x / press.width, 1 - (press.head + 0.5 * press.em) / (figure.get_figheight() * _MM)),
        columnspacing=1.4, borderaxespad=0, borderpad=0.15, handletextpad=0.5, labelspacing=0.35,
        fontsize=FONT_SIZE, labelcolor=MUTED,
    )  # fmt: skip


def finish(figure: Any, press: Press) -> None:
    """Type to the press's size, lines to its least width, inks to its theme."""
    from matplotlib.lines import Line2D
    from matplotlib.text import Text

    ticks = {text for axes in figure.axes for text in (*axes.get_xticklabels(), *axes.get_yticklabels())}
    for text in figure.findobj(Text):
        if text not in ticks:
            text.set_fontsize(text.get_fontsize() * press.font_size / FONT_SIZE)
    for line in figure.findobj(Line2D):
        if 0 < line.get_linewidth() < THINNEST:
            line.set_linewidth(THINNEST)
    for axes in figure.axes:
        for lines in (*axes.get_xgridlines(), *axes.get_ygridlines()):
            lines.set_linewidth(max(lines.get_linewidth(), THINNEST))
    if press.dark:
        _recolour(figure)


def save(figure: Any, press: Press, kind: Format) -> bytes:
    """The figure as a file: no date, no program, no host in it."""
    nothing: dict[str, dict[str, None]] = {
        "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
        "png": {"Software": None},
    }
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=press.dpi, metadata=nothing[kind], facecolor=figure.get_facecolor())
    return buffer.getvalue()


def _recolour(figure: Any) -> None:
    """Replace the inks of the light theme by those of the dark one, wherever they are used."""
    from matplotlib.colors import to_hex, to_rgba, to_rgba_array

    def changed(colour: Any) -> Any:
        try:
            rows = to_rgba_array(colour)
        except (ValueError, TypeError):
            return None
        named = [_DARK.get(to_hex(row)) for row in rows]
        if not any(named):
            return None
        out = [to_rgba(new, row[3]) if new else tuple(row) for new, row in zip(named, rows, strict=True)]
        return out if np.ndim(colour) == 2 else out[0]

    for artist in figure.findobj():
        for name in ("color", "edgecolor", "facecolor", "markeredgecolor", "markerfacecolor"):
            getter, setter = getattr(artist, f"get_{name}", None), getattr(artist, f"set_{name}", None)
            if getter is None or setter is None:
                continue
            new = changed(getter())
            if new is not None:
                setter(new)


def joined(names: Sequence[str], most: int = 8) -> str:
    """Names in words, the last of many left out."""
    shown = ", ".join(names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
