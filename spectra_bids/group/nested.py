"""The likelihood-ratio test of --null-formula as one more tested hypothesis of every cell, called `lrt`."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectra_bids.group.model import GroupModel
from spectra_bids.models.lmm import fit_lmm
from spectra_bids.models.lrt import likelihood_ratio
from spectra_bids.models.nesting import require_nested
from spectra_bids.models.results import Estimation
from spectra_bids.settings import FitSettings

F = NDArray[np.float64]
#: Name of the hypothesis in the tables' column `contrast`.
NAME = "lrt"


def ratio_rows(fitting: FitSettings, model: GroupModel, values: F, fits: pd.DataFrame) -> pd.DataFrame:
    """Rows of the fits table for the test; none without a nested model.

    Parameters
    ----------
    fitting : FitSettings
    model : GroupModel
    values : (n, C) float
        As they were fitted.
    fits : DataFrame
        Rows of the model's first contrast, cell by cell: counts, standard deviations and statuses are its.

    """
    if model.null is None:
        return fits.iloc[:0]
    estimation: Estimation = "ml" if require_nested(model.null, model.design) else fitting.estimation
    smaller, larger = (
        fit_lmm(
            values,
            design.X,
            contrasts=[np.eye(design.p)[0]],
            random=design.random,
            estimation=estimation,
            weights=model.row_values(fitting.weights),
            offset=model.row_values(fitting.offset),
            subjects=design.subjects,
            min_subjects=1,
        )
        for design in (model.null, model.design)
    )
    found = likelihood_ratio(smaller, larger)
    tested = fits["fit_status"].isin(["ok", "singular"]).to_numpy() & np.isfinite(found.p)
    untested = dict.fromkeys(("estimate", "se", "df", "ci_low", "ci_high", "estimate_std", "effect_size"), np.nan)
    return fits.assign(
        contrast=NAME,
        statistic="chi2",
        df_num=np.where(tested, float(found.df), np.nan),
        value=np.where(tested, found.chi2, np.nan),
        p=np.where(tested, found.p, np.nan),
        effect_type="none",
        **untested,
    )
