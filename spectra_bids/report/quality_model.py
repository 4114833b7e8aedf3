"""What the page about the quality of all sessions is made of: callers fill a `QualityPage` from tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectra_bids.dataset.qc_files import QcDecision

#: Verdicts where ends can be told apart.
TOLD = ["as_cohort", "reversed", "unclear"]


@dataclass(frozen=True, eq=False)
class FlippedProfile:
    """A session's profile (ns,) that is more like the reverse of the cohort's mean (ns,)."""

    label: str
    bundle: str
    scalar: str
    s_mm: NDArray[np.float64]
    profile: NDArray[np.float64]
    mean: NDArray[np.float64]
    r_cohort: float
    r_reversed: float

    @property
    def margin(self) -> float:
        """By how much the reverse wins."""
        return self.r_reversed - self.r_cohort


@dataclass(frozen=True)
class ModelRows:
    """A model: its rows, and who is none, as (who, why)."""

    name: str
    n: int
    dropped: tuple[tuple[str, str], ...]

    @property
    def reasons(self) -> dict[str, int]:
        """How many are left out, by reason; the commonest first."""
        counts = pd.Series([why for _, why in self.dropped], dtype=object).value_counts(sort=False)
        return {str(why): int(n) for why, n in counts.sort_values(ascending=False, kind="stable").items()}


@dataclass(frozen=True, eq=False)
class QualityPage:
    """All sessions of an output directory.

    Parameters
    ----------
    sessions : tuple of str
        Their labels, in the order of the tables.
    n_people : int
    coverage, outliers, orientation : DataFrame
        QC_COVERAGE, QC_OUTLIERS and QC_ORIENTATION of qc_columns.py.
    sites : DataFrame or None
        QC_SITES; None without a column of sites.
    flipped : tuple of FlippedProfile
        Those to draw.
    models : tuple of ModelRows
    units : mapping of scalar to unit
        Its keys are the scalars, in order.
    decisions : tuple of QcDecision
        Lines of the --qc-file, whose name is `decisions_name`; "" without one.
    warnings : tuple of str
        Lines that name nobody; may hold labels.
    absent : tuple of str
        Bundles of the atlas that nobody has; they are in none of the tables.
    by_person : bool
        Whether single sessions may be shown.
    fingerprint : str
        Of everything the page was made of.

    """

    sessions: tuple[str, ...]
    n_people: int
    coverage: pd.DataFrame
    outliers: pd.DataFrame
    orientation: pd.DataFrame
    sites: pd.DataFrame | None
    flipped: tuple[FlippedProfile, ...]
    models: tuple[ModelRows, ...]
    units: Mapping[str, str]
    decisions: tuple[QcDecision, ...] = ()
    decisions_name: str = ""
    warnings: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    by_person: bool = True
    fingerprint: str = ""

    @cached_property
    def bundles(self) -> list[str]:
        """Bundles in file order."""
        return [str(b) for b in self.coverage["bundle"].unique()]

    @cached_property
    def statuses(self) -> pd.DataFrame:
        """Sessions x bundles."""
        values = self.coverage["status"].to_numpy(dtype=object).reshape(len(self.sessions), len(self.bundles))
        return pd.DataFrame(values, index=pd.Index(self.sessions), columns=self.bundles)

    @cached_property
    def far(self) -> pd.DataFrame:
        """Flagged profiles that are not rejected, the farthest first, with their labels."""
        found = self.outliers[(self.outliers["flagged"] == True) & (self.outliers["decision"] != "reject")]  # noqa: E712
        return labelled(found).sort_values("excess", ascending=False, kind="stable")

    @cached_property
    def turned(self) -> pd.DataFrame:
        """Profiles whose reverse wins and that are not rejected, one row per session and bundle."""
        told = self.orientation[self.orientation["verdict"].isin(TOLD)]
        told = labelled(told[told["decision"] != "reject"])
        told = told.assign(hit=told["verdict"] == "reversed", margin=told["r_reversed"] - told["r_cohort"])
        hits = told[told.groupby(["label", "bundle"], sort=False)["hit"].transform("any")]
        grouped = hits.groupby(["label", "bundle"], sort=False)
        out = grouped.agg(n_reversed=("hit", "sum"), n_scalars=("hit", "size"), margin=("margin", "max")).reset_index()
        return out.sort_values(["n_reversed", "margin"], ascending=False, kind="stable", ignore_index=True)

    @property
    def chance(self) -> float:
        """Bundles (and scalars) in which somebody is beyond a limit by chance."""
        return 0.05 * len(self.outliers.loc[self.outliers["excess"].notna(), ["bundle", "scalar"]].drop_duplicates())


def labelled(rows: pd.DataFrame) -> pd.DataFrame:
    """With the label of each session."""
    visit = rows["session_id"].astype(object)
    return rows.assign(label=rows["participant_id"].astype(str) + (" " + visit).where(visit.notna(), ""))
