"""columns: names, meanings and levels are complete and free of contradictions."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from spectra_bids import columns, models
from spectra_bids.columns import Column, names, scalar_columns, sidecar

TABLES = {n: t for n, t in vars(columns).items() if n.isupper() and isinstance(t, tuple) and not n.startswith("_")}


def test_these_are_the_tables_that_are_written():
    assert set(TABLES) == {
        "PROFILE_1D", "PROFILE_2D", "BUNDLE", "FITS_1D", "FITS_2D", "DECISIONS", "BLOCKS", "SUMMARY", "CLUSTERS",
        "CALIBRATION", "SENSITIVITY", "SELFTEST", "COMPONENTS_1D", "COMPONENTS_2D", "OUTLIERS",
        "MEANS_1D", "MEANS_2D", "PEAKS", "NORMS",
    }  # fmt: skip


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_columns_are_snake_case_unique_and_described(table):
    assert len(set(names(table))) == len(table)
    for column in table:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", column.name)
        assert len(column.description) >= 5
        assert not column.description.endswith(".")


def test_a_column_of_one_name_means_the_same_in_every_profile():
    by_name = {c.name: c for c in columns.PROFILE_1D}
    assert all(by_name.get(c.name, c) == c for c in columns.PROFILE_2D)
    assert [n for n in names(columns.PROFILE_2D) if n not in by_name] == ["r", "r_mm"]
    one = {c.name: c for c in columns.FITS_1D}
    assert all(one.get(c.name, c) == c for c in columns.FITS_2D)


def test_coordinates_have_millimetres():
    for table in TABLES.values():
        for column in table:
            if column.name.endswith("_mm"):
                assert column.units == "mm", column.name


def test_a_sidecar_is_json_with_levels_only_where_there_are_some():
    made = json.loads(json.dumps(sidecar(columns.PROFILE_2D)))
    assert list(made) == names(columns.PROFILE_2D)
    assert made["status"]["Levels"] == columns.STATUSES
    assert set(made["s"]) == {"Description"}
    assert made["s_mm"]["Units"] == "mm"
    assert sidecar([Column("a", "what it is")]) == {"a": {"Description": "what it is"}}


def test_a_scalar_has_its_spread_in_profiles_and_its_unit_in_both():
    mean, spread = scalar_columns("dki_md", "mm^2/s", spread=True)
    assert (mean.name, spread.name) == ("dki_md", "dki_md_sd")
    assert mean.units == spread.units == "mm^2/s"
    (whole,) = scalar_columns("dki_md", "", spread=False)
    assert whole.name == "dki_md"
    assert "Units" not in sidecar([whole])["dki_md"]


def test_every_fit_status_is_given_by_the_engine_and_none_else():
    folder = Path(models.__file__).parent
    text = "".join(path.read_text() for path in folder.glob("*.py"))
    assert {word for word in columns.FIT_STATUSES if f'"{word}"' in text} == set(columns.FIT_STATUSES)
