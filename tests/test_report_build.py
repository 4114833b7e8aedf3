"""Pages: what they say, that labels cannot break them, that nothing in them depends on the run."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from spectra_bids.columns import BUNDLE, CLUSTERS, FIT_STATUSES, names
from spectra_bids.report.build import group_figures, group_page, participant_figures, participant_page
from spectra_bids.report.pages import (
    ContrastItem,
    Crash,
    DesignColumn,
    DesignSummary,
    GroupPage,
    Notice,
    ParticipantPage,
    SessionPart,
)
from spectra_bids.settings import DecisionSettings, GroupSettings, ProfileSettings, RunSettings

HOSTILE = ["<script>alert(1)</script>", "\"><img src=http://x.example/a onerror=alert(1)>", "it's \"q\" & 'a'", "$x^2$",
           "ünïcödé 束", "y" * 200, "{{ 7*7 }}", "</style><b>", "]]>", "nul\x00bell\x07"]  # fmt: skip
VOID = {"meta", "link", "input", "img", "br", "hr", "wbr"}
BUNDLES = ("AF_L", "CST_R", "CC_Minor")


class Page(HTMLParser):
    """Tags, attributes, text by section; complains where tags do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.ids: list[str] = []
        self.section = ""
        self.text: dict[str, str] = {}
        self.feed(html)
        self.close()
        assert not self.open, f"left open: {self.open}"
        self.text = {section: " ".join(text.split()) for section, text in self.text.items()}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag == "section":
            self.section = dict(attrs)["id"] or ""
        if tag not in VOID:
            self.open.append(tag)
            if tag not in ("b", "span", "strong"):  # a block: its text is not part of the word before
                self.text[self.section] = f"{self.text.get(self.section, '')} "

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text[self.section] = f"{self.text.get(self.section, '')}{data}"


def participant(name: Any = str, crash: str = "") -> ParticipantPage:
    bundles = [name(b) for b in BUNDLES]
    rows = [
        {"bundle": b, "s": s, "s_mm": 5.0 * s, "n_points": 9, "n_streamlines": 5, "status": "ok"}
        | {name("dti_fa"): 0.3 + 0.01 * s, name("dti_fa") + "_sd": 0.05}
        for b in bundles
        for s in range(12)
    ]
    one = pd.DataFrame(rows)
    one.loc[one.bundle == bundles[2], [name("dti_fa"), name("dti_fa") + "_sd"]] = np.nan
    one.loc[one.bundle == bundles[2], "status"] = "no_bundle"
    two = pd.concat([one.assign(r=r, r_mm=5.0 * r - 5) for r in range(3)], ignore_index=True)
    table = pd.DataFrame({column: [1.5, 2.5, np.nan] for column in names(BUNDLE)})
    table = table.assign(bundle=bundles, source=[name("x")] * 3, status=["ok", "ok", "no_bundle"])
    table = table.assign(flag=["none", "far_bundle", "none"], share_jumping=[0.03, 0.04, np.nan])
    table = table.assign(share_outside=[0.0, 0.07, np.nan], n_streamlines=[300, 200, 0])
    table[name("dti_fa")] = [0.41, 0.52, np.nan]
    part = SessionPart("", table, one, two, "slr", ((name("Space"), name("MNI")),))
    ends = dict.fromkeys(bundles, ("P", "A"))
    sides = dict.fromkeys(bundles, ("L", "R"))
    return ParticipantPage(
        "01",
        (part,),
        {name("dti_fa"): name("")},
        ends,
        sides,
        ProfileSettings(),
        {"Atlas": name("HCP1065")},
        name("spectra-bids in out participant"),
        (Notice("note", name("A note"), name("and its text")),),
        (Crash(name("CC_Minor"), name("Traceback: ValueError")),) if crash else (),
    )


def group(name: Any = str, found: bool = True, mode: Any = "hfdr", random: bool = True) -> GroupPage:
    bundles, scalar, contrast = [name(b) for b in BUNDLES], name("dti_fa"), name("patient_vs_control")
    run = RunSettings(Path("in"), Path("out"))
    settings = GroupSettings(run, "y ~ x", decision=DecisionSettings(mode, alpha_cell=(0.05, 0.15)))
    stats, blocks, summary, clusters = {}, {}, {}, {}
    for kind in ("1D", "2D"):
        stats[kind], blocks[kind] = _stats(kind, bundles, scalar, contrast, found)
        summary[kind] = _summary(scalar, contrast, found, mode, stats[kind])
        clusters[kind] = _clusters(kind, bundles[0], scalar, contrast, found)
    rng = np.random.default_rng(3)
    profiles = pd.DataFrame(
        [
            {
                "participant": f"sub-{i}",
                "session": "",
                "bundle": b,
                "s": s,
                "s_mm": 5.0 * s,
                scalar: rng.normal(0.4, 0.1),
            }
            | {name("group"): name("patient") if i % 2 else name("control")}
            for i in range(8)
            for b in bundles
            for s in range(12)
        ]
    )
    columns = [DesignColumn(name("group"), "factor", ((name("control"), 4), (name("patient"), 4)))]
    columns.append(DesignColumn(name("age"), "numeric", (), 40.5, 10.25, 20, 60))
    if random:
        columns.append(DesignColumn(name("site"), "random factor", ((name("A"), 4), (name("B"), 4))))
    design = DesignSummary(
        9, 8, tuple(columns), ((name("sub-09"), name("age is n/a")),), ((name("age"), 7.25),), 12.5,
        (name("The random factor site has 2 levels"),),
    )  # fmt: skip
    coverage = pd.DataFrame("ok", index=[name("sub-1"), "sub-2"], columns=bundles)
    coverage.iloc[0, 1] = "no_bundle"
    return GroupPage(
        name("m1"), name("value ~ group + age + (1|site)"),
        (ContrastItem(contrast, name("patient - control"), name("group")),),
        design, settings, stats, blocks, summary, clusters, profiles,
        dict.fromkeys(bundles, ("P", "A")), dict.fromkeys(bundles, ("L", "R")),
        {scalar: ""}, coverage, name("MNI152"), {"Atlas": name("HCP1065")},
        name("spectra-bids in out group --formula 'y ~ x'"), (Notice("warning", name("Take care")),),
    )  # fmt: skip


def _stats(kind: str, bundles: list[str], scalar: str, contrast: str, found: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    cells = [(b, s, r) for b in bundles for s in range(12) for r in range(3 if kind == "2D" else 1)]
    frame = pd.DataFrame(cells, columns=["bundle", "s", "r"])
    hit = (frame.bundle == bundles[0]) & frame.s.between(4, 6) & found
    value = np.where(hit, -6.0, 0.5)
    frame = frame.assign(
        scalar=scalar, contrast=contrast, s_mm=5.0 * frame.s, r_mm=5.0 * frame.r - 5, x_mm=1.0, y_mm=2.0, z_mm=3.0,
        n=8, statistic="t", value=value, p=np.where(hit, 1e-6, 0.6), estimate=value / 100, ci_low=value / 100 - 0.01,
        ci_high=value / 100 + 0.01, fit_status="ok", block=frame.bundle, q=np.where(hit, 1e-4, np.nan),
        block_selected=(frame.bundle == bundles[0]) & found, rejected=hit,
    )  # fmt: skip
    frame.loc[0, ["value", "p", "estimate", "ci_low", "ci_high"]] = np.nan
    frame.loc[0, "fit_status"] = "too_few"
    rows = [
        {"scalar": scalar, "contrast": contrast, "block": b, "n_cells": len(f), "n_valid": int(f.p.notna().sum())}
        | {"p_block": f.p.min(), "q_block": min(1.0, 3 * f.p.min()), "selected": bool(f.block_selected.any())}
        | {"n_rejected": int(f.rejected.sum())}
        for b, f in frame.groupby("bundle", sort=False)
    ]
    return (frame.drop(columns=["r", "r_mm"]) if kind == "1D" else frame), pd.DataFrame(rows)


def _summary(scalar: str, contrast: str, found: bool, mode: str, stats: pd.DataFrame) -> pd.DataFrame:
    row = {"scalar": scalar, "contrast": contrast, "mode": mode, "n_blocks": 3, "n_selected": int(found)}
    row |= {"n_cells": len(stats), "n_valid": int(stats.p.notna().sum()), "alpha_block": 0.05, "p_min": stats.p.min()}
    n = int(stats.rejected.sum())
    return pd.DataFrame(
        [row | {"alpha_cell": a, "n_rejected": n + 2 * k, "exploratory": bool(k)} for k, a in enumerate((0.05, 0.15))]
    )


def _clusters(kind: str, bundle: str, scalar: str, contrast: str, found: bool) -> pd.DataFrame:
    row = dict.fromkeys(names(CLUSTERS), 1.0) | {"scalar": scalar, "contrast": contrast, "bundle": bundle, "cluster": 1}
    row |= {"n_cells": 3 if kind == "1D" else 9, "s_low": 4, "s_high": 6, "direction": "-", "weight": 18.0}
    row |= {
        "r_low": np.nan if kind == "1D" else 0,
        "r_high": np.nan if kind == "1D" else 2,
        "p_peak": 1e-6,
        "q_peak": 1e-4,
    }
    row |= {"side": "left", "place": "posterior third", "x_peak_mm": -23.6, "y_peak_mm": -14.0, "z_peak_mm": 15.2}
    row |= {"label_peak": "CST L", "labels": "CST L 62 %; OUTSIDE 38 %"}
    row |= {"x_mm": -24.2, "y_mm": -15.1, "z_mm": 16.0, "value_peak": -6.0, "estimate_peak": -0.06}
    return pd.DataFrame([row] if found else [], columns=names(CLUSTERS))


def test_the_participant_page_has_its_sections_in_order() -> None:
    page = Page(participant_page(participant(crash="yes")))
    sections = [attributes["id"] for tag, attributes in page.tags if tag == "section"]
    assert sections == ["summary", "quality", "bundles", "numbers", "methods", "provenance", "errors"]
    assert "1 of 3 bundles can be used as it is." in page.text["summary"]
    assert "CST_R (2.5 mm (median) from the atlas bundle; 7 % of its points outside the map)" in page.text["summary"]
    assert "1 has no profile: no bundle (CC_Minor)." in page.text["summary"]
    assert "1 job crashed" in page.text["summary"]
    assert "Traceback: ValueError" in page.text["errors"]
    assert "Worry above 8 mm" in page.text["quality"]
    assert "the subject has no such bundle" in page.text["quality"]
    assert "streamline linear registration" in page.text["quality"]
    assert "3.0 %" in page.text["quality"]
    assert "CST_R 200 streamlines" in page.text["bundles"]
    assert "0.41" in page.text["numbers"]
    assert "spectra-bids in out participant" in page.text["provenance"]


def test_the_group_page_has_its_sections_in_order() -> None:
    page = Page(group_page(group()))
    sections = [attributes["id"] for tag, attributes in page.tags if tag == "section"]
    assert sections == [
        "summary", "results", "figures", "coverage", "design", "fits", "guarantee", "methods", "provenance"
    ]  # fmt: skip


def test_the_summary_says_what_was_found_and_where() -> None:
    text = Page(group_page(group())).text["summary"]
    assert "fitted to 8 people (9 sessions)" in text
    assert "1 of 3 bundles selected (R = 1, m = 3, level 0.05); 3 of 35 nodes rejected (level 0.05)." in text
    where = (
        "AF_L: Negative effect; estimate −0.06 (95 % CI −0.07 to −0.05) at its peak; 20–30 mm from the posterior end"
    )
    assert f"{where}, in the posterior third, left hemisphere. 3 nodes, nodes 4–6 of 0–11, t = −6, p = 1e−6" in text
    assert "q = 0.0001. Centre: x −24, y −15, z 16 mm (MNI152)." in text
    assert "Peak: x −24, y −14, z 15 mm. At the peak: CST L. Over the cluster: CST L 62 %; OUTSIDE 38 %." in text
    assert "radial bins 0–2 of 0–2" in text
    assert "Nothing was found" not in text


def test_without_atlas_labels_or_a_place_no_words_are_made_up() -> None:
    page = group()
    gone = dict.fromkeys(("side", "place", "label_peak", "labels"))
    parsed = Page(group_page(replace(page, clusters={k: c.assign(**gone) for k, c in page.clusters.items()})))
    assert "20–30 mm from the posterior end. 3 nodes" in parsed.text["summary"]
    assert "Over the cluster" not in parsed.text["summary"]
    assert "Region at the peak" not in parsed.text["figures"]
    assert "Region at the peak" in Page(group_page(page)).text["figures"]


def test_finding_nothing_is_said_plainly_with_what_it_means() -> None:
    text = Page(group_page(group(found=False))).text["summary"]
    assert "Nothing was found" in text
    assert "does not show that there is no effect" in text
    assert "patient_vs_control dti_fa 1D nothing 0.60 1.00 (AF_L)" in text


def test_the_design_section_shows_levels_reference_dropped_rows_and_collinearity() -> None:
    text = Page(group_page(group())).text["design"]
    assert "group factor control control (4), patient (4)" in text
    assert "age numeric – mean 40.5, SD 10.2, 20 to 60" in text
    assert "2 levels: A (4), B (4)" in text
    assert "sub-09 age is n/a" in text
    assert "7.25" in text
    assert "12.5" in text
    assert "The random factor site has 2 levels" in text


def test_fits_coverage_and_blocks_are_counted() -> None:
    text = Page(group_page(group())).text
    assert "patient_vs_control, dti_fa, 1D 35 1" in text["fits"]
    assert FIT_STATUSES["too_few"] in text["fits"]
    assert "1 of 2 sessions have all 3 bundles." in text["coverage"]
    assert "CST_R patient_vs_control dti_fa 2D 1.00 0 of 36 0.005 (−0.005 to 0.015)" in text["results"]


def test_only_selected_bundles_get_figures_and_the_sweep_is_exploratory() -> None:
    page = group()
    stems = [item.name for item in group_figures(page)]
    assert len(stems) == len(set(stems)) == 7
    assert sum("_bundle-AFL_" in stem for stem in stems) == 4
    assert not any("CSTR" in stem for stem in stems)
    text = Page(group_page(page)).text["figures"]
    assert "0.05 3 confirmatory 0.15 5 exploratory" in text


def test_under_fdr_there_is_no_talk_of_selected_bundles() -> None:
    page = group(mode="fdr")
    page = replace(
        page,
        stats={k: v.assign(block_selected=np.nan) for k, v in page.stats.items()},
        blocks={k: v.assign(selected=np.nan) for k, v in page.blocks.items()},
        summary={k: v.assign(n_selected=np.nan, alpha_block=np.nan) for k, v in page.summary.items()},
    )
    text = Page(group_page(page)).text
    assert "3 of 35 nodes rejected over 3 bundles, level 0.05." in text["summary"]
    assert "Bundles with rejected cells" in text["figures"]
    assert "Nothing is guaranteed of bundles" in text["guarantee"]


def test_what_could_not_be_tested_is_not_called_a_null_result() -> None:
    page = group(found=False)
    empty = {k: v.assign(p=np.nan, value=np.nan, fit_status="too_few") for k, v in page.stats.items()}
    blank = {k: v.assign(p_block=np.nan, q_block=np.nan, n_valid=0) for k, v in page.blocks.items()}
    summary = {k: v.assign(n_valid=0, p_min=np.nan, n_blocks=0) for k, v in page.summary.items()}
    text = Page(group_page(replace(page, stats=empty, blocks=blank, summary=summary))).text["summary"]
    assert "Nothing could be tested: none of 36 nodes has a p value." in text
    assert "does not show that there is no effect" not in text


def test_sessions_have_sections_and_figures_of_their_own() -> None:
    page = participant()
    both = replace(page, sessions=tuple(replace(page.sessions[0], label=x) for x in ("01", "02")))
    parsed = Page(participant_page(both))
    assert {"quality-01", "quality-02", "bundles-01", "numbers-02"} <= set(parsed.ids)
    assert len(parsed.ids) == len(set(parsed.ids))
    stems = [item.name for item in participant_figures(both)]
    assert len(set(stems)) == 4
    assert all(stem.startswith(("sub-01_ses-01_", "sub-01_ses-02_")) for stem in stems)


@pytest.mark.parametrize("make", [participant, group], ids=["participant", "group"])
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_label_cannot_break_or_inject(make: Any, text: str) -> None:
    def name(plain: str) -> str:
        return plain + text

    html = participant_page(make(name, crash="x")) if make is participant else group_page(make(name))
    clean = participant_page(make(crash="x")) if make is participant else group_page(make())
    page, other = Page(html), Page(clean)
    counts = [sum(tag == t for tag, _ in page.tags) for t in ("script", "img", "b", "style", "section", "svg", "table")]
    assert counts == [
        sum(tag == t for tag, _ in other.tags) for t in ("script", "img", "b", "style", "section", "svg", "table")
    ]
    assert not [a for _, attributes in page.tags for a in attributes if a.startswith("on")]
    assert not [
        v for _, a in page.tags for k in ("src", "href") if (v := a.get(k)) and not v.startswith(("#", "data:"))
    ]
    seen = " ".join(page.text.values())
    assert " ".join(text.split()).replace("\x00", "�")[:30] in seen or "\x00" in text


@pytest.mark.parametrize(
    "make", [lambda: participant_page(participant()), lambda: group_page(group())], ids=["participant", "group"]
)
def test_a_page_is_self_contained_small_and_always_the_same(make: Any) -> None:
    html = make()
    assert html == make()
    assert len(html) < 500_000
    page = Page(html)
    assert not [
        v for _, a in page.tags for k in ("src", "href") if (v := a.get(k)) and not v.startswith(("#", "data:"))
    ]
    assert "http://" not in html
    assert "https://" not in html
    assert "@import" not in html
    assert not re.search(r"\burl\((?!#)", html)
    assert len(page.ids) == len(set(page.ids))
    targets = {v[1:] for tag, a in page.tags if tag == "a" and (v := a.get("href")) and v.startswith("#")}
    assert targets <= set(page.ids)


def test_many_bundles_stay_within_the_budget_and_the_page_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from spectra_bids.report import drawings

    monkeypatch.setattr(drawings, "MOST_BUNDLES", 1)
    page = group()
    assert sum("_bundle-" in item.name for item in group_figures(page)) == 2
    assert "2 bundles stand out over all families; the first 1 are drawn" in Page(group_page(page)).text["figures"]


def test_labels_that_fall_together_in_file_names_keep_files_apart() -> None:
    page = group()
    twin = {k: v.assign(contrast="patient-vs-control") for k, v in page.stats.items()}
    both = replace(
        page,
        stats={k: pd.concat([v, twin[k]]) for k, v in page.stats.items()},
        **{
            field: {k: pd.concat([v, v.assign(contrast="patient-vs-control")]) for k, v in getattr(page, field).items()}
            for field in ("blocks", "summary", "clusters")
        },
    )
    stems = [item.name for item in group_figures(both)]
    assert len(stems) == len(set(stems)) == 13


def test_a_design_is_summarised_from_the_table_it_was_built_from() -> None:
    from spectra_bids.models.design import build_design
    from spectra_bids.models.formula import parse_formula
    from spectra_bids.report.designs import summarize_design

    rng = np.random.default_rng(0)
    table = pd.DataFrame({"participant_id": [f"sub-{i:02d}" for i in range(24)], "age": rng.normal(40, 8, 24)})
    table = table.assign(dx=["a", "b"] * 12, site=["s1", "s2", "s3"] * 8)
    table.loc[5, "age"] = np.nan
    summary = summarize_design(build_design(parse_formula("value ~ dx + age + (1|site)"), table), table)
    assert (summary.n_rows, summary.n_subjects) == (23, 23)
    by_name = {column.name: column for column in summary.columns}
    assert by_name["dx"].levels == (("a", 12), ("b", 11))
    assert by_name["age"].mean == pytest.approx(table.age.mean())
    assert by_name["site"].role == "random factor"
    assert sum(n for _, n in by_name["site"].levels) == 23
    assert len(summary.dropped) == 1
    assert "sub-05" in summary.dropped[0][0]
    assert "age" in summary.dropped[0][1]
    assert {name for name, _ in summary.vif} == {"dx[T.b]", "age"}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("chromium and chromedriver are absent")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    flags = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
    for flag in f"{flags} disable-component-update disable-sync disable-dev-shm-usage".split():
        options.add_argument(f"--{flag}")
    # a distribution's start page is on the network
    startup = {"session.restore_on_startup": 4, "session.startup_urls": ["about:blank"], "homepage": "about:blank"}
    options.add_experimental_option("prefs", startup)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    session = webdriver.Chrome(service=Service(driver), options=options)
    yield session
    session.quit()


def _rows(browser: Any, table: str) -> list[list[str]]:
    script = (
        "return [...document.querySelectorAll('#table-' + arguments[0] + ' tbody tr')].filter(r => !r.hidden)"
        ".map(r => [...r.cells].map(c => c.textContent))"
    )
    rows: list[list[str]] = browser.execute_script(script, table)
    return rows


@pytest.mark.browser
def test_the_group_page_opens_without_a_request_and_its_table_sorts_and_filters(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    path = tmp_path / "model.html"
    path.write_text(group_page(group()), "utf-8")
    browser.get("about:blank")
    browser.get_log("performance")  # what came before is not the page's
    browser.get(path.as_uri())
    heads = browser.find_elements(By.CSS_SELECTOR, "#table-results th button")
    q_block = next(h for h in heads if h.text.startswith("q bundle"))
    q_block.send_keys(Keys.ENTER)
    ascending = [row[4] for row in _rows(browser, "results")]
    assert ascending[0] == "3e−6"
    q_block.send_keys(Keys.ENTER)
    assert _rows(browser, "results")[0][4] == "1.00"
    field = browser.find_element(By.CSS_SELECTOR, "[data-name=results] input")
    field.send_keys("cst_r 2d")
    assert [row[0:4:3] for row in _rows(browser, "results")] == [["CST_R", "2D"]]
    assert "1 of 6 rows" in browser.find_element(By.CSS_SELECTOR, "[data-name=results] .tools").text
    assert browser.get_log("browser") == []
    events = " ".join(entry["message"] for entry in browser.get_log("performance"))
    assert path.as_uri() in events
    assert not re.findall(r'"url":"https?://[^"]*', events)


@pytest.mark.browser
def test_the_participant_page_fits_a_narrow_screen(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "sub.html"
    long = participant(lambda text: text + "x" * 150 if text in BUNDLES else text, crash="x")
    path.write_text(participant_page(long), "utf-8")
    metrics = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(path.as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert browser.get_log("browser") == []


@pytest.mark.browser
def test_a_script_in_a_label_does_not_run(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "hostile.html"
    text = "<script>window.ran=1</script><img src=x onerror='window.ran=1'>"
    path.write_text(group_page(group(lambda plain: plain + text)), "utf-8")
    browser.get(path.as_uri())
    assert browser.execute_script("return window.ran") is None
    assert browser.get_log("browser") == []
