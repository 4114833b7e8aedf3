"""spectra_profile: a bundle in atlas space and in the maps' space, its atlas bundle, maps -> one .npz per map.

    ns, nr, s_len, r_len, profile_1d (ns,), profile_2d (ns, nr)

s_len and r_len are the actual bin sizes, mm. NaN is what is missing: nodes and cells that do not belong to the grid,
cells with too few points, and all of a bundle with too few streamlines. Cells mean the same place in everyone whose
profile was made with one -ref and one set of options.
"""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Bundle, Volume
from spectra_bids.dataset.outputs import write_bytes
from spectra_bids.errors import InputDataError, UsageError
from spectra_bids.geometry.grid import Grid
from spectra_bids.geometry.pairing import LEAST_EXPLAINED, MOST_REVERSED, correspondence
from spectra_bids.geometry.registration import FAR_BUNDLE_MM, distances_to_atlas
from spectra_bids.io.atlas_grids import grid_of_file
from spectra_bids.io.tractograms import read_bundle
from spectra_bids.io.volumes import read_volume
from spectra_bids.profiles import Profile, profile

log = logging.getLogger("spectra_bids")

#: More points outside of the maps than this: the bundle is not in their space.
_MOST_OUTSIDE = 0.5
_SAME_FILES = "Give the two files of one recognition (SPECTRA's X__rec and X__org), unsorted and unfiltered since"


@dataclass(frozen=True)
class ProfileTask:
    """What spectra_profile was asked for; the fields are its options. `org` None: the maps are in the atlas's space."""

    rec: Path
    org: Path | None
    ref: Path
    maps: tuple[Path, ...]
    profiles: tuple[Path, ...]
    mask: Path | None = None
    s_len: float = 5.0
    r_len: float = 5.0
    ns: int | None = None
    nr: int | None = None
    robust: Literal["linear", "spline", "none"] = "linear"
    min_lines: int = 20
    min_points: int = 5


def run_profile(task: ProfileTask) -> list[Path]:
    """Make the profiles; returns the files, in the order of the maps.

    Raises
    ------
    SpectraError
        The options contradict each other, an input cannot be read, rec and org are not the same streamlines, the
        bundle is not in the maps' space, or an output cannot be created.

    """
    outputs = _outputs(task)
    grid = grid_of_file(task.ref, s_len=task.s_len, r_len=task.r_len, ns=task.ns, nr=task.nr, robust=task.robust)
    rec = read_bundle(task.rec)
    org = rec if task.org is None else read_bundle(task.org)
    _check_pair(task, rec, org)
    volumes = {str(k): read_volume(path) for k, path in enumerate(task.maps)}
    mask = None if task.mask is None else read_volume(task.mask)
    few = rec.n_streamlines < max(1, task.min_lines) or len(rec.points) == 0
    if few:
        log.warning(
            "%s has %d streamlines, fewer than -min_lines %d: every value of its profiles is NaN",
            task.rec, rec.n_streamlines, task.min_lines,
        )  # fmt: skip
        found = None
    else:
        found = profile(rec, grid, volumes, org=org, mask=mask, min_points=task.min_points)
        _check_places(task, rec, found)
    contents = {path: _npz(grid, found, str(k)) for k, path in enumerate(outputs)}
    if not few:
        _report_empty(task, grid, volumes, found)
    for path, content in contents.items():
        write_bytes(path, content)
    return outputs


def _outputs(task: ProfileTask) -> list[Path]:
    """One .npz per map."""
    if len(task.profiles) != len(task.maps):
        raise UsageError(
            f"-profiles takes one name for each of -maps. Got {len(task.profiles)} for {len(task.maps)} maps"
        )
    out = [path if path.suffix == ".npz" else path.with_name(f"{path.name}.npz") for path in task.profiles]
    twice = next((path for k, path in enumerate(out) if path in out[:k]), None)
    if twice is not None:
        raise UsageError(f"-profiles must name each file once: a map's profile would replace another's. Got {twice}")
    return out


def _check_pair(task: ProfileTask, rec: Bundle, org: Bundle) -> None:
    """Rec and org are the same streamlines: InputDataError if their number, order or direction differs."""
    if task.org is None:
        return
    if rec.n_streamlines != org.n_streamlines:
        raise InputDataError(
            f"-rec and -org must hold the same streamlines in two spaces. Got {rec.n_streamlines} in {task.rec} and "
            f"{org.n_streamlines} in {task.org}",
            _SAME_FILES,
        )
    found = correspondence(rec, org)
    if found.explained < LEAST_EXPLAINED:
        raise InputDataError(
            f"The streamlines of {task.rec} and {task.org} do not correspond: streamline i of one must be streamline "
            f"i of the other. An affine between them explains {100 * found.explained:.0f} % of the streamlines' "
            f"spread, expected {100 * LEAST_EXPLAINED:.0f} % at least",
            _SAME_FILES,
        )
    if found.reversed > MOST_REVERSED:
        raise InputDataError(
            f"{100 * found.reversed:.0f} % of the streamlines of {task.org} run the other way than in {task.rec}: "
            "expected point j of one to be point j of the other",
            _SAME_FILES,
        )


def _check_places(task: ProfileTask, rec: Bundle, found: Profile) -> None:
    """InputDataError if org is not where the maps are; a warning if rec is not where the atlas bundle is."""
    sampled = task.org or task.rec
    if found.share_outside > _MOST_OUTSIDE:
        raise InputDataError(
            f"{100 * found.share_outside:.0f} % of the points of {sampled} lie outside of every map: expected a "
            f"bundle in the space of {task.maps[0]}",
            "Give the maps' own space: -org is the bundle where it was tracked, -rec the bundle in the atlas's space",
        )
    if found.share_outside > 0:
        log.warning(
            "%s: %.2g %% of the points lie outside of the maps and do not count", sampled, 100 * found.share_outside
        )
    far = float(np.median(distances_to_atlas(rec, read_bundle(task.ref))))
    if far > FAR_BUNDLE_MM:
        log.warning(
            "%s lies %.0f mm (median) from the atlas bundle %s, expected at most %g: is it in the atlas's space?",
            task.rec, far, task.ref, FAR_BUNDLE_MM,
        )  # fmt: skip
    if found.resampled:
        log.warning("%s: its points are far apart, or unequal to those of -org: resampled", task.rec)


def _report_empty(task: ProfileTask, grid: Grid, volumes: dict[str, Volume], found: Profile | None) -> None:
    for k, name in enumerate(volumes):
        known = found is not None and np.isfinite(found.along.mean[name][grid.in_1d]).any()
        if not known:
            log.warning("%s has no value at any node of the bundle: its profiles are NaN", task.maps[k])


def _npz(grid: Grid, found: Profile | None, name: str) -> bytes:
    """Content of one map's file; equal input, equal bytes (NumPy writes no time into it)."""
    along = np.full(grid.ns, np.nan) if found is None else found.along.mean[name]
    across = np.full(grid.ns * grid.nr, np.nan) if found is None else found.across.mean[name]
    buffer = io.BytesIO()
    np.savez(
        buffer,
        ns=grid.ns,
        nr=grid.nr,
        s_len=grid.s_len,
        r_len=grid.r_len,
        profile_1d=_within(along, grid.in_1d),
        profile_2d=_within(across.reshape(grid.ns, grid.nr), grid.in_2d),
    )
    return buffer.getvalue()


def _within(values: NDArray[np.float64], belongs: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.where(belongs, values, np.nan)
