"""io.track_labels: a labelling as arrays, as a table, as counts between regions; whole again from its file."""

from __future__ import annotations

import numpy as np
import pytest
from test_geometry_endings import lines, regions

from spectra_bids.errors import InputDataError, MissingInputError
from spectra_bids.io.track_labels import label_streamlines, labeling_bytes, read_labeling


@pytest.fixture
def labeling():
    return label_streamlines(
        lines(2), regions(seed=2), 1.0, name="Lausanne", parameters={"scale": 33}, files=("a.trk", "b.nii.gz")
    )


def test_what_is_no_labelling_is_refused(tmp_path, labeling):
    with pytest.raises(MissingInputError):
        read_labeling(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no zip")
    with pytest.raises(InputDataError, match="no labelling"):
        read_labeling(tmp_path / "text.npz")
    path = tmp_path / "x.npz"
    path.write_bytes(labeling_bytes(labeling))
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez(path, **{**arrays, "labels": arrays["labels"][::-1]})
    with pytest.raises(InputDataError, match="different things"):
        read_labeling(path)
    np.savez(path, **{**arrays, "regions": arrays["regions"][1:], "region_names": arrays["region_names"][1:]})
    with pytest.raises(InputDataError, match="not all listed"):
        read_labeling(path)


def test_the_table_counts_what_the_arrays_say(labeling):
    table = labeling.table()
    assert table["n_streamlines"].sum() == (labeling.pairs.labels > 0).sum()
    row = table.iloc[2]
    ends = np.sort(labeling.pairs.ends, axis=1)
    both = (ends == [row["region_a"], row["region_b"]]).all(axis=1)
    assert row["n_streamlines"] == both.sum() > 0
    np.testing.assert_allclose(row["share"], both.mean())
    assert table["name_a"].iloc[0] == labeling.region_name(int(table["region_a"].iloc[0]))


def test_regions_that_no_streamline_reaches_stand_in_the_matrix():
    found = label_streamlines(lines(0, 1), regions())
    counts = found.connectivity()
    assert list(counts.columns) == ["region", "name", "3", "7"]
    assert counts["name"].tolist() == ["right", "left"]


def test_what_is_read_is_what_was_written(tmp_path, labeling):
    (tmp_path / "x.npz").write_bytes(labeling_bytes(labeling))
    again = read_labeling(tmp_path / "x.npz")
    for key in ("labels", "ends", "pairs"):
        np.testing.assert_array_equal(getattr(again.pairs, key), getattr(labeling.pairs, key))
    said = ("name", "parameters", "dilation", "names", "tractogram", "volume")
    assert [getattr(again, key) for key in said] == [getattr(labeling, key) for key in said]
    assert labeling_bytes(again) == labeling_bytes(labeling)
