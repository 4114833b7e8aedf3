"""A fitted design -> what the report shows of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spectra_bids.report.pages import DesignColumn, DesignSummary

if TYPE_CHECKING:
    import pandas as pd

    from spectra_bids.models.design import Design


def summarize_design(design: Design, table: pd.DataFrame) -> DesignSummary:
    """Columns used, levels and counts, rows left out and why, collinearity.

    Parameters
    ----------
    design : Design
        As `models.design.build_design` returns it.
    table : DataFrame
        The table it was built from.

    """
    used = table.iloc[design.rows]
    factors = {factor.name: factor for factor in design.factors}
    columns = []
    for name in design.formula.columns:
        if name in factors:
            levels = tuple(zip(factors[name].levels, factors[name].counts, strict=True))
            columns.append(DesignColumn(name, "factor", levels))
        else:
            values = used[name].astype(float)
            spread = float(values.std()) if len(values) > 1 else 0.0
            columns.append(
                DesignColumn(
                    name, "numeric", (), float(values.mean()), spread, float(values.min()), float(values.max())
                )
            )
    if design.groups is not None:
        counts = np.bincount(design.groups, minlength=len(design.group_levels)).tolist()
        levels = tuple(zip(design.group_levels, counts, strict=True))
        columns.append(DesignColumn(design.group_name, "random factor", levels))
    dropped = tuple((row.label, f"n/a in {', '.join(row.columns)}") for row in design.dropped)
    vif = tuple((n, float(v)) for n, v in zip(design.columns, design.vif, strict=True) if np.isfinite(v))
    subjects = len(np.unique(design.subjects))
    return DesignSummary(
        design.n, subjects, tuple(columns), dropped, vif, float(design.condition_number), tuple(design.warnings)
    )
