"""--dry-run at group level: bundles, cells and an estimate that grows with them; nothing is written."""

from __future__ import annotations

import re
import shutil

import pytest

FORMULA = "value ~ group + age + sex + (1|site)"


@pytest.fixture
def plan(study, cli):
    def run(out, *options):
        ended = cli(study.bids, out, "group", "--formula", FORMULA, "--dry-run", *options)
        assert ended.status == 0, ended.err
        return ended.out

    return run


def seconds(text: str) -> float:
    found = re.search(r"one process: ([\d.]+) (s|min)", text)
    assert found, text
    return float(found[1]) * {"s": 1, "min": 60}[found[2]]


def test_every_bundle_has_a_line_with_its_cells_time_and_memory(plan, profiles, tree):
    before = tree(profiles, logs=True)
    text = plan(profiles)
    for bundle in ("AFL", "CCForcepsMajor", "CSTR"):
        assert re.search(rf"^  {bundle} +\d+ +[\d.]+ s +\d+ +[\d.]+ s +[\d.]+ GB$", text, re.MULTILINE), text
    assert re.search(r"all bundles, .*: [\d.]+ s, [\d.]+ GB; values in memory, least --mem [\d.]+G", text)
    assert tree(profiles, logs=True) == before


def test_more_people_and_kinds_of_profiles_take_longer(plan, profiles, study):
    both, one = seconds(plan(profiles)), seconds(plan(profiles, "--profile", "1D"))
    assert one < both
    for k in ("01", "02", "03", "05", "06", "08"):
        shutil.rmtree(profiles / f"sub-{k}")
    assert seconds(plan(profiles)) <= both
    assert "6 sessions of 6 subjects" in plan(profiles)


def test_the_bound_that_is_said_to_do_does(plan, profiles):
    text = plan(profiles)
    least = re.search(r"least --mem ([\d.]+G)", text)
    assert least
    assert "values in" in plan(profiles, "--mem", least[1])


def test_what_the_estimate_leaves_out_is_said(plan, profiles):
    assert "takes longer" not in plan(profiles)
    assert "--sensitivity takes longer" in plan(profiles, "--sensitivity")
