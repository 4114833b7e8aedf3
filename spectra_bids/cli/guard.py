"""The one place where errors end: message, hint and exit status."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType

from spectra_bids.errors import SpectraError, TemporaryError

_PASSING = {errno.ENOSPC, errno.EDQUOT}
#: Seconds until SIGTERM is raised again; tidying up on the way out takes less.
_INSIST_S = 5.0
_AGAIN = "Run the same command again: what is done is kept"


class _Terminated(BaseException):
    """SIGTERM arrived. Not an Exception: no handler on the way to `guarded` may take it for something else."""


def _terminated(signum: int, frame: FrameType | None) -> None:
    """Raise; and raise again later, for a library's bare `except:` or a destructor may swallow it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a scheduler may send several
    signal.signal(signal.SIGALRM, _terminated)
    signal.setitimer(signal.ITIMER_REAL, _INSIST_S)
    raise _Terminated


def guarded(job: Callable[[], int]) -> int:
    """Run a job; turn what it raises into a message for people and an exit status."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        return job()
    except SpectraError as error:
        _say(error.message, error.hint)
        return error.exit_status
    except _Terminated:
        _say("stopped by SIGTERM before the end", _AGAIN)
        return TemporaryError.exit_status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone: nothing to say
        return 0
    except KeyboardInterrupt:
        _say("interrupted", _AGAIN)
        return 130
    except OSError as error:
        if error.errno in _PASSING:
            _say(
                f"{error.filename or 'the disk'}: {error.strerror}", "Free some space, then run the same command again"
            )
            return TemporaryError.exit_status
        if error.filename is not None:  # nearly always a right that is lacking: the file says which
            _say(f"{error.filename}: {error.strerror}", "Check that the file is there and that you may read it")
            return SpectraError.exit_status
        return _bug()
    except Exception:
        return _bug()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _bug() -> int:
    traceback.print_exc()
    _say("this is a bug of spectra-bids", "Please report it with the lines above")
    return SpectraError.exit_status


def _say(message: str, hint: str) -> None:
    print(f"spectra-bids: error: {message}", file=sys.stderr)
    if hint:
        print(f"  {hint}", file=sys.stderr)
