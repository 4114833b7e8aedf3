"""Streamlines to atlas space by streamlines alone (SLR), and how far they lie from the atlas afterwards.

SLR: Garyfallidis et al. 2015, as DIPY implements it (a pure function of arrays, hence allowed here; see
docs/decisions). Only for bundles that no image transform brings to the atlas.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Bundle

#: Points of a bundle that the distance QC looks at; the median of 2,000 is good to a few hundredths of a mm.
_QC_POINTS = 2000

FAR_BUNDLE_MM = 8.0
FAR_SESSION_MM = 4.0


def streamline_registration(
    moving: Sequence[Bundle], static: Sequence[Bundle], random_seed: int = 0
) -> NDArray[np.float64]:
    """Affine that brings the union of `moving` onto the union of `static`.

    Parameters
    ----------
    moving, static : sequences of Bundle
        The subject's bundles and the atlas bundles of the same names, mm RAS+.
    random_seed : int
        Seed of the order in which DIPY clusters streamlines.

    Returns
    -------
    (4, 4) float64

    Raises
    ------
    ValueError
        If either side has no streamlines.

    """
    from dipy.align.streamlinear import slr_with_qbx
    from dipy.tracking.streamline import Streamlines

    sides = [Streamlines(_lines(bundles)) for bundles in (static, moving)]
    if not all(len(side) for side in sides):
        raise ValueError("streamline registration needs streamlines on both sides")
    # rm_small_clusters: the default of 50 leaves nothing of sparse bundles and then raises. One thread: the sum of
    # distances, and with it the last digits of the matrix, would depend on how many there are.
    _, affine, _, _ = slr_with_qbx(
        *sides, x0="affine", rm_small_clusters=1, rng=np.random.default_rng(random_seed), num_threads=1
    )
    return np.asarray(affine, dtype=np.float64)


def _lines(bundles: Sequence[Bundle]) -> list[NDArray[np.float32]]:
    return [x for b in bundles for x in np.split(b.points, b.offsets[1:-1]) if len(x) > 1]


def apply_affine(affine: NDArray[np.float64], bundle: Bundle) -> Bundle:
    """A bundle moved by an affine, mm RAS+ to mm RAS+."""
    return bundle.with_points(bundle.points @ affine[:3, :3].T + affine[:3, 3])


def distances_to_atlas(rec: Bundle, atlas: Bundle) -> NDArray[np.float64]:
    """Distances from points of a bundle to the nearest atlas point, mm; evenly drawn, 2,000 at most."""
    from scipy.spatial import cKDTree

    pick = np.linspace(0, len(rec.points) - 1, min(len(rec.points), _QC_POINTS)).astype(np.int64)
    # A sliding-midpoint tree is built four times faster than a balanced one, and 2,000 queries do not mind.
    tree = cKDTree(atlas.points, balanced_tree=False, compact_nodes=False)
    return np.asarray(tree.query(rec.points[pick])[0])


def session_quantiles(
    distances: Sequence[NDArray[np.float64]], sizes: Sequence[int], shares: Sequence[float] = (0.5, 0.95)
) -> tuple[float, ...]:
    """Quantiles of the distances of all points of a session, from the drawn ones of each bundle and its size."""
    values = np.concatenate([np.empty(0), *distances])
    if not len(values):
        return tuple(float("nan") for _ in shares)
    weights = np.concatenate([np.full(len(d), n / max(1, len(d))) for d, n in zip(distances, sizes, strict=True)])
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order]) / weights.sum()
    at = np.minimum(np.searchsorted(reached, shares), len(values) - 1)
    return tuple(values[order][at].tolist())


def distance_flag(bundle_median: float, session_median: float) -> str:
    """QC flag of a bundle: `far_bundle` (median > 8 mm), else `far_session` (median of all > 4 mm), else `none`."""
    if bundle_median > FAR_BUNDLE_MM:
        return "far_bundle"
    return "far_session" if session_median > FAR_SESSION_MM else "none"
