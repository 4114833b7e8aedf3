"""group.selftest and `spectra-bids selftest`: what counts as agreement, what is written, and how it ends without R."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spectra_bids.cli.selftest import model_settings
from spectra_bids.columns import SELFTEST, names
from spectra_bids.dataset.outputs import read_table, write_json
from spectra_bids.errors import MissingInputError, UsageError
from spectra_bids.group import selftest as module
from spectra_bids.group.model import make_model
from spectra_bids.group.selftest import LIMITS, SelfTest, differences, selftest_file
from spectra_bids.group.tables import session_tables
from spectra_bids.models import lme4
from spectra_bids.models.fits import fit_cells
from spectra_bids.models.smdl import to_smdl
from spectra_bids.settings import GroupSettings, RunSettings

FORMULA = "value ~ group + age + (1|site)"


@pytest.fixture(scope="session")
def r_engine() -> None:
    try:
        lme4.require_r()
    except MissingInputError as error:
        pytest.skip(f"{error}; scripts/setup.sh test installs it where it may")


@pytest.fixture
def modelled(study, profiles) -> Path:
    """An output directory with the file of one model, as the group level leaves it."""
    settings = GroupSettings(RunSettings(study.bids, profiles), formula=FORMULA, model_name="dx", profile="1D")
    model = make_model(settings, session_tables(profiles, "1D"))
    folder = profiles / "group" / "model-dx"
    folder.mkdir(parents=True)
    write_json(folder / "model-dx_smdl.json", to_smdl("dx", model.contrasts, model.design))
    return profiles


def two(**other: float) -> pd.DataFrame:
    """A t test by both engines, equal but for `other`."""
    ours = {"estimate": 1.0, "se": 0.5, "df": 8.0, "value": 2.0, "p": 0.05, "sd_random": 3.0, "sd_residual": 4.0}
    theirs = {f"{k}_r": v for k, v in (ours | other).items()}
    status = {"fit_status": "ok", "fit_status_r": "ok"}
    place = {"profile": "1D", "bundle": "A", "scalar": "fa", "contrast": "x", "s": 1, "r": np.nan, "statistic": "t"}
    return pd.DataFrame([place | ours | theirs | status])


def found_in(both: pd.DataFrame) -> SelfTest:
    return SelfTest(both.assign(**differences(both)), "dx", FORMULA, 0)


# --- what counts as agreement ---------------------------------------------------------------------------------------


def test_differences_are_in_their_own_units():
    found = differences(two(estimate=1.1, se=0.4, df=10.0, p=0.04, sd_random=3.05))
    assert found["d_estimate"][0] == pytest.approx(0.1 / 0.4)
    assert found["d_se"][0] == pytest.approx(0.25)
    assert found["d_df"][0] == pytest.approx(0.2)
    assert found["d_p"][0] == pytest.approx(0.25)
    assert found["d_sd"][0] == pytest.approx(0.05 / np.hypot(3.05, 4.0))


def test_an_f_test_is_compared_by_its_statistic():
    both = two(value=1.6).assign(statistic="F", estimate=np.nan, estimate_r=np.nan, se=np.nan, se_r=np.nan)
    assert differences(both)["d_estimate"][0] == pytest.approx(0.25)


def test_p_values_below_the_smallest_number_agree():
    assert differences(two(p=1e-310).assign(p=0.0))["d_p"][0] == 0


@pytest.mark.parametrize("number", ["estimate", "se", "df", "p", "sd_residual"])
def test_a_difference_above_its_limit_is_no_agreement(number):
    assert found_in(two()).ok
    equal = two()[number].item()
    assert not found_in(two(**{number: equal * 1.05})).ok


def test_a_cell_that_one_engine_alone_can_fit_is_no_agreement():
    found = found_in(two().assign(fit_status_r="not_converged"))
    assert (found.ok, found.disagreements) == (False, 1)
    assert "1 fitted by one engine only" in found.line


# --- which model ----------------------------------------------------------------------------------------------------


def test_the_command_that_the_tables_note_is_the_model(modelled, study, tmp_path):
    moved = tmp_path / "elsewhere"
    command = f"spectra-bids '{study.bids}' {moved} group --model-name dx --formula '{FORMULA}' --min-subjects 7"
    sidecar = modelled / "group" / "model-dx" / "model-dx_desc-profile1D_stats.json"
    sidecar.write_text(json.dumps({"Command": command}))
    settings = model_settings(modelled, "", None)
    assert (settings.formula, settings.fitting.min_subjects) == (FORMULA, 7)
    assert (settings.run.bids_dir, settings.run.output_dir) == (study.bids, modelled)
    assert model_settings(modelled, "dx", tmp_path).run.bids_dir == tmp_path


def test_without_a_noted_command_the_bids_folder_is_asked_for(modelled, study):
    with pytest.raises(UsageError, match=r"do not say where its participants\.tsv is"):
        model_settings(modelled, "dx", None)
    assert model_settings(modelled, "dx", study.bids).model_name == "dx"


def test_a_model_that_is_not_there_ends_with_the_list(modelled):
    with pytest.raises(MissingInputError, match="no model other"):
        model_settings(modelled, "other", None)
    (modelled / "group" / "model-more").mkdir()
    with pytest.raises(UsageError, match="several models: dx, more"):
        model_settings(modelled, "", None)


# --- the tool -------------------------------------------------------------------------------------------------------


def test_without_r_it_ends_with_66_and_the_way_to_install_it(modelled, study, cli, monkeypatch):
    lme4._bridge.cache_clear()
    monkeypatch.setitem(sys.modules, "rpy2", None)
    ended = cli("selftest", modelled, "--bids-dir", study.bids)
    assert ended.status == 66
    assert "r-cran-lmertest" in ended.err
    assert "pip install 'spectra-bids[r]'" in ended.err


def test_arguments_that_say_nothing_are_refused(cli):
    assert cli("selftest", "-n", "0").status == 2
    assert cli("selftest", "--model", "dx").status == 2


@pytest.mark.r
def test_the_engines_agree_on_a_cohort_and_the_table_says_so(r_engine, modelled, study, cli):
    arguments = ("selftest", modelled, "--bids-dir", study.bids, "-n", 4)
    ended = cli(*arguments)
    assert (ended.status, ended.out.splitlines()[-1]) == (0, "ok"), ended.err
    path = selftest_file(modelled, "dx")
    table, facts = read_table(path), json.loads(path.with_suffix(".json").read_text())
    assert list(table.columns) == names(SELFTEST)
    assert set(table["profile"]) <= {"1D", "2D"}
    assert len(table) == 4 * 2
    assert (table[list(LIMITS)].max() <= pd.Series(LIMITS)).all()
    assert (facts["Agree"], facts["Cells"], facts["Limits"]) == (True, 4, LIMITS)
    assert facts["Summary"].startswith("Checked against lmerTest: 4 cells, largest difference: estimate ")
    assert set(names(SELFTEST)) <= set(facts)
    before = path.read_bytes(), path.with_suffix(".json").read_bytes()
    cli(*arguments)
    assert (path.read_bytes(), path.with_suffix(".json").read_bytes()) == before


@pytest.mark.r
def test_an_engine_that_is_wrong_is_found_out(r_engine, modelled, study, cli, monkeypatch):
    def wrong(*arguments, **options):
        table = fit_cells(*arguments, **options)
        return table.assign(se=table["se"] * 1.001)

    monkeypatch.setattr(module, "fit_cells", wrong)
    ended = cli("selftest", modelled, "--bids-dir", study.bids, "-n", 2)
    assert ended.status == 1
    assert "NOT ok" in ended.out
    assert not json.loads(selftest_file(modelled, "dx").with_suffix(".json").read_text())["Agree"]
