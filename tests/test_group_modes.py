"""Every procedure and way to fit, as a user runs it: tables, page, command, second run, what is computed again."""

from __future__ import annotations

import html
import json
import re
import shlex
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from crowd import NODES, Crowd, make_crowd

from spectra_bids import columns
from spectra_bids.cli.app import group_settings, parse, run_settings
from spectra_bids.dataset.outputs import read_table
from spectra_bids.dataset.validate import validate

SITE = "value ~ group + age + (1|site)"
PERSON = "value ~ group + age + (1|participant_id)"
COMBAT = "--harmonize combat --harmonize-covariates group age"


class Case(NamedTuple):
    """Options of a model, and words that its page must hold."""

    name: str
    options: str
    said: tuple[str, ...] = ()
    formula: str = SITE
    cohort: str = "crowd"
    profile: str = "1D"


CASES = (
    Case("plain", "", ("Bundles are the blocks", "with 80 % power in the median node")),
    Case("resel", "--stats-mode hfdr_resel", ("Resels are the blocks", "resels selected", "All resels")),
    Case("gates", "--stats-mode hfdr_resel --combination gates", ("GATES", "2D"), profile="2D"),
    Case("acat", "--combination acat", ("Cauchy combination",)),
    Case("bonferroni", "--combination bonferroni", ("Bonferroni",)),
    Case("galwey", "--combination minp-galwey", ("Galwey",)),
    Case("scalars", "--alpha-scalar 0.05", ("The scalar is selected", "multiplied by the selected share of scalars")),
    Case(
        "tfce",
        "--stats-mode perm --n-permutations 199 --exchange-within site",
        ("permuted 199 times", "threshold-free cluster enhancement", "group: within site", "family-wise level 0.05"),
    ),
    Case("peak", "--stats-mode perm --n-permutations 199 --perm-statistic max", ("family-wise",)),
    Case("mass", "--stats-mode perm --n-permutations 199 --perm-statistic cluster", ("mass of a cluster",)),
    Case(
        "people",
        "--stats-mode perm --n-permutations 199 --exchange-whole participant_id",
        ("all rows of a participant_id together",),
        PERSON,
        "visits",
    ),
    Case("ml", "--estimation ml", ("by maximum likelihood",)),
    Case("weighted", "--weights weight", ("Rows were weighted by weight",)),
    Case("offset", "--offset known", ("fitted with the offset known",)),
    Case(
        "combat",
        COMBAT,
        ("by ComBat", "keeping the effects of group, age", "What ComBat removed", "The other route is a random effect"),
        "value ~ group + age",
    ),
    Case(
        "controls",
        "--harmonize combat --harmonize-covariates age --harmonize-reference group=control",
        ("people with group=control", "site is both the batch that ComBat removed and a random effect"),
    ),
    Case("calibrated", "--calibrate 20", ("20 shuffles of group (within site)", "nominal 5 %")),
    Case("sensitive", "--sensitivity", ("without one site at a time (4 fits)", "without site site3")),
    Case("nested", "", ("(1|site/participant_id)",), "value ~ group + age + (1|site/participant_id)", "visits"),
    Case("crossed", "", ("(1|site)",), "value ~ group + age + (1|site) + (1|participant_id)", "visits"),
    Case("slope", "", ("(1 + age|site)",), "value ~ group + age + (1 + age|site)"),
    Case("diagonal", "--stats-mode hfdr_resel", ("(age||site)",), "value ~ group + age + (age||site)"),
)
BY_NAME = {case.name: case for case in CASES}


class Runs:
    """The cohorts, and models of them that are run once."""

    def __init__(self, cohorts: dict[str, Crowd], cli) -> None:
        self.cohorts, self.cli = cohorts, cli
        self.done: set[str] = set()

    def command(self, case: Case, *more: object) -> list[str]:
        bids, out = self.cohorts[case.cohort]
        options = [*shlex.split(case.options), *map(str, more)]
        fixed = ["group", "--formula", case.formula, "--model-name", case.name, "--profile", case.profile, "-v"]
        return [str(bids), str(out), *fixed, *options]

    def again(self, case: Case, *more: object):
        ended = self.cli(*self.command(case, *more))
        assert ended.status == 0, ended.err
        return ended

    def once(self, name: str) -> Case:
        case = BY_NAME[name]
        if name not in self.done:
            self.again(case)
            self.done.add(name)
        return case

    def folder(self, case: Case) -> Path:
        return self.cohorts[case.cohort].out / "group" / f"model-{case.name}"

    def table(self, name: str, kind: str) -> pd.DataFrame:
        case = self.once(name)
        return read_table(self.folder(case) / f"model-{name}_desc-profile{case.profile}_{kind}.tsv")

    def page(self, name: str) -> str:
        return self.page_of(self.once(name))

    def page_of(self, case: Case) -> str:
        text = (self.cohorts[case.cohort].out / f"model-{case.name}.html").read_text()
        text = re.sub(r"<(style|script)\b.*?</\1>", " ", text, flags=re.S)
        return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


@pytest.fixture(scope="module")
def runs(study, tmp_path_factory, cli) -> Runs:
    base = tmp_path_factory.mktemp("modes")
    made = {"crowd": make_crowd(study.out, base / "crowd", 36), "visits": make_crowd(study.out, base / "v", 20, 2)}
    return Runs(made, cli)


def stamps(folder: Path, pattern: str) -> dict[str, tuple[int, int]]:
    return {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in folder.glob(pattern)}


def every_case(function):
    return pytest.mark.parametrize("name", [case.name for case in CASES])(function)


# --- validation -----------------------------------------------------------------------------------------------------


class Refused(NamedTuple):
    options: str
    status: int
    says: str
    formula: str = SITE


REFUSED = (
    Refused("--weights nope", 65, "--weights must name a column"),
    Refused("--weights holes", 65, "--weights holes is n/a for sub-06"),
    Refused("--weights negative", 65, "--weights negative must be above 0. Got -1"),
    Refused("--weights sex", 65, "--weights sex must hold numbers"),
    Refused("--offset nope", 65, "--offset must name a column"),
    Refused("--offset holes", 65, "--offset holes is n/a for sub-06"),
    Refused("--harmonize combat --harmonize-batch nope", 65, "--harmonize-batch must name a column"),
    Refused("--harmonize combat --harmonize-batch gap", 65, "--harmonize-batch gap is n/a for sub-06"),
    Refused("--harmonize combat --harmonize-batch lone", 65, "two batches or more"),
    Refused("--harmonize combat --harmonize-covariates nope", 65, "--harmonize-covariates must name a column"),
    Refused("--harmonize combat --harmonize-reference group=x", 65, "Levels of group: control, patient"),
    Refused("--harmonize-batch lone", 2, "belong to --harmonize combat"),
    Refused("--stats-mode perm --exchange-within nope", 65, "--exchange-within must name a column"),
    Refused("--stats-mode perm --exchange-within gap", 65, "--exchange-within gap is n/a for sub-06"),
    Refused("--stats-mode perm --exchange-whole gap", 65, "--exchange-whole gap is n/a for sub-06"),
    Refused("--stats-mode perm --exchange-within participant_id", 65, "leave nothing to permute"),
    Refused("--exchange-within site", 2, "belong to --stats-mode perm and --calibrate"),
    Refused("--stats-mode perm", 2, "one random intercept or none", "value ~ group + age + (1 + age|site)"),
    Refused("--stats-mode perm --weights weight", 2, "no weights"),
    Refused("--stats-mode perm --calibrate 20", 2, "as --stats-mode perm does itself"),
    Refused("--stats-mode perm --sensitivity", 2, "decides anew from p values"),
    Refused("--calibrate 20 --engine pymer4", 2, "only the batched engine"),
    Refused("--calibrate 20 --alpha-scalar 0.05", 2, "no level over scalars"),
    Refused("--calibrate 3", 2, "between 20 and 100000"),
    Refused("--combination fisher", 2, "takes the cells of a block for independent"),
    Refused("--stats-mode fdr --combination acat", 2, "--combination belongs to"),
    Refused("--ddf kenward-roger", 2, "Add --engine pymer4"),
    Refused("--block {tmp}/absent.tsv", 66, "absent.tsv does not exist"),
)


@pytest.mark.parametrize("case", REFUSED, ids=[case.options for case in REFUSED])
def test_what_cannot_be_done_is_refused_before_anything_is_fitted(runs, cli, tmp_path, case):
    bids, out = runs.cohorts["crowd"]
    options = [text.format(tmp=tmp_path) for text in shlex.split(case.options)]
    ended = cli(bids, out, "group", "--formula", case.formula, "--model-name", "refused", "--profile", "1D", *options)
    assert ended.status == case.status, ended.err
    assert case.says in ended.err
    assert not list(out.glob("group/model-refused/*"))


# --- every option ---------------------------------------------------------------------------------------------------


@every_case
def test_every_option_gives_the_tables_of_the_contract_in_a_valid_tree(runs, name):
    case = runs.once(name)
    decisions = columns.names((*(columns.FITS_1D if case.profile == "1D" else columns.FITS_2D), *columns.DECISIONS))
    assert list(runs.table(name, "stats").columns) == decisions
    fixed = {"blocks": columns.BLOCKS, "summary": columns.SUMMARY, "clusters": columns.CLUSTERS}
    fixed |= {"calibration": columns.CALIBRATION} if "--calibrate" in case.options else {}
    fixed |= {"sensitivity": columns.SENSITIVITY} if "--sensitivity" in case.options else {}
    for kind, expected in fixed.items():
        assert list(runs.table(name, kind).columns) == columns.names(expected)
    assert [f for f in validate(runs.cohorts[case.cohort].out) if f"model-{name}" in f.path] == []


@every_case
def test_a_second_run_computes_nothing_and_changes_no_byte(runs, name, tree):
    case = runs.once(name)
    out = runs.cohorts[case.cohort].out
    before = tree(out)
    assert f"model {name} was done already" in runs.again(case).err
    assert tree(out) == before


@every_case
def test_the_page_names_what_was_done(runs, name):
    shown = runs.page(name)
    for words in (*BY_NAME[name].said, BY_NAME[name].formula):
        assert words in shown


@every_case
def test_the_command_on_the_page_means_the_same_settings(runs, name):
    def meant(arguments: list[str]):
        options = parse(arguments)
        return group_settings(options, run_settings(options, arguments, ""))

    case = runs.once(name)
    page = (runs.cohorts[case.cohort].out / f"model-{name}.html").read_text()
    said = re.search(r"spectra-bids [^<]* group --model-name[^<]*", page)
    assert said is not None
    shown = meant(shlex.split(html.unescape(said.group(0)))[1:])
    assert shown == replace(meant(runs.command(case)), run=shown.run)


def test_reports_only_makes_the_same_page_from_the_tables(runs, tree):
    for name in ("calibrated", "sensitive", "combat", "tfce"):
        case = runs.once(name)
        out = runs.cohorts[case.cohort].out
        before, kept = tree(out), stamps(runs.folder(case), "*.tsv")
        (out / f"model-{name}.html").unlink()
        runs.again(case, "--reports-only")
        assert tree(out) == before
        assert stamps(runs.folder(case), "*.tsv") == kept


# --- decisions ------------------------------------------------------------------------------------------------------


def test_a_change_of_the_decision_keeps_the_fits_and_permutations_come_beside_them(runs):
    case = Case("changing", "", cohort="crowd")
    runs.again(case)
    before = stamps(runs.folder(case), "*_fits.*") | stamps(runs.folder(case), "*_residuals.*")
    plain = (runs.folder(case) / "model-changing_desc-profile1D_stats.tsv").read_bytes()
    for options in ("--stats-mode hfdr_resel", "--combination gates", "--alpha-scalar 0.1", "--stats-mode fdr"):
        runs.again(case._replace(options=options))
    perm = case._replace(options="--stats-mode perm --n-permutations 99")
    runs.again(perm)
    permuted = stamps(runs.folder(case), "*_permutations.npz")
    assert len(permuted) == 3
    runs.again(perm._replace(options=f"{perm.options} --perm-statistic max --alpha 0.1"))
    assert stamps(runs.folder(case), "*_permutations.npz") == permuted
    runs.again(perm._replace(options=f"{perm.options} --random-seed 1"))
    assert not set(stamps(runs.folder(case), "*_permutations.npz").values()) & set(permuted.values())
    runs.again(case)
    after = stamps(runs.folder(case), "*_fits.*") | stamps(runs.folder(case), "*_residuals.*")
    assert after == before
    assert (runs.folder(case) / "model-changing_desc-profile1D_stats.tsv").read_bytes() == plain


@pytest.mark.parametrize("name", ["tfce", "peak", "mass"])
def test_permutation_corrects_over_the_family_and_leaves_the_model_s_p(runs, name):
    plain, stats = runs.table("plain", "stats"), runs.table(name, "stats")
    fixed = columns.names(columns.FITS_1D)
    pd.testing.assert_frame_equal(plain[fixed], stats[fixed])
    assert (stats["q"].isna() == stats["p"].isna()).all()
    assert stats["q"].min() >= 1 / 200
    np.testing.assert_array_equal(stats["rejected"], stats["q"] <= 0.05)
    np.testing.assert_allclose(stats["q"].dropna() * 200, (stats["q"].dropna() * 200).round(), atol=1e-3)
    hit = stats[stats["rejected"] & (stats["contrast"] == "group")]
    assert set(hit["scalar"]) == {"demo_wm"}
    assert set(hit["bundle"]) == {"CSTR"}
    assert set(hit["s"]) & set(NODES)
    summary = runs.table(name, "summary")
    assert summary["alpha_block"].isna().all()
    assert set(summary["mode"]) == {f"perm ({'max' if name == 'peak' else 'cluster' if name == 'mass' else 'tfce'})"}


def test_cells_without_a_p_value_stay_out_of_every_procedure(runs, study, tmp_path):
    """Most people lack the last nodes of AFL: too few are left there, and they belong to no family."""
    crowd = make_crowd(study.out, tmp_path / "c", 24)
    for path in sorted(crowd.out.glob("sub-*/dwi/*_desc-profile1D_tractometry.tsv"))[:20]:
        table = pd.read_csv(path, sep="\t", keep_default_na=False, dtype=str)
        table.loc[(table["bundle"] == "AFL") & (table["s"].astype(int) > 18), ["demo_wm", "demo_md"]] = "n/a"
        table.to_csv(path, sep="\t", index=False, lineterminator="\n")
    base = [crowd.bids, crowd.out, "group", "--formula", SITE, "--model-name", "gaps", "--profile", "1D"]
    for options in ("--stats-mode perm --n-permutations 99", "--stats-mode hfdr_resel", "--combination minp-galwey"):
        assert runs.cli(*base, *options.split()).status == 0
        stats = read_table(crowd.out / "group/model-gaps/model-gaps_desc-profile1D_stats.tsv")
        lost = stats["p"].isna()
        assert set(stats.loc[lost, "fit_status"]) == {"too_few"}
        assert set(stats.loc[lost, "bundle"]) == {"AFL"}
        assert stats.loc[lost, ["q", "q_cell"]].isna().all(axis=None)
        assert not stats.loc[lost, "rejected"].any()
        blocks = read_table(crowd.out / "group/model-gaps/model-gaps_desc-profile1D_blocks.tsv")
        valid = stats[~lost].groupby(["scalar", "contrast"]).size()
        assert blocks.groupby(["scalar", "contrast"])["n_valid"].sum().eq(valid).all()


def test_resels_lie_in_bundles_and_carry_their_names(runs):
    blocks = runs.table("resel", "blocks")
    assert blocks.groupby("bundle")["block"].nunique().min() > 1
    assert all(
        block.startswith(f"{bundle} resel ") for block, bundle in zip(blocks["block"], blocks["bundle"], strict=True)
    )
    chosen = blocks[blocks["selected"] & (blocks["contrast"] == "group")]
    assert set(chosen["bundle"]) == {"CSTR"}
    assert "_bundle-CSTR_" in " ".join(p.name for p in (runs.folder(BY_NAME["resel"]) / "figures").iterdir())


def test_blocks_of_the_user_are_the_hypotheses(runs, tmp_path):
    path = tmp_path / "regions.tsv"
    rows = ["bundle\ts\tblock", *(f"CST_R\t{s}\tmiddle" for s in range(8, 18)), "Left Arcuate\tn/a\tarcuate"]
    path.write_text("\n".join(rows) + "\n")
    case = Case("regions", f"--block {path}")
    runs.again(case)
    blocks, stats = (
        read_table(runs.folder(case) / f"model-regions_desc-profile1D_{k}.tsv") for k in ("blocks", "stats")
    )
    assert set(blocks["block"]) == {"middle", "arcuate"}
    assert set(blocks.loc[blocks["selected"] & (blocks["contrast"] == "group"), "block"]) == {"middle"}
    outside = stats["block"].isna()
    assert set(stats.loc[outside, "bundle"]) == {"CSTR", "CCForcepsMajor"}
    assert stats.loc[outside, "q"].isna().all()
    assert not stats.loc[outside, "rejected"].any()
    assert "The regions of regions.tsv are the blocks" in runs.page_of(case)
    path.write_text(path.read_text().replace("arcuate\n", "left\n"))
    assert "was done already" not in runs.again(case).err


def test_the_scalar_with_an_effect_is_selected_and_noise_is_not(runs):
    summary = runs.table("scalars", "summary").query("contrast == 'group'").set_index("scalar")
    assert summary["scalar_selected"].to_dict() == {"demo_wm": True, "demo_md": False}
    assert summary.loc["demo_md", "n_rejected"] == 0
    assert summary.loc["demo_wm", "n_rejected"] > 0


# --- fits -----------------------------------------------------------------------------------------------------------


def test_an_offset_is_taken_from_the_values(runs):
    """lme4's offset(): the intercept moves by its mean alone if it is a constant, here it is not."""
    plain, moved = runs.table("plain", "stats"), runs.table("offset", "stats")
    assert (plain["estimate"] - moved["estimate"]).abs().median() > 0
    assert (plain["n"] == moved["n"]).all()


def test_maximum_likelihood_has_the_smaller_variance(runs):
    reml, ml = (runs.table(name, "stats").query("contrast == 'group'") for name in ("plain", "ml"))
    assert (ml["sd_residual"] <= reml["sd_residual"] * (1 + 1e-6)).mean() > 0.9
    assert (ml["se"] < reml["se"]).mean() > 0.9


def test_combat_removes_what_sites_add_and_says_how_much(runs):
    from spectra_bids.group.batches import KEYS

    case = runs.once("combat")
    rows = []
    for path in sorted(runs.folder(case).glob("*_fits.json")):
        facts = json.loads(path.read_text())
        assert [set(row) for row in facts["Harmonization"]] == [set(KEYS)] * 8  # 4 sites x 2 scalars
        rows += facts["Harmonization"]
    table = pd.DataFrame(rows)
    assert (table["N"] >= 8).all()
    assert (table["CellsLeftOut"] == 0).all()
    assert table["MedianShift"].gt(0).all()
    assert table["MedianScale"].between(0.5, 2).all()
    assert "Harmonization" not in json.loads(next(runs.folder(runs.once("plain")).glob("*_fits.json")).read_text())
    sites = runs.table("controls", "stats")
    assert (sites["fit_status"] == "singular").mean() > (
        runs.table("plain", "stats")["fit_status"] == "singular"
    ).mean()


def need_pymer4() -> None:
    """Skip without the R engine. Not by importing it: rpy2 changes LD_LIBRARY_PATH, which only the engine puts back."""
    if find_spec("pymer4") is None:
        pytest.skip("the r extra is absent; scripts/setup.sh r installs it where it may")


@pytest.mark.r
@pytest.mark.parametrize("options", ["", "--ddf kenward-roger", "--ci profile"], ids=["plain", "ddf", "profile"])
def test_the_r_engine_gives_the_same_tables_whatever_the_number_of_processes(runs, rscript, tmp_path, tree, options):
    need_pymer4()
    case = Case("engine", f"--engine pymer4 --scalars demo_wm {options}")
    out = runs.cohorts["crowd"].out
    runs.again(case, "--n-procs", 1 if options else 2)
    engine = read_table(runs.folder(case) / "model-engine_desc-profile1D_stats.tsv")
    made = {k: v for k, v in tree(out).items() if "model-engine" in k}
    if options == "":
        shutil.rmtree(runs.folder(case))
        runs.again(case, "--n-procs", 1)
        assert {k: v for k, v in tree(out).items() if "model-engine" in k} == made
    batched = runs.table("plain", "stats").query("scalar == 'demo_wm'").reset_index(drop=True)
    np.testing.assert_allclose(engine["estimate"], batched["estimate"], atol=2e-4 * batched["se"].max())
    if "kenward" not in options:
        np.testing.assert_allclose(engine["df"], batched["df"], rtol=2e-3)
        np.testing.assert_allclose(engine["p"], batched["p"], rtol=2e-2)
    page = runs.page_of(case)
    assert "through pymer4 and lme4" in page
    assert ("Kenward and Roger" in page) == ("kenward" in options)
    assert ("profile likelihood" in page) == ("profile" in options)


@pytest.mark.r
def test_the_self_test_fits_the_model_s_own_values_and_its_line_comes_to_the_page(runs, rscript):
    need_pymer4()
    options = f"{COMBAT} --weights weight --offset known --estimation ml --scalars demo_wm"
    case = Case("tested", options, formula="value ~ group + age")
    out = runs.cohorts["crowd"].out
    runs.again(case)
    assert "Checked against" not in runs.page_of(case)
    ended = runs.cli("selftest", out, "--model", "tested", "-n", 3)
    assert ended.status == 0, ended.out
    sample = read_table(runs.folder(case) / "model-tested_selftest.tsv").query("contrast == 'group'")
    stats = read_table(runs.folder(case) / "model-tested_desc-profile1D_stats.tsv").query("contrast == 'group'")
    both = sample.merge(stats, on=["bundle", "scalar", "s"], suffixes=("", "_main"))
    assert len(both) == 3
    np.testing.assert_allclose(both["estimate"], both["estimate_main"], rtol=1e-4)
    np.testing.assert_allclose(both["estimate_r"], both["estimate_main"], rtol=1e-4)
    runs.again(case)
    assert "Checked against lmerTest: 3 cells" in runs.page_of(case)
    assert [f for f in validate(out) if "model-tested" in f.path] == []
    runs.again(case._replace(formula="value ~ group"))
    assert "Checked against" not in runs.page_of(case)  # that was another model
