"""How many points a tractogram has and how many voxels a map, from headers and file sizes: no file is unpacked.

Good enough to plan with: lengths of gzip files are read from their last four bytes, and what stands between the
points (counts, properties, separators) is taken off as far as the header tells it.
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path

from spectra_bids.errors import MissingInputError, TractogramError, VolumeError
from spectra_bids.io.tck import tck_layout
from spectra_bids.io.trk import trk_layout
from spectra_bids.io.trx import trx_points

#: A .tck header is text of any length; longer ones than this are not met.
_HEAD = 2**16


def count_points(path: Path, group: str | None = None) -> int:
    """Points of a tractogram, or of one group of a .trx, about.

    Raises
    ------
    MissingInputError, TractogramError
        The file is not there, or its header is none.

    """
    name = path.name.lower()
    if name.endswith(".trx"):
        return trx_points(path, group)
    try:
        packed, size = _is_packed(path), _unpacked_size(path)
        with gzip.open(path) if packed else path.open("rb") as file:
            head = file.read(_HEAD)
    except FileNotFoundError as error:
        raise MissingInputError(f"There is no file {path}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise TractogramError(
            f"The header of {path} cannot be read: {error}", "Copy or make the file again."
        ) from error
    if name.removesuffix(".gz").endswith(".trk"):
        start, per_point, between = trk_layout(path, head)
    elif name.removesuffix(".gz").endswith(".tck"):
        start, per_point, between = tck_layout(path, head)
    else:
        start, per_point, between = 0, 3, 0  # TinyTrack: three differences of a byte each
    return max(0, size - start - between) // per_point


def count_voxels(path: Path) -> int:
    """Voxels of a map, from its header.

    Raises
    ------
    VolumeError
        It is no image.

    """
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError

    try:
        return math.prod(int(n) for n in nib.load(path).shape)
    except (OSError, EOFError, zlib.error, ValueError, ImageFileError) as error:
        raise VolumeError(f"The header of {path} cannot be read: {error}", "Copy or make the file again.") from error


def _is_packed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _unpacked_size(path: Path) -> int:
    """Bytes of a file's content. Gzip keeps the length modulo 4 GiB: no file is smaller than what it is packed to."""
    size = path.stat().st_size
    if not _is_packed(path):
        return size
    with path.open("rb") as file:
        file.seek(-4, os.SEEK_END)
        length = int.from_bytes(file.read(4), "little")
    return length if length >= 0.9 * size else length + 2**32 * math.ceil((size - length) / 2**32)
