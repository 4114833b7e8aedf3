"""TrackVis .trk: 1000-byte header, then per streamline an int32 count, the points (with scalars) and properties.

Coordinates are stored in "voxel mm": voxel index (origin at the corner of the first voxel, hence the shift by half a
voxel) times voxel size, axes as `voxel_order` says. What is handed out is mm RAS+, as nibabel's reader does it.

References
----------
TrackVis file format, version 2; nibabel.streamlines.trk (compared with it in the tests).

"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Bundle, Volume
from spectra_bids.errors import TractogramError

HEADER = np.dtype(
    [
        ("magic", "S6"),
        ("dimensions", "<i2", 3),
        ("voxel_sizes", "<f4", 3),
        ("origin", "<f4", 3),
        ("n_scalars", "<i2"),
        ("scalar_name", "S20", 10),
        ("n_properties", "<i2"),
        ("property_name", "S20", 10),
        ("vox_to_ras", "<f4", (4, 4)),
        ("reserved", "S444"),
        ("voxel_order", "S4"),
        ("pad2", "S4"),
        ("image_orientation", "<f4", 6),
        ("pad1", "S2"),
        ("flags", "S6"),
        ("n_count", "<i4"),
        ("version", "<i4"),
        ("hdr_size", "<i4"),
    ]
)


def read_trk(path: Path, raw: bytes, reference: Volume | None = None) -> Bundle:
    """Bundle, mm RAS+, from the bytes of a .trk file; `reference` places one that has no vox_to_ras."""
    header, order = _header(path, raw)
    header = _placed(path, header, reference)
    to_ras = _affine(path, header)
    n_scalars, n_properties = int(header["n_scalars"]), int(header["n_properties"])
    if n_scalars < 0 or n_properties < 0:
        raise TractogramError(f"The header of {path} counts {n_scalars} scalars and {n_properties} properties")
    n_words = (len(raw) - HEADER.itemsize) // 4
    integers = np.frombuffer(raw, order + "i4", n_words, HEADER.itemsize)
    heads, counts = _scan(path, integers, int(header["n_count"]), n_scalars, n_properties)
    words = np.frombuffer(raw, order + "f4", n_words, HEADER.itemsize)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    stored = _coordinates(words, heads, counts, offsets, 3 + n_scalars, n_properties)
    # float32 throughout: half the time of float64, and the file has no more digits.
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is refused by read_bundle
        points = stored @ to_ras[:3, :3].T.astype(np.float32)
        points += to_ras[:3, 3].astype(np.float32)
    return Bundle(points, offsets)


def trk_bytes(
    bundle: Bundle,
    reference: Volume,
    per_streamline: Mapping[str, NDArray[np.float32]] | None = None,
    per_point: Mapping[str, NDArray[np.float32]] | None = None,
) -> bytes:
    """Content of a .trk file that places `bundle` (mm RAS+) in the voxel grid of `reference`.

    Nothing of it depends on time or host: equal content, equal bytes. Numbers of each streamline, (S, k), and of each
    point, (P, k), 10 names each, keep the order they come in. (nibabel sorts them by name; TrackVis, which knows no
    names of several values, then shows all that come after a colour under wrong ones.)
    """
    from nibabel.orientations import aff2axcodes

    properties = dict(per_streamline or {})
    scalars = dict(per_point or {})
    header = np.zeros((), HEADER)
    header["magic"] = b"TRACK"
    header["dimensions"] = reference.data.shape
    header["voxel_sizes"] = np.linalg.norm(reference.affine[:3, :3], axis=0)
    header["vox_to_ras"] = reference.affine
    header["voxel_order"] = "".join(aff2axcodes(reference.affine)).encode()
    header["image_orientation"] = (1, 0, 0, 0, 1, 0)
    header["n_count"], header["version"], header["hdr_size"] = bundle.n_streamlines, 2, HEADER.itemsize
    header["n_scalars"], header["scalar_name"] = _named(scalars)
    header["n_properties"], header["property_name"] = _named(properties)
    # The header holds float32: invert what will be read back, not the float64 affine.
    from_ras = np.linalg.inv(_affine(Path("output.trk"), header))
    with np.errstate(invalid="ignore"):  # Inf in, NaN out: the reader will refuse either
        stored = bundle.points.astype(np.float64) @ from_ras[:3, :3].T + from_ras[:3, 3]
    points = np.column_stack([stored.astype("<f4"), *scalars.values()]) if scalars else stored
    return header.tobytes() + _records(bundle, points, properties).tobytes()


def _records(
    bundle: Bundle, points: NDArray[np.floating], properties: Mapping[str, NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Streamline after streamline: count, points (P, 3 + scalars), properties."""
    width, extra = points.shape[1], sum(values.shape[1] for values in properties.values())
    words = np.empty(points.size + bundle.n_streamlines * (1 + extra), "<f4")
    heads = width * bundle.offsets[:-1] + (1 + extra) * np.arange(bundle.n_streamlines)
    tails = heads + 1 + width * bundle.counts
    is_point = np.ones(len(words), bool)
    is_point[heads] = False
    for k, column in enumerate(np.hstack(list(properties.values())).T if properties else ()):
        is_point[tails + k] = False
        words[tails + k] = column
    words[is_point] = points.ravel()
    words.view("<i4")[heads] = bundle.counts
    return words


def _named(numbers: Mapping[str, NDArray[np.float32]]) -> tuple[int, list[bytes]]:
    """How many values there are, and their 10 names in the header: of k > 1 values `name NUL k`, as nibabel has it."""
    names = [f"{name}\0{v.shape[1]}" if v.shape[1] > 1 else name for name, v in numbers.items()]
    encoded = [name.encode("latin1") for name in names] + [b""] * (10 - len(names))
    if len(encoded) > 10 or any(len(name) > 20 for name in encoded):
        raise ValueError(f"a .trk header has 10 names of at most 20 letters. Got {names}")
    return sum(v.shape[1] for v in numbers.values()), encoded


def trk_layout(path: Path, raw: bytes) -> tuple[int, int, int]:
    """Bytes before the first streamline, of a point, and of all counts and properties together, by the header."""
    header, _ = _header(path, raw)
    per_streamline = 4 * (1 + max(0, int(header["n_properties"])))
    between = per_streamline * max(0, int(header["n_count"]))
    return HEADER.itemsize, 4 * (3 + max(0, int(header["n_scalars"]))), between


def trk_grid(
    path: Path, raw: bytes, reference: Volume | None = None
) -> tuple[NDArray[np.float64], tuple[int, int, int]]:
    """Voxel indices -> mm RAS+ (4, 4), and the shape of the image that the header names."""
    header = _placed(path, _header(path, raw)[0], reference)
    _affine(path, header)
    i, j, k = (int(n) for n in header["dimensions"])
    return header["vox_to_ras"].astype(np.float64), (i, j, k)


def trk_has_data(path: Path, raw: bytes) -> bool:
    """Whether there are numbers beside the coordinates."""
    header, _ = _header(path, raw)
    return bool(header["n_scalars"] > 0 or header["n_properties"] > 0)


def _has_place(header: NDArray[np.void]) -> bool:
    return bool(header["version"] >= 2 and header["vox_to_ras"][3, 3] != 0)


def _placed(path: Path, header: NDArray[np.void], reference: Volume | None) -> NDArray[np.void]:
    """The header with the place of the image it was tracked on, if it does not say it and the image is given."""
    from nibabel.orientations import aff2axcodes, axcodes2ornt, ornt_transform

    if reference is None or _has_place(header):
        return header
    order = _voxel_order(path, header)
    turn = ornt_transform(axcodes2ornt(aff2axcodes(reference.affine)), axcodes2ornt(order))[:, 0].astype(int)
    expected, sizes = np.empty(3, int), np.empty(3)
    expected[turn], sizes[turn] = reference.data.shape, np.linalg.norm(reference.affine[:3, :3], axis=0)
    if tuple(expected) != tuple(header["dimensions"]) or not np.allclose(sizes, header["voxel_sizes"], atol=1e-3):
        raise TractogramError(
            f"{path} was tracked on an image of {tuple(int(n) for n in header['dimensions'])} voxels of "
            f"{tuple(round(float(x), 3) for x in header['voxel_sizes'])} mm ({order}). The reference, in that order of "
            f"axes, has {tuple(int(n) for n in expected)} of {tuple(round(float(x), 3) for x in sizes)} mm",
            "Give the image that it was tracked on.",
        )
    out = np.zeros((), HEADER)
    out[()] = header
    out["version"], out["vox_to_ras"], out["dimensions"] = 2, reference.affine, reference.data.shape
    out["voxel_sizes"] = np.linalg.norm(reference.affine[:3, :3], axis=0)
    out["voxel_order"] = order.encode()
    return np.asarray(out)


def _voxel_order(path: Path, header: NDArray[np.void]) -> str:
    codes = bytes(header["voxel_order"]).decode("latin1").strip("\0 ").upper() or "LPS"
    if sorted(codes.translate(str.maketrans("RPI", "LAS"))) != ["A", "L", "S"]:
        raise TractogramError(f"voxel_order in the header of {path} must name three axes such as 'LPS'. Got {codes!r}")
    return codes


def _header(path: Path, raw: bytes) -> tuple[NDArray[np.void], str]:
    """Header record in native values, and the byte order ("<" or ">") of the file."""
    if len(raw) < HEADER.itemsize:
        raise TractogramError(
            f"The header of {path} is cut short: a .trk file starts with {HEADER.itemsize} bytes of header. "
            f"Got {len(raw)}",
            "Copy or make the file again.",
        )
    header = np.frombuffer(raw[: HEADER.itemsize], HEADER)[0]
    order = "<"
    if header["hdr_size"] != HEADER.itemsize:
        header, order = np.frombuffer(raw[: HEADER.itemsize], HEADER.newbyteorder())[0], ">"
    if header["hdr_size"] != HEADER.itemsize or not header["magic"].startswith(b"TRACK"):
        raise TractogramError(f"{path} is no TrackVis file: expected 'TRACK' and a header size of 1000 in its header")
    return header, order


def _affine(path: Path, header: NDArray[np.void]) -> NDArray[np.float64]:
    """Stored coordinates -> mm RAS+, (4, 4)."""
    from nibabel.orientations import aff2axcodes, axcodes2ornt, inv_ornt_aff, ornt_transform

    vox_to_ras = header["vox_to_ras"].astype(np.float64)
    if not _has_place(header):
        raise TractogramError(
            f"{path} has no vox_to_ras in its header (version {header['version']}): its streamlines cannot be placed "
            "in mm RAS+",
            "Convert it with the image it was tracked on: spectra-bids convert IN.trk OUT.trk --reference IMAGE.nii.gz",
        )
    if not np.isfinite(vox_to_ras).all() or abs(np.linalg.det(vox_to_ras[:3, :3])) < 1e-12:
        raise TractogramError(f"vox_to_ras in the header of {path} must be invertible. Got {vox_to_ras.tolist()}")
    sizes = header["voxel_sizes"].astype(np.float64)
    if not (sizes > 0).all():
        raise TractogramError(f"Voxel sizes in the header of {path} must be positive. Got {sizes.tolist()}")
    to_voxel = np.diag([*(1 / sizes), 1.0])
    to_voxel[:3, 3] = -0.5
    turn = ornt_transform(axcodes2ornt(_voxel_order(path, header)), axcodes2ornt(aff2axcodes(vox_to_ras)))
    reorder = np.asarray(inv_ornt_aff(turn, header["dimensions"]), np.float64)
    return np.asarray(vox_to_ras @ reorder @ to_voxel)


def _scan(
    path: Path, words: NDArray[np.int32], n_count: int, n_scalars: int, n_properties: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Word at which each streamline's count stands, and the counts."""
    # The position of a count depends on the count before it: a loop over streamlines, 0.5 microseconds each
    # (measured on two busy cores: 9 ms for 19 files of 1000).
    stream = np.ascontiguousarray(words, np.int32).data
    heads: list[int] = []
    width, end, at = 3 + n_scalars, len(words), 0
    while at < end and (n_count <= 0 or len(heads) < n_count):
        count = stream[at]
        heads.append(at)
        at += 1 + count * width + n_properties
        if count < 0 or at > end:
            wanted = f"{n_count} streamlines" if n_count > 0 else "whole streamlines"
            raise TractogramError(
                f"{path} is cut short or damaged: expected {wanted}. Got {len(heads) - 1}, and a streamline of "
                f"{count} points for which the file has no room",
                "Copy or make the file again.",
            )
    if len(heads) < n_count:
        raise TractogramError(
            f"{path} is cut short: its header counts {n_count} streamlines. Got {len(heads)}",
            "Copy or make the file again.",
        )
    positions = np.array(heads, np.int64)
    return positions, np.asarray(words[positions] if len(heads) else np.empty(0), np.int64)


def _coordinates(
    words: NDArray[np.float32],
    heads: NDArray[np.int64],
    counts: NDArray[np.int64],
    offsets: NDArray[np.int64],
    width: int,
    n_properties: int,
) -> NDArray[np.float32]:
    """(P, 3) stored coordinates, without counts, scalars and properties."""
    if len(heads) == 0:
        return np.empty((0, 3), np.float32)
    keep = np.ones(heads[-1] + 1 + counts[-1] * width + n_properties, bool)
    keep[heads] = False
    ends = heads + 1 + counts * width
    for k in range(n_properties):
        keep[ends + k] = False
    values = words[: len(keep)][keep].reshape(int(offsets[-1]), width)
    return np.ascontiguousarray(values[:, :3], np.float32)
