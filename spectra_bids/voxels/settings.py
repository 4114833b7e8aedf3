"""Settings of a voxel-wise analysis, and the names of its files.

OUT/<name>.html                                            page
OUT/<name>/<name>_model.json                               model, inputs, files: what `review` prints; written last
OUT/<name>/<name>_design.tsv                               a row per input, a column per column of X
OUT/<name>/<name>_{summary,blocks}.tsv                     a row per contrast; a row per contrast and region
OUT/<name>/<name>_fits.npz                                 the fits, for other decisions on them
OUT/<name>/stat-{nobs,status}_statmap.nii.gz
OUT/<name>/contrast-<label>_stat-{t,F,effect,se,df,p,q,rejected}_statmap.nii.gz
OUT/<name>/contrast-<label>_desc-{clusters,maxima,extended}_peaks.tsv
OUT/<name>/figures/contrast-<label>_desc-{mosaic,glass}.png
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from spectra_bids.errors import UsageError
from spectra_bids.settings import DecisionSettings

Tails = Literal["two", "one"]


@dataclass(frozen=True)
class DisplaySettings:
    """What pictures and tables of peaks show: voxels above `threshold` in clusters of at least `extent` voxels.

    `connectivity` are the neighbours of a voxel (6, 18, 26), `min_distance` mm lie between extended local maxima, whose
    surroundings of `radius` mm are described; `background` is the image under the mosaics (None: the MNI template).
    """

    threshold: float = 3.10
    extent: int = 10
    connectivity: Literal[6, 18, 26] = 18
    min_distance: float = 8.0
    radius: float = 10.0
    background: Path | None = None

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1e6:
            raise UsageError(f"--threshold is a value of the statistic above 0. Got {self.threshold:g}")
        if self.extent < 1:
            raise UsageError(f"-k is a number of voxels, at least 1. Got {self.extent}")
        if not (0 <= self.min_distance < 1000 and 0 < self.radius < 1000):
            raise UsageError(f"--min-distance and --radius are in mm. Got {self.min_distance:g} and {self.radius:g}")


@dataclass(frozen=True)
class VoxelSettings:
    """A voxel-wise analysis: where, what, how.

    `design` is a table whose first column names images, or, with `hdf5`, inputs of that file; `centre` is ("all",),
    ("none",) or names of columns; `blocks` and `labels` are volumes of regions, for hFDR and for names.
    """

    out: Path
    design: Path
    mask: Path
    formula: str = ""
    name: str = "voxels"
    hdf5: Path | None = None
    scalar: str = ""
    contrasts: tuple[str, ...] = ()
    centre: tuple[str, ...] = ("all",)
    blocks: str = ""
    labels: tuple[str, ...] = ()
    decision: DecisionSettings = field(default_factory=lambda: DecisionSettings(mode="fdr"))
    tails: Tails = "two"
    min_subjects: int | None = None
    display: DisplaySettings = field(default_factory=DisplaySettings)
    mem_gb: float | None = None
    work_dir: Path | None = None
    force: bool = False
    command: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", self.name) or self.name == "figures":
            raise UsageError(f"--analysis-name takes letters, digits, '_', '-' and '.'. Got {self.name!r}")
        if self.decision.hierarchical and not self.blocks:
            raise UsageError("hierarchical FDR needs regions", "Name a volume of them with --blocks.")

    @property
    def folder(self) -> Path:
        """Where everything but the page is."""
        return self.out / self.name

    @property
    def page(self) -> Path:
        """The page."""
        return self.out / f"{self.name}.html"

    def file(self, suffix: str) -> Path:
        """`<name>_<suffix>` in the folder."""
        return self.folder / f"{self.name}_{suffix}"


def contrast_labels(names: Sequence[str]) -> tuple[str, ...]:
    """Labels for file names: letters and digits, one each.

    Examples
    --------
    >>> contrast_labels(["Effect of age (+)", "Effect of age (-)", "any dx", "any.dx"])
    ('EffectOfAgePos', 'EffectOfAgeNeg', 'AnyDx', 'AnyDx2')

    """
    out: list[str] = []
    for name in names:
        text = re.sub(r"\((\+|-|−)\)", lambda m: " pos " if m[1] == "+" else " neg ", name)
        words = re.findall(r"[A-Za-z0-9]+", text.replace("+", " plus ").replace(">", " gt ").replace("<", " lt "))
        label = "".join(word[:1].upper() + word[1:] for word in words) or "Contrast"
        n = sum(re.fullmatch(rf"{re.escape(label)}\d*", other) is not None for other in out)
        while (made := f"{label}{n + 1 if n else ''}") in out:
            n += 1
        out.append(made)
    return tuple(out)
