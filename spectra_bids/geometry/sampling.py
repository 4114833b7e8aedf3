"""Values of scalar maps at streamline points, and the pairing of streamlines in two spaces.

Interpolation positions are computed once per bundle and reused for every map of the same grid of voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Bundle, Volume
from spectra_bids.geometry.centroid import median_step, resample_counts

#: Tracking in steps of exactly half a voxel is common, and float32 coordinates make it half a voxel and a little more.
_SLACK = 1e-3


def voxel_coordinates(points: NDArray[np.floating], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (P, 3) mm RAS+ in voxel indices, (3, P)."""
    inverse = np.linalg.inv(affine)
    x, y, z = np.ascontiguousarray(points.T, dtype=np.float64)
    # Not a matrix product: for three columns, waking the BLAS threads costs more than the sums.
    return np.stack([a * x + b * y + c * z + d for a, b, c, d in inverse[:3]])


@dataclass(frozen=True, eq=False)
class Interpolator:
    """Trilinear interpolation at fixed points of any volume of one shape and affine.

    `inside` (P,) says which points lie within the field of view, the box of the outermost voxel centres. The other
    arrays speak of those alone: `base` (P_in,) flat index of the corner below, `steps` (3, P_in) from it to the corner
    above along each axis, `share` (3, P_in) how far the point lies towards that, `nearest` (P_in,) flat index.
    """

    shape: tuple[int, ...]
    inside: NDArray[np.bool_]
    base: NDArray[np.intp]
    steps: NDArray[np.intp]
    share: NDArray[np.float64]
    nearest: NDArray[np.intp]

    @classmethod
    def at(cls, points: NDArray[np.floating], affine: NDArray[np.float64], shape: tuple[int, ...]) -> Interpolator:
        """Interpolator for points (P, 3) mm in a volume of this shape and affine."""
        ijk = voxel_coordinates(points, affine)
        # Coordinates come through a matrix inverse: allow its rounding at the border voxels' centres.
        inside = np.ones(ijk.shape[1], dtype=bool)
        for x, n in zip(ijk, shape, strict=True):
            inside &= (x >= -1e-6) & (x <= n - 1 + 1e-6)
        if not inside.all():
            ijk = ijk[:, inside]
        base = np.zeros(ijk.shape[1], np.intp)
        nearest = np.zeros(ijk.shape[1], np.intp)
        steps = np.empty(ijk.shape, np.intp)
        share = np.empty(ijk.shape)
        for k, stride in enumerate((shape[1] * shape[2], shape[2], 1)):
            x = np.clip(ijk[k], 0, shape[k] - 1)
            low = np.floor(x)
            np.subtract(x, low, out=share[k])
            # No step on a voxel centre, so that a NaN neighbour of weight 0 does not count.
            np.multiply(share[k] > 0, stride, out=steps[k])
            base += low.astype(np.intp) * stride
            nearest += np.floor(x + 0.5).astype(np.intp) * stride
        return cls(tuple(shape), inside, base, steps, share, nearest)

    def sample(self, data: NDArray[np.floating]) -> NDArray[np.float64]:
        """Values at the points, (P,); NaN outside the field of view and where a contributing voxel is not finite."""
        if data.shape != self.shape:
            raise ValueError(f"the volume has shape {data.shape}, the interpolator was made for {self.shape}")
        flat = np.ascontiguousarray(data).ravel()
        dx, dy, dz = self.steps
        tx, ty, tz = self.share

        def along_z(index: NDArray[np.intp]) -> NDArray[np.float64]:
            low = np.take(flat, index, mode="clip").astype(np.float64)
            high = np.take(flat, index + dz, mode="clip")
            return np.asarray(low + (high - low) * tz)

        def along_y(index: NDArray[np.intp]) -> NDArray[np.float64]:
            low = along_z(index)
            return np.asarray(low + (along_z(index + dy) - low) * ty)

        with np.errstate(invalid="ignore"):  # inf - inf: not finite either
            low = along_y(self.base)
            return self._spread(np.asarray(low + (along_y(self.base + dx) - low) * tx))

    @property
    def n_visited(self) -> int:
        """Number of voxels that are the nearest of at least one point inside the field of view."""
        seen = np.zeros(int(np.prod(self.shape)), dtype=bool)
        seen[self.nearest] = True
        return int(seen.sum())

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
    """Values of the voxel that holds each point (P, 3) mm RAS+, (P,); NaN outside the volume.

    Unlike interpolation, which needs voxel centres on all sides, this reaches to the outer faces of the voxels.
    """
    index = np.floor(voxel_coordinates(points, volume.affine) + 0.5)
    inside = ((index >= 0) & (index < np.array(volume.data.shape)[:, None])).all(axis=0)
    out = np.full(len(points), np.nan)
    i, j, k = index[:, inside].astype(np.intp)
    out[inside] = volume.data[i, j, k]
    return out


def pair(rec: Bundle, org: Bundle) -> tuple[Bundle, Bundle, bool]:
    """Rec and org with points that correspond one to one, and whether they had to be resampled for it.

    A streamline without points on one side has none on either afterwards.

    Raises
    ------
    ValueError
        If the numbers of streamlines differ.

    """
    if rec.n_streamlines != org.n_streamlines:
        raise ValueError(f"rec has {rec.n_streamlines} streamlines, org has {org.n_streamlines}: they must be the same")
    if np.array_equal(rec.counts, org.counts):
        return rec, org, False
    counts = np.where(rec.counts > 0, org.counts, 0)
    return resample_counts(rec, counts), resample_counts(org, counts), True


def refine(rec: Bundle, org: Bundle, step: float) -> tuple[Bundle, Bundle, bool]:
    """Rec and org at steps of at most `step` mm of org, and whether that changed anything.

    New points divide every segment of org evenly and the same segment of rec likewise, so that they go on
    corresponding one to one. Nothing is done where the median step is at most `step` already.
    """
    if median_step(org) <= step * (1 + _SLACK):
        return rec, org, False
    same = np.diff(org.streamline_ids) == 0
    gap = np.where(same, np.diff(org.arc), 0.0)
    pieces = np.r_[np.where(same, np.maximum(1, np.ceil(gap / step - _SLACK)), 1).astype(np.int64), 1]
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
