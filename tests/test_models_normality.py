"""Normality of residuals."""

from __future__ import annotations

import numpy as np
from scipy import stats

from spectra_bids.models.normality import normality


def test_it_is_scipys_where_nothing_is_missing():
    e = np.random.default_rng(1).gamma(3, size=(40, 5))
    found = normality(e)
    np.testing.assert_allclose(found.skewness, stats.skew(e))
    np.testing.assert_allclose(found.kurtosis, stats.kurtosis(e))
    np.testing.assert_allclose(found.p, stats.jarque_bera(e, axis=0).pvalue)


def test_missing_values_are_left_out_cell_by_cell():
    e = np.random.default_rng(2).normal(size=(40, 3))
    e[:9, 1] = np.nan
    found = normality(e)
    np.testing.assert_allclose(found.p[1], stats.jarque_bera(e[9:, 1]).pvalue)
    np.testing.assert_allclose(found.p[2], stats.jarque_bera(e[:, 2]).pvalue)


def test_too_few_and_constant_residuals_have_none():
    e = np.full((20, 2), 0.5)
    e[7:, 0] = np.nan
    assert np.isnan(normality(e).p).all()


def test_a_single_absurd_value_stands_out():
    e = np.random.default_rng(3).normal(size=(60, 2))
    e[5, 1] = 9.0
    found = normality(e)
    assert found.p[0] > 0.01
    assert found.p[1] < 1e-10
