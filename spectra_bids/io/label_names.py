"""Names of the labels of an atlas volume, from the table that stands beside it.

    .tsv .csv   a column of numbers (index, id, value, label) and one of names (name, label, region), in any order;
                a column hemi, hemisphere or side is added to names that do not hold it (BIDS `_dseg.tsv`, nilearn)
    .txt .lut   number, name, then what colours there are (FreeSurfer, MRtrix, DSI Studio, ITK-SNAP)
    .xml        FSL: number = index for type Label, index + 1 for Probabilistic (1 for the first volume)
    .json       {"17": "name"}, {"name": 17}, or a list of {index, name}

Beside a volume `X.nii.gz` the table is X with one of these endings; for BIDS names a `.tsv` with the same suffix whose
entities are all the volume's (`tpl-MNI_res-01_atlas-A_dseg.nii.gz`, `tpl-MNI_atlas-A_dseg.tsv`); for FSL's atlases an
`.xml` in the folder or the one above that names the volume.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from spectra_bids.errors import AtlasError, MissingInputError, shown

_INDEX = ("index", "id", "value", "intensity", "key", "no", "no.", "roi", "label")
_NAME = ("name", "label", "region", "structure", "roi_name", "description", "abbreviation")
_SIDE = ("hemi", "hemisphere", "side")
_EXTENSIONS = (".tsv", ".csv", ".txt", ".lut", ".xml", ".json")
_MOST_BYTES = 20_000_000
_FORMATS = "Columns index and name (.tsv, .csv), a FreeSurfer colour table (.txt, .lut), an FSL atlas (.xml), or JSON"


def volume_stem(path: Path) -> str:
    """A volume's file name without .nii or .nii.gz."""
    return re.sub(r"(\.nii)?(\.gz)?$", "", path.name)


def find_names(volume: Path) -> Path | None:
    """The table of names that belongs to a volume; None if there is none."""
    stem, folder = volume_stem(volume), volume.parent
    for extension in _EXTENSIONS:
        beside = folder / (stem + extension)
        if beside.is_file() and (extension != ".json" or _json_names(_load_json(beside))):
            return beside  # a JSON file may be an ordinary BIDS sidecar, which names nothing
    entities, suffix = _entities(stem)
    fitting = [p for p in sorted(folder.glob(f"*_{suffix}.tsv")) if _entities(p.name[:-4])[0] <= entities]
    if entities and fitting:
        return max(fitting, key=lambda p: len(_entities(p.name[:-4])[0]))
    for file in sorted([*folder.glob("*.xml"), *folder.resolve().parent.glob("*.xml")]):
        if file.stat().st_size < _MOST_BYTES and re.search(
            rf"[/>\s]{re.escape(stem)}(\.nii(\.gz)?)?\s*</", file.read_text(encoding="latin-1")
        ):
            return file
    return None


def _entities(stem: str) -> tuple[set[str], str]:
    *parts, suffix = stem.split("_")
    return {part for part in parts if "-" in part}, suffix


def read_names(path: Path) -> dict[int, str]:
    """Label -> name.

    Raises
    ------
    MissingInputError
        There is no such file.
    AtlasError
        It cannot be read as any of the formats, names nothing, or gives one number two names.

    """
    if not path.is_file():
        raise MissingInputError(f"There is no table of label names {path}")
    if path.stat().st_size > _MOST_BYTES:
        raise AtlasError(f"A table of label names has at most {_MOST_BYTES} bytes. Got {path}", _FORMATS)
    extension = path.suffix.lower()
    try:
        if extension == ".json":
            pairs = _json_names(_load_json(path))
        elif extension == ".xml":
            pairs = _xml_names(path.read_bytes())
        else:
            text = path.read_text(encoding="utf-8-sig", errors="replace")
            delimiter = {".tsv": "\t", ".csv": ","}.get(extension, "")
            pairs = _table_names(text, delimiter) if delimiter else _lut_names(text.splitlines())
    except (ValueError, OSError, csv.Error) as error:
        raise AtlasError(f"{path} cannot be read as a table of label names: {error}", _FORMATS) from error
    names: dict[int, str] = {}
    for number, name in pairs:
        tidy = " ".join(str(name).split())  # a tab or line feed would break the tables that the name goes to
        if tidy and names.setdefault(number, tidy) != tidy:
            raise AtlasError(f"{path} gives label {number} two names: {shown(names[number])} and {shown(tidy)}")
    if not names:
        raise AtlasError(f"{path} names no label", _FORMATS)
    return names


def _table_names(text: str, delimiter: str) -> list[tuple[int, str]]:
    rows = [[field.strip() for field in row] for row in csv.reader(io.StringIO(text), delimiter=delimiter)]
    rows = [row for row in rows if any(row)]
    if not rows:
        return []
    if _number(rows[0][0]) is not None:  # no header
        return [(n, row[1]) for row in rows if len(row) > 1 and (n := _number(row[0])) is not None]
    head = [field.lower() for field in rows[0]]
    chosen = _columns(head)
    if chosen is None:
        raise ValueError(f"expected columns 'index' and 'name'. It has: {', '.join(map(shown, rows[0]))}")
    index, name = (head.index(column) for column in chosen)
    side = next((head.index(c) for c in _SIDE if c in head), None)
    out = []
    for line, row in enumerate(rows[1:], start=2):
        row = row + [""] * (len(head) - len(row))
        number = _number(row[index])
        if number is None:
            raise ValueError(f"row {line}: {rows[0][index]} must be a whole number. Got {shown(row[index])!r}")
        out.append((number, _sided(row[name], row[side] if side is not None else "")))
    return out


def _columns(head: Sequence[str]) -> tuple[str, str] | None:
    """Columns of numbers and of names; `label` holds the numbers where nothing else does."""
    index = next((c for c in _INDEX if c in head), None)
    name = next((c for c in _NAME if c in head and c != index), None)
    return (index, name) if index and name else None


def _sided(name: str, side: str) -> str:
    """The name with its hemisphere, if the name does not say it."""
    letter = side[:1].upper()
    if letter not in ("L", "R") or re.search(r"(^|[^a-z])(l|r|lh|rh|left|right)([^a-z]|$)", name, re.IGNORECASE):
        return name
    return f"{name} {letter}"


def _lut_names(lines: Iterable[str]) -> list[tuple[int, str]]:
    out = []
    for line in lines:
        text = line.strip()
        if not text or text.startswith(("#", "//")):
            continue
        quoted = re.search(r'"([^"]*)"\s*$', text)
        number = _number(re.split(r"[\s,;]+", text)[0])
        if number is None:
            raise ValueError(f"expected 'number name ...' in every line. Got {shown(text)!r}")
        if quoted:  # ITK-SNAP: number, colour, ..., "name"
            out.append((number, quoted[1]))
            continue
        named = re.sub(r"(?:[\s,;]+\d+(?:\.\d+)?){3,4}$", "", text)  # red, green, blue, alpha
        out.append((number, " ".join(re.split(r"[\s,;]+", named)[1:])))
    return out


def _xml_names(content: bytes) -> list[tuple[int, str]]:
    from xml.etree import ElementTree

    if b"<!ENTITY" in content:
        raise ValueError("entities are not expanded")
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise ValueError(str(error)) from error
    # FSL: of a probabilistic atlas the index counts volumes from 0; the summary image holds index + 1.
    shift = 0 if (root.findtext("header/type") or "").strip().lower() == "label" else 1
    labels = root.findall("data/label")
    return [(int(label.attrib["index"]) + shift, label.text or "") for label in labels if "index" in label.attrib]


def _load_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8-sig"))


def _json_names(content: Any) -> list[tuple[int, str]]:
    """Pairs of a JSON value; empty if it is of another kind."""
    if isinstance(content, dict):
        found = _pairs(list(content.items())) or _pairs([(v, k) for k, v in content.items()])
        return found or next((p for v in content.values() if isinstance(v, dict | list) and (p := _json_names(v))), [])
    if isinstance(content, list) and content and all(isinstance(row, dict) for row in content):
        lower = [{str(k).lower(): v for k, v in row.items()} for row in content]
        chosen = _columns([key for key in lower[0] if all(key in row for row in lower)])
        return _pairs([(row[chosen[0]], row[chosen[1]]) for row in lower]) if chosen else []
    return []


def _pairs(items: Sequence[tuple[object, object]]) -> list[tuple[int, str]]:
    """(number, name), if all items are."""
    out = [(n, name) for key, name in items if (n := _number(key)) is not None and isinstance(name, str)]
    return out if len(out) == len(items) else []


def _number(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    text = str(value).strip()
    return int(float(text)) if re.fullmatch(r"[+-]?\d+(\.0*)?", text) else None
