"""A checked formula and a frame of columns become a matrix: the only place where formulaic evaluates anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from spectra_bids.errors import DesignError
from spectra_bids.models.formula import formula_environment

if TYPE_CHECKING:
    import pandas as pd

TermKind = Literal["factor", "numeric", "interaction"]


@dataclass(frozen=True)
class Term:
    """One term of the fixed part: its columns of X, its kind, the table's columns in it and which are factors.

    `numeric` tells whether a number takes part: such a term is a slope, the others are differences between levels.
    """

    name: str
    columns: tuple[int, ...]
    kind: TermKind
    variables: tuple[str, ...]
    factors: tuple[str, ...]

    @property
    def numeric(self) -> bool:
        """Whether a numeric column takes part in the term."""
        return len(self.factors) < len(self.variables)


def evaluate(right: str, frame: pd.DataFrame, text: str) -> tuple[NDArray[np.float64], tuple[str, ...], Any]:
    """Matrix (n, p), its column names, formulaic's model specification.

    Parameters
    ----------
    right : str
        The right side of a formula, checked (`formula.parse_formula`), in formulaic's spelling.
    frame : DataFrame
        As `frame.model_frame` makes it.
    text : str
        The whole formula, for messages.

    Raises
    ------
    DesignError
        If the formula cannot be evaluated, or gives values that are not finite.

    """
    from formulaic import Formula
    from formulaic.errors import FormulaicError

    try:
        with np.errstate(all="ignore"):
            matrix = _materializer(frame).get_model_matrix(Formula(right), na_action="ignore")
    except (FormulaicError, ValueError, TypeError, ArithmeticError, LookupError) as error:
        raise DesignError(f"'{text}' cannot be evaluated: {error}") from error
    X = np.ascontiguousarray(matrix.to_numpy(dtype=np.float64))
    columns = tuple("(Intercept)" if name == "Intercept" else str(name) for name in matrix.columns)
    bad = [name for name, values in zip(columns, X.T, strict=True) if not np.isfinite(values).all()]
    if bad:
        raise DesignError(
            f"the values of '{bad[0]}' are not all finite in '{text}'",
            "log() takes positive numbers, sqrt() numbers that are not negative.",
        )
    return X, columns, matrix.model_spec


def evaluate_again(spec: Any, frame: pd.DataFrame) -> NDArray[np.float64]:
    """Matrix of other rows by a specification: scale(), poly() and their like do as they did with the first rows."""
    with np.errstate(all="ignore"):
        matrix = _materializer(frame).get_model_matrix(spec, na_action="ignore")
    return np.ascontiguousarray(matrix.to_numpy(dtype=np.float64))


def _materializer(frame: pd.DataFrame) -> Any:
    """What evaluates formulas; of names it knows the table's columns and our functions, not numpy and more."""
    from formulaic.materializers import PandasMaterializer
    from formulaic.utils.layered_mapping import LayeredMapping

    materializer = PandasMaterializer(frame)
    materializer.layered_context = LayeredMapping(
        LayeredMapping(frame, name="data"), LayeredMapping(formula_environment(), name="transforms")
    )
    return materializer


def terms_of(spec: Any, frame: pd.DataFrame) -> tuple[Term, ...]:
    """Terms with columns, without the intercept."""
    terms = []
    for term, columns in spec.term_indices.items():
        parts = [factor for factor in term.factors if factor.eval_method.value != "literal"]
        if not columns or not parts:
            continue
        found: dict[str, bool] = {}
        for part in parts:
            # I(sex == 'M') is a number made of a factor: what counts is how formulaic encoded it.
            encoded = spec.encoder_state.get(part.expr, (None,))[0]
            categorical = encoded is not None and encoded.value == "categorical"
            found |= {str(name): categorical for name in spec.factor_variables[part]}
        variables = tuple(name for name in frame.columns if name in found)
        factors = tuple(name for name in variables if found[name])
        kind: TermKind = "interaction" if len(parts) > 1 else "factor" if factors else "numeric"
        terms.append(Term(str(term), tuple(columns), kind, variables, factors))
    return tuple(terms)
