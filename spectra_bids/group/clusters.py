"""Clusters of rejected cells: extent, peak, centre, and where in the brain they lie (rows of columns.CLUSTERS)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from spectra_bids.geometry.grid import Grid
from spectra_bids.geometry.labels import LabelVolume, joined, label_text
from spectra_bids.geometry.places import cell_points, place
from spectra_bids.inference.spatial import clusters


@dataclass(frozen=True, eq=False)
class Anatomy:
    """What tells where cells lie: grids by bundle, and atlas labels in their space."""

    grids: Mapping[str, Grid] = field(default_factory=dict)
    labels: tuple[LabelVolume, ...] = ()


def find_clusters(decided: pd.DataFrame, anatomy: Anatomy | None = None) -> list[dict[str, object]]:
    """Clusters of rejected cells of one family, heaviest first: rows of columns.CLUSTERS.

    Parameters
    ----------
    decided : DataFrame
        Cells of one family, columns.FITS + DECISIONS.
    anatomy : Anatomy, optional
        Without a bundle's grid, what follows from it is n/a.

    """
    rows = []
    for bundle, cells in decided.groupby("bundle", sort=False):
        radial = cells["r"].to_numpy(np.int64) if "r" in cells.columns else None
        labels = clusters(cells["s"].to_numpy(np.int64), radial, cells["rejected"].to_numpy(bool))
        for k in range(1, int(labels.max(initial=0)) + 1):
            mine = cells[labels == k]
            rows.append({**_describe(mine), **_anatomy(mine, str(bundle), anatomy or Anatomy())})
    rows.sort(key=lambda row: -float(str(row["weight"])))
    return [{**row, "cluster": rank} for rank, row in enumerate(rows, start=1)]


def _weights(cells: pd.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.asarray(-np.log10(np.maximum(cells["p"].to_numpy(np.float64), 1e-300)))


def _describe(cells: pd.DataFrame) -> dict[str, object]:
    weight = _weights(cells)
    share = weight / weight.sum()
    centre = cells[["x_mm", "y_mm", "z_mm"]].to_numpy(np.float64).T @ share
    peak = cells.iloc[int(np.argmax(weight))]
    radial = "r" in cells.columns
    sign = "n/a" if peak["statistic"] != "t" else "+" if float((weight * np.sign(cells["value"])).sum()) > 0 else "-"
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
        "x_peak_mm": peak["x_mm"],
        "y_peak_mm": peak["y_mm"],
        "z_peak_mm": peak["z_mm"],
    }


def _anatomy(cells: pd.DataFrame, bundle: str, anatomy: Anatomy) -> dict[str, object]:
    grid = anatomy.grids.get(bundle)
    if grid is None:
        return {}
    s = cells["s"].to_numpy(np.int64)
    r = cells["r"].to_numpy(np.int64) if "r" in cells.columns else None
    found = place(grid, s, r)
    out: dict[str, object] = {
        "length_mm": found.s_extent,
        "width_mm": found.r_extent,
        "area_mm2": found.area,
        "share_bundle": found.share,
        "side": found.side or None,
        "place": found.part or None,
    }
    points, weights = cell_points(grid, s, r)
    if anatomy.labels and len(points):
        peak = cells.iloc[[int(np.argmax(_weights(cells)))]][["x_mm", "y_mm", "z_mm"]].to_numpy(np.float64)
        volumes = anatomy.labels
        out["label_peak"] = joined([(v.source, v.name(int(v.at(peak)[0]))) for v in volumes])
        out["labels"] = joined([(v.source, label_text(v.shares(points, weights))) for v in volumes])
    return out
