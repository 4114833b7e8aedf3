"""Reduce step: fits of all bundles -> families -> decisions, blocks, summary, clusters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from spectra_bids.columns import BLOCKS, CLUSTERS, SUMMARY, names
from spectra_bids.inference import Decisions, clusters, fdr, hierarchical_fdr
from spectra_bids.settings import GroupSettings


@dataclass(frozen=True, eq=False)
class Results:
    """Tables of the reduce step of one kind of profile, as in columns.FITS + DECISIONS, BLOCKS, SUMMARY, CLUSTERS."""

    stats: pd.DataFrame
    blocks: pd.DataFrame
    summary: pd.DataFrame
    clusters: pd.DataFrame


def decide(fits: pd.DataFrame, settings: GroupSettings) -> Results:
    """Correct every family (scalar x contrast) of a table of fits.

    Parameters
    ----------
    fits : DataFrame
        Rows as columns.FITS_1D or FITS_2D, all bundles.
    settings : GroupSettings

    Returns
    -------
    Results

    """
    stats, blocks, summary, found = [], [], [], []
    for (scalar, contrast), family in fits.groupby(["scalar", "contrast"], sort=False):
        decisions = correct(family["p"].to_numpy(np.float64), family["bundle"].to_numpy(dtype=object), settings)
        decided = _with_decisions(family, decisions, settings)
        stats.append(decided)
        blocks.append(_blocks(str(scalar), str(contrast), decided, decisions))
        summary.append(_summary(str(scalar), str(contrast), decided, decisions, settings))
        found.append(find_clusters(decided))
    return Results(
        stats=pd.concat(stats, ignore_index=True),
        blocks=pd.concat(blocks, ignore_index=True)[names(BLOCKS)],
        summary=pd.concat(summary, ignore_index=True)[names(SUMMARY)],
        clusters=pd.DataFrame([row for rows in found for row in rows], columns=names(CLUSTERS)),
    )


def correct(p: np.ndarray, blocks: np.ndarray, settings: GroupSettings) -> Decisions:
    """Decisions of one family by the chosen procedure."""
    if settings.stats_mode == "fdr":
        return fdr(p, blocks, settings.alpha, settings.adaptive)
    return hierarchical_fdr(p, blocks, settings.alpha_block, settings.alpha_cell)


def level_column(alpha: float) -> str:
    """Name of the column of rejections at a further cell level: 0.15 -> rejected_ac15."""
    return "rejected_ac" + f"{alpha:.6f}".rstrip("0").partition(".")[2].ljust(2, "0")


def _with_decisions(family: pd.DataFrame, decisions: Decisions, settings: GroupSettings) -> pd.DataFrame:
    out = family.copy()
    out["block"] = out["bundle"]
    out["q_cell"], out["q"] = decisions.q_cell, decisions.q
    out["block_selected"] = decisions.block_selected if settings.stats_mode == "hfdr" else pd.NA
    out["rejected"] = decisions.rejected[0]
    if settings.stats_mode == "hfdr":
        for alpha, rejected in zip(settings.alpha_cell[1:], decisions.rejected[1:], strict=True):
            out[level_column(alpha)] = rejected
    return out


def _blocks(scalar: str, contrast: str, decided: pd.DataFrame, decisions: Decisions) -> pd.DataFrame:
    grouped = decided.groupby("bundle", sort=False)
    table = pd.DataFrame(
        {
            "n_cells": grouped.size(),
            "n_valid": grouped["p"].count(),
            "n_rejected": grouped["rejected"].sum().astype(int),
        }
    )
    order = pd.Series(range(len(decisions.blocks)), index=list(decisions.blocks))[table.index].to_numpy()
    table["p_block"], table["q_block"] = decisions.p_block[order], decisions.q_block[order]
    table["selected"] = decisions.selected[order]
    table["scalar"], table["contrast"], table["block"] = scalar, contrast, table.index
    return table.reset_index(drop=True)


def _summary(
    scalar: str, contrast: str, decided: pd.DataFrame, decisions: Decisions, settings: GroupSettings
) -> pd.DataFrame:
    hfdr = settings.stats_mode == "hfdr"
    levels = settings.alpha_cell if hfdr else (settings.alpha,)
    mode = "hfdr" if hfdr else "fdr (BKY)" if settings.adaptive else "fdr (BH)"
    rows = [
        {
            "scalar": scalar,
            "contrast": contrast,
            "mode": mode,
            "n_blocks": int(np.isfinite(decisions.p_block).sum()),
            "n_selected": int(decisions.selected.sum()),
            "n_cells": len(decided),
            "n_valid": int(decided["p"].notna().sum()),
            "alpha_block": settings.alpha_block if hfdr else np.nan,
            "alpha_cell": level,
            "n_rejected": int(rejected.sum()),
            "p_min": decided["p"].min(),
            "exploratory": i > 0,
        }
        for i, (level, rejected) in enumerate(zip(levels, decisions.rejected, strict=True))
    ]
    return pd.DataFrame(rows)


def find_clusters(decided: pd.DataFrame) -> list[dict[str, object]]:
    """Clusters of rejected cells of one family, heaviest first: rows of columns.CLUSTERS."""
    rows = []
    for _, cells in decided.groupby("bundle", sort=False):
        radial = cells["r"].to_numpy(np.int64) if "r" in cells.columns else None
        labels = clusters(cells["s"].to_numpy(np.int64), radial, cells["rejected"].to_numpy(bool))
        rows += [_describe(cells[labels == k]) for k in range(1, int(labels.max(initial=0)) + 1)]
    rows.sort(key=lambda row: -float(str(row["weight"])))
    return [{**row, "cluster": rank} for rank, row in enumerate(rows, start=1)]


def _describe(cells: pd.DataFrame) -> dict[str, object]:
    weight = -np.log10(np.maximum(cells["p"].to_numpy(np.float64), 1e-300))
    share = weight / weight.sum()
    centre = cells[["x_mm", "y_mm", "z_mm"]].to_numpy(np.float64).T @ share
    peak = cells.iloc[int(np.argmax(weight))]
    radial = "r" in cells.columns
    sign = "n/a" if peak["statistic"] == "F" else "+" if float((weight * np.sign(cells["value"])).sum()) > 0 else "-"
    return {
        "scalar": peak["scalar"],
        "contrast": peak["contrast"],
        "bundle": peak["bundle"],
        "n_cells": len(cells),
        "weight": float(weight.sum()),
        "direction": sign,
        "s_low": int(cells["s"].min()),
        "s_high": int(cells["s"].max()),
        "r_low": int(cells["r"].min()) if radial else np.nan,
        "r_high": int(cells["r"].max()) if radial else np.nan,
        "x_mm": centre[0],
        "y_mm": centre[1],
        "z_mm": centre[2],
        "p_peak": peak["p"],
        "q_peak": peak["q"],
        "value_peak": peak["value"],
        "estimate_peak": peak["estimate"],
    }
