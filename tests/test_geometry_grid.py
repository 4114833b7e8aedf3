"""Grids: a property of the atlas alone; nodes, signed radial bins, cells, checksums."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import atlas_bundles, atlas_grids, moved, ribbon, ribbons, right_motions, scrambles, seeds

from spectra_bids.bundle import Bundle
from spectra_bids.demo.people import load_people
from spectra_bids.geometry.centroid import arc_length, resample_counts
from spectra_bids.geometry.grid import (
    Grid,
    _merge_sparse,
    _occupied,
    assign,
    build_grid,
    distance_to_polyline,
    nearest_node,
)

FIELDS = ("nodes", "axes", "anisotropy", "edges", "n_points_1d", "n_points_2d", "centres_1d", "centres_2d")


def assert_equal_grids(one: Grid, other: Grid, atol: float = 1e-8) -> None:
    for name in FIELDS:
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=atol, err_msg=name)
    assert (one.ends, one.sides, one.robust, one.radial) == (other.ends, other.sides, other.robust, other.radial)
    assert one.in_1d.tolist() == other.in_1d.tolist()
    assert one.in_2d.tolist() == other.in_2d.tolist()


def polyline_distance(point: np.ndarray, nodes: np.ndarray) -> float:
    """Distance of one point to a polyline, segment by segment, by minimising over the segment's parameter."""
    best = np.inf
    for a, b in pairwise(nodes):
        t = min(1.0, max(0.0, np.dot(point - a, b - a) / np.dot(b - a, b - a)))
        best = min(best, float(np.linalg.norm(point - (a + t * (b - a)))))
    return best


@pytest.mark.parametrize("lines", [[], [np.zeros((1, 3))], [np.ones((5, 3))], [np.zeros((0, 3))]])
def test_a_bundle_without_extent_has_no_grid(lines):
    with pytest.raises(ValueError, match="'UF_L' has no streamline with two distinct points"):
        build_grid(Bundle.from_streamlines(lines), "UF_L")


def test_streamlines_without_extent_do_not_change_a_grid():
    bundle = ribbon(4)
    lines = np.split(bundle.points, bundle.offsets[1:-1])
    more = Bundle.from_streamlines([np.zeros((0, 3)), lines[0][:1], *lines, np.ones((4, 3)) * 50])
    assert build_grid(more).checksum == build_grid(bundle).checksum


@settings(max_examples=25, deadline=None)
@given(ribbons(), st.data())
def test_a_grid_ignores_the_order_and_the_direction_of_streamlines(bundle, data):
    # Not by checksum: made coordinates are fractions that rounding to four digits may split. Real ones are below.
    assert_equal_grids(build_grid(bundle, "A"), build_grid(data.draw(scrambles(bundle)), "A"))


@pytest.mark.parametrize("name", ["AF_L", "CST_R", "CC_ForcepsMajor"])
def test_a_grid_of_a_packaged_bundle_ignores_the_order_and_the_direction_of_streamlines(name):
    bundle = load_people()[0][name]
    order = np.random.default_rng(0).permutation(bundle.n_streamlines)
    assert build_grid(bundle.take(order).reversed(), name).checksum == build_grid(bundle, name).checksum


def test_grids_of_atlas_bundles_ignore_the_order_and_the_direction_of_streamlines(shared_data):
    grids = atlas_grids(shared_data)
    for name, bundle in atlas_bundles(shared_data).items():
        order = np.random.default_rng(0).permutation(bundle.n_streamlines)
        assert build_grid(bundle.take(order).reversed(), name).checksum == grids[name].checksum, name


@settings(max_examples=25, deadline=None)
@given(ribbons(), right_motions())
def test_a_grid_moves_with_its_bundle_up_to_reversal_of_s_and_r(bundle, motion):
    here, there = build_grid(bundle), build_grid(moved(motion, bundle))
    turn, shift = motion[:3, :3], motion[:3, 3]
    nodes, axes = (there.nodes - shift) @ turn, there.axes @ turn
    along = slice(None) if np.abs(nodes - here.nodes).max() < 1e-3 else slice(None, None, -1)
    sign = 1 if (axes[along] * here.axes).sum() > 0 else -1
    np.testing.assert_allclose(nodes[along], here.nodes, atol=1e-6)
    np.testing.assert_allclose(sign * axes[along], here.axes, atol=1e-6)
    np.testing.assert_allclose(there.edges if sign > 0 else -there.edges[::-1], here.edges, atol=1e-6)
    assert there.n_points_2d[along][:, ::sign].tolist() == here.n_points_2d.tolist()
    assert there.in_2d[along][:, ::sign].tolist() == here.in_2d.tolist()


def test_lengths_are_millimetres_and_counts_are_numbers_of_bins():
    bundle = ribbon(2, n=300, length=100, ragged=0.0, width=6.0)
    by_length = build_grid(bundle, s_len=10.0, r_len=4.0)
    assert by_length.ns == 10
    # ten nodes stand at both ends and evenly between: nine steps over the 100 mm
    assert by_length.s_len == pytest.approx(100 / 9, abs=0.5)
    assert by_length.r_len == pytest.approx(4.0, abs=0.5)
    by_count = build_grid(bundle, s_len=10.0, r_len=4.0, ns=33, nr=4)
    assert by_count.ns == 33
    assert by_count.nr == 4
    np.testing.assert_allclose(np.diff(by_count.s_mm), by_count.s_len)
    np.testing.assert_allclose(np.diff(by_count.edges), by_count.r_len)
    np.testing.assert_allclose(by_count.r_mm, by_count.edges[:-1] + by_count.r_len / 2)


def test_nodes_are_as_many_as_steps_fit_into_the_mean_length():
    for name, bundle in load_people()[2].items():
        assert build_grid(bundle, name).ns == round(bundle.lengths.mean() / 5)
        assert build_grid(bundle, name, s_len=2.5).ns == round(bundle.lengths.mean() / 2.5)


def test_a_grid_of_one_node_and_one_bin_is_the_whole_bundle():
    bundle = ribbon(2, length=40)
    grid = build_grid(bundle, ns=1, nr=1)
    assert (grid.ns, grid.nr, grid.ends, grid.sides) == (1, 1, ("P", "A"), ("L", "R"))
    assert grid.n_points_2d.tolist() == [[len(bundle.points)]]
    assert grid.s_len == pytest.approx(40, abs=6)
    assert set(assign(grid, bundle).s) == {0}


@pytest.mark.parametrize("robust", ["none", "linear", "spline"])
def test_ends_are_prolonged_on_request_and_the_grid_says_how(robust):
    grid = build_grid(ribbon(3, n=200, length=100, ragged=25.0), robust=robust)
    assert grid.robust == robust
    assert arc_length(grid.nodes)[-1] == pytest.approx(75 if robust == "none" else 98, abs=5)


def test_a_grid_whose_ends_cannot_be_prolonged_says_that_they_were_not():
    out_and_back = np.array([[0, 0, 0], [40, 0, 0], [0, 0, 0.0]])
    grid = build_grid(Bundle.from_streamlines([out_and_back] * 5), robust="linear")
    assert grid.robust == "none"


@pytest.mark.parametrize(
    ("order", "ends", "sides"),
    [((0, 1, 2), ("P", "A"), ("L", "R")), ((1, 0, 2), ("L", "R"), ("P", "A")), ((0, 2, 1), ("I", "S"), ("L", "R")),
     ((2, 1, 0), ("P", "A"), ("I", "S"))],
)  # fmt: skip
def test_ends_and_sides_are_named_by_where_they_point(order, ends, sides):
    bundle = ribbon(5, n=100)
    for sign in (1, -1):
        grid = build_grid(bundle.with_points(sign * bundle.points[:, list(order)]))
        assert (grid.ends, grid.sides) == (ends, sides)
        k, q = (("LR", "PA", "IS").index("".join(x)) for x in (ends, sides))
        assert grid.nodes[-1, k] > grid.nodes[0, k]
        assert grid.axes[:, q].mean() > 0.9


@settings(max_examples=20, deadline=None)
@given(ribbons())
def test_every_point_goes_to_its_nearest_node_and_to_the_bin_of_its_coordinate_along_the_axis(bundle):
    grid = build_grid(bundle)
    found = assign(grid, bundle)
    pick = np.arange(0, len(bundle.points), 37)
    for p in pick:
        point = bundle.points[p].astype(float)
        distances = np.linalg.norm(grid.nodes - point, axis=1)
        assert found.d[p] == pytest.approx(distances.min())
        assert distances[found.s[p]] == pytest.approx(distances.min())
        r = (point - grid.nodes[found.s[p]]) @ grid.axes[found.s[p]]
        assert found.r[p] == pytest.approx(r, abs=1e-9)
        inner = grid.edges[1:-1]
        assert found.r_bin[p] == (inner <= found.r[p]).sum()


def test_radial_edges_reach_from_the_first_to_the_99th_percentile_of_the_atlas():
    bundle = ribbon(5, n=200)
    for radial, low in (("signed", 1.0), ("distance", None)):
        grid = build_grid(bundle, nr=2, radial=radial)
        r = assign(grid, bundle).r
        expected = np.percentile(r, [low, 99]) if low else [0, np.percentile(r, 99)]
        np.testing.assert_allclose(grid.edges[[0, -1]], expected, atol=1e-9)


def test_a_point_on_an_edge_belongs_to_the_bin_above_and_one_between_two_nodes_to_the_lower():
    made = build_grid(ribbon(1))
    nodes = np.stack([np.zeros(made.ns), 4.0 * np.arange(made.ns), np.zeros(made.ns)], axis=1)
    axes = np.tile([1.0, 0, 0], (made.ns, 1))
    grid = replace(made, nodes=nodes, axes=axes, edges=np.array([-6.0, -2, 2, 6]))
    found = assign(grid, Bundle.from_streamlines([np.array([[-2, 4, 0], [2, 6, 0], [1.9, 6.1, 0], [-2.1, 8, 0]])]))
    assert found.r_bin.tolist() == [1, 2, 1, 0]
    assert found.s.tolist() == [1, 1, 2, 2]


def test_the_outermost_bins_are_open_ended():
    grid = build_grid(ribbon(1, n=200))
    far = grid.nodes[8] + np.array([[-500.0], [500.0]]) * grid.axes[8]
    # so far out another node may be nearest: straight along the axis it is not
    assert assign(grid, Bundle.from_streamlines([far])).r_bin.tolist() == [0, grid.nr - 1]


def test_counts_and_centres_are_those_of_the_atlas_points_of_each_cell():
    bundle = ribbon(6, n=100)
    grid = build_grid(bundle)
    where = assign(grid, bundle)
    for s, r in ((3, 0), (7, 1), (9, grid.nr - 1)):
        inside = bundle.points[(where.s == s) & (where.r_bin == r)].astype(float)
        assert grid.n_points_2d[s, r] == len(inside)
        np.testing.assert_allclose(grid.centres_2d[s, r], inside.mean(axis=0) if len(inside) else np.nan, atol=1e-4)
    assert grid.n_points_1d.tolist() == grid.n_points_2d.sum(axis=1).tolist()
    assert grid.n_points_1d.sum() == len(bundle.points)
    np.testing.assert_allclose(grid.centres_1d[5], bundle.points[where.s == 5].mean(axis=0), atol=1e-4)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([0, 0, 10, 20, 10, 1], [False, False, True, True, True, False]),  # median of the filled is 10: floor 2
        ([1, 1, 1, 1], [False, False, False, False]),  # never below two points
        ([2, 2, 2, 1], [True, True, True, False]),
        ([100, 100, 100, 20, 19], [True, True, True, True, False]),
        ([0, 0], [False, False]),
    ],
)
def test_a_cell_belongs_to_the_grid_if_the_atlas_fills_it(counts, expected):
    assert _occupied(np.array(counts)).tolist() == expected


@pytest.mark.parametrize(
    ("counts", "merged"),
    [
        ([10, 10, 10], [10, 10, 10]),
        ([1, 10, 10, 10], [11, 10, 10]),
        ([10, 10, 10, 1], [10, 10, 11]),
        ([1, 0, 10, 10, 10, 1], [11, 10, 11]),  # repeatedly: 1, then 1 + 0, is too few
        ([2, 10, 10, 10], [2, 10, 10, 10]),  # exactly a fifth stays
        ([10, 10, 10, 2], [10, 10, 10, 2]),
        ([10, 0, 10, 10], [10, 0, 10, 10]),  # only the outermost are merged
        ([1, 1], [1, 1]),
        ([7], [7]),
    ],
)
def test_sparse_outermost_bins_are_merged_inwards(counts, merged):
    edges = np.arange(len(counts) + 1.0)
    r = np.repeat(edges[:-1] + 0.5, counts)
    found = _merge_sparse(edges, r)
    assert set(found) <= set(edges)
    assert found[[0, -1]].tolist() == edges[[0, -1]].tolist()
    assert np.bincount(np.searchsorted(found[1:-1], r, side="right"), minlength=len(found) - 1).tolist() == merged


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=9))
def test_merging_treats_both_sides_alike(counts):
    edges = np.arange(len(counts) + 1.0)
    r = np.repeat(edges[:-1] + 0.5, counts)
    mirrored = -_merge_sparse(-edges[::-1], -r)[::-1]
    np.testing.assert_array_equal(_merge_sparse(edges, r), mirrored)


def test_atlas_grids_have_few_cells_without_atlas_points_and_sparse_ends_outside(shared_data):
    for name, grid in atlas_grids(shared_data).items():
        assert not (grid.in_2d & (grid.n_points_2d < 2)).any(), name
        assert not grid.in_1d.all(), f"{name}: the extension leaves sparse end nodes in every bundle"
        assert grid.in_1d.sum() >= 0.8 * grid.ns, name
        assert np.isfinite(grid.centres_2d[grid.in_2d]).all(), name
        assert not np.diff(grid.edges).min() <= 0, name


@settings(max_examples=20, deadline=None)
@given(ribbons())
def test_the_radial_distance_is_the_perpendicular_distance_to_the_polyline(bundle):
    grid = build_grid(bundle, radial="distance")
    found = assign(grid, bundle)
    pick = np.arange(0, len(bundle.points), 23)
    expected = [polyline_distance(p.astype(float), grid.nodes) for p in bundle.points[pick]]
    np.testing.assert_allclose(found.r[pick], expected, atol=1e-6)
    assert grid.sides == ("core", "rim")
    assert grid.edges[0] == 0
    assert not grid.axes.any()


def test_the_radial_distance_in_real_bundles_is_that_of_the_strand_of_the_nearest_node():
    bundle = load_people()[3]["AF_L"]
    grid = build_grid(bundle, radial="distance")
    found = assign(grid, bundle).r
    expected = np.array([polyline_distance(p.astype(float), grid.nodes) for p in bundle.points])
    assert (found >= expected - 1e-6).all()
    assert (np.abs(found - expected) < 1e-6).mean() > 0.97
    s, d = nearest_node(grid.nodes, bundle.points)
    assert (distance_to_polyline(bundle.points, grid.nodes, s) <= d + 1e-9).all()


def test_streamlines_that_jump_between_strands_are_counted():
    t = np.linspace(0, np.pi, 80)
    hairpin = np.stack([30 * np.cos(t), 60 * np.sin(t), 0 * t], axis=1)
    grid = build_grid(Bundle.from_streamlines([hairpin + np.array([0, 0, k]) for k in range(-4, 5)]))
    low, middle, high = (np.array([[-x, y, 0], [x, y, 0.0]]) for x, y in ((29, 10), (20, 44), (7, 58)))
    jumps = [int(np.ptp(assign(grid, Bundle.from_streamlines([x])).s)) for x in (low, middle, high)]
    assert jumps[0] > grid.ns / 2 > jumps[1] > grid.ns / 5 > jumps[2] > 0
    found = assign(grid, Bundle.from_streamlines([hairpin, low, middle, high, hairpin[::-1], hairpin[:1]]))
    assert found.share_jumping == pytest.approx(2 / 6)
    assert assign(grid, Bundle.from_streamlines([])).share_jumping == 0


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 40))
def test_the_nearest_node_is_the_nearest_by_search(seed, ns):
    rng = np.random.default_rng(seed)
    nodes, points = rng.normal(0, 30, (ns, 3)), rng.normal(0, 40, (300, 3)).astype(np.float32)
    distance = np.linalg.norm(points[:, None].astype(float) - nodes, axis=2)
    s, d = nearest_node(nodes, points)
    assert s.tolist() == distance.argmin(axis=1).tolist()
    np.testing.assert_allclose(d, distance.min(axis=1), atol=1e-9)


def test_more_points_than_fit_one_piece_are_all_placed():
    rng = np.random.default_rng(0)
    nodes, points = rng.normal(0, 30, (7, 3)), rng.normal(0, 40, (20_000, 3))
    s, d = nearest_node(nodes, points)
    distance = np.linalg.norm(points[:, None] - nodes, axis=2)
    assert s.tolist() == distance.argmin(axis=1).tolist()
    np.testing.assert_allclose(d, distance.min(axis=1))


def test_coarse_atlas_streamlines_leave_no_node_empty():
    fine = ribbon(7, n=60, step=1.0)
    coarse = resample_counts(fine, np.full(60, 6))
    one, other = build_grid(fine), build_grid(coarse)
    assert one.in_1d.tolist() == other.in_1d.tolist()
    np.testing.assert_allclose(one.nodes, other.nodes, atol=1.5)


def test_the_checksum_is_the_same_in_every_run_and_tells_grids_apart():
    grid = build_grid(ribbon(1), "AF_L")
    assert grid.checksum == build_grid(ribbon(1), "AF_L").checksum
    assert grid.checksum == replace(grid, nodes=grid.nodes + 1e-9).checksum
    flipped = grid.in_2d.copy()
    flipped[3, 1] ^= True
    others = [
        replace(grid, bundle="AF_R"),
        replace(grid, nodes=grid.nodes + 0.01),
        replace(grid, axes=-grid.axes),
        replace(grid, edges=grid.edges + 0.01),
        replace(grid, in_1d=~grid.in_1d),
        replace(grid, in_2d=flipped),
        replace(grid, radial="distance"),
        replace(grid, robust="spline"),
        build_grid(ribbon(1), "AF_L", s_len=6.0),
        build_grid(ribbon(2), "AF_L"),
    ]
    assert len({grid.checksum, *(other.checksum for other in others)}) == len(others) + 1


def test_minus_zero_and_zero_have_one_checksum():
    grid = build_grid(ribbon(1))
    axes = np.where(np.abs(grid.axes) < 1e-3, 0.0, grid.axes)
    assert replace(grid, axes=np.where(axes == 0, -1e-9, axes)).checksum == replace(grid, axes=axes).checksum
