"""How a session's bundles reach atlas space: as they are, by the preprocessing's transforms, or by streamlines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Bundle
from spectra_bids.dataset.atlases import Atlas
from spectra_bids.dataset.inputs import SessionInputs, TransformFile
from spectra_bids.errors import MissingInputError, TransformError
from spectra_bids.geometry.registration import (
    apply_affine,
    distance_flag,
    distances_to_atlas,
    session_quantiles,
    streamline_registration,
)
from spectra_bids.io.tractograms import read_bundle
from spectra_bids.io.transforms import is_affine, map_points
from spectra_bids.settings import ProfileSettings


@dataclass(frozen=True, eq=False)
class Route:
    """What was done: none, xfm or slr; the transform file if any; the SLR matrix if any; remarks for the sidecar."""

    name: str
    transform: Path | None = None
    affine: NDArray[np.float64] | None = None
    notes: tuple[str, ...] = ()


def spaces_agree(one: str | None, other: str | None) -> bool:
    """Whether two space labels mean one space; any MNI152* agrees with any other."""
    return bool(one and other) and (one == other or bool(one and other and one[:6] == other[:6] == "MNI152"))


def choose_route(inputs: SessionInputs, bundle_space: str | None, atlas: Atlas, settings: ProfileSettings) -> Route:
    """The route of a session, without an SLR matrix yet.

    Raises
    ------
    MissingInputError
        If --registration xfm is asked for and there is no usable transform.

    """
    wanted = settings.registration
    agree = spaces_agree(bundle_space, atlas.space)
    if wanted == "none" or (wanted == "auto" and agree):
        note = f"bundles in {bundle_space or 'an unnamed space'}, atlas in {atlas.space}: used as they are"
        return Route("none", notes=() if bundle_space == atlas.space else (note,))
    transform = _usable(inputs.transforms, atlas)
    if wanted != "slr" and transform is not None:
        note = f"points moved by {'the inverse of ' if transform.invert else ''}{transform.path.name}"
        label = (
            f"; it leads to {transform.source if not transform.invert else transform.target}, atlas in {atlas.space}"
        )
        return Route("xfm", transform.path, notes=(note + label,))
    if wanted == "xfm":
        raise MissingInputError(
            f"--registration xfm: no usable transform to {atlas.space} for sub-{inputs.subject}. Expected "
            "*_from-MNI*_to-*_mode-image_xfm or an affine *_from-*_to-MNI*_mode-image_xfm in a derivative data set",
            "Name the preprocessing derivatives with -d, or use --registration slr",
        )
    unusable = (
        ("a non-linear transform to the atlas exists without its inverse: SLR used",) if inputs.transforms else ()
    )
    return Route("slr", notes=unusable if wanted == "auto" else ())


def _usable(transforms: tuple[TransformFile, ...], atlas: Atlas) -> TransformFile | None:
    """First transform that moves points to the atlas: one stored for points, else an affine to invert."""
    leads = [t for t in transforms if spaces_agree(t.target if t.invert else t.source, atlas.space)]
    return next((t for t in leads if not t.invert), None) or next((t for t in leads if is_affine(t.path)), None)


def place(
    bundles: Mapping[str, Bundle], route: Route, inputs: SessionInputs, atlas: Atlas, random_seed: int
) -> tuple[dict[str, Bundle], Route]:
    """Bundles (by atlas name) in atlas space, and the route with its SLR matrix."""
    if route.name == "none" or not bundles:
        return dict(bundles), route
    if route.name == "xfm" and route.transform is not None:
        invert = next(t.invert for t in inputs.transforms if t.path == route.transform)
        moved = {n: b.with_points(map_points(b.points, route.transform, invert)) for n, b in bundles.items()}
        return moved, route
    moving = {n: b for n, b in bundles.items() if b.n_streamlines}
    try:
        affine = streamline_registration(
            list(moving.values()), [read_bundle(atlas.bundles[n]) for n in moving], random_seed
        )
    except ValueError as error:
        raise TransformError(
            f"streamline registration of sub-{inputs.subject} failed: {error}", "Give a transform with -d xfm=PATH"
        ) from error
    return {n: apply_affine(affine, b) for n, b in bundles.items()}, Route("slr", affine=affine, notes=route.notes)


@dataclass(frozen=True, eq=False)
class Distances:
    """Registration QC per bundle: median and p95 distance to the atlas, mm, and the flag; over all: the medians."""

    median: dict[str, float]
    p95: dict[str, float]
    flag: dict[str, str]
    session_median: float
    session_p95: float


def measure_distances(placed: Mapping[str, Bundle], atlas: Atlas) -> Distances:
    """How far the placed bundles lie from the atlas bundles of their names."""
    found = {n: distances_to_atlas(b, read_bundle(atlas.bundles[n])) for n, b in placed.items() if len(b.points)}
    session = session_quantiles(list(found.values()), [len(placed[n].points) for n in found])
    median = {n: float(np.median(d)) for n, d in found.items()}
    return Distances(
        median,
        {n: float(np.percentile(d, 95)) for n, d in found.items()},
        {n: distance_flag(m, session[0]) for n, m in median.items()},
        *session,
    )
