"""Streamline files -> Bundle, and Bundle -> .trk: the one door for .trk .tck .trx .trk.gz .tck.gz .tt.gz.

Formats are parsed with NumPy alone (trk.py, tck.py, trx.py, tinytrack.py). A file that is cut short, damaged or holds
a coordinate that is not a number is an error that names the file; nothing is repaired silently.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

from spectra_bids.bundle import Bundle, Volume
from spectra_bids.errors import MissingInputError, TractogramError
from spectra_bids.io.tck import read_tck
from spectra_bids.io.tinytrack import read_tinytrack
from spectra_bids.io.trk import read_trk, trk_bytes
from spectra_bids.io.trx import read_trx, trx_groups
from spectra_bids.io.unpacking import bound, gunzip

#: File name endings that `read_bundle` understands, longest first.
EXTENSIONS = (".trk.gz", ".tck.gz", ".tt.gz", ".trk", ".tck", ".trx")


def read_bundle(path: Path, reference: Volume | None = None, group: str | None = None) -> Bundle:
    """Streamlines of a file, mm RAS+.

    Parameters
    ----------
    path : Path
        .trk, .tck, .trx (archive or folder), .trk.gz, .tck.gz or DSI Studio's .tt.gz.
    reference : Volume, optional
        Image that was tracked on; only a .tt.gz or .trk that does not say where that was needs it.
    group : str, optional
        One group of a .trx; all streamlines by default. A path "bundles.trx:AF_L" names it too.

    Raises
    ------
    MissingInputError
        There is no such file.
    TractogramError
        The file is cut short or damaged, or its streamlines cannot be placed in mm RAS+.

    """
    path, named = split_group(Path(path))
    group = named if group is None else group
    kind = kind_of(path)
    if kind == ".trx":
        bundle = read_trx(path, group)
    else:
        if group is not None:
            raise TractogramError(f"Only .trx files have groups. Got group {group!r} of {path}")
        raw = content_of(path)
        if kind == ".trk":
            bundle = read_trk(path, raw, reference)
        elif kind == ".tck":
            bundle = read_tck(path, raw)
        else:
            bundle = read_tinytrack(path, raw, reference)
    if not np.isfinite(bundle.points).all():
        wrong = int((~np.isfinite(bundle.points)).any(axis=1).sum())
        raise TractogramError(
            f"Coordinates of {path} must be finite numbers. Got {wrong} of {len(bundle.points)} points with NaN or Inf",
            "Make the file again, or remove these streamlines.",
        )
    return bundle


def split_group(path: Path) -> tuple[Path, str | None]:
    """`bundles.trx:AF_L` -> the file and one of its groups; any other path as it is."""
    head, colon, group = str(path).rpartition(":")
    if colon and group and head.lower().endswith(".trx") and not path.exists():
        return Path(head), group
    return path, None


def list_groups(path: Path) -> list[str]:
    """Names of the groups of a .trx, sorted; an empty list for other formats."""
    return trx_groups(Path(path)) if kind_of(Path(path)) == ".trx" else []


def write_bundle(path: Path, bundle: Bundle, reference: Volume) -> None:
    """Write a .trk in the voxel grid of `reference`; equal input, equal bytes."""
    if Path(path).suffix != ".trk":
        raise TractogramError(f"Bundles are written as .trk. Got {path}")
    Path(path).write_bytes(trk_bytes(bundle, reference))


def kind_of(path: Path) -> str:
    """Format of a file by its name: .trk, .tck, .trx, or .tt for DSI Studio's .tt.gz."""
    for extension in EXTENSIONS:
        if path.name.lower().endswith(extension):
            return extension.removesuffix(".gz")
    raise TractogramError(f"A bundle must be one of {', '.join(EXTENSIONS)}. Got {path}")


def content_of(path: Path) -> bytes:
    """Bytes of a file, unpacked if they are gzip, whatever the name says."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        # DataLad keeps a link where content has not been fetched.
        hint = "The file is a link to content that is not here: 'datalad get' fetches it." if path.is_symlink() else ""
        raise MissingInputError(f"There is no file {path}", hint) from error
    except IsADirectoryError as error:
        raise TractogramError(f"{path} is a folder, expected a file", "Put the file in its place.") from error
    except OSError as error:
        raise MissingInputError(f"{path} cannot be read: {error.strerror}", "Check its rights and links") from error
    if not raw:
        raise TractogramError(f"{path} is empty: expected streamlines. Got 0 bytes", "Copy or make the file again.")
    if not raw.startswith(b"\x1f\x8b"):
        return raw
    try:
        content = gunzip(raw)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TractogramError(
            f"{path} is cut short or damaged: expected a whole gzip file. Got {len(raw)} bytes ({error})",
            "Copy or make the file again.",
        ) from error
    if content is None:
        raise TractogramError(
            f"{path} has {len(raw)} bytes and unpacks to more than {bound(len(raw))}: expected streamlines, which "
            "shrink far less",
            "Make the file again, or give it unpacked.",
        )
    return content
