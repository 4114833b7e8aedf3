"""The page of an analysis: tables -> page model and figure -> HTML."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from spectra_bids.figures.patterns import pattern_plot
from spectra_bids.group.model import GroupModel
from spectra_bids.ltpa.patterns import Cells, Patterns, pair_name
from spectra_bids.ltpa.settings import LtpaSettings
from spectra_bids.report.build import ltpa_page
from spectra_bids.report.designs import summarize_design
from spectra_bids.report.ltpa import LtpaPage
from spectra_bids.report.pages import FigureItem

#: Fewest people of a mean that is drawn.
_FEWEST = 3
_Z95 = 1.96


def page_and_figures(
    settings: LtpaSettings, patterns: Patterns, model: GroupModel, cells: Cells, pairs: pd.DataFrame,
    summary: pd.DataFrame, exchanged: Sequence[str],
) -> tuple[str, tuple[FigureItem, ...]]:  # fmt: skip
    """HTML of the page, and its figures."""
    search = settings.place.every_voxel_of is not None
    figures = () if search else _figures(patterns, model, cells, pairs)
    compared = np.isfinite(cells.values).any(axis=1)
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
        n_compared=int(compared.sum()),
        streamlines=_range(labelled.astype(np.float64)),
        unlabelled=_range(unlabelled[np.isfinite(unlabelled)]),
        pairs=pairs,
        summary=summary,
        design=summarize_design(model.design, model.joined),
        exchanged={c.name: words for c, words in zip(model.contrasts, exchanged, strict=True)},
        figures=figures,
        search=search,
        provenance={"Labelling": patterns.labeling, "Sessions": str(len(patterns.sessions))},
        command=settings.command,
    )
    return ltpa_page(page), figures


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
    found = sorted(set(pairs.loc[pairs["p_fwe"] <= 0.05, "pair"]))
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
