"""models.type3: main effects beside interactions are averaged over the other factor, whatever the coding."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from spectra_bids.models.contrasts import term_contrasts
from spectra_bids.models.design import build_design
from spectra_bids.models.formula import parse_formula
from spectra_bids.models.lmm import fit_lmm


def people(seed: int = 0, n: int = 72) -> pd.DataFrame:
    """Unbalanced group x sex, all six cells filled."""
    rng = np.random.default_rng(seed)
    levels = ["control", "patient", "at risk"]
    cells = list(itertools.product(levels, ["F", "M"])) * 4
    chosen = [cells[i] for i in rng.integers(0, 4, n - len(cells))]
    group, sex = zip(*(cells + chosen), strict=True)
    return pd.DataFrame(
        {
            "group": pd.Categorical(group, categories=levels),
            "sex": list(sex),
            "age": rng.normal(50, 10, n).round(1),
            "site": rng.choice(["a", "b", "c", "d", "e", "f"], n),
        }
    )


def hypotheses(right: str) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    design = build_design(parse_formula(f"value ~ {right}"), people())
    return {name: np.round(rows, 6) for name, rows in design.hypotheses.items()}, design.columns


def test_a_main_effect_counts_every_level_of_the_other_factor_the_same():
    found, columns = hypotheses("group * sex")
    assert columns[3:] == ("sex[T.M]", "group[T.patient]:sex[T.M]", "group[T.at risk]:sex[T.M]")
    np.testing.assert_allclose(found["sex"], [[0, 0, 0, 1, 1 / 3, 1 / 3]], atol=1e-6)
    # the two rows of group span: patient and at risk, each with half of its interaction
    expected = np.array([[0, 1, 0, 0, 0.5, 0], [0, 0, 1, 0, 0, 0.5]])
    assert np.linalg.matrix_rank(np.vstack([found["group"], expected]), tol=1e-5) == 2
    np.testing.assert_allclose(found["group:sex"], np.eye(6)[4:], atol=1e-6)


def test_a_slope_is_averaged_over_groups_and_a_group_is_tested_where_the_covariate_is_0():
    found, columns = hypotheses("group * age")
    assert columns[3] == "age"
    np.testing.assert_allclose(found["age"], [[0, 0, 0, 1, 1 / 3, 1 / 3]], atol=1e-6)
    np.testing.assert_allclose(found["group"], np.eye(6)[1:3], atol=1e-6)


def test_terms_without_interaction_are_their_own_coefficients():
    found, columns = hypotheses("group + sex + poly(age, 2)")
    np.testing.assert_array_equal(found["sex"], np.eye(len(columns))[[3]])
    np.testing.assert_array_equal(found["poly(age, 2)"], np.eye(len(columns))[4:])


@pytest.mark.parametrize("right", ["{g} * {s} + age", "{g} * {s} * age", "{g} * age + {s}"])
def test_f_tests_do_not_depend_on_the_coding(right):
    y = np.random.default_rng(1).normal(size=(72, 3))
    tests = []
    for g, s in (("group", "sex"), ("C(group, contr.sum)", "C(sex, contr.sum)"), ("C(group, contr.helmert)", "sex")):
        design = build_design(parse_formula(f"value ~ {right.format(g=g, s=s)} + (1|site)"), people())
        terms = term_contrasts(design)
        fit = fit_lmm(y, design.X, contrasts=[t.weights for t in terms], random=design.random)
        tests.append([test.value ** (2 if test.statistic == "t" else 1) for test in fit.tests])
    for other in tests[1:]:
        np.testing.assert_allclose(other, tests[0], rtol=1e-5)


def test_the_notes_say_what_a_main_effect_means():
    notes = build_design(parse_formula("value ~ group * sex + group * age"), people()).warnings
    text = " ".join(notes)
    assert "sex is tested beside group:sex: its effect is that averaged over the levels of group" in text
    assert "group is tested beside group:sex, group:age: its effect is that averaged over the levels of sex" in text
    assert "where age is 0" in text
    assert "reference level" not in text


def test_an_estimate_of_a_main_effect_is_the_difference_of_unweighted_means():
    # by hand: the mean over groups of the difference M - F of cell means
    table = people()
    y = np.random.default_rng(2).normal(size=(72, 1))
    design = build_design(parse_formula("value ~ group * sex"), table)
    (sex,) = [t for t in term_contrasts(design) if t.name == "sex"]
    fit = fit_lmm(y, design.X, contrasts=[sex.weights])
    means = table.assign(y=y[:, 0]).groupby(["group", "sex"], observed=True)["y"].mean().unstack()
    assert fit.tests[0].estimate[0] == pytest.approx((means["M"] - means["F"]).mean())
