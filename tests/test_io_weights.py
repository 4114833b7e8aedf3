"""io.weights: SIFT2's text files and data per streamline of a TRX; what is missing or of another file is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spectra_bids.errors import MissingInputError, TractogramError
from spectra_bids.io.weights import find_weights, read_weights


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "sub-01_bundle-AFL_streamlines.tck.gz"
    path.touch()
    return path


@pytest.fixture
def trx(tmp_path: Path) -> Path:
    """Three streamlines, two of them in group left, with weights; written by trx-python."""
    from trx.trx_file_memmap import TrxFile, save

    made = TrxFile(nb_vertices=6, nb_streamlines=3)
    made.streamlines._data[:] = np.arange(18).reshape(6, 3)
    made.streamlines._offsets[:] = [0, 2, 4]
    made.streamlines._lengths[:] = 2
    made.data_per_streamline["sift2"] = np.array([[0.5], [1.5], [2.5]], np.float32)
    made.groups["left"] = np.array([2, 0], np.uint32)
    path = tmp_path / "sub-01_tractography.trx"
    save(made, str(path))
    return path


@pytest.mark.parametrize("name", ["sub-01_bundle-AFL_sift2.txt", "sub-01_bundle-AFL_streamlines_sift2.csv"])
def test_weights_are_found_beside_the_bundle_under_either_name(bundle: Path, name: str):
    (bundle.parent / name).write_text("1 2")
    assert find_weights(bundle, "sift2").name == name


def test_no_weights_is_an_error_that_says_what_was_looked_for(bundle: Path, trx: Path):
    with pytest.raises(MissingInputError, match=r"expected sub-01_bundle-AFL_sift2.txt or sub-01_bundle-AFL_streaml"):
        find_weights(bundle, "sift2")
    with pytest.raises(MissingInputError, match="the TRX holds sift2"):
        find_weights(trx, "cocoa")


def test_a_text_file_is_read_as_tcksift2_writes_it(tmp_path: Path):
    path = tmp_path / "w.txt"
    path.write_text("# command_history: tcksift2 in.tck fod.mif w.txt\n0.25 1.5\t0 3e-2\n")
    np.testing.assert_array_equal(read_weights(path, "w", None, 4), [0.25, 1.5, 0, 0.03])
    path.write_text("0.25,1.5\n0,3e-2")
    np.testing.assert_array_equal(read_weights(path, "w", None, 4), [0.25, 1.5, 0, 0.03])


def test_weights_of_a_trx_are_those_of_the_group(trx: Path):
    assert find_weights(trx, "sift2") == trx
    np.testing.assert_array_equal(read_weights(trx, "sift2", None, 3), [0.5, 1.5, 2.5])
    np.testing.assert_array_equal(read_weights(trx, "sift2", "left", 2), [2.5, 0.5])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 2 3", "Got 3 weights for 4 streamlines"),
        ("1 2 three 4", "must hold numbers"),
        ("1 2 -3 4", "at least 0"),
        ("1 nan 3 4", "finite"),
        ("0 0 0 0", "not all 0"),
        ("", "Got 0 weights for 4"),
    ],
)
def test_weights_that_are_none_are_named(tmp_path: Path, text: str, said: str):
    path = tmp_path / "w.txt"
    path.write_text(text)
    with pytest.raises(TractogramError, match=said):
        read_weights(path, "w", None, 4)
