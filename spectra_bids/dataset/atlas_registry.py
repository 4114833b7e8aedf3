"""The registry of atlases: what is known, fetched or registered, and folders and volumes of the user's own by name.

Registering links, it does not copy, unless asked to: `--atlas NAME` and `--atlas-labels NAME` then find what lies
elsewhere. A folder with an atlas.json is linked as it is; one of bundles alone gets an atlas.json in the registry and a
link per bundle; a NIfTI volume of labels goes to the folder of labels (`label_store`), with its table of names.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from spectra_bids.dataset.atlas_sources import SOURCES
from spectra_bids.dataset.atlas_store import (
    description,
    find_atlas,
    forget,
    kept_names,
    replace_folder,
    source_of,
)
from spectra_bids.dataset.atlases import read_atlas
from spectra_bids.dataset.data_home import atlas_home, downloads_home
from spectra_bids.dataset.downloads import expected_size
from spectra_bids.dataset.inputs import TRACTOGRAM_EXTENSIONS
from spectra_bids.dataset.label_store import TISSUES, find_labels, known_labels, labels_home
from spectra_bids.dataset.names import plain
from spectra_bids.dataset.outputs import write_json
from spectra_bids.errors import AtlasError, MissingInputError, OutputError, SpectraError, UsageError, listed

_VOLUME = re.compile(r"\.nii(\.gz)?$")


@dataclass(frozen=True)
class AtlasStatus:
    """What the registry knows of a name.

    Parameters
    ----------
    name : str
    kind : "bundles" or "labels"
    state : str
        fetched, registered, partly fetched, not fetched, broken, no address, comes with nilearn.
    detail : str
        Why it is broken, how much is fetched; else empty.
    title, space, license, citation, page, note : str
        Empty where nothing is known.
    bundles : int
        How many; 0 as long as it is not there.
    path : Path or None
        Where it is.
    checksum : str
        Of its archive, "sha256:..." or "md5:..."; empty if none is known.
    bytes : int
        Size of the archive; 0 if unknown.

    """

    name: str
    kind: Literal["bundles", "labels"]
    state: str
    detail: str = ""
    title: str = ""
    space: str = ""
    license: str = ""
    citation: str = ""
    page: str = ""
    note: str = ""
    bundles: int = 0
    path: Path | None = None
    checksum: str = ""
    bytes: int = 0


def register(
    source: Path,
    name: str,
    *,
    space: str = "",
    license: str = "",
    citation: str = "",
    names: Path | None = None,
    copy: bool = False,
    force: bool = False,
) -> AtlasStatus:
    """Give a folder of bundles, or a volume of labels, a name.

    Parameters
    ----------
    source : Path
        Atlas directory; folder of bundles (then `space` and `license` are needed); or NIfTI volume of labels.
    name : str
        For --atlas or --atlas-labels.
    space, license, citation : str
        For a folder without atlas.json.
    names : Path, optional
        Table of a volume's label names (`io.label_names.find_names` finds the one that stands beside it).
    copy : bool
        Copy instead of linking.
    force : bool
        Replace what has that name.

    Raises
    ------
    MissingInputError
        There is no such folder or file.
    AtlasError
        It is no atlas.
    UsageError
        Space or licence are needed, or said of an atlas that says them itself.
    OutputError
        The name is taken.

    """
    source, label = Path(source), plain(name)
    is_volume = bool(_VOLUME.search(source.name))
    if not (source.is_file() if is_volume else source.is_dir()):
        raise MissingInputError(f"atlas register: there is no folder or NIfTI volume {source}")
    home = labels_home() if is_volume else atlas_home()
    target = home / label
    if (target.exists() or target.is_symlink()) and not force:
        raise OutputError(f"the name {label!r} is taken: {target}", "Replace it with --force, or give another --name")
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home, prefix=".register-") as folder:
        new = Path(folder) / label
        if is_volume:
            _place_volume(source, names, new, copy)
        else:
            _place_bundles(source, new, (space, license, citation), copy)
            read_atlas(new)
        replace_folder(new, target)
        if not is_volume:
            forget(label)
    return status(label)


def _place_volume(source: Path, names: Path | None, new: Path, copy: bool) -> None:
    if names is not None and not names.is_file():
        raise MissingInputError(f"atlas register: there is no table {names}")
    new.mkdir()
    _link(source, new / source.name, copy)
    if names is not None:
        _link(names, new / f"{_VOLUME.sub('', source.name)}{names.suffix.lower()}", copy)


def _place_bundles(source: Path, new: Path, said: tuple[str, str, str], copy: bool) -> None:
    space, license, citation = said
    if (source / "atlas.json").is_file():
        if any(said):
            raise UsageError(f"{source / 'atlas.json'} says space and licence already", "Leave out --space, --license")
        _link(source, new, copy)
        return
    if not (space and license):
        raise UsageError(f"{source} has no atlas.json: --space and --license are needed",
                         "For example --space MNI152NLin2009cAsym --license CC0")  # fmt: skip
    bundles = sorted(p for p in source.iterdir() if p.name.endswith(TRACTOGRAM_EXTENSIONS))
    new.mkdir()
    for path in bundles:
        _link(path, new / path.name, copy)
    write_json(new / "atlas.json", description(source.resolve().name, space, license, citation))


def _link(source: Path, target: Path, copy: bool) -> None:
    if copy and source.is_dir():
        shutil.copytree(source, target)
    elif copy:
        shutil.copyfile(source, target)
    else:
        try:
            target.symlink_to(source.resolve(), target_is_directory=source.is_dir())
        except OSError as error:
            raise OutputError(f"{target} cannot be linked: {error.strerror}", "Use --copy") from error


def statuses() -> list[AtlasStatus]:
    """Everything that has a name: atlases that can be fetched, those that are there, and label volumes."""
    names = [*SOURCES, *(name for name in kept_names() if name not in SOURCES)]
    return [_atlas_status(name) for name in names] + [_labels_status(name) for name in known_labels()]


def status(name: str) -> AtlasStatus:
    """What is known of a name.

    Raises
    ------
    MissingInputError
        Nothing.

    """
    if name in SOURCES or name in kept_names():
        return _atlas_status(name)
    if name in known_labels():
        return _labels_status(name)
    every = dict.fromkeys([*SOURCES, *kept_names(), *known_labels()])
    raise MissingInputError(f"{name} is not the name of an atlas. There are: {listed(every)}")


def path_of(name: str) -> Path:
    """Folder of an atlas, or volume of labels, by name.

    Raises
    ------
    MissingInputError
        It is not there.

    """
    if name in known_labels() and name not in kept_names():
        return find_labels(name).volumes[0]
    kept = atlas_home() / name
    return kept if name in kept_names() and kept.is_dir() else find_atlas(name)


def _atlas_status(name: str) -> AtlasStatus:
    known, target, record = SOURCES.get(name), atlas_home() / name, source_of(name)
    facts = AtlasStatus(name, "bundles", "not fetched" if known and known.url else "no address")
    if known is not None:
        facts = AtlasStatus(name, "bundles", facts.state, "", known.title, known.space, known.license, known.citation,
                            known.page, known.note, 0, None, known.checksum, known.bytes)  # fmt: skip
    if not (target.exists() or target.is_symlink()):
        return _partly(facts)
    try:
        atlas = read_atlas(target)  # not find_atlas: a folder of this name may lie in the current one
    except SpectraError as error:
        return replace(facts, state="broken", detail=error.message, path=target)
    return replace(
        facts,
        state="fetched" if record and not target.is_symlink() else "registered",
        title=atlas.name,
        space=atlas.space,
        license=atlas.license,
        citation=atlas.citation or facts.citation,
        bundles=len(atlas.bundles),
        path=target.resolve() if target.is_symlink() else target,
        checksum=str(record.get("Checksum", "")),
        bytes=int(record.get("Bytes", 0)),
    )


def _partly(facts: AtlasStatus) -> AtlasStatus:
    """The same, if half of its archive has come."""
    for part in sorted(downloads_home().glob(f"{facts.name}-*.part")):
        here, total = part.stat().st_size, expected_size(part.with_name(part.name.removesuffix(".part")))
        of = f" of {total / 1e6:.1f}" if total else ""
        return replace(facts, state="partly fetched", detail=f"{here / 1e6:.1f}{of} MB")
    return facts


def _labels_status(name: str) -> AtlasStatus:
    ours = (labels_home() / name).exists() or name != TISSUES
    state = "registered" if ours else "comes with nilearn"
    try:
        found = find_labels(name)
    except (AtlasError, MissingInputError) as error:
        return AtlasStatus(name, "labels", "broken", error.message)
    return AtlasStatus(name, "labels", state, title=found.source, space=found.space, path=found.volumes[0])
