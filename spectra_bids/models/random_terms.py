"""The random terms of a formula, for the rows of a table: columns that vary between levels, and the levels.

(1 + age | subject)     one part with the columns (Intercept), age, which covary
(age || subject)        two parts, (Intercept) and age, as lme4 splits it; a factor keeps its columns together
(1 | site:scanner)      the levels of site:scanner that occur
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spectra_bids.errors import DesignError
from spectra_bids.models.formula import ModelFormula, RandomTerm
from spectra_bids.models.frame import as_factor, model_frame
from spectra_bids.models.matrix import Term, evaluate
from spectra_bids.models.random import RandomPart

if TYPE_CHECKING:
    import pandas as pd


def random_parts(
    rows: pd.DataFrame, formula: ModelFormula, terms: tuple[Term, ...], notes: list[str]
) -> tuple[RandomPart, ...]:
    """Random parts of a formula.

    Parameters
    ----------
    rows : DataFrame
        The table's rows that are complete for the formula.
    formula : ModelFormula
    terms : tuple of Term
        Terms of the fixed part.
    notes : list of str
        Takes what a reader should know.

    Raises
    ------
    DesignError
        If a factor is fixed and random, or has as many random effects as there are rows.

    """
    parts: list[RandomPart] = []
    for term in formula.random:
        codes, levels = _levels(rows, term.columns)
        name = ":".join(term.columns)
        if len(levels) == 1:
            written = f"(1|{name})" if term.intercept_only else term.text
            what = "The model is fitted by least squares" if len(formula.random) == 1 else "The others stay"
            notes.append(f"{written} is left out: all rows have {name} = {levels[0]}. {what}")
            continue
        for columns, names in _blocks(rows, term, formula):
            part = RandomPart(codes, columns, True, name, names, levels)
            _require_estimable(part, terms, formula)
            parts.append(part)
        if len(levels) < 5 and not any(name in note for note in notes if "only" in note):
            notes.append(f"the random factor {name} has only {len(levels)} levels: its variance is poorly estimated")
    return tuple(parts)


def _levels(rows: pd.DataFrame, grouping: tuple[str, ...]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Codes (n,) and names of the levels that occur; those of several columns are joined by ':'."""
    codes = np.zeros(len(rows), dtype=np.int64)
    names = [""]
    for column in grouping:
        part = as_factor(rows[column], column, [])
        # joined as they come, so that a site of thousands of subjects makes no table of all pairs
        both = codes * len(part.categories) + part.codes
        present, codes = np.unique(both, return_inverse=True)
        known = list(part.categories)
        at = [divmod(int(i), len(known)) for i in present]
        names = [f"{names[i]}:{known[j]}" if names[i] else str(known[j]) for i, j in at]
    return codes.astype(np.int64), tuple(names)


def _blocks(
    rows: pd.DataFrame, term: RandomTerm, formula: ModelFormula
) -> list[tuple[NDArray[np.float64], tuple[str, ...]]]:
    """Columns that covary, and their names, block by block."""
    from formulaic import Formula

    frame = model_frame(rows, formula, [], term.variables, term.factor_variables)
    sides = [term.python]
    if not term.correlated:
        each = [str(one) for one in Formula(term.python)]
        sides = [one if one == "1" else f"0 + {one}" for one in each]
    out = []
    for side in sides:
        columns, names, _ = evaluate(side, frame, formula.text)
        if not names:
            raise DesignError(
                f"the random term {term.text} in '{formula.text}' has no column",
                "Write (1|factor) or (1 + age|factor).",
            )
        out.append((columns, names))
    return out


def _require_estimable(part: RandomPart, terms: tuple[Term, ...], formula: ModelFormula) -> None:
    """DesignError where the effects of a part cannot be told from fixed effects or from residuals."""
    n, count = len(part.codes), len(part.levels)
    grouping = set(part.group.split(":"))
    for term in terms if part.is_intercept else ():
        if grouping <= set(term.variables) and term.kind == "factor":
            raise DesignError(
                f"'{part.group}' is a fixed and a random factor in '{formula.text}'; its levels cannot be estimated "
                "twice",
                f"Remove '{term.name}' or (1|{part.group}).",
            )
    if count == n:
        raise DesignError(
            f"every row is its own level of '{part.group}' ({count} levels in {n} rows): its variance cannot "
            "be told from the residual's",
            f"Leave (1|{part.group}) out unless subjects have several sessions.",
        )
    if count * len(part.names) >= n:
        raise DesignError(
            f"the random part of '{formula.text}' has {count} levels of '{part.group}' x {len(part.names)} effects "
            f"({', '.join(part.names)}) = {count * len(part.names)} random effects in {n} rows: they cannot be told "
            "from the residuals",
            "Use fewer effects per level: a random intercept, or uncorrelated slopes with '||'.",
        )
