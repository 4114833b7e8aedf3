"""Permutation tests: all relabellings by brute force, R's lm, least squares written out, nilearn, properties."""

from __future__ import annotations

import itertools
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel import Nifti1Image
from nilearn.maskers import NiftiMasker
from nilearn.mass_univariate import permuted_ols
from scipy import stats
from strategies import seeds

from spectra_bids.inference import Permutations, Spatial, draw_permutations, joint_maxima, reduce_maxima
from spectra_bids.models.lmm import fit_lmm
from spectra_bids.models.permutation import Scan, permutation_test

LINE = Spatial(np.arange(6))


def sites(seed: int = 0, n: int = 36, cells: int = 6, missing: float = 0.0, sd: float = 1.0):
    """y (n, cells), x (n, 4) with a group and two covariates, site (n,)."""
    rng = np.random.default_rng(seed)
    site = np.sort(rng.integers(0, 5, n))
    x = np.column_stack([np.ones(n), rng.permutation(np.arange(n) % 2), rng.normal(size=(n, 2))])
    y = rng.normal(size=(n, cells)) + sd * rng.normal(size=(5, cells))[site] + 0.5 * x[:, [2]]
    y[rng.random(y.shape) < missing] = np.nan
    return y, x, site


def literal(y, x, contrast, site, lam, index, signs=None):
    """T or F of one cell under one permutation, by matrices of n rows: V = I + λ ZZ', Freedman-Lane residuals."""
    rows = np.atleast_2d(contrast)
    seen = np.isfinite(y)
    k = len(rows)
    z = (site[:, None] == np.unique(site)).astype(float)

    def gls(design, values, keep):
        v = np.linalg.inv(np.eye(keep.sum()) + lam * z[keep] @ z[keep].T)
        a = design[keep].T @ v @ design[keep]
        return np.linalg.solve(a, design[keep].T @ v @ values[keep]), a, v

    free = np.linalg.svd(rows)[2][k:].T
    gamma, _, _ = gls(x @ free, y, seen)
    e = y - x @ free @ gamma
    star = e[index] * (1 if signs is None else signs)
    keep = seen[index]
    beta, a, v = gls(x, star, keep)
    rest = star[keep] - x[keep] @ beta
    sigma2 = rest @ v @ rest / (keep.sum() - x.shape[1])
    cov = sigma2 * rows @ np.linalg.inv(a) @ rows.T
    if k == 1:
        return (rows @ beta)[0] / np.sqrt(cov[0, 0])
    return (rows @ beta) @ np.linalg.solve(cov, rows @ beta) / k


def on_normal_scale(value, df, k):
    """What the engine makes of t (Wallace) and F (Paulson)."""
    if k == 1:
        return np.sign(value) * (8 * df + 1) / (8 * df + 3) * np.sqrt(df * np.log1p(value**2 / df))
    a, b = 2 / (9 * k), 2 / (9 * df)
    one_sided = ((1 - b) * value ** (1 / 3) - (1 - a)) / np.sqrt(b * value ** (2 / 3) + a)
    return stats.norm.isf(stats.norm.sf(one_sided) / 2)


# Validation


def test_permutations_of_other_rows_and_dependent_contrasts_are_errors():
    y, x, site = sites()
    with pytest.raises(ValueError, match=r"must be of the 36 rows of y\. Got 35"):
        permutation_test(y, x, np.eye(4)[1], draw_permutations(35, 9, 0), LINE, site)
    with pytest.raises(ValueError, match="linearly independent"):
        Scan(y, x, np.array([[0, 1, 0, 0], [0, 2, 0, 0]]), site)
    with pytest.raises(ValueError, match="disagree"):
        Scan(y, x, np.eye(3)[1], site)


# Least squares written out


@pytest.mark.parametrize("missing", [0, 0.1], ids=["complete", "missing"])
@pytest.mark.parametrize("k", [1, 2], ids=["t", "F"])
@pytest.mark.parametrize("scheme", ["within", "free", "signs", "no_site"])
def test_statistics_are_those_of_generalised_least_squares_written_out(missing, k, scheme):
    y, x, site = sites(1, missing=missing)
    contrast = np.array([0.0, 1, 0, 0]) if k == 1 else np.array([[0.0, 1, 0, 0], [0, 0, 1, -1]])
    drawn = draw_permutations(
        36, 7, 0, within=site if scheme == "within" else None, exchange=scheme != "signs", flip_signs=scheme == "signs"
    )
    scan = Scan(y, x, contrast, None if scheme == "no_site" else site)
    value, z = scan.observed()
    found = scan.permuted(drawn.index, drawn.signs)
    rows = np.isfinite(y).sum(axis=0)
    for c in range(y.shape[1]):
        lam = scan.ratio[c]
        assert (lam == 0) == (scheme == "no_site")
        assert value[c] == pytest.approx(literal(y[:, c], x, contrast, site, lam, np.arange(36)), rel=1e-8)
        assert z[c] == pytest.approx(on_normal_scale(value[c], rows[c] - 4, k), rel=1e-8)
        for b in range(7):
            signs = None if drawn.signs is None else drawn.signs[b]
            expected = literal(y[:, c], x, contrast, site, lam, drawn.index[b], signs)
            assert found[b, c] == pytest.approx(on_normal_scale(expected, rows[c] - 4, k), rel=1e-7, abs=1e-9)


def test_the_variance_ratio_is_that_of_the_reduced_model():
    y, x, site = sites(2)
    fit = fit_lmm(y, x[:, [0, 2, 3]], site)
    np.testing.assert_allclose(Scan(y, x, np.eye(4)[1], site).ratio, (fit.sd_random / fit.sd_residual) ** 2, rtol=1e-6)


def test_the_normal_scale_is_close_to_exact_quantiles():
    t = np.linspace(0.1, 6, 30)
    for df in (8, 30, 200):
        np.testing.assert_allclose(on_normal_scale(t, df, 1), stats.norm.isf(stats.t.sf(t, df)), rtol=0.01, atol=0.01)
    f = np.linspace(1, 12, 30)
    exact = stats.norm.isf(stats.f.sf(f, 3, 40) / 2)
    np.testing.assert_allclose(on_normal_scale(f, 40, 3), exact, rtol=0.02)


# All relabellings, R, nilearn


def test_over_all_relabellings_of_two_groups_p_is_the_exact_one():
    rng = np.random.default_rng(3)
    y = rng.normal(size=(8, 6))
    y[:4] += [0, 0.5, 1, 1.5, 2, 3]
    x = np.column_stack([np.ones(8), np.arange(8) < 4]).astype(float)
    index = np.array([[*a, *sorted(set(range(8)) - set(a))] for a in itertools.combinations(range(8), 4)])
    assert (index[0] == np.arange(8)).all()
    found = permutation_test(y, x, np.array([0.0, 1]), Permutations(index[1:], None, 1.8), LINE)
    t = np.array([stats.ttest_ind(y[i[:4]], y[i[4:]]).statistic for i in index])
    np.testing.assert_allclose(found.value, t[0], rtol=1e-10)
    np.testing.assert_allclose(found.p, (np.abs(t) >= np.abs(t[0]) * (1 - 1e-9)).mean(axis=0), rtol=1e-12)
    joint = reduce_maxima(found.z, found.size, found.mass, found.tfce, found.null)
    largest = np.abs(t).max(axis=1)
    np.testing.assert_allclose(joint.peak, (largest[:, None] >= np.abs(t[0]) * (1 - 1e-9)).mean(axis=0), rtol=1e-12)


@pytest.mark.r
def test_freedman_lane_by_r_lm_gives_the_same_t(rscript, tmp_path):
    y, x, _ = sites(4, n=20)
    drawn = draw_permutations(20, 15, 1)
    np.savetxt(tmp_path / "y.csv", y[:, :2], delimiter=",", fmt="%.17g")
    np.savetxt(tmp_path / "x.csv", x, delimiter=",", fmt="%.17g")
    np.savetxt(tmp_path / "i.csv", drawn.index + 1, delimiter=",", fmt="%d")
    script = """
    y <- as.matrix(read.csv("y.csv", header = FALSE)); x <- as.matrix(read.csv("x.csv", header = FALSE))
    i <- as.matrix(read.csv("i.csv", header = FALSE))
    for (b in 1:nrow(i)) { t <- sapply(1:ncol(y), function(c) { m <- lm(y[, c] ~ x[, c(1, 3, 4)] - 1)
      summary(lm(fitted(m) + residuals(m)[i[b, ]] ~ x - 1))$coefficients[2, 3] })
      cat(sprintf("%.15g", t), "\\n") }
    """
    (tmp_path / "fl.R").write_text(script)
    ran = subprocess.run([rscript, "fl.R"], cwd=tmp_path, capture_output=True, text=True, check=True)
    expected = np.array([[float(v) for v in line.split()] for line in ran.stdout.splitlines()])
    found = Scan(y[:, :2], x, np.eye(4)[1]).permuted(drawn.index)
    np.testing.assert_allclose(found, on_normal_scale(expected, 16, 1), rtol=1e-8)


def test_family_wise_p_of_nilearn_agree_within_the_error_of_the_permutations():
    # not of TFCE: its steps are parts of each map's own maximum, and it keeps the largest positive value alone
    rng = np.random.default_rng(5)
    n, shape = 40, (6, 4, 1)
    group = np.arange(n) % 2
    y = rng.normal(size=(n, 24))
    y[:, :6] += 0.9 * group[:, None]
    mask = Nifti1Image(np.ones(shape, np.int8), np.eye(4))
    theirs = permuted_ols(
        group - group.mean(), y, n_perm=1500, random_state=0, masker=NiftiMasker(mask).fit(), threshold=0.01,
        two_sided_test=True, verbose=0, output_type="dict",
    )  # fmt: skip
    s, r, _ = (a.ravel() for a in np.indices(shape))
    x = np.column_stack([np.ones(n), group]).astype(float)
    mine = permutation_test(y, x, np.array([0, 1.0]), draw_permutations(n, 1500, 1), Spatial(s, r), cluster_p=0.01)
    np.testing.assert_allclose(mine.value, theirs["t"][0], rtol=1e-6)
    corrected = reduce_maxima(mine.z, mine.size, mine.mass, mine.tfce, mine.null)
    error = 4 * np.sqrt(0.25 * 2 / 1500)
    np.testing.assert_allclose(corrected.peak, 10 ** -theirs["logp_max_t"][0], atol=error)
    np.testing.assert_allclose(corrected.size, 10 ** -theirs["logp_max_size"][0], atol=error)
    assert (corrected.peak[:6] < 0.05).sum() >= 1
    assert (corrected.tfce[6:] > 0.05).all()


# Properties


def test_what_is_permuted_within_sites_is_exact_with_an_intercept_alone():
    # the permuted values, refitted by REML without the tested column, have the same variance ratio
    y, x, site = sites(6)
    x = x[:, :2]
    drawn = draw_permutations(36, 5, 0, within=site)
    expected = Scan(y, x, np.array([0.0, 1]), site).ratio
    for index in drawn.index:
        np.testing.assert_allclose(Scan(y[index], x, np.array([0.0, 1]), site).ratio, expected, rtol=1e-6, atol=1e-9)


@settings(max_examples=15, deadline=None)
@given(seeds, st.sampled_from([0.0, 0.1]))
def test_scale_nuisance_effects_memory_and_other_cells_do_not_matter(seed, missing):
    y, x, site = sites(seed % 1000, missing=missing)
    drawn = draw_permutations(36, 20, 0, within=site)
    contrast = np.eye(4)[1]
    base = permutation_test(y, x, contrast, drawn, LINE, site)
    moved = permutation_test(y * 1e-3 + 5 + 2 * x[:, [2]], x, contrast, drawn, LINE, site)
    np.testing.assert_allclose(moved.z, base.z, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(moved.null.peak, base.null.peak, rtol=1e-5)
    small = permutation_test(y, x, contrast, drawn, LINE, site, batch_bytes=1)
    np.testing.assert_allclose(small.null.tfce, base.null.tfce, rtol=1e-9)
    np.testing.assert_array_equal(small.p, base.p)
    alone = permutation_test(y[:, :2], x, contrast, drawn, Spatial(np.arange(2)), site)
    np.testing.assert_array_equal(alone.p, base.p[:2])
    rest = permutation_test(y[:, 2:], x, contrast, drawn, Spatial(np.arange(4)), site)
    np.testing.assert_allclose(joint_maxima([alone.null, rest.null]).peak, base.null.peak, rtol=1e-9)


def test_cells_that_cannot_be_fitted_or_are_left_out_have_no_p_and_do_not_count():
    y, x, site = sites(7)
    y[:, 1] = 3.0
    y[4:, 2] = np.nan
    tested = np.array([True, True, True, False, True, True])
    drawn = draw_permutations(36, 30, 0, within=site)
    found = permutation_test(y, x, np.eye(4)[1], drawn, LINE, site, tested=tested)
    assert np.isnan(found.p).tolist() == [False, True, True, True, False, False]
    for values in (found.z, found.value, found.size, found.mass, found.tfce):
        assert (np.isnan(values) == np.isnan(found.p)).all()
    kept = permutation_test(y[:, [0, 4, 5]], x, np.eye(4)[1], drawn, Spatial(np.array([0, 4, 5])), site)
    np.testing.assert_allclose(found.null.peak, kept.null.peak, rtol=1e-12)
    nothing = permutation_test(y[:, [1, 2]], x, np.eye(4)[1], drawn, Spatial(np.arange(2)), site)
    assert np.isnan(nothing.p).all()
    assert (nothing.null.tfce == 0).all()


def test_an_effect_that_runs_along_a_bundle_has_one_cluster_with_its_sign():
    rng = np.random.default_rng(8)
    x = np.column_stack([np.ones(40), np.arange(40) % 2])
    y = rng.normal(size=(40, 12))
    y[:, 3:7] -= 2.5 * x[:, [1]]
    found = permutation_test(y, x, np.array([0, 1.0]), draw_permutations(40, 200, 0), Spatial(np.arange(12)))
    inside = np.arange(3, 7)
    assert len(set(found.cluster[inside])) == 1
    assert (found.size[inside] == (found.cluster == found.cluster[3]).sum()).all()
    assert (found.tfce[inside] < 0).all()
    corrected = reduce_maxima(found.z, found.size, found.mass, found.tfce, found.null)
    for p in (corrected.peak, corrected.size, corrected.mass, corrected.tfce):
        assert (p[inside] == 1 / 201).all()
    assert (corrected.peak[8:] > 0.05).all()


def test_the_intercept_alone_is_tested_by_flipping_signs():
    rng = np.random.default_rng(9)
    y = rng.normal([0, 0, 0, 0, 0, 2], size=(30, 6))
    drawn = draw_permutations(30, 400, 0, exchange=False, flip_signs=True)
    found = permutation_test(y, np.ones((30, 1)), np.ones(1), drawn, LINE)
    np.testing.assert_allclose(found.value, stats.ttest_1samp(y, 0).statistic, rtol=1e-9)
    assert found.p[5] == 1 / 401
    np.testing.assert_allclose(found.p[:5], stats.ttest_1samp(y[:, :5], 0).pvalue, atol=0.1)


@pytest.mark.parametrize("missing", [0, 0.1])
def test_under_the_null_hypothesis_p_is_uniform(missing):
    y, x, site = sites(10, n=40, cells=600, missing=missing)
    drawn = draw_permutations(40, 99, 0, within=site)
    p = permutation_test(y, x, np.eye(4)[1], drawn, Spatial(np.arange(600)), site).p
    assert stats.kstest(p - 0.005, "uniform").pvalue > 0.001
    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 600))
