"""Time pyblmm 0.1.1's array functions on the tasks of random_parts.py.   python random_parts_pyblmm.py CASE ROWS Y N

CASE is crossed or slope, ROWS and Y are .npy files: fixed effects, then subject and site codes; values (n, cells).
REML estimates alone, without tests. Complete data only. One BLAS thread; all N cells are one batch.
"""

import sys

import numpy as np
from task import report, timed

np.inf = np.inf  # its code was written for numpy < 2

from blmm.src.est3d import pSFS3D  # noqa: E402
from blmm.src.npMatrix3d import flattenZtZ  # noqa: E402

case, n_cells = sys.argv[1], int(sys.argv[4])
table, y = np.load(sys.argv[2]), np.load(sys.argv[3])[:, :n_cells]
x, codes = table[:, :-2], table[:, -2:].astype(int)
n = len(x)


def indicators(code):
    """One column per level, (n, levels)."""
    return (code[:, None] == np.arange(code.max() + 1)).astype(float)


subject, site = indicators(codes[:, 0]), indicators(codes[:, 1])
if case == "crossed":
    z, levels, effects = np.hstack([subject, site]), np.array([subject.shape[1], site.shape[1]]), np.array([1, 1])
else:
    both = np.stack([subject, subject * x[:, [1]]], axis=2)  # intercept and slope of a subject side by side
    z, levels, effects = both.reshape(n, -1), np.array([subject.shape[1]]), np.array([2])
xtx, ztx, ztz = (x.T @ x)[None], (z.T @ x)[None], (z.T @ z)[None]
if case == "slope":
    ztz = flattenZtZ(ztz, levels[0], effects[0])


def fit():
    """Estimates of all cells: β, σ², vech(D / σ²)."""
    xty, zty = (x.T @ y).T[:, :, None], (z.T @ y).T[:, :, None]
    yty = (y**2).sum(0)[:, None, None]
    xtz, ytx, ytz = ztx.transpose(0, 2, 1), xty.transpose(0, 2, 1), zty.transpose(0, 2, 1)
    pSFS3D(xtx, xty, ztx, zty, ztz, xtz, ytz, yty, ytx, levels, effects, 1e-6, n, reml=True, maxnit=10000)


report(cells=n_cells, **timed(fit, 1))
