"""Group figures of all bundles at once."""

from __future__ import annotations

import pandas as pd
import pytest

from spectra_bids.figures.overviews import MOST_COLUMNS, STATUS_COLOURS, coverage_map, detectable_overview


def coverage(n: int) -> pd.DataFrame:
    """One session of n lacks the bundle X, and a quarter has few streamlines in Y."""
    table = pd.DataFrame("ok", index=[f"sub-{k:04d}" for k in range(n)], columns=["X", "Y"])
    table.iloc[n // 2, 0] = "no_bundle"
    table.iloc[: n // 4, 1] = "few_streamlines"
    return table


@pytest.mark.parametrize("n", [12, MOST_COLUMNS])
def test_sessions_that_can_be_told_apart_are_columns_with_their_names(n):
    svg = coverage_map(coverage(n)).svg
    assert "sub-0000" in svg
    assert "sessions<" not in svg


def test_of_more_sessions_shares_are_drawn_in_which_no_absence_is_lost():
    sheet = coverage_map(coverage(2000))
    assert "sub-0000" not in sheet.svg
    assert "100% of 2,000 sessions" in sheet.svg
    assert STATUS_COLOURS["no_bundle"] in sheet.svg
    assert STATUS_COLOURS["few_streamlines"] in sheet.svg
    assert sheet.panels[0].text.endswith("501 of 4000 not ok")
    assert STATUS_COLOURS["qc_fail"] not in sheet.svg
    assert "<image" not in sheet.svg


def test_the_detectable_effect_is_drawn_from_zero_in_standard_deviations():
    mde = [0.8, 1.0, float("nan"), 1.2, 0.9, 0.7]
    stats = pd.DataFrame({"bundle": "A", "s": range(6), "p": 0.5, "value": -3.0, "statistic": "t", "mde_std": mde})
    stats = stats.assign(rejected=True, block_selected=True)
    sheet = detectable_overview(stats, {"A": ("I", "S")}, "dx, fa")
    text = sheet.svg
    assert "MDE, SD" in text
    assert "1.20" in text or "1.2<" in text  # the top of the colour bar
    assert stats["rejected"].all()  # the table of the caller stays as it is
