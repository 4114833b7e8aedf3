"""The group level as a run: map and reduce, what is fitted again, models in and out, who is left out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spectra_bids import columns
from spectra_bids.dataset.outputs import read_table
from spectra_bids.models.design import build_design
from spectra_bids.models.formula import parse_formula

FORMULA = "value ~ group + age + sex + (1|site)"
NAME = "main"
FAST = ("--profile", "1D", "--model-name", NAME)
KINDS = ("stats", "blocks", "summary", "clusters")


def table(out: Path, kind: str, dims: str = "1D", name: str = NAME) -> pd.DataFrame:
    return read_table(out / "group" / f"model-{name}" / f"model-{name}_desc-profile{dims}_{kind}.tsv")


def fits(out: Path, name: str = NAME) -> dict[str, tuple[int, int]]:
    """Every file of fits with its inode and time of change."""
    found = (out / "group" / f"model-{name}").glob("*_fits.*")
    return {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in found}


def page(out: Path, name: str = NAME) -> str:
    return (out / f"model-{name}.html").read_text()


@pytest.fixture
def group(study, profiles, cli):
    """Run the group level on the study; fails unless it ends with 0."""

    def run(*options: object, formula: str | None = FORMULA, bids: Path = study.bids):
        model = () if formula is None else ("--formula", formula)
        ended = cli(bids, profiles, "group", *model, *FAST, "-v", *options)
        assert ended.status == 0, ended.err
        return ended

    return run


@pytest.fixture
def people(study, tmp_path):
    """A copy of the study's input without images, whose tables a test may change."""
    bids = tmp_path / "people"
    shutil.copytree(study.bids, bids, ignore=shutil.ignore_patterns("*.trk", "*.nii.gz"))
    return bids


def edit(path: Path, change) -> pd.DataFrame:
    """Change a table of text and write it back."""
    raw = change(pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False))
    raw.to_csv(path, sep="\t", index=False, lineterminator="\n")
    return raw


def test_every_table_has_the_columns_of_the_contract(group, profiles):
    group("--profile", "both", "--alpha-cell", "0.05", "0.25")
    fixed = {"blocks": columns.BLOCKS, "summary": columns.SUMMARY, "clusters": columns.CLUSTERS}
    for dims, fitted in (("1D", columns.FITS_1D), ("2D", columns.FITS_2D)):
        for kind, expected in fixed.items():
            assert list(table(profiles, kind, dims).columns) == columns.names(expected)
        stats = [*columns.names(fitted), *columns.names(columns.DECISIONS), "rejected_ac25"]
        assert list(table(profiles, "stats", dims).columns) == stats
    for path in (profiles / "group").rglob("*.tsv"):
        described = json.loads(path.with_suffix(".json").read_text())
        assert all(described[c]["Description"] for c in read_table(path).columns)


def test_a_second_run_changes_no_file(group, profiles, tree):
    group()
    before, stamps = tree(profiles), {p: p.stat().st_ino for p in profiles.rglob("*") if p.is_file()}
    assert "model main was done already" in group().err
    assert tree(profiles) == before
    assert {p: p.stat().st_ino for p in stamps} == stamps


def test_bundle_by_bundle_then_all_gives_the_bytes_of_a_single_run(group, profiles, tree):
    group("--profile", "both")
    together = tree(profiles)
    shutil.rmtree(profiles / "group")
    (profiles / "model-main.html").unlink()
    group("--profile", "both", "--bundle", "Left Arcuate")
    first = fits(profiles)
    assert {n.split("_")[1] for n in first} == {"bundle-AFL"}
    assert not (profiles / "model-main.html").exists()
    assert not list((profiles / "group").glob("*.parquet"))
    group("--profile", "both", "--bundle", "CST_right", "callosum_forceps_major")
    assert {n.split("_")[1] for n in fits(profiles)} == {"bundle-AFL", "bundle-CSTR", "bundle-CCForcepsMajor"}
    mapped = fits(profiles)
    assert {k: mapped[k] for k in first} == first
    group("--profile", "both")
    assert fits(profiles) == mapped
    assert tree(profiles) == together


def test_a_sweep_of_cell_levels_never_fits_again(group, profiles):
    group()
    before, rejected = fits(profiles), table(profiles, "stats")["rejected"]
    group("--alpha-cell", "0.05", "0.15", "0.25")
    assert fits(profiles) == before
    stats = table(profiles, "stats")
    assert [c for c in stats.columns if c.startswith("rejected")] == ["rejected", "rejected_ac15", "rejected_ac25"]
    pd.testing.assert_series_equal(stats["rejected"], rejected)
    assert rejected.sum() > 0
    assert (stats["rejected"] <= stats["rejected_ac15"]).all()
    assert (stats["rejected_ac15"] <= stats["rejected_ac25"]).all()
    np.testing.assert_array_equal(stats["rejected_ac25"], stats["block_selected"] & (stats["q"] <= 0.25))
    summary = table(profiles, "summary")
    assert list(summary.loc[summary["contrast"] == "group", "exploratory"]) == [False, True, True]
    assert "exploratory" in page(profiles)


def test_the_other_procedures_use_the_same_fits(group, profiles):
    from statsmodels.stats.multitest import multipletests

    group()
    before = fits(profiles)
    for options, method in ((("--adaptive",), "fdr_tsbky"), ((), "fdr_bh")):
        group("--stats-mode", "fdr", "--alpha", "0.1", *options)
        stats = table(profiles, "stats")
        family = stats[(stats["contrast"] == "group") & stats["p"].notna()]
        expected = multipletests(family["p"], alpha=0.1, method=method)[0]
        np.testing.assert_array_equal(family["rejected"], expected)
        assert expected.any()
        assert stats["block_selected"].isna().all()
    assert fits(profiles) == before


def test_one_kind_of_profile_leaves_the_other_alone(group, profiles):
    group("--profile", "2D")
    assert not list((profiles / "group").rglob("*profile1D*"))
    assert len(table(profiles, "stats", "2D")) > 0


def test_a_changed_value_fits_only_its_bundle_again(group, profiles):
    group()
    before = fits(profiles)
    (path,) = (profiles / "sub-02" / "dwi").glob("*_desc-profile1D_tractometry.tsv")

    def change(profile):
        row = profile.index[(profile["bundle"] == "CSTR") & (profile["status"] == "ok")][5]
        profile.loc[row, "demo_wm"] = "0.5"
        return profile

    edit(path, change)
    group()
    after = fits(profiles)
    assert {k.split("_")[1] for k in after if after[k] != before[k]} == {"bundle-CSTR"}


def test_a_changed_covariate_fits_everything_again(group, profiles, people):
    group(bids=people)
    before = fits(profiles)
    edit(people / "participants.tsv", lambda t: t.assign(age=["60.0", *t["age"][1:]]))
    group(bids=people)
    assert not set(fits(profiles).values()) & set(before.values())


def test_a_column_that_the_model_does_not_use_reaches_the_shared_table_without_a_fit(group, profiles, people):
    group(bids=people)
    before = fits(profiles)
    edit(people / "participants.tsv", lambda t: t.assign(note=[f"n{i}" for i in range(len(t))]))
    group(bids=people)
    assert fits(profiles) == before
    assert list(pd.read_csv(profiles / "group" / "subjects.csv")["note"][:2]) == ["n0", "n1"]


def test_force_fits_again_to_the_same_bytes(group, profiles, tree):
    group()
    before, stamps = tree(profiles), fits(profiles)
    group("--force")
    assert tree(profiles) == before
    assert not set(fits(profiles).values()) & set(stamps.values())


def test_dry_run_says_what_would_be_done_and_writes_nothing(profiles, study, cli, tree, people):
    edit(people / "participants.tsv", lambda t: t.assign(age=["n/a", *t["age"][1:]]))
    before = tree(profiles, logs=True)
    ended = cli(people, profiles, "group", "--formula", FORMULA, "--dry-run")
    assert ended.status == 0
    assert FORMULA in ended.out
    assert "11 sessions of 11 subjects" in ended.out
    assert "sub-01 (n/a in age)" in ended.out
    assert "group, age, sex" in ended.out
    assert "3 bundles" in ended.out
    assert tree(profiles, logs=True) == before


def test_reports_only_makes_the_page_and_its_figures_alone(group, profiles, tree):
    group()
    before = tree(profiles)
    stamps = {p: p.stat().st_ino for p in (profiles / "group").iterdir() if p.is_file()}
    stamps |= {p: p.stat().st_ino for p in (profiles / "group" / "model-main").iterdir() if p.is_file()}
    (profiles / "model-main.html").unlink()
    shutil.rmtree(profiles / "group" / "model-main" / "figures")
    group("--reports-only")
    assert tree(profiles) == before
    assert {p: p.stat().st_ino for p in stamps} == stamps


def test_reports_only_refuses_tables_that_another_model_or_older_profiles_made(group, study, profiles, cli):
    group()
    page_before = page(profiles)
    run = (study.bids, profiles, "group", *FAST, "--reports-only")
    ended = cli(*run, "--formula", "value ~ group")
    assert ended.status == 66
    assert "Run the same command without --reports-only" in ended.err
    path = next((profiles / "sub-01" / "dwi").glob("*_desc-profile1D_tractometry.tsv"))
    table_of_one = read_table(path)
    path.write_text(path.read_text().replace(f"{table_of_one['demo_wm'].dropna().iloc[0]:.6g}", "0.5"))
    assert cli(*run, "--formula", FORMULA).status == 66
    assert page(profiles) == page_before


def test_the_shared_tables_do_not_depend_on_the_model(group, profiles, tree):
    group("--profile", "both")
    shared = {p.name: p.read_bytes() for p in (profiles / "group").iterdir() if p.is_file()}
    group("--model-name", "other", "--participant-label", "01", "02", "03", "04", "05", "06", "07", "08", "09", "10",
          formula="value ~ group")  # fmt: skip
    after = {p.name: p.read_bytes() for p in (profiles / "group").iterdir() if p.is_file()}
    assert {k: v for k, v in after.items() if k != "subjects.csv"} == {
        k: v for k, v in shared.items() if k != "subjects.csv"
    }


def test_labels_choose_who_is_in_the_model(group, profiles):
    labels = [f"{i:02d}" for i in range(1, 11)]
    group("--participant-label", *labels[:5], *(f"sub-{x}" for x in labels[5:]), formula="value ~ group")
    stats = table(profiles, "stats")
    assert stats["n"].max() == 10
    assert "not selected" in page(profiles)
    assert "--participant-label" in page(profiles)


def test_a_contrast_by_text_by_file_and_by_model_file_is_the_same(group, profiles, tmp_path):
    group(formula=FORMULA)
    term = table(profiles, "stats").query("contrast == 'group'").reset_index(drop=True)
    text = "patient_vs_control: group[patient]=1 group[control]=-1"
    group("--contrast", text)
    by_text = table(profiles, "stats")
    assert set(by_text["contrast"]) == {"patient_vs_control"}
    numbers = ["estimate", "se", "df", "value", "p", "effect_size"]
    pd.testing.assert_frame_equal(by_text[numbers], term[numbers])
    file = tmp_path / "contrasts.tsv"
    file.write_text("name\ttype\tcolumns\tweights\npatient_vs_control\tT\tgroup[patient],group[control]\t1,-1\n")
    group("--contrast", file)
    pd.testing.assert_frame_equal(table(profiles, "stats"), by_text)


def test_the_written_model_file_gives_the_same_statistics(group, profiles, tmp_path, tree):
    two = ("any: group[patient]=1 group[control]=-1; age=1", "age_slope: age=1")
    group("--contrast", *two)
    model = Path(shutil.copy(profiles / "group" / "model-main" / "model-main_smdl.json", tmp_path / "m.json"))
    written = json.loads(model.read_text())
    assert written["Nodes"][0]["Model"]["Software"]["lme4"]["Formula"] == FORMULA
    before = {k: table(profiles, k) for k in KINDS}
    files = fits(profiles)
    group("--model", model, formula=None)
    assert fits(profiles) == files
    for kind in KINDS:
        pd.testing.assert_frame_equal(table(profiles, kind), before[kind])
    assert json.loads((profiles / "group" / "model-main" / "model-main_smdl.json").read_text()) == written
    assert set(before["stats"].query("contrast == 'any'")["statistic"]) == {"F"}


@pytest.mark.parametrize("extension", [".csv", ".xlsx", ".tsv"])
def test_a_design_table_replaces_the_participants_table(extension, group, profiles, people, tmp_path):
    group(bids=people)
    before = table(profiles, "stats")
    design = tmp_path / f"design{extension}"
    raw = pd.read_csv(people / "participants.tsv", sep="\t")
    if extension == ".xlsx":
        raw.to_excel(design, index=False)
    else:
        raw.to_csv(design, index=False, sep="\t" if extension == ".tsv" else ",")
    (people / "participants.tsv").unlink()
    files = fits(profiles)
    group("--design", design, bids=people)
    pd.testing.assert_frame_equal(table(profiles, "stats"), before)
    assert fits(profiles) == files
    assert design.name in page(profiles)


def test_rows_and_people_that_are_left_out_are_listed(group, profiles, people):
    def change(rows):
        rows.loc[rows["participant_id"] == "sub-05", "age"] = "n/a"
        rows.loc[len(rows)] = ["sub-99", "control", "55.0", "F", "site1"]
        return rows[rows["participant_id"] != "sub-06"]

    edit(people / "participants.tsv", change)
    group(bids=people)
    text = page(profiles)
    for who, why in (
        ("sub-05", "n/a in age"),
        ("sub-06", "not in participants.tsv"),
        ("sub-99", "no profile tables"),
    ):
        assert who in text
        assert why in text
    stats = table(profiles, "stats")
    assert stats["n"].max() == 10


def test_missing_bundles_are_missing_values_not_missing_people(group, profiles):
    group()
    stats = table(profiles, "stats").query("contrast == 'group'")
    most = stats.groupby("bundle")["n"].max()
    assert most.to_dict() == {"AFL": 11, "CCForcepsMajor": 11, "CSTR": 12}


def test_a_random_factor_with_one_level_becomes_ordinary_least_squares_and_says_so(group, profiles, people):
    edit(people / "participants.tsv", lambda t: t.assign(site="site1"))
    group(bids=people, formula="value ~ group + age + (1|site)")
    mixed = table(profiles, "stats")
    sidecar = json.loads(next((profiles / "group" / "model-main").glob("*_fits.json")).read_text())
    assert sidecar["Engine"] == "ordinary least squares"
    assert set(mixed["n_levels"]) == {0}
    assert "(1|site) is left out: all rows have site = site1" in page(profiles)
    group(bids=people, formula="value ~ group + age")
    numbers = ["estimate", "se", "df", "p"]
    pd.testing.assert_frame_equal(table(profiles, "stats")[numbers], mixed[numbers])


def test_ordinary_least_squares_is_that_of_numpy(group, profiles, study):
    group(formula="value ~ group + age")
    stats = table(profiles, "stats").query("contrast == 'age' and bundle == 'CSTR'").set_index("s")
    paths = sorted(profiles.glob("sub-*/dwi/*_desc-profile1D_tractometry.tsv"))
    y = np.stack([read_table(p).query("bundle == 'CSTR'").set_index("s")["demo_wm"] for p in paths])
    people = pd.read_csv(study.bids / "participants.tsv", sep="\t")
    design = build_design(parse_formula("value ~ group + age"), people)
    seen = 0
    for s, values in zip(read_table(paths[0]).query("bundle == 'CSTR'")["s"], y.T, strict=True):
        if np.isnan(values).any():
            continue
        beta, rss, *_ = np.linalg.lstsq(design.X, values, rcond=None)
        se = np.sqrt(rss[0] / 9 * np.linalg.inv(design.X.T @ design.X)[2, 2])
        assert stats.loc[s, "estimate"] == pytest.approx(beta[2], rel=1e-4)
        assert stats.loc[s, "se"] == pytest.approx(se, rel=1e-4)
        assert stats.loc[s, "df"] == 9
        seen += 1
    assert seen > 10


def test_too_few_people_is_a_status_not_a_p_value(group, profiles):
    group("--min-subjects", "12", formula="value ~ group")
    stats = table(profiles, "stats")
    few = stats[stats["n"] < 12]
    assert len(few) > 0
    assert set(few["fit_status"]) == {"too_few"}
    assert few["p"].isna().all()
    assert stats.loc[stats["n"] == 12, "p"].notna().all()


def test_a_bundle_that_nobody_has_is_said_and_left_out(group, profiles, cli, study):
    for path in profiles.glob("sub-*/dwi/*_desc-profile1D_tractometry.tsv"):

        def change(profile):
            rows = profile["bundle"] == "AFL"
            profile.loc[rows, ["demo_wm", "demo_wm_sd"]] = "n/a"
            profile.loc[rows, "status"] = "no_bundle"
            return profile

        edit(path, change)
    group()
    assert set(table(profiles, "stats")["bundle"]) == {"CCForcepsMajor", "CSTR"}
    assert "in nobody's data" in page(profiles).replace("&#39;", "'")
    command = (study.bids, profiles, "group", "--formula", FORMULA, *FAST, "--bundle", "AF_L", "CST_R")
    assert cli(*command).status == 66
    assert cli(*command, "--allow-partial").status == 0


def test_another_reason_for_a_missing_bundle_is_a_new_page_without_a_fit(group, profiles):
    group()
    before, old = fits(profiles), page(profiles)
    (path,) = (profiles / "sub-04" / "dwi").glob("*_desc-profile1D_tractometry.tsv")
    edit(path, lambda t: t.assign(status=t["status"].replace("no_bundle", "few_streamlines")))
    group()
    assert fits(profiles) == before
    assert page(profiles) != old


def test_settings_of_a_run_repeat_it(group, profiles, study, tmp_path, cli, tree):
    group("--contrast", "p: group[patient]=1 group[control]=-1", "--alpha-cell", "0.05", "0.2")
    before = tree(profiles)
    newest = max((profiles / "logs").glob("2*"), key=lambda p: p.stat().st_mtime_ns)
    config = Path(shutil.copy(newest / "run.toml", tmp_path))
    shutil.rmtree(profiles / "group")
    (profiles / "model-main.html").unlink()
    assert cli(study.bids, profiles, "group", "--config-file", config).status == 0
    assert tree(profiles) == before


def test_two_atlases_in_one_folder_do_not_mix(group, profiles, study, cli, tmp_path):
    """Grids of another atlas that once was used must not take the place of those of the tables."""
    group()
    before = table(profiles, "stats")
    other = Path(shutil.copytree(study.atlas, tmp_path / "atlas-zzz"))
    described = json.loads((other / "atlas.json").read_text())
    (other / "atlas.json").write_text(json.dumps(described | {"Label": "zzz"}))
    command = (study.bids, profiles, "participant", "--atlas", other, "--participant-label", "01", "--n-procs", 1)
    kept = {p: p.read_bytes() for p in (profiles / "sub-01").rglob("*.*") if p.is_file()}
    assert cli(*command, "-s", "7").status == 0
    for path, content in kept.items():
        path.write_bytes(content)
    group()
    pd.testing.assert_frame_equal(table(profiles, "stats"), before)
    assert cli(*command, "-s", "5").status == 65
    for path in (profiles / "atlas").glob("atlas-zzz*"):
        path.unlink()
    assert cli(*command, "-s", "5").status == 0
    ended = cli(study.bids, profiles, "group", "--formula", FORMULA, *FAST)
    assert ended.status == 16
    assert "another atlas" in ended.err


def test_profile_tables_are_long_and_shared(group, profiles):
    group("--profile", "both")
    long = pd.read_parquet(profiles / "group" / "desc-profile2D_tractometry.parquet")
    one = read_table(next((profiles / "sub-03" / "dwi").glob("*_desc-profile2D_tractometry.tsv")))
    mine = long[long["participant_id"] == "sub-03"].drop(columns=["participant_id", "session_id"])
    pd.testing.assert_frame_equal(mine.reset_index(drop=True), one, check_dtype=False)
    assert long["participant_id"].nunique() == 12
