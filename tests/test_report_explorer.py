"""The explorer's payload: numbers come back, it keeps to its budget, hides persons, and no label leaves it."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from explored import PEOPLE, Elements, explored, unpack
from hypothesis import given
from hypothesis import strategies as st
from test_report_build import HOSTILE, Page

from spectra_bids.report.build import group_figures, group_page
from spectra_bids.report.measured import split, summaries
from spectra_bids.report.packing import Packer
from spectra_bids.report.pages import DesignColumn, Notice
from spectra_bids.report.payload import payload


@given(st.lists(st.floats(1e-100, 1e25) | st.floats(-1e6, -1e-6) | st.just(0.0), max_size=40))
def test_a_packed_decimal_has_the_three_digits_of_the_number(values: list[float]) -> None:
    (back,) = unpack(Packer().decimal(values).text())
    for value, packed in zip(values, back.tolist(), strict=True):
        digits = [float(f"{value * (1 + nudge):.3g}") for nudge in (-1e-12, 0, 1e-12)]  # a tie may go either way
        assert any(packed == pytest.approx(text, rel=1e-15) for text in digits)


def test_packed_numbers_keep_what_is_missing_rounded_or_tiny() -> None:
    back = unpack(
        Packer().decimal([np.nan, 0.9996, 1e-300, -0.05, np.inf]).whole([1.26, np.nan], 10).small([0, 255]).text()
    )
    np.testing.assert_allclose(back[0], [np.nan, 1.0, 1e-120, -0.05, np.nan], rtol=1e-12)
    np.testing.assert_array_equal(back[1], [13, np.nan])
    np.testing.assert_array_equal(back[2], [0, 255])


def test_summaries_are_those_of_pandas() -> None:
    rng = np.random.default_rng(4)
    values = rng.normal(size=(40, 7))
    values[rng.random(values.shape) < 0.2] = np.nan
    table = pd.DataFrame({"participant": [f"p{k % 33}" for k in range(40)], "g": ["a", "b", "c", "a"] * 10})
    of = split(table, "g")
    made = summaries(values, of, table["participant"].to_numpy(object))
    for k, level in enumerate(of.names):
        rows = pd.DataFrame(values)[table["g"] == level].groupby(table["participant"][table["g"] == level]).mean()
        np.testing.assert_allclose(made["mean"][k], rows.mean())
        np.testing.assert_allclose(made["sd"][k], rows.std())
        np.testing.assert_array_equal(made["n"][k], rows.count())
        for name, q in (("q1", 0.25), ("q2", 0.5), ("q3", 0.75)):
            np.testing.assert_allclose(made[name][k], rows.quantile(q))


def test_every_number_of_a_fit_comes_back_to_three_digits() -> None:
    page = explored()
    found = {name: text for name, _, text in payload(page).elements}
    s, r, s_mm, r_mm, x, y, z = unpack(found["x-geo-2D-0"])
    rows = page.stats["2D"][page.stats["2D"]["bundle"] == "AF_L"].sort_values(["s", "r"])
    np.testing.assert_array_equal(np.c_[s, r], rows[["s", "r"]])
    np.testing.assert_allclose(np.c_[s_mm, r_mm, x, y, z] / 10, rows[["s_mm", "r_mm", "x_mm", "y_mm", "z_mm"]])
    columns = unpack(found["x-fit-1-0"])
    for name, column in zip(("value", "estimate", "ci_low", "ci_high"), columns, strict=False):
        np.testing.assert_allclose(column, rows[name], rtol=5e-3)
    np.testing.assert_array_equal(columns[-1], rows["rejected"])
    np.testing.assert_array_equal(columns[-3], rows["n"])
    assert columns[-2][0] == 3  # too_few


def test_values_and_adjusted_means_of_every_session_come_back() -> None:
    page = explored()
    found = {name: text for name, _, text in payload(page).elements}
    (values,) = unpack(found["x-val-0-1-2D"])
    np.testing.assert_allclose(values.reshape(36, PEOPLE).T, page.measured["2D"].read("CST_R")["dti_fa"], atol=5.1e-4)
    estimate, low, _ = unpack(found["x-adj-0-2-1D"])
    np.testing.assert_allclose(estimate.reshape(2, 12), [[0.4] * 12, [0.5] * 12])
    np.testing.assert_allclose(low.reshape(2, 12), [[0.38] * 12, [0.48] * 12])


def test_what_does_not_fit_is_summarised_findings_last_and_the_page_says_so() -> None:
    page = explored(n=400)
    whole = payload(page)
    assert whole.said == ""
    made = payload(page, 100_000)
    assert made.size <= 100_000
    names = [name for name, _, _ in made.elements]
    assert "x-val-0-0-1D" in names
    assert "x-val-0-2-2D" not in names
    assert "x-sum-0-2-2D" in names
    assert re.match(r"So that the page stays small, it holds every session's values of \d of 6 profiles", made.said)
    mean = unpack({n: t for n, _, t in made.elements}["x-sum-0-2-2D"])[1].reshape(2, 36)
    values = page.measured["2D"].read("CC_Minor")["dti_fa"]
    np.testing.assert_allclose(mean[1], values[1::2].mean(axis=0), rtol=5e-3)


def test_too_small_a_budget_still_gives_every_fit() -> None:
    made = payload(explored(), 0)
    assert sum(name.startswith("x-fit") for name, _, _ in made.elements) == 6
    assert not [name for name, _, _ in made.elements if name.startswith(("x-val", "x-sum", "x-adj"))]


def test_the_payload_depends_on_nothing_but_the_page() -> None:
    assert payload(explored()) == payload(explored())


@pytest.mark.parametrize("text", [*HOSTILE, "</script><script>x</script>", "<!--", "--><!--<script>", "\u2028'"])
def test_a_label_cannot_end_the_index_and_comes_back_whole(text: str) -> None:
    elements = Elements(group_page(explored(lambda plain: plain + text), ()))
    clean = Elements(group_page(explored(), ()))
    assert elements.scripts == clean.scripts
    assert elements.texts.keys() == clean.texts.keys()
    names = [bundle["name"] for bundle in elements.index["bundles"]]
    assert names == [b + text for b in ("AF_L", "CST_R", "CC_Minor")]
    assert elements.index["families"][0]["by"] == "group" + text
    assert "<" not in elements.texts["x-index"]


def test_only_the_page_s_own_scripts_may_run() -> None:
    html = group_page(explored(), ())
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy is not None
    allowed = set(re.findall(r"sha256-[^'&]*", policy[1].replace("&#39;", "'")))
    scripts = Elements(html).scripts
    assert {"sha256-" + base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts} == allowed
    assert "default-src 'none'" in policy[1].replace("&#39;", "'")


def private() -> Any:
    page = explored(n=24, level="group")
    design = replace(
        page.design,
        columns=(
            DesignColumn("group", "factor", (("control", 21), ("rare", 3))),
            DesignColumn("age", "numeric", (), 40.5, 10.25, 20.125, 61.625),
        ),
        dropped=(("sub-999 ses-2", "age is n/a"),),
        warnings=("sub-003 is odd",),
    )
    outliers = pd.DataFrame(
        {"scalar": ["dti_fa"], "kind": "session", "label": "sub-007", "n_bundles": 3, "size": 4.1, "robust_z": 9.0,
         "flagged": True, "worst_bundle": "AF_L", "worst_size": 5.0}
    )  # fmt: skip
    coverage = pd.DataFrame("ok", index=[f"sub-{k:03d}" for k in range(24)], columns=["AF_L", "CST_R", "CC_Minor"])
    return replace(
        page, design=design, outliers={"1D": outliers}, coverage=coverage,
        notices=(Notice("note", "sub-004 has no age"),), command="spectra-bids in out --participant-label 001 002",
    )  # fmt: skip


def test_a_page_of_groups_holds_no_person() -> None:
    page = private()
    elements = Elements(group_page(page, ()))
    html = group_page(page, ()) + "".join(item.svg for item in group_figures(page))
    assert "sub-0" not in html
    assert "sub-999" not in html
    assert "--participant-label 001" not in html
    assert "20.1" not in html
    assert "61.6" not in html
    assert "rare" not in html
    index = elements.index
    assert index["labels"] == index["person"] == []
    assert "codes" not in index["columns"]["group"]
    assert "values" not in index["columns"]["group"]
    assert not [name for name in elements.texts if name.startswith("x-val")]
    columns = unpack(elements.texts["x-sum-0-0-1D"])
    assert all(len(column) == 0 for column in columns[3:6])  # quartiles are persons' values
    assert "This page holds nothing of one person" in Page(group_page(page, ())).text["results"]
    assert "sub-999" in group_page(replace(page, level="person"), ())


def test_groups_of_fewer_than_five_people_are_not_shown() -> None:
    page = explored(n=9, level="group")  # five controls, four patients
    n, mean, sd, *_ = unpack({name: text for name, _, text in payload(page).elements}["x-sum-0-0-1D"])
    assert np.isfinite(mean.reshape(2, 12)[0]).all()
    assert np.isnan(np.r_[n.reshape(2, 12)[1], mean.reshape(2, 12)[1], sd.reshape(2, 12)[1]]).all()
    assert Elements(group_page(page, ())).index["columns"]["group"]["people"] == [5, 0]


def test_a_number_makes_thirds_and_its_values_are_kept() -> None:
    page = explored(by="age")
    column = Elements(group_page(page, ())).index["columns"]["age"]
    assert len(column["groups"]) == 3
    assert column["number"] is True
    assert column["values"][:2] == [20.0, 25.0]
    assert sum(column["people"]) == PEOPLE


def test_a_number_that_varies_within_persons_is_said_to() -> None:
    page = explored(by="age")
    twice = page.measured["1D"].table.assign(participant=[f"sub-{k // 2}" for k in range(PEOPLE)])
    changed = {kind: replace(of, table=twice) for kind, of in page.measured.items()}
    assert Elements(group_page(replace(page, measured=changed), ())).index["columns"]["age"]["within"] is True


def test_a_page_without_measured_values_still_has_its_fits() -> None:
    page = explored(measured={}, means={})
    elements = Elements(group_page(page, ()))
    assert "x-fit-0-0" in elements.texts
    assert elements.index["columns"] == {}


def test_the_methods_say_that_profiles_were_imported_and_no_coordinates_are_shown() -> None:
    page = explored()
    unknown = dict.fromkeys([f"{a}{peak}_mm" for a in "xyz" for peak in ("", "_peak")], np.nan)
    bare = {k: v.assign(**unknown) for k, v in page.clusters.items()}
    text = Page(group_page(replace(page, clusters=bare, is_imported=True), ())).text
    assert "made by another program and imported" in text["methods"]
    assert "x, mm" not in text["figures"]
    assert "x, mm" in Page(group_page(page, ())).text["figures"]


def test_a_random_factor_of_many_levels_is_summarised() -> None:
    page = explored()
    many = DesignColumn("subject", "random factor", tuple((f"sub-{k:03d}", 2 + k % 3) for k in range(300)))
    text = Page(group_page(replace(page, design=replace(page.design, columns=(many,))), ())).text["design"]
    assert "300 levels of 2 to 4 rows (median 3)" in text
    assert "in brackets: sessions" in text
    assert "sub-001" not in text
