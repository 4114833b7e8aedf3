"""Voxel-wise inference: images and a table -> maps, decisions, peaks, a page. The engine is that of bundles' cells."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectra_bids import __version__
from spectra_bids.bridges.modelarray import ModelArrayFile
from spectra_bids.dataset.label_store import LabelFiles, find_labels
from spectra_bids.dataset.outputs import clear_leftovers, remove, sha256, write_json, write_table, write_text
from spectra_bids.errors import SpectraError
from spectra_bids.geometry.labels import LabelVolume
from spectra_bids.io.labels import read_labels
from spectra_bids.io.masks import Mask, read_mask
from spectra_bids.report.words import counted
from spectra_bids.settings import settings_hash
from spectra_bids.voxels.decide import Decided, decide, regions_of, summary
from spectra_bids.voxels.fit import STATUSES, VoxelFits, fit_voxels, read_fits, require_memory, write_fits
from spectra_bids.voxels.inputs import Inputs, contents_hash, opened, read_inputs, require_volume
from spectra_bids.voxels.model import VoxelModel, make_model
from spectra_bids.voxels.outputs import (
    ContrastOutput,
    design_table,
    draw,
    write_back,
    write_maps,
    write_tables,
)
from spectra_bids.voxels.page import page_text
from spectra_bids.voxels.peaks import peak_tables
from spectra_bids.voxels.settings import VoxelSettings

log = logging.getLogger("spectra_bids")

F = NDArray[np.float64]


def run(settings: VoxelSettings) -> int:
    """Fit what is missing, decide, write maps, tables, pictures and page; nothing where all is done.

    Returns
    -------
    int
        Exit status 0; what goes wrong is raised.

    """
    mask = read_mask(settings.mask)
    require_volume(settings.display.background)
    regions = [find_labels(settings.blocks)] if settings.blocks else []
    named = [find_labels(text) for text in settings.labels] or regions
    inputs = read_inputs(settings, mask)
    model = make_model(settings, inputs)
    used = inputs.take(model.design.rows)
    require_memory(settings.mem_gb, model.design.n, mask.n, len(model.contrasts))
    fits_key = _fits_key(settings, used, mask, model)
    key = _key(settings, inputs, model, fits_key, [*regions, *named])
    if not settings.force and _is_done(settings, key):
        print(f"{settings.name} was done already: {settings.page}")
        return 0
    clear_leftovers(settings.out, recursive=False)
    fits = _fits(settings, used, mask, model, fits_key)
    volume = _volume(regions[0]) if regions else None
    _warn_of_nothing(model, fits)
    decided = decide(settings, model, fits, regions_of(mask, volume))
    _write(settings, inputs, mask, model, fits, decided, [_volume(files) for files in named], fits_key, key)
    write_back(settings, model, fits, decided)
    what = counted(len(model.contrasts), "contrast")
    left = f" ({len(model.design.dropped)} more left out: n/a)" if model.design.dropped else ""
    print(f"{settings.name}: {model.design.n} inputs{left}, {mask.n} voxels, {what}; {settings.page}")
    return 0


def _warn_of_nothing(model: VoxelModel, fits: VoxelFits) -> None:
    """A warning where no voxel could be tested: nothing found would read as no effect."""
    if not any(np.isfinite(test.p).any() for test in fits.tests):
        counts = np.bincount(fits.status, minlength=len(STATUSES) + 1)[1:]
        why = ", ".join(f"{n} {status}" for status, n in zip(STATUSES, counts, strict=True) if n)
        log.warning(
            "No voxel was tested, so nothing could be found: %s. There are %d inputs for %d columns of the design; "
            "--min-subjects says how many a voxel needs", why, model.design.n, len(model.design.columns),
        )  # fmt: skip


def _volume(files: LabelFiles) -> LabelVolume:
    return read_labels(files.volumes, files.names, files.source)


def _fits(settings: VoxelSettings, used: Inputs, mask: Mask, model: VoxelModel, key: str) -> VoxelFits:
    """The fits, from the last run where they are the same."""
    stored = settings.file("fits.npz")
    kept = None if settings.force else read_fits(stored, key)
    if kept is not None:
        return kept
    new = [folder for folder in (settings.folder, settings.out) if not folder.exists()]
    try:
        with opened(used, mask, settings.work_dir or settings.folder) as columns:
            fits = fit_voxels(model, columns, mask.n, settings.min_subjects)
    except SpectraError:
        for folder in new:  # an image that cannot be used leaves no empty folder
            with suppress(OSError):
                folder.rmdir()
        raise
    write_fits(stored, fits, key)
    return fits


def _write(
    settings: VoxelSettings,
    inputs: Inputs,
    mask: Mask,
    model: VoxelModel,
    fits: VoxelFits,
    decided: tuple[Decided, ...],
    labels: Sequence[LabelVolume],
    fits_key: str,
    key: str,
) -> None:
    """Everything in the output folder; the model file last: it makes the analysis done."""
    facts_file = settings.file("model.json")
    before = _files(facts_file)
    remove(facts_file)
    written = write_maps(settings, mask, model, fits, decided)
    shown = _shown(settings, mask, model, fits, decided, labels)
    written += write_tables(settings, model, shown)
    table = summary(settings, model, fits, decided)
    for name, content in _tables(settings, model, decided, table).items():
        write_table(settings.file(name), content)
        written.append(settings.file(name))
    written.append(settings.file("fits.npz"))
    write_text(settings.page, page_text(settings, inputs, mask, model, fits, decided, table, shown))
    files = sorted(path.relative_to(settings.folder).as_posix() for path in written)
    for name in before - set(files):  # contrasts that are no longer asked for
        remove(settings.folder / name)
    write_json(facts_file, _facts(settings, mask, model, table, files, fits_key, key))


def _shown(
    settings: VoxelSettings,
    mask: Mask,
    model: VoxelModel,
    fits: VoxelFits,
    decided: tuple[Decided, ...],
    labels: Sequence[LabelVolume],
) -> dict[str, ContrastOutput]:
    """Peaks and pictures of every contrast, by its label."""
    out = {}
    for label, test, found, directed in zip(model.labels, fits.tests, decided, model.directed, strict=True):
        two_sided = test.statistic == "t" and not directed
        peaks = peak_tables(test.value, found, mask, settings.display, labels, two_sided)
        wide, glass = draw(settings, mask, test.value, two_sided)
        out[label] = ContrastOutput(peaks, wide, glass)
    return out


def _tables(
    settings: VoxelSettings, model: VoxelModel, decided: tuple[Decided, ...], table: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """Suffix of the name, and content, of the analysis' tables."""
    tables = {"design.tsv": design_table(model), "summary.tsv": table}
    if settings.blocks:
        named = [found.blocks.assign(contrast=c.name) for c, found in zip(model.contrasts, decided, strict=True)]
        blocks = pd.concat(named, ignore_index=True)
        tables["blocks.tsv"] = blocks[["contrast", *(c for c in blocks if c != "contrast")]]
    return tables


def _facts(
    settings: VoxelSettings,
    mask: Mask,
    model: VoxelModel,
    table: pd.DataFrame,
    files: list[str],
    fits_key: str,
    key: str,
) -> dict[str, Any]:
    """Content of the model file."""
    contrasts = []
    counts = table[["n_rejected", "n_positive", "n_negative"]].itertuples(index=False, name=None)
    for contrast, label, (rejected, *sides) in zip(model.contrasts, model.labels, counts, strict=True):
        used = np.flatnonzero(np.any(contrast.weights != 0, axis=0))
        columns = [model.design.columns[k] for k in used]
        entry: dict[str, Any] = {"Name": contrast.name, "Label": label, "Type": contrast.type, "Columns": columns}
        entry |= {"Weights": contrast.weights[:, used].tolist(), "Rejected": int(rejected)}
        contrasts.append(entry | ({"RejectedAboveAndBelow0": [int(n) for n in sides]} if contrast.type == "T" else {}))
    return {
        "Name": settings.name,
        "Formula": model.design.formula.text,
        "Inputs": model.design.n,
        "Subjects": len(np.unique(model.design.subjects)),
        "LeftOut": {row.label: f"n/a in {', '.join(row.columns)}" for row in model.design.dropped},
        "Voxels": mask.n,
        "DesignColumns": list(model.design.columns),
        "Centred": dict(model.centred),
        "Contrasts": contrasts,
        "Decision": {k: v for k, v in asdict(settings.decision).items() if k in ("mode", "alpha", "adaptive",
                     "alpha_block", "alpha_cell", "combination")} | {"tails": settings.tails},
        "Display": {k: v for k, v in asdict(settings.display).items() if k != "background"},
        "Command": settings.command,
        "Files": files,
        "FitsHash": fits_key,
        "SettingsHash": key,
        "SpectraBidsVersion": __version__,
    }  # fmt: skip


# --- what is done ------------------------------------------------------------------------------------------------


def _fits_key(settings: VoxelSettings, used: Inputs, mask: Mask, model: VoxelModel) -> str:
    """Hash of everything that decides the fits."""
    digest = hashlib.sha256(f"{__version__} {settings.min_subjects} {contents_hash(used)}".encode())
    design = model.design
    digest.update(np.packbits(mask.inside).tobytes() + mask.affine.tobytes() + repr(mask.inside.shape).encode())
    for text in (design.formula.text, *design.columns, *design.labels):
        digest.update(text.encode() + b"\0")
    digest.update(design.X.tobytes() + design.subjects.tobytes())
    for part in design.random:
        digest.update(part.group.encode() + part.codes.tobytes() + part.columns.tobytes() + bytes([part.correlated]))
    for contrast in model.contrasts:
        digest.update(f"{contrast.name} {contrast.type}".encode() + contrast.weights.tobytes())
    return digest.hexdigest()[:16]


def _key(
    settings: VoxelSettings, inputs: Inputs, model: VoxelModel, fits_key: str, labels: Sequence[LabelFiles]
) -> str:
    """Hash of everything that decides the outputs."""
    files: list[Path] = [path for named in labels for path in named.files]
    if settings.display.background is not None:
        files.append(settings.display.background)
    hashes = {path.name: sha256(path) for path in files}
    display = asdict(settings.display) | {"background": None}
    return settings_hash(
        fits_key, hashes, repr(settings.decision), settings.tails, display, inputs.notes, settings.command,
        model.table.to_csv(), [named.source for named in labels],
    )  # fmt: skip


def _files(facts_file: Path) -> set[str]:
    """Files of the last run."""
    try:
        found: Mapping[str, Any] = json.loads(facts_file.read_text(encoding="utf-8"))
        return {str(name) for name in found["Files"] if ".." not in Path(str(name)).parts and str(name)[:1] != "/"}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _is_done(settings: VoxelSettings, key: str) -> bool:
    """Whether everything is there and was made of these inputs and settings."""
    facts_file = settings.file("model.json")
    try:
        same = json.loads(facts_file.read_text(encoding="utf-8")).get("SettingsHash") == key
    except (OSError, ValueError):
        return False
    there = all((settings.folder / name).is_file() for name in _files(facts_file)) and settings.page.is_file()
    if not (same and there) or settings.hdf5 is None:
        return same and there
    with ModelArrayFile(settings.hdf5) as file:
        return settings.name in file.analyses
