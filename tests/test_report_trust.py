"""report.trust: calibration, sensitivity, self-test, smallest effects and ComBat in plain sentences and tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_report_build import browser, group  # noqa: F401 - a fixture

from spectra_bids.columns import CALIBRATION, SENSITIVITY, names
from spectra_bids.figures.style import number
from spectra_bids.report.build import group_page
from spectra_bids.report.findings import explorer
from spectra_bids.report.pages import Bullets, Fold, GroupPage, Notice, Section, TableItem
from spectra_bids.report.trust import harmonization, miscalibrated, trust
from spectra_bids.report.words import families, outcome
from spectra_bids.settings import DecisionSettings, FitSettings, HarmonizeSettings

CONTRAST, SCALAR = "patient_vs_control", "dti_fa"


def calibration(any_block: float = 0.045, se: float = 0.015, mode: str = "hfdr") -> pd.DataFrame:
    row = dict.fromkeys(names(CALIBRATION), 0.05) | {"scalar": SCALAR, "contrast": CONTRAST, "n_shuffles": 200}
    row |= {"exchanged": "within site", "rate_any_block": any_block, "rate_any_block_se": se}
    row |= {"rate_any_cell": 0.04, "rate_any_cell_se": 0.01, "alpha_block": np.nan if mode == "fdr" else 0.05}
    return pd.DataFrame([row])[names(CALIBRATION)]


def sensitivity(rejected: int = 10, kept: tuple[int, ...] = (7, 9), note: str | None = None) -> pd.DataFrame:
    def row(variant: str, n_kept: float, ratio: float, why: str | None = None) -> dict[str, Any]:
        said = {"scalar": SCALAR, "contrast": CONTRAST, "variant": variant, "n": 30, "note": why}
        counts = {"n_valid": 90, "n_selected": 1, "n_rejected": n_kept, "n_kept": n_kept}
        changed = {"n_lost": rejected - n_kept, "n_gained": 0, "n_sign_changes": 0, "estimate_ratio": ratio}
        return said | (dict.fromkeys((*counts, *changed), np.nan) if why else counts | changed)

    rows = [row("as it is", rejected, 1.0 if rejected else np.nan)]
    rows += [row(f"without site {k}", n, 0.9 + 0.05 * k if rejected else np.nan) for k, n in enumerate(kept)]
    rows += [row("without site 9", 0, np.nan, note)] if note else []
    return pd.DataFrame(rows)[names(SENSITIVITY)]


def with_effects(page: GroupPage) -> GroupPage:
    stats = {k: t.assign(mde=np.linspace(0.01, 0.03, len(t)), mde_std=1.5) for k, t in page.stats.items()}
    return replace(page, stats=stats, units={SCALAR: "mm"})


def section(page: GroupPage) -> Section:
    (found,) = trust(page, families(page))
    return found


def text_of(page: GroupPage) -> str:
    said = []
    for block in section(page).blocks:
        if isinstance(block, Bullets):
            said += [block.title, block.text, *(f"{head}: {rest}" for head, rest in block.items)]
        elif isinstance(block, Notice):
            said += [block.title, block.text]
    return " ".join(said)


def tables(page: GroupPage) -> dict[str, TableItem]:
    folds = [b for b in section(page).blocks if isinstance(b, Fold)]
    return {t.name: t for f in folds for t in f.blocks if isinstance(t, TableItem)}


def test_without_anything_to_say_there_is_no_section():
    page = group()
    assert trust(page, families(page)) == ()
    assert harmonization(page) == ()
    assert miscalibrated(page) == ()


def test_calibration_is_one_sentence_with_rate_error_and_nominal_level():
    page = replace(group(), calibration={"1D": calibration()})
    said = "200 shuffles of patient_vs_control (within site): any bundle selected in 4.5 % ± 1.5 % (nominal 5 %)."
    assert said in text_of(page)
    (row,) = tables(page)["calibration"].rows
    assert "4.5 % ± 1.5 %" in [cell.text for cell in row]
    assert miscalibrated(page) == ()


def test_more_than_nominal_is_a_warning_in_the_summary_too():
    page = replace(group(), calibration={"1D": calibration(), "2D": calibration(0.2, 0.03)})
    assert "any bundle selected in 20 % ± 3 % (nominal 5 %); this is more than nominal" in text_of(page)
    (notice,) = miscalibrated(page)
    assert isinstance(notice, Notice)
    assert notice.level == "warning"
    assert notice.text.startswith("patient_vs_control, dti_fa, 2D.")
    summary = group_page(page).partition("</section>")[0]
    assert notice.title in summary


def test_under_fdr_the_rate_is_that_of_any_rejected_cell():
    page = replace(group(mode="fdr"), calibration={"1D": calibration(mode="fdr")})
    assert "any cell rejected in 4 % ± 1 % (nominal 5 %)" in text_of(page)
    assert "bundle" not in " ".join(heading for heading, _ in tables(page)["calibration"].columns)


def test_sensitivity_says_how_many_findings_stay():
    page = replace(group(), sensitivity={"1D": sensitivity(note="no group is left")})
    said = "Of 10 rejected cells, 7 to 9 stay rejected without one site at a time (2 fits); estimates are 0.9 to 0.95"
    assert said in text_of(page)
    assert "none of the other sign. 1 variant could not be fitted." in text_of(page)
    (table,) = tables(page).values()
    assert len(table.rows) == 4
    assert table.rows[3][-1].text == "no group is left"


def test_sensitivity_of_nothing_found_says_whether_a_part_would_have_found_something():
    page = replace(group(found=False), sensitivity={"1D": sensitivity(0, (0, 3))})
    assert "No cell was rejected; without one site at a time (2 fits) up to 3 are." in text_of(page)
    page = replace(group(found=False), sensitivity={"1D": sensitivity(0, ())})
    assert "There is no site to leave out." in text_of(page)


@pytest.mark.parametrize("agree", [True, False])
def test_the_self_test_stands_on_the_page(agree):
    page = replace(group(), selftest=("Checked against lmerTest: 20 cells", agree))
    assert "Checked against lmerTest: 20 cells." in text_of(page)
    assert any(isinstance(b, Notice) for b in section(page).blocks) == (not agree)


def test_the_smallest_effects_are_said_where_nothing_was_found_and_listed_per_bundle():
    page = with_effects(group(found=False))
    said = (
        "An effect of 0.02 mm (1.5 SD) would have been found with 80 % power in the median node; 0.01 to 0.03 over all."
    )
    assert said in text_of(page)
    assert said in " ".join(group_page(page).split())
    listed = explorer(page).item
    assert len(listed.rows) == 6
    medians = [page.stats[kind].groupby("bundle", sort=False)["mde"].median() for kind in ("1D", "2D")]
    assert [row[-1].text for row in listed.rows] == [number(value) for of in medians for value in of]


def test_resels_are_called_resels_and_their_bundles_are_drawn():
    page = group()
    decision = DecisionSettings("hfdr_resel")
    stats = {k: t.assign(block=t["bundle"] + " resel 0") for k, t in page.stats.items()}
    blocks = {k: t.assign(bundle=t["block"], block=t["block"] + " resel 0") for k, t in page.blocks.items()}
    summary = {k: t.assign(mode="hfdr_resel") for k, t in page.summary.items()}
    page = replace(
        page, settings=replace(page.settings, decision=decision), stats=stats, blocks=blocks, summary=summary
    )
    first = families(page)[0]
    assert outcome(first).startswith("1 of 3 resels selected")
    (drawn,) = first.shown
    assert " resel" not in drawn
    assert "All resels, all families" in group_page(page)


def test_permutation_is_told_by_its_family_wise_level():
    page = group(mode="perm")
    summary = {k: t.assign(mode="perm (tfce)", alpha_block=np.nan) for k, t in page.summary.items()}
    said = outcome(families(replace(page, summary=summary))[0])
    assert said == "3 of 35 nodes rejected over 3 bundles, family-wise level 0.05."


def test_what_combat_removed_stands_beside_the_other_route():
    rows = [
        {"kind": "1D", "bundle": b, "scalar": SCALAR, "batch": s, "n": 10, "shift": 0.01 * k, "shift_sd": 0.2 * k,
         "scale": 1.1, "cells": 12, "left_out": 2}
        for b in ("A", "B") for k, s in enumerate(("s1", "s2"), 1)
    ]  # fmt: skip
    page = group()
    fitting = FitSettings(harmonize=HarmonizeSettings("scanner"))
    page = replace(page, settings=replace(page.settings, fitting=fitting), harmonization=pd.DataFrame(rows))
    text = group_page(page)
    assert "(1|scanner) in the formula without --harmonize" in text
    assert "0.2 (s1) to 0.4 (s2) standard deviations" in text
    assert "4 cells could not be harmonised and are not tested." in text
    assert 'id="table-harmonization"' in text


@pytest.mark.browser
def test_the_section_fits_wide_and_narrow_screens(browser: Any, tmp_path: Path):  # noqa: F811 - the fixture
    page = with_effects(replace(group(), calibration={"1D": calibration()}, sensitivity={"1D": sensitivity()}))
    path = tmp_path / "trust.html"
    path.write_text(group_page(page), "utf-8")
    for width in (1440, 390):
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.get(path.as_uri())
        browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
