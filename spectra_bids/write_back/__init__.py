"""Group results back to where they are: onto the atlas's streamlines, and into volumes in the atlas's space.

    [space-X_]model-M_contrast-C_scalar-S_bundle-B_desc-profile2D_tractogram.{trx,trk}   numbers and a colour per point
    [space-X_]model-M_contrast-C_scalar-S_bundle-B_desc-profile2D_stat-t_statmap.nii.gz  float32, NaN where untested
    [space-X_]atlas-A_bundle-B_desc-profile2D_dseg.{nii.gz,tsv}                          the cells, and what each is

each with a JSON file. One volume per bundle: in a voxel of several bundles each has its own cell and its own result,
and neither a mean nor the strongest of them is anybody's. A voxel belongs to a bundle if streamlines pass through it,
and to the cell that its centre lies in, as a streamline's point would.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectra_bids.dataset.names import group_dir, meant, model_table
from spectra_bids.dataset.outputs import read_table, sha256
from spectra_bids.errors import MissingInputError, UsageError, listed
from spectra_bids.figures.style import limits
from spectra_bids.write_back.places import find_places, on_grid, place_facts
from spectra_bids.write_back.streamlines import check_room, write_streamlines
from spectra_bids.write_back.task import (
    WHAT,
    WriteBackTask,
    cells_file,
    check_free,
    map_file,
    results_stem,
    streamlines_file,
)
from spectra_bids.write_back.volumes import write_cells, write_map

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["WHAT", "WriteBackTask", "write_back"]

_SIGNED = {"estimate", "estimate_std", "effect_size", "value"}


@dataclass(frozen=True, eq=False)
class Family:
    """Results of one contrast and scalar in all bundles, with the limits of their colours."""

    contrast: str
    scalar: str
    rows: pd.DataFrame
    scale: tuple[float, float]
    centred: bool

    def of(self, bundle: str) -> pd.DataFrame:
        """Rows of one bundle."""
        return self.rows[self.rows["bundle"] == bundle]


def write_back(task: WriteBackTask) -> list[Path]:
    """Write the files; returns them, JSON files left out.

    Raises
    ------
    SpectraError
        There are no such results, their places are not known, the atlas is another one, or an output cannot be made.

    """
    check_room(task)
    model = task.model or _only_model(task.out)
    table = model_table(task.out, model, task.dims, "stats")
    stats = _chosen(task, read_table(table), table)
    families = [_family(task, c, s, rows) for (c, s), rows in stats.groupby(["contrast", "scalar"], sort=False)]
    atlas = find_places(task, list(dict.fromkeys(stats["bundle"])))
    planned = {name: _files(task, model, atlas.space, label, name, families) for name, label in atlas.labels.items()}
    made = [path for files in planned.values() for path in files.values()]
    check_free(task, made)
    facts = {"Model": model, "Table": {"File": table.name, "SHA256": sha256(table)}}
    for name, files in planned.items():
        place = atlas.place(name)
        if "nii" in task.formats:
            write_cells(files["dseg", "nii"], files["dseg", "tsv"], task, place)
        for k, family in enumerate(families):
            rows = family.of(name)
            told = facts | {"Contrast": family.contrast, "Scalar": family.scalar} | place_facts(task, place)
            values = {w: on_grid(place.grid, task.dims, rows, _numbers(rows, w)) for w in task.what}
            for (number, what), path in files.items():
                if number != str(k):
                    continue
                if what in ("trx", "trk"):
                    write_streamlines(path, task, place, values, family.scale, family.centred, told)
                else:
                    write_map(path, place, what, values[what], told)
    return made


def _files(
    task: WriteBackTask, model: str, space: str, label: str, bundle: str, families: list[Family]
) -> dict[tuple[str, str], Path]:
    """Files of a bundle: ("dseg", nii or tsv), and (number of the family, format or column)."""
    out: dict[tuple[str, str], Path] = {}
    if "nii" in task.formats:
        out |= {("dseg", kind): cells_file(task, space, label, bundle, end) for kind, end in
                (("nii", "nii.gz"), ("tsv", "tsv"))}  # fmt: skip
    for k, family in enumerate(families):
        rows = family.of(bundle)
        if not len(rows):
            continue
        stem = results_stem(task, space, model, family.contrast, family.scalar, bundle)
        out |= {(str(k), kind): streamlines_file(task, stem, kind) for kind in task.formats if kind != "nii"}
        if "nii" in task.formats:
            statistic = str(rows["statistic"].iloc[0])
            out |= {(str(k), column): map_file(task, stem, column, statistic) for column in task.what}
    return out


def _only_model(out: Path) -> str:
    there = sorted(p.name.removeprefix("model-") for p in group_dir(out).glob("model-*") if p.is_dir())
    if not there:
        raise MissingInputError(f"There are no results of a model in {out}", "Run the group level first")
    if len(there) > 1:
        raise UsageError(f"--model must name one of several models in {out}: {', '.join(there)}")
    return there[0]


def _chosen(task: WriteBackTask, stats: pd.DataFrame, table: Path) -> pd.DataFrame:
    """Rows and columns that are asked for; UsageError for what is not in the table."""
    asked = {"bundle": task.bundles, "scalar": task.scalars, "contrast": task.contrasts}
    for column, names in asked.items():
        there = list(dict.fromkeys(stats[column]))
        if column == "bundle":
            names = tuple(meant(name, there) or name for name in names)
        absent = [name for name in names if name not in there]
        if absent:
            raise UsageError(f"--{column}: {table.name} has no {listed(absent)}. There are: {listed(there)}")
        if names:
            stats = stats[stats[column].isin(names)]
    key = {"bundle", "scalar", "contrast", "s", "r"}
    numbers = [c for c in stats if c not in key and stats[c].dtype.kind in "fiub"]
    numbers += [c for c in ("rejected", "block_selected") if c in stats and c not in numbers]
    wrong = [name for name in task.what if name not in numbers]
    if wrong or not task.what:
        raise UsageError(f"--what: {table.name} has no numbers called {listed(wrong)}. There are: {listed(numbers)}")
    return stats


def _family(task: WriteBackTask, contrast: Any, scalar: Any, rows: pd.DataFrame) -> Family:
    """Rows of one contrast and scalar, with one scale of colours for all bundles."""
    first = task.what[0]
    centred = _centred(first, rows)
    bounded = first in ("p", "q", "rejected", "block_selected")
    scale = (0.0, 1.0) if bounded else limits(_numbers(rows, first), centred=centred)
    return Family(str(contrast), str(scalar), rows, scale, centred)


def _centred(column: str, rows: pd.DataFrame) -> bool:
    """Whether zero is the middle of a column's scale."""
    return column in _SIGNED and (column != "value" or bool((rows["statistic"] == "t").all()))


def _numbers(rows: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """Values of a column; True and False are 1 and 0."""
    values = rows[column]
    if values.dtype == object:  # True, False and n/a
        values = values.map({"True": 1.0, "False": 0.0, True: 1.0, False: 0.0})
    return np.asarray(values.to_numpy(dtype=np.float64, na_value=np.nan))
