"""Are a cell's residuals normal? Skewness, excess kurtosis and their joint test (Jarque & Bera 1980) for many cells.

    JB = n/6 (S² + K²/4) ~ χ²(2),   S, K the residuals' skewness and excess kurtosis

Mixed models bear mild departures well; a cell with one absurd value stands out here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc

F = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Normality:
    """Skewness, excess kurtosis and p of the joint test, (C,) each; NaN with fewer than 8 residuals or no spread."""

    skewness: F
    kurtosis: F
    p: F


def normality(residuals: F) -> Normality:
    """Normality of the residuals (n, C) of each cell; NaN = missing.

    Examples
    --------
    >>> import numpy as np
    >>> e = np.random.default_rng(0).normal(size=(200, 1))
    >>> bool(normality(e).p[0] > 0.05), bool(normality(e**3).p[0] < 1e-6)
    (True, True)

    """
    seen = np.isfinite(residuals)
    n = seen.sum(axis=0).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        centred = np.where(seen, residuals - np.where(seen, residuals, 0.0).sum(axis=0) / n, 0.0)
        m2, m3, m4 = ((centred**k).sum(axis=0) / n for k in (2, 3, 4))
        bad = (n < 8) | (m2 <= 0)
        skewness = np.where(bad, np.nan, m3 / m2**1.5)
        kurtosis = np.where(bad, np.nan, m4 / m2**2 - 3)
    return Normality(skewness, kurtosis, np.asarray(chdtrc(2, n / 6 * (skewness**2 + kurtosis**2 / 4))))
