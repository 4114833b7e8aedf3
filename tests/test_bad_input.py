"""Malformed input of every kind, through the command line: the right exit status, a message that names the culprit and
what to do, no traceback, no file outside of the output folder, and the rest of the run goes on.
"""

from __future__ import annotations

import ctypes
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import spoil
from spoil import SPACE, Patient, Words, edit_trk

from spectra_bids.dataset.outputs import read_table

# --- one subject is ill: alone it gives the exit status, among others it fails alone --------------------------------

#: Status -> ways to break one subject's files that end with it.
ILL: dict[int, tuple[Callable[[Patient], Words], ...]] = {
    65: (
        spoil.trk_cut_in_its_header, spoil.trk_cut_in_its_body, spoil.trk_of_zero_bytes, spoil.text_named_trk,
        spoil.directory_named_trk, spoil.trk_without_a_place, spoil.trk_with_a_singular_affine,
        spoil.trk_with_a_nan_affine, spoil.trk_with_negative_voxels, spoil.trk_with_an_odd_voxel_order,
        spoil.trk_that_counts_two_billion, spoil.trk_with_an_endless_streamline, spoil.trk_with_a_negative_streamline,
        spoil.trk_with_32767_scalars, spoil.trk_with_nan_points, spoil.trk_with_infinite_points,
        spoil.trk_gz_cut_short, spoil.trk_gz_bomb, spoil.no_streamlines_at_all,
        spoil.tck_cut_in_its_body, spoil.tck_cut_in_its_header, spoil.tck_of_unknown_numbers, spoil.tck_gz_cut_short,
        spoil.tinytrack_of_noise,
        spoil.trx_cut_short, spoil.trx_of_zero_bytes, spoil.trx_without_a_header, spoil.trx_whose_header_is_no_json,
        spoil.trx_whose_header_is_a_list, spoil.trx_with_absurd_counts, spoil.trx_with_negative_counts,
        spoil.trx_with_falling_offsets, spoil.trx_of_objects, spoil.trx_of_no_columns, spoil.trx_zip_bomb,
        spoil.trx_that_declares_more_than_it_holds, spoil.trx_in_a_trx, spoil.trx_with_a_password,
        spoil.trx_packed_in_an_unknown_way, spoil.trx_group_with_a_wrong_index,
        spoil.nifti_cut_in_its_header, spoil.nifti_cut_in_its_body, spoil.nifti_of_zero_bytes,
        spoil.nifti_that_is_not_packed, spoil.directory_named_nifti, spoil.nifti_with_a_nan_affine,
        spoil.nifti_with_a_singular_affine, spoil.nifti_without_a_place, spoil.nifti_of_four_dimensions,
        spoil.nifti_of_colours, spoil.nifti_of_complex_numbers, spoil.nifti_of_absurd_size, spoil.nifti_bomb,
        spoil.nifti_of_nan_alone, spoil.nifti_somewhere_else,
        spoil.xfm_that_is_text, spoil.xfm_that_is_no_hdf5, spoil.xfm_that_is_singular, spoil.xfm_of_nan,
        spoil.rec_and_org_that_differ, spoil.rec_and_org_swapped,
    ),
    66: (
        spoil.link_to_nothing, spoil.map_that_links_to_nothing, spoil.link_to_itself, spoil.map_that_links_to_itself,
    ),
    16: (spoil.bundles_in_another_space, spoil.one_bundle_in_two_runs),
    18: (spoil.no_map, spoil.bundles_of_no_atlas, spoil.rec_without_org),
}  # fmt: skip
CASES = [(status, ill) for status, every in ILL.items() for ill in every]


class Ward(NamedTuple):
    """A data set with an ill subject per case and two that are well; what must be said of each, by label."""

    bids: Path
    words: dict[str, Words]


def copy_subject(bids: Path, new: str, old: str = "01") -> Patient:
    """Another subject with the files of an old one."""
    source = bids / "derivatives" / "demo" / f"sub-{old}" / "dwi"
    folder = source.parent.parent / f"sub-{new}" / "dwi"
    folder.mkdir(parents=True)
    for path in source.iterdir():
        shutil.copy(path, folder / path.name.replace(f"sub-{old}_", f"sub-{new}_"))
    return Patient(folder, new)


def two_subjects(study, bids: Path) -> Path:
    ignored = shutil.ignore_patterns("sub-0[3-9]", "sub-1*", ".made")
    return Path(shutil.copytree(study.bids, bids, ignore=ignored))


def label_of(case: int) -> str:
    return f"ill{case:02d}"


@pytest.fixture(scope="module")
def ward(study, tmp_path_factory) -> Ward:
    bids = two_subjects(study, tmp_path_factory.mktemp("ward") / "bids")
    words = {label_of(k): ill(copy_subject(bids, label_of(k))) for k, (_, ill) in enumerate(CASES)}
    return Ward(bids, words)


@pytest.fixture
def out(study, tmp_path) -> Path:
    """An output folder with frozen grids: only subjects remain to be done."""
    shutil.copytree(study.out / "atlas", tmp_path / "out" / "atlas")
    return tmp_path / "out"


def assert_told(ended, status: int, words: Words) -> None:
    assert ended.status == status, ended
    for word in words:
        assert word in ended.err, f"{word!r} is not in: {ended.err}"
    assert "Traceback" not in ended.err
    assert "Warning" not in ended.err, ended.err  # of a library, with its line of code


def done(out: Path) -> set[str]:
    """Subjects that have all their tables and a page."""
    found = {p.name.removeprefix("sub-") for p in out.glob("sub-*") if len(list(p.glob("**/*_tractometry.tsv"))) == 3}
    return {label for label in found if (out / f"sub-{label}.html").is_file()}


def crashes(out: Path) -> set[str]:
    return {p.name.removeprefix("crash-sub-").removesuffix(".txt") for p in out.glob("sub-*/log/*/crash-*.txt")}


@pytest.mark.parametrize("case", range(len(CASES)), ids=[ill.__name__ for _, ill in CASES])
def test_an_ill_subject_is_told_and_recorded(case, ward, study, out, cli):
    label = label_of(case)
    ended = cli(
        ward.bids, out, "participant", "--atlas", study.atlas, "--n-procs", 1, "--participant-label", label
    )
    assert_told(ended, CASES[case][0], (f"sub-{label} failed: ", f"sub-{label}/log/", *ward.words[label]))
    assert len(ended.err) < 1500
    assert crashes(out) == {label}
    assert done(out) == set()


def test_all_ill_subjects_together_do_not_stop_the_others(ward, study, out, tree, cli):
    ended = cli(ward.bids, out, "participant", "--atlas", study.atlas, "--n-procs", 1)
    assert_told(ended, 1, tuple(f"sub-{label} failed: " for label in ward.words))
    assert crashes(out) == set(ward.words)
    assert done(out) == {"01", "02"}
    for label in ("01", "02"):
        assert tree(out / f"sub-{label}" / "dwi") == tree(study.out / f"sub-{label}" / "dwi")


# --- what is wrong concerns everybody ------------------------------------------------------------------------------


class Place(NamedTuple):
    """Copies that a case may break."""

    bids: Path
    atlas: Path
    out: Path

    @property
    def demo(self) -> Path:
        return self.bids / "derivatives" / "demo"


class Wrong(NamedTuple):
    """What is done to the input, the exit status, what must be said, and further options ({bids}, {atlas}, {tmp})."""

    spoil: Callable[[Place], object]
    status: int
    words: Words
    options: str = ""


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def atlas_file(p: Place) -> Path:
    return p.atlas / "CST_R.trk"


def fresh(p: Place) -> Path:
    """The atlas file of which no grid has been made yet."""
    shutil.rmtree(p.out / "atlas")
    return atlas_file(p)


def keep_one_point(path: Path) -> None:
    """Streamlines of a single point each."""
    head = path.read_bytes()[:1000]
    body = b"".join(np.int32(1).tobytes() + np.float32([1, 2, 3]).tobytes() for _ in range(5))
    path.write_bytes(head + body)
    edit_trk(path, n_count=5)


def move_map(p: Place) -> None:
    """A second map of other shape and voxels, which is fine: every map has its own place."""
    import nibabel as nib

    for subject in ("01", "02"):
        ill = Patient(p.demo / f"sub-{subject}" / "dwi", subject)
        image = nib.load(ill.map())
        affine = image.affine @ np.diag([2, 2, 2, 1])
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[::2, ::2, ::2], affine), ill.map("dti", "fa"))


def one_empty_bundle(p: Place) -> None:
    path = Patient(p.demo / "sub-01" / "dwi", "01").bundle()
    path.write_bytes(path.read_bytes()[:1000])
    edit_trk(path, n_count=0)


def one_map_of_nan(p: Place) -> None:
    import nibabel as nib

    move_map(p)
    ill = Patient(p.demo / "sub-01" / "dwi", "01")
    image = nib.load(ill.map("dti", "fa"))
    nib.save(nib.Nifti1Image(np.full(image.shape, np.nan, np.float32), image.affine), ill.map("dti", "fa"))


def circle_in_derivatives(p: Place) -> None:
    (p.demo / "sub-01" / "dwi" / "again").symlink_to(p.demo / "sub-01", target_is_directory=True)
    (p.demo / "sub-02" / "up").symlink_to(p.bids, target_is_directory=True)
    (p.bids / "derivatives" / "self").symlink_to("self")


def circle_in_output(p: Place) -> None:
    (p.out / "loop").symlink_to(p.out, target_is_directory=True)
    (p.out / "sub-01").mkdir()
    (p.out / "sub-01" / "loop").symlink_to(p.out / "sub-01", target_is_directory=True)
    (p.out / "sub-77").symlink_to("sub-77")


def trx_with_paths_for_names(p: Place) -> None:
    """Groups that would lead out of any folder; the one of the atlas is used under the atlas's own name."""
    ill = Patient(p.demo / "sub-01" / "dwi", "01")
    every = np.arange(300, dtype="<u4").tobytes()
    groups = ("../../../../evil", "/tmp/evil", "..", "CST_R", "a\\b", "<b>x</b>")
    members = {**spoil.trx_members(ill), **{f"groups/{name}.uint32": every for name in groups}}
    ill.bundle().unlink()
    path = ill.folder / f"sub-01_space-{SPACE}_desc-bundles_tractography.trx"
    path.write_bytes(spoil.zipped(members))


PARTICIPANT = {
    "atlas.json is no JSON": Wrong(lambda p: write(p.atlas / "atlas.json", "{Name: x"), 65, ("atlas.json", "JSON")),
    "atlas.json is a list": Wrong(lambda p: write(p.atlas / "atlas.json", "[1]"), 65, ("atlas.json", "Name, Space")),
    "atlas.json says no space": Wrong(
        lambda p: write(p.atlas / "atlas.json", '{"Name": "a", "License": "b"}'), 65, ("atlas.json", "Got no Space")
    ),
    "atlas.json in another encoding": Wrong(
        lambda p: write(p.atlas / "atlas.json", '{"Name": "\xe9"}'.encode("latin1")), 65, ("atlas.json",)
    ),
    "atlas without atlas.json": Wrong(lambda p: (p.atlas / "atlas.json").unlink(), 66, ("atlas.json", "Write one")),
    "atlas without bundles": Wrong(
        lambda p: [f.unlink() for f in p.atlas.glob("*.trk")], 65, ("atlas", "one streamline file per bundle")
    ),
    "two atlas files of one bundle": Wrong(
        lambda p: shutil.copy(atlas_file(p), p.atlas / "CSTR.trk"), 65, ("CSTR.trk", "CST_R.trk", "Two files")
    ),
    "two atlas files of one tract": Wrong(
        lambda p: shutil.copy(atlas_file(p), p.atlas / "CST_right.trk"), 65, ("CSTR", "CSTright", "same tract", "Keep")
    ),
    "atlas bundle without a name": Wrong(lambda p: shutil.copy(atlas_file(p), p.atlas / "__.trk"), 65, ("__.trk",)),
    "atlas bundle without streamlines": Wrong(
        lambda p: (write(fresh(p), atlas_file(p).read_bytes()[:1000]), edit_trk(atlas_file(p), n_count=0)),
        65, ("CST_R.trk", "no streamline"),
    ),
    "atlas streamlines of one point": Wrong(
        lambda p: keep_one_point(fresh(p)), 65, ("CST_R.trk", "two distinct points")
    ),
    "atlas bundle cut short": Wrong(lambda p: spoil.cut(fresh(p), 3000), 65, ("CST_R.trk", "cut short")),
    "atlas bundle is a folder": Wrong(
        lambda p: (fresh(p).unlink(), atlas_file(p).mkdir()), 65, ("CST_R.trk", "folder")
    ),
    "atlas label leads elsewhere": Wrong(
        lambda p: write(p.atlas / "atlas.json",
                        json.dumps({"Name": "../x", "Label": "../../x", "Space": SPACE, "License": "-"})), 0, (),
    ),
    "a frozen grid is broken": Wrong(
        lambda p: [f.write_bytes(b"no grid") for f in (p.out / "atlas").glob("*CSTR*.npz")], 65,
        ("CSTR_grid.npz", "Delete it"),
    ),
    "a frozen grid is no JSON": Wrong(
        lambda p: [f.write_text("{") for f in (p.out / "atlas").glob("*CSTR*.json")], 65,
        ("CSTR_grid.json", "Delete it"),
    ),
    "description of the derivatives is no JSON": Wrong(
        lambda p: write(p.demo / "dataset_description.json", "{"), 16, ("demo/dataset_description.json", "JSON")
    ),
    "units of the map are no JSON": Wrong(
        lambda p: [f.write_text("{") for f in p.demo.glob("*_dwimap.json")], 0, ()
    ),
    "derivatives are empty": Wrong(
        lambda p: (shutil.rmtree(p.bids / "derivatives"), (p.bids / "derivatives" / "x").mkdir(parents=True)), 18,
        ("sub-01 failed", "no scalar map", "-d NAME=PATH"),
    ),
    "there are no derivatives": Wrong(
        lambda p: shutil.rmtree(p.bids / "derivatives"), 66, ("no derivatives", "-d NAME=PATH")
    ),
    "no subjects": Wrong(
        lambda p: [shutil.rmtree(f) for f in (*p.bids.glob("sub-*"), *p.demo.glob("sub-*"))], 18, ("no folders sub-*",)
    ),
    "a circle of links in the derivatives": Wrong(circle_in_derivatives, 0, ()),
    "a circle of links in the output": Wrong(circle_in_output, 0, ()),
    "groups of a TRX lead elsewhere": Wrong(trx_with_paths_for_names, 0, ()),
    "one bundle without streamlines": Wrong(one_empty_bundle, 0, ("sub-01: no streamlines in", "tract-CSTR")),
    "maps of different shape": Wrong(move_map, 0, ()),
    "one of two maps is NaN": Wrong(one_map_of_nan, 0, ("sub-01: ", "model-dti_param-fa", "no value")),
    "a bundle far from the atlas": Wrong(
        lambda p: [shift(Patient(p.demo / "sub-01" / "dwi", "01").bundle(n), 30) for n in ("AFL", "CCForcepsMajor")],
        0, ("sub-01: bundles lie", "from the atlas"),
    ),
    "a derivative named by a path": Wrong(lambda p: None, 0, (), "-d ../../../evil={bids}/derivatives/demo"),
    "a participant named by a path": Wrong(lambda p: None, 18, ("../../etc",), "--participant-label ../../etc"),
    "a bundle named by a path": Wrong(lambda p: None, 18, ("../../etc",), "--bundle ../../etc"),
    "a bundle named by nothing": Wrong(lambda p: None, 2, ("--bundle", "'/'"), "--bundle /"),
    "a scalar named by a path": Wrong(lambda p: None, 18, ("../fa", "demo_wm"), "--scalars ../fa"),
    "a transform that is not there": Wrong(
        lambda p: None, 66, ("no usable transform", "-d", "--registration slr"), "--registration xfm"
    ),
    "the output is in the way": Wrong(lambda p: write(p.out / "sub-01", "a file"), 73, ("sub-01",)),
    "the page is in the way": Wrong(lambda p: (p.out / "sub-01.html").mkdir(), 73, ("sub-01.html",)),
    "the grids are in the way": Wrong(
        lambda p: (shutil.rmtree(p.out / "atlas"), write(p.out / "atlas", "a file")), 73, ("atlas",)
    ),
}  # fmt: skip


def shift(path: Path, mm: float) -> None:
    affine = np.frombuffer(path.read_bytes()[:1000], spoil.HEADER)["vox_to_ras"][0].copy()
    affine[0, 3] += mm
    edit_trk(path, vox_to_ras=affine)


@pytest.fixture
def place(study, tmp_path, out) -> Place:
    atlas = Path(shutil.copytree(study.atlas, tmp_path / "atlas"))
    return Place(two_subjects(study, tmp_path / "bids"), atlas, out)


def around(p: Place) -> set[str]:
    """Every file beside the output folder."""
    root = p.out.parent
    return {str(f) for f in root.rglob("*") if not f.is_relative_to(p.out)}


@pytest.mark.parametrize("case", PARTICIPANT.values(), ids=PARTICIPANT)
def test_what_is_wrong_for_all_is_told_once(case, place, cli):
    case.spoil(place)
    before = around(place)
    options = [word.format(bids=place.bids, atlas=place.atlas) for word in case.options.split()]
    ended = cli(place.bids, place.out, "participant", "--atlas", place.atlas, "--n-procs", 1, *options)
    assert_told(ended, case.status, case.words)
    if case.status == 0:
        assert {"01", "02"} <= done(place.out)
        assert case.words or not ended.err
    assert around(place) == before
