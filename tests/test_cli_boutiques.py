"""cli.boutiques: the description in the repository is the parser's, and follows the schema."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spectra_bids.cli.app import make_parser
from spectra_bids.cli.boutiques import describe

FILE = Path(__file__).resolve().parent.parent / "boutiques.json"


@pytest.fixture(scope="module")
def description():
    return describe(make_parser())


def test_the_file_is_what_the_parser_gives(description):
    assert json.loads(FILE.read_text()) == description


def test_the_option_prints_the_same(cli, description):
    ended = cli("--bids-exec-spec")
    assert ended.status == 0
    assert json.loads(ended.out) == description


def test_every_option_of_the_parser_is_an_input(description):
    wanted = {a.dest for a in make_parser()._actions} - {"help", "version", "==SUPPRESS=="}
    assert {entry["id"] for entry in description["inputs"]} == wanted
    flags = {s for a in make_parser()._actions for s in a.option_strings}
    assert {e["command-line-flag"] for e in description["inputs"] if "command-line-flag" in e} <= flags


def test_inputs_are_consistent(description):
    line, ids = description["command-line"], set()
    for entry in description["inputs"]:
        assert entry["id"] not in ids
        ids.add(entry["id"])
        assert line.count(entry["value-key"]) == 1
        assert entry["description"]
        assert entry["type"] in {"String", "File", "Flag", "Number"}
        assert entry["optional"] is ("command-line-flag" in entry)
        if entry["type"] == "Flag":
            assert "list" not in entry
    level = next(e for e in description["inputs"] if e["id"] == "analysis_level")
    assert level["value-choices"] == ["participant", "group"]
    assert line.startswith("spectra-bids [BIDS_DIR] [OUTPUT_DIR] [ANALYSIS_LEVEL]")


def test_exit_statuses_are_those_of_the_errors(description):
    from spectra_bids import errors

    codes = {entry["code"] for entry in description["error-codes"]}
    assert codes == {c.exit_status for c in vars(errors).values() if isinstance(c, type) and hasattr(c, "exit_status")}


def test_the_reference_implementation_accepts_it(tmp_path):
    bosh = pytest.importorskip("boutiques", reason="boutiques, the reference implementation, is absent")
    bosh.validate(str(FILE))
