"""Sites in the data: which columns name them, and how the bundles' means differ between their levels."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectra_bids.columns import names
from spectra_bids.dataset.qc_columns import QC_SITES
from spectra_bids.group.sensitivity import MOST_SITES

F = NDArray[np.float64]

#: By name alone, not by the model: all models of an output directory look at the same columns.
_SITE_LIKE = re.compile(
    r"(acquisition|batch|center|centre|clinic|coil|hospital|machine|magnet|manufacturer|protocol|scanner|site|study|"
    r"vendor)([ _-]?(id|name|no|nr|number|model|code))?",
    re.IGNORECASE,
)


def site_like(people: pd.DataFrame) -> dict[str, NDArray[np.object_]]:
    """Levels (n,) of every column of a site's name with 2 to `MOST_SITES` levels; None where missing."""
    found = {}
    for column in map(str, people.columns):
        if not _SITE_LIKE.fullmatch(column):
            continue
        values = people[column]
        if pd.api.types.is_numeric_dtype(values.dtype):
            levels = [None if not np.isfinite(v) else f"{v:g}" for v in values.to_numpy(np.float64)]
        else:
            levels = [str(v) if known else None for v, known in zip(values, values.notna(), strict=True)]
        if 1 < len({level for level in levels if level is not None}) <= MOST_SITES:
            found[column] = np.array(levels, dtype=object)
    return found


def session_means(values: F) -> F:
    """Mean over the nodes of each session's profile, (n,): what a missing node takes from it is made up for.

    The mean of the deviations from the nodes' medians, over what is measured, and the medians' mean.
    """
    seen = np.isfinite(values)
    used = seen.any(axis=0)
    middle = np.full(values.shape[1], np.nan)
    middle[used] = np.nanmedian(values[:, used], axis=0)
    deviations = np.where(seen, values - middle, 0.0).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = deviations / seen.sum(axis=1) + (middle[used].mean() if used.any() else np.nan)
    return np.asarray(mean)


def compare_sites(columns: Mapping[str, NDArray[np.object_]], means: Mapping[tuple[str, str], F]) -> pd.DataFrame:
    """Rows of qc_columns.QC_SITES: levels of every column, of the means (n,) by bundle and scalar."""
    parts = [
        _boxes(column, levels, bundle, scalar, values)
        for column, levels in columns.items()
        for (bundle, scalar), values in means.items()
    ]
    parts = [part for part in parts if len(part)]
    if not parts:
        return pd.DataFrame(columns=names(QC_SITES))
    table = pd.concat(parts, ignore_index=True)
    table["q"] = np.nan
    for _, rows in table.groupby("column", sort=False):
        tests = rows.drop_duplicates(["bundle", "scalar"])
        q = tests.assign(q=_adjusted(tests["p"].to_numpy(np.float64))).set_index(["bundle", "scalar"])["q"]
        table.loc[rows.index, "q"] = q.loc[list(zip(rows["bundle"], rows["scalar"], strict=True))].to_numpy()
    return table[names(QC_SITES)]


def _boxes(column: str, levels: NDArray[np.object_], bundle: str, scalar: str, values: F) -> pd.DataFrame:
    """One row per level with a mean."""
    known = np.isfinite(values) & np.array([level is not None for level in levels])
    groups = {level: values[known & (levels == level)] for level in _in_order(set(levels[known]))}
    share, p = _difference(list(groups.values()))
    rows = []
    for level, of in groups.items():
        q1, middle, q3 = np.quantile(of, [0.25, 0.5, 0.75])
        reach = 1.5 * (q3 - q1)
        low, high = of[of >= q1 - reach].min(), of[of <= q3 + reach].max()
        rows.append((column, level, bundle, scalar, len(of), low, q1, middle, q3, high, share, p))
    return pd.DataFrame(rows, columns=[name for name in names(QC_SITES) if name != "q"])


def _difference(groups: list[F]) -> tuple[float, float]:
    """Adjusted share of the variance between groups, and p of Kruskal and Wallis; NaN where there is no telling."""
    from scipy.stats import kruskal

    n, k = sum(map(len, groups)), len(groups)
    if k < 2 or n <= k + 1:
        return np.nan, np.nan
    every = np.concatenate(groups)
    total = float(((every - every.mean()) ** 2).sum())
    if total <= 1e-20 * float((every**2).sum()):
        return np.nan, np.nan
    within = sum(float(((of - of.mean()) ** 2).sum()) for of in groups)
    share = 1 - (within / (n - k)) / (total / (n - 1))
    return max(0.0, share), float(kruskal(*groups).pvalue)


def _adjusted(p: F) -> F:
    """Benjamini-Hochberg; NaN stays out."""
    from scipy.stats import false_discovery_control

    out = np.full(len(p), np.nan)
    known = np.isfinite(p)
    if known.any():
        out[known] = false_discovery_control(p[known])
    return out


def _in_order(levels: set[str]) -> list[str]:
    """Sorted, site2 before site10."""
    return sorted(levels, key=lambda v: [(0, int(t), "") if t.isdigit() else (1, 0, t) for t in re.split(r"(\d+)", v)])
