"""spectra-bids plot: the tables of a model -> figures for print."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Bundle
from spectra_bids.dataset.names import Dims
from spectra_bids.dataset.outputs import write_bytes
from spectra_bids.errors import MissingInputError, NothingSelectedError
from spectra_bids.figures import press_fdr
from spectra_bids.figures.plots import is_true, letter
from spectra_bids.figures.press import Format, Press, finish, joined, press_style, require_font, save
from spectra_bids.figures.press_panels import BundlePanel, Scale, maps_figure, profiles_figure, scale_of
from spectra_bids.figures.press_scenes import Painted, mosaic_figure, strips_figure
from spectra_bids.figures.scene_colours import by_value
from spectra_bids.geometry.grid import Grid, assign
from spectra_bids.plot.source import (
    Family,
    choose_bundles,
    choose_model,
    groups_of,
    kinds_of,
    read_families,
    read_grids,
    read_profiles,
    unit_of,
)
from spectra_bids.plot.streamlines import NO_STREAMLINES, display_bundles, join
from spectra_bids.plot.words import bundle_title, scalar_title, with_unit

log = logging.getLogger("spectra_bids")

Kind = Literal["profiles", "maps", "strips", "mosaic", "fdr"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Value = Literal["statistic", "estimate", "effect"]
_MOSAIC = ("Sagittal_L", "Axial", "Coronal_A", "Sagittal_R")
_EFFECTS = {"cohen_d": "Cohen's d", "partial_r": "partial r", "partial_eta2": "partial η²"}


@dataclass(frozen=True)
class PlotTask:
    """What `spectra-bids plot` was asked for; the fields are its options.

    `kinds` are the figures, `output` the file (of several figures the stem of their names), `dims` empty for 1D if
    there is; `value` is what colours mean in maps, strips and mosaics.
    """

    out: Path
    output: Path
    formats: tuple[Format, ...]
    kinds: tuple[Kind, ...]
    model: str = ""
    bundles: tuple[str, ...] = ()
    contrasts: tuple[str, ...] = ()
    scalars: tuple[str, ...] = ()
    dims: Literal["", "1D", "2D"] = ""
    by: str = ""
    value: Value = "statistic"
    rejected_only: bool = False
    cameras: tuple[str, ...] = ()
    glass: bool = True
    atlas: str = ""
    engine: str = "auto"
    renamed: Mapping[str, str] = field(default_factory=dict)
    auto_title: bool = False
    press: Press = field(default_factory=Press)


def run_plot(task: PlotTask) -> list[tuple[Path, str]]:
    """Make the figures; returns each file with its caption.

    Raises
    ------
    SpectraError
        There is no such model, bundle, contrast or scalar, or what a figure needs is not there.

    """
    if not task.out.is_dir():
        raise MissingInputError(f"There is no output directory {task.out}", "Give the OUTPUT_DIR of a group run")
    require_font(task.press.font)
    jobs = _jobs(task)
    made: list[tuple[Path, str]] = []
    for kind, family in jobs:
        shown = _titled(task, family)
        with press_style(shown.press):
            figure, caption = _DRAW[kind](shown, family)
            finish(figure, shown.press)
            for suffix in task.formats:
                path = _path(task, kind, family, suffix, alone=len(jobs) == 1)
                write_bytes(path, save(figure, shown.press, suffix))
                made.append((path, f"{_family_words(task, family)}. {caption}"))
    return made


def _jobs(task: PlotTask) -> list[tuple[Kind, Family]]:
    """Figures to make, family by family; what `all` cannot make is left out with a warning."""
    model = choose_model(task.out, task.model)
    kinds = kinds_of(task.out, model)
    if task.dims and task.dims not in kinds:
        raise NothingSelectedError(f"--dims {task.dims}: model {model} has {' and '.join(kinds)} tables only")
    usual: Dims = task.dims or kinds[0]
    families = {d: read_families(task.out, model, d, task.contrasts, task.scalars) for d in {usual, kinds[-1]}}
    jobs: list[tuple[Kind, Family]] = []
    for kind in task.kinds:
        dims: Dims = "2D" if kind == "maps" else usual
        if kind == "maps" and "2D" not in kinds:
            if len(task.kinds) == 1:
                raise NothingSelectedError(f"--figure maps needs 2D tables, and model {model} has 1D tables only")
            log.warning("no maps: model %s has 1D tables only", model)
            continue
        jobs += [(kind, family) for family in families[dims]]
    return jobs


def _path(task: PlotTask, kind: Kind, family: Family, suffix: Format, *, alone: bool) -> Path:
    """The file asked for; of several figures one each, told apart by kind, contrast and scalar."""
    stem = (
        task.output.with_suffix("") if task.output.suffix.lower().lstrip(".") in ("svg", "pdf", "png") else task.output
    )
    if alone:
        return stem.with_name(f"{stem.name}.{suffix}")
    plain = ("".join(c for c in name if c.isalnum()) for name in (family.contrast, family.scalar))
    contrast, scalar = plain
    return stem.with_name(f"{stem.name}_contrast-{contrast}_scalar-{scalar}_desc-{kind}{family.dims}.{suffix}")


def _titled(task: PlotTask, family: Family) -> PlotTask:
    from dataclasses import replace

    if not task.auto_title:
        return task
    return replace(task, press=replace(task.press, title=_family_words(task, family)))


def _family_words(task: PlotTask, family: Family) -> str:
    contrast = task.renamed.get(family.contrast, family.contrast)
    return f"{contrast}, {scalar_title(family.scalar, task.renamed)}, {family.dims}"


def _panels(task: PlotTask, family: Family, bundles: list[str]) -> list[BundlePanel]:
    """Rows, names and axis ends of bundles."""
    grids = read_grids(task.out, bundles)
    located = {name: grid for name, grid in grids.items() if grid.is_located}
    return [
        BundlePanel(
            bundle_title(name, task.renamed),
            family.rows(name),
            located[name].ends if name in located else None,
            located[name].sides if name in located else None,
        )
        for name in bundles
    ]


def _scale(task: PlotTask, family: Family) -> Scale:
    """What the colours of a family mean."""
    symbol = letter(family.stats)
    contrast = task.renamed.get(family.contrast, family.contrast)
    if task.value == "statistic":
        return scale_of(family.stats, "value", f"{symbol}, {contrast}", signed=symbol == "t")
    column = "estimate" if task.value == "estimate" else "effect_size"
    if not family.stats[column].notna().any():
        raise NothingSelectedError(
            f"--value {task.value}: the {symbol} test of {family.contrast} has none", "Use --value statistic"
        )
    if task.value == "estimate":
        words = with_unit(f"Δ {scalar_title(family.scalar, task.renamed)}", unit_of(task.out, family.scalar))
        return scale_of(family.stats, column, words, signed=True)
    kind = str(family.stats["effect_type"].dropna().iloc[0])
    return scale_of(family.stats, column, f"{_EFFECTS.get(kind, kind)}, {contrast}", signed=kind != "partial_eta2")


def _profiles(task: PlotTask, family: Family) -> tuple[Any, str]:
    from dataclasses import replace

    bundles = choose_bundles(family, task.bundles)
    groups = groups_of(task.out, choose_model(task.out, task.model), family.contrast, task.by)
    if task.by == "none":
        groups = replace(groups, column="", levels=())
    measured = read_profiles(task.out, choose_model(task.out, task.model), family, bundles, groups)
    panels = []
    for name, panel in zip(bundles, _panels(task, family, bundles), strict=True):
        hit = panel.rows.loc[is_true(panel.rows["rejected"]), "s"].unique()
        mine = measured[measured["bundle"].astype(str) == name]
        if groups.column in task.renamed or any(level in task.renamed for level in groups.levels):
            mine = mine.assign(**{groups.column: _renamed(mine[groups.column], task.renamed)})
        panels.append(replace(panel, rows=mine, rejected=hit))
    words = with_unit(scalar_title(family.scalar, task.renamed), unit_of(task.out, family.scalar))
    return profiles_figure(task.press, panels, family.scalar, groups.column, words)


def _renamed(column: Any, renamed: Mapping[str, str]) -> Any:
    """A factor with the user's words for its levels."""
    if not hasattr(column, "cat"):
        return column
    return column.cat.rename_categories({name: renamed.get(str(name), name) for name in column.cat.categories})


def _maps(task: PlotTask, family: Family) -> tuple[Any, str]:
    bundles = choose_bundles(family, task.bundles)
    return maps_figure(task.press, _panels(task, family, bundles), _scale(task, family))


def _painted(task: PlotTask, family: Family, bundles: list[str], scale: Scale) -> dict[str, Painted]:
    """Bundles with the colours of their cells, those of which there are streamlines."""
    grids = read_grids(task.out, bundles)
    lines = display_bundles(task.out, task.atlas, grids, bundles)
    return {
        name: Painted(
            bundle_title(name, task.renamed),
            lines[name],
            _colours(task, family.rows(name), grids[name], lines[name], scale),
            task.cameras or _cameras(lines[name]),
        )
        for name in bundles
        if name in lines
    }


def _cameras(bundle: Bundle) -> tuple[str, ...]:
    """From the bundle's own side, from above, from the front."""
    right = float(np.median(bundle.points[:, 0])) > 0
    return ("Sagittal_R" if right else "Sagittal_L", "Axial", "Coronal_A")


def _colours(task: PlotTask, rows: Any, grid: Grid, bundle: Bundle, scale: Scale) -> NDArray[np.float32]:
    """Colours of a bundle's points by the values of their cells; grey where there is no test, or no rejection."""
    shown = rows["p"].notna().to_numpy(bool)
    if task.rejected_only:
        shown = shown & is_true(rows["rejected"])
    value = rows[scale.column].where(shown).to_numpy(float)
    where = assign(grid, bundle)
    s = rows["s"].to_numpy(int)
    if "r" in rows:
        cells = np.full((grid.ns, grid.nr), np.nan)
        cells[s, rows["r"].to_numpy(int)] = value
        return by_value(cells[where.s, where.r_bin], scale.colours, scale.limits)
    nodes = np.full(grid.ns, np.nan)
    nodes[s] = value
    return by_value(nodes[where.s], scale.colours, scale.limits)


def _strips(task: PlotTask, family: Family) -> tuple[Any, str]:
    bundles, scale = choose_bundles(family, task.bundles), _scale(task, family)
    items = _painted(task, family, bundles, scale)
    absent = [name for name in bundles if name not in items]
    if not items:
        raise MissingInputError(NO_STREAMLINES.format(what=joined(absent)), "Name the atlas of the run with --atlas")
    if absent:
        log.warning(NO_STREAMLINES.format(what=joined(absent)))
    figure = strips_figure(task.press, list(items.values()), scale, glass=task.glass, engine=task.engine)
    return figure, f"Streamlines of the atlas, coloured by {scale.words}. {_grey(task)}"


def _grey(task: PlotTask) -> str:
    return "Grey: not rejected, or not tested." if task.rejected_only else "Grey: not tested."


def _mosaic(task: PlotTask, family: Family) -> tuple[Any, str]:
    bundles, scale = choose_bundles(family, task.bundles), _scale(task, family)
    items = _painted(task, family, bundles, scale)
    absent = [name for name in bundles if name not in items]
    if absent:
        log.warning(NO_STREAMLINES.format(what=joined(absent)))
    whole = None
    if items:
        lines = join([item.bundle for item in items.values()])
        colours = np.concatenate([item.colours for item in items.values()])
        whole = Painted("", lines, colours, task.cameras or (_MOSAIC if task.press.width > 120 else _MOSAIC[:3]))
    figure = mosaic_figure(
        task.press, whole, _panels(task, family, family.bundles), scale, glass=task.glass, engine=task.engine
    )
    which = (
        "The bundles named"
        if task.bundles
        else "Bundles with findings"
        if family.found
        else "All bundles (nothing is found)"
    )
    of = "" if family.dims == "1D" else " Of each node the cell with the largest value is shown."
    strips = f"Strips: every bundle from its low end to its high end; bold: with findings; underlined: rejected.{of}"
    drawn = f"{which} in the brain, coloured by {scale.words}. {_grey(task)} " if whole is not None else ""
    return figure, drawn + strips


def _fdr(task: PlotTask, family: Family) -> tuple[Any, str]:
    """Diagnostics of a family: blocks, then cells block by block; without blocks all cells, then bundle by bundle."""
    facts = family.summary
    mode, noun = str(facts["mode"]), "node" if family.dims == "1D" else "cell"
    alpha = float(facts["alpha_cell"])
    stats, blocks = family.stats, family.blocks.sort_values(["p_block", "block"], kind="stable")
    wanted = set(choose_bundles(family, task.bundles)) if task.bundles else None
    if wanted is not None:
        blocks = blocks[[bool(wanted & set(str(b).split(", "))) for b in blocks["bundle"]]]
    shown = blocks.head(press_fdr.MOST_BLOCKS)
    if len(shown) < len(blocks):
        log.warning(
            "%d of %d blocks are drawn, those with the smallest p; --bundle names others", len(shown), len(blocks)
        )
    name = {str(b): bundle_title(str(b), task.renamed) for b in shown["block"]}
    block_of = stats["block"].astype(str)
    numbers = f"{int(facts['n_valid'])} of {int(facts['n_cells'])} {noun}s tested, {int(facts['n_rejected'])} rejected"
    if mode.startswith("hfdr"):
        top = not np.isfinite(float(facts["p_scalar"]))
        ladders = [press_fdr.of_blocks(family.blocks, float(facts["alpha_block"]), top)]
        ratio = int(facts["n_blocks"]) / max(1, int(facts["n_selected"]))
        for b in name:
            mine = stats[block_of == b]
            c = int(mine["p"].notna().sum()) * ratio if top else None
            ladders.append(press_fdr.of_cells(name[b], mine, alpha, c, noun))
        said = (
            f"{mode}: {int(facts['n_selected'])} of {int(facts['n_blocks'])} blocks selected at level "
            f"{float(facts['alpha_block']):g}; {numbers} at level {alpha:g} within selected blocks"
        )
    elif mode.startswith("perm"):
        ladders = [press_fdr.by_permutation("All cells", stats, alpha, noun)]
        ladders += [press_fdr.by_permutation(name[b], stats[block_of == b], alpha, noun) for b in name]
        said = f"{mode}: {numbers} at level {alpha:g}"
    else:
        n = float(stats["p"].notna().sum()) if "BH" in mode else None
        ladders = [press_fdr.of_cells(f"All {noun}s", stats, alpha, n, noun)]
        said = f"{mode}: {numbers} at level {alpha:g}"
    axis = "family-wise p" if mode.startswith("perm") else "p"
    figure = press_fdr.fdr_figure(task.press, ladders, axis)
    return figure, f"Sorted p values against the line that they must fall below. {said}."


_DRAW: dict[Kind, Callable[[PlotTask, Family], tuple[Any, str]]] = {
    "profiles": _profiles,
    "maps": _maps,
    "strips": _strips,
    "mosaic": _mosaic,
    "fdr": _fdr,
}
