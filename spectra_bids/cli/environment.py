"""Where programs under this one may write: temporary files, caches, a home, also in a read-only container.

Under a read-only root with an arbitrary user id there is no home, and /tmp cannot be written: R then does not start,
matplotlib warns, wgpu finds no runtime directory. So before any of them is loaded,

    TMPDIR                                         --work-dir; else as it is, if that can be written; else scratch
    HOME  MPLCONFIGDIR  XDG_CACHE_HOME  XDG_RUNTIME_DIR    as they are, if they can be written; else scratch

where scratch is a folder in --work-dir (it stays: a font cache serves the next run), else a folder for this run in the
system's temporary directory, else a hidden one in OUTPUT_DIR; both are removed at the end. BIDS_DIR is never written,
nor the current directory, which Python would take for lack of a better one.

    JOBLIB_MULTIPROCESSING                         as it is, if it is set; else 0

nilearn and pymer4 load joblib, which would try /dev/shm out and warn where that cannot be written. Its processes are
not used here.
"""

from __future__ import annotations

import errno
import os
import shutil
import site
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from spectra_bids.errors import OutputError

#: Begins the name of the hidden folder in OUTPUT_DIR.
HIDDEN = ".spectra_bids-scratch-"

#: The disk, or the user's share of it, is full: another folder is no help, running again is.
_FULL = {errno.ENOSPC, errno.EDQUOT}

#: What is only read from a home stays where it was, if the home is there but cannot be written.
_READ_FROM_HOME = {
    "XDG_DATA_HOME": ".local/share",
    "XDG_CONFIG_HOME": ".config",
    "R_LIBS_USER": "R/%p-library/%v",  # R fills in platform and version
}


@contextmanager
def writable_environment(work_dir: Path | None, output_dir: Path) -> Iterator[None]:
    """Point environment variables to folders that can be written, for this process and those it starts.

    Parameters
    ----------
    work_dir : Path or None
        --work-dir; made if it is not there.
    output_dir : Path
        OUTPUT_DIR; used (and made) only if there is nothing else.

    Raises
    ------
    OutputError
        If `work_dir` cannot be written, or if nothing can.

    """
    with ExitStack() as stack:
        temporary = _system_temporary()
        if work_dir is not None:
            scratch = _usable_work_dir(work_dir)
        elif temporary is not None:
            folder = tempfile.TemporaryDirectory(prefix="spectra_bids-", dir=temporary, ignore_cleanup_errors=True)
            scratch = Path(stack.enter_context(folder))
        else:
            scratch = stack.enter_context(_hidden_folder(output_dir))
        if work_dir is not None or temporary is None:
            temporary = _made(scratch / "tmp")
        joblib = os.environ.get("JOBLIB_MULTIPROCESSING", "0")
        new = {"TMPDIR": str(temporary), "JOBLIB_MULTIPROCESSING": joblib, **_elsewhere(scratch)}
        stack.enter_context(_environment(new))
        yield


def some_home() -> None:
    """Name a HOME where neither HOME nor passwd does: pybids asks for one when it is imported, and fails without."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = os.sep


@contextmanager
def _environment(new: dict[str, str]) -> Iterator[None]:
    """Environment variables for a while."""
    before = {name: os.environ.get(name) for name in new}
    os.environ.update(new)
    tempfile.tempdir = None  # Python remembers the first answer
    try:
        yield
    finally:
        tempfile.tempdir = None
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _elsewhere(scratch: Path) -> dict[str, str]:
    """Variables other than TMPDIR that must change, with folders in `scratch` that were made for them."""
    new: dict[str, str] = {}
    home = os.environ.get("HOME", "")
    homeless = not _can_write(home)
    if homeless:
        new["HOME"] = str(_made(scratch / "home"))
        if home and Path(home).is_dir():
            reading = {name: str(Path(home, path)) for name, path in _READ_FROM_HOME.items()}
            if site.ENABLE_USER_SITE:  # a child that runs this very package must find it again
                reading["PYTHONUSERBASE"] = site.getuserbase()
            new |= {name: path for name, path in reading.items() if name not in os.environ}
    for name, folder in (("MPLCONFIGDIR", "matplotlib"), ("XDG_CACHE_HOME", "cache"), ("XDG_RUNTIME_DIR", "runtime")):
        value = os.environ.get(name)
        by_home = value is None and not homeless and name != "XDG_RUNTIME_DIR"  # its default lies in the home
        if not by_home and not _can_write(value or ""):
            new[name] = str(_made(scratch / folder))
    return new


def _system_temporary() -> Path | None:
    """The first of the usual temporary directories that can be written; unlike tempfile's, never the current one."""
    named = (os.environ.get(name, "") for name in ("TMPDIR", "TEMP", "TMP"))
    return next((Path(folder) for folder in (*named, "/tmp", "/var/tmp") if _can_write(folder)), None)


def _can_write(folder: str) -> bool:
    """Whether a file can be made in a folder, named by its absolute path."""
    try:
        return Path(folder).is_absolute() and _try_out(folder)
    except OSError:
        return False


def _try_out(folder: str) -> bool:
    """Really make a file: access rights alone say nothing about a read-only mount or NFS."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"1")
    return True


def _made(folder: Path) -> Path:
    """The folder, made if need be; for the user alone, as XDG_RUNTIME_DIR must be."""
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _usable_work_dir(work_dir: Path) -> Path:
    """The user's own part of --work-dir, which several users may share."""
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
        scratch = _made(work_dir.resolve() / f"spectra_bids-{os.getuid()}")
        _try_out(str(scratch))
    except OSError as error:
        if error.errno in _FULL:
            raise
        raise OutputError(
            f"--work-dir must be a folder that can be written. Got {work_dir}: {error.strerror}", "Name another one"
        ) from error
    return scratch


@contextmanager
def _hidden_folder(output_dir: Path) -> Iterator[Path]:
    """A hidden folder in OUTPUT_DIR for the time of a run, and none that an earlier, killed run left behind."""
    missing = [folder for folder in (output_dir, *output_dir.parents) if not folder.exists()]
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        with _locked(output_dir):  # no other run meets the new folder before it is locked
            _sweep(output_dir)
            scratch = Path(tempfile.mkdtemp(prefix=HIDDEN, dir=output_dir.resolve()))
            held = os.open(scratch, os.O_RDONLY)
            _lock(held, wait=True)
    except OSError as error:
        if error.errno in _FULL:
            raise
        raise OutputError(
            "no folder can be written for temporary files: neither $TMPDIR, /tmp, /var/tmp nor OUTPUT_DIR. "
            f"Got {output_dir}: {error.strerror}",
            "Mount a folder that can be written, and name it with --work-dir or $TMPDIR",
        ) from error
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        os.close(held)
        for folder in missing:  # of a run that wrote nothing, nothing stays
            with suppress(OSError):
                folder.rmdir()


def _sweep(output_dir: Path) -> None:
    """Remove the hidden folders whose run is no more: nobody holds their lock."""
    for folder in output_dir.resolve().glob(f"{HIDDEN}*"):
        if _unheld(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _unheld(folder: Path) -> bool:
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return False
    try:
        return _lock(handle, wait=False)
    finally:
        os.close(handle)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        _lock(handle, wait=True)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, *, wait: bool) -> bool:
    """Lock an open folder; False where another process holds it, or the file system has no locks."""
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
