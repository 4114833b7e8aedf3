"""DSI Studio's .tt.gz: an encoder written from the format's description proves the round trip."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectra_bids.bundle import Bundle, Volume
from spectra_bids.errors import TractogramError
from spectra_bids.io.tinytrack import read_tinytrack
from spectra_bids.io.tractograms import read_bundle

TO_MNI = np.array([[-2, 0, 0, 78], [0, -2, 0, 76], [0, 0, 2, -50], [0, 0, 0, 1]], "<f4")
SHAPE = (79, 95, 80)
CODES = {"<f4": 10, "<u4": 20, "<u2": 40, "|u1": 50}


def matrix(name: str, values: np.ndarray) -> bytes:
    """One MATLAB v4 matrix, a row."""
    head = np.array([CODES[values.dtype.str], 1, values.size, 0, len(name) + 1], "<i4")
    return head.tobytes() + name.encode() + b"\0" + values.tobytes()


def encode(lines: list[np.ndarray]) -> np.ndarray:
    """Streamlines in voxels -> track bytes. Steps must be below 4 voxels."""
    out = b""
    for line in lines:
        fixed = np.round(line * 32).astype(int)
        steps = np.diff(fixed, axis=0)
        assert np.abs(steps).max(initial=0) <= 127
        out += np.array([line.size], "<u4").tobytes() + fixed[0].astype("<i4").tobytes()
        out += steps.astype("i1").tobytes()
    return np.frombuffer(out, "u1")


def make_tt(blocks: list[list[np.ndarray]], trans: np.ndarray | None = TO_MNI) -> bytes:
    out = matrix("dimension", np.array(SHAPE, "<u4")) + matrix("voxel_size", np.full(3, 2, "<f4"))
    if trans is not None:
        out += matrix("trans_to_mni", trans.ravel())
    out += matrix("report", np.frombuffer(b"made by a test", "u1")) + matrix("cluster", np.zeros(3, "<u2"))
    for k, lines in enumerate(blocks):
        out += matrix("track" if k == 0 else f"track{k}", encode(lines))
    return out


def walk(n: int, seed: int) -> np.ndarray:
    """A streamline in voxels that the format can hold exactly (multiples of 1/32)."""
    rng = np.random.default_rng(seed)
    return (rng.integers(500, 1500, 3) + np.cumsum(rng.integers(-127, 128, (n, 3)), axis=0)) / 32


def placed(lines: list[np.ndarray], affine: np.ndarray = TO_MNI) -> np.ndarray:
    return np.concatenate(lines) @ affine[:3, :3].T + affine[:3, 3]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(0, 1000))
def test_what_the_format_can_hold_comes_back_exactly(counts: list[int], seed: int) -> None:
    lines = [walk(n, seed + k) for k, n in enumerate(counts)]
    ours = read_tinytrack(Path("x.tt.gz"), make_tt([lines]), None)
    assert ours.counts.tolist() == counts
    np.testing.assert_allclose(ours.points, placed(lines), atol=1e-4)


def test_an_ordinary_bundle_comes_back_to_a_32nd_of_a_voxel(tmp_path: Path) -> None:
    t = np.linspace(0, 1, 60)[:, None]
    lines = [t * [30, 20, 10] + [20 + k, 30, 25] for k in range(5)]
    (tmp_path / "a.tt.gz").write_bytes(gzip.compress(make_tt([lines])))
    ours: Bundle = read_bundle(tmp_path / "a.tt.gz")
    assert np.abs(ours.points - placed(lines)).max() <= 2 / 64 + 1e-4


def test_blocks_follow_each_other_by_number() -> None:
    blocks = [[walk(3, 10 * k), walk(2, 10 * k + 1)] for k in range(12)]
    ours = read_tinytrack(Path("x.tt.gz"), make_tt(blocks), None)
    np.testing.assert_allclose(ours.points, placed([x for block in blocks for x in block]), atol=1e-4)


def test_an_affine_written_column_by_column_is_recognised() -> None:
    lines = [walk(6, 1)]
    ours = read_tinytrack(Path("x.tt.gz"), make_tt([lines], np.ascontiguousarray(TO_MNI.T)), None)
    np.testing.assert_allclose(ours.points, placed(lines), atol=1e-4)


def test_without_an_affine_the_error_asks_for_the_image() -> None:
    with pytest.raises(
        TractogramError, match=r"x\.tt\.gz.*\(79, 95, 80\).*cannot be placed in mm RAS\+ from the file alone"
    ) as e:
        read_tinytrack(Path("x.tt.gz"), make_tt([[walk(3, 1)]], None), None)
    assert "reference" in e.value.hint


@pytest.mark.parametrize("axes", [(-1, -1, 1), (1, 1, 1), (-1, 1, -1)])
def test_without_an_affine_the_reference_places_the_streamlines(axes: tuple[int, int, int]) -> None:
    # The same image stored with other axis directions must give the same place in space.
    affine = TO_MNI.astype(float).copy()
    for k, sign in enumerate(axes):
        if np.sign(affine[k, k]) != sign:
            affine[k, 3] += affine[k, k] * (SHAPE[k] - 1)
            affine[k, k] *= -1
    lines = [walk(8, 3)]
    ours = read_tinytrack(Path("x.tt.gz"), make_tt([lines], None), Volume(np.zeros(SHAPE, np.float32), affine))
    np.testing.assert_allclose(ours.points, placed(lines), atol=1e-4)


def test_a_reference_of_another_shape_is_refused() -> None:
    volume = Volume(np.zeros((5, 6, 7), np.float32), np.diag([-2.0, -2, 2, 1]))
    with pytest.raises(TractogramError, match=r"must have the shape.*\(79, 95, 80\).*Got \(5, 6, 7\)"):
        read_tinytrack(Path("x.tt.gz"), make_tt([[walk(3, 1)]], None), volume)


@pytest.mark.parametrize("drop", [1, 40, 200])
def test_a_file_cut_short_is_refused(drop: int) -> None:
    raw = make_tt([[walk(50, 1), walk(50, 2)]])
    with pytest.raises(TractogramError, match=r"x\.tt\.gz is cut short"):
        read_tinytrack(Path("x.tt.gz"), raw[:-drop], None)


def test_a_record_that_is_no_streamline_is_refused() -> None:
    track = encode([walk(4, 1)]).copy()
    track[0] += 1
    raw = matrix("dimension", np.array(SHAPE, "<u4")) + matrix("trans_to_mni", TO_MNI.ravel()) + matrix("track", track)
    with pytest.raises(TractogramError, match="expected a streamline with 3 numbers per point at byte 0"):
        read_tinytrack(Path("x.tt.gz"), raw, None)


def test_another_matlab_file_is_refused_by_its_matrices() -> None:
    with pytest.raises(TractogramError, match=r"expected matrices 'dimension' and 'track'. Got report"):
        read_tinytrack(Path("x.tt.gz"), matrix("report", np.frombuffer(b"hello", "u1")), None)
