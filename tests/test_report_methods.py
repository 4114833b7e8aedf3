"""Methods text, guarantee, citations."""

from __future__ import annotations

import re

import numpy as np

from spectra_bids.report.methods import (
    citation_bib,
    citation_md,
    participant_methods,
    versions,
)
from spectra_bids.report.references import REFERENCES
from spectra_bids.settings import PointSettings, ProfileSettings


def test_methods_follow_the_settings() -> None:
    text = " ".join(participant_methods(ProfileSettings(min_streamlines=7, min_points=3), ["slr"]))
    assert "fewer than 7 streamlines" in text
    assert "fewer than 3 points" in text
    assert "streamline registration" in text


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


def test_masks_and_weights_are_said_where_they_were_used():
    chosen = PointSettings("desc-brain_mask", "", "label-lesion_roi", "sift2")
    text = " ".join(participant_methods(ProfileSettings(points=chosen)))
    assert "Only points inside desc-brain_mask count." in text
    assert "inside label-lesion_roi" in text
    assert "by their weights, sift2" in text
    assert "do not count, and" in text
    assert "lesion" not in " ".join(participant_methods(ProfileSettings()))
