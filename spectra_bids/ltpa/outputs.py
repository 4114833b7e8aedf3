"""Files of an analysis.

OUT/ltpa-<name>_desc-sessions_ltpa.tsv   a row per session: streamlines through the place, labelled or not
OUT/ltpa-<name>_desc-patterns_ltpa.tsv   a row per session and pair: count and share (not of a search)
OUT/ltpa-<name>_desc-pairs_ltpa.tsv      a row per contrast and pair (of a search: and place): tests
OUT/ltpa-<name>_desc-summary_ltpa.tsv    a row per contrast
OUT/ltpa-<name>_contrast-<C>_desc-{total,p,pfwe}_statmap.nii.gz     of a search
OUT/ltpa-<name>_ltpa.json                settings, columns, inputs
OUT/ltpa-<name>.html  figures/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from spectra_bids import __version__
from spectra_bids.bundle import Volume
from spectra_bids.dataset.outputs import write_json, write_table, write_text, writing
from spectra_bids.group.model import GroupModel
from spectra_bids.io.volumes import write_volume
from spectra_bids.ltpa.compare import Compared
from spectra_bids.ltpa.page import ALPHA, page_and_figures
from spectra_bids.ltpa.patterns import Cells, Grid, Patterns, region_numbers
from spectra_bids.ltpa.settings import LtpaSettings

_COLUMNS = {
    "participant_id": "Person",
    "session_id": "Session",
    "n_streamlines": "Streamlines of the tractogram",
    "unlabelled_share": "Share of them without a label: an end in no region",
    "n_through": "Streamlines through the place",
    "n_labelled": "Those of them that have a label",
    "in_model": "Whether the session is a row of the model and has enough labelled streamlines through the place",
    "contrast": "What is tested",
    "place": "Flat number (C order) of the voxel in the image of the mask",
    "x_mm": "Centre of the voxel, mm RAS+",
    "y_mm": "Centre of the voxel, mm RAS+",
    "z_mm": "Centre of the voxel, mm RAS+",
    "pair": "Regions at the two ends; other = all pairs below the least mean share, together",
    "region_a": "Label of the region at one end (the smaller number)",
    "region_b": "Label of the region at the other end",
    "count": "Streamlines through the place that end in both regions",
    "share": "Their share of the labelled streamlines through the place",
    "n": "Sessions in the test",
    "mean_share": "Mean over these sessions of the pair's share",
    "estimate": "Estimate of the contrast, in units of the measure (share or count); n/a for F",
    "se": "Its standard error",
    "statistic": "t or F",
    "value": "The statistic under the fixed ratio of variances that permutations use",
    "p": "By permutation, uncorrected",
    "p_fwe": "By permutation, family-wise over all pairs (and places) by the largest statistic",
    "n_pairs": "Pairs tested",
    "n_rejected": "Pairs with p_fwe of at most .05",
    "total": "Sum of squared z over the pairs of the place",
    "p_total": "Its p by permutation: does the distribution differ at all?",
    "p_total_fwe": "The same, family-wise over all places of a search",
    "strongest": "The pair with the smallest p_fwe",
}


@dataclass(frozen=True, eq=False)
class Results:
    """Tables as written, and where the page is."""

    name: str
    sessions: pd.DataFrame
    pairs: pd.DataFrame
    summary: pd.DataFrame
    page: Path


def write_results(
    settings: LtpaSettings, patterns: Patterns, model: GroupModel, cells: Cells, compared: tuple[Compared, ...],
    exchanged: tuple[str, ...], grid: Grid,
) -> Results:  # fmt: skip
    """Write all files."""
    search = settings.place.every_voxel_of is not None
    stem = f"ltpa-{model.name}"
    sessions = sessions_table(patterns, model, cells, settings, search)
    pairs = pd.concat([_pairs(c, patterns, cells, grid, search) for c in compared], ignore_index=True)
    summary = pd.DataFrame([_summary(c, pairs, grid, patterns, search) for c in compared])
    tables = {"sessions": sessions, "pairs": pairs, "summary": summary}
    if not search:
        tables["patterns"] = _patterns(patterns, model, cells)
    for kind, table in tables.items():
        write_table(settings.out / f"{stem}_desc-{kind}_ltpa.tsv", table)
    if search:
        for found in compared:
            _write_maps(settings.out, stem, found, patterns, grid)
    write_json(settings.out / f"{stem}_ltpa.json", _sidecar(settings, patterns, model, exchanged, tables))
    html, figures = page_and_figures(settings, patterns, model, cells, compared, pairs, summary, exchanged, grid)
    for figure in figures:
        write_text(settings.out / "figures" / f"{figure.name}.svg", figure.svg)
    page = settings.out / f"{stem}.html"
    write_text(page, html)
    return Results(model.name, sessions, pairs, summary, page)


def sessions_table(
    patterns: Patterns, model: GroupModel, cells: Cells, settings: LtpaSettings, search: bool
) -> pd.DataFrame:
    """A row per session that was read; of a search, streamlines in the voxel that has most of them."""
    out = patterns.sessions.copy()
    out["n_through"] = patterns.through.max(axis=1)
    labelled = np.array([int(np.max(c.sum(axis=1), initial=0)) for c in patterns.counts])
    out["n_labelled"] = labelled
    rows = np.zeros(len(out), bool)
    rows[model.sessions] = np.isfinite(cells.values).any(axis=1)
    out["in_model"] = np.where(rows, "yes", "no")
    return out.drop(columns="session_id") if out["session_id"].isna().all() else out


def _patterns(patterns: Patterns, model: GroupModel, cells: Cells) -> pd.DataFrame:
    """Long: session x pair."""
    rows = []
    people = patterns.sessions.iloc[model.sessions]
    several = people["session_id"].notna().any()
    for i, (who, session) in enumerate(zip(people["participant_id"], people["session_id"], strict=True)):
        head = {"participant_id": who, **({"session_id": session} if several else {})}
        for k, pair in enumerate(cells.pair.tolist()):
            count, total = int(cells.counts[i, k]), int(cells.labelled[i, cells.place[k]])
            share = count / total if total else float("nan")
            rows.append({**head, **region_numbers(patterns, pair), "count": count, "share": share})
    table = pd.DataFrame(rows)
    return table.astype({"region_a": "Int64", "region_b": "Int64"})


def _pairs(found: Compared, patterns: Patterns, cells: Cells, grid: Grid, search: bool) -> pd.DataFrame:
    total = np.maximum(cells.labelled[:, cells.place], 1)
    share = np.where(np.isfinite(cells.values), cells.counts / total, np.nan)
    seen = np.isfinite(share).any(axis=0)
    mean = np.full(share.shape[1], np.nan)
    mean[seen] = np.nanmean(share[:, seen], axis=0)
    head = pd.DataFrame([region_numbers(patterns, k) for k in cells.pair.tolist()])
    table = head.astype({"region_a": "Int64", "region_b": "Int64"})
    table.insert(0, "contrast", found.contrast)
    if search:
        flat = patterns.places[cells.place]
        for k, column in enumerate(("x_mm", "y_mm", "z_mm")):
            table.insert(1 + k, column, _centres(flat, grid)[:, k])
        table.insert(1, "place", flat)
    numbers = {"n": found.n, "mean_share": mean, "estimate": found.estimate, "se": found.se}
    table = table.assign(**numbers, statistic=found.statistic, value=found.value, p=found.p, p_fwe=found.p_fwe)
    return table


def _centres(flat: np.ndarray, grid: Grid) -> np.ndarray:
    """Centres of voxels, (N, 3) mm."""
    ijk = np.stack(np.unravel_index(flat, grid.mask.shape), axis=1)
    return np.asarray(ijk @ grid.affine[:3, :3].T + grid.affine[:3, 3])


def _summary(found: Compared, pairs: pd.DataFrame, grid: Grid, patterns: Patterns, search: bool) -> dict[str, object]:
    own = pairs[pairs["contrast"] == found.contrast]
    tested = own.dropna(subset=["p_fwe"])
    best = tested.sort_values(["p_fwe", "p"], kind="stable").head(1)
    strongest = best["pair"].iloc[0] if len(best) else "n/a"
    row: dict[str, object] = {
        "contrast": found.contrast,
        "n_pairs": len(tested),
        "n_rejected": int((tested["p_fwe"] <= ALPHA).sum()),
        "strongest": strongest,
        "p_fwe": float(tested["p_fwe"].min()) if len(tested) else float("nan"),
    }
    if not search:
        return {**row, "total": found.total[0], "p_total": found.p_total[0]}
    known = np.flatnonzero(np.isfinite(found.p_total_fwe))
    row["n_places"] = len(known)
    row["n_places_rejected"] = int((found.p_total_fwe[known] <= ALPHA).sum())
    if len(known):
        best_place = known[np.lexsort([-found.total[known], found.p_total[known], found.p_total_fwe[known]])[0]]
        x, y, z = _centres(patterns.places[[best_place]], grid)[0].tolist()
        row |= {"x_mm": x, "y_mm": y, "z_mm": z, "total": found.total[best_place]}
        row |= {"p_total": found.p_total[best_place], "p_total_fwe": found.p_total_fwe[best_place]}
    return row


def _write_maps(out: Path, stem: str, found: Compared, patterns: Patterns, grid: Grid) -> None:
    """NaN outside of the mask and where nothing was tested."""
    name = re.sub(r"[^A-Za-z0-9]", "", found.contrast) or "contrast"
    for kind, values in (("total", found.total), ("p", found.p_total), ("pfwe", found.p_total_fwe)):
        data = np.full(grid.mask.size, np.nan, np.float32)
        data[patterns.places] = values
        path = out / f"{stem}_contrast-{name}_desc-{kind}_statmap.nii.gz"
        with writing(path):
            pass  # makes the folder, and says so where it cannot be written
        write_volume(path, Volume(data.reshape(grid.mask.shape), grid.affine))


def _sidecar(
    settings: LtpaSettings, patterns: Patterns, model: GroupModel, exchanged: tuple[str, ...],
    tables: dict[str, pd.DataFrame],
) -> dict[str, object]:  # fmt: skip
    chosen = settings.permutation
    used = {column for table in tables.values() for column in table.columns}
    more = {
        "n_places": "Places tested",
        "n_places_rejected": "Places with p_total_fwe of at most .05",
    }
    return {
        "Software": f"spectra-bids {__version__}",
        "Labeling": patterns.labeling,
        "Place": settings.place.words,
        "Formula": model.design.formula.text,
        "Contrasts": [c.name for c in model.contrasts],
        "Measure": settings.measure,
        "LeastMeanShare": settings.min_share,
        "LeastStreamlines": settings.min_streamlines,
        "Permutations": chosen.n,
        "RandomSeed": chosen.random_seed,
        "Exchanged": {c.name: words for c, words in zip(model.contrasts, exchanged, strict=True)},
        "LeftOut": [f"{who}: {why}" for who, why in model.dropped],
        "Columns": {name: {"Description": text} for name, text in {**_COLUMNS, **more}.items() if name in used},
    }
