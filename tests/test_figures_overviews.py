"""Group figures of all bundles at once."""

from __future__ import annotations

import pandas as pd
import pytest

from spectra_bids.figures.overviews import MOST_COLUMNS, STATUS_COLOURS, coverage_map


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
