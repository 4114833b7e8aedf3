"""Who does not fit: the size of every session's residuals over all bundles, and of every site's.

A session's size is the root mean square over cells of its residuals in standard deviations of the cell: 1 is usual. Its
robust z, (size - median) / (1.4826 MAD) over the sessions, says how unusual it is; from 3.5 on it is flagged
(Iglewicz & Hoaglin 1993). A bundle in which somebody is unusual is named, for a wrong bundle is the commonest cause.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectra_bids.columns import OUTLIERS, names

F = NDArray[np.floating]
#: Robust z from which on a session or site is flagged.
FLAG = 3.5


def outliers(
    labels: Sequence[str], sites: Mapping[str, Sequence[str]], sizes: Mapping[str, Mapping[str, F]]
) -> pd.DataFrame:
    """Sessions and sites by the size of their residuals, the largest first within each scalar.

    Parameters
    ----------
    labels : n str
        Sessions, rows of the design.
    sites : mapping of column -> n str
        Columns whose levels are looked at as groups of sessions.
    sizes : mapping of scalar -> bundle -> (n,)
        Root mean square of each session's standardised residuals in a bundle; NaN where it has none.

    Returns
    -------
    DataFrame
        Rows as columns.OUTLIERS.

    """
    parts = []
    for scalar, by_bundle in sizes.items():
        table = np.array(list(by_bundle.values()), np.float64).T  # (n, bundles)
        bundles = list(by_bundle)
        parts.append(_ranked(scalar, "session", labels, table, bundles))
        for column, levels in sites.items():
            named = np.asarray(levels, dtype=object)
            unique = sorted(set(named))
            means = np.array([_rms(table[named == level]) for level in unique])
            parts.append(_ranked(scalar, column, unique, means, bundles))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=names(OUTLIERS))


def _ranked(scalar: str, kind: str, labels: Sequence[str], table: F, bundles: Sequence[str]) -> pd.DataFrame:
    size = _rms(table.T)
    with np.errstate(invalid="ignore"):
        worst = np.where(np.isfinite(table), table, -np.inf)
    at = worst.argmax(axis=1) if table.shape[1] else np.zeros(len(table), np.int64)
    z = _robust_z(size)
    seen = np.isfinite(size)
    frame = pd.DataFrame(
        {
            "scalar": scalar,
            "kind": kind,
            "label": list(labels),
            "n_bundles": np.isfinite(table).sum(axis=1),
            "size": size,
            "robust_z": z,
            "flagged": np.nan_to_num(z) >= FLAG,
            "worst_bundle": [bundles[i] if ok else None for i, ok in zip(at, seen, strict=True)],
            "worst_size": np.where(seen, worst[np.arange(len(table)), at], np.nan),
        }
    )
    return frame.sort_values("size", ascending=False, kind="stable", na_position="last").reset_index(drop=True)


def _rms(table: F) -> F:
    """Root mean square over the first axis, of what is there; NaN without any."""
    seen = np.isfinite(table)
    square = np.where(seen, table, 0.0).astype(np.float64) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.sqrt(square.sum(axis=0) / seen.sum(axis=0)))


def _robust_z(size: F) -> F:
    """Distance from the median in robust standard deviations; 0 where there is no spread."""
    with np.errstate(invalid="ignore"):
        middle = np.nanmedian(size) if np.isfinite(size).any() else np.nan
        spread = 1.4826 * np.nanmedian(np.abs(size - middle)) if np.isfinite(size).any() else np.nan
    return np.asarray((size - middle) / spread if spread > 0 else np.where(np.isfinite(size), 0.0, np.nan))
