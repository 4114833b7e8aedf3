"""cli.tools: tools by name in first place."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from spectra_bids.cli.tools import TOOLS


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SPECTRA_BIDS_ATLASES", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize("tool", TOOLS)
def test_every_tool_explains_itself(tool, cli):
    ended = cli(tool, "--help")
    assert ended.status == 0
    assert f"spectra-bids {tool}" in ended.out


@pytest.mark.parametrize(
    "arguments", [("atlas",), ("atlas", "burn"), ("atlas", "fetch"), ("demo",), ("demo", "a", "b")]
)
def test_a_tool_used_wrongly_says_how_it_is_used(arguments, cli):
    ended = cli(*arguments)
    assert ended.status == 2
    assert "usage: spectra-bids" in ended.err


def test_atlases_are_fetched_listed_and_used_by_name(study, tmp_path, cli):
    assert "\ndemo" not in cli("atlas", "list").out
    archive = shutil.make_archive(str(tmp_path / "packed"), "gztar", study.atlas)
    ended = cli("atlas", "fetch", archive, "--name", "demo")
    assert ended.status == 0
    assert "3 bundles" in ended.out
    assert "BSD-3-Clause" in ended.out
    assert re.search(r"^demo +fetched +3 ", cli("atlas", "list").out, re.MULTILINE)
    ended = cli(study.bids, tmp_path / "out", "participant", "--atlas", "demo", "--dry-run")
    assert ended.status == 0
    assert "Atlas Demo" in ended.out
    again = cli("atlas", "fetch", archive, "--name", "demo")
    assert again.status == 73
    assert "--name" in again.err


def test_fetching_what_is_not_there_ends_with_66(cli):
    ended = cli("atlas", "fetch", "nothing.zip", "--name", "x")
    assert ended.status == 66
    assert "Traceback" not in ended.err


def test_a_study_atlas_can_be_built_and_used(study, tmp_path, cli):
    made = tmp_path / "atlas-mine"
    ended = cli("atlas", "build", study.bids, made, "--name", "Mine", "--streamlines", "400")
    assert ended.status == 0, ended.err
    described = json.loads((made / "atlas.json").read_text())
    assert described["Name"] == "Mine"
    assert described["Space"] == "MNI152NLin2009aSym"
    command = (study.bids, tmp_path / "out", "participant", "--atlas", made, "--participant-label", "01")
    ended = cli(*command, "--n-procs", 1)
    assert ended.status == 0, ended.err
    (table,) = Path(tmp_path / "out").glob("sub-01/dwi/*_desc-bundle_tractometry.tsv")
    assert table.read_text().count("\tok\t") == 3


def test_an_output_folder_is_validated(study, profiles, cli):
    assert cli("validate", study.out).status == 0
    (profiles / "dataset_description.json").unlink()
    ended = cli("validate", profiles)
    assert ended.status == 16
    assert "dataset_description.json" in ended.out
