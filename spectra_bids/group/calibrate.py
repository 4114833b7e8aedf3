"""Null calibration: the tested label shuffled within exchangeability blocks, the whole procedure run again each time.

All hypotheses are then true, on the user's own data with their own correlations and missing values: every selected
block and every rejected cell is false. The rows of the tested columns of X are exchanged, the other columns stay.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectra_bids.columns import CALIBRATION, names
from spectra_bids.errors import DesignError, UsageError
from spectra_bids.group.decide import Evidence, F, Labels, block_labels, correct, correlations_of
from spectra_bids.group.exchange import draw, exchange_blocks, tested_columns
from spectra_bids.group.model import GroupModel
from spectra_bids.inference import Decisions, ErrorRates, error_rates
from spectra_bids.models.contrasts import Contrast
from spectra_bids.settings import DecisionSettings, GroupSettings

#: Fits of all bundles under another model: rows as columns.FITS_1D or FITS_2D, in the order of the main fits.
Refit = Callable[[GroupModel], pd.DataFrame]


def require_calibratable(settings: GroupSettings) -> None:
    """UsageError for modes whose error rate holds by construction, or which --calibrate does not know."""
    decision = settings.decision
    if not settings.calibrate:
        return
    if decision.mode == "perm":
        raise UsageError("--calibrate shuffles labels, as --stats-mode perm does itself", "Leave one of them out")
    if decision.alpha_scalar is not None:
        raise UsageError("--calibrate knows no level over scalars", "Leave out --alpha-scalar or --calibrate")
    if settings.fitting.engine != "batched":
        raise UsageError(
            "--calibrate fits every cell anew in every shuffle, which only the batched engine does in reasonable time",
            "Leave out --engine pymer4 for this run: 'spectra-bids selftest' shows that both give the same p values",
        )


def calibrate(
    settings: GroupSettings, model: GroupModel, fits: pd.DataFrame, refit: Refit, evidence: Evidence
) -> pd.DataFrame:
    """Realised error rates of every family, rows of columns.CALIBRATION.

    Raises
    ------
    DesignError
        If the blocks leave nothing to exchange.

    """
    decision = settings.decision
    rows = []
    for contrast in model.contrasts:
        said = exchange_blocks(decision.permutation, model, contrast)
        drawn = draw(said, model.design.n, settings.calibrate, decision.permutation.random_seed, contrast.name)
        mine = fits[fits["contrast"] == contrast.name]
        p = _shuffled_p(refit, (_shuffled(model, contrast, index) for index in drawn.index))
        for scalar in mine["scalar"].unique():
            here = (mine["scalar"] == scalar).to_numpy()
            family = mine[here].reset_index(drop=True)
            labels = block_labels(family, decision, evidence)
            procedure = partial(_decided, settings=decision, known=correlations_of(family, labels, decision, evidence))
            rates = error_rates(np.where(labels == "", np.nan, p[:, here]), labels, procedure)
            rows.append(_row(str(scalar), contrast.name, said.words, rates, settings))
    return pd.DataFrame(rows, columns=names(CALIBRATION))


def _shuffled_p(refit: Refit, models: Iterable[GroupModel]) -> F:
    """P values of all cells under every model, (shuffles, cells); a shuffle that cannot be fitted is left out."""
    found: list[F] = []
    why: DesignError | None = None
    for model in models:
        try:
            found.append(refit(model)["p"].to_numpy(np.float64))
        except DesignError as error:  # by chance what is tested fell together with other columns or with batches
            why = error
    if why is not None and not found:
        raise why
    return np.stack(found)


def _decided(p: F, labels: Labels, settings: DecisionSettings, known: dict[Hashable, F] | None) -> Decisions:
    return correct(p, labels, settings, known)


def _shuffled(model: GroupModel, contrast: Contrast, index: NDArray[np.integer]) -> GroupModel:
    """The model with the rows of the tested columns exchanged, testing this contrast alone.

    ComBat, where it keeps the tested effect, keeps that of the exchanged rows: it is a part of the procedure.
    """
    design = model.design
    columns = tested_columns(contrast)
    x = design.X.copy()
    x[:, columns] = x[np.ix_(index, columns)]
    touched = [term for term in design.terms if set(term.columns) & set(columns.tolist())]
    tested = {name for term in touched for name in term.factors}
    factors = tuple(replace(f, codes=f.codes[index]) if f.name in tested else f for f in design.factors)
    elsewhere = {name for term in design.terms if term not in touched for name in term.variables}
    joined = model.joined.copy()
    for name in {name for term in touched for name in term.variables} - elsewhere:
        joined[name] = joined[name].iloc[_exchanged_rows(model, index)].set_axis(joined.index)
    return replace(model, design=replace(design, X=x, factors=factors), contrasts=(contrast,), joined=joined, null=None)


def _exchanged_rows(model: GroupModel, index: NDArray[np.integer]) -> NDArray[np.intp]:
    """Row of `joined` that each takes its value from; those that are not in the design keep theirs."""
    rows = np.arange(len(model.joined))
    rows[model.design.rows] = model.design.rows[index]
    return rows


def _row(
    scalar: str, contrast: str, exchanged: str, rates: ErrorRates, settings: GroupSettings
) -> Mapping[str, object]:
    decision = settings.decision
    return {
        "scalar": scalar,
        "contrast": contrast,
        "n_shuffles": rates.n,
        "exchanged": exchanged,
        "rate_p05": rates.p.value,
        "rate_p05_se": rates.p.se,
        "alpha_block": decision.alpha_block if decision.hierarchical else np.nan,
        "rate_any_block": rates.any_block.value,
        "rate_any_block_se": rates.any_block.se,
        "alpha_cell": decision.levels[0],
        "rate_any_cell": rates.any_cell[0].value,
        "rate_any_cell_se": rates.any_cell[0].se,
        "rate_cell": rates.cell[0].value,
        "rate_cell_se": rates.cell[0].se,
    }
