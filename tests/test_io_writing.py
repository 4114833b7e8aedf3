"""io.writing and io.contents: every format written, read by its own library, and what it cannot hold."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectra_bids.bundle import Bundle
from spectra_bids.errors import TractogramError, UsageError
from spectra_bids.io.contents import Tractogram, VoxelGrid, read_tractogram
from spectra_bids.io.writing import losses, without_losses, write_tractogram

#: Axes in an order of their own, voxels of three sizes.
AFFINE = np.array([[0, 0, 3.0, -90], [-2.0, 0, 0, 110], [0, 1.5, 0, -40], [0, 0, 0, 1]])
GRID = VoxelGrid(AFFINE, (90, 100, 60))
NAMES = ("a.trk", "a.trk.gz", "a.tck", "a.tck.gz", "a.trx", "a.tt.gz")


def walks(n=7, seed=0):
    """Streamlines that wander about in the grid, of 1 to 40 points."""
    rng = np.random.default_rng(seed)
    return Bundle.from_streamlines(
        [rng.uniform(-30, 30, 3) + np.cumsum(rng.normal(0, 0.7, (rng.integers(1, 41), 3)), axis=0) for _ in range(n)]
    )


def full(seed=0):
    """A tractogram with all there is."""
    bundle, rng = walks(seed=seed), np.random.default_rng(seed + 1)
    s, p = bundle.n_streamlines, len(bundle.points)
    return Tractogram(
        bundle,
        GRID,
        {"AF_L": np.array([0, 2, 3]), "CST": np.array([1, 3])},
        {"weight": rng.random((s, 1)).astype("f4"), "end": rng.integers(0, 90, (s, 2)).astype("i2")},
        {"fa": rng.random((p, 1)).astype("f4"), "rgb": rng.integers(0, 256, (p, 3)).astype("u1")},
    )


def put(folder, name, tractogram):
    path = Path(folder) / name
    with path.open("wb") as file:
        write_tractogram(file, path, without_losses(path, tractogram))
    return path


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.trk", "a.trx", "a.tt.gz"])
def test_a_format_with_an_image_in_its_header_asks_for_one_and_says_why(name):
    with pytest.raises(UsageError, match="which image its streamlines lie in") as caught:
        write_tractogram(io.BytesIO(), Path(name), Tractogram(walks()))
    assert "--reference" in caught.value.hint


def test_an_unknown_format_is_refused():
    with pytest.raises(TractogramError, match=r"\.trk\.gz.*Got a\.vtk"):
        write_tractogram(io.BytesIO(), Path("a.vtk"), full())


def test_streamlines_beyond_what_dsi_studio_can_say_are_refused():
    far = Tractogram(Bundle.from_streamlines([np.full((2, 3), 1e12)]), GRID)
    with pytest.raises(TractogramError, match="too far outside"):
        write_tractogram(io.BytesIO(), Path("a.tt.gz"), far)


# --- other programs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.trk", "a.tck"])
def test_nibabel_reads_what_is_written(tmp_path, name):
    import nibabel as nib

    wanted = full()
    found = nib.streamlines.load(put(tmp_path, name, wanted))
    np.testing.assert_allclose(found.streamlines.get_data(), wanted.bundle.points, atol=1e-4)
    assert [len(x) for x in found.streamlines] == wanted.bundle.counts.tolist()
    if name == "a.trk":
        np.testing.assert_allclose(found.affine, AFFINE)
        for key, values in wanted.per_point.items():
            np.testing.assert_array_equal(found.tractogram.data_per_point[key].get_data(), values)
        for key, values in wanted.per_streamline.items():
            np.testing.assert_array_equal(found.tractogram.data_per_streamline[key], values)


def test_trx_python_reads_what_is_written(tmp_path):
    from trx.trx_file_memmap import load

    wanted = full()
    found = load(str(put(tmp_path, "a.trx", wanted)))
    np.testing.assert_array_equal(found.streamlines.get_data(), wanted.bundle.points)
    np.testing.assert_allclose(found.header["VOXEL_TO_RASMM"], AFFINE)
    assert found.header["DIMENSIONS"].tolist() == [90, 100, 60]
    assert {name: rows.tolist() for name, rows in found.groups.items()} == {"AF_L": [0, 2, 3], "CST": [1, 3]}
    for key, values in wanted.per_point.items():
        np.testing.assert_array_equal(found.data_per_vertex[key].get_data(), values)
    for key, values in wanted.per_streamline.items():
        np.testing.assert_array_equal(found.data_per_streamline[key], values)
    found.close()


def test_a_tt_gz_is_what_a_decoder_of_matlab_files_finds_in_dsi_studios_records(tmp_path):
    """scipy.io.loadmat for the matrices; the records by DSI Studio's description, one value after the other."""
    from scipy.io import loadmat

    wanted = full()
    stored = loadmat(io.BytesIO(gzip.decompress(put(tmp_path, "a.tt.gz", wanted).read_bytes())))
    # LPS order: x of the image is its third axis, y its first
    assert stored["dimension"].ravel().tolist() == [60, 90, 100]
    assert stored["voxel_size"].ravel().tolist() == [3, 2, 1.5]
    affine = stored["trans_to_mni"].reshape(4, 4)
    track, at, lines = stored["track"].ravel().tobytes(), 0, []
    while at < len(track):
        n, *place = np.frombuffer(track, "<i4", 4, at).tolist()
        line = [place]
        for step in np.frombuffer(track, "i1", n - 3, at + 16).reshape(-1, 3).tolist():
            line.append([a + b for a, b in zip(line[-1], step, strict=True)])
        lines.append(np.array(line) / 32)
        at += 16 + n - 3
    assert [len(line) for line in lines] == wanted.bundle.counts.tolist()
    points = np.concatenate(lines) @ affine[:3, :3].T + affine[:3, 3]
    assert np.abs(points - wanted.bundle.points).max() <= 3 / 64 + 1e-4


# --- round trips ----------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), name=st.sampled_from(NAMES))
def test_what_a_format_holds_comes_back(tmp_path_factory, seed, name):
    wanted = full(seed)
    found = read_tractogram(put(tmp_path_factory.mktemp("trip"), name, wanted))
    atol = 3 / 64 + 1e-4 if name == "a.tt.gz" else 1e-4
    np.testing.assert_allclose(found.bundle.points, wanted.bundle.points, atol=atol)
    np.testing.assert_array_equal(found.bundle.offsets, wanted.bundle.offsets)
    lost = " ".join(losses(Path(name), wanted))
    for what in ("per_streamline", "per_point"):
        there, before = getattr(found, what), getattr(wanted, what)
        for key in before:
            assert (key in there) is (key not in lost)
        for key in there:
            np.testing.assert_array_equal(there[key].reshape(before[key].shape), before[key])
    if name == "a.trx":
        assert {k: v.tolist() for k, v in found.groups.items()} == {k: v.tolist() for k, v in wanted.groups.items()}
        assert [v.dtype for v in found.per_point.values()] == [np.float32, np.uint8]
    else:
        assert "AF_L" in lost
    if not name.startswith("a.tck"):
        assert name == "a.tt.gz" or found.grid.agrees(GRID)


@pytest.mark.parametrize("name", NAMES)
def test_equal_content_has_equal_bytes_at_any_time(tmp_path, name, monkeypatch):
    import time

    one = put(tmp_path, name, full()).read_bytes()
    later = time.time() + 1e6
    monkeypatch.setattr(time, "time", lambda: later)
    assert put(tmp_path, name, full()).read_bytes() == one


@pytest.mark.parametrize("name", NAMES)
def test_no_streamlines_are_a_file_too(tmp_path, name):
    none = Tractogram(Bundle(np.empty((0, 3), np.float32), np.zeros(1, np.int64)), GRID)
    assert read_tractogram(put(tmp_path, name, none)).bundle.n_streamlines == 0


# --- edge cases -----------------------------------------------------------------------------------------------------


def test_streamlines_without_points_stay_where_the_format_has_them_and_are_named_where_not(tmp_path):
    lines = [np.ones((3, 3)), np.empty((0, 3)), 2 * np.ones((2, 3))]
    some = Tractogram(
        Bundle.from_streamlines(lines), GRID, {"g": np.array([1, 2])}, {"n": np.array([[5], [6], [7]], "i4")}
    )
    assert read_tractogram(put(tmp_path, "a.trx", some)).bundle.counts.tolist() == [3, 0, 2]
    assert read_tractogram(put(tmp_path, "a.tck", some)).bundle.counts.tolist() == [3, 2]
    assert "1 streamlines without points" in losses(Path("a.tck"), some)
    kept = some.take(some.bundle.counts > 0)
    assert kept.groups["g"].tolist() == [1]
    assert kept.per_streamline["n"].ravel().tolist() == [5, 7]


def test_numbers_that_a_trk_has_no_room_for_are_named(tmp_path):
    bundle = walks()
    many = {f"n{k}": np.zeros((len(bundle.points), 1), "f4") for k in range(12)}
    odd = {"a_name_of_more_than_18_letters": np.zeros((7, 1)), "id": np.full((7, 1), 2**24 + 1)}
    lost = losses(Path("a.trk"), Tractogram(bundle, GRID, {}, odd, many))
    assert lost == [
        "numbers per streamline (a_name_of_more_than_18_letters)",
        "digits beyond float32 of id",
        "numbers per point (n10, n11)",
    ]
    assert losses(Path("a.trx"), Tractogram(bundle, GRID, {}, odd, many)) == []


def test_steps_longer_than_four_voxels_get_points_in_between_and_a_warning(tmp_path, caplog):
    line = np.array([[0, 0, 0], [0, 0, 50], [1, 0, 50]], float)
    found = read_tractogram(put(tmp_path, "a.tt.gz", Tractogram(Bundle.from_streamlines([line]), GRID))).bundle
    assert "points were added" in caplog.text
    assert found.n_streamlines == 1
    assert len(found.points) > 3
    np.testing.assert_allclose(found.points[[0, -1]], line[[0, -1]], atol=0.05)
    # all on the line
    np.testing.assert_allclose(found.points[:-1, :2], 0, atol=0.05)
    assert np.diff(found.points[:-1, 2]).max() <= 4 * 1.5


def test_names_in_a_trx_cannot_lead_out_of_it(tmp_path):
    bundle = walks()
    path = put(tmp_path, "a.trx", Tractogram(bundle, GRID, {"../../x.y": np.array([0])}))
    assert [n for n in zipfile.ZipFile(path).namelist() if n.startswith("groups")] == ["groups/______x_y.uint32"]
