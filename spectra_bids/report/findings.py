"""The table of results: a row per family and bundle, with the effect at its peak, where it is, what could be found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spectra_bids.figures.plots import is_true, letter
from spectra_bids.figures.style import number
from spectra_bids.report.explorer import Source
from spectra_bids.report.pages import Cell, Explorer, GroupPage, TableItem
from spectra_bids.report.places import place
from spectra_bids.report.tables import cell, p_text
from spectra_bids.report.words import Family

if TYPE_CHECKING:
    import pandas as pd

Entry = tuple[str, tuple[Cell, ...]]

_EFFECTS = {"cohen_d": "d", "partial_r": "r", "partial_eta2": "η²"}


def explorer(page: GroupPage) -> Explorer:
    """The table with its choosers, what was found first.

    Rows with a selected bundle or rejected cells come first, by q; then all others in the order of the families.
    """
    source = Source(page)
    found: list[tuple[float, int, Entry]] = []
    rest: list[tuple[float, int, Entry]] = []
    for f, (family, rows) in enumerate(zip(source.families, source.rows, strict=True)):
        q_of, chosen = _decisions(family)
        for bundle, of in rows.items():
            hits = int(is_true(of["rejected"]).sum())
            is_found = bool(hits) or bundle in chosen
            entry = (
                f"{f}/{source.bundles.index(bundle)}",
                _row(page, family, bundle, of, q_of.get(bundle), is_found, hits),
            )
            q = q_of.get(bundle, np.nan)
            (found if is_found else rest).append((q if np.isfinite(q) else 2.0, -hits, entry))
    found.sort(key=lambda item: item[:2])
    ordered = [item[2] for item in (*found, *rest)]
    hierarchical = page.settings.decision.hierarchical or page.settings.decision.mode == "perm"
    noun = page.noun
    columns = [
        ("Bundle", ""),
        ("Contrast", ""),
        ("Scalar", ""),
        ("Profile", "1D: along the tract; 2D: and across it"),
        (
            f"q {noun}" if page.settings.decision.mode != "perm" else "FWE p",
            f"what is compared with the level over {noun}s",
        )
        if hierarchical
        else ("Smallest q", "smallest q of a cell"),
        ("Rejected", "rejected cells (2D) or nodes (1D), of those tested"),
        ("Effect (95 % CI)", "estimate at the smallest p, in the scalar's units; F or χ² where there is no estimate"),
        ("Effect size", "d: Cohen's d; r: partial correlation; η²: partial eta squared; at the smallest p"),
        ("Where", "extent of what is rejected; else the place of the smallest p"),
        ("Detectable", "smallest effect found with 80 % power, median over the bundle's cells, in the scalar's units"),
    ]
    numeric = (False, False, False, False, True, True, True, True, False, True)
    caption = "One row per bundle and test, what was found first. Choose a row to look into it below."
    item = TableItem("results", tuple(columns), numeric, tuple(row for _, row in ordered), caption, tools=True)
    choices = [
        (1, "Contrast", tuple(dict.fromkeys(f.contrast for f in source.families))),
        (2, "Scalar", tuple(dict.fromkeys(f.scalar for f in source.families))),
        (3, "Profile", tuple(dict.fromkeys(f.kind for f in source.families))),
    ]
    kept = tuple(choice for choice in choices if len(choice[2]) > 1)
    return Explorer(item, tuple(key for key, _ in ordered), frozenset(e[0] for _, _, e in found), kept)


def _decisions(family: Family) -> tuple[dict[str, float], set[str]]:
    """Smallest q of the blocks in each bundle, and the bundles with a selected one."""
    blocks = family.blocks
    if not len(blocks):
        return {}, set()
    bundles = _bundle_of(family)
    if blocks["q_block"].notna().any():
        q = blocks["q_block"].astype(float).groupby(bundles).min()
    else:
        q = family.stats["q"].astype(float).groupby(family.stats["bundle"].astype(str)).min()
    return {str(k): float(v) for k, v in q.items()}, set(bundles[is_true(blocks["selected"])])


def _bundle_of(family: Family) -> pd.Series[Any]:
    inside = family.stats[["block", "bundle"]].drop_duplicates("block").astype(str).set_index("block")["bundle"]
    return family.blocks["block"].astype(str).map(inside).fillna("")


def _row(
    page: GroupPage, family: Family, bundle: str, of: pd.DataFrame, q: float | None, is_found: bool, hits: int
) -> tuple[Cell, ...]:
    tested = of[of["p"].notna()]
    quiet = "" if is_found else "quiet"
    shown_q = np.nan if q is None else q
    start = (
        Cell(bundle, "", "strong" if is_found else ""),
        Cell(family.contrast),
        Cell(family.scalar),
        Cell(family.kind),
        Cell(p_text(shown_q), f"{shown_q:.6g}" if np.isfinite(shown_q) else "", "good" if is_found else quiet),
        Cell(f"{hits} of {len(tested)}", str(hits), "" if hits else "quiet"),
    )
    if not len(tested):
        return (
            *start,
            Cell("not tested", "", "quiet"),
            Cell("n/a", "", "quiet"),
            Cell("–", "", "quiet"),
            _detectable(of, quiet),
        )
    among = tested[is_true(tested["rejected"])] if hits else tested
    order = among.assign(_size=-among["value"].abs()).sort_values(["p", "_size"], kind="stable")
    peak = order.iloc[0]
    where = place(among if hits else order.iloc[:1], page.ends.get(bundle), page.sides.get(bundle))
    return (
        *start,
        *_effect(peak, letter(of), family.units, quiet),
        Cell(where, f"{peak['s_mm']:.1f}", quiet),
        _detectable(of, quiet),
    )


def _effect(peak: pd.Series[Any], symbol: str, units: str, tone: str) -> tuple[Cell, Cell]:
    """Estimate with its interval, or the statistic; and the standardised effect."""
    kind = _EFFECTS.get(str(peak.get("effect_type")), "")
    size = float(peak.get("effect_size", np.nan))
    standard = Cell(f"{kind} {number(size)}", f"{size:.6g}", tone) if kind and np.isfinite(size) else cell(np.nan)
    if symbol != "t" or not np.isfinite(peak["estimate"]):
        value = float(peak["value"])
        return Cell(f"{symbol} = {number(value)}", f"{value:.6g}", tone), standard
    estimate, low, high = (float(peak[k]) for k in ("estimate", "ci_low", "ci_high"))
    interval = f" ({number(low)}\u00a0to\u00a0{number(high)})" if np.isfinite(low) else ""
    unit = f" {units}" if units else ""
    return Cell(f"{number(estimate)}{interval}{unit}", f"{estimate:.6g}", tone), standard


def _detectable(of: pd.DataFrame, tone: str) -> Cell:
    mde = of["mde"].dropna() if "mde" in of else of["p"].iloc[:0]
    return cell(float(mde.median()) if len(mde) else np.nan, tone=tone)
