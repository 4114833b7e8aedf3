"""Atlases by name: where they are kept, and how one is brought there on request.

    $SPECTRA_BIDS_ATLASES, else $XDG_DATA_HOME/spectra_bids/atlases, else ~/.local/share/spectra_bids/atlases

Nothing is ever fetched but by `spectra-bids atlas fetch SOURCE`; a run never touches the network.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path

from spectra_bids.dataset.atlases import Atlas, read_atlas
from spectra_bids.dataset.names import plain
from spectra_bids.errors import AtlasError, MissingInputError, OutputError, TemporaryError


def atlas_home() -> Path:
    """Folder of the atlases that can be called by name."""
    if os.environ.get("SPECTRA_BIDS_ATLASES"):
        return Path(os.environ["SPECTRA_BIDS_ATLASES"])
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "spectra_bids" / "atlases"


def find_atlas(where: str) -> Path:
    """Folder of an atlas given by path, or by the name it was fetched under."""
    if Path(where).is_dir():
        return Path(where)
    named = atlas_home() / where
    if os.sep not in where and named.is_dir():
        return named
    known = sorted(p.name for p in atlas_home().glob("*") if p.is_dir()) if atlas_home().is_dir() else []
    raise MissingInputError(
        f"--atlas {where}: neither a folder nor the name of a fetched atlas. Fetched: {', '.join(known) or 'none'}",
        "Get one with 'spectra-bids atlas fetch', or make one of your own bundles with 'spectra-bids atlas build'",
    )


def fetch_atlas(source: str, name: str, sha256: str = "") -> tuple[Path, Atlas]:
    """Bring an archive (zip, tar) of an atlas directory to where `--atlas NAME` finds it.

    Parameters
    ----------
    source : str
        URL or path of the archive.
    name : str
        Name to keep it under.
    sha256 : str
        Expected SHA-256 of the archive; unchecked if empty.

    Raises
    ------
    TemporaryError
        The source cannot be reached.
    AtlasError
        The archive is not the expected one, is unsafe, or holds no atlas.
    OutputError
        An atlas of that name is there already.

    """
    target = atlas_home() / plain(name)
    if target.exists():
        raise OutputError(f"an atlas {plain(name)!r} is there already: {target}", "Delete it or give another --name")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as folder:
        archive = Path(folder) / ("archive" + _suffix(source))
        _download(source, archive)
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if sha256 and found != sha256.lower():
            raise AtlasError(f"{source} has SHA-256 {found}, expected {sha256}", "The file was changed or cut short")
        unpacked = Path(folder) / "unpacked"
        try:
            if archive.suffix == ".zip":  # members that would leave the folder are skipped by shutil
                shutil.unpack_archive(archive, unpacked)
            else:
                shutil.unpack_archive(archive, unpacked, filter="data")
        except (ValueError, OSError, EOFError, shutil.ReadError, tarfile.TarError, zlib.error) as error:
            raise AtlasError(f"{source} cannot be unpacked: {error}", "Expected a .zip, .tar or .tar.gz") from error
        described = sorted(unpacked.rglob("atlas.json"))
        if len(described) != 1:
            raise AtlasError(f"{source} must hold one atlas.json beside its bundles. Got {len(described)}")
        read_atlas(described[0].parent)
        os.replace(described[0].parent, target)
    return target, read_atlas(target)


def _suffix(source: str) -> str:
    name = source.rpartition("/")[2].lower()
    return next((s for s in (".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".tar", ".zip") if name.endswith(s)), ".zip")


def _download(source: str, target: Path) -> None:
    from urllib.error import URLError
    from urllib.request import urlopen

    if "://" not in source:
        if not Path(source).is_file():
            raise MissingInputError(f"atlas fetch: {source} is neither a URL nor a file")
        shutil.copyfile(source, target)
        return
    if not source.startswith(("https://", "http://", "file://")):
        raise MissingInputError(f"atlas fetch takes an http, https or file URL. Got {source}")
    try:
        with urlopen(source, timeout=60) as reply, target.open("wb") as file:
            shutil.copyfileobj(reply, file)
    except (URLError, TimeoutError) as error:
        raise TemporaryError(f"{source} cannot be reached: {error}", "Fetch it on a machine with a network") from error
