"""docs/datasets.md, docs/afq.md, docs/inputs.md: every command, run again, prints what the page says."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from documents import DOCS, replay

from spectra_bids.bundle import Volume
from spectra_bids.dataset.outputs import write_json
from spectra_bids.io.tractograms import read_bundle
from spectra_bids.io.volumes import read_volume, write_volume


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


@pytest.fixture
def afq(shared_data, tmp_path):
    """Sarica's tables, sixteen of its people in TractSeg's form, and pyAFQ's derivatives of a real subject."""
    for path in (shared_data / "tables").glob("sarica_als_*"):
        shutil.copy(path, tmp_path)
    nodes = pd.read_csv(tmp_path / "sarica_als_nodes.csv.gz")
    people = pd.read_csv(tmp_path / "sarica_als_subjects.csv").iloc[[*range(8), *range(24, 32)]]
    lines = ["# tractometry_path=tractseg/SUBJECT_ID/Tractometry.csv", "", "subject_id group Age"]
    for person in people.itertuples():
        own = nodes[nodes["subjectID"] == person.subjectID]
        table = own.pivot(index="nodeID", columns="tractID", values="fa").fillna(0)
        folder = tmp_path / "tractseg" / str(person.subjectID)
        folder.mkdir(parents=True)
        columns = [str(name).replace(" ", "_") for name in table]
        table.set_axis(columns, axis=1).to_csv(folder / "Tractometry.csv", sep=";", index=False)
        lines.append(f"{person.subjectID} {int(people['class'][person.Index] == 'ALS')} {person.age}")
    (tmp_path / "subjects.txt").write_text("\n".join(lines) + "\n")
    for name in ("real-pyafq", "atlas-hcp1065"):
        (tmp_path / name).symlink_to(Path(shared_data / name).resolve())
    return tmp_path


def test_the_page_for_people_from_afq_and_tractseg_tells_the_truth(afq):
    assert replay("afq.md", afq) == (DOCS / "afq.md").read_text()


@pytest.fixture
def inputs(shared_data, tmp_path):
    """A real subject's arcuate and corticospinal tract under BEP046 names, its map, and masks and weights made up."""
    study = tmp_path / "study"
    for name, kind in ((".", "raw"), ("derivatives/tracts", "derivative"), ("derivatives/maps", "derivative")):
        write_json(
            study / name / "dataset_description.json", {"Name": kind, "BIDSVersion": "1.10.0", "DatasetType": kind}
        )
    for name in ("tracts", "maps"):
        (study / "derivatives" / name / "sub-01" / "dwi").mkdir(parents=True)
    (study / "participants.tsv").write_text("participant_id\nsub-01\n")
    stem = "sub-01_space-MNI152NLin6Asym"
    tracts, maps = (study / "derivatives" / name / "sub-01" / "dwi" / stem for name in ("tracts", "maps"))
    real = shared_data / "real-mni" / "derivatives" / "tractseg" / "sub-tractseg" / "dwi"
    for old, new in {"AFleft": "ArcuateFasciculus", "CSTleft": "CorticospinalTract"}.items():
        (path,) = real.glob(f"*_tract-{old}_tractogram.trk")
        shutil.copy(path, f"{tracts}_tract-{new}_hemi-L_track-prob_tractogram.trk")
        half = np.arange(read_bundle(path).n_streamlines) % 2
        Path(f"{tracts}_tract-{new}_hemi-L_track-prob_sift2.txt").write_text(" ".join(map(str, 0.5 + half)) + "\n")
    (path,) = real.glob("*_param-fa_dwimap.nii.gz")
    shutil.copy(path, f"{maps}_model-tensor_param-fa_dwimap.nii.gz")
    volume = read_volume(path)
    places = np.moveaxis(np.indices(volume.data.shape), 0, -1) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    lesion = np.linalg.norm(places - np.array([-26.0, -22, 20]), axis=-1) < 8
    for name, mask in {"desc-brain_mask": np.isfinite(volume.data), "label-lesion_roi": lesion}.items():
        write_volume(Path(f"{maps}_{name}.nii.gz"), Volume(mask.astype(np.float32), volume.affine))
    write_json(tmp_path / "filter.json", {"bundle": {"tract": ["CorticospinalTract"], "hemi": "L", "desc": None}})
    atlas = tmp_path / "atlas"
    atlas.mkdir()
    for name in ("Association_ArcuateFasciculusL.trk", "ProjectionBrainstem_CorticospinalTractL.trk", "atlas.json"):
        shutil.copy(shared_data / "atlas-hcp1065" / name, atlas)
    return tmp_path


def test_the_page_of_inputs_tells_the_truth(inputs):
    assert replay("inputs.md", inputs) == (DOCS / "inputs.md").read_text()
