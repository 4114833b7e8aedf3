"""group.fit and group.batches: what is fitted is what was measured, harmonised where asked, and what is left of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from test_group_calibrate import model_of, people

from spectra_bids.group.batches import KEYS, harmonize, harmonized, notes_on_batches, removed
from spectra_bids.group.fit import row_sizes
from spectra_bids.models.harmonize import combat
from spectra_bids.settings import FitSettings, HarmonizeSettings


def combat_of(*covariates: str, reference: str = "") -> FitSettings:
    return FitSettings(harmonize=HarmonizeSettings("site", covariates, reference))


def measured(table: pd.DataFrame, cells: int = 8) -> np.ndarray:
    rng = np.random.default_rng(4)
    site = pd.Categorical(table["site"]).codes
    values = rng.normal(size=(len(table), cells)) * (1 + 0.3 * site)[:, None] + 2.0 * site[:, None]
    values[3, 2] = np.nan
    return values


def test_without_harmonize_the_values_are_those_measured():
    table = people()
    values = measured(table)
    assert harmonize(FitSettings(), model_of("value ~ group", table), values) is None
    assert harmonized(FitSettings(), model_of("value ~ group", table), values) is values


def test_combat_is_given_the_batch_the_covariates_and_the_reference():
    table = people()
    values = measured(table)
    model = model_of("value ~ group + age", table)
    patient = (table["group"] == "patient").to_numpy(float)
    kept = combat(values, table["site"].to_numpy(str), np.column_stack([patient, table["age"]]))
    np.testing.assert_allclose(harmonized(combat_of("group", "age"), model, values), kept.values)
    controls = combat(values, table["site"].to_numpy(str), table["age"].to_numpy()[:, None], patient == 0)
    found = harmonized(combat_of("age", reference="group=control"), model, values)
    np.testing.assert_allclose(found, controls.values)


def test_what_was_removed_is_said_in_units_and_in_standard_deviations():
    table = people()
    values = np.c_[np.full(len(table), 1.0), np.full(len(table), np.nan), measured(table)]
    found = harmonize(combat_of(), model_of("value ~ group", table), values)
    assert found is not None
    rows = removed("fa", found)
    assert [row["Batch"] for row in rows] == [f"s{k}" for k in range(5)]
    for b, row in enumerate(rows):
        assert list(row) == list(KEYS)
        assert row["N"] == 8
        assert (row["Cells"], row["CellsLeftOut"]) == (8, 1)  # the constant cell; that without values is in neither
        assert row["MedianShift"] == pytest.approx(np.median(np.abs(found.shift[b, 2:])), rel=1e-5)
        shift_sd = np.abs(found.shift[b, 2:]) / np.nanstd(found.values[:, 2:], axis=0)
        assert row["MedianShiftSD"] == pytest.approx(np.median(shift_sd), rel=1e-5)
        assert row["MedianScale"] == pytest.approx(np.median(found.scale[b, 2:]), rel=1e-5)
    scales = [float(str(row["MedianScale"])) for row in rows]
    assert scales[0] < scales[4]


def test_the_notes_say_what_combat_and_the_model_do_to_each_other():
    table = people(200)
    assert notes_on_batches(FitSettings(), model_of("value ~ group + (1|site)", table)) == ()
    assert notes_on_batches(combat_of("group", "age"), model_of("value ~ group + age", table)) == ()
    (both,) = notes_on_batches(combat_of("group"), model_of("value ~ group + (1|site)", table))
    assert "both the batch that ComBat removed and a random effect" in both
    (term,) = notes_on_batches(combat_of(), model_of("value ~ site", table))
    assert "a term of the model" in term
    (lost,) = notes_on_batches(combat_of("age"), model_of("value ~ group + age", table))
    assert "did not keep the effects of group" in lost
    assert "--harmonize-covariates group age" in lost
    (few,) = notes_on_batches(combat_of("group"), model_of("value ~ group", people(40)))
    assert "5 levels of site from 40 rows" in few


def test_row_sizes_are_root_mean_squares_in_units_of_the_cell():
    """Two cells of different scale: a row twice as large as the others in both, one without values, one of one cell."""
    e = np.array([[2.0, 20.0], [1.0, -10.0], [-1.0, 10.0], [np.nan, np.nan], [np.nan, 10.0]])
    sizes = row_sizes(e)
    assert np.isnan(sizes[3])
    unit = np.array([np.sqrt(6 / 3), np.sqrt(700 / 4)])
    np.testing.assert_allclose(sizes[0], np.sqrt(((e[0] / unit) ** 2).mean()), rtol=1e-6)
    np.testing.assert_allclose(sizes[4], 10 / unit[1], rtol=1e-6)
    assert sizes[0] == pytest.approx(2 * sizes[1], rel=1e-6)
