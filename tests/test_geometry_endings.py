"""geometry.endings: regions at the ends of streamlines, labels of unordered pairs, counts between regions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectra_bids.bundle import Bundle
from spectra_bids.geometry.endings import end_regions, pair_ends
from spectra_bids.geometry.labels import LabelVolume


def regions(shape=(20, 20, 20), voxel=2.0, seed=None) -> LabelVolume:
    """Two slabs at the ends of x, labels 3 and 7; or labels 0 to 4 at random."""
    data = np.zeros(shape, np.int16)
    data[:4], data[-4:] = 3, 7
    if seed is not None:
        data = np.random.default_rng(seed).integers(0, 5, shape).astype(np.int16)
    affine = np.diag([-voxel, voxel, voxel, 1.0])
    affine[:3, 3] = [voxel * shape[0] / 2, -voxel * shape[1] / 2, -voxel * shape[2] / 2]
    return LabelVolume(data, affine, {3: "right", 7: "left"}, "slabs")


def lines(seed: int, n: int = 60) -> Bundle:
    rng = np.random.default_rng(seed)
    return Bundle.from_streamlines([rng.uniform(-18, 16, (rng.integers(2, 9), 3)) for _ in range(n)])


def test_a_negative_radius_is_refused():
    with pytest.raises(ValueError, match="at least 0 mm"):
        end_regions(lines(0), regions(), -1)


def test_ends_have_the_regions_that_one_can_write_down():
    # slab 3 covers x of 14 ... 20 mm (centres), slab 7 -12 ... -18 mm
    ends = [(16, -14), (-14, 16), (16, 18), (0, 16), (100, -14)]
    bundle = Bundle.from_streamlines([np.array([[a, 0, 0], [0, 0, 0], [b, 0, 0]], float) for a, b in ends])
    found = pair_ends(end_regions(bundle, regions()))
    assert found.ends.tolist() == [[3, 7], [7, 3], [3, 3], [0, 3], [0, 7]]
    assert found.pairs.tolist() == [[3, 3], [3, 7]]
    assert found.labels.tolist() == [2, 2, 1, 0, 0]
    assert found.counts.tolist() == [1, 2]
    assert found.unlabelled_share == 0.4
    assert found.connectivity(np.array([3, 7])).tolist() == [[1, 2], [2, 0]]


@pytest.mark.parametrize("seed", range(3))
def test_counts_are_those_of_dipys_connectivity_matrix(seed):
    from dipy.tracking.utils import connectivity_matrix

    volume, bundle = regions(seed=seed), lines(seed)
    theirs = connectivity_matrix(np.split(bundle.points, bundle.offsets[1:-1]), volume.affine, volume.data)
    ours = pair_ends(end_regions(bundle, volume))
    labels = np.arange(1, 5)
    # DIPY counts ends in no region as ends in region 0; ours have no label
    np.testing.assert_array_equal(ours.connectivity(labels), theirs[1:, 1:])
    none = theirs[0].sum()
    assert (ours.labels == 0).sum() == none > 0


def test_dipy_counts_the_same_on_real_bundles(shared_data, tmp_path):
    from dipy.tracking.utils import connectivity_matrix
    from dsi2_project import REGIONS, make_project

    from spectra_bids.io.labels import read_labels
    from spectra_bids.io.tractograms import read_bundle

    make_project(shared_data / "real-mni", tmp_path / "project", n=1)
    volume = read_labels([tmp_path / "project/atlases/scale33.nii.gz"])
    bundle = read_bundle(tmp_path / "project/subj01/QSDR.nsm.trk")
    theirs = connectivity_matrix(np.split(bundle.points, bundle.offsets[1:-1]), volume.affine, volume.data)
    ours = pair_ends(end_regions(bundle, volume)).connectivity(np.arange(1, len(REGIONS) + 1))
    np.testing.assert_array_equal(ours, theirs[1:, 1:])
    assert ours.sum() > 50


def test_an_end_near_a_region_takes_it_and_one_far_from_all_does_not():
    volume = regions()  # the nearest centre of slab 3 to x = 10 is at 14 mm
    bundle = Bundle.from_streamlines([np.array([[10.0, 0, 0], [-15, 0, 0]])])
    assert end_regions(bundle, volume, 3.9).tolist() == [[0, 7]]
    assert end_regions(bundle, volume, 4.0).tolist() == [[3, 7]]
    outside = Bundle.from_streamlines([np.array([[23.0, 0, 0], [-15, 0, 0]])])  # beyond the volume
    assert end_regions(outside, volume, 4).tolist() == [[3, 7]]


def test_the_nearest_region_is_that_of_a_search_through_all_voxels():
    volume, bundle = regions(seed=1), lines(4)
    data = volume.data * (np.random.default_rng(0).random(volume.data.shape) < 0.02)
    sparse = LabelVolume(data, volume.affine, {}, "")
    ijk = np.argwhere(data)
    centres = ijk @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    found = end_regions(bundle, sparse, 5.0)
    for k in range(bundle.n_streamlines):
        for end, point in enumerate(bundle.points[[bundle.offsets[k], bundle.offsets[k + 1] - 1]]):
            away = np.linalg.norm(centres - point, axis=1)
            expected = data[tuple(ijk[away.argmin()])] if away.min() <= 5 else 0
            if sparse.at(point[None])[0]:
                expected = sparse.at(point[None])[0]
            assert found[k, end] == expected


def test_regions_that_are_equally_near_give_the_smallest_number():
    data = np.zeros((5, 1, 1), np.int16)
    data[0], data[4] = 9, 2
    bundle = Bundle.from_streamlines([np.array([[2.0, 0, 0], [0, 0, 0]])])
    assert end_regions(bundle, LabelVolume(data, np.eye(4), {}, ""), 2.0)[0, 0] == 2


@given(st.integers(0, 500), st.floats(0, 6))
def test_direction_changes_no_label_and_a_wider_search_takes_none_away(seed, radius):
    volume, bundle = regions(seed=seed % 7), lines(seed, 20)
    one = pair_ends(end_regions(bundle, volume, radius))
    other = pair_ends(end_regions(bundle.reversed(), volume, radius))
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(one.pairs, other.pairs)
    wider = pair_ends(end_regions(bundle, volume, radius + 2))
    assert (wider.labels[one.labels > 0] > 0).all()


def test_streamlines_without_points_have_no_label():
    bundle = Bundle.from_streamlines([np.empty((0, 3)), np.array([[15.0, 0, 0]])])
    found = pair_ends(end_regions(bundle, regions()))
    assert found.labels.tolist() == [0, 1]  # a single point starts and ends where it is
    empty = pair_ends(end_regions(Bundle.from_streamlines([]), regions(), 3))
    assert len(empty.labels) == 0
    assert np.isnan(empty.unlabelled_share)
    far = LabelVolume(np.zeros((3, 3, 3), np.int16), np.eye(4), {}, "")
    assert end_regions(bundle, far, 4).tolist() == [[0, 0], [0, 0]]
