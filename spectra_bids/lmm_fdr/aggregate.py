"""`aggregate`: the fits of all bundles -> families -> decisions; a sweep of alpha_cell refits nothing.

    fdr:              <mode>__stats_all.csv  <mode>__stats_summary.csv  <mode>__fdr_diagnostics.npz
    hfdr, hfdr_resel: <mode>__stats_blocks.csv, and per alpha_cell <mode>__stats_all_ac05.csv, ..._summary_ac05.csv

A family is one map x one kind of profile; its blocks are bundles (hfdr) or resels of bundles (hfdr_resel).
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from spectra_bids.dataset.outputs import remove, write_bytes
from spectra_bids.errors import InputDataError, MissingInputError, NothingSelectedError
from spectra_bids.inference import Decisions, block_correlations, fdr, hierarchical_fdr
from spectra_bids.inference.combine import NEED_CORRELATION, require_combination
from spectra_bids.lmm_fdr.people import read_people
from spectra_bids.lmm_fdr.single import csv_bytes, description
from spectra_bids.lmm_fdr.task import Task


def run_aggregate(task: Task, bundle_list: Path) -> list[Path]:
    """Correct over all bundles of the list and write the tables; returns their paths.

    Raises
    ------
    MissingInputError
        Fits of some bundles are missing: all of them are listed.
    InputDataError
        Fits are of another model than this metadata, formula and effect make.

    """
    require_combination(task.decision.combination)
    bundles = read_bundle_list(bundle_list)
    lost = [b for b in bundles if not (task.fits(b).is_file() and task.fits(b).with_suffix(".json").is_file())]
    if lost:
        raise MissingInputError(
            f"no fits of {len(lost)} of {len(bundles)} bundles in {task.output_dir}: {', '.join(lost)}",
            "Make them: spectra_lmm_fdr single ... --bundle " + lost[0],
        )
    fits = _read_fits(task, bundles)
    families = [(family.copy(), _correct(task, family)) for _, family in fits.groupby(["map", "profile"], sort=False)]
    return _write_fdr(task, families) if task.decision.mode == "fdr" else _write_hfdr(task, families)


def read_bundle_list(path: Path) -> tuple[str, ...]:
    """Bundles of a text file, one a line; empty lines and what follows a # are left out."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise MissingInputError(f"--bundle_list {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputDataError(f"--bundle_list {path} must be UTF-8 text") from error
    names = [line.partition("#")[0].strip() for line in lines]
    found = tuple(dict.fromkeys(name for name in names if name))
    if not found:
        raise NothingSelectedError(f"--bundle_list {path} names no bundle: expected one a line")
    return found


def _read_fits(task: Task, bundles: Sequence[str]) -> pd.DataFrame:
    """Fits of all bundles, with their block."""
    key = description(task, read_people(task))["ModelKey"]
    parts = []
    for bundle in bundles:
        path = task.fits(bundle)
        try:
            facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            part = pd.read_csv(path, dtype={"bundle": str, "map": str}, keep_default_na=False, na_values=["NaN"])
            absent = [kind for kind in task.kinds if kind not in facts["Profiles"]]
            other = facts["ModelKey"] != key
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputDataError(
                f"{path} cannot be read as fits: {error}", f"Fit {bundle} again with single"
            ) from error
        if other:
            raise InputDataError(
                f"{path} holds fits of another model: '{facts['Formula']}', {facts['Effect']} of {facts['Rows']} rows. "
                "Expected what this --metadata, --formula, --effect and --pattern make",
                f"Fit {bundle} again with the same options as here",
            )
        if absent:
            raise InputDataError(f"{path} has no {absent[0]} profiles", "Fit it again with the same --profile as here")
        parts.append(part[part["profile"].isin(task.kinds)])
    table = pd.concat(parts, ignore_index=True)
    if "r" in table:
        table["r"] = table["r"].astype("Int64")
    table["block"] = table["bundle"]
    if task.decision.mode == "hfdr_resel":
        number = table["resel"].astype(int).astype(str).str.zfill(2).where(table["resel"] >= 0)
        table["block"] += ("_resel" + number).fillna("_untested")
    return table.drop(columns="resel", errors="ignore")


def _correct(task: Task, family: pd.DataFrame) -> Decisions:
    """Decisions of one family by the chosen procedure."""
    p, blocks, how = family["p"].to_numpy(np.float64), family["block"].to_numpy(dtype=object), task.decision
    if how.mode == "fdr":
        return fdr(p, blocks, how.alpha, how.adaptive)
    correlations = None
    if how.combination in NEED_CORRELATION:
        bundles = family["bundle"].to_numpy(dtype=object)
        name = f"{family['map'].iloc[0]}_{family['profile'].iloc[0]}"
        stored = {bundle: _correlation(task, bundle, name) for bundle in dict.fromkeys(bundles)}
        correlations = block_correlations(bundles, blocks, stored)
    return hierarchical_fdr(p, blocks, how.alpha_block, how.alpha_cell, how.combination, correlations)


def _correlation(task: Task, bundle: str, name: str) -> np.ndarray:
    """Correlation of a bundle's residuals, as single stored it."""
    path = task.fits(bundle).with_suffix(".npz")
    try:
        with np.load(path, allow_pickle=False) as stored:
            return np.asarray(stored[name])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputDataError(f"{path} cannot be read: {error}", f"Fit {bundle} again with single") from error


def _decided(family: pd.DataFrame, decisions: Decisions, level: int, hierarchical: bool) -> pd.DataFrame:
    """Rows of stats_all: fits and the decisions at one cell level."""
    out = family.assign(q_cell=decisions.q_cell, q=decisions.q)
    if hierarchical:
        out["block_selected"] = decisions.block_selected
    return out.assign(rejected=decisions.rejected[level])


def _summary(decided: pd.DataFrame, decisions: Decisions, alpha: float) -> pd.DataFrame:
    """One row per bundle of a family, and m and R of the family."""
    hierarchical = "block_selected" in decided
    marked = decided.assign(positive=decided["rejected"] & (decided["value"] > 0))
    grouped = marked.groupby(["map", "profile", "bundle", "contrast"], sort=False)
    table = grouped.agg(
        n_cells=("p", "size"),
        n_valid=("p", "count"),
        n_rejected=("rejected", "sum"),
        n_positive=("positive", "sum"),
        p_min=("p", "min"),
        q_min=("q", "min"),
        n_blocks=("block", "nunique"),
    ).reset_index()
    if hierarchical:
        chosen = decided[decided["block_selected"]].groupby("bundle")["block"].nunique()
        table["n_blocks_selected"] = table["bundle"].map(chosen).fillna(0).astype(int)
    table["family_blocks"] = int(np.isfinite(decisions.p_block).sum())
    table["family_selected"] = int(decisions.selected.sum())
    return table.assign(**{"alpha_cell" if hierarchical else "alpha": alpha})


def _blocks(family: pd.DataFrame, decisions: Decisions) -> pd.DataFrame:
    """One row per block of a family."""
    grouped = family.groupby(["map", "profile", "bundle", "contrast", "block"], sort=False)
    table = grouped.agg(n_cells=("p", "size"), n_valid=("p", "count"), p_min=("p", "min")).reset_index()
    order = pd.Series(range(len(decisions.blocks)), index=list(decisions.blocks))[table["block"]].to_numpy()
    return table.assign(
        p_block=decisions.p_block[order], q_block=decisions.q_block[order], selected=decisions.selected[order]
    )


Family = tuple[pd.DataFrame, Decisions]


def _write_hfdr(task: Task, families: Sequence[Family]) -> list[Path]:
    made = [_table(task.output("stats_blocks.csv"), [_blocks(*family) for family in families])]
    for level, alpha in enumerate(task.decision.alpha_cell):
        parts = [_decided(family, decisions, level, True) for family, decisions in families]
        sums = [_summary(part, decisions, alpha) for part, (_, decisions) in zip(parts, families, strict=True)]
        made.append(_table(task.output(f"stats_all_{level_name(alpha)}.csv"), parts))
        made.append(_table(task.output(f"stats_summary_{level_name(alpha)}.csv"), sums))
    return made


def _write_fdr(task: Task, families: Sequence[Family]) -> list[Path]:
    parts = [_decided(family, decisions, 0, False) for family, decisions in families]
    sums = [
        _summary(part, decisions, task.decision.alpha) for part, (_, decisions) in zip(parts, families, strict=True)
    ]
    made = [_table(task.output("stats_all.csv"), parts), _table(task.output("stats_summary.csv"), sums)]
    arrays: dict[str, np.ndarray] = {
        "alpha": np.float64(task.decision.alpha),  # type: ignore[dict-item]
        "adaptive": np.bool_(task.decision.adaptive),  # type: ignore[dict-item]
    }
    for part in parts:
        name = f"{part['map'].iloc[0]}_{part['profile'].iloc[0]}"
        arrays |= diagnostics(name, part["p"].to_numpy(np.float64), part["q"].to_numpy(np.float64), part["rejected"])
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    path = task.output("fdr_diagnostics.npz")
    write_bytes(path, buffer.getvalue())
    return [*made, path]


def diagnostics(name: str, p: np.ndarray, q: np.ndarray, rejected: pd.Series) -> dict[str, np.ndarray]:
    """What a plot of the step-up procedure needs: sorted p with their q, and the largest p that was rejected."""
    valid = np.isfinite(p)
    order = np.argsort(p[valid], kind="stable")
    hit = rejected.to_numpy(bool)
    return {
        f"{name}_p_sorted": p[valid][order],
        f"{name}_q_sorted": q[valid][order],
        f"{name}_n_tests": np.int64(valid.sum()),
        f"{name}_n_rejected": np.int64(hit.sum()),
        f"{name}_p_threshold": np.float64(p[hit].max() if hit.any() else np.nan),
    }


def level_name(alpha: float) -> str:
    """Part of a file's name for a cell level: 0.05 -> ac05, 0.15 -> ac15, 0.001 -> ac001."""
    return "ac" + f"{alpha:.6f}".rstrip("0").partition(".")[2].ljust(2, "0")


def _table(path: Path, parts: Sequence[pd.DataFrame]) -> Path:
    """Write the families' tables one below the other; returns the path."""
    remove(path)
    write_bytes(path, csv_bytes(pd.concat(parts, ignore_index=True)))
    return path
