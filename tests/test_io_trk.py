"""TrackVis files: agreement with nibabel, byte order, scalars and properties, damage."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import NamedTuple

import dipy
import nibabel as nib
import numpy as np
import pytest

from spectra_bids.bundle import Bundle, Volume
from spectra_bids.errors import TractogramError
from spectra_bids.io.tractograms import read_bundle
from spectra_bids.io.trk import HEADER, read_trk, trk_bytes

PACKED = Path(dipy.__file__).parent / "data" / "files" / "minimal_bundles.zip"


def packaged_bundles() -> dict[str, bytes]:
    """The .trk files that DIPY's wheel carries."""
    with zipfile.ZipFile(PACKED) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name.endswith(".trk")}


def by_nibabel(raw: bytes) -> nib.streamlines.ArraySequence:
    return nib.streamlines.TrkFile.load(io.BytesIO(raw)).streamlines


def assert_equal_to_nibabel(ours: Bundle, raw: bytes) -> None:
    theirs = by_nibabel(raw)
    assert ours.counts.tolist() == [len(x) for x in theirs]
    # Both compute in float32: a few units in the last place of 200 mm.
    np.testing.assert_allclose(ours.points, np.concatenate(list(theirs)), rtol=0, atol=5e-5)


class Layout(NamedTuple):
    order: str
    n_scalars: int
    n_properties: int
    codes: str
    swapped: bool


LAYOUTS = {
    "plain": Layout("<", 0, 0, "LAS", False),
    "scalars": Layout("<", 2, 0, "RAS", False),
    "properties": Layout("<", 0, 3, "LPS", False),
    "scalars and properties": Layout("<", 1, 1, "LAS", False),
    "big endian": Layout(">", 0, 0, "LAS", True),
    "big endian with both": Layout(">", 2, 1, "RPI", True),
    "turned axes": Layout("<", 0, 0, "PIR", False),
}


def make_trk(layout: Layout, n_count: int | None = None, seed: int = 0) -> bytes:
    """A .trk built field by field, with an oblique affine whose axes are not those of voxel_order."""
    rng = np.random.default_rng(seed)
    header = np.zeros((), HEADER)
    header["magic"], header["version"], header["hdr_size"] = b"TRACK", 2, 1000
    header["dimensions"], header["voxel_sizes"] = (20, 30, 40), (1.0, 2.0, 2.5)
    header["n_scalars"], header["n_properties"] = layout.n_scalars, layout.n_properties
    header["voxel_order"] = layout.codes.encode()
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]]
    header["vox_to_ras"] = turn @ [[-1, 0, 0, 10], [0, 2, 0, -30], [0, 0, 2.5, -50], [0, 0, 0, 1]]
    counts = [3, 1, 7, 2]
    header["n_count"] = len(counts) if n_count is None else n_count
    body = b""
    for n in counts:
        body += np.array(n, layout.order + "i4").tobytes()
        body += rng.uniform(0, 40, (n, 3 + layout.n_scalars)).astype(layout.order + "f4").tobytes()
        body += rng.uniform(size=layout.n_properties).astype(layout.order + "f4").tobytes()
    packed = header.astype(HEADER.newbyteorder()) if layout.swapped else header
    return packed.tobytes() + body


def test_a_file_without_a_header_names_what_was_expected() -> None:
    with pytest.raises(TractogramError, match=r"x\.trk.*1000 bytes of header\. Got 5"):
        read_trk(Path("x.trk"), b"TRACK")


def test_a_file_that_is_no_trackvis_file_is_refused() -> None:
    with pytest.raises(TractogramError, match="is no TrackVis file"):
        read_trk(Path("x.trk"), b"\0" * 2000)


def test_version_1_cannot_be_placed_in_space() -> None:
    raw = bytearray(make_trk(LAYOUTS["plain"]))
    raw[992:996] = np.array(1, "<i4").tobytes()
    with pytest.raises(TractogramError, match=r"has no vox_to_ras.*version 1"):
        read_trk(Path("x.trk"), bytes(raw))


def test_a_real_file_without_vox_to_ras_is_refused(shared_data: Path) -> None:
    path = shared_data / "edge-cases" / "CST_L_original_trackvis_no_vox2ras.trk"
    with pytest.raises(TractogramError, match="has no vox_to_ras") as caught:
        read_bundle(path)
    assert "reference" in caught.value.hint


@pytest.mark.parametrize("keep", [1002, 1100, -1, -13])
def test_a_file_cut_short_says_how_many_streamlines_it_has(keep: int) -> None:
    raw = make_trk(LAYOUTS["scalars and properties"])
    with pytest.raises(TractogramError, match=r"x\.trk is cut short.*4 streamlines.*Got \d"):
        read_trk(Path("x.trk"), raw[:keep])


def test_a_file_that_ends_between_streamlines_is_cut_short_too() -> None:
    raw = make_trk(LAYOUTS["plain"])
    with pytest.raises(TractogramError, match=r"counts 4 streamlines. Got 3"):
        read_trk(Path("x.trk"), raw[: -(4 + 2 * 12)])


def test_a_negative_count_is_damage_not_a_crash() -> None:
    raw = bytearray(make_trk(LAYOUTS["plain"]))
    raw[1000:1004] = np.array(-5, "<i4").tobytes()
    with pytest.raises(TractogramError, match="cut short or damaged"):
        read_trk(Path("x.trk"), bytes(raw))


def test_the_number_of_streamlines_may_be_left_out() -> None:
    whole, open_ended = make_trk(LAYOUTS["scalars"]), make_trk(LAYOUTS["scalars"], n_count=0)
    ours = read_trk(Path("x.trk"), open_ended)
    assert ours.n_streamlines == 4
    np.testing.assert_array_equal(ours.points, read_trk(Path("x.trk"), whole).points)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_agrees_with_nibabel(layout: Layout) -> None:
    raw = make_trk(layout)
    assert_equal_to_nibabel(read_trk(Path("x.trk"), raw), raw)


def test_dipys_packaged_bundles_agree_with_nibabel() -> None:
    packaged = packaged_bundles()
    assert len(packaged) == 15
    for name, raw in packaged.items():
        assert_equal_to_nibabel(read_trk(Path(name), raw), raw)


@pytest.mark.parametrize("folder", ["atlas-hcp1065", "real-mni", "real-pyafq", "published-cst"])
def test_real_files_agree_with_nibabel(shared_data: Path, folder: str) -> None:
    files = sorted((shared_data / folder).rglob("*.trk"))
    assert files
    for file in files:
        assert_equal_to_nibabel(read_bundle(file), file.read_bytes())


@pytest.mark.parametrize("angle", [0.0, 0.4])
def test_a_written_bundle_comes_back_and_nibabel_reads_the_same(angle: float) -> None:
    rng = np.random.default_rng(1)
    bundle = Bundle.from_streamlines([rng.uniform(-80, 80, (n, 3)) for n in (5, 1, 30)])
    affine = np.array([[-2, 0, 0, 90], [0, 0, 3, -126], [0, 1.5, 0, -72], [0, 0, 0, 1]], float)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    raw = trk_bytes(bundle, Volume(np.zeros((10, 20, 30), np.float32), turn @ affine))
    ours = read_trk(Path("x.trk"), raw)
    np.testing.assert_array_equal(ours.offsets, bundle.offsets)
    np.testing.assert_allclose(ours.points, bundle.points, atol=5e-5)
    assert_equal_to_nibabel(ours, raw)


def test_an_empty_bundle_can_be_written_and_read() -> None:
    raw = trk_bytes(Bundle.from_streamlines([]), Volume(np.zeros((4, 4, 4), np.float32), np.eye(4)))
    assert read_trk(Path("x.trk"), raw).n_streamlines == 0
