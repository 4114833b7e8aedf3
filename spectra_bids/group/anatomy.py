"""--atlas-labels at the group level: volumes read, and held against the atlas that the profiles were made on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spectra_bids.dataset.label_store import LabelFiles, find_labels
from spectra_bids.dataset.outputs import sha256
from spectra_bids.errors import AtlasError
from spectra_bids.geometry.grid import Grid
from spectra_bids.geometry.labels import LabelVolume
from spectra_bids.geometry.places import cell_points
from spectra_bids.group.clusters import Anatomy
from spectra_bids.io.label_names import find_names
from spectra_bids.io.labels import LEAST, read_labels

log = logging.getLogger("spectra_bids")

#: Share of the bundles' points that must lie in a label volume; cortical atlases need not label any of them.
LEAST_INSIDE = 0.5
#: Labels of cortex lie about the bundles' points, not at them; in mm.
MARGIN = 20.0
_RULE = f"Nearest voxel; of maps of probability the largest, if at least {LEAST:g}"
_OF_ONE_PERSON = ("T1w", "T2w", "ACPC", "orig", "individual", "fsnative", "native", "subject")


def read_anatomy(named: Sequence[str], grids: Mapping[str, Grid], space: str) -> Anatomy:
    """Grids and the label volumes of --atlas-labels.

    Parameters
    ----------
    named : sequence of str
        Values of --atlas-labels.
    grids : mapping
        Of the bundles that are tested.
    space : str
        Space of the bundle atlas, as its atlas.json says.

    Raises
    ------
    MissingInputError
        A file or name is not there.
    VolumeError, AtlasError
        A volume or its table cannot be read, or it cannot be in the space of the bundles.

    """
    volumes = []
    for text in named:
        files = find_labels(text)
        volume = read_labels(files.volumes, files.names, files.source)
        _require_space(text, files, space)
        _require_overlap(text, files, volume, grids)
        volumes.append(volume)
    titles = [volume.source for volume in volumes]
    twins = sorted({title for title in titles if titles.count(title) > 1})
    if twins:
        raise AtlasError(f"--atlas-labels names {', '.join(twins)} more than once", "Leave one out, or rename a file")
    return Anatomy(grids, tuple(volumes))


def label_files(named: Sequence[str]) -> tuple[Path, ...]:
    """Every file that the labels come from, tables beside the volumes too."""
    out: list[Path] = []
    for text in named:
        files = find_labels(text)
        beside = find_names(files.volumes[0]) if files.names is None else None
        out += [*files.files, *([beside] if beside is not None else [])]
    return tuple(out)


def label_hashes(named: Sequence[str]) -> dict[str, str]:
    """Number and name of each of these files -> SHA-256 of its content."""
    return {f"{k} {path.name}": sha256(path) for k, path in enumerate(label_files(named))}


def label_facts(named: Sequence[str], anatomy: Anatomy) -> list[dict[str, Any]]:
    """What the sidecar of the clusters says of the labels."""
    facts = []
    for text, volume in zip(named, anatomy.labels, strict=True):
        files = {path.name: sha256(path) for path in label_files([text])}
        facts.append({"Name": volume.source, "Files": files, "Rule": _RULE})
    return facts


def _require_space(text: str, files: LabelFiles, space: str) -> None:
    """AtlasError if the file's name says a space of one person; a warning if another template than the atlas's."""
    both_mni = files.space.startswith("MNI152") and space.startswith("MNI152")
    if not files.space or not space or files.space == space or both_mni:
        return
    if files.space in _OF_ONE_PERSON:
        raise AtlasError(
            f"--atlas-labels {text} must be in the space of the bundle atlas, {space}. Its name says {files.space}",
            "Resample it to that space with nearest-neighbour interpolation, or give another",
        )
    log.warning("--atlas-labels %s is in %s, by its name; the bundle atlas is in %s", text, files.space, space)


def _require_overlap(text: str, files: LabelFiles, volume: LabelVolume, grids: Mapping[str, Grid]) -> None:
    """AtlasError if the bundles lie elsewhere than the labels; a warning if they lie in no region."""
    located = [grid for grid in grids.values() if grid.is_located]
    if not located:
        return
    found = [cell_points(grid, np.flatnonzero(grid.in_1d), None) for grid in located]
    points, weights = np.concatenate([p for p, _ in found]), np.concatenate([w for _, w in found])
    inside = volume.inside(points)
    held = float(weights[inside].sum() / weights.sum())
    low, high = points.min(axis=0), points.max(axis=0)
    near = _labels_within(volume, low - MARGIN, high + MARGIN)
    if held < LEAST_INSIDE or not near:
        none = "" if near else f", and none of its labels within {MARGIN:g} mm of where they reach"
        facts = f"shape {volume.data.shape}, voxel axes {_orientation(volume)}, {_box(*volume.bounds)}"
        raise AtlasError(
            f"--atlas-labels {text} cannot be in the space of the bundles: {held:.0%} of their points lie in the "
            f"volume {files.volumes[0].name} ({facts}){none}; the bundles reach over {_box(low, high)}",
            "Expected labels of whole brain in the atlas's space, mm RAS+. Check the file's affine",
        )
    labelled = float(weights[volume.at(points) != 0].sum() / weights.sum())
    log.info("%s: %.0f %% of the bundles' points lie in a region", volume.source, 100 * labelled)
    if labelled == 0:
        log.warning("--atlas-labels %s: no point of a bundle lies in a region; everything is OUTSIDE", text)


def _labels_within(volume: LabelVolume, low: np.ndarray[Any, Any], high: np.ndarray[Any, Any]) -> bool:
    """Whether any voxel with a label lies in a box."""
    index = np.argwhere(volume.data != 0)
    mm = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    return bool(((mm >= low) & (mm <= high)).all(axis=1).any())


def _orientation(volume: LabelVolume) -> str:
    """Letters of the directions that the voxel axes run to, such as LAS."""
    axes = volume.affine[:3, :3]
    names = (("L", "R"), ("P", "A"), ("I", "S"))
    best = [int(np.argmax(np.abs(axes[:, k]))) for k in range(3)]
    return "".join(names[row][int(axes[row, k] > 0)] for k, row in enumerate(best))


def _box(low: np.ndarray[Any, Any], high: np.ndarray[Any, Any]) -> str:
    return ", ".join(f"{axis} {a:.0f} to {b:.0f}" for axis, a, b in zip("xyz", low, high, strict=True)) + " mm"
