"""Termination patterns: which pairs of regions the streamlines through a place connect, in everybody.

Per session: the labelling, the tractogram it is of, the streamlines that pass a place, and how many of them have each
label. Pairs are those of region numbers, the same atlas in everybody.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectra_bids.bundle import Bundle
from spectra_bids.errors import DatasetError, InputDataError, MissingInputError, NothingSelectedError, listed
from spectra_bids.geometry.voxels import index_mask, passing, sphere_mask
from spectra_bids.io.track_labels import Labeling, read_labeling
from spectra_bids.io.tractograms import read_bundle, split_group
from spectra_bids.io.volumes import read_volume
from spectra_bids.ltpa.settings import LtpaSettings, Place

_ENTITIES = re.compile(r"(?:^|_)([a-z]+)-([A-Za-z0-9+]+)")
_SUFFIX = "_tracklabels.npz"


@dataclass(frozen=True)
class LabelledSession:
    """One labelling file of one session."""

    subject: str
    session: str | None
    space: str
    labeling: str
    path: Path


@dataclass(frozen=True, eq=False)
class Grid:
    """Voxels that a place is made of."""

    mask: NDArray[np.bool_]
    affine: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Patterns:
    """Distributions of everybody over pairs of regions, at V places.

    Parameters
    ----------
    sessions : DataFrame
        participant_id, session_id, n_streamlines, unlabelled_share.
    pairs : (K, 2) int64
    names : tuple of (name, name), K
    places : (V,) int64
        Flat voxel numbers; one place without a search.
    counts : sequence of n sparse (V, K)
    through : (n, V) int64
        Streamlines through each place, labelled or not.
    labeling : str
    space : str
        BIDS label; empty if names say none.

    """

    sessions: pd.DataFrame
    pairs: NDArray[np.int64]
    names: tuple[tuple[str, str], ...]
    places: NDArray[np.int64]
    counts: tuple[Any, ...]
    through: NDArray[np.int64]
    labeling: str
    space: str


def find_sessions(settings: LtpaSettings) -> tuple[LabelledSession, ...]:
    """Sessions that have the labelling.

    Raises
    ------
    MissingInputError
        There is no labelling in the data set.
    NothingSelectedError
        None of that name; the message lists those there are.
    DatasetError
        The name means several, or the tractograms lie in no common space.

    """
    root = settings.derivative
    if not root.is_dir():
        raise MissingInputError(f"There is no folder {root}")
    files = [_session(path) for path in sorted(root.glob(f"sub-*/**/*{_SUFFIX}"))]
    if not files:
        raise MissingInputError(
            f"There is no labelling (sub-*/**/*{_SUFFIX}) in {root}",
            "'spectra-bids label TRK DSEG' or 'spectra-bids import-dsi2' makes them",
        )
    there = sorted({f.labeling for f in files})
    wanted = settings.labeling
    chosen = [wanted] if wanted in there else [name for name in there if name.startswith(f"{wanted}_")]
    if not chosen:
        raise NothingSelectedError(f"--labeling {wanted}: {root} has none of that name", f"There are: {listed(there)}")
    if len(chosen) > 1:
        raise DatasetError(f"--labeling {wanted} means several: {listed(chosen)}", "Give the whole name")
    found = tuple(f for f in files if f.labeling == chosen[0])
    _require_one_each(found)
    spaces = sorted({f.space for f in found})
    agree = len(spaces) == 1 or all(space.startswith("MNI152") for space in spaces)
    if not settings.any_space and (not agree or not spaces[0]):
        raise DatasetError(
            "a place is the same place in everybody only in a common space. The labellings lie in "
            + (listed(s or "no space that their names say" for s in spaces)),
            "Bring the tractograms to one space; or, if they are in one, --any-space",
        )
    return found


def _session(path: Path) -> LabelledSession:
    entities = dict(_ENTITIES.findall(path.name[: -len(_SUFFIX)]))
    parts = [entities.get("seg", "")] + [f"{key}-{entities[key]}" for key in ("scale", "desc") if key in entities]
    session = f"ses-{entities['ses']}" if "ses" in entities else None
    subject = entities.get("sub", path.relative_to(path.parents[1]).parts[0].removeprefix("sub-"))
    return LabelledSession(f"sub-{subject}", session, entities.get("space", ""), "_".join(parts), path)


def _require_one_each(found: Sequence[LabelledSession]) -> None:
    seen: dict[tuple[str, str | None], Path] = {}
    for item in found:
        other = seen.setdefault((item.subject, item.session), item.path)
        if other != item.path:
            raise DatasetError(
                f"{item.subject} has the labelling twice: {other} and {item.path}",
                "Keep one of them, or label one tractogram of all bundles, which 'spectra-bids merge' makes",
            )


def place_grid(settings: LtpaSettings, first: LabelledSession) -> Grid:
    """Voxels of the place, on one grid for everybody.

    Raises
    ------
    MissingInputError
        There is no image to say what the voxels are.
    InputDataError
        No voxel of the image is in the place.

    """
    place = settings.place
    image = place.mask or place.every_voxel_of
    if image is not None:
        volume = read_volume(image)
        mask = np.nan_to_num(volume.data) != 0
    else:
        volume = read_volume(settings.reference or _label_volume(first))
        mask = _mask_of(place, volume.affine, (volume.data.shape[0], volume.data.shape[1], volume.data.shape[2]))
    if not mask.any():
        raise InputDataError(f"The {place.words} holds no voxel of the image {mask.shape}", "Coordinates are mm RAS+")
    return Grid(mask, volume.affine)


def _label_volume(first: LabelledSession) -> Path:
    name = Path(read_labeling(first.path).volume).name
    path = first.path.parent / name
    if not name or not path.is_file():
        raise MissingInputError(
            f"Voxels of which image? {first.path.parent} has no {name or 'label volume'}", "Give --ref NII"
        )
    return path


def _mask_of(place: Place, affine: NDArray[np.float64], shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    if place.sphere is not None:
        return sphere_mask(np.array(place.sphere[:3]), place.sphere[3], affine, shape)
    assert place.voxel is not None
    mask = np.zeros(shape, bool)
    if not all(0 <= i < n for i, n in zip(place.voxel, shape, strict=True)):
        raise InputDataError(f"--voxel {place.voxel} lies outside of the image of shape {shape}", "Count from 0")
    mask[place.voxel] = True
    return mask


def read_patterns(found: Sequence[LabelledSession], grid: Grid, search: bool) -> Patterns:
    """Counts of everybody; `search` makes every voxel of the grid's mask a place of its own."""
    from scipy.sparse import csr_array

    places = np.flatnonzero(grid.mask.ravel()) if search else np.zeros(1, np.int64)
    parts, through, rows = [], [], []
    names: dict[int, str] = {}
    for item in found:  # one tractogram in memory at a time
        labeling, bundle = _tractogram(item)
        _require_same_names(names, labeling, item)
        visits = _visits(bundle, grid, places, search)
        through.append(np.diff(visits.indptr))
        parts.append((labeling.pairs.pairs, visits @ _one_hot(labeling)))
        rows.append(
            {
                "participant_id": item.subject,
                "session_id": item.session,
                "n_streamlines": bundle.n_streamlines,
                "unlabelled_share": labeling.pairs.unlabelled_share,
            }
        )
    pairs = np.unique(np.concatenate([p for p, _ in parts]), axis=0)
    where = {tuple(pair): k for k, pair in enumerate(pairs.tolist())}
    counts = []
    for own, table in parts:
        coo = table.tocoo()
        column = np.array([where[tuple(pair)] for pair in own.tolist()], np.int64)
        counts.append(csr_array((coo.data, (coo.row, column[coo.col])), shape=(len(places), len(pairs))))
    named = tuple((names[a], names[b]) for a, b in pairs.tolist())
    one = found[0]
    table = pd.DataFrame(rows)
    return Patterns(table, pairs, named, places, tuple(counts), np.array(through), one.labeling, one.space)


def _tractogram(item: LabelledSession) -> tuple[Labeling, Bundle]:
    labeling = read_labeling(item.path)
    path = item.path.parent / Path(labeling.tractogram).name
    if not labeling.tractogram or not split_group(path)[0].exists():
        raise MissingInputError(
            f"{item.path} labels {labeling.tractogram or 'no named tractogram'}, which is not beside it"
        )
    bundle = read_bundle(path)
    if bundle.n_streamlines != len(labeling.pairs.labels):
        raise InputDataError(
            f"{item.path} labels {len(labeling.pairs.labels)} streamlines, {path.name} has {bundle.n_streamlines}",
            "Label the tractogram again",
        )
    return labeling, bundle


def _require_same_names(names: dict[int, str], labeling: Labeling, item: LabelledSession) -> None:
    """One number is one region in everybody."""
    for region, name in zip(labeling.regions.tolist(), labeling.names, strict=True):
        other = names.setdefault(region, name)
        if other != name:
            raise InputDataError(
                f"{item.path}: region {region} is {name!r}, in others {other!r}: the label volumes differ",
                "Label everybody with one atlas and one table of names",
            )


def _visits(bundle: Bundle, grid: Grid, places: NDArray[np.int64], search: bool) -> Any:
    """Which streamlines pass which place, sparse (V, S)."""
    from scipy.sparse import csr_array

    if not search:
        ids = passing(bundle, grid.mask, grid.affine)
        return csr_array((np.ones(len(ids), np.int64), ids, [0, len(ids)]), shape=(1, bundle.n_streamlines))
    index = index_mask(bundle, grid.mask, grid.affine)
    rows = np.searchsorted(places, index.voxels)
    counts = np.zeros(len(places), np.int64)
    counts[rows] = np.diff(index.offsets)
    pointers = np.concatenate([[0], np.cumsum(counts)])
    ones = np.ones(len(index.streamlines), np.int64)
    return csr_array((ones, index.streamlines, pointers), shape=(len(places), bundle.n_streamlines))


def _one_hot(labeling: Labeling) -> Any:
    """Streamlines by pairs, sparse (S, K)."""
    from scipy.sparse import csr_array

    labels = labeling.pairs.labels
    rows = np.flatnonzero(labels)
    ones = np.ones(len(rows), np.int64)
    return csr_array((ones, (rows, labels[rows] - 1)), shape=(len(labels), len(labeling.pairs.pairs)))


@dataclass(frozen=True, eq=False)
class Cells:
    """What is tested: C cells, each a pair at a place.

    Parameters
    ----------
    values : (n, C) float64
        Share or count; NaN in sessions with too few streamlines there.
    counts : (n, C) int64
    place : (C,) int64
        Position in `Patterns.places`, rising.
    pair : (C,) int64
        Position in `Patterns.pairs`; -1 = all pairs that are too rare, together.
    labelled : (n, V) int64
        Labelled streamlines through each place.

    """

    values: NDArray[np.float64]
    counts: NDArray[np.int64]
    place: NDArray[np.int64]
    pair: NDArray[np.int64]
    labelled: NDArray[np.int64]


def make_cells(patterns: Patterns, keep: NDArray[np.int64], settings: LtpaSettings) -> Cells:
    """Cells of the sessions `keep`; which pairs are tested depends on everybody's mean share, not on who is who."""
    from scipy.sparse import csr_array

    counts: list[csr_array] = [patterns.counts[i] for i in keep]
    labelled = np.stack([np.asarray(c.sum(axis=1)).ravel() for c in counts])
    enough = labelled >= settings.min_streamlines
    weight = np.where(enough, 1 / np.maximum(labelled, 1), 0.0)
    n_there = enough.sum(axis=0)
    total = csr_array(counts[0].shape, dtype=np.float64)
    for row, table in zip(weight, counts, strict=True):
        total = total + csr_array(table.multiply(row[:, None]))
    mean = total.multiply((1 / np.maximum(n_there, 1))[:, None]).tocsr()
    mean.sort_indices()
    coo = mean.tocoo()
    common = (coo.data >= settings.min_share) & (coo.data > 0)
    place, pair = coo.row[common].astype(np.int64), coo.col[common].astype(np.int64)
    rare = np.unique(coo.row[(coo.data > 0) & ~common]).astype(np.int64)
    order = np.lexsort([np.r_[pair, np.full(len(rare), np.iinfo(np.int64).max)], np.r_[place, rare]])
    place = np.r_[place, rare][order]
    pair = np.r_[pair, np.full(len(rare), -1)][order]
    found = np.zeros((len(keep), len(place)), np.int64)
    named = pair >= 0
    for i, table in enumerate(counts):
        if named.any():
            found[i, named] = np.asarray(table[place[named], pair[named]]).ravel()
        inside = np.bincount(place[named], found[i, named], table.shape[0])
        found[i, ~named] = labelled[i, place[~named]] - inside[place[~named]]
    seen = enough[:, place]
    with np.errstate(invalid="ignore"):
        values = found / np.maximum(labelled[:, place], 1) if settings.measure == "share" else found.astype(np.float64)
    return Cells(np.where(seen, values, np.nan), found, place, pair, labelled)


def pair_name(patterns: Patterns, pair: int) -> str:
    """Names of a pair's regions."""
    return "other" if pair < 0 else " - ".join(patterns.names[pair])


def region_numbers(patterns: Patterns, pair: int) -> Mapping[str, object]:
    """Numbers and names of a pair, as columns."""
    if pair < 0:
        return {"region_a": None, "region_b": None, "pair": "other"}
    a, b = patterns.pairs[pair].tolist()
    return {"region_a": a, "region_b": b, "pair": pair_name(patterns, pair)}
