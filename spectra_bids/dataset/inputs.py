"""Input data sets -> the bundles, scalar maps and transforms of one session. The only module that imports pybids.

Understood are QSIRecon (`_bundle-X_streamlines.tck.gz`, scalars in another data set), pyAFQ (`_desc-X_tractography`,
TRX files with groups), DIPY RecoBundles (`rec_bundles/` and `org_bundles/`, paired by name) and the tractography draft
(`_tract-X_hemi-L_tractogram`). One subject is indexed at a time, from its own folder: pybids needs 0.1 s per data set
for that, however many others there are, and a minute and 2 GB for all of 1,000 subjects.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from spectra_bids.dataset.folders import circles, refuse_folders, require_description
from spectra_bids.dataset.joining import BundleFile, ScalarFile, SessionInputs, TransformFile, join
from spectra_bids.dataset.names import (
    BUNDLE_SUFFIXES,
    ENTITIES,
    bundle_name,
    canonical,
    is_known,
    label,
    plain,
    scalar_name,
)
from spectra_bids.errors import MissingInputError, NothingSelectedError, UsageError
from spectra_bids.settings import RunSettings

__all__ = [
    "TRACTOGRAM_EXTENSIONS",
    "BundleFile",
    "ScalarFile",
    "SessionInputs",
    "TransformFile",
    "discover_derivatives",
    "find_bundles",
    "find_sessions",
    "forget_index",
    "read_session",
]

TRACTOGRAM_EXTENSIONS = (".trk.gz", ".tck.gz", ".tt.gz", ".trk", ".tck", ".trx")
#: Parameters in the names of programs that do not know the entity `param` yet.
_PARAMETERS = frozenset(
    re.findall(
        r"\w+",
        "fa md rd ad mk ak rk kfa mkt awf tortuosity gfa iso qa rdi nrdi ha rha odi icvf isovf ndi fwf odtot "
        "rtop rtap rtpp msd qiv lapnorm ng ngpar ngperp pa path fiberd mtr mtsat t1 t2 r1 r2star qsm myelin afd",
    )
)
#: pybids 0.22 does not know these. `model` is known to it already, and twice is an error.
_EXTRA = {
    "name": "spectra",
    "entities": [
        {"name": name, "pattern": rf"[_/\\]+{name}-([a-zA-Z0-9+]+)"}
        for name in ("bundle", "bundles", "param", "tract", "track", "algo")
    ],
}


class _File(NamedTuple):
    """A file of a subject as pybids sees it."""

    path: Path
    entities: Mapping[str, str]
    dataset: str


def discover_derivatives(settings: RunSettings) -> tuple[tuple[str, Path], ...]:
    """(name, folder) of the data sets to read: those of -d, else BIDS_DIR/derivatives/* and a derivative BIDS_DIR.

    A data set's own `derivatives/*` belong to it (QSIRecon keeps one data set per method there).
    """
    bids_dir = _absolute(settings.bids_dir)
    if not bids_dir.is_dir():
        raise MissingInputError(f"There is no folder {bids_dir}")
    found: list[tuple[str, Path]] = []
    given = dict(settings.derivatives)
    if len(given) < len(settings.derivatives):
        raise UsageError(f"-d must give data sets different names. Got {', '.join(n for n, _ in settings.derivatives)}")
    for name, folder in given.items():
        path = _absolute(folder)
        if not path.is_dir():
            raise MissingInputError(f"There is no folder {path}, which -d names {name!r}")
        found.append((name, path))
        found += [(f"{name}-{p.name}", p) for p in _nested(path)]
    if not settings.derivatives:
        if _is_derivative(bids_dir):
            found.append((bids_dir.name, bids_dir))
        for path in _nested(bids_dir):
            found.append((path.name, path))
            found += [(p.name, p) for p in _nested(path)]
    unique = _once(found, Path(settings.output_dir).resolve())
    if not unique:
        raise MissingInputError(
            f"There are no derivatives in {bids_dir}: neither {bids_dir / 'derivatives'} nor a data set of type "
            "derivative itself",
            "Name the data sets that hold bundles and scalar maps: -d NAME=PATH.",
        )
    return unique


def _absolute(path: Path) -> Path:
    """Absolute, but symbolic links stay: names in outputs are those that the user knows."""
    return Path(os.path.abspath(path))


def _once(found: Iterable[tuple[str, Path]], output: Path) -> tuple[tuple[str, Path], ...]:
    """Each folder once, without the output folder, under names that differ."""
    paths: set[Path] = {output}
    out: dict[str, Path] = {}
    for name, path in found:
        if path.resolve() in paths:
            continue
        paths.add(path.resolve())
        if name in out:
            name = f"{path.parent.parent.name}-{name}"
        if name in out:
            raise UsageError(f"Data sets must have different names. Got {name!r} for {out[name]} and {path}")
        out[name] = path
    return tuple(out.items())


def _nested(root: Path) -> list[Path]:
    """Data sets in `derivatives/` of a data set, by name."""
    folder = root / "derivatives"
    if not folder.is_dir():
        return []
    return sorted((p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")), key=_natural)


def _is_derivative(root: Path) -> bool:
    try:
        content = json.loads((root / "dataset_description.json").read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and (content.get("DatasetType") == "derivative" or "GeneratedBy" in content)


def _natural(value: object) -> list[tuple[int, int, str]]:
    """Sorting key that puts sub-2 before sub-10."""
    return [(0, int(t), "") if t.isdigit() else (1, 0, t) for t in re.split(r"(\d+)", str(value))]


def find_sessions(settings: RunSettings) -> list[tuple[str, str | None]]:
    """(subject, session or None), natural order, by listing folders only.

    Sessions are those of the derivatives; the raw data set's for a subject that no derivative knows.
    """
    roots = [path for _, path in discover_derivatives(settings)]
    asked = [x.removeprefix("sub-") for x in settings.participant_labels]
    found = _list_sessions([Path(settings.bids_dir)], asked)
    found.update(_list_sessions(roots, asked))
    if not found:
        raise NothingSelectedError(f"There are no folders sub-* in {settings.bids_dir} and its derivatives")
    absent = [x for x in asked if x not in found]
    if absent:
        raise NothingSelectedError(
            f"--participant-label must name subjects. Got {', '.join(absent)}; there are: "
            f"{_shortened(sorted(found, key=_natural))}"
        )
    sessions = [x.removeprefix("ses-") for x in settings.session_labels]
    pairs = [(sub, ses) for sub in found if not asked or sub in asked for ses in (found[sub] or {None})]
    chosen = [pair for pair in pairs if not sessions or pair[1] in sessions]
    if not chosen:
        there = sorted({ses for _, ses in pairs if ses}, key=_natural)
        raise NothingSelectedError(
            f"--session-label must name sessions. Got {', '.join(sessions)}; there are: {_shortened(there) or 'none'}"
        )
    return sorted(chosen, key=_natural_pair)


def _natural_pair(pair: tuple[str, str | None]) -> list[list[tuple[int, int, str]]]:
    return [_natural(pair[0]), _natural(pair[1] or "")]


def _shortened(names: list[str]) -> str:
    """At most 20 names."""
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def _list_sessions(roots: Iterable[Path], asked: Collection[str]) -> dict[str, set[str | None]]:
    """Subject -> its sessions; empty for a subject without, and for those not asked for, whose folders stay closed."""
    found: dict[str, set[str | None]] = {}
    for root in roots:
        for subject in _labels(root, "sub-"):
            sessions = found.setdefault(subject, set())
            if not asked or subject in asked:
                sessions.update(_labels(root / f"sub-{subject}", "ses-"))
    return found


def _labels(folder: Path, prefix: str) -> list[str]:
    with os.scandir(folder) as entries:
        names = [e.name.removeprefix(prefix) for e in entries if e.name.startswith(prefix) and e.is_dir()]
    return [name for name in names if re.fullmatch(r"[A-Za-z0-9+]+", name)]


def read_session(settings: RunSettings, subject: str, session: str | None, scalars: tuple[str, ...]) -> SessionInputs:
    """Bundles, scalar maps and transforms of one session, joined on session, run, acquisition and space.

    Raises
    ------
    NothingSelectedError
        No scalar map is selected.
    DatasetError
        Files can be joined in several ways, or in none.

    """
    filters = _filters(settings)
    files = [
        file
        for name, root in discover_derivatives(settings)
        for file in _index(
            Path(os.path.abspath(root)), name, label(subject, "subject label"), settings.bids_database_dir
        )
    ]
    notes: list[str] = []
    bundles = _bundles(_select(files, filters.get("bundle")), notes)
    maps = [_scalar(file) for file in _select(files, filters.get("scalar")) if _is_scalar(file)]
    transforms = _transforms(_select(files, filters.get("xfm")), session)
    if not bundles:
        hidden = len(_bundles(files, [])) if filters.get("bundle") else 0
        notes.append(
            f"--bids-filter-file leaves none of the {hidden} bundles of this subject: {json.dumps(filters['bundle'])}"
            if hidden
            else "There is no bundle of this subject in any data set"
        )
    chosen, kept, space, more = join(bundles, maps, session, scalars)
    kept = tuple(replace(s, units=_units(s.path)) for s in kept)
    return SessionInputs(subject, session, space, chosen, kept, transforms, (*notes, *more))


def find_bundles(root: Path, name: str, subject: str) -> list[BundleFile]:
    """Every bundle of a subject in one data set, of all sessions and spaces."""
    return _bundles(_index(Path(os.path.abspath(root)), name, label(subject, "subject label"), None), [])


@lru_cache(maxsize=64)
def _index(root: Path, name: str, subject: str, database: Path | None) -> tuple[_File, ...]:
    """All files of a subject in a data set, with their entities."""
    folder = root / f"sub-{subject}"
    if not folder.is_dir():
        return ()
    require_description(root)
    refuse_folders(folder, (*TRACTOGRAM_EXTENSIONS, ".nii", ".nii.gz"))
    from bids import BIDSLayout
    from bids.layout import BIDSLayoutIndexer

    others = re.compile(rf"sub-(?!{re.escape(subject)}(\b|_))")
    ignore = [others, re.compile(r"/(\.|figures/|log/|logs/|code/|sourcedata/)"), *circles(folder)]
    stored = None if database is None else Path(database) / f"{plain(name)}_sub-{subject}"
    # The subject's folder stands for the data set: with the whole as root, 2,000 other folders are looked at each time.
    layout = BIDSLayout(
        folder,
        validate=False,
        is_derivative=True,
        config=["bids", "derivatives", _EXTRA],
        database_path=stored,
        indexer=BIDSLayoutIndexer(validate=False, index_metadata=False, ignore=ignore),
    )
    files = []
    for path, file in layout.get_files().items():
        entities = {key: str(value) for key, value in file.get_entities(metadata=False).items()}
        if entities.get("subject") == subject:
            files.append(_File(Path(path), entities, name))
    return tuple(sorted(files, key=lambda f: f.path.as_posix()))


def forget_index() -> None:
    """Index anew from now on: files may have changed since this process last looked."""
    _index.cache_clear()


def _filters(settings: RunSettings) -> dict[str, dict[str, Any]]:
    """Content of --bids-filter-file, its entities under their long names."""
    kinds = ("bundle", "scalar", "xfm")
    out: dict[str, dict[str, Any]] = {}
    for kind, wanted in settings.filters.items():
        if kind not in kinds or not isinstance(wanted, dict):
            raise UsageError(f"--bids-filter-file must hold an object for each of {', '.join(kinds)}. Got {kind!r}")
        out[kind] = {ENTITIES.get(str(key), str(key)): value for key, value in wanted.items()}
    return out


def _select(files: Iterable[_File], wanted: Mapping[str, Any] | None) -> list[_File]:
    """Files that match a filter: null = entity absent, "*" = any value, a list = one of them."""
    if not wanted:
        return list(files)
    return [f for f in files if all(_matches(_entity(f, key), value) for key, value in wanted.items())]


def _entity(file: _File, key: str) -> str | None:
    return file.dataset if key == "dataset" else file.entities.get(key)


def _matches(got: str | None, wanted: Any) -> bool:
    if wanted is None:
        return got is None
    if wanted == "*":
        return True
    return got in [str(x) for x in (wanted if isinstance(wanted, list) else [wanted])]


def _bundles(files: Iterable[_File], notes: list[str]) -> list[BundleFile]:
    """Every bundle of the subject, of all sessions and spaces."""
    found: list[BundleFile] = []
    pairs: dict[tuple[str, Path], dict[str, _File]] = {}
    for file in files:
        if file.entities.get("extension") not in TRACTOGRAM_EXTENSIONS:
            continue
        parts = file.path.parts
        if "rec_bundles" in parts or "org_bundles" in parts:
            kind = "rec" if "rec_bundles" in parts else "org"
            folder = Path(*parts[: parts.index(f"{kind}_bundles")])
            pairs.setdefault((_reco_name(file), folder), {})[kind] = file
            continue
        name = bundle_name(file.entities, file.entities.get("suffix", ""))
        if name is not None:
            found.append(_bundle(file, name, None))
        elif file.entities.get("suffix") in BUNDLE_SUFFIXES and file.path.suffix == ".trx":
            found += [_bundle(file, group, group) for group in _groups(file.path)]
    for (name, _), pair in sorted(pairs.items(), key=lambda item: (item[0][0], item[0][1].as_posix())):
        if len(pair) == 2:
            found.append(_bundle(pair["rec"], name, None, pair["org"].path))
        else:
            ((kind, file),) = pair.items()
            notes.append(f"{file.path.name} of {file.dataset} has no partner beside {kind}_bundles; it was left out")
    return found


def _bundle(file: _File, name: str, group: str | None, org_path: Path | None = None) -> BundleFile:
    return BundleFile(canonical(name), name, file.path, group, org_path, file.entities, file.dataset)


def _reco_name(file: _File) -> str:
    """Bundle in the name of a RecoBundles file, such as moved_AF_L__recognized.trk."""
    stem = file.path.name.removesuffix(file.entities["extension"])
    named = bundle_name(file.entities, "tractogram")
    if named:
        return named
    noise = {"moved", "streamlines", "tractogram", "recognized", "orig", "labels", "transf", "rec", "org", "bundle"}
    tokens = [t for t in stem.split("_") if t and t not in noise and not re.match(r"(sub|ses)-", t)]
    for start in range(len(tokens)):
        if is_known("_".join(tokens[start:])):
            return "_".join(tokens[start:])
    return "_".join(tokens) or stem


def _groups(path: Path) -> list[str]:
    """Names of a TRX file's groups, from the archive's directory alone."""
    if path.is_dir():
        return sorted(_named(p.name for p in (path / "groups").glob("*")))
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return []  # reading it would say what is wrong; a whole-brain file need not be readable
    return sorted(_named(n.removeprefix("groups/") for n in names if n.startswith("groups/") and not n.endswith("/")))


def _named(members: Iterable[str]) -> list[str]:
    """Groups (<name>.<type>) whose names can be a bundle's; never part of a path."""
    names = (member.rpartition(".")[0] for member in members)
    return [name for name in names if re.search(r"[A-Za-z0-9]", name)]


def _is_scalar(file: _File) -> bool:
    """NIfTI under the draft's name (suffix dwimap), or under the names used before it."""
    entities = file.entities
    if entities.get("extension") not in (".nii", ".nii.gz"):
        return False
    suffix = entities.get("suffix", "")
    if suffix == "dwimap":
        return bool(entities.get("param") or entities.get("desc"))
    named = (entities.get("param") or entities.get("desc") or suffix).lower()
    return named in _PARAMETERS and (
        suffix in ("dwi", "dwiref") or suffix.lower() in _PARAMETERS or "model" in entities
    )


def _scalar(file: _File) -> ScalarFile:
    """Scalar map with its column's name."""
    entities = dict(file.entities)
    if not entities.get("param") and not entities.get("desc"):
        entities["param"] = entities["suffix"]
    name = scalar_name(entities)
    model, param = name.split("_", 1)
    return ScalarFile(name, model, param, file.path, entities.get("space"), file.dataset, "", entities)


def _units(path: Path) -> str:
    """`Units` of the sidecar beside a map; empty if it says none."""
    sidecar = path.with_name(path.name.split(".")[0] + ".json")
    try:
        content = json.loads(sidecar.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return ""
    return str(content.get("Units", "")) if isinstance(content, dict) else ""


def _transforms(files: Iterable[_File], session: str | None) -> tuple[TransformFile, ...]:
    """Transforms that can take native points to MNI; those that need no inversion first."""
    found: list[tuple[tuple[bool, bool, str], TransformFile]] = []
    for file in files:
        e = file.entities
        if e.get("suffix") != "xfm" or e.get("extension") not in (".txt", ".mat", ".h5") or e.get("mode") != "image":
            continue
        if e.get("session") not in (None, session):
            continue
        source, target = e.get("from", ""), e.get("to", "")
        if source.startswith("MNI") == target.startswith("MNI"):
            continue
        # Points move against the images' direction: from-MNI_to-ACPC takes ACPC points to MNI as it stands.
        invert = target.startswith("MNI")
        native = source if invert else target
        if native not in ("ACPC", "T1w", "anat"):
            continue
        rank = (invert, e.get("session") != session, file.path.as_posix())
        found.append((rank, TransformFile(file.path, source, target, invert)))
    return tuple(item for _, item in sorted(found, key=lambda pair: pair[0]))
