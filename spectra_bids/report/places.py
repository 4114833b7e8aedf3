"""Where along and across a bundle: millimetres and anatomical words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spectra_bids.figures.style import end_word

if TYPE_CHECKING:
    import pandas as pd


def place(cells: pd.DataFrame, ends: tuple[str, str] | None, sides: tuple[str, str] | None) -> str:
    """Extent of some cells of a bundle: "61–72 mm from the inferior end; 2–8 mm to the left".

    Parameters
    ----------
    cells : DataFrame
        Their rows, with s, s_mm and, in 2D, r and r_mm.
    ends, sides : (low, high), optional
        Letters of the ends of s and of r.

    """
    words = [along(cells, ends)]
    if "r_mm" in cells and cells["r_mm"].notna().any():
        words.append(across(float(cells["r_mm"].min()), float(cells["r_mm"].max()), sides))
    elif "r" in cells and cells["r"].notna().any():
        low, high = int(cells["r"].min()), int(cells["r"].max())
        words.append(f"radial bin {low}" if low == high else f"radial bins {low}–{high}")
    return "; ".join(word for word in words if word)


def along(cells: pd.DataFrame, ends: tuple[str, str] | None) -> str:
    """From which end, how far; by nodes where no millimetres are known."""
    low, high = (float(v) for v in (cells["s_mm"].min(), cells["s_mm"].max()))
    if not np.isfinite(low):
        first, last = int(cells["s"].min()), int(cells["s"].max())
        return f"node {first}" if first == last else f"nodes {first}–{last}"
    start = f"the {end_word(ends[0])} end" if ends and ends[0] else "the low end"
    return f"{span(low, high)} mm from {start}"


def across(low: float, high: float, sides: tuple[str, str] | None) -> str:
    """On which side of the centre line, how far."""
    a, b = (f"to the {end_word(side)} side" for side in sides) if sides else ("to the low side", "to the high side")
    if round(low) == 0 and round(high) == 0:
        return "on the centre line"
    if low >= -0.5:
        return f"{span(max(low, 0.0), high)} mm {b}"
    if high <= 0.5:
        return f"{span(max(-high, 0.0), -low)} mm {a}"
    return f"from {-low:.0f} mm {a} to {high:.0f} mm {b}"


def span(low: float, high: float) -> str:
    """5–20, or 5 where both round to it."""
    return f"{low:.0f}" if round(low) == round(high) else f"{low:.0f}–{high:.0f}"
