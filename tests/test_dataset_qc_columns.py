"""dataset.qc_columns: names and meanings are complete, and agree between the tables."""

from __future__ import annotations

import re

import pytest

from spectra_bids.columns import STATUSES, names
from spectra_bids.dataset import qc_columns

TABLES = {n: t for n, t in vars(qc_columns).items() if n in ("ROWS", *(n for n in vars(qc_columns) if n[:3] == "QC_"))}


def test_these_are_the_tables_that_are_written():
    assert set(TABLES) == {"QC_COVERAGE", "QC_OUTLIERS", "QC_ORIENTATION", "QC_SITES", "ROWS"}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_columns_are_snake_case_unique_and_described(table):
    assert len(set(names(table))) == len(table)
    for column in table:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", column.name)
        assert len(column.description) >= 5
        assert not column.description.endswith(".")


def test_sessions_bundles_and_decisions_are_described_alike_everywhere():
    of_sessions = [t for n, t in TABLES.items() if n not in ("ROWS", "QC_SITES")]
    for name in ("participant_id", "session_id", "bundle", "decision"):
        assert len({next(c for c in table if c.name == name) for table in of_sessions}) == 1


def test_levels_are_those_that_can_occur():
    levels = {c.name: dict(c.levels) for table in TABLES.values() for c in table if c.levels}
    assert levels["status"] == STATUSES
    assert set(levels["decision"]) == {"accept", "reject"}
    assert levels["verdict"] == qc_columns.VERDICTS
