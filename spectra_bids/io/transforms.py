"""ITK spatial transforms applied to points.

A file `from-A_to-B_mode-image_xfm` resamples images of space A into space B; for every voxel of B it says where to look
in A. Points therefore move the other way: the file as it stands takes points of B to A, its inverse points of A to B.
ITK's coordinates are LPS; nitransforms reads the files and hands them out in RAS+.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra_bids.errors import MissingInputError, TransformError

_Step = tuple[str, NDArray[np.float64], NDArray[np.float32] | None]


def map_points(points: NDArray[np.floating], path: Path, invert: bool) -> NDArray[np.float32]:
    """Points taken through a transform.

    Parameters
    ----------
    points : (P, 3) float, mm RAS+
        In the space that `to-` names (with `invert`: that `from-` names).
    path : Path
        ITK affine (.txt, .mat) or composite (.h5) file.
    invert : bool
        Go the other way; only affine files can.

    Returns
    -------
    (P, 3) float32, mm RAS+

    Raises
    ------
    TransformError
        Not a transform that is understood, or a non-linear one that should be inverted.

    """
    steps = _load(Path(path))
    if invert and not all(kind == "affine" for kind, _, _ in steps):
        raise TransformError(
            f"{path} holds a displacement field, which cannot be inverted",
            "Give the transform of the other direction, or use --registration slr.",
        )
    moved = np.asarray(points, np.float64)
    for kind, affine, field in reversed(steps) if invert else steps:
        if field is not None and kind == "field":
            moved = moved + _displacement(moved, affine, field)
        else:
            matrix = np.linalg.inv(affine) if invert else affine
            moved = moved @ matrix[:3, :3].T + matrix[:3, 3]
    return np.asarray(moved, np.float32)


def is_affine(path: Path) -> bool:
    """Whether a transform file holds nothing but affines (and so can be inverted)."""
    return all(kind == "affine" for kind, _, _ in _load(Path(path)))


# A session takes each of its bundles through the same file; a composite file takes seconds to read.
@lru_cache(maxsize=2)
def _load(path: Path) -> tuple[_Step, ...]:
    """Steps in the order in which points take them: ("affine", (4, 4), None) or ("field", grid affine, mm)."""
    if not path.is_file():
        raise MissingInputError(f"There is no file {path}")
    from nitransforms.io import itk

    try:
        if path.suffix == ".h5":
            items: list[Any] = itk.ITKCompositeH5.from_filename(path)
        elif path.suffix == ".mat":
            items = [itk.ITKLinearTransform.from_filename(path)]
        else:
            items = itk.ITKLinearTransformArray.from_filename(path).xforms
        # ITK applies the transforms of a file last to first.
        steps = tuple(_step(item) for item in reversed(items))
    except Exception as error:  # nitransforms, h5py and SciPy each have their own; all mean the same here
        raise TransformError(
            f"{path} cannot be read as an ITK transform (affine .txt or .mat, composite .h5). "
            f"Got {type(error).__name__}: {error}"
        ) from error
    if not steps:
        raise TransformError(f"{path} holds no transform")
    for kind, affine, _ in steps:
        if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
            raise TransformError(f"The {kind} of {path} must be finite and invertible. Got {affine.tolist()}")
    return steps


def _step(item: Any) -> _Step:
    """One ITK transform as nitransforms reads it -> a step in RAS+."""
    if hasattr(item, "to_ras"):
        return ("affine", np.asarray(item.to_ras(), np.float64), None)
    return ("field", np.asarray(item.affine, np.float64), np.asarray(item.dataobj, np.float32))


def _displacement(
    points: NDArray[np.float64], affine: NDArray[np.float64], field: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Displacement at points, (P, 3) mm: trilinear as ITK does it, 0 outside the field."""
    from scipy.ndimage import map_coordinates

    inverse = np.linalg.inv(affine)
    voxels = (points @ inverse[:3, :3].T + inverse[:3, 3]).T
    parts = [map_coordinates(field[..., k], voxels, order=1, mode="constant", cval=0.0) for k in range(3)]
    return np.stack(parts, axis=1).astype(np.float64)
