"""ComBat: what it refuses, the published programs' values, what must and must not move."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from spectra_bids.errors import DesignError
from spectra_bids.models.harmonize import combat

REFERENCE = Path(__file__).parent / "reference" / "combat.json"


def made() -> tuple[np.ndarray, list[str], np.ndarray, np.ndarray]:
    """The data of reference/combat.py: values (n, C), site, covariates (n, 2), who is a control."""
    rng = np.random.default_rng(11)
    site = np.repeat(["a", "b", "c"], [9, 7, 8])
    covariates = np.column_stack([rng.normal(60, 8, 24), rng.integers(0, 2, 24)]).astype(np.float32).astype(float)
    code = np.searchsorted(["a", "b", "c"], site)
    noise = rng.normal(size=(24, 6)) * np.array([1.0, 1.6, 0.7])[code, None]
    values = 0.45 + 0.002 * (covariates[:, [0]] - 60) + 0.02 * noise + np.array([0.03, -0.02, 0.0])[code, None]
    return values, list(site), covariates, np.arange(24) % 3 != 1


def cohort(
    seed: int = 0, cells: int = 40, scale: tuple[float, ...] = (1.5, 0.7, 1, 1)
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Values with planted shifts and scales of four sites, the sites, an age, and the values without the sites."""
    n = 240
    rng = np.random.default_rng(seed)
    code = rng.integers(0, 4, n)
    age = rng.normal(60, 10, n) + 3 * code  # sites differ in age as well: it must not be taken for a site effect
    noise = 0.03 * rng.normal(size=(n, cells))
    clean = 0.4 - 0.002 * (age[:, None] - 60) + noise
    planted = np.array([0.06, -0.04, 0.0, 0.02])[code, None] + noise * (np.array(scale)[code, None] - 1)
    return clean + planted, np.array(list("abcd"))[code], age, clean


def spread_of_sites(values: np.ndarray, site: np.ndarray, age: np.ndarray) -> float:
    """Root mean square of site means of the residuals on age, over cells."""
    x = np.column_stack([np.ones(len(age)), age])
    sites = (site[:, None] == np.unique(site)).astype(float)
    inside = values - sites @ np.linalg.lstsq(sites, values, rcond=None)[0]
    age_inside = age - sites @ np.linalg.lstsq(sites, age, rcond=None)[0]
    slope = age_inside @ inside / (age_inside @ age_inside)
    residual = values - x[:, 1:] * slope
    means = np.array([residual[site == s].mean(axis=0) for s in np.unique(site)])
    return float(np.sqrt((means - means.mean(axis=0)).var(axis=0).mean()))


# --- validation -----------------------------------------------------------------------------------------------------


def test_one_batch_is_refused():
    with pytest.raises(DesignError, match="two batches"):
        combat(np.ones((5, 2)), ["a"] * 5)


def test_a_batch_of_one_person_is_refused_by_name():
    with pytest.raises(DesignError, match=r"two people or more of every batch.*Got lonely \(1\)"):
        combat(np.random.default_rng(0).normal(size=(6, 3)), ["a"] * 3 + ["b"] * 2 + ["lonely"])


def test_a_batch_without_people_of_the_reference_group_is_refused():
    values, site, covariates, control = made()
    with pytest.raises(DesignError, match=r"b \(0\)"):
        combat(values, site, covariates, control & (np.array(site) != "b"))


def test_a_covariate_that_defines_the_reference_group_is_refused_by_name():
    values, site, covariates, control = made()
    with pytest.raises(DesignError, match="covariate 'group'"):
        combat(values, site, np.column_stack([covariates, control]), control, ["age", "sex", "group"])


def test_a_covariate_that_the_batches_make_up_is_refused():
    values, site, covariates, _ = made()
    field = (np.array(site) == "a").astype(float)
    with pytest.raises(DesignError, match="covariate 'field'"):
        combat(values, site, np.column_stack([covariates[:, 0], field]), names=["age", "field"])


def test_an_incomplete_covariate_is_refused():
    values, site, covariates, _ = made()
    covariates[4, 1] = np.nan
    with pytest.raises(DesignError, match="covariate 'sex' has n/a"):
        combat(values, site, covariates, names=["age", "sex"])


# --- the published programs' values ---------------------------------------------------------------------------------


def test_complete_data_give_neurocombat_s_values():
    # reference/combat.py: neuroCombat 0.2.12
    values, site, covariates, _ = made()
    stored = json.loads(REFERENCE.read_text())
    found = combat(values, site, covariates)
    np.testing.assert_allclose(found.values, stored["whole"], rtol=1e-10)
    np.testing.assert_allclose(found.scale**2, stored["delta_star"], rtol=1e-8)
    assert found.batches == ("a", "b", "c")
    assert found.n.tolist() == [9, 7, 8]


def test_a_fit_to_controls_gives_neuroharmonize_s_values_for_everybody():
    # reference/combat.py: neuroHarmonize 2.5.2, harmonizationLearn on the controls, harmonizationApply to all
    values, site, covariates, control = made()
    found = combat(values, site, covariates, control)
    np.testing.assert_allclose(found.values, json.loads(REFERENCE.read_text())["by_controls"], rtol=1e-10)


# --- properties -----------------------------------------------------------------------------------------------------


def test_a_planted_site_effect_goes_and_the_slope_of_age_stays():
    values, site, age, clean = cohort()
    found = combat(values, site, age[:, None]).values
    before, after, never = (spread_of_sites(v, site, age) for v in (values, found, clean))
    assert after < never < 0.1 * before
    slopes = [np.polyfit(age, v, 1)[0].mean() for v in (found, clean, values)]
    assert slopes[0] == pytest.approx(slopes[1], rel=0.03)
    assert abs(slopes[2] - slopes[1]) > 0.05 * abs(slopes[1])  # as measured, site and age are confounded
    deviations = [found[site == s].std(axis=0).mean() for s in np.unique(site)]
    assert max(deviations) < 1.15 * min(deviations)


def test_the_difference_of_patients_is_kept_by_a_fit_to_controls():
    values, site, age, _ = cohort(scale=(1, 1, 1, 1))
    patient = np.random.default_rng(1).random(len(age)) < np.where(site == "a", 0.7, 0.2)
    ill = values - 0.05 * patient[:, None]
    found = combat(ill, site, age[:, None], ~patient).values
    x = np.column_stack([np.ones(len(age)), patient, age])
    assert np.linalg.lstsq(x, found, rcond=None)[0][1].mean() == pytest.approx(-0.05, abs=0.005)


def test_missing_values_stay_missing_and_the_other_cells_hardly_move():
    values, site, age, _ = cohort(cells=60)
    holes = values.copy()
    holes[np.random.default_rng(2).random(values.shape) < 0.2] = np.nan
    whole, found = (combat(v, site, age[:, None]).values for v in (values, holes))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(holes))
    there = np.isfinite(found)
    assert np.sqrt(np.mean((found - whole)[there] ** 2)) < 0.2 * np.sqrt(np.mean((values - whole)[there] ** 2))


def test_a_cell_that_is_missing_changes_no_other_cell():
    values, site, covariates, _ = made()
    padded = combat(np.column_stack([values, np.full(len(values), np.nan)]), site, covariates)
    np.testing.assert_allclose(padded.values[:, :-1], combat(values, site, covariates).values, rtol=1e-12)
    assert np.isnan(padded.values[:, -1]).all()
    assert not padded.left_out.any()


def test_units_and_the_order_of_people_do_not_matter():
    values, site, covariates, control = made()
    order = np.random.default_rng(3).permutation(len(values))
    found = combat(values, site, covariates, control).values
    turned = combat(1e-3 * values[order] - 7, np.array(site)[order], 5 * covariates[order] + 2, control[order]).values
    np.testing.assert_allclose(turned, 1e-3 * found[order] - 7, rtol=1e-9)


# --- edge cases -----------------------------------------------------------------------------------------------------


def test_a_constant_cell_and_one_with_too_few_values_are_left_out():
    values, site, covariates, _ = made()
    values = values.copy()
    values[:, 1] = 0.3
    values[3:, 2] = np.nan
    found = combat(values, site, covariates)
    assert found.left_out.tolist() == [False, True, True, False, False, False]
    assert np.isnan(found.values[:, 1:3]).all()
    assert np.isfinite(np.delete(found.values, [1, 2], axis=1)).all()


def test_a_batch_absent_from_a_cell_has_its_shift_from_the_other_cells():
    values, site, age, _ = cohort()
    control = np.random.default_rng(4).random(len(age)) < 0.5
    holes = values.copy()
    holes[np.ix_(control & (site == "a"), [0])] = np.nan  # only patients of site a have this cell
    found = combat(holes, site, age[:, None], control)
    assert np.isfinite(found.values[(site == "a") & ~control, 0]).all()
    assert found.shift[0, 0] == pytest.approx(found.shift[0, 1:].mean(), rel=0.3)


def test_one_cell_alone_is_centred_and_scaled_without_a_prior():
    values, site, _, _ = made()
    found = combat(values[:, :1], site).values[:, 0]
    means = [found[np.array(site) == s].mean() for s in "abc"]
    assert means == pytest.approx([means[0]] * 3, rel=1e-9)


def test_arguments_are_not_changed():
    values, site, covariates, control = made()
    before = (values.copy(), covariates.copy(), control.copy())
    combat(values, site, covariates, control)
    for now, then in zip((values, covariates, control), before, strict=True):
        np.testing.assert_array_equal(now, then)
