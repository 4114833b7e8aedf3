"""Quality control at group level: what is planted is found, decisions are honoured, and files stay as they are."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from crowd import Crowd, make_crowd

from spectra_bids import columns
from spectra_bids.dataset import qc_columns
from spectra_bids.dataset.outputs import read_table, write_table
from spectra_bids.dataset.qc_files import read_decisions
from spectra_bids.dataset.validate import validate
from spectra_bids.group.quality import inspect
from spectra_bids.group.shared import shared_files, write_shared
from spectra_bids.group.sites import site_like
from spectra_bids.group.tables import read_cohort
from spectra_bids.settings import GroupSettings, RunSettings

TABLES = {
    "coverage": qc_columns.QC_COVERAGE,
    "outliers": qc_columns.QC_OUTLIERS,
    "orientation": qc_columns.QC_ORIENTATION,
    "sites": qc_columns.QC_SITES,
}
FORMULA = "value ~ group + age"


def edit(out: Path, subject: str, bundle: str, change) -> None:
    """Change a bundle's 1D profile of demo_wm."""
    (path,) = out.glob(f"{subject}/dwi/*_desc-profile1D_tractometry.tsv")
    table = read_table(path)
    rows = (table["bundle"] == bundle).to_numpy()
    values = table.loc[rows, "demo_wm"].to_numpy(float)
    table.loc[rows, "demo_wm"] = change(values, np.linspace(0, 1, len(values)))
    write_table(path, table)


@pytest.fixture(scope="session")
def made(study, tmp_path_factory) -> Crowd:
    """36 people whose profiles rise along the tract: one is reversed, one is too low, one site is higher."""
    crowd = make_crowd(study.out, tmp_path_factory.mktemp("quality") / "c", 36)
    people = read_table(crowd.bids / "participants.tsv")
    for subject in people["participant_id"]:
        for bundle in ("AFL", "CSTR", "CCForcepsMajor"):
            edit(crowd.out, subject, bundle, lambda x, u: x + 0.5 * u)
    for subject in people.loc[people["site"] == "site2", "participant_id"]:
        edit(crowd.out, subject, "CCForcepsMajor", lambda x, u: x + 0.15)
    edit(crowd.out, "sub-05", "AFL", lambda x, u: x[::-1])
    edit(crowd.out, "sub-09", "CSTR", lambda x, u: x - 0.5)
    return crowd


@pytest.fixture
def crowd(made, tmp_path) -> Crowd:
    return Crowd(made.bids, Path(shutil.copytree(made.out, tmp_path / "out")))


@pytest.fixture
def group(crowd, cli):
    def run(*options: object, name: str = "main"):
        ended = cli(crowd.bids, crowd.out, "group", "--formula", FORMULA, "--profile", "1D", "--model-name", name,
                    "-v", *options)  # fmt: skip
        assert ended.status == 0, ended.err
        return ended

    return run


def decisions(folder: Path, *lines: str, name: str = "decisions.tsv") -> Path:
    path = folder / name
    path.write_text("\n".join(["participant_id\tbundle\tdecision\treason", *lines]) + "\n")
    return path


def table(out: Path, kind: str) -> pd.DataFrame:
    return read_table(out / "group" / f"desc-{kind}_qc.tsv")


def page(out: Path) -> str:
    return (out / "group_qc.html").read_text()


def test_tables_have_the_columns_of_the_contract_and_pass_the_validation(group, crowd):
    group()
    for kind, of in TABLES.items():
        assert list(table(crowd.out, kind).columns) == columns.names(of)
    assert [f for f in validate(crowd.out) if "_qc" in f.path or "_rows" in f.path] == []
    (crowd.out / "group" / "desc-outliers_qc.tsv").unlink()
    (crowd.out / "group_qc.html").unlink()
    assert {f.path for f in validate(crowd.out) if "_qc" in f.path} == {"group/desc-outliers_qc.tsv", "group_qc.html"}


def test_what_was_planted_is_found_and_nothing_else(group, crowd):
    group()
    far, turned, sites = (table(crowd.out, k) for k in ("outliers", "orientation", "sites"))
    found = far[far["flagged"] == True]  # noqa: E712
    assert {("sub-09", "CSTR", "demo_wm"), ("sub-05", "AFL", "demo_wm")} <= set(
        found[["participant_id", "bundle", "scalar"]].itertuples(index=False, name=None)
    )
    assert len(found) <= 3  # .05 of six bundles and scalars by chance
    hits = turned[turned["verdict"] == "reversed"]
    assert list(hits[["participant_id", "bundle", "scalar"]].itertuples(index=False, name=None)) == [
        ("sub-05", "AFL", "demo_wm")
    ]
    assert set(turned.loc[turned["scalar"] == "demo_md", "verdict"]) <= {"cannot_tell", "not_measured"}
    most = sites.loc[sites["share"].idxmax()]
    assert (most["bundle"], most["scalar"], most["column"]) == ("CCForcepsMajor", "demo_wm", "site")
    text = page(crowd.out)
    assert "1 profile looks reversed" in text
    assert "sub-05 in AFL" in text
    assert "sub-09" in text


def test_the_tables_hold_what_the_functions_say(group, crowd):
    group()
    cohort = read_cohort(crowd.out, "1D")
    people = read_table(crowd.bids / "participants.tsv")
    found = inspect(cohort, None, site_like(people))
    for kind, made in found.tables.items():
        stored = table(crowd.out, kind)
        assert len(stored) == len(made)
        for column in made.columns:
            if pd.api.types.is_float_dtype(made[column]):
                np.testing.assert_allclose(stored[column].astype(float), made[column], rtol=1e-5)
    assert len(found.tables["coverage"]) == len(cohort.sessions) * len(cohort.bundles)


def test_a_second_run_changes_no_byte_and_another_model_writes_the_same_page(group, crowd, tree):
    group()
    before = tree(crowd.out)
    stamps = {p: p.stat().st_mtime_ns for p in (crowd.out / "group").glob("*_qc.*")}
    assert "was done already" in group().err
    assert tree(crowd.out) == before
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps
    group(name="other")
    both = tree(crowd.out)
    tables = [k for k in before if k.startswith("group/desc-") and "_qc." in k]
    assert len(tables) == 8
    assert {k: both[k] for k in tables} == {k: before[k] for k in tables}
    assert "Model other" in page(crowd.out)
    group()
    assert tree(crowd.out) == both
    group("--force")
    assert tree(crowd.out) == both


def test_a_page_that_is_gone_or_out_of_date_is_made_again_without_a_fit(group, crowd, tree):
    group()
    before = tree(crowd.out)
    fits = {p: p.stat().st_mtime_ns for p in (crowd.out / "group" / "model-main").glob("*_fits.tsv")}
    (crowd.out / "group_qc.html").unlink()
    (crowd.out / "group" / "desc-sites_qc.tsv").unlink()
    group()
    assert tree(crowd.out) == before
    (crowd.out / "group_qc.html").write_text("")
    group("--reports-only")
    assert tree(crowd.out) == before
    assert {p: p.stat().st_mtime_ns for p in fits} == fits


def test_a_selection_of_a_model_does_not_narrow_the_tables(group, crowd):
    group("--participant-label", *[f"{k:02d}" for k in range(1, 25)], "--scalars", "md")
    assert table(crowd.out, "coverage")["participant_id"].nunique() == 36
    assert set(table(crowd.out, "outliers")["scalar"]) == {"demo_md", "demo_wm"}
    assert "24 rows, 12 left out: 12 no profile tables, or not selected." in page(crowd.out)


def test_a_rejected_bundle_is_fitted_again_without_it_and_no_other_is(group, crowd, tmp_path):
    group()
    folder = crowd.out / "group" / "model-main"
    stamps = {p.name: p.stat().st_mtime_ns for p in folder.glob("*_fits.tsv")}
    n = read_table(folder / "model-main_desc-profile1D_stats.tsv").groupby("bundle")["n"].max()
    path = decisions(tmp_path, "09\tCST_right\treject\ttoo low", "sub-05\tLeft Arcuate\treject\t", "05\tAFL\treject\t")
    measured = {p: p.read_bytes() for p in crowd.out.glob("sub-*/dwi/*")}
    group("--qc-file", path)
    after = {p.name: p.stat().st_mtime_ns for p in folder.glob("*_fits.tsv")}
    assert {k.split("_")[1] for k in after if after[k] != stamps[k]} == {"bundle-AFL", "bundle-CSTR"}
    left = read_table(folder / "model-main_desc-profile1D_stats.tsv").groupby("bundle")["n"].max()
    assert dict(n - left) == {"AFL": 1, "CSTR": 1, "CCForcepsMajor": 0}
    assert {p: p.read_bytes() for p in measured} == measured
    status = table(crowd.out, "coverage").set_index(["participant_id", "bundle"])
    assert status.loc[("sub-09", "CSTR"), ["status", "decision", "reason"]].tolist() == ["qc_fail", "reject", "too low"]
    assert (status["status"] == "qc_fail").sum() == 2
    assert "decisions.tsv rejects 2 bundles of 2 sessions" in page(crowd.out)
    model_page = (crowd.out / "model-main.html").read_text()
    assert "Quality control: decisions.tsv rejects 2 bundles of 2 sessions" in model_page
    assert f"--qc-file {path}" in model_page
    assert "reversed:" not in re.sub(r"<[^>]+>", "", page(crowd.out))
    before = table(crowd.out, "outliers")
    group()
    assert (table(crowd.out, "coverage")["status"] != "qc_fail").all()
    assert {k: v for k, v in stamps.items() if (folder / k).stat().st_mtime_ns == after[k]}.keys() == {
        "model-main_bundle-CCForcepsMajor_desc-profile1D_fits.tsv"
    }
    assert len(before) == len(table(crowd.out, "outliers"))


def test_rejected_values_are_measured_but_do_not_say_what_is_usual(made, tmp_path):
    cohort = read_cohort(made.out, "1D")
    path = decisions(tmp_path, *(f"{k:02d}\tCSTR\treject\t" for k in range(1, 13)))
    found = inspect(cohort, read_decisions(path), {}).tables["outliers"]
    mine = found[(found["bundle"] == "CSTR") & (found["scalar"] == "demo_wm")]
    assert mine["excess"].notna().all()
    assert (mine["decision"] == "reject").sum() == 12
    from spectra_bids.group.distances import distances

    values = cohort.only("CSTR").values["demo_wm"]
    np.testing.assert_allclose(mine["excess"][12:], distances(values[12:]).excess, rtol=1e-9)


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize("dims", ["1D", "2D"])
def test_a_cohort_lacks_what_is_rejected(dims, in_file, study, tmp_path):
    path = decisions(tmp_path, "02\tCSTR\treject\t", "04\tAFL\treject\t", "sub-03\t*\treject\t")
    whole = read_cohort(study.out, dims)
    cohort = read_cohort(study.out, dims, decisions=read_decisions(path), in_file=in_file)
    rejected = {("sub-02", "CSTR"), *(("sub-03", b) for b in cohort.bundles)}
    people = cohort.sessions["participant_id"].tolist()
    for k, subject in enumerate(people):
        for b, bundle in enumerate(cohort.bundles):
            here = (subject, bundle) in rejected
            assert cohort.absence[k, b] == ("qc_fail" if here else whole.absence[k, b])
            values = cohort.values["demo_wm"][k, cohort.columns_of(bundle)]
            expected = whole.values["demo_wm"][k, whole.columns_of(bundle)]
            np.testing.assert_array_equal(values, np.full_like(expected, np.nan) if here else expected)
    assert cohort.absence[people.index("sub-04"), cohort.bundles.index("AFL")] == "no_bundle"


def test_exports_keep_rejected_values_with_their_status_and_leave_them_out_where_there_is_none(profiles, tmp_path):
    people = pd.DataFrame({"participant_id": ["sub-01"]})
    write_shared(profiles, "1D", people)
    parquet, csv, _ = shared_files(profiles, "1D")
    long, flat = pd.read_parquet(parquet), pd.read_csv(csv)
    write_shared(profiles, "1D", people, read_decisions(decisions(tmp_path, "02\tCSTR\treject\t")))
    after, after_flat = pd.read_parquet(parquet), pd.read_csv(csv)
    mine = (long["participant_id"] == "sub-02") & (long["bundle"] == "CSTR")
    assert (after.loc[mine, "status"] == "qc_fail").all()
    pd.testing.assert_frame_equal(after.drop(columns="status"), long.drop(columns="status"))
    pd.testing.assert_frame_equal(after[~mine], long[~mine])
    assert after_flat.loc[mine.to_numpy(), "demo_wm"].isna().all()
    pd.testing.assert_frame_equal(after_flat[~mine.to_numpy()], flat[~mine.to_numpy()])


def test_with_report_level_group_the_page_names_and_shows_nobody(crowd, group, tmp_path):
    from spectra_bids.group.quality import write_quality

    path = decisions(tmp_path, "sub-01\tAFL\treject\tmoved a lot", "sub-77\tAFL\treject\t", "sub-05\tCSTR\taccept\t")
    group("--qc-file", path)
    assert "sub-05" in page(crowd.out)
    run = RunSettings(crowd.bids, crowd.out)
    settings = GroupSettings(run, formula=FORMULA, qc_file=path, report_level="group")
    write_quality(settings, read_decisions(path))
    text = page(crowd.out)
    assert not re.search(r"sub-\d|moved a lot", text)
    assert "36 people" in text
    assert "rejects 1 bundle of 1 session" in text
    figures = (crowd.out / "group" / "figures").glob("desc-*_qc.svg")
    assert not any(re.search(r"sub-\d", f.read_text()) for f in figures)


@pytest.mark.parametrize(
    ("lines", "status", "message"),
    [
        (("01\tAFL\tmaybe\t",), 65, "line 2, column decision: expected accept or reject. Got 'maybe'"),
        (("01\tAFL\treject\t", "01\tAF_L\taccept\t"), 65, "lines 2 and 3 contradict each other"),
        (None, 66, "does not exist"),
    ],
)
def test_a_wrong_file_ends_with_its_status_and_writes_nothing(lines, status, message, crowd, cli, tmp_path, tree):
    path = tmp_path / "none.tsv" if lines is None else decisions(tmp_path, *lines)
    before = tree(crowd.out)
    ended = cli(crowd.bids, crowd.out, "group", "--formula", FORMULA, "--qc-file", path)
    assert ended.status == status
    assert message in ended.err
    assert tree(crowd.out) == before


def test_lines_that_name_nobody_are_logged_and_dry_run_says_what_is_rejected(crowd, cli, tmp_path, caplog):
    path = decisions(tmp_path, "77\tAFL\treject\t", "02\t*\treject\t")
    ended = cli(crowd.bids, crowd.out, "group", "--formula", FORMULA, "--qc-file", path, "--dry-run")
    assert ended.status == 0
    assert "decisions.tsv rejects 3 bundles of 1 session\n" in ended.out
    assert "line 2: there are no profiles of sub-77" in caplog.text
    assert not (crowd.out / "group").exists()


def test_the_sidecar_names_no_place_and_no_time(group, crowd, tmp_path):
    group("--qc-file", decisions(tmp_path, "02\tCSTR\treject\t"))
    for path in (crowd.out / "group").glob("*_qc.json"):
        facts = json.loads(path.read_text())
        assert {k for k, v in facts.items() if not isinstance(v, dict)} == {"SettingsHash", "Sites"}
