"""Realised error rates of a whole procedure on the user's own data, the tested label shuffled: all nulls are true.

Every rejection is then false. Over N shuffles, with their Monte-Carlo standard errors:

    any_block   share of shuffles with a selected block. As all blocks are null this is the block FDR as well
    any_cell    share of shuffles with a rejected cell
    cell        mean over shuffles of the average over selected blocks of the block's cell FDP (0 if none is selected)
    p           share of cells with p <= .05, before any correction: is p itself right?
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spectra_bids.inference.fdr import Decisions, F, group


@dataclass(frozen=True)
class Rate:
    """A realised error rate and its Monte-Carlo standard error."""

    value: float
    se: float


@dataclass(frozen=True)
class ErrorRates:
    """Realised error rates over `n` shuffles, as in the module's table; `cell` has one rate per cell level."""

    n: int
    any_block: Rate
    any_cell: tuple[Rate, ...]
    cell: tuple[Rate, ...]
    p: Rate


def error_rates(
    shuffles: Iterable[F], blocks: NDArray[np.generic], decide: Callable[[F, NDArray[np.generic]], Decisions]
) -> ErrorRates:
    """Rerun a procedure on the p values of every shuffle.

    Parameters
    ----------
    shuffles : iterable of N arrays (C,) float
        p values of the family's cells under one shuffled design each, NaN = not tested.
    blocks : (C,)
        Block of each cell.
    decide : callable
        The procedure: (p, blocks) -> Decisions, as `hierarchical_fdr` or `fdr` with everything else bound.

    Returns
    -------
    ErrorRates

    Raises
    ------
    ValueError
        Without a shuffle.

    """
    members = group(blocks)[2]
    rows = []
    for p in shuffles:
        found = decide(p, blocks)
        hit = np.array([found.rejected[:, cells].any(axis=1) for cells in members])  # (B, J)
        chosen = int(found.selected.sum())
        tested = np.isfinite(p)
        rows.append(
            [
                float(chosen > 0),
                float((p[tested] <= 0.05).mean()) if tested.any() else 0.0,
                *found.rejected.any(axis=1).astype(float),
                *(hit[found.selected].sum(axis=0) / max(1, chosen)),
            ]
        )
    if not rows:
        raise ValueError("calibration needs at least one shuffle")
    table = np.array(rows)
    levels = (table.shape[1] - 2) // 2
    rates = [_rate(column) for column in table.T]
    return ErrorRates(len(rows), rates[0], tuple(rates[2 : 2 + levels]), tuple(rates[2 + levels :]), rates[1])


def _rate(values: F) -> Rate:
    n = len(values)
    return Rate(float(values.mean()), float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan"))
