"""NIfTI -> Volume and back.

float32 in memory unless the file holds float64. NaN stays NaN (not measured). An affine that cannot place the voxels
is an error. Written files are byte-identical for equal input (no time in the gzip header).
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Volume
from spectra_bids.errors import MissingInputError, VolumeError
from spectra_bids.io.unpacking import bound


def read_volume(path: Path) -> Volume:
    """Scalar map: data (I, J, K) and affine (4, 4), voxel indices -> mm RAS+.

    Raises
    ------
    MissingInputError
        There is no such file.
    VolumeError
        Not an image, cut short, not three-dimensional, or without a usable affine.

    """
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError

    path = Path(path)
    if not path.is_file():
        # DataLad keeps a link where content has not been fetched.
        hint = "The file is a link to content that is not here: 'datalad get' fetches it." if path.is_symlink() else ""
        raise MissingInputError(f"There is no file {path}", hint)
    try:
        image = nib.load(path)
        data = _data(path, image)
    except (EOFError, zlib.error, OSError, ValueError, ImageFileError) as error:
        if isinstance(error, VolumeError):
            raise
        raise VolumeError(
            f"{path} cannot be read: expected a whole NIfTI file. Got {path.stat().st_size} bytes ({error})",
            "Copy or make the file again.",
        ) from error
    affine = np.asarray(image.affine, np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise VolumeError(f"The affine of {path} must be finite and invertible. Got {affine.tolist()}")
    return Volume(data, affine)


def read_grid(path: Path) -> tuple[NDArray[np.float64], tuple[int, int, int]]:
    """Place of an image of any kind, by its header: voxel indices -> mm RAS+ (4, 4), and its first three dimensions.

    Raises
    ------
    MissingInputError, VolumeError
        There is no such file, or it is no image with a place in space.

    """
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError

    if not path.is_file():
        raise MissingInputError(f"There is no file {path}")
    try:
        image = nib.load(path)
    except (EOFError, zlib.error, OSError, ValueError, ImageFileError) as error:
        raise VolumeError(f"{path} cannot be read: expected an image (.nii, .nii.gz). Got {error}") from error
    _check_form(path, image)
    affine, shape = np.asarray(image.affine, np.float64), tuple(image.shape)
    if len(shape) < 3 or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise VolumeError(
            f"{path} must have three dimensions and an invertible affine. Got {shape} and {affine.tolist()}"
        )
    return affine, (int(shape[0]), int(shape[1]), int(shape[2]))


def write_volume(path: Path, volume: Volume) -> None:
    """Write a .nii or .nii.gz; equal input, equal bytes."""
    import nibabel as nib

    raw = nib.Nifti1Image(volume.data, volume.affine).to_bytes()
    Path(path).write_bytes(gzip.compress(raw, mtime=0) if Path(path).name.endswith(".gz") else raw)


def _data(path: Path, image: object) -> np.ndarray[tuple[int, ...], np.dtype[np.floating]]:
    """(I, J, K) values of a nibabel image."""
    _check_form(path, image)
    shape = tuple(getattr(image, "shape", ()))
    if len(shape) < 3 or any(n != 1 for n in shape[3:]):
        raise VolumeError(f"A scalar map has three dimensions. Got {path} with shape {shape}")
    stored = image.get_data_dtype()  # type: ignore[attr-defined]
    declared = math.prod(int(n) for n in shape) * stored.itemsize
    if path.name.endswith(".gz") and declared > bound(path.stat().st_size):
        raise VolumeError(
            f"{path} has {path.stat().st_size} bytes and would unpack to {declared}, as its header says (shape "
            f"{shape}, {stored}): expected a scalar map, which shrinks far less",
            "Make the file again, or give it unpacked.",
        )
    if stored.kind not in "fiub":
        raise VolumeError(f"A scalar map holds real numbers. Got {path} of type {stored}")
    kind = np.float64 if stored == np.float64 else np.float32
    return np.asarray(image.get_fdata(dtype=kind, caching="unchanged")).reshape(shape[:3])  # type: ignore[attr-defined]


def _check_form(path: Path, image: object) -> None:
    """VolumeError if a NIfTI header does not say where its voxels are."""
    header = getattr(image, "header", {})
    if "sform_code" in header and not header["sform_code"] and not header["qform_code"]:
        raise VolumeError(
            f"{path} has neither sform nor qform: its place in space is not known",
            "Copy the geometry from the image it was made of (fslcpgeom, or nibabel).",
        )
