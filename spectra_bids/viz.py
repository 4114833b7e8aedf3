"""spectra_viz: streamlines, a scalar map or profile, regions and a glass brain -> a picture of one or more cameras."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Bundle
from spectra_bids.dataset.outputs import write_bytes
from spectra_bids.errors import InputDataError, MissingInputError, UsageError
from spectra_bids.figures import scene_colours, scene_meshes
from spectra_bids.figures.scene_letters import strip
from spectra_bids.figures.scene_model import Mesh, Scene, strip_scenes
from spectra_bids.figures.scenes import TIME_LIMIT, render, show
from spectra_bids.figures.style import SERIES, limits
from spectra_bids.geometry.grid import assign
from spectra_bids.geometry.sampling import sample
from spectra_bids.io.atlas_grids import grid_of_file
from spectra_bids.io.tractograms import read_bundle
from spectra_bids.io.volumes import read_volume

log = logging.getLogger("spectra_bids")

DEFAULT_GLASS = "default_glass"
_MAPS = (".nii", ".nii.gz")
_PROFILES = (".npy", ".npz")
#: A bundle further from the midline than this, mm, is looked at from its own side.
_OFF_MIDLINE = 10.0


@dataclass(frozen=True)
class Region:
    """A region of interest: its mask, colour (a name; empty: the next of the house's) and opacity."""

    path: Path
    colour: str = ""
    opacity: float = 0.5


@dataclass(frozen=True)
class VizTask:
    """What spectra_viz was asked for; the fields are its options.

    `colour` is a colour's name, `direction`, `alternate_1d`, `alternate_2d`, or the path of a map or profile; `cameras`
    empty: from the bundle's own side; `tube_radius` mm; `size` pixels; `most` streamlines at most (0: all).
    """

    inputs: tuple[Path, ...]
    output: Path
    colour: str = ""
    colour_map: str = "sequential"
    vmin: float | None = None
    vmax: float | None = None
    title: str = ""
    bar: Path | None = None
    reference: Path | None = None
    s_len: float = 5.0
    r_len: float = 5.0
    ns: int | None = None
    nr: int | None = None
    robust: Literal["linear", "spline", "none"] = "linear"
    profile: Literal["1d", "2d"] = "2d"
    glass: str = ""
    glass_opacity: float | None = None
    regions: tuple[Region, ...] = ()
    cameras: tuple[str, ...] = ()
    line_width: float = 0.0
    tube_radius: float = 0.0
    opacity: float = 1.0
    background: str = "white"
    transparent: bool = False
    letters: bool = True
    size: tuple[int, int] = (1200, 900)
    dpi: int = 300
    most: int = 5000
    engine: str = "auto"
    limit: float = TIME_LIMIT
    show: bool = False


def run_viz(task: VizTask) -> list[Path]:
    """Make the picture, and the colour bar if asked for; returns the files.

    Raises
    ------
    SpectraError
        An input cannot be read, the options contradict each other, or an output cannot be created.

    """
    bundles = [_thin_out(read_bundle(path), task.most, path) for path in task.inputs]
    bundle = _joined(bundles)
    colours, scale = _colours(task, bundles, bundle)
    scene = Scene(
        bundle,
        colours,
        (*_regions(task), *_glass(task, bundle)),
        background=rgb(task.background),
        size=task.size,
        line_width=task.line_width,
        tube_radius=task.tube_radius,
        opacity=task.opacity,
        transparent=task.transparent,
        letters=task.letters,
        dpi=task.dpi,
    )
    views = strip_scenes(scene, task.cameras or (_own_side(bundle),))
    bar = {task.bar: _bar(task, scale)} if task.bar is not None else {}
    made = {task.output: strip(render(views, engine=task.engine, limit=task.limit)).png(), **bar}
    for path, content in made.items():
        write_bytes(path, content)
    if task.show:
        refused = show(views[0])
        if refused:
            log.warning("-show: %s. The picture is in %s", refused, task.output)
    return list(made)


def rgb(name: str) -> tuple[float, float, float]:
    """A colour by matplotlib's names, #rrggbb, or a grey level as text; UsageError if it is none."""
    from matplotlib.colors import to_rgb

    try:
        red, green, blue = to_rgb(name)
    except ValueError as error:
        raise UsageError(f"{name!r} is no colour", "A name (red, teal), #1f5f8b, or a grey level (0.5)") from error
    return float(red), float(green), float(blue)


def _thin_out(bundle: Bundle, most: int, path: Path) -> Bundle:
    """At most so many streamlines, evenly spread over the file: the same ones every time."""
    if bundle.n_streamlines == 0 or len(bundle.points) == 0:
        raise InputDataError(f"{path} has no streamlines: there is nothing to draw")
    if not most or bundle.n_streamlines <= most:
        return bundle
    log.warning("%s: %d of %d streamlines are drawn; -max 0 draws all", path, most, bundle.n_streamlines)
    return bundle.take(np.linspace(0, bundle.n_streamlines - 1, most).astype(np.int64))


def _joined(bundles: list[Bundle]) -> Bundle:
    if len(bundles) == 1:
        return bundles[0]
    shifts = np.cumsum([0, *(len(bundle.points) for bundle in bundles)])
    offsets = [bundle.offsets[1:] + shift for bundle, shift in zip(bundles, shifts[:-1], strict=True)]
    return Bundle(np.concatenate([bundle.points for bundle in bundles]), np.concatenate([[0], *offsets]))


Limits = tuple[float, float]


def _colours(task: VizTask, bundles: list[Bundle], bundle: Bundle) -> tuple[NDArray[np.floating], Limits | None]:
    """Colours of all points, and the limits of the scale that they are on, if they are."""
    name = task.colour
    if name.endswith(_MAPS):
        return _on_scale(task, sample(read_volume(Path(name)), bundle.points))
    if name.endswith(_PROFILES) or name in ("alternate_1d", "alternate_2d"):
        return _by_grid(task, bundle)
    if name == "direction":
        return scene_colours.by_direction(bundle), None
    if name:
        return np.array(rgb(name)), None
    if len(bundles) == 1:
        return np.array(rgb(SERIES[0])), None
    own = [np.tile(rgb(SERIES[k % len(SERIES)]), (len(part.points), 1)) for k, part in enumerate(bundles)]
    return np.concatenate(own), None


def _on_scale(task: VizTask, values: NDArray[np.float64]) -> tuple[NDArray[np.floating], Limits]:
    """Colours of values on the scale from -vmin to -vmax; without them from the 1st to the 99th percentile."""
    known = values[np.isfinite(values)]
    if len(known) == 0:
        raise InputDataError(
            f"No point of {_named(task.inputs)} has a value in {task.colour}: all are outside of it, or not finite",
            "Give the bundle in the space of the map (SPECTRA's __org file, not __rec)",
        )
    if len(known) < 0.9 * len(values):
        log.warning(
            "%.0f %% of the points have no value in %s: grey", 100 - 100 * len(known) / len(values), task.colour
        )
    low, high = limits(known)
    low, high = low if task.vmin is None else task.vmin, high if task.vmax is None else task.vmax
    if not low < high:
        raise UsageError(f"-vmax must be above -vmin. Got {low:g} and {high:g} (what was not given is by percentiles)")
    return scene_colours.by_value(values, scene_colours.colour_map(task.colour_map), (low, high)), (low, high)


def _by_grid(task: VizTask, bundle: Bundle) -> tuple[NDArray[np.floating], Limits | None]:
    """Colours of the cells that the points lie in."""
    if len(task.inputs) > 1:
        raise UsageError(f"-c {task.colour} colours one bundle. Got {len(task.inputs)} with -i")
    reference = task.reference
    if reference is None:
        log.warning("no -ref: the grid is %s's own, not an atlas bundle's, and no other bundle has it", task.inputs[0])
        reference = task.inputs[0]
    grid = grid_of_file(reference, s_len=task.s_len, r_len=task.r_len, ns=task.ns, nr=task.nr, robust=task.robust)
    where = assign(grid, bundle)
    if task.colour in ("alternate_1d", "alternate_2d"):
        return scene_colours.alternating(grid, where, 1 if task.colour == "alternate_1d" else 2), None
    values = read_values(Path(task.colour), task.profile)
    wanted = (grid.ns,) if values.ndim == 1 else (grid.ns, grid.nr)
    if values.shape != wanted:
        raise InputDataError(
            f"{task.colour} has another grid than {reference}: expected the shape {wanted}, got {values.shape}",
            "Give the -ref, -s, -r (or -ns, -nr) and -robust that the profile was made with",
        )
    return _on_scale(task, scene_colours.cell_values(values, where))


def read_values(path: Path, profile: str = "2d") -> NDArray[np.float64]:
    """A 1D (ns,) or 2D (ns, nr) profile: of an .npy, or the one that is asked for of spectra_profile's .npz."""
    if not path.is_file():
        raise MissingInputError(f"There is no file {path}")
    if path.suffix == ".npz":
        from spectra_bids.bridges.spectra import read_profile

        return read_profile(path)[f"profile_{profile}"]
    try:
        values = np.asarray(np.load(path, allow_pickle=False), np.float64)
    except (OSError, EOFError, ValueError, TypeError) as error:
        raise InputDataError(f"{path} cannot be read as a NumPy array of numbers: {error}") from error
    if values.ndim not in (1, 2):
        raise InputDataError(f"A profile has the shape (ns,) or (ns, nr). Got {path} with {values.shape}")
    return values


def _glass(task: VizTask, bundle: Bundle) -> tuple[Mesh, ...]:
    """The glass brain: the default one, a GIFTI surface, or the surface of a mask."""
    if not task.glass:
        return ()
    opacity = scene_meshes.GLASS_OPACITY if task.glass_opacity is None else task.glass_opacity
    if task.glass == DEFAULT_GLASS:
        outside = scene_meshes.share_outside_mni(bundle)
        if outside > scene_meshes.MOST_OUTSIDE:
            log.warning(
                "%s is not in MNI space: %.0f %% of its points lie outside the MNI152 brain. -glass %s is an MNI "
                "brain, so the bundle is drawn in the wrong place; give the bundle in MNI space, or -glass with a "
                "brain mask (.nii.gz) or surface (.gii) of its own space",
                _named(task.inputs), 100 * outside, DEFAULT_GLASS,
            )  # fmt: skip
        return (scene_meshes.glass_brain(opacity),)
    path = Path(task.glass)
    if path.name.endswith(_MAPS):
        return (_surface(path, scene_meshes.GLASS_COLOUR, opacity, glass=True),)
    if path.name.endswith((".gii", ".gii.gz")):
        return (Mesh(*scene_meshes.read_surface(path), scene_meshes.GLASS_COLOUR, opacity, glass=True),)
    raise UsageError(f"-glass must be {DEFAULT_GLASS}, a mask (.nii, .nii.gz) or a surface (.gii). Got {task.glass}")


def _regions(task: VizTask) -> list[Mesh]:
    """Surfaces of the regions; without a colour of their own those that the bundles leave."""
    first = len(task.inputs)
    return [
        _surface(region.path, rgb(region.colour or SERIES[(first + k) % len(SERIES)]), region.opacity)
        for k, region in enumerate(task.regions)
    ]


def _surface(path: Path, colour: tuple[float, float, float], opacity: float, *, glass: bool = False) -> Mesh:
    try:
        return scene_meshes.isosurface(read_volume(path), colour, opacity, glass=glass)
    except ValueError as error:
        if isinstance(error, InputDataError):
            raise
        raise InputDataError(f"{path} has no surface: {error}", "Give a mask with voxels above 0") from error


def _own_side(bundle: Bundle) -> str:
    """The camera on the bundle's own side; from above where it crosses the midline."""
    x = float(np.median(bundle.points[:, 0]))
    return "Axial" if abs(x) < _OFF_MIDLINE else ("Sagittal_L" if x < 0 else "Sagittal_R")


def _bar(task: VizTask, scale: Limits | None) -> bytes:
    if scale is None:
        raise UsageError("-cbar needs colours that are values: -c with a map (.nii.gz) or a profile (.npy, .npz)")
    background = None if task.transparent else rgb(task.background)
    colours: Callable[..., Any] = scene_colours.colour_map(task.colour_map)
    return scene_colours.colour_bar(colours, scale, task.title, dpi=task.dpi, background=background)


def _named(paths: tuple[Path, ...]) -> str:
    return ", ".join(map(str, paths))
