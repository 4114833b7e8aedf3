"""TRX: a zip archive (or a folder) of plain arrays: positions.3.<type>, offsets.<type>, groups/<name>.<type>.

Positions are mm RAS+. The member's name says its type and number of columns. Every length is checked against the
header, since readers that trust it return points of the wrong streamline.

References
----------
tee-ar-ex/trx-spec, version 1; trx-python (compared with it in the tests).

"""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Bundle
from spectra_bids.errors import MissingInputError, TractogramError
from spectra_bids.io.unpacking import bound


def read_trx(path: Path, group: str | None) -> Bundle:
    """Bundle, mm RAS+, of all streamlines of a TRX or of one group."""
    members = _members(path)
    header = _header(path, members)
    n_points, n_streamlines = int(header["NB_VERTICES"]), int(header["NB_STREAMLINES"])
    offsets = _array(path, members, "offsets", n_streamlines + 1)[:, 0].astype(np.int64)
    if offsets[0] != 0 or (np.diff(offsets) < 0).any() or offsets[-1] != n_points:
        raise TractogramError(
            f"Offsets of {path} must rise from 0 to the number of points, {n_points}. Got {offsets[0]} to {offsets[-1]}"
        )
    _check_data(path, members, n_streamlines, n_points)
    positions = _array(path, members, "positions", n_points)
    if positions.shape[1] != 3:
        raise TractogramError(f"Positions of {path} must have 3 columns. Got {positions.shape[1]}")
    bundle = Bundle(positions.astype(np.float32), offsets)
    if group is None:
        return bundle
    names = {_group(name): name for name in members if _folder(name) == "groups"}
    if group not in names:
        raise TractogramError(f"{path} has no group {group!r}. There are: {', '.join(sorted(names)) or 'none'}")
    return bundle.take(_index(path, members, names[group], n_streamlines))


def _index(path: Path, members: dict[str, int], member: str, n_streamlines: int) -> NDArray[np.int64]:
    """Streamlines of a group."""
    index = _array(path, members, member)[:, 0].astype(np.int64)
    if len(index) and (index.min() < 0 or index.max() >= n_streamlines):
        raise TractogramError(
            f"Group {_group(member)!r} of {path} must name streamlines 0 to {n_streamlines - 1}. Got {index.max()}"
        )
    return index


def trx_weights(path: Path) -> list[str]:
    """Names of the data per streamline of a TRX that have one number each, sorted."""
    return sorted(_dps(path, _members(path)))


def read_trx_weights(path: Path, group: str | None, name: str) -> NDArray[np.float64]:
    """One number per streamline, of all streamlines or of one group, (S,)."""
    members = _members(path)
    n_streamlines = int(_header(path, members)["NB_STREAMLINES"])
    values = _array(path, members, _dps(path, members)[name], n_streamlines)[:, 0].astype(np.float64)
    if group is None:
        return values
    (member,) = (n for n in members if _folder(n) == "groups" and _group(n) == group)
    return values[_index(path, members, member, n_streamlines)]


def _dps(path: Path, members: dict[str, int]) -> dict[str, str]:
    """Name -> member of data per streamline with one column."""
    found = [name for name in members if _folder(name) == "dps" and not name.endswith(".bit")]
    return {name.removeprefix("dps/").split(".")[0]: name for name in found if _layout(path, name)[1] == 1}


@dataclass(frozen=True, eq=False)
class TrxData:
    """What a TRX holds beside the streamlines.

    Parameters
    ----------
    affine : (4, 4) float64
        Voxel indices -> mm RAS+.
    shape : tuple of int
        Of the image that was tracked on; (1, 1, 1) stands for an unknown one.
    groups : mapping of str to (n,) int64
        Indices of streamlines.
    per_streamline, per_point : mappings of str to (S, k), (P, k)
        Numbers of any type.
    unread : tuple of str
        Members that are not understood: packed bits, data per group.
    kind : str
        Type of the coordinates.

    """

    affine: NDArray[np.float64]
    shape: tuple[int, int, int]
    groups: dict[str, NDArray[np.int64]]
    per_streamline: dict[str, NDArray[Any]]
    per_point: dict[str, NDArray[Any]]
    unread: tuple[str, ...]
    kind: str


def read_trx_data(path: Path) -> TrxData:
    """Header, groups and data of a TRX that `read_trx` has accepted."""
    members = _members(path)
    header = _header(path, members)
    try:
        affine = np.asarray(header["VOXEL_TO_RASMM"], np.float64).reshape(4, 4)
        i, j, k = (int(n) for n in header["DIMENSIONS"])
        if (
            not np.isfinite(affine).all()
            or abs(np.linalg.det(affine[:3, :3])) < 1e-12
            or not all(0 < n < 2**15 for n in (i, j, k))
        ):
            raise ValueError(f"{affine.tolist()}, {[i, j, k]}")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise TractogramError(
            f"header.json in {path} must hold an invertible VOXEL_TO_RASMM (4 x 4) and DIMENSIONS (3 counts). Got "
            f"{error!r}"
        ) from error
    groups: dict[str, NDArray[np.int64]] = {}
    known: dict[str, dict[str, NDArray[Any]]] = {"dps": {}, "dpv": {}}
    unread = []
    for name in sorted(members):
        if _folder(name) == "groups":
            groups[_group(name)] = _index(path, members, name, int(header["NB_STREAMLINES"]))
        elif _folder(name) in known and not name.endswith(".bit"):
            known[_folder(name)][Path(name).name.split(".")[0]] = _array(path, members, name)
        elif _folder(name):
            unread.append(name)
    position = next(name for name in members if _folder(name) == "" and name.split(".")[0] == "positions")
    return TrxData(affine, (i, j, k), groups, known["dps"], known["dpv"], tuple(unread), position.rsplit(".", 1)[-1])


def trx_groups(path: Path) -> list[str]:
    """Names of the groups of a TRX, sorted."""
    return sorted(_group(name) for name in _members(path) if _folder(name) == "groups")


def trx_points(path: Path, group: str | None) -> int:
    """Points of a TRX by its header; of a group its share of them, by the number of its streamlines."""
    members = _members(path)
    header = _header(path, members)
    if group is None or not header["NB_STREAMLINES"]:
        return int(header["NB_VERTICES"])
    mine = [n for n in members if _folder(n) == "groups" and _group(n) == group]
    streamlines = sum(members[name] // _layout(path, name)[0].itemsize for name in mine)
    return round(int(header["NB_VERTICES"]) * streamlines / int(header["NB_STREAMLINES"]))


def _group(member: str) -> str:
    """Name of a group: what stands between groups/ and the type; never part of a path."""
    return member.removeprefix("groups/").rpartition(".")[0]


def _folder(name: str) -> str:
    return name.split("/")[0] if "/" in name else ""


def _members(path: Path) -> dict[str, int]:
    """Name -> size in bytes of every array of the archive or folder."""
    if path.is_dir():
        return {p.relative_to(path).as_posix(): p.stat().st_size for p in sorted(path.rglob("*")) if p.is_file()}
    if not path.is_file():
        raise MissingInputError(f"There is no file {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            return {item.filename: item.file_size for item in archive.infolist() if not item.is_dir()}
    except (zipfile.BadZipFile, OSError) as error:
        size = path.stat().st_size
        raise TractogramError(
            f"{path} is no TRX archive or is cut short: expected a zip file. Got {size} bytes ({error})",
            "Copy or make the file again.",
        ) from error


def _bytes(path: Path, name: str) -> bytes:
    if path.is_dir():
        return (path / name).read_bytes()
    try:
        with zipfile.ZipFile(path) as archive:
            item = archive.getinfo(name)
            packed = min(item.compress_size, path.stat().st_size)
            if item.file_size > bound(packed):
                raise TractogramError(
                    f"{name} in {path} unpacks to {item.file_size} bytes from {packed}: expected streamlines, which "
                    "shrink far less",
                    "Write the file again without compression.",
                )
            return archive.read(item)
    # Of a file with a password zipfile says RuntimeError, of an unknown compression NotImplementedError.
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise TractogramError(f"{name} in {path} cannot be read: {error}", "Copy or make the file again.") from error


def _header(path: Path, members: dict[str, int]) -> dict[str, Any]:
    if "header.json" not in members:
        raise TractogramError(f"{path} is no TRX: expected a member header.json. Got {', '.join(sorted(members))}")
    content = _bytes(path, "header.json")
    try:
        header = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise TractogramError(f"header.json in {path} must be JSON. Got {error}") from error
    counts = {key: header.get(key) if isinstance(header, dict) else None for key in ("NB_VERTICES", "NB_STREAMLINES")}
    if not all(isinstance(n, int | float) and 0 <= n < 2**62 and n % 1 == 0 for n in counts.values()):
        got = ", ".join(f"{key} = {value!r}" for key, value in counts.items())
        raise TractogramError(f"header.json in {path} must hold NB_VERTICES and NB_STREAMLINES, two counts. Got {got}")
    return dict(header)


def _layout(path: Path, name: str) -> tuple[np.dtype[Any], int]:
    """Type and number of columns that a member's name says: dir/label[.columns].type."""
    parts = Path(name).name.split(".")
    try:
        kind = np.dtype("u1" if parts[-1] == "bit" else parts[-1]).newbyteorder("<")
        columns = int(parts[-2]) if len(parts) > 2 else 1
        if kind.kind not in "fiub" or columns < 1:
            raise ValueError("not numbers in columns")
        return kind, columns
    except (TypeError, ValueError) as error:
        raise TractogramError(f"A member of {path} must be named <label>[.<columns>].<type>. Got {name!r}") from error


def _array(path: Path, members: dict[str, int], label: str, rows: int | None = None) -> NDArray[Any]:
    """(rows, columns) content of a member, found by its label or full name; its length is checked."""
    matching = [name for name in members if name == label or (_folder(name) == "" and name.split(".")[0] == label)]
    if len(matching) != 1:
        raise TractogramError(f"{path} must have one member {label!r}. Got {matching or 'none'}")
    kind, columns = _layout(path, matching[0])
    size = members[matching[0]]
    got = size / (kind.itemsize * columns)
    if (rows is not None and got != rows) or got != int(got):
        raise TractogramError(
            f"{matching[0]} in {path} must hold {rows if rows is not None else 'whole'} rows as its header says. "
            f"Got {got:g} ({size} bytes)",
            "Write the file again with trx-python, or convert it to .trk with the program that made it.",
        )
    return np.frombuffer(_bytes(path, matching[0]), kind).reshape(-1, columns)


def _check_data(path: Path, members: dict[str, int], n_streamlines: int, n_points: int) -> None:
    """Data per streamline and per point must have as many rows, else streamlines and data do not belong together."""
    for name, size in sorted(members.items()):
        rows = {"dps": n_streamlines, "dpv": n_points}.get(_folder(name))
        if rows is None or name.endswith(".bit"):
            continue
        kind, columns = _layout(path, name)
        if size != rows * columns * kind.itemsize:
            raise TractogramError(
                f"{name} in {path} must hold {rows} rows as its header says. Got {size / (columns * kind.itemsize):g}",
                "Write the file again with the program that made it.",
            )
