"""group.orientation: profiles the wrong way round are found, others not, and symmetric bundles are left open."""

from __future__ import annotations

import numpy as np
import pytest

from spectra_bids.group.orientation import audit


def cohort(n: int = 20, nodes: int = 25, noise: float = 0.02, seed: int = 0, slope: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    u = np.linspace(0, 1, nodes)
    return 0.4 + slope * u + 0.1 * np.sin(9 * u) + noise * rng.normal(size=(n, nodes)) + 0.03 * rng.normal(size=(n, 1))


def test_correlations_are_those_of_numpy_with_the_mean_of_the_others():
    x = cohort(8)
    x[2, :3] = np.nan
    found = audit(x)
    for k in range(8):
        mean = np.nanmean(np.delete(x, k, axis=0), axis=0)
        for got, other in ((found.r_cohort[k], mean), (found.r_reversed[k], mean[::-1])):
            both = np.isfinite(x[k]) & np.isfinite(other)
            np.testing.assert_allclose(got, np.corrcoef(x[k, both], other[both])[0, 1], rtol=1e-10)


@pytest.mark.parametrize("n", [8, 20, 300])
def test_flipped_profiles_are_found_and_nobody_else(n):
    x = cohort(n)
    x[[1, 4]] = x[[1, 4], ::-1]
    assert list(np.flatnonzero(audit(x).verdicts == "reversed")) == [1, 4]
    assert set(audit(x).verdicts) == {"as_cohort", "reversed"}


def test_a_third_of_flipped_profiles_is_found():
    x = cohort(60)
    x[:20] = x[:20, ::-1]
    assert list(np.flatnonzero(audit(x).verdicts == "reversed")) == list(range(20))


@pytest.mark.parametrize("noise", [0.02, 0.1, 0.3])
def test_noise_is_not_called_a_flip(noise):
    for seed in range(20):
        assert "reversed" not in audit(cohort(100, noise=noise, seed=seed)).verdicts


def test_a_symmetric_bundle_cannot_tell():
    u = np.linspace(-1, 1, 25)
    x = 0.5 - 0.2 * u**2 + 0.02 * np.random.default_rng(0).normal(size=(40, 25))
    assert set(audit(x).verdicts) == {"cannot_tell"}


def test_one_whose_reverse_wins_by_little_is_unclear():
    x = cohort(40, noise=0.005)
    u = np.linspace(0, 1, 25)
    x[0] = 0.5 - 0.02 * u + 0.2 * (u - 0.5) ** 2 + 0.1 * np.sin(9 * np.abs(u - 0.5))
    found = audit(x)
    assert -found.usual / 2 < found.r_cohort[0] - found.r_reversed[0] < 0
    assert found.verdicts[0] == "unclear"


def test_rejected_sessions_do_not_shape_the_mean():
    x = cohort(20)
    x[:9] = x[:9, ::-1]
    usable = np.arange(20) >= 9
    found, alone = audit(x, usable), audit(x[9:])
    np.testing.assert_allclose(found.r_cohort[9:], alone.r_cohort, rtol=1e-10)
    assert (found.verdicts[:9] == "reversed").all()


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        (np.full((10, 20), np.nan), "not_measured"),
        (np.full((10, 20), 0.3), "not_measured"),
        (cohort(10, nodes=4), "not_measured"),
        (cohort(1), "not_measured"),
        (cohort(5), "cannot_tell"),
    ],
    ids=["nothing", "constant", "four nodes", "one session", "five sessions"],
)
def test_where_nothing_can_be_said_nothing_is(values, verdict):
    assert set(audit(values).verdicts) == {verdict}
