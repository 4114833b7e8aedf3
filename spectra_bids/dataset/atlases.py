"""Atlas directories: `atlas.json` {Name, Space, License} beside one streamline file per bundle.

A bundle's name is its file's name without punctuation (AssociationArcuateFasciculusL); it becomes the value of the
column `bundle`. A subject's bundle belongs to the atlas bundle with the same canonical name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectra_bids.dataset.inputs import TRACTOGRAM_EXTENSIONS, BundleFile
from spectra_bids.dataset.names import bundle_name, canonical, plain
from spectra_bids.errors import AtlasError, MissingInputError


@dataclass(frozen=True)
class Atlas:
    """An atlas: where its bundles are and which space they are in.

    Parameters
    ----------
    name : str
        As atlas.json says it.
    label : str
        For file names: the folder's name without `atlas-` and punctuation, or `Label` of atlas.json.
    space : str
        BIDS label of the space, such as MNI152NLin2009cAsym.
    bundles : mapping
        Plain name -> streamline file, sorted by name.
    citation : str
        First of atlas.json's ReferencesAndLinks; empty without.

    """

    name: str
    label: str
    space: str
    license: str
    bundles: Mapping[str, Path]
    citation: str = ""


def read_atlas(path: Path) -> Atlas:
    """Atlas in a folder.

    Raises
    ------
    MissingInputError
        There is no such folder, or no atlas.json in it.
    AtlasError
        atlas.json lacks something, or no bundles stand beside it.

    """
    path = Path(path)
    if not path.is_dir():
        raise MissingInputError(
            f"There is no atlas folder {path}", "Give one with --atlas, or make one with 'spectra-bids atlas build'."
        )
    described = _description(path / "atlas.json")
    bundles: dict[str, Path] = {}
    for file in sorted(path.iterdir()):
        extension = next((e for e in TRACTOGRAM_EXTENSIONS if file.name.endswith(e)), None)
        if extension is None or file.name.startswith("."):
            continue
        stem = _bundle_of(file.name.removesuffix(extension))
        if not re.search(r"[A-Za-z0-9]", stem):
            raise AtlasError(f"The name of an atlas bundle must hold letters or digits. Got {file}", "Rename the file.")
        name = plain(stem)
        if name in bundles:
            raise AtlasError(f"Two files of the atlas {path} are bundle {name}: {bundles[name].name} and {file.name}")
        bundles[name] = file
    if not bundles:
        raise AtlasError(
            f"The atlas {path} must hold one streamline file per bundle ({', '.join(TRACTOGRAM_EXTENSIONS)}). Got none"
        )
    _refuse_twins(path, bundles)
    folder = path.resolve().name.removeprefix("atlas-")
    label = re.sub(r"[^A-Za-z0-9]", "", str(described.get("Label") or folder)) or plain(described["Name"])
    links = described.get("ReferencesAndLinks")
    citation = str(links[0]) if isinstance(links, list) and links else ""
    return Atlas(str(described["Name"]), label, str(described["Space"]), str(described["License"]), bundles, citation)


def match(atlas: Atlas, bundle_files: Iterable[BundleFile]) -> dict[str, BundleFile]:
    """Atlas bundle -> the subject's file of the same tract; atlas order, absent tracts left out."""
    by_key = {file.name: file for file in bundle_files}
    return {name: by_key[canonical(name)] for name in atlas.bundles if canonical(name) in by_key}


def _bundle_of(stem: str) -> str:
    """Name of the bundle in a file name: BIDS entities if there are any, else all of it."""
    entities = dict(part.split("-", 1) for part in stem.split("_") if "-" in part)
    return bundle_name(entities, stem.rsplit("_", 1)[-1]) or stem


def _description(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise MissingInputError(
            f"There is no {path}: an atlas is a folder with atlas.json beside its bundles",
            'Write one: {"Name": "...", "Space": "MNI152NLin2009cAsym", "License": "..."}.',
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise AtlasError(f"{path} must be JSON. Got {error}") from error
    except OSError as error:
        raise MissingInputError(f"{path} cannot be read: {error.strerror}", "Check its rights and links") from error
    wanted = ("Name", "Space", "License")
    absent = [key for key in wanted if not isinstance(content, dict) or not content.get(key)]
    if absent:
        raise AtlasError(f"{path} must hold {', '.join(wanted)}. Got no {', '.join(absent)}")
    return dict(content)


def _refuse_twins(path: Path, bundles: Mapping[str, Path]) -> None:
    """Two atlas bundles that are one tract would share a subject's bundle."""
    seen: dict[str, str] = {}
    for name in bundles:
        other = seen.setdefault(canonical(name), name)
        if other != name:
            raise AtlasError(
                f"Two bundles of the atlas {path} are the same tract: {other} and {name}",
                "Keep one of the files.",
            )
