"""cli.profile, bundle_profile, io.atlas_grids: spectra_profile, alone and in all the commands of SPECTRA's README."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from test_profiles import buan

from spectra_bids.bundle import Bundle, Volume
from spectra_bids.cli.profile import main_profile
from spectra_bids.cli.spectra import main_lmm_fdr
from spectra_bids.cli.viz import main_viz
from spectra_bids.geometry.centroid import resample_counts
from spectra_bids.geometry.grid import build_grid
from spectra_bids.geometry.registration import apply_affine
from spectra_bids.io.contents import Tractogram, VoxelGrid
from spectra_bids.io.tractograms import read_bundle, write_bundle
from spectra_bids.io.transforms import map_points
from spectra_bids.io.volumes import read_volume, write_volume
from spectra_bids.io.writing import write_tractogram
from spectra_bids.profiles import profile

REPOSITORY = Path(__file__).resolve().parent.parent
KEYS = ["ns", "nr", "s_len", "r_len", "profile_1d", "profile_2d"]
PROGRAMS = {"spectra_profile": main_profile, "spectra_viz": main_viz, "spectra_lmm_fdr": main_lmm_fdr}


class Ended(NamedTuple):
    status: int
    out: str
    err: str


def run(*arguments, program="spectra_profile"):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = PROGRAMS[program]([str(a) for a in arguments])
        except SystemExit as stop:  # argparse
            status = int(stop.code or 0)
    return Ended(status, out.getvalue(), err.getvalue())


def in_shell(line):
    """A command line as it stands in a document, in this process."""
    program, *arguments = shlex.split(line.replace("\\\n", " "))
    return run(*arguments, program=program)


#: Head-to-head: a turn of 20 degrees, other sizes along the axes, a shift.
NATIVE = np.array([[0.9 * np.cos(0.35), -np.sin(0.35), 0, 12], [np.sin(0.35), 1.1 * np.cos(0.35), 0, -7],
                   [0, 0, 0.95, 5], [0, 0, 0, 1]])  # fmt: skip


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    """A ribbon along y in the atlas's space (rec, ref) and in the subject's (org); maps of y, of 1 and of NaN."""
    folder = tmp_path_factory.mktemp("toys")
    y = np.linspace(-50, 50, 201)
    lines = [
        np.column_stack([np.full(201, -30 + x), y, 20 + z + 0.002 * y**2])
        for x in np.arange(-10, 11, 2.0) for z in (-2, 0, 2)
    ]  # fmt: skip
    bundle = Bundle.from_streamlines(lines)
    shape = (60, 90, 60)
    atlas_affine = np.array([[2, 0, 0, -90], [0, 2, 0, -90], [0, 0, 2, -30], [0, 0, 0, 1.0]])
    place = np.indices(shape)[1] * 2.0 - 90
    maps = {"y": place, "one": np.ones(shape), "none": np.full(shape, np.nan)}
    for space, move in (("rec", np.eye(4)), ("org", NATIVE)):
        affine = move @ atlas_affine
        write_bundle(folder / f"{space}.trk", apply_affine(move, bundle), Volume(np.zeros(shape, np.float32), affine))
        for name, data in maps.items():
            write_volume(folder / f"{name}_{space}.nii.gz", Volume(data.astype(np.float32), affine))
    half = np.zeros(shape, np.float32)
    half[:, 45:] = 1
    write_volume(folder / "half_org.nii.gz", Volume(half, NATIVE @ atlas_affine))
    return folder


def made(folder, *more, rec="rec.trk", org="org.trk", maps=("y_org.nii.gz",), out):
    names = [out / f"p{k}" for k in range(len(maps))]
    pair = () if org is None else ("-org", folder / org)
    return run("-rec", folder / rec, *pair, "-ref", folder / "rec.trk", "-maps", *(folder / m for m in maps),
               "-profiles", *names, *more)  # fmt: skip


def load(path):
    with np.load(path) as stored:
        return {key: stored[key] for key in stored.files}


# --- what is asked for wrongly --------------------------------------------------------------------------------------


def test_help_names_every_flag_loads_nothing_heavy_and_the_command_is_installed_under_its_name():
    code = (
        "import sys\nfrom spectra_bids.cli.profile import main_profile\n"
        "try: main_profile(['--help'])\nexcept SystemExit: pass\n"
        "print('heavy:', {'numpy', 'nibabel', 'pandas', 'dipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("heavy: set()\n")
    for name in ["rec", "org", "ref", "maps", "profiles", "mask", "s", "r", "ns", "nr", "robust", "min_lines"]:
        assert re.search(rf"-{name}\b", done.stdout)
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    assert project["project"]["scripts"]["spectra_profile"] == "spectra_bids.cli.profile:main_profile"


class Refused(NamedTuple):
    line: str
    status: int
    said: str


@pytest.mark.parametrize(
    "refused",
    [
        Refused("-org org.trk -ref rec.trk -maps y_org.nii.gz -profiles a", 2, "-rec"),
        Refused("-rec rec.trk -org org.trk -maps y_org.nii.gz -profiles a", 2, "-ref"),
        Refused("-rec rec.trk -ref rec.trk -maps y_rec.nii.gz -profiles a -s 0", 2, "above 0"),
        Refused("-rec rec.trk -ref rec.trk -maps y_rec.nii.gz -profiles a -robust yes", 2, "linear"),
        Refused("-rec rec.trk -ref rec.trk -maps y_rec.nii.gz one_rec.nii.gz -profiles a", 2, "Got 1 for 2 maps"),
        Refused("-rec rec.trk -ref rec.trk -maps y_rec.nii.gz one_rec.nii.gz -profiles a a.npz", 2, "once"),
        Refused("-rec absent.trk -ref rec.trk -maps y_rec.nii.gz -profiles a", 66, "absent.trk"),
        Refused("-rec rec.trk -ref rec.trk -maps absent.nii.gz -profiles a", 66, "absent.nii.gz"),
        Refused("-rec rec.trk -org fewer.trk -ref rec.trk -maps y_org.nii.gz -profiles a", 65,
                "Got 33 in rec.trk and 32 in fewer.trk"),
        Refused("-rec rec.trk -org sorted.trk -ref rec.trk -maps y_org.nii.gz -profiles a", 65,
                "rec.trk and sorted.trk do not correspond"),
        Refused("-rec rec.trk -org turned.trk -ref rec.trk -maps y_org.nii.gz -profiles a", 65,
                "100 % of the streamlines of turned.trk run the other way"),
        Refused("-rec rec.trk -org far.trk -ref rec.trk -maps y_org.nii.gz -profiles a", 65,
                "100 % of the points of far.trk lie outside"),
        Refused("-rec rec.trk -ref empty.trk -maps y_rec.nii.gz -profiles a", 65, "No grid can be built on empty.trk"),
        Refused("-rec rec.trk -ref rec.trk -maps y_rec.nii.gz -profiles rec.trk/a", 73, "cannot be written"),
    ],
    ids=lambda refused: refused.line[:60],
)  # fmt: skip
def test_wrong_input_is_one_line_with_its_exit_status_and_leaves_no_file(toys, monkeypatch, refused):
    monkeypatch.chdir(toys)
    org = read_bundle(toys / "org.trk")
    grid = read_volume(toys / "y_org.nii.gz")
    shuffled = org.take(np.random.default_rng(0).permutation(org.n_streamlines))
    far = org.with_points(org.points + 500)
    several = {"fewer": org.take(np.arange(32)), "sorted": shuffled, "turned": org.reversed(), "far": far,
               "empty": org.take(np.arange(0))}  # fmt: skip
    for name, bundle in several.items():
        write_bundle(toys / f"{name}.trk", bundle, grid)
    ended = run(*refused.line.split())
    assert (ended.status, "Traceback" in ended.err) == (refused.status, False)
    assert refused.said in ended.err
    assert not (toys / "a.npz").exists()


# --- another program's value ----------------------------------------------------------------------------------------


def test_the_1d_profile_is_dipys_weighted_mean_at_the_same_nodes(shared_data, tmp_path, monkeypatch):
    """dipy.stats.analysis.buan_profile(rec, rec, org, map, affine, no_disks=ns), its nodes set to ours."""
    folder = shared_data / "real-mni/derivatives/tractseg/sub-tractseg/dwi"
    rec = folder / "sub-tractseg_space-MNI152NLin6Asym_tract-CSTleft_tractogram.trk"
    fa = folder / "sub-tractseg_space-MNI152NLin6Asym_model-tensor_param-fa_dwimap.nii.gz"
    ref = shared_data / "atlas-hcp1065/ProjectionBrainstem_CorticospinalTractL.trk"
    ended = run("-rec", rec, "-ref", ref, "-maps", fa, "-profiles", tmp_path / "fa", "-min_points", 1)
    assert ended.status == 0, ended.err
    grid, bundle = build_grid(read_bundle(ref)), read_bundle(rec)
    expected = buan(monkeypatch, grid, bundle, bundle, read_volume(fa))
    got = load(tmp_path / "fa.npz")["profile_1d"]
    assert np.isfinite(got[grid.in_1d]).all()
    np.testing.assert_allclose(got[grid.in_1d], expected[grid.in_1d], atol=1e-6)


# --- known answers --------------------------------------------------------------------------------------------------


def test_a_map_linear_along_the_bundle_has_a_profile_linear_along_it_and_a_constant_a_constant_one(toys, tmp_path):
    ended = made(toys, "-s", 5, "-r", 5, "-robust", "linear", maps=("y_org.nii.gz", "one_org.nii.gz"), out=tmp_path)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.split() == [str(tmp_path / "p0.npz"), str(tmp_path / "p1.npz")]
    along, constant = load(tmp_path / "p0.npz"), load(tmp_path / "p1.npz")
    assert list(along) == KEYS
    ns, nr = int(along["ns"]), int(along["nr"])
    assert (along["profile_1d"].shape, along["profile_2d"].shape) == ((ns,), (ns, nr))
    # 100 mm of ribbon, 21 mm wide, in steps of about 5 mm
    assert abs(ns - 20) <= 1
    assert nr == 4
    assert along["s_len"] == pytest.approx(100 / (ns - 1), rel=0.05)
    assert along["r_len"] == pytest.approx(5, rel=0.05)
    grid = build_grid(read_bundle(toys / "rec.trk"))
    np.testing.assert_allclose(along["profile_1d"][1:-1], grid.nodes[1:-1, 1], atol=0.3)
    np.testing.assert_allclose(along["profile_2d"][2:-2], np.repeat(grid.nodes[2:-2, 1:2], nr, axis=1), atol=0.3)
    assert set(constant["profile_1d"][grid.in_1d]) == {1.0}
    assert np.array_equal(np.isnan(constant["profile_2d"]), ~grid.in_2d)


def test_values_come_from_org_and_places_from_rec(toys, tmp_path):
    """The same head twice: in the atlas's space, and turned, stretched and shifted with its maps."""
    assert made(toys, org=None, maps=("y_rec.nii.gz",), out=tmp_path / "one").status == 0
    assert made(toys, maps=("y_org.nii.gz",), out=tmp_path / "two").status == 0
    one, two = (load(tmp_path / name / "p0.npz") for name in ("one", "two"))
    for key in KEYS:
        np.testing.assert_allclose(one[key], two[key], atol=1e-3, err_msg=key)


def test_numbers_of_bins_go_before_their_sizes(toys, tmp_path):
    assert made(toys, "-s", 5, "-r", 5, "-ns", 12, "-nr", 3, "-robust", "none", out=tmp_path).status == 0
    got = load(tmp_path / "p0.npz")
    assert (int(got["ns"]), int(got["nr"])) == (12, 3)


@pytest.mark.parametrize("robust", ["linear", "spline", "none"])
def test_each_way_to_prolong_the_ends_is_that_of_build_grid(toys, tmp_path, robust):
    assert made(toys, "--robust", robust, out=tmp_path).status == 0
    grid = build_grid(read_bundle(toys / "rec.trk"), robust=robust)
    expected = profile(read_bundle(toys / "rec.trk"), grid, {"y": read_volume(toys / "y_org.nii.gz")},
                       org=read_bundle(toys / "org.trk")).along.mean["y"]  # fmt: skip
    np.testing.assert_array_equal(load(tmp_path / "p0.npz")["profile_1d"], np.where(grid.in_1d, expected, np.nan))


def test_points_where_the_mask_is_0_do_not_count(toys, tmp_path):
    assert made(toys, "-mask", toys / "half_org.nii.gz", out=tmp_path).status == 0
    got = load(tmp_path / "p0.npz")["profile_1d"]
    y = build_grid(read_bundle(toys / "rec.trk")).nodes[:, 1]
    # the mask is 1 from y = -1 mm on
    assert np.isnan(got[y < -6]).all()
    assert np.isfinite(got[y > 4]).all()


def test_a_group_of_a_trx_and_dsi_studios_format_are_bundles_as_good_as_any(toys, tmp_path):
    """A .trx with the bundle as one of two groups; a .tt.gz, good to half of 1/32 voxel."""
    grid = VoxelGrid(read_volume(toys / "y_org.nii.gz").affine, (60, 90, 60))
    org = read_bundle(toys / "org.trk")
    other = Bundle.from_streamlines([np.ones((5, 3))])
    both = Bundle(np.concatenate([other.points, org.points]), np.r_[0, other.offsets[1:], 5 + org.offsets[1:]])
    groups = {"other": np.array([0]), "AF_L": np.arange(1, both.n_streamlines)}
    for name, content in {"all.trx": Tractogram(both, grid, groups), "org.tt.gz": Tractogram(org, grid)}.items():
        with (tmp_path / name).open("wb") as file:
            write_tractogram(file, tmp_path / name, content)
    for k, source in enumerate(("org.trk", f"{tmp_path}/all.trx:AF_L", f"{tmp_path}/org.tt.gz")):
        assert made(toys, org=source, out=tmp_path / str(k)).status == 0
    trk, trx, tt = (load(tmp_path / f"{k}/p0.npz")["profile_2d"] for k in range(3))
    np.testing.assert_allclose(trx, trk, atol=1e-4)
    np.testing.assert_allclose(tt, trk, atol=0.05)
    wrong = made(toys, org=f"{tmp_path}/all.trx:CST", out=tmp_path / "x")
    assert wrong.status == 65
    assert "no group 'CST'. There are: AF_L, other" in wrong.err


def test_streamlines_with_other_numbers_of_points_are_paired_by_arc_length_and_that_is_said(toys, tmp_path, caplog):
    org = read_bundle(toys / "org.trk")
    coarser = resample_counts(org, np.full(org.n_streamlines, 150))
    write_bundle(tmp_path / "org.trk", coarser, read_volume(toys / "y_org.nii.gz"))
    assert made(toys, org=str(tmp_path / "org.trk"), out=tmp_path / "two").status == 0
    assert "resampled" in caplog.text
    assert made(toys, out=tmp_path / "one").status == 0
    one, two = (load(tmp_path / name / "p0.npz")["profile_1d"] for name in ("one", "two"))
    np.testing.assert_allclose(two, one, atol=0.3)


def test_a_bundle_with_too_few_streamlines_has_profiles_of_nan_and_a_warning(toys, tmp_path, caplog):
    ended = made(toys, "-min_lines", 34, out=tmp_path)
    assert ended.status == 0
    assert "33 streamlines, fewer than -min_lines 34" in caplog.text
    got = load(tmp_path / "p0.npz")
    assert list(got) == KEYS
    assert np.isnan(got["profile_1d"]).all()
    assert np.isnan(got["profile_2d"]).all()
    assert made(toys, "-min_lines", 33, out=tmp_path).status == 0
    assert np.isfinite(load(tmp_path / "p0.npz")["profile_1d"]).any()


def test_what_looks_wrong_but_can_be_is_a_warning(toys, tmp_path, caplog):
    bundle, grid = read_bundle(toys / "rec.trk"), read_volume(toys / "y_rec.nii.gz")
    write_bundle(tmp_path / "aside.trk", bundle.with_points(bundle.points + np.array([25, 0, 0])), grid)
    assert made(toys, rec=str(tmp_path / "aside.trk"), org=None, maps=("y_rec.nii.gz",), out=tmp_path).status == 0
    assert "from the atlas bundle" in caplog.text
    assert made(toys, maps=("none_org.nii.gz",), out=tmp_path).status == 0
    assert "none_org.nii.gz has no value at any node" in caplog.text


def test_the_same_command_writes_the_same_bytes(toys, tmp_path):
    for name in ("one", "two"):
        assert made(toys, out=tmp_path / name).status == 0
    assert (tmp_path / "one/p0.npz").read_bytes() == (tmp_path / "two/p0.npz").read_bytes()


# --- SPECTRA's README, every command of it --------------------------------------------------------------------------


README = (
    "spectra_profile -rec AF_L__rec.trk -org AF_L__org.trk -ref AF_L__atlas.trk -maps fa.nii.gz md.nii.gz "
    "-profiles outputs/AF_L_fa outputs/AF_L_md -s 5 -r 5 -robust linear",
    "spectra_viz -i AF_L__rec.trk -o outputs/AF_L.png -glass default_glass -cam Sagittal_L -show",
    "spectra_viz -i AF_L__org.trk -o outputs/AF_L_fa.png -c fa.nii.gz -cmap turbo -vmin 0.2 -vmax 0.8 -ctitle FA "
    "-cbar outputs/colorbar_fa.png -show",
    "spectra_viz -i AF_L__rec.trk -o outputs/AF_L_grid2d.png -ref AF_L__atlas.trk -c alternate_2d -s 5 -r 5 "
    "-cam Sagittal_L -show",
    "spectra_lmm_fdr single --metadata data/subjects.csv --root_dir data/profiles --output_dir results/hfdr "
    "--bundle AF_L --stats_mode hfdr_resel",
    "spectra_lmm_fdr aggregate --metadata data/subjects.csv --root_dir data/profiles --output_dir results/hfdr "
    "--bundle_list data/bundles.txt --stats_mode hfdr_resel --alpha_block 0.05 --alpha_cell 0.05 0.15 0.25 "
    "--combination_method simes",
    # the fits of the README's other folder: its step `single` with another path and mode
    "spectra_lmm_fdr single --metadata data/subjects.csv --root_dir data/profiles --output_dir results/fdr "
    "--bundle AF_L --stats_mode fdr",
    "spectra_lmm_fdr aggregate --metadata data/subjects.csv --root_dir data/profiles --output_dir results/fdr "
    "--bundle_list data/bundles.txt --stats_mode fdr --alpha 0.05 --adaptive",
)
WRITTEN = (
    "outputs/AF_L_fa.npz", "outputs/AF_L_md.npz", "outputs/AF_L.png", "outputs/AF_L_fa.png", "outputs/colorbar_fa.png",
    "outputs/AF_L_grid2d.png",
)  # fmt: skip


def sample_data(shared, folder):
    """The README's files, of a real subject: an arcuate, native (org) and by its transform in MNI (rec), FA and MD."""
    source = shared / "real-qsirecon/derivatives"
    maps = source / "qsirecon-DIPYDKI/sub-tractor/dwi"
    for name in ("fa", "md"):
        path = maps / f"sub-tractor_space-ACPC_model-dki_param-{name}_dwimap.nii.gz"
        (folder / f"{name}.nii.gz").write_bytes(path.read_bytes())
    stem = "sub-tractor_space-ACPC_model-gqi_bundle-AssociationArcuateFasciculusL_streamlines.tck.gz"
    org = read_bundle(source / "qsirecon-DSIStudio/sub-tractor/dwi" / stem)
    transform = source / "qsiprep/sub-tractor/anat/sub-tractor_from-ACPC_to-MNI152NLin2009cAsym_mode-image_xfm.txt"
    grid = read_volume(folder / "fa.nii.gz")
    write_bundle(folder / "AF_L__org.trk", org, grid)
    write_bundle(folder / "AF_L__rec.trk", org.with_points(map_points(org.points, transform, invert=True)), grid)
    (folder / "AF_L__atlas.trk").write_bytes((shared / "atlas-hcp1065/Association_ArcuateFasciculusL.trk").read_bytes())
    (folder / "outputs").mkdir()


def cohort(folder, n=24):
    """n people, the real subject with a little noise; FA of every other one is less by .08 in a third of the arc."""
    rng = np.random.default_rng(0)
    (folder / "data").mkdir()
    rows = []
    for k in range(n):
        target = folder / f"data/profiles/P{k:02d}"
        target.mkdir(parents=True)
        for name, sd, effect in (("fa", 0.02, 0.08), ("md", 2e-5, 0.0)):
            arrays = load(folder / f"outputs/AF_L_{name}.npz")
            known = np.isfinite(arrays["profile_2d"]).any(axis=1)
            where = np.arange(arrays["ns"]) < np.flatnonzero(known)[0] + known.sum() // 3
            for key in ("profile_1d", "profile_2d"):
                noise = rng.normal(0, sd, arrays[key].shape)
                drop = effect * (k % 2) * (where if key == "profile_1d" else where[:, None])
                arrays[key] = arrays[key] + noise - drop
            np.savez(target / f"AF_L_{name}.npz", **arrays)
        rows.append({"subject": f"P{k:02d}", "group": ("control", "patient")[k % 2], "age": 50 + k % 7,
                     "site": f"S{k % 5}"})  # fmt: skip
    pd.DataFrame(rows).to_csv(folder / "data/subjects.csv", index=False)
    (folder / "data/bundles.txt").write_text("AF_L\n")


def test_every_command_of_spectras_readme_runs_on_a_real_subject_and_finds_a_planted_effect(
    shared_data, tmp_path, monkeypatch
):
    monkeypatch.setenv("DISPLAY", "")  # -show then says that there is none
    monkeypatch.chdir(tmp_path)
    sample_data(shared_data, tmp_path)
    drawn = " -engine matplotlib -size 240 180"
    for line in README:
        if line == README[4]:
            cohort(tmp_path)
        ended = in_shell(line + (drawn if line.startswith("spectra_viz") else ""))
        assert ended.status == 0, f"{line}: {ended.err}"
    assert [name for name in WRITTEN if not Path(name).stat().st_size] == []
    fa, md = load("outputs/AF_L_fa.npz"), load("outputs/AF_L_md.npz")
    assert 0.2 < np.nanmean(fa["profile_1d"]) < 0.7
    assert 4e-4 < np.nanmean(md["profile_1d"]) < 1.5e-3
    for mode, levels in (("hfdr_resel", ("05", "15", "25")), ("fdr", ("",))):
        for level in levels:
            name = f"{mode}__stats_all" + (f"_ac{level}" if level else "")
            found = pd.read_csv(f"results/{'hfdr' if level else 'fdr'}/{name}.csv")
            hits = found[found["rejected"].astype(str) == "True"]
            assert (hits["map"] == "fa").mean() > 0.8
            assert (hits["estimate"][hits["map"] == "fa"] < 0).mean() > 0.8
