"""Masks, elements and maps: order, space, what is outside, bytes; images stacked one at a time."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from spectra_bids.bundle import Volume
from spectra_bids.errors import MissingInputError, VolumeError
from spectra_bids.io.masks import (
    located,
    map_bytes,
    read_elements,
    read_mask,
    require_files,
    require_same_space,
    stacked,
)

AFFINE = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2.5, -72], [0, 0, 0, 1]])
SHAPE = (4, 5, 3)


@pytest.fixture
def mask(tmp_path):
    inside = np.random.default_rng(0).uniform(size=SHAPE) > 0.5
    nib.save(nib.Nifti1Image(inside.astype(np.float32) * 0.3, AFFINE), tmp_path / "mask.nii.gz")
    return read_mask(tmp_path / "mask.nii.gz")


def image(path, data, affine=AFFINE):
    nib.save(nib.Nifti1Image(np.asarray(data, np.float32), affine), path)
    return path


def test_an_empty_mask_is_refused(tmp_path):
    with pytest.raises(VolumeError, match=r"m\.nii with none"):
        read_mask(image(tmp_path / "m.nii", np.zeros(SHAPE)))


def test_files_that_are_not_there_are_counted_and_the_first_are_named(tmp_path):
    paths = [tmp_path / f"{k}.nii" for k in range(8)]
    paths[3].write_text("")
    with pytest.raises(MissingInputError, match=r"7 of 8 images are not there: .*0\.nii.*5\.nii and 2 more"):
        require_files(paths, "images")


@pytest.mark.parametrize("shift", [0.0, 1e-5])
def test_affines_that_differ_by_rounding_are_one_space(mask, shift):
    require_same_space("x.nii", Volume(np.ones(SHAPE), AFFINE + shift), mask)


def test_a_turned_affine_is_another_space(mask):
    turned = AFFINE.copy()
    turned[0, 1] = 0.02
    with pytest.raises(VolumeError, match=r"lie up to 0\.08 mm apart"):
        require_same_space("x.nii", Volume(np.ones(SHAPE), turned), mask)


def test_elements_stand_in_the_order_of_modelarray(mask, tmp_path):
    """NumPy's own order of a boolean index: modelarrayio's voxel table is np.nonzero of the mask."""
    data = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    found = read_elements(image(tmp_path / "x.nii", data), mask)
    np.testing.assert_array_equal(found, [data[tuple(place)] for place in np.column_stack(np.nonzero(mask.inside))])
    np.testing.assert_array_equal(mask.ijk, np.column_stack(np.nonzero(mask.inside)))


def test_a_map_is_float32_nan_outside_and_lies_where_the_mask_lies(mask, tmp_path):
    values = np.arange(mask.n, dtype=np.float64)
    (tmp_path / "x.nii.gz").write_bytes(map_bytes(values, mask))
    back = nib.load(tmp_path / "x.nii.gz")
    assert back.get_data_dtype() == np.float32
    np.testing.assert_array_equal(back.affine, AFFINE)
    np.testing.assert_array_equal(back.get_fdata()[mask.inside], values)
    assert np.isnan(back.get_fdata()[~mask.inside]).all()
    assert map_bytes(values, mask) == (tmp_path / "x.nii.gz").read_bytes()


def test_stacked_images_are_rows_with_nan_outside_their_masks(mask, tmp_path):
    rng = np.random.default_rng(2)
    data = [rng.normal(size=SHAPE).astype(np.float32) for _ in range(3)]
    data[1][tuple(mask.ijk[0])] = np.inf
    own = rng.uniform(size=SHAPE) > 0.5
    paths = [image(tmp_path / f"{k}.nii", values) for k, values in enumerate(data)]
    where = image(tmp_path / "own.nii", own)
    with stacked(paths, [None, None, where], mask, tmp_path / "new", np.float32) as matrix:
        np.testing.assert_array_equal(matrix[0], data[0][mask.inside])
        assert np.isnan(matrix[1, 0])
        np.testing.assert_array_equal(np.isnan(matrix[2]), ~own[mask.inside])
        assert list((tmp_path / "new").iterdir()) == []  # the file has no name


def test_a_path_of_a_table_is_sought_beside_it_then_here(tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    table = tmp_path / "there/table.csv"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.nii").write_text("")
    (tmp_path / "both.nii").write_text("")
    (tmp_path / "there/both.nii").write_text("")
    assert located("here.nii", table).resolve() == tmp_path / "here.nii"
    assert located("both.nii", table) == tmp_path / "there/both.nii"
    assert located("/elsewhere/x.nii", table).as_posix() == "/elsewhere/x.nii"
