"""3D pictures by matplotlib, where FURY or Vulkan are not there: the same cameras, frames and colours, more slowly.

Rays are parallel, so a picture is a drawing of what lies behind first, then of what lies before it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra_bids.figures.scene_model import Frame, Mesh, Scene, frame, lit, thinned

#: A vertex every so many pixels along a streamline.
_PIXELS_PER_VERTEX = 8
#: Faces of the glass brain are many; every one that faces the camera more than this is left out, as it is clear.
_CLEAR = 0.015
_THINNER = 0.45


def draw_plainly(scene: Scene) -> NDArray[np.uint8]:
    """Pixels (H, W, 4) of a scene, with straight alpha."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from spectra_bids.figures.style import house_style

    seen = frame(scene)
    with house_style():
        figure = Figure(figsize=(scene.size[0] / 100, scene.size[1] / 100), dpi=100)
        canvas = FigureCanvasAgg(figure)
        figure.patch.set(facecolor=scene.background, alpha=0.0 if scene.transparent else 1.0)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        half = np.array(scene.size) * seen.scale / 2
        axes.set(xlim=(-half[0], half[0]), ylim=(-half[1], half[1]))
        for mesh in scene.meshes:
            if not mesh.glass:
                axes.add_collection(_faces(mesh, scene, seen))
        if len(scene.bundle.points):
            axes.add_collection(_segments(scene, seen))
        for mesh in scene.meshes:
            if mesh.glass:
                axes.add_collection(_faces(mesh, scene, seen))
        canvas.draw()
        pixels = np.array(canvas.buffer_rgba(), np.uint8)
    return np.ascontiguousarray(pixels[: scene.size[1], : scene.size[0]])


def _projected(points: NDArray[np.floating], scene: Scene, seen: Frame) -> NDArray[np.float64]:
    """Points (P, 3) mm along the camera's right, up and forward, from where it aims."""
    axes = np.array([scene.view.right, scene.view.up, scene.view.forward], float)
    return np.asarray((points.astype(np.float64) - np.array(seen.centre)) @ axes.T)


def _segments(scene: Scene, seen: Frame) -> Any:
    from matplotlib.collections import LineCollection

    bundle, colours = thinned(scene, max(0.2, _PIXELS_PER_VERTEX * seen.scale))
    if bundle.n_streamlines == 0:
        return LineCollection([])
    colours = lit(colours, bundle, scene.view)
    xyz = _projected(bundle.points, scene, seen)
    same = np.diff(bundle.streamline_ids) == 0
    pairs = np.stack([xyz[:-1][same], xyz[1:][same]], axis=1)
    order = np.argsort(-pairs[:, :, 2].mean(axis=1), kind="stable")
    drawn: Any = pairs[order][:, :, :2]
    return LineCollection(
        drawn,
        colors=((colours[:-1] + colours[1:])[same] / 2)[order],
        linewidths=scene.width_of_lines * 0.72,
        alpha=scene.opacity,
        capstyle="round",
    )


def _faces(mesh: Mesh, scene: Scene, seen: Frame) -> Any:
    from matplotlib.collections import PolyCollection

    corners = _projected(mesh.vertices, scene, seen)[mesh.faces]
    tint = mesh.tint(scene.view)[mesh.faces].mean(axis=1)
    if mesh.glass:  # every face is blended with all behind it, where FURY takes a weighted mean
        tint[:, 3] *= _THINNER
    order = np.argsort(-corners[:, :, 2].mean(axis=1), kind="stable")
    order = order[tint[order, 3] > _CLEAR]
    return PolyCollection(corners[order][:, :, :2], facecolors=tint[order], linewidths=0, antialiased=False)
