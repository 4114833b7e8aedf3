"""A study atlas from bundles that share a space: `spectra-bids atlas build DERIVATIVES OUT`.

    OUT/<Bundle>.trk      up to --streamlines streamlines, evenly from every subject
    OUT/atlas.json        Name, Space, License, Description, Sources, and per bundle the numbers of `PooledBundle`

Spurious streamlines are dropped before drawing: those whose flip-invariant distance (MDF, mean distance of
corresponding points, 20 per streamline) to the pooled bundle's mean curve exceeds median + 4 x 1.4826 MAD of these
distances. One rule finds both stray and broken-off streamlines, and it does not depend on a length in mm.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Bundle, Volume
from spectra_bids.dataset import inputs
from spectra_bids.dataset.inputs import BundleFile
from spectra_bids.dataset.joining import space_class
from spectra_bids.dataset.names import plain
from spectra_bids.dataset.outputs import write_json
from spectra_bids.errors import AtlasError, NothingSelectedError, OutputError, UsageError
from spectra_bids.geometry.centroid import flip_invariant_mean, resample_evenly
from spectra_bids.io.tractograms import read_bundle, write_bundle
from spectra_bids.settings import RunSettings

_POINTS_PER_STREAMLINE = 20
_MADS = 4.0
#: Labels of spaces that several people can share: BIDS' standard templates of the brain's volume.
_TEMPLATES = ("MNI", "ICBM", "OASIS30", "NKI", "PNC", "UNCInfant", "UKB", "Talairach", "template", "study")


@dataclass(frozen=True)
class PooledBundle:
    """How one atlas bundle came about: subjects, streamlines kept, spurious streamlines dropped."""

    subjects: int
    streamlines: int
    dropped: int


def build_atlas(
    derivatives: Path,
    out: Path,
    streamlines: int = 2000,
    space: str | None = None,
    name: str | None = None,
    random_seed: int = 0,
    license_name: str | None = None,
) -> dict[str, PooledBundle]:
    """Pool the subjects' bundles of a derivative data set into an atlas directory.

    Parameters
    ----------
    derivatives : Path
        Data set with bundles under any of the names that the participant level understands.
    out : Path
        Folder to make.
    streamlines : int
        Streamlines per bundle, at most.
    space : str, optional
        Which space, where files are of several or do not say one. It is taken at its word.
    name, license_name : str, optional
        For atlas.json; by default the folder's name, and what the data set's description says.
    random_seed : int
        Draws the streamlines; equal seeds give equal bytes.

    Returns
    -------
    dict of str to PooledBundle
        By atlas bundle.

    Raises
    ------
    NothingSelectedError
        There are no bundles.
    AtlasError
        The bundles do not share a space.
    OutputError
        `out` holds something.

    """
    if streamlines < 1:
        raise UsageError(f"--streamlines must be at least 1. Got {streamlines}")
    if out.is_dir() and any(out.iterdir()):
        raise OutputError(f"An atlas is written into a new folder. Got {out}, which holds something", "Name another.")
    settings = RunSettings(
        bids_dir=derivatives, output_dir=out, derivatives=((derivatives.resolve().name, derivatives),)
    )
    roots = inputs.discover_derivatives(settings)
    files = _find_bundles(roots, [subject for subject, _ in inputs.find_sessions(settings)])
    if not files:
        raise NothingSelectedError(
            f"There are no bundles in {derivatives}: expected streamline files with a name in tract-, bundle- or desc-"
        )
    chosen_space, files = choose_space(files, space or "")
    rng = np.random.default_rng(random_seed)
    bundles: dict[str, Bundle] = {}
    summary: dict[str, PooledBundle] = {}
    for label, by_subject in _by_bundle(files).items():
        enough = _enough(streamlines, len(by_subject))
        read = [
            _draw(concatenate([read_bundle(f.path, group=f.group) for f in group]), enough, rng)
            for group in by_subject.values()
        ]
        pooled, dropped = pool(read, streamlines, rng)
        if pooled.n_streamlines:
            bundles[label] = pooled
            summary[label] = PooledBundle(sum(b.n_streamlines > 0 for b in read), pooled.n_streamlines, dropped)
    if not bundles:
        raise AtlasError(f"The bundles in {derivatives} must hold streamlines. Got {len(files)} files without any")
    about = {
        "Name": name or out.resolve().name.removeprefix("atlas-"),
        "Space": chosen_space,
        "License": license_name or _license(path for _, path in roots),
        "Description": f"Study atlas; {_MADS:g} MAD outliers of the distance to the mean curve were dropped",
        "Sources": [_title(path) for _, path in roots],
        "RandomSeed": random_seed,
        "Bundles": {
            label: {"Subjects": p.subjects, "Streamlines": p.streamlines, "Dropped": p.dropped}
            for label, p in summary.items()
        },
    }
    write_atlas(out, bundles, about)
    return summary


def write_atlas(out: Path, bundles: Mapping[str, Bundle], about: Mapping[str, Any]) -> None:
    """Write an atlas directory: one .trk per bundle, and atlas.json with Name, Space, License and more in `about`."""
    out.mkdir(parents=True, exist_ok=True)
    frame = _frame(list(bundles.values()))
    for name, bundle in bundles.items():
        write_bundle(out / f"{name}.trk", bundle, frame)
    write_json(out / "atlas.json", dict(about))


def choose_space(files: Sequence[BundleFile], wanted: str) -> tuple[str, list[BundleFile]]:
    """Space of the atlas, and the files that are in it.

    Raises
    ------
    AtlasError
        Without `wanted`: the files' spaces differ, or are not one that people share. With it: no file is in it.

    """
    labels = Counter(_space(file) for file in files)
    if wanted:
        chosen = [f for f in files if space_class(_space(f)) == space_class(wanted)]
        chosen = chosen or [f for f in files if not _space(f)]
        if not chosen:
            raise AtlasError(f"--space must name the space of bundles. Got '{wanted}'; there are: {_show(labels)}")
        return wanted, chosen
    common, _ = max(sorted(labels.items()), key=lambda item: item[1])
    if len({space_class(label) for label in labels}) > 1:
        raise AtlasError(
            f"The bundles of an atlas must share one space. Got {_show(labels)}", "Choose one of them with --space."
        )
    if not common.startswith(_TEMPLATES):
        raise AtlasError(
            "The bundles of an atlas must be in a space that all subjects share, such as MNI152NLin2009cAsym. "
            f"Got {_show(labels)}",
            "Bring them to a template first. If they do share a space, give it a name with --space.",
        )
    return common, list(files)


def pool(bundles: Sequence[Bundle], n: int, rng: np.random.Generator) -> tuple[Bundle, int]:
    """At most `n` streamlines of several subjects' bundles, evenly from each, and how many were spurious.

    Parameters
    ----------
    bundles : sequence of Bundle
        The same bundle of each subject, one space.
    n : int
        Streamlines wanted.
    rng : Generator
        Draws the streamlines.

    """
    together = concatenate(bundles)
    owner = np.repeat(np.arange(len(bundles)), [b.n_streamlines for b in bundles])
    keep = ~spurious(together)
    quota = shares(np.bincount(owner[keep], minlength=len(bundles)), n)
    chosen = [
        rng.choice(np.flatnonzero(keep & (owner == k)), size=count, replace=False) for k, count in enumerate(quota)
    ]
    return together.take(np.sort(np.concatenate(chosen))), int((~keep).sum())


def spurious(bundle: Bundle) -> NDArray[np.bool_]:
    """Streamlines that do not belong: too far from the mean curve for this bundle, (S,) bool."""
    if bundle.n_streamlines < 3:
        return np.zeros(bundle.n_streamlines, dtype=bool)
    lines = resample_evenly(bundle, _POINTS_PER_STREAMLINE)
    mean = flip_invariant_mean(lines)
    forward = np.linalg.norm(lines - mean, axis=2).mean(axis=1)
    backward = np.linalg.norm(lines[:, ::-1] - mean, axis=2).mean(axis=1)
    distance = np.minimum(forward, backward)
    middle = np.median(distance)
    return np.asarray(distance > middle + _MADS * 1.4826 * np.median(np.abs(distance - middle)))


def shares(available: NDArray[np.integer], n: int) -> NDArray[np.int64]:
    """How many to take of each so that the sum is min(n, all) and the shares are as equal as possible, (K,)."""
    taken = np.zeros(len(available), dtype=np.int64)
    left = min(n, int(np.sum(available)))
    while left:
        unfilled = np.flatnonzero(taken < available)
        step = max(1, left // len(unfilled))
        before = taken.sum()
        # All that are unfilled have the same so far; a remainder goes to the first of them.
        taken[unfilled[:left]] = np.minimum(taken[unfilled[:left]] + step, np.asarray(available)[unfilled[:left]])
        left -= int(taken.sum() - before)
    return taken


def concatenate(bundles: Sequence[Bundle]) -> Bundle:
    """Streamlines of several bundles as one bundle."""
    counts = np.concatenate([bundle.counts for bundle in bundles])
    return Bundle(np.concatenate([b.points for b in bundles]), np.r_[0, np.cumsum(counts)].astype(np.int64))


def _find_bundles(roots: Iterable[tuple[str, Path]], subjects: Iterable[str]) -> list[BundleFile]:
    """Every bundle once: single files before the groups of a TRX that repeat them."""
    kept: dict[tuple[str | None, ...], BundleFile] = {}
    for subject in dict.fromkeys(subjects):
        found = [file for name, root in roots for file in inputs.find_bundles(root, name, subject)]
        for file in sorted(found, key=lambda f: (f.group is not None, f.path.as_posix(), f.group or "")):
            entities = [file.entities.get(key) for key in ("subject", "session", "acquisition", "run")]
            kept.setdefault((*entities, file.name, _space(file)), file)
    return list(kept.values())


def _by_bundle(files: Iterable[BundleFile]) -> dict[str, dict[str, list[BundleFile]]]:
    """Atlas bundle -> subject -> files; a bundle is named as most of its files name it."""
    groups: dict[str, list[BundleFile]] = {}
    for file in files:
        groups.setdefault(file.name, []).append(file)
    out: dict[str, dict[str, list[BundleFile]]] = {}
    for group in groups.values():
        spelled = Counter(plain(file.label) for file in group)
        label = max(sorted(spelled), key=lambda x: spelled[x])
        for file in group:
            out.setdefault(label, {}).setdefault(file.entities["subject"], []).append(file)
    return dict(sorted(out.items()))


def _space(file: BundleFile) -> str:
    """Label of the space that a file is in; empty if it says none (RASMM is a coordinate system)."""
    space = file.entities.get("space", "")
    return "" if space == "RASMM" else space


def _show(labels: Mapping[str, int]) -> str:
    return ", ".join(f"{label or 'no space in the name'} ({n} files)" for label, n in sorted(labels.items()))


def _described(root: Path) -> dict[str, Any]:
    try:
        content = json.loads((root / "dataset_description.json").read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return {}  # a data set without description still has bundles
    return content if isinstance(content, dict) else {}


def _title(root: Path) -> str:
    return str(_described(root).get("Name") or root.resolve().name)


def _license(roots: Iterable[Path]) -> str:
    named = sorted({str(_described(root)["License"]) for root in roots if _described(root).get("License")})
    return "; ".join(named) or "not stated by the source"


def _enough(n: int, n_subjects: int) -> int:
    """Streamlines to hold of each subject: four times its share, so that gaps of others can be filled."""
    return max(100, 4 * n // n_subjects)


def _draw(bundle: Bundle, n: int, rng: np.random.Generator) -> Bundle:
    """At most `n` streamlines of two points or more."""
    filled = np.flatnonzero(bundle.counts > 1)
    return bundle.take(np.sort(rng.choice(filled, size=min(n, len(filled)), replace=False)))


def _frame(bundles: Sequence[Bundle]) -> Volume:
    """1 mm grid around all points, for the header of .trk files; it holds no data."""
    points = np.concatenate([bundle.points for bundle in bundles])
    low, high = np.floor(points.min(axis=0)) - 1, np.ceil(points.max(axis=0)) + 1
    affine = np.eye(4)
    affine[:3, 3] = low
    return Volume(np.broadcast_to(np.float32(0), tuple((high - low + 1).astype(int))), affine)
