"""Results in plain words: what was tested, what was found and where, and what finding nothing means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spectra_bids.figures.plots import is_true, letter
from spectra_bids.figures.style import end_word, number
from spectra_bids.report.pages import ContrastItem, GroupPage
from spectra_bids.report.tables import p_text

if TYPE_CHECKING:
    import pandas as pd

#: Clusters of one family that are put into words.
MOST_CLUSTERS = 4


@dataclass(frozen=True, eq=False)
class Family:
    """One family: a contrast of a scalar, in 1D or 2D, with its rows of every table."""

    kind: str
    scalar: str
    contrast: str
    stats: pd.DataFrame
    blocks: pd.DataFrame
    levels: pd.DataFrame
    clusters: pd.DataFrame
    noun: str = "bundle"
    units: str = ""

    @property
    def name(self) -> str:
        """What a reader calls it."""
        return f"{self.contrast}, {self.scalar}, {self.kind}"

    @property
    def main(self) -> pd.Series[Any]:
        """Row of SUMMARY at the confirmatory level."""
        row: pd.Series[Any] = self.levels.iloc[0]
        return row

    @property
    def tested(self) -> bool:
        """Whether any cell has a p value."""
        return _count(self.main, "n_valid") > 0

    @property
    def found(self) -> bool:
        """Whether anything was selected or rejected."""
        return bool(_count(self.main, "n_rejected") or _count(self.main, "n_selected"))

    @property
    def shown(self) -> list[str]:
        """Bundles worth a figure, the clearest first: those with a selected block, or with rejected cells."""
        inside = self.stats[["block", "bundle"]].drop_duplicates().groupby("block", sort=False)["bundle"]
        bundles = {str(block): [str(b) for b in of] for block, of in inside}
        return list(dict.fromkeys(b for block in self.chosen["block"] for b in bundles.get(str(block), [])))

    @property
    def chosen(self) -> pd.DataFrame:
        """Blocks that are selected or have rejected cells, the smallest p first."""
        blocks = self.blocks
        chosen = blocks[is_true(blocks["selected"]) | (blocks["n_rejected"].fillna(0) > 0)]
        return chosen.sort_values("p_block", kind="stable")


def families(page: GroupPage) -> list[Family]:
    """All families, in the order of contrasts, then scalars, 1D before 2D."""
    order = {contrast.name: k for k, contrast in enumerate(page.contrasts)}
    scalars = {scalar: k for k, scalar in enumerate(page.units)}
    out = []
    for kind in sorted(page.summary):
        for (scalar, contrast), levels in page.summary[kind].groupby(["scalar", "contrast"], sort=False):
            if levels.empty:
                continue
            tables = (page.stats[kind], page.blocks[kind], page.clusters[kind])
            stats, blocks, clusters = (t[(t["scalar"] == scalar) & (t["contrast"] == contrast)] for t in tables)
            units = page.units.get(str(scalar), "")
            out.append(Family(kind, str(scalar), str(contrast), stats, blocks, levels, clusters, page.noun, units))
    return sorted(out, key=lambda f: (order.get(f.contrast, len(order)), scalars.get(f.scalar, len(scalars)), f.kind))


def tested(page: GroupPage) -> tuple[str, ...]:
    """What was tested, in whom: paragraphs."""
    design = page.design
    people = counted(design.n_subjects, "person", "people")
    sessions = "" if design.n_rows == design.n_subjects else f" ({counted(design.n_rows, 'session')})"
    names = ", ".join(contrast.name for contrast in page.contrasts)
    scalars = ", ".join(page.units)
    kinds = " and ".join(
        {"1D": "along the tract (1D)", "2D": "along and across it (2D)"}[k] for k in sorted(page.summary)
    )
    return (
        f"The model {page.formula} was fitted to {people}{sessions}, {kinds}, for {scalars}. "
        f"{counted(len(page.contrasts), 'contrast was', 'contrasts were')} tested: {names}.",
    )


def outcome(family: Family) -> str:
    """One sentence of numbers: blocks, selected, rejected."""
    row = family.main
    cells = "nodes" if family.kind == "1D" else "cells"
    valid, rejected = _count(row, "n_valid"), _count(row, "n_rejected")
    if valid == 0:
        return f"Nothing could be tested: none of {_count(row, 'n_cells')} {cells} has a p value."
    mode = str(row["mode"])
    if mode.startswith(("fdr", "perm")):
        over = counted(_count(row, "n_blocks"), "bundle")
        level = "level" if mode.startswith("fdr") else "family-wise level"
        return f"{rejected} of {valid} {cells} rejected over {over}, {level} {row['alpha_cell']:g}."
    scalar = ""
    if np.isfinite(row.get("q_scalar", np.nan)):
        chosen = "selected" if bool(is_true(family.levels["scalar_selected"])[0]) else "not selected"
        scalar = f"The scalar is {chosen} (q {p_text(float(row['q_scalar']))}); "
    selected, m = _count(row, "n_selected"), _count(row, "n_blocks")
    return (
        f"{scalar}{selected} of {counted(m, family.noun)} selected (R = {selected}, m = {m}, level "
        f"{row['alpha_block']:g}); {rejected} of {valid} {cells} rejected (level {row['alpha_cell']:g})."
    )


def nothing_found(family: Family) -> str:
    """How close it came, where nothing was found."""
    if not family.tested:
        return ""
    blocks = family.blocks.dropna(subset=["p_block"])
    text = f"Smallest p of a {'node' if family.kind == '1D' else 'cell'}: {p_text(float(family.main['p_min']))}"
    if len(blocks) and blocks["q_block"].notna().any():
        best = blocks.loc[blocks["q_block"].idxmin()]
        is_fwe = str(family.main["mode"]).startswith("perm")
        what = "smallest family-wise p" if is_fwe else "smallest block q"
        text += f"; {what}: {p_text(float(best['q_block']))} ({best['block']})"
    effect = smallest_effect(family)
    return f"{text}." + (f" {effect}" if effect else "")


def smallest_effect(family: Family) -> str:
    """The minimum detectable effect of a family in one sentence; empty for F tests and permutation."""
    if "mde" not in family.stats:
        return ""
    mde, std = (family.stats[name].dropna() for name in ("mde", "mde_std"))
    if not len(mde):
        return ""
    units = f" {family.units}" if family.units else ""
    low, middle, high = (number(float(v)) for v in (mde.min(), mde.median(), mde.max()))
    sd = f" ({number(float(std.median()))} SD)" if len(std) else ""
    slope = "effect_type" in family.stats and (family.stats["effect_type"].astype(str) == "partial_r").any()
    where = "node" if family.kind == "1D" else "cell"
    return (
        f"An effect of {middle}{units}{sd}{' per unit of the covariate' if slope else ''} would have been found with "
        f"80 % power in the median {where}; {low} to {high} over all."
    )


MEANING_OF_NOTHING = (
    "Nothing found means that no effect was strong enough, in this sample and at these levels, to be told from chance "
    "over all bundles tested. It does not show that there is no effect; the confidence intervals of the estimates say "
    "how large an effect the data still allow."
)


def where(family: Family, page: GroupPage) -> list[tuple[str, str]]:
    """The heaviest clusters in words: (bundle, sentence)."""
    clusters = family.clusters.sort_values("cluster", kind="stable")
    out = [(str(c["bundle"]), _cluster(c, family, page)) for _, c in clusters.head(MOST_CLUSTERS).iterrows()]
    rest = len(clusters) - len(out)
    if rest > 0:
        out.append((f"{counted(rest, 'lighter cluster')}", "in the table below."))
    return out


def _cluster(cluster: pd.Series[Any], family: Family, page: GroupPage) -> str:
    bundle = str(cluster["bundle"])
    s_low, s_high = int(cluster["s_low"]), int(cluster["s_high"])
    rows = family.stats[family.stats["bundle"].astype(str) == bundle]
    mm = rows.groupby("s")["s_mm"].first()
    size = _count(cluster, "n_cells")
    things = "node" if family.kind == "1D" else "cell"
    parts = [counted(size, things), _span("node", s_low, s_high, int(rows["s"].max()))]
    low_end = page.ends.get(bundle, ("", ""))[0]
    if np.isfinite(mm.get(s_low, np.nan)) and np.isfinite(mm.get(s_high, np.nan)):
        start = f"the {end_word(low_end)} end" if low_end else "the low end"
        distance = f"{mm[s_low]:.0f}–{mm[s_high]:.0f}" if s_low != s_high else f"{mm[s_low]:.0f}"
        parts.append(f"{distance} mm from {start}")
    if np.isfinite(cluster.get("r_low", np.nan)):
        parts.append(_span("radial bin", int(cluster["r_low"]), int(cluster["r_high"]), int(rows["r"].max())))
    if located := _place(cluster):
        parts.append(located)
    text = ", ".join(parts) + ". "
    contrast = next((c for c in page.contrasts if c.name == family.contrast), ContrastItem(family.contrast))
    sign = {"+": contrast.up, "-": contrast.down}.get(str(cluster["direction"]), "")
    symbol = letter(rows)
    is_f = symbol != "t"
    peak = f"{symbol} = {number(float(cluster['value_peak']))}"
    if np.isfinite(cluster["estimate_peak"]):
        units = page.units.get(family.scalar, "")
        peak += f", estimate {number(float(cluster['estimate_peak']))}{' ' + units if units else ''}"
    text += f"{sign[:1].upper() + sign[1:] + '; at' if sign and not is_f else 'At'} its peak {peak}, "
    text += f"p = {p_text(float(cluster['p_peak']))}, q = {p_text(float(cluster['q_peak']))}. "
    if not any(np.isfinite(cluster[f"{axis}_mm"]) for axis in "xyz"):
        return text.rstrip()  # profiles that were imported: nobody knows where
    centre = ", ".join(f"{axis} {_mm(cluster[f'{axis}_mm'])}" for axis in "xyz")
    text += f"Centre: {centre} mm ({page.space})."
    if any(np.isfinite(cluster[f"{axis}_peak_mm"]) for axis in "xyz"):
        top = ", ".join(f"{axis} {_mm(cluster[f'{axis}_peak_mm'])}" for axis in "xyz")
        text += f" Peak: {top} mm."
    if isinstance(cluster["labels"], str):
        text += f" At the peak: {cluster['label_peak']}. Over the cluster: {cluster['labels']}."
    return text


#: Words of the column `side`.
SIDES = {"left": "left hemisphere", "right": "right hemisphere", "midline": "midline", "both": "both hemispheres"}


def _place(cluster: pd.Series[Any]) -> str:
    """Part of the tract and hemisphere of a cluster: "in the posterior third, left hemisphere"."""
    place, side = cluster["place"], SIDES.get(str(cluster["side"]), "")
    along = f"{'over' if place == 'whole length' else 'in'} the {place}" if isinstance(place, str) else ""
    return ", ".join(part for part in (along, side) if part)


def _span(name: str, low: int, high: int, last: int) -> str:
    return f"{name} {low} of 0–{last}" if low == high else f"{name}s {low}–{high} of 0–{last}"


def _mm(value: Any) -> str:
    return f"{float(value):.0f}".replace("-", "−") if np.isfinite(value) else "n/a"


def counted(n: int, one: str, many: str = "") -> str:
    """1 bundle, 2 bundles."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def _count(row: pd.Series[Any], key: str) -> int:
    value = row.get(key, 0)
    return int(value) if np.isfinite(value) else 0
