"""Which of two designs is nested in the other: what a likelihood-ratio test may compare."""

from __future__ import annotations

import numpy as np

from spectra_bids.errors import DesignError
from spectra_bids.models.design import Design

_SPAN = 1e-8  # residual of a column, relative to its length, below which it lies in the span of others


def require_nested(null: Design, design: Design) -> bool:
    """Whether the fixed parts differ, so that maximum likelihood must compare them.

    Raises
    ------
    DesignError
        If the null model has rows, columns or random terms that the model has not, or as many columns and terms.

    """
    said = f"'{null.formula.text}' is not nested in '{design.formula.text}'"
    if null.labels != design.labels:
        raise DesignError(f"{said}: it leaves out other rows", "Use columns of the formula only.")
    for name, column in zip(null.columns, null.X.T, strict=True):
        rest = column - design.X @ np.linalg.lstsq(design.X, column, rcond=None)[0]
        if np.linalg.norm(rest) > _SPAN * np.linalg.norm(column):
            raise DesignError(f"{said}: column '{name}' is not explained by the model's", "Leave terms out, add none.")
    of_model = {(part.group, name) for part in design.random for name in part.names}
    of_null = {(part.group, name) for part in null.random for name in part.names}
    for group, name in sorted(of_null - of_model):
        raise DesignError(f"{said}: the model has no random {name} of {group}", "Leave terms out, add none.")
    if null.p == design.p and of_null == of_model:
        raise DesignError(f"{said}: they are the same model", "Leave a term out.")
    return null.p != design.p
