"""Detectable effects beside statsmodels; realised thresholds by hand; realised error rates of shuffles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import TTestIndPower, TTestPower
from strategies import p_values

from spectra_bids.inference import cell_thresholds, detectable_effect, error_rates, fdr, hierarchical_fdr

# statsmodels


@pytest.mark.parametrize(("n1", "n2"), [(30, 30), (12, 40), (4, 5)])
@pytest.mark.parametrize("alpha", [0.5, 0.05, 1e-3])  # at 1e-6 its noncentral t gives NaN
@pytest.mark.parametrize("power", [0.8, 0.95])
def test_statsmodels_gives_an_effect_between_two_groups_the_power_it_was_computed_for(n1, n2, alpha, power):
    se = np.sqrt(1 / n1 + 1 / n2)  # of the difference, in standard deviations
    found = detectable_effect(np.array([se]), np.array([n1 + n2 - 2.0]), alpha, power)[0]
    assert TTestIndPower().power(found, n1, alpha, n2 / n1) == pytest.approx(power, abs=1e-6)


def test_one_group_needs_the_effect_that_statsmodels_says():
    expected = TTestPower().solve_power(nobs=25, alpha=0.01, power=0.8)
    assert detectable_effect(np.array([0.2]), np.array([24.0]), 0.01)[0] == pytest.approx(expected, rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.floats(1, 500), st.floats(-9, np.log10(0.3)), st.floats(1e-6, 1e3))
def test_an_effect_of_that_size_is_found_four_times_in_five(df, log_p, se):
    p = 10**log_p
    effect = detectable_effect(np.array([se]), np.array([df]), p)[0]
    delta, critical = effect / se, stats.t.isf(p / 2, df)
    # (Z + δ) / √(χ²/df) beyond the critical value, averaged over χ²: SciPy's noncentral t gives NaN here and there
    root = np.sqrt(stats.chi2.ppf((np.arange(20000) + 0.5) / 20000, df) / df)
    power = (stats.norm.sf(critical * root - delta) + stats.norm.cdf(-critical * root - delta)).mean()
    assert power == pytest.approx(0.8, abs=1e-3)


def test_missing_inputs_have_no_effect_and_shapes_are_kept():
    found = detectable_effect(
        np.array([1.0, np.nan, 1, 1]), np.array([20, 20, np.nan, 20.0]), np.array([0.05, 0.05, 0.05, np.nan])
    )
    assert np.isfinite(found).tolist() == [True, False, False, False]


# Thresholds


def test_the_threshold_over_all_cells_is_the_largest_rejected_p_or_that_of_a_first_rejection():
    p, blocks = np.array([0.001, 0.01, 0.3, 0.9, np.nan]), np.array(list("AABBB"))
    found = cell_thresholds(p, blocks, fdr(p, blocks), 0.05)
    np.testing.assert_allclose(found, [0.01, 0.01, 0.01, 0.01, np.nan])
    none = np.array([0.2, 0.3, 0.4, 0.9, np.nan])
    np.testing.assert_allclose(cell_thresholds(none, blocks, fdr(none, blocks), 0.05)[:4], 0.0125)


@settings(max_examples=80, deadline=None)
@given(p_values(nan=False), st.data())
def test_one_cell_at_the_threshold_of_its_unselected_block_would_have_been_the_first(p, data):
    blocks = np.array(data.draw(st.lists(st.sampled_from("ABC"), min_size=len(p), max_size=len(p))))
    found = hierarchical_fdr(p, blocks, 0.05, 0.2)
    cut = cell_thresholds(p, blocks, found, 0.2, 0.05)
    for name, selected in zip(found.blocks, found.selected, strict=True):
        rows = np.flatnonzero(blocks == name)
        if selected:
            hits = rows[found.rejected[0, rows]]
            assert cut[rows[0]] == p[hits].max()
            continue
        others = np.where(found.block_selected, p, 1.0)  # what is selected stays, everything else is at its largest
        others[rows[0]] = cut[rows[0]] * (1 - 1e-9)
        assert hierarchical_fdr(others, blocks, 0.05, 0.2).rejected[0, rows[0]]
        others[rows[0]] = cut[rows[0]] * (1 + 1e-6)
        assert not hierarchical_fdr(others, blocks, 0.05, 0.2).rejected[0, rows[0]]


def test_a_block_selected_without_a_rejection_waits_for_its_first():
    p = np.array([0.04, 0.045, 0.048, 0.049, 0.9])
    blocks = np.array(list("AAAAB"))
    found = hierarchical_fdr(p, blocks, 0.2, 0.02)
    assert found.selected.tolist() == [True, False]
    assert not found.rejected.any()
    np.testing.assert_allclose(cell_thresholds(p, blocks, found, 0.02, 0.2), [0.02 / 8] * 4 + [0.02])


# Calibration


def test_uniform_p_values_give_the_nominal_rates_within_their_errors():
    rng = np.random.default_rng(0)
    blocks = np.repeat(np.arange(10), 20)
    rates = error_rates(rng.random((2000, 200)), blocks, lambda p, b: hierarchical_fdr(p, b, 0.05, (0.05, 0.25)))
    assert rates.n == 2000
    assert rates.any_block.value == pytest.approx(0.05, abs=4 * rates.any_block.se)
    assert rates.any_block.se == pytest.approx(np.sqrt(0.05 * 0.95 / 2000), rel=0.2)
    assert rates.p.value == pytest.approx(0.05, abs=4 * rates.p.se)
    # under Simes a selected null block has a rejected cell, all of them false
    assert rates.cell[0].value == rates.any_block.value
    assert rates.any_cell[0] == rates.any_block
    assert rates.cell[1].value == rates.any_block.value


def test_p_values_that_are_too_small_are_told():
    rng = np.random.default_rng(1)
    rates = error_rates(rng.random((300, 50)) ** 2, np.repeat([0, 1], 25), lambda p, b: fdr(p, b))
    assert rates.p.value > 0.15
    assert rates.any_block.value > 0.3


def test_rates_by_hand():
    shuffles = np.array([[0.001, 0.5, 0.9, np.nan], [0.6, 0.5, 0.9, 0.7]])
    rates = error_rates(shuffles, np.array(list("AABB")), lambda p, b: hierarchical_fdr(p, b))
    assert (rates.any_block.value, rates.any_block.se) == (0.5, 0.5)
    assert rates.p.value == pytest.approx((1 / 3 + 0) / 2)
    assert np.isnan(error_rates(shuffles[:1], np.array(list("AABB")), fdr).any_block.se)
    with pytest.raises(ValueError, match="at least one shuffle"):
        error_rates([], np.array([]), fdr)
