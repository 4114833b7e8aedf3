"""Atlases by name: how one is found, and how one is brought there on request.

    <data_home.atlas_home()>/NAME            an atlas directory: fetched, or a link to one that was registered
    <data_home.atlas_home()>/.sources/NAME.json   where it came from, and its archive's checksum

Nothing is ever fetched but by `spectra-bids atlas fetch` and `spectra_bids.fetch_atlas`; a run never touches the
network.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from spectra_bids.dataset.atlas_sources import SOURCES, AtlasSource
from spectra_bids.dataset.atlases import Atlas, read_atlas
from spectra_bids.dataset.data_home import atlas_home, downloads_home
from spectra_bids.dataset.downloads import Callback, FetchProgress, different, discard, download
from spectra_bids.dataset.inputs import TRACTOGRAM_EXTENSIONS
from spectra_bids.dataset.names import plain
from spectra_bids.dataset.outputs import write_json
from spectra_bids.errors import AtlasError, MissingInputError, OutputError, UsageError, listed

_ARCHIVES = (".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".tar", ".zip")


def find_atlas(where: str) -> Path:
    """Folder of an atlas given by path, or by the name it was fetched or registered under."""
    if Path(where).is_dir():
        return Path(where)
    named = atlas_home() / where
    if os.sep not in where and where.strip(".") and named.is_dir():
        return named
    if named.is_symlink() and os.sep not in where:
        raise MissingInputError(
            f"--atlas {where}: the folder that was registered is gone: {os.readlink(named)}",
            "Register it anew: spectra-bids atlas register FOLDER --name NAME --force",
        )
    fetch = f"atlas fetch {where}" if where in SOURCES else "atlas fetch"
    raise MissingInputError(
        f"--atlas {where}: neither a folder nor the name of a fetched atlas. Fetched: {listed(kept_names()) or 'none'}",
        f"Get one with 'spectra-bids {fetch}', or make one of your own bundles with 'spectra-bids atlas build'",
    )


def kept_names() -> list[str]:
    """Names in the folder of atlases, those whose registered folder is gone included."""
    home = atlas_home()
    there = home.iterdir() if home.is_dir() else ()
    return sorted(p.name for p in there if not p.name.startswith(".") and (p.is_dir() or p.is_symlink()))


def source_of(name: str) -> dict[str, Any]:
    """What is on record of a kept atlas: URL (or File), Checksum, Bytes; empty if nothing is."""
    try:
        content = json.loads(_record(name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def forget(name: str) -> None:
    """Delete what is on record of an atlas that was fetched, when another has taken its name."""
    _record(name).unlink(missing_ok=True)


def _record(name: str) -> Path:
    return atlas_home() / ".sources" / f"{name}.json"


@dataclass(frozen=True)
class _Request:
    """An atlas to be fetched, and what the user says of it beside the source."""

    source: str
    name: str
    known: AtlasSource | None
    checksum: str
    space: str
    license: str
    citation: str
    progress: Callback = field(default=lambda _: None)

    def say(self, phase: str) -> None:
        """Tell who wants to know that a phase begins."""
        self.progress(FetchProgress(phase, self.name))


def fetch_atlas(
    source: str,
    name: str = "",
    sha256: str = "",
    *,
    force: bool = False,
    space: str = "",
    license: str = "",
    citation: str = "",
    progress_callback: Callback | None = None,
    api_key: str | None = None,
    keep_archive: bool = False,
) -> tuple[Path, Atlas]:
    """Bring an atlas to where `--atlas NAME` finds it.

    Parameters
    ----------
    source : str
        Name of an atlas that the program knows (`spectra-bids atlas list`), URL, or path of an archive (zip, tar). An
        archive holds one atlas.json beside its bundles, or, with `space` and `license`, bundles alone.
    name : str
        Name to keep it under. With that of a known atlas, the archive is taken for that atlas's own.
    sha256 : str
        Expected SHA-256 of the archive. Default: the one that is known, else that of the first download from this
        address under this name; a first download without one is recorded.
    force : bool
        Replace an atlas of that name, and fetch anew what was fetched.
    space, license, citation : str
        For an archive without atlas.json, or in place of what is known.
    progress_callback : callable, optional
        Gets a `FetchProgress` (phase, file, bytes_done, bytes_total, percent).
    api_key : str, optional
        For servers that ask for one. It is not written anywhere.
    keep_archive : bool
        Leave the downloaded archive in the folder of downloads.

    Raises
    ------
    UsageError
        There is no name.
    TemporaryError
        The source cannot be reached or stops half-way; what has come is kept, and the next call goes on from there.
    AtlasError
        The archive is not the expected one, is unsafe, or holds no atlas.
    MissingInputError
        There is no such file, or the atlas has no known address.
    OutputError
        An atlas of that name is there already.

    """
    request = _request(source, name, sha256, space, license, citation, progress_callback)
    target = atlas_home() / request.name
    if not force and (target.exists() or target.is_symlink()):
        raise OutputError(f"an atlas {request.name!r} is there already: {target}",
                          "Replace it with --force, or give another --name")  # fmt: skip
    with _archive(request, api_key, force, keep_archive) as archive:
        request.say("check")
        checksum = _checked(archive, request)
        request.say("unpack")
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as folder:
            found = _unpacked(archive, Path(folder) / request.name, request)
            read_atlas(found)
            replace_folder(found, target)
        origin = {"URL": request.source} if "://" in request.source else {"File": Path(request.source).name}
        write_json(_record(request.name), {**origin, "Checksum": checksum, "Bytes": archive.stat().st_size})
    request.say("done")
    return target, read_atlas(target)


def _request(
    source: str, name: str, sha256: str, space: str, license: str, citation: str, progress: Callback | None
) -> _Request:
    known = None if Path(source).is_file() else SOURCES.get(source.lower())
    if known is None and not name:
        raise UsageError(
            f"atlas fetch {source}: a name is needed to keep it under: --name NAME",
            f"Without one go: {', '.join(SOURCES)}",
        )
    kept = plain(name or source.lower())
    if known is not None and not known.url:
        raise MissingInputError(
            f"{known.title}: {known.note[:1].lower()}{known.note[1:]}",
            f"spectra-bids atlas register FOLDER --name {kept} --space SPACE --license TEXT",
        )
    where = known.url if known is not None else source
    known = known or SOURCES.get(kept)
    checksum = f"sha256:{sha256.lower()}" if sha256 else known.checksum if known else ""
    if not checksum and source_of(kept).get("URL") == where:
        checksum = str(source_of(kept).get("Checksum", ""))
    said = (space or (known.space if known else ""), license or (known.license if known else ""))
    return _Request(where, kept, known, checksum, *said, citation or (known.citation if known else ""),
                    progress or (lambda _: None))  # fmt: skip


@contextmanager
def _archive(request: _Request, api_key: str | None, force: bool, keep: bool) -> Iterator[Path]:
    """The archive as a file; one that was downloaded goes in the end, whatever became of it, unless it is to stay."""
    source = request.source.removeprefix("file://")
    if "://" not in source:
        if not Path(source).is_file():
            raise MissingInputError(
                f"atlas fetch: {source} is neither a URL nor a file, nor one of {', '.join(SOURCES)}"
            )
        yield Path(source)
        return
    if not source.startswith(("https://", "http://")):
        raise MissingInputError(f"atlas fetch takes an http, https or file URL. Got {source}")
    # The address is part of the name: half of another file must not be continued.
    target = downloads_home() / f"{request.name}-{hashlib.sha256(source.encode()).hexdigest()[:8]}{_suffix(source)}"
    if force:
        discard(target)
    download(source, target, request.checksum, progress=request.progress, api_key=api_key)
    try:
        yield target
    finally:
        if not keep:
            discard(target)


def _checked(archive: Path, request: _Request) -> str:
    """The archive's checksum, "sha256:..." where no other algorithm is asked for.

    Raises
    ------
    AtlasError
        It is not the expected one.

    """
    algorithm = "md5" if request.checksum.startswith("md5:") else "sha256"
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if request.checksum and found != request.checksum.rpartition(":")[2]:
        raise AtlasError(
            different(request.source, request.checksum, found),
            "The file was changed or cut short. If the new one is right, say so with --sha256",
        )
    return f"{algorithm}:{found}"


def _unpacked(archive: Path, folder: Path, request: _Request) -> Path:
    """Folder of the atlas that an archive holds."""
    raw = folder.with_name("unpacked")
    kind = {".zip": "zip", ".tar": "tar", ".tar.gz": "gztar", ".tgz": "gztar", ".tar.xz": "xztar",
            ".tar.bz2": "bztar"}[_suffix(archive.name)]  # fmt: skip
    try:
        if kind == "zip":  # members that would leave the folder are skipped by shutil
            shutil.unpack_archive(archive, raw, kind)
        else:
            shutil.unpack_archive(archive, raw, kind, filter="data")
    except (ValueError, OSError, EOFError, shutil.ReadError, tarfile.TarError, zlib.error) as error:
        raise AtlasError(f"{request.source} cannot be unpacked: {error}", "Expected a .zip, .tar or .tar.gz") from error
    described = sorted(raw.rglob("atlas.json"))
    if len(described) == 1:
        return described[0].parent
    if described or not (request.space and request.license):
        raise AtlasError(
            f"{request.source} must hold one atlas.json beside its bundles. Got {len(described)}",
            "Of bundles alone say what atlas.json would: --space and --license",
        )
    known = request.known
    members = sorted(p for p in raw.rglob("*") if p.is_file() and p.name.endswith(TRACTOGRAM_EXTENSIONS))
    patterns = (known.include, known.exclude) if known else (("*",), ())
    chosen = [p for p in members if _wanted(f"/{p.relative_to(raw).as_posix()}".lower(), *patterns)]
    if len({p.name for p in chosen}) < len(chosen):
        twice = sorted({p.name for p in chosen if [q.name for q in chosen].count(p.name) > 1})
        raise AtlasError(f"{request.source} holds several files of one name: {listed(twice)}")
    folder.mkdir()
    for path in chosen:
        os.replace(path, folder / path.name)
    write_json(folder / "atlas.json", description(known.title if known else request.name, request.space,
                                                  request.license, request.citation))  # fmt: skip
    return folder


def _wanted(path: str, include: tuple[str, ...], exclude: tuple[str, ...]) -> bool:
    """Whether a member's path, in small letters, is a bundle."""
    fits = (any(fnmatch(path, pattern.lower()) for pattern in patterns) for patterns in (include, exclude))
    return next(fits) and not next(fits)


def description(name: str, space: str, license: str, citation: str) -> dict[str, Any]:
    """Content of an atlas.json."""
    content: dict[str, Any] = {"Name": name, "Space": space, "License": license}
    if citation:
        content["ReferencesAndLinks"] = [citation]
    return content


def replace_folder(new: Path, target: Path) -> None:
    """Put a folder, or a link, in the place of another, which stays if that fails."""
    old = new.with_name(".replaced")
    there = target.exists() or target.is_symlink()
    if there:
        os.replace(target, old)
    try:
        os.replace(new, target)
    except OSError:
        if there:
            os.replace(old, target)
        raise
    if old.is_symlink():
        old.unlink()
    elif there:
        shutil.rmtree(old, ignore_errors=True)


def _suffix(source: str) -> str:
    name = re.sub(r"[?#].*", "", source).rpartition("/")[2].lower()
    return next((s for s in _ARCHIVES if name.endswith(s)), ".zip")
