"""group.loading, group.export, dataset.validation: profiles for other programs, by command and from Python."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

import spectra_bids
from spectra_bids.dataset.outputs import read_table, write_json, write_table
from spectra_bids.errors import DatasetError, MissingInputError, NothingSelectedError, OutputError, UsageError

FACTS = {"Atlas": {"Label": "a", "Name": "A"}, "GridChecksums": {"X": "1", "Y": "2"}, "SettingsHash": "abc"}


def write(out, subject, session="", space="", scalars=("dki_fa", "dki_md"), radial=False, facts=FACTS):
    """A table of two bundles with two nodes (of two radial bins); the last cell has no points."""
    folder = out / f"sub-{subject}" / (f"ses-{session}" if session else "") / "dwi"
    parts = [f"sub-{subject}", *([f"ses-{session}"] if session else []), *([f"space-{space}"] if space else [])]
    path = folder / ("_".join(parts) + f"_desc-profile{'2D' if radial else '1D'}_tractometry.tsv")
    n = 8 if radial else 4
    table = pd.DataFrame({"bundle": ["X"] * (n // 2) + ["Y"] * (n // 2)})
    table["s"] = np.tile(np.repeat([0, 1], n // 4), 2)
    if radial:
        table["r"] = np.tile([0, 1], 4)
    table["s_mm"] = table["s"] * 5.0
    if radial:
        table["r_mm"] = table["r"] * 5.0 - 2.5
    table = table.assign(n_points=[9] * (n - 1) + [0], n_streamlines=5, status=["ok"] * (n - 1) + ["no_points"])
    for k, scalar in enumerate(scalars):
        values = 10.0 * int(subject) + k + np.arange(n) / 8
        values[-1] = np.nan
        table[scalar], table[f"{scalar}_sd"] = values, 0.5
    write_table(path, table)
    write_json(path.with_suffix(".json"), {**facts, **{s: {"Units": "mm^2/s"} for s in scalars if s.endswith("md")}})
    return path


@pytest.fixture
def out(tmp_path):
    root = tmp_path / "out"
    for subject in ("1", "2", "3"):
        write(root, subject)
        write(root, subject, radial=True)
    write_json(root / "dataset_description.json", {"Name": "Tractometry", "SourceDatasets": [{"URL": "../x"}]})
    return root


def test_names_that_are_none_are_refused_with_what_there_is(out, tmp_path):
    load, export = spectra_bids.load_profiles, spectra_bids.export_profiles
    with pytest.raises(MissingInputError, match="no folder"):
        load(tmp_path / "nothing")
    with pytest.raises(MissingInputError, match="no 1D profile tables"):
        load(tmp_path)
    with pytest.raises(NothingSelectedError, match=r"fit none of 3 profile tables .* Spaces: none"):
        load(out, space="ACPC")
    with pytest.raises(NothingSelectedError, match="There are: sub-1, sub-2, sub-3"):
        load(out, subjects=["9"])
    with pytest.raises(NothingSelectedError, match=r"bundle Z\. There are: X, Y"):
        load(out, bundles=["X", "Z"])
    with pytest.raises(NothingSelectedError, match="There are: dki_fa, dki_md"):
        load(out, scalars=["ad"])
    with pytest.raises(UsageError, match="must be '1D' or '2D'"):
        load(out, profile="3D")
    with pytest.raises(UsageError, match="one of csv, tsv, json, wide"):
        export(out, tmp_path / "x.xlsx")
    with pytest.raises(UsageError, match=r"--format wide writes \.csv or \.tsv"):
        export(out, tmp_path / "x.json", "wide")
    assert not list(tmp_path.glob("x*"))


def test_profiles_are_loaded_with_everything_that_their_tables_hold(study):
    for profile in ("1D", "2D"):
        table = spectra_bids.load_profiles(study.out, profile=profile)
        files = sorted(study.out.glob(f"sub-*/dwi/*_desc-profile{profile}_tractometry.tsv"))
        assert len(files) == 12
        for path, (subject, rows) in zip(files, table.groupby("participant_id", sort=True), strict=True):
            assert path.name.startswith(f"{subject}_")
            own = rows.drop(columns=["participant_id", "session_id", "space"]).reset_index(drop=True)
            pd.testing.assert_frame_equal(own, read_table(path), check_dtype=False)
        assert set(table["space"]) == {"MNI152NLin2009aSym"}
        assert table["session_id"].isna().all()


def test_a_bundle_may_be_asked_for_in_another_spelling(tmp_path):
    path = write(tmp_path, "1")
    path.write_text(path.read_text().replace("X\t", "AssociationArcuateFasciculusL\t"))
    table = spectra_bids.load_profiles(tmp_path, bundles=["AF_L", "Left Arcuate"])
    assert set(table["bundle"]) == {"AssociationArcuateFasciculusL"}
    assert len(table) == 2


def test_profiles_are_chosen_by_pattern_space_subject_session_scalar_and_bundle(tmp_path):
    for session in ("a", "b"):
        for space in ("ACPC", "MNI"):
            write(tmp_path, "1", session, space)
    write(tmp_path, "2", "a", "MNI")
    load = spectra_bids.load_profiles
    with pytest.raises(DatasetError, match="several 1D profile tables"):
        load(tmp_path)
    table = load(tmp_path, space="MNI", scalars=["md"], bundles=["Y"])
    assert list(table[["participant_id", "session_id"]].drop_duplicates().itertuples(index=False, name=None)) == [
        ("sub-1", "ses-a"), ("sub-1", "ses-b"), ("sub-2", "ses-a"),
    ]  # fmt: skip
    assert list(table.columns[-2:]) == ["dki_md", "dki_md_sd"]
    assert set(table["bundle"]) == {"Y"}
    assert len(load(tmp_path, "*ses-b*", "ACPC")) == 4
    assert set(load(tmp_path, space="MNI", subjects=["sub-1"], sessions=["b"])["session_id"]) == {"ses-b"}
    assert len(load(tmp_path, "*space-ACPC*", subjects=("1",), sessions=("ses-a",))) == 4


@pytest.mark.parametrize(("name", "separator"), [("x.csv", ","), ("x.tsv", "\t")])
def test_a_tidy_table_has_every_scalar_of_every_cell(name, separator, out, tmp_path):
    made = spectra_bids.export_profiles(out, tmp_path / name)
    assert (made.rows, made.columns, made.sessions, made.subjects) == (24, 12, 3, 3)
    table = pd.read_csv(tmp_path / name, sep=separator, keep_default_na=False, na_values=["n/a", ""])
    loaded = spectra_bids.load_profiles(out)
    for scalar in ("dki_fa", "dki_md"):
        rows = table[table["scalar"] == scalar]
        np.testing.assert_array_equal(rows["value"], loaded[scalar])
        np.testing.assert_array_equal(rows["sd"], loaded[f"{scalar}_sd"])
        assert list(rows["status"]) == list(loaded["status"])
    last = (tmp_path / name).read_text().splitlines()[4].split(separator)
    assert last[1] == last[9] == ("n/a" if separator == "\t" else "")


def test_a_wide_table_has_one_row_per_session(out, tmp_path):
    for profile, cells in (("1D", 4), ("2D", 8)):
        made = spectra_bids.export_profiles(out, tmp_path / f"{profile}.tsv", "wide", profile=profile)
        table = read_table(made.path)
        assert table.shape == (3, 3 + 2 * cells) == (made.rows, made.columns)
        node = "X_dki_fa_s01" if profile == "1D" else "X_dki_fa_s01_r1"
        loaded = spectra_bids.load_profiles(out, profile=profile, bundles=["X"])
        np.testing.assert_array_equal(table[node], loaded.groupby("participant_id")["dki_fa"].last())
        assert table.iloc[:, -1].isna().all()


def test_json_says_null_where_nothing_was_measured(out, tmp_path):
    spectra_bids.export_profiles(out, tmp_path / "x.json", profile="2D")
    profiles = json.loads((tmp_path / "x.json").read_text())["profiles"]
    assert len(profiles) == 3 * 2 * 2
    last = profiles[1]
    assert (last["participant_id"], last["session_id"], last["bundle"], last["scalar"]) == (
        "sub-1",
        None,
        "Y",
        "dki_fa",
    )
    assert last["value"] == [10.5, 10.625, 10.75, None]
    assert last["r"] == [0, 1, 0, 1]
    assert last["status"][-1] == "no_points"


def test_provenance_describes_every_column_and_the_source(out, tmp_path):
    for name, kind in (("a.csv", "csv"), ("b.csv", "wide"), ("c.json", "json")):
        made = spectra_bids.export_profiles(out, tmp_path / name, kind)
        said = json.loads(made.provenance.read_text())
        assert said["GeneratedBy"] == [{"Name": "spectra-bids", "Version": spectra_bids.__version__}]
        assert said["SHA256"] == hashlib.sha256(made.path.read_bytes()).hexdigest()
        assert said["SourceDataset"] == {"Name": "Tractometry", "SourceDatasets": [{"URL": "../x"}]}
        assert said["Scalars"] == {"dki_fa": {"Units": "n/a"}, "dki_md": {"Units": "mm^2/s"}}
        assert said["Sources"][0] == "bids::sub-1/dwi/sub-1_desc-profile1D_tractometry.tsv"
        if kind != "json":
            assert list(said["Columns"]) == made.path.read_text().splitlines()[0].split(",")
    spectra_bids.export_profiles(out, tmp_path / "d.csv", metadata=False)
    assert not (tmp_path / "d_provenance.json").exists()


def test_a_file_that_is_there_is_replaced_only_on_request_and_by_the_same_bytes(out, tmp_path):
    made = spectra_bids.export_profiles(out, tmp_path / "x.csv")
    before = made.path.read_bytes(), made.provenance.read_bytes()
    with pytest.raises(OutputError, match="there already"):
        spectra_bids.export_profiles(out, tmp_path / "x.csv")
    spectra_bids.export_profiles(out, tmp_path / "x.csv", overwrite=True)
    assert before == (made.path.read_bytes(), made.provenance.read_bytes())


def test_a_run_that_fails_half_way_leaves_nothing(out, tmp_path):
    damaged = out / "sub-3" / "dwi" / "sub-3_desc-profile1D_tractometry.tsv"
    damaged.write_text(damaged.read_text().replace("30\t", "what\t"))
    with pytest.raises(DatasetError, match="sub-3"):
        spectra_bids.export_profiles(out, tmp_path / "x.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_sessions_of_different_grids_do_not_share_a_column(out, tmp_path):
    write(out, "4", facts={**FACTS, "GridChecksums": {"X": "other", "Y": "2"}})
    with pytest.raises(DatasetError, match="another atlas or other grids"):
        spectra_bids.export_profiles(out, tmp_path / "x.csv", "wide")
    assert len(spectra_bids.load_profiles(out)) == 16


def test_a_session_without_a_scalar_keeps_its_rows(out, tmp_path):
    write(out, "4", scalars=("dki_fa",))
    table = pd.read_csv(spectra_bids.export_profiles(out, tmp_path / "x.csv").path)
    rows = table[(table["participant_id"] == "sub-4") & (table["scalar"] == "dki_md")]
    assert len(rows) == 4
    assert rows["value"].isna().all()
    wide = pd.read_csv(spectra_bids.export_profiles(out, tmp_path / "y.csv", "wide").path)
    assert wide.loc[3, "X_dki_md_s00":].isna().all()


def test_r_reads_the_wide_table(out, tmp_path, rscript):
    made = spectra_bids.export_profiles(out, tmp_path / "x.csv", "wide")
    code = f't <- read.csv("{made.path}"); cat(dim(t), sum(t$X_dki_fa_s00), is.numeric(t$Y_dki_fa_s00), sum(is.na(t)))'
    said = subprocess.run([rscript, "-e", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["3", "11", "60", "TRUE", "12"]  # 6 are who has no session and space


def test_the_command_exports_and_says_what(study, tmp_path, cli, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = cli("export", study.out)
    assert ended.status == 0, ended.err
    assert ended.out.splitlines()[0].startswith(
        "profiles.csv: 900 rows, 12 columns; 12 sessions of 12 subjects, demo_wm"
    )
    assert (tmp_path / "profiles_provenance.json").is_file()
    assert cli("export", study.out).status == 73
    assert cli("export", study.out, "--force", "--scalars", "wm", "--participant-label", "01").status == 0
    assert cli("export", study.out, "--format", "wide", "--no-metadata").status == 0
    assert not (tmp_path / "profiles_wide_provenance.json").exists()
    assert cli("export", study.out, "-o", "a.json", "--bundle", "CSTR", "--space", "MNI152NLin2009aSym").status == 0
    assert cli("export", study.out, "--space", "ACPC", "-o", "b.csv").status == 18
    assert cli("export", study.out, "--format", "tsv", "-o", "b.csv").status == 2


def test_validate_gives_errors_and_warnings_or_raises(study, profiles):
    assert spectra_bids.validate(study.out) == {"errors": [], "warnings": []}
    (profiles / "dataset_description.json").unlink()
    (profiles / "sub-02.html").unlink()
    shutil.rmtree(profiles / "atlas")
    found = spectra_bids.validate(str(profiles), raise_on_error=False)
    assert "dataset_description.json: is missing" in found["errors"]
    assert any(w.startswith("sub-02: has no page") for w in found["warnings"])
    with pytest.raises(DatasetError, match=r"not a valid output directory: .* and \d+ more"):
        spectra_bids.validate(profiles)
    with pytest.raises(MissingInputError):
        spectra_bids.validate(profiles / "nothing", raise_on_error=False)
