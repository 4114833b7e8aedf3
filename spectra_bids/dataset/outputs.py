"""Writing and reading output files: atomic, byte-identical for equal content.

Every writer makes a temporary file in the target's folder and renames it, so that another job that shares the output
folder sees the old file or the new one, never half of one. Tables: TSV, header, `n/a`, %.6g, UTF-8.

Files at the root of the output data set have the same bytes whoever writes them:

    dataset_description.json  README.md  .bidsignore  descriptions.tsv
    desc-{profile1D,profile2D,bundle}_tractometry.json        column dictionaries, inherited by every session
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from spectra_bids import __version__
from spectra_bids.columns import BUNDLE, PROFILE_1D, PROFILE_2D, sidecar
from spectra_bids.errors import DatasetError, MissingInputError, OutputError, SpectraError, TemporaryError

if TYPE_CHECKING:
    import pandas as pd

BIDS_VERSION = "1.10.0"

#: No trailing slashes: the validator does not understand `figures/`.
_BIDSIGNORE = "\n".join(
    (
        "*.html",
        "figures",
        "group",
        "log",
        "logs",
        "atlas",
        "*_tractometry.tsv",
        "*_tractometry.json",
        "",
    )
)

_DESCRIPTIONS = (
    ("desc-profile1D", "Mean of each scalar map at every node along a bundle (along-tract profile)"),
    ("desc-profile2D", "Mean of each scalar map in every cell of a bundle: node along it x radial bin across it"),
    ("desc-bundle", "One row per bundle: counts, length, volume, registration quality, whole-bundle means"),
)

_README = """# Tractometry

Written by spectra-bids. One folder per subject; a report page beside it.

- `sub-*/[ses-*/]dwi/*_desc-profile1D_tractometry.tsv`: along-tract profiles, one row per bundle and node.
- `sub-*/[ses-*/]dwi/*_desc-profile2D_tractometry.tsv`: one row per bundle, node and radial bin.
- `sub-*/[ses-*/]dwi/*_desc-bundle_tractometry.tsv`: one row per bundle, with quality control.
- `atlas/`: the grid of each atlas bundle with its checksum. Grids depend on the atlas alone.
- `atlas/*_streamlines.tck`: some streamlines of each atlas bundle, for 3D views. Nothing is measured on them.
- `sub-*/figures/`: figures of the page, and 3D pictures of the bundles.
- `group/`: all profiles in one file, and one folder per model with fits, decisions and figures.
- `group/desc-profile1D_norms.tsv`: spread of every node over the cohort, the band of the subjects' pages.
- `sub-*.html`, `model-*.html`, `group_qc.html`: reports; they open without a network.
- `logs/`, `sub-*/log/`: settings and messages of each run; nothing else depends on when or where it was made.

The columns of the tables are explained in the JSON files of the same name, here and beside each table.
"""

_TEMPORARY = ".tmp"
_PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EAGAIN}


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically; folders are made as needed. Raises what `writing` raises."""
    with writing(path) as file:
        file.write(content)


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that becomes `path` at the end of the block, if that is reached; folders are made as needed.

    Raises
    ------
    TemporaryError
        The disk is full, or the file system is failing.
    OutputError
        The place cannot be written to.

    """
    path = Path(path)
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = _temporary(path)
        with open(temporary, "wb", opener=lambda *_: handle) as file:
            yield file
            file.flush()
            os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes it private, outputs are shared
            os.replace(temporary, path)
    except SpectraError:  # SIGTERM's, which is an OSError too
        _discard(temporary)
        raise
    except OSError as error:
        _discard(temporary)
        if error.errno in _PASSING:
            raise TemporaryError(
                f"{path} cannot be written: {error.strerror}", "Free some space, run again."
            ) from error
        raise OutputError(
            f"{path} cannot be written: {error.strerror}", "Choose an output folder that you may write to."
        ) from error
    except BaseException:
        _discard(temporary)
        raise


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path that becomes `path` at the end of the block: for libraries that open files by name.

    Raises
    ------
    TemporaryError, OutputError
        As `writing`.

    """
    with writing(path) as file:
        yield Path(os.fsdecode(file.name))


def _temporary(path: Path) -> tuple[int, str]:
    """Open a temporary file beside `path` that is locked as long as it is being written."""
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_TEMPORARY)
        with suppress(OSError):  # a file system without locks: then nobody clears up there either
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle).st_nlink:  # else a clean-up came between making and locking
            return handle, name
        os.close(handle)


def remove(path: Path) -> None:
    """Delete a file, if it is there.

    Raises
    ------
    OutputError
        It cannot be deleted.

    """
    try:
        Path(path).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be replaced: {error.strerror}", "Choose an output folder that you may write to."
        ) from error


def clear_leftovers(folder: Path, *, recursive: bool) -> None:
    """Delete temporary files of runs that were killed; those that a running job is writing are locked and stay."""
    pattern = f".*{_TEMPORARY}"
    for path in folder.rglob(pattern) if recursive else folder.glob(pattern):
        try:
            handle = os.open(path, os.O_RDWR)
        except OSError:
            continue  # gone already, or not ours
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        except OSError:
            continue  # locked: it is being written
        finally:
            os.close(handle)


def _discard(temporary: str) -> None:
    if temporary and os.path.exists(temporary):
        os.unlink(temporary)


def _umask() -> int:
    """Mode bits that the user wants withheld (reading them needs setting them)."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text as it is."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write JSON in the given order of keys, indented by 2, NaN refused."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=_plain) + "\n")


def _plain(value: Any) -> Any:
    """NumPy scalars and arrays, paths -> what JSON knows."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Path):
        return value.as_posix()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def table_bytes(table: pd.DataFrame) -> bytes:
    """TSV of a table: %.6g, `n/a` for what is missing, one newline per row."""
    buffer = io.StringIO()
    table.to_csv(buffer, sep="\t", index=False, na_rep="n/a", float_format="%.6g", lineterminator="\n")
    return buffer.getvalue().encode("utf-8")


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as TSV; equal tables, equal bytes."""
    write_bytes(path, table_bytes(table))


def read_table(path: Path) -> pd.DataFrame:
    """TSV -> table; `n/a` becomes NaN, columns in which every value is a number become numbers.

    Raises
    ------
    MissingInputError, DatasetError
        There is no such file, or it is no table.

    """
    import pandas as pd

    if not Path(path).is_file():
        raise MissingInputError(f"There is no file {path}")
    try:
        return pd.read_csv(path, sep="\t", na_values=["n/a"], keep_default_na=False, encoding="utf-8", low_memory=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} must be a TSV table with a header. Got {error}") from error


def sha256(path: Path) -> str:
    """SHA-256 of a file's content; of a folder, of its files' names and contents."""
    path = Path(path)
    if path.is_dir():
        digest = hashlib.sha256()
        for item in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(item.relative_to(path).as_posix().encode() + b"\0" + sha256(item).encode() + b"\n")
        return digest.hexdigest()
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        # DataLad keeps a link where content has not been fetched.
        hint = "The file is a link to content that is not here: 'datalad get' fetches it." if path.is_symlink() else ""
        raise MissingInputError(f"There is no file {path}", hint) from error
    except OSError as error:  # no right to read it, or links that lead in a circle
        if error.errno in _PASSING:
            raise
        raise MissingInputError(f"{path} cannot be read: {error.strerror}", "Check its rights and links") from error


def bids_uri(dataset_name: str, root: Path, path: Path) -> str:
    """`bids:<dataset>:<path in it>`; the name is empty for the data set that the URI stands in."""
    root, path = Path(os.path.abspath(root)), Path(os.path.abspath(path))
    if not path.is_relative_to(root):
        raise DatasetError(f"{path} does not lie in the data set {dataset_name!r}, {root}")
    return f"bids:{dataset_name}:{path.relative_to(root).as_posix()}"


def write_dataset_files(out: Path, sources: Iterable[tuple[str, Path]]) -> None:
    """Write the root files; `sources` are (name, path) of the input data sets, in the order given by the user."""
    out = Path(out)
    files: dict[str, bytes] = {
        "dataset_description.json": _json(_description(out, tuple(sources))),
        "README.md": _README.encode(),
        ".bidsignore": _BIDSIGNORE.encode(),
        "descriptions.tsv": "".join(f"{a}\t{b}\n" for a, b in (("desc_id", "description"), *_DESCRIPTIONS)).encode(),
        "desc-profile1D_tractometry.json": _json(sidecar(PROFILE_1D)),
        "desc-profile2D_tractometry.json": _json(sidecar(PROFILE_2D)),
        "desc-bundle_tractometry.json": _json(sidecar(BUNDLE)),
    }
    for name, content in files.items():
        path = out / name
        if not path.is_file() or path.read_bytes() != content:
            write_bytes(path, content)


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _description(out: Path, sources: tuple[tuple[str, Path], ...]) -> dict[str, Any]:
    """Content of dataset_description.json."""
    ours: dict[str, Any] = {"Name": "spectra-bids", "Version": __version__}
    container = _container()
    if container:
        ours["Container"] = container
    content: dict[str, Any] = {
        "Name": "Tractometry",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "License": "n/a",
        "GeneratedBy": [ours],
    }
    described = [_source(name, path, out) for name, path in sources]
    if described:
        content["SourceDatasets"] = [source for _, _, source in described]
        content["DatasetLinks"] = {name: uri for name, uri, _ in described}
    upstream = [tool for _, _, source in described for tool in source.get("GeneratedBy", [])]
    for tool in upstream:
        if tool not in content["GeneratedBy"]:
            content["GeneratedBy"].append(tool)
    return content


def _source(name: str, path: Path, out: Path) -> tuple[str, str, dict[str, Any]]:
    """(name, URI, entry of SourceDatasets) of one input data set."""
    uri = _relative(path, out)
    entry: dict[str, Any] = {"URL": uri}
    try:
        upstream = json.loads((Path(path) / "dataset_description.json").read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        upstream = {}  # a data set without description is still a source
    if isinstance(upstream, dict):
        if upstream.get("DatasetDOI"):
            entry["DOI"] = upstream["DatasetDOI"]
        tools = upstream.get("GeneratedBy")
        if isinstance(tools, list):
            entry["GeneratedBy"] = [tool for tool in tools if isinstance(tool, dict) and tool.get("Name")]
    return name, uri, entry


def _relative(path: Path, out: Path) -> str:
    """Path of a source as seen from the output folder: the same in every job and wherever both are mounted."""
    return Path(os.path.relpath(os.path.abspath(path), os.path.abspath(out))).as_posix()


def _container() -> dict[str, str] | None:
    """Container that the program runs in, as its image says in the environment."""
    if os.environ.get("SPECTRA_BIDS_DOCKER_TAG"):
        return {"Type": "docker", "Tag": os.environ["SPECTRA_BIDS_DOCKER_TAG"]}
    if os.environ.get("SPECTRA_BIDS_SINGULARITY_URL"):
        return {"Type": "singularity", "URI": os.environ["SPECTRA_BIDS_SINGULARITY_URL"]}
    return None
