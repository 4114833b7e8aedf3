"""models.design: the columns are R's, rows with n/a leave, and what cannot be estimated is named."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectra_bids.errors import DesignError
from spectra_bids.models.design import build_design
from spectra_bids.models.formula import parse_formula

REFERENCE = Path(__file__).parent / "reference"


def people(n: int = 48, seed: int = 3) -> pd.DataFrame:
    """A table as a study has it: unbalanced levels, a level with a space, numeric site, n/a in several columns."""
    rng = np.random.default_rng(seed)
    levels = ["control", "patient", "at risk"]
    table = pd.DataFrame(
        {
            "participant_id": [f"sub-{i:02d}" for i in range(n)],
            "group": pd.Categorical(rng.choice(levels, n, p=[0.5, 0.3, 0.2]), categories=levels),
            "age": rng.normal(50, 12, n).round(1),
            "sex": rng.choice(["M", "F"], n),
            "site": rng.choice([2, 10, 3, 1], n),
            "motion": rng.gamma(2, 0.2, n),
            "iq": rng.normal(100, 15, n),
        }
    )
    table.loc[[4, 9], "age"] = np.nan
    table.loc[9, "sex"] = None
    table.loc[11, "group"] = None
    table.loc[[1, 2, 3], "iq"] = np.nan
    return table


def design(text: str, table: pd.DataFrame | None = None):
    return build_design(parse_formula(text), people() if table is None else table)


#: Ours, R's (where it differs): awkward designs.
MATRICES = [
    ("1", None),
    ("age", None),
    ("group + age + sex", None),
    ("group * age", None),
    ("group * sex * age", None),
    ("age:group", None),
    ("group + group:age", None),
    ("group:sex", None),
    ("sex + group:sex", None),
    ("group / age", None),
    ("sex / group", None),
    ("0 + group", None),
    ("0 + age + group:age", None),
    ("group - 1 + sex", None),
    ("(group + sex + age)^2", None),
    ("group * sex - sex", None),
    ("factor(site) + age", None),
    ("C(site)", None),
    ("C(group, contr.sum)", None),
    ("C(group, contr.helmert)", None),
    ("C(group, contr.treatment('patient'))", "C(group, contr.treatment(3, base = 2))"),
    ("C(group, contr.SAS) + sex", None),
    ("C(group, contr.sum) * age", None),
    ("poly(age, 2)", None),
    ("poly(age, 3) * sex", None),
    ("poly(age, 2, raw=TRUE)", None),
    ("scale(age) + center(motion)", "scale(age) + scale(motion, scale = FALSE)"),
    ("scale(age, center=False)", "I(age / sd(age) * sd(age) / sqrt(sum(age^2) / (length(age) - 1)))"),
    ("bs(age, df=4)", "splines::bs(age, df = 4)"),
    ("bs(age, df=5, degree=2)", "splines::bs(age, df = 5, degree = 2)"),
    ("I(age^2) + log(motion) + log10(age) + sqrt(motion) + exp(motion)", None),
    ("I(age > 50) + I((age + motion) / 2)", None),
    ("I(sex == 'M')", None),
    ("I(age - 50):sex + group", None),
]

#: Here R gives columns in another order, or rank-deficient ones that lm and lmer then drop: the span is compared.
SAME_SPAN = {"group:sex", "sex + group:sex", "0 + age + group:age"}


def test_model_matrices_are_those_of_r(rscript, tmp_path):
    # Rscript tests/reference/model_matrix.R table.csv formulas.txt out
    table = people()
    table.to_csv(tmp_path / "table.csv", index=False, na_rep="NA")
    (tmp_path / "formulas.txt").write_text("".join(f"{theirs or ours}\n" for ours, theirs in MATRICES))
    command = [rscript, str(REFERENCE / "model_matrix.R"), "table.csv", "formulas.txt", "."]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    for i, (ours, _) in enumerate(MATRICES, start=1):
        expected = np.loadtxt(tmp_path / f"{i}.csv", delimiter=",", ndmin=2)
        found = design(f"value ~ {ours}", table).X
        if ours in SAME_SPAN:
            both = np.hstack([found, expected])
            assert np.linalg.matrix_rank(both) == found.shape[1] == np.linalg.matrix_rank(expected), ours
            continue
        assert found.shape == expected.shape, ours
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10, err_msg=ours)


def test_columns_and_terms_have_names():
    found = design("value ~ group * age + sex + (1|site)")
    assert found.columns == (
        "(Intercept)",
        "group[T.patient]",
        "group[T.at risk]",
        "age",
        "sex[T.M]",
        "group[T.patient]:age",
        "group[T.at risk]:age",
    )
    assert [(t.name, t.columns, t.kind, t.numeric) for t in found.terms] == [
        ("group", (1, 2), "factor", False),
        ("age", (3,), "numeric", True),
        ("sex", (4,), "factor", False),
        ("group:age", (5, 6), "interaction", True),
    ]
    assert (found.group_name, found.group_levels) == ("site", ("1", "2", "3", "10"))


def test_rows_with_na_in_a_used_column_leave_and_are_listed():
    table = people()
    found = design("value ~ group + age + sex", table)
    assert [(row.label, row.columns) for row in found.dropped] == [
        ("sub-04", ("age",)),
        ("sub-09", ("age", "sex")),
        ("sub-11", ("group",)),
    ]
    assert found.rows.tolist() == [i for i in range(48) if i not in (4, 9, 11)]
    np.testing.assert_array_equal(found.X[:, found.columns.index("age")], table["age"].to_numpy()[found.rows])
    assert design("value ~ sex", table).n == 47  # other columns' n/a do not matter


def test_na_is_also_the_bids_word_in_a_text_column_and_a_missing_random_level():
    table = people()
    table["sex"] = table["sex"].astype(object).where(table.index != 7, "n/a")
    table["site"] = table["site"].astype(float).where(table.index != 20)
    found = design("value ~ sex + (1|site)", table)
    assert [(row.label, row.columns) for row in found.dropped] == [
        ("sub-07", ("sex",)),
        ("sub-09", ("sex",)),
        ("sub-20", ("site",)),
    ]
    assert found.group_levels == ("1", "2", "3", "10")


def test_the_reference_is_the_first_level_of_a_categorical_and_first_in_order_of_text():
    found = design("value ~ group + sex")
    assert {f.name: f.levels for f in found.factors} == {"group": ("control", "patient", "at risk"), "sex": ("F", "M")}
    counts = {f.name: f.counts for f in found.factors}
    kept = people().iloc[found.rows]
    assert counts["sex"] == tuple(kept["sex"].value_counts()[["F", "M"]])
    np.testing.assert_array_equal(found.factors[1].codes, (kept["sex"] == "M").astype(int))


def test_a_level_that_no_row_has_is_left_out_and_said():
    table = people()
    table["group"] = table["group"].cat.set_categories(["elsewhere", "control", "patient", "at risk"])
    found = design("value ~ group", table)
    assert found.factors[0].levels == ("control", "patient", "at risk")
    assert any("elsewhere" in note for note in found.warnings)


def test_booleans_are_factors_and_integers_numbers():
    table = people().assign(treated=lambda t: t.index % 2 == 0)
    assert design("value ~ treated + site", table).columns == ("(Intercept)", "treated[T.True]", "site")


def test_sessions_of_one_subject_share_a_code():
    table = people().assign(
        participant_id=[f"sub-{i // 2}" for i in range(48)], session_id=[f"ses-{i % 2}" for i in range(48)]
    )
    found = design("value ~ motion + (1|participant_id)", table)
    assert found.labels[:2] == ("sub-0 ses-0", "sub-0 ses-1")
    assert found.subjects[0] == found.subjects[1] != found.subjects[2]
    assert len(set(found.subjects.tolist())) == len(found.group_levels) == 24


def test_a_grouping_factor_may_join_columns():
    found = design("value ~ age + (1|site:sex)")
    assert found.group_name == "site:sex"
    assert found.group_levels[:2] == ("1:F", "1:M")
    assert found.groups is not None
    kept = people().iloc[found.rows]
    for code, site, sex in zip(found.groups, kept["site"], kept["sex"], strict=True):
        assert found.group_levels[code] == f"{site}:{sex}"


def test_few_random_levels_are_warned_of_and_one_is_no_random_factor():
    assert any("only 4 levels" in note for note in design("value ~ age + (1|site)").warnings)
    found = design("value ~ age + (1|site)", people().assign(site="A"))
    assert found.groups is None
    assert found.group_name == ""
    assert any("least squares" in note for note in found.warnings)


def test_the_meaning_of_a_main_effect_beside_its_interaction_is_said():
    notes = design("value ~ group * sex").warnings
    assert any(note.startswith("group is tested beside group:sex") for note in notes)
    assert not design("value ~ group + sex").warnings


def test_collinearity_is_measured():
    rng = np.random.default_rng(0)
    table = people(200).assign(iq2=lambda t: t["iq"] + rng.normal(0, 1, 200))
    found = design("value ~ iq + iq2 + motion", table)
    # R: car::vif(lm(y ~ iq + iq2 + motion)) is 1 / (1 - summary(lm(iq ~ iq2 + motion))$r.squared)
    others = np.delete(found.X, 1, axis=1)
    rest = found.X[:, 1] - others @ np.linalg.lstsq(others, found.X[:, 1], rcond=None)[0]
    r2 = 1 - (rest**2).sum() / ((found.X[:, 1] - found.X[:, 1].mean()) ** 2).sum()
    assert np.isnan(found.vif[0])
    assert found.vif[1] == pytest.approx(1 / (1 - r2))
    assert any("variance inflation" in note for note in found.warnings)
    unit = found.X / np.linalg.norm(found.X, axis=0)
    assert found.condition_number == pytest.approx(np.linalg.cond(unit))


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("value ~ agee", {"b" * 200_000: 1.0}),
        ("value ~ sex + one", {"one": "b" * 200_000}),
        ("value ~ mixed", {"mixed": [str(i) for i in range(47)] + ["b" * 200_000]}),
    ],
    ids=["column", "only level", "value among numbers"],
)
def test_of_what_is_as_long_as_a_book_a_message_shows_the_beginning(text, change):
    with pytest.raises(DesignError, match=r"bbb\.\.\. \(200000 characters\)") as caught:
        design(text, people().assign(**change))
    assert len(caught.value.message) < 500


@pytest.mark.parametrize(
    ("text", "change", "says"),
    [
        ("value ~ agee", {}, "there are: participant_id, group, age"),
        ("value ~ age + (1|scanner)", {}, "Got 'scanner'"),
        ("value ~ age + I(age * 2)", {}, r"'I\(age \* 2\)' is a linear combination of 'age'"),
        ("value ~ age + same", {"same": 3.0}, "'same' has the same value in all"),
        ("value ~ age + zero", {"zero": 0.0}, "'zero' is 0 in all"),
        ("value ~ group + dx", {"dx": lambda t: t["group"].astype(str)}, r"'dx\[T"),
        ("value ~ sex + one", {"one": "x"}, "'one' has only 'x'"),
        ("value ~ empty", {"empty": np.nan}, "no row of the participants table is complete"),
        ("value ~ log(signed)", {"signed": lambda t: t.index - 5.0}, "not all finite"),
        ("value ~ participant_id", {}, "more rows than columns"),
        ("value ~ age + (1|participant_id)", {}, "every row is its own level"),
        ("value ~ sex + (1|sex)", {}, "a fixed and a random factor"),
        ("value ~ mixed", {"mixed": [str(i) for i in range(47)] + ["89+"]}, r"holds '89\+'"),
        ("value ~ day", {"day": pd.Timestamp("2020-01-01")}, "dates"),
        ("value ~ scale(age) + scale", {"scale": 1.0}, "name of the function"),
        ("value ~ log(sex)", {}, "cannot be evaluated"),
        ("value ~ 0 + (1|site)", {}, "no fixed effect"),
        ("value ~ age + (1 + age|subject)", {"subject": np.repeat(np.arange(24), 2)}, "48 random effects|46 rows|46"),
        ("value ~ age + (0|site)", {}, "has no column"),
    ],
)
def test_what_cannot_be_estimated_is_named(text, change, says):
    with pytest.raises(DesignError, match=says):
        design(text, people().assign(**change))


def test_a_near_miss_of_a_name_is_suggested():
    with pytest.raises(DesignError) as caught:
        design("value ~ grup")
    assert "group" in caught.value.hint


def test_a_column_named_as_a_builtin_or_with_odd_characters_is_only_a_column():
    table = people().assign(**{"open": 1.0 * np.arange(48), "age (years) `x": 2.0, "a.b": np.arange(48.0) ** 2})
    assert design("value ~ open + a.b", table).columns == ("(Intercept)", "open", "a.b")
    assert design("value ~ log(`a.b` + 1)", table).p == 2


def test_a_table_is_not_changed():
    table = people()
    before = table.copy(deep=True)
    design("value ~ group * poly(age, 2) + factor(site) + sex", table)
    pd.testing.assert_frame_equal(table, before)


def test_levels_are_coded_as_the_columns_say():
    found = design("value ~ group * age")
    np.testing.assert_array_equal(found.cells["group[control]",], np.zeros(6))
    np.testing.assert_array_equal(found.cells["group[at risk]",], [0, 0, 1, 0, 0, 0])
    np.testing.assert_array_equal(found.cells["age", "group[patient]"], [0, 0, 0, 0, 1, 0])
    coded = design("value ~ C(group, contr.sum)")
    np.testing.assert_array_equal(coded.cells["group[at risk]",], [0, -1, -1])


@settings(max_examples=25, deadline=None)
@given(order=st.permutations(range(48)))
def test_the_order_of_rows_only_orders_the_rows(order):
    table = people()
    one = design("value ~ group * sex + age + (1|site)", table)
    other = design("value ~ group * sex + age + (1|site)", table.iloc[list(order)].reset_index(drop=True))
    assert one.columns == other.columns
    place = {label: i for i, label in enumerate(other.labels)}
    np.testing.assert_allclose(one.X, other.X[[place[label] for label in one.labels]], rtol=0, atol=0)
    assert one.group_levels == other.group_levels
