"""group.tables: every session's tables become one block of numbers; one that disagrees is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spectra_bids.dataset.outputs import read_table, write_json, write_table
from spectra_bids.errors import DatasetError, MissingInputError, NothingSelectedError
from spectra_bids.group.tables import (
    choose_sessions,
    read_cohort,
    read_sidecars,
    scalars_of,
    select_scalars,
    session_tables,
)

FACTS = {"Atlas": {"Label": "a"}, "GridChecksums": {"X": "1", "Y": "2"}}


def write(out: Path, subject: str, session: str = "", scalars: tuple[str, ...] = ("dki_fa",), stem: str = "") -> Path:
    """A small 1D table of two bundles with three nodes; values are 100 x subject + row."""
    folder = out / f"sub-{subject}" / (f"ses-{session}" if session else "") / "dwi"
    parts = [f"sub-{subject}", *([f"ses-{session}"] if session else []), *([stem] if stem else [])]
    path = folder / ("_".join(parts) + "_desc-profile1D_tractometry.tsv")
    table = pd.DataFrame({"bundle": list("XXXYYY"), "s": [0, 1, 2] * 2, "s_mm": [0.0, 5, 10] * 2})
    table = table.assign(n_points=9, n_streamlines=5, status=["ok"] * 5 + ["no_points"])
    for k, scalar in enumerate(scalars):
        values = 100.0 * int(subject) + 1000 * k + np.arange(6)
        values[5] = np.nan
        table[scalar], table[f"{scalar}_sd"] = values, 1.0
    write_table(path, table)
    write_json(path.with_suffix(".json"), FACTS)
    return path


@pytest.fixture
def out(tmp_path):
    for subject in ("1", "2", "3"):
        write(tmp_path, subject)
    return tmp_path


def test_a_cohort_is_sessions_by_cells(out):
    cohort = read_cohort(out, "1D")
    assert list(cohort.sessions["participant_id"]) == ["sub-1", "sub-2", "sub-3"]
    assert cohort.values["dki_fa"].shape == (3, 6)
    np.testing.assert_array_equal(cohort.values["dki_fa"][:, :5], 100 * np.array([[1], [2], [3]]) + np.arange(5))
    assert np.isnan(cohort.values["dki_fa"][:, 5]).all()
    assert cohort.bundles == ("X", "Y")
    np.testing.assert_array_equal(cohort.columns_of("Y"), [3, 4, 5])
    assert cohort.scalars == ("dki_fa",)
    assert cohort.without(["X"]).bundles == ("Y",)
    np.testing.assert_array_equal(cohort.only("Y").values["dki_fa"], cohort.values["dki_fa"][:, 3:])


def test_a_real_cohort_has_the_values_of_its_tables(study):
    for dims in ("1D", "2D"):
        cohort = read_cohort(study.out, dims)
        for row, path in zip(cohort.values["demo_wm"], cohort.sessions["path"], strict=True):
            np.testing.assert_array_equal(row, read_table(path)["demo_wm"])


def test_sessions_are_found_with_and_without_session_folders(tmp_path):
    write(tmp_path, "1", "a")
    write(tmp_path, "1", "b", stem="space-ACPC")
    write(tmp_path, "2")
    (tmp_path / "sub-2" / "dwi" / "sub-2_notes.tsv").write_text("x\n")
    found = session_tables(tmp_path, "1D")
    assert [tuple(r) for r in found[["participant_id", "session_id"]].itertuples(index=False)] == [
        ("sub-1", "ses-a"), ("sub-1", "ses-b"), ("sub-2", None),
    ]  # fmt: skip


def test_two_spaces_of_one_session_are_refused(out):
    write(out, "2", stem="space-MNI")
    with pytest.raises(DatasetError, match="sub-2 has several 1D profile tables"):
        read_cohort(out, "1D")


def test_no_table_is_missing_input(tmp_path):
    with pytest.raises(MissingInputError, match="no 1D profile tables") as caught:
        read_cohort(tmp_path, "1D")
    assert "participant level" in caught.value.hint


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.iloc[:-1],
        lambda t: t.assign(s_mm=t["s_mm"] + 0.5),
        lambda t: t.assign(bundle=t["bundle"].replace("Y", "Z")),
        lambda t: t.iloc[::-1],
    ],
    ids=["fewer rows", "other places", "another bundle", "another order"],
)
def test_a_table_on_another_grid_is_refused_by_name(change, out):
    path = out / "sub-2" / "dwi" / "sub-2_desc-profile1D_tractometry.tsv"
    write_table(path, change(read_table(path)))
    with pytest.raises(DatasetError, match=r"sub-2_desc-profile1D_tractometry\.tsv has other cells than sub-1_"):
        read_cohort(out, "1D")


@pytest.mark.parametrize("content", ["", "a\tb\n1\n", "participant\tvalue\n1\t2\n"])
def test_what_is_no_profile_table_is_refused_by_name(content, out):
    path = out / "sub-2" / "dwi" / "sub-2_desc-profile1D_tractometry.tsv"
    path.write_text(content)
    with pytest.raises(DatasetError, match=str(path)):
        read_cohort(out, "1D")


def test_a_scalar_that_some_lack_is_nan_for_them(out):
    write(out, "4", scalars=("dki_fa", "dki_md"))
    cohort = read_cohort(out, "1D")
    assert cohort.scalars == ("dki_fa", "dki_md")
    assert np.isnan(cohort.values["dki_md"][:3]).all()
    assert cohort.values["dki_md"][3, 0] == 1400


def test_scalars_are_selected_by_parameter_and_by_full_name():
    found = ["dki_fa", "dki_md", "tensor_fa"]
    assert select_scalars(found, ["fa"]) == ["dki_fa", "tensor_fa"]
    assert select_scalars(found, ["tensor_fa", "md"]) == ["dki_md", "tensor_fa"]
    assert select_scalars(found, ["*"]) == found
    with pytest.raises(NothingSelectedError, match=r"--scalars zz.*dki_fa, dki_md, tensor_fa"):
        select_scalars(found, ["fa", "zz"])


def test_spread_is_no_scalar_but_a_scalar_named_sd_is():
    table = [
        "bundle",
        "s",
        "s_mm",
        "n_points",
        "n_streamlines",
        "status",
        "dki_fa",
        "dki_fa_sd",
        "noddi_sd",
        "noddi_sd_sd",
    ]
    assert scalars_of(table) == ["dki_fa", "noddi_sd"]


def test_a_bundle_that_nobody_has_is_absent(out):
    for path in out.glob("sub-*/dwi/*.tsv"):
        table = read_table(path)
        table.loc[table["bundle"] == "Y", "status"] = "no_bundle"
        write_table(path, table)
    assert read_cohort(out, "1D").absent == ("Y",)
    write(out, "2")
    assert read_cohort(out, "1D").absent == ()


def test_labels_choose_and_unknown_ones_are_refused(tmp_path):
    for subject, session in (("1", "a"), ("1", "b"), ("2", "a")):
        write(tmp_path, subject, session)
    table = session_tables(tmp_path, "1D")
    assert len(choose_sessions(table, (), ())) == 3
    assert len(choose_sessions(table, ("1",), ())) == 2
    assert len(choose_sessions(table, (), ("a",))) == 2
    with pytest.raises(NothingSelectedError, match=r"--participant-label 7: .*There are: sub-1, sub-2"):
        choose_sessions(table, ("1", "7"), ())
    with pytest.raises(NothingSelectedError, match=r"--session-label b: .*There are: ses-a"):
        choose_sessions(table, ("2",), ("b",))


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f | {"Atlas": {"Label": "b"}},
        lambda f: f | {"GridChecksums": {"X": "1", "Y": "3"}},
    ],
)
def test_sidecars_of_different_atlases_are_refused(change, out):
    sessions = session_tables(out, "1D")
    assert [f["Atlas"]["Label"] for f in read_sidecars(sessions)] == ["a", "a", "a"]
    path = sessions["path"][1].with_suffix(".json")
    path.write_text(json.dumps(change(FACTS)))
    with pytest.raises(DatasetError, match=r"sub-2_.* was made with another atlas or other grids than sub-1_"):
        read_sidecars(sessions)


@pytest.mark.parametrize("content", ["{", "[]", "{}", None])
def test_a_sidecar_that_says_nothing_is_refused_by_name(content, out):
    sessions = session_tables(out, "1D")
    path = sessions["path"][1].with_suffix(".json")
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(DatasetError, match=str(path)):
        read_sidecars(sessions)


def test_a_cohort_of_a_thousand_rows_keeps_its_order(tmp_path):
    first = write(tmp_path, "1")
    for k in range(2, 12):
        target = tmp_path / f"sub-{k:02d}" / "dwi" / f"sub-{k:02d}_desc-profile1D_tractometry.tsv"
        target.parent.mkdir(parents=True)
        shutil.copy(first, target)
    cohort = read_cohort(tmp_path, "1D")
    assert list(cohort.sessions["participant_id"]) == sorted(cohort.sessions["participant_id"])
