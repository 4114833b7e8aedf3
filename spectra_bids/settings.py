"""Settings: made once by the command line, validated once, then passed as an argument and never changed.

`GridSettings` and `ProfileSettings` decide numbers; their hash stands in every sidecar and tells a resumed run what
is still good. `ParticipantSettings` and `GroupSettings` add where things are and how to run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from spectra_bids.errors import UsageError

Robust = Literal["linear", "spline", "none"]
Radial = Literal["signed", "distance"]
Registration = Literal["auto", "none", "xfm", "slr"]
StatsMode = Literal["hfdr", "hfdr_resel", "fdr", "perm"]
Combination = Literal["simes", "acat", "bonferroni", "minp-galwey", "gates"]
PermStatistic = Literal["max", "cluster", "tfce"]
Engine = Literal["batched", "pymer4"]
Ddf = Literal["satterthwaite", "kenward-roger"]
Estimation = Literal["reml", "ml"]
Interval = Literal["wald", "profile"]
ProfileKind = Literal["1D", "2D", "both"]
Pictures = Literal["bundles", "none"]


@dataclass(frozen=True)
class GridSettings:
    """How a grid is laid on an atlas bundle. Lengths in mm; `ns`, `nr` (numbers of bins) override them."""

    s_len: float = 5.0
    r_len: float = 5.0
    ns: int | None = None
    nr: int | None = None
    robust: Robust = "linear"
    radial: Radial = "signed"

    def __post_init__(self) -> None:
        for flag, value in (("-s", self.s_len), ("-r", self.r_len)):
            if not 0 < value < 1000:
                raise UsageError(f"{flag} is a bin size in mm and must be between 0 and 1000. Got {value:g}")
        for flag, count in (("--ns", self.ns), ("--nr", self.nr)):
            if count is not None and not 1 <= count <= 10000:
                raise UsageError(f"{flag} is a number of bins and must be between 1 and 10000. Got {count}")


@dataclass(frozen=True)
class PointSettings:
    """Which points of a bundle count, and how much: names of masks and weights as files end, or paths of masks."""

    include_mask: str = ""
    exclude_mask: str = ""
    lesion_mask: str = ""
    streamline_weights: str = ""

    def __post_init__(self) -> None:
        if not all(c.isalnum() or c in "_-" for c in self.streamline_weights):
            raise UsageError(
                f"--streamline-weights is a name such as sift2, which files end in. Got {self.streamline_weights!r}"
            )


@dataclass(frozen=True)
class ProfileSettings:
    """What decides the numbers of a subject's profiles."""

    grid: GridSettings = field(default_factory=GridSettings)
    min_streamlines: int = 20
    min_points: int = 5
    registration: Registration = "auto"
    random_seed: int = 0
    points: PointSettings = field(default_factory=PointSettings)

    def __post_init__(self) -> None:
        for flag, value in (("--min-streamlines", self.min_streamlines), ("--min-points", self.min_points)):
            if value < 1:
                raise UsageError(f"{flag} must be at least 1. Got {value}")


@dataclass(frozen=True)
class RunSettings:
    """Where things are and how to run; nothing here changes a number in an output."""

    bids_dir: Path
    output_dir: Path
    derivatives: tuple[tuple[str, Path], ...] = ()
    participant_labels: tuple[str, ...] = ()
    session_labels: tuple[str, ...] = ()
    bids_filters: str = "{}"
    bids_database_dir: Path | None = None
    skip_bids_validation: bool = False
    work_dir: Path | None = None
    n_procs: int = 1
    omp_nthreads: int = 1
    mem_gb: float | None = None
    stop_on_first_crash: bool = False
    reports_only: bool = False
    dry_run: bool = False
    force: bool = False
    verbose: int = 0
    dask_scheduler: str = ""
    command: str = ""
    run_uuid: str = ""

    @property
    def filters(self) -> dict[str, Any]:
        """The BIDS filter file's content; None = entity absent, "*" = any."""
        content: dict[str, Any] = json.loads(self.bids_filters)
        return content


@dataclass(frozen=True)
class ParticipantSettings:
    """Participant level: where, what, how."""

    run: RunSettings
    atlas: Path
    scalars: tuple[str, ...] = ("*",)
    bundles: tuple[str, ...] = ()
    profile: ProfileSettings = field(default_factory=ProfileSettings)
    pictures: Pictures = "bundles"

    def __post_init__(self) -> None:
        require_names(self.bundles)


@dataclass(frozen=True)
class HarmonizeSettings:
    """ComBat before the fit: column of the batch, columns whose effects are kept, `column=level` to fit on."""

    batch: str
    covariates: tuple[str, ...] = ()
    reference: str = ""


@dataclass(frozen=True)
class FitSettings:
    """How every cell is fitted and tested; a change of these needs new fits."""

    engine: Engine = "batched"
    ddf: Ddf = "satterthwaite"
    estimation: Estimation = "reml"
    interval: Interval = "wald"
    weights: str = ""
    offset: str = ""
    null_formula: str = ""
    min_subjects: int | None = None
    harmonize: HarmonizeSettings | None = None

    def __post_init__(self) -> None:
        needs_r = {"--ddf kenward-roger": self.ddf != "satterthwaite", "--ci profile": self.interval != "wald"}
        for flag, chosen in needs_r.items():
            if chosen and self.engine != "pymer4":
                raise UsageError(f"{flag} is computed by the R engine", f"Add --engine pymer4 to {flag}")
        if self.ddf == "kenward-roger" and self.estimation == "ml":
            raise UsageError("--ddf kenward-roger needs REML", "Leave out --estimation ml")

    @property
    def key(self) -> str:
        """Everything here as text, for hashes."""
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True)
class PermutationSettings:
    """How rows are exchanged: within the levels of `within`, or all rows of a level of `whole` together."""

    n: int = 5000
    statistic: PermStatistic = "tfce"
    within: str = ""
    whole: str = ""
    random_seed: int = 0

    def __post_init__(self) -> None:
        if not 19 <= self.n <= 1_000_000:
            raise UsageError(f"--n-permutations must be between 19 (p of .05) and 1000000. Got {self.n}")


@dataclass(frozen=True)
class DecisionSettings:
    """How p values become decisions; a change of these needs no new fits, but of `permutation` in mode perm.

    `alpha_cell` holds one or more levels, the first of them confirmatory.
    """

    mode: StatsMode = "hfdr"
    alpha: float = 0.05
    adaptive: bool = False
    alpha_block: float = 0.05
    alpha_cell: tuple[float, ...] = (0.05,)
    combination: Combination = "simes"
    block_file: Path | None = None
    alpha_scalar: float | None = None
    permutation: PermutationSettings = field(default_factory=PermutationSettings)

    def __post_init__(self) -> None:
        levels = (
            ("--alpha", self.alpha),
            ("--alpha-block", self.alpha_block),
            *(("--alpha-cell", a) for a in self.alpha_cell),
            *((("--alpha-scalar", self.alpha_scalar),) if self.alpha_scalar is not None else ()),
        )
        for flag, value in levels:
            if not 0 < value < 1:
                raise UsageError(f"{flag} is an error rate and must be between 0 and 1. Got {value:g}")
        if self.block_file is not None and self.mode != "hfdr":
            raise UsageError("--block names the blocks of --stats-mode hfdr", f"Got --stats-mode {self.mode}")
        if self.adaptive and self.mode != "fdr":
            raise UsageError("--adaptive belongs to --stats-mode fdr", f"Got --stats-mode {self.mode}")
        if self.alpha_scalar is not None and not self.hierarchical:
            raise UsageError("--alpha-scalar adds a level to a hierarchical mode: hfdr or hfdr_resel")

    @property
    def hierarchical(self) -> bool:
        """Whether blocks are selected first."""
        return self.mode in ("hfdr", "hfdr_resel")

    @property
    def levels(self) -> tuple[float, ...]:
        """Levels at which cells are decided, the first confirmatory."""
        return self.alpha_cell if self.hierarchical else (self.alpha,)


@dataclass(frozen=True)
class GroupSettings:
    """Group level: the model, how it is fitted, the family structure, how to run.

    `contrasts` are the texts or files given by --contrast; `bundles` restricts the run to the map step of those
    bundles; `calibrate` is a number of shuffles, `sensitivity` asks for the fits without each site and by least n;
    `atlas_labels` are the volumes or names given by --atlas-labels. With `report_level` "group" the page holds nothing
    of one person.
    """

    run: RunSettings
    formula: str = ""
    model_file: Path | None = None
    model_name: str = ""
    design: Path | None = None
    contrasts: tuple[str, ...] = ()
    scalars: tuple[str, ...] = ("*",)
    bundles: tuple[str, ...] = ()
    profile: ProfileKind = "both"
    fitting: FitSettings = field(default_factory=FitSettings)
    decision: DecisionSettings = field(default_factory=DecisionSettings)
    allow_partial: bool = False
    calibrate: int = 0
    sensitivity: bool = False
    qc_file: Path | None = None
    report_level: Literal["person", "group"] = "person"
    atlas_labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_names(self.bundles)
        if self.formula and self.model_file:
            raise UsageError("--formula and --model both name a model. Give one of them")
        if self.calibrate and not 20 <= self.calibrate <= 100_000:
            raise UsageError(f"--calibrate takes a number of shuffles between 20 and 100000. Got {self.calibrate}")


def require_names(bundles: Iterable[str]) -> None:
    """UsageError for a --bundle without a letter or digit."""
    for name in bundles:
        if not any(character.isascii() and character.isalnum() for character in name):
            raise UsageError(f"--bundle takes names with letters or digits. Got {name!r}")


def settings_hash(*parts: Any) -> str:
    """Short SHA-256 of settings (dataclasses or JSON-able values): equal settings, equal text."""
    plain = [asdict(part) if hasattr(part, "__dataclass_fields__") else part for part in parts]
    text = json.dumps(plain, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
