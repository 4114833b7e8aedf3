"""The page of a voxel-wise analysis: model, decisions and pictures -> page model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from spectra_bids import __version__
from spectra_bids.columns import FIT_STATUSES
from spectra_bids.figures.brains import picture
from spectra_bids.io.masks import Mask
from spectra_bids.models.contrasts import Contrast
from spectra_bids.models.design import Design
from spectra_bids.report.build import voxel_page
from spectra_bids.report.designs import summarize_design
from spectra_bids.report.pages import ContrastItem, FigureItem, Notice
from spectra_bids.report.voxels import ContrastPart, VoxelPage
from spectra_bids.voxels.decide import Decided
from spectra_bids.voxels.fit import STATUSES, VoxelFits
from spectra_bids.voxels.inputs import Inputs
from spectra_bids.voxels.model import VoxelModel
from spectra_bids.voxels.outputs import ContrastOutput
from spectra_bids.voxels.peaks import PEAKS
from spectra_bids.voxels.settings import VoxelSettings


def page_text(
    settings: VoxelSettings,
    inputs: Inputs,
    mask: Mask,
    model: VoxelModel,
    fits: VoxelFits,
    decided: tuple[Decided, ...],
    summary: pd.DataFrame,
    shown: Mapping[str, ContrastOutput],
) -> str:
    """HTML of the page."""
    parts = []
    for k, (contrast, label, found) in enumerate(zip(model.contrasts, model.labels, decided, strict=True)):
        row = {str(key): value for key, value in summary.iloc[k].items()}
        two_sided = contrast.type == "T" and not model.directed[k]
        item = ContrastItem(contrast.name, weights_text(contrast, model.design))
        figures = _figures(contrast.name, label, shown[label], settings.display.threshold)
        parts.append(ContrastPart(item, label, row, found.blocks, shown[label].peaks, figures, two_sided))
    counts = np.bincount(fits.status, minlength=len(STATUSES) + 1)[1:]
    statuses = pd.DataFrame(
        [
            {"status": s, "voxels": int(n), "meaning": FIT_STATUSES[s]}
            for s, n in zip(STATUSES, counts, strict=True)
            if n
        ]
    )
    page = VoxelPage(
        name=settings.name,
        formula=model.design.formula.text,
        contrasts=tuple(parts),
        design=summarize_design(model.design, inputs.table),
        decision=settings.decision,
        tails=settings.tails,
        random=bool(model.design.random),
        n_voxels=mask.n,
        statuses=statuses,
        threshold=settings.display.threshold,
        extent=settings.display.extent,
        peaks_about={column.name: column.description for column in PEAKS},
        has_regions=bool(settings.blocks),
        provenance=_provenance(settings, inputs, mask),
        command=settings.command,
        notices=_notices(inputs, model, fits),
    )
    return voxel_page(page)


def weights_text(contrast: Contrast, design: Design) -> str:
    """Weights over the columns of X, rows separated by ';'."""
    return "; ".join(
        " ".join(f"{w:+g}·{c}" for w, c in zip(row, design.columns, strict=True) if w) for row in contrast.weights
    )


def _figures(name: str, label: str, shown: ContrastOutput, threshold: float) -> tuple[FigureItem, ...]:
    text = f"{name}: the statistic beyond {threshold:g}"
    return (
        FigureItem(f"contrast-{label}_desc-glass", name, "Glass brain.", picture(shown.glass, f"{text}, glass brain")),
        FigureItem(f"contrast-{label}_desc-mosaic", name, "Slices.", picture(shown.mosaic, f"{text}, slices")),
    )


def _notices(inputs: Inputs, model: VoxelModel, fits: VoxelFits) -> tuple[Notice, ...]:
    notes = [Notice("note", note) for note in inputs.notes]
    if model.centred:
        means = ", ".join(f"{name} (mean {mean:.6g})" for name, mean in model.centred.items())
        text = f"{means}: the intercept, and effects beside an interaction, are those at the mean."
        notes.append(Notice("note", "Covariates are centred", text))
    absent = int((fits.nobs < model.design.n).sum())
    if absent:
        low = int(fits.nobs.min())
        notes.append(
            Notice("note", f"{absent:,} voxels have values of fewer images", f"At least {low} of {model.design.n}.")
        )
    return tuple(notes)


def _provenance(settings: VoxelSettings, inputs: Inputs, mask: Mask) -> dict[str, str]:
    source = {"Images": f"{len(inputs.table)} files"} if inputs.hdf5 is None else {"HDF5 file": inputs.hdf5.name}
    scalar = {"Scalar": inputs.scalar} if inputs.scalar else {}
    regions = {"Regions": settings.blocks} if settings.blocks else {}
    named = {"Labels": ", ".join(settings.labels)} if settings.labels else {}
    return {
        **source,
        **scalar,
        "Design": settings.design.name,
        "Mask": f"{settings.mask.name}, {mask.n} voxels",
        **regions,
        **named,
        "spectra-bids": __version__,
    }
