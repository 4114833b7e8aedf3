"""DataFrame -> TableItem: text for people, exact values for sorting, tones for what stands out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from spectra_bids.figures.style import number
from spectra_bids.report.pages import Cell, TableItem

if TYPE_CHECKING:
    import pandas as pd

#: Gets a row, returns the tone of each of its columns that has one.
Tones = Callable[[Mapping[str, Any]], Mapping[str, str]]


def table(
    name: str,
    frame: pd.DataFrame,
    columns: Sequence[tuple[str, str, str]],
    caption: str = "",
    tools: bool = False,
    tones: Tones | None = None,
) -> TableItem:
    """Columns of a DataFrame as a table of a page.

    Parameters
    ----------
    name : str
        Id of the table, and the stem of the file it is saved to.
    frame : DataFrame
        Its rows, in order.
    columns : sequence of (column, heading, description)
        Those that are absent from the frame are left out.
    caption : str
        Line above the table.
    tools : bool
        Sort, filter, save.
    tones : callable, optional
        Row -> mapping of column to tone.

    """
    kept = [column for column in columns if column[0] in frame]
    rows = []
    for record in frame[[column[0] for column in kept]].to_dict("records"):
        tone = tones({str(k): v for k, v in record.items()}) if tones else {}
        rows.append(tuple(cell(record[key], key, tone.get(key, "")) for key, _, _ in kept))
    numeric = tuple(_is_numeric(frame[key]) for key, _, _ in kept)
    return TableItem(name, tuple((h, d) for _, h, d in kept), numeric, tuple(rows), caption, tools)


def cell(value: Any, key: str = "", tone: str = "") -> Cell:
    """One value: n/a for missing, yes or no for truth, three digits for numbers, and the exact value beside it."""
    if isinstance(value, bool | np.bool_):
        return Cell("yes" if value else "no", "1" if value else "0", tone or ("good" if value else "quiet"))
    if isinstance(value, Real):
        plain = float(value)
        if not np.isfinite(plain):
            return Cell("n/a", "", tone or "quiet")
        exact = f"{plain:.6g}"
        if key.startswith(("p_", "q_")) or key in ("p", "q"):
            return Cell(p_text(plain), exact, tone)
        if key.startswith("share_"):
            return Cell(f"{100 * plain:.1f} %", exact, tone)
        if key.endswith("_mm") or key == "weight":
            return Cell(f"{plain:.1f}".replace("-", "−"), exact, tone)
        if key.startswith("volume"):
            return Cell(f"{plain:,.0f}", exact, tone)
        return Cell(f"{plain:,.0f}" if plain.is_integer() and abs(plain) < 1e15 else number(plain), exact, tone)
    if value is None or str(value) in ("nan", "<NA>", "n/a"):
        return Cell("n/a", "", tone or "quiet")
    return Cell(str(value), "", tone)


def p_text(p: float) -> str:
    """A p or q value as people read it."""
    if not np.isfinite(p):
        return "n/a"
    if p >= 0.1:
        return f"{p:.2f}"
    if p >= 0.0001:
        return f"{p:.2g}" if p < 0.01 else f"{p:.3f}"
    if p < 1e-300:
        return "< 1e−300"
    return f"{p:.0e}".replace("e-0", "e-").replace("-", "−")


def _is_numeric(column: pd.Series[Any]) -> bool:
    import pandas as pd

    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
