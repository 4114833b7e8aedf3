"""Streamline registration: known affines recovered, distances to the atlas, flags."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from strategies import atlas_bundles, mni_subject, moved, ribbon

from spectra_bids.bundle import Bundle
from spectra_bids.dataset.names import canonical
from spectra_bids.demo.people import load_people
from spectra_bids.geometry.registration import (
    apply_affine,
    distance_flag,
    distances_to_atlas,
    session_quantiles,
    streamline_registration,
)
from spectra_bids.io.tractograms import read_bundle
from spectra_bids.io.transforms import map_points


@pytest.fixture(scope="module")
def person() -> list[Bundle]:
    return list(load_people()[0].values())


def known_affine() -> np.ndarray:
    """A turn of some 12 degrees, scales of a few per cent, a shift of 30 mm."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [8, -6, 7], degrees=True).as_matrix() @ np.diag([1.05, 0.97, 1.02])
    affine[:3, 3] = [25, -12, 15]
    return affine


def test_registration_without_streamlines_is_refused(person):
    empty = Bundle.from_streamlines([])
    for moving, static in (([empty], person), (person, []), (person, [person[0].take(np.arange(0))])):
        with pytest.raises(ValueError, match="needs streamlines on both sides"):
            streamline_registration(moving, static)


def test_a_known_affine_is_recovered_and_a_second_run_gives_the_same_bytes(person):
    moving = [moved(known_affine(), bundle) for bundle in person]
    found = streamline_registration(moving, person)
    before, after = (
        np.concatenate([np.linalg.norm(b.points - p.points, axis=1) for b, p in zip(bundles, person, strict=True)])
        for bundles in (moving, [apply_affine(found, b) for b in moving])
    )
    print(f"mean error {before.mean():.1f} mm before, {after.mean():.2f} mm after, at most {after.max():.2f}")
    assert before.mean() > 20
    assert after.mean() < 1.0
    assert after.max() < 4.0
    assert streamline_registration(moving, person).tobytes() == found.tobytes()


def test_bundles_of_another_person_come_to_lie_on_the_first(person):
    other = list(load_people()[2].values())
    affine = streamline_registration(other, person)
    far, near = (
        np.concatenate([distances_to_atlas(b, a) for b, a in zip(bundles, person, strict=True)])
        for bundles in (other, [apply_affine(affine, b) for b in other])
    )
    assert np.median(near) < 6
    assert np.median(near) < np.median(far) / 2


def test_an_affine_moves_points_as_a_matrix_does(person):
    affine = known_affine()
    expected = (affine @ np.c_[person[0].points.astype(float), np.ones(len(person[0].points))].T).T[:, :3]
    found = apply_affine(affine, person[0])
    np.testing.assert_allclose(found.points, expected, atol=1e-4)
    assert found.points.dtype == np.float32


def test_distances_are_those_to_the_nearest_atlas_point():
    atlas = Bundle.from_streamlines([np.array([[0, 0, 0], [10, 0, 0.0]])])
    rec = Bundle.from_streamlines([np.array([[0, 3, 0], [9, 0, 4], [10, 0, 0.0]])])
    np.testing.assert_allclose(distances_to_atlas(rec, atlas), [3, np.sqrt(17), 0], atol=1e-6)
    assert distances_to_atlas(Bundle.from_streamlines([]), atlas).shape == (0,)


def test_two_thousand_points_stand_for_a_large_bundle():
    atlas, rec = ribbon(1, n=60), ribbon(2, n=200)
    drawn = distances_to_atlas(rec, atlas)
    assert len(rec.points) > 2000
    every = np.array([((atlas.points - p) ** 2).sum(axis=1).min() for p in rec.points[::3]]) ** 0.5
    assert len(drawn) == 2000
    np.testing.assert_allclose(np.quantile(drawn, [0.5, 0.95]), np.quantile(every, [0.5, 0.95]), atol=0.15)


def test_the_session_counts_every_bundle_by_its_size():
    few, many = np.full(10, 1.0), np.full(10, 9.0)
    assert session_quantiles([few, many], [1000, 100], (0.5, 0.95)) == (1.0, 9.0)
    assert session_quantiles([few, many], [100, 1000], (0.05, 0.5)) == (1.0, 9.0)
    rng = np.random.default_rng(0)
    values = rng.random(1001)
    found = session_quantiles([values[:300], values[300:]], [300, 701], (0.1, 0.5, 0.9))
    np.testing.assert_allclose(found, np.quantile(values, (0.1, 0.5, 0.9)), atol=2e-3)


@pytest.mark.parametrize("distances", [[], [np.empty(0)], [np.empty(0), np.empty(0)]])
def test_the_quantiles_of_no_distances_are_nan(distances):
    assert np.isnan(session_quantiles(distances, [0] * len(distances))).all()


@pytest.mark.parametrize(
    ("bundle", "session", "flag"),
    [
        (2, 2, "none"),
        (8, 4, "none"),
        (8.1, 2, "far_bundle"),
        (2, 4.1, "far_session"),
        (9, 9, "far_bundle"),
        (float("nan"), float("nan"), "none"),
    ],
)
def test_a_bundle_is_flagged_above_eight_millimetres_and_a_session_above_four(bundle, session, flag):
    assert distance_flag(bundle, session) == flag


def quantiles(bundles: dict[str, Bundle], atlas: dict[str, Bundle]) -> tuple[float, ...]:
    """Median and p95 of the distances of a session's bundles to the atlas bundles of the same names."""
    names = sorted(bundles)
    return session_quantiles(
        [distances_to_atlas(bundles[n], atlas[n]) for n in names], [len(bundles[n].points) for n in names]
    )


def shown(found: tuple[float, ...]) -> str:
    """Median/p95 mm."""
    return "/".join(f"{x:.2f}" for x in found)


def bundles_of(folder: Path, entity: str) -> dict[str, Bundle]:
    """Streamline files of a folder by the canonical name of their bundle."""
    found = {}
    for path in sorted(folder.glob("*.t?k*")):
        found[canonical(path.name.split(f"_{entity}-")[1].split("_")[0])] = read_bundle(path)
    return found


def test_bundles_that_are_in_place_lie_two_millimetres_from_the_atlas(shared_data):
    bundles, _ = mni_subject(shared_data)
    found = quantiles({n: b.bundle for n, b in bundles.items()}, atlas_bundles(shared_data))
    print("real-mni", shown(found))
    assert len(bundles) == 19
    # All points instead of those drawn: 2.08 and 12.76.
    np.testing.assert_allclose(found, (2.08, 12.76), atol=0.15)


def test_streamline_registration_brings_native_bundles_to_the_atlas(shared_data):
    folder = shared_data / "real-pyafq/derivatives/afq/sub-niivue/ses-01/dwi/bundles"
    atlas, native = atlas_bundles(shared_data), bundles_of(folder, "desc")
    names = sorted(native)
    affine = streamline_registration([native[n] for n in names], [atlas[n] for n in names])
    before, after = (quantiles(b, atlas) for b in (native, {n: apply_affine(affine, native[n]) for n in names}))
    print("real-pyafq native", shown(before), "after SLR", shown(after))
    assert len(names) == 18
    np.testing.assert_allclose(before, (38, 63), atol=1.0)
    # All points instead of those drawn: 1.77 and 11.27.
    np.testing.assert_allclose(after, (1.77, 11.27), atol=0.2)


def test_the_stored_transform_brings_native_bundles_to_the_atlas_and_the_wrong_direction_does_not(shared_data):
    root = shared_data / "real-qsirecon/derivatives"
    bundle = next(root.rglob("*streamlines.tck.gz")).parent
    transform = next(root.rglob("*from-ACPC_to-MNI*_xfm.txt"))
    atlas, native = atlas_bundles(shared_data), bundles_of(bundle, "bundle")
    right, wrong = (
        quantiles({n: b.with_points(map_points(b.points, transform, invert)) for n, b in native.items()}, atlas)
        for invert in (True, False)
    )
    before = quantiles(native, atlas)
    print("real-qsirecon native", shown(before), "transformed", shown(right), "wrong way", shown(wrong))
    assert len(native) == 18
    np.testing.assert_allclose(before, (6.9, 23.9), atol=0.3)
    np.testing.assert_allclose(right, (2.2, 8.6), atol=0.2)
    np.testing.assert_allclose(wrong, (21.7, 51.2), atol=0.5)
