"""Distributions over pairs of regions: mean share of each pair in each group, with its 95 % interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from spectra_bids.figures.style import FONT_SIZE, INK, MUTED, RULE, SERIES, blank, heading, house_style, label
from spectra_bids.figures.svg import Sheet, panel

if TYPE_CHECKING:
    import pandas as pd

#: Pairs drawn; the table holds all.
MOST_PAIRS = 24


def pattern_plot(table: pd.DataFrame, title: str, found: Sequence[str] = ()) -> Sheet:
    """Dots and intervals, a row per pair, a colour per group.

    Parameters
    ----------
    table : DataFrame
        pair, group ("" for everybody), mean, low, high: shares; pairs in the order in which they are drawn.
    title : str
    found : sequence of str
        Pairs to be marked.

    """
    pairs = list(dict.fromkeys(table["pair"]))[:MOST_PAIRS]
    groups = list(dict.fromkeys(table["group"]))
    height = 46 + 18 * len(pairs)
    with house_style():
        figure, axes = blank(560, height, left=250, right=96, top=22, bottom=24)
        for k, group in enumerate(groups):
            part = table[(table["group"] == group) & table["pair"].isin(pairs)]
            where = np.array([pairs.index(p) for p in part["pair"]]) + 0.5 * ((k + 0.5) / len(groups) - 0.5)
            colour = SERIES[k % len(SERIES)]
            axes.hlines(where, part["low"], part["high"], color=colour, lw=1.2)
            axes.plot(part["mean"], where, "o", ms=3.6, color=colour)
            if group:
                axes.text(1.03, 1 - (k + 0.5) * 14 / (height - 46), label(group, 16), color=colour,
                          transform=axes.transAxes, va="center", size=FONT_SIZE, weight="bold")  # fmt: skip
        axes.set_ylim(len(pairs) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.set_yticks(range(len(pairs)), [label(p, 46) + (" *" if p in found else "") for p in pairs])
        for tick, pair in zip(axes.get_yticklabels(), pairs, strict=True):
            tick.set_color(INK if pair in found else MUTED)
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
        axes.grid(axis="x", color=RULE, lw=0.5)
        axes.set_axisbelow(True)
        heading(figure, axes, title, limit=60)
        return Sheet((panel(figure, f"{title}: mean share of each pair of regions in each group"),), 1)
