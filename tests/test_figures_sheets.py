"""Figures of the participant level."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd

from spectra_bids.columns import STATUSES
from spectra_bids.figures.sheets import MARKS, heat_sheet, missing_marks, profile_sheet

ENDS = {"AF_L": ("P", "A"), "CST_R": ("I", "S")}
SIDES = {"AF_L": ("L", "R"), "CST_R": ("P", "A")}


def table(two: bool = False) -> pd.DataFrame:
    rows = [
        {"bundle": b, "s": s, "s_mm": 5.0 * s, "status": "ok", "dti_fa": 0.3 + 0.02 * s, "dti_fa_sd": 0.05}
        | ({"r": r, "r_mm": 5.0 * r - 5} if two else {})
        for b in ENDS
        for s in range(10)
        for r in range(3 if two else 1)
    ]
    frame = pd.DataFrame(rows)
    gone = (frame.bundle == "AF_L") & (frame.s < 2)
    frame.loc[gone, ["dti_fa", "dti_fa_sd"]] = np.nan
    frame.loc[gone, "status"] = "few_points"
    empty = frame.bundle == "CST_R"
    frame.loc[empty, ["dti_fa", "dti_fa_sd"]] = np.nan
    frame.loc[empty, "status"] = "no_bundle"
    return frame


def texts(svg: str) -> list[str]:
    return ["".join(e.itertext()) for e in ET.fromstring(svg).iter() if e.tag.endswith("}text")]


def test_every_status_of_a_missing_row_has_a_mark() -> None:
    assert set(MARKS) == set(STATUSES) - {"ok"}
    assert len({sign for _, sign in MARKS.values()}) == len(MARKS)


def test_every_bundle_has_a_panel_with_its_ends() -> None:
    sheet = profile_sheet(table(), "dti_fa", "", ENDS)
    assert len(sheet.panels) == 2
    assert "posterior → anterior (mm)" in texts(sheet.panels[0].svg)
    assert "inferior → superior (mm)" in texts(sheet.panels[1].svg)
    assert "8 of 10 nodes" in sheet.panels[0].text


def test_a_bundle_without_values_says_why() -> None:
    assert "no bundle" in texts(profile_sheet(table(), "dti_fa", "", ENDS).panels[1].svg)
    assert "no bundle" in texts(heat_sheet(table(True), "dti_fa", "", ENDS, SIDES).panels[1].svg)


def test_the_caption_explains_the_marks_that_occur() -> None:
    assert missing_marks(table(), "dti_fa") == "– no bundle, ◊ few points"
    assert missing_marks(table().dropna(), "dti_fa") == ""


def test_heat_maps_end_with_one_common_scale() -> None:
    sheet = heat_sheet(table(True), "dti_fa", "a.u.", ENDS, SIDES)
    assert len(sheet.panels) == 3
    assert "dti_fa (a.u.)" in texts(sheet.panels[-1].svg)
    assert "left → right (mm)" in texts(sheet.panels[0].svg)


def test_a_sheet_on_disk_holds_all_panels_and_no_id_twice() -> None:
    sheet = heat_sheet(table(True), "dti_fa", "", ENDS, SIDES)
    root = ET.fromstring(sheet.svg)
    assert sum(e.tag.endswith("}svg") for e in root.iter()) == 4
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    assert len(ids) == len(set(ids)) > 0


def test_row_order_and_a_second_call_change_no_byte() -> None:
    first = profile_sheet(table(), "dti_fa", "", ENDS).svg
    assert profile_sheet(table(), "dti_fa", "", ENDS).svg == first


def test_a_table_without_any_value_can_be_drawn() -> None:
    empty = table().assign(dti_fa=np.nan, dti_fa_sd=np.nan, status="no_bundle")
    assert len(profile_sheet(empty, "dti_fa", "", {}).panels) == 2
    assert len(heat_sheet(table(True).assign(dti_fa=np.nan), "dti_fa", "", {}, {}).panels) == 3
