"""geometry.labels: lookups in any orientation, shares with OUTSIDE, percentages that add up to 100."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from spectra_bids.geometry.labels import OUTSIDE, LabelVolume, joined, label_text, percentages

RAS = np.array([[2.0, 0, 0, -10], [0, 2, 0, -20], [0, 0, 2, -6], [0, 0, 0, 1]])
#: Voxel axes run to the left, to the front and upwards, turned by 20 degrees about z.
TURNED = np.array(
    [[-1.8794, -0.684, 0, 8], [-0.684, 1.8794, 0, -7], [0, 0, 2.5, -3], [0, 0, 0, 1]]
)  # fmt: skip


def volume(affine=RAS, seed: int = 0) -> LabelVolume:
    data = np.random.default_rng(seed).integers(0, 4, (9, 11, 7)).astype(np.uint8)
    return LabelVolume(data, affine, {1: "one", 2: "two"}, "test")


def test_labels_are_whole_numbers_in_three_dimensions():
    with pytest.raises(ValueError, match="integers"):
        LabelVolume(np.zeros((2, 2, 2)), RAS, {}, "x")
    with pytest.raises(ValueError, match="I, J, K"):
        LabelVolume(np.zeros((2, 2), int), RAS, {}, "x")
    with pytest.raises(ValueError, match="4, 4"):
        LabelVolume(np.zeros((2, 2, 2), int), RAS[:3], {}, "x")


@pytest.mark.parametrize("affine", [RAS, TURNED], ids=["RAS", "turned"])
def test_the_nearest_voxel_is_that_of_scipy(affine):
    labels = volume(affine)
    points = np.random.default_rng(1).uniform(-25, 25, (4000, 3))
    index = (points - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    expected = map_coordinates(labels.data, np.rint(index).T, order=0, mode="constant", cval=0)
    found = labels.at(points)
    np.testing.assert_array_equal(found, expected)
    inside = labels.inside(points)
    assert 0 < inside.mean() < 1
    assert not found[~inside].any()


def test_the_voxel_centre_has_the_voxels_label_and_half_a_voxel_further_is_outside():
    data = np.zeros((3, 3, 3), int)
    data[2, 1, 1] = 5
    labels = LabelVolume(data, RAS, {}, "x")
    assert labels.at(np.array([[-6.0, -18, -4], [-5.1, -18, -4], [-4.9, -18, -4], [np.nan, 0, 0]])).tolist() == [
        5,
        5,
        0,
        0,
    ]
    assert labels.bounds.tolist() == [[-10, -20, -6], [-6, -16, -2]]


def test_names_that_are_not_listed_are_numbers_and_zero_is_outside():
    labels = volume()
    assert [labels.name(k) for k in (0, 1, 3)] == [OUTSIDE, "one", "label 3"]


def test_shares_count_what_is_outside_and_join_regions_of_one_name():
    data = np.array([1, 2, 3, 0]).reshape(4, 1, 1)
    labels = LabelVolume(data, np.eye(4), {1: "A", 2: "B", 3: "A"}, "x")
    points = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0], [99, 0, 0]])
    assert labels.shares(points) == (("A", 0.4), ("B", 0.2), (OUTSIDE, 0.4))
    assert labels.shares(points, np.array([1.0, 6, 1, 0, 2])) == (("B", 0.6), ("A", 0.2), (OUTSIDE, 0.2))
    assert labels.shares(points[3:]) == ((OUTSIDE, 1.0),)
    assert labels.shares(points[:0]) == ()
    assert labels.shares(points, np.zeros(5)) == ()


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=40))
def test_percentages_are_whole_add_up_to_100_and_are_off_by_less_than_one(counts):
    total = sum(counts)
    shares = tuple((f"r{k}", n / total) for k, n in enumerate(counts))
    found = percentages(shares)
    assert sum(n for _, n in found) == 100
    exact = dict(shares)
    assert all(abs(n - 100 * exact[name]) < 1 for name, n in found)


@given(st.integers(0, 2**31), st.integers(1, 60))
def test_shares_add_up_to_one(seed, n):
    points = np.random.default_rng(seed).uniform(-30, 30, (n, 3))
    assert sum(share for _, share in volume().shares(points)) == pytest.approx(1)


def test_a_table_says_shares_in_words():
    assert label_text((("Left SLF", 0.621), (OUTSIDE, 0.379))) == "Left SLF 62 %; OUTSIDE 38 %"
    assert label_text((("A", 0.999), ("B", 0.001))) == "A 100 %"
    assert label_text(()) == ""
    assert joined([("JHU", "A")]) == "A"
    assert joined([("JHU", "A"), ("HO", "B")]) == "JHU: A | HO: B"


@pytest.mark.parametrize("affine", [RAS, TURNED], ids=["RAS", "turned"])
def test_a_sphere_is_counted_voxel_by_voxel_also_past_the_end_of_the_volume(affine):
    labels = volume(affine, 3)
    index = np.stack(np.meshgrid(*(np.arange(-20, 30),) * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    centres = index @ affine[:3, :3].T + affine[:3, 3]
    for voxel in ([4, 5, 3], [0, 0, 0]):
        point = np.array(voxel) @ affine[:3, :3].T + affine[:3, 3] + 0.3
        near = centres[np.linalg.norm(centres - point, axis=1) <= 8]
        assert labels.around(point, 8) == labels.shares(near)
    assert dict(labels.around(centres[0], 8)) == {OUTSIDE: 1.0}
    one = np.array([4, 5, 3])
    assert labels.around(one @ affine[:3, :3].T + affine[:3, 3], 0.1) == (
        (labels.name(int(labels.data[tuple(one)])), 1.0),
    )
    assert labels.around(np.full(3, np.nan)) == ()
