"""Scalar maps: types, shapes, affines, damage, equal bytes."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from spectra_bids.bundle import Volume
from spectra_bids.errors import MissingInputError, VolumeError
from spectra_bids.io.volumes import read_volume, write_volume

AFFINE = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2.5, -72], [0, 0, 0, 1]])
DATA = np.random.default_rng(0).uniform(size=(5, 6, 7))


def save(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


def test_a_missing_file_is_a_missing_input(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        read_volume(tmp_path / "fa.nii.gz")


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "fa.nii.gz").write_bytes(b"not an image at all")
    with pytest.raises(VolumeError, match=r"fa\.nii\.gz cannot be read.*Got 19 bytes"):
        read_volume(tmp_path / "fa.nii.gz")


@pytest.mark.parametrize("name", ["fa.nii.gz", "fa.nii"])
def test_an_image_cut_short_is_named(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / name, DATA.astype(np.float32))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(VolumeError, match=f"{name} cannot be read: expected a whole NIfTI file"):
        read_volume(path)


def test_an_image_with_several_frames_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "fa.nii", np.stack([DATA, DATA], axis=-1).astype(np.float32))
    with pytest.raises(VolumeError, match=r"three dimensions. Got .*\(5, 6, 7, 2\)"):
        read_volume(path)


def test_one_frame_in_four_dimensions_is_a_map(tmp_path: Path) -> None:
    got = read_volume(save(tmp_path / "fa.nii", DATA[..., None].astype(np.float32)))
    np.testing.assert_array_equal(got.data, DATA.astype(np.float32))


@pytest.mark.parametrize("entry", [np.nan, 0.0], ids=["not a number", "singular"])
def test_an_affine_that_places_nothing_is_refused(tmp_path: Path, entry: float) -> None:
    image = nib.Nifti1Image(DATA.astype(np.float32), AFFINE)
    image.header["srow_x"] = [entry, 0, 0, 0]
    image.header.set_qform(None, code=0)
    raw = bytearray(image.header.binaryblock)
    (tmp_path / "fa.nii").write_bytes(bytes(raw).ljust(352, b"\0") + DATA.astype("<f4").tobytes(order="F"))
    with pytest.raises(VolumeError, match=r"affine of .* must be finite and invertible"):
        read_volume(tmp_path / "fa.nii")


def test_an_image_without_any_affine_is_refused(tmp_path: Path) -> None:
    image = nib.Nifti1Image(DATA.astype(np.float32), None)
    assert image.header["sform_code"] == image.header["qform_code"] == 0
    nib.save(image, tmp_path / "fa.nii")
    with pytest.raises(VolumeError, match="neither sform nor qform"):
        read_volume(tmp_path / "fa.nii")


@pytest.mark.parametrize(
    ("stored", "kept"), [("f4", "f4"), ("f8", "f8"), ("i2", "f4"), ("u1", "f4")], ids=["f4", "f8", "i2", "u1"]
)
def test_values_are_float32_unless_more_was_stored(tmp_path: Path, stored: str, kept: str) -> None:
    data = (DATA * 100).astype(stored)
    got = read_volume(save(tmp_path / "fa.nii.gz", data))
    assert got.data.dtype == np.dtype(kept)
    np.testing.assert_array_equal(got.data, data.astype(kept))
    np.testing.assert_allclose(got.affine, AFFINE)


def test_scaled_integers_are_scaled(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.full((2, 2, 2), 50, np.int16), AFFINE)
    image.header.set_slope_inter(0.01, 1.0)
    nib.save(image, tmp_path / "fa.nii")
    expected = np.asarray(nib.load(tmp_path / "fa.nii").dataobj)
    np.testing.assert_allclose(read_volume(tmp_path / "fa.nii").data, expected)


@pytest.mark.parametrize("name", ["fa.nii", "fa.nii.gz"])
def test_a_written_map_comes_back_and_bytes_do_not_change(tmp_path: Path, name: str) -> None:
    data = DATA.astype(np.float32)
    data[0, 0, 0] = np.nan
    write_volume(tmp_path / name, Volume(data, AFFINE))
    (tmp_path / "again").mkdir()
    write_volume(tmp_path / "again" / name, Volume(data.copy(), AFFINE.copy()))
    got = read_volume(tmp_path / name)
    np.testing.assert_array_equal(got.data, data)
    np.testing.assert_allclose(got.affine, AFFINE)
    assert (tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize("folder", ["real-qsirecon", "real-mni", "real-pyafq", "published-cst"])
def test_real_maps_are_read_as_nibabel_reads_them(shared_data: Path, folder: str) -> None:
    paths = sorted((shared_data / folder).rglob("*.nii.gz"))
    assert paths
    for path in paths:
        got, theirs = read_volume(path), nib.load(path)
        assert got.data.dtype == np.float32
        np.testing.assert_array_equal(got.data, theirs.get_fdata(dtype=np.float32).squeeze())
        np.testing.assert_array_equal(got.affine, theirs.affine)


def test_nilearns_packaged_template_is_read_as_nibabel_reads_it(tmp_path: Path) -> None:
    from nilearn.datasets import load_mni152_template

    nib.save(load_mni152_template(resolution=8), tmp_path / "t1.nii.gz")
    got, theirs = read_volume(tmp_path / "t1.nii.gz"), nib.load(tmp_path / "t1.nii.gz")
    np.testing.assert_allclose(got.data, theirs.get_fdata(), rtol=1e-6, atol=1e-6)
