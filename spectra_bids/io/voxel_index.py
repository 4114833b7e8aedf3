"""The index of voxels and streamlines as a file: .npz, without pickled objects.

    shape (3,)  affine (4, 4)       image: voxel indices -> mm RAS+
    voxels (V,)                     flat (C order) indices of the visited voxels, rising
    offsets (V + 1,)                streamlines of voxel i are streamlines[offsets[i]:offsets[i + 1]]
    streamlines (N,)                ids, from 0, rising within each voxel
    n_streamlines ()                of the tractogram
    tractogram ()                   its file name, if it is known

With SciPy: csr_array((np.ones(N), streamlines, offsets)) has a row per visited voxel and a column per streamline.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from spectra_bids.errors import InputDataError, MissingInputError
from spectra_bids.geometry.voxels import VoxelIndex

_KEYS = ("shape", "affine", "voxels", "offsets", "streamlines", "n_streamlines")


def index_bytes(index: VoxelIndex, tractogram: str = "") -> bytes:
    """Content of the file; equal input, equal bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        shape=np.array(index.shape, np.int64),
        affine=index.affine,
        voxels=index.voxels,
        offsets=index.offsets,
        streamlines=index.streamlines.astype(np.uint32 if index.n_streamlines < 2**32 else np.int64),
        n_streamlines=np.int64(index.n_streamlines),
        tractogram=np.array(tractogram, np.str_),
    )
    return buffer.getvalue()


def read_index(path: Path) -> tuple[VoxelIndex, str]:
    """Index, and the file name of its tractogram ("" if it is not known).

    Raises
    ------
    MissingInputError
        There is no such file.
    InputDataError
        It is no index, or its arrays do not fit together.

    """
    if not path.is_file():
        raise MissingInputError(f"There is no file {path}")
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in _KEYS}
            tractogram = str(stored["tractogram"]) if "tractogram" in stored else ""
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputDataError(
            f"{path} is no index of voxels and streamlines: {error}", "'spectra-bids index TRK --ref NII' writes one"
        ) from error
    index = VoxelIndex(
        tuple(int(n) for n in arrays["shape"].ravel()),  # type: ignore[arg-type]
        arrays["affine"].astype(np.float64),
        arrays["voxels"].astype(np.int64),
        arrays["offsets"].astype(np.int64),
        arrays["streamlines"].astype(np.int64),
        int(arrays["n_streamlines"]),
    )
    wrong = _wrong(index)
    if wrong:
        raise InputDataError(f"The arrays of {path} do not fit together: {wrong}", "Write the index again")
    return index, tractogram


def _wrong(index: VoxelIndex) -> str:
    """What is wrong with the arrays of an index; empty if nothing is."""
    voxels, offsets, ids = index.voxels, index.offsets, index.streamlines
    if len(index.shape) != 3 or index.affine.shape != (4, 4):
        return f"expected shape (3,) and affine (4, 4). Got {index.shape} and {index.affine.shape}"
    if (
        voxels.ndim != 1
        or (np.diff(voxels) <= 0).any()
        or (len(voxels) and not 0 <= voxels[0] <= voxels[-1] < np.prod(index.shape))
    ):
        return "voxels must rise within the image"
    if (
        offsets.shape != (len(voxels) + 1,)
        or offsets[0] != 0
        or (np.diff(offsets) < 0).any()
        or offsets[-1] != len(ids)
    ):
        return "offsets must rise from 0 to the number of ids"
    if len(ids) and not (ids.min() >= 0 and ids.max() < index.n_streamlines):
        return f"ids must be below {index.n_streamlines}. Got {ids.max()}"
    return ""
