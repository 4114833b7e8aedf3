"""The files that all models share hold every session's tables, whole and the same whatever the batches."""

from __future__ import annotations

import pandas as pd
import pytest

from spectra_bids.dataset.outputs import read_table, write_table
from spectra_bids.group import shared
from spectra_bids.group.shared import long_tables, shared_files, write_shared
from spectra_bids.group.tables import read_cohort, session_tables

PEOPLE = pd.DataFrame({"participant_id": ["sub-01"], "age": [50.0]})


@pytest.mark.parametrize("dims", ["1D", "2D"])
def test_the_parquet_file_holds_the_tables_one_below_the_other(dims, profiles):
    write_shared(profiles, dims, PEOPLE)
    long = pd.read_parquet(shared_files(profiles, dims)[0])
    for (subject, _), path in zip(
        long.groupby("participant_id", sort=False), read_cohort(profiles, dims).sessions["path"], strict=True
    ):
        table, rows = read_table(path), long[long["participant_id"] == subject]
        assert list(long.columns) == ["participant_id", "session_id", *table.columns]
        pd.testing.assert_frame_equal(rows[table.columns].reset_index(drop=True), table, check_dtype=False)
    assert long["session_id"].isna().all()


def test_the_files_do_not_depend_on_the_batches(profiles, monkeypatch):
    write_shared(profiles, "1D", PEOPLE)
    _, csv, people = shared_files(profiles, "1D")
    before = csv.read_bytes(), people.read_bytes()
    size = session_tables(profiles, "1D")["path"][0].stat().st_size
    monkeypatch.setattr(shared, "BATCH_BYTES", 5 * size)
    write_shared(profiles, "1D", PEOPLE)
    assert (csv.read_bytes(), people.read_bytes()) == before
    assert [len(batch["participant_id"].unique()) for batch in long_tables(profiles, "1D")] == [5, 5, 2]


def test_a_second_writing_gives_the_same_bytes(profiles, tree):
    write_shared(profiles, "2D", PEOPLE)
    before = tree(profiles / "group")
    write_shared(profiles, "2D", PEOPLE)
    assert tree(profiles / "group") == before
    assert set(before) == {"desc-profile2D_tractometry.parquet"}


def test_the_files_for_afq_have_their_columns_and_the_values(profiles):
    write_shared(profiles, "1D", PEOPLE)
    _, csv, people = shared_files(profiles, "1D")
    table = pd.read_csv(csv, dtype={"subjectID": str})
    assert list(table.columns) == ["subjectID", "sessionID", "tractID", "nodeID", "demo_wm"]
    cohort = read_cohort(profiles, "1D")
    pd.testing.assert_series_equal(table["demo_wm"], pd.Series(cohort.values["demo_wm"].ravel(), name="demo_wm"))
    assert people.read_text() == "subjectID,age\nsub-01,50\n"


def test_sessions_and_scalars_that_only_some_have_are_empty_elsewhere(profiles):
    path = next((profiles / "sub-02" / "dwi").glob("*_desc-profile1D_tractometry.tsv"))
    other = profiles / "sub-02" / "ses-b" / "dwi" / path.name.replace("sub-02_", "sub-02_ses-b_")
    other.parent.mkdir(parents=True)
    write_table(other, read_table(path).assign(dki_fa=0.5, dki_fa_sd=0.1))
    long = pd.concat([batch.to_pandas() for batch in long_tables(profiles, "1D")])
    assert set(long.loc[long["session_id"] == "ses-b", "dki_fa"]) == {0.5}
    assert long.loc[long["session_id"].isna(), "dki_fa"].isna().all()
    assert long["session_id"].isna().sum() == len(long) - len(read_table(other))


def test_a_killed_writing_leaves_the_old_file(profiles, monkeypatch, tree):
    write_shared(profiles, "1D", PEOPLE)
    before = tree(profiles / "group")

    def interrupted(*_):
        yield next(iter(long_tables(profiles, "1D")))
        raise KeyboardInterrupt

    monkeypatch.setattr(shared, "long_tables", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_shared(profiles, "1D", PEOPLE)
    assert tree(profiles / "group") == before
