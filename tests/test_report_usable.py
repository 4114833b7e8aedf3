"""report.usable: what is odd about a bundle, the verdict in words, flagged bundles first."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from spectra_bids.columns import STATUSES
from spectra_bids.report.pages import SessionPart, TableItem
from spectra_bids.report.usable import blocks, concerns, quality, statuses_used, unusual, verdict

GOOD = {"bundle": "AFL", "status": "ok", "flag": "none", "n_streamlines": 300, "distance_median_mm": 1.0,
        "distance_p95_mm": 9.0, "share_outside": 0.0, "share_jumping": 0.0}  # fmt: skip


class Odd(NamedTuple):
    changes: dict[str, object]
    said: str
    column: str


CASES = (
    Odd({"status": "no_bundle", "n_streamlines": 0}, "no bundle", "n_streamlines"),
    Odd({"status": "few_streamlines", "n_streamlines": 1}, "only 1 streamline", "n_streamlines"),
    Odd({"flag": "far_bundle", "distance_median_mm": 15.2}, "15.2 mm (median) from the atlas", "distance_median_mm"),
    Odd({"share_outside": 0.07}, "7 % of its points outside the map", "share_outside"),
    Odd({"share_jumping": 0.31}, "31 % of its streamlines jump", "share_jumping"),
    Odd({"share_empty": 0.5}, "50 % of its nodes without a value", "share_empty"),
    Odd({"n_out": 14, "n_compared": 20}, "14 of 20 nodes outside the cohort's band", "band"),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.column + case.said[:4])
def test_what_is_odd_is_said_and_seen_in_its_column(case):
    (found,) = concerns({**GOOD, **case.changes})
    assert case.said in found.text
    assert found.column == case.column
    assert found.fatal == ("status" in case.changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"distance_p95_mm": 40.0},
        {"share_outside": 0.05, "share_jumping": 0.2, "share_empty": 0.25},
        {"share_outside": np.nan, "share_jumping": np.nan},
        {"n_out": 10, "n_compared": 20},
        {"n_out": 0, "n_compared": 0},
        {"share_round": 1.0, "least_anisotropy": 0.5},
    ],
)
def test_what_is_not_judged_or_within_the_limits_is_usable(changes):
    assert concerns({**GOOD, **changes}) == []


def test_the_verdict_counts_and_names():
    frame = pd.DataFrame(
        [GOOD, {**GOOD, "bundle": "B", "share_jumping": 0.4}]
        + [{**GOOD, "bundle": f"X{k}", "status": "no_bundle", "n_streamlines": 0} for k in range(6)]
    )
    assert verdict(frame) == (
        "1 of 8 bundles can be used as it is. Look at 1 before use: B (40 % of its streamlines jump). "
        "6 have no profile: no bundle (X0, X1, X2, X3 and 2 more, see the table)."
    )
    assert verdict(frame.head(1)) == "1 of 1 bundle can be used as it is."


def part(statuses=("ok", "ok", "no_bundle")) -> SessionPart:
    bundles = pd.DataFrame([{**GOOD, "bundle": b, "status": s} for b, s in zip("ABC", statuses, strict=True)])
    rows = [{"bundle": b, "s": s, "s_mm": 5.0 * s, "dti_fa": 0.1 * s, "status": "ok"} for b in "AB" for s in range(4)]
    rows += [{"bundle": "C", "s": s, "s_mm": 5.0 * s, "dti_fa": np.nan, "status": "no_bundle"} for s in range(4)]
    return SessionPart("", bundles, pd.DataFrame(rows))


def band(low: float, high: float) -> pd.DataFrame:
    return pd.DataFrame(
        [{"bundle": "A", "s": s, "scalar": "dti_fa", "n": 9, "p05": low, "p50": low, "p95": high} for s in range(4)]
    )


def test_nodes_outside_the_band_are_counted_where_there_is_one():
    found = unusual(part().profile_1d, ["dti_fa", "absent"], band(0.05, 0.25)).set_index("bundle")
    assert tuple(found.loc["A", ["n_out", "n_compared"]]) == (2, 4)  # 0 and 0.3 of 0, 0.1, 0.2, 0.3
    assert tuple(found.loc["B", ["n_out", "n_compared"]]) == (0, 0)
    at_the_edge = unusual(part().profile_1d, ["dti_fa"], band(0.0, 0.1 * 3)).set_index("bundle")
    assert at_the_edge.loc["A", "n_out"] == 0


def test_what_needs_a_look_comes_first_and_is_toned():
    frame = quality(part(), {"A": (0.25, 0.55)}, unusual(part().profile_1d, ["dti_fa"], band(0.5, 0.6)))
    item = next(b for b in blocks(part(), frame, "") if isinstance(b, TableItem))
    assert [row[0].text for row in item.rows] == ["C", "A", "B"]
    assert [row[1].text for row in item.rows] == ["no bundle", "4 of 4 nodes outside the cohort's band", "usable"]
    assert [row[1].tone for row in item.rows] == ["warn", "warn", "good"]
    heads = [heading for heading, _ in item.columns]
    of_a = dict(zip(heads, item.rows[1], strict=True))
    assert of_a["Outside the band"].text == "4 of 4"
    assert of_a["Outside the band"].tone == "warn"
    assert of_a["Axis unclear"].text == "25.0 %"
    assert of_a["Least anisotropy"].text == "0.55"
    assert dict(zip(heads, item.rows[0], strict=True))["Empty nodes"].text == "100.0 %"


def test_statuses_are_explained_with_their_counts():
    item = statuses_used(part(("ok", "few_streamlines", "no_bundle")), "")
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in item.rows}
    assert rows["ok"] == ["1", "8", "0", STATUSES["ok"]]
    assert rows["no bundle"] == ["1", "4", "0", STATUSES["no_bundle"]]
    assert rows["few streamlines"][0] == "1"
