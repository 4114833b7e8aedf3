"""`single`: one model per cell of one bundle, for every map; written so that a job per bundle can run anywhere."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectra_bids import __version__
from spectra_bids.bridges.spectra import ProfileStack, check_pattern, find_bundles, find_profiles, read_profiles
from spectra_bids.dataset.outputs import remove, write_bytes, write_json
from spectra_bids.errors import MissingInputError, NothingSelectedError
from spectra_bids.inference import correlate, resels, smoothness
from spectra_bids.lmm_fdr.people import People, read_people
from spectra_bids.lmm_fdr.task import Task
from spectra_bids.models.fits import fit_design, fits_table
from spectra_bids.models.residuals import conditional_residuals

log = logging.getLogger("spectra_bids")

F = NDArray[np.float64]


def run_single(task: Task, bundle: str) -> Path:
    """Fit one bundle and write its files; returns the table's path.

    Raises
    ------
    NothingSelectedError
        Nobody has the bundle: the message lists those that there are.
    MissingInputError
        Somebody of the metadata has no profile at all, unless `allow_missing`.

    """
    people = read_people(task)
    path = task.fits(bundle)
    parts, facts, correlations = [], {}, {}
    for name, paths in _files(task, people, bundle).items():
        stack = read_profiles(paths)
        facts[name] = _facts(stack, people)
        for kind in task.kinds:
            fits, correlation, smooth = _fit(task, people, stack, kind)
            parts.append(fits.assign(bundle=bundle, map=name, profile=kind))
            correlations[f"{name}_{kind}"] = correlation
            facts[name][f"Smoothness{kind}"] = smooth
    front = ["bundle", "map", "profile", "contrast", "s", "r"]
    table = pd.concat(parts, ignore_index=True)
    table = table[[*front, *(c for c in table if c not in front)]]
    remove(path)  # killed after the description, old fits would pass for new ones
    write_bytes(path.with_suffix(".npz"), _npz(correlations))
    write_json(path.with_suffix(".json"), {**description(task, people), "Bundle": bundle, "Maps": facts})
    write_bytes(path, csv_bytes(table))
    return path


def description(task: Task, people: People) -> dict[str, Any]:
    """What the fits of every bundle have in common; aggregate compares it."""
    design = people.design
    digest = hashlib.sha256("\0".join((design.formula.text, people.effect, *design.columns, *design.labels)).encode())
    digest.update(("%.8g " * design.X.size % tuple(design.X.ravel())).encode())
    digest.update(f"{task.pattern} {task.maps} {task.min_subjects}".encode())
    for part in design.random:
        digest.update(f"{part.group} {part.names} {part.correlated} {part.codes.tolist()}".encode())
    return {
        "Formula": design.formula.text,
        "Effect": people.effect,
        "Contrast": people.contrast.weights.tolist(),
        "DesignColumns": list(design.columns),
        "Rows": design.n,
        "NotInTheDesign": {row.label: f"n/a in {', '.join(row.columns)}" for row in design.dropped},
        "Warnings": list(design.warnings),
        "Profiles": list(task.kinds),
        "ModelKey": digest.hexdigest()[:16],
        "SpectraBidsVersion": __version__,
    }


def csv_bytes(table: pd.DataFrame) -> bytes:
    """CSV with enough digits to read the same decisions from it."""
    return table.to_csv(index=False, float_format="%.10g", na_rep="NaN", lineterminator="\n").encode()


def _files(task: Task, people: People, bundle: str) -> dict[str, list[Path | None]]:
    """Files of the design's rows by map."""
    if not task.root_dir.is_dir():
        raise MissingInputError(f"--root_dir {task.root_dir} is no folder")
    check_pattern(task.pattern, [c for c in people.rows[0] if c != "subject"])
    rows = [people.rows[i] for i in people.design.rows]
    found = find_profiles(task.root_dir, task.pattern, rows, bundle, task.maps)
    if not found or any(name not in found for name in task.maps):
        raise _absent(task, rows, bundle)
    without = [i for i in range(len(rows)) if all(paths[i] is None for paths in found.values())]
    anything = find_bundles(task.root_dir, task.pattern, [rows[i] for i in without], task.maps)
    nothing = [rows[i] for k, i in enumerate(without) if not any(k in has for has in anything.values())]
    if nothing and not task.allow_missing:
        raise MissingInputError(
            f"no profile of {_some([row['subject'] for row in nothing])} in {task.root_dir}: expected {task.pattern}",
            "Make their profiles, take them out of the metadata, or leave them out with --allow_missing",
        )
    if without:
        log.warning("bundle %s is missing in %s", bundle, _some([rows[i]["subject"] for i in without]))
    return found


def _absent(task: Task, rows: Sequence[dict[str, str]], bundle: str) -> NothingSelectedError:
    """What there is instead of a bundle, or of its maps."""
    hint = "A map whose name has an underscore is found by --maps NAME, other names by --pattern"
    maps = find_profiles(task.root_dir, task.pattern, rows, bundle)
    if maps and task.maps:
        lost = ", ".join(name for name in task.maps if name not in maps)
        return NothingSelectedError(f"nobody has the map {lost} of {bundle}. Maps there: {', '.join(maps)}", hint)
    there = ", ".join(find_bundles(task.root_dir, task.pattern, rows, task.maps)) or "none"
    place = f"no file {task.pattern} in {task.root_dir}"
    return NothingSelectedError(f"nobody has the bundle {bundle}: {place}. Bundles there: {there}", hint)


def _some(names: Sequence[str]) -> str:
    """Names, the first twenty of them."""
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(names[:20]) + more


def _facts(stack: ProfileStack, people: People) -> dict[str, Any]:
    """What the profiles of a map are like."""
    _, ns, nr = stack.across.shape
    absent = [people.design.labels[row] for row in stack.absent]
    return {"Nodes": ns, "RadialBins": nr, "NodeSpacing": stack.s_len, "RadialBinWidth": stack.r_len, "Absent": absent}


def _fit(
    task: Task, people: People, stack: ProfileStack, kind: str
) -> tuple[pd.DataFrame, NDArray[np.float32], dict[str, float | None]]:
    """Fits of one map and kind of profile, a row per cell of the grid in (s, r) order; correlation of residuals.

    The column `resel` numbers the blocks that are as large as the residuals are smooth; -1 where nobody has a value.
    """
    field = stack.along[:, :, None] if kind == "1D" else stack.across
    n, ns, nr = field.shape
    values = field.reshape(n, ns * nr)
    fit = fit_design(values, people.design, [people.contrast], task.min_subjects)
    fits = fits_table(fit, [people.contrast])
    s, r = np.divmod(fits.pop("cell").to_numpy(np.int64), nr)
    correlation = correlate(conditional_residuals(values, people.design.X, fit))
    there = np.isfinite(values).any(axis=0)
    across = r[there] if kind == "2D" else None
    smooth = smoothness(correlation[np.ix_(there, there)], s[there], across)
    resel = np.full(len(s), -1)
    resel[there] = resels(s[there], across, smooth)
    radial = pd.array(r if kind == "2D" else [pd.NA] * len(r), dtype="Int64")
    words = {k: round(v, 4) if np.isfinite(v) else None for k, v in asdict(smooth).items()}
    return fits.assign(s=s, r=radial, resel=resel), correlation, words


def _npz(arrays: dict[str, NDArray[np.float32]]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
