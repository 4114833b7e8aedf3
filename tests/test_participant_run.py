"""The participant level as a run: what is computed again and what is not, whom a failure stops, what is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from spectra_bids.columns import BUNDLE, PROFILE_1D, PROFILE_2D, names
from spectra_bids.dataset.outputs import read_table
from spectra_bids.errors import InputDataError, OutputError, TransformError
from spectra_bids.participant import Outcome, exit_status, in_words
from spectra_bids.participant.session import Session

SPACE = "MNI152NLin2009aSym"
ALONE = ("--n-procs", "1")
KINDS = {"bundle": BUNDLE, "profile1D": PROFILE_1D, "profile2D": PROFILE_2D}


def dwi(bids: Path, subject: str) -> Path:
    return bids / "derivatives" / "demo" / f"sub-{subject}" / "dwi"


def tractogram(bids: Path, subject: str, bundle: str) -> Path:
    return dwi(bids, subject) / f"sub-{subject}_space-{SPACE}_tract-{bundle}_tractogram.trk"


def scalar_map(bids: Path, subject: str, name: str = "model-demo_param-wm") -> Path:
    return dwi(bids, subject) / f"sub-{subject}_space-{SPACE}_{name}_dwimap.nii.gz"


def table_file(out: Path, subject: str, kind: str) -> Path:
    return out / f"sub-{subject}" / "dwi" / f"sub-{subject}_space-{SPACE}_desc-{kind}_tractometry.tsv"


def stamps(out: Path) -> dict[str, tuple[int, int]]:
    """inode and time of every file: a rewritten file has another inode, even with the same bytes."""
    files = (p for p in out.rglob("*") if p.is_file() and "logs" not in p.parts)
    return {p.relative_to(out).as_posix(): (p.stat().st_ino, p.stat().st_mtime_ns) for p in files}


@pytest.fixture(scope="module")
def trio(study, tmp_path_factory):
    """The study's first three subjects, to be copied by tests that change them."""
    bids = tmp_path_factory.mktemp("trio") / "bids"
    shutil.copytree(study.bids, bids, ignore=shutil.ignore_patterns("sub-0[4-9]", "sub-1*"))
    return bids


@pytest.fixture(scope="module")
def done(trio, study, cli):
    """Output of an undisturbed run over the three."""
    with contextlib.chdir(trio.parent):
        assert cli("bids", "out", "participant", "--atlas", study.atlas, *ALONE).status == 0
    return trio.parent / "out"


@pytest.fixture
def place(trio, done, tmp_path, monkeypatch):
    """A copy of input and output that a test may change, under relative names: pages name both."""
    shutil.copytree(trio, tmp_path / "bids")
    shutil.copytree(done, tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    return Path("bids"), Path("out")


@pytest.fixture
def again(study, cli):
    """Run the participant level with -v on (bids, out)."""
    return lambda place, *options: cli(*place, "participant", "--atlas", study.atlas, "-v", *ALONE, *options)


def test_tables_hold_the_grid_row_by_row_in_the_columns_of_the_contract(study):
    for subject in ("01", "04", "07"):
        for kind, fixed in KINDS.items():
            table = read_table(table_file(study.out, subject, kind))
            scalars = ["demo_wm"] if kind == "bundle" else ["demo_wm", "demo_wm_sd"]
            assert list(table.columns) == [*names(fixed), *scalars]
            sidecar = json.loads(table_file(study.out, subject, kind).with_suffix(".json").read_text())
            assert all(sidecar[column]["Description"] for column in table.columns)
            keys = [c for c in ("bundle", "s", "r") if c in table.columns]
            assert not table.duplicated(keys).any()
            assert list(table["bundle"].drop_duplicates()) == ["AFL", "CCForcepsMajor", "CSTR"]
    cells = {s: table_file(study.out, s, "profile2D").read_text().count("\n") for s in ("01", "04", "07")}
    assert len(set(cells.values())) == 1


def test_a_bundle_that_is_absent_or_poor_is_rows_with_its_status(study):
    for subject, bundle, status in (("04", "AFL", "no_bundle"), ("07", "CCForcepsMajor", "few_streamlines")):
        for kind in KINDS:
            table = read_table(table_file(study.out, subject, kind))
            rows = table[table["bundle"] == bundle]
            assert set(rows["status"]) == {status}
            assert rows["demo_wm"].isna().all()
            assert (table.loc[table["bundle"] != bundle, "status"] == "ok").any()
    bundles = read_table(table_file(study.out, "07", "bundle")).set_index("bundle")
    assert bundles.loc["CCForcepsMajor", "n_streamlines"] == 12


def test_a_sidecar_names_inputs_and_settings(study):
    facts = json.loads(table_file(study.out, "01", "profile2D").with_suffix(".json").read_text())
    assert len(facts["Sources"]) == 4
    assert all(uri.startswith("bids:demo:sub-01/dwi/") for uri in facts["Sources"])
    assert list(facts["SourceHashes"]) == facts["Sources"]
    assert facts["Atlas"]["Label"] == "demo"
    assert facts["Settings"]["min_streamlines"] == 20
    grids = {n: json.loads((study.out / "atlas" / f"atlas-demo_bundle-{n}_grid.json").read_text())["Checksum"]
             for n in facts["GridChecksums"]}  # fmt: skip
    assert facts["GridChecksums"] == grids


def test_a_second_run_changes_no_file(place, again):
    again(place)
    before = stamps(place[1])
    ended = again(place)
    assert ended.status == 0
    assert ended.err.count("was done already") == 3
    assert stamps(place[1]) == before


def test_a_newer_time_stamp_alone_is_no_change(place, again):
    again(place)
    before = stamps(place[1])
    for path in dwi(place[0], "02").iterdir():
        os.utime(path)
    assert "sub-02 was done already" in again(place).err
    assert stamps(place[1]) == before


def test_a_changed_input_is_computed_again_and_only_that_subject(place, again):
    again(place)
    before = stamps(place[1])
    path = scalar_map(place[0], "02")
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) * np.float32(2), image.affine), path)
    old = read_table(table_file(place[1], "02", "profile1D"))["demo_wm"]
    ended = again(place)
    assert "sub-01 was done already" in ended.err
    assert "sub-02 done" in ended.err
    np.testing.assert_allclose(read_table(table_file(place[1], "02", "profile1D"))["demo_wm"], 2 * old, rtol=2e-5)
    changed = {k for k, v in stamps(place[1]).items() if v != before.get(k)}
    assert changed
    assert all(k.startswith("sub-02") for k in changed)


def test_a_bundle_that_came_later_is_computed(place, again):
    path = tractogram(place[0], "02", "CSTR")
    kept = path.read_bytes()
    path.unlink()
    assert again(place).status == 0
    missing = read_table(table_file(place[1], "02", "bundle")).set_index("bundle")
    assert missing.loc["CSTR", "status"] == "no_bundle"
    path.write_bytes(kept)
    assert "sub-02 done" in again(place).err
    assert read_table(table_file(place[1], "02", "bundle")).set_index("bundle").loc["CSTR", "status"] == "ok"


@pytest.mark.parametrize("damage", ["remove", "cut", "sidecar"])
def test_a_table_that_is_lost_or_cut_short_is_made_again(damage, place, again, tree):
    again(place)
    before = tree(place[1])
    path = table_file(place[1], "02", "profile2D")
    if damage == "remove":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes().partition(b"\n")[0][:20])
    else:
        path.with_suffix(".json").write_text("{")
    assert "sub-02 done" in again(place).err
    assert tree(place[1]) == before


def test_other_settings_compute_again_and_the_old_ones_bring_the_old_bytes_back(place, again, tree):
    again(place)
    before = tree(place[1])
    assert again(place, "--min-streamlines", "301").err.count(" done\n") == 3
    assert set(read_table(table_file(place[1], "01", "bundle"))["status"]) == {"few_streamlines"}
    assert again(place).err.count(" done\n") == 3
    assert tree(place[1]) == before


def test_force_computes_again_to_the_same_bytes(place, again, tree):
    again(place)
    before, old = tree(place[1]), stamps(place[1])
    assert again(place, "--force").err.count(" done\n") == 3
    assert tree(place[1]) == before
    assert stamps(place[1]) != old


def test_processes_side_by_side_give_the_same_bytes(place, again, shell, study, tree):
    again(place)
    alone = tree(place[1])
    shutil.rmtree(place[1])
    ended = shell(*place, "participant", "--atlas", study.atlas, "--n-procs", 2)
    assert ended.status == 0, ended.err
    assert tree(place[1]) == alone


def test_labels_select_with_and_without_their_prefix(trio, study, tmp_path, cli):
    out = tmp_path / "out"
    assert (
        cli(trio, out, "participant", "--atlas", study.atlas, *ALONE, "--participant-label", "01", "sub-03").status == 0
    )
    assert sorted(p.name for p in out.glob("sub-*.html")) == ["sub-01.html", "sub-03.html"]


def test_subjects_run_one_by_one_make_the_same_tree_as_all_at_once(place, again, tree):
    again(place)
    together = tree(place[1])
    shutil.rmtree(place[1])
    for label in ("03", "01", "02"):
        assert again(place, "--participant-label", label).status == 0
    assert tree(place[1]) == together


def test_a_subject_that_fails_does_not_stop_the_others_and_can_be_mended(place, again, tree):
    bids, out = place
    again(place)
    undisturbed = tree(out)
    shutil.rmtree(out)
    path = tractogram(bids, "02", "CSTR")
    kept = path.read_bytes()
    path.write_bytes(kept[:3000])
    ended = again(place)
    assert ended.status == 1
    assert "sub-01 done" in ended.err
    assert "sub-03 done" in ended.err
    assert f"sub-02 failed: {path.absolute()}" in ended.err
    (crash,) = out.glob("sub-02/log/*/crash-sub-02.txt")
    assert crash.relative_to(out).as_posix() in ended.err
    assert crash.parent.name in {p.name for p in (out / "logs").iterdir()}
    text = crash.read_text()
    assert "Traceback" in text
    assert "--atlas" in text
    assert path.name in (out / "sub-02.html").read_text()
    assert not list((out / "sub-02").glob("dwi/*"))
    path.write_bytes(kept)
    ended = again(place)
    assert ended.status == 0
    assert ended.err.count("was done already") == 2
    assert tree(out) == undisturbed


def test_stop_on_first_crash_leaves_the_rest_undone(place, again):
    bids, out = place
    shutil.rmtree(out)
    tractogram(bids, "01", "CSTR").write_bytes(b"")
    assert again(place, "--stop-on-first-crash").status == 65
    assert not (out / "sub-03.html").exists()


def test_dry_run_says_what_would_be_done_and_writes_nothing(trio, study, tmp_path, cli):
    out = tmp_path / "out"
    ended = cli(trio, out, "participant", "--atlas", study.atlas, "--dry-run")
    assert ended.status == 0
    assert "3 sessions of 3 subjects: sub-01, sub-02, sub-03" in ended.out
    assert str(trio / "derivatives" / "demo") in ended.out
    assert "3 bundles" in ended.out
    assert not out.exists()


def test_reports_only_makes_pages_and_figures_alone(place, again, tree):
    _, out = place
    again(place)
    before, tables = tree(out), {k: v for k, v in stamps(out).items() if k.endswith((".tsv", ".json"))}
    (out / "sub-01.html").unlink()
    shutil.rmtree(out / "sub-02" / "figures")
    shutil.rmtree(out / "sub-03")
    ended = again(place, "--reports-only")
    assert ended.status == 0
    assert "sub-03" in ended.err
    after = tree(out)
    assert after == {k: v for k, v in before.items() if not k.startswith("sub-03/")}
    assert {k: v for k, v in stamps(out).items() if k in tables} == {k: v for k, v in tables.items() if k in after}


def test_a_run_leaves_its_settings_and_messages(place, again):
    assert again(place).status == 0
    newest = max((place[1] / "logs").glob("2*"))
    assert "sub-01 was done already" in (newest / "run.log").read_text()
    assert 'scalars = ["*"]' in (newest / "run.toml").read_text()


def test_a_settings_file_of_a_run_repeats_it(trio, study, tmp_path, cli, tree):
    out = tmp_path / "out"
    options = (
        "--atlas",
        study.atlas,
        "-s",
        "8",
        "--nr",
        "3",
        "--robust",
        "none",
        "--bundle",
        "CST_R",
        "--min-points",
        "3",
    )
    assert cli(trio, out, "participant", *options, "--participant-label", "01", "--n-procs", "1").status == 0
    before = tree(out)
    (run,) = (out / "logs").glob("2*")
    config = Path(shutil.copy(run / "run.toml", tmp_path))
    shutil.rmtree(out)
    assert cli(trio, out, "participant", "--config-file", config).status == 0
    assert tree(out) == before
    grid = json.loads((out / "atlas" / "atlas-demo_bundle-CSTR_grid.json").read_text())
    assert grid["RadialBins"] == 3
    assert grid["Settings"]["s_len"] == 8


def test_the_command_line_wins_over_the_settings_file(trio, study, tmp_path, cli):
    config, out = tmp_path / "run.toml", tmp_path / "out"
    config.write_text('participant_label = ["01", "02"]\nbundle = ["CSTR"]\n')
    command = (trio, out, "participant", "--atlas", study.atlas, f"--config-file={config}")
    assert cli(*command, "--participant-label", "03").status == 0
    assert [p.name for p in out.glob("sub-*.html")] == ["sub-03.html"]
    assert set(read_table(table_file(out, "03", "bundle"))["bundle"]) == {"CSTR"}


def test_a_file_without_streamlines_is_a_poor_bundle_not_an_error(place, again):
    path = tractogram(place[0], "01", "CSTR")
    old = nib.streamlines.load(path)
    empty = nib.streamlines.Tractogram(affine_to_rasmm=np.eye(4))
    nib.streamlines.save(nib.streamlines.TrkFile(empty, old.header), str(path))
    assert again(place).status == 0
    row = read_table(table_file(place[1], "01", "bundle")).set_index("bundle").loc["CSTR"]
    assert row["status"] == "few_streamlines"
    assert row["n_streamlines"] == 0
    assert np.isnan(row["demo_wm"])


def test_a_subject_without_the_scalar_fails_alone(place, again):
    shutil.rmtree(place[1])
    scalar_map(place[0], "02").unlink()
    ended = again(place)
    assert ended.status == 1
    assert "sub-02 failed" in ended.err
    assert ended.err.count(" done\n") == 2


def test_two_maps_are_two_pairs_of_columns_and_a_selection_keeps_one(trio, study, tmp_path, cli):
    bids, out = Path(shutil.copytree(trio, tmp_path / "bids")), tmp_path / "out"
    image = nib.load(scalar_map(bids, "01"))
    other = nib.Nifti1Image(np.asarray(image.dataobj) * np.float32(-3), image.affine)
    nib.save(other, scalar_map(bids, "01", "model-tensor_param-md"))
    command = (bids, out, "participant", "--atlas", study.atlas, "--participant-label", "01")
    assert cli(*command).status == 0
    table = read_table(table_file(out, "01", "profile2D"))
    assert [c for c in table.columns if "_" in c][-4:] == ["demo_wm", "demo_wm_sd", "tensor_md", "tensor_md_sd"]
    np.testing.assert_allclose(table["tensor_md"], -3 * table["demo_wm"], rtol=2e-5)
    assert cli(*command, "--scalars", "md").status == 0
    assert "demo_wm" not in read_table(table_file(out, "01", "profile2D")).columns


def test_sessions_may_be_unequal_between_subjects(trio, study, tmp_path, cli):
    bids, out = Path(shutil.copytree(trio, tmp_path / "bids")), tmp_path / "out"
    for subject, sessions in (("01", ("a", "b")), ("02", ("a",))):
        plain = dwi(bids, subject)
        for session in sessions:
            folder = plain.parent / f"ses-{session}" / "dwi"
            folder.mkdir(parents=True)
            for path in plain.iterdir():
                shutil.copy(path, folder / path.name.replace(f"sub-{subject}_", f"sub-{subject}_ses-{session}_"))
        shutil.rmtree(plain)
    command = (bids, out, "participant", "--atlas", study.atlas, *ALONE)
    assert cli(*command).status == 0
    found = sorted(p.relative_to(out).parts[1] for p in out.glob("sub-0[12]/ses-*"))
    assert found == ["ses-a", "ses-a", "ses-b"]
    assert table_file(out, "03", "bundle").is_file()
    text = (out / "sub-01.html").read_text()
    assert "session a" in text
    assert "session b" in text
    (out / "sub-01.html").unlink()
    assert cli(*command, "--session-label", "ses-b").status == 0
    assert "session a" in (out / "sub-01.html").read_text()


def test_the_exit_status_is_that_of_the_only_reason():
    one, two = Session("1", None), Session("2", "a")
    computed, wrong = Outcome(one, "computed"), Outcome(two, "failed", "x", 65)
    assert exit_status([computed, Outcome(two, "kept")]) == 0
    assert exit_status([computed, wrong]) == 1
    assert exit_status([wrong, Outcome(one, "failed", "y", 65)]) == 65
    assert exit_status([wrong, Outcome(one, "failed", "y", 18)]) == 1
    assert exit_status([computed, Outcome(one, "failed", "y", 75)]) == 75
    assert str(two) == "sub-2_ses-a"


def test_an_error_in_words_is_sentences():
    assert in_words(InputDataError("a.trk is empty", "Copy it again.")) == "a.trk is empty. Copy it again."
    assert in_words(TransformError("no way")) == "no way."
    assert in_words(KeyError("x")) == "KeyError: 'x'."


def test_a_page_that_cannot_be_made_is_that_subject_s_failure(place, again):
    _, out = place
    again(place)
    other = out / "sub-02" / "ses-x" / "dwi"
    other.mkdir(parents=True)
    (other / "sub-02_ses-x_desc-bundle_tractometry.tsv").write_text("bundle\nCSTR\n")
    (out / "sub-02.html").unlink()
    ended = again(place)
    assert ended.status == 1
    assert "sub-02 failed" in ended.err
    assert "sub-03 was done already" in ended.err


def test_a_place_that_cannot_be_written_stops_everybody(place, again):
    shutil.rmtree(place[1] / "sub-02")
    (place[1] / "sub-02").write_text("a file in the way")
    ended = again(place)
    assert ended.status == OutputError.exit_status
    assert "sub-02" in ended.err
    assert "Traceback" not in ended.err
