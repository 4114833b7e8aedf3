"""What a page is made of: the two page models that callers fill, and the blocks that templates loop over.

Callers build a `ParticipantPage` or a `GroupPage` from tables with the columns of columns.py; `build` turns it into
an ordered list of `Section`, and the template only loops. Nothing in a page may depend on the run: no date, no host.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import nan
from typing import TYPE_CHECKING, ClassVar, Literal

from spectra_bids.figures.bundle_pictures import Still
from spectra_bids.figures.svg import Panel, Sheet
from spectra_bids.report.measured import Measured
from spectra_bids.settings import GroupSettings, ProfileSettings

if TYPE_CHECKING:
    import pandas as pd

    from spectra_bids.figures.scene_lines import DisplayLines

Level = Literal["note", "warning", "error"]
Ends = Mapping[str, tuple[str, str]]


# Blocks of a section. `kind` names the template's macro.


@dataclass(frozen=True)
class Notice:
    """Something the reader should know: a note, a warning, an error."""

    level: Level
    title: str
    text: str = ""
    kind: ClassVar[str] = "notice"


@dataclass(frozen=True)
class Prose:
    """Paragraphs of plain text."""

    paragraphs: tuple[str, ...]
    lead: bool = False
    kind: ClassVar[str] = "prose"


@dataclass(frozen=True)
class Bullets:
    """A list, with a heading and a line before it; each item is a bold start and the rest."""

    items: tuple[tuple[str, str], ...]
    title: str = ""
    text: str = ""
    kind: ClassVar[str] = "bullets"


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    items: tuple[tuple[str, str], ...]
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Code:
    """Text to copy as it is: a command, a traceback."""

    text: str
    title: str = ""
    kind: ClassVar[str] = "code"


@dataclass(frozen=True)
class Cell:
    """One cell of a table: text, the exact value it is sorted by, and a tone (`good`, `warn`, `quiet`)."""

    text: str
    value: str = ""
    tone: str = ""


@dataclass(frozen=True)
class TableItem:
    """A table; with `tools` it can be sorted, filtered and saved.

    `columns` are (heading, description); `numeric` tells which are set to the right.
    """

    name: str
    columns: tuple[tuple[str, str], ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    tools: bool = False
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class FigureItem:
    """A figure: file stem (BIDS entities, no extension), heading, caption and the picture itself.

    Where its panels are bundles' own, `scalar` says of what, and `bundles` names them in order, `marks`
    explains the signs of missing nodes.
    """

    name: str
    title: str
    caption: str
    sheet: Sheet
    group: str = ""
    scalar: str = ""
    bundles: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    kind: ClassVar[str] = "figure"

    @property
    def svg(self) -> str:
        """Standalone SVG, as it goes to disk."""
        return self.sheet.svg


@dataclass(frozen=True)
class Picture:
    """A picture of a bundle in 3D as a data URI; `family` is the number of the family in the payload."""

    uri: str
    family: int
    bundle: str
    caption: str
    kind: ClassVar[str] = "picture"


@dataclass(frozen=True)
class Gallery:
    """Figures side by side where there is room."""

    figures: tuple[FigureItem | Picture, ...]
    kind: ClassVar[str] = "gallery"


@dataclass(frozen=True)
class Fold:
    """Blocks under a heading of their own, folded unless `is_open`."""

    title: str
    blocks: tuple[Block, ...]
    is_open: bool = False
    remark: str = ""
    kind: ClassVar[str] = "fold"


@dataclass(frozen=True)
class Explorer:
    """The table of results and, where there is script, the linked views of the chosen row.

    `keys` are the rows' "family/bundle" numbers in the payload, `found` those with a finding; `choices` are (column,
    label, values) of the choosers.
    """

    item: TableItem
    keys: tuple[str, ...]
    found: frozenset[str]
    choices: tuple[tuple[int, str, tuple[str, ...]], ...]
    kind: ClassVar[str] = "explorer"


@dataclass(frozen=True)
class BundleCard:
    """One bundle of a person: its picture (or why there is none) beside the panels that were measured on it."""

    name: str
    title: str
    remark: str
    tone: str
    panels: tuple[Panel, ...]
    picture: Still | None = None
    without: str = ""
    text: str = ""
    kind: ClassVar[str] = "card"


Block = (
    Notice | Prose | Bullets | Facts | Code | TableItem | FigureItem | Picture | Gallery | Fold | Explorer | BundleCard
)


@dataclass(frozen=True)
class Section:
    """A section of the page."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]


# Participant level.


@dataclass(frozen=True)
class Crash:
    """A job that crashed: which, and its traceback."""

    where: str
    text: str


@dataclass(frozen=True)
class SessionPart:
    """One session of a subject.

    Parameters
    ----------
    label : str
        "01" of ses-01; empty where the dataset has no sessions.
    bundles : DataFrame
        columns.BUNDLE and the scalars.
    profile_1d, profile_2d : DataFrame or None
        columns.PROFILE_1D, PROFILE_2D and the scalars (with `_sd`).
    route : str
        Registration route: none, xfm or slr.
    route_facts : (name, value) pairs
        What else there is to say of it: space labels, transform file, distances over the session.
    pictures : mapping of bundle to Still
    without : str
        Why bundles have no picture, where they have none.

    """

    label: str
    bundles: pd.DataFrame
    profile_1d: pd.DataFrame | None = None
    profile_2d: pd.DataFrame | None = None
    route: str = "none"
    route_facts: tuple[tuple[str, str], ...] = ()
    pictures: Mapping[str, Still] = field(default_factory=dict)
    without: str = ""


@dataclass(frozen=True)
class ParticipantPage:
    """All sessions of one subject.

    Parameters
    ----------
    subject : str
        "01" of sub-01.
    sessions : tuple of SessionPart
    units : mapping of scalar to unit
        Its keys are the scalars, in order.
    ends, sides : mapping of bundle to (low, high) letters
        Of s, as ("P", "A"), and of r, as ("L", "R"); from the grids.
    settings : ProfileSettings
    provenance : mapping of name to text
        Inputs, atlas, grid checksum, versions, settings hash; in order. Nothing run-dependent.
    command : str
        The exact command.
    notices : tuple of Notice
    crashes : tuple of Crash
    norms : DataFrame or None
        columns.NORMS of the cohort, on this subject's grids; None before the group level has run.
    cohort : int
        Sessions that the norms are of.
    axis : mapping of bundle to (share of nodes with a round cross-section, least anisotropy)

    """

    subject: str
    sessions: tuple[SessionPart, ...]
    units: Mapping[str, str]
    ends: Ends
    sides: Ends
    settings: ProfileSettings
    provenance: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    notices: tuple[Notice, ...] = ()
    crashes: tuple[Crash, ...] = ()
    norms: pd.DataFrame | None = None
    cohort: int = 0
    axis: Mapping[str, tuple[float, float]] = field(default_factory=dict)


# Group level.


@dataclass(frozen=True)
class ContrastItem:
    """One thing that is tested: its name in the tables, what it says in words or weights, the design column it is of.

    `by` splits the measured profiles into curves: a factor's levels, or terciles of a number; empty for none.
    `up` and `down` say in words what a positive and a negative estimate mean, "lower in patient than in control".
    """

    name: str
    text: str = ""
    by: str = ""
    up: str = "positive effect"
    down: str = "negative effect"


@dataclass(frozen=True)
class DesignColumn:
    """A column of the design table: levels with their counts (the first is the reference), or mean, SD and range."""

    name: str
    role: Literal["factor", "numeric", "random factor"]
    levels: tuple[tuple[str, int], ...] = ()
    mean: float = nan
    sd: float = nan
    low: float = nan
    high: float = nan


@dataclass(frozen=True)
class DesignSummary:
    """The design as the report shows it.

    Parameters
    ----------
    n_rows, n_subjects : int
        Sessions and people in the design.
    columns : tuple of DesignColumn
        Columns used by the formula, random factors last.
    dropped : tuple of (row, reason)
        Rows of the table that are not in the design, as ("sub-03 ses-01", "age is n/a").
    vif : tuple of (column of X, variance inflation factor)
    condition_number : float
        Of X with columns of unit length.
    warnings : tuple of str

    """

    n_rows: int
    n_subjects: int
    columns: tuple[DesignColumn, ...]
    dropped: tuple[tuple[str, str], ...] = ()
    vif: tuple[tuple[str, float], ...] = ()
    condition_number: float = nan
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class GroupPage:
    """One model.

    Parameters
    ----------
    name, formula : str
    contrasts : tuple of ContrastItem
        In order; every contrast of the tables is here.
    design : DesignSummary
    settings : GroupSettings
        Mode and levels; paths in it are not shown.
    stats, blocks, summary, clusters : mapping of "1D", "2D" to DataFrame
        FITS + DECISIONS, BLOCKS, SUMMARY, CLUSTERS of columns.py.
    profiles : DataFrame or None
        1D, long: participant, session, bundle, s, s_mm, one column per scalar, and the design columns.
    ends, sides : mapping of bundle to (low, high) letters
    units : mapping of scalar to unit
    coverage : DataFrame
        Index subject (and session), columns bundles, values of columns.STATUSES.
    space : str
        Name of the atlas space, for coordinates.
    provenance, command, notices
        As in ParticipantPage.
    means : mapping of "1D", "2D" to DataFrame
        MEANS of columns.py: adjusted means by the columns that are tested; empty where there are none.
    calibration, sensitivity : mapping of "1D", "2D" to DataFrame
        CALIBRATION and SENSITIVITY of columns.py; empty where they were not asked for.
    harmonization : DataFrame or None
        What ComBat removed: kind, bundle, scalar, batch, n, shift, shift_sd, scale, cells, left_out.
    exchanged : mapping of contrast to text
        Who was exchanged with whom by permutation; empty without it.
    selftest : (text, bool) or None
        The self-test's line, and whether the engines agree.
    level : "person" or "group"
        With "group" no id, value or line of a person is in the page.
    measured : mapping of "1D", "2D" to Measured
        What was measured in the sessions of the design, for the explorer; empty: only the model's results are shown.
    lines : mapping of bundle to DisplayLines
        What the 3D view shows; empty where no streamlines are stored.
    pictures : mapping of (kind, scalar, contrast, bundle) to WebP
        What stands behind the 3D view; bundle "" is the whole brain with the family's selected bundles.
    shape : mapping of bundle to (ns, nr)
        Of the full grid.
    is_imported : bool
        The profiles were made by another program.

    """

    name: str
    formula: str
    contrasts: tuple[ContrastItem, ...]
    design: DesignSummary
    settings: GroupSettings
    stats: Mapping[str, pd.DataFrame]
    blocks: Mapping[str, pd.DataFrame]
    summary: Mapping[str, pd.DataFrame]
    clusters: Mapping[str, pd.DataFrame]
    profiles: pd.DataFrame | None
    ends: Ends
    sides: Ends
    units: Mapping[str, str]
    coverage: pd.DataFrame
    space: str = "atlas space"
    provenance: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    notices: tuple[Notice, ...] = ()
    outliers: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    normality: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    means: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    calibration: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    sensitivity: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    harmonization: pd.DataFrame | None = None
    exchanged: Mapping[str, str] = field(default_factory=dict)
    selftest: tuple[str, bool] | None = None
    level: Literal["person", "group"] = "person"
    measured: Mapping[str, Measured] = field(default_factory=dict)
    lines: Mapping[str, DisplayLines] = field(default_factory=dict)
    pictures: Mapping[tuple[str, str, str, str], bytes] = field(default_factory=dict)
    shape: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    is_imported: bool = False

    @property
    def noun(self) -> str:
        """What a block is called: a bundle, a resel, or a block of the user's own."""
        decision = self.settings.decision
        if decision.mode == "hfdr_resel":
            return "resel"
        return "bundle" if decision.block_file is None else "block"
