"""Bundle and Volume: ragged arrays, checked against plain Python over a list of streamlines."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectra_bids.bundle import Bundle, Volume


@st.composite
def lists_of_streamlines(draw):
    counts = draw(st.lists(st.integers(0, 6), max_size=8))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    return [rng.normal(0, 30, (n, 3)).astype(np.float32) for n in counts]


def split(bundle: Bundle) -> list[np.ndarray]:
    return [bundle.points[a:b] for a, b in zip(bundle.offsets[:-1], bundle.offsets[1:], strict=True)]


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("points", "offsets", "message"),
    [
        (np.zeros((4, 2)), [0, 4], r"\(P, 3\)"),
        (np.zeros(12), [0, 4], r"\(P, 3\)"),
        (np.zeros((4, 3)), [0, 3], "end at the number of points"),
        (np.zeros((4, 3)), [], "end at the number of points"),
        (np.zeros((4, 3)), [[0, 4]], "end at the number of points"),
        (np.zeros((4, 3)), [1, 4], "start at 0"),
        (np.zeros((4, 3)), [0, 3, 2, 4], "never decrease"),
    ],
)
def test_a_bundle_whose_arrays_do_not_fit_together_is_refused(points, offsets, message):
    with pytest.raises(ValueError, match=message):
        Bundle(points.astype(np.float32), np.array(offsets, np.int64))


def test_a_volume_has_three_dimensions():
    with pytest.raises(ValueError, match=r"three dimensions. Got shape \(2, 2, 2, 5\)"):
        Volume(np.zeros((2, 2, 2, 5)), np.eye(4))


def test_the_voxel_size_is_the_mean_edge_of_a_rotated_voxel():
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([1.0, 2.0, 3.0])
    assert Volume(np.zeros((2, 2, 2)), affine).voxel_size == pytest.approx(2.0)


@given(lists_of_streamlines())
def test_everything_a_bundle_says_of_itself_is_what_a_loop_over_its_streamlines_says(lines):
    bundle = Bundle.from_streamlines(lines)
    assert same(split(bundle), lines)
    assert bundle.n_streamlines == len(lines)
    assert bundle.counts.tolist() == [len(x) for x in lines]
    assert bundle.streamline_ids.tolist() == [k for k, x in enumerate(lines) for _ in x]
    steps = [np.linalg.norm(np.diff(x.astype(float), axis=0), axis=1) for x in lines]
    np.testing.assert_allclose(bundle.lengths, [d.sum() for d in steps], atol=1e-9)
    arcs = [np.r_[0, np.cumsum(d)] for x, d in zip(lines, steps, strict=True) if len(x)]
    np.testing.assert_allclose(bundle.arc, np.concatenate([[], *arcs]), atol=1e-9)


@given(lists_of_streamlines(), st.randoms())
def test_take_selects_by_index_in_its_order_and_by_mask(lines, random):
    bundle = Bundle.from_streamlines(lines)
    index = [random.randrange(len(lines)) for _ in range(5)] if lines else []
    assert same(split(bundle.take(np.array(index, np.int64))), [lines[k] for k in index])
    mask = np.array([random.random() < 0.5 for _ in lines], bool)
    assert same(split(bundle.take(mask)), [x for x, keep in zip(lines, mask, strict=True) if keep])


@given(lists_of_streamlines())
def test_reversed_turns_every_streamline_and_twice_changes_nothing(lines):
    bundle = Bundle.from_streamlines(lines)
    assert same(split(bundle.reversed()), [x[::-1] for x in lines])
    assert np.array_equal(bundle.reversed().reversed().points, bundle.points)


def test_with_points_keeps_the_streamlines_and_refuses_another_number_of_points():
    bundle = Bundle.from_streamlines([np.zeros((3, 3)), np.ones((2, 3))])
    other = bundle.with_points(bundle.points + 1.0)
    assert other.points.dtype == np.float32
    assert other.offsets is bundle.offsets
    with pytest.raises(ValueError, match="number of points"):
        bundle.with_points(np.zeros((4, 3)))
