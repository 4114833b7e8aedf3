"""Values -> colours of points, and the colour bar that tells them.

    by_value     a number per point, through a map of colours
    by_cell      a number per node (ns,) or cell (ns, nr) of a grid: each point takes its own cell's
    alternating  neighbouring cells told apart, so that the grid itself is seen
    direction    |x|, |y|, |z| of the streamline as red, green, blue

What is not measured (NaN, outside of the map, a cell that is none of the grid's) is grey.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Bundle
from spectra_bids.errors import UsageError
from spectra_bids.figures.scene_model import tangents
from spectra_bids.figures.style import FONT_SIZE, MUTED, diverging, house_style, label, sequential
from spectra_bids.geometry.grid import Assignment, Grid

#: Colour of what is not measured.
GREY = (0.68, 0.70, 0.72)
#: [s even, s odd][r even, r odd]: neighbours differ in hue along s, in lightness along r.
_TILES = np.array([[[0.10, 0.34, 0.52], [0.52, 0.73, 0.87]], [[0.72, 0.42, 0.05], [0.96, 0.78, 0.45]]])


def colour_map(name: str) -> Any:
    """Map of colours by name: matplotlib's, or `sequential` and `diverging`, the house's own.

    Raises
    ------
    UsageError
        There is none of that name.

    """
    import matplotlib as mpl

    if name in ("sequential", "diverging"):
        return sequential() if name == "sequential" else diverging()
    try:
        return mpl.colormaps[name]
    except KeyError as error:
        raise UsageError(
            f"There is no colour map {name!r}",
            "For example sequential, diverging, viridis, cividis, turbo, RdBu_r: matplotlib's names and two more",
        ) from error


def by_value(values: NDArray[np.floating], colours: Any, limits: tuple[float, float]) -> NDArray[np.float32]:
    """Colours (P, 3) of values (P,): the map's first at limits[0], its last at limits[1] and beyond, grey for NaN."""
    low, high = limits
    if not high > low:
        raise ValueError(f"the upper limit of colours must be above the lower one. Got {low:g} and {high:g}")
    known = np.isfinite(values)
    share = np.clip((np.where(known, values, low) - low) / (high - low), 0, 1)
    return np.where(known[:, None], np.asarray(colours(share))[:, :3], GREY).astype(np.float32)


def cell_values(values: NDArray[np.floating], where: Assignment) -> NDArray[np.float64]:
    """A value of every point, (P,), from those of its node, (ns,), or of its cell, (ns, nr)."""
    found = values[where.s] if values.ndim == 1 else values[where.s, where.r_bin]
    return np.asarray(found, np.float64)


def by_cell(
    values: NDArray[np.floating], where: Assignment, colours: Any, limits: tuple[float, float]
) -> NDArray[np.float32]:
    """Colours (P, 3) of points by the value of their node, (ns,), or cell, (ns, nr)."""
    return by_value(cell_values(values, where), colours, limits)


def alternating(grid: Grid, where: Assignment, dimensions: int) -> NDArray[np.float32]:
    """Colours (P, 3) that tell neighbouring nodes (dimensions = 1) or cells (2) apart; grey off the grid."""
    across = where.r_bin % 2 if dimensions == 2 else np.zeros_like(where.s)
    member = grid.in_1d[where.s] if dimensions == 1 else grid.in_2d[where.s, where.r_bin]
    return np.where(member[:, None], _TILES[where.s % 2, across], GREY).astype(np.float32)


def by_direction(bundle: Bundle) -> NDArray[np.float32]:
    """Colours (P, 3): share of left-right in red, of back-front in green, of down-up in blue."""
    return np.abs(tangents(bundle)).astype(np.float32)


def colour_bar(
    colours: Any,
    limits: tuple[float, float],
    title: str = "",
    *,
    dpi: int = 300,
    background: tuple[float, float, float] | None = None,
) -> bytes:
    """A colour bar as a PNG file; without a background if None, in inks that suit it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    dark = background is not None and float(np.dot(background, (0.2126, 0.7152, 0.0722))) < 0.4
    ink = "#d5dbe1" if dark else MUTED
    with house_style():
        figure = Figure(figsize=(0.9, 2.6), dpi=dpi)
        FigureCanvasAgg(figure)
        figure.patch.set(facecolor=background or (1, 1, 1), alpha=0.0 if background is None else 1.0)
        axes = figure.add_axes((0.14, 0.06, 0.2, 0.8))
        bar = figure.colorbar(ScalarMappable(Normalize(*limits), colours), cax=axes)
        bar.outline.set(linewidth=0.5, edgecolor=ink)
        axes.tick_params(labelsize=FONT_SIZE, colors=ink, labelcolor=ink)
        figure.text(0.14, 0.9, label(title, 24), ha="left", va="bottom", size=FONT_SIZE + 0.5, color=ink)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight", pad_inches=0.05, metadata={"Software": None})
    return buffer.getvalue()
