"""Atlas volumes of labels: NIfTI -> LabelVolume.

One 3D volume of whole numbers; or probabilities, one volume per region (the fourth dimension, or several 3D files): a
voxel then has the label k = 1, 2, ... of the region with the largest value, if that is at least a quarter of the
scale's top (1, 100 or 255, whichever the largest value fits first). FSL's maxprob-thr25 volumes follow the same rule.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra_bids.errors import MissingInputError, VolumeError
from spectra_bids.geometry.labels import LabelVolume
from spectra_bids.io.label_names import find_names, read_names, volume_stem
from spectra_bids.io.unpacking import bound

#: Least probability of a region, as a share of the scale.
LEAST = 0.25
_AT_ONCE = 2**30
_EXPECTED = "expected a 3D volume of whole numbers (0 = no region), or 4D with a map of probability per region"


def read_labels(
    volumes: Sequence[Path], names: Path | Mapping[int, str] | None = None, source: str = ""
) -> LabelVolume:
    """Volume of labels with its names.

    Parameters
    ----------
    volumes : sequence of Path
        One file; or one 3D map of probability per region.
    names : Path or mapping, optional
        Table of names, or label -> name; by default the table that stands beside the volume, if there is one.
    source : str
        What to call the atlas; the file's name by default.

    Raises
    ------
    MissingInputError
        A file is not there.
    VolumeError
        Not an image, no labels in it, without a usable affine, or volumes of several shapes.
    AtlasError
        The table of names cannot be read.

    """
    path = Path(volumes[0])
    images = [_load(Path(p)) for p in volumes]
    affine = np.asarray(images[0].affine, np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise VolumeError(f"The affine of {path} must be finite and invertible. Got {affine.tolist()}")
    for other, image in zip(volumes, images, strict=True):
        if image.shape != images[0].shape or not np.allclose(image.affine, affine, atol=1e-3):
            raise VolumeError(f"Maps of one atlas lie on one grid. Got {path} and {other}, which differ")
    try:
        regions = _regions(path, images)
    except (EOFError, zlib.error, OSError, ValueError) as error:
        if isinstance(error, VolumeError):
            raise
        raise VolumeError(f"{path} cannot be read: {error}", "Copy or make the file again.") from error
    if isinstance(names, Path) or names is None:
        table = names or find_names(path)
        names = read_names(table) if table is not None else {}
    count = _count(images)
    if count > 1 and 0 in names and max(names) == count - 1:
        names = {number + 1: name for number, name in names.items()}  # volumes counted from 0
    return LabelVolume(regions, affine, dict(names), source or volume_stem(path))


def _load(path: Path) -> Any:
    """Header of an image, held against what labels may be; data are read later."""
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError

    if not path.is_file():
        hint = "The file is a link to content that is not here: 'datalad get' fetches it." if path.is_symlink() else ""
        raise MissingInputError(f"There is no file {path}", hint)
    try:
        image = nib.load(path)
    except (EOFError, zlib.error, OSError, ValueError, ImageFileError) as error:
        raise VolumeError(
            f"{path} cannot be read as an atlas volume: {_EXPECTED}. Got {path.stat().st_size} bytes ({error})"
        ) from error
    header = getattr(image, "header", {})
    if "sform_code" in header and not header["sform_code"] and not header["qform_code"]:
        raise VolumeError(f"{path} has neither sform nor qform: its place in space is not known")
    shape, stored = tuple(getattr(image, "shape", ())), image.get_data_dtype()
    if len(shape) < 3 or any(n != 1 for n in shape[4:]) or 0 in shape or stored.kind not in "fiub":
        raise VolumeError(f"{path}: {_EXPECTED}. Got shape {shape} of {stored}")
    declared = math.prod(int(n) for n in shape) * stored.itemsize
    if path.name.endswith(".gz") and declared > max(bound(path.stat().st_size), _AT_ONCE):
        raise VolumeError(f"{path} has {path.stat().st_size} bytes and would unpack to {declared}: {_EXPECTED}")
    return image


def _count(images: Sequence[Any]) -> int:
    """Maps of probability; 1 for a volume of labels."""
    return len(images) if len(images) > 1 else math.prod(images[0].shape[3:])


def _regions(path: Path, images: Sequence[Any]) -> NDArray[np.integer]:
    """Labels (I, J, K)."""
    shape = images[0].shape
    if _count(images) == 1:
        return _whole(path, np.asanyarray(images[0].dataobj).reshape(shape[:3]))
    if len(images) > 1 and math.prod(shape[3:]) != 1:
        raise VolumeError(f"Maps of one atlas in several files are 3D. Got {path} with shape {shape}")
    best = np.zeros(shape[:3], np.float32)
    regions = np.zeros(shape[:3], np.uint16)
    for k, values in enumerate(_maps(images), start=1):  # one at a time: an atlas of 100 regions would fill the memory
        larger = values > best
        best[larger], regions[larger] = values[larger], k
    top = next((scale for scale in (1.0, 100.0, 255.0) if best.max() <= scale * 1.001), float(best.max()))
    regions[best < LEAST * top] = 0
    if not regions.any():
        raise VolumeError(f"{path} has no region with a probability of {LEAST:g} or more")
    return regions


def _maps(images: Sequence[Any]) -> Iterator[NDArray[np.float32]]:
    if len(images) > 1:
        for image in images:
            yield np.nan_to_num(np.asarray(image.dataobj, np.float32).reshape(image.shape[:3]))
        return
    (image,) = images
    # A packed file is unpacked from its start for every slice: at once where there is room.
    small = math.prod(image.shape) * image.get_data_dtype().itemsize <= _AT_ONCE
    content = np.asanyarray(image.dataobj) if small else image.dataobj
    for k in range(image.shape[3]):
        yield np.nan_to_num(np.asarray(content[:, :, :, k], np.float32).reshape(image.shape[:3]))


def _whole(path: Path, values: NDArray[np.generic]) -> NDArray[np.integer]:
    if values.dtype.kind in "iu":
        whole: NDArray[np.integer] = values.astype(values.dtype.newbyteorder("="))
    else:
        numbers = np.nan_to_num(np.asarray(values, np.float64), posinf=0.5)
        whole = np.rint(numbers).astype(np.int64)
        odd = np.abs(numbers - whole) > 1e-4
        if odd.any():
            raise VolumeError(
                f"{path}: {_EXPECTED}. Got a 3D volume that holds {numbers[odd][0]:g}",
                "A map of probabilities, or labels resampled with an interpolation other than nearest neighbour.",
            )
    if not whole.any():
        raise VolumeError(f"{path} holds no label: every voxel is 0")
    return whole
