"""group.model: who is joined with which covariates, what is tested, and bundles that are absent unequally."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spectra_bids.errors import DesignError, MissingInputError, UsageError
from spectra_bids.group.model import default_name, make_model, read_model_file
from spectra_bids.settings import GroupSettings, RunSettings


@pytest.fixture
def bids(tmp_path):
    """Twelve people, two groups, three sites."""
    rows = [(f"sub-{i:02d}", "ab"[i % 2], 50 + i, f"s{i % 3}") for i in range(12)]
    table = pd.DataFrame(rows, columns=["participant_id", "group", "age", "site"])
    table.to_csv(tmp_path / "participants.tsv", sep="\t", index=False)
    return tmp_path


def sessions(*pairs: tuple[str, str | None]) -> pd.DataFrame:
    return pd.DataFrame(pairs, columns=["participant_id", "session_id"], dtype=object)


EVERYBODY = sessions(*((f"sub-{i:02d}", None) for i in range(12)))


def settings(bids: Path, formula: str = "value ~ group + age", **options) -> GroupSettings:
    return GroupSettings(RunSettings(bids, bids / "out"), formula, **options)


def with_visits(bids: Path, subject: str, **columns: list[object]) -> None:
    folder = bids / subject
    folder.mkdir(exist_ok=True)
    pd.DataFrame(columns).to_csv(folder / f"{subject}_sessions.tsv", sep="\t", index=False)


def test_rows_of_the_design_point_to_their_sessions(bids):
    order = EVERYBODY.iloc[::-1].reset_index(drop=True)
    model = make_model(settings(bids), order)
    assert list(order["participant_id"].iloc[model.sessions]) == list(model.table["participant_id"])
    np.testing.assert_array_equal(model.design.X[:, 2], model.table["age"])
    assert [c.name for c in model.contrasts] == ["group", "age"]
    assert model.name == "groupAge"
    assert model.dropped == ()


def test_who_has_no_covariates_and_who_has_no_profiles_is_told(bids):
    some = pd.concat([EVERYBODY.iloc[:10], sessions(("sub-77", None))], ignore_index=True)
    model = make_model(settings(bids), some)
    assert model.dropped == (
        ("sub-77", "not in participants.tsv"),
        ("sub-10", "no profile tables"),
        ("sub-11", "no profile tables"),
    )
    assert 10 not in model.sessions
    chosen = replace(settings(bids), run=RunSettings(bids, bids / "out", participant_labels=("00",)))
    assert "not selected" in dict(make_model(chosen, EVERYBODY.iloc[:10]).dropped)["sub-10"]


def test_sessions_take_the_row_of_their_participant_where_the_table_has_none(bids):
    pairs = [(f"sub-{i:02d}", f"ses-{k}") for i in range(12) for k in (1, 2)]
    model = make_model(settings(bids, "value ~ group + (1|participant_id)"), sessions(*pairs))
    assert model.design.n == 24
    assert list(model.table["session_id"][:2]) == ["ses-1", "ses-2"]
    assert len(model.design.group_levels) == 12


def test_sessions_tsv_gives_each_visit_its_own_age(bids):
    for i in range(12):
        with_visits(bids, f"sub-{i:02d}", session_id=["ses-1", "ses-2"], age=[50 + i, 52 + i])
    pairs = [(f"sub-{i:02d}", f"ses-{k}") for i in range(12) for k in (1, 2)]
    model = make_model(settings(bids, "value ~ age + (1|participant_id)"), sessions(*pairs, ("sub-03", "ses-9")))
    np.testing.assert_array_equal(model.table["age"], [50 + i + 2 * k for i in range(12) for k in (0, 1)])
    assert model.dropped == (("sub-03 ses-9", "not in participants.tsv"),)


def test_profiles_without_sessions_take_the_only_visit_but_not_one_of_several(bids):
    for i in range(12):
        visits = {"session_id": ["ses-1"], "dose": [i]} if i else {"session_id": ["ses-1", "ses-2"], "dose": [1, 2]}
        with_visits(bids, f"sub-{i:02d}", **visits)
    model = make_model(settings(bids, "value ~ dose"), EVERYBODY)
    assert list(model.table["dose"]) == list(range(1, 12))
    assert dict(model.dropped)["sub-00"] == "not in participants.tsv"


def test_rows_with_missing_values_are_dropped_and_told(bids):
    table = pd.read_csv(bids / "participants.tsv", sep="\t", dtype=str)
    table.loc[3, "age"] = "n/a"
    table.to_csv(bids / "participants.tsv", sep="\t", index=False)
    model = make_model(settings(bids), EVERYBODY)
    assert model.dropped == (("sub-03", "n/a in age"),)
    assert model.design.n == 11
    assert 3 not in model.sessions


def test_without_a_model_the_columns_are_listed_and_an_example_given(bids):
    with pytest.raises(UsageError, match="group, age, site") as caught:
        make_model(settings(bids, ""), EVERYBODY)
    assert 'value ~ group + age + site"' in caught.value.hint


@pytest.mark.parametrize(
    ("formula", "options", "words"),
    [
        ("fa ~ age", {}, "left side of --formula must be 'value'"),
        ("value ~ 1", {}, "no term to test"),
        ("value ~ agee", {}, "agee"),
        ("value ~ group", {"contrasts": ("x: group[c]=1",)}, "group"),
        ("value ~ group", {"contrasts": ("x: group[b]=1", "x: group[b]=2")}, "x"),
    ],
)
def test_a_model_that_cannot_be_is_refused(formula, options, words, bids):
    with pytest.raises(DesignError, match=words):
        make_model(settings(bids, formula, **options), EVERYBODY)


def test_nobody_in_common_is_refused_with_both_spellings(bids):
    with pytest.raises(DesignError, match=r"Profiles: sub-x; participants\.tsv: sub-00, sub-01, sub-02"):
        make_model(settings(bids), sessions(("sub-x", None)))


@pytest.mark.parametrize("name", ["my model", "a_b", "../x", "é"])
def test_a_model_name_becomes_part_of_a_path(name, bids):
    with pytest.raises(UsageError, match="letters and digits"):
        make_model(settings(bids, model_name=name), EVERYBODY)


def test_the_name_of_a_model_is_made_of_its_columns():
    assert default_name("group + age") == "groupAge"
    assert default_name("group * age") == "groupByAge"
    assert default_name("1 + `dx group` + x_1") == "dxGroupX1"
    assert default_name("1") == "model"
    assert len(default_name(" + ".join(f"column{i}" for i in range(50)))) <= 60


@pytest.mark.parametrize(("content", "words"), [("{", "is not JSON"), ("[1]", "Got a list"), ("{}", "Dataset")])
def test_a_model_file_that_is_none_is_refused_by_name(content, words, tmp_path):
    path = tmp_path / "m.json"
    path.write_text(content)
    with pytest.raises(DesignError, match=words):
        read_model_file(path)
    with pytest.raises(MissingInputError, match="does not exist"):
        read_model_file(tmp_path / "nothing.json")


def test_a_model_file_gives_formula_and_contrasts(bids):
    node = {
        "Level": "Dataset", "Name": "d", "GroupBy": [],
        "Model": {"Type": "glm", "X": [1, "group[T.b]"], "Software": {"lme4": {"Formula": "value ~ group + (1|site)"}}},
        "Contrasts": [{"Name": "b_vs_a", "ConditionList": ["group[T.b]"], "Weights": [1], "Test": "t"}],
    }  # fmt: skip
    path = bids / "m.json"
    path.write_text(json.dumps({"Name": "m", "BIDSModelVersion": "1.0.0", "Nodes": [node]}))
    model = make_model(settings(bids, "", model_file=path), EVERYBODY)
    assert [c.name for c in model.contrasts] == ["b_vs_a"]
    assert model.design.group_name == "site"
