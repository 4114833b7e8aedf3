"""The one door for streamline files: formats by name, compression, damage, writing."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import dipy
import numpy as np
import pytest

from spectra_bids.bundle import Bundle, Volume
from spectra_bids.errors import MissingInputError, TractogramError
from spectra_bids.io.tractograms import list_groups, read_bundle, write_bundle

PACKED = Path(dipy.__file__).parent / "data" / "files" / "minimal_bundles.zip"
GRID = Volume(np.zeros((10, 12, 14), np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))


@pytest.fixture
def bundle() -> Bundle:
    return Bundle.from_streamlines([np.random.default_rng(k).uniform(0, 20, (n, 3)) for k, n in enumerate((4, 9))])


def test_an_unknown_extension_is_answered_with_the_known_ones() -> None:
    with pytest.raises(TractogramError, match=r"\.trk\.gz, \.tck\.gz, \.tt\.gz, \.trk, \.tck, \.trx\. Got a\.vtk"):
        read_bundle(Path("a.vtk"))


def test_a_missing_file_is_a_missing_input(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"no file .*a\.trk"):
        read_bundle(tmp_path / "a.trk")


def test_a_link_without_its_content_says_how_to_fetch_it(tmp_path: Path) -> None:
    (tmp_path / "a.trk").symlink_to(tmp_path / "annex" / "key")
    with pytest.raises(MissingInputError) as caught:
        read_bundle(tmp_path / "a.trk")
    assert "datalad get" in caught.value.hint


@pytest.mark.parametrize("extension", ["trk", "tck", "trk.gz", "tck.gz", "tt.gz", "trx"])
def test_an_empty_file_is_named(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a.{extension}"
    path.write_bytes(b"")
    with pytest.raises(TractogramError, match=rf"a\.{extension} is .*Got 0 bytes"):
        read_bundle(path)


@pytest.mark.parametrize("keep", [0.3, 0.99])
def test_a_gzip_file_cut_short_is_named(tmp_path: Path, bundle: Bundle, keep: float) -> None:
    write_bundle(tmp_path / "a.trk", bundle, GRID)
    raw = gzip.compress((tmp_path / "a.trk").read_bytes())
    (tmp_path / "a.trk.gz").write_bytes(raw[: int(len(raw) * keep)])
    with pytest.raises(TractogramError, match=r"a\.trk\.gz is cut short or damaged: expected a whole gzip file"):
        read_bundle(tmp_path / "a.trk.gz")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_coordinate_that_is_no_number_is_counted(tmp_path: Path, bundle: Bundle, value: float) -> None:
    points = bundle.points.copy()
    points[[2, 5], 1] = value
    write_bundle(tmp_path / "a.trk", bundle.with_points(points), GRID)
    with pytest.raises(TractogramError, match=r"a\.trk must be finite numbers. Got 2 of 13 points"):
        read_bundle(tmp_path / "a.trk")


def test_only_trx_files_have_groups(tmp_path: Path, bundle: Bundle) -> None:
    write_bundle(tmp_path / "a.trk", bundle, GRID)
    assert list_groups(tmp_path / "a.trk") == []
    with pytest.raises(TractogramError, match=r"Only .trx files have groups. Got group 'AF_L'"):
        read_bundle(tmp_path / "a.trk", group="AF_L")


def test_compression_is_seen_in_the_content_not_in_the_name(tmp_path: Path, bundle: Bundle) -> None:
    write_bundle(tmp_path / "a.trk", bundle, GRID)
    raw = (tmp_path / "a.trk").read_bytes()
    for name, content in (("b.trk.gz", gzip.compress(raw)), ("c.trk.gz", raw), ("d.trk", gzip.compress(raw))):
        (tmp_path / name).write_bytes(content)
        np.testing.assert_array_equal(read_bundle(tmp_path / name).points, read_bundle(tmp_path / "a.trk").points)


def test_equal_bundles_give_equal_bytes(tmp_path: Path, bundle: Bundle) -> None:
    write_bundle(tmp_path / "a.trk", bundle, GRID)
    write_bundle(tmp_path / "b.trk", Bundle(bundle.points.copy(), bundle.offsets.copy()), GRID)
    assert (tmp_path / "a.trk").read_bytes() == (tmp_path / "b.trk").read_bytes()


def test_bundles_are_written_as_trk_only(tmp_path: Path, bundle: Bundle) -> None:
    with pytest.raises(TractogramError, match=r"written as \.trk"):
        write_bundle(tmp_path / "a.tck", bundle, GRID)


def test_a_packaged_real_bundle_survives_writing(tmp_path: Path) -> None:
    with zipfile.ZipFile(PACKED) as archive:
        name = next(n for n in archive.namelist() if n.endswith("AF_L.trk"))
        (tmp_path / "a.trk").write_bytes(archive.read(name))
    before = read_bundle(tmp_path / "a.trk")
    write_bundle(tmp_path / "b.trk", before, GRID)
    after = read_bundle(tmp_path / "b.trk")
    np.testing.assert_array_equal(after.offsets, before.offsets)
    np.testing.assert_allclose(after.points, before.points, atol=5e-5)
