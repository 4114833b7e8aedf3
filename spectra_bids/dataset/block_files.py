"""Blocks of hypotheses named by the user: a TSV or CSV with columns `bundle block`, `s` and `r` where they matter.

A row without `s` (no such column, or n/a) names all cells of its bundle, one without `r` all cells of its node. A cell
that no row names is in no block and is not tested.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spectra_bids.dataset.names import canonical
from spectra_bids.errors import DesignError, MissingInputError

if TYPE_CHECKING:
    import pandas as pd


def read_blocks(path: Path, cells: pd.DataFrame) -> NDArray[np.object_]:
    """Block of each cell; "" where the file names none.

    Parameters
    ----------
    path : Path
    cells : DataFrame
        Columns bundle, s and, in 2D, r.

    Returns
    -------
    (C,) array of str

    Raises
    ------
    MissingInputError
        There is no such file.
    DesignError
        A column is missing, a bundle or number is none, a cell is named for two blocks, or no cell is named.

    """
    table = _load(path)
    known = {canonical(str(bundle)) for bundle in cells["bundle"].unique()}
    places: dict[tuple[str, int | None, int | None], str] = {}
    for line, row in enumerate(table.to_dict("records"), start=2):
        bundle, block = canonical(row["bundle"]), row["block"]
        s, r = (_index(row.get(name, ""), name, path, line) for name in ("s", "r"))
        if not block or not bundle:
            raise DesignError(f"--block {path}, line {line}: bundle and block must both be named. Got {row}")
        if s is None and r is not None:
            raise DesignError(f"--block {path}, line {line}: a radial bin r needs its node s", "Fill in the column s.")
        key = (bundle, s, r)
        if places.setdefault(key, block) != block:
            raise DesignError(
                f"--block {path}, line {line}: {row['bundle']} is named for {places[key]} and for {block}"
            )
    radial = cells["r"].to_numpy() if "r" in cells.columns else [None] * len(cells)
    names = [canonical(str(bundle)) for bundle in cells["bundle"]]
    labels = [
        next((places[key] for key in ((b, s, r), (b, s, None), (b, None, None)) if key in places), "")
        for b, s, r in zip(names, cells["s"].astype(int), radial, strict=True)
    ]
    if not any(labels):
        raise DesignError(
            f"--block {path} names no cell of the profiles. It has the bundles "
            f"{', '.join(dict.fromkeys(table['bundle'])) or 'none'}; the profiles: "
            f"{', '.join(dict.fromkeys(map(str, cells['bundle'])))}",
            "Nodes s and radial bins r are counted from 0, as in the profile tables."
            if known & {key[0] for key in places}
            else "Bundles may be written in any spelling that the atlas's names are known by.",
        )
    return np.array(labels, dtype=object)


def _load(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        sep = "," if path.suffix.lower() == ".csv" else "\t"
        table = pd.read_csv(path, sep=sep, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise MissingInputError(f"--block {path} does not exist") from error
    except (ValueError, OSError) as error:
        raise DesignError(f"--block {path} is not a table: {error}", "Columns: bundle, s, r, block.") from error
    table.columns = table.columns.str.strip()
    for needed in ("bundle", "block"):
        if needed not in table.columns:
            raise DesignError(
                f"--block {path} has no column '{needed}'. It has: {', '.join(table.columns)}",
                "Columns: bundle, block and, where blocks are smaller than a bundle, s and r; separated by tabs.",
            )
    return pd.DataFrame({name: table[name].str.strip() for name in table.columns})


def _index(text: str, name: str, path: Path, line: int) -> int | None:
    if text in ("", "n/a"):
        return None
    if not text.isdigit():
        raise DesignError(f"--block {path}, line {line}: {name} is a whole number from 0. Got '{text}'")
    return int(text)
