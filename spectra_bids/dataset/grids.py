"""Frozen grids on disk: `atlas/atlas-<label>_bundle-<X>_grid.{json,npz}`.

The JSON says what the grid was made from and its checksum; the NPZ holds the arrays. A grid that is there is used as
it is; one that was made from another atlas or with other settings is refused, for its cells would mean other places.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from spectra_bids.dataset.names import grid_files
from spectra_bids.dataset.outputs import write_bytes, write_json
from spectra_bids.errors import AtlasError
from spectra_bids.geometry.grid import Grid
from spectra_bids.settings import GridSettings

_ARRAYS = tuple(
    f.name for f in fields(Grid) if f.name not in {"bundle", "s_len", "r_len", "ends", "sides", "robust", "radial"}
)


def write_grid(out: Path, atlas_label: str, grid: Grid, settings: GridSettings | None, source_hash: str) -> None:
    """Store a grid: arrays first, the JSON that makes them valid last; `settings` is None for a grid of nodes alone."""
    description, arrays = grid_files(out, atlas_label, grid.bundle)
    buffer = io.BytesIO()
    np.savez(buffer, **{name: getattr(grid, name) for name in _ARRAYS})
    content = buffer.getvalue()
    write_bytes(arrays, content)
    write_json(
        description,
        {
            "Bundle": grid.bundle,
            "Checksum": grid.checksum,
            "ArraysSHA256": hashlib.sha256(content).hexdigest(),
            "AtlasFileSHA256": source_hash,
            "Settings": asdict(settings) if settings else None,
            "Robust": grid.robust,
            "Radial": grid.radial,
            "Nodes": grid.ns,
            "RadialBins": grid.nr,
            # In full: a grid that was read back must give the same numbers as the one that was built.
            "NodeSpacing": {"Value": _known(grid.s_len), "Units": "mm"},
            "RadialBinWidth": {"Value": _known(grid.r_len), "Units": "mm"},
            "RadialEdges": {"Value": [round(float(e), 4) for e in grid.edges], "Units": "mm"},
            "Ends": list(grid.ends),
            "Sides": list(grid.sides),
            "NodesInGrid": int(grid.in_1d.sum()),
            "CellsInGrid": int(grid.in_2d.sum()),
            "Anisotropy": [_known(round(float(a), 4)) for a in grid.anisotropy],
            "NodesWithPoorAxis": int((grid.anisotropy < 0.6).sum()),
        },
    )


def _known(value: float) -> float | str:
    """JSON knows no NaN: n/a."""
    return value if np.isfinite(value) else "n/a"


def has_radial_bins(out: Path) -> bool:
    """Whether the cells of an output directory have two dimensions; not those of imported along-tract profiles."""
    return any(_facts(path).get("RadialBins") != 0 for _, path in stored_grids(out).values()) or not stored_grids(out)


def read_grid(out: Path, atlas_label: str, bundle: str, settings: GridSettings, source_hash: str) -> Grid | None:
    """The stored grid; None if there is none.

    Raises
    ------
    AtlasError
        If it was made from another atlas file or with other settings, or its content does not match its checksum.

    """
    description, _ = grid_files(out, atlas_label, bundle)
    if not description.is_file():
        return None
    facts = _facts(description)
    if facts.get("AtlasFileSHA256") != source_hash or facts.get("Settings") != asdict(settings):
        other = "from another atlas file" if facts.get("AtlasFileSHA256") != source_hash else "with other grid settings"
        raise AtlasError(
            f"{description} was made {other}. A cell must mean the same place in everyone of an output directory",
            "Use another OUTPUT_DIR, or --force to make the grids anew (then every session is recomputed)",
        )
    return load_grid(out, atlas_label, bundle)


def load_grid(out: Path, atlas_label: str, bundle: str) -> Grid:
    """A stored grid, whatever it was made from."""
    description, arrays = grid_files(out, atlas_label, bundle)
    facts = _facts(description)
    try:
        content = arrays.read_bytes()
        if hashlib.sha256(content).hexdigest() != facts.get("ArraysSHA256", hashlib.sha256(content).hexdigest()):
            raise ValueError("its SHA-256 is not the one that the JSON file beside it names")
        with np.load(io.BytesIO(content)) as stored:
            grid = Grid(
                bundle=bundle,
                s_len=_length(facts["NodeSpacing"]),
                r_len=_length(facts["RadialBinWidth"]),
                ends=(facts["Ends"][0], facts["Ends"][1]),
                sides=(facts["Sides"][0], facts["Sides"][1]),
                robust=facts["Robust"],
                radial=facts["Radial"],
                **{name: stored[name] for name in _ARRAYS},
            )
    except (OSError, EOFError, KeyError, ValueError, IndexError, TypeError, zipfile.BadZipFile) as error:
        raise AtlasError(f"{arrays} cannot be read as a grid: {error}", "Delete it and run again") from error
    if grid.checksum != facts.get("Checksum"):
        raise AtlasError(f"{arrays} does not match the checksum in {description.name}", "Delete both and run again")
    return grid


def _length(entry: dict[str, Any]) -> float:
    """A length of the JSON file; n/a is NaN."""
    return float("nan") if entry["Value"] == "n/a" else float(entry["Value"])


def stored_grids(out: Path) -> dict[str, tuple[str, Path]]:
    """Bundle -> (atlas label, JSON file) of every grid in an output directory, sorted by file name."""
    found = {}
    for path in sorted((out / "atlas").glob("atlas-*_bundle-*_grid.json")):
        label, _, rest = path.name.removeprefix("atlas-").partition("_bundle-")
        found[rest.removesuffix("_grid.json")] = (label, path)
    return found


def _facts(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
        if not isinstance(content, dict):
            raise ValueError("expected a JSON object")
    except (OSError, ValueError) as error:
        raise AtlasError(f"{path} cannot be read: {error}", "Delete it and run again") from error
    return content
