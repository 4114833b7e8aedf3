"""docs/voxels.md and docs/modelarray.md: their commands run, and say what the pages say."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"
#: The head of a PNG with its size.
DOT = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01"


def commands(page):
    """What a reader types of the programs that are ours or Python, as lists of words, in their order."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(), flags=re.S)
    found = []
    for text in (text for block in blocks for text in re.split(r"^\$ ", block, flags=re.M)[1:]):
        if text.startswith("python -c"):
            found.append(["python", text.split('"')[1]])
        elif text.startswith("spectra-bids"):
            found.append(shlex.split(text.replace("\\\n", " ").splitlines()[0]))
    return found


@pytest.mark.parametrize("name", ["voxels", "modelarray"])
def test_every_command_of_the_page_ends_as_the_page_says(name, tmp_path, cli, monkeypatch, study):
    page = DOCS / f"{name}.md"
    said = " ".join(page.read_text().split())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("spectra_bids.voxels.draw", lambda *_: (DOT, DOT))
    ran = []
    for words in commands(page):
        if words[0] == "python":
            exec(compile(words[1], str(page), "exec"), {"__name__": "page"})
            continue
        if words[1] == "demo":  # two minutes: another cohort stands for it
            (tmp_path / "demo").mkdir()
            (tmp_path / "demo/results").symlink_to(study.out)
            continue
        ended = cli(*words[1:])
        assert ended.status == 0, (words, ended.err)
        ran.append(words[1])
        if "demo/results" in words:
            continue
        for line in ended.out.splitlines():
            assert " ".join(line.split()) in said, line
    wanted = {"voxels": {"voxels", "review"}, "modelarray": {"to-modelarray", "voxels", "export-results"}}
    assert set(ran) == wanted[name]
