"""Volumes of anatomical labels: which region a point lies in, and the shares of regions over many points.

A point belongs to the voxel whose centre is nearest. Label 0, and any place outside the volume, is OUTSIDE; it is
counted like a region, so that shares always add up to one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

#: Where no region is.
OUTSIDE = "OUTSIDE"
#: Name of a region and its share, the largest first and OUTSIDE last.
Shares = tuple[tuple[str, float], ...]


@dataclass(frozen=True, eq=False)
class LabelVolume:
    """Regions of an atlas on a voxel grid.

    Parameters
    ----------
    data : (I, J, K) int
        Label of each voxel; 0 = OUTSIDE.
    affine : (4, 4) float64
        Voxel indices -> mm RAS+, of any orientation.
    names : mapping
        Label -> name; a label that is not listed is called "label 17".
    source : str
        What a reader calls the atlas.

    """

    data: NDArray[np.integer]
    affine: NDArray[np.float64]
    names: Mapping[int, str]
    source: str

    def __post_init__(self) -> None:
        if self.data.ndim != 3 or self.data.dtype.kind not in "iu":
            raise ValueError(f"labels must be (I, J, K) integers. Got {self.data.shape} of {self.data.dtype}")
        if self.affine.shape != (4, 4):
            raise ValueError(f"an affine is (4, 4). Got {self.affine.shape}")

    @cached_property
    def _inverse(self) -> NDArray[np.float64]:
        return np.asarray(np.linalg.inv(self.affine), np.float64)

    @cached_property
    def bounds(self) -> NDArray[np.float64]:
        """Lowest and highest coordinates of voxel centres, (2, 3) mm."""
        ends = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
        corners = (ends * (np.array(self.data.shape) - 1)) @ self.affine[:3, :3].T + self.affine[:3, 3]
        return np.stack([corners.min(axis=0), corners.max(axis=0)])

    def name(self, label: int) -> str:
        """Name of a label."""
        return OUTSIDE if label == 0 else self.names.get(label, f"label {label}")

    def inside(self, points: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Whether each point (N, 3) mm lies in the volume, labelled or not; False for NaN."""
        return self._voxels(points)[1]

    def at(self, points: NDArray[np.floating]) -> NDArray[np.int64]:
        """Label of each point.

        Parameters
        ----------
        points : (N, 3) float, mm RAS+
            NaN is OUTSIDE.

        Returns
        -------
        (N,) int64

        """
        index, ok = self._voxels(points)
        found = np.zeros(len(index), np.int64)
        found[ok] = self.data[tuple(index[ok].T)]
        return found

    def shares(self, points: NDArray[np.floating], weights: NDArray[np.floating] | None = None) -> Shares:
        """Share of each region over points; empty without points or weight.

        Parameters
        ----------
        points : (N, 3) float, mm RAS+
        weights : (N,) float, optional
            Not negative; 1 by default.

        Returns
        -------
        tuple of (name, share)
            Shares add up to 1; regions of one name are one.

        """
        weight = np.ones(len(points)) if weights is None else np.asarray(weights, np.float64)
        total = float(weight.sum())
        if not total > 0:
            return ()
        labels, inverse = np.unique(self.at(points), return_inverse=True)
        parts: dict[str, float] = {}
        for label, part in zip(labels.tolist(), np.bincount(inverse.ravel(), weight).tolist(), strict=True):
            parts[self.name(label)] = parts.get(self.name(label), 0.0) + part / total
        found = [(name, share) for name, share in parts.items() if share > 0]
        return tuple(sorted(found, key=lambda item: (item[0] == OUTSIDE, -item[1])))

    def around(self, point: NDArray[np.floating], radius: float = 10.0) -> Shares:
        """Share of each region over the voxel centres at most `radius` mm from a point (3,), as the extended local
        maxima of Tzourio-Mazoyer 2002; what lies beyond the volume is counted too, as OUTSIDE.
        """
        steps = np.linalg.norm(self.affine[:3, :3], axis=0)
        # The volume's own grid, continued past its ends; an oblique or sheared one needs a margin.
        reach = np.ceil(radius * np.linalg.norm(self._inverse[:3, :3], axis=1) + 1).astype(int)
        if not np.isfinite(point).all() or not (steps > 0).all():
            return ()
        middle = np.rint(self._inverse[:3, :3] @ point + self._inverse[:3, 3])
        axes = [np.arange(-n, n + 1) + m for n, m in zip(reach, middle, strict=True)]
        index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        centres = index @ self.affine[:3, :3].T + self.affine[:3, 3]
        near = np.linalg.norm(centres - point, axis=1) <= radius
        return self.shares(centres[near]) or self.shares(np.asarray(point, np.float64)[None])

    def _voxels(self, points: NDArray[np.floating]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Nearest voxel of each point (N, 3), and whether there is one (N,)."""
        places = np.asarray(points, np.float64).reshape(-1, 3)
        known: NDArray[np.bool_] = np.asarray(np.isfinite(places).all(axis=1))
        index = np.rint(np.where(known[:, None], places, 0.0) @ self._inverse[:3, :3].T + self._inverse[:3, 3])
        within = ((index >= 0) & (index < self.data.shape)).all(axis=1)
        ok: NDArray[np.bool_] = np.asarray(known & within, bool)
        return np.where(ok[:, None], index, 0).astype(np.int64), ok


def percentages(shares: Shares) -> tuple[tuple[str, int], ...]:
    """Shares in whole per cent that add up to 100 (largest remainders); what is left with 0 goes."""
    if not shares:
        return ()
    exact = np.array([share for _, share in shares]) * 100
    whole = np.floor(exact + 1e-9).astype(int)
    order = np.argsort(whole - exact, kind="stable")
    whole[order[: 100 - int(whole.sum())]] += 1
    return tuple((name, int(n)) for (name, _), n in zip(shares, whole, strict=True) if n > 0)


def label_text(shares: Shares) -> str:
    """Shares as a table's cell holds them: "Left SLF 62 %; OUTSIDE 38 %"."""
    return "; ".join(f"{name} {n} %" for name, n in percentages(shares))


def joined(texts: Sequence[tuple[str, str]]) -> str:
    """What several atlases say, (source, text): "JHU: ... | HarvardOxford: ..."; one needs no source."""
    if len(texts) == 1:
        return texts[0][1]
    return " | ".join(f"{source}: {text}" for source, text in texts)
