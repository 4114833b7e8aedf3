"""What a 3D picture shows and from where: scenes, meshes, cameras, framing; and the finished picture. Pure geometry.

Cameras look along an axis of the body and see parallel rays, so that a picture has one scale (mm per pixel) throughout:

    camera       stands             right in the picture   up
    Axial        above the head     right                  anterior
    Sagittal_L   left               posterior              superior
    Sagittal_R   right              anterior               superior
    Coronal_A    in front           left                   superior
    Coronal_P    behind             right                  superior
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Bundle

#: Height of a letter, and the empty rim around what is shown with and without letters, as shares of the height.
LETTER = 0.034
_RIM = {True: 0.062, False: 0.03}
#: Multiples of the golden section, modulo 1, spread evenly and never repeat; and what makes up for the mean light lost.
_GOLDEN, _GAIN = 0.6180339887498949, 1.1
#: Neighbouring vertices that differ by more than this in a channel are both kept: a border between two colours.
_BORDER = 0.15


@dataclass(frozen=True)
class View:
    """A camera's axes, unit vectors in RAS+, and the letters at the picture's left, right, lower and upper edge."""

    right: tuple[int, int, int]
    up: tuple[int, int, int]
    forward: tuple[int, int, int]
    letters: tuple[str, str, str, str]


CAMERAS: Mapping[str, View] = MappingProxyType(
    {
        "Axial": View((1, 0, 0), (0, 1, 0), (0, 0, -1), ("L", "R", "P", "A")),
        "Sagittal_L": View((0, -1, 0), (0, 0, 1), (1, 0, 0), ("A", "P", "I", "S")),
        "Sagittal_R": View((0, 1, 0), (0, 0, 1), (-1, 0, 0), ("P", "A", "I", "S")),
        "Coronal_A": View((-1, 0, 0), (0, 0, 1), (0, -1, 0), ("R", "L", "I", "S")),
        "Coronal_P": View((1, 0, 0), (0, 0, 1), (0, 1, 0), ("L", "R", "I", "S")),
    }
)


@dataclass(frozen=True, eq=False)
class Mesh:
    """A closed surface.

    Parameters
    ----------
    vertices : (V, 3) float32, mm RAS+
    faces : (F, 3) int32
        Vertex numbers of each triangle.
    colour : (r, g, b)
        0..1.
    opacity : float
        0..1.
    glass : bool
        Clear where the surface faces the camera, tinted where it turns away: what is inside stays visible.

    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    colour: tuple[float, float, float]
    opacity: float = 1.0
    glass: bool = False

    def normals(self) -> NDArray[np.float64]:
        """Unit normal of each vertex, (V, 3): the mean of its faces', weighted by their areas."""
        a, b, c = (self.vertices[self.faces[:, k]].astype(np.float64) for k in range(3))
        of_face = np.cross(b - a, c - a)
        total = np.zeros(self.vertices.shape)
        for k in range(3):
            np.add.at(total, self.faces[:, k], of_face)
        return np.asarray(total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12))

    def tint(self, view: View) -> NDArray[np.float32]:
        """Colour of each vertex as a camera sees it, (V, 4): opaque towards the rim if the mesh is of glass."""
        facing = np.abs(self.normals() @ np.array(view.forward, float))
        out = np.empty((len(self.vertices), 4), np.float32)
        if self.glass:
            out[:, :3] = self.colour
            out[:, 3] = self.opacity * (0.08 + 0.92 * (1 - facing) ** 2)
        else:
            out[:, :3] = np.array(self.colour) * (0.45 + 0.55 * facing)[:, None]
            out[:, 3] = self.opacity
        return out


@dataclass(frozen=True, eq=False)
class Scene:
    """One picture to be.

    Parameters
    ----------
    bundle : Bundle
        Streamlines, mm RAS+; it may be empty.
    colours : (P, 3) float
        Colour of every point, 0..1; (3,) one for all.
    meshes : tuple of Mesh
        Glass brain and regions of interest.
    camera : str
        A name in CAMERAS.
    background : (r, g, b)
        0..1; only the letters' colour heeds it where `transparent`.
    size : (width, height), pixels
    scale : float, mm per pixel
        None: as large as everything fits.
    line_width : float, pixels
        0: by the height of the picture.
    tube_radius : float, mm
        More than 0 draws lit tubes instead of lines.
    opacity : float
        Of the streamlines, 0..1.
    transparent : bool
        No background at all.
    letters : bool
        Whether the directions (L, R, A, P, I, S) stand at the edges.
    letter : float
        Their height, as a share of the picture's.
    dpi : int
        Pixels per inch, noted in the file.

    """

    bundle: Bundle
    colours: NDArray[np.floating]
    meshes: tuple[Mesh, ...] = ()
    camera: str = "Sagittal_L"
    background: tuple[float, float, float] = (1.0, 1.0, 1.0)
    size: tuple[int, int] = (1200, 900)
    scale: float | None = None
    line_width: float = 0.0
    tube_radius: float = 0.0
    opacity: float = 1.0
    transparent: bool = False
    letters: bool = True
    letter: float = LETTER
    dpi: int = 300

    def __post_init__(self) -> None:
        if self.camera not in CAMERAS:
            raise ValueError(f"camera must be one of {', '.join(CAMERAS)}. Got {self.camera!r}")
        if self.colours.shape not in ((3,), (len(self.bundle.points), 3)):
            raise ValueError(f"colours must be (3,) or ({len(self.bundle.points)}, 3). Got {self.colours.shape}")
        if min(self.size) < 1 or max(self.size) > 16384:
            raise ValueError(f"size must lie in 1..16384 pixels. Got {self.size}")
        if len(self.bundle.points) + sum(len(mesh.vertices) for mesh in self.meshes) == 0:
            raise ValueError("a scene needs streamlines or a mesh")

    @property
    def view(self) -> View:
        """Axes of the camera."""
        return CAMERAS[self.camera]

    @property
    def rim(self) -> float:
        """Empty pixels around what is shown."""
        return _RIM[self.letters] * self.size[1] * (self.letter / LETTER if self.letters else 1.0)

    @property
    def width_of_lines(self) -> float:
        """Width of the lines in pixels."""
        return self.line_width or max(1.0, self.size[1] / 450)


@dataclass(frozen=True)
class Frame:
    """Where the camera aims, mm RAS+; mm per pixel; the depth of all that is seen before and behind that point."""

    centre: tuple[float, float, float]
    scale: float
    depth: float


def extents(scene: Scene) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest coordinate of all that a scene shows, along the camera's right, up and forward; (3,), mm."""
    axes = np.array([scene.view.right, scene.view.up, scene.view.forward], float)
    parts = [p for p in (scene.bundle.points, *(mesh.vertices for mesh in scene.meshes)) if len(p)]
    bounds = [axes @ corner for p in parts for corner in (p.min(axis=0).astype(float), p.max(axis=0).astype(float))]
    return np.min(bounds, axis=0), np.max(bounds, axis=0)


def frame(scene: Scene) -> Frame:
    """Aim and scale of a scene's camera."""
    low, high = extents(scene)
    axes = np.array([scene.view.right, scene.view.up, scene.view.forward], float)
    x, y, z = (low + high) / 2 @ axes
    room = np.maximum(np.array(scene.size) - 2 * scene.rim, 1)
    fitting = float(max((high - low)[:2] / room))
    scale = scene.scale if scene.scale is not None else max(fitting, 1e-3)
    return Frame((float(x), float(y), float(z)), scale, float((high - low)[2]) / 2 + 1)


def strip_scenes(scene: Scene, cameras: Sequence[str]) -> list[Scene]:
    """The same content seen by several cameras at one scale, each as wide as it needs, all `scene.size[1]` high."""
    views = [replace(scene, camera=camera) for camera in cameras]
    if len(views) == 1:
        return views
    sizes = [np.subtract(*reversed(extents(view)))[:2] for view in views]
    height = scene.size[1]
    rim = scene.rim
    scale = max(max(float(size[1]) for size in sizes) / (height - 2 * rim), 1e-3)
    widths = [max(1, round(float(size[0]) / scale + 2 * rim)) for size in sizes]
    return [replace(view, size=(width, height), scale=scale) for view, width in zip(views, widths, strict=True)]


def thinned(scene: Scene, step: float) -> tuple[Bundle, NDArray[np.float32]]:
    """Streamlines with no more points than can be seen, and their colours (P, 3).

    First and last points stay, points at about `step` mm, and both sides of a border between colours.
    """
    bundle = scene.bundle.take(scene.bundle.counts > 1)
    colours = np.broadcast_to(np.asarray(scene.colours, np.float32), (len(scene.bundle.points), 3))
    if bundle.n_streamlines != scene.bundle.n_streamlines:
        colours = colours[np.repeat(scene.bundle.counts > 1, scene.bundle.counts)]
    if bundle.n_streamlines == 0:
        return bundle, colours
    piece = np.floor(bundle.arc / step)
    changes = np.r_[False, np.diff(piece) != 0]
    border = np.abs(np.diff(colours, axis=0)).max(axis=1) > _BORDER
    changes |= np.r_[border, False] | np.r_[False, border]
    changes[bundle.offsets[:-1]] = True
    changes[bundle.offsets[1:] - 1] = True
    offsets = np.r_[0, np.cumsum(changes)][bundle.offsets]
    return Bundle(bundle.points[changes], offsets.astype(np.int64)), colours[changes]


def tangents(bundle: Bundle) -> NDArray[np.float64]:
    """Direction of each point's streamline, (P, 3) unit vectors; every streamline has two points or more."""
    points = bundle.points.astype(np.float64)
    index = np.arange(len(points))
    before = np.maximum(index - 1, np.repeat(bundle.offsets[:-1], bundle.counts))
    after = np.minimum(index + 1, np.repeat(bundle.offsets[1:] - 1, bundle.counts))
    along = points[after] - points[before]
    return np.asarray(along / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-12))


def lit(colours: NDArray[np.float32], bundle: Bundle, view: View) -> NDArray[np.float32]:
    """Colours (P, 3) as a lamp at the camera lights thin cylinders: dimmer where they run along the line of sight.

    The diffuse term of a line is √(1 - (t·l)²) (Zöckler, Stalling & Hege 1996); half of the light is ambient, so that
    colours can still be read off a colour bar. Neighbours differ in lightness by up to 16 %, so that single streamlines
    are seen where all have one colour.
    """
    along = tangents(bundle) @ np.array(view.forward, float)
    light = 0.5 + 0.5 * np.sqrt(np.clip(1 - along**2, 0, 1))
    own = 0.86 + 0.16 * (np.arange(bundle.n_streamlines) * _GOLDEN % 1)[bundle.streamline_ids]
    return np.asarray(np.minimum(colours * (light * own)[:, None] * _GAIN, 1), np.float32)


@dataclass(frozen=True, eq=False)
class Picture:
    """A finished picture: pixels (H, W, 4) uint8 with straight alpha, pixels per inch, and what drew it."""

    pixels: NDArray[np.uint8]
    dpi: int
    engine: str

    def png(self) -> bytes:
        """The picture as a PNG file; without an alpha channel where nothing is transparent."""
        from PIL import Image

        opaque = bool((self.pixels[..., 3] == 255).all())
        image = Image.fromarray(np.ascontiguousarray(self.pixels[..., :3] if opaque else self.pixels))
        buffer = io.BytesIO()
        image.save(buffer, format="PNG", dpi=(self.dpi, self.dpi))
        return buffer.getvalue()
