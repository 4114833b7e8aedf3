"""Small multiples for print, one panel per bundle: profiles per group with rejected nodes, and (s, r) maps.

Input are tables with the columns of `columns.FITS_*` + `DECISIONS`, and measured profiles joined with the design.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectra_bids.figures.plots import _mean_and_interval, _outline, _range, _runs, groups, is_true
from spectra_bids.figures.press import (
    Press,
    axes_at,
    columns,
    fitted,
    legend,
    legend_height,
    new_figure,
    panel_letter,
    write,
)
from spectra_bids.figures.sheets import along_mm, draw_cells, positions, value_axis
from spectra_bids.figures.style import (
    ACCENT,
    FONT_SIZE,
    LINE_STYLES,
    SERIES,
    direction,
    diverging,
    label,
    limits,
    number,
    sequential,
)

if TYPE_CHECKING:
    import pandas as pd

#: Hatching of cells without a test.
_HATCH = "#a3aeb9"
#: A panel is at least so wide, mm.
_LEAST = 56.0


@dataclass(frozen=True, eq=False)
class BundlePanel:
    """One bundle: its name as shown, rows of the tables, letters of the ends of s and of the sides of r."""

    name: str
    rows: pd.DataFrame
    ends: tuple[str, str] | None = None
    sides: tuple[str, str] | None = None
    rejected: NDArray[np.int_] | None = None


@dataclass(frozen=True)
class Scale:
    """What colours mean: a column of the tables, its words, colour limits, and whether 0 is in the middle."""

    column: str
    words: str
    limits: tuple[float, float]
    signed: bool

    @property
    def colours(self) -> Any:
        """The map of colours."""
        return diverging() if self.signed else sequential()


def scale_of(rows: pd.DataFrame, column: str, words: str, signed: bool) -> Scale:
    """Scale of the known values of a column: symmetric about 0, or from 0 on."""
    top = limits(rows[column].where(rows["p"].notna()), centred=True)[1]
    return Scale(column, words, (-top if signed else 0.0, top), signed)


@dataclass(frozen=True)
class _Grid:
    """Where panels stand: columns, and mm of a panel's plot, margins and pitch."""

    columns: int
    left: float
    width: float
    gap: float
    height: float
    above: float
    pitch: float
    top: float

    @property
    def room(self) -> float:
        """Width in mm that a bundle's name may take: up to the letter of the next panel."""
        return self.width + 0.2 * self.gap

    def place(self, k: int) -> tuple[float, float]:
        """Upper left corner of the k-th plot, mm."""
        return (
            self.left + (k % self.columns) * (self.width + self.gap),
            self.top + (k // self.columns) * self.pitch + self.above,
        )


def _grid(
    press: Press, panels: int, left: float, gap: float, right: float, ratio: float, *, named: bool, top: float = 0.0
) -> _Grid:
    """Panels of equal size; lengths in units of the type's size."""
    em = press.em
    n = columns(press, panels, _LEAST)
    width = (press.width - (left + right + gap * (n - 1)) * em) / n
    height = min(ratio * width, 70.0)
    above = (1.7 if named or press.letters else 0.6) * em
    return _Grid(n, left * em, width, gap * em, height, above, above + height + 3.6 * em, press.head + top)


def profiles_figure(
    press: Press, panels: Sequence[BundlePanel], scalar: str, by: str, words: str, rejected: str = "rejected"
) -> tuple[Any, str]:
    """Measured mean and its 95 % confidence interval along each bundle, per group; returns figure and caption.

    Parameters
    ----------
    press : Press
    panels : sequence of BundlePanel
        `rows`: participant, s, s_mm, the scalar and the column `by`.
    scalar, by : str
        Columns of the scalar and of the groups ("" for one band).
    words : str
        The scalar as the axis shows it, with its unit.
    rejected : str
        Words of the mark of rejected nodes.

    """
    bands = _bands(panels, scalar, by)
    hits = any(panel.rejected is not None and len(panel.rejected) for panel in panels)
    handles, entries = _entries(bands, rejected if hits else "")
    above = legend_height(press, entries)
    grid = _grid(press, len(panels), 5.6, 1.6, 1.3, 0.62, named=len(panels) > 1, top=above)
    figure = new_figure(press, press.head + above + -(-len(panels) // grid.columns) * grid.pitch)
    span = _range([v for mine in bands.values() for band in mine for v in (*band.low, *band.high, *band.mean)])
    for k, panel in enumerate(panels):
        x, y = grid.place(k)
        axes = axes_at(figure, press, x, y, grid.width, grid.height)
        nodes, unit = positions(panel.rows)
        for j, mine in enumerate(bands.values()):
            band = mine[k]
            axes.fill_between(nodes, band.low, band.high, color=SERIES[j], alpha=0.2, linewidth=0)
            axes.plot(nodes, band.mean, linewidth=1.1, color=SERIES[j], linestyle=LINE_STYLES[j])
        _mark(axes, nodes, panel.rejected)
        along_mm(axes, np.asarray(nodes, np.float64), panel.ends, unit)
        value_axis(axes, span)
        if len(panels) > 1:
            write(figure, press, x, y - 0.55 * press.em, fitted(press, panel.name, grid.room))
        first = k % grid.columns == 0
        panel_letter(figure, press, k, x - (4.9 if first else 1.2) * press.em, y - 0.45 * press.em)
        if first:
            axes.set_ylabel(label(words, 40), size=FONT_SIZE, labelpad=3)
        else:
            axes.tick_params(labelleft=False)
    legend(figure, press, grid.left, handles, entries)
    people = "; ".join(entries[: len(bands)])
    text = f"Measured mean along the tract and its 95 % confidence interval, not adjusted for covariates ({people})."
    return figure, text + (f" Bars on the axis: {rejected} nodes." if hits else " No node is rejected.")


@dataclass(frozen=True, eq=False)
class _Band:
    """Mean and ends of its interval along one bundle, each (ns,), of n people."""

    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    n: int


def _bands(panels: Sequence[BundlePanel], scalar: str, by: str) -> dict[str, list[_Band]]:
    """Name of a group -> its band in every panel; groups are made over all panels, so that they are the same ones."""
    import pandas as pd

    rows = pd.concat([panel.rows.assign(panel=k) for k, panel in enumerate(panels)], ignore_index=True)
    out: dict[str, list[_Band]] = {}
    for name, mine in groups(rows, by):
        for k, panel in enumerate(panels):
            nodes = positions(panel.rows)[0].index.to_numpy()
            mean, half, n = _mean_and_interval(mine[mine["panel"] == k], scalar, nodes)
            out.setdefault(name or "all", []).append(_Band(mean, mean - half, mean + half, n))
    return out


def _entries(bands: dict[str, list[_Band]], rejected: str) -> tuple[list[Any], list[str]]:
    """Handles and words of the legend."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], linewidth=1.1, color=SERIES[j], linestyle=LINE_STYLES[j]) for j in range(len(bands))]
    names = [f"{label(name, 26)} ({_counts([band.n for band in mine])})" for name, mine in bands.items()]
    if rejected:
        handles.append(Line2D([], [], linewidth=3, color=ACCENT))
        names.append(rejected)
    return handles, names


def _mark(axes: Any, nodes: pd.Series[float], rejected: NDArray[np.int_] | None) -> None:
    """Rejected nodes as a bar on the axis and a faint band behind the curves, neighbours joined."""
    if rejected is None or not len(rejected):
        return
    x = np.asarray(nodes, np.float64)
    step = float(np.median(np.diff(x))) if len(x) > 1 else 1.0
    at = nodes.reindex(rejected).dropna().to_numpy(float)
    low, high = np.asarray(at - step / 2, np.float64), np.asarray(at + step / 2, np.float64)
    for start, stop in _runs(low, high, step):
        axes.axvspan(start, stop, color=ACCENT, alpha=0.08, linewidth=0, zorder=0)
        axes.axvspan(start, stop, ymax=0.025, color=ACCENT, linewidth=0, zorder=4)


def _counts(ns: Sequence[int]) -> str:
    """Number of people, as a range where it differs between bundles."""
    low, high = min(ns), max(ns)
    return f"n = {high}" if low == high else f"n = {low}–{high}"


def maps_figure(press: Press, panels: Sequence[BundlePanel], scale: Scale) -> tuple[Any, str]:
    """(s, r) maps of bundles on one colour scale, rejected cells outlined; returns figure and caption.

    Parameters
    ----------
    press : Press
    panels : sequence of BundlePanel
        `rows`: FITS_2D + DECISIONS of one bundle, scalar and contrast.
    scale : Scale

    """
    named = len(panels) > 1
    grid = _grid(press, len(panels), 4.2, 4.4, 7.4, 0.6, named=named)
    figure = new_figure(press, press.head + -(-len(panels) // grid.columns) * grid.pitch)
    hits = 0
    hatched = False
    for k, panel in enumerate(panels):
        x, y = grid.place(k)
        axes = axes_at(figure, press, x, y, grid.width, grid.height)
        values = panel.rows[scale.column].where(panel.rows["p"].notna()).to_numpy(float)
        draw_cells(axes, panel.rows, values, scale.colours, scale.limits)
        for patch in axes.patches:
            patch.set_edgecolor(_HATCH)
        _mm_axes(axes, panel)
        hit = is_true(panel.rows["rejected"])
        if hit.any():
            edges = _outline(panel.rows.loc[hit, ["s", "r"]].to_numpy(int), "#10161d" if scale.signed else "#ffffff")
            edges.set_linewidth(1.1)
            axes.add_collection(edges)
        hits, hatched = hits + int(hit.sum()), hatched or not np.isfinite(values).all()
        if named:
            write(figure, press, x, y - 0.55 * press.em, fitted(press, panel.name, grid.room))
        panel_letter(figure, press, k, x - 3.6 * press.em, y - 0.45 * press.em)
    x, y = grid.place(grid.columns - 1)
    bar(figure, press, scale, x + grid.width + 1.2 * press.em, y, grid.height)
    text = f"{scale.words}, by place along and across the tract."
    text += f" Outlined: {hits} rejected cells." if hits else " No cell is rejected."
    return figure, text + (" Hatched: cells without a test." if hatched else "")


def _mm_axes(axes: Any, panel: BundlePanel) -> None:
    """Round mm on axes of node and bin numbers; the ends of s in words, the sides of r, which are short, in letters."""
    from matplotlib.ticker import MaxNLocator

    for axis, column, steps in ((axes.xaxis, "s", 4), (axes.yaxis, "r", 3)):
        place = panel.rows.groupby(column)[f"{column}_mm"].median()
        mm, index = place.to_numpy(float), place.index.to_numpy(float)
        ticks = [t for t in MaxNLocator(steps, steps=[1, 2, 2.5, 5, 10]).tick_values(mm.min(), mm.max())
                 if mm.min() <= t <= mm.max()]  # fmt: skip
        axis.set_ticks(list(np.interp(ticks, mm, index)), [number(t) for t in ticks])
    axes.tick_params(length=1.8)
    axes.set_xlabel(f"{direction(panel.ends)} (mm)" if panel.ends else "mm", size=FONT_SIZE, labelpad=2)
    axes.set_ylabel(f"{' → '.join(panel.sides)} (mm)" if panel.sides else "mm", size=FONT_SIZE, labelpad=1)


def bar(figure: Any, press: Press, scale: Scale, x: float, y: float, height: float) -> None:
    """Colour bar at x, y mm, its words along it."""
    axes = axes_at(figure, press, x, y, 0.9 * press.em, height)
    low, high = scale.limits
    axes.imshow(
        np.linspace(0, 1, 256)[:, None], cmap=scale.colours, aspect="auto", origin="lower", extent=(0, 1, low, high),
        interpolation="none",
    )  # fmt: skip
    ticks = [low, 0.0, high] if scale.signed else [low, (low + high) / 2, high]
    axes.yaxis.tick_right()
    axes.set_yticks(ticks, [number(tick) for tick in ticks])
    axes.set_xticks([])
    axes.tick_params(length=1.8, pad=1.5)
    axes.spines[:].set_visible(False)
    axes.yaxis.set_label_position("right")
    axes.set_ylabel(label(scale.words, 44), size=FONT_SIZE, labelpad=2)
