"""docs/dsi2.md: every command, run again on real files, prints what the page says."""

from __future__ import annotations

import contextlib
import json
import re

import nibabel as nib
import numpy as np
import pytest
from documents import DOCS, replay
from dsi2_project import PLACE, make_project

from spectra_bids.io.voxel_index import read_index


@pytest.fixture
def project(shared_data, tmp_path):
    """Files of the page under its names."""
    made = make_project(shared_data / "real-mni", tmp_path / "dsi2")
    scans = json.loads(made.read_text())
    scans[0]["trk_file"] = "moved/QSDR.nsm.trk"
    scans[5]["track_labels"][1]["volume_path"] = "moved/scale60.nii.gz"
    (tmp_path / "dsi2/moved.json").write_text(json.dumps(scans))
    (tmp_path / "subj01.pkl").write_bytes(b"never opened")
    real = shared_data / "real-mni/derivatives/tractseg/sub-tractseg/dwi"
    for name, target in {"AF_L.trk": "*AFleft*.trk", "fa.nii.gz": "*_dwimap.nii.gz"}.items():
        (tmp_path / name).symlink_to(next(real.glob(target)).resolve())
    for path in (tmp_path / "dsi2/atlases").iterdir():
        (tmp_path / path.name).symlink_to(path)
    image = nib.load(tmp_path / "fa.nii.gz")
    i, j, k = np.rint(nib.affines.apply_affine(np.linalg.inv(image.affine), PLACE[:3])).astype(int)
    for name, part in {
        "roi": np.s_[i - 3 : i + 4, j - 3 : j + 4, k - 3 : k + 4],
        "front": np.s_[:, 50:, :],
    }.items():
        mask = np.zeros(image.shape, np.uint8)
        mask[part] = 1
        nib.save(nib.Nifti1Image(mask, image.affine), tmp_path / f"{name}.nii.gz")
    return tmp_path


def test_the_page_tells_the_truth(project):
    page = (DOCS / "dsi2.md").read_text()
    assert replay("dsi2.md", project) == page
    shown = re.search(r"```python\n(.*?)```", page, re.DOTALL)[1]
    found: dict = {}
    with contextlib.chdir(project):
        exec(shown, found)
    index, _ = read_index(project / "AF_L_index.npz")
    row = int(np.flatnonzero((found["i"] == 52) & (found["j"] == 38) & (found["k"] == 39))[0])
    assert found["visits"][[row]].nonzero()[1].tolist() == index.at_voxel((52, 38, 39)).tolist() == [128, 740]
