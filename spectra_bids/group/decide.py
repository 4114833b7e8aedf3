"""Reduce step: fits of all bundles -> families -> decisions, blocks, summary, clusters.

A family is one contrast of one scalar; with a level over scalars (`alpha_scalar`) it is one contrast of all scalars.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectra_bids.columns import BLOCKS, CLUSTERS, DECISIONS, SUMMARY, names
from spectra_bids.group.clusters import Anatomy, find_clusters
from spectra_bids.inference import (
    Decisions,
    TreeDecisions,
    TreeLevel,
    block_correlations,
    cell_thresholds,
    detectable_effect,
    fdr,
    hierarchical_fdr,
    resels,
    smoothness,
    tree_fdr,
)
from spectra_bids.inference.combine import NEED_CORRELATION
from spectra_bids.settings import DecisionSettings

F = NDArray[np.float64]
Labels = NDArray[np.object_]


class Evidence(Protocol):
    """What a procedure may need beside p values; asked for only where it does."""

    def correlations(self, scalar: str) -> dict[str, NDArray[np.floating]]:
        """Correlation of the residuals of each bundle's cells, (C, C), cells in the order of the fits."""

    def permuted(self, scalar: str, contrast: str) -> tuple[F, F]:
        """By permutation: family-wise p and uncorrected p of each cell, in the order of the fits."""

    def blocks(self, cells: pd.DataFrame) -> Labels:
        """Block of each cell by the user's own file; "" where it names none."""


#: p, adjusted p and whether it was selected, of a block or a scalar.
Facts = tuple[float, float, bool]


@dataclass(frozen=True, eq=False)
class _Corrected:
    """A family with its decisions, its blocks, and, with a level over scalars, what became of these."""

    cells: pd.DataFrame
    blocks: pd.DataFrame
    scalars: dict[str, Facts]


@dataclass(frozen=True, eq=False)
class Results:
    """Tables of the reduce step of one kind of profile, as in columns.FITS + DECISIONS, BLOCKS, SUMMARY, CLUSTERS.

    `outliers` and `normality` come from the map step's residuals, `means` (columns.MEANS) from its fits; `calibration`
    and `sensitivity` are there where they were asked for.
    """

    stats: pd.DataFrame
    blocks: pd.DataFrame
    summary: pd.DataFrame
    clusters: pd.DataFrame
    outliers: pd.DataFrame | None = None
    normality: pd.DataFrame | None = None
    means: pd.DataFrame | None = None
    calibration: pd.DataFrame | None = None
    sensitivity: pd.DataFrame | None = None


def decide(
    fits: pd.DataFrame, settings: DecisionSettings, evidence: Evidence | None = None, anatomy: Anatomy | None = None
) -> Results:
    """Correct every family of a table of fits.

    Parameters
    ----------
    fits : DataFrame
        Rows as columns.FITS_1D or FITS_2D, all bundles.
    settings : DecisionSettings
    evidence : Evidence, optional
        Needed by resels, blocks of a file, permutation, and combinations that use the residuals' correlation.
    anatomy : Anatomy, optional
        Grids and atlas labels, which tell where clusters lie.

    Returns
    -------
    Results

    """
    by = ["contrast"] if settings.alpha_scalar is not None else ["scalar", "contrast"]
    stats, blocks, summary, found = [], [], [], []
    for _, rows in fits.groupby(by, sort=False):
        corrected = _correct(rows.reset_index(drop=True), settings, evidence)
        stats.append(corrected.cells)
        blocks.append(corrected.blocks)
        for _, family in corrected.cells.groupby("scalar", sort=False):
            summary.append(_summary(family, corrected, settings))
            found += find_clusters(family, anatomy)
    sweep = [level_column(alpha) for alpha in settings.levels[1:]]
    return Results(
        stats=pd.concat(stats, ignore_index=True)[[*fits.columns, *names(DECISIONS), *sweep]],
        blocks=pd.concat(blocks, ignore_index=True)[names(BLOCKS)],
        summary=pd.concat(summary, ignore_index=True)[names(SUMMARY)],
        clusters=pd.DataFrame(found, columns=names(CLUSTERS)),
    )


def _correct(rows: pd.DataFrame, settings: DecisionSettings, evidence: Evidence | None) -> _Corrected:
    labels = block_labels(rows, settings, evidence)
    p = np.where(labels == "", np.nan, rows["p"].to_numpy(np.float64))
    if settings.mode == "perm":
        found = _by_permutation(rows, p, labels, settings, evidence)
    elif settings.alpha_scalar is not None:
        return _by_tree(rows, p, labels, settings, evidence)
    else:
        found = correct(p, labels, settings, correlations_of(rows, labels, settings, evidence))
    decided = _with_decisions(rows, labels, found.q_cell, found.q, found.block_selected, found.rejected, settings)
    decided = _with_power(decided, p, labels, found, settings)
    blocks = dict(zip(found.blocks, zip(found.p_block, found.q_block, found.selected, strict=True), strict=True))
    facts = {(str(rows["scalar"].iloc[0]), str(name)): values for name, values in blocks.items()}
    return _Corrected(decided, _blocks(decided, facts), {})


def correct(
    p: F, labels: Labels, settings: DecisionSettings, correlations: dict[Hashable, F] | None = None
) -> Decisions:
    """Decisions of one family by the chosen procedure (not: permutation)."""
    if settings.mode == "fdr":
        return fdr(p, labels, settings.alpha, settings.adaptive)
    return hierarchical_fdr(p, labels, settings.alpha_block, settings.alpha_cell, settings.combination, correlations)


def _by_tree(
    rows: pd.DataFrame, p: F, labels: Labels, settings: DecisionSettings, evidence: Evidence | None
) -> _Corrected:
    """Scalars, then blocks, then cells."""
    assert settings.alpha_scalar is not None
    scalars = rows["scalar"].to_numpy(dtype=object)
    known: dict[Hashable, F] | None = None
    if settings.combination in NEED_CORRELATION:
        known = {}
        for scalar in dict.fromkeys(scalars):
            mine = scalars == scalar
            found = correlations_of(rows[mine].reset_index(drop=True), labels[mine], settings, evidence)
            known |= {(scalar, block): matrix for block, matrix in (found or {}).items()}
    alphas = (settings.alpha_scalar, settings.alpha_block)
    tree: TreeDecisions = tree_fdr(p, (scalars, labels), alphas, settings.alpha_cell, settings.combination, known)
    level = tree.levels[-1]
    decided = _with_decisions(rows, labels, tree.q_cell, tree.q, level.selected[tree.node], tree.rejected, settings)
    decided = decided.assign(threshold=np.nan, mde=np.nan, mde_std=np.nan)
    blocks = {(str(a), str(b)): facts for (a, b), facts in _facts(level).items()}
    tops = {str(label[0]): facts for label, facts in _facts(tree.levels[0]).items()}
    return _Corrected(decided, _blocks(decided, blocks), tops)


def _facts(level: TreeLevel) -> dict[tuple[Hashable, ...], Facts]:
    return dict(zip(level.labels, zip(level.p, level.q, level.selected, strict=True), strict=True))


def _by_permutation(
    rows: pd.DataFrame, p: F, labels: Labels, settings: DecisionSettings, evidence: Evidence | None
) -> Decisions:
    """Family-wise error: q is the family-wise p of a cell, that of a block the smallest of its cells."""
    scalar, contrast = str(rows["scalar"].iloc[0]), str(rows["contrast"].iloc[0])
    fwe, alone = _required(evidence).permuted(scalar, contrast)
    fwe, alone = (np.where(np.isfinite(p), values, np.nan) for values in (fwe, alone))
    blocks = np.unique(labels)
    with np.errstate(invalid="ignore"):
        rejected = fwe <= settings.alpha
        least = [np.nanmin(fwe[labels == b]) if np.isfinite(fwe[labels == b]).any() else np.nan for b in blocks]
        p_block = np.array(least, np.float64)
        selected = p_block <= settings.alpha
    inside = np.isin(labels, blocks[selected])
    return Decisions(alone, fwe, inside, rejected[None, :], blocks, p_block, p_block, selected)


def block_labels(rows: pd.DataFrame, settings: DecisionSettings, evidence: Evidence | None) -> Labels:
    """Block of each cell of a family: its bundle, a resel of it, or what the user's file says ("": none)."""
    bundles = rows["bundle"].astype(str).to_numpy(dtype=object)
    if settings.block_file is not None:
        return _required(evidence).blocks(rows)
    if settings.mode != "hfdr_resel":
        return bundles
    out = bundles.copy()
    for scalar, family in rows.groupby("scalar", sort=False):
        known = _required(evidence).correlations(str(scalar))
        for bundle, cells in family.groupby("bundle", sort=False):
            s = cells["s"].to_numpy(np.int64)
            r = cells["r"].to_numpy(np.int64) if "r" in cells.columns else None
            number = resels(s, r, smoothness(known[str(bundle)], s, r))
            digits = len(str(number.max()))
            out[cells.index.to_numpy()] = [f"{bundle} resel {k:0{digits}d}" for k in number]
    return out


def correlations_of(
    rows: pd.DataFrame, labels: Labels, settings: DecisionSettings, evidence: Evidence | None
) -> dict[Hashable, F] | None:
    """Correlation of the residuals of each block; None where the combination does not need it."""
    if settings.combination not in NEED_CORRELATION or not settings.hierarchical:
        return None
    known = _required(evidence).correlations(str(rows["scalar"].iloc[0]))
    bundles = rows["bundle"].astype(str).to_numpy(dtype=object)
    return block_correlations(bundles, labels, dict(known.items()))


def _required(evidence: Evidence | None) -> Evidence:
    if evidence is None:
        raise ValueError("this procedure needs evidence beside p values")
    return evidence


def level_column(alpha: float) -> str:
    """Name of the column of rejections at a further cell level: 0.15 -> rejected_ac15."""
    return "rejected_ac" + f"{alpha:.6f}".rstrip("0").partition(".")[2].ljust(2, "0")


def _with_decisions(
    family: pd.DataFrame,
    labels: Labels,
    q_cell: F,
    q: F,
    inside: NDArray[np.bool_],
    rejected: NDArray[np.bool_],
    settings: DecisionSettings,
) -> pd.DataFrame:
    out = family.copy()
    out["block"] = [name or None for name in labels]
    out["q_cell"], out["q"] = q_cell, q
    out["block_selected"] = inside if settings.hierarchical else pd.NA
    out["rejected"] = rejected[0]
    if settings.hierarchical:
        for alpha, at_level in zip(settings.alpha_cell[1:], rejected[1:], strict=True):
            out[level_column(alpha)] = at_level
    return out


def _with_power(
    decided: pd.DataFrame, p: F, labels: Labels, found: Decisions, settings: DecisionSettings
) -> pd.DataFrame:
    """The largest p that is rejected, and the smallest effect that would be found four times in five."""
    if settings.mode == "perm":
        return decided.assign(threshold=np.nan, mde=np.nan, mde_std=np.nan)
    alpha = settings.levels[0] / (1 + settings.levels[0]) if settings.adaptive else settings.levels[0]
    threshold = cell_thresholds(p, labels, found, alpha, settings.alpha_block if settings.hierarchical else None)
    is_t = (decided["statistic"] == "t").to_numpy()
    se, df = (decided[name].to_numpy(np.float64) for name in ("se", "df"))
    mde = np.where(is_t, detectable_effect(se, df, threshold), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = (decided["estimate_std"] / decided["estimate"]).to_numpy(np.float64)
    return decided.assign(threshold=threshold, mde=mde, mde_std=mde * scale)


def _blocks(decided: pd.DataFrame, facts: dict[tuple[str, str], Facts]) -> pd.DataFrame:
    """Table of the blocks, in the order in which their cells come."""
    grouped = decided.groupby(["scalar", "contrast", "block"], sort=False)
    table = pd.DataFrame(
        {
            "bundle": grouped["bundle"].agg(lambda names: ", ".join(dict.fromkeys(map(str, names)))),
            "n_cells": grouped.size(),
            "n_valid": grouped["p"].count(),
            "n_rejected": grouped["rejected"].sum().astype(int),
        }
    ).reset_index()
    of = [facts[scalar, block] for scalar, block in zip(table["scalar"], table["block"], strict=True)]
    table["p_block"] = [float(values[0]) for values in of]
    table["q_block"] = [float(values[1]) for values in of]
    table["selected"] = [bool(values[2]) for values in of]
    return table


def mode_name(settings: DecisionSettings) -> str:
    """The procedure as the summary table names it."""
    if settings.mode == "fdr":
        return "fdr (BKY)" if settings.adaptive else "fdr (BH)"
    if settings.mode == "perm":
        return f"perm ({settings.permutation.statistic})"
    return settings.mode + (f" ({settings.combination})" if settings.combination != "simes" else "")


def _summary(family: pd.DataFrame, corrected: _Corrected, settings: DecisionSettings) -> pd.DataFrame:
    scalar, contrast = family["scalar"].iloc[0], family["contrast"].iloc[0]
    mine = corrected.blocks[corrected.blocks["scalar"] == scalar]
    p_scalar, q_scalar, chosen = corrected.scalars.get(str(scalar), (np.nan, np.nan, pd.NA))
    columns = ["rejected", *(level_column(a) for a in settings.levels[1:])]
    rows = [
        {
            "scalar": scalar,
            "contrast": contrast,
            "mode": mode_name(settings),
            "n_blocks": int(np.isfinite(mine["p_block"]).sum()),
            "n_selected": int(mine["selected"].sum()),
            "n_cells": len(family),
            "n_valid": int((family["p"].notna() & family["block"].notna()).sum()),
            "p_scalar": p_scalar,
            "q_scalar": q_scalar,
            "scalar_selected": chosen,
            "alpha_block": settings.alpha_block if settings.hierarchical else np.nan,
            "alpha_cell": level,
            "n_rejected": int(family[column].sum()),
            "p_min": family["p"].min(),
            "exploratory": i > 0,
        }
        for i, (level, column) in enumerate(zip(settings.levels, columns, strict=True))
    ]
    return pd.DataFrame(rows)
