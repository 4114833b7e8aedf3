"""What an analysis of local termination patterns is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from spectra_bids.errors import UsageError
from spectra_bids.settings import PermutationSettings

Measure = Literal["share", "count"]


@dataclass(frozen=True)
class Place:
    """Where streamlines must pass: a sphere (mm RAS+), a voxel, a mask, or each voxel of a mask in turn."""

    sphere: tuple[float, float, float, float] | None = None
    voxel: tuple[int, int, int] | None = None
    mask: Path | None = None
    every_voxel_of: Path | None = None

    def __post_init__(self) -> None:
        given = sum(x is not None for x in (self.sphere, self.voxel, self.mask, self.every_voxel_of))
        if given != 1:
            raise UsageError(
                "ltpa needs one place: --sphere x,y,z,r or --voxel i,j,k or --mask NII or --every-voxel-of NII. "
                f"Got {given or 'none'}"
            )
        if self.sphere is not None and self.sphere[3] < 0:
            raise UsageError(f"--sphere: a radius is at least 0 mm. Got {self.sphere[3]:g}")

    @property
    def words(self) -> str:
        """The place for people, to stand behind "streamlines through the"."""
        if self.sphere is not None:
            x, y, z, r = self.sphere
            return f"sphere of {r:g} mm about ({x:g}, {y:g}, {z:g}) mm"
        if self.voxel is not None:
            return f"voxel ({', '.join(map(str, self.voxel))})"
        return f"mask {self.mask.name}" if self.mask is not None else f"single voxels of {self.search.name}"

    @property
    def search(self) -> Path:
        """The mask whose voxels are searched."""
        assert self.every_voxel_of is not None
        return self.every_voxel_of


@dataclass(frozen=True)
class LtpaSettings:
    """Where, what, how.

    Parameters
    ----------
    derivative : Path
        Data set that holds tractograms and their `*_tracklabels.npz`.
    out, bids_dir : Path
        What is written; where participants.tsv stands.
    labeling : str
        `Lausanne`, or with as many entities as tell it from others, `Lausanne_scale-33`.
    place : Place
    formula : str
    contrasts : tuple of str
    design : Path, optional
    reference : Path, optional
        Image whose voxels are meant; by default the first label volume.
    measure : "share" or "count"
        Of the labelled streamlines through the place, or their number.
    min_share : float
        Pairs below this mean share, over everybody, are not tested one by one but together, as "other".
    min_streamlines : int
        Sessions with fewer labelled streamlines through the place have no distribution.
    min_subjects : int, optional
    permutation : PermutationSettings
    any_space : bool
        Take tractograms whose names say no common space.
    name, command : str

    """

    derivative: Path
    out: Path
    bids_dir: Path
    labeling: str
    place: Place
    formula: str
    contrasts: tuple[str, ...] = ()
    design: Path | None = None
    reference: Path | None = None
    measure: Measure = "share"
    min_share: float = 0.01
    min_streamlines: int = 10
    min_subjects: int | None = None
    permutation: PermutationSettings = field(default_factory=PermutationSettings)
    any_space: bool = False
    name: str = ""
    command: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.min_share < 1:
            raise UsageError(f"--min-share takes a share from 0 to 1. Got {self.min_share:g}")
        if self.min_streamlines < 1:
            raise UsageError(f"--min-streamlines takes a number of at least 1. Got {self.min_streamlines}")
        if self.name and not (self.name.isascii() and self.name.isalnum()):
            raise UsageError(f"--name takes letters and digits. Got {self.name!r}")
