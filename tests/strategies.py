"""Bundles, volumes and motions with known properties, as plain makers and as hypothesis strategies; real ones, cached.

Coordinates of made bundles are multiples of 2^-10 mm below 512 mm: turns about the axes by right angles and shifts by
whole millimetres are exact in float32, so that what must not change may be compared to rounding.
"""

from __future__ import annotations

import itertools
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from spectra_bids.bundle import Bundle, Volume
from spectra_bids.dataset.names import canonical
from spectra_bids.geometry.grid import Grid, build_grid
from spectra_bids.io.tractograms import read_bundle
from spectra_bids.io.volumes import read_volume

seeds = st.integers(0, 2**32 - 1)


def ribbon(
    seed: int = 0,
    n: int = 40,
    length: float = 80.0,
    bend: float = 0.0,
    width: float = 7.0,
    thickness: float = 1.5,
    step: float = 0.8,
    ragged: float = 5.0,
) -> Bundle:
    """A bundle with the cross-section of a ribbon, standard deviations `width` x `thickness` mm.

    It runs along y, bent by `bend` radians in the (y, z) plane; the ribbon's wide side is x. Ends vary by `ragged` mm
    and streamlines run in either direction.
    """
    rng = np.random.default_rng(seed)
    lines = []
    for across, above in np.clip(rng.standard_normal((n, 2)), -2, 2) * [width, thickness]:
        low, high = -length / 2 + ragged * rng.random(), length / 2 - ragged * rng.random()
        t = np.linspace(low, high, max(2, round((high - low) / step)) + 1)
        y, z = t, np.full_like(t, above)
        if bend:
            radius = length / bend
            y, z = (radius + above) * np.sin(t / radius), (radius + above) * np.cos(t / radius) - radius
        line = np.stack([np.full_like(t, across), y, z], axis=1)
        lines.append(line[::-1] if rng.random() < 0.5 else line)
    bundle = Bundle.from_streamlines(lines)
    return bundle.with_points(np.round(bundle.points * 1024) / 1024)


@st.composite
def ribbons(draw: st.DrawFn) -> Bundle:
    """Ribbons of many shapes; the wide side is clearly wide, so that the radial axis is well defined."""
    return ribbon(
        seed=draw(seeds),
        n=draw(st.integers(15, 40)),
        length=draw(st.floats(40, 110)),
        bend=draw(st.just(0.0) | st.floats(0.1, 2.0)),
        width=draw(st.floats(6, 12)),
        thickness=draw(st.floats(0.5, 2)),
    )


def field(points: np.ndarray, seed: int = 0) -> np.ndarray:
    """A smooth positive map, as a function of place (..., 3) mm."""
    waves = np.random.default_rng(seed).normal(0, 0.05, (4, 3))
    return 0.5 + sum(0.1 * np.sin(points @ wave + k) for k, wave in enumerate(waves))


def volume_of(function, voxel: float = 2.0, half: float = 100.0) -> Volume:
    """A map that holds `function(points (..., 3) mm)` at its voxels' centres; a cube about the origin."""
    count = int(2 * half / voxel) + 1
    affine = np.diag([voxel, voxel, voxel, 1.0])
    affine[:3, 3] = -half
    ijk = np.stack(np.meshgrid(*[np.arange(count)] * 3, indexing="ij"), axis=-1)
    return Volume(np.asarray(function(ijk @ affine[:3, :3].T + affine[:3, 3]), np.float64), affine)


@cache
def smooth_volume(seed: int = 0, voxel: float = 2.0) -> Volume:
    """`field` on voxels."""
    return volume_of(lambda points: field(points, seed), voxel)


def moved(motion: np.ndarray, bundle: Bundle) -> Bundle:
    """A bundle under a (4, 4) affine, in double precision."""
    return bundle.with_points(bundle.points.astype(np.float64) @ motion[:3, :3].T + motion[:3, 3])


def moved_volume(motion: np.ndarray, volume: Volume) -> Volume:
    """A map carried along by a (4, 4) affine: the same voxels elsewhere."""
    return Volume(volume.data, motion @ volume.affine)


def _affine(linear: np.ndarray, shift: np.ndarray) -> np.ndarray:
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = linear, shift
    return motion


#: The 24 turns of a cube.
TURNS = tuple(
    matrix
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
    if np.linalg.det(matrix := np.eye(3)[list(order)] * np.array(signs)[:, None]) > 0
)


@st.composite
def right_motions(draw: st.DrawFn) -> np.ndarray:
    """Rigid motions that are exact in float32: turns of the cube, and shifts by whole millimetres."""
    shift = draw(st.tuples(*[st.integers(-60, 60)] * 3))
    return _affine(TURNS[draw(st.integers(0, 23))], np.array(shift, float))


@st.composite
def rigid_motions(draw: st.DrawFn) -> np.ndarray:
    """Any rotation and a shift of up to 60 mm per axis."""
    turn = Rotation.random(rng=np.random.default_rng(draw(seeds))).as_matrix()
    return _affine(turn, np.array(draw(st.tuples(*[st.floats(-60, 60)] * 3))))


@st.composite
def scrambles(draw: st.DrawFn, bundle: Bundle) -> Bundle:
    """The same streamlines in another order, some of them reversed."""
    rng = np.random.default_rng(draw(seeds))
    lines = np.split(bundle.points, bundle.offsets[1:-1])
    order = rng.permutation(len(lines))
    return Bundle.from_streamlines([lines[k][::-1] if rng.random() < 0.5 else lines[k] for k in order])


@st.composite
def p_values(draw: st.DrawFn, nan: bool = True, min_size: int = 1, max_size: int = 40) -> np.ndarray:
    """p values: null ones, tiny ones, ties, exact 0 and 1, and NaN."""
    one = st.one_of(
        st.floats(0, 1), st.floats(0, 1e-3), st.sampled_from([0.0, 0.01, 0.05, 0.5, 1.0]), *[st.just(np.nan)] * nan
    )
    return np.array(draw(st.lists(one, min_size=min_size, max_size=max_size)))


class RealBundle(NamedTuple):
    """A subject's bundle and the grid of the atlas bundle of the same tract."""

    bundle: Bundle
    atlas: Bundle
    grid: Grid


@cache
def atlas_bundles(root: Path) -> dict[str, Bundle]:
    """Bundles of the shared atlas, by canonical name."""
    return {canonical(f.stem.replace("_", "")): read_bundle(f) for f in sorted((root / "atlas-hcp1065").glob("*.trk"))}


@cache
def atlas_grids(root: Path) -> dict[str, Grid]:
    """Their grids, at default settings."""
    return {name: build_grid(bundle, name) for name, bundle in atlas_bundles(root).items()}


@cache
def mni_subject(root: Path) -> tuple[dict[str, RealBundle], Volume]:
    """Bundles of the shared subject in MNI space with their atlas bundles and grids, and the FA map."""
    folder = root / "real-mni/derivatives/tractseg/sub-tractseg/dwi"
    names = {f: canonical(f.name.split("_tract-")[1].split("_")[0]) for f in sorted(folder.glob("*_tractogram.trk"))}
    grids, atlas = atlas_grids(root), atlas_bundles(root)
    bundles = {name: RealBundle(read_bundle(f), atlas[name], grids[name]) for f, name in names.items()}
    return bundles, read_volume(next(folder.glob("*_param-fa_dwimap.nii.gz")))
