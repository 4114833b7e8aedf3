"""group.sensitivity: what one site carries is lost without it; the main row is the main result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_group_calibrate import NoEvidence, model_of, noise, people, refitting

from spectra_bids.columns import SENSITIVITY, names
from spectra_bids.group.decide import decide
from spectra_bids.group.sensitivity import sensitivity, site_columns
from spectra_bids.settings import DecisionSettings, FitSettings, GroupSettings, HarmonizeSettings, RunSettings

FORMULA = "value ~ group + age + (1|site)"


def settings(formula: str = FORMULA, **options) -> GroupSettings:
    return GroupSettings(RunSettings(Path("in"), Path("out")), formula, sensitivity=True, **options)


def run(values: np.ndarray, table: pd.DataFrame, formula: str = FORMULA):
    model = model_of(formula, table)
    refit = refitting(values)
    fits = refit(model)
    return fits, sensitivity(settings(formula), model, fits, refit, NoEvidence())


@pytest.fixture(scope="module")
def carried():
    """Five sites; patients of s2 alone are lower, and by much, in half of the first bundle."""
    table = people(60)
    values = noise(table)
    values[:, :6] -= 6 * ((table["group"] == "patient") & (table["site"] == "s2")).to_numpy()[:, None]
    values[:, 30:36] -= 2.5 * (table["group"] == "patient").to_numpy()[:, None]
    return run(values, table)


def test_the_first_row_is_the_main_result(carried):
    fits, found = carried
    main = decide(fits, DecisionSettings())
    assert list(found.columns) == names(SENSITIVITY)
    rows = found[found["variant"] == "as it is"]
    for key in ("n_valid", "n_selected", "n_rejected"):
        assert rows[key].tolist() == main.summary[key].tolist()
    assert (rows["n_kept"] == rows["n_rejected"]).all()
    assert rows[["n_lost", "n_gained", "n_sign_changes"]].eq(0).all(axis=None)
    assert rows["estimate_ratio"].dropna().eq(1).all()


def test_every_site_is_left_out_once_and_what_it_carried_is_lost(carried):
    fits, found = carried
    group = found[found["contrast"] == "group"].set_index("variant")
    sites = [v for v in group.index if v.startswith("without ")]
    assert sites == [f"without site s{k}" for k in range(5)]
    assert group.loc[sites, "n"].eq(48).all()
    assert group["note"].isna().all()
    main = decide(fits, DecisionSettings()).stats.query("contrast == 'group' and rejected")
    carried_cells = int(((main["bundle"] == "B0") & (main["s"] < 6)).sum())
    assert carried_cells > 0
    assert group.loc["without site s2", "n_lost"] >= carried_cells
    assert group.loc["without site s0", "n_lost"] < carried_cells


def test_the_ratio_of_estimates_shows_how_much_one_site_carries():
    """Patients are lower by 0.3, at s2 by 0.9: by 0.42 over five equal sites, 0.3 without s2, 0.45 without another."""
    table = people(60)
    patient = (table["group"] == "patient").to_numpy(float)
    values = noise(table) * 0.01
    values[:, :6] -= (patient * np.where(table["site"] == "s2", 0.9, 0.3))[:, None]
    values[:, 6:] *= 100
    _, found = run(values, table, "value ~ group")
    group = found[found["contrast"] == "group"].set_index("variant")
    assert group.loc["as it is", "n_rejected"] == 6
    assert group.loc["without site s2", "estimate_ratio"] == pytest.approx(0.3 / 0.42, abs=0.02)
    assert group.loc["without site s0", "estimate_ratio"] == pytest.approx(0.45 / 0.42, abs=0.02)
    assert group["n_sign_changes"].eq(0).all()


def test_more_people_asked_of_a_cell_takes_cells_away_without_new_fits():
    table = people(60)
    values = noise(table)
    values[:25, :12] = np.nan
    calls = []
    model = model_of("value ~ group + age", table.drop(columns="site"))
    inner = refitting(values)
    fits = inner(model)

    def refit(other):
        calls.append(other)
        return inner(other)

    found = sensitivity(settings("value ~ group + age"), model, fits, refit, NoEvidence())
    assert calls == []
    group = found[found["contrast"] == "group"].set_index("variant")
    assert list(group.index) == ["as it is", "cells with n >= 45", "cells with n >= 54", "cells with n >= 60"]
    assert group["n_valid"].tolist() == [60, 48, 48, 48]


def test_a_variant_that_cannot_be_fitted_says_why():
    """Patients are at one site alone: without it there is no group to compare."""
    table = people(40)
    table["group"] = np.where(table["site"] == "s1", "patient", "control")
    _, found = run(noise(table), table, "value ~ group + age")
    without = found[found["variant"] == "without site s1"]
    assert without["note"].notna().all()
    assert without[["n_valid", "n_rejected", "n_kept"]].isna().all(axis=None)
    assert found.loc[found["variant"] == "without site s2", "note"].isna().all()


def test_sites_are_random_factors_batches_or_a_column_of_that_name():
    table = people(40).assign(scanner=lambda t: np.where(t["site"] < "s2", "a", "b"), one="x")
    assert site_columns(settings(), model_of(FORMULA, table)) == ["site"]
    model = model_of("value ~ group + (1|scanner)", table)
    assert site_columns(settings(), model) == ["scanner", "site"]
    batch = settings(fitting=FitSettings(harmonize=HarmonizeSettings("scanner")))
    assert site_columns(batch, model_of("value ~ group", table.drop(columns="site"))) == ["scanner"]
    assert site_columns(settings(), model_of("value ~ group", table.drop(columns="site"))) == []
