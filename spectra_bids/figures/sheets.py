"""Participant level: all bundles of one scalar as small multiples, along the tract (1D) and across it (2D).

Input are tables with the columns of `columns.PROFILE_1D` / `PROFILE_2D` and the scalar's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectra_bids.figures.style import (
    ACCENT,
    FONT_SIZE,
    MUTED,
    RULE,
    SERIES,
    blank,
    direction,
    heading,
    house_style,
    label,
    limits,
    number,
    sequential,
)
from spectra_bids.figures.svg import Panel, Sheet, panel

if TYPE_CHECKING:
    import pandas as pd

Ends = Mapping[str, tuple[str, str]]

#: Mark of a missing node by status: matplotlib marker, the sign that stands for it in a caption.
MARKS = {
    "no_bundle": ("_", "–"),
    "few_streamlines": ("2", "⅄"),
    "no_points": ("o", "○"),
    "few_points": ("d", "◊"),
    "out_of_fov": ("x", "×"),
    "masked": ("s", "□"),
    "qc_fail": ("v", "▽"),
}
WIDTH, HEIGHT = 214.0, 136.0
_QUANTILES = ("p05", "p50", "p95")


def profile_sheet(table: pd.DataFrame, scalar: str, units: str, ends: Ends, norms: pd.DataFrame | None = None) -> Sheet:
    """Profiles of one session, one panel per bundle: weighted mean, over the cohort's band or with one SD.

    Parameters
    ----------
    table : DataFrame
        Columns of PROFILE_1D, `scalar` and, if there, `<scalar>_sd`; one row per bundle and node.
    scalar, units : str
        Column to draw and its unit.
    ends : mapping of bundle to (low, high)
        Letters of the two ends, as ("P", "A").
    norms : DataFrame, optional
        Columns of NORMS: bundles that are in it have the cohort's median and 5th to 95th percentile.

    """
    spread = table.get(f"{scalar}_sd")
    sd = 0.0 if spread is None else spread
    band = _band(table, scalar, norms)
    drawn = table if band is None else table.assign(**{name: band[name].to_numpy() for name in _QUANTILES})
    if band is None:
        low, high = limits(np.r_[table[scalar] - sd, table[scalar] + sd])
    else:
        low, high = limits(np.r_[table[scalar], band["p05"], band["p95"]])
    pad = 0.04 * (high - low)
    with house_style():
        panels = tuple(
            _profile_panel(str(bundle), rows, scalar, units, ends.get(str(bundle)), (low - pad, high + pad))
            for bundle, rows in drawn.groupby("bundle", sort=False)
        )
    return Sheet(panels)


def _band(table: pd.DataFrame, scalar: str, norms: pd.DataFrame | None) -> pd.DataFrame | None:
    """Quantiles of the cohort at each row of a table; None where there are none at all."""
    if norms is None or norms.empty:
        return None
    mine = norms.loc[norms["scalar"].astype(str) == scalar, ["bundle", "s", *_QUANTILES]]
    found = table[["bundle", "s"]].merge(mine, on=["bundle", "s"], how="left")
    return found if found["p50"].notna().any() else None


def _profile_panel(
    bundle: str, rows: pd.DataFrame, scalar: str, units: str, ends: tuple[str, str] | None, ylim: tuple[float, float]
) -> Panel:
    figure, axes = blank(WIDTH, HEIGHT)
    x = rows["s_mm"].to_numpy(float)
    y = rows[scalar].to_numpy(float)
    known = np.isfinite(y)
    banded = "p50" in rows and rows["p50"].notna().any()
    if banded:
        axes.fill_between(
            x, rows["p05"].to_numpy(float), rows["p95"].to_numpy(float), color=MUTED, alpha=0.2, linewidth=0
        )
        axes.plot(x, rows["p50"].to_numpy(float), color=MUTED, linewidth=0.9, linestyle=(0, (4, 2)))
    elif f"{scalar}_sd" in rows:
        sd = rows[f"{scalar}_sd"].to_numpy(float)
        axes.fill_between(x, y - sd, y + sd, color=SERIES[0], alpha=0.18, linewidth=0)
    axes.plot(x, y, color=SERIES[0], linewidth=1.4)
    alone = known & ~np.r_[False, known[:-1]] & ~np.r_[known[1:], False]  # a line cannot show a single node
    if alone.any():
        axes.plot(x[alone], y[alone], ".", color=SERIES[0], markersize=3)
    said = f"{known.sum()} of {len(rows)} nodes"
    if banded:
        out = known & ((y < rows["p05"].to_numpy(float)) | (y > rows["p95"].to_numpy(float)))
        axes.plot(x[out], y[out], "o", color=ACCENT, markersize=3.8, markeredgewidth=0)
        said += f", {out.sum()} outside the cohort's band"
    axes.set_ylim(*ylim)
    along_mm(axes, x, ends)
    value_axis(axes, ylim)
    statuses = rows["status"].astype(str).to_numpy()
    if not known.any():
        said = _one(statuses).replace("_", " ")
        axes.text(0.5, 0.5, label(said), transform=axes.transAxes, ha="center", va="center", color=ACCENT)
    else:
        _mark_missing(axes, x[~known], statuses[~known])
    heading(figure, axes, bundle, limit=36)
    unit = f" {units}" if units else ""
    mean = f"mean {number(float(y[known].mean()))}{unit}" if known.any() else "no value"
    return panel(figure, f"{label(bundle)}: {label(scalar)} along the tract, {mean}, {said}")


def _mark_missing(axes: Any, x: NDArray[np.float64], statuses: NDArray[Any]) -> None:
    for status in dict.fromkeys(statuses):
        marker = MARKS.get(status, ("|", "|"))[0]
        here = x[statuses == status]
        axes.plot(
            here,
            np.full(len(here), 0.045),
            marker,
            transform=axes.get_xaxis_transform(),
            color=ACCENT,
            markersize=3.8,
            markerfacecolor="none",
            markeredgewidth=0.7,
            clip_on=False,
        )


def heat_sheet(table: pd.DataFrame, scalar: str, units: str, ends: Ends, sides: Ends) -> Sheet:
    """(s, r) maps of one session, one panel per bundle and the common colour scale as the last panel.

    Parameters
    ----------
    table : DataFrame
        Columns of PROFILE_2D and `scalar`; one row per bundle and cell.
    scalar, units : str
        Column to draw and its unit.
    ends, sides : mapping of bundle to (low, high)
        Letters of the two ends of s, as ("P", "A"), and of r, as ("L", "R").

    """
    scale = limits(table[scalar])
    with house_style():
        panels = [
            _heat_panel(str(bundle), rows, scalar, ends.get(str(bundle)), sides.get(str(bundle)), scale)
            for bundle, rows in table.groupby("bundle", sort=False)
        ]
        panels.append(_scale_panel(scale, scalar, units))
    return Sheet(tuple(panels))


def _heat_panel(
    bundle: str,
    rows: pd.DataFrame,
    scalar: str,
    ends: tuple[str, str] | None,
    sides: tuple[str, str] | None,
    scale: tuple[float, float],
) -> Panel:
    figure, axes = blank(WIDTH, HEIGHT, left=38)
    values = rows[scalar].to_numpy(float)
    draw_cells(axes, rows, values, sequential(), scale)
    across(axes, rows, sides)
    known = np.isfinite(values)
    if not known.any():
        said = _one(rows["status"].astype(str).to_numpy()).replace("_", " ")
        axes.text(0.5, 0.5, label(said), transform=axes.transAxes, ha="center", va="center", color=ACCENT)
    along_index(axes, rows, ends)
    heading(figure, axes, bundle, limit=36)
    return panel(figure, f"{label(bundle)}: {label(scalar)} by node and radial bin, {known.sum()} of {len(rows)} cells")


def _scale_panel(scale: tuple[float, float], scalar: str, units: str) -> Panel:
    figure, axes = blank(WIDTH, HEIGHT, left=24, right=24, top=46, bottom=76)
    colour_bar(axes, sequential(), scale, horizontal=True)
    name = f"{label(scalar, 30)} ({label(units, 24)})" if units else label(scalar, 40)
    axes.set_title(name, size=FONT_SIZE, loc="left", color=MUTED, pad=5)
    axes.text(0, -3.4, "hatched: no value", transform=axes.transAxes, color=MUTED, va="top")
    return panel(figure, f"Colour scale of {label(scalar)}, {number(scale[0])} to {number(scale[1])} {label(units)}")


def scale_strip(table: pd.DataFrame, scalar: str, units: str) -> Panel:
    """The colour scale of `heat_sheet` by itself, low: it stands above the maps of a page."""
    scale = limits(table[scalar])
    with house_style():
        figure, axes = blank(WIDTH, 42, left=30, right=30, top=17, bottom=15)
        colour_bar(axes, sequential(), scale, horizontal=True)
        name = f"{label(scalar, 30)} ({label(units, 24)})" if units else label(scalar, 40)
        axes.set_title(name, size=FONT_SIZE, loc="left", color=MUTED, pad=3)
        return panel(
            figure, f"Colour scale of {label(scalar)}, {number(scale[0])} to {number(scale[1])} {label(units)}"
        )


def draw_cells(
    axes: Any, rows: pd.DataFrame, values: NDArray[np.float64], colours: Any, scale: tuple[float, float]
) -> tuple[int, int]:
    """Cells of one bundle in index coordinates: colour where there is a value, hatching where there is none.

    Cells outside the grid stay blank. Returns the extent in nodes and bins.
    """
    s, r = rows["s"].to_numpy(int), rows["r"].to_numpy(int)
    ns, nr = int(s.max()) + 1, int(r.max()) + 1
    image = np.full((nr, ns), np.nan)
    image[r, s] = values
    axes.imshow(
        np.ma.masked_invalid(image),
        cmap=colours,
        vmin=scale[0],
        vmax=scale[1],
        origin="lower",
        aspect="auto",
        interpolation="none",
        extent=(-0.5, ns - 0.5, -0.5, nr - 0.5),
    )
    missing = ~np.isfinite(values)
    if missing.any():
        axes.add_patch(hatched(s[missing], r[missing]))
    axes.set_xlim(s.min() - 0.5, ns - 0.5)
    axes.set_ylim(r.min() - 0.5, nr - 0.5)
    axes.spines[["top", "right"]].set_visible(True)
    for spine in axes.spines.values():
        spine.set_color(RULE)
    return ns, nr


def hatched(s: NDArray[np.int_], r: NDArray[np.int_]) -> Any:
    """One hatched patch for all missing cells: a path per cell would make the file heavy."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5], [-0.5, -0.5]])
    vertices = (np.column_stack([s, r])[:, None, :] + corners).reshape(-1, 2)
    codes = np.tile([Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY], len(s))
    return PathPatch(Path(vertices, codes), facecolor="none", edgecolor=MUTED, linewidth=0, hatch="//////")


def across(axes: Any, rows: pd.DataFrame, sides: tuple[str, str] | None) -> None:
    """Ticks of r in mm, the sides named."""
    bins = rows.groupby("r")["r_mm"].median()
    index = bins.index.to_numpy()
    keep = index[np.unique(np.linspace(0, len(index) - 1, min(3, len(index))).round().astype(int))]
    axes.set_yticks(keep, [f"{bins[k]:.0f}".replace("-", "−") for k in keep])
    axes.tick_params(length=0)
    axes.set_ylabel(_axis_name(sides), size=FONT_SIZE - 0.5, labelpad=1)


def along_index(axes: Any, rows: pd.DataFrame, ends: tuple[str, str] | None) -> None:
    """Ticks of s in mm on an axis of node indices, the ends named."""
    nodes = rows.groupby("s")["s_mm"].first()
    index = nodes.index.to_numpy()
    keep = index[np.unique(np.linspace(0, len(index) - 1, min(4, len(index))).round().astype(int))]
    axes.set_xticks(keep, [f"{nodes[k]:.0f}" for k in keep])
    axes.tick_params(length=0)
    axes.set_xlabel(_axis_name(ends), size=FONT_SIZE - 0.5, labelpad=2)


def colour_bar(axes: Any, colours: Any, scale: tuple[float, float], horizontal: bool = False) -> None:
    """The colour scale as a strip with its ends (and, where they differ in sign, zero) labelled."""
    ramp = np.linspace(0, 1, 64)
    ticks = [scale[0], 0.0, scale[1]] if scale[0] < 0 < scale[1] else [scale[0], sum(scale) / 2, scale[1]]
    names = [number(tick) for tick in ticks]
    common = {"cmap": colours, "aspect": "auto", "interpolation": "none", "origin": "lower"}
    if horizontal:
        axes.imshow(ramp[None, :], extent=(*scale, 0, 1), **common)
        axes.set_xticks(ticks, names)
        axes.set_yticks([])
    else:
        axes.imshow(ramp[:, None], extent=(0, 1, *scale), **common)
        axes.yaxis.tick_right()
        axes.set_yticks(ticks, names)
        axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def along_mm(axes: Any, x: NDArray[np.float64], ends: tuple[str, str] | None, unit: str = "mm") -> None:
    """Axis of s in mm (or whatever `positions` says), the ends named."""
    from matplotlib.ticker import MaxNLocator

    finite = x[np.isfinite(x)]
    if finite.size:
        axes.set_xlim(finite.min(), max(finite.max(), finite.min() + 1))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_xlabel(_axis_name(ends, unit), size=FONT_SIZE - 0.5, labelpad=2)


def positions(rows: pd.DataFrame) -> tuple[pd.Series[float], str]:
    """Node -> place along the tract, and its unit: mm, or the node's number where the tract's length is not known."""
    nodes = rows.groupby("s")["s_mm"].first().sort_index().astype(float)
    if nodes.notna().any() or nodes.empty:
        return nodes, "mm"
    return nodes.index.to_series().astype(float), "node"


def _axis_name(ends: tuple[str, str] | None, unit: str = "mm") -> str:
    return f"{direction(ends)} ({unit})" if ends else unit


def value_axis(axes: Any, ylim: tuple[float, float]) -> None:
    """Axis of the scalar: few ticks, faint lines."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_ylim(*ylim)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axes.grid(axis="y", color=RULE, linewidth=0.4)
    axes.set_axisbelow(True)


def _one(statuses: NDArray[Any]) -> str:
    """The commonest status."""
    names, counts = np.unique(statuses, return_counts=True)
    return str(names[counts.argmax()])


def missing_marks(table: pd.DataFrame, scalar: str) -> str:
    """Legend of the marks that `profile_sheet` sets, in words: only those that occur."""
    statuses = table.loc[table[scalar].isna(), "status"].astype(str)
    found = [s for s in MARKS if (statuses == s).any()]
    return ", ".join(f"{MARKS[s][1]} {s.replace('_', ' ')}" for s in found)
