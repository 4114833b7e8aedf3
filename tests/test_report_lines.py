"""The 3D view's data in a page: they come back as they were, keep to their budget, and are the same each time."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from strategies import ribbon

from spectra_bids.figures.scene_lines import display_lines, sample
from spectra_bids.figures.scene_meshes import glass_brain
from spectra_bids.geometry.grid import assign, build_grid
from spectra_bids.group.pictures import MOST_OF_ONE, MOST_VERTICES
from spectra_bids.io.tractograms import read_bundle
from spectra_bids.report import lines
from spectra_bids.report.lines import (
    QUANTUM,
    pack,
    packed_brain,
    packed_lines,
    picture,
    quantised,
    scene_elements,
    scene_hashes,
    scene_scripts,
    viewer_library,
)


def unpack(text: str, columns: int = 1) -> np.ndarray:
    """What `pack` was given, modulo 2^16, (n, columns) with one column after the other."""
    raw = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    low, high = raw.reshape(2, -1).astype(np.int64)
    return (low + 256 * high).reshape(columns, -1).T


def summed(values: np.ndarray, order: int) -> np.ndarray:
    for _ in range(order):
        values = np.cumsum(values, axis=0) & 0xFFFF
    return values


def page(shown=None, space="MNI152NLin2009cAsym", pictures=None):
    return SimpleNamespace(lines=shown or {}, space=space, pictures=pictures or {})


@pytest.fixture(scope="module")
def shown():
    found = {}
    for k, name in enumerate(("AFL", "CSTR", "CCForcepsMajor")):
        bundle = ribbon(k, n=60, bend=0.3 * k)
        found[name] = display_lines(bundle, build_grid(bundle, name), 3000)
    return found


def test_points_that_cannot_be_told_in_16_bits_are_refused():
    with pytest.raises(ValueError, match="spread over more than 6553"):
        quantised(np.array([[0, 0, 0], [7000, 0, 0]], float))


def test_small_numbers_are_packed_as_their_low_bytes_then_their_high_bytes():
    packed = zlib.decompress(base64.b64decode(pack(np.array([1, 258, -1]))))
    assert packed == bytes([1, 2, 255, 0, 1, 255])


def test_streamlines_come_back_within_the_resolution_and_in_their_cells(shown):
    packed = packed_lines(shown)
    assert list(packed["bundles"]) == sorted(shown)
    for name, entry in packed["bundles"].items():
        given = shown[name]
        points = summed(unpack(entry["points"], 3), 2) * QUANTUM + np.array(entry["origin"])
        assert np.abs(points - given.bundle.points).max() <= QUANTUM / 2 + 1e-4
        np.testing.assert_array_equal(unpack(entry["counts"])[:, 0], given.bundle.counts)
        cells = summed(unpack(entry["cells"]), 1)[:, 0]
        np.testing.assert_array_equal(cells, given.cells)
        assert (entry["ns"], entry["nr"]) == given.shape
        assert (entry["lines"], entry["vertices"]) == (given.bundle.n_streamlines, len(given.bundle.points))


def test_the_brain_comes_back_with_the_triangles_of_both_hemispheres():
    packed, mesh = packed_brain(), glass_brain()
    points = summed(unpack(packed["points"], 3), 1) * QUANTUM + np.array(packed["origin"])
    assert np.abs(points - mesh.vertices).max() <= QUANTUM / 2 + 1e-4
    np.testing.assert_array_equal(summed(unpack(packed["triangles"], 3), 1), mesh.faces)
    assert len(json.dumps(packed)) < 250_000


@settings(max_examples=40, deadline=None)
@given(npst.arrays(np.int64, st.tuples(st.integers(1, 40), st.just(3)), elements=st.integers(0, 65535)))
def test_any_coordinates_survive_differences_and_packing(values):
    for order in (1, 2):
        packed = pack(lines._differences(values, order).T)
        np.testing.assert_array_equal(summed(unpack(packed, 3), order), values)


def test_sixty_bundles_take_two_and_a_half_megabytes(shared_data):
    atlas = sorted((shared_data / "atlas-hcp1065").glob("*.trk"))
    most = min(MOST_OF_ONE, MOST_VERTICES // 60)
    total = 0
    for path in atlas:
        whole = read_bundle(path)
        given = display_lines(sample(whole), build_grid(whole, path.stem), most)
        np.testing.assert_array_equal(given.where.s, assign(build_grid(whole, path.stem), given.bundle).s)
        total += len(json.dumps(packed_lines({path.stem: given})))
    assert total * 60 / len(atlas) < 2_600_000


def test_equal_lines_give_equal_bytes_in_any_order(shown):
    again = dict(reversed(shown.items()))
    assert scene_elements(page(shown)) == scene_elements(page(again))


def test_elements_hold_no_markup_and_their_library_has_the_hash_of_the_policy(shown):
    elements = {name: (kind, text) for name, kind, text in scene_elements(page(shown))}
    assert all("<" not in text for _, text in elements.values())
    library = zlib.decompress(base64.b64decode(elements["spectra-scene-library"][1]))
    digest = base64.b64encode(hashlib.sha256(library).digest()).decode()
    assert scene_hashes(page(shown)) == (f"sha256-{digest}",)
    assert b"Niivue" in library
    assert "</script" not in scene_scripts(page(shown))[0].lower()


def test_a_name_with_markup_stays_text(shown):
    elements = scene_elements(page({"</script><b>": shown["AFL"]}))
    assert "<" not in elements[0][2]
    assert list(json.loads(elements[0][2])["bundles"]) == ["</script><b>"]


def test_no_brain_is_drawn_around_bundles_of_another_space(shown):
    elements = {name: text for name, _, text in scene_elements(page(shown, space="ACPC"))}
    assert elements["spectra-scene-brain"] == "{}"


def test_nothing_is_there_without_streamlines_or_without_the_library(shown, monkeypatch):
    assert (scene_elements(page()), scene_scripts(page()), scene_hashes(page())) == ((), (), ())
    monkeypatch.setattr(lines, "viewer_library", lambda: "")
    given = page(shown)
    assert (scene_elements(given), scene_scripts(given), scene_hashes(given)) == ((), (), ())


def test_a_picture_is_a_data_uri_and_an_absent_one_nothing():
    given = page(pictures={("2D", "fa", "dx", "AFL"): b"content"})
    uri = picture(given, "2D", "fa", "dx", "AFL")
    assert base64.b64decode(uri.removeprefix("data:image/webp;base64,")) == b"content"
    assert picture(given, "1D", "fa", "dx", "AFL") == ""


def test_the_library_is_what_the_installed_package_brings():
    assert len(viewer_library()) > 1_000_000
    assert "\r" not in viewer_library()
