"""dataset.qc_files: which decision holds for whom; what is wrong with a file is said with line and column."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from spectra_bids.dataset.qc_files import read_decisions
from spectra_bids.errors import DesignError, MissingInputError

BUNDLES = ("AFL", "CSTR", "CCForcepsMajor")
SESSIONS = pd.DataFrame(
    {"participant_id": ["sub-01", "sub-01", "sub-02"], "session_id": ["ses-a", "ses-b", "ses-a"]}, dtype=object
)
HEAD = "participant_id\tsession_id\tbundle\tdecision\treason\n"


@pytest.fixture
def rejected(tmp_path):
    """`rejected(text)`: the rejected (session, bundle) pairs of SESSIONS x BUNDLES."""

    def read(text: str, name: str = "decisions.tsv", sessions: pd.DataFrame = SESSIONS) -> set[tuple[int, str]]:
        (tmp_path / name).write_text(text, encoding="utf-8")
        found = read_decisions(tmp_path / name).rejected(sessions, BUNDLES)
        return {(int(k), BUNDLES[b]) for k, b in zip(*np.nonzero(found), strict=True)}

    return read


class Wrong(NamedTuple):
    text: str
    message: str


@pytest.mark.parametrize(
    "case",
    [
        Wrong("", r"one column 'participant_id'. It has: $"),
        Wrong("subject\tdecision\n01\treject\n", "one column 'participant_id'. It has: subject, decision"),
        Wrong("participant_id\tbundle\n01\tAFL\n", "one column 'decision'. It has: participant_id, bundle"),
        Wrong("participant_id,decision\n01,reject\n", "It has: participant_id,decision"),
        Wrong(HEAD + "01\t\t\tmaybe\t\n", "line 2, column decision: expected accept or reject. Got 'maybe'"),
        Wrong(HEAD + "01\t\t\treject\n\n02\t\t\t\tx\n", "line 4, column decision: expected accept or reject. Got ''"),
        Wrong(HEAD + "*\t\tAFL\treject\t\n", r"line 2, column participant_id: expected a subject. Got '\*'"),
        Wrong(HEAD + "01\t\t--\treject\t\n", "line 2, column bundle: expected a name with letters or digits. Got '--'"),
        Wrong(HEAD + "01\t\tAFL\treject\ta\tb\n", "line 2: expected 5 values. Got 6"),
        Wrong(HEAD + "01\t\tAF_L\treject\n01\t*\tLeft Arcuate\taccept\n", "lines 2 and 3 contradict each other"),
        Wrong(
            HEAD + "01\ta\t*\taccept\n01\t\tAFL\treject\n", "lines 2 and 3 contradict each other: accept for sub-01 ses"
        ),
        Wrong("\xff\xfe", "must be UTF-8"),
    ],
    ids=lambda case: case.message[:40],
)
def test_what_is_wrong_is_said_with_its_line(case, tmp_path):
    path = tmp_path / "decisions.tsv"
    path.write_bytes(case.text.encode("latin-1"))
    with pytest.raises(DesignError, match=case.message) as caught:
        read_decisions(path).rejected(SESSIONS, BUNDLES)
    assert caught.value.exit_status == 65
    assert str(path) in caught.value.message


def test_a_missing_file_is_missing_input(tmp_path):
    with pytest.raises(MissingInputError, match=r"decisions\.tsv does not exist"):
        read_decisions(tmp_path / "decisions.tsv")


@pytest.mark.parametrize("label", ["01", "sub-01"])
@pytest.mark.parametrize("session", ["a", "ses-a"])
@pytest.mark.parametrize("bundle", ["AFL", "AF_L", "Left Arcuate", "Association_ArcuateFasciculusL"])
def test_labels_and_bundles_stand_in_any_spelling(label, session, bundle, rejected):
    assert rejected(f"{HEAD}{label}\t{session}\t{bundle}\tReject\t\n") == {(0, "AFL")}


@pytest.mark.parametrize("text", ["", "*", "n/a"])
def test_what_is_not_named_means_all(text, rejected):
    assert rejected(f"{HEAD}02\t{text}\t{text}\treject\t\n") == {(2, b) for b in BUNDLES}
    assert rejected("participant_id\tdecision\n01\treject\n") == {(k, b) for k in (0, 1) for b in BUNDLES}


def test_the_line_that_names_most_wins_whatever_the_order(rejected):
    lines = [
        "01\t\t\treject\tmoved",
        "01\ta\t\taccept\t",
        "01\ta\tAFL\treject\t",
        "02\t\tAFL\treject\t",
        "02\t\t\taccept\t",
    ]
    expected = {(1, b) for b in BUNDLES} | {(0, "AFL"), (2, "AFL")}
    assert rejected(HEAD + "\n".join(lines)) == expected
    assert rejected(HEAD + "\n".join(reversed(lines))) == expected


def test_equal_lines_that_agree_or_are_settled_by_a_third_are_no_error(rejected):
    assert rejected(HEAD + "02\t\tAFL\treject\n02\ta\t\treject\n02\ta\t\treject\n") == {(2, b) for b in BUNDLES}


def test_contradictions_about_nobody_of_the_data_do_not_matter(rejected):
    assert rejected(HEAD + "07\ta\t\taccept\n07\t\tAFL\treject\n02\t\tAFL\treject\n") == {(2, "AFL")}


def test_a_data_set_without_sessions(rejected):
    alone = pd.DataFrame({"participant_id": ["sub-01", "sub-02"], "session_id": [None, None]}, dtype=object)
    assert rejected(HEAD + "01\tn/a\tAFL\treject\n02\ta\tAFL\treject\n", sessions=alone) == {(0, "AFL")}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_files_of_other_programs_are_read(end, rejected):
    text = '\ufeffparticipant_id,decision,bundle,reason\n01,reject,"AFL","a, ""b"""\n\n02,accept,AFL,\n'
    assert rejected(text.replace("\n", end), "decisions.csv") == {(0, "AFL"), (1, "AFL")}
    assert rejected(HEAD.replace("\n", end) + f'"01"\ta\tAFL\treject\t"5" left{end}', "d.tsv") == {(0, "AFL")}


def test_lines_that_name_nobody_are_warned_of_by_number(tmp_path):
    path = tmp_path / "decisions.tsv"
    path.write_text("participant_id\tsesion_id\tsession_id\tbundle\tdecision\n09\t\t\t\treject\n\n"
                    "01\t\tz\tFoo\treject\n01\t\ta\tAF_L\treject\n")  # fmt: skip
    found = read_decisions(path)
    warnings = found.unknown(SESSIONS, BUNDLES)
    assert [w.split("decisions.tsv")[1] for w in warnings] == [
        ": columns without a meaning there: sesion_id; known are participant_id, session_id, bundle, decision, reason",
        ", line 2: there are no profiles of sub-09",
        ", line 4: there are no profiles of sub-01 ses-z",
        ", line 4: there is no bundle Foo. There are: AFL, CSTR, CCForcepsMajor",
    ]


def test_a_reason_is_kept_and_which_line_holds_is_known(tmp_path):
    path = tmp_path / "decisions.tsv"
    path.write_text(HEAD + "01\t\t\treject\tmoved\n\n01\ta\tAFL\taccept\tn/a\n")
    found = read_decisions(path)
    assert [(d.line, d.reason) for d in found.decisions] == [(2, "moved"), (4, "")]
    np.testing.assert_array_equal(found.in_force(SESSIONS, BUNDLES), [[1, 0, 0], [0, 0, 0], [-1, -1, -1]])
