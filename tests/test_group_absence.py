"""group.absence: Fisher's exact test against R and SciPy, and warnings that name the bundle, the factor and whom."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency, fisher_exact

from spectra_bids.group.absence import absence_warnings, exact_p
from spectra_bids.models.design import build_design
from spectra_bids.models.formula import parse_formula


# R 4.2.2: fisher.test(matrix(c(3,0,1, 7,10,9), 3))$p.value and so on
@pytest.mark.parametrize(
    ("absent", "present", "p"),
    [
        ((3, 0, 1), (7, 10, 9), 0.285714285714),
        ((5, 0, 0, 1), (4, 6, 6, 9), 0.0136741271335),
        ((0, 6), (6, 0), 0.0021645021645),
        ((12, 3, 5), (8, 15, 13), 0.0172890434349),
    ],
)
def test_the_p_value_is_that_of_r(absent, present, p):
    assert exact_p(np.array(absent), np.array(present)) == pytest.approx(p, rel=1e-10)


def test_with_two_levels_it_is_scipys():
    rng = np.random.default_rng(0)
    for _ in range(200):
        absent, present = rng.integers(0, 12, 2), rng.integers(1, 15, 2)
        expected = fisher_exact(np.stack([absent, present]))[1]
        assert exact_p(absent, present) == pytest.approx(expected, rel=1e-9)


def test_large_tables_of_many_levels_are_left_to_chi_squared():
    absent, present = np.array([40, 60, 55, 30, 50, 45]), np.array([200, 190, 180, 220, 210, 200])
    assert exact_p(absent, present) == chi2_contingency(np.stack([absent, present]))[1]


@pytest.mark.parametrize(("absent", "present"), [((0, 0), (5, 5)), ((5, 5), (0, 0)), ((3, 0), (2, 0)), ((2,), (3,))])
def test_where_nothing_can_differ_p_is_one(absent, present):
    assert exact_p(np.array(absent), np.array(present)) == 1


def people(n: int = 12, visits: int = 1) -> pd.DataFrame:
    rows = [(f"sub-{i:02d}", "ab"[i % 2], 50 + i, "xy"[k % 2], k) for i in range(n) for k in range(visits)]
    return pd.DataFrame(rows, columns=["participant_id", "group", "age", "visit", "k"])


def test_absence_that_differs_between_groups_is_a_warning():
    table = people()
    design = build_design(parse_formula("value ~ group + age"), table)
    status = pd.DataFrame({"AF": np.where(table["group"] == "b", "no_bundle", "ok"), "CST": "ok", "UF": "ok"})
    status.loc[status.index[:2], "UF"] = "few_streamlines"
    (warning,) = absence_warnings(status, design)
    assert warning == (
        "AF is absent unequally between levels of group (a 0 of 6, b 6 of 6; p = 0.0022): "
        "its results may be biased towards those in whom it was found"
    )
    assert absence_warnings(status, design, table["participant_id"].tolist()) == [warning]


def test_sessions_of_one_person_are_one_observation():
    """Two of six people without the bundle at all four visits: p .45 over people, .0039 over sessions."""
    table = people(visits=4)
    design = build_design(parse_formula("value ~ group + (1|participant_id)"), table)
    gone = table["participant_id"].isin(["sub-01", "sub-03"])
    status = pd.DataFrame({"AF": np.where(gone, "no_bundle", "ok")})
    assert len(absence_warnings(status, design)) == 1
    assert absence_warnings(status, design, table["participant_id"].tolist()) == []
    every = pd.DataFrame({"AF": np.where((table["group"] == "b") & (table["k"] == 2), "no_bundle", "ok")})
    (warning,) = absence_warnings(every, design, table["participant_id"].tolist())
    assert "(a 0 of 6, b 6 of 6; people, in at least one session; p = 0.0022)" in warning


def test_a_factor_that_changes_within_a_person_counts_sessions():
    table = people(visits=2)
    design = build_design(parse_formula("value ~ visit + (1|participant_id)"), table)
    status = pd.DataFrame({"AF": np.where(table["visit"] == "y", "few_streamlines", "ok")})
    (warning,) = absence_warnings(status, design, table["participant_id"].tolist())
    assert "x 0 of 12, y 12 of 12" in warning


def test_three_groups_are_compared_together():
    table = people(24).assign(group=["a", "b", "c"] * 8)
    design = build_design(parse_formula("value ~ group"), table)
    status = pd.DataFrame({"AF": np.where(table["group"] == "c", "qc_fail", "ok"), "UF": "ok"})
    (warning,) = absence_warnings(status, design)
    assert "a 0 of 8, b 0 of 8, c 8 of 8" in warning


def test_the_page_warns_in_its_summary(study, profiles, cli):
    people = pd.read_csv(study.bids / "participants.tsv", sep="\t")
    patients = people.loc[people["group"] != people["group"].iloc[0], "participant_id"]
    for who in patients:
        (path,) = (profiles / who / "dwi").glob("*_desc-profile1D_tractometry.tsv")
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        table.loc[table["bundle"] == "AFL", "status"] = "few_streamlines"
        table.loc[table["bundle"] == "AFL", "demo_wm"] = "n/a"
        table.to_csv(path, sep="\t", index=False, lineterminator="\n")
    ended = cli(
        study.bids, profiles, "group", "--formula", "value ~ group + age", "--profile", "1D", "--model-name", "m"
    )
    assert ended.status == 0, ended.err
    summary = (profiles / "model-m.html").read_text().partition('id="coverage"')[0]
    assert "A bundle is absent unequally between groups" in summary
    assert "AFL is absent unequally between levels of group" in summary
