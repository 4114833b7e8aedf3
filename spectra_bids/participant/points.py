"""Which points of a session's bundles count, and how much: masks and streamline weights, found and read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Bundle, Volume
from spectra_bids.dataset.inputs import BundleFile, SessionInputs, discover_derivatives
from spectra_bids.dataset.masks import MaskFile, find_mask
from spectra_bids.errors import MissingInputError
from spectra_bids.io.volumes import read_volume
from spectra_bids.io.weights import find_weights, read_weights
from spectra_bids.settings import ParticipantSettings


@dataclass(frozen=True)
class Weighed:
    """Masks of a session, by kind (include, exclude, lesion), and the file with each bundle's streamline weights."""

    masks: Mapping[str, MaskFile]
    weights: Mapping[str, Path]


def find_weighed(settings: ParticipantSettings, inputs: SessionInputs, files: Mapping[str, BundleFile]) -> Weighed:
    """What --include-mask and its like name in this session.

    Raises
    ------
    MissingInputError
        If an include or exclude mask, or a bundle's weights are not there; only lesion masks may be absent.

    """
    chosen, roots = settings.profile.points, discover_derivatives(settings.run)
    masks = {}
    for kind, wanted in (
        ("include", chosen.include_mask),
        ("exclude", chosen.exclude_mask),
        ("lesion", chosen.lesion_mask),
    ):
        option = f"--{kind}-mask"
        found = find_mask(wanted, option, roots, inputs.subject, inputs.session, inputs.space) if wanted else None
        if found is not None:
            masks[kind] = found
        elif wanted and kind != "lesion":
            raise MissingInputError(
                f"{option} {wanted}: sub-{inputs.subject} has no such file in the space of the scalar maps "
                f"({inputs.space or 'none said'})",
                "Name the data set that holds it with -d NAME=PATH, or give a path with {subject} in it.",
            )
    name = chosen.streamline_weights
    return Weighed(masks, {n: find_weights(f.org_path or f.path, name) for n, f in files.items()} if name else {})


def read_weighed(
    weighed: Weighed, name: str, files: Mapping[str, BundleFile], bundles: Mapping[str, Bundle]
) -> tuple[dict[str, Volume], dict[str, NDArray[np.float64]]]:
    """Masks by kind, and weights (S,) by bundle; `name` is that of the weights."""
    masks = {kind: read_volume(mask.path) for kind, mask in weighed.masks.items()}
    weights = {
        n: read_weights(path, name, files[n].group, bundles[n].n_streamlines) for n, path in weighed.weights.items()
    }
    return masks, weights
