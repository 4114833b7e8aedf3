"""cli.guard: whatever is raised ends as a message, a hint and an exit status."""

from __future__ import annotations

import errno
import os
import signal

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
