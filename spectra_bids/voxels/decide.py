"""p values of voxels -> decisions: false discovery rate over the mask, or hierarchical over regions of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectra_bids.errors import AtlasError
from spectra_bids.geometry.labels import LabelVolume
from spectra_bids.inference import fdr, hierarchical_fdr
from spectra_bids.io.masks import Mask
from spectra_bids.voxels.fit import VoxelFits
from spectra_bids.voxels.model import VoxelModel
from spectra_bids.voxels.settings import VoxelSettings

F = NDArray[np.float64]
Labels = NDArray[np.object_]

#: The one block of an analysis without regions.
WHOLE = "mask"


@dataclass(frozen=True, eq=False)
class Decided:
    """Decisions on one contrast.

    Parameters
    ----------
    p, q : (V,) float
        p in the direction of the contrast with `tails="one"`; q is compared with the level.
    rejected : (V,) bool
    blocks : DataFrame
        block, n_voxels, n_valid, p_block, q_block, selected, n_rejected; one row without regions.

    """

    p: F
    q: F
    rejected: NDArray[np.bool_]
    blocks: pd.DataFrame


def regions_of(mask: Mask, volume: LabelVolume | None) -> Labels:
    """Name of the region of each voxel, (V,); "" outside all, and one name for all without a volume.

    Raises
    ------
    AtlasError
        If all voxels are outside.

    """
    if volume is None:
        return np.full(mask.n, WHOLE, dtype=object)
    labels = volume.at(mask.ijk @ mask.affine[:3, :3].T + mask.affine[:3, 3])
    kinds, index = np.unique(labels, return_inverse=True)
    if not labels.any():
        raise AtlasError(
            f"no voxel of the mask {mask.name} lies in a region of {volume.source}: expected volumes of one space",
            "Bring the regions into the images' space.",
        )
    names = np.array([volume.name(int(kind)) if kind else "" for kind in kinds], dtype=object)
    return np.asarray(names[index.ravel()])


def decide(settings: VoxelSettings, model: VoxelModel, fits: VoxelFits, regions: Labels) -> tuple[Decided, ...]:
    """Decisions on every contrast; each is a family of its own."""
    chosen = settings.decision
    out = []
    for test, contrast in zip(fits.tests, model.contrasts, strict=True):
        p = test.p
        if settings.tails == "one" and contrast.type == "T":
            p = np.where(test.value > 0, p / 2, 1 - p / 2)
        family = np.where(regions == "", np.nan, p)
        if chosen.mode == "hfdr":
            levels = (chosen.alpha_block, chosen.alpha_cell)
            found = hierarchical_fdr(family, regions, *levels, chosen.combination)
        else:
            found = fdr(family, regions, chosen.alpha, chosen.adaptive)
        rejected = found.rejected[0]
        table = pd.DataFrame({"block": found.blocks})
        members = pd.Series(regions)
        for name, values in (("n_voxels", np.ones(len(p))), ("n_valid", np.isfinite(family)), ("n_rejected", rejected)):
            counts = pd.Series(np.asarray(values, float)).groupby(members, sort=False).sum()
            table[name] = counts.reindex(table["block"]).to_numpy().astype(int)
        table = table.assign(p_block=found.p_block, q_block=found.q_block, selected=found.selected)
        out.append(Decided(p, found.q, rejected, table[table["block"] != ""].reset_index(drop=True)))
    return tuple(out)


def summary(settings: VoxelSettings, model: VoxelModel, fits: VoxelFits, decided: tuple[Decided, ...]) -> pd.DataFrame:
    """One row per contrast."""
    chosen = settings.decision
    rows = []
    for contrast, label, test, found in zip(model.contrasts, model.labels, fits.tests, decided, strict=True):
        up = found.rejected & (test.value > 0)
        # `value` of an F has no sign
        row = {"contrast": contrast.name, "label": label, "statistic": test.statistic, "n_voxels": len(found.p)}
        row |= {"n_valid": int(found.blocks["n_valid"].sum())}
        if chosen.hierarchical:
            row |= {"n_blocks": int(np.isfinite(found.blocks["p_block"]).sum())}
            row |= {"n_selected": int(found.blocks["selected"].sum())}
        row |= {"n_rejected": int(found.rejected.sum())}
        signed = test.statistic == "t"
        row |= {"n_positive": int(up.sum()) if signed else np.nan}
        row |= {"n_negative": int((found.rejected & ~up).sum()) if signed else np.nan}
        finite = bool(np.isfinite(test.value).any())
        row |= {"value_max": np.nanmax(test.value) if finite else np.nan}
        row |= {"value_min": np.nanmin(test.value) if finite else np.nan}
        row |= {"p_min": np.nanmin(found.p) if finite else np.nan}
        rows.append(row)
    return pd.DataFrame(rows)
