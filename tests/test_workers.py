"""Work on this machine: in several processes, or in this one where there can be no others; a Dask cluster's is tested
in test_dask.py."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import subprocess
import sys

import pytest

from spectra_bids.workers import Workers, map_unordered

#: A /dev/shm that cannot be written, as seen by one command and its children only.
SHUT = """
test -d /dev/shm
mount -t tmpfs -o ro tmpfs /dev/shm
exec "$@"
"""


def own_process(item: int) -> tuple[int, int]:
    return item, os.getpid()


@pytest.fixture
def refused(monkeypatch):
    """`refused(error)`: from now on, semaphores cannot be made."""
    import multiprocessing.synchronize

    def refuse(error: Exception) -> None:
        def no_semaphore(*_args: object, **_options: object) -> None:
            raise error

        monkeypatch.setattr(multiprocessing.synchronize._multiprocessing, "SemLock", no_semaphore)

    return refuse


def test_the_pool_works_in_other_processes():
    assert os.getpid() not in {pid for _, (_, pid) in map_unordered(own_process, range(3), Workers(2))}


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSYS, errno.ENOSPC], ids=errno.errorcode.get)
def test_without_semaphores_this_process_does_all_and_says_why(refused, caplog, code):
    refused(OSError(code, os.strerror(code)))
    with caplog.at_level(logging.WARNING, logger="spectra_bids"):
        found = list(map_unordered(own_process, range(5, 8), Workers(2)))
    assert found == [(i, (i + 5, os.getpid())) for i in range(3)]
    (record,) = caplog.records
    assert os.strerror(code) in record.getMessage()
    assert "/dev/shm" in record.getMessage()


def test_python_without_semaphores_at_all_is_no_hindrance(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "multiprocessing.synchronize", None)
    monkeypatch.setattr("concurrent.futures.process._system_limits_checked", False)
    monkeypatch.setattr("concurrent.futures.process._system_limited", None)
    with caplog.at_level(logging.WARNING, logger="spectra_bids"):
        assert dict(map_unordered(abs, [-1, -2], Workers(2))) == {0: 1, 1: 2}
    assert "semaphores" in caplog.text


def test_a_fault_of_the_work_itself_is_not_taken_for_a_lack_of_semaphores(caplog):
    with pytest.raises(FileNotFoundError):
        list(map_unordered(os.stat, ["/nowhere/1", "/nowhere/2"], Workers(2)))
    assert not caplog.records


def test_one_process_never_asks_for_semaphores(refused, caplog):
    refused(OSError(errno.EROFS, "never seen"))
    assert len(list(map_unordered(abs, range(3), Workers(1)))) == 3
    assert not caplog.records


@pytest.fixture
def shut() -> list[str]:
    """What to put before a command so that it cannot write /dev/shm."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare is absent (Linux with util-linux has it)")
    names = ["--mount"] if os.getuid() == 0 else ["--mount", "--map-root-user"]
    prefix = ["unshare", *names, "--propagation", "private", "sh", "-euc", SHUT, "shut"]
    attempt = subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)
    if attempt.returncode:
        pytest.skip(f"mounts of one's own are not allowed here: {attempt.stderr.strip()}")
    return prefix


def test_two_subjects_are_done_by_one_process_where_dev_shm_cannot_be_written(shut, study, tmp_path, tree):
    command = [*shut, sys.executable, "-m", "spectra_bids", study.bids, tmp_path / "out", "participant"]
    command += ["--atlas", study.atlas, "--participant-label", "01", "02", "--n-procs", "2"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "one process does the work of 2" in done.stderr
    assert os.strerror(errno.EROFS) in done.stderr
    assert "joblib" not in done.stderr
    assert "Traceback" not in done.stderr
    expected, found = tree(study.out), tree(tmp_path / "out")
    tables = [path for path in found if path.startswith(("sub-01/", "sub-02/")) and path.endswith(".tsv")]
    assert len(tables) == 6
    assert all(found[path] == expected[path] for path in tables)


def test_joblib_is_silent_where_dev_shm_cannot_be_written(shut, tmp_path):
    load = "import joblib"
    script = f"import sys; from pathlib import Path; from spectra_bids.cli.environment import *\n\
with writable_environment(None, Path(sys.argv[1])):\n    {load}"
    clean = {name: value for name, value in os.environ.items() if name != "JOBLIB_MULTIPROCESSING"}
    loud, silent = (
        subprocess.run(
            [*shut, sys.executable, "-c", s, tmp_path], capture_output=True, text=True, check=True, env=clean
        )
        for s in (load, script)
    )
    assert "serial mode" in loud.stderr  # else this test would be without force
    assert silent.stderr == ""
