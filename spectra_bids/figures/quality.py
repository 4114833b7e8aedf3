"""Quality of a cohort: how far sessions are from the others in each bundle, reversed profiles, boxes by site."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectra_bids.figures.sheets import HEIGHT, WIDTH, along_mm, value_axis
from spectra_bids.figures.style import (
    ACCENT,
    FONT_SIZE,
    INK,
    MUTED,
    RULE,
    SERIES,
    blank,
    heading,
    house_style,
    label,
    number,
)
from spectra_bids.figures.svg import Panel, Sheet, panel

if TYPE_CHECKING:
    import pandas as pd

#: Dots of one strip; of more sessions and bundles a row is drawn as its range.
MOST_DOTS = 3000
#: Marked dots of a row: with more they could not be told apart.
MOST_MARKED = 12
#: Levels of a site that can be named below their boxes.
MOST_LEVELS = 14


@dataclass(frozen=True)
class Scale:
    """Axis of a strip: what it shows, where the limit is, and whether values above it or below it are unusual."""

    text: str
    limit: float
    above: bool = True
    logarithmic: bool = False
    remark: str = ""


def strip(rows: pd.DataFrame, scale: Scale, title: str = "") -> Sheet:
    """One row per bundle, one dot per session; unusual ones in colour, the farthest of a bundle with its name.

    Parameters
    ----------
    rows : DataFrame
        Columns bundle, label, value (NaN is left out), marked (bool); bundles in order.
    scale : Scale
    title : str

    """
    rows = rows[np.isfinite(rows["value"].to_numpy(np.float64))]
    bundles = list(dict.fromkeys(rows["bundle"]))
    left = 12 + 4.7 * max((len(label(b, 40)) for b in bundles), default=8)
    width, height = left + 400.0, 56 + 12.0 * max(len(bundles), 1)
    dots = len(rows) <= MOST_DOTS
    with house_style():
        figure, axes = blank(width, height, left=left, top=22, right=12, bottom=32)
        axes.set_yticks(range(len(bundles)), [label(b, 40) for b in bundles], size=FONT_SIZE - 1)
        axes.set_ylim(len(bundles) - 0.4, -0.6)
        axes.tick_params(length=0)
        axes.spines["left"].set_visible(False)
        axes.hlines(range(len(bundles)), 0, 1, transform=axes.get_yaxis_transform(), color=RULE, linewidth=0.4)
        _limits_of_strip(axes, rows["value"].to_numpy(np.float64), scale)
        axes.axvline(scale.limit, color=MUTED, linewidth=0.8, linestyle=(0, (3, 2)))
        for row, bundle in enumerate(bundles):
            _strip_row(axes, row, rows[rows["bundle"] == bundle], scale, dots)
        axes.set_xlabel(scale.text, size=FONT_SIZE - 0.5, labelpad=2)
        heading(figure, axes, title, scale.remark)
        marked = int(rows["marked"].sum())
        return Sheet((panel(figure, f"{label(title)}: {marked} of {len(rows)} profiles beyond the limit"),))


def _limits_of_strip(axes: Any, values: NDArray[np.float64], scale: Scale) -> None:
    """Axis from the smallest to the largest value, with room for a name beyond it."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    low = min([*values.tolist(), scale.limit])
    high = max([*values.tolist(), scale.limit])
    if scale.logarithmic:
        axes.set_xscale("log")
        low, high = max(low, 0.05), high
        axes.set_xlim(low * 0.9, high * (high / low) ** 0.24)
        steps = [m * 10.0**e for e in range(-2, 7) for m in (1, 2, 5)]
        axes.xaxis.set_major_locator(FixedLocator([t for t in steps if low * 0.9 <= t <= high * 1.3]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{number(value)} ×"))
        return
    room = 0.24 * (high - low or 1.0)
    axes.set_xlim(low - (room if not scale.above else 0.05), high + (room if scale.above else 0.05))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))


def _strip_row(axes: Any, row: int, mine: pd.DataFrame, scale: Scale, dots: bool) -> None:
    marked = mine["marked"].to_numpy(bool)
    value = mine["value"].to_numpy(np.float64)
    usual = value[~marked]
    if dots:
        axes.plot(usual, np.full(len(usual), row), "o", color=SERIES[0], markersize=3, alpha=0.45, markeredgewidth=0)
    elif len(usual):
        low, q1, middle, q3, high = np.quantile(usual, [0, 0.25, 0.5, 0.75, 1])
        axes.hlines([row], low, high, color=SERIES[0], linewidth=1.2, alpha=0.6)
        axes.hlines([row], q1, q3, color=SERIES[0], linewidth=5, alpha=0.6)
        axes.plot([middle], [row], "|", color=INK, markersize=6)
    if not marked.any():
        return
    order = np.argsort(-value[marked] if scale.above else value[marked], kind="stable")[:MOST_MARKED]
    far = value[marked][order]
    axes.plot(far, np.full(len(far), row), "D", color=ACCENT, markersize=3.4, markeredgewidth=0)
    name = label(mine["label"].to_numpy(dtype=object)[marked][order[0]], 22)
    more = int(marked.sum()) - 1
    axes.annotate(
        f"{name} +{more}" if more else name,
        (far[0], row),
        xytext=(5 if scale.above else -5, 0),
        textcoords="offset points",
        ha="left" if scale.above else "right",
        va="center_baseline",
        size=FONT_SIZE - 1.5,
        color=ACCENT,
    )


@dataclass(frozen=True, eq=False)
class Turned:
    """A profile (ns,) whose reverse is like the cohort's mean (ns,)."""

    label: str
    bundle: str
    s_mm: NDArray[np.float64]
    profile: NDArray[np.float64]
    mean: NDArray[np.float64]
    remark: str = ""


def turned_sheet(profiles: tuple[Turned, ...], ends: Any = None) -> Sheet:
    """One panel each: the session's profile, the cohort's mean, and that mean in reverse."""
    with house_style():
        return Sheet(tuple(_turned_panel(item, (ends or {}).get(item.bundle)) for item in profiles))


def _turned_panel(item: Turned, ends: tuple[str, str] | None) -> Panel:
    figure, axes = blank(WIDTH, HEIGHT + 22, top=42)
    x, unit = (item.s_mm, "mm") if np.isfinite(item.s_mm).all() else (np.arange(len(item.mean), dtype=float), "node")
    axes.plot(x, item.mean, color=MUTED, linewidth=1.2)
    axes.plot(x, item.mean[::-1], color=MUTED, linewidth=1.0, linestyle=(0, (3, 2)))
    axes.plot(x, item.profile, color=ACCENT, linewidth=1.5)
    every = np.concatenate([item.mean, item.profile])
    every = every[np.isfinite(every)]
    low, high = (float(every.min()), float(every.max())) if every.size else (0.0, 1.0)
    pad = 0.06 * (high - low) or 0.5
    along_mm(axes, np.asarray(x, np.float64), ends, unit)
    value_axis(axes, (low - pad, high + pad))
    _titles(figure, axes, item.label, item.bundle, item.remark)
    return panel(figure, f"{label(item.label)}, {label(item.bundle)}: {label(item.remark)}")


def _titles(figure: Any, axes: Any, first: str, *others: str) -> None:
    """A bold line above the axes and quiet ones below it."""
    box, height = axes.get_position(), figure.get_figheight() * 72
    for k, line in enumerate(reversed(others)):
        figure.text(
            box.x0, box.y1 + (5 + 11 * k) / height, label(line, 42), size=FONT_SIZE - 1, color=MUTED, va="bottom"
        )
    top = box.y1 + (5 + 11 * len(others)) / height
    figure.text(box.x0, top, label(first, 30), size=FONT_SIZE, weight="bold", va="bottom")


def site_sheet(boxes: pd.DataFrame, units: str = "") -> Sheet:
    """One panel per bundle: box and whiskers of the sessions' means at every level of one column, of one scalar.

    Parameters
    ----------
    boxes : DataFrame
        Rows of qc_columns.QC_SITES of one column and scalar; bundles in the order of the panels.
    units : str
        Unit of the scalar.

    """
    with house_style():
        groups = [(bundle, boxes[boxes["bundle"] == bundle]) for bundle in dict.fromkeys(boxes["bundle"])]
        return Sheet(tuple(_box_panel(str(bundle), rows, units) for bundle, rows in groups))


def _box_panel(bundle: str, rows: pd.DataFrame, units: str) -> Panel:
    names = [label(level, 12) for level in rows["level"]]
    named = len(names) <= MOST_LEVELS
    turned = named and sum(map(len, names)) > 30
    below = 10 + 4.4 * max(map(len, names)) if turned else 22
    figure, axes = blank(WIDTH, HEIGHT + 12 + (below - 22), left=40, top=30, bottom=below)
    x = np.arange(len(rows))
    low, q1, middle, q3, high = (rows[c].to_numpy(np.float64) for c in ("low", "q1", "median", "q3", "high"))
    half = 0.32
    axes.vlines(x, low, q1, color=SERIES[0], linewidth=0.9)
    axes.vlines(x, q3, high, color=SERIES[0], linewidth=0.9)
    axes.bar(x, q3 - q1, 2 * half, q1, color=SERIES[0], alpha=0.25, edgecolor=SERIES[0], linewidth=0.9)
    axes.hlines(middle, x - half, x + half, color=INK, linewidth=1.3)
    pad = 0.06 * float(high.max() - low.min()) or 0.5
    axes.set_xlim(-0.6, len(rows) - 0.4)
    axes.tick_params(axis="x", length=0)
    if named:
        axes.set_xticks(x, names, size=FONT_SIZE - 1, rotation=90 if turned else 0)
    else:
        axes.set_xticks([])
        axes.set_xlabel(f"{len(names)} levels", size=FONT_SIZE - 0.5)
    value_axis(axes, (float(low.min()) - pad, float(high.max()) + pad))
    share = float(rows["share"].iloc[0])
    _titles(figure, axes, bundle, f"{share:.0%} of the variance lies between" if np.isfinite(share) else "")
    text = f"{label(bundle)}: medians {', '.join(f'{n} {number(m)}' for n, m in zip(names[:12], middle, strict=False))}"
    return panel(figure, f"{text} {label(units)}".rstrip())
