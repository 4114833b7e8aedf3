"""`spectra-bids index`, `label` and `import-dsi2`: options, what is printed, what is written."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from dsi2_project import PLACE, make_project

from spectra_bids.cli.dsi2 import joined_places
from spectra_bids.geometry.voxels import index_voxels
from spectra_bids.io.contents import read_tractogram
from spectra_bids.io.tractograms import read_bundle
from spectra_bids.io.volumes import read_volume
from spectra_bids.io.voxel_index import read_index


@pytest.fixture(scope="module")
def project(shared_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tools")
    make_project(shared_data / "real-mni", folder / "project", n=1)
    return folder / "project"


@pytest.fixture
def trk(project):
    return project / "subj01" / "QSDR.nsm.trk"


@pytest.fixture
def ref(shared_data):
    return next((shared_data / "real-mni").rglob("*_dwimap.nii.gz"))


def sphere() -> str:
    return ",".join(f"{x:g}" for x in PLACE)


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--sphere", "1,2,3"], 2, "--sphere takes 4 numbers"),
        (["--sphere", "-1,2,3,-4"], 2, "radius is at least 0"),
        (["--voxel", "1,2,3.5"], 2, "whole numbers"),
        (["--voxel", "-1,2,3"], 2, "lies outside"),
        (["--ids", "ids.txt"], 2, "need a place"),
        (["--mask", "none.nii.gz"], 66, "no file none.nii.gz"),
        (["--sphere", "0,0,0,5", "--save", "out.txt"], 65, "must be one of"),
    ],
)
def test_what_cannot_be_asked_is_refused(cli, trk, ref, arguments, status, says):
    ended = cli("index", trk, "--ref", ref, *arguments)
    assert ended.status == status
    assert says in ended.err


def test_a_mask_on_another_grid_is_refused(cli, trk, ref, project, tmp_path):
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4)), tmp_path / "m.nii.gz")
    ended = cli("index", trk, "--ref", ref, "--mask", tmp_path / "m.nii.gz")
    assert ended.status == 65
    assert "must lie on the grid of the index" in ended.err


@pytest.mark.parametrize("tool", ["index", "label"])
def test_a_pickle_is_refused_with_the_way_on(cli, tool, project, tmp_path):
    (tmp_path / "subj01.pkl").write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    more = [project / "atlases/scale33.nii.gz"] if tool == "label" else []
    ended = cli(tool, tmp_path / "subj01.pkl", *more)
    assert ended.status == 65
    assert "is not opened" in ended.err
    assert "Give the tractogram itself" in ended.err


@pytest.mark.parametrize("flag", ["-o", "--ids", "--save"])
def test_the_index_replaces_no_input_and_no_file_that_is_no_index(cli, trk, ref, tmp_path, flag):
    own = tmp_path / "own.trk"
    own.write_bytes(trk.read_bytes())
    ask = ["index", own, "--ref", ref, f"--sphere={sphere()}"]
    ended = cli(*ask, flag, own, "--force")
    assert ended.status == 2
    assert "would replace an input" in ended.err or "ends in .npz" in ended.err
    other = tmp_path / ("other.npz" if flag == "-o" else "other.trk")
    other.write_bytes(b"a profile")
    ended = cli(*ask, flag, other)
    assert ended.status == 73
    assert "--force" in ended.err
    assert own.read_bytes() == trk.read_bytes()
    assert other.read_bytes() == b"a profile"
    assert cli(*ask, flag, other, "--force").status == 0
    assert other.read_bytes() != b"a profile"
    if flag == "-o":
        assert cli(*ask, flag, other).status == 0, "an index takes an index's place"


def test_negative_coordinates_are_no_options():
    assert joined_places(["--sphere", "-1,2,3,4", "--ids", "x"]) == ["--sphere=-1,2,3,4", "--ids", "x"]
    assert joined_places(["--voxel", "--ids"]) == ["--voxel", "--ids"]


def test_an_index_answers_as_its_tractogram_does(cli, trk, ref, tmp_path):
    made = cli("index", trk, "--ref", ref, "-o", tmp_path / "i.npz")
    assert made.status == 0, made.err
    index, name = read_index(tmp_path / "i.npz")
    assert name == trk.name
    assert f"{index.n_streamlines} streamlines in {len(index.voxels)} voxels" in made.out
    alone = cli("index", tmp_path / "i.npz")
    assert f"{index.n_streamlines} streamlines in {len(index.voxels)} voxels of {index.shape}" in alone.out
    one = cli("index", trk, "--ref", ref, "--sphere", sphere())
    other = cli("index", tmp_path / "i.npz", "--sphere", sphere())
    assert one.out == other.out
    ids = index.in_sphere(np.array(PLACE[:3]), PLACE[3])
    assert other.out.splitlines() == [f"{len(ids)} of {index.n_streamlines} streamlines pass",
                                      " ".join(map(str, ids.tolist()))]  # fmt: skip


def test_without_a_reference_the_grid_is_the_tractograms_own(cli, trk, ref, tmp_path):
    cli("index", trk, "--ref", ref, "-o", tmp_path / "a.npz")
    cli("index", trk, "-o", tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_several_places_are_passed_by_those_that_pass_all(cli, trk, ref, tmp_path):
    bundle, image = read_bundle(trk), read_volume(ref)
    index = index_voxels(bundle, image.affine, image.data.shape)
    flat = index.voxels[np.diff(index.offsets).argmax()]
    voxel = tuple(int(i) for i in np.unravel_index(flat, index.shape))
    both = np.intersect1d(index.at_voxel(voxel), index.in_sphere(np.array(PLACE[:3]), 20.0))
    where = ",".join(f"{x:g}" for x in (*PLACE[:3], 20))
    ended = cli("index", trk, "--ref", ref, "--voxel", ",".join(map(str, voxel)), "--sphere", where,
                "--ids", tmp_path / "ids.txt", "--save", tmp_path / "out.trx")  # fmt: skip
    assert ended.status == 0, ended.err
    assert [int(x) for x in (tmp_path / "ids.txt").read_text().split()] == both.tolist()
    saved = read_tractogram(tmp_path / "out.trx").bundle
    np.testing.assert_allclose(saved.points, bundle.take(both).points, atol=1e-3)


def test_labels_are_written_beside_the_tractogram_under_its_entities(cli, project, trk, tmp_path):
    there = tmp_path / "sub-01_space-MNI152_desc-wholebrain_tractography.trk"
    there.write_bytes(trk.read_bytes())
    atlas = project / "atlases"
    ended = cli("label", there, atlas / "scale33.nii.gz", "--name", "Lausanne", "--parameters", "scale=33",
                "dilation=2", "--dilation", 2.5)  # fmt: skip
    assert ended.status == 0, ended.err
    stem = "sub-01_space-MNI152_seg-Lausanne_scale-33_desc-dilation2within2p5mm"
    assert {p.name for p in tmp_path.iterdir() if p != there} == {
        f"{stem}_tracklabels.npz", f"{stem}_tracklabels.tsv", f"{stem}_tracklabels.json", f"{stem}_connectivity.tsv"
    }  # fmt: skip
    table = pd.read_csv(tmp_path / f"{stem}_tracklabels.tsv", sep="\t")
    n = read_bundle(trk).n_streamlines
    lost = n - table["n_streamlines"].sum()
    assert f"{n} streamlines: {len(table)} pairs of 8 regions, {lost} unlabelled ({lost / n:.1%})" in ended.out
    assert "lh.temporalpole" in ended.out  # the graphml stands beside the volume
    counts = pd.read_csv(tmp_path / f"{stem}_connectivity.tsv", sep="\t")
    matrix = counts.drop(columns=["region", "name"]).to_numpy()
    np.testing.assert_array_equal(matrix, matrix.T)
    assert np.triu(matrix).sum() == table["n_streamlines"].sum()


def test_a_tractogram_in_another_space_is_said(cli, trk, ref, tmp_path, caplog):
    image = read_volume(ref)
    away = image.affine.copy()
    away[:3, 3] += 1000
    nib.save(nib.Nifti1Image(np.ones(image.data.shape, np.uint8), away), tmp_path / "away.nii.gz")
    ended = cli("label", trk, tmp_path / "away.nii.gz", "-o", tmp_path / "x")
    assert (ended.status, "No streamline has both ends in a region" in caplog.text) == (0, True)
    ended = cli("index", trk, "--ref", tmp_path / "away.nii.gz", "-o", tmp_path / "x.npz")
    assert (ended.status, "No streamline passes through the image" in caplog.text) == (0, True)


def test_a_group_of_a_trx_has_files_of_its_own(cli, project, shared_data, tmp_path):
    trx = tmp_path / "bundles.trx"
    trx.symlink_to(next((shared_data / "trx").glob("*.trx")).resolve())
    assert cli("index", f"{trx}:ARC_R").status == 0
    assert cli("label", f"{trx}:ARC_R", project / "atlases/scale33.nii.gz").status == 0
    index, name = read_index(tmp_path / "bundles_ARC_R_index.npz")
    assert (index.n_streamlines, name) == (22, "bundles.trx:ARC_R")
    assert (tmp_path / "bundles_ARC_R_seg-scale33_tracklabels.npz").is_file()
    i, j, k = np.unravel_index(index.voxels[0], index.shape)
    saved = cli("index", tmp_path / "bundles_ARC_R_index.npz", "--voxel", f"{i},{j},{k}", "--save", tmp_path / "s.tck")
    assert saved.status == 0, saved.err
    assert read_bundle(tmp_path / "s.tck").n_streamlines == np.diff(index.offsets)[0]


def test_a_wider_search_labels_more(cli, project, trk, tmp_path):
    shares = []
    for radius in (0, 5):
        stem = tmp_path / f"r{radius}"
        cli("label", trk, project / "atlases/scale33.nii.gz", "--dilation", radius, "-o", stem)
        shares.append(pd.read_csv(f"{stem}_tracklabels.tsv", sep="\t")["share"].sum())
    assert shares[0] < shares[1]


def test_bad_options_of_label_are_refused(cli, project, trk):
    volume = project / "atlases/scale33.nii.gz"
    assert "KEY=VALUE" in cli("label", trk, volume, "--parameters", "scale").err
    assert "0 or more" in cli("label", trk, volume, "--dilation", "-2").err
    assert cli("label", trk, volume, "--names", "none.graphml").status == 66


def test_the_import_says_what_it_made(cli, project, tmp_path):
    ended = cli("import-dsi2", project / "local_data.json", tmp_path / "out")
    assert ended.status == 0, ended.err
    assert "sub-subj01: 252 streamlines in" in ended.out
    assert "  seg-Lausanne_scale-33_desc-dilation2: 9 pairs, 59.1% unlabelled" in ended.out
    again = cli("import-dsi2", project / "local_data.json", tmp_path / "out")
    assert again.status == 73
    assert "is not empty" in again.err
