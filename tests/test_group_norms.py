"""group.norms: how the cohort is spread at every node, and nothing about fewer than five."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spectra_bids.columns import NORMS, names
from spectra_bids.dataset.names import norms_file
from spectra_bids.dataset.outputs import read_table, write_table
from spectra_bids.dataset.qc_files import read_decisions
from spectra_bids.dataset.validate import validate
from spectra_bids.group.norms import LEAST, norms, spread, write_norms
from spectra_bids.group.tables import session_tables


def one_below_the_other(out: Path) -> pd.DataFrame:
    return pd.concat([read_table(path) for path in session_tables(out, "1D")["path"]], ignore_index=True)


def test_the_spread_is_that_of_pandas():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 6))
    values[rng.random(values.shape) < 0.3] = np.nan
    frame, found = pd.DataFrame(values), spread(values)
    expected = {"n": frame.count(), "mean": frame.mean(), "sd": frame.std()}
    expected |= {f"p{q:02d}": frame.quantile(q / 100) for q in (5, 25, 50, 75, 95)}
    assert list(found) == list(expected)
    for name, column in expected.items():
        np.testing.assert_allclose(found[name], column, rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("n", range(LEAST + 2))
def test_nothing_is_told_of_fewer_than_five(n):
    values = np.full((9, 1), np.nan)
    values[:n, 0] = np.arange(n)
    found = spread(values)
    assert found["n"] == n
    assert all(np.isfinite(found[name][0]) == (n >= 5) for name in found if name != "n")


def test_no_session_at_all_is_no_spread():
    assert np.isnan(spread(np.empty((0, 3)))["p50"]).all()


def test_the_table_has_a_row_per_bundle_node_and_scalar_and_the_values_of_all_sessions(profiles):
    table, n = norms(profiles)
    assert list(table.columns) == names(NORMS)
    assert n == 12
    long = one_below_the_other(profiles)
    expected = long.groupby(["bundle", "s"], sort=False)["demo_wm"]
    np.testing.assert_allclose(table["p95"], expected.quantile(0.95), rtol=1e-12)
    np.testing.assert_array_equal(table["n"], expected.count())
    assert set(table.loc[table["bundle"] == "AFL", "n"]) <= set(range(12))  # sub-04 has none


def test_a_scalar_that_few_have_is_counted_and_not_told(profiles):
    path = session_tables(profiles, "1D")["path"][0]
    write_table(path, read_table(path).assign(dki_fa=0.5, dki_fa_sd=0.1))
    table, _ = norms(profiles)
    rows = table[table["scalar"] == "dki_fa"]
    assert set(rows["n"]) == {1}
    assert rows["p50"].isna().all()


def test_a_session_on_another_grid_is_left_out(profiles):
    path = session_tables(profiles, "1D")["path"][3]
    write_table(path, read_table(path).iloc[1:].assign(demo_wm=99.0))
    table, n = norms(profiles)
    assert n == 11
    assert table["p95"].max() < 50


def test_a_bundle_that_quality_control_rejects_is_left_out(profiles, tmp_path):
    path = tmp_path / "decisions.tsv"
    path.write_text("participant_id\tbundle\tdecision\nsub-01\tCSTR\treject\n")
    without, with_it = norms(profiles)[0], norms(profiles, read_decisions(path))[0]
    fewer = (without["n"] - with_it["n"]).groupby(without["bundle"]).max()
    assert fewer.to_dict() == {"AFL": 0, "CCForcepsMajor": 0, "CSTR": 1}


def test_the_group_level_writes_them_and_validation_knows_them(study, profiles, cli):
    assert cli(study.bids, profiles, "group", "--formula", "value ~ age", "--profile", "1D").status == 0
    path = norms_file(profiles)
    facts = json.loads(path.with_suffix(".json").read_text())
    assert facts["Sessions"] == 12
    sidecar = json.loads(session_tables(profiles, "1D")["path"][0].with_suffix(".json").read_text())
    assert facts["GridChecksums"] == sidecar["GridChecksums"]
    assert not [f for f in validate(profiles) if f.level == "error"]
    path.write_text(path.read_text().replace("p50", "middle", 1))
    assert any("norms" in f.path and "middle" in f.message for f in validate(profiles))
    path.unlink()
    assert any("norms" in f.path and "not there" in f.message for f in validate(profiles))


def test_a_group_level_without_them_makes_them(study, profiles, cli):
    arguments = (study.bids, profiles, "group", "--formula", "value ~ age", "--profile", "1D")
    cli(*arguments)
    before = norms_file(profiles).read_bytes()
    norms_file(profiles).unlink()
    assert cli(*arguments).status == 0
    assert norms_file(profiles).read_bytes() == before


def test_a_second_writing_gives_the_same_bytes(profiles, tree):
    write_norms(profiles, {"AFL": "x"})
    before = tree(profiles / "group")
    write_norms(profiles, {"AFL": "x"})
    assert tree(profiles / "group") == before
    assert set(before) == {"desc-profile1D_norms.json", "desc-profile1D_norms.tsv"}
