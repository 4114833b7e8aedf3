"""Which streamlines pass through which voxels: an exact traversal, and an index to ask it by voxel, mask and sphere.

A streamline passes through a voxel if a part of one of its segments lies inside; voxels are half-open boxes about their
centres. The index is a sparse matrix in CSR form: row = voxel that is visited, columns = ids of streamlines, rising.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Bundle

#: Points that are looked at together; some hundred bytes each.
_CHUNK = 100_000


@dataclass(frozen=True, eq=False)
class VoxelIndex:
    """Voxels and the streamlines that pass through them.

    Parameters
    ----------
    shape : (I, J, K)
    affine : (4, 4) float64
        Voxel indices -> mm RAS+.
    voxels : (V,) int64
        Flat (C order) indices of the visited voxels, rising.
    offsets : (V + 1,) int64
        Streamlines of voxel i are `streamlines[offsets[i]:offsets[i + 1]]`.
    streamlines : (N,) int64
        Ids, rising within each voxel.
    n_streamlines : int
        Of the tractogram.

    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    voxels: NDArray[np.int64]
    offsets: NDArray[np.int64]
    streamlines: NDArray[np.int64]
    n_streamlines: int

    def at_voxel(self, ijk: tuple[int, int, int]) -> NDArray[np.int64]:
        """Ids of the streamlines through one voxel.

        Raises
        ------
        ValueError
            If there is no such voxel in the image.

        """
        if not all(0 <= i < n for i, n in zip(ijk, self.shape, strict=True)):
            raise ValueError(f"voxel {ijk} lies outside of the image of shape {self.shape}")
        return self._of(np.array([np.ravel_multi_index(ijk, self.shape)]))

    def in_mask(self, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Ids of the streamlines through any voxel of a mask (I, J, K)."""
        if mask.shape != self.shape:
            raise ValueError(f"the mask must have the image's shape {self.shape}. Got {mask.shape}")
        return self._of(np.flatnonzero(mask.ravel()))

    def in_sphere(self, centre: NDArray[np.floating], radius: float) -> NDArray[np.int64]:
        """Ids of the streamlines through any voxel whose centre is within `radius` mm of a point in mm RAS+.

        The voxel that the point lies in always counts.
        """
        return self.in_mask(sphere_mask(np.asarray(centre, np.float64), radius, self.affine, self.shape))

    def _of(self, flat: NDArray[np.int64]) -> NDArray[np.int64]:
        """Ids of the streamlines through any of some voxels, rising, each once."""
        rows = np.searchsorted(self.voxels, flat)
        rows = rows[np.append(self.voxels, -1)[rows] == flat]
        parts = [self.streamlines[self.offsets[row] : self.offsets[row + 1]] for row in rows]
        return _once(np.concatenate(parts)) if parts else np.empty(0, np.int64)


def sphere_mask(
    centre: NDArray[np.float64], radius: float, affine: NDArray[np.float64], shape: tuple[int, int, int]
) -> NDArray[np.bool_]:
    """Voxels whose centre is within `radius` mm of a point, and the one that the point lies in, (I, J, K)."""
    if radius < 0:
        raise ValueError(f"a radius is at least 0 mm. Got {radius}")
    inverse = np.linalg.inv(affine)
    middle = inverse[:3, :3] @ centre + inverse[:3, 3]
    reach = radius * np.linalg.norm(inverse[:3, :3], axis=1)
    low = np.maximum(np.floor(middle - reach).astype(int), 0)
    high = np.minimum(np.ceil(middle + reach).astype(int) + 1, shape)
    out = np.zeros(shape, bool)
    nearest = np.floor(middle + 0.5).astype(int)
    if (nearest >= 0).all() and (nearest < shape).all():
        out[tuple(nearest)] = True
    if (low < high).all():
        box = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"), axis=-1)
        away = np.linalg.norm(box @ affine[:3, :3].T + affine[:3, 3] - centre, axis=-1)
        out[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] |= away <= radius
    return out


def index_voxels(bundle: Bundle, affine: NDArray[np.float64], shape: tuple[int, int, int]) -> VoxelIndex:
    """Index the voxels of an image that streamlines pass through.

    Parameters
    ----------
    bundle : Bundle
        Streamlines, mm RAS+; parts outside of the image are in no voxel.
    affine : (4, 4)
        Of the image, voxel indices -> mm RAS+.
    shape : (I, J, K)

    References
    ----------
    Amanatides & Woo (1987), A fast voxel traversal algorithm for ray tracing: the same voxels, found by sorting the
    crossings of many segments at once.

    """
    inverse = np.linalg.inv(affine)
    n, n_points = max(bundle.n_streamlines, 1), len(bundle.points)
    parts = [np.empty(0, np.int64)]
    for start in range(0, n_points, _CHUNK):
        stop = min(start + _CHUNK + 1, n_points)  # one more: the segment that leads on
        # Voxel i holds [i - 1/2, i + 1/2): shifted by half, its index is the floor.
        points = bundle.points[start:stop].astype(np.float64) @ inverse[:3, :3].T + inverse[:3, 3] + 0.5
        ids = np.searchsorted(bundle.offsets, np.arange(start, stop), side="right") - 1
        found = np.concatenate([_keys(points, ids, shape, n), _between(points, ids, shape, n)])
        parts.append(_once(found))
    found = np.concatenate(parts)
    del parts  # the peak of memory is here
    keys = _once(found)
    del found
    voxel, streamline = np.divmod(keys, n)
    first = np.flatnonzero(np.diff(voxel, prepend=-1))
    offsets = np.append(first, len(voxel)).astype(np.int64)
    return VoxelIndex(shape, np.asarray(affine, np.float64), voxel[first], offsets, streamline, bundle.n_streamlines)


def _between(
    points: NDArray[np.float64], ids: NDArray[np.int64], shape: tuple[int, int, int], n: int
) -> NDArray[np.int64]:
    """Keys of the voxels that segments pass between those of their ends.

    A segment that crosses one face, or none, has no such voxel; with the usual steps nearly all are of this kind.
    """
    crossed = np.abs(np.diff(np.floor(points), axis=0)).sum(axis=1)
    far = np.flatnonzero((crossed > 1) & (ids[1:] == ids[:-1]))
    middle, segment = _middles(points[far], points[far + 1])
    return _keys(middle, ids[far][segment], shape, n)


def passing(bundle: Bundle, mask: NDArray[np.bool_], affine: NDArray[np.float64]) -> NDArray[np.int64]:
    """Ids of the streamlines through any voxel of a mask (I, J, K), rising: `index_voxels(...).in_mask(mask)`, but
    only streamlines that come near the mask are followed.
    """
    low, high = _box(mask)
    if (low >= high).any():
        return np.empty(0, np.int64)
    inside, moved = mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))], _shifted(affine, low)
    close = _near(bundle, moved, inside.shape)
    return close[index_voxels(bundle.take(close), moved, inside.shape).in_mask(inside)]


def index_mask(bundle: Bundle, mask: NDArray[np.bool_], affine: NDArray[np.float64]) -> VoxelIndex:
    """The index of the voxels of a mask alone; shape, affine and flat voxel numbers are those of the whole image."""
    low, high = _box(mask)
    ids = np.empty(0, np.int64)
    if (low >= high).any():
        return VoxelIndex(mask.shape, affine, ids, np.zeros(1, np.int64), ids, bundle.n_streamlines)
    moved, (i, j, k) = _shifted(affine, low), (high - low).tolist()
    size = (i, j, k)
    close = _near(bundle, moved, size)
    part = index_voxels(bundle.take(close), moved, size)
    ijk = np.stack(np.unravel_index(part.voxels, size)) + low[:, None]
    voxels = np.ravel_multi_index(tuple(ijk), mask.shape).astype(np.int64)
    wanted, counts = mask.ravel()[voxels], np.diff(part.offsets)
    offsets = np.concatenate([[0], np.cumsum(counts[wanted])]).astype(np.int64)
    kept = close[part.streamlines[np.repeat(wanted, counts)]]
    return VoxelIndex(mask.shape, affine, voxels[wanted], offsets, kept, bundle.n_streamlines)


def _box(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First voxel of a mask, and the one after its last, per axis."""
    where = np.argwhere(mask)
    if not len(where):
        return np.zeros(3, np.int64), np.zeros(3, np.int64)
    return where.min(axis=0), where.max(axis=0) + 1


def _shifted(affine: NDArray[np.float64], low: NDArray[np.int64]) -> NDArray[np.float64]:
    """Affine of the part of an image that starts at voxel `low`."""
    moved = np.array(affine, np.float64)
    moved[:3, 3] += moved[:3, :3] @ low
    return moved


def _near(bundle: Bundle, affine: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Streamlines whose bounding box meets an image's."""
    filled = np.flatnonzero(bundle.counts > 0)
    if len(filled) == 0:
        return filled
    inverse = np.linalg.inv(affine)
    points = bundle.points @ inverse[:3, :3].T.astype(np.float32) + inverse[:3, 3].astype(np.float32)
    starts = bundle.offsets[:-1][filled]
    low, high = np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)
    margin = 0.51  # half a voxel, and what float32 rounds
    return filled[((high >= -margin) & (low <= np.array(shape) - 1 + margin)).all(axis=1)]


def _middles(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Middles of the pieces into which voxel faces cut the segments a -> b, (M, 3), and the segment of each, (M,)."""
    n = len(a)
    segments, places = [np.arange(n), np.arange(n)], [np.zeros(n), np.ones(n)]
    low, high = np.minimum(a, b), np.maximum(a, b)
    for axis in range(3):
        before = np.floor(low[:, axis])
        count = (np.ceil(high[:, axis]) - before - 1).clip(0).astype(np.int64)  # faces strictly between the ends
        of = np.repeat(np.arange(n), count)
        rank = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        face = before[of] + 1 + rank
        segments.append(of)
        places.append((face - a[of, axis]) / (b[of, axis] - a[of, axis]))
    segment, place = np.concatenate(segments), np.concatenate(places)
    order = np.lexsort([place, segment])
    segment, place = segment[order], place[order]
    same = segment[1:] == segment[:-1]
    of = segment[1:][same]
    t = ((place[1:] + place[:-1]) / 2)[same]
    return a[of] + t[:, None] * (b[of] - a[of]), of


def _keys(
    points: NDArray[np.float64], streamlines: NDArray[np.int64], shape: tuple[int, int, int], n: int
) -> NDArray[np.int64]:
    """Keys voxel * n + streamline of the points (shifted voxel coordinates) that lie in the image."""
    ijk = np.floor(points)
    inside = ((ijk >= 0) & (ijk < shape)).all(axis=1)
    i, j, k = ijk[inside].astype(np.int64).T
    flat = (i * shape[1] + j) * shape[2] + k
    return np.asarray(flat * n + streamlines[inside], np.int64)


def _once(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Keys, rising, each once; sorts in place. np.unique of NumPy 2.4 hashes them first, which takes several times
    longer here.
    """
    keys.sort()
    new = np.ones(len(keys), bool)
    np.not_equal(keys[1:], keys[:-1], out=new[1:])
    return keys[new]
