"""DSI Studio .tt.gz ("TinyTrack"): gzipped MATLAB v4 matrices.

    dimension (3) uint32, voxel_size (3) float32, trans_to_mni (16, row by row) float32: the image that was tracked on
    track, track1, ... uint8: per streamline a record
        uint32 n = 3 x number of points;  int32 x, y, z of the first point;  n - 3 int8 differences x, y, z, x, ...
    all in 1/32 voxel, voxel indices counted from the centre of the first voxel.

`trans_to_mni` maps voxel indices to mm RAS+ of the tracked image's space (MNI if it was in MNI, native otherwise).

References
----------
DSI Studio, libs/tracking/tract_model.cpp, class TinyTrack.

"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Bundle, Volume
from spectra_bids.errors import TractogramError

_MAT4_TYPES = {0: "f8", 1: "f4", 2: "i4", 3: "i2", 4: "u2", 5: "u1"}


def read_tinytrack(path: Path, raw: bytes, reference: Volume | None) -> Bundle:
    """Bundle, mm RAS+, from the unpacked bytes of a .tt.gz file."""
    matrices = _matrices(path, raw)
    blocks = sorted((n for n in matrices if re.fullmatch(r"track\d*", n)), key=lambda n: int(n[5:] or 0))
    if not blocks or "dimension" not in matrices:
        raise TractogramError(
            f"{path} is no DSI Studio track file: expected matrices 'dimension' and 'track'. "
            f"Got {', '.join(sorted(matrices)) or 'none'}"
        )
    to_ras = _affine(path, matrices, reference)
    decoded = [_decode(path, np.ascontiguousarray(matrices[name]).view(np.uint8)) for name in blocks]
    voxels = np.concatenate([points for points, _ in decoded])
    counts = np.concatenate([counts for _, counts in decoded])
    points = (voxels @ to_ras[:3, :3].T + to_ras[:3, 3]).astype(np.float32)
    return Bundle(points, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))


def tinytrack_grid(
    path: Path, raw: bytes, reference: Volume | None
) -> tuple[NDArray[np.float64], tuple[int, int, int]]:
    """Voxel indices -> mm RAS+ (4, 4), and the shape of the image that was tracked on, in LPS order."""
    matrices = _matrices(path, raw)
    i, j, k = (int(n) for n in matrices["dimension"])
    return _affine(path, matrices, reference), (i, j, k)


def _matrices(path: Path, raw: bytes) -> dict[str, NDArray[np.generic]]:
    """Name -> values (flat, in the file's order) of a MATLAB v4 file."""
    out: dict[str, NDArray[np.generic]] = {}
    at = 0
    while at < len(raw):
        head = np.frombuffer(raw[at : at + 20].ljust(20, b"\xff"), "<i4")
        kind, rows, columns, _, name_length = (int(x) for x in head)
        code = kind // 10 % 10
        fits = 0 <= kind < 100 and code in _MAT4_TYPES and rows >= 0 and columns >= 0 and 0 < name_length < 256
        dtype = np.dtype(_MAT4_TYPES.get(code, "u1"))
        start = at + 20 + name_length
        end = start + rows * columns * dtype.itemsize
        if not fits or end > len(raw):
            raise TractogramError(
                f"{path} is cut short or no DSI Studio track file: expected MATLAB v4 matrices. "
                f"Got {len(raw)} bytes with a damaged matrix at byte {at}",
                "Copy or make the file again.",
            )
        name = raw[at + 20 : start].split(b"\0")[0].decode("latin1")
        out[name] = np.frombuffer(raw[start:end], dtype.newbyteorder("<"))
        at = end
    return out


def _affine(path: Path, matrices: dict[str, NDArray[np.generic]], reference: Volume | None) -> NDArray[np.float64]:
    """Voxel indices -> mm RAS+: from the file, else from the image that was tracked on."""
    stored = matrices.get("trans_to_mni")
    if stored is not None and len(stored) == 16:
        affine = stored.astype(np.float64).reshape(4, 4)
        if not affine[:3, 3].any() and affine[3, :3].any():  # written column by column
            affine = affine.T
        if np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 1e-9:
            return affine
    shape = tuple(int(n) for n in matrices["dimension"])
    if reference is None:
        raise TractogramError(
            f"{path} says its streamlines in voxels of a {shape} image and has no usable 'trans_to_mni': they cannot "
            "be placed in mm RAS+ from the file alone",
            "Give the image it was tracked on as reference, or export the bundle as .trk or .tck.",
        )
    return _from_reference(path, shape, reference)


def _from_reference(path: Path, shape: tuple[int, ...], reference: Volume) -> NDArray[np.float64]:
    """Affine of the reference turned to LPS, the order in which DSI Studio keeps every image."""
    from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

    turn = ornt_transform(io_orientation(reference.affine), axcodes2ornt("LPS"))
    turned = np.empty(3, int)
    turned[turn[:, 0].astype(int)] = reference.data.shape
    if tuple(turned) != shape:
        raise TractogramError(
            f"The reference of {path} must have the shape of the image it was tracked on, {shape} in LPS order. "
            f"Got {tuple(int(n) for n in turned)}"
        )
    return np.asarray(reference.affine @ inv_ornt_aff(turn, reference.data.shape), np.float64)


def _decode(path: Path, track: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Points of one block, (P, 3) voxels, and the streamlines' counts."""
    # As in .trk, a record's place depends on the one before: a loop over streamlines, 1 microsecond each.
    heads: list[int] = []
    at, end, buffer = 0, len(track), track.data
    while at < end:
        n = int.from_bytes(buffer[at : at + 4], "little")
        heads.append(at)
        at += n + 13
        if n < 3 or n % 3 or at > end:
            raise TractogramError(
                f"{path} is cut short or damaged: expected a streamline with 3 numbers per point at byte {heads[-1]} "
                f"of 'track'. Got {n} numbers, in {end} bytes",
                "Copy or make the file again.",
            )
    if not heads:
        return np.empty((0, 3)), np.empty(0, np.int64)
    places = np.array(heads, np.int64)
    lead = track[places[:, None] + np.arange(16)].view("<i4").astype(np.int64)
    counts = lead[:, 0] // 3
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    is_step = np.ones(len(track), bool)
    is_step[places[:, None] + np.arange(16)] = False
    steps = np.zeros((int(counts.sum()), 3), np.int64)
    is_later = np.ones(len(steps), bool)
    is_later[starts] = False
    steps[is_later] = track[is_step].view(np.int8).reshape(-1, 3)
    # One running sum over all streamlines: each start takes off what the streamlines before it have added.
    run = np.cumsum(steps, axis=0)
    points = run + np.repeat(lead[:, 1:] - run[starts], counts, axis=0)
    return points / 32.0, counts
