"""write_back: group results on the atlas's streamlines and in volumes, against the tables that they come from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.spatial import cKDTree

from spectra_bids.dataset.grids import load_grid, stored_grids, write_grid
from spectra_bids.dataset.outputs import read_table, sha256
from spectra_bids.figures.scene_colours import GREY
from spectra_bids.geometry.grid import assign, nodes_only
from spectra_bids.io.contents import read_tractogram
from spectra_bids.io.tractograms import read_bundle
from spectra_bids.io.trk import HEADER

MODEL = "toy"
FORMULA = "value ~ group + age"
SPACE = "space-MNI152NLin2009aSym_"


@pytest.fixture(scope="module")
def out(study, tmp_path_factory, cli):
    """The study with a model of two terms."""
    folder = Path(shutil.copytree(study.out, tmp_path_factory.mktemp("written") / "out"))
    ended = cli(study.bids, folder, "group", "--formula", FORMULA, "--model-name", MODEL, "--n-procs", 1)
    assert ended.status == 0, ended.err
    return folder


@pytest.fixture
def run(out, study, tmp_path, cli):
    """write-back with the study's atlas to a folder of the test's own."""

    def go(*more, source=out, atlas=study.atlas):
        return cli("write-back", source, "-o", tmp_path / "back", *(("--atlas", atlas) if atlas else ()), *more)

    return go


def stats(out, dims):
    return read_table(out / f"group/model-{MODEL}/model-{MODEL}_desc-profile{dims}_stats.tsv")


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def atlas_file(study, name):
    return next(p for p in study.atlas.glob("*.trk") if p.stem.replace("_", "") == name)


def expected(out, table, name, where, column, dims):
    """A column of the table at points that lie at `where`; NaN where no row is."""
    rows = table[table["bundle"] == name]
    key = ["s"] if dims == "1D" else ["s", "r"]
    cells = {tuple(k): v for *k, v in rows[[*key, column]].astype(float).itertuples(index=False)}
    at = [where.s] if dims == "1D" else [where.s, where.r_bin]
    return np.array([cells.get(cell, np.nan) for cell in zip(*(x.tolist() for x in at), strict=True)])


# --- what is refused ------------------------------------------------------------------------------------------------


class Refused(NamedTuple):
    line: str
    status: int
    said: str


@pytest.mark.parametrize(
    "refused",
    [
        Refused("--model other", 66, "model-other"),
        Refused("--bundle CST", 2, "no CST. There are:"),
        Refused("--contrast sex", 2, "no sex. There are: group, age"),
        Refused("--scalar md", 2, "no md"),
        Refused("--what t_value", 2, "no numbers called t_value. There are: s_mm"),
        Refused("--what contrast", 2, "no numbers called contrast"),
        Refused("--format vtk", 2, "vtk"),
        Refused("--voxel-size 0", 2, "0.1..10"),
        Refused("--format trk --what value p q se df n estimate", 2, "room for 5 columns"),
        Refused("--reference absent.nii.gz", 66, "absent.nii.gz"),
        Refused("--format nii --reference SMALL", 65, "lie outside of the image"),
    ],
    ids=lambda refused: refused.line,
)
def test_wrong_options_are_one_line_with_their_exit_status(run, tmp_path, refused):
    nib.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4)).to_filename(tmp_path / "small.nii.gz")
    line = refused.line.replace("SMALL", str(tmp_path / "small.nii.gz")).split()
    ended = run(*line)
    assert (ended.status, "Traceback" in ended.err) == (refused.status, False)
    assert refused.said in ended.err
    assert not list(tmp_path.glob("back/*tractogram*"))


def test_files_that_are_there_stay_as_they_are_unless_forced(run, tmp_path):
    made = run("--contrast", "age")
    assert made.status == 0
    first, *_, last = (Path(line) for line in made.out.split())
    first.unlink()
    last.write_text("mine")
    ended = run("--contrast", "age")
    assert ended.status == 73
    assert "--force" in ended.err
    assert last.read_text() == "mine"
    assert not first.exists()
    assert run("--contrast", "age", "--force").status == 0
    assert last.stat().st_size > 4


def test_another_atlas_than_the_grids_own_is_refused(run, study, tmp_path):
    other = Path(shutil.copytree(study.atlas, tmp_path / "atlas"))
    path = next(p for p in sorted(other.iterdir()) if p.suffix == ".trk")
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    ended = run(atlas=other)
    assert ended.status == 65
    assert "is not the file that the grid of" in ended.err


def test_without_streamlines_the_error_asks_for_the_atlas(run, out, tmp_path):
    bare = Path(shutil.copytree(out, tmp_path / "bare"))
    for path in bare.glob("atlas/*_streamlines.tck"):
        path.unlink()
    ended = run(source=bare, atlas=None)
    assert ended.status == 66
    assert "--atlas" in ended.err


def test_profiles_without_places_are_refused(run, out, study, tmp_path):
    """As import-afq leaves them: grids of nodes alone."""
    bare = Path(shutil.copytree(out, tmp_path / "bare"))
    for name, (label, path) in stored_grids(bare).items():
        in_1d = load_grid(bare, label, name).in_1d
        path.unlink()
        write_grid(bare, label, nodes_only(name, in_1d), None, sha256(atlas_file(study, name)))
    ended = run("--dims", "1D", source=bare)
    assert ended.status == 65
    assert "not known where the nodes" in ended.err


# --- streamlines ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["trx", "trk"])
@pytest.mark.parametrize("dims", ["1D", "2D"])
def test_each_point_has_the_numbers_of_its_cell_and_their_colour(run, out, study, tmp_path, kind, dims):
    ended = run("--dims", dims, "--contrast", "group", "--format", kind)
    assert ended.status == 0, ended.err
    table = stats(out, dims)
    table = table[table["contrast"] == "group"]
    scalar = table["scalar"].iloc[0].replace("_", "")
    label = next(iter(stored_grids(out).values()))[0]
    for name in dict.fromkeys(table["bundle"]):
        stem = f"{SPACE}model-{MODEL}_contrast-group_scalar-{scalar}_bundle-{name}_desc-profile{dims}_tractogram"
        found = read_tractogram(tmp_path / f"back/{stem}.{kind}")
        atlas = read_bundle(atlas_file(study, name))
        assert found.bundle.n_streamlines == atlas.n_streamlines
        where = assign(load_grid(out, label, name), found.bundle)
        numbers = {key: values[:, 0] for key, values in found.per_point.items() if key != "color"}
        np.testing.assert_array_equal(numbers["s"], where.s)
        assert ("r" in numbers) is (dims == "2D")
        for column in ("value", "estimate", "p", "q", "rejected"):
            wanted = expected(out, table, name, where, column, dims)
            np.testing.assert_allclose(numbers[column], wanted, rtol=1e-6, err_msg=f"{name} {column}")
        colour, value = found.per_point["color"], numbers["value"]
        grey = np.rint(255 * np.array(GREY))
        assert (colour[np.isnan(value)] == grey).all()
        facts = json.loads((tmp_path / f"back/{stem}.json").read_text())
        assert set(facts["DataPerVertex"]) == set(found.per_point)
        low, high = facts["ColorLimits"]
        assert low == -high == pytest.approx(-np.nanmax(np.abs(table["value"])), rel=1e-5)
        # red above zero, blue below, the more the further
        known = np.isfinite(value)
        share = (colour[known, 0].astype(float) - colour[known, 2]) * np.sign(value[known])
        assert (share[np.abs(value[known]) > 0.2 * high] > 0).all()


def test_nibabel_and_trx_python_read_the_numbers(run, tmp_path):
    from trx.trx_file_memmap import load

    assert run("--contrast", "group", "--format", "trk", "trx").status == 0
    path = sorted(tmp_path.glob("back/*.trk"))[0]
    trk = nib.streamlines.load(path)
    # TrackVis takes the k-th name for the k-th value: the three of the colour come last
    names = ["s", "r", "value", "estimate", "p", "q", "rejected", "color"]
    stored = np.frombuffer(path.read_bytes()[:1000], HEADER)[0]
    assert [n.split(b"\0")[0].decode() for n in stored["scalar_name"].tolist()] == [*names, "", ""]
    assert stored["n_scalars"] == 10
    assert set(trk.tractogram.data_per_point) == set(names)
    trx = load(str(sorted(tmp_path.glob("back/*.trx"))[0]))
    assert set(trx.data_per_vertex) == set(trk.tractogram.data_per_point)
    np.testing.assert_array_equal(trx.data_per_vertex["s"].get_data(), trk.tractogram.data_per_point["s"].get_data())
    trx.close()


def test_bundles_contrasts_and_columns_are_chosen_and_the_first_column_makes_the_colour(run, out, tmp_path):
    name = stats(out, "2D")["bundle"].iloc[0]
    ended = run("--bundle", name, "--contrast", "age", "group", "--what", "p", "estimate_std")
    assert ended.status == 0, ended.err
    assert len(ended.out.split()) == 2
    facts = json.loads(Path(ended.out.split()[0].replace(".trx", ".json")).read_text())
    assert (facts["ColorOf"], facts["ColorLimits"]) == ("p", [0.0, 1.0])
    assert list(facts["DataPerVertex"]) == ["s", "r", "p", "estimate_std", "color"]


def test_display_streamlines_of_the_output_directory_serve_without_an_atlas(run, out, study, tmp_path, cli):
    """As the participant level stores them: some streamlines of each atlas bundle beside its grid."""
    source = Path(shutil.copytree(out, tmp_path / "copy"))
    for name, (_, path) in stored_grids(source).items():
        file = path.with_name(path.name.replace("_grid.json", "_streamlines.tck"))
        if not file.is_file():
            assert cli("convert", atlas_file(study, name), file).status == 0
    ended = run("--contrast", "group", source=source, atlas=None)
    assert ended.status == 0, ended.err
    assert len(ended.out.split()) == stats(out, "2D")["bundle"].nunique()


# --- volumes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", ["1D", "2D"])
def test_each_voxel_has_the_label_and_the_numbers_of_the_cell_that_its_centre_is_in(run, out, study, tmp_path, dims):
    ended = run("--dims", dims, "--format", "nii", "--contrast", "group", "--what", "value", "rejected",
                "--voxel-size", 2)  # fmt: skip
    assert ended.status == 0, ended.err
    table = stats(out, dims)
    table = table[table["contrast"] == "group"]
    label = next(iter(stored_grids(out).values()))[0]
    for name in dict.fromkeys(table["bundle"]):
        stem = f"{SPACE}atlas-{label}_bundle-{name}_desc-profile{dims}_dseg"
        image, cells = nib.load(tmp_path / f"back/{stem}.nii.gz"), read_table(tmp_path / f"back/{stem}.tsv")
        data = np.asarray(image.dataobj)
        assert (image.shape, image.get_data_dtype()) == ((97, 115, 97), np.uint16)
        grid = load_grid(out, label, name)
        assert len(cells) == (grid.in_1d if dims == "1D" else grid.in_2d).sum()
        assert set(np.unique(data)) - {0} <= set(cells["index"])
        counts = pd.Series(data.ravel()).value_counts()
        assert cells["n_voxels"].tolist() == [counts.get(index, 0) for index in cells["index"]]
        # a voxel has a label if a streamline passes, and that of the node and bin its centre is next to
        atlas = read_bundle(atlas_file(study, name)).points
        inverse = np.linalg.inv(image.affine)
        through = np.rint(atlas @ inverse[:3, :3].T + inverse[:3, 3]).astype(int)
        voxels = np.argwhere(data > 0)
        centres = voxels @ image.affine[:3, :3].T + image.affine[:3, 3]
        assert cKDTree(atlas).query(centres)[0].max() < 6  # half a step of DIPY's packaged bundles, and of a voxel
        node = np.linalg.norm(centres[:, None] - grid.nodes, axis=2).argmin(axis=1)
        side = ((centres - grid.nodes[node]) * grid.axes[node]).sum(axis=1)
        r = np.digitize(side, grid.edges[1:-1])
        wanted = 1 + node if dims == "1D" else 1 + node * grid.nr + r
        assert (data[tuple(voxels.T)] == wanted).mean() > 0.999
        assert (data[tuple(through.T)] > 0).mean() > 0.95
        for column, stat in (("value", "t"), ("rejected", "rejected")):
            path = next((tmp_path / "back").glob(f"*_bundle-{name}_desc-profile{dims}_stat-{stat}_statmap.nii.gz"))
            found = nib.load(path)
            values = np.asarray(found.dataobj)
            assert found.get_data_dtype() == np.float32
            np.testing.assert_array_equal(found.affine, image.affine)
            key = ["s"] if dims == "1D" else ["s", "r"]
            rows = table[table["bundle"] == name].merge(cells[[*key, "index"]], on=key)
            known = dict(zip(rows["index"], rows[column].astype(float), strict=True))
            wanted = np.array([known.get(i, np.nan) for i in range(int(cells["index"].max()) + 1)])[data]
            np.testing.assert_allclose(values, wanted, rtol=1e-6)


def test_a_reference_gives_the_voxels(run, tmp_path):
    affine = np.array([[-3.0, 0, 0, 100], [0, 3, 0, -140], [0, 0, 3, -90], [0, 0, 0, 1]])
    nib.Nifti1Image(np.zeros((67, 84, 70, 2), np.int16), affine).to_filename(tmp_path / "image.nii.gz")
    ended = run("--format", "nii", "trk", "--contrast", "group", "--what", "value",
                "--reference", tmp_path / "image.nii.gz")  # fmt: skip
    assert ended.status == 0, ended.err
    made = [Path(line) for line in ended.out.split()]
    image = nib.load(next(p for p in made if p.name.endswith("statmap.nii.gz")))
    assert image.shape == (67, 84, 70)
    np.testing.assert_array_equal(image.affine, affine)
    np.testing.assert_allclose(nib.streamlines.load(next(p for p in made if p.suffix == ".trk")).affine, affine)


def test_two_runs_write_the_same_bytes_and_every_file_has_its_json(run, tmp_path, tree):
    everything = ("--format", "trx", "trk", "nii", "--contrast", "group", "--voxel-size", 3)
    assert run(*everything).status == 0
    first = tree(tmp_path / "back")
    assert run(*everything, "--force").status == 0
    assert tree(tmp_path / "back") == first
    for name in names(tmp_path / "back"):
        assert name.split(".")[0] + ".json" in first
        assert str(tmp_path).encode() not in first[name] or name.endswith((".trx", ".trk", ".gz"))
