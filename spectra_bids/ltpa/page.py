"""The page of an analysis: tables -> page model and figure -> HTML."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from spectra_bids.bundle import Volume
from spectra_bids.figures.brains import mosaic, picture
from spectra_bids.figures.patterns import pattern_plot
from spectra_bids.group.model import GroupModel
from spectra_bids.group.page import contrast_item
from spectra_bids.ltpa.compare import Compared
from spectra_bids.ltpa.patterns import Cells, Grid, Patterns, pair_name
from spectra_bids.ltpa.settings import LtpaSettings
from spectra_bids.report.build import ltpa_page
from spectra_bids.report.designs import summarize_design
from spectra_bids.report.ltpa import LtpaPage
from spectra_bids.report.pages import FigureItem

#: Level of the words in summary and page; the tables hold p values.
ALPHA = 0.05
#: Fewest people of a mean that is drawn.
_FEWEST = 3
_Z95 = 1.96


def page_and_figures(
    settings: LtpaSettings, patterns: Patterns, model: GroupModel, cells: Cells, compared: Sequence[Compared],
    pairs: pd.DataFrame, summary: pd.DataFrame, exchanged: Sequence[str], grid: Grid,
) -> tuple[str, tuple[FigureItem, ...]]:  # fmt: skip
    """HTML of the page, and its figures."""
    search = settings.place.every_voxel_of is not None
    if search:
        figures = _maps(settings, model.name, patterns, compared, grid)
    else:
        figures = _figures(patterns, model, cells, pairs)
    in_model = np.isfinite(cells.values).any(axis=1)
    labelled = cells.labelled.max(axis=1)
    unlabelled = patterns.sessions["unlabelled_share"].to_numpy(np.float64)
    page = LtpaPage(
        name=model.name,
        place=settings.place.words,
        labeling=patterns.labeling,
        formula=model.design.formula.text,
        measure=settings.measure,
        min_share=settings.min_share,
        min_streamlines=settings.min_streamlines,
        n_permutations=settings.permutation.n,
        n_sessions=len(patterns.sessions),
        n_compared=int(in_model.sum()),
        streamlines=_range(labelled.astype(np.float64)),
        unlabelled=_range(unlabelled[np.isfinite(unlabelled)]),
        pairs=pairs,
        summary=summary,
        design=summarize_design(model.design, model.joined),
        tested={c.name: contrast_item(c, model.design).text for c in model.contrasts},
        exchanged={c.name: words for c, words in zip(model.contrasts, exchanged, strict=True)},
        figures=figures,
        search=search,
        provenance={"Labelling": patterns.labeling, "Sessions": str(len(patterns.sessions))},
        command=settings.command,
    )
    return ltpa_page(page), figures


def _maps(
    settings: LtpaSettings, model_name: str, patterns: Patterns, compared: Sequence[Compared], grid: Grid
) -> tuple[FigureItem, ...]:
    """Slices of the uncorrected p of each contrast; over the template in an MNI space, else over the mask."""
    background = None if patterns.space.startswith("MNI152") else settings.place.search
    out = []
    for found in compared:
        data = np.zeros(grid.mask.size)
        data[patterns.places] = np.nan_to_num(-np.log10(found.p_total))
        png = mosaic(Volume(data.reshape(grid.mask.shape), grid.affine), -np.log10(ALPHA), False, background)
        title = f"{found.contrast}: where the distribution of ends differs"
        label = re.sub(r"[^A-Za-z0-9]", "", found.contrast) or "contrast"
        caption = (
            f"{found.contrast}: -log10 of p, by permutation, not corrected; coloured from p = .05 on. Which voxels "
            "hold over all voxels, the summary says, and the map pfwe."
        )
        name = f"ltpa-{model_name}_contrast-{label}_desc-p"
        out.append(FigureItem(name, title, caption, picture(png, title)))
    return tuple(out)


def _range(values: np.ndarray) -> tuple[float, float, float]:
    if not len(values):
        return (float("nan"),) * 3
    return float(values.min()), float(np.median(values)), float(values.max())


def _figures(patterns: Patterns, model: GroupModel, cells: Cells, pairs: pd.DataFrame) -> tuple[FigureItem, ...]:
    """Mean shares by the first factor that is tested, else of everybody."""
    by = next((c for c in model.compared if isinstance(model.table[c].dtype, pd.CategoricalDtype)), "")
    share = np.where(np.isfinite(cells.values), cells.counts / np.maximum(cells.labelled[:, cells.place], 1), np.nan)
    levels = [str(level) for level in model.table[by].cat.categories] if by else [""]
    member = model.table[by].astype(str).to_numpy() if by else np.full(len(share), "")
    order = np.argsort(-np.nan_to_num(np.nanmean(share, axis=0)), kind="stable")
    rows = []
    for k in order.tolist():
        for level in levels:
            values = share[member == level, k]
            values = values[np.isfinite(values)]
            if len(values) < _FEWEST:
                continue
            half = _Z95 * float(values.std(ddof=1)) / np.sqrt(len(values))
            mean = float(values.mean())
            head = {"pair": pair_name(patterns, int(cells.pair[k])), "group": level}
            rows.append({**head, "mean": mean, "low": max(mean - half, 0.0), "high": mean + half})
    if not rows:
        return ()
    found = sorted(set(pairs.loc[pairs["p_fwe"] <= ALPHA, "pair"]))
    title = f"Ends of the streamlines through the place{f', by {by}' if by else ''}"
    caption = (
        "Mean share of each pair of regions in the labelled streamlines through the place, with its 95 % interval "
        "(mean ± 1.96 standard errors, people as they are, without covariates). * family-wise p of at most .05."
    )
    return (
        FigureItem(
            f"ltpa-{model.name}_desc-distribution", title, caption, pattern_plot(pd.DataFrame(rows), title, found)
        ),
    )
