"""Five real people's bundles, as DIPY's wheel carries them, placed in the MNI template that nilearn's wheel carries.

DIPY packages the bundles in each person's own scanner space, without an image: their origins differ by tens of
millimetres. Each person is placed rigidly where the template's white-matter probability, averaged over the points of
all three bundles, is greatest (from coarse to fine); the others are then registered to the best placed one by their
streamlines. No image of these people exists here, so this is a plausible place, not a measured one.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Bundle, Volume
from spectra_bids.errors import MissingInputError
from spectra_bids.geometry.centroid import resample_evenly
from spectra_bids.geometry.registration import apply_affine, streamline_registration
from spectra_bids.geometry.sampling import sample
from spectra_bids.io.tractograms import read_bundle

#: nilearn's documentation calls the template asymmetric; the file is exactly left-right symmetric, as its name says.
SPACE = "MNI152NLin2009aSym"
N_PEOPLE = 5
BUNDLES = ("AF_L", "CST_R", "CC_ForcepsMajor")

#: Where the middle of the three bundles is looked for first, mm RAS+, and the steps around it.
_MIDDLE = np.array([0.0, -20.0, 5.0])
_STEPS = (-15.0, 0.0, 15.0)
_BLURS_MM = (6.0, 3.0, 1.5)
_POINTS_PER_STREAMLINE = 15


@cache
def load_template(kind: str, resolution: int) -> Volume:
    """`white_matter` probability or `t1w` intensity of nilearn's packaged MNI152, scaled to 0..1; resolution in mm."""
    from nilearn import datasets

    load = {"white_matter": datasets.load_mni152_wm_template, "t1w": datasets.load_mni152_template}[kind]
    image = load(resolution=resolution)
    return Volume(np.asarray(image.get_fdata(dtype=np.float32)), np.asarray(image.affine, np.float64))


def load_people() -> list[dict[str, Bundle]]:
    """Bundles of the five people, each in their own scanner space, mm RAS+."""
    import dipy

    packed = Path(dipy.__file__).parent / "data" / "files" / "minimal_bundles.zip"
    if not packed.is_file():
        raise MissingInputError(
            f"The demonstration needs the bundles packaged with DIPY. There is no file {packed}",
            "Install dipy >= 1.12 from a wheel.",
        )
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(packed) as archive:
        archive.extractall(folder)
        return [
            {name: read_bundle(Path(folder) / f"sub_{person}" / f"{name}.trk") for name in BUNDLES}
            for person in range(1, N_PEOPLE + 1)
        ]


@cache
def people_in_template(resolution: int) -> tuple[dict[str, Bundle], ...]:
    """Bundles of the five people in the template's space, mm RAS+; placed on a map of this resolution, mm."""
    return tuple(place_people(load_people(), load_template("white_matter", resolution)))


def place_people(people: list[dict[str, Bundle]], white_matter: Volume) -> list[dict[str, Bundle]]:
    """The same bundles in the space of a white-matter map, in the order given."""
    placed = [_place(person, white_matter) for person in people]
    best = int(np.argmax([_mean_at(white_matter, _points(person)) for person in placed]))
    anchor = list(placed[best].values())
    out = []
    for rank, person in enumerate(placed):
        affine = np.eye(4) if rank == best else streamline_registration(list(person.values()), anchor)
        out.append({name: apply_affine(affine, bundle) for name, bundle in person.items()})
    return out


def _place(person: Mapping[str, Bundle], white_matter: Volume) -> dict[str, Bundle]:
    """One person's bundles, moved rigidly to where the white matter is."""
    from scipy.ndimage import gaussian_filter
    from scipy.optimize import minimize

    points = _points(person)
    middle = points.mean(axis=0)
    blurred = [
        Volume(gaussian_filter(white_matter.data, blur / white_matter.voxel_size), white_matter.affine)
        for blur in _BLURS_MM
    ]

    def cost(x: NDArray[np.float64], volume: Volume) -> float:
        return -_mean_at(volume, _moved(points, x, middle))

    def improve(x: NDArray[np.float64], volume: Volume, **options: float) -> tuple[float, NDArray[np.float64]]:
        found = minimize(cost, x, args=(volume,), method="Powell", options=options)
        return float(found.fun), np.asarray(found.x)

    starts = [np.r_[_MIDDLE - middle + [0.0, y, z], 0.0, 0.0, 0.0] for y in _STEPS for z in _STEPS]
    tried = [improve(x, blurred[0], maxiter=3, xtol=0.5, ftol=1e-3) for x in starts]
    x = min(tried, key=lambda found: found[0])[1]
    for volume in blurred[1:]:
        x = improve(x, volume, xtol=0.1, ftol=1e-4)[1]
    return {name: bundle.with_points(_moved(bundle.points, x, middle)) for name, bundle in person.items()}


def _moved(points: NDArray[np.floating], x: NDArray[np.float64], middle: NDArray[np.floating]) -> NDArray[np.float64]:
    """Points (P, 3) turned about `middle` by x[3:] degrees and shifted by x[:3] mm."""
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_euler("xyz", x[3:], degrees=True).as_matrix()
    return np.asarray((points - middle) @ turn.T + middle + x[:3])


def _points(person: Mapping[str, Bundle]) -> NDArray[np.float64]:
    """Points of all bundles, every streamline with as many, (P, 3) mm."""
    return np.concatenate([resample_evenly(b, _POINTS_PER_STREAMLINE).reshape(-1, 3) for b in person.values()])


def _mean_at(volume: Volume, points: NDArray[np.floating]) -> float:
    """Mean of a map over points; a point outside of it counts as 0."""
    return float(np.nan_to_num(sample(volume, points)).mean())
