"""Results on the atlas's streamlines: numbers and a colour per point."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra_bids.dataset.outputs import write_json, writing
from spectra_bids.errors import UsageError
from spectra_bids.figures.scene_colours import by_value, cell_values
from spectra_bids.figures.style import diverging, sequential
from spectra_bids.geometry.grid import assign
from spectra_bids.geometry.sampling import refine
from spectra_bids.io.contents import Tractogram
from spectra_bids.io.writing import write_tractogram
from spectra_bids.write_back.places import Place, description
from spectra_bids.write_back.task import WriteBackTask, sidecar

#: Values per point that a .trk header names.
_TRK_VALUES = 10
_INDEX = {
    "s": "Node along the tract that the point is nearest to",
    "r": "Radial bin that the point is in",
    "color": "Red, green, blue (0 to 255) by the column that ColorOf names; grey: not tested",
}


def check_room(task: WriteBackTask) -> None:
    """UsageError if a .trk, which takes 10 numbers per point, has no room for what is asked for."""
    used = 3 + (1 if task.dims == "1D" else 2)
    if "trk" in task.formats and len(task.what) + used > _TRK_VALUES:
        raise UsageError(
            f"--what: a .trk has room for {_TRK_VALUES - used} columns beside place and colour. Got {len(task.what)}",
            "Name fewer, or write .trx",
        )


def write_streamlines(
    path: Path,
    task: WriteBackTask,
    place: Place,
    values: dict[str, NDArray[np.float64]],
    scale: tuple[float, float],
    centred: bool,
    facts: dict[str, Any],
) -> None:
    """Write a bundle with its results.

    Parameters
    ----------
    values : mapping of str to (ns,) or (ns, nr)
        Column -> its value in each cell.
    scale : (float, float)
        Values of the first and last colour of the first column.
    centred : bool
        Whether zero is the middle of that scale.
    facts : mapping
        For the JSON file.

    """
    # Points no further apart than half a cell, so that no cell is stepped over.
    bundle, _, _ = refine(place.bundle, place.bundle, min(place.grid.s_len, place.grid.r_len or np.inf) / 2)
    where = assign(place.grid, bundle)
    numbers = {name: cell_values(cells, where) for name, cells in values.items()}
    first = task.what[0]
    rgb = np.rint(255 * by_value(numbers[first], diverging() if centred else sequential(), scale)).astype(np.uint8)
    places = {"s": where.s} | ({"r": where.r_bin} if task.dims == "2D" else {})
    # The colour stands last: in a .trk it takes three places, of which the header names one.
    per_point = {n: v.astype(np.float32)[:, None] for n, v in (*places.items(), *numbers.items())} | {"color": rgb}
    with writing(path) as file:
        write_tractogram(file, path, Tractogram(bundle, place.image, per_point=per_point))
    told = {"DataPerVertex": {name: _INDEX.get(name) or description(name) for name in per_point}}
    limits = {"ColorOf": first, "ColorLimits": [round(float(x), 6) for x in scale]}
    write_json(sidecar(path), facts | told | limits)
