"""A mask and what lies in it: voxels of an image as a list of elements, and lists of elements as images.

Elements are the voxels of the mask in C order of (i, j, k), as ModelArray has them. An image written here is float32
and NaN outside the mask: 0 is a value.
"""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Volume
from spectra_bids.errors import MissingInputError, OutputError, TemporaryError, VolumeError
from spectra_bids.io.volumes import read_volume

F = NDArray[np.float64]

#: As far as a corner of two images may lie apart, in voxels: programs round affines to float32.
_APART = 0.01
_MOST_NAMED = 5


@dataclass(frozen=True, eq=False)
class Mask:
    """Voxels that are analysed.

    Parameters
    ----------
    name : str
        Its file, for messages.
    inside : (I, J, K) bool
    affine : (4, 4) float64
        Voxel indices -> mm RAS+.
    codes : (int, int)
        qform and sform codes of the file: what space the affine leads to.

    """

    name: str
    inside: NDArray[np.bool_]
    affine: F
    codes: tuple[int, int] = (0, 2)

    @property
    def n(self) -> int:
        """Elements, V."""
        return int(self.inside.sum())

    @property
    def ijk(self) -> NDArray[np.int64]:
        """Voxel indices of the elements, (V, 3)."""
        return np.argwhere(self.inside).astype(np.int64)

    def volume(self, values: NDArray[np.generic]) -> Volume:
        """Values of the elements, (V,), as an image; NaN outside."""
        data = np.full(self.inside.shape, np.nan, np.float32)
        data[self.inside] = values
        return Volume(data, self.affine)


def read_mask(path: Path) -> Mask:
    """The voxels of an image that are above 0.

    Raises
    ------
    VolumeError
        If there are none, or as `read_volume`.

    """
    import nibabel as nib

    volume = read_volume(path)
    inside = np.asarray(volume.data > 0)
    if not inside.any():
        raise VolumeError(f"a mask has voxels above 0. Got {path} with none")
    header = nib.load(path).header
    codes = (int(header["qform_code"]), int(header["sform_code"])) if "sform_code" in header else (0, 2)
    return Mask(str(path), inside, volume.affine, codes)


def require_same_space(path: Path, volume: Volume, mask: Mask) -> None:
    """VolumeError, with both, where an image has another shape or affine than the mask."""
    if volume.data.shape != mask.inside.shape:
        raise VolumeError(
            f"{path} must have the shape of the mask {mask.name}, {mask.inside.shape}. Got {volume.data.shape}",
            "Resample it to the mask's space, or take a mask in the images' space.",
        )
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], np.float64)
    corners[:, :3] *= np.array(mask.inside.shape) - 1
    apart = np.abs(corners @ (volume.affine - mask.affine)[:3].T).max()
    if apart > _APART * np.linalg.norm(mask.affine[:3, :3], axis=0).min():
        raise VolumeError(
            f"{path} must have the affine of the mask {mask.name}, {mask.affine[:3].round(4).tolist()}. Got "
            f"{volume.affine[:3].round(4).tolist()}: voxels lie up to {apart:.3g} mm apart",
            "Resample it to the mask's space, or take a mask in the images' space.",
        )


def read_elements(path: Path, mask: Mask) -> NDArray[np.floating]:
    """An image's values within the mask, (V,); raises as `read_volume` and `require_same_space`."""
    volume = read_volume(path)
    require_same_space(path, volume, mask)
    return volume.data[mask.inside]


def map_bytes(values: NDArray[np.generic], mask: Mask, *, compress: bool = True) -> bytes:
    """A NIfTI file of the elements' values, (V,): float32, NaN outside; equal values, equal bytes."""
    import nibabel as nib

    image = nib.Nifti1Image(mask.volume(values).data, mask.affine)
    image.header.set_qform(mask.affine, mask.codes[0])
    image.header.set_sform(mask.affine, mask.codes[1])
    image.header.set_xyzt_units("mm")
    raw = image.to_bytes()
    return gzip.compress(raw, compresslevel=1, mtime=0) if compress else bytes(raw)


def require_files(paths: Iterable[Path], what: str) -> None:
    """MissingInputError with the first few of the files that are not there, and how many they are."""
    every = list(dict.fromkeys(paths))
    absent = [path for path in every if not path.is_file()]
    if absent:
        more = f" and {len(absent) - _MOST_NAMED} more" if len(absent) > _MOST_NAMED else ""
        raise MissingInputError(
            f"{len(absent)} of {len(every)} {what} are not there: {', '.join(map(str, absent[:_MOST_NAMED]))}{more}",
            "Paths in a table are taken from the table's folder, then from the current one.",
        )


def located(name: str, table: Path) -> Path:
    """A path written in a table: absolute, seen from the table's folder, or, if not there, from the current one."""
    path = Path(name)
    beside = table.parent / path
    return path if path.is_absolute() or (path.is_file() and not beside.is_file()) else beside


@contextmanager
def stacked(
    images: Sequence[Path], masks: Sequence[Path | None], mask: Mask, folder: Path, kind: type[np.floating]
) -> Iterator[NDArray[np.floating]]:
    """Images as a matrix (n, V) on disk, read one at a time; elements outside an image's own mask are NaN.

    The matrix is a nameless file in `folder` that goes with the block: memory holds one image, and as much of the
    file as the system has to spare.

    Raises
    ------
    TemporaryError
        If there is no room.
    VolumeError
        If an image cannot be used, or lies in another space than the mask.

    """
    with tempfile.TemporaryFile(dir=_made(folder)) as file:
        own: dict[Path, NDArray[np.bool_]] = {}
        for image, where in zip(images, masks, strict=True):
            values = np.array(read_elements(image, mask), kind)
            values[~np.isfinite(values)] = np.nan
            if where is not None:
                if where not in own:  # people often share one mask, in rows that follow each other
                    own = {where: np.asarray(read_elements(where, mask) > 0)}
                values[~own[where]] = np.nan
            _append(file, values, folder)
        yield np.memmap(file, kind, "r", shape=(len(images), mask.n))


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror}", "Choose another output folder.") from error
    return folder


def _append(file: IO[bytes], values: NDArray[np.floating], folder: Path) -> None:
    try:
        file.write(values.tobytes())
        file.flush()
    except OSError as error:
        raise TemporaryError(
            f"{folder} cannot hold the images' values: {error.strerror}", "Free some space, run again."
        ) from error
