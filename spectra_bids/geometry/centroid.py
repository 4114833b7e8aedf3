"""Centroid of an atlas bundle: resampling by arc length, flip-invariant mean, extension of the ends, orientation.

Source: BUAN (Chandio 2020) for the centroid as the model of a bundle, SPECTRA (Feng 2026) for the extension.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Bundle

#: Letters of the two ends of an axis in RAS+, low end first.
AXIS_LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))
_N_CENTROID = 100
_EXTENSION = 0.3
_PERCENTILES = (2.0, 98.0)


def _positions(bundle: Bundle, t: NDArray[np.float64], streamline: NDArray[np.int64]) -> NDArray[np.float64]:
    """Points at arc length t (mm) of the given streamlines, (len(t), 3).

    All streamlines are laid one behind the other on one axis, 1 mm apart, so that one interpolation serves them all.
    """
    base = np.r_[0.0, np.cumsum(bundle.lengths + 1.0)[:-1]]
    x = bundle.arc + base[bundle.streamline_ids]
    at = t + base[streamline]
    return np.stack([np.interp(at, x, bundle.points[:, k]) for k in range(3)], axis=1)


def resample_evenly(bundle: Bundle, n: int) -> NDArray[np.float64]:
    """Every streamline at n points evenly spaced by arc length, (S, n, 3) mm. Streamlines must not be empty."""
    s = bundle.n_streamlines
    t = bundle.lengths[:, None] * np.linspace(0.0, 1.0, n)[None, :]
    ids = np.repeat(np.arange(s, dtype=np.int64), n)
    return _positions(bundle, t.ravel(), ids).reshape(s, n, 3)


def resample_counts(bundle: Bundle, counts: NDArray[np.int64]) -> Bundle:
    """Streamline i at counts[i] points evenly spaced by its arc length; an empty one stays so and must have count 0."""
    if (counts[bundle.counts == 0] > 0).any():
        raise ValueError("a streamline without points cannot be resampled")
    offsets = np.r_[0, np.cumsum(counts)].astype(np.int64)
    ids = np.repeat(np.arange(bundle.n_streamlines, dtype=np.int64), counts)
    rank = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
    t = bundle.lengths[ids] * rank / np.maximum(counts[ids] - 1, 1)
    points = _positions(bundle, t, ids) if len(t) else np.empty((0, 3))
    return Bundle(points.astype(np.float32), offsets)


def median_step(bundle: Bundle) -> float:
    """Median distance between neighbouring points of a streamline, mm; 0 without any."""
    step = np.diff(bundle.arc)
    inside = np.diff(bundle.streamline_ids) == 0
    return float(np.median(step[inside])) if inside.any() else 0.0


def flip_invariant_mean(lines: NDArray[np.float64], max_iter: int = 20) -> NDArray[np.float64]:
    """Mean curve of streamlines whose direction is arbitrary, (n, 3).

    The fixed point of: turn every streamline the way that is closer to the mean (MDF distance), take the mean. It is
    the centroid of the one cluster that QuickBundles makes at an unbounded threshold, without its dependence on the
    order of the streamlines.

    Parameters
    ----------
    lines : (S, n, 3) float, mm
        Streamlines with equal numbers of points.

    """
    length = np.linalg.norm(np.diff(lines, axis=1), axis=2).sum(axis=1)
    mean = lines[np.argsort(length, kind="stable")[len(length) // 2]]
    turned = np.zeros(len(lines), dtype=bool)
    for _ in range(max_iter):
        forward = np.linalg.norm(lines - mean, axis=2).mean(axis=1)
        backward = np.linalg.norm(lines[:, ::-1] - mean, axis=2).mean(axis=1)
        before, turned = turned, backward < forward
        mean = np.where(turned[:, None, None], lines[:, ::-1], lines).mean(axis=0)
        if np.array_equal(before, turned):
            break
    return np.asarray(mean)


def arc_length(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """Arc length of each point of one curve, (n,) mm."""
    return np.asarray(np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])


def resample_curve(curve: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """One curve at n points evenly spaced by arc length; its middle for n = 1."""
    arc = arc_length(curve)
    t = np.linspace(0.0, arc[-1], n) if n > 1 else np.array([arc[-1] / 2])
    return np.stack([np.interp(t, arc, curve[:, k]) for k in range(3)], axis=1)


def orient(curve: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[str, str]]:
    """Turn a curve so that its largest end-to-end component is positive in RAS+; the letters of its two ends."""
    chord = curve[-1] - curve[0]
    axis = int(np.argmax(np.abs(chord)))
    return (curve if chord[axis] >= 0 else curve[::-1]), AXIS_LETTERS[axis]


def _extend(curve: NDArray[np.float64], step: float, robust: str) -> NDArray[np.float64]:
    """Curve prolonged at both ends by 30 % of its length in steps of `step` mm."""
    arc = arc_length(curve)
    distance = np.arange(1, max(1, round(_EXTENSION * arc[-1] / step)) + 1) * step
    if robust == "spline":
        from scipy.interpolate import CubicSpline

        # Few knots: an interpolating cubic through 100 points extrapolates the noise of the last three.
        knots = resample_curve(curve, 10)
        spline = CubicSpline(np.linspace(0.0, arc[-1], 10), knots, bc_type="natural")
        return np.asarray(np.concatenate([spline(-distance[::-1]), curve, spline(arc[-1] + distance)]))
    reach = max(1, len(curve) // 20)
    low, high = curve[0] - curve[reach], curve[-1] - curve[-1 - reach]
    low, high = low / np.linalg.norm(low), high / np.linalg.norm(high)
    return np.concatenate([curve[0] + distance[::-1, None] * low, curve, curve[-1] + distance[:, None] * high])


def _between(curve: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Part of a curve between two fractional indices."""
    inner = np.arange(np.floor(low) + 1, np.ceil(high))
    at = np.r_[low, inner, high]
    return np.stack([np.interp(at, np.arange(len(curve)), curve[:, k]) for k in range(3)], axis=1)


def fit_ends(curve: NDArray[np.float64], bundle: Bundle, step: float, robust: str) -> NDArray[np.float64] | None:
    """Curve whose ends reach to where the atlas streamlines end; None where that is degenerate.

    The curve is prolonged along its end tangents (`linear`) or by a cubic spline (`spline`); each streamline's first
    and last point take the index of the nearest point of the prolonged curve; what lies between percentile 2 of the
    smaller and percentile 98 of the larger index is kept.
    """
    from scipy.spatial import cKDTree

    chord = np.linalg.norm(np.diff(curve, axis=0), axis=1)
    if chord.min() <= 0:
        return None
    longer = _extend(curve, step, robust)
    tree = cKDTree(longer)
    first = tree.query(bundle.points[bundle.offsets[:-1]])[1]
    last = tree.query(bundle.points[bundle.offsets[1:] - 1])[1]
    low = float(np.percentile(np.minimum(first, last), _PERCENTILES[0]))
    high = float(np.percentile(np.maximum(first, last), _PERCENTILES[1]))
    if high - low < 1:
        return None
    return _between(longer, low, high)


def centroid(bundle: Bundle) -> NDArray[np.float64]:
    """Flip-invariant mean curve of a bundle at 100 points, (100, 3) mm."""
    return flip_invariant_mean(resample_evenly(bundle, _N_CENTROID))
