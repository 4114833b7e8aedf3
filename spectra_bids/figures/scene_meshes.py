"""Surfaces of 3D pictures: the glass brain (fsaverage5, from inside the nilearn package) and regions of interest.

Nothing is downloaded. fsaverage5 lies in MNI305, which differs from MNI152 by a few mm: good enough to see where a
bundle is, not to measure. Regions are isosurfaces by marching cubes (Lorensen & Cline 1987; scikit-image).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Bundle, Volume
from spectra_bids.errors import InputDataError, MissingInputError
from spectra_bids.figures.scene_model import Mesh

GLASS_COLOUR = (0.35, 0.40, 0.50)
GLASS_OPACITY = 0.27
#: Share of points outside the brain of MNI152 from which on a bundle is said not to be in that space. Measured: at most
#: 0.005 in 38 bundles that are, 0.16 to 1 in 18 native ones of a scan in oblique orientation.
MOST_OUTSIDE = 0.05
_BRAIN = "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"  # its skull is stripped


def _installed(name: str) -> Path:
    """A file of nilearn's own data, found without importing nilearn, which takes seconds."""
    from importlib.util import find_spec

    spec = find_spec("nilearn")
    folder = Path(spec.origin).parent if spec is not None and spec.origin else Path()
    path = folder / "datasets" / "data" / name
    if spec is None or not path.exists():
        raise MissingInputError(f"nilearn's own {name} is not there", "Install nilearn again: pip install nilearn")
    return path


@cache
def glass_brain(opacity: float = GLASS_OPACITY, colour: tuple[float, float, float] = GLASS_COLOUR) -> Mesh:
    """Both hemispheres' pial surfaces of fsaverage5 as one mesh of glass."""
    sides = [read_surface(_installed(f"fsaverage5/pial_{side}.gii.gz")) for side in ("left", "right")]
    shift = len(sides[0][0])
    vertices = np.vstack([sides[0][0], sides[1][0]])
    return Mesh(vertices, np.vstack([sides[0][1], sides[1][1] + shift]), colour, opacity, glass=True)


def read_surface(path: Path) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Vertices (V, 3) mm and faces (F, 3) of a GIFTI surface."""
    import nibabel as nib

    if not path.is_file():
        raise MissingInputError(f"There is no file {path}")
    try:
        image = nib.load(path)
        vertices = image.agg_data("NIFTI_INTENT_POINTSET")
        faces = image.agg_data("NIFTI_INTENT_TRIANGLE")
        found = np.asarray(vertices, np.float32), np.asarray(faces, np.int32)
    except Exception as error:  # nibabel's readers raise whatever XML, base64, zlib and NumPy do
        raise InputDataError(f"{path} cannot be read as a GIFTI surface: {error}", "Copy or make it again") from error
    if found[0].ndim != 2 or found[0].shape[1] != 3 or found[1].ndim != 2 or found[1].shape[1] != 3:
        raise InputDataError(f"{path} must hold points (V, 3) and triangles (F, 3). Got another kind of GIFTI file")
    return found


def isosurface(
    volume: Volume, colour: tuple[float, float, float], opacity: float = 1.0, *, glass: bool = False
) -> Mesh:
    """Surface around the voxels of a mask that are not 0, mm RAS+; a region at the image's border is closed there.

    Raises
    ------
    ValueError
        If every voxel is 0.

    """
    from skimage.measure import marching_cubes

    inside = np.nan_to_num(volume.data) > 0
    if not inside.any():
        raise ValueError("the mask has no voxel above 0")
    where = np.argwhere(inside)
    low, high = where.min(axis=0), where.max(axis=0) + 1
    box = inside[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    vertices, faces, _, _ = marching_cubes(_softened(np.pad(box, 2)), level=0.5)
    mm = (vertices + low - 2) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    return Mesh(np.asarray(mm, np.float32), np.asarray(faces, np.int32), colour, opacity, glass)


def _softened(box: NDArray[np.bool_]) -> NDArray[np.float32]:
    """A mask without its steps: averaged over neighbours, unless that would make it vanish (a voxel or two)."""
    from scipy.ndimage import gaussian_filter

    soft = gaussian_filter(box.astype(np.float32), 0.7)
    return np.asarray(soft if soft.max() > 0.6 else box, np.float32)


def share_outside_mni(bundle: Bundle) -> float:
    """Share of a bundle's points outside the brain of MNI152, as nilearn brings it."""
    from spectra_bids.geometry.sampling import sample_nearest
    from spectra_bids.io.volumes import read_volume

    values = sample_nearest(read_volume(_installed(_BRAIN)), bundle.points)
    return float((np.nan_to_num(values) <= 0).mean()) if len(values) else 0.0
