"""Predicted random effects (BLUPs, conditional modes) of fitted cells, on demand.

With U = Z Λ and W the prior weights, b = Λ u, u = (I + U'WU)⁻¹ U'W(y - Xβ); `residuals` takes Zb out of the values.
"""

from __future__ import annotations

import numpy as np

from spectra_bids.models.random import F, I, RandomPart
from spectra_bids.models.results import LmmFit


def random_effects(
    fit: LmmFit, values: F, X: F, cells: I | None = None, *, weights: F | None = None, offset: F | None = None
) -> tuple[F, ...]:
    """Predicted effects b of every level, (C, G, q) per random part; levels in the order of their codes.

    Parameters
    ----------
    fit : LmmFit
    values, X, weights, offset
        As given to `fit_lmm`; values (n, all cells).
    cells : int array, optional
        Which cells; default all. A cell takes one dense solve of the size of its random effects, some ms.

    Returns
    -------
    tuple of arrays
        NaN for cells without a fit; 0 for levels without rows.

    """
    index = np.arange(values.shape[1]) if cells is None else np.asarray(cells)
    root = np.ones(len(X)) if weights is None else np.sqrt(weights)
    e = values[:, index] - X @ fit.coefficients[index].T - (0.0 if offset is None else np.asarray(offset)[:, None])
    z = [_by_level(part) for part in fit.random]
    sizes = np.cumsum([0, *(part.shape[1] for part in z)])
    found = np.full((len(index), sizes[-1]), np.nan)
    for i, cell in enumerate(index):
        seen = np.isfinite(e[:, i])
        if not np.isfinite(fit.sd_residual[cell]):
            continue
        roots = [
            np.kron(_root(covariance[cell]) / fit.sd_residual[cell], np.eye(part.shape[1] // covariance.shape[1]))
            for covariance, part in zip(fit.covariances, z, strict=True)
        ]
        u = np.hstack([part[seen] @ one for part, one in zip(z, roots, strict=True)]) * root[seen, None]
        b = np.linalg.solve(u.T @ u + np.eye(u.shape[1]), u.T @ (e[seen, i] * root[seen]))
        found[i] = np.concatenate([one @ b[a:z] for one, a, z in zip(roots, sizes[:-1], sizes[1:], strict=True)])
    split = np.split(found, sizes[1:-1], axis=1)
    return tuple(
        np.swapaxes(one.reshape(len(index), part.columns.shape[1], -1), 1, 2)
        for one, part in zip(split, fit.random, strict=True)
    )


def _by_level(part: RandomPart) -> F:
    """Z, column by column and within it level by level, (n, q G)."""
    levels = np.unique(part.codes, return_inverse=True)[1]
    out = np.zeros((len(levels), part.columns.shape[1], int(levels.max()) + 1))
    out[np.arange(len(levels)), :, levels] = part.columns
    return out.reshape(len(levels), -1)


def _root(covariance: F) -> F:
    """A square root of a covariance that may be singular."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))
