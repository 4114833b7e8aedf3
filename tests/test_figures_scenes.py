"""figures.scenes and its parts: cameras, colours, meshes, FURY in a child process, what happens when that dies."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import map_coordinates

from spectra_bids.bundle import Bundle, Volume
from spectra_bids.errors import InputDataError, MissingInputError, UsageError
from spectra_bids.figures import scenes
from spectra_bids.figures.scene_colours import (
    GREY,
    alternating,
    by_cell,
    by_direction,
    by_value,
    colour_bar,
    colour_map,
)
from spectra_bids.figures.scene_letters import lettered, strip
from spectra_bids.figures.scene_meshes import glass_brain, isosurface, read_surface, share_outside_mni
from spectra_bids.figures.scene_model import CAMERAS, Mesh, Picture, Scene, frame, lit, strip_scenes, thinned
from spectra_bids.figures.scene_plain import draw_plainly
from spectra_bids.figures.scenes import render, show
from spectra_bids.figures.style import limits
from spectra_bids.geometry.grid import assign, build_grid
from spectra_bids.geometry.sampling import sample
from spectra_bids.io.tractograms import read_bundle
from spectra_bids.io.volumes import read_volume

RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)
NOTHING = Bundle.from_streamlines([])
#: A child that draws without a driver, and does something else first where the camera is Axial.
STAND_IN = """
import os, sys, time
sys.path.append(sys.argv[1])
import numpy as np
from spectra_bids.figures import scenes
def draw(scene):
    if scene.camera == "Axial":
        {deed}
    return np.full((scene.size[1], scene.size[0], 4), 7, np.uint8)
scenes._choose_adapter, scenes._draw = (lambda: None), draw
scenes.child(sys.argv[2])
"""


def cross(centre, half=4.0):
    """Three lines through a point, along x, y and z."""
    ends = half * np.eye(3)
    return Bundle.from_streamlines([np.array([centre - e, np.asarray(centre, float), centre + e]) for e in ends])


def frame_of_cubes():
    """Corners of a box of 200 mm, so that pictures have one scale and centre 0."""
    corners = np.array([[x, y, z] for x in (-100, 100) for y in (-100, 100) for z in (-100, 100)], float)
    return [np.array([c, c * 0.999]) for c in corners]


def marked(where, **settings):
    """A scene of 200 mm around 0 with a thick red mark at a point."""
    lines = frame_of_cubes()
    mark = cross(np.asarray(where, float))
    bundle = Bundle.from_streamlines([*lines, *np.split(mark.points, mark.offsets[1:-1])])
    colours = np.ones((len(bundle.points), 3))
    colours[-len(mark.points) :] = RED
    settings = {"size": (120, 120), "line_width": 6.0, "letters": False, **settings}
    return Scene(bundle, colours, **settings)


def place_of_red(pixels):
    """Mean column and row of red pixels, in -1..1 from the picture's left and lower edge."""
    red = (pixels[..., 0] > 100) & (pixels[..., 1] < 90) & (pixels[..., 2] < 90)
    rows, columns = np.nonzero(red)
    assert len(rows), "no red pixel"
    height, width = red.shape
    return 2 * columns.mean() / (width - 1) - 1, 1 - 2 * rows.mean() / (height - 1)


@pytest.fixture(scope="module")
def vulkan():
    """Skips where FURY cannot draw on this machine."""
    drawn, reason = scenes._by_children([marked((0, 0, 0))], 120.0)
    if not drawn:
        pytest.skip(f"FURY cannot draw here ({reason}); scripts/setup.sh test installs a software Vulkan driver")


# --- validation -----------------------------------------------------------------------------------------------------


class Wrong(NamedTuple):
    settings: dict
    message: str


@pytest.mark.parametrize(
    "wrong",
    [
        Wrong({"camera": "Front"}, "camera must be one of Axial"),
        Wrong({"colours": np.zeros((2, 3))}, "colours must be"),
        Wrong({"size": (0, 10)}, "size must lie in"),
        Wrong({"bundle": NOTHING, "colours": np.zeros(3)}, "needs streamlines or a mesh"),
    ],
    ids=lambda wrong: next(iter(wrong.settings)),
)
def test_a_scene_that_cannot_be_drawn_is_refused(wrong):
    given = {"bundle": cross((0, 0, 0)), "colours": np.zeros(3), **wrong.settings}
    with pytest.raises(ValueError, match=wrong.message):
        Scene(**given)


def test_limits_of_colours_must_ascend():
    with pytest.raises(ValueError, match="upper limit"):
        by_value(np.zeros(2), colour_map("viridis"), (1.0, 1.0))


def test_an_unknown_colour_map_is_a_usage_error_with_examples():
    with pytest.raises(UsageError) as caught:
        colour_map("rainbows")
    assert "sequential" in caught.value.hint


def test_a_mask_without_voxels_has_no_surface():
    with pytest.raises(ValueError, match="no voxel above 0"):
        isosurface(Volume(np.zeros((4, 4, 4)), np.eye(4)), RED)


def test_a_surface_file_that_is_none_is_an_error_that_names_it(tmp_path):
    (tmp_path / "brain.gii").write_text("<xml/>")
    with pytest.raises(InputDataError, match=r"brain\.gii"):
        read_surface(tmp_path / "brain.gii")
    with pytest.raises(MissingInputError):
        read_surface(tmp_path / "absent.gii")


# --- colours --------------------------------------------------------------------------------------------------------


def test_colours_of_a_map_are_those_of_values_that_scipy_interpolates(shared_data):
    root = shared_data / "real-mni"
    volume = read_volume(next(root.rglob("*fa_dwimap.nii.gz")))
    bundle = read_bundle(next(root.rglob("*UFleft*.trk")))
    ijk = (bundle.points.astype(float) - volume.affine[:3, 3]) @ np.linalg.inv(volume.affine[:3, :3]).T
    expected = map_coordinates(volume.data.astype(float), ijk.T, order=1)
    turbo = colour_map("turbo")
    found = by_value(sample(volume, bundle.points), turbo, (0.2, 0.8))
    assert np.abs(found - turbo(np.clip((expected - 0.2) / 0.6, 0, 1))[:, :3]).max() < 0.05  # neighbours of 256 colours
    assert np.mean(np.abs(found - turbo(np.clip((expected - 0.2) / 0.6, 0, 1))[:, :3]).max(axis=1) < 1e-6) > 0.99


def test_what_is_not_measured_is_grey_and_beyond_the_limits_the_last_colour_stays():
    viridis = colour_map("viridis")
    found = by_value(np.array([np.nan, -5.0, 0.0, 1.0, np.inf, 9.0]), viridis, (0.0, 1.0))
    assert np.allclose(found[[0, 4]], GREY, atol=1e-6)
    assert np.allclose(found[[1, 2]], viridis(0.0)[:3])
    assert np.allclose(found[[3, 5]], viridis(1.0)[:3])


def ribbon():
    """A straight bundle of 100 mm along y, 30 mm wide in x."""
    y = np.linspace(-50, 50, 201)
    return Bundle.from_streamlines([np.column_stack([np.full(201, x), y, np.zeros(201)]) for x in np.arange(-15, 16)])


def test_a_profile_gives_every_point_the_colour_of_its_own_cell():
    bundle = ribbon()
    grid = build_grid(bundle, "B", s_len=10, r_len=10, robust="none")
    where = assign(grid, bundle)
    values = np.arange(grid.ns * grid.nr, dtype=float).reshape(grid.ns, grid.nr)
    greys = colour_map("gray")
    found = by_cell(values, where, greys, (0.0, values.max()))
    # Known by construction: the node by nearest distance along y, the bin by x between the grid's edges.
    s = np.abs(bundle.points[:, 1:2] - grid.nodes[:, 1]).argmin(axis=1)
    side = np.sign(grid.axes[0, 0])
    r = np.digitize(side * (bundle.points[:, 0] - grid.nodes[0, 0]), grid.edges[1:-1])
    level = np.asarray(greys(values[s, r] / values.max()))[:, 0]
    border = np.abs(bundle.points[:, 1:2] - (grid.nodes[1:, 1] + grid.nodes[:-1, 1]) / 2).min(axis=1) < 1e-3
    assert np.allclose(found[~border, 0], level[~border], atol=1e-6)
    along = by_cell(np.arange(grid.ns, dtype=float), where, greys, (0.0, grid.ns - 1.0))
    assert np.allclose(along[~border, 0], np.asarray(greys(s / (grid.ns - 1)))[~border, 0], atol=1e-6)


@pytest.mark.parametrize("dimensions", [1, 2])
def test_neighbouring_cells_have_different_colours_and_cells_off_the_grid_are_grey(dimensions):
    bundle = ribbon()
    grid = build_grid(bundle, "B", s_len=10, r_len=10, robust="none")
    grid = replace(grid, in_1d=np.arange(grid.ns) > 0, in_2d=np.tile(np.arange(grid.ns)[:, None] > 0, (1, grid.nr)))
    where = assign(grid, bundle)
    colours = alternating(grid, where, dimensions)
    assert np.allclose(colours[where.s == 0], GREY, atol=1e-6)
    cells = {}
    for s, r, colour in zip(where.s, where.r_bin, map(tuple, colours), strict=True):
        assert cells.setdefault((s, r if dimensions == 2 else 0), colour) == colour
    for (s, r), colour in cells.items():
        for neighbour in ((s + 1, r), (s, r + 1), (s + 1, r + 1)):
            assert s == 0 or cells.get(neighbour) != colour


def test_directions_are_red_green_blue():
    assert np.allclose(by_direction(cross((3, 4, 5)))[::3], np.eye(3), atol=1e-6)


def test_a_colour_bar_shows_the_map_from_the_lower_limit_up_and_its_bytes_do_not_change():
    made = colour_bar(colour_map("viridis"), (0.2, 0.8), "FA", dpi=100)
    assert made == colour_bar(colour_map("viridis"), (0.2, 0.8), "FA", dpi=100)
    image = np.asarray(Image.open(io.BytesIO(made)).convert("RGBA")).astype(int)
    column = image[:, 12]
    solid = column[(column[:, 3] == 255) & (np.ptp(column[:, :3], axis=1) > 60)]
    assert np.abs(solid[1, :3] - 255 * np.array(colour_map("viridis")(1.0)[:3])).max() < 25
    assert np.abs(solid[-2, :3] - 255 * np.array(colour_map("viridis")(0.0)[:3])).max() < 25


# --- meshes ---------------------------------------------------------------------------------------------------------


def test_the_surface_of_a_ball_has_its_area_and_place_under_a_flipped_oblique_affine():
    ijk = np.indices((40, 40, 40)) - 20
    ball = Volume((np.linalg.norm(ijk, axis=0) <= 10).astype(float), np.eye(4))
    turn = np.deg2rad(20)
    affine = np.array([[-2 * np.cos(turn), -2 * np.sin(turn), 0, 50], [-2 * np.sin(turn), 2 * np.cos(turn), 0, -30],
                       [0, 0, 2, 10], [0, 0, 0, 1.0]])  # fmt: skip
    mesh = isosurface(replace(ball, affine=affine), RED)
    a, b, c = (mesh.vertices[mesh.faces[:, k]].astype(float) for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    assert area == pytest.approx(4 * np.pi * 20**2, rel=0.02)
    assert np.allclose(mesh.vertices.mean(axis=0), (affine @ [20, 20, 20, 1])[:3], atol=0.3)


def test_a_region_at_the_border_of_the_image_is_closed():
    mesh = isosurface(Volume(np.ones((3, 3, 3)), np.eye(4)), RED)
    edges = np.sort(np.vstack([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]]), axis=1)
    assert set(np.unique(edges, axis=0, return_counts=True)[1]) == {2}


def test_a_single_voxel_has_a_surface():
    data = np.zeros((9, 9, 9))
    data[4, 5, 6] = 1
    assert np.allclose(isosurface(Volume(data, np.eye(4)), RED).vertices.mean(axis=0), (4, 5, 6), atol=1e-5)


def test_the_glass_brain_is_two_hemispheres_of_a_mni_brain():
    brain = glass_brain()
    x = brain.vertices[:, 0]
    assert len(x) == 2 * 10242
    assert x[:10242].mean() < -20
    assert x[10242:].mean() > 20
    assert brain.vertices.min(axis=0) == pytest.approx((-69, -105, -48), abs=1)
    assert brain.vertices.max(axis=0) == pytest.approx((70, 69, 79), abs=1)


def test_glass_is_clear_where_it_faces_the_camera_and_tinted_at_its_rim():
    angle = np.linspace(0, np.pi, 30)
    v = np.array([[np.sin(t) * np.cos(p), np.sin(t) * np.sin(p), np.cos(t)] for t in angle for p in 2 * angle])
    grid = np.arange(900).reshape(30, 30)
    faces = np.vstack([np.c_[grid[:-1, :-1].ravel(), grid[1:, :-1].ravel(), grid[1:, 1:].ravel()]])
    tint = Mesh(v.astype(np.float32), faces.astype(np.int32), BLUE, 0.5, glass=True).tint(CAMERAS["Axial"])
    polar, rim = np.abs(v[:, 2]) > 0.9, np.abs(v[:, 2]) < 0.1
    assert tint[polar & (tint[:, 3] > 0)][:, 3].mean() < 0.4 * tint[rim, 3].mean()


def test_bundles_in_mni_space_lie_in_its_brain_and_native_ones_do_not(shared_data):
    inside = [share_outside_mni(read_bundle(p)) for p in sorted((shared_data / "real-mni").rglob("*.trk"))]
    native = [share_outside_mni(read_bundle(p)) for p in sorted((shared_data / "real-pyafq").rglob("*tractography.t*"))]
    assert len(inside) == 19
    assert native
    assert max(inside) < 0.05 < min(native)


# --- cameras --------------------------------------------------------------------------------------------------------


class Seen(NamedTuple):
    camera: str
    left: tuple[float, float]  # (column, row) of a point 60 mm to the person's left
    front: tuple[float, float]
    above: tuple[float, float]


#: By definition of the views: what a photographer sees who stands there.
SEEN = [
    Seen("Axial", (-1, 0), (0, 1), (0, 0)),
    Seen("Sagittal_L", (0, 0), (-1, 0), (0, 1)),
    Seen("Sagittal_R", (0, 0), (1, 0), (0, 1)),
    Seen("Coronal_A", (1, 0), (0, 0), (0, 1)),
    Seen("Coronal_P", (-1, 0), (0, 0), (0, 1)),
]


def assert_seen(pixels, expected):
    found = place_of_red(pixels)
    assert found == pytest.approx(tuple(0.56 * x for x in expected), abs=0.06)


@pytest.mark.parametrize("seen", SEEN, ids=lambda seen: seen.camera)
def test_left_front_and_above_are_where_a_photographer_sees_them(seen):
    for point, expected in (((-60, 0, 0), seen.left), ((0, 60, 0), seen.front), ((0, 0, 60), seen.above)):
        assert_seen(draw_plainly(marked(point, camera=seen.camera)), expected)


@pytest.mark.vulkan
def test_fury_sees_left_front_and_above_there_too(vulkan):
    cases = [
        (marked(point, camera=seen.camera), expected)
        for seen in SEEN
        for point, expected in (((-60, 0, 0), seen.left), ((0, 60, 0), seen.front), ((0, 0, 60), seen.above))
    ]
    pictures = render([scene for scene, _ in cases])
    assert {picture.engine for picture in pictures} == {"fury"}
    for picture, (_, expected) in zip(pictures, cases, strict=True):
        assert_seen(picture.pixels, expected)


@pytest.mark.parametrize("seen", SEEN, ids=lambda seen: seen.camera)
def test_letters_name_the_side_that_is_drawn_there(seen):
    left, right, low, high = CAMERAS[seen.camera].letters
    pair = {"L": "R", "R": "L", "A": "P", "P": "A", "I": "S", "S": "I"}
    assert (pair[left], pair[low]) == (right, high)
    places = {left: (-1, 0), right: (1, 0), low: (0, -1), high: (0, 1)}
    for letter, place in (("L", seen.left), ("A", seen.front), ("S", seen.above)):
        assert places.get(letter, (0, 0)) == place


def test_letters_stand_at_all_four_edges_and_can_be_left_out():
    blank = np.full((300, 400, 4), 255, np.uint8)
    scene = marked((0, 0, 0), size=(400, 300), letters=True)
    inked = np.argwhere((lettered(blank, scene) != 255).any(axis=2))
    assert inked[:, 0].min() < 20
    assert inked[:, 0].max() > 280
    assert inked[:, 1].min() < 20
    assert inked[:, 1].max() > 380
    assert (lettered(blank, replace(scene, letters=False)) == 255).all()


def test_views_of_a_strip_have_one_height_and_scale():
    brain = Scene(NOTHING, np.zeros(3), (glass_brain(),), size=(500, 300))
    views = strip_scenes(brain, ["Sagittal_L", "Axial", "Coronal_A"])
    assert {view.size[1] for view in views} == {300}
    assert len({frame(view).scale for view in views}) == 1
    widths = [view.size[0] for view in views]
    assert widths[0] > widths[1]  # a brain is longer than wide
    pictures = [Picture(np.zeros((300, w, 4), np.uint8), 300, "fury") for w in widths]
    assert strip(pictures).pixels.shape[1] > sum(widths)
    assert strip(pictures[:1]) is pictures[0]
    assert strip([pictures[0], replace(pictures[1], engine="matplotlib")]).engine == "matplotlib"


# --- what is drawn --------------------------------------------------------------------------------------------------


def test_thinning_keeps_ends_and_borders_between_colours():
    line = np.column_stack([np.linspace(0, 100, 1001), np.zeros(1001), np.zeros(1001)])
    bundle = Bundle.from_streamlines([line, line[:1], line[::-1] + np.array([0, 5, 0])])
    colours = np.zeros((len(bundle.points), 3))
    colours[bundle.points[:, 0] > 33.35] = 1.0
    thin, kept = thinned(Scene(bundle, colours), 5.0)
    assert thin.n_streamlines == 2  # a single point is no line
    assert len(thin.points) < 60
    assert thin.points[thin.offsets[:-1], 0] == pytest.approx([0, 100])
    assert thin.points[thin.offsets[1:] - 1, 0] == pytest.approx([100, 0])
    dark = thin.points[(kept[:, 0] == 0)][:, 0]
    assert dark.max() == pytest.approx(33.3)
    assert thin.points[kept[:, 0] == 1][:, 0].min() == pytest.approx(33.4)


def test_lines_along_the_line_of_sight_are_dimmer():
    found = lit(np.full((9, 3), 0.5, np.float32), cross((0, 0, 0)), CAMERAS["Axial"])
    across, along = found[:6].mean(), found[6:].mean()
    assert along < 0.65 * across


@pytest.mark.vulkan
def test_fury_draws_what_matplotlib_draws(vulkan, shared_data):
    """The same bundle, brain, camera and colours by two programs: nearly the same pixels are covered."""
    bundle = read_bundle(next((shared_data / "real-mni").rglob("*CSTleft*.trk")))
    scene = Scene(bundle, np.array(RED), camera="Coronal_A", size=(300, 300), letters=False)
    by_fury, plain = render([scene])[0].pixels, draw_plainly(scene)
    covered = [(pixels[..., 1] < 128) for pixels in (by_fury, plain)]
    both, either = np.logical_and(*covered).sum(), np.logical_or(*covered).sum()
    assert both / either > 0.9
    assert 0.05 < covered[0].mean() < 0.6


@pytest.mark.vulkan
def test_colours_of_lines_and_regions_come_out_as_they_went_in(vulkan):
    square = np.array([[0, -50, -50], [0, 50, -50], [0, 50, 50], [0, -50, 50]], np.float32)
    mesh = Mesh(square, np.array([[0, 1, 2], [0, 2, 3]], np.int32), (0.5, 0.25, 0.75))
    scene = Scene(NOTHING, np.zeros(3), (mesh,), size=(64, 64), letters=False)
    opaque, half = render([scene, replace(scene, meshes=(replace(mesh, opacity=0.5),), transparent=True)])
    assert opaque.pixels[32, 32] == pytest.approx((127.5, 63.75, 191.25, 255), abs=2)
    assert opaque.pixels[0, 0] == pytest.approx((255, 255, 255, 255))
    assert half.pixels[32, 32] == pytest.approx((127.5, 63.75, 191.25, 127.5), abs=2)
    assert half.pixels[0, 0, 3] == 0


@pytest.mark.vulkan
def test_a_picture_has_the_same_bytes_again_and_tubes_and_opacity_change_it(vulkan):
    scene = replace(marked((10, 20, 30)), meshes=(glass_brain(),))
    first, again, tubes, faint = render([scene, scene, replace(scene, tube_radius=3.0), replace(scene, opacity=0.3)])
    assert first.png() == again.png()
    assert render([scene])[0].png() == first.png()
    assert tubes.png() != first.png()
    assert faint.png() != first.png()


def test_matplotlib_draws_the_glass_brain_regions_and_a_transparent_background():
    ball = Volume((np.linalg.norm(np.indices((21, 21, 21)) - 10, axis=0) < 8).astype(float), np.eye(4) * 4)
    scene = Scene(cross((0, 0, 0), 60), np.array(BLUE), (isosurface(ball, RED, 0.8), glass_brain()), size=(160, 120),
                  transparent=True, letters=False)  # fmt: skip
    pixels = draw_plainly(scene)
    assert pixels.shape == (120, 160, 4)
    assert pixels[0, 0, 3] == 0
    assert place_of_red(pixels)
    assert 0.2 < (pixels[..., 3] > 0).mean() < 0.9


def test_a_png_holds_the_resolution_and_an_alpha_channel_only_where_it_is_needed():
    pixels = np.full((4, 5, 4), 255, np.uint8)
    image = Image.open(io.BytesIO(Picture(pixels, 300, "fury").png()))
    assert (image.size, image.mode) == ((5, 4), "RGB")
    assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    pixels[0, 0, 3] = 0
    assert Image.open(io.BytesIO(Picture(pixels, 300, "fury").png())).mode == "RGBA"


# --- the child process ----------------------------------------------------------------------------------------------

TRIO = [marked((0, 0, 0), camera=camera, size=(40, 40)) for camera in ("Sagittal_L", "Axial", "Coronal_A")]


def engines(monkeypatch, deed, limit=30.0):
    monkeypatch.setattr(scenes, "_CHILD", STAND_IN.replace("{deed}", deed))
    return [picture.engine for picture in render(TRIO, limit=limit)]


def test_one_child_draws_all_scenes(monkeypatch):
    starts = []
    popen = subprocess.Popen
    monkeypatch.setattr(scenes.subprocess, "Popen", lambda *a, **k: starts.append(a) or popen(*a, **k))
    assert engines(monkeypatch, "pass") == ["fury"] * 3
    assert len(starts) == 1


class Deed(NamedTuple):
    code: str
    said: str


@pytest.mark.parametrize(
    "deed",
    [
        Deed("os.abort()", "ended by SIGABRT"),
        Deed("os.kill(os.getpid(), 9)", "ended by SIGKILL"),
        Deed("os._exit(3)", "status 3"),
        Deed("raise RuntimeError('out of buffers')", "out of buffers"),
        Deed("time.sleep(60)", "took longer than 5 s"),
    ],
    ids=lambda deed: deed.code.split("(")[0],
)
def test_a_scene_that_kills_the_child_is_drawn_by_matplotlib_and_the_others_by_fury(monkeypatch, caplog, deed):
    with caplog.at_level(logging.WARNING, "spectra_bids"):
        assert engines(monkeypatch, deed.code, 5.0) == ["fury", "matplotlib", "fury"]
    assert deed.said in caplog.text
    assert "matplotlib draws 1 of 3" in caplog.text


class Without(NamedTuple):
    why: str
    code: str
    said: str


@pytest.mark.parametrize(
    "without",
    [
        Without("fury", "raise ModuleNotFoundError(\"No module named 'fury'\")", "No module named 'fury'"),
        Without("killed", "import os; os.kill(os.getpid(), 9)", "SIGKILL"),
        Without("python", "raise SystemExit(1)", "status 1"),
    ],
    ids=lambda without: without.why,
)
def test_without_a_renderer_matplotlib_draws_all_and_the_warning_says_what_to_install(monkeypatch, caplog, without):
    monkeypatch.setattr(scenes, "_CHILD", without.code)
    with caplog.at_level(logging.WARNING, "spectra_bids"):
        pictures = render(TRIO)
    assert [picture.engine for picture in pictures] == ["matplotlib"] * 3
    assert without.said in caplog.text
    assert "mesa-vulkan-drivers" in caplog.text
    assert len(caplog.records) == 1


def test_without_a_vulkan_driver_the_reason_is_named(monkeypatch, caplog, tmp_path):
    for name in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES"):
        monkeypatch.setenv(name, str(tmp_path / "none.json"))
    with caplog.at_level(logging.WARNING, "spectra_bids"):
        assert [picture.engine for picture in render(TRIO[:1])] == ["matplotlib"]
    assert "Vulkan" in caplog.text


def test_where_no_process_can_be_started_matplotlib_draws(monkeypatch, caplog):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with caplog.at_level(logging.WARNING, "spectra_bids"):
        assert [picture.engine for picture in render(TRIO[:1])] == ["matplotlib"]
    assert "No such file" in caplog.text


def test_matplotlib_can_be_asked_for_and_warns_of_nothing(caplog):
    assert [picture.engine for picture in render(TRIO[:1], engine="matplotlib")] == ["matplotlib"]
    assert render([]) == []
    assert caplog.text == ""


def test_the_caller_does_not_import_the_renderer():
    code = (
        "import sys; from spectra_bids.figures import scenes, scene_model as m; import numpy as np\n"
        "from spectra_bids.bundle import Bundle\n"
        "b = Bundle.from_streamlines([np.eye(3)]); s = m.Scene(b, np.zeros(3), size=(20, 20))\n"
        "scenes.render([s], limit=60); print(sorted({'fury', 'pygfx', 'wgpu'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_modules_in_the_current_directory_are_not_the_childs(monkeypatch, tmp_path):
    (tmp_path / "numpy.py").write_text("raise SystemError('not this one')")
    monkeypatch.chdir(tmp_path)
    assert engines(monkeypatch, "pass") == ["fury"] * 3


def test_showing_without_a_display_says_so(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert "no display" in show(TRIO[0])


def test_a_window_that_dies_says_why(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(scenes, "_SHOW", "import os; os.abort()")
    assert "SIGABRT" in show(TRIO[0])


def test_no_temporary_folder_is_left_behind(monkeypatch, tmp_path):
    monkeypatch.setattr(scenes.tempfile, "tempdir", str(tmp_path))
    engines(monkeypatch, "os.abort()")
    assert os.listdir(tmp_path) == []


def test_default_limits_of_values_are_percentiles():
    assert limits(np.arange(101.0)) == pytest.approx((1.0, 99.0))
