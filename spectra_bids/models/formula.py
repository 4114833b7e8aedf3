"""Model formulas: lme4's text, split into fixed and random terms, and checked before anything evaluates it.

    value ~ group + age + sex + (1|site)
    ----- = ------------------- + ------
    response      fixed           random

formulaic evaluates the factors of a formula as Python. A formula may come from somebody else's model file, so the
fixed part is walked here first, factor by factor as formulaic itself splits it, and only column names, literals,
arithmetic and the functions of `FUNCTIONS` pass.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from spectra_bids.errors import DesignError

EXAMPLE = "value ~ group + age + sex + (1|site)"

#: Functions a formula may call; `factor` is R's word for `C`.
FUNCTIONS = ("poly", "bs", "cr", "cs", "C", "center", "scale", "log", "log10", "exp", "sqrt", "I")
#: Codings a factor may have: C(group, contr.sum), C(group, contr.treatment("control")).
CODINGS = ("treatment", "sum", "helmert", "poly", "SAS", "diff")

_MAX_LENGTH = 2000
_MAX_POWER = 4
_MAX_BASIS = 50


@dataclass(frozen=True)
class RandomTerm:
    """One random term; a nested `(1|a/b)` is already two of them, `(1|a)` and `(1|a:b)`.

    `text` is the term as the user wrote it, `expression` its left side ("1", "1 + age"), `factor` the grouping
    factor ("site", "site:subject"), `correlated` is False after `||`. `variables` are the columns of the left side,
    `factor_variables` those of them that stand in `C()`.
    """

    text: str
    expression: str
    factor: str
    correlated: bool = True
    variables: tuple[str, ...] = ()
    factor_variables: tuple[str, ...] = ()

    @property
    def intercept_only(self) -> bool:
        """Whether the term is `(1|factor)`."""
        return self.expression == "1"

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that make the grouping factor."""
        return tuple(part.strip("`") for part in _split(self.factor, ":"))

    @property
    def python(self) -> str:
        """The left side in formulaic's spelling."""
        return _r_to_python(self.expression)


@dataclass(frozen=True)
class ModelFormula:
    """A checked formula.

    `response` is the left side ("value" if there is none; another name is the caller's to judge), `fixed` the right
    side without random terms, `columns` the columns the fixed part uses, `factor_columns` those of them that stand
    in `C()`.
    """

    text: str
    response: str
    fixed: str
    random: tuple[RandomTerm, ...]
    columns: tuple[str, ...]
    factor_columns: tuple[str, ...] = ()

    @property
    def all_columns(self) -> tuple[str, ...]:
        """Columns of the fixed part, the random terms' left sides, the grouping factors."""
        random = [name for term in self.random for name in (*term.variables, *term.columns)]
        return tuple(dict.fromkeys((*self.columns, *random)))


def parse_formula(text: str) -> ModelFormula:
    """Read a formula in lme4's syntax and refuse what is not a formula.

    Parameters
    ----------
    text : str
        `value ~ fixed + (1|factor)`. The left side is a name or absent. `^` is a power, `factor(x)` is `C(x)`.

    Raises
    ------
    DesignError
        If the text is not a formula, or calls anything but `FUNCTIONS`.

    Examples
    --------
    >>> parse_formula("value ~ group * age + (1|site)").random[0].factor
    'site'

    """
    if not text.strip() or len(text) > _MAX_LENGTH:
        raise DesignError(f"a formula has 1 to {_MAX_LENGTH} characters. Got {len(text.strip())}", _hint())
    sides = _split(text, "~")
    if len(sides) != 2:
        raise DesignError(f"a formula has one '~'. Got '{text}'", _hint())
    response = sides[0].strip().strip("`") or "value"
    if not re.fullmatch(r"[\w.\-]+", response):
        raise DesignError(
            f"the left side of a formula is 'value' or the name of a scalar. Got '{response}' in '{text}'",
            "Transformations of the response are not supported; transform the scalar map instead.",
        )
    fixed, random = _split_random(sides[1], text)
    fixed = _r_to_python(fixed)
    columns, factor_columns = _checked_columns(fixed, text)
    return ModelFormula(" ".join(text.split()), response, fixed, random, columns, factor_columns)


def formula_environment() -> dict[str, object]:
    """The functions of `FUNCTIONS`, and `contr`, for the evaluation of a checked formula: nothing else."""
    import numpy as np
    from formulaic.transforms import TRANSFORMS

    environment = {name: TRANSFORMS[name] for name in FUNCTIONS if name in TRANSFORMS}
    return environment | {"sqrt": np.sqrt, "contr": TRANSFORMS["contr"]}


def _hint() -> str:
    return f"Example: --formula '{EXAMPLE}'"


# --- text ----------------------------------------------------------------------------------------------------------


def _plain(text: str) -> Iterator[tuple[int, str, int]]:
    """Position, character, bracket depth of every character outside quotes and backticks."""
    depth, quote, escaped = 0, "", False
    for i, char in enumerate(text):
        if quote:
            if escaped or (char == "\\" and quote != "`"):
                escaped = not escaped
            elif char == quote:
                quote = ""
            continue
        if char in "\"'`":
            quote = char
            continue
        depth += (char in "([{") - (char in ")]}")
        if depth < 0:
            break
        yield i, char, depth - (char in "([{")
    if quote or depth:
        what = f"quote {quote}" if quote else "bracket"
        raise DesignError(f"'{text.strip()}' has a {what} without its partner", _hint())


def _split(text: str, separators: str) -> list[str]:
    """Parts of `text` between `separators` that stand outside brackets and quotes, stripped."""
    cuts = [i for i, char, depth in _plain(text) if char in separators and depth == 0]
    starts, stops = [0, *(i + 1 for i in cuts)], [*cuts, len(text)]
    return [text[a:b].strip() for a, b in zip(starts, stops, strict=True)]


def _split_random(right: str, text: str) -> tuple[str, tuple[RandomTerm, ...]]:
    """The right side without its random terms, and these."""
    fixed: list[str] = []
    random: list[RandomTerm] = []
    parts = _split(right, "+")
    for part in parts[1:] if len(parts) > 1 and not parts[0] else parts:
        inside = part[1:-1] if _is_bracketed(part) else ""
        bars = [i for i, char, depth in _plain(inside) if char == "|" and depth == 0] if inside else []
        if bars:
            random.extend(_random_terms(inside, bars, text))
        elif any(char == "|" for _, char, _ in _plain(part)):
            raise DesignError(
                f"a random term is written (1|factor), joined to the others by '+'. Got '{part}' in '{text}'", _hint()
            )
        elif not part or part == ".":
            what = "'.' (all other columns)" if part else "nothing beside '~' or '+'"
            raise DesignError(f"every term of a formula is named. Got {what} in '{text}'", _hint())
        else:
            fixed.append(part)
    return " + ".join(fixed) or "1", tuple(random)


def _is_bracketed(part: str) -> bool:
    """Whether the bracket that opens a text closes at its end."""
    closing = [i for i, char, depth in _plain(part) if char == ")" and depth == 0]
    return part.startswith("(") and closing[:1] == [len(part) - 1]


def _random_terms(inside: str, bars: list[int], text: str) -> list[RandomTerm]:
    """The random terms of `expression | factor`; `a/b` expands to a and a:b, `||` to uncorrelated ones."""
    correlated = len(bars) == 1
    if not correlated and bars != [bars[0], bars[0] + 1]:
        raise DesignError(f"a random term has one '|' or one '||'. Got '({inside})' in '{text}'", _hint())
    left, right = inside[: bars[0]].strip(), inside[bars[-1] + 1 :].strip()
    expression = " ".join(left.split())
    names = [_split(part, ":") for part in _split(right, "/")]
    if not expression or not all(re.fullmatch(r"`[^`]+`|[^\W\d][\w.]*", name) for part in names for name in part):
        raise DesignError(
            f"a random term is (1|factor), where factor is a column, or columns joined by ':' or '/'. "
            f"Got '({inside})' in '{text}'",
            _hint(),
        )
    factors = accumulate((":".join(parts) for parts in names), "{}:{}".format)
    variables = _checked_columns(_r_to_python(expression), text)
    return [RandomTerm(f"({inside.strip()})", expression, factor, correlated, *variables) for factor in factors]


def _r_to_python(fixed: str) -> str:
    """R's spellings in formulaic's: `^` is a power, `factor(x)` is `C(x)`, TRUE is True."""
    plain = {i for i, _, _ in _plain(fixed)}
    words = {"^": "**", "TRUE": "True", "FALSE": "False", "factor": "C", "as.factor": "C"}
    pattern = r"\^|(?<![\w.])(?:TRUE|FALSE)(?![\w.])|(?<![\w.])(?:as\.)?factor(?=\()"
    return re.sub(pattern, lambda m: words[m.group()] if m.start() in plain else m.group(), fixed)


# --- what a formula may contain ------------------------------------------------------------------------------------


def _checked_columns(fixed: str, text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Columns a right side uses, and those inside C(); DesignError for anything that is not allowed."""
    from formulaic import Formula, SimpleFormula
    from formulaic.errors import FormulaicError
    from formulaic.utils.code import sanitize_variable_names

    _check_powers(fixed, text)
    try:
        formula = Formula(fixed)
    except (FormulaicError, SyntaxError, ValueError, RecursionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DesignError(f"the formula '{text}' cannot be read: {reason}", _hint()) from error
    if not isinstance(formula, SimpleFormula):
        raise DesignError(f"the formula '{text}' has several parts; one right side is expected", _hint())
    walker = _Walker(text)
    for factor in dict.fromkeys(factor for term in formula for factor in term.factors):
        if factor.eval_method.value == "lookup":
            walker.column(factor.expr)
        elif factor.eval_method.value == "python":
            # The same rewriting that formulaic's evaluation does, so that what is checked is what is evaluated.
            walker.aliases = {}
            code = sanitize_variable_names(factor.expr, {}, walker.aliases)
            walker.expression(ast.parse(code, mode="eval").body)
    return tuple(walker.columns), tuple(walker.factor_columns)


def _check_powers(fixed: str, text: str) -> None:
    """(a + b)**k expands to all products: refuse a k that would take for ever."""
    from formulaic.errors import FormulaicError
    from formulaic.parser.algos.tokenize import tokenize

    try:
        tokens = [(token.kind.value if token.kind else "", token.token) for token in tokenize(fixed)]
    except FormulaicError:
        return  # the parser meets the same error and reports it
    for (kind, token), (next_kind, power) in zip(tokens, [*tokens[1:], ("", "")], strict=True):
        small = next_kind == "value" and power.isdigit() and len(power) < 3 and int(power) <= _MAX_POWER
        if kind == "operator" and "**" in token and not small:
            raise DesignError(
                f"a power of terms is a whole number up to {_MAX_POWER}. Got '{token}{power}' in '{text}'",
                "For the square of a covariate write I(age**2) or poly(age, 2).",
            )


class _Walker:
    """Walks the Python of one factor, collects its columns, raises DesignError at anything not allowed."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.aliases: dict[str, str] = {}
        self.columns: dict[str, None] = {}
        self.factor_columns: dict[str, None] = {}

    def refuse(self, node: ast.AST, why: str) -> DesignError:
        return DesignError(
            f"{why} is not allowed in a formula. Got '{ast.unparse(node)}' in '{self.text}'",
            f"Allowed are columns (in backticks if their name has other characters than letters, digits and _), "
            f"numbers, + - * / **, comparisons and the functions {', '.join(FUNCTIONS)}.",
        )

    def column(self, name: str) -> None:
        if re.search(r"(^|\.)__", name):
            raise self.refuse(ast.Name(name), "a name that begins with two underscores")
        self.columns[name] = None

    def expression(self, node: ast.AST) -> bool:
        """Check an operand; True if it holds a column."""
        if isinstance(node, ast.Name):
            self.column(self.aliases.get(node.id, node.id))
            return True
        if _number(node) is not None:
            return False
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.UAdd, ast.USub)):
            return self.expression(node.operand)
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub, ast.Mult, ast.Div)):
            return self.expression(node.left) | self.expression(node.right)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
            power = _number(node.right)
            if power is None or abs(power) > 10 or not self.expression(node.left):
                raise self.refuse(node, "a power other than column ** number (at most 10)")
            return True
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            other = node.comparators[0]
            text = isinstance(other, ast.Constant) and isinstance(other.value, str)
            return self.expression(node.left) | (False if text else self.expression(other))
        if isinstance(node, ast.Call):
            return self.call(node)
        raise self.refuse(node, _called(node))

    def call(self, node: ast.Call) -> bool:
        """Check a call: a function of `FUNCTIONS`, one operand, then literals."""
        if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
            raise self.refuse(node, f"the function {ast.unparse(node.func)}")
        name = node.func.id
        if not node.args or not self.expression(node.args[0]):
            raise self.refuse(node, f"{name}() without a column as its first argument")
        if name == "C":
            if not isinstance(node.args[0], ast.Name):
                raise self.refuse(node, "C() of anything but a column")
            self.factor_columns[self.aliases.get(node.args[0].id, node.args[0].id)] = None
        for keyword in node.keywords:
            if keyword.arg is None or keyword.arg.startswith("_"):
                raise self.refuse(node, "an argument that begins with _ or **")
            if name == "C" and keyword.arg != "contrasts":
                raise self.refuse(node, "an argument of C() other than contrasts")
        arguments = [("df", value) for value in node.args[1:]] + [(str(k.arg), k.value) for k in node.keywords]
        for argument, value in arguments:
            self.literal(value, coding=name == "C")
            size = _number(value) if argument in ("df", "degree") and name != "scale" else None
            if size is not None and not 0 < size <= _MAX_BASIS:
                raise self.refuse(node, f"a basis of fewer than 1 or more than {_MAX_BASIS} columns")
        return True

    def literal(self, node: ast.AST, coding: bool) -> None:
        """Check an argument: a literal, a list of them, or (in C) a coding."""
        if _number(node) is not None or (isinstance(node, ast.Constant) and isinstance(node.value, (str, bool))):
            return
        if isinstance(node, (ast.List, ast.Tuple)):
            for item in node.elts:
                self.literal(item, coding=False)
            return
        function = node.func if isinstance(node, ast.Call) else node
        if not coding or ast.unparse(function) not in [f"contr.{name}" for name in CODINGS]:
            raise self.refuse(node, _called(node))
        if isinstance(node, ast.Call):
            if any(keyword.arg != "base" for keyword in node.keywords):
                raise self.refuse(node, "an argument other than base")
            for item in (*node.args, *(keyword.value for keyword in node.keywords)):
                self.literal(item, coding=False)


def _number(node: ast.AST) -> float | None:
    """The value of a number literal with its sign; None for anything else."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.UAdd, ast.USub)):
        value = _number(node.operand)
        return value if value is None or isinstance(node.op, ast.UAdd) else -value
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
        return float(node.value) if abs(node.value) < 1e300 else None
    return None


def _called(node: ast.AST) -> str:
    """What a kind of Python is called in a message."""
    if isinstance(node, ast.Attribute):
        return "an attribute (a column whose name has a dot stands in backticks)"
    return {"Constant": "a text", "Subscript": "an index", "Lambda": "a function definition"}.get(
        type(node).__name__, f"this ({type(node).__name__})"
    )
