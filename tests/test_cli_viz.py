"""cli.viz and viz: spectra_viz, its flags as SPECTRA's users type them, on toys and on the shared bundles."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from spectra_bids.bundle import Bundle, Volume
from spectra_bids.cli.viz import _CAMERAS, _task, main_viz, viz_parser
from spectra_bids.figures import scenes
from spectra_bids.figures.scene_model import CAMERAS
from spectra_bids.geometry.grid import build_grid
from spectra_bids.io.tractograms import read_bundle, write_bundle
from spectra_bids.io.volumes import write_volume
from spectra_bids.viz import Region, read_values

MNI = Volume(np.zeros((182, 218, 182), np.float32), np.array([[-1, 0, 0, 90], [0, 1, 0, -126], [0, 0, 1, -72],
                                                              [0, 0, 0, 1.0]]))  # fmt: skip


class Ended(NamedTuple):
    status: int
    out: str
    err: str


def run(*arguments, engine="matplotlib"):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main_viz([*map(str, arguments), *(("-engine", engine) if engine else ())])
        except SystemExit as stop:  # argparse
            status = int(stop.code or 0)
    return Ended(status, out.getvalue(), err.getvalue())


@pytest.fixture
def warned(caplog):
    """Text of the warnings; the command's own logging set-up is idle under pytest."""
    return lambda: caplog.text


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    """A straight bundle on the left, one on the right, a ramp along y as a map, a mask; all in MNI space."""
    folder = tmp_path_factory.mktemp("toys")
    y = np.linspace(-50, 40, 181)
    for name, middle in (("left", -35), ("right", 35), ("mid", 0)):
        lines = [np.column_stack([np.full(181, middle + x), y, np.full(181, 20.0)]) for x in np.arange(-10, 11)]
        write_bundle(folder / f"{name}.trk", Bundle.from_streamlines(lines), MNI)
    j = np.arange(218) - 126
    ramp = np.broadcast_to(((j + 50) / 90).astype(np.float32)[:, None], MNI.data.shape)
    write_volume(folder / "ramp.nii.gz", Volume(np.ascontiguousarray(ramp), MNI.affine))
    mask = np.zeros(MNI.data.shape, np.float32)
    mask[120:130, 140:150, 85:95] = 1
    write_volume(folder / "mask.nii.gz", Volume(mask, MNI.affine))
    write_volume(folder / "empty.nii.gz", MNI)
    return folder


def picture(path):
    return np.asarray(Image.open(path).convert("RGBA")).astype(int)


# --- the parser -----------------------------------------------------------------------------------------------------


class Typed(NamedTuple):
    line: str
    expected: dict


#: Command lines of SPECTRA's README, and further flags.
TYPED = [
    Typed(
        "-i AF_L__rec.trk -o outputs/AF_L.png -glass default_glass -cam Sagittal_L -show",
        {"inputs": (Path("AF_L__rec.trk"),), "output": Path("outputs/AF_L.png"), "glass": "default_glass",
         "cameras": ("Sagittal_L",), "show": True, "colour": ""},
    ),
    Typed(
        "-i AF_L__org.trk -o a.png -c fa.nii.gz -cmap turbo -vmin 0.2 -vmax 0.8 -ctitle FA -cbar outputs/bar.png -show",
        {"colour": "fa.nii.gz", "colour_map": "turbo", "vmin": 0.2, "vmax": 0.8, "title": "FA",
         "bar": Path("outputs/bar.png"), "show": True},
    ),
    Typed(
        "-i AF_L__rec.trk -o a.png -ref AF_L__atlas.trk -c alternate_2d -s 5 -r 5 -cam Sagittal_L -show",
        {"reference": Path("AF_L__atlas.trk"), "colour": "alternate_2d", "s_len": 5.0, "r_len": 5.0},
    ),
    Typed("-i a.trk -o a.png", {"cameras": (), "show": False, "glass": "", "size": (1200, 900), "regions": ()}),
    Typed("-i a.trk b.tck.gz -o a.png -cam Axial Coronal_P", {"cameras": ("Axial", "Coronal_P")}),
    Typed("-i a.trk -o a.png --vmin -2.5 --cmap RdBu_r", {"vmin": -2.5, "colour_map": "RdBu_r"}),
    Typed("-i a.trk -o a.png -ns 20 -nr 4 -robust none -profile 1d",
          {"ns": 20, "nr": 4, "robust": "none", "profile": "1d"}),
    Typed("-i a.trk -o a.png -tubes -opacity 0.5 -linewidth 3 -bg black -transparent -no_letters",
          {"tube_radius": 0.4, "opacity": 0.5, "line_width": 3.0, "background": "black", "transparent": True,
           "letters": False}),
    Typed("-i a.trk -o a.png -tubes 0.8 -size 640 480 -dpi 600 -max 0",
          {"tube_radius": 0.8, "size": (640, 480), "dpi": 600, "most": 0}),
    Typed("-i a.trk -o a.png -roi x.nii.gz y.nii.gz -roi_color red -roi_opacity 0.2 0.9",
          {"regions": (Region(Path("x.nii.gz"), "red", 0.2), Region(Path("y.nii.gz"), "red", 0.9))}),
    Typed("-i a.trk -o a.png -roi x.nii.gz", {"regions": (Region(Path("x.nii.gz"), "", 0.5),)}),
]  # fmt: skip


@pytest.mark.parametrize("typed", TYPED, ids=lambda typed: typed.line[:40])
def test_flags_are_read_as_spectras_users_type_them(typed):
    task = _task(viz_parser().parse_args(typed.line.split()))
    assert {name: getattr(task, name) for name in typed.expected} == typed.expected


class Refused(NamedTuple):
    line: str
    said: str


@pytest.mark.parametrize(
    "refused",
    [
        Refused("-o a.png", "-i"),
        Refused("-i a.trk", "-o"),
        Refused("-i a.trk -o a.png -cam Front", "Sagittal_L"),
        Refused("-i a.trk -o a.png -s 0", "above 0"),
        Refused("-i a.trk -o a.png -opacity 2", "0..1"),
        Refused("-i a.trk -o a.png -size 0 5", "1..16384"),
        Refused("-i a.trk -o a.png -max -1", "negative"),
        Refused("-i a.trk -o a.jpg", ".png"),
        Refused("-i a.trk -o a.png -roi_color red", "one for each -roi"),
        Refused("-i a.trk -o a.png -roi x y z -roi_opacity 0.1 0.2", "Got 2 for 3 regions"),
    ],
    ids=lambda refused: refused.line,
)
def test_a_command_line_that_makes_no_sense_is_a_usage_error(refused):
    ended = run(*refused.line.split())
    assert ended.status == 2
    assert refused.said in ended.err


def test_the_parsers_cameras_are_those_that_can_be_drawn():
    assert set(_CAMERAS) == set(CAMERAS)


def test_help_loads_nothing_heavy_and_the_command_is_installed_under_its_name():
    code = (
        "import sys\nfrom spectra_bids.cli.viz import main_viz\n"
        "try: main_viz(['--help'])\nexcept SystemExit: pass\n"
        "print('heavy:', {'numpy', 'matplotlib', 'nibabel', 'fury', 'skimage'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("heavy: set()\n")
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    assert project["project"]["scripts"]["spectra_viz"] == "spectra_bids.cli.viz:main_viz"


# --- errors of the input --------------------------------------------------------------------------------------------


class Bad(NamedTuple):
    line: str
    status: int
    said: str


@pytest.mark.parametrize(
    "bad",
    [
        Bad("-i absent.trk", 66, "absent.trk"),
        Bad("-i left.trk -c absent.nii.gz", 66, "absent.nii.gz"),
        Bad("-i left.trk -c absent.npz -ref left.trk", 66, "absent.npz"),
        Bad("-i left.trk -c reddish", 2, "no colour"),
        Bad("-i left.trk -bg reddish", 2, "no colour"),
        Bad("-i left.trk -c ramp.nii.gz -cmap rainbows", 2, "no colour map"),
        Bad("-i left.trk -c ramp.nii.gz -vmin 1 -vmax 0", 2, "-vmax must be above -vmin"),
        Bad("-i left.trk -cbar bar.png", 2, "-cbar needs"),
        Bad("-i left.trk right.trk -c alternate_1d -ref left.trk", 2, "colours one bundle"),
        Bad("-i left.trk -roi empty.nii.gz", 65, "empty.nii.gz has no surface"),
        Bad("-i left.trk -glass some_glass", 2, "default_glass"),
        Bad("-i left.trk -c wrong.npy -ref left.trk", 65, "another grid"),
        Bad("-i left.trk -c text.npy -ref left.trk", 65, "cannot be read as a NumPy array"),
        Bad("-i left.trk -c cube.npy -ref left.trk", 65, "(ns,) or (ns, nr)"),
    ],
    ids=lambda bad: bad.line,
)
def test_wrong_input_is_one_line_with_its_exit_status(toys, monkeypatch, tmp_path, bad):
    monkeypatch.chdir(toys)
    np.save(toys / "wrong.npy", np.zeros(3))
    np.save(toys / "cube.npy", np.zeros((2, 2, 2)))
    (toys / "text.npy").write_text("no array")
    ended = run(*bad.line.split(), "-o", tmp_path / "a.png")
    assert (ended.status, "Traceback" in ended.err) == (bad.status, False)
    assert bad.said in ended.err
    assert not (tmp_path / "a.png").exists()


def test_a_bundle_outside_of_the_map_is_an_error_that_speaks_of_spaces(toys, tmp_path):
    far = Volume(np.ones((5, 5, 5), np.float32), np.diag([1, 1, 1, 1.0]) + np.array([[0, 0, 0, 500]] + [[0] * 4] * 3))
    write_volume(tmp_path / "far.nii.gz", far)
    ended = run("-i", toys / "left.trk", "-o", tmp_path / "a.png", "-c", tmp_path / "far.nii.gz")
    assert ended.status == 65
    assert "space of the map" in ended.err


def test_an_output_that_cannot_be_written_has_exit_status_73(toys, tmp_path):
    (tmp_path / "file").touch()
    assert run("-i", toys / "left.trk", "-o", tmp_path / "file" / "a.png", "-size", 80, 60).status == 73


# --- pictures -------------------------------------------------------------------------------------------------------


def test_a_map_that_rises_towards_the_front_colours_the_front_with_the_maps_end(toys, tmp_path):
    made = run("-i", toys / "left.trk", "-o", tmp_path / "a.png", "-c", toys / "ramp.nii.gz", "-cmap", "coolwarm",
               "-vmin", 0, "-vmax", 1, "-ctitle", "ramp", "-cbar", tmp_path / "bar.png", "-size", 200, 100,
               "-cam", "Axial", "-no_letters")  # fmt: skip
    assert (made.status, made.out) == (0, f"{tmp_path / 'a.png'}\n{tmp_path / 'bar.png'}\n")
    pixels = picture(tmp_path / "a.png")
    assert pixels.shape == (100, 200, 4)
    drawn = np.argwhere(pixels[..., :3].min(axis=2) < 200)
    first, last = pixels[tuple(drawn[0] + (2, 0))], pixels[tuple(drawn[-1] - (2, 0))]
    assert first[0] > first[2] + 50  # up is the front: red
    assert last[2] > last[0] + 50  # blue at the back
    assert picture(tmp_path / "bar.png").shape[0] > 200


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_a_profile_is_drawn_on_the_grid_of_the_reference(toys, tmp_path, suffix):
    bundle = read_bundle(toys / "left.trk")
    grid = build_grid(bundle, "left", s_len=10, r_len=10)
    across = np.zeros((grid.ns, grid.nr))
    across[grid.ns // 2 :] = 1.0  # nodes count from the back
    if suffix == "npy":
        np.save(tmp_path / "p.npy", across)
    else:
        np.savez(tmp_path / "p.npz", ns=grid.ns, nr=grid.nr, s_len=10.0, r_len=10.0,
                 profile_1d=across[:, 0], profile_2d=across)  # fmt: skip
    left = toys / "left.trk"
    for more in ((), ("-profile", "1d")):
        made = run("-i", left, "-ref", left, "-s", 10, "-r", 10, "-c", tmp_path / f"p.{suffix}",
                   "-cmap", "coolwarm", "-vmin", 0, "-vmax", 1, "-cam", "Axial", "-size", 60, 120, "-no_letters",
                   "-o", tmp_path / "a.png", *more)  # fmt: skip
        assert made.status == 0, made.err
        pixels = picture(tmp_path / "a.png")
        red, blue = (pixels[..., a] > pixels[..., b] + 60 for a, b in ((0, 2), (2, 0)))
        assert np.nonzero(red)[0].mean() < 45 < 75 < np.nonzero(blue)[0].mean()


def test_the_profile_that_is_asked_for_is_taken_from_an_npz(tmp_path):
    np.savez(tmp_path / "p.npz", ns=2, nr=3, s_len=5.0, r_len=5.0, profile_1d=[1.0, 2.0], profile_2d=np.ones((2, 3)))
    assert read_values(tmp_path / "p.npz", "1d").tolist() == [1.0, 2.0]
    assert read_values(tmp_path / "p.npz").shape == (2, 3)


def test_the_grid_without_a_reference_is_the_bundles_own_and_that_is_said(toys, tmp_path, warned):
    made = run("-i", toys / "left.trk", "-o", tmp_path / "a.png", "-c", "alternate_2d", "-size", 90, 60)
    assert made.status == 0
    assert "no -ref" in warned()
    assert len(np.unique(picture(tmp_path / "a.png").reshape(-1, 4), axis=0)) > 10


class Side(NamedTuple):
    bundle: str
    same_as: str


@pytest.mark.parametrize("side", [Side("left", "Sagittal_L"), Side("right", "Sagittal_R"), Side("mid", "Axial")])
def test_without_a_camera_a_bundle_is_seen_from_its_own_side(toys, tmp_path, side):
    for name, more in (("auto", ()), ("named", ("-cam", side.same_as))):
        made = run("-i", toys / f"{side.bundle}.trk", "-o", tmp_path / f"{name}.png", "-size", 200, 150, *more)
        assert made.status == 0
    assert (tmp_path / "auto.png").read_bytes() == (tmp_path / "named.png").read_bytes()


def test_several_cameras_make_a_strip_and_several_bundles_have_colours_of_their_own(toys, tmp_path):
    made = run("-i", toys / "left.trk", toys / "right.trk", "-o", tmp_path / "a.png", "-glass", "default_glass",
               "-roi", toys / "mask.nii.gz", "-roi_color", "#ff00ff", "-roi_opacity", 1,
               "-cam", "Sagittal_L", "Axial", "Coronal_A", "-size", 300, 150, "-dpi", 200)  # fmt: skip
    assert made.status == 0, made.err
    pixels = picture(tmp_path / "a.png")
    assert pixels.shape[0] == 150
    assert pixels.shape[1] > 300
    assert Image.open(tmp_path / "a.png").info["dpi"][0] == pytest.approx(200, abs=0.1)
    assert (pixels[..., 2] > pixels[..., 0] + 50).sum() > 50
    assert (pixels[..., 0] > pixels[..., 2] + 50).sum() > 50
    magenta = (pixels[..., 0] > 100) & (pixels[..., 2] > 100) & (pixels[..., 1] < 40)
    assert magenta.sum() > 20


def test_a_bundle_that_is_not_in_mni_space_is_said_to_be_drawn_in_the_wrong_place(toys, tmp_path, warned):
    bundle = read_bundle(toys / "left.trk")
    write_bundle(tmp_path / "native.trk", bundle.with_points(bundle.points + np.array([90, 126, 72])), MNI)
    for path, expected in ((toys / "left.trk", False), (tmp_path / "native.trk", True)):
        assert run("-i", path, "-o", tmp_path / "a.png", "-glass", "default_glass", "-size", 90, 60).status == 0
        assert ("not in MNI space" in warned()) is expected


def test_a_glass_brain_can_be_a_mask_or_a_surface_of_ones_own(toys, tmp_path):
    from importlib.util import find_spec

    surface = Path(find_spec("nilearn").origin).parent / "datasets" / "data" / "fsaverage5" / "pial_left.gii.gz"
    made = {}
    for name, glass in (("mask", toys / "mask.nii.gz"), ("surface", surface), ("none", "")):
        path = tmp_path / f"{name}.png"
        assert run("-i", toys / "left.trk", "-o", path, "-glass", glass, "-size", 120, 90).status == 0
        made[name] = path.read_bytes()
    assert len(set(made.values())) == 3


def test_too_many_streamlines_are_thinned_out_and_that_is_said(toys, tmp_path, warned):
    assert run("-i", toys / "left.trk", "-o", tmp_path / "a.png", "-max", 5, "-size", 90, 60).status == 0
    assert "5 of 21 streamlines are drawn" in warned()


def test_a_transparent_picture_has_no_background(toys, tmp_path):
    assert run("-i", toys / "left.trk", "-o", tmp_path / "a.png", "-transparent", "-size", 90, 60).status == 0
    alpha = picture(tmp_path / "a.png")[..., 3]
    assert alpha.min() == 0
    assert alpha.max() == 255


def test_two_runs_write_the_same_bytes(toys, tmp_path):
    for name in ("a", "b"):
        run("-i", toys / "left.trk", "-o", tmp_path / f"{name}.png", "-glass", "default_glass", "-size", 120, 90)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_showing_without_a_display_writes_the_picture_and_says_so(toys, tmp_path, warned, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert run("-i", toys / "left.trk", "-o", tmp_path / "a.png", "-size", 90, 60, "-show").status == 0
    assert "no display" in warned()
    assert (tmp_path / "a.png").exists()


def test_a_renderer_that_is_killed_fails_no_run(toys, tmp_path, warned, monkeypatch):
    monkeypatch.setattr(scenes, "_CHILD", "import os; os.kill(os.getpid(), 9)")
    made = run("-i", toys / "left.trk", "-o", tmp_path / "a.png", "-size", 90, 60, engine="auto")
    assert made.status == 0
    assert "SIGKILL" in warned()
    assert picture(tmp_path / "a.png").shape == (60, 90, 4)


def test_a_home_that_cannot_be_written_and_another_current_directory_do_no_harm(toys, tmp_path):
    code = "import sys; from spectra_bids.cli.viz import main_viz; sys.exit(main_viz(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "-i", "left.trk", "-o", str(tmp_path / "a.png"), "-size", "90", "60"]
    environment = {**os.environ, "HOME": "/nowhere", "XDG_RUNTIME_DIR": "/nowhere"}
    done = subprocess.run(command, cwd=toys, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.png").exists()
