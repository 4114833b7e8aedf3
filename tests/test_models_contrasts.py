"""models.contrasts: texts and files become weights over the columns of X, by hand-made values."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectra_bids.errors import DesignError, MissingInputError
from spectra_bids.models.contrasts import parse_contrast, read_contrasts, require_unique, term_contrasts
from spectra_bids.models.design import build_design
from spectra_bids.models.formula import parse_formula


def design(right: str):
    rng = np.random.default_rng(1)
    n = 60
    table = pd.DataFrame(
        {
            "dx": pd.Categorical(np.resize(["CN", "MCI", "AD"], n), categories=["CN", "MCI", "AD"]),
            "sex": rng.choice(["F", "M"], n),
            "age": rng.normal(60, 9, n),
            "arm": rng.choice(["a: new", "b = old"], n),
        }
    )
    return build_design(parse_formula(f"value ~ {right}"), table)


@pytest.fixture(scope="module")
def additive():
    return design("dx + age + sex")  # (Intercept) dx[T.MCI] dx[T.AD] age sex[T.M]


@pytest.fixture(scope="module")
def crossed():
    return design("dx * age")  # (Intercept) dx[T.MCI] dx[T.AD] age dx[T.MCI]:age dx[T.AD]:age


def test_terms_are_tested_by_t_or_f(additive):
    found = [(c.name, c.type, c.kind, c.effect, c.weights.tolist()) for c in term_contrasts(additive)]
    assert found == [
        ("dx", "F", "term", "partial_eta2", [[0, 1, 0, 0, 0], [0, 0, 1, 0, 0]]),
        ("age", "T", "term", "partial_r", [[0, 0, 0, 1, 0]]),
        ("sex", "T", "term", "cohen_d", [[0, 0, 0, 0, 1]]),
    ]


def test_the_intercept_is_no_term():
    assert term_contrasts(design("1")) == ()


@pytest.mark.parametrize(
    ("text", "name", "weights", "effect"),
    [
        ("AD_gt_CN: dx[AD]=1 dx[CN]=-1", "AD_gt_CN", [0, 0, 1, 0, 0], "cohen_d"),
        ("AD_gt_MCI: dx[AD]=1 dx[MCI]=-1", "AD_gt_MCI", [0, -1, 1, 0, 0], "cohen_d"),
        ("any: dx[AD]=1/2 dx[MCI]=1/2 dx[CN]=-1", "any", [0, 0.5, 0.5, 0, 0], "cohen_d"),
        ("ageing: age=1", "ageing", [0, 0, 0, 1, 0], "partial_r"),
        ("ten years: age=10", "ten years", [0, 0, 0, 10, 0], "partial_r"),
        ("dx[T.AD]=1", "dx[T.AD]=1", [0, 0, 1, 0, 0], "cohen_d"),
        ("mean: (Intercept)=1 age=60", "mean", [1, 0, 0, 60, 0], "partial_r"),
        ("spaced :  dx[AD] = +1   dx[CN] = -1.0e0 ", "spaced", [0, 0, 1, 0, 0], "cohen_d"),
        ("name:dx[AD]=1 dx[CN]=-1", "name", [0, 0, 1, 0, 0], "cohen_d"),
    ],
)
def test_texts_become_weights(additive, text, name, weights, effect):
    found = parse_contrast(text, additive)
    assert (found.name, found.type, found.effect) == (name, "T", effect)
    np.testing.assert_allclose(found.weights, [weights], atol=1e-15)


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("slope: dx[AD]:age=1 dx[CN]:age=-1", [0, 0, 0, 0, 0, 1]),
        ("slope: age:dx[AD]=1 age:dx[MCI]=-1", [0, 0, 0, 0, -1, 1]),
        ("slope: dx[T.AD]:age=1", [0, 0, 0, 0, 0, 1]),
        ("dx[T.AD]:age=1", [0, 0, 0, 0, 0, 1]),
        ("at 60: dx[AD]=1 dx[CN]=-1 dx[AD]:age=60 dx[CN]:age=-60", [0, 0, 1, 0, 0, 60]),
    ],
)
def test_levels_within_interactions_are_reached(crossed, text, weights):
    np.testing.assert_allclose(parse_contrast(text, crossed).weights, [weights])


def test_level_weights_follow_the_coding_of_the_factor():
    coded = design("C(dx, contr.sum)")  # CN = (1, 0), MCI = (0, 1), AD = (-1, -1)
    found = parse_contrast("AD_gt_CN: dx[AD]=1 dx[CN]=-1", coded)
    np.testing.assert_allclose(found.weights, [[0, -2, -1]])


def test_level_contrasts_estimate_differences_of_means_under_every_coding():
    rng = np.random.default_rng(4)
    values = rng.normal(size=60)
    plain = design("dx")
    codes = plain.factors[0].codes
    difference = values[codes == 2].mean() - values[codes == 1].mean()
    for right in ("dx", "0 + dx", "C(dx, contr.sum)", "C(dx, contr.helmert)", "C(dx, contr.treatment('AD'))"):
        found = design(right)
        beta = np.linalg.lstsq(found.X, values, rcond=None)[0]
        weights = parse_contrast("d: dx[AD]=1 dx[MCI]=-1", found).weights
        assert (weights @ beta)[0] == pytest.approx(difference), right


def test_without_an_intercept_one_level_is_a_mean():
    np.testing.assert_allclose(parse_contrast("mean: dx[AD]=1", design("0 + dx + age")).weights, [[0, 0, 1, 0]])


def test_rows_of_an_f_are_separated_by_semicolons(additive):
    found = parse_contrast("dx any: dx[AD]=1 dx[CN]=-1; dx[MCI]=1 dx[CN]=-1", additive)
    assert (found.type, found.effect) == ("F", "partial_eta2")
    np.testing.assert_allclose(found.weights, [[0, 0, 1, 0, 0], [0, 1, 0, 0, 0]])


def test_levels_may_hold_colons_blanks_and_equals_signs():
    found = parse_contrast("new: arm[a: new]=1 arm[b = old]=-1", design("arm + age"))
    np.testing.assert_allclose(found.weights, [[0, -1, 0]])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("p: dx[AD]=1", "must sum to 0"),
        ("p: dx[AD]=1 dx[CN]=-0.9", "must sum to 0"),
        ("p: dx[AD]=1 dx[CN]=-1; dx[MCI]=1", "must sum to 0"),
        ("p: dx[XX]=1 dx[CN]=-1", "unknown column 'dx\\[XX\\]'; there are: dx\\[CN\\], dx\\[MCI\\], dx\\[AD\\]"),
        ("p: height=1", "unknown column 'height'"),
        ("p: age=0", "weights are all 0"),
        ("p: age=1; age=2", "not independent"),
        ("p: age=1 age=2", "there twice"),
        ("p: age", "name: column=weight"),
        ("p: age=one", "name: column=weight"),
        ("p: age=1 rubbish", "name: column=weight"),
        ("p:", "name: column=weight"),
        ("", "name: column=weight"),
        ("p: age=1/0", "number or a fraction"),
        (": age=1", "printable name"),
    ],
)
def test_what_is_no_contrast_of_the_design_is_refused(additive, text, says):
    with pytest.raises(DesignError, match=says):
        parse_contrast(text, additive)


def test_the_hint_of_a_wrong_sum_is_itself_a_right_contrast(additive, crossed):
    for where, text in ((additive, "p: dx[AD]=1"), (crossed, "p: dx[AD]:age=1")):
        with pytest.raises(DesignError) as caught:
            parse_contrast(text, where)
        assert parse_contrast(caught.value.hint.split("'")[1], where).weights.any()


def test_tables_and_json_say_the_same(additive, tmp_path):
    lines = [
        ("name", "type", "columns", "weights"),
        ("AD_gt_CN", "T", "dx[AD] dx[CN]", "1 -1"),
        ("any dx", "F", "dx[AD] dx[CN]", "1 -1"),
        ("any dx", "F", "dx[MCI] dx[CN]", "1 -1"),
        ("thirds", "T", "dx[AD] dx[MCI] dx[CN]", "1/3 2/3 -1"),
    ]
    (tmp_path / "c.tsv").write_text("\n".join("\t".join(line) for line in lines), encoding="utf-8")
    (tmp_path / "c.csv").write_text("\n".join(",".join(line) for line in lines), encoding="utf-8-sig")
    entries = [
        {"name": "AD_gt_CN", "type": "T", "columns": ["dx[AD]", "dx[CN]"], "weights": [1, -1]},
        {"Name": "any dx", "Test": "F", "ConditionList": ["dx[T.AD]", "dx[T.MCI]"], "Weights": [[1, 0], [0, 1]]},
        {"name": "thirds", "columns": ["dx[AD]", "dx[MCI]", "dx[CN]"], "weights": ["1/3", "2/3", -1]},
    ]
    (tmp_path / "c.json").write_text(json.dumps(entries))
    for file in ("c.tsv", "c.csv", "c.json"):
        found = read_contrasts(str(tmp_path / file), additive)
        assert [(c.name, c.type) for c in found] == [("AD_gt_CN", "T"), ("any dx", "F"), ("thirds", "T")]
        np.testing.assert_allclose(found[1].weights, [[0, 0, 1, 0, 0], [0, 1, 0, 0, 0]])
        np.testing.assert_allclose(found[2].weights, [[0, 2 / 3, 1 / 3, 0, 0]])
    assert read_contrasts("x: age=1", additive)[0].name == "x"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.tsv", "name\tcolumns\nx\tage\n", "has the columns name, type, columns, weights"),
        ("a.tsv", "", "no lines"),
        ("a.csv", "name,type,columns,weights\nx,T,age,1 2\n", "1 columns and 2 weights"),
        ("a.csv", "name,type,columns,weights\nx,Z,age,1\n", "T or F"),
        ("a.csv", "name,type,columns,weights\nx,T,age,1\nx,T,sex[T.M],1\n", "only an F"),
        ("a.json", "{", "not a file of contrasts"),
        ("a.json", '[{"name": "x"}]', "columns and weights"),
        ("a.json", '[{"name": "x", "columns": ["age"], "weights": [1, 2]}]', "needs 1 weights"),
        ("a.json", '[{"columns": ["age"], "weights": [1]}]', "printable name"),
        (
            "a.json",
            '[{"name": "x", "columns": ["age"], "weights": [1]}, {"name": "x", "columns": ["age"], "weights": [2]}]',
            "must be unique",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_its_reason(additive, tmp_path, name, content, says):
    (tmp_path / name).write_text(content)
    with pytest.raises(DesignError, match=says):
        read_contrasts(str(tmp_path / name), additive)


def test_a_file_that_is_not_there_is_missing_input(additive):
    with pytest.raises(MissingInputError, match=r"nowhere\.tsv"):
        read_contrasts("nowhere.tsv", additive)


def test_names_are_unique(additive):
    once = parse_contrast("x: age=1", additive)
    with pytest.raises(DesignError, match="unique"):
        require_unique((once, once))


_NUMBERS = st.integers(-9, 9).filter(bool)


@given(a=_NUMBERS, b=_NUMBERS)
def test_weights_over_levels_pass_exactly_when_they_cancel(a, b):
    found = design("dx")
    text = f"x: dx[AD]={a} dx[MCI]={b} dx[CN]={-(a + b)}"
    np.testing.assert_allclose(parse_contrast(text, found).weights, [[0, b, a]])
    with pytest.raises(DesignError, match="sum to 0"):
        parse_contrast(f"x: dx[AD]={a} dx[MCI]={b} dx[CN]={1 - (a + b)}", found)
