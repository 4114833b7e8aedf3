"""Likelihood-ratio tests of nested models, for every cell.

Fixed parts are compared by ML, random parts by REML or ML with the same fixed part (Bates 2015, section 3.4):
χ² = deviance(smaller) - deviance(larger), on as many degrees of freedom as the larger model has further parameters.
Where the smaller model sets variances to 0, it lies on the boundary of the larger: χ² then is not χ²-distributed, p is
too large (up to twofold for one variance; Stram & Lee 1994), and the result says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc

from spectra_bids.models.random import F
from spectra_bids.models.results import LmmFit


@dataclass(frozen=True, eq=False)
class LikelihoodRatio:
    """χ² (C,), its degrees of freedom, p (C,), and whether the smaller model is on the larger one's boundary."""

    chi2: F
    df: int
    p: F
    boundary: bool


def likelihood_ratio(smaller: LmmFit, larger: LmmFit) -> LikelihoodRatio:
    """Test of a model against one that contains it.

    Parameters
    ----------
    smaller, larger : LmmFit
        Fits of the same values. That one contains the other is the caller's word.

    Returns
    -------
    LikelihoodRatio
        p is NaN where either fit failed, or the two have different rows.

    Raises
    ------
    ValueError
        If the fits were estimated differently, or by REML with different fixed parts, or the larger has no more
        parameters.

    """
    if smaller.estimation != larger.estimation:
        raise ValueError(f"both fits must be 'reml' or both 'ml'. Got {smaller.estimation} and {larger.estimation}")
    fixed = larger.coefficients.shape[1] - smaller.coefficients.shape[1]
    if fixed and larger.estimation == "reml":
        raise ValueError("models with different fixed parts are compared by ML: fit both with estimation='ml'")
    variances = larger.theta.shape[1] - smaller.theta.shape[1]
    if fixed < 0 or variances < 0 or fixed + variances == 0:
        raise ValueError(
            f"the larger model must have more parameters. Got {fixed} further coefficients and {variances} variances"
        )
    same = larger.n == smaller.n
    with np.errstate(invalid="ignore"):
        # the larger model contains the smaller: a negative difference is rounding
        chi2 = np.where(same, np.maximum(smaller.deviance - larger.deviance, 0.0), np.nan)
    return LikelihoodRatio(chi2, fixed + variances, np.asarray(chdtrc(fixed + variances, chi2)), variances > 0)
