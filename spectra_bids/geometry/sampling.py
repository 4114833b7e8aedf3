"""Values of scalar maps at streamline points, and the pairing of streamlines in two spaces.

Interpolation positions are computed once per bundle and reused for every map of the same grid of voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Bundle, Volume
from spectra_bids.geometry.centroid import median_step, resample_counts


def voxel_coordinates(points: NDArray[np.floating], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (P, 3) mm RAS+ in voxel indices, (P, 3)."""
    inverse = np.linalg.inv(affine)
    return np.asarray(points @ inverse[:3, :3].T + inverse[:3, 3])


@dataclass(frozen=True, eq=False)
class Interpolator:
    """Trilinear interpolation at fixed points of any volume of one shape and affine.

    `inside` (P,) says which points lie within the field of view, the box of the outermost voxel centres; the arrays
    of corners (P_in, 8) and weights (P_in, 8) speak of those alone.
    """

    shape: tuple[int, ...]
    inside: NDArray[np.bool_]
    corners: NDArray[np.int32]
    weights: NDArray[np.float64]
    nearest: NDArray[np.int32]

    @classmethod
    def at(cls, points: NDArray[np.floating], affine: NDArray[np.float64], shape: tuple[int, ...]) -> Interpolator:
        """Interpolator for points (P, 3) mm in a volume of this shape and affine."""
        ijk = voxel_coordinates(points, affine)
        top = np.array(shape) - 1
        # Coordinates come through a matrix inverse: allow its rounding at the border voxels' centres.
        inside = np.asarray(((ijk >= -1e-6) & (ijk <= top + 1e-6)).all(axis=1))
        if not inside.all():
            ijk = ijk[inside]
        ijk = np.clip(ijk, 0, top)
        low = np.floor(ijk)
        high = np.ceil(ijk)  # equals low on a voxel centre, so that a NaN neighbour of weight 0 does not count
        frac = ijk - low
        stride = np.array([shape[1] * shape[2], shape[2], 1])
        lo, hi = (low * stride).astype(np.int32), (high * stride).astype(np.int32)
        corners = np.empty((len(ijk), 8), np.int32)
        weights = np.empty((len(ijk), 8))
        (wx0, wy0, wz0), (wx1, wy1, wz1) = (1 - frac).T, frac.T
        for c, (x, y, z, wx, wy, wz) in enumerate(
            (cx, cy, cz, vx, vy, vz)
            for cx, vx in ((lo[:, 0], wx0), (hi[:, 0], wx1))
            for cy, vy in ((lo[:, 1], wy0), (hi[:, 1], wy1))
            for cz, vz in ((lo[:, 2], wz0), (hi[:, 2], wz1))
        ):
            corners[:, c] = x + y + z
            weights[:, c] = wx * wy * wz
        nearest = (np.floor(ijk + 0.5) * stride).sum(axis=1).astype(np.int32)
        return cls(tuple(shape), inside, corners, weights, nearest)

    def sample(self, data: NDArray[np.floating]) -> NDArray[np.float64]:
        """Values at the points, (P,); NaN outside the field of view and where a contributing voxel is not finite."""
        if data.shape != self.shape:
            raise ValueError(f"the volume has shape {data.shape}, the interpolator was made for {self.shape}")
        values = np.einsum("ij,ij->i", np.ascontiguousarray(data).ravel()[self.corners], self.weights)
        return self._spread(values)

    @property
    def n_visited(self) -> int:
        """Number of voxels that are the nearest of at least one point inside the field of view."""
        seen = np.zeros(int(np.prod(self.shape)), dtype=bool)
        seen[self.nearest] = True
        return int(seen.sum())

    def look_up(self, data: NDArray[np.generic]) -> NDArray[np.bool_]:
        """Whether the nearest voxel of a mask is set, (P,) bool; False outside."""
        out = np.zeros(len(self.inside), dtype=bool)
        out[self.inside] = np.ascontiguousarray(data).ravel()[self.nearest] != 0
        return out

    def _spread(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.inside.all():
            return values
        out = np.full(len(self.inside), np.nan)
        out[self.inside] = values
        return out


def sample(volume: Volume, points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Trilinear values of one volume at points (P, 3) mm RAS+, (P,); NaN outside the field of view."""
    return Interpolator.at(points, volume.affine, volume.data.shape).sample(volume.data)


def sample_nearest(volume: Volume, points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Values of the nearest voxel at points (P, 3) mm RAS+, (P,); NaN outside the field of view."""
    found = Interpolator.at(points, volume.affine, volume.data.shape)
    return found._spread(np.ascontiguousarray(volume.data).ravel()[found.nearest].astype(np.float64))


def pair(rec: Bundle, org: Bundle) -> tuple[Bundle, Bundle, bool]:
    """Rec and org with points that correspond one to one, and whether they had to be resampled for it.

    Raises
    ------
    ValueError
        If the numbers of streamlines differ.

    """
    if rec.n_streamlines != org.n_streamlines:
        raise ValueError(f"rec has {rec.n_streamlines} streamlines, org has {org.n_streamlines}: they must be the same")
    if np.array_equal(rec.counts, org.counts):
        return rec, org, False
    return resample_counts(rec, org.counts), resample_counts(org, org.counts), True


def refine(rec: Bundle, org: Bundle, step: float) -> tuple[Bundle, Bundle, bool]:
    """Rec and org at steps of at most `step` mm of org, and whether that changed anything.

    New points divide every segment of org evenly and the same segment of rec likewise, so that they go on
    corresponding one to one. Nothing is done where the median step is at most `step` already.
    """
    if not median_step(org) > step:
        return rec, org, False
    same = np.diff(org.streamline_ids) == 0
    gap = np.where(same, np.diff(org.arc), 0.0)
    pieces = np.r_[np.where(same, np.maximum(1, np.ceil(gap / step)), 1).astype(np.int64), 1]
    index = np.repeat(np.arange(len(org.points)), pieces)
    rank = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    share = (rank / pieces[index])[:, None]
    after = np.minimum(index + 1, len(org.points) - 1)
    starts = np.r_[0, np.cumsum(pieces)]
    offsets = starts[org.offsets].astype(np.int64)
    fine = [
        Bundle((b.points[index] * (1 - share) + b.points[after] * share).astype(np.float32), offsets)
        for b in (rec, org)
    ]
    return fine[0], fine[1], True
