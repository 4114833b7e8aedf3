"""How every figure looks: ink, series, maps, type; and the blank panel that all of them start from.

Colours are quiet, told apart by people with any colour vision, and never red against green. A page replaces the named
inks by its own (light or dark, see `svg.inline`); a figure on disk keeps those below.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

INK = "#1d2733"
MUTED = "#5d6b7a"
RULE = "#c9d1d9"
ACCENT = "#b3541e"
PAPER = "#fdfdfc"
#: Groups in order: petrol, ochre, violet, teal, rose, slate; the line style tells them apart as well.
SERIES = ("#1f5f8b", "#c07a1a", "#7b5aa6", "#2a9d8f", "#b5577b", "#64748b")
LINE_STYLES = ("-", (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (6, 1.5, 1, 1.5)), (0, (3, 3)), (0, (8, 2)))
#: What a page may recolour: CSS custom property of each ink.
INKS = {
    INK: "--ink",
    MUTED: "--muted",
    RULE: "--rule",
    ACCENT: "--accent",
    PAPER: "--paper",
    **{colour: f"--series-{k + 1}" for k, colour in enumerate(SERIES)},
}

FONT_SIZE = 8.5
#: On screen the page's own type. DejaVu Sans, inside matplotlib, sets the measures: bytes do not depend on a host.
FONT_STACK = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"

_WORDS = {"L": "left", "R": "right", "P": "posterior", "A": "anterior", "I": "inferior", "S": "superior"}
_RC = {
    "svg.hashsalt": "spectra_bids",
    "svg.fonttype": "none",
    "text.parse_math": False,  # a `$` in a user's label is a dollar sign
    "font.family": ["DejaVu Sans"],
    "font.size": FONT_SIZE,
    "hatch.linewidth": 0.5,
    "axes.linewidth": 0.6,
    "axes.edgecolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "axes.labelcolor": MUTED,
    "text.color": INK,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.pad": 2.0,
    "ytick.major.pad": 2.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Our settings of matplotlib, while a figure is made and saved; the user's own matplotlibrc plays no part.

    Nor do NumPy's print options, which a library may have set: ids in an SVG are hashes of printed numbers.
    """
    import matplotlib as mpl

    with mpl.rc_context(), np.printoptions(legacy=False):
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)
        yield


def blank(
    width: float, height: float, left: float = 34, right: float = 8, top: float = 18, bottom: float = 28
) -> tuple[Any, Any]:
    """Figure of width x height points with one set of axes inside the margins (points)."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72))
    FigureCanvasSVG(figure)
    box = (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
    return figure, figure.add_axes(box)


def heading(figure: Any, axes: Any, text: str, side: str = "", limit: int = 44) -> None:
    """Title at the upper left of the axes, a short remark at the upper right."""
    box = axes.get_position()
    top = box.y1 + 6 / (figure.get_figheight() * 72)
    figure.text(box.x0, top, label(text, limit), ha="left", va="bottom", weight="bold", size=FONT_SIZE)
    if side:
        figure.text(box.x1, top, label(side, 30), ha="right", va="bottom", color=MUTED, size=FONT_SIZE - 0.5)


def label(text: object, limit: int = 60) -> str:
    """A user's text as it may stand in a figure: no control characters, at most `limit` characters."""
    plain = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in str(text))
    plain = " ".join(plain.split())
    return plain if len(plain) <= limit else plain[: limit - 1].rstrip() + "…"


def direction(ends: tuple[str, str] | None) -> str:
    """("P", "A") -> "posterior → anterior"; an unknown letter stands for itself."""
    if not ends:
        return ""
    return " → ".join(_WORDS.get(end, label(end, 12)) for end in ends)


def end_word(end: str) -> str:
    """The word of a letter: P is posterior; an unknown letter stands for itself."""
    return _WORDS.get(end, label(end, 12))


def _oklab_to_srgb(lab: NDArray[np.float64]) -> NDArray[np.float64]:
    """OKLab (N, 3) -> sRGB (N, 3) in 0..1 (Ottosson 2020)."""
    lms = (
        lab
        @ np.array(
            [[1, 1, 1], [0.3963377774, -0.1055613458, -0.0894841775], [0.2158037573, -0.0638541728, -1.291485548]]
        )
    ) ** 3
    linear = lms @ np.array(
        [
            [4.0767416621, -1.2684380046, -0.0041960863],
            [-3.3077115913, 2.6097574011, -0.7034186147],
            [0.2309699292, -0.3413193965, 1.707614701],
        ]
    )
    linear = np.clip(linear, 0, 1)
    srgb: NDArray[np.float64] = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return srgb


def _leg(light: float, dark: float, chroma: float, hue: float, steps: int) -> NDArray[np.float64]:
    """Colours of one hue whose lightness falls evenly, (steps, 3) OKLab."""
    u = np.linspace(0, 1, steps)
    c = chroma * np.sin(u * np.pi * 0.58) / np.sin(np.pi * 0.5)
    return np.column_stack([light + (dark - light) * u, c * np.cos(hue), c * np.sin(hue)])


def diverging() -> Any:
    """Blue - white - orange, lightness even in OKLab and the same on both sides; for signed statistics."""
    from matplotlib.colors import ListedColormap

    blue = _leg(0.97, 0.40, 0.125, np.deg2rad(250), 128)
    orange = _leg(0.97, 0.40, 0.125, np.deg2rad(52), 128)
    return ListedColormap(_oklab_to_srgb(np.vstack([blue[::-1], orange])), name="spectra_diverging")


def sequential() -> Any:
    """Ink blue - teal - sand, lightness even in OKLab (so grey print and any colour vision keep the order).

    The darkest still stands out from dark paper.
    """
    from matplotlib.colors import ListedColormap

    u = np.linspace(0, 1, 256)
    hue = np.deg2rad(np.interp(u, [0, 0.5, 1], [270, 205, 92]))
    chroma = np.interp(u, [0, 0.35, 0.7, 1], [0.06, 0.085, 0.085, 0.06])
    lab = np.column_stack([0.35 + 0.59 * u, chroma * np.cos(hue), chroma * np.sin(hue)])
    return ListedColormap(_oklab_to_srgb(lab), name="spectra_sequential")


def limits(values: ArrayLike, centred: bool = False) -> tuple[float, float]:
    """Colour or axis limits of the finite values: 1st..99th percentile, opened where they coincide."""
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    if finite.size == 0:
        return (-1.0, 1.0) if centred else (0.0, 1.0)
    if centred:
        top = float(np.abs(finite).max()) or 1.0
        return -top, top
    low, high = (float(x) for x in np.percentile(finite, [1, 99]))
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-12):
        pad = abs(low) * 0.05 or 0.5
        return low - pad, high + pad
    return low, high


def number(value: float) -> str:
    """Three significant digits, as people write them: 0.45, 0.00072, 12.3, −3.1."""
    if not np.isfinite(value):
        return "n/a"
    magnitude = abs(value)
    text = f"{value:.3g}" if magnitude < 1000 else f"{value:.0f}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        return f"{mantissa}e{int(exponent)}".replace("-", "−")
    return text.replace("-", "−")
