"""Which bundles and which scalar maps of one session belong together. Pure: it sees entities, opens no file.

Files are joined on session, acquisition, run and space. Spaces agree if their labels are equal, or both are MNI152*,
or both name QSIPrep's anatomical space (ACPC, before 1.0 T1w). Where several are possible the choice is fixed and
noted; where it would be a guess it is an error that names the candidates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from spectra_bids.errors import DatasetError, NothingSelectedError


@dataclass(frozen=True)
class BundleFile:
    """One bundle of one session.

    `name` is the canonical key, `label` the name as in the file, `group` a group of a TRX. `org_path` is set for
    RecoBundles pairs only: `path` is then the bundle in atlas space, `org_path` the same streamlines in native space.
    """

    name: str
    label: str
    path: Path
    group: str | None
    org_path: Path | None
    entities: Mapping[str, str]
    dataset: str


@dataclass(frozen=True)
class ScalarFile:
    """One scalar map; `name` is its column, `<model>_<param>`."""

    name: str
    model: str
    param: str
    path: Path
    space: str | None
    dataset: str
    units: str
    entities: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TransformFile:
    """A transform that takes native points to MNI (with `invert`: its inverse does)."""

    path: Path
    source: str
    target: str
    invert: bool


@dataclass(frozen=True)
class SessionInputs:
    """All inputs of one session; `space` is the label of the scalar maps' space, None if they say none."""

    subject: str
    session: str | None
    space: str | None
    bundles: tuple[BundleFile, ...]
    scalars: tuple[ScalarFile, ...]
    transforms: tuple[TransformFile, ...]
    notes: tuple[str, ...]


File = TypeVar("File", BundleFile, ScalarFile)

_HINT = "Select one with --bids-filter-file or with -d NAME=PATH."


def join(
    bundles: Sequence[BundleFile], scalars: Sequence[ScalarFile], session: str | None, wanted: Sequence[str]
) -> tuple[tuple[BundleFile, ...], tuple[ScalarFile, ...], str | None, tuple[str, ...]]:
    """(bundles, scalars, space, notes) of one session.

    Parameters
    ----------
    bundles, scalars : sequences
        All files of the subject.
    session : str or None
        Label of the session.
    wanted : sequence of str
        Scalars by parameter (`fa`), by full name (`tensor_fa`), or `*`.

    Raises
    ------
    NothingSelectedError
        No scalar map is left.
    DatasetError
        The files can be joined in more ways than one, or in none.

    """
    notes: list[str] = []
    bundles = _of_session(bundles, session)
    scalars = _wanted(_of_session(scalars, session), wanted)
    bundles, scalars = _of_acquisition(bundles, scalars, notes)
    bundles, scalars, space = _of_space(bundles, scalars, notes)
    strict = "*" not in wanted
    return (
        _unique(bundles, "bundle", True, notes),
        _unique(scalars, "scalar map", strict, notes),
        space,
        tuple(notes),
    )


def _of_session(files: Sequence[File], session: str | None) -> list[File]:
    """Files of the session; files without a session only where none has it."""
    exact = [f for f in files if f.entities.get("session") == session]
    return exact or [f for f in files if "session" not in f.entities]


def _wanted(scalars: Sequence[ScalarFile], wanted: Sequence[str]) -> list[ScalarFile]:
    """Scalars that --scalars selects."""
    names = {name.lower() for name in wanted}
    chosen = [s for s in scalars if "*" in names or s.param in names or s.name in names]
    if not scalars:
        raise NothingSelectedError(
            f"this session has no scalar map in any data set. Got --scalars {' '.join(wanted)}; there are: none",
            "Name the data set that holds the maps: -d NAME=PATH.",
        )
    there = ", ".join(sorted({s.name for s in scalars}))
    absent = sorted(n for n in names - {"*"} if not any(n in (s.param, s.name) for s in scalars))
    if absent:
        raise NothingSelectedError(
            f"--scalars must name scalar maps of the session. Got {', '.join(absent)}; there are: {there}",
            "Name a parameter (fa), a model and a parameter (tensor_fa), or '*'; -d NAME=PATH adds a data set.",
        )
    return chosen


def _acquisition(file: BundleFile | ScalarFile) -> tuple[str | None, str | None]:
    return file.entities.get("acquisition"), file.entities.get("run")


def _of_acquisition(
    bundles: list[BundleFile], scalars: list[ScalarFile], notes: list[str]
) -> tuple[list[BundleFile], list[ScalarFile]]:
    """Bundles and scalars of one acquisition and run."""
    if not bundles:
        return bundles, scalars
    left, right = {_acquisition(b) for b in bundles}, {_acquisition(s) for s in scalars}
    pairs = [(a, a) for a in left & right]
    if not pairs:  # an entity that one side leaves out says nothing
        pairs = [
            (a, b)
            for a in left
            for b in right
            if all(x == y or x is None or y is None for x, y in zip(a, b, strict=True))
        ]
        if pairs:
            notes.append("Bundles and scalar maps differ in the entities acq and run; they were joined all the same")
    if len(pairs) != 1:
        raise DatasetError(
            f"Bundles and scalar maps must share one acquisition and run. Got bundles of {_show(left)} and scalar "
            f"maps of {_show(right)}",
            _HINT,
        )
    ((one, other),) = pairs
    return [b for b in bundles if _acquisition(b) == one], [s for s in scalars if _acquisition(s) == other]


def _show(pairs: Iterable[tuple[str | None, str | None]]) -> str:
    """Acquisitions and runs for people."""
    named = ["_".join(f"{k}-{v}" for k, v in zip(("acq", "run"), pair, strict=True) if v) for pair in pairs]
    return ", ".join(sorted(name or "(none)" for name in named))


def _space(file: BundleFile | ScalarFile) -> str | None:
    space = file.entities.get("space")
    # pyAFQ writes the coordinate system here, not a space.
    return None if space == "RASMM" else space


def space_class(space: str | None) -> str:
    """Spaces with the same class agree."""
    if space is None:
        return ""
    if space.startswith("MNI152"):
        return "MNI152"
    return "ACPC" if space in ("ACPC", "T1w") else space


def _of_space(
    bundles: list[BundleFile], scalars: list[ScalarFile], notes: list[str]
) -> tuple[list[BundleFile], list[ScalarFile], str | None]:
    """Bundles and scalars whose spaces agree, and the space's label."""
    counts = Counter(space_class(_space(s)) for s in scalars)
    if not bundles:
        best = max(sorted(counts), key=lambda c: (counts[c], not c.startswith("MNI")))
        kept, space = _with_label([s for s in scalars if space_class(_space(s)) == best], None)
        return bundles, kept, space
    # RecoBundles files say nothing about the space of org_bundles.
    free = [b for b in bundles if b.org_path is not None and _space(b) is None]
    classes = Counter(space_class(_space(b)) for b in bundles if b not in free)
    common = [c for c in counts if c in classes] or (list(counts) if free else [])
    if not common:
        common = [c for c in counts if {c, *classes} == {"", "ACPC"} and len(classes) == 1]
        if common:
            notes.append("Only one of bundles and scalar maps says its space; they were taken to be in the same one")
    if not common:
        raise DatasetError(
            f"Bundles and scalar maps must be in one space. Got bundles in {_spaces(bundles)} and scalar maps in "
            f"{_spaces(scalars)}",
            _HINT,
        )
    # Most scalars first, then most bundles, then native before MNI: there the maps are interpolated least.
    best = max(sorted(common), key=lambda c: (counts[c], classes[c], not c.startswith("MNI")))
    if len(common) > 1:
        notes.append(f"Bundles and scalar maps exist together in several spaces; those in {best or 'native'} were used")
    group = [
        b for b in bundles if b in free or space_class(_space(b)) == (best if best in classes else [*classes, ""][0])
    ]
    maps = [s for s in scalars if space_class(_space(s)) == best]
    labels = Counter(_space(b) for b in group)
    shared = {_space(s) for s in maps} & set(labels)
    chosen = max(sorted(shared or set(labels), key=str), key=lambda x: labels[x])
    kept_maps, space = _with_label(maps, chosen)
    kept_bundles, _ = _with_label(group, chosen)
    return kept_bundles, kept_maps, space


def _spaces(files: Sequence[BundleFile | ScalarFile]) -> str:
    return ", ".join(sorted({_space(f) or "(none said)" for f in files}))


def _with_label(files: list[File], preferred: str | None) -> tuple[list[File], str | None]:
    """Of files whose spaces agree, each name once: in the preferred label's space if it is there."""
    labels = Counter(_space(f) for f in files)
    first = preferred if preferred in labels else max(sorted(labels, key=str), key=lambda x: labels[x])
    there = {f.name for f in files if _space(f) == first}
    return [f for f in files if _space(f) == first or f.name not in there], first


_ORDER = (".trk", ".trx", ".tck", ".trk.gz", ".tck.gz", ".tt.gz", ".nii.gz", ".nii")


def _unique(files: Sequence[File], what: str, strict: bool, notes: list[str]) -> tuple[File, ...]:
    """One file per name, sorted by name; equal names in different data sets are an error (if `strict`)."""
    kept: dict[str, File] = {}
    for file in sorted(files, key=_rank):
        first = kept.setdefault(file.name, file)
        if first is file or (isinstance(file, BundleFile) and file.group and first.dataset == file.dataset):
            continue  # pyAFQ writes its bundles twice: one by one, and all as groups of a TRX
        if first.dataset != file.dataset and strict:
            raise DatasetError(
                f"The {what} {file.name} is in two data sets, {first.dataset!r} ({first.path.name}) and "
                f"{file.dataset!r} ({file.path.name})",
                _HINT,
            )
        notes.append(
            f"The {what} {file.name} is there more than once: {first.path.name} of {first.dataset} was used, "
            f"{file.path.name} of {file.dataset} was not"
        )
    return tuple(kept[name] for name in sorted(kept))


def _rank(file: BundleFile | ScalarFile) -> tuple[bool, int, str]:
    """Single files before groups, then by format, then by path."""
    group = isinstance(file, BundleFile) and file.group is not None
    extension = file.entities.get("extension", "")
    return group, _ORDER.index(extension) if extension in _ORDER else len(_ORDER), file.path.as_posix()
