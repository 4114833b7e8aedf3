"""Every kind of mistake ends with the exit status that BIDS Apps agree on, says what to do, and shows no traceback."""

from __future__ import annotations

import gzip
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import pytest

STEM = "sub-01_space-MNI152NLin2009aSym"


def bundle(bids: Path, name: str) -> Path:
    return bids / "derivatives" / "demo" / "sub-01" / "dwi" / f"{STEM}_tract-{name}_tractogram.trk"


def scalar_map(bids: Path) -> Path:
    return bids / "derivatives" / "demo" / "sub-01" / "dwi" / f"{STEM}_model-demo_param-wm_dwimap.nii.gz"


@pytest.fixture
def one(study, tmp_path):
    """A data set with one subject that a test may break."""
    bids = tmp_path / "bids"
    shutil.copytree(study.bids, bids, ignore=shutil.ignore_patterns("sub-0[2-9]", "sub-1*"))
    return bids


def assert_told(ended, status: int, words: tuple[str, ...]) -> None:
    assert ended.status == status, ended
    for word in words:
        assert word in ended.err, f"{word!r} is not in: {ended.err}"
    assert "Traceback" not in ended.err


class Wrong(NamedTuple):
    """A command line that cannot be done; {bids} and so on are filled in."""

    status: int
    words: tuple[str, ...]
    arguments: str
    level: str = ""
    bids: str = "{bids}"
    out: str = "{out}"


PARTICIPANT = {
    "output in place of input": Wrong(2, ("OUTPUT_DIR must not be BIDS_DIR",), "", out="{bids}"),
    "work dir in the input": Wrong(2, ("--work-dir", "must not lie in BIDS_DIR"), "-w {bids}/work"),
    "database in the input": Wrong(2, ("--bids-database-dir", "only read"), "--bids-database-dir {bids}/db"),
    "derivative without a path": Wrong(2, ("-d takes NAME=PATH", "'maps='"), "-d maps="),
    "derivative without a name": Wrong(2, ("-d takes NAME=PATH",), "-d =/somewhere"),
    "derivative twice under one name": Wrong(2, ("different names",), "-d a={bids} a={atlas}"),
    "derivative that is not there": Wrong(66, ("/nowhere", "'maps'"), "-d maps=/nowhere"),
    "bin size of zero": Wrong(2, ("-s is a bin size in mm", "Got 0"), "-s 0"),
    "negative number of bins": Wrong(2, ("--nr is a number of bins", "Got -3"), "--nr -3"),
    "no processes": Wrong(2, ("--n-procs must be at least 1",), "--n-procs 0"),
    "memory in words": Wrong(2, ("--mem takes a size such as 8G", "'much'"), "--mem much"),
    "fewest points of zero": Wrong(2, ("--min-points must be at least 1",), "--min-points 0"),
    "unknown option": Wrong(2, ("--smooth",), "--smooth 3"),
    "unknown level": Wrong(2, ("invalid choice: 'both'",), "", level="both"),
    "filter file that is not there": Wrong(
        66, ("--bids-filter-file", "nothing.json"), "--bids-filter-file nothing.json"
    ),
    "config file that is not there": Wrong(66, ("--config-file", "nothing.toml"), "--config-file nothing.toml"),
    "unknown participant": Wrong(18, ("--participant-label", "77", "there are: 01, 02"), "--participant-label sub-77"),
    "unknown session": Wrong(18, ("--session-label", "baseline"), "--session-label baseline"),
    "unknown bundle": Wrong(18, ("--bundle Nope", "AFL, CCForcepsMajor, CSTR"), "--bundle Nope"),
    "unknown scalar": Wrong(18, ("--scalars", "zz", "demo_wm"), "--scalars zz --participant-label 01"),
    "no atlas": Wrong(66, ("no atlas", "atlas fetch", "atlas build"), "NO ATLAS"),
    "atlas that nobody has": Wrong(66, ("--atlas neverland", "atlas fetch", "atlas build"), "--atlas neverland"),
    "folder that is no atlas": Wrong(66, ("atlas.json",), "--atlas {bids}"),
    "no input": Wrong(66, ("BIDS_DIR /nowhere is not a folder",), "", bids="/nowhere"),
    "input without derivatives": Wrong(66, ("derivatives", "-d NAME=PATH"), "", bids="{atlas}"),
    "output is a file": Wrong(73, ("OUTPUT_DIR", "is a file"), "", out="{bids}/participants.tsv"),
    "output below a file": Wrong(73, ("cannot be written",), "", out="{bids}/participants.tsv/out"),
    "pages of nothing": Wrong(66, ("--reports-only", "tables in", "without --reports-only"), "--reports-only"),
}

GROUP = {
    "no formula": Wrong(2, ("--formula or --model", "group, age, sex, site", "value ~ group + age + sex"), ""),
    "formula and model": Wrong(2, ("--formula and --model",), "--formula value~age --model m.json"),
    "level above one": Wrong(
        2, ("--alpha-cell", "between 0 and 1", "1.5"), "--formula value~age --alpha-cell 0.05 1.5"
    ),
    "level of zero": Wrong(2, ("--alpha is an error rate",), "--formula value~age --alpha 0"),
    "name of a model": Wrong(2, ("--model-name takes letters", "'a/b'"), "--formula value~age --model-name a/b"),
    "unknown scalar": Wrong(18, ("--scalars zz", "demo_wm"), "--formula value~age --scalars zz"),
    "unknown bundle": Wrong(18, ("--bundle Nope", "AFL, CCForcepsMajor, CSTR"), "--formula value~age --bundle Nope"),
    "unknown participant": Wrong(
        18, ("--participant-label 77", "sub-01"), "--formula value~age --participant-label 77"
    ),
    "unknown session": Wrong(18, ("--session-label 1", "none"), "--formula value~age --session-label 1"),
    "unknown column": Wrong(65, ("agee", "age, sex, site"), "--formula value~agee"),
    "nothing to test": Wrong(65, ("no term to test", "--contrast"), "--formula value~1"),
    "another response": Wrong(65, ("left side", "'fa'", "--scalars fa"), "--formula fa~age"),
    "code in a formula": Wrong(65, ("formula",), "--formula value~__import__('os').system('true')"),
    "attribute in a formula": Wrong(65, ("formula",), "--formula value~age.__class__"),
    "unbalanced formula": Wrong(65, ("formula",), "--formula value~(age"),
    "unknown level of a contrast": Wrong(
        65, ("group[nobody]", "group[patient]"), "--formula value~group --contrast a:group[nobody]=1"
    ),
    "contrast without a weight": Wrong(65, ("contrast",), "--formula value~group --contrast a:group[patient]"),
    "design that is not there": Wrong(66, ("nothing.tsv",), "--formula value~age --design nothing.tsv"),
    "model that is not there": Wrong(66, ("--model", "nothing.json"), "--model nothing.json"),
    "no profile tables": Wrong(66, ("no 1D profile tables", "participant level"), "--formula value~age", out="{new}"),
    "pages of nothing": Wrong(66, ("--reports-only", "without --reports-only"), "--formula value~age --reports-only"),
}


def words_of(case: Wrong, level: str, study, out: Path, new: Path) -> list[str]:
    places = {"bids": study.bids, "atlas": study.atlas, "out": out, "new": new}
    positional = [case.bids.format(**places), case.out.format(**places), case.level or level]
    options = [] if case.arguments == "NO ATLAS" else [word.format(**places) for word in case.arguments.split()]
    if level == "participant" and "--atlas" not in options and case.arguments != "NO ATLAS":
        options += ["--atlas", str(study.atlas)]
    return [*positional, *options]


@pytest.mark.parametrize("case", PARTICIPANT.values(), ids=PARTICIPANT)
def test_participant_level_refuses(case, study, tmp_path, cli, monkeypatch):
    monkeypatch.delenv("SPECTRA_BIDS_ATLAS", raising=False)
    monkeypatch.setenv("SPECTRA_BIDS_ATLASES", str(tmp_path / "atlases"))
    assert_told(cli(*words_of(case, "participant", study, tmp_path / "out", tmp_path / "new")), case.status, case.words)


@pytest.mark.parametrize("case", GROUP.values(), ids=GROUP)
def test_group_level_refuses(case, study, profiles, tmp_path, cli):
    assert_told(cli(*words_of(case, "group", study, profiles, tmp_path / "new")), case.status, case.words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("scalarz = ['fa']", ("unknown keys: scalarz", "Known: ", "scalars")),
        ("bids_dir = '/data'", ("unknown keys: bids_dir",)),
        ("config_file = 'other.toml'", ("unknown keys: config_file",)),
        ("scalars = 'fa'", ("scalars must be a list", "'fa'")),
        ("n_procs = 'two'", ("n_procs must be an integer", "'two'")),
        ("force = 1", ("force must be true or false", "1")),
        ("alpha = true", ("alpha must be a number", "True")),
        ("stats_mode = 'bonferroni'", ("stats_mode must be one of hfdr, hfdr_resel, fdr, perm", "'bonferroni'")),
        ("alpha = ", ("is not TOML",)),
    ],
)
def test_a_configuration_file_is_held_against_the_options(content, words, study, tmp_path, cli):
    config = tmp_path / "run.toml"
    config.write_text(content)
    ended = cli(study.bids, tmp_path / "out", "participant", "--atlas", study.atlas, "--config-file", config)
    assert_told(ended, 2, (str(config), *words))


@pytest.mark.parametrize("content", ["[1, 2]", '{"bundles": {}}', '{"bundle": 3}', "{"])
def test_a_filter_file_must_hold_objects_by_kind_of_file(content, study, tmp_path, cli):
    filters = tmp_path / "filters.json"
    filters.write_text(content)
    ended = cli(study.bids, tmp_path / "out", "participant", "--atlas", study.atlas, "--bids-filter-file", filters)
    assert_told(ended, 2, ("--bids-filter-file", str(filters)))


def cut_short(bids: Path) -> Path:
    path = bundle(bids, "CSTR")
    path.write_bytes(path.read_bytes()[:5000])
    return path


def empty_file(bids: Path) -> Path:
    path = bundle(bids, "CSTR")
    path.write_bytes(b"")
    return path


def no_header(bids: Path) -> Path:
    path = bundle(bids, "CSTR")
    path.write_bytes(b"x" * 5000)
    return path


def affine_of_nan(bids: Path) -> Path:
    path = scalar_map(bids)
    image = nib.load(path)
    content = bytearray(gzip.decompress(path.read_bytes()))
    header = image.header.copy()
    header["srow_x"][0] = np.nan
    content[:348] = header.binaryblock
    path.write_bytes(gzip.compress(bytes(content)))
    return path


def flat_affine(bids: Path) -> Path:
    path = scalar_map(bids)
    image = nib.load(path)
    header = image.header.copy()
    header["srow_y"][:] = 0
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[:348] = header.binaryblock
    path.write_bytes(gzip.compress(bytes(content)))
    return path


def map_cut_short(bids: Path) -> Path:
    path = scalar_map(bids)
    path.write_bytes(path.read_bytes()[:3000])
    return path


def four_dimensions(bids: Path) -> Path:
    path = scalar_map(bids)
    nib.save(nib.Nifti1Image(np.zeros((5, 5, 5, 3), np.float32), np.eye(4)), path)
    return path


@pytest.mark.parametrize(
    "spoil", [cut_short, empty_file, no_header, affine_of_nan, flat_affine, map_cut_short, four_dimensions]
)
def test_an_input_file_with_wrong_content_ends_with_65_and_is_named(spoil, one, study, tmp_path, cli):
    path = spoil(one)
    ended = cli(one, tmp_path / "out", "participant", "--atlas", study.atlas)
    assert_told(ended, 65, ("sub-01 failed", path.name, "sub-01/log/"))


def test_an_atlas_file_with_wrong_content_ends_with_65_and_is_named(study, tmp_path, cli):
    atlas = Path(shutil.copytree(study.atlas, tmp_path / "atlas"))
    (atlas / "CST_R.trk").write_bytes(b"TRACK")
    assert_told(cli(study.bids, tmp_path / "out", "participant", "--atlas", atlas), 65, (str(atlas / "CST_R.trk"),))


class Spoilt(NamedTuple):
    """What participants.tsv is made into, and what must be said of it."""

    edit: Callable[[str], str]
    words: tuple[str, ...]
    formula: str = "value ~ group + age"


TABLES = {
    "no participant_id": Spoilt(lambda t: t.replace("participant_id", "subject"), ("participant_id", "subject")),
    "nobody of the tables": Spoilt(lambda t: t.replace("sub-", "sub-X"), ("no subject of the profile", "sub-01")),
    "somebody twice": Spoilt(lambda t: t.replace("sub-02", "sub-01"), ("sub-01", "twice")),
    "a row too short": Spoilt(lambda t: t + "sub-99\tcontrol\n", ("Line 14", "5 values", "Got 2")),
    "a text in a number": Spoilt(lambda t: t.replace("sub-01\tcontrol\t", "sub-01\tcontrol\tx"), ("age", "Units")),
    "commas": Spoilt(lambda t: t.replace("\t", ","), ("participant_id", "tabs")),
    "an unknown level": Spoilt(lambda t: t.replace("patient", "ill"), ("group", "'ill'", "control, patient")),
    "one level only": Spoilt(lambda t: t.replace("patient", "control"), ("group",)),
    "empty": Spoilt(lambda t: "", ("is empty",)),
    "a column that says the same": Spoilt(
        lambda t: "\n".join(r + ("\tgroup2" if i == 0 else "\t" + r.split("\t")[1])
                            for i, r in enumerate(t.splitlines())) + "\n",
        ("group2",), "value ~ group + group2",
    ),
    "everybody n/a": Spoilt(
        lambda t: "".join(r if i == 0 else "\t".join([*r.split("\t")[:2], "n/a", *r.split("\t")[3:]])
                          for i, r in enumerate(t.splitlines(keepends=True))),
        ("age",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLES.values(), ids=TABLES)
def test_a_participants_table_with_wrong_content_ends_with_65(case, one, profiles, cli):
    table = one / "participants.tsv"
    table.write_text(case.edit(table.read_text()))
    ended = cli(one, profiles, "group", "--formula", case.formula)
    assert_told(ended, 65, case.words)


def test_no_participants_table_ends_with_66(one, profiles, cli):
    (one / "participants.tsv").unlink()
    assert_told(cli(one, profiles, "group", "--formula", "value ~ age"), 66, ("participants.tsv",))


def test_a_formula_cannot_run_code(study, profiles, tmp_path, cli):
    trap = tmp_path / "trap"
    for formula in (
        f"value ~ open('{trap}', 'w')",
        f"value ~ age + I(__import__('pathlib').Path('{trap}').touch())",
        f"value ~ `age` + (lambda: open('{trap}','w'))()",
        "value ~ age.map(print)",
    ):
        assert_told(cli(study.bids, profiles, "group", "--formula", formula), 65, ())
    assert not trap.exists()


def test_profile_tables_of_different_grids_end_with_16(profiles, study, cli):
    path = next((profiles / "sub-03" / "dwi").glob("*_desc-profile1D_tractometry.tsv"))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))
    assert_told(cli(study.bids, profiles, "group", "--formula", "value ~ age"), 16, (path.name, "grid"))


def test_a_sidecar_of_another_grid_ends_with_16(profiles, study, cli):
    path = next((profiles / "sub-03" / "dwi").glob("*_desc-profile1D_tractometry.json"))
    facts = json.loads(path.read_text())
    facts["GridChecksums"]["CSTR"] = "0" * 64
    path.write_text(json.dumps(facts))
    ended = cli(study.bids, profiles, "group", "--formula", "value ~ age")
    assert_told(ended, 16, (path.with_suffix(".tsv").name, "other grids"))


def test_a_grid_that_is_missing_ends_with_66_unless_partial_results_are_allowed(profiles, study, cli):
    for path in (profiles / "atlas").glob("*_bundle-CSTR_grid.*"):
        path.unlink()
    command = (study.bids, profiles, "group", "--formula", "value ~ age", "--profile", "1D")
    assert_told(cli(*command), 66, ("CSTR", "--allow-partial"))
    assert cli(*command, "--allow-partial").status == 0


def test_other_grid_settings_in_one_output_folder_end_with_65_and_a_hint(study, profiles, tree, cli):
    command = (study.bids, profiles, "participant", "--atlas", study.atlas, "--participant-label", "01", "-s", "8")
    before = tree(profiles / "sub-01") | tree(profiles / "atlas")
    assert_told(cli(*command), 65, ("other grid settings", "another OUTPUT_DIR", "--force"))
    assert tree(profiles / "sub-01") | tree(profiles / "atlas") == before
    assert cli(*command, "--force").status == 0
    grid = json.loads((profiles / "atlas" / "atlas-demo_bundle-CSTR_grid.json").read_text())
    assert grid["Settings"]["s_len"] == 8
    assert_told(cli(study.bids, profiles, "group", "--formula", "value ~ age"), 16, ("grid",))


def without_places(files: dict[str, bytes]) -> dict[str, bytes]:
    """Files whose bytes do not name the output folder: pages and the data set's description do."""
    return {k: v for k, v in files.items() if not k.endswith(".html") and k != "dataset_description.json"}


@pytest.mark.parametrize("n_procs", [1, 2])
def test_sigterm_ends_with_75_leaves_nothing_half_done_and_can_be_taken_up(n_procs, study, tmp_path, tree, cli):
    out, labels = tmp_path / "out", [f"{i:02d}" for i in range(1, 8)]
    arguments = [
        study.bids,
        out,
        "participant",
        "--atlas",
        study.atlas,
        "--participant-label",
        *labels,
        "--pictures",
        "none",
    ]
    command = [sys.executable, "-m", "spectra_bids", *map(str, arguments), "--n-procs", str(n_procs), "-v"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if "done" in line:
                process.send_signal(signal.SIGTERM)
                break
        said = process.stderr.read()
        assert process.wait() == 75, said
    assert "SIGTERM" in said
    assert "what is done is kept" in said
    assert "Traceback" not in said
    assert not list(out.rglob("*.tmp"))
    assert not (out / "sub-07.html").exists()
    assert cli(*arguments).status == 0
    others = tuple(f"sub-{i:02d}/" for i in range(8, 13))
    undisturbed = {k: v for k, v in without_places(tree(study.out)).items() if not k.startswith(others)}
    assert without_places(tree(out)) == undisturbed
