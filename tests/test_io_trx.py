"""TRX: agreement with trx-python, groups, storage kinds, wrong lengths."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spectra_bids.bundle import Bundle
from spectra_bids.errors import MissingInputError, TractogramError
from spectra_bids.io.trx import read_trx, trx_groups

BUNDLE = Bundle.from_streamlines([np.random.default_rng(k).uniform(-80, 80, (n, 3)) for k, n in enumerate((4, 1, 12))])


def members(bundle: Bundle, kind: str = "float32", offsets: str = "uint64") -> dict[str, bytes]:
    """Arrays of a TRX with two groups and data per streamline and per point."""
    n_points, n = len(bundle.points), bundle.n_streamlines
    header = {"DIMENSIONS": [9, 9, 9], "VOXEL_TO_RASMM": np.eye(4).tolist(), "NB_VERTICES": n_points}
    return {
        "header.json": json.dumps({**header, "NB_STREAMLINES": n}).encode(),
        f"positions.3.{kind}": bundle.points.astype(kind).tobytes(),
        f"offsets.{offsets}": bundle.offsets.astype(offsets).tobytes(),
        "groups/AF_L.uint32": np.array([0, 2], "u4").tobytes(),
        "groups/CST_R.uint32": np.array([1], "u4").tobytes(),
        "dps/colour.3.uint8": bytes(3 * n),
        "dpv/fa.float16": bytes(2 * n_points),
    }


def packed(path: Path, content: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, raw in content.items():
            archive.writestr(name, raw)
    return path


def folder(path: Path, content: dict[str, bytes]) -> Path:
    for name, raw in content.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(raw)
    return path


def test_a_missing_file_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        read_trx(tmp_path / "a.trx", None)
    (tmp_path / "b.trx").write_bytes(b"PK\3\4 and no more")
    with pytest.raises(TractogramError, match=r"b\.trx is no TRX archive or is cut short.*Got 16 bytes"):
        read_trx(tmp_path / "b.trx", None)


Change = Callable[[dict[str, bytes]], None]


def _drop(name: str) -> Change:
    return lambda m: m.update(dict.fromkeys([name], b"")) if name not in m else m.__delitem__(name)


def _set(name: str, raw: bytes) -> Change:
    return lambda m: m.update({name: raw})


WRONG = {
    "no header": (_drop("header.json"), "expected a member header.json"),
    "no counts": (_set("header.json", b"{}"), "must hold NB_VERTICES and NB_STREAMLINES"),
    "no positions": (_drop("positions.3.float32"), "one member 'positions'"),
    "offsets without the last": (_set("offsets.uint64", BUNDLE.offsets[:-1].tobytes()), "must hold 4 rows.*Got 3"),
    "offsets that fall": (_set("offsets.uint64", np.array([0, 9, 4, 17]).tobytes()), "must rise from 0"),
    "offsets past the end": (_set("offsets.uint64", np.array([0, 4, 5, 18]).tobytes()), "must rise from 0"),
    "positions cut short": (_set("positions.3.float32", bytes(12 * 16)), "must hold 17 rows.*Got 16"),
    "data per streamline": (_set("dps/colour.3.uint8", bytes(12)), "must hold 3 rows.*Got 4"),
    "data per point": (_set("dpv/fa.float16", bytes(32)), "must hold 17 rows.*Got 16"),
    "a name without a type": (_set("dps/what", b"1"), r"must be named <label>\[\.<columns>\]\.<type>"),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_wrong_content_is_refused_with_what_was_expected(tmp_path: Path, change: Change, message: str) -> None:
    content = members(BUNDLE)
    change(content)
    with pytest.raises(TractogramError, match=message):
        read_trx(packed(tmp_path / "a.trx", content), None)


@pytest.mark.parametrize("name", ["dpsv_demos_dps460_vs_459.trx", "dpsv_tests_legacy_offsets.trx"])
def test_real_files_with_wrong_lengths_are_refused(shared_data: Path, name: str) -> None:
    with pytest.raises(TractogramError, match=name):
        read_trx(shared_data / "edge-cases" / name, None)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
@pytest.mark.parametrize("offsets", ["uint32", "uint64", "int64"])
def test_every_number_type_and_storage_gives_the_same_bundle(tmp_path: Path, kind: str, offsets: str) -> None:
    content = members(BUNDLE, kind, offsets)
    expected = BUNDLE.points.astype(kind).astype(np.float32)
    for path in (
        packed(tmp_path / "stored.trx", content),
        packed(tmp_path / "deflated.trx", content, zipfile.ZIP_DEFLATED),
        folder(tmp_path / "folder.trx", content),
    ):
        got = read_trx(path, None)
        np.testing.assert_array_equal(got.points, expected)
        np.testing.assert_array_equal(got.offsets, BUNDLE.offsets)
        assert trx_groups(path) == ["AF_L", "CST_R"]
        np.testing.assert_array_equal(read_trx(path, "CST_R").points, expected[4:5])


def test_an_unknown_group_is_answered_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(TractogramError, match=r"no group 'UF_L'. There are: AF_L, CST_R"):
        read_trx(packed(tmp_path / "a.trx", members(BUNDLE)), "UF_L")


def test_a_group_that_names_a_streamline_too_many_is_refused(tmp_path: Path) -> None:
    content = members(BUNDLE) | {"groups/AF_L.uint32": np.array([3], "u4").tobytes()}
    with pytest.raises(TractogramError, match=r"must name streamlines 0 to 2. Got 3"):
        read_trx(packed(tmp_path / "a.trx", content), "AF_L")


def test_a_file_written_by_trx_python_is_read_as_trx_python_reads_it(tmp_path: Path) -> None:
    from trx.trx_file_memmap import TrxFile, load, save

    trx = TrxFile(nb_vertices=len(BUNDLE.points), nb_streamlines=BUNDLE.n_streamlines)
    trx.streamlines._data[:] = BUNDLE.points
    trx.streamlines._offsets[:] = BUNDLE.offsets[:-1]
    trx.streamlines._lengths[:] = BUNDLE.counts
    trx.groups = {"AF_L": np.array([2, 0], np.uint32)}
    save(trx, str(tmp_path / "a.trx"))
    theirs = load(str(tmp_path / "a.trx"))
    ours = read_trx(tmp_path / "a.trx", None)
    np.testing.assert_array_equal(ours.points, theirs.streamlines._data.astype(np.float32))
    np.testing.assert_array_equal(ours.counts, theirs.streamlines._lengths)
    group = read_trx(tmp_path / "a.trx", "AF_L")
    np.testing.assert_array_equal(group.points, ours.take(np.array([2, 0])).points)


def test_a_real_pyafq_file_has_its_two_bundles_as_groups(shared_data: Path) -> None:
    path = next((shared_data / "trx").glob("*.trx"))
    assert {g: read_trx(path, g).n_streamlines for g in trx_groups(path)} == {"ARC_L": 486, "ARC_R": 22}
    assert read_trx(path, None).n_streamlines == 508
