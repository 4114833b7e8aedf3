"""group.exchange: who may be exchanged with whom is found from the design, or named; what is drawn keeps to it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from spectra_bids.errors import DesignError
from spectra_bids.group import exchange
from spectra_bids.group.exchange import Exchange, draw, exchange_blocks
from spectra_bids.group.model import GroupModel
from spectra_bids.models.contrasts import term_contrasts
from spectra_bids.models.design import build_design
from spectra_bids.models.formula import parse_formula
from spectra_bids.settings import PermutationSettings


def model_of(table: pd.DataFrame, formula: str) -> GroupModel:
    design = build_design(parse_formula(formula), table)
    return GroupModel("m", design, term_contrasts(design), table, np.arange(design.n), (), ())


def cohort(people: int = 12, visits: int = 1) -> pd.DataFrame:
    """Four sites with both groups in each, two countries of two sites; age rises from visit to visit."""
    who = np.repeat(np.arange(people), visits)
    rng = np.random.default_rng(0)
    age = np.round(rng.uniform(20, 60, people), 1)[who] + np.tile(np.arange(visits), people)
    table = pd.DataFrame(
        {
            "participant_id": [f"sub-{k:02d}" for k in who],
            "session_id": [f"ses-{k}" for k in np.tile(np.arange(visits), people)],
            "group": np.where(who % 2, "b", "a"),
            "age": age,
            "visit": np.tile(np.arange(visits, dtype=float), people),
            "site": [f"s{k // 2 % 4}" for k in who],
            "field": [("1.5T", "3T")[k // 2 % 2] for k in who],
            "gap": ["x"] * (len(who) - 1) + [None],
        }
    )
    return table if visits > 1 else table.drop(columns="session_id")


def blocks(model: GroupModel, contrast: str, **chosen: str) -> Exchange:
    (found,) = [c for c in model.contrasts if c.name == contrast]
    return exchange_blocks(PermutationSettings(**chosen), model, found)


# --- validation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        ({"within": "nope"}, "--exchange-within must name a column of the design. Got 'nope'"),
        ({"whole": "nope"}, "--exchange-whole must name a column of the design"),
        ({"within": "gap"}, "--exchange-within gap is n/a for sub-11"),
    ],
)
def test_a_column_that_is_none_or_incomplete_is_refused(chosen, says):
    with pytest.raises(DesignError) as raised:
        blocks(model_of(cohort(), "value ~ group"), "group", **chosen)
    assert says in str(raised.value)


def test_blocks_that_leave_nothing_to_exchange_name_the_contrast():
    model = model_of(cohort(), "value ~ group")
    found = blocks(model, "group", within="participant_id")
    with pytest.raises(DesignError, match="'group' cannot be permuted"):
        draw(found, model.design.n, 10, 0, "group")


# --- what is found --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "visits", "contrast", "words"),
    [
        ("value ~ group + age", 1, "group", "all rows"),
        ("value ~ group + age + (1|site)", 1, "group", "within site"),
        ("value ~ field + (1|site)", 1, "field", "all rows"),
        ("value ~ group + age + (1|participant_id)", 2, "group", "all sessions of a person together"),
        (
            "value ~ group + age + (1|participant_id)",
            2,
            "age",
            "all sessions of a person together, sessions within a person",
        ),
        ("value ~ group + visit + (1|participant_id)", 2, "visit", "sessions within a person"),
        (
            "value ~ group + age + (1|site) + (1|participant_id)",
            2,
            "group",
            "all sessions of a person together, within site",
        ),
    ],
)
def test_the_design_says_who_is_exchanged(formula, visits, contrast, words):
    assert blocks(model_of(cohort(visits=visits), formula), contrast).words == words


def test_what_is_named_comes_before_what_is_found():
    model = model_of(cohort(visits=2), "value ~ group + age + (1|site) + (1|participant_id)")
    assert blocks(model, "group", within="field").words == "all sessions of a person together, within field"
    assert blocks(model, "age", whole="participant_id").words == "all rows of a participant_id together, within site"
    assert blocks(model, "age", within="site").words == "within site"


# --- properties -----------------------------------------------------------------------------------------------------


def test_within_a_factor_only_its_own_rows_are_exchanged():
    model = model_of(cohort(), "value ~ group + (1|site)")
    drawn = draw(blocks(model, "group"), model.design.n, 50, 0, "group")
    site = model.table["site"].to_numpy()
    assert (site[drawn.index] == site).all()
    assert (np.sort(drawn.index, axis=1) == np.arange(model.design.n)).all()


def test_people_and_their_sessions_are_both_exchanged_and_stay_together():
    model = model_of(cohort(visits=3), "value ~ age + (1|participant_id)")
    found = blocks(model, "age")
    index = draw(found, model.design.n, 200, 0, "age").index
    person, visit = (model.table[name].to_numpy() for name in ("participant_id", "visit"))
    assert (np.sort(index, axis=1) == np.arange(model.design.n)).all()
    taken = person[index].reshape(200, -1, 3)
    assert (taken == taken[:, :, :1]).all()  # a person's sessions come from one person
    assert (taken[:, :, 0] != person[::3]).mean() > 0.8
    assert (visit[index] != visit).mean() == pytest.approx(2 / 3, abs=0.05)


def test_equal_seeds_give_equal_permutations_and_others_differ():
    model = model_of(cohort(visits=2), "value ~ age + (1|participant_id)")
    one, same, other = (draw(blocks(model, "age"), model.design.n, 20, seed, "age").index for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_the_tested_columns_are_those_that_the_contrast_weighs():
    model = model_of(cohort(), "value ~ group + age")
    columns = model.design.columns
    found = {c.name: [columns[k] for k in exchange.tested_columns(c)] for c in model.contrasts}
    assert found == {"group": ["group[T.b]"], "age": ["age"]}
