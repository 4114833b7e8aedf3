"""What one call of spectra_lmm_fdr is asked for, and the files it reads and writes.

<output_dir>/<bundle>__fits.csv  .json  .npz        single: fits; what they are of; residual correlations
<output_dir>/<mode>__stats_*.csv                    aggregate, see `aggregate`

Names of bundles and modes are the user's; a job per bundle writes only its own files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from spectra_bids.bridges.spectra import PATTERN
from spectra_bids.errors import UsageError
from spectra_bids.settings import DecisionSettings

Profile = Literal["1d", "2d", "both"]


@dataclass(frozen=True)
class Task:
    """Where things are, the model, how p values become decisions."""

    metadata: Path
    root_dir: Path
    output_dir: Path
    formula: str = ""
    effect: str = ""
    subject_column: str = ""
    pattern: str = PATTERN
    maps: tuple[str, ...] = ()
    profile: Profile = "2d"
    min_subjects: int | None = None
    allow_missing: bool = False
    decision: DecisionSettings = field(default_factory=DecisionSettings)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of profile, as in the column `profile`."""
        return ("1D", "2D") if self.profile == "both" else (self.profile.upper(),)

    def fits(self, bundle: str) -> Path:
        """Fits of a bundle."""
        if not re.fullmatch(r"[^/\0]+", bundle) or bundle in (".", ".."):
            raise UsageError(f"a bundle's name becomes a file's name. Got {bundle!r}")
        return self.output_dir / f"{bundle}__fits.csv"

    def output(self, name: str) -> Path:
        """A file of the aggregate step."""
        return self.output_dir / f"{self.decision.mode}__{name}"
