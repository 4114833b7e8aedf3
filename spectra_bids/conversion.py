"""Tractograms from one format to another, and many into one.

Coordinates are mm RAS+ on both sides; a reference image changes no coordinate. What a format cannot hold is named in a
warning. Groups stand in .trx alone: merging makes one of each source.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Bundle
from spectra_bids.dataset.names import bundle_name
from spectra_bids.dataset.outputs import writing
from spectra_bids.errors import InputDataError, MissingInputError, NothingSelectedError, OutputError, listed
from spectra_bids.io.contents import Numbers, Tractogram, VoxelGrid, read_tractogram
from spectra_bids.io.tractograms import EXTENSIONS, kind_of
from spectra_bids.io.volumes import read_grid
from spectra_bids.io.writing import check_writable, losses, without_losses, write_tractogram

log = logging.getLogger("spectra_bids")


def convert(source: Path, target: Path, *, reference: Path | None = None, overwrite: bool = False) -> Tractogram:
    """Write the streamlines of one file in the format of another; returns what was written.

    Parameters
    ----------
    source : Path
        .trk .tck .trx .trk.gz .tck.gz .tt.gz; `bundles.trx:AF_L` is one group of a .trx.
    target : Path
        The same formats.
    reference : Path, optional
        Image of the streamlines' space: for a target other than .tck if the source does not say it, and for sources
        that cannot be placed without it.
    overwrite : bool
        Replace a target that is there.

    Raises
    ------
    SpectraError
        The source cannot be read, the target is there or cannot be written, or a reference is needed.

    """
    source, target = Path(source), Path(target)
    _check_target(target, overwrite)
    grid = None if reference is None else VoxelGrid(*read_grid(Path(reference)))
    content = read_tractogram(source, None if grid is None else grid.volume)
    return _write(target, replace(content, grid=grid or content.grid))


def merge(
    folder: Path,
    target: Path,
    *,
    pattern: str = "*",
    exclude: Sequence[str] = (),
    reference: Path | None = None,
    overwrite: bool = False,
) -> dict[str, int]:
    """Write the streamlines of all tractograms in a folder, and in those below it, to one file.

    Parameters
    ----------
    folder : Path
        Folder of the sources; they are taken in the order of their names.
    target : Path
        File to write, in any format; a .trx keeps each source as a group, and the sources' own groups.
    pattern : str
        Take the files with such a name or path below the folder; `*` and `?` as in a shell.
    exclude : sequence of str
        Leave out files whose path below the folder holds one of these, or matches it; upper and lower case are one.
    reference, overwrite
        As for `convert`.

    Returns
    -------
    mapping of str to int
        Source, as its group is named -> number of its streamlines.

    Raises
    ------
    SpectraError
        No file is left, one cannot be read, or what `convert` raises.

    """
    folder, target = Path(folder), Path(target)
    _check_target(target, overwrite)
    paths = _sources(folder, target, pattern, exclude)
    grid = None if reference is None else VoxelGrid(*read_grid(Path(reference)))
    parts = [read_tractogram(path, None if grid is None else grid.volume) for path in paths]
    names = _group_names([path.relative_to(folder) for path in paths])
    joined = _joined(names, parts)
    if kind_of(target) != ".trx":  # of groups that cannot be kept only the sources' own are worth a word
        joined = replace(joined, groups={name: rows for name, rows in joined.groups.items() if name not in names})
    _write(target, replace(joined, grid=grid or _common_grid(paths, parts)))
    return {name: part.bundle.n_streamlines for name, part in zip(names, parts, strict=True)}


def _check_target(target: Path, overwrite: bool) -> None:
    """OutputError if the target is there already or its name says no format."""
    kind_of(target)
    if target.exists() and not overwrite:
        raise OutputError(f"{target} is there already", "Choose another name, or replace it with --force")
    if target.is_dir():
        raise OutputError(f"{target} is a folder, expected the name of a file", "Choose another name")


def _write(target: Path, content: Tractogram) -> Tractogram:
    check_writable(target, content.grid)
    lost = losses(target, content)
    if lost:
        log.warning("%s does not hold %s: lost", target, "; ".join(lost))
    if kind_of(target) == ".tt" and content.grid is not None:
        size = float(np.linalg.norm(content.grid.affine[:3, :3], axis=0).max())
        log.warning("%s: DSI Studio keeps coordinates in 1/32 voxel: rounded by up to %.2g mm along an axis",
                    target, size / 64)  # fmt: skip
    kept = without_losses(target, content)
    with writing(target) as file:
        write_tractogram(file, target, kept)
    return kept


def _sources(folder: Path, target: Path, pattern: str, exclude: Sequence[str]) -> list[Path]:
    """Tractograms in a folder that are asked for."""
    if not folder.is_dir():
        raise MissingInputError(f"There is no folder {folder}")
    there = [p for p in sorted(folder.rglob("*")) if p.name.lower().endswith(EXTENSIONS) and not p.name.startswith(".")]
    within = [p for p in there if not any(up in there for up in p.parents) and p.resolve() != target.resolve()]
    chosen = [p for p in within if _matches(p.relative_to(folder), pattern, folded=False)]
    left = [p for p in chosen if not any(_matches(p.relative_to(folder), e, folded=True) for e in exclude)]
    if not left:
        raise NothingSelectedError(
            f"No tractogram of {folder} is left: {len(within)} are there ({', '.join(EXTENSIONS)}), "
            f"{len(chosen)} of them match --pattern {pattern!r}, and --exclude takes the rest"
        )
    return left


def _matches(path: Path, pattern: str, *, folded: bool) -> bool:
    """Whether a path, or its last part, matches; `folded`: also if it holds the pattern, in any case."""
    text = path.as_posix()
    if folded:
        text, pattern = text.lower(), pattern.lower()
        if pattern in text:
            return True
    return fnmatch(text, pattern) or fnmatch(text.rpartition("/")[2], pattern)


def _group_names(paths: Sequence[Path]) -> list[str]:
    """A name per source: its bundle if BIDS names one, else the file's; with its folders where two are alike."""
    short = [_name(path) for path in paths]
    stems = [_stem(path) for path in paths]
    full = ["_".join((*path.parent.parts, stem)) for path, stem in zip(paths, stems, strict=True)]
    names = [s if short.count(s) == 1 else f for s, f in zip(short, full, strict=True)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:  # one bundle in two formats: nobody wants it twice
        raise InputDataError(
            f"Two sources have the same name but for their format: {listed(twice)}", "Leave one out with --exclude"
        )
    return names


def _stem(path: Path) -> str:
    end = next(e for e in EXTENSIONS if path.name.lower().endswith(e))
    return path.name[: -len(end)]


def _name(path: Path) -> str:
    stem = _stem(path)
    entities = dict(part.split("-", 1) for part in stem.split("_") if "-" in part)
    return bundle_name(entities, stem.rsplit("_", 1)[-1]) or stem


def _joined(names: Sequence[str], parts: Sequence[Tractogram]) -> Tractogram:
    """All streamlines behind each other, each source a group; numbers that all sources have."""
    first_line = np.concatenate([[0], np.cumsum([part.bundle.n_streamlines for part in parts])])
    first_point = np.concatenate([[0], np.cumsum([len(part.bundle.points) for part in parts])])
    offsets = [part.bundle.offsets[1:] + start for part, start in zip(parts, first_point[:-1], strict=True)]
    points = np.concatenate([part.bundle.points for part in parts])
    groups: dict[str, NDArray[np.int64]] = {
        name: np.arange(low, high) for name, low, high in zip(names, first_line[:-1], first_line[1:], strict=True)
    }
    inner = [group for part in parts for group in part.groups]
    for name, part, start in zip(names, parts, first_line[:-1], strict=True):
        for group, rows in part.groups.items():
            alone = inner.count(group) == 1 and group not in groups
            groups[group if alone else f"{name}_{group}"] = rows + start
    return Tractogram(
        Bundle(points, np.concatenate([[0], *offsets]).astype(np.int64)),
        groups=groups,
        per_streamline=_shared("streamline", [part.per_streamline for part in parts]),
        per_point=_shared("point", [part.per_point for part in parts]),
    )


def _shared(what: str, several: Sequence[Numbers]) -> dict[str, NDArray[np.generic]]:
    """Numbers that every source has with the same columns, behind each other; the others are named in a warning."""
    out = {}
    for name in several[0]:
        if all(name in each and each[name].shape[1:] == several[0][name].shape[1:] for each in several):
            out[name] = np.concatenate([each[name] for each in several])
    lost = sorted({name for each in several for name in each} - set(out))
    if lost:
        log.warning("numbers per %s that not all sources have: lost: %s", what, ", ".join(lost))
    return out


def _common_grid(paths: Sequence[Path], parts: Sequence[Tractogram]) -> VoxelGrid | None:
    """The sources' voxel grid; the first one's, with a warning, if they differ."""
    known = [(path, part.grid) for path, part in zip(paths, parts, strict=True) if part.grid is not None]
    if not known:
        return None
    first, grid = known[0]
    other = next((path for path, each in known if not grid.agrees(each)), None)
    if other is not None:
        log.warning(
            "%s and %s name different images in their headers: are they in one space? The image of the first is kept; "
            "--reference names another",
            first, other,
        )  # fmt: skip
    return grid
