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
        spoil.tck_with_nan_within_a_streamline, spoil.tck_without_streamlines,
        spoil.tinytrack_of_noise,
        spoil.trx_cut_short, spoil.trx_of_zero_bytes, spoil.trx_without_a_header, spoil.trx_whose_header_is_no_json,
        spoil.trx_whose_header_is_a_list, spoil.trx_with_absurd_counts, spoil.trx_with_negative_counts,
        spoil.trx_with_nan_points, spoil.trx_without_streamlines,
        spoil.trx_with_falling_offsets, spoil.trx_of_objects, spoil.trx_of_no_columns, spoil.trx_zip_bomb,
        spoil.trx_that_declares_more_than_it_holds, spoil.trx_in_a_trx, spoil.trx_with_a_password,
        spoil.trx_packed_in_an_unknown_way, spoil.trx_group_with_a_wrong_index,
        spoil.nifti_cut_in_its_header, spoil.nifti_cut_in_its_body, spoil.nifti_of_zero_bytes,
        spoil.nifti_that_is_not_packed, spoil.directory_named_nifti, spoil.nifti_with_a_nan_affine,
        spoil.nifti_with_a_nan_rotation, spoil.nifti_of_no_voxels,
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
    ended = cli(ward.bids, out, "participant", "--atlas", study.atlas, "--n-procs", 1, "--participant-label", label)
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


def trx_with_members_elsewhere(p: Place) -> None:
    """An archive that would write beside the data set if it were unpacked by its names."""
    ill = Patient(p.demo / "sub-01" / "dwi", "01")
    members = {**spoil.trx_members(ill), "../../../../evil.float32": b"1234", "/tmp/spectra-evil/evil.float32": b"1"}
    ill.replaced(".trx", spoil.zipped(members))


def a_subject_in_two_data_sets(p: Place) -> None:
    """Every bundle and map of sub-01 twice, under one name each."""
    shutil.copytree(p.demo / "sub-01", p.bids / "derivatives" / "again" / "sub-01")
    shutil.copy(p.demo / "dataset_description.json", p.bids / "derivatives" / "again")


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
    "members of a TRX lead elsewhere": Wrong(trx_with_members_elsewhere, 0, ()),
    "a subject in two data sets": Wrong(
        a_subject_in_two_data_sets, 1, ("sub-01 failed", "'again'", "'demo'", "-d NAME=PATH")
    ),
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


# --- group level ---------------------------------------------------------------------------------------------------


class Group(NamedTuple):
    """As `Wrong`, with what is asked for; without `formula` the options say it."""

    spoil: Callable[[Place], object]
    status: int
    words: Words
    formula: str = "value ~ group + age"
    options: tuple[str, ...] = ()


def table(p: Place) -> Path:
    return p.bids / "participants.tsv"


def edit(change: Callable[[str], str | bytes]) -> Callable[[Place], None]:
    """Do something to the text of participants.tsv."""
    return lambda p: write(table(p), change(table(p).read_text()))


def described(**entries: object) -> Callable[[Place], None]:
    """Change entries of participants.json."""

    def spoil(p: Place) -> None:
        path = p.bids / "participants.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | entries))

    return spoil


def nothing(_: Place) -> None:
    """The input is in order: the command is not."""


def profile_of(p: Place, subject: str = "03", ending: str = "tsv") -> Path:
    return p.out / f"sub-{subject}" / "dwi" / f"sub-{subject}_space-{SPACE}_desc-profile1D_tractometry.{ending}"


def excel_of(p: Place, change: Callable[[pd.DataFrame], pd.DataFrame] = lambda t: t) -> Path:
    path = p.bids / "design.xlsx"
    change(pd.read_csv(table(p), sep="\t")).to_excel(path, index=False)
    return path


def circles_in_output(p: Place) -> None:
    (p.out / "sub-77").symlink_to("sub-77")
    (p.out / "sub-03" / "loop").symlink_to(p.out / "sub-03", target_is_directory=True)
    (p.out / "group").mkdir()
    (p.out / "group" / "loop").symlink_to(p.out, target_is_directory=True)


def sessions_elsewhere(p: Place) -> None:
    """A participant whose name would lead to a sessions file outside of the data set."""
    (p.bids / "sub-").mkdir()
    write(p.bids.parent / "x" / "sub-" / "unused", "")
    write(p.bids.parent / "x_sessions.tsv", "must not be read\n")
    assert (p.bids / "sub-" / ".." / ".." / "x" / "sub-" / ".." / ".." / "x_sessions.tsv").is_file()
    write(table(p), table(p).read_text() + "sub-/../../x\tcontrol\t50\tM\tsite1\n")


INJECTIONS = (
    "value ~ __import__('os').system('touch TRAP')",
    "value ~ age + I(__import__('pathlib').Path('TRAP').touch())",
    "value ~ ().__class__.__base__.__subclasses__()",
    "value ~ age.__class__",
    "value ~ age.map(print)",
    "value ~ (lambda: open('TRAP', 'w'))()",
    'value ~ f\'{open("TRAP","w")}\'',
    "value ~ I(f'{age}')",
    "value ~ [open('TRAP', 'w') for _ in (1,)]",
    "value ~ {open('TRAP', 'w')}",
    "value ~ C(group, contr.treatment(base=open('TRAP', 'w')))",
    "value ~ C(group, __import__('os'))",
    "value ~ `age` + eval('1')",
    'value ~ exec(\'open("TRAP", "w")\')',
    "value ~ I(age, open('TRAP', 'w'))",
    "value ~ (x := open('TRAP', 'w'))",
    "value ~ age if open('TRAP', 'w') else sex",
    "value ~ np.fromfile('TRAP')",
    "value ~ pd.read_csv('/etc/passwd')",
    "value ~ group ** 99999999999",
    "value ~ (group + age + sex + site) ** 9999",
    "value ~ I(age ** 99999999999)",
    "value ~ I(10 ** 10 ** 10 ** 10)",
    "value ~ poly(age, 99999)",
    "value ~ bs(age, df=99999)",
    "value ~ " + "(" * 3000 + "age" + ")" * 3000,
    "value ~ " + "+".join(["age"] * 100_000),
    "value ~ age\x00",
    "value ~ age ~ sex",
    "value ~ (1|group|site)",
    "value ~ age + (1|__import__('os'))",
    "value ~ group; import os",
    "value ~ __builtins__",
    "value ~",
)

GROUP = {
    "byte order mark": Group(edit(lambda t: b"\xef\xbb\xbf" + t.encode()), 0, ()),
    "carriage returns": Group(edit(lambda t: t.replace("\n", "\r\n")), 0, ()),
    "both": Group(edit(lambda t: b"\xef\xbb\xbf" + t.replace("\n", "\r\n").encode()), 0, ()),
    "carriage returns alone": Group(edit(lambda t: t.replace("\n", "\r")), 0, ()),
    "nothing in a covariate": Group(edit(lambda t: set_age(t, "sub-05", "")), 0, ()),
    "n/a in a covariate": Group(edit(lambda t: set_age(t, "sub-05", "n/a")), 0, ()),
    "a level that is HTML": Group(
        lambda p: (edit(lambda t: t.replace("control", "<script>alert(1)</script>"))(p), described(group={})(p)), 0, ()
    ),
    "more people than profiles": Group(edit(lambda t: t + "sub-old_1\tcontrol\t50\tM\tsite1\n"), 0, ()),
    "a participant named by a path": Group(sessions_elsewhere, 0, ()),
    "circles of links": Group(circles_in_output, 0, ()),
    "UTF-16": Group(edit(lambda t: t.encode("utf-16")), 65, ("participants.tsv", "UTF-8", "Save it")),
    "Latin-1": Group(edit(lambda t: t.replace("site1", "K\xf6ln").encode("latin1")), 65, ("participants.tsv", "UTF-8")),
    "zero bytes": Group(edit(lambda t: ""), 65, ("participants.tsv", "is empty", "participant_id")),
    "header alone": Group(edit(lambda t: t.splitlines()[0] + "\n"), 65, ("participants.tsv", "sub-01")),
    "NUL bytes": Group(edit(lambda t: t.replace("sub-02", "sub\x00-02")), 0, ()),
    "a picture": Group(edit(lambda t: b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9), 65, ("participants.tsv", "UTF-8")),
    "semicolons": Group(edit(lambda t: t.replace("\t", ";")), 65, ("participants.tsv", "participant_id", "tabs")),
    "spaces": Group(edit(lambda t: t.replace("\t", "  ")), 65, ("participants.tsv", "participant_id", "tabs")),
    "no identifiers": Group(edit(lambda t: t.replace("participant_id", "ID")), 65, ("participant_id", "ID, group")),
    "identifiers in capitals": Group(
        edit(lambda t: t.replace("participant_id", "PARTICIPANT_ID")), 65, ("participant_id", "PARTICIPANT_ID, group")
    ),
    "an identifier that is n/a": Group(edit(lambda t: t.replace("sub-02", "n/a")), 65, ("participant_id", "line 3")),
    "a line above the header": Group(
        edit(lambda t: "# our cohort\n" + t), 65, ("participants.tsv", "participant_id", "# our cohort")
    ),
    "a thousands' comma": Group(edit(lambda t: set_age(t, "sub-05", "1,000")), 65, ("age", "'1,000'", "not a comma")),
    "a hexadecimal number": Group(edit(lambda t: set_age(t, "sub-05", "0x20")), 65, ("age", "'0x20'")),
    "a number too large": Group(edit(lambda t: set_age(t, "sub-05", "1e400")), 65, ("'age'", "finite")),
    "a cell that a spreadsheet would run": Group(
        edit(lambda t: t.replace("control", "=cmd|' /C calc'!A0")), 65, ("group", "=cmd|", "control")
    ),
    "everybody of one age": Group(
        edit(lambda t: "".join(set_age(r, r[:6], "50") if k else r for k, r in enumerate(t.splitlines(keepends=True)))),
        65, ("'age'", "same value in all 12 rows"),
    ),
    "a subject twice": Group(edit(lambda t: t.replace("sub-02", "sub-01")), 65, ("sub-01 twice", "session_id")),
    "a column twice": Group(edit(lambda t: t.replace("sex", "age", 1)), 65, ("'age'", "different names")),
    "a column without a name": Group(edit(lambda t: t.replace("\tsex", "\t", 1)), 65, ("Column 4 has none",)),
    "a value too many": Group(edit(lambda t: t.replace("sub-02\t", "sub-02\tx\t")), 65, ("Line 3", "5 values", "6")),
    "no such column": Group(nothing, 65, ("'agee'", "age, sex, site", "Did you mean 'age'?"), "value ~ agee"),
    "a factor of one level": Group(
        edit(lambda t: t.replace("patient", "control")), 65, ("'group'", "two levels", "'control'")
    ),
    "collinear columns": Group(
        edit(lambda t: add_column(t, "months", lambda row: f"{12 * float(row[2]):.1f}")), 65, ("age", "months"),
        "value ~ group + age + months",
    ),
    "as many columns as rows": Group(nothing, 65, ("rows", "columns", "12"), "value ~ poly(age, 9) + group + sex"),
    "more columns than rows": Group(nothing, 65, ("linear combination", "more"), "value ~ group * sex * site * age"),
    "a decimal comma": Group(edit(lambda t: t.replace(".", ",")), 65, ("age", "Units", "decimal point")),
    "infinite age": Group(edit(lambda t: set_age(t, "sub-04", "inf")), 65, ("'age'", "finite")),
    "everybody is n/a": Group(
        edit(lambda t: "\n".join("\t".join([*r.split("\t")[:2], "n/a" if i else "age", *r.split("\t")[3:]])
                                 for i, r in enumerate(t.splitlines()))), 65, ("n/a in age", "12"),
    ),
    "a random factor of one row each": Group(
        nothing, 65, ("participant_id", "own level"), "value ~ group + (1|participant_id)"
    ),
    "participants.json is no JSON": Group(lambda p: write(p.bids / "participants.json", "{"), 65,
                                          ("participants.json", "JSON")),
    "participants.json is a list": Group(lambda p: write(p.bids / "participants.json", "[]"), 65,
                                         ("participants.json", "object")),
    "levels are a number": Group(described(group={"Levels": 2}), 65, ("JSON", "group", "Levels", "Got 2")),
    "levels are a text": Group(described(group={"Levels": "ab"}), 65, ("JSON", "group", "Levels", "'ab'")),
    "levels are not those": Group(described(group={"Levels": {"a": "", "b": ""}}), 65, ("group", "a, b", "'control'")),
    "participants.tsv is a folder": Group(
        lambda p: (table(p).unlink(), table(p).mkdir()), 66, ("participants.tsv", "--design")
    ),
    "an xlsx that is none": Group(
        lambda p: write(p.bids / "design.xlsx", "participant_id,group\n"), 65, ("design.xlsx", "Excel"),
        options=("--design", "{bids}/design.xlsx"),
    ),
    "an xlsx that is another zip": Group(
        lambda p: write(p.bids / "design.xlsx", spoil.zipped({"a.txt": b"x"})), 65, ("design.xlsx", "Excel"),
        options=("--design", "{bids}/design.xlsx"),
    ),
    "an xlsx cut short": Group(
        lambda p: spoil.cut(excel_of(p), 3000), 65, ("design.xlsx", "Excel"), options=("--design", "{bids}/design.xlsx")
    ),
    "an xlsx bomb": Group(
        lambda p: bomb(excel_of(p)), 65, ("design.xlsx", "unpack"), options=("--design", "{bids}/design.xlsx")
    ),
    "an xlsx with rows twice": Group(
        lambda p: excel_of(p, lambda t: pd.concat([t, t.head(1)])), 65, ("design.xlsx", "sub-01 twice"),
        options=("--design", "{bids}/design.xlsx"),
    ),
    "a design of another kind": Group(
        lambda p: write(p.bids / "design.ods", "x"), 65, ("design.ods", ".tsv, .csv or .xlsx"),
        options=("--design", "{bids}/design.ods"),
    ),
    "a design with rows twice": Group(
        lambda p: write(p.bids / "d.tsv", table(p).read_text() + table(p).read_text().splitlines()[1] + "\n"), 65,
        ("d.tsv", "sub-01 twice"), options=("--design", "{bids}/d.tsv"),
    ),
    "sessions named by paths": Group(
        lambda p: write(p.bids / "d.tsv", add_column(table(p).read_text(), "session_id", lambda _: "../../x")), 0,
        (), options=("--design", "{bids}/d.tsv"),
    ),
    "an unknown level": Group(nothing, 65, ("group[nobody]", "group[control], group[patient]"),
                              options=("--contrast", "a: group[nobody]=1 group[control]=-1")),
    "an unknown factor": Group(nothing, 65, ("diagnosis[AD]", "group[control]"),
                               options=("--contrast", "a: diagnosis[AD]=1")),
    "weights that do not cancel": Group(nothing, 65, ("group", "sum to 0", "sums to 1"),
                                        options=("--contrast", "a: group[patient]=1")),
    "weights of zero": Group(nothing, 65, ("'a'", "all 0"), options=("--contrast", "a: age=0")),
    "a weight that is no number": Group(nothing, 65, ("contrast", "age=x"), options=("--contrast", "a: age=x")),
    "a weight divided by zero": Group(nothing, 65, ("1/0",), options=("--contrast", "a: age=1/0")),
    "a contrast twice": Group(nothing, 65, ("'a'", "unique"), options=("--contrast", "a: age=1", "a: age=2")),
    "a contrast named by a path": Group(nothing, 0, (), options=("--contrast", "../../../evil: age=1")),
    "a contrast with line breaks": Group(nothing, 65, ("printable name",), options=("--contrast", "a\nb: age=1")),
    "contrasts that are no JSON": Group(
        lambda p: write(p.bids / "c.json", "{"), 65, ("c.json", "columns, weights"),
        options=("--contrast", "{bids}/c.json"),
    ),
    "contrasts of other JSON": Group(
        lambda p: write(p.bids / "c.json", '{"a": 1}'), 65, ("c.json",), options=("--contrast", "{bids}/c.json")
    ),
    "contrasts without weights": Group(
        lambda p: write(p.bids / "c.tsv", "name\ttype\na\tT\n"), 65, ("c.tsv", "weights"),
        options=("--contrast", "{bids}/c.tsv"),
    ),
    "contrasts that are not there": Group(nothing, 66, ("/nowhere/c.tsv",), options=("--contrast", "/nowhere/c.tsv")),
    "a model that is no JSON": Group(
        lambda p: write(p.bids / "m.json", "{"), 65, ("m.json", "JSON"), "", ("--model", "{bids}/m.json")
    ),
    "a model that is a list": Group(
        lambda p: write(p.bids / "m.json", "[]"), 65, ("m.json", "object"), "", ("--model", "{bids}/m.json")
    ),
    "a model of odd nodes": Group(
        lambda p: write(p.bids / "m.json", '{"Nodes": [3]}'), 65, ("m.json",), "", ("--model", "{bids}/m.json")
    ),
    "a model without nodes": Group(
        lambda p: write(p.bids / "m.json", "{}"), 65, ("m.json", "node", "Dataset"), "", ("--model", "{bids}/m.json")
    ),
    "a model with an odd formula": Group(
        lambda p: write(p.bids / "m.json", '{"Nodes": [{"Level": "Dataset", "Model": {"Software": 3}}]}'), 65,
        ("m.json",), "", ("--model", "{bids}/m.json"),
    ),
    "a model named by a path": Group(nothing, 2, ("--model-name", "'../evil'"), options=("--model-name", "../evil")),
    "alpha that is no number": Group(nothing, 2, ("--alpha", "'x'"), options=("--alpha", "x")),
    "alpha that is NaN": Group(nothing, 2, ("--alpha", "between 0 and 1", "nan"), options=("--alpha", "nan")),
    "alpha that is infinite": Group(nothing, 2, ("--alpha-block", "inf"), options=("--alpha-block", "inf")),
    "alpha below zero": Group(nothing, 2, ("--alpha-cell", "-0.05"), options=("--alpha-cell", "-0.05")),
    "alpha of one": Group(nothing, 2, ("--alpha-cell", "Got 1"), options=("--alpha-cell", "0.05", "1")),
    "no subjects": Group(nothing, 2, ("--min-subjects", "at least 1"), options=("--min-subjects", "0")),
    "a profile cut short": Group(
        lambda p: write(profile_of(p), profile_of(p).read_bytes()[:900]), 16, (f"sub-03_space-{SPACE}_desc-profile1D",)
    ),
    "a profile of zero bytes": Group(lambda p: write(profile_of(p), ""), 16, (f"sub-03_space-{SPACE}_desc-profile1D",)),
    "a profile that is a picture": Group(
        lambda p: write(profile_of(p), bytes(range(256)) * 9), 16, (f"sub-03_space-{SPACE}_desc-profile1D",)
    ),
    "a profile with text for numbers": Group(
        lambda p: write(profile_of(p), profile_of(p).read_text().replace("\tok\t0", "\tok\tx0", 1)), 16,
        (f"sub-03_space-{SPACE}_desc-profile1D", "demo_wm"),
    ),
    "a sidecar that is no JSON": Group(lambda p: write(profile_of(p, ending="json"), "{"), 16, ("sub-03",)),
    "a sidecar that is not there": Group(lambda p: profile_of(p, ending="json").unlink(), 16, ("sub-03",)),
    "a sidecar without an atlas": Group(lambda p: write(profile_of(p, ending="json"), "{}"), 16, ("sub-03",)),
    "a profile twice": Group(
        lambda p: shutil.copy(profile_of(p), str(profile_of(p)).replace(SPACE, "ACPC")), 16, ("sub-03", "several")
    ),
    "a grid that is broken": Group(
        lambda p: [f.write_bytes(b"PK") for f in (p.out / "atlas").glob("*CSTR*.npz")], 65, ("CSTR_grid.npz",)
    ),
    "the group folder is in the way": Group(lambda p: write(p.out / "group", "x"), 73, ("group",)),
    "the page is in the way": Group(lambda p: (p.out / "model-m.html").mkdir(), 73, ("model-m.html",),
                                    options=("--model-name", "m")),
    "an output without profiles": Group(
        lambda p: [shutil.rmtree(f) for f in p.out.glob("sub-??")], 66, ("no 1D profile tables", "participant level")
    ),
}  # fmt: skip


def add_column(text: str, name: str, value: Callable[[list[str]], str]) -> str:
    rows = [line.split("\t") for line in text.splitlines()]
    return "".join("\t".join([*r, value(r) if k else name]) + "\n" for k, r in enumerate(rows))


def set_age(text: str, subject: str, age: str) -> str:
    rows = [line.split("\t") for line in text.splitlines()]
    return "".join("\t".join([*r[:2], age, *r[3:]] if r[0] == subject else r) + "\n" for r in rows)


def bomb(path: Path) -> None:
    """A workbook whose sheet has 600 MB of spaces."""
    with zipfile.ZipFile(path) as book:
        members = {name: book.read(name) for name in book.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as book:
        for name, content in members.items():
            with book.open(name, "w") as member:
                member.write(content)
                for _ in range(60 if "sheet1" in name else 0):
                    member.write(b" " * 10_000_000)


@pytest.fixture
def group_place(study, profiles, tmp_path) -> Place:
    ignored = shutil.ignore_patterns("derivatives", ".made")
    return Place(Path(shutil.copytree(study.bids, tmp_path / "bids", ignore=ignored)), study.atlas, profiles)


def group_level(p: Place, cli, formula: str, *options: str):
    words = [option.format(bids=p.bids) for option in options]
    asked = ["--formula", formula] if formula else []
    return cli(p.bids, p.out, "group", "--profile", "1D", *asked, *words)


@pytest.mark.parametrize("case", GROUP.values(), ids=GROUP)
def test_the_group_level_tells_what_is_wrong(case, group_place, tree, cli):
    case.spoil(group_place)
    before, profiles = around(group_place), tree(group_place.out / "sub-01")
    ended = group_level(group_place, cli, case.formula, *case.options)
    assert_told(ended, case.status, case.words)
    assert len(ended.err) < 1500
    assert around(group_place) == before
    assert tree(group_place.out / "sub-01") == ({} if "without profiles" in str(case.words) else profiles)
    pages = [f for f in group_place.out.glob("model-*.html") if f.is_file()]
    assert len(pages) == (case.status == 0)
    assert not any("<script>alert" in page.read_text() for page in pages)


@pytest.mark.parametrize("formula", INJECTIONS, ids=[f"{k}: {text[8:48]}" for k, text in enumerate(INJECTIONS)])
def test_a_formula_is_no_program(formula, group_place, tmp_path, cli):
    trap = tmp_path / "trap"
    ended = group_level(group_place, cli, formula.replace("TRAP", str(trap)))
    assert_told(ended, 65, ())
    assert "formula" in ended.err or formula in ended.err
    assert not trap.exists()


def test_a_row_that_is_incomplete_is_listed_on_the_page(group_place, cli):
    edit(lambda t: set_age(t, "sub-05", "n/a"))(group_place)
    assert group_level(group_place, cli, "value ~ group + age").status == 0
    (page,) = group_place.out.glob("model-*.html")
    text = " ".join(page.read_text().split())
    assert "1 row left out" in text
    assert "n/a in age" in text
    fits = read_table(group_place.out / "group/model-groupAge/model-groupAge_desc-profile1D_stats.tsv")
    assert fits["n"].max() == 11


def test_a_byte_order_mark_and_carriage_returns_change_no_fit(group_place, tree, cli):
    group_level(group_place, cli, "value ~ group + age")
    before = tree(group_place.out / "group")
    edit(lambda t: b"\xef\xbb\xbf" + t.replace("\n", "\r\n").encode())(group_place)
    assert group_level(group_place, cli, "value ~ group + age", "--force").status == 0
    assert tree(group_place.out / "group") == before


# --- rights --------------------------------------------------------------------------------------------------------


@contextmanager
def without_overriding_rights() -> Iterator[None]:
    """As a plain user: even root, without the capabilities that let it read and write anything."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets):
        pytest.skip("capabilities cannot be read here")
    before = sets[0]
    sets[0] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH of the effective set
    if libc.capset(header, sets):
        pytest.skip("capabilities cannot be dropped here")
    try:
        yield
    finally:
        sets[0] = before
        libc.capset(header, sets)


def unreadable(path: Path) -> Path:
    path.chmod(0)
    return path


RIGHTS: dict[str, tuple[Callable[[Place], Path], int, str]] = {
    "a bundle": (lambda p: unreadable(Patient(p.demo / "sub-01" / "dwi", "01").bundle()), 1, "participant"),
    "a map": (lambda p: unreadable(Patient(p.demo / "sub-01" / "dwi", "01").map()), 1, "participant"),
    "an atlas bundle": (lambda p: unreadable(atlas_file(p)), 66, "participant"),
    "atlas.json": (lambda p: unreadable(p.atlas / "atlas.json"), 66, "participant"),
    "a frozen grid": (lambda p: unreadable(next((p.out / "atlas").glob("*CSTR*.npz"))), 65, "participant"),
    "participants.tsv": (lambda p: unreadable(table(p)), 66, "group"),
    "participants.json": (lambda p: unreadable(p.bids / "participants.json"), 66, "group"),
}


@pytest.mark.parametrize("case", RIGHTS.values(), ids=RIGHTS)
def test_a_file_without_the_right_to_read_it_is_named(case, place, study, cli):
    spoil_rights, status, level = case
    if level == "group":
        for subject in ("01", "02"):
            shutil.copytree(study.out / f"sub-{subject}", place.out / f"sub-{subject}")
    path = spoil_rights(place)
    options = ["--atlas", place.atlas, "--n-procs", 1] if level == "participant" else ["--formula", "value ~ age"]
    with without_overriding_rights():
        ended = cli(place.bids, place.out, level, *options)
    path.chmod(0o644)
    assert_told(ended, status, (path.name, "Permission denied"))
    if status == 1:
        assert "sub-01 failed" in ended.err
        assert done(place.out) == {"02"}


def test_an_output_folder_that_is_read_only_is_told(place, cli):
    place.out.chmod(0o555)
    with without_overriding_rights():
        ended = cli(place.bids, place.out, "participant", "--atlas", place.atlas, "--n-procs", 1)
    place.out.chmod(0o755)
    assert_told(ended, 73, (str(place.out), "Permission denied"))


def test_input_that_is_read_only_is_enough(place, cli):
    for path in (place.bids, *place.bids.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    with without_overriding_rights():
        ended = cli(place.bids, place.out, "participant", "--atlas", place.atlas, "--n-procs", 1)
    assert_told(ended, 0, ())
    assert done(place.out) == {"01", "02"}
    for path in (place.bids, *place.bids.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
