"""MRtrix files: agreement with nibabel, number types, damage."""

from __future__ import annotations

import io
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from spectra_bids.bundle import Bundle
from spectra_bids.errors import TractogramError
from spectra_bids.io.tck import read_tck, tck_bytes
from spectra_bids.io.tractograms import read_bundle

LINES = [np.random.default_rng(k).uniform(-80, 80, (n, 3)).astype("f4") for k, n in enumerate((4, 1, 12))]


def make_tck(lines: list[np.ndarray], kind: str = "Float32LE", fields: str = "", end: bool = True) -> bytes:
    """A .tck: the header's `file` entry points right behind it."""
    dtype = {"Float32LE": "<f4", "Float32BE": ">f4", "Float64LE": "<f8", "Float64BE": ">f8"}.get(kind, "<f4")
    body = b"".join(np.vstack([x, np.full((1, 3), np.nan)]).astype(dtype).tobytes() for x in lines)
    body += np.full(3, np.inf, dtype).tobytes() if end else b""
    head = f"mrtrix tracks\n{fields}datatype: {kind}\ntimestamp: 1:2\nfile: . "
    return f"{head}{len(head) + 8}\nEND\n".encode().ljust(len(head) + 8) + body


def test_a_file_of_another_kind_is_refused() -> None:
    with pytest.raises(TractogramError, match=r"x\.tck is no MRtrix track file"):
        read_tck(Path("x.tck"), b"hello\nEND\n")


def test_an_unknown_type_of_number_is_named() -> None:
    with pytest.raises(TractogramError, match=r"'datatype' in x.tck must be one of Float32LE.*Got 'Int16'"):
        read_tck(Path("x.tck"), make_tck(LINES, "Int16"))


@pytest.mark.parametrize("drop", [12, 14, 30, 100])
def test_a_file_cut_short_is_refused(drop: int) -> None:
    raw = make_tck(LINES)
    with pytest.raises(TractogramError, match=r"x.tck is cut short: expected the closing triplet"):
        read_tck(Path("x.tck"), raw[:-drop])


def test_fewer_streamlines_than_the_header_counts_is_refused() -> None:
    with pytest.raises(TractogramError, match=r"counts 5 streamlines. Got 3"):
        read_tck(Path("x.tck"), make_tck(LINES, fields="count: 0000000005\n"))


def test_a_streamline_that_is_not_closed_is_refused() -> None:
    raw = make_tck(LINES[:2], end=False) + LINES[2].tobytes() + np.full(3, np.inf, "<f4").tobytes()
    with pytest.raises(TractogramError, match="last streamline is not closed"):
        read_tck(Path("x.tck"), raw)


@pytest.mark.parametrize("kind", ["Float32LE", "Float32BE", "Float64LE", "Float64BE"])
def test_every_type_of_number_is_read(kind: str) -> None:
    ours = read_tck(Path("x.tck"), make_tck(LINES, kind))
    np.testing.assert_array_equal(ours.points, np.concatenate(LINES))
    assert ours.offsets.tolist() == [0, 4, 5, 17]


@pytest.mark.parametrize("kind", ["Float32LE", "Float32BE"])
def test_the_reading_agrees_with_nibabel(kind: str) -> None:
    raw = make_tck([*LINES, np.empty((0, 3), "f4"), LINES[0]], kind)
    theirs = nib.streamlines.TckFile.load(io.BytesIO(raw)).streamlines
    ours = read_tck(Path("x.tck"), raw)
    assert ours.counts.tolist() == [len(x) for x in theirs]
    np.testing.assert_array_equal(ours.points, np.concatenate(list(theirs)))


def test_a_file_without_streamlines_is_an_empty_bundle() -> None:
    assert read_tck(Path("x.tck"), make_tck([])).n_streamlines == 0


def test_real_compressed_files_agree_with_nibabel(shared_data: Path) -> None:
    files = sorted((shared_data / "real-qsirecon").rglob("*.tck.gz"))
    assert len(files) == 18
    for file in files:
        theirs = nib.streamlines.load(file).streamlines
        ours: Bundle = read_bundle(file)
        assert ours.counts.tolist() == [len(x) for x in theirs]
        np.testing.assert_array_equal(ours.points, np.concatenate(list(theirs)))


@pytest.mark.parametrize("lines", [LINES, LINES[1:2], []], ids=["several", "one point", "none"])
def test_what_is_written_is_read_by_nibabel_and_by_us(lines: list[np.ndarray], tmp_path: Path) -> None:
    bundle = Bundle.from_streamlines(list(lines))
    path = tmp_path / "x.tck"
    path.write_bytes(tck_bytes(bundle))
    read = nib.streamlines.load(path).streamlines
    assert len(read) == len(lines)
    for one, other in zip(read, lines, strict=True):
        np.testing.assert_array_equal(one, other)
    again = read_bundle(path)
    np.testing.assert_array_equal(again.points, bundle.points)
    np.testing.assert_array_equal(again.offsets, bundle.offsets)
    assert tck_bytes(again) == path.read_bytes()
