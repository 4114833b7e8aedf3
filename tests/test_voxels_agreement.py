"""Voxel-wise numbers beside those of other programs: statsmodels (OLS), lmerTest (mixed), on 60 voxels and more."""

from __future__ import annotations

import subprocess

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

SHAPE, N = (6, 7, 5), 40
AFFINE = np.diag([3.0, 3, 3, 1])
#: The head of a PNG with its size.
DOT = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01"
FIXED = "value ~ age + C(sex) + apoe4"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Images of 40 people at 5 sites, with voxels that some people lack, and a table."""
    folder = tmp_path_factory.mktemp("cohort")
    rng = np.random.default_rng(3)
    site = np.arange(N) % 5
    table = pd.DataFrame({"id": [f"smwc1_{k:02d}.nii" for k in range(N)], "age": rng.normal(62, 7, N).round(2)})
    table = table.assign(sex=rng.choice(["F", "M"], N), apoe4=rng.integers(0, 2, N), site=[f"s{k}" for k in site])
    table.to_csv(folder / "dm.csv", index=False)
    mask = rng.uniform(size=SHAPE) > 0.3
    nib.save(nib.Nifti1Image(mask.astype(np.uint8), AFFINE), folder / "mask.nii.gz")
    shift = rng.normal(0, 0.05, (5, *SHAPE)) * (rng.uniform(size=SHAPE) > 0.3)
    for k, name in enumerate(table["id"]):
        data = 0.5 + shift[site[k]] + 0.002 * table["age"][k] + rng.normal(0, 0.05, SHAPE)
        data[:2][rng.uniform(size=(2, *SHAPE[1:])) < 0.15] = np.nan
        nib.save(nib.Nifti1Image(data.astype(np.float32), AFFINE), folder / name)
    return folder, table, mask


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Numbers alone: nilearn takes a second for each contrast."""
    monkeypatch.setattr("spectra_bids.voxels.draw", lambda *_: (DOT, DOT))


def fitted(cohort, cli, name, formula, *more):
    folder, _, _ = cohort
    ended = cli("voxels", folder / "out", "--design", folder / "dm.csv", "--mask", folder / "mask.nii.gz",
                "--formula", formula, "--analysis-name", name, *more)  # fmt: skip
    assert ended.status == 0, ended.err

    def read(stat, contrast="Age"):
        stem = f"contrast-{contrast}_stat-{stat}" if contrast else f"stat-{stat}"
        return nib.load(folder / f"out/{name}/{stem}_statmap.nii.gz").get_fdata()

    return read


def values(cohort):
    folder, table, mask = cohort
    return np.array([nib.load(folder / name).get_fdata()[mask] for name in table["id"]])


def test_least_squares_equal_statsmodels(cohort, cli):
    """statsmodels.formula.api.ols per voxel, missing values dropped, in double precision."""
    import statsmodels.formula.api as smf

    read = fitted(cohort, cli, "ols", FIXED)
    _, table, mask = cohort
    y = values(cohort)
    assert np.isnan(y).any()
    chosen = np.random.default_rng(0).choice(mask.sum(), 60, replace=False)
    for k in chosen:
        model = smf.ols(FIXED, table.assign(value=y[:, k], age=table["age"] - table["age"].mean())).fit()
        at = {stat: read(stat)[mask][k] for stat in ("effect", "se", "t", "p", "df")}
        theirs = [model.params["age"], model.bse["age"], model.tvalues["age"], model.pvalues["age"], model.df_resid]
        np.testing.assert_allclose(list(at.values()), theirs, rtol=2e-6)
        assert read("nobs", "")[mask][k] == model.nobs


def test_an_f_contrast_equals_statsmodels(cohort, cli):
    """f_test of two columns at once; and of one, where F is t squared."""
    import statsmodels.formula.api as smf

    folder, table, mask = cohort
    (folder / "f.tsv").write_text("name\ttype\tcolumns\tweights\nboth\tF\tage\t1\nboth\tF\tapoe4\t1\none\tF\tage\t1\n")
    read = fitted(cohort, cli, "ftest", FIXED, "--contrasts", folder / "f.tsv")
    y = values(cohort)
    for k in np.random.default_rng(1).choice(mask.sum(), 50, replace=False):
        model = smf.ols(FIXED, table.assign(value=y[:, k])).fit()
        for name, hypothesis in (("Both", "age = 0, apoe4 = 0"), ("One", "age = 0")):
            theirs = model.f_test(hypothesis)
            np.testing.assert_allclose(read("F", name)[mask][k], theirs.fvalue, rtol=2e-6)
            np.testing.assert_allclose(read("p", name)[mask][k], theirs.pvalue, rtol=2e-6)


@pytest.mark.r
def test_mixed_models_equal_lmertest(cohort, cli, rscript, tmp_path):
    """lmerTest::lmer(value ~ age + sex + apoe4 + (1|site)), Satterthwaite, tight optimiser, 60 voxels."""
    read = fitted(cohort, cli, "mixed", f"{FIXED} + (1|site)")
    _, table, mask = cohort
    chosen = np.random.default_rng(2).choice(mask.sum(), 60, replace=False)
    named = pd.DataFrame(values(cohort)[:, chosen], columns=[f"v{k}" for k in chosen])
    pd.concat([table.assign(age=table["age"] - table["age"].mean()), named], axis=1).to_csv(
        tmp_path / "d.csv", index=False, na_rep="NA", float_format="%.17g"
    )
    script = """
    suppressMessages(library(lmerTest)); d <- read.csv('d.csv')
    tight <- lmerControl(optCtrl = list(xtol_abs = 1e-13, ftol_abs = 1e-15, xtol_rel = 1e-13, maxeval = 20000))
    for (v in grep('^v[0-9]', names(d), value = TRUE)) {
      d$value <- as.numeric(scale(d[[v]])); s <- sd(d[[v]], na.rm = TRUE)
      m <- suppressMessages(lmer(value ~ age + sex + apoe4 + (1|site), d, control = tight))
      k <- summary(m)$coefficients['age', ]
      cat(v, k[1] * s, k[2] * s, k[3], k[4], k[5], nobs(m), '\\n') }"""
    done = subprocess.run([rscript, "-e", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    lines = done.stdout.strip().splitlines()
    assert len(lines) == 60
    for line in lines:
        name, *numbers = line.split()
        estimate, se, df, t, p, n = map(float, numbers)
        at = {stat: read(stat)[mask][int(name[1:])] for stat in ("effect", "se", "df", "t", "p")}
        assert abs(at["effect"] - estimate) < 1e-4 * se, name
        np.testing.assert_allclose([at["se"], at["df"]], [se, df], rtol=1e-4, err_msg=name)
        np.testing.assert_allclose([at["t"], at["p"]], [t, p], rtol=2e-4, atol=1e-4, err_msg=name)
        assert read("nobs", "")[mask][int(name[1:])] == n


def test_one_sided_p_is_that_of_the_direction(cohort, cli):
    both = fitted(cohort, cli, "two", FIXED, "--contrasts", "up: age=1", "--contrasts", "down: age=-1")
    one = fitted(cohort, cli, "one", FIXED, "--contrasts", "up: age=1", "--contrasts", "down: age=-1", "--tails", "one")
    _, _, mask = cohort
    t, df = both("t", "Up")[mask], both("df", "Up")[mask]
    np.testing.assert_allclose(both("p", "Down")[mask], 2 * stats.t.sf(np.abs(t), df), rtol=1e-4)
    np.testing.assert_allclose(one("p", "Up")[mask], stats.t.sf(t, df), rtol=1e-4)
    np.testing.assert_allclose(one("p", "Down")[mask], stats.t.sf(-t, df), rtol=1e-4)


def test_q_is_that_of_statsmodels_over_the_mask(cohort, cli):
    """statsmodels.stats.multitest.multipletests, fdr_bh."""
    from statsmodels.stats.multitest import multipletests

    read = fitted(cohort, cli, "ols", FIXED)
    _, _, mask = cohort
    p = read("p")[mask]
    tested = np.isfinite(p)
    rejected, q, *_ = multipletests(p[tested], 0.05, "fdr_bh")
    np.testing.assert_allclose(read("q")[mask][tested], q, rtol=1e-5)
    np.testing.assert_array_equal(read("rejected")[mask][tested].astype(bool), rejected)
    assert np.isnan(read("q")[~mask]).all()
