"""What the page says of model and procedure: every choice is named, with what it guarantees."""

from __future__ import annotations

from pathlib import Path

import pytest

from spectra_bids.report.procedures import correction, group_methods, group_references, guarantee
from spectra_bids.settings import (
    DecisionSettings,
    FitSettings,
    GroupSettings,
    HarmonizeSettings,
    PermutationSettings,
    RunSettings,
)

RUN = RunSettings(Path("in"), Path("out"))


def test_the_hierarchical_guarantee_says_what_it_bounds_and_what_not() -> None:
    text = " ".join(guarantee(DecisionSettings(alpha_block=0.04, alpha_cell=(0.1,))))
    assert "over bundles" in text
    assert "at most 0.04" in text
    assert "average over the selected bundles" in text
    assert "at most 0.1" in text
    assert "PRDS" in text
    assert "rests on simulation" in text
    assert "does not bound the false discovery rate of all rejected cells pooled" in text
    assert "exploratory" not in text


def test_a_sweep_is_called_exploratory() -> None:
    text = " ".join(guarantee(DecisionSettings(alpha_cell=(0.05, 0.15, 0.25))))
    assert "(0.15, 0.25) are exploratory" in text


@pytest.mark.parametrize(("adaptive", "said"), [(False, "PRDS"), (True, "independent p values only")])
def test_the_guarantee_of_fdr_differs_for_the_adaptive_procedure(adaptive: bool, said: str) -> None:
    settings = DecisionSettings("fdr", 0.02, adaptive)
    text = " ".join(guarantee(settings))
    assert said in text
    assert "at most 0.02" in text
    assert "Nothing is guaranteed of bundles" in text
    assert ("two-stage" in correction(settings)[0]) == adaptive


def test_the_model_is_named_as_it_was_fitted() -> None:
    assert "restricted maximum likelihood, all cells at once" in group_methods(GroupSettings(RUN), "f", True)[0]
    assert "ordinary least squares" in group_methods(GroupSettings(RUN), "f", False)[0]
    assert not any("lmerTest" in r for r in group_references(GroupSettings(RUN), False))
    fitting = FitSettings("pymer4", "kenward-roger", interval="profile", weights="w")
    settings = GroupSettings(RUN, fitting=fitting)
    text = group_methods(settings, "f", True)[0]
    for said in ("pymer4", "Kenward and Roger's", "profile likelihood", "weighted by w"):
        assert said in text
    assert any("pbkrtest" in r for r in group_references(settings, True))
    assert (
        "fitted by maximum likelihood"
        in group_methods(GroupSettings(RUN, fitting=FitSettings(estimation="ml")), "f", True)[0]
    )


def test_combat_and_its_price_are_named() -> None:
    settings = GroupSettings(
        RUN, fitting=FitSettings(harmonize=HarmonizeSettings("scanner", ("age",), "group=control"))
    )
    text = " ".join(group_methods(settings, "f", False))
    for said in ("levels of scanner", "effects of age", "people with group=control", "do not know of this step"):
        assert said in text
    assert not any("ComBat" in p for p in group_methods(GroupSettings(RUN), "f", False))


def test_permutation_names_who_is_exchanged_with_whom() -> None:
    chosen = DecisionSettings("perm", 0.01, permutation=PermutationSettings(999, "tfce", "site", "family"))
    who = {"group": "within site", "age": "all rows"}
    text = " ".join(group_methods(GroupSettings(RUN, decision=chosen), "f", False, who))
    for said in ("permuted 999 times", "level is 0.01", "Exchanged were, for group: within site; for age: all rows."):
        assert said in text
    assert "false rejection in a family is at most 0.01" in guarantee(chosen)[0]
    assert "neighbourhood" in guarantee(chosen)[0]
    assert (
        "neighbourhood" not in guarantee(DecisionSettings("perm", permutation=PermutationSettings(statistic="max")))[0]
    )
    assert any("cluster enhancement" in r for r in group_references(GroupSettings(RUN, decision=chosen), False))


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (DecisionSettings("hfdr_resel"), "smoothness of the residuals"),
        (DecisionSettings(block_file=Path("a/lobes.tsv")), "regions of lobes.tsv are the blocks"),
        (DecisionSettings(combination="gates"), "GATES"),
        (DecisionSettings(combination="acat"), "Cauchy"),
        (DecisionSettings(alpha_scalar=0.1), "over the scalars' combined p values at level 0.1"),
    ],
)
def test_blocks_and_combination_are_named(chosen: DecisionSettings, said: str) -> None:
    assert said in correction(chosen)[0]
    assert "R of them" in correction(chosen)[0]


@pytest.mark.parametrize(("combination", "said"), [("minp-galwey", "11.5 %"), ("acat", "6.6 %"), ("gates", "6.1 %")])
def test_a_combination_that_is_too_liberal_is_called_so(combination: str, said: str) -> None:
    assert said in " ".join(guarantee(DecisionSettings(combination=combination)))
    assert "simulations" not in " ".join(guarantee(DecisionSettings(combination="simes")))
