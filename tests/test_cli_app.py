"""cli.app, cli.config, cli.logs: options become settings, whatever their spelling, and a settings file mirrors them."""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from spectra_bids.cli import limit_threads
from spectra_bids.cli.app import group_settings, make_parser, parse, participant_settings, run_settings
from spectra_bids.cli.config import to_toml
from spectra_bids.cli.logs import new_run, start_logs
from spectra_bids.errors import MissingInputError, UsageError
from spectra_bids.settings import DecisionSettings, GridSettings, ProfileSettings


@pytest.fixture
def bids(tmp_path):
    (tmp_path / "bids").mkdir()
    return tmp_path / "bids"


def settings(bids: Path, *options: str, level: str = "participant"):
    arguments = [str(bids), str(bids.parent / "out"), level, *options]
    parsed = parse(arguments)
    return parsed, run_settings(parsed, arguments, "run")


def test_defaults_are_those_of_the_settings(bids, tmp_path):
    parsed, run = settings(bids, "--atlas", str(tmp_path))
    made = participant_settings(parsed, run)
    assert made.profile == ProfileSettings()
    assert made.scalars == ("*",)
    assert run.n_procs == len(os.sched_getaffinity(0))
    assert run.command == f"spectra-bids {bids} {tmp_path / 'out'} participant --atlas {tmp_path}"


def test_numbers_and_choices_arrive(bids, tmp_path):
    options = "-s 4 -r 3.5 --ns 30 --nr 4 --robust spline --radial distance --min-points 2 --min-streamlines 9"
    parsed, run = settings(
        bids, *options.split(), "--registration", "slr", "--random-seed", "7", "--atlas", str(tmp_path)
    )
    made = participant_settings(parsed, run).profile
    assert made == ProfileSettings(GridSettings(4, 3.5, 30, 4, "spline", "distance"), 9, 2, "slr", 7)


@pytest.mark.parametrize("flag", ["--participant-label", "--participant_label"])
@pytest.mark.parametrize("sessions", ["--session-label", "--session_label", "--session-id"])
def test_labels_lose_their_prefix_under_every_spelling_of_the_option(flag, sessions, bids):
    _, run = settings(bids, flag, "sub-01", "02", sessions, "ses-a")
    assert run.participant_labels == ("01", "02")
    assert run.session_labels == ("a",)


def test_group_options_arrive(bids):
    options = [
        "--formula",
        "value ~ a",
        "--contrast",
        "x: a=1",
        "y: a=2",
        "--alpha-cell",
        "0.1",
        "0.2",
        "--profile",
        "2D",
    ]
    parsed, run = settings(bids, *options, "--stats_mode", "fdr", "--adaptive", "--alpha", "0.01", level="group")
    made = group_settings(parsed, run)
    assert (made.formula, made.contrasts, made.decision.alpha_cell) == ("value ~ a", ("x: a=1", "y: a=2"), (0.1, 0.2))
    assert (made.profile, made.decision) == ("2D", DecisionSettings("fdr", 0.01, True, alpha_cell=(0.1, 0.2)))


def test_a_derivative_without_a_name_is_called_as_its_folder(bids):
    _, run = settings(bids, "-d", "maps=/data/x y", "/data/qsirecon")
    assert run.derivatives == (("maps", Path("/data/x y")), ("qsirecon", Path("/data/qsirecon")))


@pytest.mark.parametrize(
    ("text", "size"), [("8G", 8), ("8GB", 8), ("500M", 0.5), ("1T", 1000), ("16", 16), ("2.5g", 2.5), ("4GiB", 4)]
)
def test_memory_is_read_in_gigabytes(text, size, bids):
    assert settings(bids, "--mem", text)[1].mem_gb == pytest.approx(size)


@pytest.mark.parametrize("text", ["", "G", "-1G", "0", "8X", "1e400G x"])
def test_memory_that_is_no_size_is_refused(text, bids):
    with pytest.raises(UsageError, match="--mem"):
        settings(bids, "--mem=" + text)


def test_the_atlas_is_the_option_s_else_the_environment_s(bids, tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("SPECTRA_BIDS_ATLAS", str(tmp_path / "two"))
    assert participant_settings(*settings(bids)).atlas == tmp_path / "two"
    assert participant_settings(*settings(bids, "--atlas", str(tmp_path / "one"))).atlas == tmp_path / "one"
    monkeypatch.setenv("SPECTRA_BIDS_ATLAS", "")
    with pytest.raises(MissingInputError, match="no atlas"):
        participant_settings(*settings(bids))


def test_options_cannot_be_abbreviated(bids, capsys):
    with pytest.raises(SystemExit):
        settings(bids, "--min-point", "3")
    assert "--min-point" in capsys.readouterr().err


def everything_set(parser: argparse.ArgumentParser) -> dict[str, object]:
    """A value other than the default for every option that a settings file may hold."""
    values: dict[str, object] = {}
    for action in parser._actions:
        if not action.option_strings or argparse.SUPPRESS in (action.dest, action.default):
            continue
        if action.dest in {"help", "version", "config_file"}:
            continue
        if action.nargs == 0:
            value: object = True if action.const is True else 2
        elif action.choices:
            value = next(c for c in action.choices if c != action.default)
        elif action.type in (int, float):
            value = 3
        else:
            value = 'a "quoted" \\ [text] = ü\n#'
        values[action.dest] = [value, value] if action.nargs == "+" else value
    return values


def test_every_option_survives_the_way_through_a_settings_file(bids, tmp_path):
    parser = make_parser()
    values = everything_set(parser)
    assert len(values) > 35
    config = tmp_path / "run.toml"
    config.write_text(to_toml(argparse.Namespace(**values)), encoding="utf-8")
    assert tomllib.loads(config.read_text(encoding="utf-8")) == values
    parsed = vars(parse([str(bids), "out", "group", "--config-file", str(config)]))
    for name, value in values.items():
        kind = next(a.type for a in parser._actions if a.dest == name)
        assert parsed[name] == (Path(str(value)) if kind is Path else value), name


def test_defaults_survive_too_and_what_is_unset_is_left_out(bids):
    plain = parse([str(bids), "out", "group"])
    text = to_toml(plain)
    assert "bids_dir" not in text
    assert "\nns =" not in text
    (bids / "c.toml").write_text(text)
    again = parse([str(bids), "out", "group", "--config-file", str(bids / "c.toml")])
    assert {**vars(again), "config_file": None} == vars(plain)


def test_the_name_of_a_run_is_a_date_and_a_uuid():
    import re

    first, second = new_run(), new_run()
    assert re.fullmatch(r"\d{8}-\d{6}_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", first)
    assert first != second


@pytest.mark.parametrize(
    ("flags", "terminal", "shown"),
    [([], False, "W"), (["-v"], False, "WIO"), (["-vv"], False, "WIDO"), ([], True, "WO"), (["-v"], True, "WIO")],
)
def test_the_screen_shows_what_was_asked_for_and_the_file_everything(flags, terminal, shown, bids, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    parsed, run = settings(bids, *flags)
    start_logs(run, parsed)
    log = logging.getLogger("spectra_bids")
    try:
        for level, letter in ((logging.WARNING, "W"), (logging.INFO, "I"), (logging.DEBUG, "D")):
            log.log(level, "letter %s", letter)
        log.info("letter O", extra={"outcome": True})
    finally:
        for handler in log.handlers:
            handler.close()
        log.handlers.clear()
    said = capsys.readouterr().err
    assert {letter for letter in "WIDO" if f"letter {letter}" in said} == set(shown)
    written = (bids.parent / "out" / "logs" / "run" / "run.log").read_text()
    assert all(f"letter {letter}" in written for letter in "WIDO")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [([], "1"), (["--omp-nthreads", "3"], "3"), (["--omp-nthreads=4"], "4"), (["--omp-nthreads", "x"], "1")],
)
def test_libraries_get_one_thread_unless_asked_for_more(arguments, expected, monkeypatch):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    limit_threads(["a", "b", "participant", *arguments])
    assert os.environ["OMP_NUM_THREADS"] == os.environ["OPENBLAS_NUM_THREADS"] == expected


def test_the_environment_decides_about_threads_unless_the_option_does(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    limit_threads([])
    assert os.environ["OMP_NUM_THREADS"] == "6"
    limit_threads(["--omp-nthreads", "2"])
    assert os.environ["OMP_NUM_THREADS"] == "2"


HEAVY = (
    "numpy",
    "scipy",
    "pandas",
    "nibabel",
    "dipy",
    "matplotlib",
    "bids",
    "jinja2",
    "pyarrow",
    "nilearn",
    "distributed",
)


@pytest.mark.parametrize("flag", ["--help", "--version", "--bids-exec-spec"])
def test_help_version_and_description_load_no_heavy_library(flag):
    code = (
        "import sys\nfrom spectra_bids.cli import main\n"
        f"try: main([{flag!r}])\nexcept SystemExit as stop: assert not stop.code\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert done.stdout


def test_a_misspelled_tool_is_told_the_right_one(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = cli("exprot", "out")
    assert ended.status == 2
    assert "Did you mean: spectra-bids export" in ended.err
    (tmp_path / "exprot").mkdir()
    assert "Did you mean" not in cli("exprot", "out").err, "a folder of that name is a BIDS_DIR"


def test_help_names_every_tool_and_exit_status(cli):
    from spectra_bids.cli.tools import TOOLS

    text = cli("--help").out
    named = text.partition("tools (spectra-bids TOOL --help):")[2].partition("exit status")[0].replace(",", " ").split()
    assert sorted(named) == sorted(TOOLS)
    for status in (0, 1, 2, 16, 18, 65, 66, 73, 75):
        assert f"{status} " in text


def test_no_arguments_is_usage(cli):
    ended = cli()
    assert ended.status == 2
    assert "bids_dir" in ended.err
