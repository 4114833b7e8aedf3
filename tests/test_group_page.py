"""group.page: the command on a model's page makes the same model again; coverage is that of the tables."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from spectra_bids.cli.app import group_settings, parse, run_settings
from spectra_bids.dataset.outputs import read_table
from spectra_bids.group.command import group_command
from spectra_bids.group.model import make_model
from spectra_bids.group.page import bundle_status
from spectra_bids.group.tables import read_cohort
from spectra_bids.settings import (
    DecisionSettings,
    FitSettings,
    GroupSettings,
    HarmonizeSettings,
    PermutationSettings,
    RunSettings,
)

FORMULA = "value ~ group + age + (1|site)"


@pytest.mark.parametrize(
    "made",
    [
        {"formula": FORMULA},
        {"model_file": Path("my model.json"), "profile": "2D"},
        {
            "formula": FORMULA,
            "contrasts": ("a: group[x]=1 group[y]=-1", "b.tsv"),
            "decision": DecisionSettings(alpha_cell=(0.05, 0.15)),
        },
        {
            "formula": FORMULA,
            "decision": DecisionSettings("fdr", 0.01, adaptive=True),
            "fitting": FitSettings(min_subjects=7, estimation="ml", weights="w", offset="o"),
        },
        {"formula": FORMULA, "design": Path("d.xlsx"), "scalars": ("fa",), "allow_partial": True},
        {
            "formula": FORMULA,
            "decision": DecisionSettings("hfdr_resel", alpha_block=0.1, combination="acat", alpha_scalar=0.05),
            "fitting": FitSettings("pymer4", "kenward-roger", interval="profile", null_formula="value ~ age"),
        },
        {
            "formula": FORMULA,
            "decision": DecisionSettings(block_file=Path("my blocks.tsv")),
            "fitting": FitSettings(harmonize=HarmonizeSettings("scanner", ("age", "sex"), "group=control")),
            "calibrate": 200,
            "sensitivity": True,
            "atlas_labels": ("my labels.nii.gz=names.tsv", "tissues"),
        },
        {
            "formula": FORMULA,
            "decision": DecisionSettings(
                "perm", 0.01, permutation=PermutationSettings(999, "cluster", "site", "family", 3)
            ),
        },
    ],
)
def test_the_command_on_a_page_parses_to_the_same_settings(made, tmp_path):
    run = RunSettings(tmp_path, tmp_path / "out", participant_labels=("01", "02"), session_labels=("a",))
    settings = GroupSettings(run, **made)
    words = shlex.split(group_command(settings, "name"))[1:]
    parsed = parse(words)
    again = group_settings(parsed, run_settings(parsed, words, ""))
    assert again.model_name == "name"
    for field in ("formula", "model_file", "design", "contrasts", "scalars", "profile", "fitting", "decision",
                  "allow_partial", "calibrate", "sensitivity"):  # fmt: skip
        assert getattr(again, field) == getattr(settings, field), field
    assert again.run.participant_labels == run.participant_labels
    assert again.run.session_labels == run.session_labels


def test_the_status_of_a_bundle_is_that_of_the_bundle_table(study):
    cohort = read_cohort(study.out, "1D")
    model = make_model(GroupSettings(RunSettings(study.bids, study.out), FORMULA), cohort.sessions)
    status = bundle_status(cohort, model)
    assert list(status.index) == list(model.design.labels)
    for label, row in status.iterrows():
        (path,) = study.out.glob(f"{label}/dwi/*_desc-bundle_tractometry.tsv")
        table = read_table(path).set_index("bundle")["status"]
        assert row.to_dict() == table[list(status.columns)].to_dict()


def test_a_factor_of_several_levels_is_said_by_its_levels(study, profiles, cli):
    command = (study.bids, profiles, "group", "--model-name", "sites", "--profile", "1D")
    ended = cli(*command, "--formula", "value ~ site + age")
    assert ended.status == 0, ended.err
    table = read_table(study.bids / "participants.tsv")
    levels = sorted(table["site"].unique())
    assert len(levels) > 2
    assert f"any difference between {', '.join(levels)}" in (profiles / "model-sites.html").read_text()


def test_who_is_not_in_the_model_is_told_while_it_runs(study, profiles, tmp_path, cli):
    lines = (study.bids / "participants.tsv").read_text().splitlines()
    (tmp_path / "design.tsv").write_text("\n".join([*lines[:2], lines[2].replace("sub-02", "sub-old"), *lines[3:]]))
    command = (study.bids, profiles, "group", "--formula", "value ~ age", "--profile", "1D", "-v")
    ended = cli(*command, "--design", tmp_path / "design.tsv")
    assert ended.status == 0, ended.err
    assert "not in the model: sub-02 (not in design.tsv), sub-old (no profile tables)" in ended.err
