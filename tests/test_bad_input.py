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
