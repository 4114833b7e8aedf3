"""A subject's bundles as 3D pictures: three cameras side by side, coloured by a profile, the two ends marked.

    draw(subjects) -> [PNG, ...]        small(PNG, bytes) -> Still, as a page carries it

All pictures are drawn by one child process (figures.scenes), and their colours are those of the (s, r) maps: what is
dark in one is dark in the other. Grey is not measured. The background is clear, so that a page may be light or dark.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Bundle
from spectra_bids.figures.scene_colours import by_cell
from spectra_bids.figures.scene_letters import BADGE, badge, strip
from spectra_bids.figures.scene_meshes import MOST_OUTSIDE, glass_brain, share_outside_mni
from spectra_bids.figures.scene_model import Mesh, Picture, Scene, frame, strip_scenes
from spectra_bids.figures.scenes import TIME_LIMIT, render_each
from spectra_bids.figures.style import sequential
from spectra_bids.geometry.grid import Grid, assign

#: Streamlines of a bundle that are drawn: enough to see its shape.
MOST = 300
#: Height of a picture on disk, pixels; a page shows it at about half of that.
HEIGHT = 320
#: Height of letters, as a share of the picture's: they are read at half of its size.
_LETTER = 0.056
#: Colours that a file keeps: a third of the bytes, and nobody sees the difference.
_PALETTE = 256
#: A bundle further from the midline than this, mm, is looked at from its own side.
_OFF_MIDLINE = 10.0
#: One point of so many is looked up in the brain.
_EVERY = 20
#: Widths and qualities that a picture is tried in until it fits its share of a page.
_TRIES = tuple((width, quality) for width in (640, 480, 340, 240) for quality in (60, 35))


@dataclass(frozen=True, eq=False)
class Subject:
    """A bundle to be drawn.

    Parameters
    ----------
    bundle : Bundle
        In atlas space, mm RAS+; at most `MOST` of its streamlines, see `thin`.
    grid : Grid
        Of the atlas bundle.
    values : (ns,) float64
        What its nodes are coloured by; NaN where nothing was measured.
    limits : (low, high)
        Values of the first and the last colour.

    """

    bundle: Bundle
    grid: Grid
    values: NDArray[np.float64]
    limits: tuple[float, float]


@dataclass(frozen=True)
class Still:
    """A picture inside a page: its source, size in pixels, and what it shows in words."""

    src: str
    width: int
    height: int
    text: str


def thin(bundle: Bundle) -> Bundle:
    """At most `MOST` streamlines, evenly spread over the file: the same ones every time; those of one point go."""
    long = np.flatnonzero(bundle.counts > 1)
    if len(long) > MOST:
        long = long[np.linspace(0, len(long) - 1, MOST).astype(np.int64)]
    return bundle.take(long)


def draw(
    subjects: Sequence[Subject], *, engine: str = "auto", threads: int | None = None, limit: float = TIME_LIMIT
) -> tuple[list[bytes], str]:
    """PNG files of bundles, in order, and why FURY could not draw some of them (empty if it could).

    Parameters
    ----------
    subjects : sequence of Subject
        Bundles with at least one streamline.
    engine, threads, limit
        As in `scenes.render_each`.

    """
    brain = _brain(subjects)
    views = [strip_scenes(_scene(one, brain), cameras(one.bundle)) for one in subjects]
    pictures, reason = render_each([v for strip_ in views for v in strip_], engine=engine, threads=threads, limit=limit)
    files, done = [], 0
    for one, scenes in zip(subjects, views, strict=True):
        parts = [_marked(picture, scene, one) for picture, scene in zip(pictures[done:], scenes, strict=False)]
        files.append(_lean(strip(parts)))
        done += len(scenes)
    return files, reason


def cameras(bundle: Bundle) -> tuple[str, str, str]:
    """From the bundle's own side (from the left where it crosses the midline), from above, from behind."""
    x = float(np.median(bundle.points[:, 0])) if len(bundle.points) else 0.0
    return ("Sagittal_R" if x > _OFF_MIDLINE else "Sagittal_L", "Axial", "Coronal_P")


def small(content: bytes, most: int, text: str) -> Still | None:
    """A PNG file as a page carries it, of at most so many bytes; None if it cannot be had so small."""
    from PIL import Image

    image = Image.open(io.BytesIO(content)).convert("RGBA")
    for width, quality in _TRIES:
        if width > image.width and width != _TRIES[-1][0]:
            continue
        size = (min(width, image.width), max(1, round(image.height * min(width, image.width) / image.width)))
        buffer = io.BytesIO()
        image.resize(size, Image.Resampling.LANCZOS).save(
            buffer, "WEBP", quality=quality, alpha_quality=quality, method=4
        )
        source = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
        if len(source) <= most:
            return Still(source, *size, text)
    return None


def _brain(subjects: Sequence[Subject]) -> tuple[Mesh, ...]:
    """The glass brain, if the bundles lie inside of it: an atlas of another space has none."""
    points = np.concatenate([one.bundle.points for one in subjects] or [np.zeros((0, 3), np.float32)])[::_EVERY]
    inside = len(points) and share_outside_mni(Bundle(points, np.array([0, len(points)]))) <= MOST_OUTSIDE
    return (glass_brain(),) if inside else ()


def _scene(one: Subject, brain: tuple[Mesh, ...]) -> Scene:
    colours = by_cell(one.values, assign(one.grid, one.bundle), sequential(), one.limits)
    return Scene(
        one.bundle, colours, brain, size=(2 * HEIGHT, HEIGHT), line_width=1.3, transparent=True, letter=_LETTER, dpi=150
    )


def _marked(picture: Picture, scene: Scene, one: Subject) -> Picture:
    """The letters of the two ends of s where they are: the first and the last node of the grid."""
    seen = frame(scene)
    axes = np.array([scene.view.right, scene.view.up], float)
    inside = np.flatnonzero(one.grid.in_1d)
    if not len(inside):
        return picture
    right_up = (one.grid.nodes[inside[[0, -1]]] - np.array(seen.centre)) @ axes.T / seen.scale
    places = np.array(scene.size) / 2 + right_up * (1, -1)
    apart, room = places[1] - places[0], BADGE * _LETTER * HEIGHT
    if np.hypot(*apart) < room:  # one behind the other: set side by side
        places += np.array([[-0.5, 0], [0.5, 0]]) * (room if apart[0] >= 0 else -room)
    pixels = picture.pixels
    for (x, y), letter in zip(places, one.grid.ends, strict=True):
        pixels = badge(pixels, letter, (x, y), round(_LETTER * HEIGHT))
    return Picture(pixels, picture.dpi, picture.engine)


def _lean(picture: Picture) -> bytes:
    """PNG file with a palette."""
    from PIL import Image

    image = Image.fromarray(picture.pixels).quantize(_PALETTE, method=Image.Quantize.FASTOCTREE, dither=_no_dither())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", dpi=(picture.dpi, picture.dpi), optimize=True)
    return buffer.getvalue()


def _no_dither() -> Any:
    from PIL import Image

    return Image.Dither.NONE


def read_small(path: Path, most: int, text: str) -> Still | None:
    """`small` of a file; None if it is not there, or no picture."""
    try:
        return small(path.read_bytes(), most, text)
    except (OSError, ValueError):
        return None
