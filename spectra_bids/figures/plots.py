"""Group level, one bundle: measured profiles per group, the estimated effect, the (s, r) map of a statistic.

Input are tables with the columns of `columns.FITS_*` + `DECISIONS`, and profile tables joined with the design.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectra_bids.figures.sheets import (
    across,
    along_index,
    along_mm,
    colour_bar,
    draw_cells,
    positions,
    value_axis,
)
from spectra_bids.figures.style import (
    ACCENT,
    FONT_SIZE,
    INK,
    LINE_STYLES,
    MUTED,
    SERIES,
    blank,
    diverging,
    heading,
    house_style,
    label,
    limits,
    number,
    sequential,
)
from spectra_bids.figures.svg import Sheet, panel
from spectra_bids.models.means import Level, split_column

if TYPE_CHECKING:
    import pandas as pd

WIDTH, HEIGHT = 350.0, 226.0
#: More groups than this cannot be told apart in one picture; the largest are drawn.
MOST_GROUPS = len(SERIES)


def group_profile(
    table: pd.DataFrame,
    scalar: str,
    by: str = "",
    units: str = "",
    ends: tuple[str, str] | None = None,
    rejected: NDArray[np.int_] | None = None,
    title: str = "",
    least: int = 1,
) -> Sheet:
    """Measured profiles of one bundle: mean and its 95 % confidence interval per group.

    Parameters
    ----------
    table : DataFrame
        Rows of one bundle: participant, s, s_mm, `scalar` and, if given, the column `by`.
    scalar, units : str
        Column to draw and its unit.
    by : str
        Column of the design that makes the groups; more than six numbers are cut into terciles. Empty: one band.
    ends : (low, high), optional
        Letters of the two ends.
    rejected : (K,) int, optional
        Nodes at which the hypothesis is rejected.
    title : str
        Heading; the bundle.
    least : int
        People that a mean needs to be drawn, at every node.

    Notes
    -----
    Sessions of one participant in one group are averaged first, so that the interval counts people. The curves are
    not adjusted for the other terms of the model.

    """
    parts = groups(table, by)
    nodes, unit = positions(table)
    with house_style():
        lines = -(-len(parts) // 3)
        figure, axes = blank(WIDTH, HEIGHT, left=42, top=22 + 13 * lines, right=14, bottom=31)
        span: list[float] = []
        for k, (name, rows) in enumerate(parts):
            mean, half, n = _mean_and_interval(rows, scalar, nodes.index.to_numpy(), least)
            colour, line = SERIES[k], LINE_STYLES[k]
            axes.fill_between(nodes, mean - half, mean + half, color=colour, alpha=0.17, linewidth=0)
            said = f"{label(name, 30 if len(parts) < 3 else 15)} ({n})" if name else f"n = {n}"
            axes.plot(nodes, mean, color=colour, linestyle=line, linewidth=1.6, label=said)
            span += [*(mean - half), *(mean + half)]
        low, high = _range(span)
        _mark_rejected(axes, nodes, rejected)
        along_mm(axes, np.asarray(nodes, np.float64), ends, unit)
        value_axis(axes, (low, high))
        _legend(figure, axes)
        heading(figure, axes, title, _with_unit(scalar, units))
        _raise_title(figure, lines=lines)
        names = ", ".join(label(name) for name, _ in parts if name)
        text = f"{label(title)}: mean {label(scalar)} along the tract" + (f" for {names}" if names else "")
        return Sheet((panel(figure, text),))


def effect_profile(
    rows: pd.DataFrame, units: str = "", ends: tuple[str, str] | None = None, title: str = "", remark: str = ""
) -> Sheet:
    """Estimate of one contrast along one bundle with its 95 % confidence interval, rejected nodes marked.

    Parameters
    ----------
    rows : DataFrame
        FITS_1D + DECISIONS of one bundle, scalar and contrast. An F test has no estimate: its value is drawn.
    units : str
        Unit of the estimate.
    ends : (low, high), optional
        Letters of the two ends.
    title, remark : str
        Heading and the line below it.

    """
    rows = rows.sort_values("s")
    nodes, unit = positions(rows)
    x = np.asarray(nodes, np.float64)
    has_estimate = rows["estimate"].notna().any()
    y = rows["estimate" if has_estimate else "value"].to_numpy(float)
    with house_style():
        figure, axes = blank(WIDTH, HEIGHT, left=42, top=35, right=14, bottom=31)
        span = list(y)
        if has_estimate:
            axes.fill_between(x, rows["ci_low"], rows["ci_high"], color=SERIES[5], alpha=0.22, linewidth=0)
            span += [*rows["ci_low"], *rows["ci_high"], 0.0]
            axes.axhline(0, color=MUTED, linewidth=0.7, zorder=1)
        axes.plot(x, y, color=INK, linewidth=1.5)
        rejected = rows.loc[is_true(rows["rejected"]), "s"].to_numpy(int)
        _mark_rejected(axes, nodes, rejected)
        along_mm(axes, x, ends, unit)
        value_axis(axes, _range(span))
        kind = "estimate and 95 % CI" if has_estimate else f"{letter(rows)} value"
        heading(figure, axes, title, _with_unit(kind, units if has_estimate else ""))
        _raise_title(figure, remark)
        text = f"{label(title)}: {kind} along the tract, {len(rejected)} of {len(rows)} nodes rejected"
        return Sheet((panel(figure, text),))


def cell_map(
    rows: pd.DataFrame,
    ends: tuple[str, str] | None = None,
    sides: tuple[str, str] | None = None,
    title: str = "",
    remark: str = "",
) -> Sheet:
    """(s, r) map of the statistic of one bundle, scalar and contrast; rejected cells outlined.

    Parameters
    ----------
    rows : DataFrame
        FITS_2D + DECISIONS. t: colours centred at 0; F: one-sided scale from 0. Cells without a p value are hatched.
    ends, sides : (low, high), optional
        Letters of the ends of s and of r.
    title, remark : str
        Heading and the line below it.

    """
    values = rows["value"].where(rows["p"].notna()).to_numpy(float)
    symbol = letter(rows)
    is_f = symbol != "t"
    colours = sequential() if is_f else diverging()
    top = limits(values, centred=True)[1]
    scale = (0.0, top) if is_f else (-top, top)
    rejected = is_true(rows["rejected"])
    with house_style():
        figure, axes = blank(WIDTH, HEIGHT, left=42, top=34, right=52, bottom=31)
        draw_cells(axes, rows, values, colours, scale)
        across(axes, rows, sides)
        along_index(axes, rows, ends)
        if rejected.any():
            cells = rows.loc[rejected, ["s", "r"]].to_numpy(int)
            axes.add_collection(_outline(cells, "#ffffff" if is_f else "#10161d"))
        bar = figure.add_axes((1 - 42 / WIDTH, 31 / HEIGHT, 8 / WIDTH, (HEIGHT - 65) / HEIGHT))
        colour_bar(bar, colours, scale)
        heading(figure, axes, title, symbol)
        _raise_title(figure, remark)
        text = f"{label(title)}: {symbol} by node and radial bin, {int(rejected.sum())} cells rejected"
        return Sheet((panel(figure, text),))


def groups(table: pd.DataFrame, by: str) -> list[tuple[str, pd.DataFrame]]:
    """Rows per level of a factor (the largest), or per tercile of a number; ("", all) without a column."""
    if not by or by not in table:
        return [("", table)]
    found = split_column(table[by], table["participant"].to_numpy())
    kept = sorted(found, key=lambda g: -int(g.rows.sum()))[:MOST_GROUPS]
    return [(_group_name(g), table[g.rows]) for g in found if g in kept]


def _group_name(group: Level) -> str:
    """A level's name; of a third its bounds."""
    if not group.low < group.high:  # no third: NaN, or one value
        return group.name
    if np.isinf(group.low):
        return f"{group.column} ≤ {number(group.high)}"
    return f"> {number(group.low)}" if np.isinf(group.high) else f"{number(group.low)}–{number(group.high)}"


def _mean_and_interval(
    rows: pd.DataFrame, scalar: str, nodes: NDArray[Any], least: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Mean, half width of its 95 % CI (t), both (ns,), and the number of participants with any value.

    Nodes at which fewer than `least` participants have a value are NaN.
    """
    from scipy.stats import t

    people = rows.pivot_table(index="participant", columns="s", values=scalar, aggfunc="mean", dropna=False)
    values = people.reindex(columns=nodes).to_numpy(float)
    n = np.isfinite(values).sum(axis=0)
    filled = np.where(np.isfinite(values), values, 0.0)
    mean = np.divide(filled.sum(axis=0), n, out=np.full(n.shape, np.nan), where=n >= max(1, least))
    squares = np.where(np.isfinite(values), (values - mean) ** 2, 0.0).sum(axis=0)
    sd = np.sqrt(np.divide(squares, n - 1, out=np.full(n.shape, np.nan), where=n > 1))
    half = t.ppf(0.975, np.maximum(n - 1, 1)) * sd / np.sqrt(np.maximum(n, 1))
    return mean, half, int(np.isfinite(values).any(axis=1).sum())


def _mark_rejected(axes: Any, nodes: pd.Series, rejected: NDArray[np.int_] | None) -> None:
    """Rejected nodes as a bar on the axis and a faint band behind the curves."""
    if rejected is None or not len(rejected):
        return
    x = np.asarray(nodes, np.float64)
    step = float(np.median(np.diff(x))) if len(x) > 1 else 1.0
    at = nodes.reindex(rejected).dropna().to_numpy(float)
    low, high = at - step / 2, at + step / 2
    across_axis = axes.get_xaxis_transform()
    axes.hlines(np.full(len(at), 0.012), low, high, transform=across_axis, color=ACCENT, linewidth=3.2, zorder=4)
    for start, stop in _runs(low, high, step):
        axes.axvspan(start, stop, color=ACCENT, alpha=0.08, linewidth=0, zorder=0)


def _runs(low: NDArray[np.float64], high: NDArray[np.float64], step: float) -> list[tuple[float, float]]:
    """Neighbouring intervals joined."""
    out: list[tuple[float, float]] = []
    for a, b in sorted(zip(low.tolist(), high.tolist(), strict=True)):
        if out and a - out[-1][1] < step / 4:
            out[-1] = (out[-1][0], b)
        else:
            out.append((a, b))
    return out


def _outline(cells: NDArray[np.int_], colour: str) -> Any:
    """Edges between rejected cells and their surroundings, as one collection of lines."""
    from matplotlib.collections import LineCollection

    inside = {(int(a), int(b)) for a, b in cells}
    sides = {(-1, 0): ((-0.5, -0.5), (-0.5, 0.5)), (1, 0): ((0.5, -0.5), (0.5, 0.5))}
    sides |= {(0, -1): ((-0.5, -0.5), (0.5, -0.5)), (0, 1): ((-0.5, 0.5), (0.5, 0.5))}
    lines = [
        [(s + x, r + y) for x, y in edge]
        for s, r in sorted(inside)
        for (ds, dr), edge in sides.items()
        if (s + ds, r + dr) not in inside
    ]
    return LineCollection(lines, colors=colour, linewidths=1.5, capstyle="round", clip_on=False, zorder=5)


def _legend(figure: Any, axes: Any) -> None:
    box = axes.get_position()
    handles, names = axes.get_legend_handles_labels()
    figure.legend(
        handles,
        names,
        loc="lower left",
        bbox_to_anchor=(box.x0 - 0.01, box.y1 - 0.005),
        ncols=3,
        frameon=False,
        handlelength=2.2,
        columnspacing=1.2,
        borderaxespad=0.2,
        fontsize=FONT_SIZE - 0.5,
        labelcolor=MUTED,
    )


def _raise_title(figure: Any, remark: str = "", lines: int = 1) -> None:
    """Move title and remark above the line that the legend (or a second remark) takes."""
    height = figure.get_figheight() * 72
    for text in figure.texts:
        x, y = text.get_position()
        text.set_position((x, y + 13 * lines / height))
    if remark:
        x, y = figure.texts[0].get_position()
        figure.text(x, y - 12.5 / height, label(remark, 76), size=FONT_SIZE - 0.5, color=MUTED, va="bottom")


def _range(values: list[float]) -> tuple[float, float]:
    finite = np.array([v for v in values if np.isfinite(v)])
    if finite.size == 0:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    pad = 0.06 * (high - low) or abs(low) * 0.05 or 0.5
    return low - pad, high + pad


def _with_unit(name: str, units: str) -> str:
    return f"{label(name, 24)} ({label(units, 20)})" if units else label(name, 28)


def letter(rows: pd.DataFrame) -> str:
    """Symbol of the statistic of a family's rows: t, F, χ²."""
    kinds = set(rows["statistic"].astype(str))
    return "F" if "F" in kinds else "χ²" if "chi2" in kinds else "t"


def is_true(column: pd.Series) -> NDArray[np.bool_]:
    """Boolean column that may hold n/a or arrive as text."""
    return column.astype(str).str.lower().isin(("true", "1", "1.0")).to_numpy(bool)
