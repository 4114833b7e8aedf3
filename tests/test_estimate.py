"""The estimate follows the input: more of anything never takes less, and what is dealt to processes adds up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spectra_bids.estimate import (
    Estimate,
    ModelSize,
    SessionSize,
    bundle_fit,
    duration,
    group_level,
    group_memory,
    participant_level,
    session,
)

SIZE = SessionSize(points=(100_000, 50_000), maps=2, voxels=400_000)
MODEL = ModelSize(sessions=100, columns=4, levels=8, contrasts=3)


@pytest.mark.parametrize(
    "more",
    [{"points": (100_000, 60_000)}, {"points": (100_000, 50_000, 10)}, {"maps": 3}, {"voxels": 500_000}],
    ids=["points", "bundles", "maps", "voxels"],
)
def test_a_larger_session_takes_more_time_and_memory(more):
    assert session(replace(SIZE, **more)).seconds > session(SIZE).seconds
    assert session(replace(SIZE, **more)).memory_gb > session(SIZE).memory_gb


def test_registration_takes_time():
    assert session(replace(SIZE, registers=True)).seconds > session(SIZE).seconds


def test_processes_share_the_time_and_add_up_the_memory():
    one = Estimate(10.0, 0.5)
    alone, two, four = (participant_level([one], 100, n, 0) for n in (1, 2, 4))
    assert alone.memory_gb == pytest.approx(0.5)
    assert two.memory_gb > 2 * 0.5
    assert four.memory_gb - two.memory_gb == pytest.approx(2 * 0.5)
    assert alone.seconds - two.seconds == pytest.approx(500)
    assert two.seconds - four.seconds == pytest.approx(250)
    assert participant_level([one], 1, 4, 0) == participant_level([one], 1, 1, 0)
    assert participant_level([one], 100, 4, 20).seconds > four.seconds


def test_the_largest_session_decides_the_memory_and_the_mean_the_time():
    few = participant_level([Estimate(1.0, 0.3), Estimate(3.0, 0.9)], 10, 1, 0)
    assert few.memory_gb == pytest.approx(0.9)
    assert few.seconds - participant_level([Estimate(2.0, 0.1)], 10, 1, 0).seconds == pytest.approx(0)


@pytest.mark.parametrize(
    "more",
    [{"sessions": 200}, {"columns": 6}, {"levels": 20}, {"contrasts": 5}, {"levels": 0}],
    ids=["sessions", "columns", "levels", "contrasts", "no random factor"],
)
def test_a_larger_model_takes_more_time(more):
    other = replace(MODEL, **more)
    smaller, larger = (other, MODEL) if more == {"levels": 0} else (MODEL, other)
    assert bundle_fit(larger, 100, 2).seconds > bundle_fit(smaller, 100, 2).seconds
    assert group_level(larger, [[100]], 2).seconds > group_level(smaller, [[100]], 2).seconds


def test_more_cells_bundles_and_scalars_take_more():
    least = group_level(MODEL, [[20, 30]], 1)
    for cells, scalars in (([[20, 40]], 1), ([[20, 30, 30]], 1), ([[20, 30]], 2), ([[20, 30], [80, 90]], 1)):
        more = group_level(MODEL, cells, scalars)
        assert more.seconds > least.seconds
        assert more.memory_gb > least.memory_gb


def test_values_in_a_file_need_memory_for_one_bundle_at_a_time():
    filed, held = (group_level(MODEL, [[200] * 50], 2, in_memory=m) for m in (False, True))
    assert held.memory_gb - filed.memory_gb == pytest.approx(8e-9 * 100 * 200 * 50 * 2)
    assert group_memory(100_000, [300, 10], 2) > group_memory(100_000, [155, 155], 2)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.044, "0.04 s"), (2.345, "2.3 s"), (34.4, "34 s"), (200, "3.3 min"), (7300, "2.0 h")],
)
def test_durations_are_said_in_words(seconds, text):
    assert duration(seconds) == text
