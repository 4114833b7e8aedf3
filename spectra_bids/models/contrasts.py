"""What is tested: terms of the formula, and contrasts given as text or in a file, as weights over the columns of X.

    patient_vs_control: group[patient]=1 group[control]=-1        t
    any_dx: dx[AD]=1 dx[CN]=-1; dx[MCI]=1 dx[CN]=-1                F, one row per ';'

A condition is a level `group[patient]`, a level within an interaction `group[patient]:age`, a numeric column `age`, or
the exact name of a column of X, `group[T.patient]`. A level stands for the row that codes it in X, which is 0 for the
reference under treatment coding; weights over the levels of a factor therefore sum to 0.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spectra_bids.errors import DesignError, MissingInputError, listed, shown
from spectra_bids.models.design import Design
from spectra_bids.models.matrix import Term

EXAMPLE = "patient_vs_control: group[patient]=1 group[control]=-1"

Effect = Literal["cohen_d", "partial_r", "partial_eta2"]


@dataclass(frozen=True, eq=False)
class Contrast:
    """One hypothesis Lβ = 0.

    `weights` is L, (k, p); `type` T has one row, F one or more; `kind` tells a term of the formula from a contrast
    given by name; `effect` is the effect size reported beside it.
    """

    name: str
    type: Literal["T", "F"]
    weights: NDArray[np.float64]
    kind: Literal["term", "named"]
    effect: Effect


@dataclass(frozen=True)
class ContrastSpec:
    """A contrast as written: conditions and, for each row, their weights. A design turns it into a `Contrast`."""

    name: str
    type: Literal["T", "F"]
    conditions: tuple[str, ...]
    weights: tuple[tuple[float, ...], ...]


def term_contrasts(design: Design) -> tuple[Contrast, ...]:
    """Every term but the intercept: T for one column, F for several.

    Beside an interaction with a factor, a main effect is averaged over the factor's levels (type III, as lmerTest's
    anova; the design's warnings say over what).
    """
    out = []
    for term in design.terms:
        weights = design.hypotheses[term.name]
        if len(weights) > 1:
            out.append(Contrast(term.name, "F", weights, "term", "partial_eta2"))
        else:
            out.append(Contrast(term.name, "T", weights, "term", "partial_r" if term.numeric else "cohen_d"))
    return tuple(out)


def column_of(contrast: Contrast, design: Design) -> str:
    """The column of the table that a contrast is of; empty if it is of several, or of an interaction."""
    used = np.any(contrast.weights != 0, axis=0)
    terms = [term for term in design.terms if used[list(term.columns)].any()]
    of_one = len(terms) == 1 and len(terms[0].variables) == 1
    return terms[0].variables[0] if of_one else ""


def parse_contrast(text: str, design: Design) -> Contrast:
    """One contrast from its text.

    Parameters
    ----------
    text : str
        `name: condition=weight condition=weight`, rows of an F separated by ';'. Weights may be fractions, 1/3.
    design : Design
        Whose columns and levels the conditions are.

    Raises
    ------
    DesignError
        If a condition is unknown, or the weights of a factor's levels do not sum to 0.

    """
    return resolve_contrast(_spec_from_text(text, {v for term in design.terms for v in term.variables}), design)


def read_contrasts(source: str, design: Design) -> tuple[Contrast, ...]:
    """Contrasts from a text, or from a .tsv, .csv or .json file.

    Parameters
    ----------
    source : str
        A contrast's text, or a path. Tables have the columns name, type (T or F), columns, weights; conditions and
        weights are separated by spaces, commas or semicolons, an F has one line per row. JSON has a list of objects
        with name, type, columns, weights (nested for F), or BIDS Stats Models' Name, Test, ConditionList, Weights.
    design : Design
        Whose columns and levels the conditions are.

    Raises
    ------
    DesignError
        If the content is no contrast of this design.
    MissingInputError
        If the file does not exist.

    """
    suffix = Path(source.strip()).suffix.lower() if "=" not in source else ""
    if suffix not in (".tsv", ".csv", ".json"):
        return (parse_contrast(source, design),)
    path = Path(source.strip())
    if not path.is_file():
        raise MissingInputError(f"the contrast file {path} does not exist", f"A text works too: --contrast '{EXAMPLE}'")
    try:
        text = path.read_text(encoding="utf-8-sig")
        specs = _specs_from_json(text) if suffix == ".json" else _specs_from_table(text, suffix)
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        if isinstance(error, DesignError):
            raise DesignError(f"{path}: {error.message}", error.hint) from error
        raise DesignError(f"{path} is not a file of contrasts: {error}", _file_hint()) from error
    return resolve_contrasts(specs, design)


def resolve_contrasts(specs: Iterable[ContrastSpec], design: Design) -> tuple[Contrast, ...]:
    """Contrasts of a design from their specifications; names are unique."""
    contrasts = tuple(resolve_contrast(spec, design) for spec in specs)
    require_unique(contrasts)
    return contrasts


def require_unique(contrasts: Sequence[Contrast]) -> None:
    """DesignError if two contrasts have one name."""
    names = [contrast.name for contrast in contrasts]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DesignError(f"contrast names must be unique. '{twice[0]}' is there {names.count(twice[0])} times")


def resolve_contrast(spec: ContrastSpec, design: Design) -> Contrast:
    """The weights over a design's columns that a specification means."""
    if not spec.name.strip() or not spec.name.isprintable():
        raise DesignError(f"a contrast needs a printable name. Got '{spec.name}'", f"Example: --contrast '{EXAMPLE}'")
    conditions = [_condition(name, design, spec.name) for name in spec.conditions]
    rows = np.array(spec.weights, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != len(conditions) or not np.isfinite(rows).all() or not len(conditions):
        raise DesignError(
            f"contrast '{spec.name}' has {len(conditions)} columns and needs as many finite weights in every row"
        )
    for row in rows:
        _require_zero_sums(row, spec, conditions, design)
    weights = rows @ np.array([vector for vector, _ in conditions])
    if spec.type == "T" and len(weights) > 1:
        raise DesignError(f"contrast '{spec.name}' is a T with {len(weights)} rows of weights; several rows are an F")
    scaled = weights / np.maximum(np.linalg.norm(weights, axis=1, keepdims=True), 1e-300)
    if np.linalg.matrix_rank(scaled, tol=1e-8) < len(weights):
        what = "its weights are all 0" if len(weights) == 1 else "its rows are not independent"
        raise DesignError(f"contrast '{spec.name}' tests nothing: {what} in the columns of the design")
    for term in term_contrasts(design):
        if term.name == spec.name and term.type == spec.type and np.array_equal(term.weights, weights):
            return term
    return Contrast(spec.name.strip(), spec.type, weights, "named", _effect(spec.type, weights, rows, design))


# --- conditions ----------------------------------------------------------------------------------------------------


def _condition(name: str, design: Design, contrast: str) -> tuple[NDArray[np.float64], Term | None]:
    """Weights of a condition over the columns of X; the term whose levels must sum to 0, if any."""
    plain = "(Intercept)" if name in ("Intercept", "1") else name.replace("`", "").strip()
    if plain in design.columns:
        return np.eye(design.p)[design.columns.index(plain)], None
    cell = tuple(sorted(part.strip() for part in _parts(plain)))
    if cell not in design.cells:
        levels = [":".join(known) for known in design.cells]
        raise DesignError(
            f"contrast '{contrast}' has the unknown column '{name}'; there are: "
            f"{listed(dict.fromkeys([*levels, *design.columns]))}",
            f"Example: --contrast '{_example(design)}'",
        )
    variables = {part.partition("[")[0] for part in cell}
    for term in design.terms:
        if set(term.variables) == variables and term.factors:
            known = [design.cells[c] for c in design.cells if {part.partition("[")[0] for part in c} == variables]
            # With a column per level (no intercept) a level alone is a mean and may stand by itself.
            reduced = np.linalg.matrix_rank(np.array(known)) < len(known)
            return design.cells[cell], term if reduced else None
    return design.cells[cell], None


def _parts(name: str) -> list[str]:
    """`group[a:b]:age` -> `group[a:b]`, `age`: split at the ':' outside brackets."""
    return re.split(r":(?![^\[]*\])", name)


def _require_zero_sums(
    row: NDArray[np.float64],
    spec: ContrastSpec,
    conditions: Sequence[tuple[NDArray[np.float64], Term | None]],
    design: Design,
) -> None:
    """DesignError if the weights over a factor's levels do not cancel."""
    for term in dict.fromkeys(term for _, term in conditions if term is not None):
        used = [(name, w) for name, w, (_, t) in zip(spec.conditions, row, conditions, strict=True) if t is term]
        total = sum(weight for _, weight in used)
        if abs(total) > 1e-6 * max(abs(weight) for _, weight in used) and any(weight for _, weight in used):
            given = " ".join(f"{name}={weight:g}" for name, weight in used)
            raise DesignError(
                f"the weights over the levels of {term.name} must sum to 0. Contrast '{spec.name}' has {given}, "
                f"which sums to {total:g}",
                f"Example: --contrast '{_example(design, term)}'",
            )


def _example(design: Design, term: Term | None = None) -> str:
    """A contrast that this design has."""
    for factor in design.factors:
        if term is None or factor.name in term.factors:
            high, low, name = shown(factor.levels[-1]), shown(factor.levels[0]), factor.name
            rest = "" if term is None else "".join(f":{v}" for v in term.variables if v not in term.factors)
            return f"{high}_vs_{low}: {name}[{high}]{rest}=1 {name}[{low}]{rest}=-1".replace(" ", "_", high.count(" "))
    return f"{design.columns[-1]}: {design.columns[-1]}=1"


def _effect(kind: Literal["T", "F"], weights: NDArray[np.float64], rows: NDArray[np.float64], design: Design) -> Effect:
    """Cohen's d for a difference between (averages of) levels, else partial r; partial η² for F."""
    if kind == "F":
        return "partial_eta2"
    touched = set(np.flatnonzero(weights[0]))
    between = {j for term in design.terms if not term.numeric for j in term.columns}
    difference = bool(np.isclose(rows[rows > 0].sum(), 1) or np.isclose(-rows[rows < 0].sum(), 1))
    return "cohen_d" if touched <= between and difference else "partial_r"


# --- texts and files -----------------------------------------------------------------------------------------------


def _spec_from_text(text: str, variables: set[str]) -> ContrastSpec:
    """`name: a=1 b=-1; c=1 d=-1` as a specification. A head that is a variable is a name only before ': '."""
    head, colon, tail = text.partition(":")
    spaced = tail[:1].isspace()  # "Effect of age (+): age=1" has a name, "poly(age, 2):group=1" has none
    named = bool(colon) and not re.search(r"[\[\]=`]" if spaced else r"[\[\]=(`]", head)
    named = named and (spaced or head.strip() not in variables)
    body = tail if named else text
    rows: list[dict[str, float]] = []
    for part in re.split(r";(?![^\[]*\])", body):
        items = re.findall(r"(\S.*?)\s*=\s*([-+]?[\d.][\d.eE/]*(?:[eE][-+]?\d+)?)(?=\s|$)", part)
        if not items or not _covers(items, part):
            raise DesignError(
                f"a contrast is 'name: column=weight column=weight'. Got '{text.strip()}'",
                f"Example: --contrast '{EXAMPLE}'",
            )
        row: dict[str, float] = {}
        for name, weight in items:
            if name in row:
                raise DesignError(f"a column has one weight. '{name}' is there twice in '{text.strip()}'")
            row[name] = _weight(weight)
        rows.append(row)
    conditions = tuple(dict.fromkeys(name for row in rows for name in row))
    name = head.strip() if named else " ".join(body.split())
    weights = tuple(tuple(row.get(condition, 0.0) for condition in conditions) for row in rows)
    return ContrastSpec(name, "F" if len(rows) > 1 else "T", conditions, weights)


def _covers(items: list[tuple[str, str]], part: str) -> bool:
    """Whether the items are all of the text."""
    squeeze = re.compile(r"\s+")
    return squeeze.sub("", "".join(f"{name}={weight}" for name, weight in items)) == squeeze.sub("", part)


def _weight(text: Any) -> float:
    """A weight: number, or fraction as text."""
    try:
        return float(Fraction(text.strip())) if isinstance(text, str) else float(text)
    except (ValueError, ZeroDivisionError, TypeError, OverflowError):
        raise DesignError(f"a weight is a number or a fraction such as 1/3. Got '{text}'") from None


def _type(text: Any, n_rows: int) -> Literal["T", "F"]:
    """T or F; by the number of rows where none is given."""
    given = str(text or ("F" if n_rows > 1 else "T")).strip().upper()
    if given not in ("T", "F"):
        raise DesignError(f"the type of a contrast is T or F. Got '{text}'", _file_hint())
    return "T" if given == "T" else "F"


def _file_hint() -> str:
    return "Columns: name, type (T or F), columns, weights; for example: age_slope, T, age, 1"


def _specs_from_table(text: str, suffix: str) -> list[ContrastSpec]:
    """Specifications from a table; lines of one name are the rows of one F."""
    lines = list(csv.DictReader(text.splitlines(), delimiter="\t" if suffix == ".tsv" else ","))
    wanted = ("name", "type", "columns", "weights")
    if not lines or any(column not in lines[0] for column in wanted):
        found = ", ".join(lines[0]) if lines else "no lines"
        raise DesignError(f"a table of contrasts has the columns {', '.join(wanted)}. Got {found}", _file_hint())
    grouped: dict[str, list[dict[str, str]]] = {}
    for line in lines:
        grouped.setdefault(str(line["name"]).strip(), []).append(line)
    return [_spec_from_lines(name, rows) for name, rows in grouped.items()]


def _spec_from_lines(name: str, lines: list[dict[str, str]]) -> ContrastSpec:
    """One contrast from its lines."""
    rows: list[dict[str, float]] = []
    for line in lines:
        columns = [c for c in re.split(r"[\s,;]+(?![^\[(]*[\])])", line["columns"].strip()) if c]
        weights = [_weight(w) for w in re.split(r"[\s,;]+", line["weights"].strip()) if w]
        if len(columns) != len(weights):
            raise DesignError(f"contrast '{name}' has {len(columns)} columns and {len(weights)} weights", _file_hint())
        rows.append(dict(zip(columns, weights, strict=True)))
    conditions = tuple(dict.fromkeys(column for row in rows for column in row))
    kind = _type(lines[0]["type"], len(rows))
    if kind == "T" and len(rows) > 1:
        raise DesignError(f"contrast '{name}' stands on {len(rows)} lines; only an F has several", _file_hint())
    return ContrastSpec(name, kind, conditions, tuple(tuple(r.get(c, 0.0) for c in conditions) for r in rows))


def _specs_from_json(text: str) -> list[ContrastSpec]:
    """Specifications from JSON."""
    content = json.loads(text)
    entries = content.get("Contrasts", content.get("contrasts")) if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise DesignError("a JSON file of contrasts holds a list of objects", _file_hint())
    return [spec_from_entry(entry) for entry in entries]


def spec_from_entry(entry: Mapping[str, Any]) -> ContrastSpec:
    """A specification from a JSON object, ours or BIDS Stats Models'."""
    get = {str(key).lower(): value for key, value in entry.items()}
    columns = get.get("columns", get.get("conditionlist"))
    weights = get.get("weights")
    if not isinstance(columns, list) or not isinstance(weights, list) or not columns or not weights:
        raise DesignError(f"a contrast has columns and weights, both lists. Got {dict(entry)}", _file_hint())
    nested = weights if isinstance(weights[0], list) else [weights]
    rows = tuple(tuple(_weight(w) for w in row) for row in nested)
    if any(len(row) != len(columns) for row in rows):
        raise DesignError(f"contrast '{get.get('name')}' needs {len(columns)} weights in each row", _file_hint())
    kind = _type(get.get("type", get.get("test")), len(rows))
    return ContrastSpec(str(get.get("name") or ""), kind, tuple(str(c) for c in columns), rows)
