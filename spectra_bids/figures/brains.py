"""Statistical maps on a brain as PNG, through nilearn: mosaics of slices, and a glass brain.

The only importer of nilearn's plotting. Nothing is fetched: the template under the map is in nilearn's wheel.
"""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Volume
from spectra_bids.figures.svg import Panel, Sheet

_DPI = 110
_CUTS = 6  # slices in each direction
_MOSAIC_INCHES, _GLASS_INCHES = (9.0, 5.4), (9.0, 2.4)


def mosaic(statistic: Volume, threshold: float, two_sided: bool, background: Path | None = None) -> bytes:
    """PNG of slices in the three directions.

    Parameters
    ----------
    statistic : Volume
        NaN is not drawn.
    threshold : float
        Values below are not drawn; without `two_sided` nor are those below 0.
    two_sided : bool
    background : Path, optional
        Image under the map; the MNI152 template where there is none.

    """
    from nilearn import plotting

    image = _shown(statistic, threshold, two_sided)
    under = {} if background is None else {"bg_img": str(background)}
    with _figure(_MOSAIC_INCHES) as figure:
        plotting.plot_stat_map(
            image,
            threshold=threshold,
            display_mode="mosaic",
            cut_coords=_cuts(statistic, np.asarray(image.dataobj)),
            figure=figure,
            draw_cross=False,
            cmap="RdBu_r" if two_sided else "inferno",
            **_range(image, threshold, two_sided),
            **under,
        )
        return _png(figure)


def glass_brain(statistic: Volume, threshold: float, two_sided: bool) -> bytes:
    """PNG of a glass brain from the left, above, the right and the front; parameters as `mosaic`."""
    from nilearn import plotting

    image = _shown(statistic, threshold, two_sided)
    with _figure(_GLASS_INCHES) as figure:
        plotting.plot_glass_brain(
            image,
            threshold=threshold,
            display_mode="lyrz",
            figure=figure,
            colorbar=True,
            plot_abs=False,
            cmap="RdBu_r" if two_sided else "inferno_r",
            **_range(image, threshold, two_sided),
        )
        return _png(figure)


def picture(png: bytes, text: str) -> Sheet:
    """A PNG as a sheet of a page; `text` says what it shows."""
    width, height = (int.from_bytes(png[at : at + 4], "big") * 72 / _DPI for at in (16, 20))
    data = base64.b64encode(png).decode("ascii")
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} '
        f'{height:g}"><image href="data:image/png;base64,{data}" width="{width:g}" height="{height:g}"/></svg>'
    )
    return Sheet((Panel(svg, text, round(width, 2), round(height, 2)),))


def _shown(statistic: Volume, threshold: float, two_sided: bool) -> Any:
    """The image of what is drawn; 0 elsewhere."""
    import nibabel as nib

    values = np.nan_to_num(np.asarray(statistic.data, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    drawn = np.abs(values) > threshold if two_sided else values > threshold
    return nib.Nifti1Image(np.where(drawn, values, 0.0).astype(np.float32), statistic.affine)


def _cuts(statistic: Volume, drawn: NDArray[np.float32]) -> dict[str, list[float]]:
    """Where slices are cut, mm: through the greatest values, then between; none where the statistic is not.

    nilearn's own choice goes on beyond the ends of the brain where fewer slices than asked for hold values.
    """
    there = np.argwhere(np.isfinite(statistic.data) & (statistic.data != 0))
    if not len(there):
        there = np.argwhere(np.ones(statistic.data.shape, bool))
    peaks = np.argwhere(drawn)
    height = np.abs(drawn[tuple(peaks.T)])
    out = {}
    for axis, name in enumerate("xyz"):
        row, shift = statistic.affine[axis, :3], statistic.affine[axis, 3]
        low, high = np.percentile(there @ row + shift, [4, 96])
        at, left, cuts = peaks @ row + shift, height.copy(), list[float]()
        while len(cuts) < _CUTS and left.any():
            cuts.append(float(at[left.argmax()]))
            left[np.abs(at - cuts[-1]) <= (high - low) / (2 * _CUTS)] = 0
        between = np.linspace(low, high, 8 * _CUTS)
        while len(cuts) < _CUTS:
            gaps = np.abs(between[:, None] - np.array(cuts)).min(axis=1) if cuts else -np.abs(between - between.mean())
            cuts.append(float(between[gaps.argmax()]))
        out[name] = sorted({round(cut, 1) for cut in cuts})
    return out


def _range(image: Any, threshold: float, two_sided: bool) -> dict[str, float]:
    """Ends of the colours; an empty map has them too."""
    top = max(float(np.abs(image.dataobj).max()), 1.2 * threshold)
    return {"vmin": -top if two_sided else 0.0, "vmax": top}


@contextmanager
def _figure(inches: tuple[float, float]) -> Iterator[Any]:
    """A blank figure that no display is needed for."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with warnings.catch_warnings(), plt.rc_context({"font.size": 8.5, "text.parse_math": False}):
        warnings.simplefilter("ignore")  # nilearn's, of images without a value above the threshold
        figure = plt.figure(figsize=inches, facecolor="white")
        try:
            yield figure
        finally:
            plt.close(figure)


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None}, facecolor="white")
    return buffer.getvalue()
