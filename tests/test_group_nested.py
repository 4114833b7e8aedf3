"""The likelihood-ratio test of a nested model, and variance components, in a group run."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from spectra_bids.dataset.names import map_file, model_table
from spectra_bids.dataset.outputs import read_table
from spectra_bids.dataset.validate import validate

FORMULA = "value ~ group + age + (1|site)"


def rank_correlation(one, other) -> float:
    """Spearman's rank correlation."""
    return float(one.corr(other, method="spearman"))


@pytest.fixture(scope="module")
def run(study, cli, tmp_path_factory):
    """A 1D run with --null-formula; the test of `group` by likelihood ratio stands beside that by t."""
    out = shutil.copytree(study.out, tmp_path_factory.mktemp("nested") / "out")
    options = ("--model-name", "lrt", "--profile", "1D", "--null-formula", "value ~ age + (1|site)")
    options += ("--calibrate", "20", "--sensitivity")
    ended = cli(study.bids, out, "group", "--formula", FORMULA, *options)
    assert ended.status == 0, ended.err
    return out


def test_the_ratio_is_one_more_tested_hypothesis(run):
    stats = read_table(model_table(run, "lrt", "1D", "stats"))
    assert stats["contrast"].unique().tolist() == ["group", "age", "lrt"]
    ratio, t = (stats[stats["contrast"] == name].reset_index(drop=True) for name in ("lrt", "group"))
    assert (ratio["statistic"] == "chi2").all()
    assert ratio["estimate"].isna().all()
    tested = ratio["p"].notna()
    assert (ratio.loc[tested, "df_num"] == 1).all()
    assert (tested == t["p"].notna()).all()
    # One coefficient: chi-square is near n log(1 + t²/df), and the two rank the cells alike.
    assert rank_correlation(ratio.loc[tested, "value"], t.loc[tested, "value"].abs()) > 0.95
    blocks = read_table(model_table(run, "lrt", "1D", "blocks"))
    assert set(blocks["contrast"]) == {"group", "age", "lrt"}


def test_the_page_shows_it(run):
    page = (run / "model-lrt.html").read_text()
    assert "likelihood ratio of the model and value ~ age + (1|site)" in page
    assert "χ²" in page


def test_components_stand_beside_the_fits_and_the_output_is_valid(run):
    table = read_table(next(run.glob("group/model-lrt/*_bundle-CSTR_*_components.tsv")))
    fits = read_table(map_file(run, "lrt", "CSTR", "1D"))
    one = fits[fits["contrast"] == "group"].reset_index(drop=True)
    sd = table[(table["group"] == "site") & (table["kind"] == "sd")].reset_index(drop=True)
    np.testing.assert_allclose(sd["value"], one["sd_random"], rtol=1e-5)
    icc = table[table["kind"] == "icc"]["value"].to_numpy(float)
    wanted = one["sd_random"] ** 2 / (one["sd_random"] ** 2 + one["sd_residual"] ** 2)
    np.testing.assert_allclose(icc, wanted, rtol=1e-4, atol=1e-9)
    assert not [f for f in validate(run) if f.level == "error" and "model-lrt" in str(f)]


@pytest.mark.parametrize(
    ("null", "said"),
    [("value ~ sex", "column 'sex"), (FORMULA, "the same model"), ("value ~ agee", "agee")],
)
def test_what_is_not_nested_is_said(study, profiles, cli, null, said):
    ended = cli(study.bids, profiles, "group", "--formula", FORMULA, "--profile", "1D", "--null-formula", null)
    assert ended.status == 65
    assert said in ended.err


def test_shuffles_are_of_what_the_model_tests_and_variants_have_the_ratio_too(run):
    assert set(read_table(model_table(run, "lrt", "1D", "calibration"))["contrast"]) == {"group", "age"}
    assert set(read_table(model_table(run, "lrt", "1D", "sensitivity"))["contrast"]) == {"group", "age", "lrt"}
