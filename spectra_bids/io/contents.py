"""All that a tractogram holds: streamlines, the voxel grid of its header, groups, numbers per streamline and point.

    format    grid  groups  per streamline      per point
    .trk      yes   no      10 names, float32   10 names, float32
    .tck      no    no      no                  no
    .trx      yes   yes     yes                 yes
    .tt.gz    yes   no      no                  no

Coordinates are mm RAS+ in all of them; the grid places them for programs that draw them over an image.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Bundle, Volume
from spectra_bids.errors import TractogramError
from spectra_bids.io.tinytrack import tinytrack_grid
from spectra_bids.io.tractograms import content_of, kind_of, read_bundle, split_group
from spectra_bids.io.trk import trk_grid, trk_has_data
from spectra_bids.io.trx import read_trx_data

log = logging.getLogger("spectra_bids")

Numbers = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class VoxelGrid:
    """Image that streamlines lie in: voxel indices -> mm RAS+ (4, 4), and its shape."""

    affine: NDArray[np.float64]
    shape: tuple[int, int, int]

    @property
    def volume(self) -> Volume:
        """The grid as a volume of zeros that takes no memory."""
        return Volume(np.broadcast_to(np.float32(0), self.shape), self.affine)

    def agrees(self, other: VoxelGrid) -> bool:
        """Whether both are one image's, to a micrometre."""
        return self.shape == other.shape and bool(np.allclose(self.affine, other.affine, atol=1e-3))


@dataclass(frozen=True, eq=False)
class Tractogram:
    """Streamlines and what belongs to them.

    Parameters
    ----------
    bundle : Bundle
        All streamlines, mm RAS+.
    grid : VoxelGrid or None
        None where the file has none.
    groups : mapping of str to (n,) int64
        Indices of streamlines.
    per_streamline : mapping of str to (S, k)
        Numbers of each streamline.
    per_point : mapping of str to (P, k)
        Numbers of each point.

    """

    bundle: Bundle
    grid: VoxelGrid | None = None
    groups: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    per_streamline: Numbers = field(default_factory=dict)
    per_point: Numbers = field(default_factory=dict)

    def take(self, keep: NDArray[np.int64] | NDArray[np.bool_]) -> Tractogram:
        """The streamlines that an index or a mask selects, with what belongs to them."""
        bundle = self.bundle
        index = np.arange(bundle.n_streamlines)[keep]
        place = np.full(bundle.n_streamlines, -1)
        place[index] = np.arange(len(index))
        counts = bundle.counts[index]
        starts = np.concatenate([[0], np.cumsum(counts)])
        points = np.arange(starts[-1]) + np.repeat(bundle.offsets[index] - starts[:-1], counts)
        groups = {name: place[rows][place[rows] >= 0] for name, rows in self.groups.items()}
        return replace(
            self,
            bundle=bundle.take(index),
            groups=groups,
            per_streamline={name: values[index] for name, values in self.per_streamline.items()},
            per_point={name: values[points] for name, values in self.per_point.items()},
        )


def read_tractogram(path: Path, reference: Volume | None = None) -> Tractogram:
    """Everything in a streamline file; of `bundles.trx:GROUP` that group alone.

    Parameters
    ----------
    path : Path
        Any format that `read_bundle` reads.
    reference : Volume, optional
        Image that was tracked on, for files that do not say where it was; only its place and shape count.

    Raises
    ------
    SpectraError
        What `read_bundle` raises.

    """
    path, group = split_group(Path(path))
    bundle = read_bundle(path, reference)
    kind = kind_of(path)
    if kind == ".trx":
        found = _trx(path, bundle)
        if group is None:
            return found
        if group not in found.groups:
            read_bundle(path, group=group)  # its error names the groups that there are
        return replace(found.take(found.groups[group]), groups={})
    if kind == ".tck":
        return Tractogram(bundle)
    raw = content_of(path)
    if kind == ".tt":
        return Tractogram(bundle, VoxelGrid(*tinytrack_grid(path, raw, reference)))
    found = Tractogram(bundle, VoxelGrid(*trk_grid(path, raw, reference)))
    return _with_trk_data(path, raw, found) if trk_has_data(path, raw) else found


def _trx(path: Path, bundle: Bundle) -> Tractogram:
    data = read_trx_data(path)
    if data.unread:
        log.warning("%s: not taken over: %s", path, ", ".join(data.unread))
    if data.kind == "float16":
        worst = float(np.abs(np.spacing(bundle.points.astype(np.float16))).max()) / 2 if len(bundle.points) else 0.0
        log.warning("%s holds its coordinates as float16: they are good to %.2g mm, no better", path, worst)
    # (1, 1, 1) is what programs write that do not know the image.
    grid = None if max(data.shape) <= 1 else VoxelGrid(data.affine, data.shape)
    return Tractogram(bundle, grid, data.groups, data.per_streamline, data.per_point)


def _with_trk_data(path: Path, raw: bytes, found: Tractogram) -> Tractogram:
    """The tractogram with the scalars and properties of its .trk, by nibabel, which knows how their names are kept."""
    import warnings

    from nibabel.streamlines.trk import TrkFile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers without a place, which `reference` has given
            tractogram = TrkFile.load(io.BytesIO(raw)).tractogram
    except Exception as error:  # nibabel has no class of its own for all that may be wrong in a header
        raise TractogramError(f"The scalars or properties of {path} cannot be read: {error}") from error
    streamlines = {str(name): np.asarray(values) for name, values in tractogram.data_per_streamline.items()}
    points = {str(name): np.asarray(values.get_data()) for name, values in tractogram.data_per_point.items()}
    rows = {len(values) for values in streamlines.values()} | {found.bundle.n_streamlines}
    point_rows = {len(values) for values in points.values()} | {len(found.bundle.points)}
    if len(rows) > 1 or len(point_rows) > 1:
        raise TractogramError(f"The scalars or properties of {path} are not those of its streamlines")
    return replace(found, per_streamline=streamlines, per_point=points)
