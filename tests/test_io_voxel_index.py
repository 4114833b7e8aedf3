"""io.voxel_index: the index as a file, whole again; files that are none."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import ribbon

from spectra_bids.errors import InputDataError, MissingInputError
from spectra_bids.geometry.voxels import index_voxels
from spectra_bids.io.voxel_index import index_bytes, read_index


@pytest.fixture
def index():
    affine = np.diag([-2.0, 2, 2, 1])
    affine[:3, 3] = [20, -40, -20]
    return index_voxels(ribbon(n=9), affine, (20, 40, 20))


def test_no_index_is_an_error(tmp_path, index):
    with pytest.raises(MissingInputError):
        read_index(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no zip")
    with pytest.raises(InputDataError, match="no index of voxels"):
        read_index(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", voxels=np.arange(3))
    with pytest.raises(InputDataError, match="no index of voxels"):
        read_index(tmp_path / "other.npz")


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("voxels", lambda a: a[::-1]),
        ("voxels", lambda a: a + 10**9),
        ("offsets", lambda a: a[:-1]),
        ("offsets", lambda a: a + 1),
        ("streamlines", lambda a: a + 100),
        ("shape", lambda a: a[:2]),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(tmp_path, index, key, change):
    path = tmp_path / "index.npz"
    path.write_bytes(index_bytes(index))
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez(path, **{**arrays, key: change(arrays[key])})
    with pytest.raises(InputDataError, match="do not fit together"):
        read_index(path)


def test_objects_in_the_file_are_never_unpickled(tmp_path, index):
    path = tmp_path / "index.npz"
    path.write_bytes(index_bytes(index))
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez(path, **{**arrays, "voxels": np.array([print], object)})
    with pytest.raises(InputDataError, match="allow_pickle"):
        read_index(path)


def test_scipy_reads_the_arrays_as_a_matrix(tmp_path, index):
    from scipy.sparse import csr_array

    (tmp_path / "index.npz").write_bytes(index_bytes(index))
    with np.load(tmp_path / "index.npz") as stored:
        matrix = csr_array((np.ones(len(stored["streamlines"])), stored["streamlines"], stored["offsets"]))
    assert matrix.shape == (len(index.voxels), 9)
    assert set(matrix[[3], :].nonzero()[1].tolist()) == set(
        index.at_voxel(tuple(int(i) for i in np.unravel_index(index.voxels[3], index.shape))).tolist()
    )


def test_what_is_read_is_what_was_written(tmp_path, index):
    (tmp_path / "index.npz").write_bytes(index_bytes(index, "whole.trk"))
    again, name = read_index(tmp_path / "index.npz")
    assert name == "whole.trk"
    for key in ("voxels", "offsets", "streamlines", "affine"):
        np.testing.assert_array_equal(getattr(again, key), getattr(index, key))
    assert (again.shape, again.n_streamlines) == (index.shape, index.n_streamlines)
    assert index_bytes(index, "a") == index_bytes(index, "a")
