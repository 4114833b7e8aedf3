"""Files from the network, by pooch; an interrupted transfer is continued where it stopped.

pooch checks and keeps, but begins every transfer anew. `_Resuming` is its downloader here: bytes go to <name>.part,
<name>.part.json beside it says of which version of the file they are (ETag, else Last-Modified), and the next attempt
asks for the rest of that version alone (RFC 9110: Range with If-Range). A server that cannot do that sends all of it.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

from spectra_bids.errors import AtlasError, MissingInputError, TemporaryError, UsageError

if TYPE_CHECKING:
    import requests

#: Of a connection that breaks the last chunk is lost.
_CHUNK = 2**16
#: Attempts in a row that must each bring something, and the seconds before the second of them.
_ATTEMPTS, _PAUSE_S = 5, 1.0
_TIMEOUT_S = (15, 60)
#: Answers that asking again does not change.
_FINAL = {400, 401, 403, 404, 410}


@dataclass(frozen=True)
class FetchProgress:
    """How far a fetch is.

    Parameters
    ----------
    phase : str
        download, check, unpack, done.
    file : str
        What is being worked on.
    bytes_done, bytes_total : int
        Of the download; the total is 0 as long as it is unknown.

    """

    phase: str
    file: str
    bytes_done: int = 0
    bytes_total: int = 0

    @property
    def percent(self) -> float:
        """Share of the download that is there, 0 to 100; 0 as long as the total is unknown."""
        return 100 * self.bytes_done / self.bytes_total if self.bytes_total else 0.0


Callback = Callable[[FetchProgress], None]


def download(
    url: str, target: Path, checksum: str = "", *, progress: Callback | None = None, api_key: str | None = None
) -> Path:
    """Bring a file to `target`, unless it is there with this checksum; returns `target`.

    Parameters
    ----------
    url : str
        http or https.
    target : Path
    checksum : str
        "sha256:..." or "md5:..."; unchecked if empty.
    progress : callable, optional
        Gets a `FetchProgress` after every 64 kB.
    api_key : str, optional
        Sent as the Authorization header, over https alone, and to no other host that the server sends us to.

    Raises
    ------
    TemporaryError
        The server cannot be reached or stops; what has come is kept.
    AtlasError
        The file has another checksum; nothing of it is kept.
    UsageError
        A key would be sent in the clear.

    """
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")  # it reports its own names of files
    part = part_of(target)
    part.parent.mkdir(parents=True, exist_ok=True)
    _sweep(part.parent)
    fetch = _Resuming(part, bool(checksum), progress, _key_header(url, api_key))
    try:
        pooch.retrieve(url, checksum or None, fname=target.name, path=target.parent, downloader=fetch)
    except requests.RequestException as error:
        said = f"{url} cannot be reached: {_reason(error)}"
        if error.response is not None and error.response.status_code in _FINAL:
            raise MissingInputError(said, "Look whether the address is right and the file still there") from error
        raise TemporaryError(said, _kept(part)) from error
    except ValueError as error:  # pooch: the checksum is another one
        got = re.search(r"but got (?:\w+:)?(\w+)", str(error))
        if not got:
            raise
        raise AtlasError(different(url, checksum, got[1]), _ANEW) from error
    return target


_ANEW = "The file was damaged on its way or has been changed at its source. Nothing is kept; try again, or --sha256"


def different(source: str, expected: str, found: str) -> str:
    """Message of a checksum that is not the expected one."""
    algorithm, _, value = expected.rpartition(":")
    return f"{source} has {'MD5' if algorithm == 'md5' else 'SHA-256'} {found}, expected {value}"


def part_of(target: Path) -> Path:
    """Where the first bytes of a file are kept until the others come."""
    return target.with_name(f"{target.name}.part")


def discard(target: Path) -> None:
    """Delete a downloaded file, and what there is of it."""
    for path in (target, part_of(target), _facts_of(part_of(target))):
        path.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Delete what pooch leaves when it is killed: files that stay empty until all has come."""
    for path in folder.glob("tmp*"):
        if path.is_file() and not path.stat().st_size:
            path.unlink(missing_ok=True)


def _facts_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _key_header(url: str, api_key: str | None) -> dict[str, str]:
    """The Authorization header; requests drops it when another host is named."""
    if not api_key:
        return {}
    place = urlsplit(url)
    if place.scheme != "https" and place.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise UsageError(f"A key is sent over https alone. Got {url}")
    kind = "token" if (place.hostname or "").endswith("figshare.com") else "Bearer"
    return {"Authorization": f"{kind} {api_key}"}


def _reason(error: requests.RequestException) -> str:
    """The error in a line, for people."""
    if error.response is not None:
        status = f"{error.response.status_code} {error.response.reason}"
        refused = error.response.status_code in (401, 403)
        return status + (" (a key may be needed: SPECTRA_BIDS_API_KEY)" if refused else "")
    if type(error).__name__ == "ChunkedEncodingError":
        return "the connection broke"
    inner = re.findall(
        r"(?:\[Errno -?\d+\] )?[A-Z][\w ]+(?:refused|resolution|unreachable|reset by peer|known)", str(error)
    )
    return inner[-1] if inner else str(error)


def _kept(part: Path) -> str:
    here = part.stat().st_size if part.is_file() else 0
    if here:
        return f"{here / 1e6:.1f} MB are kept in {part.parent}: the same command goes on from there"
    return (
        "Without a network: fetch the file on a machine that has one, copy it here, and give "
        "'spectra-bids atlas fetch' its path and the same --name"
    )


@dataclass
class _Resuming:
    """Downloader for pooch.

    Parameters
    ----------
    part : Path
        Where bytes are collected.
    verified : bool
        A checksum will be looked at, so that bytes of a server that names no version may be continued as well.
    progress : callable or None
    headers : mapping
        What else is sent.

    """

    part: Path
    verified: bool
    progress: Callback | None
    headers: dict[str, str]

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """Fetch `url`, in several attempts if need be, and move it to `output_file`."""
        import requests

        with self._alone() as file:
            for attempt in range(_ATTEMPTS):
                before = _size(file)
                try:
                    self._continue(url, file)
                    break
                except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
                    if _size(file) <= before or attempt + 1 == _ATTEMPTS:
                        raise
                    time.sleep(_PAUSE_S * (attempt + 1))
            os.replace(self.part, output_file)
            _facts_of(self.part).unlink(missing_ok=True)

    @contextmanager
    def _alone(self) -> Iterator[BinaryIO]:
        """The file of what has come, locked; taken away again if nothing is in it."""
        with self.part.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise TemporaryError(f"{self.part.name} is being fetched by another process", "Wait for it") from error
            except OSError:
                pass  # a file system without locks
            try:
                yield file
            finally:
                if self.part.exists() and not self.part.stat().st_size:
                    self.part.unlink()

    def _continue(self, url: str, file: BinaryIO) -> None:
        """One request, for what is lacking."""
        import requests

        facts = _facts(self.part)
        version = facts.get("Version", "") if facts.get("URL") == url else ""
        start = _size(file) if version or (self.verified and facts.get("URL") == url) else 0
        headers = {**self.headers, "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
            if version:
                headers["If-Range"] = version
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as reply:
            whole = reply.headers.get("Content-Range") == f"bytes */{start}"
            if reply.status_code == 416 and whole:
                return  # nothing is lacking
            if start and _is_useless(reply, start):
                file.truncate(0)
                self._continue(url, file)
                return
            reply.raise_for_status()
            start = start if reply.status_code == 206 else 0
            file.truncate(start)
            self._receive(url, reply, file, start)

    def _receive(self, url: str, reply: requests.Response, file: BinaryIO, start: int) -> None:
        import requests

        length = reply.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else 0
        facts = {"URL": url, "Version": _version(reply), "Bytes": total}
        _facts_of(self.part).write_text(json.dumps(facts) + "\n", encoding="utf-8")
        done = start
        self._say(done, total)
        for chunk in reply.iter_content(_CHUNK):
            file.write(chunk)
            file.flush()
            done += len(chunk)
            self._say(done, total)
        if total and done != total:
            raise requests.ConnectionError(f"{done} of {total} bytes have come")

    def _say(self, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(FetchProgress("download", self.part.name.removesuffix(".part"), done, total))


def expected_size(target: Path) -> int:
    """Bytes that a half-fetched file will have; 0 if unknown."""
    return int(_facts(part_of(target)).get("Bytes", 0))


def _facts(part: Path) -> dict[str, Any]:
    try:
        content = json.loads(_facts_of(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_useless(reply: requests.Response, start: int) -> bool:
    """Whether the answer to a request for the rest is no rest: the file has become shorter, or the server errs."""
    if reply.status_code == 416:
        return True
    return reply.status_code == 206 and not reply.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _version(reply: requests.Response) -> str:
    """What names this version of the file, good for If-Range: a strong ETag, else the date; empty if there is none."""
    tag = reply.headers.get("ETag", "")
    return tag if tag.startswith('"') else reply.headers.get("Last-Modified", "")


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size
