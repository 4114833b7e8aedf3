"""Do the results stand if one site is left out, or if more subjects are asked of a cell? One table.

Sites are the levels of the random factors but the person, of the batches of --harmonize, or of a column `site`. Each is
left out in turn and everything fitted and decided anew; the least number of rows in a cell is swept without new fits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from spectra_bids.columns import SENSITIVITY, names
from spectra_bids.errors import DesignError, UsageError
from spectra_bids.group.calibrate import Refit
from spectra_bids.group.decide import Evidence, decide
from spectra_bids.group.model import GroupModel, subset_model
from spectra_bids.settings import GroupSettings

#: Factors with more levels than this are no sites.
MOST_SITES = 60
_KEYS = ["scalar", "contrast", "bundle", "s"]


def require_decidable(settings: GroupSettings) -> None:
    """UsageError where variants cannot be decided from p values."""
    if settings.sensitivity and settings.decision.mode == "perm":
        raise UsageError("--sensitivity decides anew from p values", "Leave it out of --stats-mode perm")


def sensitivity(
    settings: GroupSettings, model: GroupModel, fits: pd.DataFrame, refit: Refit, evidence: Evidence
) -> pd.DataFrame:
    """Rows of columns.SENSITIVITY: the main analysis, then every variant of every family."""
    main = decide(fits, settings.decision, evidence).stats
    rows = []
    for name, n, variant, note in _variants(settings, model, fits, refit):
        found = None if variant is None else decide(variant, settings.decision, evidence)
        for (scalar, contrast), family in main.groupby(["scalar", "contrast"], sort=False):
            row = {"scalar": scalar, "contrast": contrast, "variant": name, "n": n, "note": note or None}
            if found is not None:
                mine = [t[(t["scalar"] == scalar) & (t["contrast"] == contrast)] for t in (found.stats, found.summary)]
                row |= _compared(family, *mine)
            rows.append(row)
    return pd.DataFrame(rows, columns=names(SENSITIVITY))


def _variants(
    settings: GroupSettings, model: GroupModel, fits: pd.DataFrame, refit: Refit
) -> Iterator[tuple[str, int, pd.DataFrame | None, str]]:
    """Name, rows, fits (None: could not be fitted), why not."""
    yield "as it is", model.design.n, fits, ""
    for column in site_columns(settings, model):
        levels = model.table[column].astype(str)
        for level in sorted(levels.unique()):
            name = f"without {column} {level}"
            keep = (levels != level).to_numpy()
            try:
                smaller = subset_model(settings, model, keep)
                yield name, smaller.design.n, refit(smaller), ""
            except DesignError as error:
                yield name, int(keep.sum()), None, error.message
    most = int(fits["n"].max())
    least = int(fits.loc[fits["p"].notna(), "n"].min()) if fits["p"].notna().any() else most
    for n in sorted({int(np.ceil(share * most)) for share in (0.5, 0.75, 0.9, 1.0)}):
        if n > least:
            yield f"cells with n >= {n}", model.design.n, fits.assign(p=fits["p"].where(fits["n"] >= n)), ""


def site_columns(settings: GroupSettings, model: GroupModel) -> list[str]:
    """Columns whose levels are left out one by one."""
    table = model.table
    found = [name for part in model.design.random for name in part.group.split(":") if name != "participant_id"]
    if settings.fitting.harmonize is not None:
        found.append(settings.fitting.harmonize.batch)
    found += [name for name in ("site",) if name in table.columns]
    return [name for name in dict.fromkeys(found) if name in table.columns and 1 < table[name].nunique() <= MOST_SITES]


def _compared(main: pd.DataFrame, stats: pd.DataFrame, summary: pd.DataFrame) -> Mapping[str, object]:
    """What became of the main analysis's findings."""
    keys = [*_KEYS, *(["r"] if "r" in main.columns else [])]
    both = main.merge(stats, on=keys, suffixes=("", "_new"), how="left")
    was, now = both["rejected"].to_numpy(bool), both["rejected_new"].fillna(value=False).to_numpy(bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (both["estimate_new"] / both["estimate"]).to_numpy(np.float64)[was]
    ratio = ratio[np.isfinite(ratio)]
    row = summary.iloc[0]
    return {
        "n_valid": int(row["n_valid"]),
        "n_selected": int(row["n_selected"]),
        "n_rejected": int(row["n_rejected"]),
        "n_kept": int((was & now).sum()),
        "n_lost": int((was & ~now).sum()),
        "n_gained": int((~was & now).sum()),
        "estimate_ratio": float(np.median(ratio)) if len(ratio) else np.nan,
        "n_sign_changes": int((ratio < 0).sum()),
    }
