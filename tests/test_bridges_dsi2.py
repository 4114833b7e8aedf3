"""bridges.dsi2 and dsi2_dataset: local_data.json is read, checked, and becomes a BIDS data set."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from dsi2_project import make_project

from spectra_bids.bridges.dsi2 import read_local_data
from spectra_bids.bridges.dsi2_dataset import import_dsi2
from spectra_bids.dataset.design_files import read_design
from spectra_bids.errors import InputDataError, MissingInputError, OutputError, TractogramError
from spectra_bids.io.track_labels import read_labeling
from spectra_bids.io.tractograms import read_bundle
from spectra_bids.io.volumes import read_volume
from spectra_bids.io.voxel_index import read_index

LEAST = {"scan_id": "a-1", "scan_group": "control"}


def written(folder: Path, content: object) -> Path:
    path = folder / "local_data.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.fixture(scope="module")
def project(shared_data, tmp_path_factory):
    """Two people, read only."""
    folder = tmp_path_factory.mktemp("dsi2")
    make_project(shared_data / "real-mni", folder / "project", n=2)
    return folder / "project"


@pytest.fixture
def own(project, tmp_path):
    """A copy that a test may change."""
    return Path(shutil.copytree(project, tmp_path / "project"))


def changed(folder: Path, **keys: object) -> Path:
    """The project's JSON with keys of its first scan changed."""
    path = folder / "local_data.json"
    scans = json.loads(path.read_text())
    scans[0].update(keys)
    path.write_text(json.dumps(scans))
    return path


# --- what is refused


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('[\n{"scan_id": "a",\n"scan_group" "b"}]', "line 3, column 14"),
        ("", "line 1"),
        ([], "holds no scan"),
        ("[1]", "scan 1 must be an object. Got 1"),
        ([{"scan_id": "a"}], "scan 1 must have a scan_group, which is text. Got nothing"),
        ([{"scan_group": "a"}], "must have a scan_id"),
        ([{**LEAST, "scan_id": "--"}], "letters or digits"),
        ([LEAST, LEAST], "two scans have the id 'a-1'"),
        ([LEAST, {**LEAST, "scan_id": "a1"}], "two ids make one subject label: 'a-1' and 'a1'"),
        ('[{"scan_id": "a", "scan_id": "b", "scan_group": "c"}]', "the key 'scan_id' stands twice"),
        ([{**LEAST, "length_min": "ten"}], "'a-1': length_min must be a number. Got \"'ten'\""),
        ([{**LEAST, "attributes": [1]}], "attributes must be an object"),
        ([{**LEAST, "trk_file": 3}], "trk_file must be a path"),
        ([{**LEAST, "track_labels": {}}], None),
        ([{**LEAST, "track_labels": [{"name": "-"}]}], r"track_labels\[0\] must have a name"),
        ([{**LEAST, "track_labels": [{"name": "A", "parameters": {"x": [1]}}]}], "parameters must be numbers or text"),
        ([{**LEAST, "trk_space": "my space"}], "trk_space must be qsdr, MNI, native"),
        ([{**LEAST, "track_labels": [{"name": "A"}, {"name": "A"}]}], "have the same name and parameters"),
        ([{**LEAST, "attributes": {"a b": 1, "a-b": 2}}], "two attributes make the column 'a_b'"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path, content, says):
    path = written(tmp_path, content)
    if says is None:  # an empty object where a list is meant is nothing at all
        assert read_local_data(path).scans[0].track_labels == ()
        return
    with pytest.raises(InputDataError, match=says.replace("\"'ten'\"", ".*ten")):
        import_dsi2(path, tmp_path / "out")
    assert not (tmp_path / "out" / "participants.tsv").exists()


def test_all_missing_files_are_listed_and_nothing_is_written(own, tmp_path):
    (own / "subj01" / "QSDR.nsm.trk").unlink()
    (own / "atlases" / "scale60.graphml").unlink()
    with pytest.raises(MissingInputError) as caught:
        import_dsi2(own / "local_data.json", tmp_path / "out")
    lines = str(caught.value).splitlines()
    assert "names 3 files that are not there; nothing was written" in lines[0]
    assert [line.split(": ")[0].strip() for line in lines[1:]] == ["subj01", "subj01", "subj02"]
    assert "trk_file" in lines[1]
    assert "track_labels[1].graphml_path" in lines[3]
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_in_it_is_not_written_to(own, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match="is not empty"):
        import_dsi2(own / "local_data.json", tmp_path / "out")
    import_dsi2(own / "local_data.json", tmp_path / "out", force=True)
    assert (tmp_path / "out" / "mine.txt").read_text() == "keep"


class Bomb:
    """What a pickle can do when it is opened."""

    def __reduce__(self):
        return (Path.touch, (Path("opened"),))


def test_pickles_are_never_opened(own, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (own / "subj01" / "subj01.pkl").write_bytes(pickle.dumps(Bomb()))
    np.save(own / "subj01" / "subj01.scale33.npy", np.array([Bomb()], object), allow_pickle=True)
    with pytest.raises(InputDataError, match="allow_pickle=False"):
        import_dsi2(own / "local_data.json", tmp_path / "out")
    (own / "subj01" / "subj01.scale33.npy").unlink()
    import_dsi2(own / "local_data.json", tmp_path / "again")
    assert not Path("opened").exists()
    assert not list((tmp_path / "again").rglob("*.pkl"))


def test_labels_of_another_tractogram_are_refused(own, tmp_path):
    np.save(own / "subj01" / "subj01.scale33.npy", np.arange(5))
    with pytest.raises(InputDataError, match=r"one label for each of the \d+ streamlines .* Got 5"):
        import_dsi2(own / "local_data.json", tmp_path / "out")


# --- what comes of it


def test_every_field_has_its_place(own, tmp_path, tree):
    (own / "subj01" / "subj01.scale33.npy").unlink()  # of the other tractogram
    path = changed(own, colour="red", pkl_trk_path="subj02/QSDR.nsm.trk", track_scalars=[{"name": "gfa"}])
    data, made = import_dsi2(path, tmp_path / "out")
    assert data.warnings == ("scan 'subj01': key not known and left out: colour",)
    folder = tmp_path / "out/derivatives/dsi2/sub-subj01/dwi"
    start = "sub-subj01_space-MNI152NLin2009aAsym"
    names = {p.name.removeprefix(start) for p in folder.iterdir()}
    labelled = "_seg-Lausanne_scale-33_desc-dilation2"
    assert {"_desc-wholebrain_tractography.trk", "_desc-original_tractography.trk", "_desc-wholebrain_index.npz",
            f"{labelled}_dseg.nii.gz", f"{labelled}_dseg.tsv", f"{labelled}_tracklabels.npz",
            f"{labelled}_connectivity.tsv"} <= names  # fmt: skip
    assert (folder / f"{start}_desc-wholebrain_tractography.trk").read_bytes() == (
        own / "subj02/QSDR.nsm.trk"
    ).read_bytes()  # dsi2's own is what labels belong to
    said = json.loads((folder / f"{start}_desc-wholebrain_tractography.json").read_text())
    assert [said[k] for k in ("Software", "ReconstructionMethod", "MinimumLength", "MaximumLength", "AngularThreshold",
                              "QAThreshold", "GFAThreshold", "Smoothing", "Study", "TractographySpace")] == [
        "DSI Studio", "qsdr", 10, 400, 55, 1.0, 0, 0.0, "example study", "qsdr"]  # fmt: skip
    assert said["TrackScalars"] == [{"name": "gfa"}]
    table = pd.read_csv(folder / f"{start}{labelled}_dseg.tsv", sep="\t")
    assert table.iloc[3].tolist() == [4, "Brain-Stem"]
    facts = json.loads((folder / f"{start}{labelled}_dseg.json").read_text())
    assert facts["Parameters"] == {"scale": 33, "dilation": 2}
    assert facts["NamesFile"] == "scale33.graphml"
    assert (said["PickledIndex"], said["PickledIndexOpened"]) == ("subj01.pkl", False)
    assert made[0].labelings[0][0] == labelled.removeprefix("_")


def test_labels_of_dsi2s_own_keep_name_parameters_and_notes_without_a_volume(own, tmp_path):
    alone = {
        "name": "Lausanne",
        "parameters": {"scale": 33},
        "notes": "checked by eye",
        "numpy_path": "subj01/subj01.scale33.npy",
    }
    data, made = import_dsi2(changed(own, track_labels=[alone, {"name": "AAL"}]), tmp_path / "out")
    assert data.warnings == (
        "scan 'subj01': track_labels[1] has no volume_path and no labels of dsi2's: it labels nothing",
    )
    folder = tmp_path / "out/derivatives/dsi2/sub-subj01/dwi"
    start = folder / "sub-subj01_space-MNI152NLin2009aAsym_seg-Lausanne_scale-33"
    said = json.loads(Path(f"{start}_dsi2labels.json").read_text())
    assert (said["Name"], said["Parameters"], said["Notes"]) == ("Lausanne", {"scale": 33}, "checked by eye")
    np.testing.assert_array_equal(np.load(f"{start}_dsi2labels.npy"), np.load(own / "subj01/subj01.scale33.npy"))
    assert [name for name, *_ in made[0].labelings] == ["seg-Lausanne_scale-33"]


def test_a_trk_whose_header_has_no_place_gets_that_of_the_label_volume(own, tmp_path, shared_data):
    old = shared_data / "edge-cases/CST_L_original_trackvis_no_vox2ras.trk"
    image = shared_data / "published-cst/FA.nii.gz"
    labels = [{"name": "halves", "parameters": {}, "volume_path": "halves.nii.gz"}]
    path = changed(own, trk_file=str(old), track_labels=labels)
    with pytest.raises(MissingInputError, match=r"halves\.nii\.gz"):
        import_dsi2(path, tmp_path / "none")
    grid = read_volume(image)
    halves = np.ones(grid.data.shape, np.uint8)
    halves[:, :, : halves.shape[2] // 2] = 2
    nib.save(nib.Nifti1Image(halves, grid.affine), own / "halves.nii.gz")
    import_dsi2(path, tmp_path / "out")
    folder = tmp_path / "out/derivatives/dsi2/sub-subj01/dwi"
    placed = read_bundle(next(folder.glob("*_tractography.trk")))  # without any reference
    np.testing.assert_allclose(placed.points, read_bundle(old, grid).points, atol=1e-3)
    assert "PlacedBy" in json.loads(next(folder.glob("*_tractography.json")).read_text())
    changed(own, track_labels=[])
    with pytest.raises(TractogramError, match="no vox_to_ras"):
        import_dsi2(path, tmp_path / "again")


def test_the_index_and_the_labels_are_those_of_the_tractogram(project, tmp_path):
    import_dsi2(project / "local_data.json", tmp_path / "out")
    folder = tmp_path / "out/derivatives/dsi2/sub-subj01/dwi"
    bundle = read_bundle(next(folder.glob("*_tractography.trk")))
    index, name = read_index(next(folder.glob("*_index.npz")))
    assert (folder / name).is_file()
    assert index.n_streamlines == bundle.n_streamlines
    middle = bundle.points[bundle.offsets[7] + 20]
    assert 7 in index.in_sphere(middle, 0.0)
    labeling = read_labeling(next(folder.glob("*scale-33*_tracklabels.npz")))
    assert len(labeling.pairs.labels) == bundle.n_streamlines
    assert "lh.precentral" in labeling.names
    theirs = np.load(next(folder.glob("*scale-33*_dsi2labels.npy")), allow_pickle=False)
    np.testing.assert_array_equal(theirs, np.arange(bundle.n_streamlines) % 7)
    assert len(list(folder.glob("*_dsi2labels.npy"))) == 1  # dsi2 had not made the other


def test_people_are_read_as_the_group_level_reads_them(own, tmp_path):
    path = changed(own, attributes={"age": 30, "Score (1)": 2.5, "smoker": True, "group": "x", "note": None, "l": [1]})
    data, _ = import_dsi2(path, tmp_path / "out")
    assert data.warnings == ("scan 'subj01': attribute 'l' is no single value and is left out",)
    table, _ = read_design(tmp_path / "out", None)
    assert table["participant_id"].tolist() == ["sub-subj01", "sub-subj02"]
    assert table["group"].cat.categories.tolist() == ["control", "tbi"]
    assert table["Score_1"].tolist()[0] == 2.5
    assert table["smoker"].tolist()[0] == "true"
    assert table["attribute_group"].tolist()[0] == "x"


def test_the_control_group_is_the_reference_and_whole_numbers_stay_whole(tmp_path):
    scans = [{"scan_id": "b", "scan_group": "HC", "attributes": {"iq": 100}}, {"scan_id": "c", "scan_group": "AD"}]
    import_dsi2(written(tmp_path, scans), tmp_path / "out")
    table, _ = read_design(tmp_path / "out", None)
    assert table["group"].cat.categories.tolist() == ["HC", "AD"]
    assert (tmp_path / "out/participants.tsv").read_text() == (
        "participant_id\tscan_id\tgroup\tiq\nsub-b\tb\tHC\t100\nsub-c\tc\tAD\tn/a\n"
    )


def test_one_object_is_one_scan_and_root_moves_the_paths(project, tmp_path):
    scan = json.loads((project / "local_data.json").read_text())[1]
    path = written(tmp_path, scan)
    with pytest.raises(MissingInputError):
        import_dsi2(path, tmp_path / "out")
    _, made = import_dsi2(path, tmp_path / "out", project, space="MNI152NLin6Asym")
    assert [m.label for m in made] == ["subj02"]
    assert "space-MNI152NLin6Asym" in made[0].tractogram


def test_a_second_import_has_the_same_bytes(project, tmp_path, tree):
    for name in ("one", "two"):
        import_dsi2(project / "local_data.json", tmp_path / name)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_a_file_named_like_a_tract_is_that_bundle_and_goes_through_the_participant_level(shared_data, tmp_path, cli):
    real = shared_data / "real-mni/derivatives/tractseg/sub-tractseg/dwi"
    shutil.copy(next(real.glob("*_tract-CSTleft_*.trk")), tmp_path / "CST_left.trk")
    path = written(tmp_path, {**LEAST, "trk_space": "mni", "trk_file": "CST_left.trk"})
    import_dsi2(path, tmp_path / "out")
    maps = tmp_path / "maps"
    (maps / "sub-a1/dwi").mkdir(parents=True)
    (maps / "dataset_description.json").write_text(
        '{"Name": "m", "BIDSVersion": "1.10.0", "DatasetType": "derivative", "GeneratedBy": [{"Name": "x"}]}'
    )
    shutil.copy(
        next(real.glob("*_dwimap.nii.gz")), maps / "sub-a1/dwi/sub-a1_space-MNI152NLin6Asym_param-fa_dwimap.nii.gz"
    )
    ended = cli(tmp_path / "out", tmp_path / "done", "participant", "--atlas", shared_data / "atlas-hcp1065",
                "-d", f"dsi2={tmp_path / 'out/derivatives/dsi2'}", f"maps={maps}", "--n-procs", 1)  # fmt: skip
    assert ended.status == 0, ended.err
    table = pd.read_csv(next((tmp_path / "done").rglob("*_desc-bundle_tractometry.tsv")), sep="\t")
    assert table.loc[table["status"] == "ok", "n_streamlines"].tolist() == [1000]
    assert cli("validate", tmp_path / "done").status == 0


@pytest.mark.parametrize("part", ["", "derivatives/dsi2"])
def test_the_bids_validator_has_no_objection(project, tmp_path, part):
    tool = Path(sys.executable).parent / "bids-validator-deno"
    if not tool.is_file():
        pytest.skip("bids-validator-deno is absent; the extra 'test' installs it")
    import_dsi2(project / "local_data.json", tmp_path / "out")
    command = [tool, tmp_path / "out" / part, "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [i for i in issues if i["severity"] == "error"] == []
