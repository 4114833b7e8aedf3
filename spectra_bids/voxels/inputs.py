"""The inputs of a voxel-wise analysis: images of a table, or rows of a ModelArray file, read a block of voxels at a
time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectra_bids.bridges.modelarray import ModelArrayFile
from spectra_bids.dataset.design_files import read_image_table
from spectra_bids.dataset.outputs import sha256
from spectra_bids.errors import DesignError, InputDataError, MissingInputError, listed
from spectra_bids.io.masks import Mask, located, require_files, stacked
from spectra_bids.voxels.settings import VoxelSettings

F = NDArray[np.float64]

_SOURCE, _SCALAR = "source_file", "scalar_name"
_READ_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class Inputs:
    """Who has which covariates, and where the values are.

    Parameters
    ----------
    table : DataFrame of N rows
        Covariates; the index names the inputs.
    paths : tuple of N Path
        Images; empty with an HDF5 file.
    rows : (N,) int64
        Rows of the HDF5 file's scalar.
    hdf5, scalar
        The file and its scalar; None and "" with images.
    notes : tuple of str

    """

    table: pd.DataFrame
    paths: tuple[Path, ...]
    rows: NDArray[np.int64]
    hdf5: Path | None
    scalar: str
    notes: tuple[str, ...]

    def take(self, keep: NDArray[np.integer]) -> Inputs:
        """Some of the inputs."""
        paths = tuple(self.paths[k] for k in keep) if self.paths else ()
        return replace(self, table=self.table.iloc[keep], paths=paths, rows=self.rows[keep])


def read_inputs(settings: VoxelSettings, mask: Mask) -> Inputs:
    """Table and inputs, held against each other and against the mask.

    Raises
    ------
    MissingInputError
        If a file is not there.
    InputDataError
        If the table does not name inputs of the HDF5 file, or the file was made with another mask.

    """
    stored_names = ("", "") if settings.hdf5 is None else (_SOURCE, _SCALAR)
    names, table, notes = read_image_table(settings.design, *stored_names)
    if settings.hdf5 is None:
        paths = tuple(located(name, settings.design) for name in names)
        require_files(paths, f"images that {settings.design} names")
        table.index = pd.Index(_short(names))
        return Inputs(table, paths, np.arange(len(paths)), None, "", notes)
    with ModelArrayFile(settings.hdf5) as file:
        if file.cells() is not None:
            raise InputDataError(
                f"{settings.hdf5} holds cells of bundles, not voxels",
                "The group level analyses these: group --formula.",
            )
        scalar = file.choose(settings.scalar)
        file.require_mask(mask, file.n_elements(scalar))
        stored = file.inputs(scalar)
    table, names = _of_scalar(settings, table, names, scalar)
    place = {name: k for k, name in enumerate(stored)}
    absent = [name for name in names if name not in place]
    if absent:
        raise DesignError(
            f"{len(absent)} of {len(names)} inputs that {settings.design} names are not in {settings.hdf5} ({scalar}): "
            f"{listed(absent[:3])}. The file has, for example: {listed(stored[:3])}",
            f"Name them as the cohort file did, in the first column or in one called {_SOURCE}.",
        )
    unused = len(set(stored) - set(names))
    more = (f"{unused} inputs of {settings.hdf5.name} are not in {settings.design.name}",) if unused else ()
    table.index = pd.Index(_short(names))
    rows = np.array([place[name] for name in names], np.int64)
    return Inputs(table, (), rows, settings.hdf5, scalar, (*notes, *more))


def _of_scalar(
    settings: VoxelSettings, table: pd.DataFrame, names: tuple[str, ...], scalar: str
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Rows of a cohort file that are of the scalar, and their names."""
    if _SCALAR in table:
        mine = (table[_SCALAR].astype(str) == scalar).to_numpy()
        if not mine.any():
            raise DesignError(f"column {_SCALAR} of {settings.design} never says {scalar}")
        table = table[mine].reset_index(drop=True)
        names = tuple(name for name, here in zip(names, mine, strict=True) if here)
    return table, names


def _short(names: tuple[str, ...]) -> list[str]:
    """File names, where these differ; else all of the paths."""
    short = [Path(name).name for name in names]
    return short if len(set(short)) == len(short) else list(names)


@contextmanager
def opened(inputs: Inputs, mask: Mask, folder: Path) -> Iterator[Callable[[int, int], F]]:
    """Values of the elements from `start` to `stop`, (N, stop - start), as a function of both."""
    if inputs.hdf5 is not None:
        with ModelArrayFile(inputs.hdf5) as file:
            yield lambda start, stop: file.columns(inputs.scalar, start, stop)[inputs.rows]
        return
    with stacked(inputs.paths, [None] * len(inputs.paths), mask, folder, np.float32) as matrix:
        yield lambda start, stop: np.asarray(matrix[:, start:stop], np.float64)


def contents_hash(inputs: Inputs) -> str:
    """Hash of the inputs' values: a file's bytes, or those of the rows of an HDF5 file (results may join it)."""
    digest = hashlib.sha256()
    if inputs.hdf5 is None:
        for path in inputs.paths:
            digest.update(sha256(path).encode())
        return digest.hexdigest()
    with ModelArrayFile(inputs.hdf5) as file:
        elements = file.n_elements(inputs.scalar)
        for start in range(0, elements, _READ_AT_ONCE):
            block = file.columns(inputs.scalar, start, min(start + _READ_AT_ONCE, elements))
            digest.update(np.ascontiguousarray(block[inputs.rows]).tobytes())
    return digest.hexdigest()


def require_volume(path: Path | None) -> None:
    """MissingInputError where an optional image is named and not there."""
    if path is not None and not path.is_file():
        raise MissingInputError(f"There is no file {path}")
