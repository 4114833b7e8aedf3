"""Points and voxels are counted from headers: as many as reading the file gives, without reading it."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest
from nibabel.streamlines import Tractogram, TrkFile

from spectra_bids.bundle import Bundle, Volume
from spectra_bids.errors import MissingInputError, TractogramError, VolumeError
from spectra_bids.io.sizes import count_points, count_voxels
from spectra_bids.io.tractograms import list_groups, read_bundle, write_bundle
from spectra_bids.io.volumes import read_volume

VOLUME = Volume(np.zeros((10, 11, 12), np.float32), np.diag([2.0, 2, 2, 1]))


@pytest.fixture
def bundle():
    lengths = np.arange(3, 60)
    rng = np.random.default_rng(0)
    points = rng.uniform(1, 18, (int(lengths.sum()), 3)).astype(np.float32)
    return Bundle(points, np.r_[0, np.cumsum(lengths)])


def test_points_of_a_file_with_scalars_and_properties_are_counted(tmp_path, bundle):
    lines = np.split(bundle.points, bundle.offsets[1:-1])
    tractogram = Tractogram(
        lines,
        data_per_point={name: [np.ones((len(x), 1), "f4") for x in lines] for name in ("fa", "md")},
        data_per_streamline={"weight": np.ones((len(lines), 1), "f4")},
        affine_to_rasmm=np.eye(4),
    )
    path = tmp_path / "a.trk"
    nib.streamlines.save(tractogram, path, header={"voxel_to_rasmm": VOLUME.affine, "dimensions": (10, 11, 12)})
    assert TrkFile.load(path).header["nb_streamlines"] == len(lines)
    assert count_points(path) == len(bundle.points)


@pytest.mark.parametrize("extension", [".trk", ".tck"])
def test_a_packed_file_counts_like_an_unpacked_one(extension, tmp_path, bundle):
    path = tmp_path / f"a{extension}"
    if extension == ".trk":
        write_bundle(path, bundle, VOLUME)
    else:
        lines = np.split(bundle.points, bundle.offsets[1:-1])
        nib.streamlines.save(Tractogram(lines, affine_to_rasmm=np.eye(4)), path)
    assert count_points(path) == len(bundle.points)
    packed = path.with_name(f"{path.name}.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert count_points(packed) == len(bundle.points)


def test_real_files_count_as_they_read(shared_data):
    for pattern in ("real-mni/**/*.trk", "real-qsirecon/**/*.tck.gz", "real-pyafq/**/*.trk"):
        for path in sorted(shared_data.glob(pattern))[:4]:
            assert count_points(path) == len(read_bundle(path).points), path


def test_groups_of_a_trx_count_by_their_streamlines(shared_data):
    found = 0
    for path in sorted((shared_data / "trx").glob("*.trx")):
        assert count_points(path) == len(read_bundle(path).points)
        for group in list_groups(path):
            assert count_points(path, group) == pytest.approx(len(read_bundle(path, group=group).points), rel=0.3)
            found += 1
    assert found >= 2


def test_voxels_are_counted_from_the_header(tmp_path, shared_data):
    path = next(iter(sorted(shared_data.glob("real-mni/**/*_dwimap.nii.gz"))))
    assert count_voxels(path) == read_volume(path).data.size
    (tmp_path / "a.nii.gz").write_bytes(b"no image")
    with pytest.raises(VolumeError, match=r"header of .*a\.nii\.gz cannot be read"):
        count_voxels(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("name", ["a.trk", "a.tck", "a.trk.gz"])
def test_what_is_no_tractogram_is_refused_by_name(name, tmp_path):
    path = tmp_path / name
    with pytest.raises(MissingInputError, match=name):
        count_points(path)
    path.write_bytes(b"\x1f\x8b damaged" if name.endswith("gz") else b"nothing")
    with pytest.raises(TractogramError, match=name):
        count_points(path)
