"""Type III hypotheses: what the test of a term says is 0 when the term stands beside its interactions.

The numbers are those of lmerTest's anova(type = 3) (SAS's type III): a term that is contained in another - the same
numeric covariates, more factors - is averaged over the levels of the factors it lacks, each level counting the same,
whatever the coding of the factors. Other terms are tested by their own coefficients; in particular a factor beside
`factor:age` is tested where age is 0.

With D the complete matrix that has a column for every level, X the model matrix under treatment coding, and L' = X⁺D,
the hypothesis of a contained term is its columns of L made orthogonal to those of the terms that contain it
(Kuznetsova 2017, lmerTest:::extract_contrasts_type3).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectra_bids.models.matrix import Term, evaluate

if TYPE_CHECKING:
    import pandas as pd

F = NDArray[np.float64]


def type3_hypotheses(
    X: F, spec: Any, terms: tuple[Term, ...], frame: pd.DataFrame, text: str
) -> tuple[dict[str, F], dict[str, tuple[str, ...]]]:
    """Hypotheses of all terms, and for contained ones the factors that they are averaged over.

    Parameters
    ----------
    X : (n, p)
        Fixed effects.
    spec
        formulaic's specification of X.
    terms : tuple of Term
    frame : DataFrame
        The columns of the fixed part.
    text : str
        The formula, for messages.

    Returns
    -------
    hypotheses : mapping of term names to (k, p)
    averaged : mapping of term names to factors

    """
    hypotheses = {term.name: np.eye(X.shape[1])[list(term.columns)] for term in terms}
    containing = {term.name: [other for other in terms if _contains(other, term)] for term in terms}
    averaged: dict[str, tuple[str, ...]] = {}
    if len(terms) == 1 and len(terms[0].columns) > 1:
        hypotheses[terms[0].name] = _first_type(X, list(terms[0].columns))
        return hypotheses, averaged
    treatment = all(_treatment(term.name) == term.name for term in terms)
    if treatment and not any(containing.values()):
        return hypotheses, averaged
    right = _treatment(" + ".join(["1" if "(Intercept)" in _names(spec) else "0", *(term.name for term in terms)]))
    treated, _, _ = evaluate(right, frame, text)
    complete = [_complete(term, frame, text) for term in terms]
    every = np.hstack([np.ones((len(X), 1)), *complete] if "(Intercept)" in _names(spec) else complete)
    if treated.shape != X.shape:
        return hypotheses, averaged
    basic = (np.linalg.pinv(treated) @ every).T  # L: columns of D x columns of X
    own = [_place(treated[:, j], every) for j in range(X.shape[1])]
    back = np.linalg.pinv(treated) @ X
    # higher orders first: what contains a term is itself orthogonal to what contains it
    for term in sorted(terms, key=lambda t: -len(t.name.split(":"))):
        above, columns = containing[term.name], list(term.columns)
        if any(j is None for j in own):
            continue
        if not above:
            # The same hypothesis, in the rows lmerTest takes: the df of an F depend on them.
            hypotheses[term.name] = _tidy(back[columns], columns)
            continue
        beside = [j for other in above for j in other.columns]
        fitted = np.linalg.lstsq(basic[:, beside], basic[:, columns], rcond=None)[0]
        basic[:, columns] = basic[:, columns] - basic[:, beside] @ fitted
        rows = basic[[int(j) for j in own if j is not None]][:, columns].T
        hypotheses[term.name] = _tidy(rows @ back, columns)
        averaged[term.name] = tuple(dict.fromkeys(f for o in above for f in o.factors if f not in term.factors))
    return hypotheses, averaged


def _first_type(X: F, columns: list[int]) -> F:
    """Rows of the only term as lmerTest takes them, those of L' in X'X = LDL'; the df of an F depend on them."""
    lower = np.linalg.cholesky(X.T @ X)
    return np.asarray((lower / np.diag(lower)).T[columns])


def _names(spec: Any) -> list[str]:
    return ["(Intercept)" if name == "Intercept" else str(name) for name in spec.column_names]


def _numeric_parts(term: Term) -> set[str]:
    """The parts of a term that are numbers, as they are written."""
    return {part for part in term.name.split(":") if not set(_variables(part, term)) & set(term.factors)}


def _variables(part: str, term: Term) -> list[str]:
    """Columns of the table that a part of a term names."""
    return [v for v in term.variables if re.search(rf"(?<![\w.]){re.escape(v)}(?![\w.])", part)]


def _contains(other: Term, term: Term) -> bool:
    """Whether a term has the numeric parts of another, its factors, and more of them."""
    return _numeric_parts(other) == _numeric_parts(term) and set(term.factors) < set(other.factors)


def _treatment(right: str) -> str:
    """A right side with every factor in treatment coding, its first level the reference."""
    return re.sub(r"C\((`[^`]*`|[^,()]*),[^()]*(?:\([^()]*\))?[^()]*\)", r"C(\1)", right)


def _complete(term: Term, frame: pd.DataFrame, text: str) -> F:
    """The term's columns with one for every combination of levels, (n, columns)."""
    out = np.ones((len(frame), 1))
    for part in term.name.split(":"):
        factors = [name for name in _variables(part, term) if name in term.factors]
        if factors:
            codes = frame[factors[0]].cat.codes.to_numpy()
            block = (codes[:, None] == np.arange(len(frame[factors[0]].cat.categories))).astype(np.float64)
        else:
            block, _, _ = evaluate(f"0 + {part}", frame, text)
        out = (out[:, :, None] * block[:, None, :]).reshape(len(frame), -1)
    return out


def _place(column: F, every: F) -> int | None:
    """Which column of D a column of X is."""
    gap = np.abs(every - column[:, None]).max(axis=0)
    best = int(np.argmin(gap))
    return best if gap[best] <= 1e-9 * max(1.0, float(np.abs(column).max())) else None


def _tidy(rows: F, columns: list[int]) -> F:
    """Rows without those that are 0, and without rounding; one row alone has weight 1 on its own coefficient."""
    rows = rows[np.abs(rows).sum(axis=1) > 1e-8]
    if len(rows) == 1:
        own = rows[0, columns]
        largest = own[np.argmax(np.abs(own))]
        rows = rows / (largest if abs(largest) > 1e-8 else 1.0)
    return np.where(np.abs(rows) < 1e-10, 0.0, rows)
