"""models.residuals: what is left when fixed and random effects are taken out."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from spectra_bids.models.design import build_design
from spectra_bids.models.formula import parse_formula
from spectra_bids.models.lmm import fit_lmm
from spectra_bids.models.residuals import conditional_residuals


def example(rows=60):
    rng = np.random.default_rng(4)
    table = pd.DataFrame({"age": rng.normal(size=rows), "site": [f"s{k % 6}" for k in range(rows)]})
    table["who"] = [f"w{k // 3}" for k in range(rows)]
    site, who = rng.normal(size=(6, 2)), rng.normal(size=(rows // 3, 2))
    values = rng.normal(size=(rows, 2)) + np.outer(site[np.arange(rows) % 6, 0], [2.0, 0.0]) + who[np.arange(rows) // 3]
    values[:, 0] += who[np.arange(rows) // 3, 1] * table["age"]
    values[3, 0] = np.nan
    return table, values


@pytest.mark.r
@pytest.mark.parametrize("random", ["(1|site)", "(1|site) + (1|who)", "(1 + age|who)", "(1|site) + (age||who)"])
def test_they_are_those_of_lme4(rscript, tmp_path, random):
    """residuals(lmer(y ~ age + <random>, na.action = na.exclude)) under tight settings of the optimiser."""
    table, values = example()
    pd.concat([table, pd.DataFrame(values, columns=["a", "b"])], axis=1).to_csv(tmp_path / "d.csv", index=False)
    script = f"""
    suppressMessages(library(lme4)); d <- read.csv('d.csv')
    tight <- lmerControl(optCtrl = list(xtol_abs = 1e-13, ftol_abs = 1e-15, xtol_rel = 1e-13, maxeval = 20000))
    for (y in c('a', 'b')) cat(residuals(suppressMessages(lmer(as.formula(paste(y, '~ age + {random}')), d,
      control = tight, na.action = na.exclude))), '\\n')"""
    done = subprocess.run([rscript, "-e", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    rows = [line.split() for line in done.stdout.strip().splitlines()]
    wanted = np.array([[np.nan if v == "NA" else float(v) for v in row] for row in rows]).T
    design = build_design(parse_formula(f"value ~ age + {random}"), table)
    fit = fit_lmm(values, design.X, random=design.random)
    np.testing.assert_allclose(conditional_residuals(values, design.X, fit), wanted, atol=2e-5)


def test_without_a_random_factor_they_are_those_of_least_squares():
    table, values = example()
    design = build_design(parse_formula("value ~ age"), table)
    found = conditional_residuals(values, design.X, fit_lmm(values, design.X, random=design.random))
    there = np.isfinite(values[:, 0])
    beta = np.linalg.lstsq(design.X[there], values[there, 0], rcond=None)[0]
    np.testing.assert_allclose(found[there, 0], values[there, 0] - design.X[there] @ beta, atol=1e-10)
    assert np.isnan(found[~there, 0]).all()


def test_a_cell_that_was_not_fitted_has_none():
    table, values = example()
    values[8:, 1] = np.nan
    design = build_design(parse_formula("value ~ age + (1|site)"), table)
    found = conditional_residuals(values, design.X, fit_lmm(values, design.X, random=design.random))
    assert np.isnan(found[:, 1]).all()
    assert np.isfinite(found[:, 0]).sum() == 59


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("missing", [0, 0.1])
def test_they_are_what_fixed_effects_and_predicted_intercepts_leave(missing, weighted):
    rng = np.random.default_rng(11)
    x, site = np.c_[np.ones(36), rng.normal(size=(36, 2))], np.arange(36) % 6
    y = rng.normal(size=(36, 6)) + rng.normal(size=(6, 6))[site]
    y[rng.random(y.shape) < missing] = np.nan
    weights = rng.uniform(0.5, 2, 36) if weighted else None
    fit = fit_lmm(y, x, site, weights=weights)
    found = conditional_residuals(y, x, fit, weights)
    z = (site[:, None] == np.unique(site)).astype(float)
    for c in range(y.shape[1]):
        seen = np.isfinite(y[:, c])
        noise = fit.sd_residual[c] ** 2 / (1 if weights is None else weights[seen])
        v = noise * np.eye(seen.sum()) + fit.sd_random[c] ** 2 * z[seen] @ z[seen].T
        e = y[seen, c] - x[seen] @ fit.coefficients[c]
        b = fit.sd_random[c] ** 2 * z[seen].T @ np.linalg.solve(v, e)
        np.testing.assert_allclose(found[seen, c], e - z[seen] @ b, rtol=1e-6, atol=1e-9)
        assert np.isnan(found[~seen, c]).all()


def test_one_intercept_is_the_general_case_with_one_column():
    table, values = example()
    design = build_design(parse_formula("value ~ age + (1|site)"), table)
    fit = fit_lmm(values, design.X, random=design.random)
    part = replace(design.random[0], Z=np.ones((len(values), 1)) * (1 + 1e-12))  # no longer recognised
    general = conditional_residuals(values, design.X, replace(fit, random=(part,)))
    np.testing.assert_allclose(conditional_residuals(values, design.X, fit), general, rtol=1e-8, atol=1e-10)
