"""models.lmm against stored lmerTest fits of classic data sets: every random part, REML and ML, type III F tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spectra_bids.models.contrasts import term_contrasts
from spectra_bids.models.design import build_design
from spectra_bids.models.formula import parse_formula
from spectra_bids.models.lmm import fit_lmm

# Made by oracles/make_lmer_classic_fits.R (R 4.2.2, lme4 1.1-31, lmerTest 3.1-3, tight optimiser)
NAMES = (
    "sleepstudy_slope", "sleepstudy_uncorrelated", "sleepstudy_int", "sleepstudy_slope_ML", "Penicillin_crossed",
    "Dyestuff", "Dyestuff2_singular", "Pastes_nested", "cake", "Machines_int", "Machines_slope", "Orthodont",
)  # fmt: skip


@pytest.fixture(scope="module")
def stored(shared_data: Path) -> dict:
    return json.loads((shared_data / "oracles" / "lmer_classic_fits.json").read_text())


def test_every_stored_fit_is_tested_here(stored):
    assert set(stored) == set(NAMES)


@pytest.mark.parametrize("copies", [1, 9], ids=["own rows", "shared rows"])
@pytest.mark.parametrize("name", NAMES)
def test_classic_fits_are_those_of_lmertest(stored, shared_data, name, copies):
    expected = stored[name]
    table = pd.read_csv(shared_data / "oracles" / expected["data"])
    for factor in np.atleast_1d(expected["factors"]):
        table[factor] = pd.Categorical(table[factor].astype(str), categories=sorted(table[factor].astype(str).unique()))
    formula = parse_formula(expected["formula"])
    design = build_design(formula, table)
    terms = term_contrasts(design)
    y = np.tile(table[formula.response].to_numpy(float)[:, None], copies)
    contrasts = [*np.eye(design.p), *(term.weights for term in terms)]
    estimation = "reml" if expected["REML"] else "ml"
    fit = fit_lmm(y, design.X, contrasts=contrasts, random=design.random, estimation=estimation, min_subjects=3)
    assert set(fit.status) == {"singular" if expected["singular"] else "ok"}
    assert fit.deviance[-1] <= expected["criterion"] + 1e-8
    assert fit.deviance[-1] == pytest.approx(expected["criterion"], abs=1e-6)
    assert fit.log_likelihood[-1] == pytest.approx(expected["logLik"], abs=1e-6)
    for test, row in zip(fit.tests[: design.p], expected["satterthwaite"], strict=True):
        assert abs(test.estimate[-1] - row["Estimate"]) <= 1e-6 * row["Std. Error"]
        assert test.se[-1] == pytest.approx(row["Std. Error"], rel=1e-5)
        assert test.df[-1] == pytest.approx(row["df"], rel=1e-3)
        assert test.p[-1] == pytest.approx(row["Pr(>|t|)"], rel=1e-3)
    for term, test in zip(terms, fit.tests[design.p :], strict=True):
        (row,) = [row for row in expected["F_type3"] if row["term"] == term.name]
        f = test.value[-1] if term.type == "F" else test.value[-1] ** 2
        assert f == pytest.approx(row["F value"], rel=1e-5)
        assert test.df_num[-1] == row["NumDF"]
        assert test.df[-1] == pytest.approx(row["DenDF"], rel=1e-3)
    require_components(fit, expected["varcomp"])


def require_components(fit, rows: list[dict]) -> None:
    """Variances and covariances within 1e-4 (relative), or 1e-6 σ² where they are 0."""
    sigma2 = fit.sd_residual[-1] ** 2
    for row in rows:
        if row["grp"] == "Residual":
            assert fit.sd_residual[-1] == pytest.approx(row["sdcor"], rel=1e-5)
            continue
        found = []
        for part, covariance in zip(fit.random, fit.covariances, strict=True):
            # lme4 numbers several terms of one factor, Subject, Subject.1, and turns a/b into b:a
            names = [name.replace("[T.", "").replace("]", "") for name in part.names]
            pair = [row["var1"], row["var2"] or row["var1"]]
            if set(part.group.split(":")) == set(row["grp"].split(".")[0].split(":")) and set(pair) <= set(names):
                found.append(covariance[-1][names.index(pair[0]), names.index(pair[1])])
        assert len(found) == 1, row
        scale = max(abs(row["vcov"]), 1e-2 * sigma2)
        assert abs(found[0] - row["vcov"]) <= 1e-4 * scale, row
