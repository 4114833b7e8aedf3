"""Atlas bundle on disk -> its grid, for commands that name the bundle's file and no atlas folder."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from spectra_bids.errors import InputDataError
from spectra_bids.geometry.grid import Grid, build_grid
from spectra_bids.io.tractograms import read_bundle


def grid_of_file(
    path: Path,
    *,
    s_len: float = 5.0,
    r_len: float = 5.0,
    ns: int | None = None,
    nr: int | None = None,
    robust: Literal["linear", "spline", "none"] = "linear",
) -> Grid:
    """Grid of the atlas bundle in a file; the parameters are those of `build_grid`.

    Raises
    ------
    SpectraError
        The file cannot be read, or no grid can be built on its streamlines.

    """
    bundle = read_bundle(path)
    try:
        return build_grid(bundle, path.name, s_len=s_len, r_len=r_len, ns=ns, nr=nr, robust=robust)
    except ValueError as error:
        raise InputDataError(f"No grid can be built on {path}: {error}") from error
