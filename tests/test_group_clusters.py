"""group.clusters: where rejected cells lie, by weight, extent, side, part of the tract and region of an atlas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from spectra_bids.bundle import Bundle
from spectra_bids.columns import CLUSTERS, names
from spectra_bids.geometry.grid import Grid, build_grid, nodes_only
from spectra_bids.geometry.labels import LabelVolume
from spectra_bids.group.clusters import Anatomy, find_clusters

NAN = float("nan")


def rejected(cells: list[tuple[str, int, int, float, float]]) -> pd.DataFrame:
    rows = [
        {"bundle": b, "scalar": "fa", "contrast": "group", "s": s, "r": r, "p": p, "q": 2 * p, "rejected": p < 0.05,
         "value": v, "estimate": v / 10, "statistic": "t", "x_mm": 10.0 * s, "y_mm": 1.0 * r, "z_mm": 3.0}
        for b, s, r, p, v in cells
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_clusters_are_ranked_over_bundles_and_placed_by_weight():
    strong = [("B", 3, 0, 1e-6, -9), ("B", 4, 0, 1e-2, -3), ("B", 4, 1, 1e-4, -5)]
    found = find_clusters(rejected([("A", 0, 0, 0.01, 2), ("A", 1, 0, 0.5, 0), ("A", 2, 0, 0.01, 2), *strong]))
    assert [(c["bundle"], c["cluster"], c["n_cells"]) for c in found] == [("B", 1, 3), ("A", 2, 1), ("A", 3, 1)]
    first = found[0]
    assert first["weight"] == pytest.approx(12)
    assert first["x_mm"] == pytest.approx((6 * 30 + 2 * 40 + 4 * 40) / 12)
    assert first["y_mm"] == pytest.approx(4 / 12)
    assert (first["s_low"], first["s_high"], first["r_low"], first["r_high"]) == (3, 4, 0, 1)
    assert first["direction"] == "-"
    assert (first["p_peak"], first["value_peak"], first["estimate_peak"]) == (1e-6, -9, -0.9)
    assert found[1]["direction"] == "+"


def test_a_p_value_of_zero_has_a_finite_weight():
    (cluster,) = find_clusters(rejected([("A", 0, 0, 0.0, 40), ("A", 1, 0, 0.01, 3)]))
    assert np.isfinite(cluster["weight"])
    assert cluster["x_mm"] == pytest.approx(0, abs=0.1)


def test_an_f_test_has_no_direction():
    cells = rejected([("A", 0, 0, 0.001, 9)]).assign(statistic="F", estimate=NAN)
    assert find_clusters(cells)[0]["direction"] == "n/a"


def ribbon() -> Grid:
    """A straight tract of the left hemisphere, from behind (y = -45) to the front, 20 mm high."""
    lines = []
    for offset in np.linspace(-10, 10, 21):
        lines.append(np.column_stack([np.full(91, -30.0), np.linspace(-45, 45, 91), np.full(91, offset)]))
    return build_grid(Bundle.from_streamlines(lines), "A", s_len=5, r_len=5)


def cells_of(grid: Grid, s: list[int], r: list[int] | None, p: list[float]) -> pd.DataFrame:
    """Rejected cells as the fits place them."""
    found = rejected([("A", k, 0, p_, -3.0) for k, p_ in zip(s, p, strict=True)])
    where = grid.centres_1d[s] if r is None else grid.centres_2d[s, r]
    found[["x_mm", "y_mm", "z_mm"]] = where
    return found.drop(columns="r") if r is None else found.assign(r=r)


def front_and_back(split: float) -> LabelVolume:
    """1 mm labels: "back" below y = split, "front" up to y = 30, nothing beyond."""
    affine = np.eye(4)
    affine[:3, 3] = [-60, -60, -30]
    y = -60 + np.arange(121)
    data = np.where(y < split, 1, np.where(y < 30, 2, 0)).astype(np.int16)
    return LabelVolume(np.tile(data[None, :, None], (61, 1, 61)), affine, {1: "back", 2: "front"}, "halves")


def test_rows_have_the_columns_of_the_contract():
    grid = ribbon()
    cells = cells_of(grid, [3, 4], [1, 1], [0.01, 0.001])
    assert set(find_clusters(cells, Anatomy({"A": grid}, (front_and_back(0),)))[0]) == set(names(CLUSTERS))
    assert set(find_clusters(cells)[0]) < set(names(CLUSTERS))


def test_a_cluster_says_how_far_it_reaches_and_where():
    grid = ribbon()
    (row,) = find_clusters(cells_of(grid, [2, 3, 3], [1, 1, 2], [0.01, 1e-6, 0.02]), Anatomy({"A": grid}))
    assert row["length_mm"] == pytest.approx(2 * grid.s_len)
    assert row["width_mm"] == pytest.approx(grid.edges[3] - grid.edges[1])
    assert row["area_mm2"] == pytest.approx(3 * grid.s_len * grid.r_len)
    assert (row["side"], row["place"]) == ("left", "posterior third")
    peak = [row[f"{axis}_peak_mm"] for axis in "xyz"]
    np.testing.assert_allclose(peak, grid.centres_2d[3, 1])
    assert "labels" not in row


def test_the_cells_atlas_points_weigh_the_regions():
    grid = ribbon()
    s, r = [2, 3, 4, 5], [1, 1, 1, 1]
    y, n = grid.centres_2d[s, r][:, 1], grid.n_points_2d[s, r]
    anatomy = Anatomy({"A": grid}, (front_and_back(float(y[:2].max()) + 1),))
    (row,) = find_clusters(cells_of(grid, s, r, [0.01, 1e-6, 0.01, 0.01]), anatomy)
    back = 100 * n[:2].sum() / n.sum()
    assert row["label_peak"] == "back"
    assert row["labels"] in (f"back {np.floor(back):.0f} %; front {np.ceil(100 - back):.0f} %",
                             f"back {np.ceil(back):.0f} %; front {np.floor(100 - back):.0f} %",
                             f"front {np.ceil(100 - back):.0f} %; back {np.floor(back):.0f} %")  # fmt: skip


def test_nodes_are_labelled_by_all_cells_across_them_and_outside_counts():
    grid = ribbon()
    last = grid.ns - 1
    anatomy = Anatomy({"A": grid}, (front_and_back(0),))
    nodes = list(range(last - 5, last + 1))
    (row,) = find_clusters(cells_of(grid, nodes, None, [1e-6, *([0.01] * 5)]), anatomy)
    y, n = grid.centres_2d[nodes, :, 1], grid.n_points_2d[nodes]
    inside = n[np.rint(y) < 30].sum() / n.sum()
    assert 0.1 < inside < 0.9
    found = {
        part.rpartition(" ")[0].rpartition(" ")[0]: int(part.split()[-2]) for part in str(row["labels"]).split("; ")
    }
    assert set(found) == {"front", "OUTSIDE"}
    assert found["front"] == pytest.approx(100 * inside, abs=1)
    assert sum(found.values()) == 100
    assert row["label_peak"] == "front"


def test_two_atlases_are_both_named():
    grid = ribbon()
    other = LabelVolume(front_and_back(0).data * 0 + 4, front_and_back(0).affine, {4: "all"}, "other")
    (row,) = find_clusters(cells_of(grid, [3], [1], [0.01]), Anatomy({"A": grid}, (front_and_back(0), other)))
    assert row["labels"] == "halves: back 100 % | other: all 100 %"
    assert row["label_peak"] == "halves: back | other: all"


def test_of_imported_profiles_the_place_is_not_made_up():
    cells = cells_of(ribbon(), [2, 3], None, [0.01, 0.001]).assign(x_mm=NAN, y_mm=NAN, z_mm=NAN)
    (row,) = find_clusters(cells, Anatomy({"A": nodes_only("A", np.ones(18, bool))}, (front_and_back(0),)))
    assert row["side"] is None
    assert row["place"] is None
    assert "labels" not in row
    assert row["n_cells"] == 2


def test_a_real_bundle_lies_in_its_own_mask(shared_data):
    """Masks of atlas bundles as labels, 4 mm: what is rejected all along a bundle lies in that bundle's label."""
    from scipy.ndimage import binary_dilation

    from spectra_bids.io.tractograms import read_bundle

    files = (
        "Association_ArcuateFasciculusL",
        "ProjectionBrainstem_CorticospinalTractR",
        "Association_UncinateFasciculusL",
    )
    affine = np.diag([-4.0, 4, 4, 1])
    affine[:3, 3] = [90, -126, -72]
    data = np.zeros((46, 55, 46), np.int16)
    grids = {}
    for k, name in enumerate(files, start=1):
        bundle = read_bundle(shared_data / "atlas-hcp1065" / f"{name}.trk")
        grids[name] = build_grid(bundle, name)
        mask = np.zeros(data.shape, bool)
        mask[tuple(np.rint((bundle.points - affine[:3, 3]) / np.diag(affine)[:3]).astype(int).T)] = True
        data[binary_dilation(mask) & (data == 0)] = k
    labels = LabelVolume(data, affine, dict(enumerate(files, start=1)), "masks")
    for name, grid in grids.items():
        s, r = np.nonzero(grid.in_2d)
        cells = rejected([(name, int(a), int(b), 1e-3, 4.0) for a, b in zip(s, r, strict=True)])
        cells[["x_mm", "y_mm", "z_mm"]] = grid.centres_2d[s, r]
        (row, *_) = find_clusters(cells, Anatomy(grids, (labels,)))
        first = str(row["labels"]).split("; ")[0]
        assert first.startswith(name)
        assert int(first.split()[-2]) >= 90
