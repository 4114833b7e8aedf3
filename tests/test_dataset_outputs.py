"""Output files: atomic, byte-identical, valid BIDS at the root."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spectra_bids import __version__
from spectra_bids.columns import BUNDLE, PROFILE_1D, PROFILE_2D, names, sidecar
from spectra_bids.dataset import names as paths
from spectra_bids.dataset import outputs
from spectra_bids.dataset.outputs import (
    bids_uri,
    read_table,
    sha256,
    write_bytes,
    write_dataset_files,
    write_json,
    write_table,
    write_text,
)
from spectra_bids.errors import DatasetError, MissingInputError, OutputError, TemporaryError

TABLE = pd.DataFrame(
    {
        "bundle": ["AFL", "CSTR", None],
        "s": [0, 1, 2],
        "tensor_fa": [0.123456789, np.nan, 1e-12],
        "group": ["1", "NA", "n\u00e4"],
    }
)


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, TemporaryError), (errno.EROFS, OutputError)])
def test_a_full_disk_passes_a_read_only_one_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    write_text(tmp_path / "a.txt", "old")

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(kind, match=r"a\.txt cannot be written: "):
        write_text(tmp_path / "a.txt", "new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_folder_that_is_a_file_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "sub-01").write_text("")
    with pytest.raises(OutputError, match=r"sub-01.a\.txt"):
        write_text(tmp_path / "sub-01" / "a.txt", "x")


def test_a_run_that_is_interrupted_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "a.txt", b"new")
    assert list(tmp_path.iterdir()) == []


def test_outputs_can_be_read_by_whom_the_umask_allows(tmp_path: Path) -> None:
    previous = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "x")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


def test_a_table_is_tsv_with_six_digits_and_na(tmp_path: Path) -> None:
    write_table(tmp_path / "a.tsv", TABLE)
    assert (tmp_path / "a.tsv").read_bytes().decode() == (
        "bundle\ts\ttensor_fa\tgroup\nAFL\t0\t0.123457\t1\nCSTR\t1\tn/a\tNA\nn/a\t2\t1e-12\tn\u00e4\n"
    )


def test_a_table_comes_back_with_text_as_text_and_na_as_nan(tmp_path: Path) -> None:
    write_table(tmp_path / "a.tsv", TABLE)
    got = read_table(tmp_path / "a.tsv")
    assert got["group"].tolist() == ["1", "NA", "n\u00e4"]
    assert got["bundle"].isna().tolist() == [False, False, True]
    assert got["s"].dtype.kind == "i"
    np.testing.assert_allclose(got["tensor_fa"], TABLE["tensor_fa"], rtol=1e-5)


def test_writing_what_was_read_changes_no_byte(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(200, 4)) * 10.0 ** rng.integers(-12, 6, (200, 4)), columns=list("abcd"))
    write_table(tmp_path / "a.tsv", table)
    write_table(tmp_path / "b.tsv", read_table(tmp_path / "a.tsv"))
    assert sha256(tmp_path / "a.tsv") == sha256(tmp_path / "b.tsv")


def test_a_missing_or_broken_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        read_table(tmp_path / "a.tsv")
    (tmp_path / "a.tsv").write_text("")
    with pytest.raises(DatasetError, match=r"a\.tsv must be a TSV table"):
        read_table(tmp_path / "a.tsv")
    (tmp_path / "a.tsv").write_text("a\tb\n1\t2\t3\t4\n1\t2\n1\t2\t3\t4\t5\n")
    with pytest.raises(DatasetError):
        read_table(tmp_path / "a.tsv")


def test_json_keeps_the_order_and_refuses_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": np.float64(1.5), "a": np.array([1, 2]), "path": Path("x/y")})
    assert (tmp_path / "a.json").read_text() == '{\n  "b": 1.5,\n  "a": [\n    1,\n    2\n  ],\n  "path": "x/y"\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"a": float("nan")})


def test_the_hash_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "x").write_bytes(b"1")
    before = sha256(tmp_path / "one")
    (tmp_path / "one" / "x").rename(tmp_path / "one" / "y")
    assert sha256(tmp_path / "one") != before


def test_a_bids_uri_is_relative_to_its_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bids_uri("afq", tmp_path, tmp_path / "sub-01" / "a.trk") == "bids:afq:sub-01/a.trk"
    monkeypatch.chdir(tmp_path)
    assert bids_uri("", Path("."), tmp_path / "a.trk") == "bids::a.trk"
    with pytest.raises(DatasetError, match="does not lie in the data set 'afq'"):
        bids_uri("afq", tmp_path / "x", tmp_path / "a.trk")


@pytest.fixture
def sources(tmp_path: Path) -> list[tuple[str, Path]]:
    """Two input data sets, one with a description as QSIRecon writes it."""
    out = []
    for name, facts in (("qsirecon", {"GeneratedBy": [{"Name": "qsirecon", "Version": "26.0.0"}]}), ("maps", None)):
        path = tmp_path / "in" / name
        path.mkdir(parents=True)
        if facts:
            described = {"Name": name, "BIDSVersion": "1.10.0", "DatasetDOI": "10.1/x", **facts}
            (path / "dataset_description.json").write_text(json.dumps(described))
        out.append((name, path))
    return out


def test_the_description_names_us_first_and_links_the_sources(
    tmp_path: Path, sources: list[tuple[str, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SPECTRA_BIDS_DOCKER_TAG", raising=False)
    monkeypatch.delenv("SPECTRA_BIDS_SINGULARITY_URL", raising=False)
    write_dataset_files(tmp_path / "out", sources)
    got = json.loads((tmp_path / "out" / "dataset_description.json").read_text())
    assert got["GeneratedBy"][0] == {"Name": "spectra-bids", "Version": __version__}
    assert got["DatasetLinks"] == {"qsirecon": "../in/qsirecon", "maps": "../in/maps"}
    tool = {"Name": "qsirecon", "Version": "26.0.0"}
    assert got["SourceDatasets"][0] == {"URL": "../in/qsirecon", "DOI": "10.1/x", "GeneratedBy": [tool]}
    assert tool in got["GeneratedBy"][1:]


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ("SPECTRA_BIDS_DOCKER_TAG", {"Type": "docker", "Tag": "x/y:1"}),
        ("SPECTRA_BIDS_SINGULARITY_URL", {"Type": "singularity", "URI": "x/y:1"}),
    ],
)
def test_the_description_names_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, expected: dict[str, str]
) -> None:
    monkeypatch.setenv(variable, "x/y:1")
    write_dataset_files(tmp_path, [])
    got = json.loads((tmp_path / "dataset_description.json").read_text())
    assert got["GeneratedBy"][0]["Container"] == expected


def test_root_files_are_the_same_wherever_the_folders_are_and_are_not_rewritten(
    tmp_path: Path, sources: list[tuple[str, Path]]
) -> None:
    write_dataset_files(tmp_path / "out", sources)
    shutil.copytree(tmp_path / "in", tmp_path / "elsewhere" / "in")
    write_dataset_files(tmp_path / "elsewhere" / "out", [(n, tmp_path / "elsewhere" / "in" / n) for n, _ in sources])
    files = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert files == [
        ".bidsignore",
        "README.md",
        "dataset_description.json",
        "desc-bundle_tractometry.json",
        "desc-profile1D_tractometry.json",
        "desc-profile2D_tractometry.json",
        "descriptions.tsv",
    ]
    for name in files:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "elsewhere" / "out" / name).read_bytes()
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()}
    (tmp_path / "out" / "README.md").write_text("changed by hand")
    write_dataset_files(tmp_path / "out", sources)
    after = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()}
    assert {p.name for p in before if before[p] != after[p]} == {"README.md"}


def test_column_dictionaries_are_those_of_the_contract(tmp_path: Path) -> None:
    write_dataset_files(tmp_path, [])
    for desc, columns in (("profile1D", PROFILE_1D), ("profile2D", PROFILE_2D), ("bundle", BUNDLE)):
        assert json.loads((tmp_path / f"desc-{desc}_tractometry.json").read_text()) == sidecar(columns)


def test_an_output_tree_passes_the_bids_validator(tmp_path: Path, sources: list[tuple[str, Path]]) -> None:
    validator = shutil.which(
        "bids-validator-deno", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    )
    if validator is None:
        pytest.skip("bids-validator-deno is absent; the extra 'test' installs it")
    out = tmp_path / "out"
    write_dataset_files(out, sources)
    for session in (None, "1"):
        tables = {
            paths.profile_file(out, "01", session, "ACPC", "1D"): PROFILE_1D,
            paths.profile_file(out, "01", session, "ACPC", "2D"): PROFILE_2D,
            paths.bundle_file(out, "01", session, "ACPC"): BUNDLE,
        }
        for path, columns in tables.items():
            write_table(path, pd.DataFrame([["ok"] * len(columns)], columns=names(columns)))
            write_json(path.with_suffix(".json"), {"Sources": ["bids:maps:sub-01/a.nii.gz"], **sidecar(columns)})
    for path in (
        *paths.grid_files(out, "hcp1065", "AFL"),
        paths.figure_file(out, "01", paths.session_stem("01", "1", "ACPC"), "profile1D"),
        paths.subject_page(out, "01"),
        paths.map_file(out, "age", "AFL", "2D"),
        paths.model_table(out, "age", "2D", "stats"),
        paths.model_dir(out, "age") / "model-age_smdl.json",
        paths.model_page(out, "age"),
        paths.run_log_dir(out, "20200101-000000_a") / "settings.toml",
        paths.crash_dir(out, "01", "20200101-000000_a") / "crash-1.txt",
        out / "group_qc.html",
        out / "group" / "subjects.csv",
        out / "logs" / "CITATION.md",
    ):
        write_text(path, "{}\n")
    done = subprocess.run([validator, "--json", str(out)], capture_output=True, text=True, check=False)
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [i for i in issues if i["severity"] == "error"] == []
    assert done.returncode == 0
    # The validator must be able to fail: the same tree without its .bidsignore.
    (out / ".bidsignore").unlink()
    broken = subprocess.run([validator, "--json", str(out)], capture_output=True, text=True, check=False)
    assert broken.returncode != 0


def test_leftovers_of_killed_runs_go_but_files_being_written_stay(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    dead = tmp_path / "deep" / ".table.tsv.abc.tmp"
    dead.write_text("half")
    handle, alive = outputs._temporary(tmp_path / "page.html")
    kept = tmp_path / "notes.tmp"
    kept.write_text("not ours")
    outputs.clear_leftovers(tmp_path, recursive=True)
    assert not dead.exists()
    assert Path(alive).exists()
    assert kept.exists()
    os.close(handle)
    outputs.clear_leftovers(tmp_path, recursive=False)
    assert not Path(alive).exists()
