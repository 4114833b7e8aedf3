"""Collinearity: which columns of X are linear combinations of which, and how near to it the others are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spectra_bids.errors import DesignError

#: Dependent columns named in a message; a crossing of factors that nobody fills can have hundreds.
_MOST_NAMED = 3


def require_full_rank(X: NDArray[np.float64], columns: tuple[str, ...], formula: str) -> None:
    """DesignError that names the columns that are linear combinations of earlier ones, and of which."""
    n, p = X.shape
    scaled = X / np.where(np.linalg.norm(X, axis=0) > 0, np.linalg.norm(X, axis=0), 1)
    kept: list[int] = []
    found: list[str] = []
    for j in range(p):
        weights = np.linalg.lstsq(scaled[:, kept], scaled[:, j], rcond=None)[0] if kept else np.empty(0)
        residual = np.linalg.norm(scaled[:, j] - scaled[:, kept] @ weights)
        if residual > 1e-7:  # R's tolerance in lm
            kept.append(j)
            continue
        parents = [columns[k] for k, weight in zip(kept, weights, strict=True) if abs(weight) > 1e-6]
        if parents == ["(Intercept)"]:
            found.append(f"'{columns[j]}' has the same value in all {n} rows")
        else:
            found.append(
                f"'{columns[j]}' is a linear combination of {' and '.join(repr(name) for name in parents)}"
                if parents
                else f"'{columns[j]}' is 0 in all {n} rows"
            )
    if found:
        raise DesignError(
            f"the columns of '{formula}' are not independent: {'; '.join(found[:_MOST_NAMED])}"
            + (f"; and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""),
            "Leave out one of the terms that say the same.",
        )
    if n <= p:
        raise DesignError(
            f"a model needs more rows than columns. '{formula}' has {n} complete rows and {p} columns: "
            f"{', '.join(columns)}",
            "Leave out terms.",
        )


def inflation(X: NDArray[np.float64], columns: tuple[str, ...]) -> tuple[float, ...]:
    """Variance inflation factor of each column, 1 / (1 - R²) on the others; NaN for the intercept."""
    numeric = [j for j, name in enumerate(columns) if name != "(Intercept)"]
    out = np.full(len(columns), np.nan)
    if numeric:
        part = X[:, numeric]
        centred = part - part.mean(axis=0) if "(Intercept)" in columns else part
        length = np.linalg.norm(centred, axis=0)
        out[numeric] = np.diag(np.linalg.inv((centred / length).T @ (centred / length)))
    return tuple(float(value) for value in out)
