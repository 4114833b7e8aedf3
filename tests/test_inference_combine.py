"""Combination of p values: refusals, worked numbers, R's GATES, properties, limits of independence and dependence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from strategies import p_values, seeds

from spectra_bids.errors import UsageError
from spectra_bids.inference import (
    acat,
    bonferroni,
    combine,
    effective_tests,
    gates,
    hierarchical_fdr,
    minp_galwey,
    simes,
    tree_fdr,
)


def decaying(n: int, rho: float) -> np.ndarray:
    """Correlation rho^|i - j|."""
    return rho ** np.abs(np.subtract.outer(np.arange(n), np.arange(n)))


def spatial_null(rng: np.random.Generator, n: int, rho: float, runs: int) -> np.ndarray:
    """Two-sided p values of correlated normal statistics, (runs, n)."""
    z = rng.standard_normal((runs, n)) @ np.linalg.cholesky(decaying(n, rho)).T
    return 2 * stats.norm.sf(np.abs(z))


# Refusals


@pytest.mark.parametrize(
    ("method", "sizes"),
    [("fisher", ".156/.228/.285"), ("stouffer", ".171/.254/.364"), ("simes-meff", ".073/.069/.127")],
)
def test_a_combination_that_takes_cells_for_independent_is_refused_with_its_size(method, sizes):
    for call in (
        lambda: combine(np.array([0.1, 0.2]), method),
        lambda: hierarchical_fdr(np.array([0.1]), np.array(["A"]), combination=method),
        lambda: tree_fdr(np.array([0.1]), (np.array(["A"]),), (0.05,), combination=method),
    ):
        with pytest.raises(UsageError, match="independent") as caught:
            call()
        assert sizes in str(caught.value)
        assert "simes, acat, bonferroni, minp-galwey, gates" in caught.value.hint


def test_the_refused_ones_do_fail_on_correlated_cells_where_the_default_does_not():
    p = spatial_null(np.random.default_rng(0), 96, 0.8, 2000)
    for method, least in (("fisher", 0.15), ("stouffer", 0.15)):
        assert np.mean([stats.combine_pvalues(row, method).pvalue <= 0.05 for row in p]) > least
    assert np.mean([simes(row) <= 0.05 for row in p]) < 0.05


def test_an_unknown_combination_and_a_missing_or_wrong_correlation_are_errors():
    p = np.array([0.1, 0.2, np.nan])
    with pytest.raises(UsageError, match="no combination of p values called 'tippett'"):
        combine(p, "tippett")
    with pytest.raises(ValueError, match="needs the correlation"):
        combine(p, "gates")
    with pytest.raises(ValueError, match=r"must be \(3, 3\)"):
        combine(p, "minp-galwey", np.eye(2))


# Worked numbers and other programs


def test_simes_and_bonferroni_of_a_worked_example():
    p = np.array([0.03, 0.004, 0.2, 0.6, 0.011])
    assert simes(p) == pytest.approx(0.02)
    assert bonferroni(p) == pytest.approx(0.02)
    assert simes(np.array([0.02, 0.021, 0.022])) == pytest.approx(0.022)


def test_acat_is_the_upper_tail_of_the_mean_of_cauchy_scores():
    p = np.array([0.03, 0.004, 0.2, 0.6, 0.011])
    score = np.mean(np.tan((0.5 - p) * np.pi))
    assert acat(p) == pytest.approx(stats.cauchy.sf(score), rel=1e-12)
    # scores tan(π/4) = 1 and tan(-π/4) = -1 cancel
    assert acat(np.array([0.25, 0.75])) == pytest.approx(0.5)


def test_acat_keeps_its_precision_where_the_tangent_has_none():
    # of two p values, one far below the other, twice the smaller is what is left
    assert acat(np.array([1e-30, 0.5])) == pytest.approx(2e-30, rel=1e-9)
    assert acat(np.array([1e-300, 1e-300])) == pytest.approx(1e-300, rel=1e-9)
    assert acat(np.array([0.0, 0.5])) == 0.0
    assert 0 < acat(np.array([1e-4, 1.0, 0.4])) < 1e-3  # a p of 1 does not outweigh the others


def test_galwey_effective_number_of_decaying_correlation():
    # R: e <- eigen(0.6^abs(outer(1:5, 1:5, "-")))$values; sum(sqrt(e))^2 / sum(e)      (20 cells with 0.8)
    assert effective_tests(decaying(5, 0.6)) == pytest.approx(4.18344845108407, rel=1e-12)
    assert effective_tests(decaying(20, 0.8)) == pytest.approx(12.0476682202497, rel=1e-12)
    p = np.array([0.03, 0.004, 0.2, 0.6, 0.011])
    assert minp_galwey(p, decaying(5, 0.6)) == pytest.approx(1 - 0.996**4.18344845108407, rel=1e-12)


@pytest.mark.parametrize(
    ("p", "correlation", "expected"),
    [
        ([0.03, 0.004, 0.2, 0.6, 0.011], decaying(5, 0.6), 0.0172503744984013),
        ([0.03, 0.004, 0.2, 0.6, 0.011], decaying(5, 0.95), 0.00850488855828639),
        ([0.02, 0.021, 0.022, 0.8], np.full((4, 4), 0.9) + 0.1 * np.eye(4), 0.0260369600017498),
    ],
)
def test_gates_is_that_of_the_r_package_combat(p, correlation, expected):
    # R package COMBAT: gates(x = c(.03, .004, .2, .6, .011), cor_G = 0.6^abs(outer(1:5, 1:5, "-"))), and so on
    assert gates(np.array(p), correlation) == pytest.approx(expected, rel=1e-10)


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 25), st.floats(0, 0.97))
def test_gates_leaves_out_no_subset_that_matters(seed, n, rho):
    rng = np.random.default_rng(seed)
    p, r = rng.random(n) ** rng.integers(1, 4), decaying(n, rho)
    order = np.argsort(p)
    r2 = r[np.ix_(order, order)]
    r2 = 0.2982 * r2**6 - 0.0127 * r2**5 + 0.0588 * r2**4 + 0.0099 * r2**3 + 0.6281 * r2**2 - 0.0009 * r2

    def effective(k: int) -> float:
        values = np.linalg.eigvalsh(r2[:k, :k])
        values = values[values > 0] * (k / values[values > 0].sum() if values.min() < 0 else 1)
        return k - sum(v - 1 for v in values if v > 1)

    every = [effective(n) * p[order[k - 1]] / effective(k) for k in range(1, n + 1)]
    assert gates(p, r) == pytest.approx(min(1.0, *every), rel=1e-9)


# Properties


@settings(max_examples=60, deadline=None)
@given(p_values())
def test_of_independent_cells_the_effective_number_is_their_count(p):
    n = int(np.isfinite(p).sum())
    eye = np.eye(len(p))
    found = {m: combine(p, m, eye) for m in ("simes", "acat", "bonferroni", "minp-galwey", "gates")}
    if n == 0:
        assert all(np.isnan(v) for v in found.values())
        return
    low = np.nanmin(p)
    assert all(0 <= v <= 1 for v in found.values())
    assert found["minp-galwey"] == pytest.approx(1 - (1 - low) ** n, abs=1e-12)
    assert found["simes"] <= found["bonferroni"]
    # Li's polynomial is .9823 rather than 1 at a correlation of 1; only what is off the diagonal counts here
    assert found["gates"] == pytest.approx(found["simes"], rel=0.02, abs=1e-300)


@settings(max_examples=40, deadline=None)
@given(p_values(), seeds, st.sampled_from(["simes", "acat", "bonferroni", "minp-galwey", "gates"]))
def test_order_and_missing_cells_do_not_matter(p, seed, method):
    r = decaying(len(p), 0.7)
    shuffle = np.random.default_rng(seed).permutation(len(p))
    keep = np.isfinite(p)
    expected = combine(p, method, r)
    np.testing.assert_allclose(combine(p[shuffle], method, r[np.ix_(shuffle, shuffle)]), expected, rtol=1e-9)
    np.testing.assert_allclose(combine(p[keep], method, r[np.ix_(keep, keep)]), expected, rtol=1e-12)


def test_identical_cells_count_once_for_galwey_and_gates():
    p = np.full(6, 0.03)
    assert minp_galwey(p, np.ones((6, 6))) == pytest.approx(0.03)
    assert gates(p, np.ones((6, 6))) == pytest.approx(0.03, rel=0.04)  # by Li's polynomial, .9823 at a correlation of 1


def test_one_cell_is_its_own_combination():
    for method in ("simes", "acat", "bonferroni", "minp-galwey", "gates"):
        assert combine(np.array([0.3]), method, np.eye(1)) == pytest.approx(0.3)


def test_a_correlation_that_could_not_be_computed_counts_as_none():
    r = np.array([[1, np.nan], [np.nan, 1]])
    assert effective_tests(r) == pytest.approx(2)


@pytest.mark.parametrize("method", ["simes", "acat", "bonferroni", "gates"])
def test_size_under_spatial_correlation_is_at_most_nominal(method):
    p = spatial_null(np.random.default_rng(1), 40, 0.8, 600)
    size = np.mean([combine(row, method, decaying(40, 0.8)) <= 0.05 for row in p])
    assert size <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 600)
