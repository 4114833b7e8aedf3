"""A cohort's values outside the memory: a temporary file from which they are read bundle by bundle.

    for every scalar, for every bundle: (N, C_b) float64, row by row

The file has no name and lies in TMPDIR (which --work-dir sets); it is gone with the object, and with the process. It is
read and written, not mapped: mapped pages count as memory of the process, and a full disk would kill it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

import numpy as np
from numpy.typing import NDArray


class FiledValues(Mapping[str, NDArray[np.float64]]):
    """Scalar -> (N, C) values, read anew each time they are asked for.

    Parameters
    ----------
    scalars : sequence of str
    n_sessions : int
        N.
    widths : sequence of int
        Cells of each bundle, in the order of the columns; they add up to C.

    """

    def __init__(self, scalars: Sequence[str], n_sessions: int, widths: Sequence[int]) -> None:
        self._scalars, self._n = tuple(scalars), n_sessions
        self._ends = np.concatenate([[0], np.cumsum(widths)]).astype(np.int64)
        self._kept = tuple(range(len(widths)))
        # Not a context manager: it is closed with the last of the objects that share it.
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="spectra_bids-values-")  # noqa: SIM115

    def put(self, scalar: str, session: int, row: NDArray[np.float64]) -> None:
        """Store the values of one session, (C,)."""
        for bundle, (start, end) in enumerate(zip(self._ends[:-1], self._ends[1:], strict=True)):
            part = memoryview(np.ascontiguousarray(row[start:end], np.float64).tobytes())
            at = self._start(scalar, bundle) + session * len(part)
            while part:  # one call writes less than asked for where the disk is nearly full
                written = os.pwrite(self._file.fileno(), part, at)
                part, at = part[written:], at + written

    def keep(self, bundles: Sequence[bool]) -> FiledValues:
        """The same file with some bundles alone; one entry per bundle that is there now."""
        other = object.__new__(FiledValues)
        other.__dict__.update(self.__dict__)
        other._kept = tuple(b for b, wanted in zip(self._kept, bundles, strict=True) if wanted)
        return other

    def __getitem__(self, scalar: str) -> NDArray[np.float64]:
        if scalar not in self._scalars:
            raise KeyError(scalar)
        widths = [int(self._ends[b + 1] - self._ends[b]) for b in self._kept]
        out = np.empty((self._n, sum(widths)))
        column = 0
        for bundle, width in zip(self._kept, widths, strict=True):
            self._file.seek(self._start(scalar, bundle))
            out[:, column : column + width] = np.fromfile(self._file, count=self._n * width).reshape(self._n, width)
            column += width
        return out

    def __iter__(self) -> Iterator[str]:
        return iter(self._scalars)

    def __len__(self) -> int:
        return len(self._scalars)

    def _start(self, scalar: str, bundle: int) -> int:
        """Byte at which a block begins."""
        return 8 * self._n * int(self._scalars.index(scalar) * self._ends[-1] + self._ends[bundle])
