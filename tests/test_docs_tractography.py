"""docs/spectra.md and docs/tractograms.md: every command, run again on real files, prints what the page says."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from documents import DOCS, replay
from test_cli_spectra_profile import cohort, run, sample_data

from spectra_bids.io.tractograms import read_bundle, write_bundle
from spectra_bids.io.volumes import read_volume


@pytest.fixture
def spectra(shared_data, tmp_path, monkeypatch):
    """A real subject as SPECTRA's README has it, wrong pairs, and a cohort made of it."""
    monkeypatch.setenv("DISPLAY", "")
    sample_data(shared_data, tmp_path)
    org, grid = read_bundle(tmp_path / "AF_L__org.trk"), read_volume(tmp_path / "fa.nii.gz")
    shuffled = org.take(np.random.default_rng(0).permutation(org.n_streamlines))
    for name, bundle in {"half": org.take(np.arange(50)), "sorted": shuffled, "turned": org.reversed()}.items():
        write_bundle(tmp_path / f"AF_L__{name}.trk", bundle, grid)
    made = run("-rec", tmp_path / "AF_L__rec.trk", "-org", tmp_path / "AF_L__org.trk",
               "-ref", tmp_path / "AF_L__atlas.trk", "-maps", tmp_path / "fa.nii.gz", tmp_path / "md.nii.gz",
               "-profiles", tmp_path / "outputs/AF_L_fa", tmp_path / "outputs/AF_L_md")  # fmt: skip
    assert made.status == 0
    cohort(tmp_path)
    return tmp_path


def test_spectras_page_tells_the_truth(spectra):
    assert replay("spectra.md", spectra) == (DOCS / "spectra.md").read_text()


@pytest.fixture
def tractograms(shared_data, study, tmp_path):
    """Files of the page under its names."""
    for link, target in {
        "atlas-hcp1065": shared_data / "atlas-hcp1065",
        "bundles.trx": next((shared_data / "trx").glob("*.trx")),
        "fa.nii.gz": next((shared_data / "real-mni").rglob("*param-fa_dwimap.nii.gz")),
        "old.trk": shared_data / "edge-cases/CST_L_original_trackvis_no_vox2ras.trk",
        "old_fa.nii.gz": shared_data / "published-cst/FA.nii.gz",
        "study": study.bids,
        "atlas": study.atlas,
    }.items():
        (tmp_path / link).symlink_to(Path(target).resolve())
    shutil.copytree(study.out, tmp_path / "out")
    return tmp_path


def test_the_page_of_tractograms_tells_the_truth(tractograms):
    assert replay("tractograms.md", tractograms) == (DOCS / "tractograms.md").read_text()
