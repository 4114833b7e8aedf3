"""inference.peaks: clusters and local maxima against nilearn on a real map, then tops and shapes by construction."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, label

from spectra_bids.columns import PEAKS, names
from spectra_bids.geometry.labels import LabelVolume
from spectra_bids.inference.peaks import find_clusters, find_peaks, peak_table, regions

AFFINE = np.array([[-2.0, 0, 0, 20], [0, 2, 0, -30], [0, 0, 2, -10], [0, 0, 0, 1]])
FOLDER = "real-mni/derivatives/tractseg/sub-tractseg/dwi"
REAL = f"{FOLDER}/sub-tractseg_space-MNI152NLin6Asym_model-tensor_param-fa_dwimap.nii.gz"


def field(*tops: tuple[tuple[int, int, int], float], shape=(20, 20, 20), sigma=1.5) -> np.ndarray:
    """Bumps of the given heights."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    return sum(h * np.exp(-((grid - np.array(at)) ** 2).sum(axis=-1) / (2 * sigma**2)) for at, h in tops)


@pytest.mark.parametrize(
    ("shape", "threshold", "connectivity"), [((4, 4), 1.0, 18), ((4, 4, 4), 0.0, 18), ((4, 4, 4), 1.0, 8)]
)
def test_what_makes_no_sense_is_refused(shape, threshold, connectivity):
    with pytest.raises(ValueError, match="3D volume, a threshold above 0 and 6, 18 or 26"):
        find_clusters(np.ones(shape), threshold, connectivity=connectivity)


def z_maps(shared_data):
    """A z-like map out of the real FA, and smooth noise with the real brain's shape and affine."""
    import nibabel as nib

    image = nib.load(shared_data / REAL)
    fa = image.get_fdata()
    brain = fa > 0
    z = np.where(brain, (fa - fa[brain].mean()) / fa[brain].std(), 0)
    noise = gaussian_filter(np.random.default_rng(3).normal(size=fa.shape), 1.5) * brain
    return image.affine, (gaussian_filter(z, 0.8), 2.0), (noise / noise[brain].std(), 2.5)


def nilearn_rows(stat, affine, threshold, k, two_sided, min_distance=8.0):
    import nibabel as nib
    from nilearn.reporting import get_clusters_table

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = get_clusters_table(
            nib.Nifti1Image(stat, affine),
            threshold,
            cluster_threshold=k,
            two_sided=two_sided,
            min_distance=min_distance,
        )
    first = table[[str(i).isdigit() for i in table["Cluster ID"]]]
    return table, first


@pytest.mark.parametrize("which", [1, 2], ids=["FA", "noise"])
@pytest.mark.parametrize("two_sided", [False, True])
def test_clusters_their_peaks_and_sizes_are_nilearns(shared_data, which, two_sided):
    affine, *maps = z_maps(shared_data)
    stat, threshold = maps[which - 1]
    _, expected = nilearn_rows(stat, affine, threshold, 10, two_sided)
    found = find_clusters(stat, threshold, connectivity=6, extent=10, two_sided=two_sided)
    peaks = find_peaks(stat, affine, found, "clusters")
    assert len(peaks) == len(expected) > 5
    np.testing.assert_allclose([p.value for p in peaks], expected["Peak Stat"].astype(float), rtol=1e-12)
    np.testing.assert_allclose([p.mm for p in peaks], expected[["X", "Y", "Z"]].astype(float), atol=1e-9)
    np.testing.assert_allclose([int(p.volume) for p in peaks], expected["Cluster Size (mm3)"].astype(float), atol=1)


@pytest.mark.parametrize("which", [1, 2], ids=["FA", "noise"])
def test_every_local_maximum_is_nilearns(shared_data, which):
    """With a distance that parts nothing, nilearn lists a cluster's peak and the three highest others."""
    affine, *maps = z_maps(shared_data)
    stat, threshold = maps[which - 1]
    expected, _ = nilearn_rows(stat, affine, threshold, 10, False, min_distance=1e-6)
    found = find_clusters(stat, threshold, connectivity=6, extent=10)
    peaks = find_peaks(stat, affine, found, "maxima", most=4)
    assert len(peaks) == len(expected)
    np.testing.assert_allclose([p.mm for p in peaks], expected[["X", "Y", "Z"]].astype(float), atol=1e-9)
    np.testing.assert_allclose([p.value for p in peaks], expected["Peak Stat"].astype(float), rtol=1e-12)


def test_of_two_sub_peaks_nilearn_agrees_where_each_is_near_one_larger_at_most():
    stat = field(((10, 10, 4), 9), ((10, 10, 9), 7), ((10, 10, 15), 8), sigma=2.0)
    expected, _ = nilearn_rows(stat, AFFINE, 1.0, 0, False)
    peaks = find_peaks(stat, AFFINE, find_clusters(stat, 1.0, connectivity=6), "extended")
    assert len(peaks) == 3
    np.testing.assert_allclose([p.mm for p in peaks], expected[["X", "Y", "Z"]].astype(float), atol=1e-9)


def test_a_sub_peak_too_near_a_larger_one_stays_out_where_nilearn_lets_it_in_again():
    """nilearn asks only the last peak that it kept: one near the first and far from the second is listed."""
    stat = field(((10, 10, 4), 9), ((10, 10, 7), 7), ((10, 10, 15), 8), sigma=1.1)
    clusters = find_clusters(stat, 0.001, connectivity=6)
    every = find_peaks(stat, AFFINE, clusters, "maxima")
    assert [p.index for p in every] == [(10, 10, 4), (10, 10, 15), (10, 10, 7)]
    assert [p.index for p in find_peaks(stat, AFFINE, clusters, "extended")] == [(10, 10, 4), (10, 10, 15)]
    expected, _ = nilearn_rows(stat, AFFINE, 0.001, 0, False)
    assert len(expected) == 3  # if this fails, nilearn was mended: compare with it


def test_on_a_real_map_sub_peaks_are_apart_and_every_other_maximum_is_near_a_higher_one(shared_data):
    affine, (stat, threshold), _ = z_maps(shared_data)
    clusters = find_clusters(stat, threshold, extent=5)
    kept, every = (find_peaks(stat, affine, clusters, mode) for mode in ("extended", "maxima"))
    assert len(kept) < len(every)
    for peak in every:
        others = [np.linalg.norm(np.subtract(p.mm, peak.mm)) for p in kept if p.cluster == peak.cluster]
        higher = [
            d
            for d, p in zip(others, (p for p in kept if p.cluster == peak.cluster), strict=True)
            if p.value >= peak.value
        ]
        inside = any(p.index == peak.index for p in kept)
        assert (sorted(others)[1:2] or [99])[0] > 8 if inside else min(higher) <= 8


@pytest.mark.parametrize(("connectivity", "n"), [(6, 3), (18, 2), (26, 1)])
def test_neighbours_share_a_face_an_edge_or_a_corner(connectivity, n):
    stat = np.zeros((6, 6, 6))
    stat[1, 1, 1], stat[2, 2, 1], stat[3, 3, 2] = 5, 4, 3
    found = find_clusters(stat, 2.0, connectivity=connectivity)
    assert len(found.sizes) == n
    assert found.labels.max() == n


def test_the_extent_drops_small_clusters_and_numbers_the_others_by_height():
    stat = np.zeros((9, 9, 9))
    stat[0, 0, :3], stat[4, 4, :2], stat[8, 8, :4], stat[0, 8, :3] = 3, 9, 5, -7
    found = find_clusters(stat, 2.0, extent=3, two_sided=True)
    assert found.sizes.tolist() == [4, 3, 3]
    assert found.signs.tolist() == [1, 1, -1]
    assert [int(found.labels[v]) for v in ((8, 8, 0), (0, 0, 0), (0, 8, 0), (4, 4, 0))] == [1, 2, 3, 0]
    assert [p.value for p in find_peaks(stat, AFFINE, found, "clusters")] == [5, 3, -7]


def test_the_threshold_itself_is_not_above_it_and_nan_is_in_no_cluster():
    stat = np.array([2.0, 2.1, np.nan, 3.0]).reshape(4, 1, 1)
    assert find_clusters(stat, 2.0).labels.ravel().tolist() == [0, 2, 0, 1]
    assert find_clusters(stat, 9.0).sizes.tolist() == []
    assert find_peaks(stat, AFFINE, find_clusters(stat, 9.0)) == ()


def test_a_flat_top_is_one_peak_inside_it():
    stat = np.zeros((9, 9, 9))
    stat[2:7, 4, 4] = 3
    stat[2, 4:7, 4] = 3  # an L, whose middle lies outside
    (peak,) = find_peaks(stat, AFFINE, find_clusters(stat, 1.0), "maxima")
    assert stat[peak.index] == 3
    assert peak.n_voxels == 7
    assert peak.volume == pytest.approx(56)


def test_tops_are_those_of_scikit_image_flat_or_not():
    """skimage.morphology.local_maxima of maps of few whole numbers, full of flat parts."""
    from skimage.morphology import local_maxima

    for seed in range(20):
        stat = gaussian_filter(np.random.default_rng(seed).normal(size=(12, 12, 12)), 1.0)
        stat = np.round(stat / stat.std() * 2) + 20.0
        peaks = find_peaks(stat, AFFINE, find_clusters(stat, 1.0), "maxima")
        expected = local_maxima(stat, connectivity=3, allow_borders=True)
        flat, n = label(expected, np.ones((3, 3, 3)))
        assert sorted(flat[p.index] for p in peaks) == list(range(1, n + 1))


def test_a_flat_part_below_a_top_is_no_peak():
    stat = np.zeros((12, 12, 12))
    stat[1:8, 1:8, 1:8] = 3
    stat[8, 4, 4] = 6
    (peak,) = find_peaks(stat, AFFINE, find_clusters(stat, 1.0), "maxima")
    assert peak.index == (8, 4, 4)


def halves() -> LabelVolume:
    """1 mm labels: region 1 for x < 0, region 2 for 0 <= x < 4, nothing beyond."""
    affine = np.eye(4)
    affine[:3, 3] = [-20, -40, -20]
    x = affine[0, 3] + np.arange(41)
    data = np.where(x < 0, 1, np.where(x < 4, 2, 0)).astype(np.int16)
    return LabelVolume(np.tile(data[:, None, None], (1, 60, 60)), affine, {1: "Left", 2: "Right"}, "halves")


def test_the_three_modes_label_the_peak_a_sphere_and_all_voxels():
    stat = np.zeros((20, 20, 20))
    stat[5:15, 10, 10] = 3.0  # x from 10 to -8 mm
    stat[10, 10, 10] = 4.0  # x = 0
    rows = {m: peak_table(stat, AFFINE, 2.0, [halves()], m) for m in ("clusters", "maxima", "extended")}
    assert {len(r) for r in rows.values()} == {1}
    assert {r[0]["label_peak"] for r in rows.values()} == {"Right"}
    assert rows["maxima"][0]["labels"] == "Right 100 %"
    assert rows["clusters"][0]["labels"] == "Left 40 %; Right 20 %; OUTSIDE 40 %"
    sphere = str(rows["extended"][0]["labels"])
    assert sphere.startswith("Left 4")
    assert sum(int(part.split()[-2]) for part in sphere.split(";")) == 100
    assert all(list(r[0]) == names(PEAKS) for r in rows.values())
    assert peak_table(stat, AFFINE, 2.0)[0]["labels"] is None


def test_several_atlases_are_told_apart_by_name():
    stat = field(((5, 15, 5), 5.0))
    clusters = find_clusters(stat, 2.0)
    peaks = find_peaks(stat, AFFINE, clusters)
    other = LabelVolume(halves().data * 0 + 7, halves().affine, {}, "seven")
    ((peak, shares),) = regions(peaks, clusters, AFFINE, [halves(), other])
    assert peak == "halves: OUTSIDE | seven: label 7"
    assert shares.startswith("halves: ")
    assert "| seven: label 7 100 %" in shares
