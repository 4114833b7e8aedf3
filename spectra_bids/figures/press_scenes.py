"""Bundles in 3D for print: strips of cameras per bundle; all of them in one glass brain above an overview of strips.

3D pictures are pixels at the press's resolution; letters, scales and names around them are type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Bundle
from spectra_bids.figures.overviews import _strip
from spectra_bids.figures.plots import is_true
from spectra_bids.figures.press import Press, axes_at, fitted, new_figure, panel_letter, text_width, write
from spectra_bids.figures.press_panels import BundlePanel, Scale, bar
from spectra_bids.figures.scene_meshes import GLASS_OPACITY, glass_brain
from spectra_bids.figures.scene_model import Picture, Scene, extents, frame, strip_scenes
from spectra_bids.figures.scenes import render
from spectra_bids.figures.style import FONT_SIZE, INK, MUTED, label

if TYPE_CHECKING:
    import pandas as pd

_MM = 25.4
#: A page's height, mm: pictures of many bundles are made smaller to fit it.
_PAGE = 235.0
#: Between the pictures of a row, in sizes of the type: room for two letters.
_GAP = 1.3
#: Glass on a dark ground.
_PALE = (0.66, 0.72, 0.80)


@dataclass(frozen=True, eq=False)
class Painted:
    """A bundle with the colours of its points (P, 3), its name, and the cameras that see it."""

    name: str
    bundle: Bundle
    colours: NDArray[np.floating]
    cameras: tuple[str, ...]


def strips_figure(
    press: Press, items: Sequence[Painted], scale: Scale, *, glass: bool = True, engine: str = "auto"
) -> Any:
    """Each bundle from its cameras, in a glass brain, on one scale of colours."""
    em = press.em
    right, gap, above = 7.4 * em, 1.8 * em, (3.5 if len(items) > 1 or press.letters else 1.2) * em
    shape = _shapes(press, items[0], glass)
    for across in range(1, len(items) + 1):
        width = (press.width - right - gap * across) / across
        height = (width - _GAP * em * (len(shape) - 1)) / sum(shape)
        rows = -(-len(items) // across)
        if rows * (height + above) + press.head + 1.4 * em <= _PAGE or height < 14:
            break
    pixels = round(height / _MM * press.dpi)
    scenes = [view for item in items for view in _views(press, item, pixels, glass)]
    pictures = render(scenes, engine=engine)
    figure = new_figure(press, press.head + rows * (height + above) + 1.4 * em)
    taken = 0
    for k, item in enumerate(items):
        x, y = gap / 2 + k % across * (width + gap), press.head + k // across * (height + above) + above
        if len(items) > 1:
            write(figure, press, x + (1.4 * em if press.letters else 0), y - 1.2 * em, label(item.name, 60), color=INK)
        panel_letter(figure, press, k, x, y - 1.15 * em)
        n = len(item.cameras)
        _row(figure, press, scenes[taken : taken + n], pictures[taken : taken + n], (x, y, height))
        taken += n
    tall = min(height, 45.0)
    bar(figure, press, scale, press.width - right + 0.9 * em, press.head + above + (height - tall) / 2, tall)
    return figure


def mosaic_figure(
    press: Press,
    whole: Painted | None,
    panels: Sequence[BundlePanel],
    scale: Scale,
    *,
    glass: bool = True,
    engine: str = "auto",
) -> Any:
    """All bundles in one glass brain from several cameras, and below each bundle's values as a strip.

    Parameters
    ----------
    press : Press
    whole : Painted or None
        The bundles that are drawn, joined; None where their streamlines are not known.
    panels : sequence of BundlePanel
        Every bundle's rows of FITS + DECISIONS.
    scale : Scale
    glass, engine
        Whether there is a glass brain; what draws.

    """
    em = press.em
    right, top = 7.4 * em, press.head + (1.8 if press.letters else 1.0) * em
    height = 0.0
    if whole is not None:
        width = press.width - right - 1.8 * em
        shape = _shapes(press, whole, glass)
        height = min((width - _GAP * em * (len(shape) - 1)) / sum(shape), 70.0)
    strips = len(panels) * 1.75 * em
    y = top + height + (2.4 * em if whole is not None else 0)
    figure = new_figure(press, y + strips + 1.0 * em)
    if whole is not None:
        scenes = _views(press, whole, round(height / _MM * press.dpi), glass)
        pictures = render(scenes, engine=engine)
        _row(figure, press, scenes, pictures, (1.2 * em, top, height))
        panel_letter(figure, press, 0, 0.3 * em, top - 0.2 * em)
    _overview(figure, press, panels, scale, (y, strips, (8.2 if whole is None else 2.4) * em))
    panel_letter(figure, press, 0 if whole is None else 1, 0.3 * em, y - 0.5 * em)
    where, tall = (top, height) if whole is not None else (y, strips)
    bar(figure, press, scale, press.width - right + 0.9 * em, where + (tall - min(tall, 40.0)) / 2, min(tall, 40.0))
    return figure


def _glass(press: Press, wanted: bool) -> tuple[Any, ...]:
    if not wanted:
        return ()
    return (glass_brain(GLASS_OPACITY, _PALE),) if press.dark else (glass_brain(),)


def _scene(press: Press, item: Painted, pixels: int, glass: bool) -> Scene:
    return Scene(
        item.bundle, item.colours, _glass(press, glass), camera=item.cameras[0], size=(pixels, pixels),
        line_width=max(1.0, 0.35 / 72 * press.dpi), transparent=True, letters=False, dpi=press.dpi,
    )  # fmt: skip


def _views(press: Press, item: Painted, pixels: int, glass: bool) -> list[Scene]:
    """Scenes of all cameras of a bundle, of one height in pixels and one scale in mm."""
    scene = _scene(press, item, pixels, glass)
    if len(item.cameras) == 1:
        wide = _shapes(press, item, glass)[0]
        return [replace(scene, size=(max(1, round(wide * pixels)), pixels))]
    return strip_scenes(scene, item.cameras)


def _shapes(press: Press, item: Painted, glass: bool) -> list[float]:
    """Width over height of the pictures of all cameras."""
    scene = _scene(press, item, 1000, glass)
    twice = item.cameras if len(item.cameras) > 1 else item.cameras * 2
    return [view.size[0] / 1000 for view in strip_scenes(scene, twice)][: len(item.cameras)]


def _row(
    figure: Any, press: Press, scenes: Sequence[Scene], pictures: Sequence[Picture], place: tuple[float, float, float]
) -> None:
    """Pictures side by side from x, y mm on, of a height, with the letters of the directions at their edges."""
    x, y, height = place
    for scene, picture in zip(scenes, pictures, strict=True):
        width = height * picture.pixels.shape[1] / picture.pixels.shape[0]
        axes = axes_at(figure, press, x, y, width, height)
        axes.imshow(picture.pixels, aspect="auto", interpolation="none")
        axes.set_axis_off()
        low, high = extents(scene)
        u, v = (high - low)[:2] / frame(scene).scale / np.array(scene.size) / 2 + 0.2 * press.em / np.array(
            (width, height)
        )
        at = ((0.5 - u, 0.5, "right", "center"), (0.5 + u, 0.5, "left", "center"), (0.5, 0.5 - v, "center", "top"))
        for letter, (a, b, ha, va) in zip(scene.view.letters, (*at, (0.5, 0.5 + v, "center", "bottom")), strict=True):
            axes.text(a, b, letter, transform=axes.transAxes, ha=ha, va=va, size=FONT_SIZE - 1.5, color=MUTED)
        x += width + _GAP * press.em


def _overview(
    figure: Any, press: Press, panels: Sequence[BundlePanel], scale: Scale, place: tuple[float, float, float]
) -> None:
    """One strip per bundle along s, all of one length; rejected nodes underlined, selected bundles in ink."""
    y, height, right = place
    names = [fitted(press, panel.name, 0.42 * press.width) for panel in panels]
    left = 2.6 * press.em + 1.08 * max((text_width(press, name) for name in names), default=20.0)
    axes = axes_at(figure, press, left, y, press.width - left - right, height)
    for k, panel in enumerate(panels):
        _strip(axes, _with_values(panel.rows, scale), k, scale.colours, scale.limits)
        for u, end, ha in zip((-0.012, 1.012), panel.ends or ("", ""), ("right", "left"), strict=True):
            axes.text(u, k, label(end, 3), ha=ha, va="center", size=FONT_SIZE - 1.5, color=MUTED)
    axes.set_xlim(0, 1)
    axes.set_ylim(len(panels) - 0.4, -0.6)
    axes.set_xticks([])
    axes.set_yticks(range(len(panels)), names)
    axes.tick_params(length=0, pad=1.3 * press.em / _MM * 72)
    axes.spines[:].set_visible(False)
    for panel, text in zip(panels, axes.get_yticklabels(), strict=True):
        if is_true(panel.rows["block_selected"]).any() or is_true(panel.rows["rejected"]).any():
            text.set(color=INK, weight="bold")


def _with_values(rows: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    return rows.assign(value=rows[scale.column])
