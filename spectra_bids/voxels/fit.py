"""Fits of all voxels of a mask: the engine of the bundles' cells, a block of voxels at a time."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spectra_bids.columns import FIT_STATUSES
from spectra_bids.dataset.outputs import write_bytes
from spectra_bids.errors import UsageError
from spectra_bids.estimate import least_mem
from spectra_bids.models.contrasts import Contrast
from spectra_bids.models.fits import fit_design
from spectra_bids.voxels.model import VoxelModel

F = NDArray[np.float64]

#: Statuses of a fit by their number in files and maps, 1, 2, ...
STATUSES = tuple(FIT_STATUSES)
#: Values of one block. The size of a block is a matter of the number of inputs alone: in another block a voxel's
#: numbers may differ in the last bit, and outputs must not depend on the memory there is.
_BLOCK_BYTES = 64e6
_MOST_VOXELS = 16384
#: GB of a process that has loaded everything; copies of a block in the engine (measured by benchmarks/voxels.py).
_PROCESS_GB, _COPIES = 0.5, 6


@dataclass(frozen=True, eq=False)
class VoxelTest:
    """One contrast over V voxels; `estimate` and `se` are NaN for F, `p` is two-sided for t."""

    statistic: str
    df_num: float
    estimate: F
    se: F
    df: F
    value: F
    p: F


@dataclass(frozen=True, eq=False)
class VoxelFits:
    """Fits of V voxels: inputs of each, number of its status, standard deviations, a test per contrast."""

    nobs: NDArray[np.int64]
    status: NDArray[np.uint8]
    sd_random: F
    sd_residual: F
    tests: tuple[VoxelTest, ...]


_MAPS = ("estimate", "se", "df", "value", "p")


def block_width(n: int) -> int:
    """Voxels that are fitted together, of n inputs."""
    return int(max(64, min(_MOST_VOXELS, _BLOCK_BYTES // (8 * n))))


def memory(n: int, voxels: int, contrasts: int) -> float:
    """GB that an analysis needs."""
    held = 8 * voxels * (2 * (len(_MAPS) + 3) * contrasts + 8)
    return _PROCESS_GB + 1e-9 * (_COPIES * 8 * n * block_width(n) + held)


def require_memory(mem_gb: float | None, n: int, voxels: int, contrasts: int) -> None:
    """UsageError where --mem is less than the analysis needs."""
    need = memory(n, voxels, contrasts)
    if mem_gb is not None and mem_gb < need:
        raise UsageError(
            f"--mem {mem_gb:.3g}G is too little: {voxels} voxels of {n} inputs with {contrasts} contrasts need about "
            f"{need:.2f} GB",
            f"Give at least --mem {least_mem(need)}, or test fewer contrasts at once",
        )


def fit_voxels(
    model: VoxelModel, columns: Callable[[int, int], F], n_voxels: int, min_subjects: int | None = None
) -> VoxelFits:
    """Fit all voxels.

    Parameters
    ----------
    model : VoxelModel
        Its design has n rows.
    columns : callable
        (start, stop) -> values of these voxels, (n, stop - start).
    n_voxels : int
    min_subjects : int, optional
        Fewest subjects of a voxel; default max(10, p + 5).

    """
    from tqdm import tqdm

    nobs, status = np.zeros(n_voxels, np.int64), np.zeros(n_voxels, np.uint8)
    spread = {name: np.full(n_voxels, np.nan) for name in ("sd_random", "sd_residual")}
    maps = [{name: np.full(n_voxels, np.nan) for name in _MAPS} for _ in model.contrasts]
    number = {name: k for k, name in enumerate(STATUSES, start=1)}
    width = block_width(model.design.n)
    for start in tqdm(range(0, n_voxels, width), desc="Voxels", unit="block", disable=None):
        here = slice(start, min(start + width, n_voxels))
        fit = fit_design(columns(here.start, here.stop), model.design, model.contrasts, min_subjects)
        nobs[here] = fit.n
        status[here] = [number[str(name)] for name in fit.status]
        for name, values in spread.items():
            values[here] = getattr(fit, name)
        for into, test in zip(maps, fit.tests, strict=True):
            tested = np.isfinite(test.p)
            for name, values in into.items():
                values[here] = np.where(tested, getattr(test, name), np.nan)
    tests = tuple(_finished(contrast, found) for contrast, found in zip(model.contrasts, maps, strict=True))
    return VoxelFits(nobs, status, spread["sd_random"], spread["sd_residual"], tests)


def _finished(contrast: Contrast, found: dict[str, F]) -> VoxelTest:
    """The test of a contrast; an F of one row, which the engine has as a t, is its square."""
    if contrast.type == "T":
        return VoxelTest("t", 1.0, **found)
    nothing = np.full(len(found["p"]), np.nan)
    value = found["value"] ** 2 if len(contrast.weights) == 1 else found["value"]
    return VoxelTest("F", float(len(contrast.weights)), **{**found, "value": value, "estimate": nothing, "se": nothing})


def write_fits(path: Path, fits: VoxelFits, key: str) -> None:
    """The fits as .npz; equal fits, equal bytes."""
    arrays = {f.name: getattr(fits, f.name) for f in fields(VoxelFits) if f.name != "tests"}
    for k, test in enumerate(fits.tests):
        arrays |= {f"{k}.{f.name}": np.asarray(getattr(test, f.name)) for f in fields(VoxelTest)}
    buffer = io.BytesIO()
    np.savez(buffer, key=np.array(key), **arrays)
    write_bytes(path, buffer.getvalue())


def read_fits(path: Path, key: str) -> VoxelFits | None:
    """The fits of that key; None where they are not there, or are others."""
    import zipfile

    try:
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["key"]) != key:
                return None
            n = len({name.partition(".")[0] for name in stored.files if "." in name})
            tests = []
            for k in range(n):
                found = {f.name: stored[f"{k}.{f.name}"] for f in fields(VoxelTest)}
                found |= {"statistic": str(found["statistic"]), "df_num": float(found["df_num"])}
                tests.append(VoxelTest(**found))
            others = {f.name: stored[f.name] for f in fields(VoxelFits) if f.name != "tests"}
            return VoxelFits(**others, tests=tuple(tests))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
