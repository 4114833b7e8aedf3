"""group.calibrate: shuffled labels on noise give nominal rates; a procedure that is wrong is caught."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spectra_bids.columns import CALIBRATION, names
from spectra_bids.errors import DesignError
from spectra_bids.group.calibrate import _shuffled, calibrate
from spectra_bids.group.decide import decide
from spectra_bids.group.model import GroupModel
from spectra_bids.models.contrasts import term_contrasts
from spectra_bids.models.design import build_design
from spectra_bids.models.fits import fit_cells
from spectra_bids.models.formula import parse_formula
from spectra_bids.settings import DecisionSettings, GroupSettings, RunSettings

BLOCKS, CELLS = 5, 12


class NoEvidence:
    """Nothing beside p values is needed here."""

    def correlations(self, scalar):
        raise AssertionError

    permuted = blocks = correlations


def people(n: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "participant_id": [f"sub-{k:02d}" for k in range(n)],
            "group": np.where(np.arange(n) % 2, "patient", "control"),
            "age": rng.uniform(20, 60, n),
            "site": [f"s{k // 2 % 5}" for k in range(n)],
        }
    )


def model_of(formula: str, table: pd.DataFrame) -> GroupModel:
    design = build_design(parse_formula(formula), table)
    return GroupModel("m", design, term_contrasts(design), table, np.arange(design.n), (), ())


def settings(n: int, **decision: object) -> GroupSettings:
    run = RunSettings(Path("in"), Path("out"))
    return GroupSettings(run, "value ~ group", decision=DecisionSettings(**decision), calibrate=n)  # type: ignore[arg-type]


def refitting(values: np.ndarray):
    """Fits of blocks of cells in a row, under any model."""
    bundle = np.repeat([f"B{k}" for k in range(BLOCKS)], CELLS)
    s = np.tile(np.arange(CELLS), BLOCKS)

    def refit(model: GroupModel) -> pd.DataFrame:
        table = fit_cells(values[model.sessions], model.design, model.contrasts)
        cell = table["cell"].to_numpy()
        place = {"bundle": bundle[cell], "s": s[cell], "scalar": "fa", "x_mm": 0.0, "y_mm": 0.0, "z_mm": 0.0}
        return table.assign(**place)

    return refit


def noise(table: pd.DataFrame, seed: int = 2) -> np.ndarray:
    """Smooth noise and a site effect."""
    rng = np.random.default_rng(seed)
    raw = rng.normal(size=(len(table), BLOCKS * CELLS + 2))
    site = rng.normal(0, 0.5, 5)[pd.Categorical(table["site"]).codes]
    return (raw[:, :-2] + raw[:, 1:-1] + raw[:, 2:]) / 3**0.5 + site[:, None]


@pytest.mark.parametrize("decision", [{}, {"mode": "fdr"}, {"combination": "bonferroni"}], ids=["hfdr", "fdr", "bonf"])
def test_on_noise_the_realised_rates_are_nominal(decision):
    table = people()
    model = model_of("value ~ group + age + (1|site)", table)
    refit = refitting(noise(table))
    found = calibrate(settings(200, **decision), model, refit(model), refit, NoEvidence())
    assert list(found.columns) == names(CALIBRATION)
    assert found["contrast"].tolist() == ["group", "age"]
    assert (found["exchanged"] == "within site").all()
    assert (found["n_shuffles"] == 200).all()
    assert found["rate_p05"].between(0.03, 0.07).all()
    assert (found["rate_any_cell"] <= 0.05 + 3 * 0.05 * (0.95 / 0.05 / 200) ** 0.5).all()
    if decision.get("mode") == "fdr":
        assert found["alpha_block"].isna().all()
    else:
        assert (found["rate_any_block"] >= found["rate_cell"]).all()


def test_a_test_that_is_too_liberal_is_caught():
    """Site-level differences that the model ignores: people of a site are alike, and sites are exchanged as wholes."""
    table = people().assign(group=lambda t: np.where(t["site"].isin(["s0", "s1"]), "patient", "control"))
    rng = np.random.default_rng(3)
    values = noise(table) + rng.normal(0, 2, (5, 1))[pd.Categorical(table["site"]).codes]
    model = model_of("value ~ group", table)
    refit = refitting(values)
    base = settings(60)
    by_site = replace(base.decision.permutation, whole="site")
    found = calibrate(
        replace(base, decision=replace(base.decision, permutation=by_site)), model, refit(model), refit, NoEvidence()
    )
    assert found["exchanged"].tolist() == ["all rows of a site together"]
    assert found["rate_p05"].item() > 0.3
    assert found["rate_any_block"].item() > 0.3


def test_the_shuffle_moves_what_is_tested_and_nothing_else():
    table = people().assign(gap=1.0)
    model = model_of("value ~ group + age", table)
    index = np.random.default_rng(0).permutation(len(table))
    other = _shuffled(model, model.contrasts[0], index)
    columns = list(model.design.columns)
    group, age = columns.index("group[T.patient]"), columns.index("age")
    np.testing.assert_array_equal(other.design.X[:, group], model.design.X[index, group])
    np.testing.assert_array_equal(other.design.X[:, age], model.design.X[:, age])
    assert other.contrasts == model.contrasts[:1]
    assert other.joined["group"].tolist() == table["group"].iloc[index].tolist()  # what ComBat keeps
    assert other.joined["age"].tolist() == table["age"].tolist()
    (factor,) = other.design.factors
    np.testing.assert_array_equal(factor.codes, model.design.factors[0].codes[index])


def test_a_variable_of_terms_that_are_not_tested_stays_with_its_rows():
    model = model_of("value ~ group * age", people())
    (interaction,) = [c for c in model.contrasts if ":" in c.name]
    other = _shuffled(model, interaction, np.arange(40)[::-1])
    assert other.joined["group"].tolist() == model.joined["group"].tolist()
    assert other.joined["age"].tolist() == model.joined["age"].tolist()


def test_shuffles_that_cannot_be_fitted_are_left_out_and_none_at_all_is_an_error():
    table = people()
    model = model_of("value ~ group", table)
    refit = refitting(noise(table))
    fits = refit(model)
    calls = iter(range(1000))

    def every_third(other: GroupModel) -> pd.DataFrame:
        if next(calls) % 3 == 0:
            raise DesignError("by chance collinear")
        return refit(other)

    assert calibrate(settings(30), model, fits, every_third, NoEvidence())["n_shuffles"].tolist() == [20]

    def never(other: GroupModel) -> pd.DataFrame:
        raise DesignError("by chance collinear")

    with pytest.raises(DesignError, match="collinear"):
        calibrate(settings(30), model, fits, never, NoEvidence())


def test_the_shuffles_are_decided_as_the_results_are():
    """With the identity as the only shuffle, the rates are those of the results themselves."""
    table = people()
    values = noise(table)
    values[:, :6] += 3 * (table["group"] == "patient").to_numpy()[:, None]
    model = model_of("value ~ group", table)
    refit = refitting(values)
    fits = refit(model)
    found = calibrate(settings(20), model, fits, lambda other: fits, NoEvidence())
    main = decide(fits, DecisionSettings())
    assert found["rate_any_block"].item() == float(main.blocks["selected"].any()) == 1.0
    hit = main.stats.groupby("bundle")["rejected"].any()[main.blocks.loc[main.blocks["selected"], "block"]]
    assert found["rate_cell"].item() == hit.mean()
