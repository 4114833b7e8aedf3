"""One model for all cells of one bundle and scalar: from a matrix of values to rows of the fits table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spectra_bids.errors import DesignError
from spectra_bids.models.contrasts import Contrast
from spectra_bids.models.design import Design
from spectra_bids.models.lmm import CHUNK_BYTES, LmmFit, Test, fit_lmm
from spectra_bids.models.means import AdjustedMean
from spectra_bids.models.random import Structure
from spectra_bids.models.results import Estimation

if TYPE_CHECKING:
    import pandas as pd

F = NDArray[np.float64]

#: Columns of all random factors but the largest: one dense system of this size is solved per cell and step.
MAX_DENSE = 600


def fit_cells(
    values: F,
    design: Design,
    contrasts: Sequence[Contrast],
    min_subjects: int | None = None,
    chunk_bytes: float = CHUNK_BYTES,
    *,
    estimation: Estimation = "reml",
    weights: F | None = None,
    offset: F | None = None,
) -> pd.DataFrame:
    """Fit the design to every cell and test every contrast.

    Parameters
    ----------
    values : (n, C) float
        One column per cell, rows as the design's; NaN = missing.
    design : Design
    contrasts : sequence of K Contrast
    min_subjects : int, optional
        Fewest subjects of a cell; default max(10, p + 5).
    chunk_bytes : float
        Bound on the memory of the cells that are fitted together.
    estimation : {"reml", "ml"}
    weights, offset : (n,) float, optional
        As in `fit_lmm`.

    Returns
    -------
    DataFrame of C x K rows, contrast by contrast
        Columns `contrast`, `cell` (0..C-1) and those of a fit, as in columns.FITS_1D from `n` on.

    """
    fit = fit_design(
        values, design, contrasts, min_subjects, chunk_bytes, estimation=estimation, weights=weights, offset=offset
    )
    return fits_table(fit, contrasts)


def fit_design(
    values: F,
    design: Design,
    contrasts: Sequence[Contrast],
    min_subjects: int | None = None,
    chunk_bytes: float = CHUNK_BYTES,
    *,
    estimation: Estimation = "reml",
    weights: F | None = None,
    offset: F | None = None,
    means: Sequence[AdjustedMean] = (),
) -> LmmFit:
    """The fits themselves; parameters as `fit_cells`, and adjusted means that are to be estimated with them.

    Raises
    ------
    DesignError
        If the random part is too large for this engine.

    """
    require_batched(design)
    fit = fit_lmm(
        values,
        design.X,
        contrasts=[*(contrast.weights for contrast in contrasts), *(mean.weights for mean in means)],
        random=design.random,
        estimation=estimation,
        weights=weights,
        offset=offset,
        subjects=design.subjects,
        factors=[f.codes for f in design.factors if f.name in tested_factors(design, contrasts)],
        min_subjects=min_subjects,
        chunk_bytes=chunk_bytes,
    )
    return replace(fit, tests=fit.tests[: len(contrasts)], means=fit.tests[len(contrasts) :])


def fits_table(fit: LmmFit, contrasts: Sequence[Contrast]) -> pd.DataFrame:
    """Rows of the fits table, contrast by contrast, as `fit_cells` returns them."""
    import pandas as pd

    parts = [_rows(contrast, test, fit) for contrast, test in zip(contrasts, fit.tests, strict=True)]
    return pd.concat(parts, ignore_index=True)


def means_table(fit: LmmFit, means: Sequence[AdjustedMean], values: F, offset: F | None = None) -> pd.DataFrame:
    """Rows of the table of adjusted means (columns.MEANS_1D from `column` on), mean by mean; n/a where not fitted.

    Parameters
    ----------
    fit : LmmFit
        Of `fit_design` with these means.
    means : sequence of AdjustedMean
    values : (n, C)
        What was fitted: n counts a level's rows that have a value.
    offset : (n,), optional
        Its mean is added, as emmeans does.

    """
    import pandas as pd

    seen = np.isfinite(values)
    shift = 0.0 if offset is None else float(offset.mean())
    parts = []
    for mean, test in zip(means, fit.means, strict=True):
        numbers = {
            "at": mean.level.at,
            "n": seen[mean.level.rows].sum(axis=0),
            "estimate": test.estimate + shift,
            "se": test.se,
            "ci_low": test.ci_low + shift,
            "ci_high": test.ci_high + shift,
        }
        head = {"cell": np.arange(values.shape[1]), "column": mean.level.column, "level": mean.level.name}
        parts.append(pd.DataFrame({**head, **numbers}))
    return pd.concat(parts, ignore_index=True)


def require_batched(design: Design) -> None:
    """DesignError where all random factors but the largest have more columns than the dense stage takes."""
    if not design.random:
        return
    structure = Structure(design.random)
    if structure.n_dense <= MAX_DENSE:
        return
    names = {part.group: len(part.levels) for part in design.random}
    listed = ", ".join(f"{name} ({count} levels)" for name, count in names.items())
    small = sorted(names, key=lambda name: -names[name])[1]
    raise DesignError(
        f"the random part of '{design.formula.text}' is too large for the batched engine: beside its largest factor it "
        f"has {structure.n_dense} random effects, at most {MAX_DENSE} are taken. There are: {listed}",
        f"Leave (...|{small}) out, or use --engine pymer4, which fits cell by cell.",
    )


def tested_factors(design: Design, contrasts: Sequence[Contrast]) -> set[str]:
    """Names of the factors that take part in a tested hypothesis."""
    used = np.any([np.any(contrast.weights != 0, axis=0) for contrast in contrasts], axis=0)
    return {name for term in design.terms if used[list(term.columns)].any() for name in term.factors}


def effect_size(kind: str, test: Test, fit: LmmFit) -> F:
    """Effect size of the kind named in a contrast, per cell (columns.FITS_1D, `effect_type`)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if kind == "cohen_d":
            return np.asarray(test.estimate / np.sqrt(fit.sd_random**2 + fit.sd_residual**2))
        if kind == "partial_r":
            return np.asarray(test.value / np.sqrt(test.value**2 + test.df))
        explained = test.value * test.df_num
        return np.asarray(explained / (explained + test.df))


def _rows(contrast: Contrast, test: Test, fit: LmmFit) -> pd.DataFrame:
    import pandas as pd

    tested = np.isfinite(test.p)
    return pd.DataFrame(
        {
            "contrast": contrast.name,
            "cell": np.arange(len(fit.n)),
            "n": fit.n,
            "n_levels": fit.n_levels,
            "statistic": test.statistic,
            "estimate": test.estimate,
            "se": test.se,
            "df_num": test.df_num,
            "df": test.df,
            "value": test.value,
            "p": np.where(tested, test.p, np.nan),
            "ci_low": test.ci_low,
            "ci_high": test.ci_high,
            "estimate_std": np.where(
                tested, test.estimate / np.where(fit.sd_values > 0, fit.sd_values, np.nan), np.nan
            ),
            "effect_size": effect_size(contrast.effect, test, fit),
            "effect_type": contrast.effect,
            "sd_random": fit.sd_random,
            "sd_residual": fit.sd_residual,
            "fit_status": fit.status,
        }
    )
