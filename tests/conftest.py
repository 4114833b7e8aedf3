"""Fixtures: where the shared real data are, R, the command line in this process, and a small cohort with results."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

# Before NumPy and DIPY are loaded: waiting OpenMP threads on busy cores slow DIPY's registration many times.
os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parent.parent


def shared_root() -> Path:
    """Folder of the shared real data (it may be absent)."""
    named = os.environ.get("SPECTRA_BIDS_TEST_DATA")
    return Path(named) if named else REPOSITORY.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    root = shared_root()
    if not (root / "README.md").is_file():
        pytest.skip(f"the shared real data are absent ({root}); SPECTRA_BIDS_TEST_DATA can name another place")
    return root


@cache
def _r_works() -> bool:
    if shutil.which("Rscript") is None:
        return False
    probe = subprocess.run(["Rscript", "-e", "library(lmerTest)"], capture_output=True, check=False)
    return probe.returncode == 0


@pytest.fixture(scope="session")
def rscript() -> str:
    if not _r_works():
        pytest.skip("R with lmerTest is absent; the set-up script installs it where it may")
    return shutil.which("Rscript") or ""


class Ended(NamedTuple):
    """What a command line came to."""

    status: int
    out: str
    err: str


def without_pictures(arguments: tuple[object, ...]) -> tuple[object, ...]:
    """A participant run as most tests want it: pictures take longer than all the rest and say nothing about it."""
    plain = [str(a) for a in arguments]
    if plain[2:3] != ["participant"] or "--pictures" in plain or "--config-file" in plain:
        return arguments
    return (*arguments, "--pictures", "none")


def _in_this_process(*arguments: object) -> Ended:
    from spectra_bids.cli import main

    arguments = without_pictures(arguments)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main([str(a) for a in arguments])
        except SystemExit as stop:  # argparse
            status = int(stop.code or 0)
    return Ended(status, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def cli() -> Callable[..., Ended]:
    """`cli("BIDS", "OUT", "participant", ...)`: the command line without the start of another Python."""
    return _in_this_process


@pytest.fixture(scope="session")
def shell() -> Callable[..., Ended]:
    """The same in a process of its own, as a user meets it."""

    def run(*arguments: object, **environment: str) -> Ended:
        command = [sys.executable, "-m", "spectra_bids", *map(str, without_pictures(arguments))]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
        return Ended(done.returncode, done.stdout, done.stderr)

    return run


def _made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first of several test processes makes and all of them read."""
    base = factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    folder = shared / name
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / ".made").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            (folder / ".made").touch()
    return folder


class Study(NamedTuple):
    """A cohort of twelve (sub-04 lacks AFL, sub-07 has too few streamlines in CCForcepsMajor): read, never write."""

    bids: Path
    atlas: Path
    out: Path


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The embedded cohort with a strong effect in CSTR, and its participant level in `out`."""

    def make(folder: Path) -> None:
        from spectra_bids.demo.cohort import make_cohort

        make_cohort(folder / "bids", folder / "atlas", n=12, seed=0, effect=0.3)
        ended = _in_this_process(
            folder / "bids", folder / "out", "participant", "--atlas", folder / "atlas", "--n-procs", 1
        )
        assert ended.status == 0, ended.err

    folder = _made_once(tmp_path_factory, "study", make)
    return Study(folder / "bids", folder / "atlas", folder / "out")


@pytest.fixture(autouse=True)
def _without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Group runs of this process draw no 3D pictures, which take seconds; test_group_pictures.py draws them."""
    monkeypatch.setattr("spectra_bids.group.pictures.MOST_PICTURES", 0)


@pytest.fixture
def profiles(study: Study, tmp_path: Path) -> Path:
    """A copy of the study's participant level that a test may write to."""
    return Path(shutil.copytree(study.out, tmp_path / "out"))


class Content(bytes):
    """Bytes of a file that say in a failed comparison which they are, not all of themselves: that took minutes."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes, sha256 {hashlib.sha256(self).hexdigest()[:12]}>"

    def replace(self, old: bytes, new: bytes) -> Content:  # type: ignore[override]
        return Content(super().replace(old, new))


def contents(root: Path, *, logs: bool = False) -> dict[str, bytes]:
    """Relative path -> bytes of every file, but those of single runs."""
    files = (p for p in root.rglob("*") if p.is_file())
    relative = {p.relative_to(root).as_posix(): p for p in files}
    return {k: Content(p.read_bytes()) for k, p in sorted(relative.items()) if logs or not is_log(k)}


def is_log(path: str) -> bool:
    """Whether a path in an output folder belongs to one run: logs/<run>/ or sub-X/log/."""
    parts = path.split("/")
    return (parts[0] == "logs" and len(parts) > 2) or "log" in parts[:-1]


@pytest.fixture(scope="session")
def tree() -> Callable[..., dict[str, bytes]]:
    """`tree(folder)`: relative path -> bytes of all files that must not depend on the run."""
    return contents
