"""Tractogram -> .trk .tck .trx .tt.gz, packed if the name says .gz; equal content, equal bytes.

.tck is nibabel's work. The others are written here, and read by their libraries in the tests: nibabel puts the numbers
of a .trk in an order that TrackVis gets wrong (see trk.py), trx-python's archives hold the times of its temporary files
and their members in the order of the folder, and no library writes DSI Studio's format.

References
----------
tee-ar-ex/trx-spec, version 1; DSI Studio, libs/tracking/tract_model.cpp, TinyTrack::save_to_file.

"""

from __future__ import annotations

import gzip
import io
import json
import logging
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from spectra_bids.errors import TractogramError, UsageError
from spectra_bids.io.contents import Tractogram, VoxelGrid
from spectra_bids.io.tractograms import kind_of
from spectra_bids.io.trk import trk_bytes

log = logging.getLogger("spectra_bids")

#: What a .trk header has room for.
_TRK_NAMES, _TRK_LETTERS = 10, 18
#: Largest step of a .tt.gz, in its units of 1/32 voxel: an int8.
_TT_UNITS, _TT_STEP = 32, 127
_TT_BLOCK = 2**27


def check_writable(path: Path, grid: VoxelGrid | None) -> None:
    """UsageError if the format needs to know the image that the streamlines lie in, and nobody has said it."""
    kind = kind_of(path)
    if kind == ".trx" and path.name.endswith(".gz"):
        raise UsageError(f"A .trx is an archive already. Got {path}")
    if kind != ".tck" and grid is None:
        name = {".trk": ".trk", ".trx": ".trx", ".tt": ".tt.gz"}[kind]
        raise UsageError(
            f"A {name} file says in its header which image its streamlines lie in (shape, and voxels to mm), and the "
            "input does not say it",
            "Give an image of the streamlines' space: --reference IMAGE.nii.gz",
        )


def losses(path: Path, tractogram: Tractogram) -> list[str]:
    """What the format of `path` cannot hold of a tractogram, in words."""
    kind = kind_of(path)
    empty = int((tractogram.bundle.counts == 0).sum())
    out = [f"{empty} streamlines without points"] if empty and kind in (".tck", ".tt") else []
    if kind == ".trx":
        return out
    if tractogram.groups:
        out.append(f"groups ({_few(sorted(tractogram.groups))})")
    for what, numbers in (("streamline", tractogram.per_streamline), ("point", tractogram.per_point)):
        kept = _trk_numbers(numbers) if kind == ".trk" else {}
        lost = [name for name in numbers if name not in kept]
        if lost:
            out.append(f"numbers per {what} ({_few(lost)})")
        rounded = [name for name in kept if not _is_float32(numbers[name])]
        if rounded:
            out.append(f"digits beyond float32 of {_few(rounded)}")
    return out


def _few(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 5 else f"{', '.join(names[:3])} and {len(names) - 3} more"


def write_tractogram(file: BinaryIO, path: Path, tractogram: Tractogram) -> None:
    """Write a tractogram in the format that `path` names.

    Raises
    ------
    UsageError
        The format needs a voxel grid and the tractogram has none.
    TractogramError
        A .tt.gz cannot hold the streamlines.

    """
    check_writable(path, tractogram.grid)
    kind = kind_of(path)
    if kind == ".trx":
        _write_trx(file, tractogram)
    elif path.name.lower().endswith(".gz"):
        plain = io.BytesIO()  # nibabel goes back to the header in the end, which a packed file cannot
        _write_plain(plain, kind, tractogram)
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) as packed:
            packed.write(plain.getbuffer())
    else:
        _write_plain(file, kind, tractogram)


def _write_plain(file: Any, kind: str, tractogram: Tractogram) -> None:
    {".tt": _write_tinytrack, ".tck": _write_tck, ".trk": _write_trk}[kind](file, tractogram)


def _write_tck(file: Any, tractogram: Tractogram) -> None:
    """MRtrix's format, by nibabel."""
    from nibabel.streamlines import ArraySequence, TckFile
    from nibabel.streamlines import Tractogram as Lines

    bundle = tractogram.take(tractogram.bundle.counts > 0).bundle
    lines = ArraySequence(np.split(bundle.points, bundle.offsets[1:-1])) if bundle.n_streamlines else ArraySequence()
    TckFile(Lines(lines, affine_to_rasmm=np.eye(4))).save(file)


def _write_trk(file: Any, tractogram: Tractogram) -> None:
    grid = tractogram.grid
    assert grid is not None  # check_writable
    numbers = (_trk_numbers(tractogram.per_streamline), _trk_numbers(tractogram.per_point))
    file.write(trk_bytes(tractogram.bundle, grid.volume, *numbers))


def _trk_numbers(numbers: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    """What fits into a .trk header: 10 names of at most 18 letters, of 9 values at most."""
    out: dict[str, NDArray[np.float32]] = {}
    for name, values in numbers.items():
        columns = values.reshape(len(values), -1)
        if len(out) < _TRK_NAMES and name.isascii() and len(name) <= _TRK_LETTERS and 1 <= columns.shape[1] <= 9:
            out[name] = columns.astype(np.float32)
    return out


def _is_float32(values: NDArray[Any]) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.array_equal(values.astype(np.float32).astype(np.float64), values.astype(np.float64), True))


def _write_trx(file: BinaryIO, tractogram: Tractogram) -> None:
    """A zip archive of plain arrays, members in sorted order, all dated 1980."""
    bundle, grid = tractogram.bundle, tractogram.grid
    assert grid is not None  # check_writable
    header = {
        "DIMENSIONS": [int(n) for n in grid.shape],
        "VOXEL_TO_RASMM": grid.affine.astype(np.float64).tolist(),
        "NB_VERTICES": len(bundle.points),
        "NB_STREAMLINES": bundle.n_streamlines,
    }
    arrays: dict[str, NDArray[Any]] = {
        "positions.3.float32": bundle.points.astype("<f4"),
        "offsets.uint64": bundle.offsets.astype("<u8"),
    }
    for name, rows in tractogram.groups.items():
        arrays[f"groups/{_member(name)}.uint32"] = rows.astype("<u4")
    for folder, numbers in (("dps", tractogram.per_streamline), ("dpv", tractogram.per_point)):
        for name, values in numbers.items():
            plain = values.astype(np.uint8) if values.dtype == bool else values
            columns = 1 if plain.ndim == 1 else plain.shape[1]
            shape = f".{columns}" if columns != 1 else ""
            arrays[f"{folder}/{_member(name)}{shape}.{plain.dtype.name}"] = plain.astype(plain.dtype.newbyteorder("<"))
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo("header.json"), json.dumps(header, indent=1))
        for name in sorted(arrays):
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member:
                member.write(np.ascontiguousarray(arrays[name]).data.cast("B") if arrays[name].size else b"")


def _member(name: str) -> str:
    """A name for a member of an archive: dots and slashes would mean something else."""
    return re.sub(r"[^\w+-]", "_", name) or "unnamed"


def _write_tinytrack(file: Any, tractogram: Tractogram) -> None:
    """DSI Studio's MATLAB v4 matrices; axes in LPS order, as it keeps every image."""
    from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

    grid = tractogram.grid
    assert grid is not None  # check_writable
    turn = ornt_transform(io_orientation(grid.affine), axcodes2ornt("LPS"))
    shape = np.empty(3, "<u4")
    shape[turn[:, 0].astype(int)] = grid.shape
    to_ras = grid.affine @ inv_ornt_aff(turn, grid.shape)
    _matrix(file, "dimension", shape)
    _matrix(file, "voxel_size", np.linalg.norm(to_ras[:3, :3], axis=0).astype("<f4"))
    _matrix(file, "trans_to_mni", to_ras.astype("<f4").ravel())
    records = _records(tractogram, to_ras.astype("<f4").astype(np.float64))
    size, block, number = 0, [], 0
    for record in records:
        block.append(record)
        size += len(record)
        if size > _TT_BLOCK:
            _matrix(file, f"track{number or ''}", np.frombuffer(b"".join(block), "u1"))
            size, block, number = 0, [], number + 1
    if block or not number:
        _matrix(file, f"track{number or ''}", np.frombuffer(b"".join(block), "u1"))


def _records(tractogram: Tractogram, to_ras: NDArray[np.float64]) -> list[bytes]:
    """One record per streamline: count, first point, differences."""
    full = tractogram.take(tractogram.bundle.counts > 0).bundle
    from_ras = np.linalg.inv(to_ras)
    voxels = full.points.astype(np.float64) @ from_ras[:3, :3].T + from_ras[:3, 3]
    units = np.rint(voxels * _TT_UNITS)
    if len(units) and np.abs(units).max() >= 2**31:
        raise TractogramError("The streamlines lie too far outside of the reference for a .tt.gz file")
    out, longer = [], 0
    # DSI Studio's records have lengths of their own: a loop over streamlines, 10 microseconds each.
    for line in np.split(units.astype(np.int64), full.offsets[1:-1]) if full.n_streamlines else []:
        steps = np.diff(line, axis=0)
        if len(steps) and np.abs(steps).max() > _TT_STEP:
            longer += 1
            line = _with_short_steps(line, steps)
            steps = np.diff(line, axis=0)
        head = np.array([3 * len(line), *line[0]], np.int64).astype("<i4")
        out.append(head.tobytes() + steps.astype(np.int8).tobytes())
    if longer:
        log.warning(
            "%d streamlines step further than a .tt.gz can say (%.3g voxels): points were added between theirs",
            longer, _TT_STEP / _TT_UNITS,
        )  # fmt: skip
    return out


def _with_short_steps(line: NDArray[np.int64], steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """A streamline whose long steps are divided evenly."""
    # one unit less: rounding the points in between may add one to a step
    pieces = np.maximum(1, np.ceil(np.abs(steps).max(axis=1) / (_TT_STEP - 1))).astype(np.int64)
    at = np.concatenate([i + np.arange(n) / n for i, n in enumerate(pieces)] + [[len(line) - 1.0]])
    return np.stack([np.rint(np.interp(at, np.arange(len(line)), line[:, k])) for k in range(3)], axis=1).astype(int)


def _matrix(file: Any, name: str, values: NDArray[Any]) -> None:
    """One MATLAB v4 matrix of one row."""
    code = {"f4": 1, "i4": 2, "u4": 2, "u1": 5}[values.dtype.str[1:]]
    file.write(np.array([code * 10, 1, values.size, 0, len(name) + 1], "<i4").tobytes())
    file.write(name.encode() + b"\0" + values.tobytes())


def without_losses(path: Path, tractogram: Tractogram) -> Tractogram:
    """The part of a tractogram that the format of `path` holds; what it leaves out is what `losses` names."""
    if kind_of(path) in (".tck", ".tt") and (tractogram.bundle.counts == 0).any():
        tractogram = tractogram.take(tractogram.bundle.counts > 0)
    return tractogram if kind_of(path) == ".trx" else replace(tractogram, groups={})
