"""The page of a local termination pattern analysis: what was found, distributions, pairs, design, method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spectra_bids import __version__
from spectra_bids.report.pages import (
    Block,
    Cell,
    DesignSummary,
    Facts,
    FigureItem,
    Notice,
    Prose,
    Section,
    TableItem,
)
from spectra_bids.report.references import REFERENCES
from spectra_bids.report.subject import provenance
from spectra_bids.report.tables import p_text, table
from spectra_bids.report.words import counted

if TYPE_CHECKING:
    import pandas as pd

#: Rows of the table of pairs on the page; the file holds all.
MOST_ROWS = 200
_ALPHA = 0.05


@dataclass(frozen=True)
class LtpaPage:
    """One analysis; no person is named.

    Parameters
    ----------
    name, place, labeling, formula, measure : str
    min_share, min_streamlines : float, int
    n_permutations : int
    n_sessions, n_compared : int
        Sessions with the labelling, and with a distribution in the model.
    streamlines : (low, median, high)
        Labelled streamlines through the place.
    unlabelled : (low, median, high)
        Share of all streamlines without a label.
    pairs, summary : DataFrame
        As the files.
    design : DesignSummary
    tested : mapping of contrast to what a positive estimate means
    exchanged : mapping of contrast to text
    figures : tuple of FigureItem
    search : bool
    provenance, command

    """

    name: str
    place: str
    labeling: str
    formula: str
    measure: str
    min_share: float
    min_streamlines: int
    n_permutations: int
    n_sessions: int
    n_compared: int
    streamlines: tuple[float, float, float]
    unlabelled: tuple[float, float, float]
    pairs: pd.DataFrame
    summary: pd.DataFrame
    design: DesignSummary
    tested: Mapping[str, str]
    exchanged: Mapping[str, str]
    figures: tuple[FigureItem, ...]
    search: bool = False
    provenance: Mapping[str, str] = field(default_factory=dict)
    command: str = ""


def sections(page: LtpaPage) -> tuple[Section, ...]:
    """All sections, in reading order."""
    drawn = (Section("distribution", "Map" if page.search else "Distribution", page.figures),) if page.figures else ()
    return (
        Section("summary", "Summary", _summary(page)),
        *drawn,
        Section("pairs", "Pairs of regions", (_pairs(page),)),
        Section("design", "Design", _design(page)),
        Section("methods", "Methods", (Prose(_methods(page)), Prose(_references()))),
        provenance(page.provenance, page.command),
    )


def outcome(row: Mapping[str, object], place: str, search: bool) -> str:
    """What was found for a contrast, in a sentence or two."""
    n_pairs, n_rejected = int(str(row["n_pairs"])), int(str(row["n_rejected"]))
    if not n_pairs:
        return f"{row['contrast']}: nothing could be tested; too few sessions have enough streamlines."
    pairs = f"{n_rejected} of {counted(n_pairs, 'pair')} of regions reach a family-wise p of .05"
    if n_rejected:
        pairs += f"; the strongest is {row['strongest']} (p_fwe {p_text(float(str(row['p_fwe'])))})"
    p = float(str(row["p_total_fwe" if search else "p_total"]))
    differs = "differs" if p <= _ALPHA else "could not be shown to differ"
    if search:
        where = f"({float(str(row['x_mm'])):.1f}, {float(str(row['y_mm'])):.1f}, {float(str(row['z_mm'])):.1f}) mm"
        found = f"{row['n_places_rejected']} of {counted(int(str(row['n_places'])), 'voxel')}"
        return (
            f"{row['contrast']}: the distribution of ends differs in {found} (family-wise p of .05 over voxels); the "
            f"strongest is at {where}, p_fwe {p_text(p)}. At pairs: {pairs}."
        )
    return f"{row['contrast']}: the distribution of ends {differs} (p {p_text(p)}, {place}); {pairs}."


def _summary(page: LtpaPage) -> tuple[Block, ...]:
    low, median, high = page.streamlines
    of = "the voxel with most of them" if page.search else "the place"
    lead = (
        f"Where do the streamlines through the {page.place} end? {counted(page.n_compared, 'session')} compared by "
        f"{page.formula}, labelling {page.labeling}."
    )
    numbers = (
        f"Labelled streamlines through {of}: {low:g} to {high:g} (median {median:g}) per session. Of all streamlines, "
        f"{page.unlabelled[0]:.1%} to {page.unlabelled[2]:.1%} (median {page.unlabelled[1]:.1%}) have an end in no "
        "region and no label."
    )
    rows = page.summary.to_dict("records")
    said = tuple(outcome({str(k): v for k, v in row.items()}, page.place, page.search) for row in rows)
    out: list[Block] = [Prose((lead,), lead=True), Prose((*said, numbers))]
    few = page.n_sessions - page.n_compared
    if few:
        text = (
            f"{counted(few, 'session')} with the labelling have no row in the model, or fewer than "
            f"{page.min_streamlines} labelled streamlines there."
        )
        out.append(Notice("note", "Not everybody is compared", text))
    if not page.summary["n_rejected"].any():
        text = "That no difference was found does not show that there is none."
        out.append(Notice("note", "No pair was found", text))
    heads = [(c, _HEADS.get(c, c), "") for c in page.summary.columns]
    out.append(table("summary-table", page.summary, heads, "What was found."))
    return tuple(out)


_HEADS = {
    "contrast": "Contrast",
    "n_pairs": "Pairs tested",
    "n_rejected": "Pairs with p_fwe ≤ .05",
    "strongest": "Strongest pair",
    "p_fwe": "Its p_fwe",
    "n_places": "Voxels tested",
    "n_places_rejected": "Voxels with p_fwe ≤ .05",
    "x_mm": "x, mm",
    "y_mm": "y, mm",
    "z_mm": "z, mm",
    "total": "Σ z²",
    "p_total": "p",
    "p_total_fwe": "p_fwe of the voxel",
}


def _pairs(page: LtpaPage) -> TableItem:
    heads = [
        ("contrast", "Contrast", ""),
        ("x_mm", "x, mm", ""),
        ("y_mm", "y, mm", ""),
        ("z_mm", "z, mm", ""),
        ("pair", "Pair of regions", "other = all rare pairs together"),
        ("n", "Sessions", ""),
        ("share_mean", "Mean share", "of the labelled streamlines through the place"),
        ("estimate", "Estimate", f"in units of {page.measure}"),
        ("se", "SE", ""),
        ("value", "Statistic", "t or F"),
        ("p", "p", "by permutation, uncorrected"),
        ("p_fwe", "p_fwe", "family-wise over all pairs and places"),
    ]
    frame = page.pairs.rename(columns={"mean_share": "share_mean"}).sort_values(["p_fwe", "p"], kind="stable")
    rest = len(frame) - MOST_ROWS
    more = f" The file holds {rest:,} more rows." if rest > 0 else ""
    return table("pairs-table", frame.head(MOST_ROWS), heads, f"The smallest p first.{more}", tools=True)


def _design(page: LtpaPage) -> tuple[Block, ...]:
    facts = (
        ("Formula", page.formula),
        ("Rows", f"{counted(page.design.n_rows, 'session')} of {counted(page.design.n_subjects, 'person', 'people')}"),
        *(("Contrast", f"{name}: {words}") for name, words in page.tested.items()),
        *(("Exchanged", f"{name}: {words}") for name, words in page.exchanged.items()),
    )
    rows = tuple(
        (Cell(c.name), Cell(c.role), Cell(", ".join(f"{level} ({n})" for level, n in c.levels) or f"mean {c.mean:.3g}"))
        for c in page.design.columns
        if c.role != "random factor"
    )
    heads = (("Column", ""), ("Role", ""), ("Content", ""))
    notes = tuple(Notice("warning", text) for text in page.design.warnings)
    return (Facts(facts), *notes, TableItem("design-columns", heads, (False,) * 3, rows, "Columns used."))


def _methods(page: LtpaPage) -> tuple[str, ...]:
    what = (
        "their shares of the labelled streamlines there" if page.measure == "share" else "their numbers of streamlines"
    )
    composition = (
        " Shares add up to one: what one pair gains others lose, so a difference at one pair shows, weaker, at others."
        if page.measure == "share"
        else ""
    )
    whole = (
        "The distribution as a whole is tested by the sum of z² over pairs. Over voxels its cube root, standardised by "
        "the voxel's own permutations, is compared with the largest over all voxels of each permutation."
        if page.search
        else "The distribution as a whole is tested by the sum of z² over pairs, under the same permutations."
    )
    return (
        f"Local termination pattern analysis ({REFERENCES['cieslak2014'].short}), spectra_bids {__version__}. "
        "Streamlines pass through a voxel if a part of a segment lies in it. Each streamline has the unordered pair of "
        f"regions that its two ends lie in. Per session, pairs are described by {what}; sessions with fewer than "
        f"{page.min_streamlines} labelled streamlines are left out, and pairs below a mean share of "
        f"{page.min_share:.1%} over everybody are taken together as one.{composition}",
        f"Each contrast was tested by {page.n_permutations} permutations of the residuals of the model without it "
        "(Freedman and Lane), the same for all pairs; p_fwe is by the largest statistic over all pairs"
        f"{' and voxels' if page.search else ''} and controls the family-wise error rate. {whole}",
    )


def _references() -> tuple[str, ...]:
    return tuple(REFERENCES[key].text for key in ("cieslak2014", "freedman1983", "winkler2014"))
