"""Maps on a brain: PNG of equal bytes, what is drawn, empty maps."""

from __future__ import annotations

import io

import matplotlib.image
import numpy as np
import pytest

from spectra_bids.bundle import Volume
from spectra_bids.figures.brains import _cuts, glass_brain, mosaic, picture

AFFINE = np.diag([6.0, 6, 6, 1])
AFFINE[:3, 3] = [-78, -112, -70]


def blob(sign=1.0):
    data = np.zeros((27, 33, 27), np.float32)
    data[8:11, 14:17, 12:15] = 4.5 * sign
    data[20, 20, 14] = 6.0 * sign  # the top of the colours, which is black
    data[0] = np.nan
    return Volume(data, AFFINE)


def coloured(png):
    """Pixels of the picture that are no grey, left of the colour bar."""
    pixels = matplotlib.image.imread(io.BytesIO(png))[:, :-90, :3]
    return int((pixels.max(axis=2) - pixels.min(axis=2) > 0.2).sum())


@pytest.mark.parametrize("draw", [mosaic, glass_brain])
def test_a_blob_is_drawn_above_the_threshold_alone(draw):
    assert coloured(draw(blob(), 3.1, False)) > 100
    assert coloured(draw(blob(), 6.5, False)) == 0


def test_negative_values_are_drawn_where_both_sides_are_asked_for():
    assert coloured(glass_brain(blob(-1), 3.1, True)) > 100
    assert coloured(glass_brain(blob(-1), 3.1, False)) == 0


def test_slices_go_through_the_peaks_and_none_lies_outside_of_the_map():
    data = np.full((27, 33, 27), np.nan, np.float32)
    data[5:22, 6:28, 4:23] = 0.5
    data[9, 15, 13], data[20, 20, 14] = 4.5, 6.0
    where = _cuts(Volume(data, AFFINE), np.where(data > 3.1, data, 0))
    expected = {"x": ((9, 20), (5, 22)), "y": ((15, 20), (6, 28)), "z": ((13, 14), (4, 23))}
    for axis, (name, (peaks, ends)) in enumerate(expected.items()):
        cuts, mm = where[name], [6 * k + AFFINE[axis, 3] for k in (*peaks, ends[0], ends[1] - 1)]
        assert len(cuts) == 6
        assert mm[1] in cuts
        assert axis == 2 or mm[0] in cuts, "neighbouring slices are not both cut"
        assert mm[2] <= min(cuts)
        assert max(cuts) <= mm[3]
    empty = _cuts(Volume(data, AFFINE), np.zeros_like(data))
    assert [len(cuts) for cuts in empty.values()] == [6, 6, 6]


def test_the_same_map_gives_the_same_bytes():
    assert glass_brain(blob(), 3.1, True) == glass_brain(blob(), 3.1, True)


def test_a_picture_has_the_size_of_its_png():
    sheet = picture(glass_brain(blob(), 3.1, True), "a <brain>")
    assert sheet.panels[0].text == "a <brain>"
    assert sheet.panels[0].width == pytest.approx(9 * 72, rel=0.01)
    assert "data:image/png;base64," in sheet.svg
