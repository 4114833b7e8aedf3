"""MRtrix .tck: text header, then triplets; a NaN triplet ends a streamline, an Inf triplet the file. mm RAS+ as stored.

References
----------
MRtrix3 documentation, "Tracks file format"; nibabel.streamlines.tck (compared with it in the tests).

"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Bundle
from spectra_bids.errors import TractogramError

_TYPES = {"Float32LE": "<f4", "Float32BE": ">f4", "Float64LE": "<f8", "Float64BE": ">f8", "Float32": "<f4"}


def read_tck(path: Path, raw: bytes) -> Bundle:
    """Bundle, mm RAS+, from the bytes of a .tck file."""
    dtype, start, count = _header(path, raw)
    triplet = 3 * dtype.itemsize
    values = np.frombuffer(raw, dtype, count=(len(raw) - start) // triplet * 3, offset=start).reshape(-1, 3)
    odd = np.flatnonzero(~np.isfinite(values[:, 0]))
    closing = odd[np.isinf(values[odd]).all(axis=1)]
    if len(closing) == 0:
        raise TractogramError(
            f"{path} is cut short: expected the closing triplet 'inf inf inf'. Got {len(values)} triplets without it",
            "Copy or make the file again.",
        )
    values, odd = values[: closing[0]], odd[odd < closing[0]]
    breaks = odd[np.isnan(values[odd]).all(axis=1)]
    points = np.delete(values, breaks, axis=0).astype(np.float32)
    ends = breaks - np.arange(len(breaks))
    if len(points) > (ends[-1] if len(ends) else 0):
        raise TractogramError(f"{path} is damaged: its last streamline is not closed by 'nan nan nan'")
    offsets = _offsets(ends)
    if count is not None and len(offsets) - 1 < count and len(breaks) < count:
        raise TractogramError(
            f"{path} is cut short: its header counts {count} streamlines. Got {len(breaks)}",
            "Copy or make the file again.",
        )
    return Bundle(points, offsets)


def tck_bytes(bundle: Bundle) -> bytes:
    """Content of a .tck file; equal streamlines give equal bytes, whoever writes them."""
    ends = np.repeat(np.array([[np.nan] * 3], "<f4"), bundle.n_streamlines, axis=0)
    triplets = np.insert(bundle.points.astype("<f4"), bundle.offsets[1:], ends, axis=0)
    body = np.vstack([triplets, np.full((1, 3), np.inf, "<f4")]).astype("<f4").tobytes()
    start = 0
    while True:  # the header holds its own length
        header = f"mrtrix tracks\ndatatype: Float32LE\ncount: {bundle.n_streamlines}\nfile: . {start}\nEND\n".encode()
        if len(header) == start:
            return header + body
        start = len(header)


def tck_layout(path: Path, raw: bytes) -> tuple[int, int, int]:
    """Bytes before the first streamline, of a point, and of all separators together, by the header."""
    dtype, start, count = _header(path, raw)
    triplet = 3 * dtype.itemsize
    return start, triplet, triplet * (1 + (count or 0))


def _offsets(ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """(S + 1,) offsets; streamlines without points are dropped, as MRtrix and nibabel do."""
    offsets = np.concatenate([[0], ends]).astype(np.int64)
    filled: NDArray[np.int64] = offsets[np.concatenate([[True], np.diff(offsets) > 0])]
    return filled


def _header(path: Path, raw: bytes) -> tuple[np.dtype[np.floating], int, int | None]:
    """Type of the numbers, byte at which they start, and the number of streamlines if it is said."""
    end = re.search(rb"^END\s*$", raw[:1_000_000], re.MULTILINE)
    if not raw.startswith(b"mrtrix tracks") or end is None:
        raise TractogramError(f"{path} is no MRtrix track file: expected 'mrtrix tracks' first and a line 'END'")
    fields = dict(re.findall(r"^([^:\n]+):\s*(.*?)\s*$", raw[: end.start()].decode("utf-8", "replace"), re.MULTILINE))
    kind = fields.get("datatype", "Float32LE")
    if kind not in _TYPES:
        raise TractogramError(f"'datatype' in {path} must be one of {', '.join(_TYPES)}. Got {kind!r}")
    where = fields.get("file", f". {end.end()}").split()
    if len(where) != 2 or where[0] != "." or not where[1].isdigit() or int(where[1]) > len(raw):
        raise TractogramError(f"'file' in {path} must be '. OFFSET' within the file. Got {' '.join(where)!r}")
    count = fields.get("count", "")
    return np.dtype(_TYPES[kind]), int(where[1]), int(count) if count.isdigit() else None
