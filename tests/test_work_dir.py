"""Both levels write below OUTPUT_DIR and --work-dir, and nowhere else; caches that serve every run stay in a home."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_WATCHED = """
import json, os, sys

written = []

def watch(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        if isinstance(path, (str, bytes)) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            written.append(os.path.abspath(os.fsdecode(path)))
    elif event in ("tempfile.mkstemp", "tempfile.mkdtemp"):
        written.append(os.path.abspath(os.fsdecode(arguments[0])))
    elif event == "sqlite3.connect" and arguments[0] != ":memory:":
        written.append(os.path.abspath(os.fsdecode(arguments[0])))

sys.addaudithook(watch)
from spectra_bids.cli import main
from spectra_bids.group import tables

tables.group_memory = lambda *_: 0.0  # the smallest --mem: values go into a file
status = main(sys.argv[1:])
print(json.dumps([status, written]))
"""


@pytest.mark.parametrize("level", ["participant", "group"])
def test_everything_is_written_below_the_output_or_the_work_dir(level, study, profiles, tmp_path):
    work, elsewhere, home = tmp_path / "work", tmp_path / "elsewhere", tmp_path / "home"
    elsewhere.mkdir()
    home.mkdir()
    out = profiles if level == "group" else tmp_path / "new"
    options = {
        "participant": ["--atlas", study.atlas, "--participant-label", "01", "--n-procs", "1"],
        "group": ["--formula", "value ~ group + age", "--mem", "0.1M"],
    }
    done = subprocess.run(
        [sys.executable, "-B", "-c", _WATCHED, *map(str, (study.bids, out, level, *options[level], "-w", work))],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(elsewhere), "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    status, written = json.loads(done.stdout.splitlines()[-1])
    assert status == 0, done.stderr
    # TMPDIR, HOME: whether they can be written is tried out.
    allowed = (out, work, elsewhere, home, Path("/dev"))
    assert [p for p in written if not any(Path(p).is_relative_to(folder) for folder in allowed)] == []
    assert list(elsewhere.iterdir()) == []
    assert {p.name for p in home.iterdir()} <= {".cache", ".config"}
    if level == "group":
        assert any(Path(p).is_relative_to(work) for p in written), "values that --mem has no room for"
