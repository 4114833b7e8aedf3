"""The cohort's band: how every node of the 1D profiles is spread over all sessions that there are.

    OUT/group/desc-profile1D_norms.tsv (+ .json)    columns.NORMS

It belongs to no model: all sessions count, whoever they are. A node that fewer than 5 sessions have is n/a, so that no
person's value can be read off the table. Participant pages draw a profile over it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectra_bids import __version__
from spectra_bids.columns import NORMS, names, sidecar
from spectra_bids.dataset.names import norms_file
from spectra_bids.dataset.outputs import remove, write_json, write_table
from spectra_bids.dataset.qc_files import QcFile
from spectra_bids.group.tables import read_columns, read_header, scalars_of, session_tables

#: Fewest sessions of a node that its spread is told of.
LEAST = 5
_QUANTILES = {"p05": 5, "p25": 25, "p50": 50, "p75": 75, "p95": 95}
_KEYS = ["bundle", "s", "s_mm"]


def is_written(out: Path) -> bool:
    """Whether the table is there with its sidecar."""
    path = norms_file(out)
    try:
        return path.is_file() and bool(json.loads(path.with_suffix(".json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return False


def write_norms(out: Path, checksums: Mapping[str, str], decisions: QcFile | None = None) -> Path:
    """Write the norms of all 1D profile tables of an output directory; `checksums`: of the grids that they are on."""
    path = norms_file(out)
    table, n = norms(out, decisions)
    facts: dict[str, Any] = {
        "Description": "Spread of the 1D profiles over the cohort's sessions, per bundle, node and scalar",
        "Sessions": n,
        "GridChecksums": dict(checksums),
        "SpectraBidsVersion": __version__,
    }
    remove(path)
    write_json(path.with_suffix(".json"), {**facts, **sidecar(NORMS)})
    write_table(path, table)
    return path


def norms(out: Path, decisions: QcFile | None = None) -> tuple[pd.DataFrame, int]:
    """Rows as columns.NORMS, and the number of sessions; a session on another grid than the first is left out, and so
    is a bundle that quality control rejects.

    One scalar is in memory at a time, 8 bytes a session and node: 160 MB for 10,000 sessions of 2,000 nodes.
    """
    sessions = session_tables(out, "1D")
    paths = list(sessions["path"])
    headers = [read_header(path) for path in paths]
    cells = read_columns(paths[0], headers[0], _KEYS)
    same = [read_columns(p, h, _KEYS).equals(cells) for p, h in zip(paths, headers, strict=True)]
    rejected = _rejected(sessions, cells["bundle"].to_pylist(), decisions)
    kept = [(p, h, r) for p, h, r, ok in zip(paths, headers, rejected, same, strict=True) if ok]
    parts = []
    for scalar in sorted({c for _, header, _ in kept for c in scalars_of(header)}):
        having = [one for one in kept if scalar in one[1]]
        values = np.empty((len(having), len(cells)))
        for k, (path, header, out_of_it) in enumerate(having):
            values[k] = np.where(out_of_it, np.nan, read_columns(path, header, [scalar])[scalar].to_numpy())
        parts.append(cells.to_pandas().assign(scalar=scalar, **spread(values)))
    return pd.concat(parts, ignore_index=True)[names(NORMS)], len(kept)


def _rejected(sessions: pd.DataFrame, of_cells: list[str], decisions: QcFile | None) -> NDArray[np.bool_]:
    """Whether quality control rejects a cell's bundle, (N, C)."""
    if decisions is None:
        return np.zeros((len(sessions), len(of_cells)), bool)
    bundles = list(dict.fromkeys(of_cells))
    which = np.array([bundles.index(bundle) for bundle in of_cells], np.int64)
    return np.asarray(decisions.rejected(sessions, bundles)[:, which], bool)


def spread(values: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """Columns n, mean, sd and quantiles, each (C,), of values (N, C); NaN where fewer than `LEAST` are finite."""
    n = np.isfinite(values).sum(axis=0)
    enough = n >= LEAST
    found = {name: np.full(len(n), np.nan) for name in ("mean", "sd", *_QUANTILES)}
    some = np.where(np.isfinite(values), values, np.nan)[:, enough]
    if some.size:
        found["mean"][enough], found["sd"][enough] = np.nanmean(some, axis=0), np.nanstd(some, axis=0, ddof=1)
        quantiles = np.nanpercentile(some, list(_QUANTILES.values()), axis=0)
        for name, row in zip(_QUANTILES, quantiles, strict=True):
            found[name][enough] = row
    return {"n": n, **found}
