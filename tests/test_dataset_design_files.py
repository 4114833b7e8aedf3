"""Participants, sessions and design files: types, joining, and every way in which people's tables go wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spectra_bids.dataset.design_files import read_design, read_image_table, read_participants, read_sessions
from spectra_bids.errors import DesignError, MissingInputError

PEOPLE = "participant_id\tgroup\tage\tsex\nsub-01\tpatient\t61.5\tF\nsub-02\tcontrol\tn/a\tM\nsub-10\tcontrol\t70\tF\n"
SIDECAR = {
    "group": {"Levels": {"control": "healthy", "atrisk": "at risk", "patient": "ill"}},
    "age": {"Description": "age", "Units": "year"},
    "sex": {"Levels": ["M", "F"]},
}


def write(path: Path, text: str | bytes, sidecar: dict[str, object] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    if sidecar is not None:
        path.with_suffix(".json").write_text(json.dumps(sidecar))
    return path


def test_no_table_at_all_points_to_design(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"participants\.tsv") as caught:
        read_design(tmp_path, None)
    assert "--design" in caught.value.hint


WRONG = {
    "empty": ("", r"p\.tsv is empty"),
    "no identifier": ("subject\tage\n1\t2\n", "must have a column participant_id. Got: subject, age"),
    "a name twice": ("participant_id\tage\tage\n1\t2\t3\n", "Got twice: 'age'"),
    "a column without a name": ("participant_id\t\tage\n1\t2\t3\n", "Column 2 has none"),
    "too few values": ("participant_id\tage\nsub-1\t3\nsub-2\n", "Line 3 of .* must have 2 values.*Got 1"),
    "too many values": ("participant_id\tage\nsub-1\t3\t4\n", "Line 2 of .* must have 2 values.*Got 3"),
    "no identifier in a row": ("participant_id\tage\nsub-1\t3\nn/a\t4\n", "value in every row. Got none in line 3"),
    "one person twice": ("participant_id\tage\nsub-1\t3\n1\t4\n", "must differ in participant_id. Got sub-1 twice"),
    "one session twice": (
        "participant_id\tsession_id\nsub-1\tses-1\nsub-1\t1\n",
        "participant_id and session_id. Got sub-1 ses-1 twice",
    ),
    "another encoding": (PEOPLE.encode("utf-16"), "must be UTF-8"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_a_table_that_is_wrong_says_where(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(DesignError, match=message):
        read_participants(write(tmp_path / "p.tsv", text))


@pytest.mark.parametrize("separator", [",", ";", " "])
def test_a_wrong_separator_is_recognised(tmp_path: Path, separator: str) -> None:
    with pytest.raises(DesignError, match="must have a column participant_id") as caught:
        read_participants(write(tmp_path / "p.tsv", PEOPLE.replace("\t", separator)))
    assert "by tabs" in caught.value.hint


def test_semicolons_in_a_csv_are_recognised(tmp_path: Path) -> None:
    with pytest.raises(DesignError) as caught:
        read_participants(write(tmp_path / "p.csv", PEOPLE.replace("\t", ";")))
    assert "by commas" in caught.value.hint


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DesignError, match=r"\.tsv, \.csv or \.xlsx"):
        read_participants(write(tmp_path / "p.sav", PEOPLE))
    with pytest.raises(DesignError, match="must be an Excel workbook"):
        read_participants(write(tmp_path / "p.xlsx", PEOPLE))


def test_a_sidecar_that_is_no_json_is_named(tmp_path: Path) -> None:
    write(tmp_path / "p.json", "{")
    with pytest.raises(DesignError, match=r"p\.json must be JSON"):
        read_participants(write(tmp_path / "p.tsv", PEOPLE))


def test_levels_make_factors_in_their_order_and_units_make_numbers(tmp_path: Path) -> None:
    write(tmp_path / "participants.tsv", PEOPLE, SIDECAR)
    table, notes = read_design(tmp_path, None)
    assert table["participant_id"].tolist() == ["sub-01", "sub-02", "sub-10"]
    assert list(table["group"].cat.categories) == ["control", "patient"]
    assert list(table["sex"].cat.categories) == ["M", "F"]
    assert table["group"].cat.ordered
    np.testing.assert_array_equal(table["age"], [61.5, np.nan, 70])
    assert notes == ("Nobody has group = atrisk; the level was left out",)


def test_without_a_sidecar_numbers_are_numbers_and_the_rest_sorted_factors(tmp_path: Path) -> None:
    table = read_participants(
        write(tmp_path / "p.tsv", PEOPLE.replace("control", "site10").replace("patient", "site2"))
    )
    assert table["age"].dtype == np.float64
    assert list(table["group"].cat.categories) == ["site2", "site10"]


def test_a_value_outside_the_levels_is_named(tmp_path: Path) -> None:
    with pytest.raises(DesignError, match=r"Column sex of .*p\.tsv must have the Levels.*: M, F\. Got 'f'"):
        read_participants(write(tmp_path / "p.tsv", PEOPLE.replace("\tF", "\tf"), SIDECAR))


def test_a_value_that_units_forbid_is_named(tmp_path: Path) -> None:
    with pytest.raises(DesignError, match=r"Column age .* has Units.*Got '61,5'"):
        read_participants(write(tmp_path / "p.tsv", PEOPLE.replace("61.5", "61,5"), SIDECAR))


BOOK = "b" * 200_000
LONG = {
    "a value for a number": (PEOPLE.replace("61.5", BOOK), SIDECAR, "Column age "),
    "a value for a level": (PEOPLE.replace("\tF", f"\t{BOOK}"), SIDECAR, "Column sex "),
    "a level of the sidecar": (PEOPLE, {"sex": {"Levels": ["M", BOOK]}}, "Column sex "),
    "levels that are text": (PEOPLE, {"sex": {"Levels": BOOK}}, "Levels of column sex "),
    "a column": (f"participant_id\t{BOOK}\nsub-1\tx\n", {BOOK: {"Units": "mm"}}, "Column b"),
    "a column without the identifier": (f"subject\t{BOOK}\n1\t2\n", {}, "Got: subject, b"),
    "a column twice": (f"participant_id\t{BOOK}\t{BOOK}\n1\t2\t3\n", {}, "different names"),
    "an identifier twice": (f"participant_id\n{BOOK}\n{BOOK}\n", {}, "Got sub-b"),
}


@pytest.mark.parametrize(("text", "sidecar", "where"), LONG.values(), ids=LONG)
def test_of_a_value_as_long_as_a_book_a_message_shows_the_beginning(
    tmp_path: Path, text: str, sidecar: dict[str, object], where: str
) -> None:
    with pytest.raises(DesignError) as caught:
        read_participants(write(tmp_path / "p.tsv", text, sidecar))
    assert where in caught.value.message
    assert "characters)" in caught.value.message
    assert len(caught.value.message) < 500 + len(str(tmp_path))


def test_notes_show_the_beginning_too(tmp_path: Path) -> None:
    rows = "".join(f"sub-{k}\t{k}\tM\n" for k in range(9))
    write(
        tmp_path / "participants.tsv",
        f"participant_id\tage\tsex\nsub-x\t{BOOK}\tM\n{rows}",
        {"sex": {"Levels": ["M", BOOK]}},
    )
    _, notes = read_design(tmp_path, None)
    assert len(notes) == 2
    assert all(len(note) < 300 and "bbb... (200000 characters)" in note for note in notes)


def test_levels_that_are_numbers_match_however_they_are_written(tmp_path: Path) -> None:
    text = "participant_id\tdx\n1\t1.0\n2\t0\n"
    table = read_participants(write(tmp_path / "p.tsv", text, {"dx": {"Levels": {"0": "no", "1": "yes"}}}))
    assert table["dx"].tolist() == ["1", "0"]
    assert list(table["dx"].cat.categories) == ["0", "1"]


def test_a_column_of_numbers_with_a_word_among_them_is_noted(tmp_path: Path) -> None:
    text = "participant_id\tage\n1\t61\n2\t89+\n3\t70\n"
    write(tmp_path / "participants.tsv", text)
    table, notes = read_design(tmp_path, None)
    assert isinstance(table["age"].dtype, pd.CategoricalDtype)
    assert "'89+' is not" in notes[0]


@pytest.mark.parametrize(
    "text",
    ["\ufeff" + PEOPLE, PEOPLE.replace("\n", "\r\n"), PEOPLE.replace("\n", "\r"), PEOPLE + "\n\n", PEOPLE.rstrip("\n")],
    ids=["byte order mark", "CRLF", "CR", "empty lines", "no last newline"],
)
def test_what_other_programs_put_into_text_files_changes_nothing(tmp_path: Path, text: str) -> None:
    plain = read_participants(write(tmp_path / "a.tsv", PEOPLE))
    pd.testing.assert_frame_equal(read_participants(write(tmp_path / "b.tsv", text)), plain)


def test_missing_values_are_missing_however_they_are_written(tmp_path: Path) -> None:
    text = "participant_id\ta\tb\n" + "".join(
        f"{k}\t{v}\tx\n" for k, v in enumerate(["n/a", "", "NA", "NaN", " ", "5"])
    )
    table = read_participants(write(tmp_path / "p.tsv", text))
    assert table["a"].isna().tolist() == [True] * 5 + [False]


def test_tsv_csv_and_excel_are_the_same_table(tmp_path: Path) -> None:
    tsv = read_participants(write(tmp_path / "p.tsv", PEOPLE))
    csv = read_participants(write(tmp_path / "p.csv", PEOPLE.replace("\t", ",").replace("patient", '"patient"')))
    raw = pd.read_csv(tmp_path / "p.tsv", sep="\t", na_values="n/a")
    raw.to_excel(tmp_path / "p.xlsx", index=False)
    excel = read_participants(tmp_path / "p.xlsx")
    pd.testing.assert_frame_equal(csv, tsv)
    pd.testing.assert_frame_equal(excel, tsv)


def test_a_design_file_replaces_participants_and_keeps_their_types(tmp_path: Path) -> None:
    write(tmp_path / "participants.tsv", PEOPLE, SIDECAR)
    design = write(tmp_path / "mine.csv", "participant_id,group,dose\n01,patient,1\n02,control,2\n")
    table, _ = read_design(tmp_path, design)
    assert list(table) == ["participant_id", "group", "dose"]
    assert list(table["group"].cat.categories) == ["control", "patient"]
    write(tmp_path / "mine.csv", design.read_bytes(), {"group": {"Levels": ["patient", "control"]}})
    assert list(read_design(tmp_path, design)[0]["group"].cat.categories) == ["patient", "control"]


def with_sessions(root: Path) -> Path:
    write(root / "participants.tsv", PEOPLE, SIDECAR)
    write(root / "sub-01" / "sub-01_sessions.tsv", "session_id\tage\tdose\nses-1\t62\t0\nses-2\tn/a\t5\n")
    write(root / "sub-10" / "sub-10_sessions.tsv", "session_id\tage\tdose\n2\t71\t5\n")
    return root


def test_sessions_become_rows_and_override_their_participant(tmp_path: Path) -> None:
    table, _ = read_design(with_sessions(tmp_path), None)
    assert list(table) == ["participant_id", "session_id", "group", "age", "sex", "dose"]
    assert table["participant_id"].tolist() == ["sub-01", "sub-01", "sub-02", "sub-10"]
    assert table["session_id"].tolist()[:2] == ["ses-1", "ses-2"]
    assert table["session_id"].isna().tolist() == [False, False, True, False]
    # What a session says counts, n/a included: the participant's age is not the age at that session.
    np.testing.assert_array_equal(table["age"], [62, np.nan, np.nan, 71])
    np.testing.assert_array_equal(table["dose"], [0, 5, np.nan, 5])
    assert table["group"].tolist() == ["patient", "patient", "control", "control"]


def test_sessions_alone_can_be_read(tmp_path: Path) -> None:
    with_sessions(tmp_path)
    table = read_sessions(tmp_path, ["01", "sub-02"])
    assert table["session_id"].tolist() == ["ses-1", "ses-2"]
    assert list(read_sessions(tmp_path, ["02"])) == ["participant_id", "session_id"]


def test_sessions_told_in_two_places_are_refused(tmp_path: Path) -> None:
    with_sessions(tmp_path)
    write(tmp_path / "participants.tsv", "participant_id\tsession_id\nsub-01\tses-1\n")
    with pytest.raises(DesignError, match="told in one place"):
        read_design(tmp_path, None)


def test_a_broken_sessions_file_is_named(tmp_path: Path) -> None:
    with_sessions(tmp_path)
    write(tmp_path / "sub-10" / "sub-10_sessions.tsv", "visit\tage\n1\t2\n")
    with pytest.raises(DesignError, match=r"sub-10_sessions\.tsv must have a column session_id. Got: visit, age"):
        read_design(tmp_path, None)


@pytest.mark.parametrize("folder", ["real-mni", "real-pyafq", "real-qsirecon"])
def test_the_real_participants_are_read(shared_data: Path, folder: str) -> None:
    table, notes = read_design(shared_data / folder, None)
    assert len(table) == 1
    assert table["participant_id"].str.startswith("sub-").all()
    assert notes == ()


def test_a_real_subject_table_is_typed(shared_data: Path, tmp_path: Path) -> None:
    raw = pd.read_csv(shared_data / "tables" / "sarica_als_subjects.csv")
    raw = raw.drop(columns=raw.columns[0]).rename(columns={"subjectID": "participant_id"})
    raw.to_csv(tmp_path / "p.csv", index=False)
    table = read_participants(tmp_path / "p.csv")
    assert len(table) == 48
    assert table["age"].dtype == np.float64
    assert list(table["class"].cat.categories) == sorted(raw["class"].astype(str).unique())


def test_the_first_column_names_images_and_the_others_are_typed(tmp_path):
    path = tmp_path / "dm.csv"
    path.write_text("scan,age,sex\n01.nii,60,F\n02.nii,n/a,M\n")
    names, table, _ = read_image_table(path)
    assert names == ("01.nii", "02.nii")
    assert table["age"].tolist()[0] == 60.0
    assert table["sex"].cat.categories.tolist() == ["F", "M"]


@pytest.mark.parametrize(
    ("text", "said"),
    [("id,age\na.nii,1\na.nii,2\n", "must differ in id. Got a.nii twice"), ("id,age\n,1\n", "Got none in line 2")],
)
def test_images_must_be_named_and_differ(tmp_path, text, said):
    path = tmp_path / "dm.csv"
    path.write_text(text)
    with pytest.raises(DesignError, match=said):
        read_image_table(path)


def test_a_cohort_file_may_name_an_image_once_per_scalar(tmp_path):
    path = tmp_path / "cohort.csv"
    path.write_text("scalar_name,source_file\nFA,a.nii\nMD,a.nii\n")
    assert read_image_table(path, "source_file", "scalar_name")[0] == ("a.nii", "a.nii")
