"""The R engine: what it says where R is absent, R's own stored and published numbers, the batched engine's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from io import StringIO

import numpy as np
import pandas as pd
import pytest

from spectra_bids.errors import MissingInputError, UsageError
from spectra_bids.models import lme4
from spectra_bids.models.contrasts import Contrast, parse_contrast, term_contrasts
from spectra_bids.models.design import Design, build_design
from spectra_bids.models.fits import fit_cells
from spectra_bids.models.formula import parse_formula
from spectra_bids.models.lme4 import fit_cells_lme4
from spectra_bids.models.lmm import fit_lmm


@pytest.fixture(scope="session")
def r_engine() -> None:
    try:
        lme4.require_r()
    except MissingInputError as error:
        pytest.skip(f"{error}; scripts/setup.sh test installs it where it may")


def each_column(design: Design) -> tuple[Contrast, ...]:
    return tuple(
        Contrast(name, "T", row[None], "named", "partial_r")
        for name, row in zip(design.columns, np.eye(design.p), strict=True)
    )


def people(n: int = 80, seed: int = 1) -> tuple[pd.DataFrame, np.ndarray]:
    """A cohort at six sites and four cells of it, at the scale of FA; the last at that of MD, with values missing."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {"dx": rng.choice(["a", "b", "c"], n), "agesig": rng.normal(60, 10, n), "site": rng.choice(list("pqrstu"), n)}
    )
    site = table["site"].astype("category").cat.codes.to_numpy()
    values = 0.4 + 0.03 * rng.normal(size=(n, 4)) + 0.02 * rng.normal(size=(6, 4))[site]
    values[:, 3] = 1e-3 + 1e-5 * rng.normal(size=n)
    values[:9, 2:] = np.nan
    return table, values


# --- validation -----------------------------------------------------------------------------------------------------


def test_an_absent_package_is_named_with_the_way_to_install_it(monkeypatch):
    lme4._bridge.cache_clear()
    monkeypatch.setitem(sys.modules, "rpy2", None)
    with pytest.raises(MissingInputError, match="rpy2") as raised:
        lme4.require_r()
    assert "pip install 'spectra-bids[r]'" in raised.value.hint
    assert "r-base-core r-base-dev r-cran-lme4 r-cran-lmertest r-cran-emmeans r-cran-pbkrtest" in raised.value.hint
    assert raised.value.exit_status == 66


def test_an_absent_r_package_is_named(r_engine, monkeypatch):
    lme4._bridge.cache_clear()
    monkeypatch.setattr(lme4, "R_PACKAGES", ("lme4", "noSuchPackage"))
    with pytest.raises(MissingInputError, match="the R packages noSuchPackage"):
        lme4.require_r()


def test_kenward_roger_by_maximum_likelihood_is_refused():
    table, values = people()
    design = build_design(parse_formula("value ~ agesig + (1|site)"), table)
    with pytest.raises(UsageError, match="REML"):
        fit_cells_lme4(values, design, term_contrasts(design), ddf="kenward-roger", estimation="ml")


# --- R's own numbers ------------------------------------------------------------------------------------------------

CLASSICS = ("sleepstudy_slope", "sleepstudy_uncorrelated", "sleepstudy_slope_ML", "Penicillin_crossed",
            "Dyestuff2_singular", "Pastes_nested", "Machines_slope", "Orthodont")  # fmt: skip


def classic(shared_data, name: str) -> tuple[dict, pd.DataFrame, np.ndarray]:
    # Made by oracles/make_lmer_classic_fits.R (R 4.2.2, lme4 1.1-31, lmerTest 3.1-3)
    stored = json.loads((shared_data / "oracles" / "lmer_classic_fits.json").read_text())[name]
    table = pd.read_csv(shared_data / "oracles" / stored["data"])
    for column in np.atleast_1d(stored["factors"]):
        table[column] = pd.Categorical(table[column].astype(str), categories=sorted(table[column].astype(str).unique()))
    return stored, table, table[stored["formula"].split()[0]].to_numpy(float)[:, None]


def require_equal(found: pd.DataFrame, stored: list[dict], df: float = 1e-3) -> None:
    """Estimates in standard errors; the others relative."""
    expected = pd.DataFrame(stored)
    assert (np.abs(found["estimate"] - expected["Estimate"]) < 1e-6 * expected["Std. Error"]).all()
    np.testing.assert_allclose(found["se"], expected["Std. Error"], rtol=1e-5)
    np.testing.assert_allclose(found["df"], expected["df"], rtol=df)
    np.testing.assert_allclose(found["value"], expected["t value"], rtol=1e-5)
    np.testing.assert_allclose(found["p"], expected["Pr(>|t|)"], rtol=1e-2)  # df 1e-3 at p = 1e-18


@pytest.mark.r
@pytest.mark.parametrize("name", CLASSICS)
def test_classic_fits_are_r_s_own(r_engine, shared_data, name):
    stored, table, y = classic(shared_data, name)
    design = build_design(parse_formula(stored["formula"]), table)
    estimation = "reml" if stored["REML"] else "ml"
    found = fit_cells_lme4(y, design, each_column(design), estimation=estimation, min_subjects=3)
    require_equal(found, stored["satterthwaite"])
    assert set(found["fit_status"]) == {"singular" if stored["singular"] else "ok"}
    residual = next(entry["sdcor"] for entry in stored["varcomp"] if entry["grp"] == "Residual")
    assert found["sd_residual"][0] == pytest.approx(residual, rel=1e-5)
    if not any(e.get("var2") for e in stored["varcomp"]) and "||" not in stored["formula"]:
        intercepts = [e["sdcor"] for e in stored["varcomp"] if e["grp"] != "Residual"]
        assert found["sd_random"][0] == pytest.approx(np.sqrt(np.square(intercepts).sum()), rel=1e-4, abs=1e-5)


@pytest.mark.r
@pytest.mark.parametrize("name", ["sleepstudy_slope", "sleepstudy_int", "Orthodont"])
def test_kenward_roger_is_pbkrtest_s(r_engine, shared_data, name):
    stored, table, y = classic(shared_data, name)
    design = build_design(parse_formula(stored["formula"]), table)
    found = fit_cells_lme4(y, design, each_column(design), ddf="kenward-roger", min_subjects=3)
    require_equal(found, stored["kenward_roger"])


@pytest.mark.r
def test_profile_intervals_of_sleepstudy_are_those_published(r_engine, shared_data):
    # Bates, Maechler, Bolker and Walker 2015 (J Stat Softw 67), section 5.2: confint(fm1, oldNames = FALSE)
    _, table, y = classic(shared_data, "sleepstudy_slope")
    design = build_design(parse_formula("value ~ Days + (Days|Subject)"), table)
    found = fit_cells_lme4(y, design, each_column(design), ci="profile", min_subjects=3)
    np.testing.assert_allclose(found["ci_low"], [237.680694, 7.358653], rtol=1e-4)
    np.testing.assert_allclose(found["ci_high"], [265.129511, 13.575919], rtol=1e-4)


@pytest.mark.r
@pytest.mark.parametrize(("ddf", "weighted"), [("satterthwaite", True), ("kenward-roger", False)])
def test_several_degrees_of_freedom_and_weights_are_lmertest_s_own(r_engine, rscript, tmp_path, ddf, weighted):
    # Not both at once: pbkrtest leaves prior weights out of its covariance matrix (234 df of 71 subjects here).
    table, values = people()
    weights = np.random.default_rng(3).uniform(0.5, 3, len(table)) if weighted else np.ones(len(table))
    table.assign(y=values[:, 0] / values[:, 0].std(ddof=1), w=weights).to_csv(tmp_path / "rows.csv", index=False)
    code = f"""
    d <- read.csv("rows.csv"); suppressMessages(library(lmerTest))
    tight <- lmerControl(optCtrl = list(xtol_abs = 1e-13, ftol_abs = 1e-15, xtol_rel = 1e-13, maxeval = 20000))
    m <- lmer(y ~ dx + agesig + (1 | site), d, {"weights = w," if weighted else ""} control = tight)
    out <- contestMD(m, diag(4)[2:3, ], ddf = "{ddf.title()}")
    write.csv(format(out, digits = 15), row.names = FALSE)
    """
    done = subprocess.run([rscript, "-e", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    expected = pd.read_csv(StringIO(done.stdout)).iloc[0]
    design = build_design(parse_formula("value ~ dx + agesig + (1|site)"), table)
    found = fit_cells_lme4(
        values[:, :1], design, term_contrasts(design)[:1], ddf=ddf, weights=weights if weighted else None
    )
    assert found["statistic"].item() == "F"
    for ours, theirs in {"df_num": "NumDF", "df": "DenDF", "value": "F value", "p": "Pr(>F)"}.items():
        assert found[ours].item() == pytest.approx(expected[theirs], rel=1e-5), ours


# --- the batched engine's numbers -----------------------------------------------------------------------------------


def require_same(ours: pd.DataFrame, theirs: pd.DataFrame) -> None:
    """Equal tables: numbers to 1e-6, also of a column that is NaN in places."""
    assert list(ours.columns) == list(theirs.columns)
    for name in ours:
        if ours[name].dtype.kind == "f":
            np.testing.assert_allclose(theirs[name], ours[name], rtol=1e-6, err_msg=name)
        else:
            assert ours[name].tolist() == theirs[name].tolist(), name


@pytest.mark.r
def test_the_table_is_that_of_the_batched_engine(r_engine, capfd):
    table, values = people()
    values[table["dx"] == "a", 1] = np.nan
    design = build_design(parse_formula("value ~ dx + agesig + (1|site)"), table)
    contrasts = (*term_contrasts(design), parse_contrast("b_vs_c: dx[b]=1 dx[c]=-1", design))
    cells = np.c_[values, np.full(len(values), 0.3)]
    ours, theirs = fit_cells(cells, design, contrasts), fit_cells_lme4(cells, design, contrasts)
    require_same(ours, theirs)
    assert {"ok", "too_few", "constant"} <= set(ours["fit_status"])
    assert capfd.readouterr().out == ""


@pytest.mark.r
def test_several_random_terms_and_slopes_are_those_of_the_batched_engine(r_engine):
    rng = np.random.default_rng(5)
    table = pd.DataFrame({"who": np.repeat(np.arange(24), 5).astype(str), "site": np.repeat(list("pqrstu"), 20)})
    table["age"] = rng.normal(70, 5, len(table))
    who, site = (table[c].astype("category").cat.codes.to_numpy() for c in ("who", "site"))
    y = rng.normal(size=(24, 1))[who] + rng.normal(size=(6, 1))[site] + rng.normal(size=(120, 1))
    y += rng.normal(0, 0.2, size=(24, 1))[who] * (table[["age"]].to_numpy() - 70)
    design = build_design(parse_formula("value ~ age + (1 + age|who) + (1|site)"), table)
    contrasts = each_column(design)
    fit = fit_lmm(y, design.X, contrasts=[c.weights for c in contrasts], random=design.random)
    found = fit_cells_lme4(y, design, contrasts)
    assert found["fit_status"].tolist() == [fit.status[0]] * 2
    assert found["sd_random"][0] == pytest.approx(fit.sd_random[0], rel=1e-4)
    for k, test in enumerate(fit.tests):
        assert found["estimate"][k] == pytest.approx(test.estimate[0], abs=1e-6 * test.se[0])
        assert found["se"][k] == pytest.approx(test.se[0], rel=1e-5)
        assert found["df"][k] == pytest.approx(test.df[0], rel=1e-3)


@pytest.mark.r
def test_without_a_random_term_it_is_least_squares(r_engine):
    table, values = people()
    design = build_design(parse_formula("value ~ dx * agesig"), table)
    contrasts = (*each_column(design), *term_contrasts(design))
    require_same(fit_cells(values, design, contrasts), fit_cells_lme4(values, design, contrasts, ci="profile"))


@pytest.mark.r
def test_an_offset_is_taken_from_the_values(r_engine):
    table, values = people()
    design = build_design(parse_formula("value ~ agesig + (1|site)"), table)
    offset = np.linspace(0, 0.2, len(table))
    found = fit_cells_lme4(values[:, :1], design, each_column(design), offset=offset)
    require_same(fit_cells(values[:, :1] - offset[:, None], design, each_column(design)), found)


# --- edge cases -----------------------------------------------------------------------------------------------------


@pytest.mark.r
def test_a_cell_with_one_level_of_the_random_factor_is_least_squares(r_engine):
    table, values = people()
    values[table["site"] != "p", 0] = np.nan
    design = build_design(parse_formula("value ~ agesig + (1|site)"), table)
    found = fit_cells_lme4(values[:, :1], design, term_contrasts(design), min_subjects=5)
    alone = table[table["site"] == "p"].reset_index(drop=True)
    plain = build_design(parse_formula("value ~ agesig"), alone)
    expected = fit_cells(values[table["site"] == "p", :1], plain, term_contrasts(plain), min_subjects=5)
    assert found["fit_status"].item() == "singular"
    for name in ("estimate", "se", "df", "p"):
        assert found[name].item() == pytest.approx(expected[name].item(), rel=1e-9)


@pytest.mark.r
def test_r_runs_in_a_spawned_process_and_leaves_stdout_alone(r_engine, tmp_path):
    script = tmp_path / "job.py"
    script.write_text(
        "import multiprocessing\n"
        "from spectra_bids.models.lme4 import require_r\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        pool.apply(require_r)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
