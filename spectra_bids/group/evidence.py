"""What the map step leaves of a bundle beside its fits, for procedures that need more than p values.

    model-<name>_bundle-<X>_desc-profile{1D,2D}_residuals.npz       correlation of the residuals, (C, C) per scalar
    model-<name>_bundle-<X>_desc-profile{1D,2D}_permutations.npz    observed z, TFCE ... and null maxima (perm only)

Each has a JSON file with a SettingsHash beside it, written after it; cells come in the order of the fits.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectra_bids.dataset.block_files import read_blocks
from spectra_bids.dataset.names import Dims, MapKind, map_file
from spectra_bids.dataset.outputs import read_table, remove, write_bytes, write_json
from spectra_bids.group.exchange import Exchange
from spectra_bids.inference import NullMaxima, joint_maxima, reduce_maxima
from spectra_bids.settings import DecisionSettings, PermutationSettings

F = NDArray[np.float64]
#: Arrays of a PermutationTest that are kept: (C,) each.
OBSERVED = ("z", "p", "size", "mass", "tfce")


def write_arrays(path: Path, arrays: Mapping[str, Any], key: str, facts: Mapping[str, Any]) -> None:
    """Write an .npz and the .json that makes it valid."""
    description = path.with_suffix(".json")
    remove(description)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_bytes(path, buffer.getvalue())
    write_json(description, {**facts, "SettingsHash": key})


def is_written(path: Path, key: str) -> bool:
    """Whether an .npz is there and was made with these settings."""
    try:
        return path.is_file() and json.loads(path.with_suffix(".json").read_text()).get("SettingsHash") == key
    except (OSError, ValueError):
        return False


def permutation_key(fits_key: str, chosen: PermutationSettings, exchanges: Sequence[Exchange]) -> str:
    """Hash of what decides a bundle's permutations: fits, number, seed, and who is exchanged with whom."""
    digest = hashlib.sha256(repr((fits_key, chosen.n, chosen.random_seed)).encode())
    for exchange in exchanges:
        for codes in (exchange.within, exchange.whole, exchange.inside):
            digest.update(b"all" if codes is None else np.ascontiguousarray(codes, np.int64).tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class StoredEvidence:
    """The evidence of one kind of profile of a model, read when it is asked for (`decide.Evidence`).

    Parameters
    ----------
    out : Path
    model : str
    dims : {"1D", "2D"}
    bundles : sequence of str
        In the order of the fits.
    settings : DecisionSettings
    contrasts : sequence of str
        Names, in the order in which they were tested.

    """

    out: Path
    model: str
    dims: Dims
    bundles: Sequence[str]
    settings: DecisionSettings
    contrasts: Sequence[str]

    def correlations(self, scalar: str) -> dict[str, NDArray[np.floating]]:
        """Correlation of the residuals of each bundle's cells, (C, C)."""
        found: dict[str, NDArray[np.floating]] = {}
        for bundle in self.bundles:
            with np.load(self._path(bundle, "residuals")) as arrays:
                found[bundle] = arrays[scalar]
        return found

    def sizes(self, scalars: Sequence[str]) -> dict[str, dict[str, NDArray[np.floating]]]:
        """Root mean square of every row's residuals, (n,), by scalar and bundle."""
        found: dict[str, dict[str, NDArray[np.floating]]] = {scalar: {} for scalar in scalars}
        for bundle in self.bundles:
            with np.load(self._path(bundle, "residuals")) as arrays:
                for scalar in scalars:
                    found[scalar][bundle] = arrays[f"{scalar}.rows"]
        return found

    def normality(self) -> pd.DataFrame:
        """Per scalar: cells whose residuals were tested for normality, those with p < .001, the bundle with most."""
        parts = []
        for bundle in self.bundles:
            table = read_table(map_file(self.out, self.model, bundle, self.dims, "components"))
            parts.append(
                table.loc[(table["kind"] == "p_normal") & table["value"].notna(), ["bundle", "scalar", "value"]]
            )
        rows = pd.concat(parts, ignore_index=True)
        odd = rows[rows["value"].astype(float) < 0.001]
        found = []
        for scalar, cells in rows.groupby("scalar", sort=False):
            counts = odd.loc[odd["scalar"] == scalar, "bundle"].value_counts(sort=True)
            worst = str(counts.index[0]) if len(counts) else ""
            found.append({"scalar": scalar, "n_cells": len(cells), "n_odd": int(counts.sum()), "worst_bundle": worst})
        return pd.DataFrame(found, columns=["scalar", "n_cells", "n_odd", "worst_bundle"])

    def means(self) -> pd.DataFrame | None:
        """Adjusted means of all bundles (columns.MEANS); None where nothing that is tested has any."""
        paths = [map_file(self.out, self.model, bundle, self.dims, "means") for bundle in self.bundles]
        parts = [read_table(path) for path in paths if path.is_file()]
        return pd.concat(parts, ignore_index=True) if parts else None

    def permuted(self, scalar: str, contrast: str) -> tuple[F, F]:
        """Family-wise p of the chosen statistic, and uncorrected p, of each cell by permutation."""
        stem = f"{scalar}.{list(self.contrasts).index(contrast)}"
        parts = [self._permutations[bundle] for bundle in self.bundles]
        seen = {name: np.concatenate([part[f"{stem}.{name}"] for part in parts]) for name in OBSERVED}
        null = joint_maxima(
            [NullMaxima(*(part[f"{stem}.null_{f.name}"] for f in fields(NullMaxima))) for part in parts]
        )
        corrected = reduce_maxima(seen["z"], seen["size"], seen["mass"], seen["tfce"], null)
        chosen = {"max": corrected.peak, "cluster": corrected.mass, "tfce": corrected.tfce}
        return chosen[self.settings.permutation.statistic], seen["p"]

    @cached_property
    def _permutations(self) -> dict[str, dict[str, F]]:
        found = {}
        for bundle in self.bundles:
            with np.load(self._path(bundle, "permutations")) as arrays:
                found[bundle] = dict(arrays)
        return found

    def blocks(self, cells: pd.DataFrame) -> NDArray[np.object_]:
        """Block of each cell by the user's own file."""
        assert self.settings.block_file is not None
        return read_blocks(self.settings.block_file, cells)

    def _path(self, bundle: str, kind: MapKind) -> Path:
        return map_file(self.out, self.model, bundle, self.dims, kind, "npz")
