"""Frozen grids on disk: the same grid comes back, and one that would mean other places is refused."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from strategies import ribbon, smooth_volume

from spectra_bids.dataset.grids import load_grid, read_grid, stored_grids, write_grid
from spectra_bids.dataset.names import grid_files
from spectra_bids.demo.people import load_people
from spectra_bids.errors import AtlasError
from spectra_bids.geometry.grid import Grid, build_grid
from spectra_bids.profiles import profile
from spectra_bids.settings import GridSettings

SOURCE = "a" * 64
ARRAYS = (
    "nodes", "axes", "anisotropy", "edges", "n_points_1d", "n_points_2d", "centres_1d", "centres_2d", "in_1d", "in_2d",
)  # fmt: skip
PLAIN = ("bundle", "s_len", "r_len", "ends", "sides", "robust", "radial")


def assert_identical(one: Grid, other: Grid) -> None:
    for name in ARRAYS:
        a, b = getattr(one, name), getattr(other, name)
        assert a.dtype == b.dtype, name
        np.testing.assert_array_equal(a, b, err_msg=name)
    assert [getattr(one, n) for n in PLAIN] == [getattr(other, n) for n in PLAIN]
    assert one.checksum == other.checksum


@pytest.fixture
def stored(tmp_path):
    """An output folder with the grid of one bundle, the grid, and its settings."""
    settings = GridSettings(s_len=4.7, r_len=3.3)
    grid = build_grid(ribbon(1, n=60, bend=0.7), "AFL", s_len=4.7, r_len=3.3)
    write_grid(tmp_path, "toy", grid, settings, SOURCE)
    return tmp_path, grid, settings


@pytest.mark.parametrize(
    "settings",
    [
        GridSettings(),
        GridSettings(ns=17, nr=3, robust="spline"),
        GridSettings(s_len=3.7, r_len=7.1, robust="none", radial="distance"),
        GridSettings(ns=1, nr=1),
    ],
    ids=["default", "counts", "distance", "one cell"],
)
def test_a_grid_comes_back_as_it_was_built(tmp_path, settings):
    for name, bundle in load_people()[0].items():
        label = name.replace("_", "")
        grid = build_grid(
            bundle, label, s_len=settings.s_len, r_len=settings.r_len, ns=settings.ns, nr=settings.nr,
            robust=settings.robust, radial=settings.radial,
        )  # fmt: skip
        write_grid(tmp_path, "dipy", grid, settings, SOURCE)
        assert_identical(read_grid(tmp_path, "dipy", label, settings, SOURCE), grid)
        assert_identical(load_grid(tmp_path, "dipy", label), grid)


def test_a_profile_on_the_grid_read_back_is_the_same_to_the_last_bit(stored):
    out, grid, settings = stored
    # s_len decides on the refinement of coarse streamlines: rounding it would change numbers in a resumed run
    coarse = ribbon(2, n=30, step=6.0)
    volume = smooth_volume(0, 5.0)
    one, two = (
        profile(coarse, g, {"fa": volume}).across for g in (grid, read_grid(out, "toy", "AFL", settings, SOURCE))
    )
    assert one.mean["fa"].tobytes() == two.mean["fa"].tobytes()


def test_writing_twice_gives_the_same_bytes(stored):
    out, _, settings = stored
    files = grid_files(out, "toy", "AFL")
    before = [f.read_bytes() for f in files]
    write_grid(out, "toy", build_grid(ribbon(1, n=60, bend=0.7), "AFL", s_len=4.7, r_len=3.3), settings, SOURCE)
    assert [f.read_bytes() for f in files] == before
    assert sorted(p.name for p in (out / "atlas").iterdir()) == sorted(f.name for f in files)


def test_the_json_says_what_the_grid_is(stored):
    out, grid, settings = stored
    facts = json.loads(grid_files(out, "toy", "AFL")[0].read_text())
    assert facts["Checksum"] == grid.checksum
    assert facts["AtlasFileSHA256"] == SOURCE
    assert facts["Settings"]["s_len"] == settings.s_len
    assert (facts["Nodes"], facts["RadialBins"]) == (grid.ns, grid.nr)
    assert len(facts["RadialEdges"]["Value"]) == grid.nr + 1
    assert (facts["Ends"], facts["Sides"]) == (["P", "A"], ["L", "R"])
    assert facts["NodesInGrid"] == int(grid.in_1d.sum())
    assert facts["CellsInGrid"] == int(grid.in_2d.sum())
    assert facts["NodesWithPoorAxis"] == int((np.array(facts["Anisotropy"]) < 0.6).sum())


def test_where_there_is_no_grid_there_is_none(stored):
    out, _, settings = stored
    assert read_grid(out, "toy", "AFR", settings, SOURCE) is None
    assert read_grid(out, "other", "AFL", settings, SOURCE) is None
    assert read_grid(out / "elsewhere", "toy", "AFL", settings, SOURCE) is None


@pytest.mark.parametrize(
    "other",
    [
        GridSettings(s_len=4.8, r_len=3.3),
        GridSettings(s_len=4.7, r_len=3.3, ns=20),
        GridSettings(s_len=4.7, r_len=3.3, robust="none"),
        GridSettings(s_len=4.7, r_len=3.3, radial="distance"),
    ],
)
def test_a_grid_made_with_other_settings_is_refused(stored, other):
    out, _, _ = stored
    with pytest.raises(AtlasError, match=r"AFL_grid\.json was made with other grid settings") as caught:
        read_grid(out, "toy", "AFL", other, SOURCE)
    assert "--force" in caught.value.hint


def test_a_grid_made_from_another_atlas_file_is_refused(stored):
    out, _, settings = stored
    with pytest.raises(AtlasError, match="was made from another atlas file"):
        read_grid(out, "toy", "AFL", settings, "b" * 64)


@pytest.mark.parametrize("name", ARRAYS)
def test_a_grid_with_one_array_changed_is_refused(stored, name):
    out, _, settings = stored
    path = grid_files(out, "toy", "AFL")[1]
    with np.load(path) as content:
        arrays = dict(content)
    arrays[name] = ~arrays[name] if arrays[name].dtype == bool else arrays[name] + 1
    np.savez(path, **arrays)
    with pytest.raises(AtlasError, match=r"AFL_grid\.npz"):
        read_grid(out, "toy", "AFL", settings, SOURCE)


def test_arrays_that_do_not_match_the_checksum_are_refused_even_with_their_own_hash(stored):
    out, _, settings = stored
    description, path = grid_files(out, "toy", "AFL")
    with np.load(path) as content:
        arrays = dict(content)
    np.savez(path, **(arrays | {"edges": arrays["edges"] + 0.5}))
    facts = json.loads(description.read_text())
    description.write_text(json.dumps(facts | {"ArraysSHA256": hashlib.sha256(path.read_bytes()).hexdigest()}))
    with pytest.raises(AtlasError, match=r"does not match the checksum in atlas-toy_bundle-AFL_grid\.json"):
        read_grid(out, "toy", "AFL", settings, SOURCE)


@pytest.mark.parametrize("content", [b"", b"nonsense", None], ids=["empty", "nonsense", "cut short"])
@pytest.mark.parametrize("hashed", [True, False])
def test_a_damaged_array_file_is_an_error_that_names_it(stored, content, hashed):
    out, _, settings = stored
    description, path = grid_files(out, "toy", "AFL")
    path.write_bytes(path.read_bytes()[:900] if content is None else content)
    if not hashed:  # as an older version wrote it
        facts = json.loads(description.read_text())
        del facts["ArraysSHA256"]
        description.write_text(json.dumps(facts))
    with pytest.raises(AtlasError, match=r"AFL_grid\.npz cannot be read as a grid"):
        read_grid(out, "toy", "AFL", settings, SOURCE)


def test_an_absent_array_file_is_an_error_that_names_it(stored):
    out, _, settings = stored
    grid_files(out, "toy", "AFL")[1].unlink()
    with pytest.raises(AtlasError, match=r"AFL_grid\.npz cannot be read as a grid"):
        read_grid(out, "toy", "AFL", settings, SOURCE)


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_a_damaged_description_is_an_error_that_names_it(stored, text):
    out, _, settings = stored
    grid_files(out, "toy", "AFL")[0].write_text(text)
    for read in (
        lambda: read_grid(out, "toy", "AFL", settings, SOURCE),
        lambda: load_grid(out, "toy", "AFL"),
    ):
        with pytest.raises(AtlasError, match=r"AFL_grid\.json cannot be read"):
            read()


@pytest.mark.parametrize("key", ["NodeSpacing", "RadialBinWidth", "Ends", "Sides", "Robust", "Radial", "Checksum"])
def test_a_description_that_lacks_something_is_refused(stored, key):
    out, _, settings = stored
    path = grid_files(out, "toy", "AFL")[0]
    facts = json.loads(path.read_text())
    del facts[key]
    path.write_text(json.dumps(facts))
    with pytest.raises(AtlasError, match=r"AFL_grid\.npz"):
        read_grid(out, "toy", "AFL", settings, SOURCE)


def test_an_array_that_is_absent_is_refused(stored):
    out, _, _ = stored
    description, path = grid_files(out, "toy", "AFL")
    with np.load(path) as content:
        arrays = {name: content[name] for name in content if name != "axes"}
    np.savez(path, **arrays)
    facts = json.loads(description.read_text())
    del facts["ArraysSHA256"]
    description.write_text(json.dumps(facts))
    with pytest.raises(AtlasError, match="cannot be read as a grid"):
        load_grid(out, "toy", "AFL")


def test_stored_grids_are_found_with_their_atlas(stored):
    out, _, settings = stored
    write_grid(out, "toy", build_grid(ribbon(3), "CSTR"), settings, SOURCE)
    (out / "atlas" / "notes.txt").write_text("")
    found = stored_grids(out)
    assert list(found) == ["AFL", "CSTR"]
    assert {label for label, _ in found.values()} == {"toy"}
    assert [path for _, path in found.values()] == [grid_files(out, "toy", b)[0] for b in found]
    assert stored_grids(out / "elsewhere") == {}
