"""report.quality: the verdict in words, nobody named where nobody may be, labels that stay text, small for large."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from spectra_bids.columns import names
from spectra_bids.dataset.qc_columns import QC_COVERAGE, QC_ORIENTATION, QC_OUTLIERS, QC_SITES
from spectra_bids.dataset.qc_files import QcDecision
from spectra_bids.report.build import quality_figures, quality_page
from spectra_bids.report.quality_model import FlippedProfile, ModelRows, QualityPage

EVIL = '<script>alert("x")</script>'


def made(n: int = 12, bundles: tuple[str, ...] = ("AFL", "CSTR"), scalars: tuple[str, ...] = ("fa",)) -> QualityPage:
    """A page on which all is well."""
    people = [f"sub-{k:04d}" for k in range(n)]
    who = pd.DataFrame({"participant_id": np.repeat(people, len(bundles)), "bundle": list(bundles) * n})
    who["session_id"] = None
    coverage = who.assign(n_nodes=20, n_measured=20, status="ok", decision=None, line=np.nan, reason=None)
    every = pd.concat([who.assign(scalar=s) for s in scalars], ignore_index=True)
    rng = np.random.default_rng(0)
    far = every.assign(score=1.0, score_limit=4.0, orthogonal=1.0, orthogonal_limit=4.0, level=0.1, worst_s=3)
    far = far.assign(excess=rng.uniform(0.1, 0.8, len(far)), flagged=False, decision=None)
    turned = every.assign(r_cohort=0.9, r_reversed=0.2, usual_margin=0.7, verdict="as_cohort", decision=None)
    rows = [("site", s, b, c, n // 2, 0.1, 0.2, 0.3, 0.4, 0.5, 0.02, 0.5, 0.6)
            for b in bundles for c in scalars for s in ("a", "b")]  # fmt: skip
    return QualityPage(
        sessions=tuple(people),
        n_people=n,
        coverage=coverage[names(QC_COVERAGE)],
        outliers=far[names(QC_OUTLIERS)],
        orientation=turned[names(QC_ORIENTATION)],
        sites=pd.DataFrame(rows, columns=names(QC_SITES)),
        flipped=(),
        models=(ModelRows("main", n, ()),),
        units=dict.fromkeys(scalars, ""),
    )


def troubled(page: QualityPage) -> QualityPage:
    """The same with something of every kind."""
    coverage, far, turned, sites = (t.copy() for t in (page.coverage, page.outliers, page.orientation, page.sites))
    coverage.loc[1, "status"] = "no_bundle"
    coverage.loc[4, ["status", "decision", "line", "reason"]] = ["qc_fail", "reject", 2, "it moved"]
    far.loc[6, ["excess", "flagged"]] = [3.2, True]
    far.loc[4, ["excess", "flagged", "decision"]] = [9.9, True, "reject"]
    turned.loc[8, ["r_cohort", "r_reversed", "verdict"]] = [0.1, 0.9, "reversed"]
    sites.loc[sites["bundle"] == "CSTR", ["share", "p", "q"]] = [0.45, 1e-5, 1e-4]
    u = np.linspace(0, 1, 20)
    return replace(
        page,
        coverage=coverage,
        outliers=far,
        orientation=turned,
        sites=sites,
        flipped=(FlippedProfile("sub-0004", "AFL", "fa", 5 * u, 1 - u, u, 0.1, 0.9),),
        models=(ModelRows("main", 10, (("sub-0001", "n/a in age"), ("sub-0009", "not in participants.tsv"))),),
        decisions=(QcDecision(2, "sub-0002", None, "AFL", "reject", "it moved"),),
        decisions_name="decisions.tsv",
        warnings=("--qc-file decisions.tsv, line 3: there are no profiles of sub-0099",),
        absent=("UFL",),
    )


def text(html: str) -> str:
    """What is read on the page: no styles, no scripts."""
    html = re.sub(r"<(style|script)\b.*?</\1>", "", html, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_a_cohort_without_trouble_is_said_to_be_so():
    said = text(quality_page(made()))
    assert (
        "12 people, 2 bundles: 24 of 24 profiles (all) can be used. Nothing stands out that needs a decision." in said
    )
    assert "none (of 24 looked at)" in said
    assert "no profile looks reversed" in said
    assert "no difference between the levels of site was found (2 bundles)" in said
    assert "12 rows, nobody left out" in said
    assert "no --qc-file is in force" in said
    assert "Lines to start" not in said


def test_trouble_is_said_first_and_by_name():
    said = text(quality_page(troubled(made())))
    assert "22 of 24 profiles (92 %) can be used. What needs a look stands below." in said
    assert (
        "1 no bundle, 1 qc fail. Fewest in AFL (11 of 12), CSTR (11 of 12). 1 bundle of the atlas nobody has." in said
    )
    assert (
        "1 profile of 1 session, in 1 bundle; chance alone would give about 0.1. Most: sub-0003 (in 1 bundle)." in said
    )
    assert "1 profile looks reversed: sub-0004 in AFL." in said
    assert "levels of site differ in 1 of 2 bundles (q ≤ .05), most in CSTR, fa: 45% of the variance" in said
    assert "10 rows, 2 left out: 1 n/a in age; 1 not in participants.tsv" in said
    assert "decisions.tsv rejects 1 bundle of 1 session." in said
    assert "it moved" in said
    assert "no profiles of sub-0099" in said


def test_suggested_lines_are_a_decisions_file(tmp_path):
    from html import unescape

    from spectra_bids.dataset.qc_files import read_decisions

    html = quality_page(troubled(made()))
    (lines,) = re.findall(r"<code>(participant_id.*?)</code>", html, flags=re.S)
    (tmp_path / "d.tsv").write_text(unescape(lines))
    found = [(d.participant, d.session, d.bundle, d.decision) for d in read_decisions(tmp_path / "d.tsv").decisions]
    assert found == [("sub-0004", None, "AFL", "reject"), ("sub-0003", None, "AFL", "reject")]


def test_at_group_level_nobody_is_named_or_drawn():
    page = replace(troubled(made()), by_person=False)
    drawn = quality_figures(page)
    html = quality_page(page, drawn)
    assert not re.search(r"sub-|it moved", html)
    assert {f.name for f in drawn} == {"desc-coverage_qc", "desc-sitefa_qc"}
    said = text(html)
    assert "1 profile of 1 session, in 1 bundle" in said
    assert "100% of 12 sessions" in said


def test_boxes_of_few_sessions_are_left_out_at_group_level():
    page = replace(made(8), by_person=False)
    assert page.sites["n"].max() == 4
    assert {f.name for f in quality_figures(page)} == {"desc-coverage_qc"}


def test_labels_of_users_stay_text():
    page = troubled(made(bundles=("AFL", "CSTR")))
    decided = replace(page.decisions[0], reason=EVIL, bundle=EVIL)
    sites = page.sites.assign(column=EVIL, level=EVIL)
    flipped = (replace(page.flipped[0], label=EVIL, bundle=EVIL),)
    models = (ModelRows("m", 1, ((EVIL, EVIL),)),)
    html = quality_page(replace(page, decisions=(decided,), sites=sites, flipped=flipped, models=models,
                                warnings=(EVIL,), decisions_name=EVIL))  # fmt: skip
    scripts = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag, attrs):
            scripts.extend([tag] if tag == "script" else [])

    Tags().feed(html)
    assert len(scripts) == 1  # ours


@pytest.mark.parametrize("change", [{"sites": None}, {"models": ()}])
def test_what_is_absent_is_no_error(change):
    assert "Quality control" in quality_page(replace(made(), **change))


def test_too_few_sessions_and_ends_that_cannot_be_told_are_said():
    page = made(4)
    page = replace(page, outliers=page.outliers.assign(excess=np.nan, flagged=None))
    page = replace(page, orientation=page.orientation.assign(verdict="cannot_tell"))
    said = text(quality_page(page))
    assert "too few sessions to say what is usual" in said
    assert "no bundle's profiles tell the ends apart" in said.replace("&#39;", "'")


def test_two_thousand_subjects_and_sixty_bundles_stay_within_ten_megabytes():
    bundles = tuple(f"AssociationSuperiorLongitudinalFasciculus{k}" for k in range(60))
    page = made(2000, bundles)
    flagged = np.arange(len(page.outliers)) % 50 == 0
    page = replace(
        page,
        outliers=page.outliers.assign(flagged=flagged, excess=np.where(flagged, 2.0, 0.5)),
        orientation=page.orientation.assign(verdict=np.where(flagged, "reversed", "as_cohort")),
    )
    html = quality_page(page)
    assert len(html) < 10_000_000
    assert "The first 300 of 2,400" in html
