"""Can a session's bundles be used? What is odd about each, a verdict in words, and the table of the QC numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from spectra_bids.columns import LESION_LOAD, STATUSES
from spectra_bids.report.pages import Block, Bullets, Facts, Fold, SessionPart, TableItem
from spectra_bids.report.tables import table
from spectra_bids.report.words import counted

#: Shares from which on a bundle is to be looked at: of points outside of the map, of streamlines that jump, of nodes
#: without a value, of nodes outside of the cohort's band (a tenth is outside in anybody).
WORRY_OUTSIDE, WORRY_JUMPING, WORRY_EMPTY, WORRY_BAND = 0.05, 0.2, 0.25, 0.5
#: Anisotropy of a cross-section below which its axis is poorly defined.
ROUND = 0.6
ROUTES = {
    "none": "none: the bundles were used as they are",
    "xfm": "transforms of the preprocessing derivatives",
    "slr": "streamline linear registration (affine) to the atlas bundles",
}
FLAGS = {
    "far_bundle": "the median distance of the bundle's points to the atlas bundle is above 8 mm",
    "far_session": "the median distance over all bundles of the session is above 4 mm",
}
_EXPLAINED = (
    (
        "Distance, median and p95",
        "from the bundle's points to the nearest point of the atlas bundle, after registration. Worry above 8 mm "
        "(median of a bundle) or 4 mm (median of the session): then the registration, or the bundle itself, is wrong. "
        "The 95th percentile is shown without judging it: it measures how bundles are defined, 8–11 mm even where "
        "alignment is right.",
    ),
    (
        "Outside",
        "share of the bundle's points outside the scalar map's field of view, which have no value. Worry above 5 %: "
        "part of the tract was not measured, or bundle and map are in different spaces.",
    ),
    (
        "Jumping",
        "share of streamlines whose node index leaps by more than a fifth of the bundle between two points, as happens "
        "where a bundle curls back on itself. Worry above 20 %: values of distant places are then mixed.",
    ),
    (
        "Axis unclear, least anisotropy",
        "share of the grid's nodes at which the atlas bundle's cross-section is round (anisotropy below 0.6; 0.5 is a "
        "circle, 1 a sheet), and the lowest value. It is the atlas's, the same for everybody: at such nodes the "
        "direction across the bundle is a convention, so read the maps across it with care; profiles along the tract "
        "are not touched.",
    ),
    (
        "Empty nodes",
        "nodes of the profile along the tract without a value. Worry above a quarter: the bundle is a fragment.",
    ),
)
_BAND = (
    "Outside the band",
    "nodes whose value lies outside the cohort's 5th to 95th percentile, of those that can be compared, over all "
    "scalars. One in ten is expected of anybody. Worry above half: the whole bundle is unusual, most often because it "
    "was segmented or aligned differently.",
)


@dataclass(frozen=True)
class Concern:
    """What is odd about a bundle: in words, the column it is seen in, and whether it leaves anything to use."""

    text: str
    column: str
    fatal: bool = False


def quality(part: SessionPart, axis: Mapping[str, tuple[float, float]], band: pd.DataFrame | None) -> pd.DataFrame:
    """The bundle table with what a reader needs beside it: empty nodes, the grid's axis, nodes outside the band."""
    frame = part.bundles.copy()
    names = frame["bundle"].astype(str)
    if part.profile_1d is not None and len(part.profile_1d):
        missing = part.profile_1d["status"].astype(str) != "ok"
        share = missing.groupby(part.profile_1d["bundle"].astype(str)).mean()
        frame["share_empty"] = names.map(share)
    if LESION_LOAD.name in frame and frame[LESION_LOAD.name].notna().any():
        frame["share_lesion"] = frame[LESION_LOAD.name]
    frame["share_round"] = names.map({b: value[0] for b, value in axis.items()}).astype(float)
    frame["least_anisotropy"] = names.map({b: value[1] for b, value in axis.items()}).astype(float)
    if band is not None:
        seen = band.groupby("bundle")[["n_out", "n_compared"]].sum()
        frame["n_out"], frame["n_compared"] = (names.map(seen[c]).fillna(0).astype(int) for c in seen)
    return frame


def concerns(row: Mapping[str, Any]) -> list[Concern]:
    """What is odd about a bundle, the worst first; `row` of `quality`."""
    status = str(row["status"])
    if status != "ok":
        return [Concern(_status(status, row), "n_streamlines", fatal=True)]
    out = []
    if str(row.get("flag")) in FLAGS:
        out.append(Concern(f"{row['distance_median_mm']:.1f} mm (median) from the atlas bundle", "distance_median_mm"))
    for column, limit, text in (
        ("share_outside", WORRY_OUTSIDE, "of its points outside the map"),
        ("share_jumping", WORRY_JUMPING, "of its streamlines jump"),
        ("share_empty", WORRY_EMPTY, "of its nodes without a value"),
    ):
        value = float(row.get(column, np.nan))
        if value > limit:
            out.append(Concern(f"{100 * value:.0f} % {text}", column))
    n, compared = int(row.get("n_out", 0)), int(row.get("n_compared", 0))
    if compared and n / compared > WORRY_BAND:
        out.append(Concern(f"{n} of {counted(compared, 'node')} outside the cohort's band", "band"))
    return out


def verdict(frame: pd.DataFrame) -> str:
    """A few sentences: what can be used, what is to be looked at and why, what is not there."""
    found = {str(row["bundle"]): concerns(row) for row in frame.to_dict("records")}  # type: ignore[arg-type]
    lost: dict[str, list[str]] = {}
    odd = []
    for bundle, told in found.items():
        if told and told[0].fatal:
            lost.setdefault(told[0].text, []).append(bundle)
        elif told:
            odd.append(f"{bundle} ({'; '.join(c.text for c in told)})")
    n_lost = sum(map(len, lost.values()))
    good = len(found) - n_lost - len(odd)
    text = f"{good} of {counted(len(found), 'bundle')} can be used as {'it is' if good == 1 else 'they are'}."
    if odd:
        text += f" Look at {len(odd)} before use: {_listed(odd)}."
    if lost:
        why = "; ".join(f"{reason} ({_listed(bundles, 4)})" for reason, bundles in lost.items())
        text += f" {n_lost} {'has' if n_lost == 1 else 'have'} no profile: {why}."
    return text


def blocks(part: SessionPart, frame: pd.DataFrame, suffix: str) -> tuple[Block, ...]:
    """The quality section of a session."""
    records: list[Mapping[str, Any]] = frame.to_dict("records")  # type: ignore[assignment]
    found = [concerns(row) for row in records]
    order = sorted(range(len(found)), key=lambda k: (not found[k], not (found[k] and found[k][0].fatal), k))
    shown = frame.iloc[order].assign(said=["; ".join(c.text for c in found[k]) or "usable" for k in order])
    has_band = "n_out" in shown
    if has_band:
        shown["band"] = [
            f"{n} of {m}" if m else "n/a" for n, m in zip(shown["n_out"], shown["n_compared"], strict=True)
        ]
    tones = {str(frame["bundle"].iloc[k]): found[k] for k in order}
    columns = [
        ("bundle", "Bundle", ""),
        ("said", "Verdict", "What is odd about it; usable if nothing is"),
        ("n_streamlines", "Streamlines", "Streamlines in the file"),
        ("distance_median_mm", "Distance, median mm", _EXPLAINED[0][1]),
        ("distance_p95_mm", "Distance, p95 mm", _EXPLAINED[0][1]),
        ("share_outside", "Outside", _EXPLAINED[1][1]),
        ("share_jumping", "Jumping", _EXPLAINED[2][1]),
        ("share_empty", "Empty nodes", _EXPLAINED[4][1]),
        ("share_lesion", "In lesions", "share of the bundle's points inside the lesion mask"),
        ("band", "Outside the band", _BAND[1]),
        ("share_round", "Axis unclear", _EXPLAINED[3][1]),
        ("least_anisotropy", "Least anisotropy", _EXPLAINED[3][1]),
    ]
    item = table(
        f"quality{suffix}",
        shown,
        columns,
        "One row per bundle of the atlas, what needs a look first; n/a is what could not be measured, never 0.",
        tools=True,
        tones=lambda row: _tones(tones[str(row["bundle"])]),
    )
    explained = Bullets((*_EXPLAINED, *((_BAND,) if has_band else ())))
    route = Facts((("Route to atlas space", ROUTES.get(part.route, part.route)), *part.route_facts))
    out: list[Block] = [route, item, Fold("What the numbers mean, and when to worry", (explained,), is_open=True)]
    used = statuses_used(part, suffix)
    if used.rows:
        out.append(used)
    return tuple(out)


def _tones(found: list[Concern]) -> dict[str, str]:
    tones = {concern.column: "warn" for concern in found}
    return {**tones, "said": "warn"} if found else {"said": "good"}


def _listed(named: Sequence[str], most: int = 6) -> str:
    rest = len(named) - most
    return ", ".join(named[:most]) + (f" and {rest} more, see the table" if rest > 0 else "")


def _status(status: str, row: Mapping[str, Any]) -> str:
    """A status as a verdict says it."""
    if status == "few_streamlines":
        return f"only {counted(int(row['n_streamlines']), 'streamline')}"
    return status.replace("_", " ")


def statuses_used(part: SessionPart, suffix: str) -> TableItem:
    """What the statuses in the tables mean, with counts of bundles, nodes and cells."""
    counts: dict[str, dict[str, int]] = {}
    kinds = (("Bundles", part.bundles), ("Nodes (1D)", part.profile_1d), ("Cells (2D)", part.profile_2d))
    for kind, frame in kinds:
        if frame is not None and "status" in frame:
            for status, n in frame["status"].astype(str).value_counts().items():
                counts.setdefault(str(status), {})[kind] = int(n)
    order = sorted(counts, key=lambda s: list(STATUSES).index(s) if s in STATUSES else len(STATUSES))
    rows = [
        {
            "status": s.replace("_", " "),
            **{kind: counts[s].get(kind, 0) for kind, _ in kinds},
            "meaning": STATUSES.get(s, ""),
        }
        for s in order
    ]
    columns = [("status", "Status", ""), *((kind, kind, "") for kind, _ in kinds), ("meaning", "Meaning", "")]
    said = "Every bundle, node and cell has a status; all but ok say why there is no value."
    return table(f"statuses{suffix}", pd.DataFrame(rows, columns=[c[0] for c in columns]), columns, said)


def unusual(profile: pd.DataFrame, scalars: list[str], norms: pd.DataFrame) -> pd.DataFrame:
    """Nodes outside the cohort's 5th to 95th percentile: bundle, scalar, n_out, n_compared."""
    rows = []
    for scalar in (s for s in scalars if s in profile):
        band = norms.loc[norms["scalar"].astype(str) == scalar, ["bundle", "s", "p05", "p95"]]
        both = profile[["bundle", "s", scalar]].merge(band, on=["bundle", "s"], how="left")
        known = both[[scalar, "p05", "p95"]].notna().all(axis=1)
        out = known & ((both[scalar] < both["p05"]) | (both[scalar] > both["p95"]))
        for bundle, here in both.groupby("bundle", sort=False).groups.items():
            rows.append((str(bundle), scalar, int(out.loc[here].sum()), int(known.loc[here].sum())))
    return pd.DataFrame(rows, columns=["bundle", "scalar", "n_out", "n_compared"])
