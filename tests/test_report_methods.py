"""Methods text, guarantee, citations."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from spectra_bids.report.methods import (
    citation_bib,
    citation_md,
    correction,
    group_methods,
    group_references,
    guarantee,
    participant_methods,
    versions,
)
from spectra_bids.report.references import REFERENCES
from spectra_bids.settings import GroupSettings, ProfileSettings, RunSettings

RUN = RunSettings(Path("in"), Path("out"))


def test_the_hierarchical_guarantee_says_what_it_bounds_and_what_not() -> None:
    text = " ".join(guarantee(GroupSettings(RUN, alpha_block=0.04, alpha_cell=(0.1,))))
    assert "over bundles" in text
    assert "at most 0.04" in text
    assert "average over the selected bundles" in text
    assert "at most 0.1" in text
    assert "PRDS" in text
    assert "rests on simulation" in text
    assert "does not bound the false discovery rate of all rejected cells pooled" in text
    assert "exploratory" not in text


def test_a_sweep_is_called_exploratory() -> None:
    text = " ".join(guarantee(GroupSettings(RUN, alpha_cell=(0.05, 0.15, 0.25))))
    assert "(0.15, 0.25) are exploratory" in text


@pytest.mark.parametrize(("adaptive", "said"), [(False, "PRDS"), (True, "independent p values only")])
def test_the_guarantee_of_fdr_differs_for_the_adaptive_procedure(adaptive: bool, said: str) -> None:
    settings = GroupSettings(RUN, stats_mode="fdr", alpha=0.02, adaptive=adaptive)
    text = " ".join(guarantee(settings))
    assert said in text
    assert "at most 0.02" in text
    assert "Nothing is guaranteed of bundles" in text
    assert ("two-stage" in correction(settings)[0]) == adaptive


def test_methods_follow_the_settings() -> None:
    text = " ".join(participant_methods(ProfileSettings(min_streamlines=7, min_points=3), ["slr"]))
    assert "fewer than 7 streamlines" in text
    assert "fewer than 3 points" in text
    assert "streamline registration" in text
    assert "restricted maximum likelihood" in group_methods(GroupSettings(RUN), "y ~ x + (1|site)", True)[0]
    assert "ordinary least squares" in group_methods(GroupSettings(RUN), "y ~ x", False)[0]
    assert not any("lmerTest" in r for r in group_references(GroupSettings(RUN), False))


def test_versions_are_those_installed() -> None:
    assert versions()["numpy"] == np.__version__
    assert {"scipy", "nibabel", "dipy", "pybids", "nilearn", "nitransforms"} <= set(versions())


def test_every_reference_is_in_both_files_and_bibtex_balances() -> None:
    for reference in REFERENCES.values():
        assert reference.doi in citation_md()
        assert f"{{{reference.key}," in citation_bib()
    assert citation_bib().count("{") == citation_bib().count("}")
    cited = set(re.findall(r"\[([a-z]+\d{4})\]", citation_md().split("## References")[0]))
    assert cited == set(REFERENCES)
