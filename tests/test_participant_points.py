"""Masks and streamline weights at participant level: what changes in the tables, what is refused, who goes on."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from spectra_bids.bundle import Volume
from spectra_bids.dataset.outputs import read_table
from spectra_bids.dataset.validate import validate
from spectra_bids.io.tractograms import read_bundle
from spectra_bids.io.volumes import read_volume, write_volume

SPACE = "MNI152NLin2009aSym"


@pytest.fixture(scope="module")
def pair(study, tmp_path_factory) -> Path:
    """Two subjects of the study; sub-01 has a lesion (its left half) and both have brain masks and weights."""
    root = tmp_path_factory.mktemp("points")
    shutil.copytree(study.bids, root / "bids", ignore=shutil.ignore_patterns("sub-0[3-9]", "sub-1*"))
    for subject in ("01", "02"):
        folder = root / "bids" / "derivatives" / "demo" / f"sub-{subject}" / "dwi"
        stem = f"sub-{subject}_space-{SPACE}"
        volume = read_volume(folder / f"{stem}_model-demo_param-wm_dwimap.nii.gz")
        i = np.arange(volume.data.shape[0])
        x = (volume.affine @ np.array([i, 0 * i, 0 * i, 1 + 0 * i], float))[0]
        left = np.broadcast_to((x < 0)[:, None, None], volume.data.shape).astype(np.float32)
        write_volume(folder / f"{stem}_desc-brain_mask.nii.gz", Volume(np.ones_like(left), volume.affine))
        write_volume(folder / f"{stem}_desc-right_mask.nii.gz", Volume(1 - left, volume.affine))
        if subject == "01":
            write_volume(folder / f"{stem}_label-lesion_roi.nii.gz", Volume(left, volume.affine))
        for path in folder.glob("*_tractogram.trk"):
            n = read_bundle(path).n_streamlines
            weights = np.where(np.arange(n) < n // 2, 1.0, 0.0)
            Path(str(path).replace("_tractogram.trk", "_sift2.txt")).write_text(" ".join(map(str, weights)))
    return root


@pytest.fixture
def ran(pair, study, cli, tmp_path):
    """Run with options; the 1D table and the bundle table of each subject by name, and the run's end."""

    def run(*options: str):
        with contextlib.chdir(pair):
            out = tmp_path / "out"
            ended = cli("bids", out, "participant", "--atlas", study.atlas, "--n-procs", 1, *options)
        found = {}
        for subject in ("01", "02"):
            for kind in ("profile1D", "profile2D", "bundle"):
                path = out / f"sub-{subject}/dwi/sub-{subject}_space-{SPACE}_desc-{kind}_tractometry.tsv"
                if path.is_file():
                    found[subject, kind] = read_table(path)
        return ended, found, out

    return run


def test_a_mask_that_holds_everything_changes_no_number(ran, study):
    _, found, _ = ran("--include-mask", "desc-brain_mask")
    path = study.out / f"sub-01/dwi/sub-01_space-{SPACE}_desc-profile1D_tractometry.tsv"
    np.testing.assert_array_equal(found["01", "profile1D"]["demo_wm"], read_table(path)["demo_wm"])


def test_the_lesion_load_is_the_share_of_points_and_is_no_scalar_of_the_group_level(ran, pair):
    from spectra_bids.group.tables import scalars_of

    ended, found, out = ran("--lesion-mask", "label-lesion_roi")
    assert ended.status == 0, ended.err
    bundles = found["01", "bundle"].set_index("bundle")["lesion_load"]
    assert bundles["AFL"] > 0.99
    assert bundles["CSTR"] < 0.2
    assert 0.2 < bundles["CCForcepsMajor"] < 0.8
    along = found["01", "profile1D"]
    assert along.loc[along["bundle"] == "AFL", "lesion_load"].eq(1).mean() > 0.9
    assert found["02", "profile2D"]["lesion_load"].isna().all()  # who has no mask has no load, not 0
    assert "sub-02: no --lesion-mask label-lesion_roi in the space of the maps" in ended.err
    assert "sub-01: no --lesion-mask" not in ended.err
    assert "In lesions" in (out / "sub-01.html").read_text()
    assert "In lesions" not in (out / "sub-02.html").read_text()
    assert scalars_of(list(along.columns)) == ["demo_wm"]
    assert not [f for f in validate(out) if f.level == "error"]
    assert "lesion_load" not in json.dumps(sorted(found["01", "profile1D"].filter(like="demo").columns))


def test_excluded_points_leave_missing_cells_with_their_reason(ran):
    ended, found, _ = ran("--exclude-mask", "desc-right_mask")
    assert ended.status == 0, ended.err
    along = found["01", "profile1D"]
    right = along[along["bundle"] == "CSTR"]
    assert (right["status"] == "masked").sum() > len(right) / 2
    assert right.loc[right["status"] == "masked", "demo_wm"].isna().all()
    assert (along.loc[along["bundle"] == "AFL", "status"] == "ok").all()


def test_weights_of_0_and_1_are_a_subset_of_the_streamlines(ran, pair, study, cli, tmp_path):
    _, found, out = ran("--streamline-weights", "sift2")
    folder = pair / "bids/derivatives/demo/sub-01/dwi"
    bundle = read_bundle(folder / f"sub-01_space-{SPACE}_tract-AFL_tractogram.trk")
    from spectra_bids.dataset.grids import load_grid, stored_grids
    from spectra_bids.profiles import profile

    label, _ = stored_grids(out)["AFL"]
    volume = read_volume(folder / f"sub-01_space-{SPACE}_model-demo_param-wm_dwimap.nii.gz")
    grid = load_grid(out, label, "AFL")
    half = profile(bundle.take(np.arange(bundle.n_streamlines // 2)), grid, {"v": volume}, min_points=1)
    got = found["01", "profile1D"]
    got = got[got["bundle"] == "AFL"]
    np.testing.assert_allclose(got["demo_wm"], half.along.mean["v"][got["s"]], rtol=2e-5)
    sources = json.loads((out / f"sub-01/dwi/sub-01_space-{SPACE}_desc-bundle_tractometry.json").read_text())["Sources"]
    assert any(uri.endswith("tract-AFL_sift2.txt") for uri in sources)


def test_a_changed_mask_is_measured_again_and_an_unchanged_one_is_not(ran, pair):
    *_, out = ran("--lesion-mask", "label-lesion_roi")
    table = next(out.glob("sub-01/dwi/*profile1D*.tsv"))
    before = table.stat().st_mtime_ns
    ran("--lesion-mask", "label-lesion_roi")
    assert table.stat().st_mtime_ns == before
    lesion = next(pair.glob("bids/**/sub-01*_label-lesion_roi.nii.gz"))
    kept, volume = lesion.read_bytes(), read_volume(lesion)
    try:
        write_volume(lesion, Volume(np.zeros_like(volume.data), volume.affine))
        _, found, _ = ran("--lesion-mask", "label-lesion_roi")
    finally:
        lesion.write_bytes(kept)
    assert (found["01", "bundle"]["lesion_load"].dropna() == 0).all()


def test_who_lacks_a_mask_fails_alone_and_is_told(ran, pair):
    gone = next(pair.glob("bids/**/sub-02*_desc-brain_mask.nii.gz"))
    gone.rename(pair / "kept.nii.gz")
    try:
        ended, found, _ = ran("--include-mask", "desc-brain_mask")
    finally:
        (pair / "kept.nii.gz").rename(gone)
    assert ended.status != 0
    assert "--include-mask desc-brain_mask: sub-02 has no such file in the space of the scalar maps" in ended.err
    assert ("01", "profile1D") in found


def test_weights_of_another_tractogram_are_refused(ran, pair):
    path = next(pair.glob("bids/**/sub-01*_tract-AFL_sift2.txt"))
    kept = path.read_text()
    path.write_text("1 2 3")
    try:
        ended, found, _ = ran("--streamline-weights", "sift2")
    finally:
        path.write_text(kept)
    assert "must hold one weight per streamline. Got 3 weights for" in ended.err
    assert ("02", "profile1D") in found
