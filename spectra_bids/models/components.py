"""Variance components per cell: standard deviations and correlations of the random effects, residual SD, ICC.

The intraclass correlation of a grouping factor is its share of the variance, averaged over rows where effects other
than the intercept vary: ICC_k = mean_i(z_i'Σ_k z_i) / (Σ_j mean_i(z_i'Σ_j z_i) + σ²) (Johnson 2014).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spectra_bids.models.random import F
from spectra_bids.models.results import LmmFit

if TYPE_CHECKING:
    import pandas as pd

RESIDUAL = "Residual"


def mean_variances(fit: LmmFit) -> dict[str, F]:
    """Mean over rows of the variance that each grouping factor adds, (C,), by name."""
    out: dict[str, F] = {}
    for part, covariance in zip(fit.random, fit.covariances, strict=True):
        square = part.columns.T @ part.columns / len(part.codes)
        out[part.group] = out.get(part.group, 0.0) + np.einsum("cij,ij->c", covariance, square)
    return out


def intraclass_correlations(fit: LmmFit) -> dict[str, F]:
    """ICC of each grouping factor, (C,), by name."""
    variances = mean_variances(fit)
    total = np.asarray(sum(variances.values(), fit.sd_residual**2))
    with np.errstate(invalid="ignore", divide="ignore"):
        return {name: np.asarray(variance / total) for name, variance in variances.items()}


def components(fit: LmmFit) -> pd.DataFrame:
    """Variance components of all cells, as a long table.

    Returns
    -------
    DataFrame
        Columns `cell` (0..C-1), `group` (grouping factor, or Residual), `term` (column of the random part; two joined
        by ':' for a correlation; empty for an ICC), `kind` (sd, cor, icc), `value`. Cells without a fit hold NaN; a
        correlation with an effect of variance 0 is NaN.

    """
    import pandas as pd

    columns: list[tuple[str, str, str, F]] = []
    for part, covariance in zip(fit.random, fit.covariances, strict=True):
        sd = np.sqrt(np.maximum(np.einsum("cii->ci", covariance), 0.0))
        columns += [(part.group, name, "sd", sd[:, i]) for i, name in enumerate(part.names)]
        for j in range(len(part.names)):
            for i in range(j + 1, len(part.names)):
                with np.errstate(invalid="ignore", divide="ignore"):
                    value = np.clip(covariance[:, i, j] / (sd[:, i] * sd[:, j]), -1.0, 1.0)
                columns.append((part.group, f"{part.names[j]}:{part.names[i]}", "cor", value))
    columns.append((RESIDUAL, "", "sd", fit.sd_residual))
    columns += [(name, "", "icc", value) for name, value in intraclass_correlations(fit).items()]
    cells = np.arange(len(fit.n))
    tables = [
        pd.DataFrame({"cell": cells, "group": group, "term": term, "kind": kind, "value": value})
        for group, term, kind, value in columns
    ]
    return pd.concat(tables, ignore_index=True)
