"""Time pyblmm 0.1.1's array functions on the standard task.   OMP_NUM_THREADS=1 python engine_pyblmm.py N_CELLS BATCH

REML estimates, t, its own Satterthwaite df (expected information: not lmerTest's), p. One BLAS thread and batches of
1000 are its best settings here. Complete data only.
"""

import sys

import numpy as np
from task import FIXED, SITES, N, report, rows, timed, values

np.inf = np.inf  # its code was written for numpy < 2

from blmm.src.est3d import pSFS3D  # noqa: E402
from blmm.src.npMatrix3d import T2P3D, get_DinvIplusZtZD3D, get_swdf_T3D, get_T3D, vech2mat3D  # noqa: E402

n_cells, batch = int(sys.argv[1]), int(sys.argv[2])
x, site = rows()
y = values(n_cells)
levels, effects = np.array([SITES]), np.array([1])
z = np.zeros((N, SITES))
z[np.arange(N), site] = 1
xtx, ztx, ztz = (x.T @ x)[None], (z.T @ x)[None], np.bincount(site, minlength=SITES).astype(float)[None]


def fit(part):
    """Estimates, t, df and p of a batch."""
    v = part.shape[1]
    xty, zty = (x.T @ part).T[:, :, None], (z.T @ part).T[:, :, None]
    yty = (part**2).sum(0)[:, None, None]
    xtz, ytx, ytz = ztx.transpose(0, 2, 1), xty.transpose(0, 2, 1), zty.transpose(0, 2, 1)
    found = pSFS3D(xtx, xty, ztx, zty, ztz, xtz, ytz, yty, ytx, levels, effects, 1e-6, N, reml=True, maxnit=10000)
    beta, sigma2 = found[:, :FIXED], found[:, FIXED].reshape(-1)
    inverse = get_DinvIplusZtZD3D({0: vech2mat3D(found[:, FIXED + 1 :])}, None, ztz, levels, effects)
    scaled = np.einsum("ij,ijk->ijk", inverse, ztx)
    zvx, xvx = ztx - np.einsum("ij,ijk->ijk", ztz, scaled), xtx - scaled.transpose(0, 2, 1) @ ztx
    out = []
    for row in np.eye(FIXED):
        row = row[None]
        df = get_swdf_T3D(row, sigma2, xvx, zvx, xtz, ztx, ztz, inverse, N, levels, effects).reshape(v)
        t = get_T3D(row, xvx, beta, sigma2, effects).reshape(v)
        out.append((t, df, T2P3D(t, df, -323.0)))
    return out


def fit_all():
    """All cells, batch by batch."""
    for first in range(0, n_cells, batch):
        fit(y[:, first : first + batch])


report(cells=n_cells, **timed(fit_all, 1), fitted=n_cells, data_mb=y.nbytes / 1e6)
