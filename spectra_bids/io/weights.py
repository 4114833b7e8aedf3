"""Weights of a bundle's streamlines, such as SIFT2's: data per streamline of a TRX, or a text file beside the bundle.

    sub-01_bundle-X_<name>.txt    sub-01_bundle-X_streamlines_<name>.txt    (.csv, .tsv)    dps/<name> of the TRX itself

A text file holds one number per streamline, separated by blanks, commas or lines; lines that begin with # are
comments, as tcksift2 writes one.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spectra_bids.errors import MissingInputError, TractogramError
from spectra_bids.io.trx import read_trx_weights, trx_weights

_SUFFIXES = (".txt", ".csv", ".tsv")
_TRACTOGRAM = re.compile(r"\.(trk\.gz|tck\.gz|tt\.gz|trk|tck|trx)$")


def find_weights(bundle: Path, name: str) -> Path:
    """The file that holds the weights of a bundle's streamlines: the bundle itself (TRX) or a text file beside it.

    Raises
    ------
    MissingInputError
        If there is none.

    """
    in_file = trx_weights(bundle) if bundle.name.endswith(".trx") else []
    if name in in_file:
        return bundle
    stem = _TRACTOGRAM.sub("", bundle.name)
    candidates = [
        bundle.parent / f"{start}_{name}{suffix}"
        for start in dict.fromkeys((stem.rpartition("_")[0] or stem, stem))
        for suffix in _SUFFIXES
    ]
    for path in candidates:
        if path.is_file():
            return path
    inside = f"; the TRX holds {', '.join(in_file) or 'none'}" if bundle.name.endswith(".trx") else ""
    raise MissingInputError(
        f"no weights {name} of {bundle}: expected {candidates[0].name} or {candidates[-3].name} beside it{inside}",
        "Give --streamline-weights the name that the files end in, or leave it out.",
    )


def read_weights(path: Path, name: str, group: str | None, n: int) -> NDArray[np.float64]:
    """Weights of the n streamlines of a bundle, (n,), from the file that `find_weights` names.

    Raises
    ------
    TractogramError
        If they are not n numbers of at least 0, one of them above 0.

    """
    weights = read_trx_weights(path, group, name) if path.name.endswith(".trx") else _numbers(path)
    if len(weights) != n:
        raise TractogramError(
            f"{path} must hold one weight per streamline. Got {len(weights)} weights for {n} streamlines",
            "The weights must be of this very file: subsets of a tractogram need their own.",
        )
    if not np.isfinite(weights).all() or (weights < 0).any() or (n and not weights.any()):
        raise TractogramError(f"Weights in {path} must be finite, at least 0, and not all 0")
    return weights


def _numbers(path: Path) -> NDArray[np.float64]:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    words = re.split(r"[\s,;]+", " ".join(line for line in lines if not line.lstrip().startswith("#")).strip())
    try:
        return np.array([float(word) for word in words if word])
    except ValueError as error:
        raise TractogramError(f"{path} must hold numbers, one per streamline: {error}") from error
