"""What is written back, and where to: the task, and the names of its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spectra_bids.dataset.names import plain
from spectra_bids.errors import OutputError

#: What is written of a row of the table of results unless columns are named.
WHAT = ("value", "estimate", "p", "q", "rejected")
#: How BIDS apps call these statistics in file names; the statistic itself is t, F or chi2.
_STAT = {"estimate": "effect", "estimate_std": "effectstd", "effect_size": "effectsize"}


@dataclass(frozen=True)
class WriteBackTask:
    """What is written: results of `model` (empty: the only one) in `out`, to `target`.

    Empty `bundles`, `scalars`, `contrasts` mean all. `atlas` names the full streamlines; else the display streamlines
    of `out` are taken. `reference` gives the volumes' voxels; else those of the MNI152 image at `voxel_size` mm.
    """

    out: Path
    target: Path
    model: str = ""
    dims: Literal["1D", "2D"] = "2D"
    bundles: tuple[str, ...] = ()
    scalars: tuple[str, ...] = ()
    contrasts: tuple[str, ...] = ()
    what: tuple[str, ...] = WHAT
    formats: tuple[str, ...] = ("trx",)
    atlas: str = ""
    reference: Path | None = None
    voxel_size: float = 1.0
    overwrite: bool = False


def cells_file(task: WriteBackTask, space: str, atlas: str, bundle: str, suffix: str = "nii.gz") -> Path:
    """Label volume of a bundle's cells, or its table (tsv)."""
    return task.target / f"{_prefix(space)}atlas-{atlas}_bundle-{bundle}_desc-profile{task.dims}_dseg.{suffix}"


def results_stem(task: WriteBackTask, space: str, model: str, contrast: str, scalar: str, bundle: str) -> str:
    """Begin of the names of one bundle's results."""
    family = f"model-{model}_contrast-{plain(contrast)}_scalar-{plain(scalar)}"
    return f"{_prefix(space)}{family}_bundle-{bundle}_desc-profile{task.dims}"


def streamlines_file(task: WriteBackTask, stem: str, kind: str) -> Path:
    """Streamlines with one bundle's results."""
    return task.target / f"{stem}_tractogram.{kind}"


def map_file(task: WriteBackTask, stem: str, column: str, statistic: str) -> Path:
    """Volume of one column of one bundle's results; `statistic` is the kind of its tests."""
    stat = statistic if column == "value" else _STAT.get(column, plain(column))
    return task.target / f"{stem}_stat-{stat}_statmap.nii.gz"


def sidecar(path: Path) -> Path:
    """JSON file that goes with a file."""
    return path.with_name(path.name.removesuffix(".gz").rpartition(".")[0] + ".json")


def check_free(task: WriteBackTask, paths: list[Path]) -> None:
    """OutputError if one of the files is there and may not be replaced: before the first is written."""
    there = [] if task.overwrite else [path for path in paths if path.exists()]
    if there:
        raise OutputError(
            f"{there[0]} is there already", "Choose another folder, or replace what is there with --force"
        )


def _prefix(space: str) -> str:
    return f"space-{space}_" if space else ""
