"""dataset.label_store: labels by path, by name, and those that are always there."""

from __future__ import annotations

import numpy as np
import pytest

from spectra_bids.dataset.label_store import find_labels, known_labels, labels_home
from spectra_bids.errors import AtlasError, MissingInputError
from spectra_bids.io.labels import read_labels


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SPECTRA_BIDS_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "data" / "labels").mkdir(parents=True)
    return tmp_path / "data" / "labels"


def test_the_folder_of_labels_follows_the_environment(home, monkeypatch, tmp_path):
    assert labels_home() == home
    monkeypatch.delenv("SPECTRA_BIDS_DATA_DIR")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    assert labels_home() == tmp_path / "share" / "spectra_bids" / "labels"
    assert known_labels() == ["tissues"]


def test_a_path_names_a_volume_and_a_table_after_the_equals_sign(tmp_path):
    volume, table = tmp_path / "x.nii.gz", tmp_path / "names.txt"
    volume.touch(), table.touch()
    assert find_labels(str(volume)).files == (volume,)
    both = find_labels(f"{volume}={table}")
    assert both.files == (volume, table)
    assert both.source == "x"
    odd = tmp_path / "a=b.nii.gz"
    odd.touch()
    assert find_labels(str(odd)).volumes == (odd,)


@pytest.mark.parametrize(
    ("name", "source", "space"),
    [
        ("tpl-MNI152NLin2009cAsym_res-01_atlas-Schaefer2018_dseg.nii.gz", "Schaefer2018", "MNI152NLin2009cAsym"),
        ("sub-01_space-T1w_seg-aparcaseg_dseg.nii.gz", "aparcaseg", "T1w"),
        ("JHU-ICBM-labels-1mm.nii.gz", "JHU-ICBM-labels-1mm", ""),
    ],
)
def test_a_bids_name_says_atlas_and_space(tmp_path, name, source, space):
    (tmp_path / name).touch()
    found = find_labels(str(tmp_path / name))
    assert (found.source, found.space) == (source, space)


def test_a_name_is_a_file_or_a_folder_with_one_volume(home):
    (home / "jhu.nii.gz").touch()
    (home / "ho").mkdir()
    (home / "ho" / "atlas-HO_dseg.nii.gz").touch()
    assert find_labels("jhu").volumes == (home / "jhu.nii.gz",)
    assert find_labels("ho").volumes == (home / "ho" / "atlas-HO_dseg.nii.gz",)
    assert find_labels("ho").source == "ho"
    assert known_labels() == ["ho", "jhu", "tissues"]
    (home / "ho" / "second.nii").touch()
    with pytest.raises(AtlasError, match="must hold one NIfTI volume"):
        find_labels("ho")


@pytest.mark.parametrize("text", ["nothing", "no/such.nii.gz", "..", ""])
def test_what_is_neither_lists_what_there_is(home, text):
    (home / "jhu.nii.gz").touch()
    with pytest.raises(MissingInputError) as caught:
        find_labels(text)
    assert "neither a file nor the name" in str(caught.value)
    assert "jhu, tissues" in caught.value.hint
    assert caught.value.exit_status == 66


def test_a_table_that_is_not_there_is_named(tmp_path):
    (tmp_path / "x.nii").touch()
    with pytest.raises(MissingInputError, match="there is no table"):
        find_labels(f"{tmp_path / 'x.nii'}={tmp_path / 'y.tsv'}")


def test_the_tissues_of_the_installed_nilearn_lie_where_tissues_lie(home):
    found = find_labels("tissues")
    assert found.space.startswith("MNI152")
    labels = read_labels(found.volumes, found.names, found.source)
    # Internal capsules and centrum semiovale; caudate head and insular cortex; air; lateral ventricle.
    points = np.array([[-20.0, -10, 20], [26, -24, 32], [-12, 14, 10], [38, 8, -6], [0, 0, 110], [4, 8, 14]])
    names = [labels.name(int(k)) for k in labels.at(points)]
    assert names[:5] == ["White matter", "White matter", "Grey matter", "Grey matter", "OUTSIDE"]
