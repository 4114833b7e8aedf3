"""ModelArray's HDF5 files, in and out: what R's ModelArray analyses and modelarrayio converts.

    voxels                                  (4, V): voxel_id, i, j, k; names in the attribute column_names
    scalars/<scalar>/values                 (n, V), a row per input; R, whose axes are reversed, sees (V, n)
    scalars/<scalar>/column_names           (n,) text: the inputs; in older files an attribute of values
    results/<analysis>/results_matrix       (K, V), a row per result; names in its attribute colnames
    cells/{bundle,s,r,s_mm,r_mm}            ours: where the elements are cells of bundles, one value per element

Elements are the voxels of the group mask in C order of (i, j, k). The only module that imports h5py.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from spectra_bids.dataset.outputs import replacing
from spectra_bids.errors import (
    InputDataError,
    MissingInputError,
    NothingSelectedError,
    OutputError,
    VolumeError,
    listed,
)
from spectra_bids.io.masks import Mask, located, require_files, stacked

if TYPE_CHECKING:
    import pandas as pd

F = NDArray[np.float64]
Dtype = Literal["float32", "float64"]

_COLUMNS = ("scalar_name", "source_file", "source_mask_file")
_CHUNK_BYTES = 2 * 2**20
_KINDS: Mapping[str, type[np.floating]] = {"float32": np.float32, "float64": np.float64}


# --- the cohort file ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CohortRow:
    """A line of a cohort file: scalar, input as written, and where input and mask are."""

    scalar: str
    source: str
    path: Path
    mask: Path


def read_cohort_file(path: Path) -> tuple[CohortRow, ...]:
    """Lines of a CSV with the columns scalar_name, source_file, source_mask_file, in any order, among others.

    Raises
    ------
    InputDataError
        If a column is missing (names are case-sensitive), or a value.
    MissingInputError
        If the file, or a file that it names, is not there.

    """
    header, lines = _csv(Path(path))
    absent = [name for name in _COLUMNS if name not in header]
    if absent:
        raise InputDataError(
            f"{path} must have the columns {', '.join(_COLUMNS)}. Got: {listed(header)}",
            f"Missing: {', '.join(absent)}. Names are case-sensitive.",
        )
    rows = []
    for number, line in lines:
        scalar, source, mask = (line[header.index(name)].strip() for name in _COLUMNS)
        if not (scalar and source and mask) or "/" in scalar:
            raise InputDataError(
                f"Line {number} of {path} must name a scalar (without '/'), its file and a mask. Got {scalar!r}, "
                f"{source!r}, {mask!r}",
                "Without masks of their own, give every input the group mask.",
            )
        rows.append(CohortRow(scalar, source, located(source, Path(path)), located(mask, Path(path))))
    if not rows:
        raise InputDataError(f"{path} names no input")
    for scalar in dict.fromkeys(row.scalar for row in rows):
        sources = [row.source for row in rows if row.scalar == scalar]
        twice = [name for name in dict.fromkeys(sources) if sources.count(name) > 1]
        if twice:
            raise InputDataError(f"the inputs of {scalar} in {path} must differ. Got {twice[0]} twice")
    require_files([row.path for row in rows], "images")
    require_files([row.mask for row in rows], "masks")
    return tuple(rows)


def _csv(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header, and lines with their numbers."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise MissingInputError(f"There is no file {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputDataError(f"{path} must be a CSV table in UTF-8. Got {error}") from error
    lines = [(number, line) for number, line in enumerate(csv.reader(text.splitlines()), 1) if any(line)]
    if not lines:
        raise InputDataError(f"{path} is empty: expected a header with {', '.join(_COLUMNS)}")
    header = [name.strip() for name in lines[0][1]]
    for number, line in lines[1:]:
        if len(line) != len(header):
            raise InputDataError(
                f"Line {number} of {path} must have {len(header)} values, as its header. Got {len(line)}"
            )
    return header, lines[1:]


# --- writing -----------------------------------------------------------------------------------------------------


def write_voxels(output: Path, mask: Mask, rows: Sequence[CohortRow], dtype: Dtype = "float32") -> dict[str, int]:
    """Images to a ModelArray file, all scalars in one; number of inputs by scalar.

    Images are read one at a time into a file beside the output, from which the HDF5 file is written in chunks that
    span all inputs: memory does not grow with their number.
    """
    counts = {}
    with _new(output) as file:
        table = np.column_stack([np.arange(mask.n), mask.ijk])
        voxels = file.create_dataset("voxels", data=table.T)
        voxels.attrs["column_names"] = ["voxel_id", "i", "j", "k"]
        for scalar in dict.fromkeys(row.scalar for row in rows):
            mine = [row for row in rows if row.scalar == scalar]
            images, masks = [row.path for row in mine], [row.mask for row in mine]
            with stacked(images, masks, mask, Path(output).parent, _KINDS[dtype]) as matrix:
                _write_scalar(file, scalar, [row.source for row in mine], matrix, dtype)
            counts[scalar] = len(mine)
    return counts


def write_cells(
    output: Path, cells: pd.DataFrame, values: Mapping[str, F], inputs: Sequence[str], dtype: Dtype = "float32"
) -> None:
    """Profiles to a ModelArray file whose elements are cells of bundles.

    Parameters
    ----------
    output : Path
    cells : DataFrame of C rows
        bundle, s, [r], s_mm, [r_mm].
    values : mapping of scalar to (N, C) float
    inputs : N names
        Sessions, as "sub-01_ses-1".
    dtype : {"float32", "float64"}

    """
    import h5py

    with _new(output) as file:
        group = file.create_group("cells")
        for name in map(str, cells):
            column = cells[name]
            kind = h5py.string_dtype() if column.dtype == object else None
            group.create_dataset(name, data=column.to_numpy(), dtype=kind)
        group.attrs["column_names"] = list(map(str, cells))
        for scalar, matrix in values.items():
            _write_scalar(file, scalar, inputs, matrix, dtype)


@contextmanager
def _new(output: Path) -> Iterator[Any]:
    """An HDF5 file that takes the place of `output` when it is complete."""
    import h5py

    with replacing(output) as temporary, h5py.File(temporary, "w", locking=False) as file:
        yield file


def _write_scalar(file: Any, scalar: str, inputs: Sequence[str], matrix: NDArray[np.floating], dtype: Dtype) -> None:
    """One scalar, stripe by stripe of elements."""
    import h5py

    n, elements = matrix.shape
    width = max(1, min(elements, _CHUNK_BYTES // (n * np.dtype(dtype).itemsize)))
    values = file.create_dataset(
        f"scalars/{scalar}/values",
        shape=matrix.shape,
        dtype=dtype,
        chunks=(n, width),
        compression="gzip",
        compression_opts=4,
        shuffle=True,
    )
    for start in range(0, elements, width):
        stop = min(start + width, elements)
        values[:, start:stop] = matrix[:, start:stop]
    names = np.array(list(inputs), dtype=object)
    file.create_dataset(f"scalars/{scalar}/column_names", data=names, dtype=h5py.string_dtype())


def write_results(path: Path, analysis: str, names: Sequence[str], matrix: F) -> None:
    """Put results (K, V) into a ModelArray file, in the place of those of the same name.

    Raises
    ------
    OutputError
        If the file cannot be written to.

    """
    import h5py

    if "/" in analysis or not analysis:
        raise OutputError(f"the name of an analysis has no '/'. Got {analysis!r}")
    try:
        with h5py.File(path, "r+") as file:
            group = file.require_group("results")
            aside = f".{analysis}"  # complete before it takes the place of the old
            if aside in group:
                del group[aside]
            stored = group.create_dataset(f"{aside}/results_matrix", data=np.asarray(matrix, np.float64))
            stored.attrs["colnames"] = list(names)
            if analysis in group:
                del group[analysis]
            group.move(aside, analysis)
    except OSError as error:
        raise OutputError(
            f"results cannot be written into {path}: {error}", "Copy it to where you may write."
        ) from error


# --- reading -----------------------------------------------------------------------------------------------------


class ModelArrayFile:
    """A ModelArray file, open for reading; use it in a `with` block."""

    def __init__(self, path: Path) -> None:
        import h5py

        self.path = Path(path)
        if not self.path.is_file():
            raise MissingInputError(f"There is no file {path}")
        try:
            self._file = h5py.File(self.path, "r", locking=False)
        except OSError as error:
            raise InputDataError(
                f"{path} must be an HDF5 file of ModelArray. Got {error}", "Make it with spectra-bids to-modelarray."
            ) from error

    def __enter__(self) -> ModelArrayFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def scalars(self) -> tuple[str, ...]:
        """Names of the scalars."""
        group = self._file.get("scalars", {})
        return tuple(name for name in group if getattr(group[name].get("values"), "ndim", 0) == 2)

    @property
    def analyses(self) -> tuple[str, ...]:
        """Names of the results."""
        group = self._file.get("results", {})
        return tuple(name for name in group if "results_matrix" in group[name])

    def choose(self, scalar: str) -> str:
        """The scalar of that name; without a name the only one.

        Raises
        ------
        NothingSelectedError
            If there is none of that name, or several and none is named.

        """
        there = self.scalars
        if not scalar and len(there) == 1:
            return there[0]
        if scalar not in there:
            said = f"--scalar {scalar}: not in {self.path}" if scalar else f"{self.path} holds several scalars, or none"
            raise NothingSelectedError(f"{said}. There are: {listed(there) or 'none'}", "Name one with --scalar")
        return scalar

    def inputs(self, scalar: str) -> tuple[str, ...]:
        """Names of a scalar's rows."""
        values = self._file[f"scalars/{scalar}/values"]
        names = self._file.get(f"scalars/{scalar}/column_names")
        found = _texts(values.attrs.get("column_names", []) if names is None else names[()])
        if len(found) != values.shape[0]:
            raise InputDataError(
                f"scalars/{scalar}/column_names of {self.path} must name the {values.shape[0]} inputs. Got {len(found)}"
            )
        return found

    def columns(self, scalar: str, start: int, stop: int) -> F:
        """Values of some elements, (n, stop - start)."""
        try:
            return np.asarray(self._file[f"scalars/{scalar}/values"][:, start:stop], np.float64)
        except OSError as error:  # a chunk that does not unpack
            raise InputDataError(f"{self.path} cannot be read: {error}", "Copy or make the file again.") from error

    def n_elements(self, scalar: str) -> int:
        """Elements of a scalar, V."""
        return int(self._file[f"scalars/{scalar}/values"].shape[1])

    def cells(self) -> pd.DataFrame | None:
        """Cells of bundles that the elements are; None where they are not."""
        import pandas as pd

        if "cells" not in self._file:
            return None
        group = self._file["cells"]
        columns = {}
        for name in _texts(group.attrs["column_names"]):
            data = group[name][()]
            columns[name] = list(_texts(data)) if data.dtype == object else data
        return pd.DataFrame(columns)

    def require_mask(self, mask: Mask, n: int) -> None:
        """VolumeError where the `n` elements are not the mask's voxels."""
        if n != mask.n:
            raise VolumeError(
                f"the mask must be the one that {self.path} was made with. {mask.name} has {mask.n} voxels, the file "
                f"{n} elements"
            )
        if "voxels" not in self._file:
            return
        table = self._file["voxels"]
        names = _texts(table.attrs.get("column_names", []))
        if table.shape == (4, n) and set("ijk") <= set(names):
            stored = np.stack([table[names.index(axis)] for axis in "ijk"], axis=1)
            if not np.array_equal(stored, mask.ijk):
                raise VolumeError(
                    f"the mask must be the one that {self.path} was made with. {mask.name} has other voxels"
                )

    def results(self, analysis: str, elements: int | None = None) -> Iterator[tuple[str, F]]:
        """Name and values, (V,), of every result of an analysis, one after the other.

        Parameters
        ----------
        analysis : str
        elements : int, optional
            V. Results of fewer elements are placed by their element_id, as R has it for a subset; the others are NaN.

        Raises
        ------
        NothingSelectedError
            If there is no such analysis.
        InputDataError
            If results are of more elements, or of fewer and do not say which.

        """
        if analysis not in self.analyses:
            raise NothingSelectedError(
                f"--analysis-name {analysis}: not in {self.path}. There are: {listed(self.analyses) or 'none'}"
            )
        matrix = self._file[f"results/{analysis}/results_matrix"]
        names = self._result_names(analysis, matrix)
        place: NDArray[np.int64] | None = None
        if elements is not None and matrix.shape[1] != elements:
            place = self._places(matrix, names, elements)
        for k, name in enumerate(names):
            values = np.asarray(matrix[k], np.float64)
            if place is not None and elements is not None:
                full = np.full(elements, np.nan)
                full[place] = values
                values = full
            yield name, values

    def _result_names(self, analysis: str, matrix: Any) -> tuple[str, ...]:
        """Names of the rows; `component001` and so on where the file has none."""
        kept = self._file.get(f"results/{analysis}/column_names")
        names = _texts(matrix.attrs.get("colnames", [])) or (_texts(kept[()]) if kept is not None else ())
        return names if len(names) == len(matrix) else tuple(f"component{k + 1:03d}" for k in range(len(matrix)))

    def _places(self, matrix: Any, names: Sequence[str], elements: int) -> NDArray[np.int64]:
        """Elements that the columns of a smaller matrix belong to."""
        if "element_id" in names and matrix.shape[1] < elements:
            ids = np.asarray(matrix[names.index("element_id")], np.float64)
            if np.isfinite(ids).all() and ids.min() >= 0 and ids.max() < elements and len(set(ids)) == len(ids):
                return ids.astype(np.int64)
        raise InputDataError(
            f"results of {self.path} are of {matrix.shape[1]} elements, expected {elements}",
            "Give the mask that the file was made with.",
        )


def _texts(values: Any) -> tuple[str, ...]:
    """HDF5 strings as text; R pads and ends them with zeros."""
    found = np.atleast_1d(np.asarray(values, dtype=object)).ravel().tolist()
    texts = [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in found]
    return tuple(text.rstrip("\0").strip() for text in texts)


def file_name(analysis: str, result: str) -> str:
    """Stem of the file of a result, as modelarrayio names it."""
    plain = result.replace(" ", "_").replace("/", "_")
    return f"{analysis}_{plain}"
