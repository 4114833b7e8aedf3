"""conversion and cli.tractograms: spectra-bids convert and merge, on toys and on the shared real tractograms."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

import spectra_bids
from spectra_bids.bundle import Bundle, Volume
from spectra_bids.io.contents import Tractogram, VoxelGrid, read_tractogram
from spectra_bids.io.tractograms import read_bundle
from spectra_bids.io.volumes import write_volume
from spectra_bids.io.writing import write_tractogram

FORMATS = ("trk", "tck", "trx", "tt.gz", "trk.gz", "tck.gz")
AFFINE = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])
GRID = VoxelGrid(AFFINE, (91, 109, 91))
AF = "Association_ArcuateFasciculusL"


def lines(n, seed):
    rng = np.random.default_rng(seed)
    return Bundle.from_streamlines([np.cumsum(rng.normal(0, 0.5, (20, 3)), axis=0) for _ in range(n)])


def put(path, tractogram):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        write_tractogram(file, path, tractogram)
    return path


@pytest.fixture
def toys(tmp_path):
    """The same streamlines in every format, and an image of their space, in a folder."""
    for name in FORMATS:
        put(tmp_path / f"in.{name}", Tractogram(lines(5, 0), GRID))
    write_volume(tmp_path / "image.nii.gz", Volume(np.zeros(GRID.shape, np.float32), AFFINE))
    return tmp_path


# --- what is refused ------------------------------------------------------------------------------------------------


class Refused(NamedTuple):
    line: str
    status: int
    said: str


@pytest.mark.parametrize(
    "refused",
    [
        Refused("convert absent.trk out.tck", 66, "absent.trk"),
        Refused("convert in.trk out.vtk", 65, "out.vtk"),
        Refused("convert in.tck out.trk", 2, "--reference"),
        Refused("convert in.tck.gz out.trx", 2, "which image its streamlines lie in"),
        Refused("convert in.tck out.trk --reference in.trk", 65, "expected an image"),
        Refused("convert in.tck out.trk --reference absent.nii.gz", 66, "absent.nii.gz"),
        Refused("convert in.trk in.tck", 73, "in.tck is there already"),
        Refused("convert in.trk in.tck/out.tck", 73, "cannot be written"),
        Refused("convert in.trk out.trx.gz", 65, "out.trx.gz"),
        Refused("convert in.trx:AF out.trk", 65, "no group 'AF'"),
        Refused("convert cut.trk out.tck", 65, "cut.trk is cut short"),
        Refused("merge absent out.tck", 66, "absent"),
        Refused("merge . out.tck --exclude in", 18, "6 are there"),
        Refused("merge . out.tck --pattern *.vtk", 18, "0 of them match --pattern '*.vtk'"),
        Refused("merge . out.tck", 65, "Two sources have the same name"),
    ],
    ids=lambda refused: refused.line,
)
def test_wrong_input_is_one_line_with_its_exit_status_and_leaves_no_file(toys, cli, monkeypatch, refused):
    monkeypatch.chdir(toys)
    (toys / "cut.trk").write_bytes((toys / "in.trk").read_bytes()[:-30])
    if refused.line.startswith("merge"):
        (toys / "cut.trk").unlink()
    before = {p.name: p.read_bytes() for p in toys.iterdir()}
    ended = cli(*refused.line.split())
    assert (ended.status, "Traceback" in ended.err) == (refused.status, False)
    assert refused.said in ended.err
    assert {p.name: p.read_bytes() for p in toys.iterdir()} == before


def test_a_run_that_fails_half_way_leaves_neither_a_half_file_nor_a_changed_one(toys, monkeypatch):
    from spectra_bids import conversion

    def fails(file, path, content):
        file.write(b"half")
        raise MemoryError

    monkeypatch.setattr(conversion, "write_tractogram", fails)
    before = {p.name: p.read_bytes() for p in toys.iterdir()}
    for target in ("out.tck", "in.tck"):
        with pytest.raises(MemoryError):
            spectra_bids.convert(toys / "in.trk", toys / target, overwrite=True)
    assert {p.name: p.read_bytes() for p in toys.iterdir()} == before


# --- every pair -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("target", FORMATS)
def test_every_format_becomes_every_other(toys, cli, source, target):
    needs = source.startswith("tck") and not target.startswith("tck")
    ended = cli("convert", toys / f"in.{source}", toys / f"out.{target}",
                *(("--reference", toys / "image.nii.gz") if needs else ()))  # fmt: skip
    assert ended.status == 0, ended.err
    assert ended.out == f"{toys / f'out.{target}'}: 5 streamlines, 100 points\n"
    found, wanted = read_bundle(toys / f"out.{target}"), lines(5, 0)
    # of a .tt.gz half of 1/32 voxel of 2 mm, once or twice
    rounded = (source == "tt.gz") + (target == "tt.gz")
    np.testing.assert_allclose(found.points, wanted.points, atol=1e-4 + rounded / 32)
    np.testing.assert_array_equal(found.offsets, wanted.offsets)


def test_force_replaces_and_a_file_may_become_itself(toys, cli):
    assert cli("convert", toys / "in.trk", toys / "in.trk", "--force").status == 0
    np.testing.assert_allclose(read_bundle(toys / "in.trk").points, lines(5, 0).points, atol=1e-4)


def test_real_streamlines_go_round_all_formats_within_a_thousandth_of_a_mm(shared_data, tmp_path, cli, caplog):
    folder = shared_data / "real-mni/derivatives/tractseg/sub-tractseg/dwi"
    stem = "sub-tractseg_space-MNI152NLin6Asym"
    for source in (shared_data / f"atlas-hcp1065/{AF}.trk", folder / f"{stem}_tract-CSTleft_tractogram.trk"):
        names = [tmp_path / f"{source.stem}.{name}" for name in ("1.trx", "2.tck", "3.trk")]
        for one, other in zip((source, *names[:-1]), names, strict=True):
            more = ("--reference", folder / f"{stem}_model-tensor_param-fa_dwimap.nii.gz") if one == names[1] else ()
            assert cli("convert", one, other, *more).status == 0
        before, after = read_bundle(source), read_bundle(names[-1])
        np.testing.assert_allclose(after.points, before.points, atol=1e-3)
        np.testing.assert_array_equal(after.offsets, before.offsets)
    assert caplog.text == ""


def test_a_real_trx_keeps_its_groups_and_a_group_of_it_is_a_bundle(shared_data, tmp_path, cli, caplog):
    source = next((shared_data / "trx").glob("*.trx"))
    assert cli("convert", source, tmp_path / "all.trx").out.endswith("508 streamlines, 141447 points, 2 groups\n")
    before, after = read_tractogram(source), read_tractogram(tmp_path / "all.trx")
    assert {name: len(rows) for name, rows in after.groups.items()} == {"ARC_L": 486, "ARC_R": 22}
    for name, rows in before.groups.items():
        np.testing.assert_array_equal(after.groups[name], rows)
    np.testing.assert_allclose(after.bundle.points, before.bundle.points, atol=1e-3)
    assert after.grid.agrees(before.grid)
    assert cli("convert", f"{source}:ARC_R", tmp_path / "r.trk").status == 0
    np.testing.assert_allclose(read_bundle(tmp_path / "r.trk").points, read_bundle(source, group="ARC_R").points,
                               atol=1e-3)  # fmt: skip
    assert caplog.text == ""
    assert cli("convert", source, tmp_path / "all.tck").status == 0
    assert "all.tck does not hold groups (ARC_L, ARC_R)" in caplog.text


def test_a_trackvis_file_without_a_place_is_put_in_it_by_its_image(shared_data, tmp_path, cli):
    """The published bundle was made of this very file by another program: its coordinates are the answer."""
    source = shared_data / "edge-cases/CST_L_original_trackvis_no_vox2ras.trk"
    refused = cli("convert", source, tmp_path / "a.trk")
    assert refused.status == 65
    assert "--reference" in refused.err
    wrong = shared_data / "real-pyafq/derivatives/afq/sub-niivue/ses-01/dwi/models"
    wrong = wrong / "sub-niivue_ses-01_model-tensor_param-fa_dwimap.nii.gz"
    other = cli("convert", source, tmp_path / "a.trk", "--reference", wrong)
    assert other.status == 65
    assert "was tracked on an image of (192, 192, 55) voxels" in other.err
    image = shared_data / "published-cst/FA.nii.gz"
    assert cli("convert", source, tmp_path / "a.trk", "--reference", image).status == 0
    published = read_bundle(shared_data / "published-cst/CST_L.trk")
    np.testing.assert_allclose(read_bundle(tmp_path / "a.trk").points, published.points, atol=1e-3)


@pytest.mark.parametrize("name", ["dpsv_demos_dps460_vs_459.trx", "dpsv_tests_legacy_offsets.trx"])
def test_a_trx_whose_lengths_disagree_is_refused(shared_data, tmp_path, cli, name):
    ended = cli("convert", shared_data / "edge-cases" / name, tmp_path / "a.tck")
    assert ended.status == 65
    assert name in ended.err
    assert not (tmp_path / "a.tck").exists()


def test_a_trx_of_float16_is_said_to_be_one(tmp_path, cli, caplog):
    import zipfile

    put(tmp_path / "a.trx", Tractogram(lines(5, 0), GRID))
    with zipfile.ZipFile(tmp_path / "a.trx") as whole, zipfile.ZipFile(tmp_path / "half.trx", "w") as half:
        for item in whole.namelist():
            raw = whole.read(item)
            packed = np.frombuffer(raw, "f4").astype("f2").tobytes() if item.startswith("positions") else raw
            half.writestr(item.replace("positions.3.float32", "positions.3.float16"), packed)
    assert cli("convert", tmp_path / "half.trx", tmp_path / "b.trk").status == 0
    assert "float16" in caplog.text
    np.testing.assert_allclose(read_bundle(tmp_path / "b.trk").points, lines(5, 0).points, atol=5e-3)


# --- merge ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def several(tmp_path):
    """Three bundles in three formats and folders."""
    folder = tmp_path / "bundles"
    put(folder / "AF_L.trk", Tractogram(lines(3, 1), GRID, per_point={"fa": np.full((60, 1), 0.5, "f4")}))
    put(folder / "more/sub-01_tract-CST_hemi-L_tractogram.tck.gz", Tractogram(lines(4, 2)))
    put(folder / "more/cranial/CNII.trx", Tractogram(lines(2, 3), GRID, {"left": np.array([1])}))
    return folder


def test_each_source_is_a_group_and_its_own_groups_stay(several, tmp_path, cli, caplog):
    ended = cli("merge", several, tmp_path / "all.trx")
    assert ended.status == 0, ended.err
    assert ended.out.splitlines()[:3] == ["AF_L: 3 streamlines", "CNII: 2 streamlines", "CSTL: 4 streamlines"]
    found = read_tractogram(tmp_path / "all.trx")
    expected = {"AF_L": [0, 1, 2], "CNII": [3, 4], "CSTL": [5, 6, 7, 8], "left": [4]}
    assert {name: rows.tolist() for name, rows in found.groups.items()} == expected
    for name, (n, seed) in {"AF_L": (3, 1), "CNII": (2, 3), "CSTL": (4, 2)}.items():
        np.testing.assert_allclose(read_bundle(tmp_path / "all.trx", group=name).points, lines(n, seed).points,
                                   atol=1e-4)  # fmt: skip
    assert "numbers per point that not all sources have: lost: fa" in caplog.text


def test_exclude_takes_texts_and_patterns_in_any_case_and_pattern_chooses(several, tmp_path, cli):
    assert cli("merge", several, tmp_path / "a.tck", "--exclude", "CRANIAL").out.endswith("7 streamlines of 2 files\n")
    assert cli("merge", several, tmp_path / "b.tck", "--exclude", "af*.trk", "none").out.endswith(
        "6 streamlines of 2 files\n"
    )
    assert cli("merge", several, tmp_path / "c.tck", "--pattern", "*.trk").out.endswith("3 streamlines of 1 files\n")
    assert cli("merge", several, tmp_path / "d.tck", "--pattern", "more/*").out.endswith("6 streamlines of 2 files\n")


def test_a_target_in_the_folder_is_no_source(several, cli):
    for _ in range(2):
        ended = cli("merge", several, several / "all.trx", "--force")
        assert ended.out.endswith("9 streamlines of 3 files\n")


def test_sources_on_different_images_are_a_warning_unless_a_reference_is_given(several, tmp_path, cli, caplog):
    put(several / "other.trk", Tractogram(lines(3, 1), VoxelGrid(np.eye(4), (9, 9, 9))))
    write_volume(tmp_path / "image.nii.gz", Volume(np.zeros((8, 8, 8), np.float32), np.diag([3.0, 3, 3, 1])))
    assert cli("merge", several, tmp_path / "b.trk", "--reference", tmp_path / "image.nii.gz").status == 0
    assert "different images" not in caplog.text
    assert read_tractogram(tmp_path / "b.trk").grid.shape == (8, 8, 8)
    assert cli("merge", several, tmp_path / "a.trk").status == 0
    assert "AF_L.trk and" in caplog.text
    assert read_tractogram(tmp_path / "a.trk").grid.agrees(GRID)


def test_files_of_one_name_in_two_folders_are_told_apart(tmp_path):
    for side in ("left", "right"):
        put(tmp_path / f"in/{side}/AF.trx", Tractogram(lines(2, 0), GRID, {"core": np.array([0])}))
    made = spectra_bids.merge(tmp_path / "in", tmp_path / "all.trx")
    assert made == {"left_AF": 2, "right_AF": 2}
    assert set(read_tractogram(tmp_path / "all.trx").groups) == {"left_AF", "right_AF", "left_AF_core", "right_AF_core"}


def test_the_atlas_without_its_commissures_is_one_tck(shared_data, tmp_path, cli, caplog):
    ended = cli("merge", shared_data / "atlas-hcp1065", tmp_path / "a.tck", "--exclude", "commissure")
    assert ended.status == 0, ended.err
    sources = [p for p in (shared_data / "atlas-hcp1065").glob("*.trk") if "Commissure" not in p.name]
    counts = [read_bundle(p).n_streamlines for p in sorted(sources)]
    assert read_bundle(tmp_path / "a.tck").n_streamlines == sum(counts)
    assert ended.out.endswith(f"{sum(counts)} streamlines of {len(counts)} files\n")
    assert caplog.text == ""


class Damaged(NamedTuple):
    member: str
    content: bytes
    said: str


@pytest.mark.parametrize(
    "damaged",
    [
        Damaged("groups/a.uint32", np.array([9], "u4").tobytes(), "must name streamlines 0 to 4"),
        Damaged("header.json", b'{"NB_VERTICES": 100, "NB_STREAMLINES": 5}', "VOXEL_TO_RASMM"),
        Damaged("header.json", b'{"NB_VERTICES": 100, "NB_STREAMLINES": 5, "DIMENSIONS": [1e400, 2, 3], '
                b'"VOXEL_TO_RASMM": [[1,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]]}', "DIMENSIONS"),
        Damaged("header.json", b'{"NB_VERTICES": 100, "NB_STREAMLINES": 5, "DIMENSIONS": [1, 2, 3], '
                b'"VOXEL_TO_RASMM": [[1,0,0,0],[0,1,0,0],[0,0,0,0],[0,0,0,1]]}', "invertible"),
    ],
    ids=lambda damaged: damaged.said,
)  # fmt: skip
def test_a_trx_with_a_wrong_header_or_group_is_refused(tmp_path, cli, damaged):
    import zipfile

    put(tmp_path / "a.trx", Tractogram(lines(5, 0), GRID, {"a": np.array([1])}))
    with zipfile.ZipFile(tmp_path / "a.trx") as whole, zipfile.ZipFile(tmp_path / "bad.trx", "w") as bad:
        for item in whole.namelist():
            bad.writestr(item, damaged.content if item == damaged.member else whole.read(item))
    ended = cli("convert", tmp_path / "bad.trx", tmp_path / "b.trx")
    assert (ended.status, "Traceback" in ended.err) == (65, False)
    assert damaged.said in ended.err


def test_a_trx_of_an_unknown_image_asks_for_one(tmp_path, cli):
    put(tmp_path / "a.trx", Tractogram(lines(5, 0), VoxelGrid(np.eye(4), (1, 1, 1))))
    ended = cli("convert", tmp_path / "a.trx", tmp_path / "a.trk")
    assert ended.status == 2
    assert "--reference" in ended.err
