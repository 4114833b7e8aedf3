"""cli.boutiques: the description in the repository is the parser's, follows the schema, and its command lines run.

The reference implementation, `bosh`, judges the file and makes the command lines; the parser reads them back.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from spectra_bids.cli.app import make_parser
from spectra_bids.cli.boutiques import describe

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "boutiques.json"
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def description():
    return describe(make_parser())


@pytest.fixture
def bosh(tmp_path):
    """`bosh("validate", ...)`: the program as a user starts it; what it keeps of runs goes to a home of its own."""

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "HOME": str(tmp_path), "PATH": f"{BIN}:{os.environ['PATH']}"}
        command = [str(BIN / "bosh"), *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)

    return run


@pytest.fixture
def simulated(bosh, tmp_path):
    """`simulated({input: value})`: the command line that bosh makes of an invocation."""

    def simulate(invocation: dict[str, object]) -> str:
        path = tmp_path / "invocation.json"
        path.write_text(json.dumps(invocation))
        done = bosh("exec", "simulate", "-i", path, FILE)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip().splitlines()[-1]

    return simulate


# --- the file ------------------------------------------------------------------------------------------------------


def test_the_file_is_what_the_parser_gives(description):
    if FILE.read_text() != json.dumps(description, indent=2) + "\n":
        pytest.fail("boutiques.json is not what the command line's parser gives. Make it again: make boutiques")


def test_the_option_prints_the_same(cli):
    ended = cli("--bids-exec-spec")
    assert (ended.status, ended.out) == (0, FILE.read_text())


def test_the_command_that_the_failure_names_exists():
    assert re.search(r"^boutiques:.*\n\t@?.*--bids-exec-spec", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_every_option_of_the_parser_is_an_input(description):
    wanted = {a.dest for a in make_parser()._actions} - {"help", "version", "==SUPPRESS=="}
    assert {entry["id"] for entry in description["inputs"]} == wanted | {"earlier_output_dir"}
    flags = {s for a in make_parser()._actions for s in a.option_strings}
    assert {e["command-line-flag"] for e in description["inputs"] if "command-line-flag" in e} <= flags


def test_inputs_are_consistent(description):
    line, ids = description["command-line"], set()
    (group,) = description["groups"]
    for entry in description["inputs"]:
        assert entry["id"] not in ids
        ids.add(entry["id"])
        assert line.count(entry["value-key"]) == (2 if entry["id"] in group["members"] else 1)
        assert entry["description"]
        assert entry["type"] in {"String", "File", "Flag", "Number"}
        assert entry["optional"] is ("command-line-flag" in entry or entry["id"] in group["members"])
        if entry["type"] == "Flag":
            assert "list" not in entry
    level = next(e for e in description["inputs"] if e["id"] == "analysis_level")
    assert level["value-choices"] == ["participant", "group"]


def test_exit_statuses_are_those_of_the_errors(description):
    from spectra_bids import errors

    codes = {entry["code"] for entry in description["error-codes"]}
    assert codes == {c.exit_status for c in vars(errors).values() if isinstance(c, type) and hasattr(c, "exit_status")}


def test_the_image_has_the_name_that_it_is_built_under(description):
    image = description["container-image"]["image"]
    assert f"build -t {image} " in (ROOT / "docs" / "containers.md").read_text()
    assert f"build -t {image} " in (ROOT / "Dockerfile").read_text()


def test_the_resources_are_one_to_three_times_what_the_readme_says_was_measured(description):
    found = re.search(r"([\d.]+) s and (\d+) MB with\s+pictures of all bundles", (ROOT / "README.md").read_text())
    assert found, "the README no longer says what a subject takes"
    suggested = description["suggested-resources"]
    assert suggested["cpu-cores"] == 1
    assert 1 <= suggested["ram"] / (float(found[2]) / 1000) <= 3
    assert 1 <= suggested["walltime-estimate"] / float(found[1]) <= 3


# --- the reference implementation ----------------------------------------------------------------------------------


def test_bosh_accepts_the_file_as_that_of_a_bids_app(bosh):
    done = bosh("validate", "-b", FILE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "BIDS validation OK" in done.stdout


def test_bosh_refuses_a_file_that_is_none(bosh, description, tmp_path):
    """That is, the test above can fail."""
    other = {**description, "command-line": description["command-line"].replace("mkdir -p [OUTPUT_DIR]; ", "")}
    (tmp_path / "other.json").write_text(json.dumps(other))
    done = bosh("validate", "-b", tmp_path / "other.json")
    assert "command-line doesn't match template" in done.stdout + done.stderr


@pytest.mark.parametrize("complete", [(), ("-c",)], ids=["required inputs", "all inputs"])
def test_bosh_simulates_with_values_of_its_own(complete, bosh):
    """They are drawn by chance, so nothing is said of them here."""
    done = bosh("exec", "simulate", *complete, FILE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "; spectra-bids " in done.stdout


def filled(entry: dict[str, object], tmp_path: Path) -> object:
    """A value for an input, with blanks and quotes where there may be any."""
    choices = entry.get("value-choices")
    if entry["type"] == "Flag":
        return True
    if entry["type"] == "File":
        path = tmp_path / f"it's a {entry['id']}"
        path.touch()
        return str(path)
    value = choices[-1] if choices else "a b: 'c'=\"1\" $HOME;"
    if entry["type"] == "Number" and not choices:
        value = 3 if entry.get("integer") else 0.25
    return [value, value] if entry.get("list") else value


def test_a_command_line_with_every_input_is_read_back_as_it_was_given(description, simulated, tmp_path):
    inputs = {e["id"]: e for e in description["inputs"] if e["id"] != "earlier_output_dir"}
    given = {name: filled(entry, tmp_path) for name, entry in inputs.items()}
    words = shlex.split(simulated(given))
    assert words[:3] == ["mkdir", "-p", f"{given['output_dir']};"]
    read = vars(make_parser().parse_args(words[4:]))
    for name, value in given.items():
        got = read[name]
        plain = [str(x) if isinstance(x, Path) else x for x in got] if isinstance(got, list) else got
        plain = str(plain) if isinstance(plain, Path) else plain
        assert plain == value or (inputs[name]["type"] == "Flag" and plain), name


@pytest.mark.parametrize(
    "wrong", [{}, {"output_dir": "new", "earlier_output_dir": "old"}], ids=["no output", "two outputs"]
)
def test_bosh_asks_for_one_output_folder(wrong, bosh, tmp_path):
    (tmp_path / "old").touch()
    given = {"bids_dir": str(tmp_path), "analysis_level": "group", **wrong}
    (tmp_path / "wrong.json").write_text(json.dumps(given))
    done = bosh("invocation", "-i", tmp_path / "wrong.json", FILE)
    assert "output_dir" in done.stdout + done.stderr
    assert "OK" not in done.stdout


def test_bosh_runs_a_subject_and_names_the_error_of_another(bosh, study, tmp_path):
    invocation = tmp_path / "one.json"
    given = {
        "bids_dir": str(study.bids),
        "output_dir": str(tmp_path / "an out"),
        "analysis_level": "participant",
        "participant_label": ["sub-01"],
        "atlas": str(study.atlas),
        "n_procs": 1,
    }
    invocation.write_text(json.dumps(given))
    done = bosh("exec", "launch", "--no-container", "--skip-data-collection", FILE, invocation)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "an out" / "sub-01.html").is_file()
    invocation.write_text(json.dumps({**given, "participant_label": ["77"]}))
    done = bosh("exec", "launch", "--no-container", "--skip-data-collection", FILE, invocation)
    assert done.returncode == 18
    assert "The filters select nothing" in done.stdout
