"""What runs under a read-only root, without a home or a temporary directory, writes where it may, nowhere else."""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from spectra_bids.cli import environment
from spectra_bids.cli.environment import HIDDEN, some_home, writable_environment
from spectra_bids.errors import OutputError

NAMES = ("TMPDIR", "HOME", "MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR")
READ = ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "R_LIBS_USER", "PYTHONUSERBASE")
UNWRITABLE = "/proc"  # a folder in which not even root can make a file


@pytest.fixture
def bare(monkeypatch, tmp_path) -> Path:
    """None of the variables is set, and the system's temporary directory is one of our own."""
    for name in (*NAMES, *READ, "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", None)
    system = tmp_path / "system"
    system.mkdir()
    monkeypatch.setenv("TMPDIR", str(system))
    return system


@pytest.fixture
def no_temporary(monkeypatch, bare):
    """No system-wide temporary directory can be written."""
    monkeypatch.setattr(environment, "_system_temporary", lambda: None)


def places() -> dict[str, str]:
    return {name: os.environ[name] for name in (*NAMES, *READ) if name in os.environ}


def test_what_can_be_written_stays_as_it_is(bare, monkeypatch, tmp_path):
    for name in NAMES:
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.setenv(name, str(folder))
    before = places()
    with writable_environment(None, tmp_path / "out"):
        assert places() == before
        assert tempfile.gettempdir() == before["TMPDIR"]
    assert not (tmp_path / "out").exists()


def test_caches_that_lie_in_a_good_home_by_default_are_left_there(bare, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    with writable_environment(None, tmp_path / "out"):
        assert set(places()) == {"TMPDIR", "HOME", "XDG_RUNTIME_DIR"}
        assert os.environ["HOME"] == str(tmp_path)


@pytest.mark.parametrize("home", [None, "", "/nowhere", UNWRITABLE, "relative"])
def test_without_a_home_a_folder_for_this_run_takes_everything_and_goes_with_it(bare, monkeypatch, tmp_path, home):
    if home is not None:
        monkeypatch.setenv("HOME", home)
    before = places()
    with writable_environment(None, tmp_path / "out"):
        scratch = {Path(os.environ[name]).parent for name in NAMES if name != "TMPDIR"}
        assert len(scratch) == 1
        folder = scratch.pop()
        assert folder.parent == bare
        assert Path.home().is_dir()
        assert all(Path(os.environ[name]).stat().st_mode & 0o777 == 0o700 for name in NAMES if name != "TMPDIR")
        (Path.home() / "left").write_text("here")
    assert not folder.exists()
    assert places() == before


def test_a_home_that_is_only_read_keeps_its_data_and_libraries(bare, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", UNWRITABLE)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/elsewhere")
    with writable_environment(None, tmp_path / "out"):
        assert os.environ["XDG_DATA_HOME"] == f"{UNWRITABLE}/.local/share"
        assert os.environ["R_LIBS_USER"] == f"{UNWRITABLE}/R/%p-library/%v"
        assert os.environ["XDG_CONFIG_HOME"] == "/elsewhere"


def test_a_work_dir_takes_temporary_files_even_where_there_is_another_place(bare, tmp_path):
    work = tmp_path / "new" / "work"
    for _ in range(2):
        with writable_environment(work, tmp_path / "out"):
            found = places()
            assert {Path(found[name]).parent for name in NAMES} == {work / f"spectra_bids-{os.getuid()}"}
            assert tempfile.gettempdir() == found["TMPDIR"]
    assert Path(found["MPLCONFIGDIR"]).is_dir(), "a font cache serves the next run"
    assert list(bare.iterdir()) == []
    assert not (tmp_path / "out").exists()


def test_a_work_dir_that_cannot_be_written_is_named(bare, tmp_path):
    taken = tmp_path / "file"
    taken.write_text("")
    for work in (taken, Path(UNWRITABLE, "work")):
        with pytest.raises(OutputError, match=f"--work-dir must be a folder that can be written. Got {work}"):
            writable_environment(work, tmp_path / "out").__enter__()


def test_a_full_disk_is_no_reason_to_name_another_place(bare, no_temporary, monkeypatch, tmp_path):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    monkeypatch.setattr(tempfile, "mkdtemp", full)
    for work in (None, tmp_path / "work"):
        with pytest.raises(OSError, match="No space left") as raised:
            writable_environment(work, tmp_path / "out").__enter__()
        assert not isinstance(raised.value, OutputError), "exit status 75, not 73"


def test_the_last_resort_is_a_hidden_folder_in_the_output_and_nothing_of_it_stays(no_temporary, tmp_path):
    out = tmp_path / "a" / "out"
    with writable_environment(None, out):
        found = places()
        (folder,) = out.iterdir()
        assert folder.name.startswith(HIDDEN)
        assert {Path(found[name]).parent for name in NAMES} == {folder}
    assert not out.parent.exists(), "the run wrote nothing, so it leaves nothing"
    with writable_environment(None, out):
        (out / "result.tsv").write_text("a\n")
    assert [path.name for path in out.iterdir()] == ["result.tsv"]


def test_an_error_takes_the_hidden_folder_away_too(no_temporary, tmp_path):
    def fail() -> None:
        with writable_environment(None, tmp_path):
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert not list(tmp_path.glob(f"{HIDDEN}*"))


def test_where_nothing_can_be_written_the_message_says_what_to_do(no_temporary):
    out = Path(UNWRITABLE, "out")
    with pytest.raises(OutputError, match=str(out)) as raised:
        writable_environment(None, out).__enter__()
    assert "--work-dir" in raised.value.hint


def test_a_user_without_a_name_or_home_gets_one_that_libraries_can_read(bare, monkeypatch):
    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    with pytest.raises(RuntimeError):
        Path.home()
    monkeypatch.setenv("HOME", "gone")
    monkeypatch.delenv("HOME")  # so that what is set now is undone with it
    some_home()
    assert Path.home() == Path("/")
    monkeypatch.setenv("HOME", "/a/home")
    some_home()
    assert os.environ["HOME"] == "/a/home"


HOLD = """
import sys
from pathlib import Path
from spectra_bids.cli import environment
environment._system_temporary = lambda: None
with environment.writable_environment(None, Path(sys.argv[1])):
    print("ready", flush=True)
    sys.stdin.read()
"""


def hold(out: Path) -> subprocess.Popen[str]:
    """A run in another process, in the middle of its work."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_runs_that_share_an_output_leave_each_other_alone_and_clear_away_what_was_killed(no_temporary, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    killed, alive = hold(out), hold(out)
    assert len(list(out.glob(f"{HIDDEN}*"))) == 2
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    with writable_environment(None, out):
        assert len(list(out.glob(f"{HIDDEN}*"))) == 2, "that of this run and that of the one that is alive"
    alive.communicate()
    assert alive.returncode == 0
    assert list(out.iterdir()) == []


def test_children_follow_and_matplotlib_says_nothing(no_temporary, tmp_path):
    script = "import matplotlib, tempfile; print(matplotlib.get_cachedir()); print(tempfile.gettempdir())"
    with writable_environment(None, tmp_path):
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert all(line.startswith(f"{tmp_path}/{HIDDEN}") for line in done.stdout.split())


@pytest.mark.parametrize(("before", "within"), [(None, "0"), ("1", "1")], ids=["unset", "set"])
def test_joblib_asks_for_no_semaphores_unless_told_to(bare, monkeypatch, tmp_path, before, within):
    monkeypatch.delenv("JOBLIB_MULTIPROCESSING", raising=False)
    if before is not None:
        monkeypatch.setenv("JOBLIB_MULTIPROCESSING", before)
    with writable_environment(None, tmp_path / "out"):
        assert os.environ["JOBLIB_MULTIPROCESSING"] == within
    assert os.environ.get("JOBLIB_MULTIPROCESSING") == before


# --- under a root that really is read-only ---

SEAL = """
mount --bind "$1" "$1"
for place in / /tmp /var/tmp /home /root; do
  if mountpoint -q "$place"; then mount -o remount,bind,ro "$place"; fi
done
shift
exec "$@"
"""


class Sealed:
    """Runs commands with everything read-only but one folder, /proc and /dev."""

    def __init__(self, out: Path) -> None:
        self.out = out
        names = ["--mount"] if os.getuid() == 0 else ["--mount", "--map-root-user"]
        self.prefix = ["unshare", *names, "--propagation", "private", "sh", "-euc", SEAL, "seal", str(out)]

    def __call__(self, *command: object) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if name not in {*NAMES, *READ, "TEMP", "TMP"}}
        return subprocess.run(
            [*self.prefix, *map(str, command)], capture_output=True, text=True, check=False, env=clean, cwd="/"
        )


@pytest.fixture
def sealed(tmp_path) -> Sealed:
    if shutil.which("unshare") is None or shutil.which("mountpoint") is None:
        pytest.skip("unshare is absent (Linux with util-linux has it)")
    out = tmp_path / "out"
    out.mkdir()
    run = Sealed(out)
    attempt = run("sh", "-c", f"touch {out}/inside && ! touch /tmp/outside {tmp_path}/outside 2>/dev/null")
    if attempt.returncode:
        pytest.skip(f"mounts of one's own are not allowed here: {attempt.stderr.strip()}")
    (out / "inside").unlink()
    return run


def test_a_subject_is_done_under_a_read_only_root_as_anywhere_else(sealed, study, tree):
    done = sealed(
        *(sys.executable, "-m", "spectra_bids", study.bids, sealed.out, "participant", "--atlas", study.atlas),
        *("--participant-label", "01", "--n-procs", "1"),
    )
    assert done.returncode == 0, done.stderr
    assert "temporary" not in done.stderr
    assert "matplotlib" not in done.stderr.lower()
    expected = tree(study.out)
    found = tree(sealed.out)
    tables = [path for path in found if path.endswith(".tsv") and path.startswith("sub-01/")]
    assert tables
    assert all(found[path] == expected[path] for path in tables)
    assert not list(sealed.out.glob(".*scratch*"))


@pytest.mark.r
def test_r_starts_only_with_a_place_for_its_temporary_files(sealed, rscript):
    assert sealed(rscript, "-e", "cat(1)").returncode != 0
    script = (
        "import subprocess, sys; from pathlib import Path; from spectra_bids.cli.environment import *\n"
        "with writable_environment(None, Path(sys.argv[1])):\n"
        "    subprocess.run([sys.argv[2], '-e', 'cat(tempdir())'], check=True)"
    )
    done = sealed(sys.executable, "-c", script, sealed.out, rscript)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{sealed.out}/{HIDDEN}")
    assert list(sealed.out.iterdir()) == []
