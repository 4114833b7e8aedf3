"""Longitudinal cohorts: sessions that differ between people, covariates per visit, a random intercept per person."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from spectra_bids.dataset.outputs import read_table

FORMULA = "value ~ group + age + (1|participant_id)"


@pytest.fixture(scope="module")
def visits(shared_data, tmp_path_factory, cli):
    """Ten people with one or two sessions each, one bundle."""
    base = tmp_path_factory.mktemp("visits")
    tool = shared_data.parent / "tools" / "make_cohort.py"
    if not tool.is_file():
        pytest.skip(f"the tool that makes cohorts is absent ({tool})")
    options = ["--n", "10", "--sessions", "2", "--streamlines", "60", "--missing", "0", "--bundles", "CST_left"]
    subprocess.run([sys.executable, tool, base / "bids", *options], check=True, capture_output=True)
    command = (base / "bids", base / "out", "participant", "--atlas", shared_data / "atlas-hcp1065")
    ended = cli(*command, "--bundle", "CST_L", "--n-procs", 1)
    assert ended.status == 0, ended.err
    return base / "bids", base / "out"


def test_every_session_has_its_tables_and_every_person_one_page(visits):
    bids, out = visits
    made = sorted(p.relative_to(bids / "derivatives" / "tracts").parts[:2] for p in bids.rglob("*_dwimap.nii.gz"))
    assert 10 < len(made) < 20
    tables = sorted(p.relative_to(out).parts[:2] for p in out.glob("sub-*/ses-*/dwi/*_desc-profile2D_tractometry.tsv"))
    assert tables == made
    assert len(list(out.glob("sub-*.html"))) == 10
    twice = next(subject for subject, session in made if session == "ses-02")
    text = (out / f"{twice}.html").read_text()
    assert "session 01" in text
    assert "session 02" in text


def test_visits_are_rows_and_people_are_levels(visits, cli):
    bids, out = visits
    command = (bids, out, "group", "--formula", FORMULA, "--model-name", "visits", "--profile", "1D")
    ended = cli(*command)
    assert ended.status == 0, ended.err
    stats = read_table(out / "group" / "model-visits" / "model-visits_desc-profile1D_stats.tsv")
    sessions = len(list(out.glob("sub-*/ses-*")))
    assert stats["n"].max() == sessions
    assert stats["n_levels"].max() == 10
    aging = stats.query("contrast == 'age' and fit_status == 'ok'")
    assert len(aging) > 5
    assert aging["df"].between(1, sessions).all()
    # A difference between people is told from 10 of them, whatever the number of visits.
    between = stats.query("contrast == 'group' and fit_status == 'ok'")
    assert between["df"].median() < 10
    people = pd.read_csv(out / "group" / "subjects.csv")
    assert list(people.columns[:2]) == ["subjectID", "sessionID"]
    assert len(people) == sessions
    ages = people[people["subjectID"].duplicated(keep=False)].groupby("subjectID")["age"].agg(np.ptp)
    np.testing.assert_allclose(ages, 1, atol=0.11)


def test_one_session_label_is_a_cross_section(visits, cli):
    bids, out = visits
    command = (bids, out, "group", "--formula", "value ~ group", "--model-name", "first", "--profile", "1D")
    assert cli(*command, "--session-label", "ses-01").status == 0
    stats = read_table(out / "group" / "model-first" / "model-first_desc-profile1D_stats.tsv")
    assert stats["n"].max() == 10
    assert set(stats["n_levels"]) == {0}
    page = (out / "model-first.html").read_text()
    assert "--session-label" in page


def test_a_person_s_intercept_needs_more_visits_than_people(visits, cli):
    bids, out = visits
    command = (bids, out, "group", "--formula", FORMULA, "--session-label", "01")
    ended = cli(*command)
    assert ended.status == 65
    assert "participant_id" in ended.err
