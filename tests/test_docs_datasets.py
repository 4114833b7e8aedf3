"""docs/datasets.md, docs/afq.md, docs/inputs.md: every command, run again, prints what the page says."""

from __future__ import annotations

import shutil

import pytest
from documents import DOCS, replay


@pytest.fixture
def datasets(study, tmp_path, monkeypatch):
    """The study under the names of the page, and an empty registry."""
    monkeypatch.setenv("SPECTRA_BIDS_DATA_DIR", "data")
    monkeypatch.delenv("SPECTRA_BIDS_ATLASES", raising=False)
    for link, target in {"study": study.bids, "atlas": study.atlas}.items():
        (tmp_path / link).symlink_to(target)
    shutil.copytree(study.out, tmp_path / "out")
    (tmp_path / "my_bundles").mkdir()
    for path in study.atlas.glob("*.trk"):
        (tmp_path / "my_bundles" / path.name).symlink_to(path)
    volume = tmp_path / "tpl-MNI152NLin2009cAsym_atlas-Toy_dseg.nii.gz"
    volume.touch()
    volume.with_name("tpl-MNI152NLin2009cAsym_atlas-Toy_dseg.tsv").write_text("index\tname\n1\tOne\n")
    return tmp_path


def test_the_page_of_data_sets_tells_the_truth(datasets):
    assert replay("datasets.md", datasets) == (DOCS / "datasets.md").read_text()
