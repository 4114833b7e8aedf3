"""Local termination pattern analysis: do the streamlines through a place end elsewhere in one group than in another?

    patterns    tractograms and labellings -> counts per session, place and pair of regions
    compare     pair by pair, distribution by distribution, over many places, by permutation
    outputs     tables, maps
    page        the report

It stands above the group level, whose design, contrasts and exchangeability blocks it uses.

References
----------
Cieslak & Grafton 2014, Local termination pattern analysis: a tool for comparing white matter morphology.

"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from spectra_bids.errors import NothingSelectedError
from spectra_bids.group.exchange import draw, exchange_blocks, require_exchangeable
from spectra_bids.group.model import GroupModel, default_name, make_model
from spectra_bids.ltpa.compare import Compared, compare
from spectra_bids.ltpa.outputs import Results, write_results
from spectra_bids.ltpa.patterns import Cells, Patterns, find_sessions, make_cells, place_grid, read_patterns
from spectra_bids.ltpa.settings import LtpaSettings, Place
from spectra_bids.settings import DecisionSettings, GroupSettings, RunSettings

__all__ = ["Analysis", "LtpaSettings", "Place", "analyse", "run"]


@dataclass(frozen=True, eq=False)
class Analysis:
    """Everything that an analysis comes to; `exchanged` says of each contrast who was exchanged with whom."""

    patterns: Patterns
    model: GroupModel
    cells: Cells
    compared: tuple[Compared, ...]
    exchanged: tuple[str, ...]


def run(settings: LtpaSettings) -> Results:
    """Analyse and write tables, maps of a search, figure and page.

    Raises
    ------
    SpectraError
        Whatever is wrong with the data set, the place, the participants table or the formula.

    """
    found = find_sessions(settings)
    grid = place_grid(settings, found[0])
    search = settings.place.every_voxel_of is not None
    # The model first: a typing error in the formula should not cost the reading of all tractograms.
    sessions = pd.DataFrame([{"participant_id": item.subject, "session_id": item.session} for item in found])
    model = make_model(_group_settings(settings), sessions)
    require_exchangeable(_group_settings(settings), model)
    patterns = read_patterns(found, grid, search)
    analysis = analyse(settings, patterns, model)
    return write_results(settings, analysis.patterns, analysis.model, analysis.cells, analysis.compared,
                         analysis.exchanged, grid)  # fmt: skip


def analyse(settings: LtpaSettings, patterns: Patterns, model: GroupModel) -> Analysis:
    """Compare the distributions of the sessions of a model.

    Raises
    ------
    NothingSelectedError
        Too few streamlines pass in everybody.

    """
    cells = make_cells(patterns, model.sessions, settings)
    if not len(cells.place) or not np.isfinite(cells.values).any():
        most = int(cells.labelled.max(initial=0))
        raise NothingSelectedError(
            f"No session has {settings.min_streamlines} labelled streamlines through the {settings.place.words}. The "
            f"most is {most}",
            "Choose another place or a larger one, or lower --min-streamlines",
        )
    compared, words = [], []
    for contrast in model.contrasts:
        exchange = exchange_blocks(settings.permutation, model, contrast)
        chosen = settings.permutation
        drawn = draw(exchange, model.design.n, chosen.n, chosen.random_seed, contrast.name)
        places = len(patterns.places)
        compared.append(
            compare(cells.values, cells.place, places, model.design, contrast, drawn, settings.min_subjects)
        )
        words.append(exchange.words)
    return Analysis(patterns, model, cells, tuple(compared), tuple(words))


def _group_settings(settings: LtpaSettings) -> GroupSettings:
    """The group level's settings of the same model."""
    name = settings.name or default_name(settings.formula.partition("~")[2])
    return GroupSettings(
        run=RunSettings(settings.bids_dir, settings.out),
        formula=settings.formula,
        model_name=name,
        design=settings.design,
        contrasts=settings.contrasts,
        decision=DecisionSettings(mode="perm", permutation=settings.permutation),
    )
