"""cli.guard: whatever is raised ends as a message, a hint and an exit status."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import pytest

from spectra_bids.cli.guard import guarded
from spectra_bids.errors import DesignError, NothingSelectedError, TemporaryError


@pytest.fixture(autouse=True)
def handler():
    """The handler of SIGTERM as it was."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def raising(error: BaseException):
    def job() -> int:
        raise error

    return job


def test_a_status_passes_through():
    assert guarded(lambda: 0) == 0
    assert guarded(lambda: 18) == 18


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (DesignError("no column x", "There are a, b"), 65, ("error: no column x", "  There are a, b")),
        (NothingSelectedError("nobody"), 18, ("error: nobody",)),
        (TemporaryError("full"), 75, ("error: full",)),
        (KeyboardInterrupt(), 130, ("interrupted", "what is done is kept")),
        (OSError(errno.ENOSPC, "No space left on device", "/out/x"), 75, ("/out/x: No space left", "Free some space")),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 75, ("the disk: Disk quota exceeded",)),
        (PermissionError(errno.EACCES, "Permission denied", "/in/x.trk"), 1, ("/in/x.trk: Permission denied",)),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, BaseException) else None,
)
def test_what_can_happen_to_a_user_has_a_message_and_no_traceback(error, status, words, capsys):
    assert guarded(raising(error)) == status
    said = capsys.readouterr().err
    assert all(word in said for word in words)
    assert "Traceback" not in said


def test_a_bug_shows_its_traceback_and_asks_for_a_report(capsys):
    assert guarded(raising(ZeroDivisionError("oops"))) == 1
    said = capsys.readouterr().err
    assert "ZeroDivisionError: oops" in said
    assert "bug of spectra-bids" in said


def test_no_handler_on_the_way_can_swallow_sigterm(capsys):
    def job() -> int:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(1000):
                pass
        except Exception:
            return 0
        return 0

    assert guarded(job) == 75
    assert "SIGTERM" in capsys.readouterr().err


def test_cleaning_up_happens_on_sigterm():
    cleaned = []

    def job() -> int:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            cleaned.append(True)
        return 0

    assert guarded(job) == 75
    assert cleaned == [True]


#: Ways of meeting SIGTERM, in a process of its own.
STUBBORN = """
import os, signal, sys, time
from spectra_bids.cli import guard
from spectra_bids.errors import UsageError
guard._INSIST_S = 0.2

def plain():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(30)

def bare_except():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
    except:
        pass
    time.sleep(30)

def destructor():
    class Thing:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
    Thing()
    time.sleep(30)

def several():
    for _ in range(20):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            time.sleep(0.01)
    time.sleep(30)

def done_before():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
    except:
        return 0

def tidying():
    try:
        plain()
    finally:
        time.sleep(0.05)
        print("tidied")

status = guard.guarded(globals()[sys.argv[1]])
time.sleep(0.5)
sys.exit(status)
"""


def stopped(how: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", STUBBORN, how], capture_output=True, text=True, timeout=25, check=False
    )


@pytest.mark.parametrize("how", ["plain", "bare_except", "destructor", "several"])
def test_sigterm_ends_the_program_even_if_something_swallows_it(how):
    done = stopped(how)
    assert done.returncode == 75, done.stderr
    assert "stopped by SIGTERM before the end" in done.stderr
    assert "Traceback" not in done.stderr.partition("Exception ignored")[0]


def test_what_ends_before_sigterm_is_raised_again_has_ended_well():
    assert stopped("done_before").returncode == 0


def test_there_is_time_to_tidy_up():
    done = stopped("tidying")
    assert (done.returncode, done.stdout) == (75, "tidied\n")
