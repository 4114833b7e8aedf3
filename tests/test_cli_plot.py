"""spectra-bids plot: options -> task, files, exit status; and every command of docs/plot.md."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from spectra_bids.cli.plot import _task, plot_parser

DOCS = Path(__file__).resolve().parent.parent / "docs" / "plot.md"


def task(*words):
    options = plot_parser().parse_args(["out", "-o", "figure.pdf", *words])
    return _task(options, ("pdf",))


def test_help_names_every_figure_and_an_example(shell):
    ended = shell("plot", "--help")
    assert ended.status == 0
    for word in ("profiles", "maps", "strips", "mosaic", "fdr", "--panels", "--rename", "examples:"):
        assert word in ended.out


def test_options_become_a_task():
    made = task(
        *("--figure", "maps", "fdr", "--bundle", "CST_left", "--contrast", "group", "--width", "8.5cm", "--dpi", "600"),
        *(
            "--font-size",
            "7",
            "--theme",
            "dark",
            "--transparent",
            "--panels",
            "a,b,d",
            "--rename",
            "a=b",
            "--title",
            "T",
        ),
        *("--svg-text", "text"),
    )
    assert made.kinds == ("maps", "fdr")
    assert (made.bundles, made.contrasts, made.renamed) == (("CST_left",), ("group",), {"a": "b"})
    press = made.press
    assert (press.width, press.dpi, press.font_size) == (85.0, 600, 7.0)
    assert (press.dark, press.transparent, press.letters, press.title) == (True, True, ("a", "b", "d"), "T")
    assert press.outlines is False


def test_without_options_everything_is_drawn_for_a_page():
    made = task()
    assert made.kinds == ("profiles", "maps", "strips", "mosaic", "fdr")
    assert (made.press.width, made.press.letters, made.press.title) == (180.0, (), None)
    assert task("--panels").press.letters == ("a",)
    assert task("--title").auto_title


@pytest.mark.parametrize("text", ["wide", "8.5km", "", "1.2.3mm"])
def test_a_width_is_a_length(text):
    with pytest.raises(SystemExit):
        task("--width", text)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("nowhere", "-o", "f.pdf"), 66, "no output directory"),
        ((".", "-o", "f.gif"), 2, ".svg, .pdf or .png"),
        ((".", "-o", "f.pdf", "--font", "Comic Papyrus"), 2, "There are:"),
        ((".", "-o", "f.pdf", "--width", "5mm"), 2, "30..600 mm"),
        ((".", "-o", "f.pdf", "--rename", "x"), 2, "OLD=NEW"),
        ((".", "-o", "f.pdf"), 66, "Run the group level first"),
    ],
)
def test_what_is_wrong_is_said(cli, tmp_path, monkeypatch, words, status, said):
    monkeypatch.chdir(tmp_path)
    ended = cli("plot", *words)
    assert ended.status == status
    assert said in ended.err
    assert not list(tmp_path.glob("f.*"))


# --- docs/plot.md ----------------------------------------------------------------------------------------------------


def commands():
    """What a reader types, as lists of words, with what is printed below it."""
    blocks = re.findall(r"```console\n(.*?)```", DOCS.read_text(), flags=re.S)
    typed = [text for block in blocks for text in re.split(r"^\$ ", block, flags=re.M)[1:]]
    lines = [text.replace("\\\n", " ").split("\n", 1) for text in typed if text.startswith("spectra-bids")]
    return [(shlex.split(first), rest) for first, rest in lines]


@pytest.fixture(scope="module")
def page(study, tmp_path_factory, cli):
    """The page's commands, run where the page runs them: beside a study and its output directory."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(study.bids, folder / "study")
    shutil.copytree(study.atlas, folder / "atlas")
    shutil.copytree(study.out, folder / "out")
    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for words, shown in commands():
            extra = ["--n-procs", "1"] if "group" in words[:4] else ["--engine", "matplotlib"]
            said.append((words, shown, cli(*words[1:], *extra)))
    return folder, said


def test_every_command_of_the_page_prints_what_the_page_shows(page):
    _, said = page
    assert len(said) >= 7
    for words, shown, ended in said:
        refused = "error:" in shown
        assert (ended.status != 0) == refused, (words, ended.err)
        printed = ended.err if refused else ended.out
        if "plot" in words:
            assert " ".join(printed.split()) == " ".join(shown.split()), words


def test_the_page_shows_every_kind_of_figure(page):
    folder, said = page
    text = " ".join(" ".join(words) for words, _, _ in said)
    for kind in ("profiles", "maps", "strips", "mosaic", "fdr"):
        assert kind in text
    assert sorted(p.suffix for p in folder.glob("*.*") if p.is_file())
