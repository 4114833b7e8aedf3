"""io.labels: integer volumes and maps of probability become labels; what is neither is refused with what it is."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from spectra_bids.errors import MissingInputError, VolumeError
from spectra_bids.geometry.labels import OUTSIDE
from spectra_bids.io.labels import read_labels

AFFINE = np.array([[-2.0, 0, 0, 10], [0, 2, 0, -10], [0, 0, 2, -10], [0, 0, 0, 1]])


def save(path, data, affine=AFFINE, code=1):
    import nibabel as nib

    image = nib.Nifti1Image(data, affine)
    image.set_sform(affine, code)
    image.set_qform(affine, code)
    nib.save(image, path)
    return path


def blocks(dtype=np.int16) -> np.ndarray:
    data = np.zeros((10, 10, 10), dtype)
    data[:5], data[5:, :5] = 3, 17
    return data


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_whole_numbers_of_any_type_are_labels(tmp_path, dtype):
    path = save(tmp_path / "a.nii.gz", blocks(dtype))
    (tmp_path / "a.tsv").write_text("index\tname\n3\tLeft side\n")
    labels = read_labels([path])
    assert labels.data.dtype.kind in "iu"
    np.testing.assert_array_equal(labels.data, blocks())
    assert (labels.name(3), labels.name(17), labels.name(0)) == ("Left side", "label 17", OUTSIDE)
    assert labels.source == "a"
    # Voxel (4, 0, 0) lies at x = 2: the first axis runs to the left.
    assert [labels.name(int(k)) for k in labels.at(np.array([[2.0, -10, -10], [0, -10, -10], [0, 8, 0]]))] == [
        "Left side", "label 17", OUTSIDE
    ]  # fmt: skip


def test_labels_above_what_single_precision_holds_stay_apart(tmp_path):
    data = np.zeros((3, 3, 3), np.int32)
    data[0], data[1] = 614454276, 614454277  # as in the Allen atlases
    labels = read_labels([save(tmp_path / "a.nii.gz", data)], {614454277: "B"})
    assert np.unique(labels.data).tolist() == [0, 614454276, 614454277]
    assert labels.name(614454277) == "B"


@pytest.mark.parametrize(("scale", "dtype"), [(1.0, np.float32), (100.0, np.uint8), (255.0, np.uint8)])
def test_of_probabilities_the_largest_above_a_quarter_counts(tmp_path, scale, dtype):
    maps = np.zeros((4, 1, 1, 2))
    maps[:, 0, 0, 0] = [1.0, 0.5, 0.2, 0.0]
    maps[:, 0, 0, 1] = [0.0, 0.5, 0.2, 0.3]
    path = save(tmp_path / "p.nii.gz", (maps * scale).astype(dtype))
    labels = read_labels([path], {0: "first", 1: "second"})
    assert labels.data.ravel().tolist() == [1, 1, 0, 2]
    assert [labels.name(k) for k in (1, 2)] == ["first", "second"]
    assert read_labels([path], {1: "first", 2: "second"}).name(2) == "second"


def test_maps_in_files_of_their_own_are_one_atlas(tmp_path):
    a, b = np.zeros((4, 4, 4), np.float32), np.zeros((4, 4, 4), np.float32)
    a[:2], b[2:] = 0.9, 0.7
    paths = [save(tmp_path / f"{n}.nii", v) for n, v in (("a", a), ("b", b))]
    labels = read_labels(paths, {1: "A", 2: "B"}, "both")
    assert labels.data[:, 0, 0].tolist() == [1, 1, 2, 2]
    assert labels.source == "both"
    other = save(tmp_path / "c.nii", np.zeros((5, 4, 4), np.float32))
    with pytest.raises(VolumeError, match="lie on one grid"):
        read_labels([paths[0], other])


def test_regions_are_those_of_the_thresholded_maps_of_numpy(tmp_path):
    maps = np.random.default_rng(0).uniform(0, 6.4, (6, 6, 6, 3)).astype(np.float32) ** 2.45
    labels = read_labels([save(tmp_path / "p.nii", maps)])
    expected = np.where(maps.max(axis=3) >= 25, maps.argmax(axis=3) + 1, 0)
    np.testing.assert_array_equal(labels.data, expected)
    assert 0 < (expected == 0).mean() < 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.full((3, 3, 3), 0.37, np.float32), "Got a 3D volume that holds 0.37"),
        (np.zeros((3, 3, 3), np.int16), "every voxel is 0"),
        (np.ones((3, 3), np.int16), "Got shape (3, 3)"),
        (np.zeros((3, 3, 3, 2), np.float32), "no region with a probability"),
        (np.ones((2, 2, 2, 1, 2), np.int16), "Got shape (2, 2, 2, 1, 2)"),
        (np.ones((3, 3, 3), np.complex64), "complex64"),
    ],
)
def test_a_volume_without_labels_is_refused_with_what_it_holds(tmp_path, data, message):
    path = save(tmp_path / "bad.nii.gz", data)
    with pytest.raises(VolumeError) as caught:
        read_labels([path])
    assert message in str(caught.value)
    assert "bad.nii.gz" in str(caught.value)
    assert caught.value.exit_status == 65


def test_files_that_are_absent_no_image_cut_short_or_without_a_place_are_refused(tmp_path):
    with pytest.raises(MissingInputError, match="There is no file"):
        read_labels([tmp_path / "none.nii"])
    (tmp_path / "text.nii").write_text("labels")
    with pytest.raises(VolumeError, match=r"text\.nii cannot be read as an atlas volume"):
        read_labels([tmp_path / "text.nii"])
    whole = save(tmp_path / "a.nii.gz", np.random.default_rng(0).integers(0, 99, (20, 20, 20)).astype(np.int16))
    (tmp_path / "cut.nii.gz").write_bytes(whole.read_bytes()[:3000])
    with pytest.raises(VolumeError, match=r"cut\.nii\.gz cannot be read"):
        read_labels([tmp_path / "cut.nii.gz"])
    with pytest.raises(VolumeError, match="neither sform nor qform"):
        read_labels([save(tmp_path / "b.nii", blocks(), code=0)])


def test_a_small_file_cannot_fill_the_memory(tmp_path):
    import nibabel as nib

    header = nib.Nifti1Header()
    header.set_data_shape((2000, 2000, 2000))
    header.set_data_dtype(np.int16)
    header.set_sform(AFFINE, 1)
    (tmp_path / "big.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(100)))
    with pytest.raises(VolumeError, match="would unpack to 16000000000"):
        read_labels([tmp_path / "big.nii.gz"])
