"""models.formula: lme4's syntax is read, and nothing but a formula is evaluated."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectra_bids.errors import DesignError
from spectra_bids.models.formula import FUNCTIONS, formula_environment, parse_formula


def test_a_formula_is_split_into_response_fixed_and_random_terms():
    formula = parse_formula("value ~ group + age + (1|site)")
    assert (formula.response, formula.fixed, formula.columns) == ("value", "group + age", ("group", "age"))
    assert [term.factor for term in formula.random] == ["site"]
    assert formula.all_columns == ("group", "age", "site")


@pytest.mark.parametrize(
    ("text", "response"),
    [("~ age", "value"), ("value ~ age", "value"), ("fa ~ age", "fa"), ("dki_fa~age", "dki_fa"), ("`my fa` ~ a", None)],
)
def test_the_left_side_is_a_name_or_absent(text, response):
    if response is None:
        with pytest.raises(DesignError, match="left side"):
            parse_formula(text)
    else:
        assert parse_formula(text).response == response


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("value ~ 1 + (1|site)", [("1", "site", True)]),
        ("value ~ age + (1|site/subject)", [("1", "site", True), ("1", "site:subject", True)]),
        ("value ~ (1|site) + (1|subject)", [("1", "site", True), ("1", "subject", True)]),
        ("value ~ age + (1 + age | subject)", [("1 + age", "subject", True)]),
        ("value ~ age + (1 + age || subject)", [("1 + age", "subject", False)]),
        ("value ~ age + (0 + age|a:b)", [("0 + age", "a:b", True)]),
        ("value ~ (age | `my site`)", [("age", "`my site`", True)]),
        ("value ~ age", []),
    ],
)
def test_random_terms_are_read_as_lme4_reads_them(text, terms):
    assert [(t.expression, t.factor, t.correlated) for t in parse_formula(text).random] == terms


def test_columns_of_random_terms_are_known_and_checked():
    formula = parse_formula("value ~ sex + (1 + age + C(dose)|site) + (I(time^2)||subject)")
    assert [(t.variables, t.factor_variables) for t in formula.random] == [
        (("age", "dose"), ("dose",)),
        (("time",), ()),
    ]
    assert formula.all_columns == ("sex", "age", "dose", "site", "time", "subject")
    assert formula.random[1].python == "I(time**2)"
    for attack in ("__import__('os')", "age.__class__", "open('f')", "I(lambda: 1)"):
        with pytest.raises(DesignError):
            parse_formula(f"value ~ 1 + ({attack}|site)")


def test_spellings_of_r_are_understood():
    formula = parse_formula("value ~ (a + b)^2 + I(age^2) + factor(site) + poly(age, 2, raw=TRUE) + I(`x^factor(`)")
    assert formula.fixed == "(a + b)**2 + I(age**2) + C(site) + poly(age, 2, raw=True) + I(`x^factor(`)"
    assert formula.factor_columns == ("site",)
    assert "x^factor(" in formula.columns


@pytest.mark.parametrize(
    "text",
    [
        "", "   ", "group + age", "value ~", "value ~ a ~ b", "value ~ a +", "value ~ a ++ b", "value ~ .",
        "value ~ (a", "value ~ a)", "value ~ `a", "value ~ a | b", "value ~ (a + (1|b))", "value ~ (1|site)*age",
        "value ~ a - (1|s)",
        "value ~ (1|)", "value ~ (|site)", "value ~ (1|2*site)", "value ~ (1|a|b)", "value ~ (1|a+b)",
        "log(value) ~ a",
        "value ~ a + 3", "value ~ 'a'", "value ~ (a+b)**99", "value ~ ((a+b)**5)", "value ~ a b", "value ~ a %% b",
        "value ~ " + "a + " * 900 + "a",
    ],
)  # fmt: skip
def test_what_is_no_formula_is_refused_with_a_hint(text):
    with pytest.raises(DesignError) as caught:
        parse_formula(text)
    assert caught.value.exit_status == 65


INJECTIONS = [
    "__import__('os')", "eval('1')", "exec('1')", "open('f')", "I(__import__('os').system('true'))", "np.log(age)",
    "age.__class__", "I(age.values)", "{age.__class__}", "{__import__('os')}", "I([x for x in (1,)])", "I(lambda: 1)",
    "log((lambda: age)())", "I(age := 3)", "a[0]", "I(age[0])", "I(f'{age}')", "I(age if age else 1)", "Q('age')",
    "hashed(age)", "lag(age)", "standardize(age)", "log(*age)", "poly(age, **age)", "poly(age, _state=1)",
    "scale(age, _context=1)", "C(a, levels=['b'])", "C(a, contr.custom([1]))", "C(a, contr.__class__)", "C(a, open)",
    "I(9**9**9)", "I(age**age)", "I(age**1000)", "poly(age, 10000000)", "bs(age, df=10000000)", "log(9)", "log()",
    "__builtins__", "__FORMULAIC_STATE__", "center(scale)(age)", "I(age and sex)", "I(not age)", "I('a'*1000000)",
    "`__class__`", "I(age @ age)", "getattr(age, 'values')", "I({1: age})", "I(age, print)", "C(log(age))",
    "contr.sum(age)", "bs(age, knots=[open])", "log(age)(age)", "log.__call__(age)", "I((yield))", "I(await age)",
]  # fmt: skip


@pytest.mark.parametrize("attack", INJECTIONS)
def test_code_in_a_formula_is_refused(attack):
    with pytest.raises(DesignError):
        parse_formula(f"value ~ {attack}")


def test_nothing_but_the_listed_functions_can_be_looked_up():
    assert set(formula_environment()) == {*FUNCTIONS, "contr"}


@pytest.mark.parametrize(
    "text",
    [
        "poly(age, 2)", "bs(age, df=4)", "bs(age, knots=[30, 40.5])", "cr(age, df=3)", "C(site)", "center(age)",
        "C(group, contr.treatment('patient'))", "C(group, contr.sum)", "C(group, contr.helmert())", "scale(age)",
        "log(`age in days`)", "log10(age + 1)", "exp(-age / 10)", "sqrt(age)", "I(age**2)", "I(age > 50)",
        "I(sex == 'M')", "group*age", "group:age", "group/age", "(a + b + c)**2", "a*b - a:b", "0 + a", "a - 1",
        "scale(log(age), center=False)", "`my column`",
    ],
)  # fmt: skip
def test_what_a_model_needs_is_allowed(text):
    assert parse_formula(f"value ~ {text}").columns


@settings(deadline=None)  # the first example imports formulaic
@given(st.text(alphabet="ab01 ~+-*:/|()`'\"^.,[]{}=<>\\%_", max_size=30))
def test_any_text_is_either_a_formula_or_a_design_error(text):
    try:
        formula = parse_formula(text)
    except DesignError:
        return
    assert formula.fixed
