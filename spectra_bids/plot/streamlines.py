"""Streamlines to draw bundles with: the display streamlines of the output directory, or an atlas's own.

OUT/atlas/atlas-<label>_bundle-<X>_streamlines.tck        written with the grids
--atlas PATH | NAME                                       the atlas that the grids were made of
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from spectra_bids.bundle import Bundle
from spectra_bids.dataset.atlas_store import find_atlas
from spectra_bids.dataset.atlases import read_atlas
from spectra_bids.dataset.names import canonical
from spectra_bids.geometry.grid import Grid
from spectra_bids.io.tractograms import read_bundle

log = logging.getLogger("spectra_bids")

#: Streamlines of one bundle in a picture: more hide each other.
MOST = 500
NO_STREAMLINES = (
    "no streamlines to draw {what} with: there is no OUT/atlas/atlas-*_bundle-*_streamlines.tck for it, and no --atlas"
)


def display_bundles(out: Path, atlas: str, grids: Mapping[str, Grid], bundles: Sequence[str]) -> dict[str, Bundle]:
    """Streamlines of bundles that have a located grid, at most MOST each; those without are left out."""
    files = _from_atlas(atlas, bundles) if atlas else {}
    for name in bundles:
        stored = sorted((out / "atlas").glob(f"atlas-*_bundle-{name}_streamlines.tck"))
        if stored and name not in files:
            files[name] = stored[0]
    out_of = {}
    for name in bundles:
        if name not in files or name not in grids or not grids[name].is_located:
            continue
        bundle = read_bundle(files[name])
        if bundle.n_streamlines > MOST:
            bundle = bundle.take(np.linspace(0, bundle.n_streamlines - 1, MOST).astype(np.int64))
        out_of[name] = bundle
    return out_of


def _from_atlas(atlas: str, bundles: Sequence[str]) -> dict[str, Path]:
    found = read_atlas(find_atlas(atlas)).bundles
    keys = {canonical(name): path for name, path in found.items()}
    return {
        name: found.get(name, keys.get(canonical(name), Path()))
        for name in bundles
        if name in found or canonical(name) in keys
    }


def join(bundles: Sequence[Bundle]) -> Bundle:
    """Several bundles as one."""
    shifts = np.cumsum([0, *(len(bundle.points) for bundle in bundles)])
    offsets = [bundle.offsets[1:] + shift for bundle, shift in zip(bundles, shifts[:-1], strict=True)]
    return Bundle(np.concatenate([bundle.points for bundle in bundles]), np.concatenate([[0], *offsets]))
