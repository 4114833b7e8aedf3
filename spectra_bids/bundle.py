"""Bundle and Volume: the two kinds of data that everything else works on.

A Bundle is a ragged array, stored as nibabel's ArraySequence and TRX store it: all points in one array, and the
offsets at which streamlines start. Nothing here loops over streamlines.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Bundle:
    """Streamlines of one bundle.

    Parameters
    ----------
    points : (P, 3) float32, mm RAS+
        All points of all streamlines, one streamline after the other.
    offsets : (S + 1,) int64
        Streamline i is `points[offsets[i]:offsets[i + 1]]`.

    """

    points: NDArray[np.float32]
    offsets: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or self.points.shape[1] != 3:
            raise ValueError(f"points must be (P, 3). Got {self.points.shape}")
        if self.offsets.ndim != 1 or len(self.offsets) == 0 or self.offsets[-1] != len(self.points):
            raise ValueError("offsets must be (S + 1,) and end at the number of points")
        if self.offsets[0] != 0 or (np.diff(self.offsets) < 0).any():
            raise ValueError("offsets must start at 0 and never decrease")

    @classmethod
    def from_streamlines(cls, streamlines: list[NDArray[np.floating]]) -> Bundle:
        """Bundle from a list of (n_i, 3) arrays, mm RAS+."""
        counts = np.array([len(x) for x in streamlines], dtype=np.int64)
        points = np.concatenate(streamlines) if len(streamlines) else np.empty((0, 3))
        return cls(np.asarray(points, np.float32), np.r_[0, np.cumsum(counts)].astype(np.int64))

    @property
    def n_streamlines(self) -> int:
        """Number of streamlines, S."""
        return len(self.offsets) - 1

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Points of each streamline, (S,)."""
        return np.diff(self.offsets)

    @cached_property
    def streamline_ids(self) -> NDArray[np.int64]:
        """The streamline of each point, (P,)."""
        return np.repeat(np.arange(self.n_streamlines, dtype=np.int64), self.counts)

    @cached_property
    def arc(self) -> NDArray[np.float64]:
        """Arc length of each point from its streamline's first point, (P,) mm."""
        if len(self.points) == 0:
            return np.empty(0)
        total = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(self.points.astype(np.float64), axis=0), axis=1))]
        starts = self.offsets[:-1][self.counts > 0]
        return np.asarray(total - np.repeat(total[starts], self.counts[self.counts > 0]))

    @cached_property
    def lengths(self) -> NDArray[np.float64]:
        """Arc length of each streamline, (S,) mm; 0 for an empty one."""
        out = np.zeros(self.n_streamlines)
        filled = self.counts > 0
        out[filled] = self.arc[self.offsets[1:][filled] - 1]
        return out

    def with_points(self, points: NDArray[np.floating]) -> Bundle:
        """The same streamlines with other coordinates, (P, 3) mm."""
        return Bundle(np.asarray(points, np.float32), self.offsets)

    def take(self, keep: NDArray[np.integer] | NDArray[np.bool_]) -> Bundle:
        """The streamlines that an index or a mask over streamlines selects."""
        index = np.arange(self.n_streamlines)[keep]
        counts = self.counts[index]
        offsets = np.r_[0, np.cumsum(counts)].astype(np.int64)
        shift = np.repeat(self.offsets[index] - offsets[:-1], counts)
        return Bundle(self.points[np.arange(offsets[-1]) + shift], offsets)

    def reversed(self) -> Bundle:
        """Every streamline traversed from its other end."""
        mirror = np.repeat(self.offsets[:-1] + self.offsets[1:] - 1, self.counts)
        return Bundle(self.points[mirror - np.arange(len(self.points))], self.offsets)


@dataclass(frozen=True, eq=False)
class Volume:
    """One scalar map.

    Parameters
    ----------
    data : (I, J, K) float
        Values at voxel centres; NaN where not measured.
    affine : (4, 4) float64
        Voxel indices -> mm RAS+.

    """

    data: NDArray[np.floating]
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.data.ndim != 3:
            raise ValueError(f"a Volume has three dimensions. Got shape {self.data.shape}")

    @property
    def voxel_size(self) -> float:
        """Mean edge of a voxel, mm."""
        return float(np.linalg.norm(self.affine[:3, :3], axis=0).mean())
