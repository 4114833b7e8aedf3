"""figures.quality: every bundle and level is drawn, unusual sessions are named, and many sessions stay small."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from spectra_bids.columns import names
from spectra_bids.dataset.qc_columns import QC_SITES
from spectra_bids.figures.quality import MOST_DOTS, MOST_LEVELS, Scale, Turned, site_sheet, strip, turned_sheet

FAR = Scale("distance over its limit", 1.0, logarithmic=True)
ENDS = Scale("difference of r", 0.0, above=False)


def rows(n: int, bundles: int = 4) -> pd.DataFrame:
    """n sessions; the third of the first bundle is marked, and a value is missing."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        [(f"B{b}", f"sub-{k:04d}", rng.uniform(0.1, 0.9), False) for b in range(bundles) for k in range(n)],
        columns=["bundle", "label", "value", "marked"],
    )
    table.loc[2, ["value", "marked"]] = [3.0, True]
    table.loc[3, "value"] = np.nan
    return table


def sites(levels: int, share: float = 0.4) -> pd.DataFrame:
    level = [f"site{k}" for k in range(levels)]
    table = pd.DataFrame({"column": "site", "level": level * 2, "bundle": ["A"] * levels + ["B"] * levels})
    numbers = {
        "n": 20,
        "low": 0.2,
        "q1": 0.3,
        "median": 0.35,
        "q3": 0.4,
        "high": 0.5,
        "share": share,
        "p": 0.1,
        "q": 0.2,
    }
    return table.assign(scalar="fa", **numbers)[names(QC_SITES)]


@pytest.mark.parametrize("scale", [FAR, ENDS], ids=["distance", "ends"])
def test_every_bundle_has_a_row_and_marked_sessions_have_their_name(scale):
    sheet = strip(rows(12), scale, "tensor_fa")
    assert all(f">B{b}<" in sheet.svg for b in range(4))
    assert "sub-0002" in sheet.svg
    assert "sub-0001" not in sheet.svg
    assert sheet.panels[0].text == "tensor_fa: 1 of 47 profiles beyond the limit"


def test_several_marked_sessions_of_a_bundle_are_counted_behind_the_farthest():
    table = rows(12)
    table.loc[[4, 5], ["value", "marked"]] = [[2.0, True], [9.0, True]]
    svg = strip(table, FAR).svg
    assert "sub-0005 +2" in svg
    assert "sub-0002" not in svg


def test_of_many_sessions_rows_are_ranges_and_the_file_stays_small():
    few, many = strip(rows(MOST_DOTS // 8, 8), FAR), strip(rows(2000, 60), FAR)
    assert few.svg.count("<use") > MOST_DOTS / 2
    assert len(many.svg) < 150_000
    assert "sub-0002" in many.svg


def test_an_empty_strip_and_equal_values_are_drawn():
    assert "0 of 0" in strip(rows(3).iloc[:0], FAR).panels[0].text
    assert strip(rows(4).assign(value=1.0, marked=False), ENDS).svg


def test_boxes_name_their_levels_until_there_are_too_many():
    few, many = site_sheet(sites(4), "mm"), site_sheet(sites(MOST_LEVELS + 1))
    assert len(few.panels) == len(many.panels) == 2
    assert ">site3<" in few.svg
    assert "40% of the variance" in few.svg
    assert ">site3<" not in many.svg
    assert f"{MOST_LEVELS + 1} levels" in many.svg
    assert "site0 0.35" in few.panels[0].text
    assert "variance" not in site_sheet(sites(3, np.nan)).svg


@pytest.mark.parametrize("known", [True, False])
def test_a_reversed_profile_is_drawn_with_the_mean_both_ways(known):
    u = np.linspace(0, 1, 20)
    place = 5 * np.arange(20.0) if known else np.full(20, np.nan)
    profile = np.where(u > 0.9, np.nan, 1 - u)
    sheet = turned_sheet((Turned("sub-05", "CST <L>", place, profile, u, "fa: r −0.9"),), {"CST <L>": ("I", "S")})
    assert "sub-05" in sheet.svg
    assert "CST &lt;L&gt;" in sheet.svg
    assert ("inferior → superior (mm)" if known else "inferior → superior (node)") in sheet.svg


def test_the_same_data_give_the_same_bytes():
    assert strip(rows(12), FAR).svg == strip(rows(12), FAR).svg
    assert site_sheet(sites(4)).svg == site_sheet(sites(4)).svg
