"""Letters at the edges of 3D pictures (which side is left), and strips of several pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra_bids.figures.scene_model import Picture, Scene

#: Space between the pictures of a strip, as a share of their height.
_GAP = 0.06
#: Diameter of a disc with a letter, in heights of the letter.
BADGE = 1.72


def lettered(pixels: NDArray[np.uint8], scene: Scene) -> NDArray[np.uint8]:
    """A picture (H, W, 4) with the directions at its edges: left, right, below, above."""
    height, width = pixels.shape[:2]
    size = round(scene.letter * height)
    if not scene.letters or size < 7 or width < 8 * size:
        return pixels
    from PIL import Image, ImageDraw

    image = Image.fromarray(pixels)
    layer = Image.new("RGBA", image.size, (*_ink(scene), 0))
    draw = ImageDraw.Draw(layer)
    font = _font(size)
    edge = size * 0.45
    places = ((edge, height / 2, "lm"), (width - edge, height / 2, "rm"), (width / 2, height - edge, "md"))
    for letter, (x, y, anchor) in zip(scene.view.letters, (*places, (width / 2, edge, "ma")), strict=True):
        draw.text((x, y), letter, fill=(*_ink(scene), 255), font=font, anchor=anchor)
    return np.asarray(Image.alpha_composite(image, layer), np.uint8)


def badge(pixels: NDArray[np.uint8], letter: str, place: tuple[float, float], size: int) -> NDArray[np.uint8]:
    """A picture (H, W, 4) with a letter in a dark disc at a place, (x, y), pixels: it is read on any background."""
    from PIL import Image, ImageDraw

    radius = BADGE / 2 * size
    fine = 4  # drawn larger, then averaged: a round disc
    box = round(2 * radius) + 4
    layer = Image.new("RGBA", (box * fine, box * fine), (255, 255, 255, 0))
    draw = ImageDraw.Draw(layer)
    middle, reach = box * fine / 2, radius * fine
    draw.ellipse(
        (middle - reach, middle - reach, middle + reach, middle + reach), (29, 39, 51, 255), (255, 255, 255), 5
    )
    draw.text((middle, middle), letter[:1], fill=(255, 255, 255, 255), font=_font(round(size * fine)), anchor="mm")
    layer = layer.resize((box, box), Image.Resampling.LANCZOS)
    image = Image.fromarray(pixels)
    x, y = round(place[0] - box / 2), round(place[1] - box / 2)
    clear = Image.new("RGBA", image.size, (29, 39, 51, 0))
    clear.paste(layer, (x, y))
    return np.asarray(Image.alpha_composite(image, clear), np.uint8)


def strip(pictures: Sequence[Picture]) -> Picture:
    """Pictures of one height and background side by side."""
    if len(pictures) == 1:
        return pictures[0]
    corner = pictures[0].pixels[:1, :1]
    gap = np.tile(corner, (len(pictures[0].pixels), round(_GAP * len(pictures[0].pixels)), 1))
    parts = [part for picture in pictures for part in (gap, picture.pixels)][1:]
    engine = "matplotlib" if any(picture.engine == "matplotlib" for picture in pictures) else pictures[0].engine
    return Picture(np.hstack(parts), pictures[0].dpi, engine)


def _ink(scene: Scene) -> tuple[int, int, int]:
    """Grey that can be read on the background; on none, one that can on most."""
    light = float(np.dot(scene.background, (0.2126, 0.7152, 0.0722)))
    if scene.transparent:
        return (128, 134, 142)
    return (93, 107, 122) if light > 0.4 else (190, 198, 206)


def _font(size: int) -> Any:
    """DejaVu Sans, from inside matplotlib: the same letters on every machine."""
    import matplotlib as mpl
    from PIL import ImageFont

    return ImageFont.truetype(str(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)
