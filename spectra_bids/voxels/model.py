"""The model of a voxel-wise analysis: centred covariates, design, contrasts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from spectra_bids.errors import DesignError, UsageError, listed
from spectra_bids.models.contrasts import Contrast, read_contrasts, require_unique, term_contrasts
from spectra_bids.models.design import Design, build_design
from spectra_bids.models.fits import require_batched
from spectra_bids.models.formula import ModelFormula, parse_formula
from spectra_bids.models.frame import require_columns, where_missing
from spectra_bids.voxels.inputs import Inputs
from spectra_bids.voxels.settings import VoxelSettings, contrast_labels


@dataclass(frozen=True, eq=False)
class VoxelModel:
    """Design and contrasts of an analysis.

    Parameters
    ----------
    design : Design
    contrasts : tuple of K Contrast
    labels : tuple of K str
        Their names in file names.
    directed : tuple of K bool
        Whether only the positive side of a contrast is shown: a T with a name claims a direction, an F has none.
    centred : mapping of column to the mean that was taken off
    table : DataFrame
        Covariates of all inputs, centred.

    """

    design: Design
    contrasts: tuple[Contrast, ...]
    labels: tuple[str, ...]
    directed: tuple[bool, ...]
    centred: Mapping[str, float]
    table: pd.DataFrame


def make_model(settings: VoxelSettings, inputs: Inputs) -> VoxelModel:
    """The model for the inputs' covariates.

    Raises
    ------
    UsageError
        If there is no formula: the message lists the columns.
    DesignError, MissingInputError
        Whatever is wrong with the table, the formula or a contrast.

    """
    if not settings.formula:
        columns = list(map(str, inputs.table.columns[1:]))
        raise UsageError(
            f"--formula is needed. {settings.design} has the columns {listed(columns)}",
            f"Example: --formula 'value ~ {' + '.join(columns[:3]) or '1'}'",
        )
    formula = parse_formula(settings.formula)
    if formula.response != "value":
        raise DesignError(f"the left side of --formula must be 'value', the images' value. Got {formula.response!r}")
    table, centred = _centred(settings, formula, inputs.table)
    design = build_design(formula, table)
    require_batched(design)
    read = [contrast for text in settings.contrasts for contrast in read_contrasts(text, design)]
    contrasts = tuple(read) or term_contrasts(design)
    if not contrasts:
        raise DesignError(
            f"'{formula.text}' has no term but the intercept", "Say what is tested: --contrasts 'mean: Intercept=1'"
        )
    require_unique(contrasts)
    directed = tuple(c.type == "T" and (c.kind == "named" or settings.tails == "one") for c in contrasts)
    return VoxelModel(design, contrasts, contrast_labels([c.name for c in contrasts]), directed, centred, table)


def _centred(
    settings: VoxelSettings, formula: ModelFormula, table: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, float]]:
    """The table with covariates less their means over the rows that are complete, and these means."""
    require_columns(formula, table, formula.all_columns)
    grouping = {name for term in formula.random for name in term.columns}
    numeric = [
        name
        for name in formula.all_columns
        if pd.api.types.is_numeric_dtype(table[name].dtype)
        and name not in grouping
        and name not in formula.factor_columns
    ]
    if settings.centre == ("none",):
        return table, {}
    chosen = numeric if settings.centre == ("all",) else list(settings.centre)
    wrong = [name for name in chosen if name not in numeric]
    if wrong:
        raise UsageError(
            f"--centre takes all, none, or numeric covariates of the formula: {listed(numeric) or 'it has none'}. "
            f"Got {listed(wrong)}"
        )
    if not chosen:
        return table, {}
    complete = ~np.any([where_missing(table[name]) for name in formula.all_columns], axis=0)
    means = {name: float(table[name].to_numpy(np.float64)[complete].mean()) for name in chosen}
    out = table.copy()
    for name, mean in means.items():
        out[name] = table[name] - mean
    return out, means
