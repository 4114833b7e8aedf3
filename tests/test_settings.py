"""settings: validated once, hashable, and equal settings have equal hashes."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest

from spectra_bids.errors import UsageError
from spectra_bids.settings import (
    DecisionSettings,
    GridSettings,
    GroupSettings,
    ParticipantSettings,
    ProfileSettings,
    RunSettings,
    settings_hash,
)

RUN = RunSettings(Path("in"), Path("out"))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: GridSettings(s_len=0), "-s is a bin size in mm .* Got 0"),
        (lambda: GridSettings(r_len=-1), "-r is a bin size in mm .* Got -1"),
        (lambda: GridSettings(s_len=float("nan")), "-s is a bin size .* Got nan"),
        (lambda: GridSettings(s_len=1000), "-s is a bin size .* Got 1000"),
        (lambda: GridSettings(ns=0), "--ns is a number of bins .* Got 0"),
        (lambda: GridSettings(nr=10001), "--nr is a number of bins .* Got 10001"),
        (lambda: ProfileSettings(min_streamlines=0), "--min-streamlines must be at least 1"),
        (lambda: ProfileSettings(min_points=-5), "--min-points must be at least 1. Got -5"),
        (lambda: DecisionSettings(alpha=0), "--alpha is an error rate"),
        (lambda: DecisionSettings(alpha_block=1), "--alpha-block is an error rate"),
        (lambda: DecisionSettings(alpha_cell=(0.05, 2)), "--alpha-cell is an error rate .* Got 2"),
        (lambda: DecisionSettings(alpha=float("nan")), "--alpha is an error rate"),
        (lambda: GroupSettings(RUN, "value~a", model_file=Path("m.json")), "--formula and --model"),
    ],
)
def test_what_makes_no_sense_is_refused_by_the_name_of_its_option(make, words):
    with pytest.raises(UsageError, match=words):
        make()


def test_the_extremes_that_make_sense_are_taken():
    assert GridSettings(s_len=0.1, r_len=999, ns=1, nr=10000).nr == 10000
    assert DecisionSettings(alpha_cell=(0.001, 0.999)).alpha_cell == (0.001, 0.999)


def test_settings_cannot_be_changed_and_travel_between_processes():
    settings = ParticipantSettings(RUN, Path("atlas"))
    with pytest.raises(FrozenInstanceError):
        settings.atlas = Path("other")
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert hash(settings) == hash(replace(settings))


def test_equal_settings_have_equal_hashes_and_every_number_counts():
    base = ProfileSettings()
    assert settings_hash(base) == settings_hash(ProfileSettings())
    others = [
        replace(base, min_points=6),
        replace(base, min_streamlines=19),
        replace(base, registration="slr"),
        replace(base, random_seed=1),
        replace(base, grid=GridSettings(s_len=5.5)),
        replace(base, grid=GridSettings(nr=3)),
        replace(base, grid=GridSettings(robust="none")),
        replace(base, grid=GridSettings(radial="distance")),
    ]
    hashes = {settings_hash(x) for x in (base, *others)}
    assert len(hashes) == 9
    assert all(len(x) == 16 for x in hashes)


def test_a_hash_does_not_depend_on_the_order_of_keys_but_on_that_of_parts():
    assert settings_hash({"a": 1, "b": 2}) == settings_hash({"b": 2, "a": 1})
    assert settings_hash("a", "b") != settings_hash("b", "a")
    assert settings_hash(["ab"]) != settings_hash(["a", "b"])


def test_filters_are_the_content_of_the_file():
    assert RUN.filters == {}
    assert replace(RUN, bids_filters='{"bundle": {"space": null}}').filters == {"bundle": {"space": None}}
