"""Group level, all bundles at once: which subject has which bundle, and where along the bundles a contrast shows.

Input are a table of statuses, and tables with the columns of `columns.FITS_*` + `DECISIONS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectra_bids.figures.plots import is_true, letter
from spectra_bids.figures.sheets import Ends, colour_bar, hatched
from spectra_bids.figures.style import (
    ACCENT,
    FONT_SIZE,
    INK,
    MUTED,
    PAPER,
    RULE,
    blank,
    diverging,
    heading,
    house_style,
    label,
    limits,
    sequential,
)
from spectra_bids.figures.svg import Sheet, panel

if TYPE_CHECKING:
    import pandas as pd

#: Seen on light and on dark paper alike; what is ok is a tint of the paper, so that the rest stands out. None is
#: a named ink: the page would recolour the legend, and not the picture, in the dark.
STATUS_COLOURS = {
    "ok": "#6f9db940",
    "no_bundle": "#d1603d",
    "few_streamlines": "#d9a441",
    "no_points": "#8f6fc0",
    "few_points": "#2b9e90",
    "out_of_fov": "#c65f8a",
    "masked": "#74859b",
    "qc_fail": "#3f7fd1",
}


#: Sessions that can be told apart in columns; of more, shares are drawn.
MOST_COLUMNS = 300


def coverage_map(coverage: pd.DataFrame, shares: bool = False) -> Sheet:
    """Which subject has which bundle: one column per subject, one row per bundle, coloured by status.

    With more than `MOST_COLUMNS` sessions a column would be finer than a pixel, and most of the absent bundles would
    not be seen: each row is then a bar of the statuses' shares.

    Parameters
    ----------
    coverage : DataFrame
        Index subject (and session), columns bundles, values a status of `columns.STATUSES`.
    shares : bool
        Draw shares however few the sessions are: no column of one person.

    """
    from matplotlib.colors import ListedColormap

    names = list(STATUS_COLOURS)
    codes = np.array([[names.index(str(v)) if str(v) in names else 1 for v in row] for row in coverage.to_numpy()])
    codes = codes.reshape(coverage.shape).T
    used = [k for k in range(len(names)) if (codes == k).any()]
    rows, columns = codes.shape
    shares = shares or columns > MOST_COLUMNS
    left = 12 + 4.7 * max((len(label(b, 40)) for b in coverage.columns), default=8)
    width = left + (520.0 if shares else float(np.clip(columns * 9, 240, 520))) + 10
    step = max(1, -(-columns // 40))
    shown = range(0, 0 if shares else columns, step)
    below = 14 + 4.2 * max((len(label(coverage.index[k], 22)) for k in shown), default=0)
    height = 28 + 11.0 * max(rows, 1) + below
    with house_style():
        figure, axes = blank(width, height, left=left, top=28, bottom=below)
        axes.set_yticks(range(rows), [label(b, 40) for b in coverage.columns], size=FONT_SIZE - 1)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        if shares:
            _shares(axes, codes)
        else:
            axes.imshow(
                codes,
                cmap=ListedColormap(list(STATUS_COLOURS.values())),
                vmin=-0.5,
                vmax=len(names) - 0.5,
                aspect="auto",
                interpolation="none",
            )
            axes.set_xticks(shown, [label(coverage.index[k], 22) for k in shown], rotation=90, size=FONT_SIZE - 2)
            _grid_lines(axes, rows, columns)
        _status_legend(figure, left / width, 1 - 12 / height, [names[k] for k in used], width)
        absent = int((codes != 0).sum())
        return Sheet(
            (panel(figure, f"Status of {rows} bundles in {columns} sessions; {absent} of {codes.size} not ok"),)
        )


def _shares(axes: Any, codes: NDArray[np.int_]) -> None:
    """One bar per row of codes (bundles, sessions): the share of each status, the absent ones first."""
    rows, columns = codes.shape
    start = np.zeros(rows)
    codes_drawn = [*range(len(STATUS_COLOURS) - 1, 0, -1), 0]  # what is ok comes last, to the right
    for k, colour in ((code, list(STATUS_COLOURS.values())[code]) for code in codes_drawn):
        share = (codes == k).sum(axis=1) / columns
        if not share.any():
            continue
        axes.barh(range(rows), share, left=start, height=0.86, color=colour, linewidth=0)
        start += share
    axes.set_xlim(0, 1)
    axes.set_ylim(rows - 0.5, -0.5)
    ticks = np.linspace(0, 1, 5)
    axes.set_xticks(ticks, [f"{t:.0%} of {columns:,} sessions" if t == 1 else f"{t:.0%}" for t in ticks])
    axes.get_xticklabels()[-1].set_horizontalalignment("right")
    axes.tick_params(axis="x", labelsize=FONT_SIZE - 1)


def _status_legend(figure: Any, x: float, y: float, statuses: list[str], width: float) -> None:
    from matplotlib.patches import Rectangle

    for status in statuses:
        size = (7 / width, 7 / (figure.get_figheight() * 72))
        figure.add_artist(Rectangle((x, y - 0.004), *size, facecolor=STATUS_COLOURS[status], edgecolor=RULE, lw=0.5))
        words = status.replace("_", " ")
        figure.text(x + 10 / width, y, words, size=FONT_SIZE - 1, color=MUTED, va="bottom")
        x += (22 + 4.6 * len(words)) / width


def effect_overview(stats: pd.DataFrame, ends: Ends, title: str = "") -> Sheet:
    """All bundles of one scalar and contrast as strips along s: the statistic, rejected nodes, selected bundles.

    Parameters
    ----------
    stats : DataFrame
        FITS_1D or FITS_2D + DECISIONS of one scalar and contrast. Of a 2D table the cell with the largest |value| of
        each node is shown. Strips have one length: bundles are compared end to end, not in mm.
    ends : mapping of bundle to (low, high)
        Letters of the two ends.
    title : str
        Heading.

    """
    symbol = letter(stats)
    return _strips(stats, ends, title, symbol, signed=symbol == "t")


def detectable_overview(stats: pd.DataFrame, ends: Ends, title: str = "") -> Sheet:
    """All bundles as strips along s: the smallest effect that would have been found, in SDs of the cell's values.

    Parameters
    ----------
    stats : DataFrame
        FITS_1D or FITS_2D + DECISIONS of one scalar and contrast. Of a 2D table the largest of each node is shown;
        values above three times the median are drawn as that.
    ends, title
        As in `effect_overview`.

    """
    cut = stats["mde_std"].clip(upper=3 * stats["mde_std"].median())  # one cell of few people would darken the others
    shown = stats.assign(value=cut, p=stats["mde_std"].where(stats["mde_std"].isna(), 0.5))
    return _strips(shown.assign(rejected=False, block_selected=False), ends, title, "MDE, SD", signed=False)


def _strips(stats: pd.DataFrame, ends: Ends, title: str, symbol: str, *, signed: bool) -> Sheet:
    """Values of all bundles, one strip each; signed values about 0, others from 0."""
    is_f = not signed
    colours = diverging() if signed else sequential()
    known = stats[stats["p"].notna() & stats["value"].notna()]
    top = limits(known["value"], centred=True)[1]
    bundles = [str(b) for b in dict.fromkeys(stats["bundle"])]
    shown = [label(b, 40) for b in bundles]
    left = 16 + 4.9 * max((len(b) for b in shown), default=8)
    width, height = left + 290, 34 + 15.0 * max(len(bundles), 1) + 26
    with house_style():
        figure, axes = blank(width, height, left=left, right=62, top=34, bottom=26)
        for k, bundle in enumerate(bundles):
            _strip(axes, stats[stats["bundle"].astype(str) == bundle], k, colours, (0.0 if is_f else -top, top))
            low, high = ends.get(bundle, ("", ""))
            axes.text(-0.012, k, label(low, 3), ha="right", va="center", size=FONT_SIZE - 1.5, color=MUTED)
            axes.text(1.012, k, label(high, 3), ha="left", va="center", size=FONT_SIZE - 1.5, color=MUTED)
        axes.set_xlim(0, 1)
        axes.set_ylim(len(bundles) - 0.4, -0.6)
        axes.set_xticks([])
        axes.set_yticks(range(len(bundles)), shown, size=FONT_SIZE - 0.5)
        axes.tick_params(length=0, pad=12)
        chosen = {str(b) for b in stats.loc[is_true(stats["block_selected"]), "bundle"]}
        for bundle, text in zip(bundles, axes.get_yticklabels(), strict=True):
            if bundle in chosen:
                text.set(color=INK, weight="bold")
        axes.spines[:].set_visible(False)
        tall = min(height - 60, 130.0)
        bar = figure.add_axes((1 - 42 / width, 1 - (34 + tall) / height, 8 / width, tall / height))
        colour_bar(bar, colours, (0.0 if is_f else -top, top))
        heading(figure, axes, title, symbol, limit=48)
        return Sheet((panel(figure, f"{label(title)}: {len(bundles)} bundles, {len(chosen)} selected"),))


def _strip(axes: Any, rows: pd.DataFrame, k: int, colours: Any, scale: tuple[float, float]) -> None:
    """One bundle of the overview: (1, ns) image in [0, 1] x [k - .36, k + .36]; rejected nodes underlined."""
    ns = int(rows["s"].max()) + 1
    value = rows["value"].where(rows["p"].notna()).to_numpy(float)
    order = np.argsort(np.nan_to_num(np.abs(value), nan=-1.0), kind="stable")  # the largest is written last
    strip = np.full(ns, np.nan)
    s = rows["s"].to_numpy(int)
    strip[s[order]] = value[order]
    axes.imshow(
        np.ma.masked_invalid(strip)[None, :],
        cmap=colours,
        vmin=scale[0],
        vmax=scale[1],
        aspect="auto",
        interpolation="none",
        extent=(0, 1, k + 0.34, k - 0.34),
    )
    missing = np.setdiff1d(np.unique(s), np.unique(s[np.isfinite(value)]))
    if missing.size:
        patch = hatched(missing, np.zeros_like(missing))
        patch.set_path(_rescaled(patch.get_path(), ns, k))
        axes.add_patch(patch)
    first, last = int(s.min()) / ns, (int(s.max()) + 1) / ns
    axes.plot([first, last, last, first, first], k + 0.34 * np.array([-1, -1, 1, 1, -1]), color=RULE, linewidth=0.5)
    hit = np.unique(s[is_true(rows["rejected"])])
    if hit.size:
        axes.hlines(np.full(hit.size, k + 0.44), hit / ns, (hit + 1) / ns, color=ACCENT, linewidth=2.2)


def _rescaled(path: Any, ns: int, k: int) -> Any:
    from matplotlib.path import Path

    v = path.vertices
    return Path(np.column_stack([(v[:, 0] + 0.5) / ns, k + 0.68 * v[:, 1]]), path.codes)


def _grid_lines(axes: Any, rows: int, columns: int) -> None:
    if columns <= 120:
        axes.vlines(np.arange(columns - 1) + 0.5, -0.5, rows - 0.5, color=PAPER, linewidth=0.5)
    axes.hlines(np.arange(rows - 1) + 0.5, -0.5, columns - 0.5, color=PAPER, linewidth=0.8)
