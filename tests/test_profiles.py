"""Profiles: against DIPY's buan_profile and a group-by, known answers, invariances, and what is missing and why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import (
    field,
    mni_subject,
    moved,
    moved_volume,
    ribbon,
    ribbons,
    right_motions,
    rigid_motions,
    scrambles,
    seeds,
    smooth_volume,
    volume_of,
)

from spectra_bids.bundle import Bundle, Volume
from spectra_bids.demo.people import load_people
from spectra_bids.geometry.grid import Grid, assign, build_grid
from spectra_bids.geometry.sampling import refine, sample, sample_nearest
from spectra_bids.profiles import Cells, Profile, profile


def buan(monkeypatch: pytest.MonkeyPatch, grid: Grid, rec: Bundle, org: Bundle, volume: Volume) -> np.ndarray:
    """DIPY's buan_profile with our nodes in the place of the centroid it would make itself."""
    from dipy.stats import analysis
    from dipy.tracking.streamline import Streamlines
    from scipy.spatial import cKDTree

    monkeypatch.setattr(
        analysis, "assignment_map", lambda target, model, disks: cKDTree(grid.nodes).query(target.get_data())
    )
    one, other = (Streamlines(np.split(b.points, b.offsets[1:-1])) for b in (rec, org))
    return np.asarray(
        analysis.buan_profile(one, one, other, volume.data.astype(float), volume.affine, no_disks=grid.ns)
    )


def by_hand(bundle: Bundle, grid: Grid, volume: Volume) -> pd.DataFrame:
    """One row per point with a value: node, bin, distance, value, streamline."""
    where = assign(grid, bundle)
    columns = {"s": where.s, "r": where.r_bin, "d": where.d, "v": sample(volume, bundle.points)}
    return pd.DataFrame(columns | {"streamline": bundle.streamline_ids}).dropna()


def assert_same_cells(one: Cells, other: Cells, atol: float = 1e-9) -> None:
    assert list(one.mean) == list(other.mean)
    for name in one.mean:
        np.testing.assert_allclose(one.mean[name], other.mean[name], atol=atol, err_msg=name)
        np.testing.assert_allclose(one.sd[name], other.sd[name], atol=atol, err_msg=name)
    assert one.n_points.tolist() == other.n_points.tolist()
    assert one.n_streamlines.tolist() == other.n_streamlines.tolist()
    assert one.status.tolist() == other.status.tolist()


def cross(found: Profile, grid: Grid, name: str = "fa") -> np.ndarray:
    return found.across.mean[name].reshape(grid.ns, grid.nr)


# What is refused


def test_a_profile_without_a_map_is_refused():
    with pytest.raises(ValueError, match="at least one scalar map"):
        profile(ribbon(), build_grid(ribbon()), {})


def test_unequal_numbers_of_streamlines_are_refused_with_both_counts():
    bundle = ribbon(n=20)
    with pytest.raises(ValueError, match="rec has 20 streamlines, org has 19"):
        profile(bundle, build_grid(bundle), {"fa": smooth_volume()}, org=bundle.take(np.arange(19)))


# Another program's values


def test_the_profile_along_is_buans_on_packaged_bundles(monkeypatch):
    worst = 0.0
    people, volume = load_people(), smooth_volume(3)
    for name, atlas in people[0].items():
        grid = build_grid(atlas, name)
        for person in people[1:3]:
            # in the place of the first, as registration would have it; the maps are elsewhere
            rec = moved(np.eye(4), person[name])
            rec = rec.with_points(rec.points - rec.points.mean(axis=0) + atlas.points.mean(axis=0))
            org = rec.with_points(0.8 * (rec.points - rec.points.mean(axis=0)))
            rec, org, _ = refine(rec, org, 0.9)
            found = profile(rec, grid, {"fa": volume}, org=org, min_points=1)
            assert not found.resampled
            expected = buan(monkeypatch, grid, rec, org, volume)
            np.testing.assert_array_equal(np.isnan(found.along.mean["fa"]), np.isnan(expected))
            worst = max(worst, np.nanmax(np.abs(found.along.mean["fa"] - expected)))
    print(f"largest difference from buan_profile: {worst:.1e}")
    assert worst < 1e-6


def test_the_profile_along_is_buans_on_all_bundles_of_the_real_subject(monkeypatch, shared_data):
    bundles, volume = mni_subject(shared_data)
    assert len(bundles) == 19
    worst = {}
    for name, (bundle, _, grid) in bundles.items():
        found = profile(bundle, grid, {"fa": volume}, min_points=1).along
        expected = buan(monkeypatch, grid, bundle, bundle, volume)
        assert found.status.tolist() == np.where(np.isnan(expected), "no_points", "ok").tolist()
        worst[name] = np.nanmax(np.abs(found.mean["fa"] - expected))
    name = max(worst, key=worst.get)
    print(f"largest difference from buan_profile over 19 bundles, all nodes: {worst[name]:.1e} ({name})")
    assert worst[name] < 1e-6


@settings(max_examples=15, deadline=None)
@given(ribbons(), seeds)
def test_means_spreads_and_counts_are_those_of_a_group_by(atlas, seed):
    grid, volume = build_grid(atlas), smooth_volume(seed % 5)
    bundle = ribbon(seed, n=25, length=70, bend=0.5)
    found = profile(bundle, grid, {"fa": volume}, min_points=1)
    table = by_hand(bundle, grid, volume)
    for cells, keys, index in (
        (found.along, "s", pd.RangeIndex(grid.ns)),
        (found.across, ["s", "r"], pd.MultiIndex.from_product([range(grid.ns), range(grid.nr)])),
    ):
        groups = table.groupby(keys)
        mean = groups["v"].mean()
        if keys == "s":
            mean = groups[["d", "v"]].apply(lambda g: np.average(g.v, weights=1 / (g.d + 1e-8)))
        np.testing.assert_allclose(cells.mean["fa"], mean.reindex(index), atol=1e-9)
        np.testing.assert_allclose(cells.sd["fa"], groups["v"].std().reindex(index), atol=1e-9)
        assert cells.n_points.tolist() == groups.size().reindex(index, fill_value=0).tolist()
        expected = groups["streamline"].nunique().reindex(index, fill_value=0)
        assert cells.n_streamlines.tolist() == expected.tolist()
    assert found.bundle_mean["fa"] == pytest.approx(table["v"].mean())


# Known answers


@settings(max_examples=15, deadline=None)
@given(ribbons(), st.floats(1e-4, 3))
def test_a_constant_map_gives_a_constant_profile(bundle, constant):
    grid = build_grid(bundle)
    found = profile(bundle, grid, {"fa": Volume(np.full((81,) * 3, constant), smooth_volume(0, 2.5).affine)})
    for cells in (found.along, found.across):
        ok = cells.status == "ok"
        assert ok.sum() > 3
        np.testing.assert_allclose(cells.mean["fa"][ok], constant, rtol=1e-12)
        np.testing.assert_allclose(cells.sd["fa"][ok], 0, atol=1e-12)
        assert np.isnan(cells.mean["fa"][~ok]).all()


def test_a_map_linear_along_a_straight_bundle_gives_a_linear_profile():
    # A step of 1/8 mm: points lie all but evenly about every interior node.
    bundle = ribbon(1, n=60, length=100, step=0.125)
    grid = build_grid(bundle)
    found = profile(bundle, grid, {"fa": volume_of(lambda x: 0.4 + 0.003 * x[..., 1])})
    inner = slice(2, grid.ns - 2)
    np.testing.assert_allclose(found.along.mean["fa"][inner], 0.4 + 0.003 * grid.nodes[inner, 1], atol=1e-4)
    across = cross(found, grid)[inner]
    filled = found.across.n_points.reshape(grid.ns, grid.nr)[inner] > 200
    difference = across - (0.4 + 0.003 * grid.nodes[inner, 1])[:, None]
    assert filled.sum() > 20
    assert np.abs(difference[filled]).max() < 3e-4


@pytest.mark.parametrize("slope", [0.01, -0.01])
def test_a_map_linear_across_a_straight_bundle_rises_or_falls_with_every_bin(slope):
    bundle = ribbon(2, n=150, length=80, thickness=0.5)
    grid = build_grid(bundle)
    found = profile(bundle, grid, {"fa": volume_of(lambda x: 0.5 + slope * x[..., 0])})
    rows = cross(found, grid)[grid.in_1d]
    assert grid.nr >= 4
    for row in rows:
        assert (np.sign(np.diff(row[np.isfinite(row)])) == np.sign(slope)).all()
    middle = np.nanmean(rows, axis=0)
    inner = slice(1, grid.nr - 1)
    core = grid.nodes[grid.in_1d, 0].mean()
    np.testing.assert_allclose(middle[inner], 0.5 + slope * (core + grid.r_mm[inner]), atol=0.012)


def test_a_profile_of_a_smooth_map_is_the_map_at_the_nodes():
    bundle = ribbon(3, n=200, length=90, bend=1.2, width=6, thickness=0.5)
    grid = build_grid(bundle)
    found = profile(bundle, grid, {"fa": smooth_volume(2)})
    inner = slice(2, grid.ns - 2)
    np.testing.assert_allclose(found.along.mean["fa"][inner], field(grid.nodes[inner], 2), atol=0.03)


# Invariances


@settings(max_examples=20, deadline=None)
@given(ribbons(), st.data())
def test_reversing_and_permuting_streamlines_changes_nothing(bundle, data):
    grid, volume = build_grid(ribbon(9, n=30, length=70, bend=0.6)), smooth_volume(1)
    other = data.draw(scrambles(bundle))
    one, two = (profile(b, grid, {"fa": volume}) for b in (bundle, other))
    assert_same_cells(one.along, two.along)
    assert_same_cells(one.across, two.across)
    assert one.volume_mm3 == two.volume_mm3
    assert one.share_jumping == two.share_jumping


def turned(found: Profile, grid: Grid, here: Grid, motion: np.ndarray) -> dict[str, np.ndarray]:
    """Profiles on a moved grid in the order of the grid it was moved from."""
    shift, turn = motion[:3, 3], motion[:3, :3]
    nodes = (grid.nodes - shift) @ turn
    along = 1 if np.abs(nodes - here.nodes).max() < 1e-2 else -1
    sign = 1 if ((grid.axes @ turn)[::along] * here.axes).sum() > 0 else -1
    shape = (grid.ns, grid.nr)
    return {
        "along": found.along.mean["fa"][::along],
        "across": found.across.mean["fa"].reshape(shape)[::along, ::sign],
        "n": found.across.n_points.reshape(shape)[::along, ::sign],
        "status": found.across.status.reshape(shape)[::along, ::sign],
    }


@settings(max_examples=20, deadline=None)
@given(ribbons(), right_motions())
def test_a_rigid_motion_of_everything_changes_nothing_but_the_direction_of_s_and_r(bundle, motion):
    volume = smooth_volume(1)
    here = build_grid(bundle)
    there = build_grid(moved(motion, bundle))
    one = turned(profile(bundle, here, {"fa": volume}), here, here, np.eye(4))
    two = turned(profile(moved(motion, bundle), there, {"fa": moved_volume(motion, volume)}), there, here, motion)
    assert one["n"].tolist() == two["n"].tolist()
    assert one["status"].tolist() == two["status"].tolist()
    for name in ("along", "across"):
        np.testing.assert_allclose(one[name], two[name], atol=1e-7)


@settings(max_examples=15, deadline=None)
@given(ribbons(), rigid_motions(), rigid_motions())
def test_any_rotation_of_atlas_space_and_of_the_maps_space_changes_next_to_nothing(bundle, motion, other):
    """Rounding of float32 coordinates may take a point over an edge; hence the tolerance."""
    volume = smooth_volume(1)
    here, there = build_grid(bundle), build_grid(moved(motion, bundle))
    one = turned(profile(bundle, here, {"fa": volume}), here, here, np.eye(4))
    found = profile(moved(motion, bundle), there, {"fa": moved_volume(other, volume)}, org=moved(other, bundle))
    two = turned(found, there, here, motion)
    assert np.abs(one["n"] - two["n"]).sum() <= 4
    for name in ("along", "across"):
        difference = np.abs(one[name] - two[name])
        assert np.nanmean(difference > 1e-5) < 0.05


def test_a_rigid_motion_of_the_real_subject_changes_nothing(shared_data):
    bundles, volume = mni_subject(shared_data)
    motion = np.eye(4)
    motion[:3, :3] = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]
    motion[:3, 0] *= np.linalg.det(motion[:3, :3])
    motion[:3, 3] = [5, -7, 3]
    for name in ("cstleft", "afleft", "ccbody"):
        bundle, atlas, here = bundles[name]
        there = build_grid(moved(motion, atlas), name)
        one = turned(profile(bundle, here, {"fa": volume}), here, here, np.eye(4))
        two = turned(profile(moved(motion, bundle), there, {"fa": moved_volume(motion, volume)}), there, here, motion)
        assert np.abs(one["n"] - two["n"]).sum() <= 1e-4 * len(bundle.points), name
        assert np.nanmax(np.abs(one["along"] - two["along"])) < 1e-5, name
        assert np.nanquantile(np.abs(one["across"] - two["across"]), 0.95) < 1e-5, name


@settings(max_examples=10, deadline=None)
@given(ribbons())
def test_several_maps_at_once_are_what_one_at_a_time_gives(bundle):
    grid = build_grid(bundle)
    # another voxel grid, and one with holes
    holes = Volume(np.where(np.random.default_rng(0).random((101,) * 3) < 0.05, np.nan, 1.0), smooth_volume().affine)
    shifted = moved_volume(np.array([[1, 0, 0, 3.0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), smooth_volume(0))
    maps = {
        "fa": smooth_volume(0),
        "shifted": shifted,
        "md": smooth_volume(1),
        "coarse": smooth_volume(2, 5.0),
        "holes": holes,
    }
    # the finest map decides on refinement: here none is needed
    together = profile(bundle, grid, maps)
    for name, volume in maps.items():
        alone = profile(bundle, grid, {name: volume})
        for one, other in ((together.along, alone.along), (together.across, alone.across)):
            np.testing.assert_array_equal(one.mean[name], other.mean[name])
            np.testing.assert_array_equal(one.sd[name], other.sd[name])
            assert (one.n_points >= other.n_points).all()
        assert together.bundle_mean[name] == alone.bundle_mean[name]


# What is missing, and why


def test_points_outside_the_field_of_view_are_left_out_and_never_count_as_zero():
    bundle = ribbon(1, n=60, length=100)
    grid, whole = build_grid(bundle), smooth_volume()
    cropped = Volume(whole.data[:, :55, :], whole.affine)  # ends at y = 8 mm
    one, two = (profile(bundle, grid, {"fa": v}) for v in (whole, cropped))
    inside = grid.nodes[:, 1] < 8 - grid.s_len
    beyond = grid.nodes[:, 1] > 8 + grid.s_len
    assert inside.sum() > 5
    assert beyond.sum() > 5
    np.testing.assert_array_equal(one.along.mean["fa"][inside], two.along.mean["fa"][inside])
    assert set(two.along.status[beyond]) == {"out_of_fov"}
    assert np.isnan(two.along.mean["fa"][beyond]).all()
    assert np.isnan(two.across.mean["fa"].reshape(grid.ns, -1)[beyond]).all()
    assert set(two.across.status.reshape(grid.ns, -1)[beyond].ravel()) <= {"out_of_fov", "few_points", "no_points"}
    share = (bundle.points[:, 1] > 8).mean()
    assert two.share_outside == pytest.approx(share, abs=1e-9)
    assert one.share_outside == 0
    # at the border the mean is that of the points inside: within the map's range, not pulled to 0
    edge = np.abs(grid.nodes[:, 1] - 8) <= grid.s_len
    values = two.along.mean["fa"][edge]
    assert np.nanmin(values) > whole.data.min()
    groups = by_hand(bundle, grid, cropped).groupby("s")[["d", "v"]]
    table = groups.apply(lambda g: np.average(g.v, weights=1 / (g.d + 1e-8)))
    found = two.along.mean["fa"][np.isfinite(two.along.mean["fa"])]
    np.testing.assert_allclose(found, table.reindex(np.flatnonzero(np.isfinite(two.along.mean["fa"]))), atol=1e-9)


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_points_where_the_map_has_no_value_are_left_out(hole):
    bundle = ribbon(1, n=60, length=100)
    grid, whole = build_grid(bundle), smooth_volume()
    data = whole.data.copy()
    data[:, 55:, :] = hole
    found = profile(bundle, grid, {"fa": Volume(data, whole.affine)})
    beyond = grid.nodes[:, 1] > 10 + grid.s_len
    assert set(found.along.status[beyond]) == {"masked"}
    assert np.isnan(found.along.mean["fa"][beyond]).all()
    assert np.isfinite(found.along.mean["fa"][found.along.status == "ok"]).all()
    assert found.share_outside == 0
    kept = bundle.points[:, 1] <= 8
    assert found.bundle_mean["fa"] == pytest.approx(sample(whole, bundle.points[kept]).mean())


@pytest.mark.parametrize("off", [0, np.nan])
def test_a_mask_removes_the_points_whose_nearest_voxel_it_leaves_out(off):
    bundle = ribbon(1, n=60, length=100)
    grid, whole = build_grid(bundle), smooth_volume()
    mask = np.full(whole.data.shape, 1.0)
    mask[:, 55:, :] = off  # voxel 54 is centred at 8 mm and reaches to 9
    found = profile(bundle, grid, {"fa": whole}, mask=Volume(mask, whole.affine))
    kept = bundle.points[:, 1] < 9
    assert found.along.n_points.sum() == kept.sum()
    assert found.bundle_mean["fa"] == pytest.approx(sample(whole, bundle.points[kept]).mean())
    assert set(found.along.status[grid.nodes[:, 1] > 9 + grid.s_len]) == {"masked"}


def test_a_mask_of_another_voxel_grid_is_looked_up_in_space():
    bundle = ribbon(1, n=60, length=100)
    grid = build_grid(bundle)
    mask = volume_of(lambda x: (x[..., 1] < 2.5).astype(float), voxel=5.0)
    found = profile(bundle, grid, {"fa": smooth_volume()}, mask=mask)
    assert found.along.n_points.sum() == (bundle.points[:, 1] < 2.5).sum()


def test_every_status_is_reached_where_it_should_be():
    bundle = ribbon(1, n=60, length=100)
    grid, whole = build_grid(bundle), smooth_volume()
    data = whole.data[:, :60, :].copy()  # out of the field of view above y = 18
    data[:, 45:52, :] = np.nan  # no value between -10 and 2
    # streamlines end at -30; three points lie near the node below
    part = bundle.with_points(bundle.points)
    lines = [x[x[:, 1] > -30] for x in np.split(part.points, part.offsets[1:-1])]
    low = int(np.argmin(np.abs(grid.nodes[:, 1] + 38)))
    lines.append(grid.nodes[low] + np.array([[0, 0, 0], [0, 1, 0], [0, 2, 0]]))
    found = profile(Bundle.from_streamlines(lines), grid, {"fa": Volume(data, whole.affine)}).along
    place = {"no_points": -48, "few_points": -38, "ok": -20, "masked": -4, "out_of_fov": 30}
    for status, y in place.items():
        node = int(np.argmin(np.abs(grid.nodes[:, 1] - y)))
        assert found.status[node] == status, (status, y)
        assert np.isnan(found.mean["fa"][node]) == (status != "ok")
    assert set(found.status) == set(place)
    assert found.n_points[low] == 3


def test_each_map_has_its_own_field_of_view():
    bundle = ribbon(1, n=60, length=100)
    grid, whole = build_grid(bundle), smooth_volume()
    cropped = Volume(whole.data[:, :55, :], whole.affine)
    found = profile(bundle, grid, {"fa": whole, "md": cropped})
    beyond = grid.nodes[:, 1] > 8 + grid.s_len
    assert set(found.along.status[beyond]) == {"out_of_fov"}
    assert np.isfinite(found.along.mean["fa"][beyond]).sum() >= 4
    assert np.isnan(found.along.mean["md"][beyond]).all()
    assert (found.along.n_points[beyond] > 0).all()
    assert found.share_outside == 0


@pytest.mark.parametrize("min_points", [1, 5, 30])
def test_cells_with_fewer_valid_points_than_the_minimum_are_missing(min_points):
    bundle = ribbon(1, n=30)
    grid = build_grid(bundle)
    found = profile(bundle, grid, {"fa": smooth_volume()}, min_points=min_points).across
    assert ((found.n_points >= min_points) == (found.status == "ok")).all()
    assert (np.isfinite(found.mean["fa"]) == (found.status == "ok")).all()
    assert (found.status[(found.n_points > 0) & (found.n_points < min_points)] == "few_points").all()
    assert (found.status[found.n_points == 0] == "no_points").all()


def test_one_point_has_a_mean_and_no_spread():
    bundle = ribbon(1, n=30)
    grid = build_grid(bundle)
    single = Bundle.from_streamlines([grid.nodes[4:5]])
    found = profile(single, grid, {"fa": smooth_volume()}, min_points=1).along
    assert found.mean["fa"][4] == pytest.approx(sample(smooth_volume(), grid.nodes[4:5])[0], abs=1e-6)
    assert np.isnan(found.sd["fa"]).all()


@pytest.mark.parametrize("lines", [[], [np.zeros((0, 3))] * 3])
def test_a_bundle_without_points_has_no_points_everywhere(lines):
    grid = build_grid(ribbon(1))
    found = profile(Bundle.from_streamlines(lines), grid, {"fa": smooth_volume()})
    for cells in (found.along, found.across):
        assert set(cells.status) == {"no_points"}
        assert np.isnan(cells.mean["fa"]).all()
        assert not cells.n_points.any()
        assert not cells.n_streamlines.any()
    assert np.isnan(found.bundle_mean["fa"])
    assert found.volume_mm3 == found.share_outside == found.share_jumping == 0


# rec and org, coarse streamlines, sizes


def test_rec_places_the_points_and_org_samples_them():
    rec = ribbon(1, n=60)
    grid, volume = build_grid(rec), smooth_volume()
    org = moved(np.diag([0.9, 1.1, 1.05, 1]), rec)
    found = profile(rec, grid, {"fa": volume}, org=org)
    where, values = assign(grid, rec), sample(volume, org.points)
    inside = where.s == 6
    expected = np.average(values[inside], weights=1 / (where.d[inside] + 1e-8))
    assert found.along.mean["fa"][6] == pytest.approx(expected, abs=1e-12)
    assert not found.resampled


def test_unequal_points_are_paired_by_arc_length_and_the_profile_is_nearly_the_same():
    rec = ribbon(1, n=60, bend=0.8)
    grid, volume = build_grid(rec), smooth_volume()
    thin = Bundle.from_streamlines([x[:: 1 + k % 2] for k, x in enumerate(np.split(rec.points, rec.offsets[1:-1]))])
    plain, paired = (profile(rec, grid, {"fa": volume}, org=org) for org in (rec, thin))
    assert paired.resampled
    assert paired.along.n_points.sum() == pytest.approx(len(thin.points), abs=0.2 * len(rec.points))
    inner = grid.in_1d
    np.testing.assert_allclose(paired.along.mean["fa"][inner], plain.along.mean["fa"][inner], atol=0.03)


def test_coarse_streamlines_are_refined_so_that_no_node_goes_empty():
    fine = ribbon(1, n=60, length=100)
    lines = np.split(fine.points, fine.offsets[1:-1])
    coarse = Bundle.from_streamlines([np.vstack([x[:-1:9], x[-1:]]) for x in lines])
    grid, volume = build_grid(fine), smooth_volume()
    one, two = (profile(b, grid, {"fa": volume}) for b in (fine, coarse))
    assert two.resampled
    assert not one.resampled
    # segments of 7.2 mm in eight pieces, none longer than half a voxel
    assert two.along.n_points.sum() == pytest.approx(fine.lengths.sum() / 0.9 + 60, rel=0.02)
    inner = grid.in_1d
    np.testing.assert_allclose(two.along.mean["fa"][inner], one.along.mean["fa"][inner], atol=0.01)


def test_packaged_bundles_are_coarse_and_refined_to_half_a_voxel():
    bundle = load_people()[0]["AF_L"]
    grid = build_grid(bundle)
    volume = volume_of(field, voxel=4.0, half=160.0)
    found = profile(bundle, grid, {"fa": volume})
    assert found.resampled
    assert found.along.n_points.sum() == pytest.approx(bundle.lengths.sum() / 2.0, rel=0.25)
    assert (found.along.status[grid.in_1d] == "ok").all()


def test_a_grid_of_one_node_has_a_profile():
    bundle = ribbon(1, n=60)
    found = profile(bundle, build_grid(bundle, ns=1), {"fa": smooth_volume()})
    assert found.along.n_points.tolist() == [len(bundle.points)]
    assert not found.resampled


def test_the_volume_is_that_of_the_voxels_the_points_lie_in():
    bundle = ribbon(1, n=60)
    volume = smooth_volume(0, 4.0)
    found = profile(bundle, build_grid(bundle), {"fa": volume})
    voxels = {tuple(v) for v in np.floor((bundle.points + 100) / 4 + 0.5).astype(int)}
    assert found.volume_mm3 == pytest.approx(64 * len(voxels))


def test_no_input_is_changed():
    bundle, volume = ribbon(1), smooth_volume()
    grid = build_grid(bundle)
    before = (bundle.points.copy(), volume.data.copy(), grid.checksum)
    profile(bundle, grid, {"fa": volume}, mask=Volume(np.ones(volume.data.shape), volume.affine))
    assert np.array_equal(before[0], bundle.points)
    assert np.array_equal(before[1], volume.data)
    assert before[2] == replace(grid).checksum


# --- masks, lesions, weights of streamlines ---------------------------------------------------------------------------


def test_a_streamline_of_weight_2_counts_as_two():
    bundle, grid, volume = _weighable()
    weights = np.where(np.arange(bundle.n_streamlines) % 3 == 0, 2.0, 1.0)
    doubled = bundle.take(np.repeat(np.arange(bundle.n_streamlines), weights.astype(int)))
    one = profile(bundle, grid, {"v": volume}, weights=weights)
    other = profile(doubled, grid, {"v": volume})
    for a, b in ((one.along, other.along), (one.across, other.across)):
        np.testing.assert_allclose(a.mean["v"], np.where(np.isnan(a.mean["v"]), np.nan, b.mean["v"]), rtol=1e-10)
    np.testing.assert_allclose(one.bundle_mean["v"], other.bundle_mean["v"], rtol=1e-12)


def test_weighted_means_equal_a_group_by():
    bundle, grid, volume = _weighable()
    weights = np.random.default_rng(3).uniform(0.1, 3, bundle.n_streamlines)
    _, bundle, _ = refine(bundle, bundle, min(grid.s_len, volume.voxel_size) / 2)
    points = by_hand(bundle, grid, volume)
    points["w"] = weights[points["streamline"]]
    found = profile(bundle, grid, {"v": volume}, weights=weights, min_points=1)
    near = points["w"] / (points["d"] + 1e-8)
    along = (points["v"] * near).groupby(points["s"]).sum() / near.groupby(points["s"]).sum()
    np.testing.assert_allclose(found.along.mean["v"][along.index], along, rtol=1e-10)
    cell = points["s"] * grid.nr + points["r"]
    across = (points["v"] * points["w"]).groupby(cell).sum() / points["w"].groupby(cell).sum()
    np.testing.assert_allclose(found.across.mean["v"][across.index], across, rtol=1e-10)


def test_equal_weights_change_nothing_and_a_wrong_number_is_refused():
    bundle, grid, volume = _weighable()
    plain = profile(bundle, grid, {"v": volume})
    same = profile(bundle, grid, {"v": volume}, weights=np.full(bundle.n_streamlines, 0.7))
    assert_same_cells(plain.along, same.along)
    assert plain.along.lesion_load is None
    with pytest.raises(ValueError, match="there are 2 weights for"):
        profile(bundle, grid, {"v": volume}, weights=np.ones(2))


def test_excluding_is_including_the_rest_and_the_load_counts_every_point():
    bundle, grid, volume = _weighable()
    half = np.zeros(volume.data.shape, np.float32)
    half[: half.shape[0] // 2] = 1
    mask, rest = Volume(half, volume.affine), Volume(1 - half, volume.affine)
    without = profile(bundle, grid, {"v": volume}, exclude=mask, lesion=mask)
    assert_same_cells(without.along, profile(bundle, grid, {"v": volume}, mask=rest).along)
    every = profile(bundle, grid, {"v": volume}, lesion=mask)
    np.testing.assert_array_equal(without.along.lesion_load, every.along.lesion_load)
    _, fine, _ = refine(bundle, bundle, min(grid.s_len, volume.voxel_size) / 2)
    inside = np.nan_to_num(sample_nearest(mask, fine.points)) != 0
    share = pd.Series(inside).groupby(assign(grid, fine).s).mean()
    np.testing.assert_allclose(every.along.lesion_load[share.index], share, rtol=1e-12)
    assert every.lesion_load == pytest.approx(inside.mean())


def _weighable() -> tuple[Bundle, Grid, Volume]:
    """A ribbon, its grid, and a smooth map around it."""
    bundle = ribbon(n=40)
    return bundle, build_grid(bundle, "ribbon"), smooth_volume()
