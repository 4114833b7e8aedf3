"""The signed radial axis: one direction per node, the dominant axis of the atlas cross-section there.

A bundle is a ribbon; the axis runs across it. Smoothing per-node eigenvectors flips signs and turning axes break the
neighbourhood of cells, so the second-moment tensors are smoothed and the angles chosen by dynamic programming.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

_DEGREES = 2  # resolution of the angle grid
_TURN = 30  # largest turn of the axis between neighbouring nodes, degrees


def tangents(nodes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit tangents of a polyline of two nodes or more, (ns, 3)."""
    t = np.gradient(nodes, axis=0)
    return np.asarray(t / np.maximum(np.linalg.norm(t, axis=1, keepdims=True), 1e-12))


def rotation_minimising_frame(
    nodes: NDArray[np.float64], chord: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Normals and binormals that do not twist about the curve, (ns, 3) each; `chord` is the tangent of a single node.

    Double reflection, Wang, Jüttler, Zheng & Liu 2008, table I.
    """
    if len(nodes) > 1:
        t = tangents(nodes)
    else:
        direction = np.zeros(3) if chord is None else chord
        size = np.linalg.norm(direction)
        t = direction[None, :] / size if size > 0 else np.array([[0.0, 0.0, 1.0]])
    normal = np.empty_like(t)
    seed = np.eye(3)[np.argmin(np.abs(t[0]))]
    normal[0] = seed - (seed @ t[0]) * t[0]
    normal[0] /= np.linalg.norm(normal[0])
    for i in range(len(nodes) - 1):  # ns is some tens
        v1 = nodes[i + 1] - nodes[i]
        c1 = max(v1 @ v1, 1e-12)
        r_left = normal[i] - (2 / c1) * (v1 @ normal[i]) * v1
        t_left = t[i] - (2 / c1) * (v1 @ t[i]) * v1
        v2 = t[i + 1] - t_left
        c2 = v2 @ v2
        r_next = r_left - (2 / c2) * (v2 @ r_left) * v2 if c2 > 1e-12 else r_left
        r_next = r_next - (r_next @ t[i + 1]) * t[i + 1]
        normal[i + 1] = r_next / np.linalg.norm(r_next)
    return normal, np.cross(t, normal)


def _moments(a: NDArray[np.float64], b: NDArray[np.float64], s: NDArray[np.int64], ns: int) -> NDArray[np.float64]:
    """Summed second moments (aa, ab, bb) per node, smoothed along s (Gaussian, sigma 1 node), (ns, 3)."""
    raw = np.stack([np.bincount(s, x, ns) for x in (a * a, a * b, b * b)], axis=1)
    return np.asarray(gaussian_filter1d(raw, 1.0, axis=0, mode="nearest"))


def best_angles(explained: NDArray[np.float64], max_shift: int) -> NDArray[np.int64]:
    """Path of angle indices that maximises the summed variance, turning at most `max_shift` steps per node.

    Parameters
    ----------
    explained : (ns, n_angles) float
        Variance explained by each angle at each node; angles are axial, so the grid is cyclic.

    Returns
    -------
    (ns,) int

    """
    ns, n = explained.shape
    total = explained[0]
    shifts = np.arange(-max_shift, max_shift + 1)
    back = np.zeros((ns, n), dtype=np.int64)
    source = (np.arange(n)[None, :] + shifts[:, None]) % n
    for i in range(1, ns):
        candidates = total[source]
        choice = np.argmax(candidates, axis=0)
        back[i] = source[choice, np.arange(n)]
        total = candidates[choice, np.arange(n)] + explained[i]
    path = np.zeros(ns, dtype=np.int64)
    path[-1] = int(np.argmax(total))
    for i in range(ns - 1, 0, -1):
        path[i - 1] = back[i, path[i]]
    return path


def radial_axes(
    nodes: NDArray[np.float64],
    points: NDArray[np.float64],
    s: NDArray[np.int64],
    chord: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Radial axis and anisotropy of every node.

    Parameters
    ----------
    nodes : (ns, 3) mm
    points : (P, 3) mm
        Atlas points.
    s : (P,) int
        Their nodes.
    chord : (3,), optional
        Direction of the bundle from end to end, for a grid of one node.

    Returns
    -------
    axes : (ns, 3)
        Unit vectors; one global sign, such that the component with the largest mean magnitude is positive on average.
    anisotropy : (ns,)
        λ1 / (λ1 + λ2) of the smoothed cross-section; 0.5 where there is none.

    """
    ns = len(nodes)
    normal, binormal = rotation_minimising_frame(nodes, chord)
    offset = points - nodes[s]
    a, b = (np.einsum("ij,ij->i", offset, frame[s]) for frame in (normal, binormal))
    aa, ab, bb = _moments(a, b, s, ns).T
    # The frame's own zero follows the coordinate axes. Counting from the dominant direction of the whole bundle instead
    # makes the grid of angles, and with it every cell, move with the bundle under rotation and reversal.
    dominant = 0.5 * np.arctan2(2 * ab.sum(), (aa - bb).sum())
    angle = dominant + np.deg2rad(np.arange(0, 180, _DEGREES))
    cos, sin = np.cos(angle), np.sin(angle)
    explained = aa[:, None] * cos**2 + 2 * ab[:, None] * cos * sin + bb[:, None] * sin**2
    path = best_angles(explained, _TURN // _DEGREES)
    # unwrap the axial angles so that the sign of the axis runs on without a jump
    phi = np.unwrap(angle[path], period=np.pi)
    axes = np.cos(phi)[:, None] * normal + np.sin(phi)[:, None] * binormal
    k = int(np.argmax(np.abs(axes).mean(axis=0)))
    if axes[:, k].mean() < 0:
        axes = -axes
    half_gap = np.sqrt(((aa - bb) / 2) ** 2 + ab**2)
    trace = aa + bb
    anisotropy = np.where(trace > 0, 0.5 + half_gap / np.maximum(trace, 1e-300), 0.5)
    return axes, anisotropy
