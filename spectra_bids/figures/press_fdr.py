"""How a family was decided, for print: sorted p values against the line that they must fall below, over blocks and in
every block, with the threshold that the procedure came to.

Benjamini-Hochberg rejects the k* smallest of n p values, k* the largest k with p_(k) <= α k / c. For a family of cells
c = n; in a selected block of hierarchical FDR c = n_b m / R. Where a procedure has another c (adaptive; a level over
scalars), it is read off its own adjusted p values, q_(k) = min_{j >= k} c p_(j) / j.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectra_bids.figures.plots import is_true
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
from spectra_bids.figures.style import ACCENT, FONT_SIZE, INK, MUTED, RULE, SERIES, label

if TYPE_CHECKING:
    import pandas as pd

F = NDArray[np.float64]
#: Panels of blocks in one figure; of more blocks those with the smallest p are drawn.
MOST_BLOCKS = 23
_LEAST = 56.0
_UNTESTED = "#a3aeb9"
_FLOOR = 1e-16  # a p of 0 has no place on a logarithmic axis


@dataclass(frozen=True, eq=False)
class Ladder:
    """Sorted p values of one family of hypotheses.

    Parameters
    ----------
    name : str
    p : (n,) float64, sorted
    rejected : (n,) bool
        In the order of `p`.
    line : (n,) float64 or None
        α k / c; None where there is none to draw.
    threshold : float
        Largest p that is rejected; NaN without any.
    note : str
        What came of it, in a few words.

    """

    name: str
    p: F
    rejected: NDArray[np.bool_]
    line: F | None
    threshold: float
    note: str


def constant(p: F, q: F) -> float:
    """The c of q_(k) = min_{j >= k} c p_(j) / j, from adjusted p values below 1; NaN where there is none."""
    order = np.argsort(p, kind="stable")
    known = np.isfinite(q[order]) & (q[order] < 1) & (p[order] > 0)
    if not known.any():
        return float("nan")
    rank = np.arange(1, len(p) + 1)
    return float((q[order] * rank / np.maximum(p[order], _FLOOR))[known].max())


def ladder(name: str, p: F, rejected: NDArray[np.bool_], alpha: float, c: float, note: str) -> Ladder:
    """Hypotheses with a p value, sorted by it, with the line α k / c."""
    valid = np.isfinite(p)
    order = np.argsort(p[valid], kind="stable")
    p, rejected = p[valid][order], rejected[valid][order]
    line: F | None = np.asarray(alpha * np.arange(1, len(p) + 1) / c, np.float64) if np.isfinite(c) else None
    return Ladder(name, p, rejected, line, float(p[rejected].max()) if rejected.any() else float("nan"), note)


def of_blocks(blocks: pd.DataFrame, alpha: float, by_bh: bool) -> Ladder:
    """Blocks of one family: rows of columns.BLOCKS; `by_bh`: no level over scalars stands above them."""
    p, q = (blocks[name].to_numpy(np.float64) for name in ("p_block", "q_block"))
    chosen = is_true(blocks["selected"])
    m = int(np.isfinite(p).sum())
    valid = np.isfinite(p)
    c = float(m) if by_bh else constant(p[valid], q[valid])
    return ladder("Blocks", p, chosen, alpha, c, f"R = {int(chosen.sum())} of m = {m} selected")


def of_cells(name: str, rows: pd.DataFrame, alpha: float, c: float | None, noun: str) -> Ladder:
    """Cells of one block, or of a whole family: rows of FITS + DECISIONS; c as in the module's words, None: from q."""
    p, q = rows["p"].to_numpy(np.float64), rows["q"].to_numpy(np.float64)
    rejected = is_true(rows["rejected"])
    valid = np.isfinite(p)
    tested = np.isfinite(q[valid]).any()
    found = float("nan") if not tested else constant(p[valid], q[valid]) if c is None else c
    note = f"{int(rejected.sum())} of {int(valid.sum())} {noun}s rejected" if tested else "not selected"
    return ladder(name, p, rejected, alpha, found, note)


def by_permutation(name: str, rows: pd.DataFrame, alpha: float, noun: str) -> Ladder:
    """Cells by their family-wise p values, which are compared with alpha themselves."""
    q, rejected = rows["q"].to_numpy(np.float64), is_true(rows["rejected"])
    found = ladder(name, q, rejected, alpha, float("nan"), f"{int(rejected.sum())} of {len(rows)} {noun}s rejected")
    return Ladder(found.name, found.p, found.rejected, np.full(len(found.p), alpha), found.threshold, found.note)


def fdr_figure(press: Press, ladders: Sequence[Ladder], axis: str = "p") -> Any:
    """One panel for each ladder, on common axes.

    Parameters
    ----------
    press : Press
    ladders : sequence of Ladder
        At most MOST_BLOCKS + 1.
    axis : str
        Words of the vertical axis.

    """
    em, n = press.em, columns(press, len(ladders), _LEAST if press.width > 120 else 40.0)
    left, right, gap = 5.4 * em, 1.3 * em, 1.8 * em
    handles, entries = _entries(ladders)
    top = press.head + legend_height(press, entries)
    width = (press.width - left - right - gap * (n - 1)) / n
    height, above, below = min(0.72 * width, 70.0), 3.0 * em, 3.4 * em
    pitch = above + height + below
    figure = new_figure(press, top + -(-len(ladders) // n) * pitch)
    every = np.concatenate([np.maximum(item.p, _FLOOR) for item in ladders if len(item.p)] or [np.array([0.05])])
    lines = np.concatenate([item.line for item in ladders if item.line is not None] or [every])
    low = 10.0 ** np.floor(np.log10(min(every.min(), lines.min())) - 0.1)
    for k, item in enumerate(ladders):
        x, y = left + k % n * (width + gap), top + k // n * pitch + above
        axes = axes_at(figure, press, x, y, width, height)
        _draw(axes, item, low)
        axes.set_xlabel("rank k", size=FONT_SIZE, labelpad=1)
        if k % n:
            axes.tick_params(labelleft=False)
        else:
            axes.set_ylabel(axis, size=FONT_SIZE, labelpad=3)
        write(figure, press, x, y - 1.6 * em, fitted(press, item.name, width), color=INK)
        write(figure, press, x, y - 0.5 * em, label(item.note, 40), color=MUTED, size=FONT_SIZE - 1)
        panel_letter(figure, press, k, x - (4.8 if k % n == 0 else 1.3) * em, y - 1.5 * em)
    legend(figure, press, left, handles, entries)
    return figure


def _draw(axes: Any, item: Ladder, low: float) -> None:
    """Points, line and threshold on logarithmic axes: the line is straight, and small p values are seen."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    n = len(item.p)
    rank, p = np.arange(1, n + 1), np.maximum(item.p, _FLOOR)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(0.8, max(n, 4) * 1.25)
    axes.set_ylim(low, 2.0)
    axes.grid(axis="y", color=RULE, linewidth=0.5)
    axes.set_axisbelow(True)
    if item.line is not None and n:
        axes.plot(rank, item.line, color=SERIES[0], linewidth=1.0, zorder=3, marker="" if n > 1 else "_", markersize=9)
    if np.isfinite(item.threshold):
        axes.axhline(max(item.threshold, _FLOOR), color=ACCENT, linewidth=0.7, linestyle=(0, (4, 2)), zorder=2)
    size = 2.4 if n > 60 else 3.4
    out, hit = ~item.rejected, item.rejected
    tested = item.line is not None
    colour = MUTED if tested else _UNTESTED
    axes.plot(
        rank[out], p[out], "o", markersize=size, markeredgewidth=0.6, markerfacecolor="none", color=colour, zorder=4
    )
    axes.plot(rank[hit], p[hit], "o", markersize=size, markeredgewidth=0.6, color=ACCENT, zorder=5)
    ticks = [t for t in (1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 100000) if t <= max(n, 4) * 1.25]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(numticks=6))
    axes.yaxis.set_major_formatter(FuncFormatter(_power))
    axes.yaxis.set_minor_locator(NullLocator())


def _power(value: float, _: object) -> str:
    """1, 0.1, 0.01, then 10 to a raised power."""
    exponent = round(np.log10(value)) if value > 0 else 0
    raised = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{value:g}" if exponent >= -2 else f"10{raised}"


def _entries(ladders: Sequence[Ladder]) -> tuple[list[Any], list[str]]:
    """Handles and words of the legend: only what occurs."""
    from matplotlib.lines import Line2D

    def point(colour: str, face: str) -> Any:
        return Line2D([], [], color=colour, markerfacecolor=face, marker="o", markersize=3.4, markeredgewidth=0.6, lw=0)

    handles = []
    if any(item.rejected.any() for item in ladders):
        handles.append((point(ACCENT, ACCENT), "rejected"))
        handles.append((Line2D([], [], color=ACCENT, linewidth=0.7, linestyle=(0, (4, 2))), "threshold reached"))
    if any(item.line is not None for item in ladders):
        handles.append((Line2D([], [], color=SERIES[0], linewidth=1.0), "line to fall below"))
        handles.append((point(MUTED, "none"), "not rejected"))
    if any(item.line is None for item in ladders):
        handles.append((point(_UNTESTED, "none"), "block not selected"))
    return [handle for handle, _ in handles], [name for _, name in handles]
