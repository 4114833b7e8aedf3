"""A study atlas from bundles that share a space: `spectra-bids atlas build DERIVATIVES OUT`.

    OUT/<Bundle>.trk      up to --streamlines streamlines, evenly from every subject
    OUT/atlas.json        Name, Space, License, Description, Sources, Bundles (subjects, streamlines, dropped)

Spurious streamlines are dropped before drawing: those whose flip-invariant distance (MDF, mean distance of
corresponding points, 20 per streamline) to the pooled bundle's mean curve exceeds median + 4 x 1.4826 MAD of these
distances. One rule finds both stray and broken-off streamlines, and it does not depend on a length in mm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Bundle, Volume
from spectra_bids.dataset.outputs import write_json
from spectra_bids.geometry.centroid import flip_invariant_mean, resample_evenly
from spectra_bids.io.tractograms import write_bundle

_POINTS_PER_STREAMLINE = 20
_MADS = 4.0


def write_atlas(out: Path, bundles: Mapping[str, Bundle], about: Mapping[str, Any]) -> None:
    """Write an atlas directory: one .trk per bundle, and atlas.json with Name, Space, License and more in `about`."""
    out.mkdir(parents=True, exist_ok=True)
    frame = _frame(list(bundles.values()))
    for name, bundle in bundles.items():
        write_bundle(out / f"{name}.trk", bundle, frame)
    write_json(out / "atlas.json", dict(about))


def pool(bundles: Sequence[Bundle], n: int, rng: np.random.Generator) -> tuple[Bundle, int]:
    """At most `n` streamlines of several subjects' bundles, evenly from each, and how many were spurious.

    Parameters
    ----------
    bundles : sequence of Bundle
        The same bundle of each subject, one space.
    n : int
        Streamlines wanted.
    rng : Generator
        Draws the streamlines.

    """
    # A subject need not give more than n even if it were alone; this bounds memory in a large study.
    candidates = [_draw(bundle, n, rng) for bundle in bundles]
    together = concatenate(candidates)
    owner = np.repeat(np.arange(len(candidates)), [b.n_streamlines for b in candidates])
    keep = ~spurious(together)
    quota = shares(np.bincount(owner[keep], minlength=len(candidates)), n)
    chosen = [
        rng.choice(np.flatnonzero(keep & (owner == k)), size=count, replace=False) for k, count in enumerate(quota)
    ]
    return together.take(np.sort(np.concatenate(chosen))), int((~keep).sum())


def spurious(bundle: Bundle) -> NDArray[np.bool_]:
    """Streamlines that do not belong: too far from the mean curve for this bundle, (S,) bool."""
    if bundle.n_streamlines < 3:
        return np.zeros(bundle.n_streamlines, dtype=bool)
    lines = resample_evenly(bundle, _POINTS_PER_STREAMLINE)
    mean = flip_invariant_mean(lines)
    forward = np.linalg.norm(lines - mean, axis=2).mean(axis=1)
    backward = np.linalg.norm(lines[:, ::-1] - mean, axis=2).mean(axis=1)
    distance = np.minimum(forward, backward)
    middle = np.median(distance)
    return np.asarray(distance > middle + _MADS * 1.4826 * np.median(np.abs(distance - middle)))


def shares(available: NDArray[np.integer], n: int) -> NDArray[np.int64]:
    """How many to take of each so that the sum is min(n, all) and the shares are as equal as possible, (K,)."""
    taken = np.zeros(len(available), dtype=np.int64)
    left = min(n, int(np.sum(available)))
    while left:
        open_to = np.flatnonzero(taken < available)
        step = np.zeros_like(taken)
        step[open_to] = left // len(open_to)
        step[open_to[: left % len(open_to)]] += 1
        step = np.minimum(step, available - taken)
        taken += step
        left -= int(step.sum())
    return taken


def concatenate(bundles: Sequence[Bundle]) -> Bundle:
    """Streamlines of several bundles as one bundle."""
    counts = np.concatenate([bundle.counts for bundle in bundles])
    return Bundle(np.concatenate([b.points for b in bundles]), np.r_[0, np.cumsum(counts)].astype(np.int64))


def _draw(bundle: Bundle, n: int, rng: np.random.Generator) -> Bundle:
    filled = np.flatnonzero(bundle.counts > 1)
    return bundle.take(np.sort(rng.choice(filled, size=min(n, len(filled)), replace=False)))


def _frame(bundles: Sequence[Bundle]) -> Volume:
    """1 mm grid around all points, for the header of .trk files; it holds no data."""
    points = np.concatenate([bundle.points for bundle in bundles])
    low, high = np.floor(points.min(axis=0)) - 1, np.ceil(points.max(axis=0)) + 1
    affine = np.eye(4)
    affine[:3, 3] = low
    return Volume(np.broadcast_to(np.float32(0), tuple((high - low + 1).astype(int))), affine)
