"""geometry.pairing: streamlines in two spaces that correspond, and those that only seem to."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import shared_root
from hypothesis import given, settings
from strategies import ribbon, rigid_motions

from spectra_bids.bundle import Bundle
from spectra_bids.demo.people import load_people
from spectra_bids.geometry.pairing import LEAST_EXPLAINED, MOST_REVERSED, correspondence
from spectra_bids.geometry.registration import apply_affine
from spectra_bids.io.tractograms import read_bundle


def warped(bundle, mm, seed=0):
    """The bundle moved by smooth waves, 60 mm long, of `mm` root mean square, as a non-linear registration may."""
    rng = np.random.default_rng(seed)
    waves, phases = rng.normal(0, 2 * np.pi / 60 / np.sqrt(3), (8, 3)), rng.uniform(0, 2 * np.pi, (8, 3))
    x = bundle.points.astype(float)
    shift = sum(np.sin((x @ k)[:, None] + phase) for k, phase in zip(waves, phases, strict=True))
    return bundle.with_points(x + mm * shift / np.sqrt((shift**2).sum(axis=1).mean()))


@pytest.fixture(scope="module")
def bundles():
    """Real bundles: DIPY's packaged ones, and the shared ones where they are."""
    found = dict(load_people()[0])
    for path in sorted((shared_root() / "real-mni/derivatives/tractseg/sub-tractseg/dwi").glob("*.trk")):
        found[path.stem] = read_bundle(path)
    return found


def test_the_same_streamlines_correspond_wholly(bundles):
    for name, bundle in bundles.items():
        found = correspondence(bundle, bundle)
        assert (found.explained, found.reversed) == (pytest.approx(1), 0), name


def test_a_warp_of_some_millimetres_is_no_other_order_and_another_order_is_no_warp(bundles):
    """The two limits stand apart on every real bundle."""
    least, most = 1.0, 0.0
    for name, bundle in bundles.items():
        moved = apply_affine(np.diag([0.9, 1.1, 0.95, 1]), warped(bundle, 4))
        found = correspondence(moved, bundle)
        least = min(least, found.explained)
        assert found.reversed <= MOST_REVERSED, name
        shuffled = moved.take(np.random.default_rng(1).permutation(moved.n_streamlines))
        most = max(most, correspondence(shuffled, bundle).explained)
    assert most < LEAST_EXPLAINED < least
    assert most < 0.1
    assert least > 0.9


def test_streamlines_that_run_the_other_way_are_counted(bundles):
    for name, bundle in bundles.items():
        other = warped(bundle, 2)
        assert correspondence(other.reversed(), bundle).reversed > 1 - MOST_REVERSED, name
        n = bundle.n_streamlines // 4
        some = other.take(np.arange(n)).reversed()
        rest = other.take(np.arange(n, bundle.n_streamlines))
        mixed = Bundle(np.concatenate([some.points, rest.points]),
                       np.concatenate([some.offsets, rest.offsets[1:] + len(some.points)]))  # fmt: skip
        assert correspondence(mixed, bundle).reversed == pytest.approx(n / bundle.n_streamlines, abs=MOST_REVERSED)


@settings(max_examples=20, deadline=None)
@given(motion=rigid_motions())
def test_a_turn_of_less_than_a_quarter_is_explained(motion):
    bundle = ribbon()
    if np.trace(motion[:3, :3]) < 1.8:  # more than some 65 degrees: no head is
        return
    found = correspondence(apply_affine(motion, bundle), bundle)
    assert found.explained == pytest.approx(1, abs=1e-4)
    assert found.reversed == 0


@pytest.mark.parametrize("n", [0, 1, 9])
def test_too_few_streamlines_say_nothing(n):
    bundle = ribbon().take(np.arange(n))
    found = correspondence(bundle.reversed(), bundle)
    assert (found.explained, found.reversed) == (1.0, 0.0)


def test_streamlines_of_one_point_are_left_out():
    dots = Bundle.from_streamlines([np.full((1, 3), k) for k in range(30)])
    found = correspondence(dots, dots)
    assert (found.explained, found.reversed) == (1.0, 0.0)
