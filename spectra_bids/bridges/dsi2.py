"""dsi2's local_data.json: one object per scan, or one object; what it names, checked before anything is written.

    scan_id, scan_group                                     required
    study, software, reconstruction, trk_space              text
    length_min, length_max (mm), cutoff_angle (degrees), qa_threshold, gfa_threshold, smoothing      numbers
    attributes                                              name -> number, text, truth value or null
    trk_file, pkl_trk_path, pkl_path                        files
    track_scalars                                           list, kept as it is
    track_labels        list of {name, parameters, notes, graphml_path, numpy_path, volume_path}

`pkl_trk_path` is the tractogram that dsi2 indexed, and to which its labels belong; `trk_file` the one it was made of.
Files that dsi2 makes itself (.pkl, .npy) may be absent. A pickle can run any program when it is opened: `pkl_path` is
never opened, the index is made again from the tractogram.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra_bids.errors import InputDataError, MissingInputError, listed, shown

_TEXT = ("study", "software", "reconstruction", "trk_space")
_NUMBERS = ("length_min", "length_max", "cutoff_angle", "qa_threshold", "gfa_threshold", "smoothing")
_FILES = ("trk_file", "pkl_trk_path", "pkl_path")
_KNOWN = {"scan_id", "scan_group", "attributes", "track_scalars", "track_labels", *_TEXT, *_NUMBERS, *_FILES}
_LABEL_FILES = ("graphml_path", "numpy_path", "volume_path")
_LABEL_KNOWN = {"name", "parameters", "notes", *_LABEL_FILES}
_MOST_BYTES = 200_000_000


@dataclass(frozen=True)
class TrackLabels:
    """One labelling of a scan's streamlines; paths are None where the file is not named."""

    name: str
    parameters: Mapping[str, Any]
    notes: str
    graphml: Path | None
    numpy: Path | None
    volume: Path | None

    @property
    def numpy_made(self) -> bool:
        """Whether dsi2 has made its labels."""
        return self.numpy is not None and self.numpy.is_file()


@dataclass(frozen=True)
class Scan:
    """One scan; `label` is the subject label made of `scan_id`, `tracking` holds text and numbers of the tracking."""

    scan_id: str
    label: str
    group: str
    attributes: Mapping[str, Any]
    tracking: Mapping[str, Any]
    trk_space: str
    trk: Path | None
    indexed_trk: Path | None
    pkl: Path | None
    track_scalars: tuple[Any, ...]
    track_labels: tuple[TrackLabels, ...]

    @property
    def tractogram(self) -> Path | None:
        """The tractogram to be indexed and labelled: dsi2's own if it is there, else what it was made of."""
        return next((p for p in (self.indexed_trk, self.trk) if p is not None and p.is_file()), None)


@dataclass(frozen=True)
class LocalData:
    """Scans of a local_data.json, and what a reader should know of it."""

    scans: tuple[Scan, ...]
    warnings: tuple[str, ...]


def read_local_data(path: Path, root: Path | None = None) -> LocalData:
    """Read and check a local_data.json.

    Parameters
    ----------
    path : Path
    root : Path, optional
        What relative paths start from; the file's own folder by default.

    Raises
    ------
    MissingInputError
        The file is not there.
    InputDataError
        It is no such file: the message has scan and key; or two scans have one id.

    """
    content = _load(path)
    entries = content if isinstance(content, list) else [content]
    if not entries:
        raise InputDataError(f"{path} holds no scan", "Expected one object, or a list of objects, one per scan")
    warnings: list[str] = []
    folder = path.parent if root is None else root
    scans = tuple(_scan(entry, k, path, folder, warnings) for k, entry in enumerate(entries))
    seen: dict[str, Scan] = {}
    for scan in scans:
        other = seen.setdefault(scan.label, scan)
        if other is not scan:
            same = "two scans have the id" if other.scan_id == scan.scan_id else "two ids make one subject label:"
            ids = f"{scan.scan_id!r}" if other.scan_id == scan.scan_id else f"{other.scan_id!r} and {scan.scan_id!r}"
            raise InputDataError(
                f"{path}: {same} {ids}", "Subject labels are the letters and digits of scan_id, and must differ"
            )
    return LocalData(scans, tuple(warnings))


def missing_files(data: LocalData) -> tuple[str, ...]:
    """Every file that is named, needed and not there, as "scan: key path"."""
    out = []
    for scan in data.scans:
        wanted = {"trk_file": scan.trk, "pkl_trk_path": scan.indexed_trk}
        for k, labels in enumerate(scan.track_labels):
            wanted[f"track_labels[{k}].graphml_path"] = labels.graphml
            wanted[f"track_labels[{k}].volume_path"] = labels.volume
        out += [f"{scan.scan_id}: {key} {p}" for key, p in wanted.items() if p is not None and not p.is_file()]
    return tuple(out)


def read_numpy_labels(path: Path, n_streamlines: int, tractogram: Path) -> NDArray[np.int64]:
    """Labels of dsi2's .npy, (S,), one per streamline.

    Raises
    ------
    InputDataError
        Python objects in it, not whole numbers, or of another length.

    """
    try:
        values = np.load(path, allow_pickle=False, mmap_mode=None)
    except (OSError, ValueError, EOFError) as error:
        raise InputDataError(f"{path} must be an array of numbers, one per streamline: {error}") from error
    flat = np.asarray(values).squeeze() if isinstance(values, np.ndarray) else np.zeros((0, 0))
    if flat.ndim == 0:
        flat = flat.reshape(1)
    if flat.ndim != 1 or flat.dtype.kind not in "iuf" or (flat.dtype.kind == "f" and not (flat == np.rint(flat)).all()):
        raise InputDataError(f"{path} must hold one whole number per streamline. Got {values.shape} of {values.dtype}")
    if len(flat) != n_streamlines:
        raise InputDataError(
            f"{path} must hold one label for each of the {n_streamlines} streamlines of {tractogram}. Got {len(flat)}",
            "The labels belong to another tractogram: correct the paths, or leave out numpy_path",
        )
    return flat.astype(np.int64)


def _load(path: Path) -> Any:
    if not path.is_file():
        raise MissingInputError(f"There is no file {path}")
    if path.stat().st_size > _MOST_BYTES:
        raise InputDataError(f"{path} has {path.stat().st_size} bytes: expected a list of scans")
    try:
        text = path.read_text(encoding="utf-8-sig")
        return json.loads(text, object_pairs_hook=_unique, parse_constant=lambda _: None)
    except json.JSONDecodeError as error:
        raise InputDataError(
            f"{path} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}",
            "Look for a missing comma or bracket on that line or the one before",
        ) from error
    except (UnicodeDecodeError, _TwiceError, RecursionError) as error:
        raise InputDataError(f"{path} is not JSON as it should be: {error}") from error


class _TwiceError(ValueError):
    """A key that stands twice in one object."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in pairs:
        if key in out:
            raise _TwiceError(f"the key {key!r} stands twice in one object")
        out[key] = value
    return out


def _scan(entry: Any, k: int, path: Path, root: Path, warnings: list[str]) -> Scan:
    if not isinstance(entry, dict):
        raise InputDataError(f"{path}: scan {k + 1} must be an object. Got {shown(repr(entry))}")
    for key in ("scan_id", "scan_group"):
        value = entry.get(key)
        if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
            got = "nothing" if value is None else shown(repr(value))
            raise InputDataError(f"{path}: scan {k + 1} must have a {key}, which is text. Got {got}")
    scan_id = str(entry["scan_id"]).strip()
    where = f"{path}: scan {scan_id!r}"
    label = "".join(c for c in scan_id.removeprefix("sub-") if c.isascii() and c.isalnum())
    if not label:
        raise InputDataError(f"{where}: scan_id must hold letters or digits")
    _warn_unknown(entry, _KNOWN, f"scan {scan_id!r}", warnings)
    attributes = _object(entry, "attributes", where)
    for name in [name for name, value in attributes.items() if isinstance(value, dict | list)]:
        warnings.append(f"scan {scan_id!r}: attribute {shown(name)!r} is no single value and is left out")
        del attributes[name]
    space = _text(entry, "trk_space", where)
    tracking = {key: _text(entry, key, where) for key in _TEXT if key != "trk_space"}
    numbers = {key: _number(entry, key, where) for key in _NUMBERS}
    files = {key: _path(entry, key, where, root) for key in _FILES}
    scalars = entry.get("track_scalars") or []
    labels = entry.get("track_labels") or []
    for key, value in (("track_scalars", scalars), ("track_labels", labels)):
        if not isinstance(value, list):
            raise InputDataError(f"{where}: {key} must be a list. Got {shown(repr(value))}")
    return Scan(
        scan_id,
        label,
        str(entry["scan_group"]).strip(),
        attributes,
        {key: value for key, value in {**tracking, **numbers}.items() if value not in (None, "")},
        space,
        files["trk_file"],
        files["pkl_trk_path"],
        files["pkl_path"],
        tuple(scalars),
        tuple(_labels(item, f"{where}: track_labels[{i}]", root, warnings) for i, item in enumerate(labels)),
    )


def _labels(entry: Any, where: str, root: Path, warnings: list[str]) -> TrackLabels:
    if not isinstance(entry, dict):
        raise InputDataError(f"{where} must be an object. Got {shown(repr(entry))}")
    _warn_unknown(entry, _LABEL_KNOWN, where.partition(": ")[2], warnings)
    name = _text(entry, "name", where)
    if not any(c.isascii() and c.isalnum() for c in name):
        raise InputDataError(f"{where} must have a name with letters or digits. Got {name!r}")
    parameters = _object(entry, "parameters", where)
    odd = [key for key, value in parameters.items() if isinstance(value, dict | list | bool) or value is None]
    if odd:
        raise InputDataError(f"{where}: parameters must be numbers or text. Got {odd[0]!r}: {parameters[odd[0]]!r}")
    graphml, numpy, volume = (_path(entry, key, where, root) for key in _LABEL_FILES)
    if volume is None and (numpy is None or not numpy.is_file()):
        about = where.partition(": ")[2]
        warnings.append(f"{about} has no volume_path and no labels of dsi2's: it labels nothing")
    return TrackLabels(name, parameters, _text(entry, "notes", where), graphml, numpy, volume)


def _warn_unknown(entry: Mapping[str, Any], known: set[str], where: str, warnings: list[str]) -> None:
    odd = sorted(set(entry) - known)
    if odd:
        warnings.append(f"{where}: {'key' if len(odd) == 1 else 'keys'} not known and left out: {listed(odd)}")


def _text(entry: Mapping[str, Any], key: str, where: str) -> str:
    value = entry.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, str | int | float)):
        raise InputDataError(f"{where}: {key} must be text. Got {shown(repr(value))}")
    return "" if value is None else " ".join(str(value).split())


def _number(entry: Mapping[str, Any], key: str, where: str) -> float | int | None:
    value = entry.get(key)
    if isinstance(value, bool) or not (value is None or isinstance(value, int | float)):
        raise InputDataError(f"{where}: {key} must be a number. Got {shown(repr(value))}")
    return value


def _object(entry: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    value = entry.get(key)
    if not isinstance(value, dict | None):
        raise InputDataError(f"{where}: {key} must be an object. Got {shown(repr(value))}")
    return dict(value or {})


def _path(entry: Mapping[str, Any], key: str, where: str, root: Path) -> Path | None:
    value = entry.get(key)
    if value in (None, ""):
        return None
    if not isinstance(value, str) or "\0" in value:
        raise InputDataError(f"{where}: {key} must be a path. Got {shown(repr(value))}")
    return root / value


def column_name(name: str) -> str:
    """A column of participants.tsv from the name of an attribute: letters, digits and '_'."""
    text = "_".join("".join(c if c.isascii() and c.isalnum() else " " for c in name).split())
    return text if text and not text[0].isdigit() else f"attribute_{text or 'unnamed'}"
