"""ComBat in a group run: what it is given, and what it took away, as the fits' sidecars say (key `Harmonization`)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectra_bids.dataset.names import Dims
from spectra_bids.group.model import GroupModel
from spectra_bids.models.harmonize import Harmonized, combat
from spectra_bids.settings import FitSettings

F = NDArray[np.float64]
#: Rows per batch below which a reader is warned that the tests take too little account of what ComBat estimated.
FEW = 20
#: Keys of a row, and the columns of the report's table that they become.
KEYS = {
    "Scalar": "scalar",
    "Batch": "batch",
    "N": "n",
    "MedianShift": "shift",
    "MedianShiftSD": "shift_sd",
    "MedianScale": "scale",
    "Cells": "cells",
    "CellsLeftOut": "left_out",
}


def harmonize(fitting: FitSettings, model: GroupModel, values: F) -> Harmonized | None:
    """Values (n, C) of a bundle and scalar without batch effects; None unless --harmonize asks for it."""
    if fitting.harmonize is None:
        return None
    chosen = model.batches(fitting.harmonize)
    return combat(values, chosen.batch, chosen.covariates, chosen.reference, chosen.names)


def harmonized(fitting: FitSettings, model: GroupModel, values: F) -> F:
    """Values as they are fitted: without batch effects, where --harmonize asks for it."""
    found = harmonize(fitting, model, values)
    return values if found is None else found.values


def removed(scalar: str, found: Harmonized) -> list[dict[str, object]]:
    """What was taken from every batch of a bundle and scalar: medians over cells of |shift| and of the scale.

    Shifts are given in the scalar's units and in standard deviations of the cell's harmonised values.
    """
    done = np.flatnonzero(np.isfinite(found.values).any(axis=0) & ~found.left_out)
    spread = np.nanstd(found.values[:, done], axis=0)
    rows: list[dict[str, object]] = []
    for b, batch in enumerate(found.batches):
        shift, scale = np.abs(found.shift[b, done]), found.scale[b, done]
        medians = (_median(shift), _median(shift / spread), _median(scale))
        cells = (len(done), int(found.left_out.sum()))
        rows.append(dict(zip(KEYS, (scalar, batch, int(found.n[b]), *medians, *cells), strict=True)))
    return rows


def _median(values: F) -> float | None:
    return float(f"{np.median(values):.6g}") if len(values) else None


def read_removed(paths: Mapping[Dims, list[Path]]) -> pd.DataFrame | None:
    """Rows of all bundles, from the sidecars of their fits (`paths` by kind of profile); None without ComBat.

    Columns kind, bundle, and the values of `KEYS`.
    """
    rows = [row for kind, of in paths.items() for row in _read(kind, of)]
    return pd.DataFrame(rows) if rows else None


def _read(kind: str, paths: Iterable[Path]) -> Iterable[dict[str, object]]:
    for path in paths:
        facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        for row in facts.get("Harmonization", ()):
            yield {"kind": kind, "bundle": facts["Bundle"], **{name: row[key] for key, name in KEYS.items()}}


def notes_on_batches(fitting: FitSettings, model: GroupModel) -> tuple[str, ...]:
    """What a reader should know of ComBat beside this formula."""
    chosen, formula = fitting.harmonize, model.design.formula
    if chosen is None:
        return ()
    notes = []
    n, levels = model.design.n, model.table[chosen.batch].nunique()
    if n < FEW * levels:
        notes.append(
            f"ComBat estimated the means and spreads of {levels} levels of {chosen.batch} from {n} rows: the tests do "
            f"not know of that and, with fewer than {FEW} rows per level, may find far too much. --calibrate shows how "
            f"much, on these data; (1|{chosen.batch}) without --harmonize does not have the problem."
        )
    groups = {name for part in model.design.random for name in part.group.split(":")}
    tested = [name for name in formula.columns if name not in (*groups, chosen.batch, "participant_id")]
    if chosen.batch in groups:
        notes.append(
            f"{chosen.batch} is both the batch that ComBat removed and a random effect of the model: the random effect "
            "is estimated from what ComBat left, most often 0. One of the two is enough; with the random effect alone, "
            "the tests know that the differences between batches were estimated."
        )
    elif chosen.batch in formula.columns:
        notes.append(f"{chosen.batch} is both the batch that ComBat removed and a term of the model. One is enough.")
    lost = [name for name in tested if name not in chosen.covariates]
    if lost:
        notes.append(
            f"ComBat did not keep the effects of {', '.join(lost)}: where these differ between levels of "
            f"{chosen.batch}, a part of their effects was removed with the batch. "
            f"--harmonize-covariates {' '.join(tested)} keeps them."
        )
    return tuple(notes)
