"""participant.pictures: one renderer per subject, nothing drawn twice, and no picture that fails fails a run."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spectra_bids.figures import scenes
from spectra_bids.participant import pictures
from spectra_bids.participant.pictures import threads
from spectra_bids.settings import ParticipantSettings, RunSettings

BUNDLES = ("AFL", "CCForcepsMajor", "CSTR")
#: A renderer that draws without a driver, after doing something else.
STAND_IN = """
import os, sys
sys.path.append(sys.argv[1])
import numpy as np
from spectra_bids.figures import scenes
def draw(scene):
    {deed}
    return np.full((scene.size[1], scene.size[0], 4), 200, np.uint8)
scenes._choose_adapter, scenes._draw = (lambda: None), draw
scenes.child(sys.argv[2])
"""


@pytest.fixture
def one(study, tmp_path, monkeypatch, cli):
    """Run the participant level over the study's first subject: `one(option, ...)` -> how it ended."""
    ignored = shutil.ignore_patterns("sub-0[2-9]", "sub-1*")
    shutil.copytree(study.bids, tmp_path / "bids", ignore=ignored)
    monkeypatch.chdir(tmp_path)

    def run(*options: str, draw: str = "bundles"):
        return cli("bids", "out", "participant", "--atlas", study.atlas, "--n-procs", "1", "--pictures", draw, *options)

    return run


@pytest.fixture
def stand_in(monkeypatch):
    """Let the renderer be the stand-in; returns the list of renderers that were started."""
    started = []
    popen = subprocess.Popen
    monkeypatch.setattr(scenes, "_CHILD", STAND_IN.replace("{deed}", "pass"))
    monkeypatch.setattr(scenes.subprocess, "Popen", lambda *a, **k: started.append(a) or popen(*a, **k))
    return started


def files() -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(Path("out/sub-01/figures").glob("*.png"))}


def page() -> str:
    return Path("out/sub-01.html").read_text()


def inodes() -> dict[str, int]:
    return {str(p): p.stat().st_ino for p in Path("out").rglob("*") if p.is_file() and "logs" not in p.parts}


def test_every_bundle_has_a_picture_on_disk_and_on_the_page_by_one_renderer(one, stand_in):
    assert one().status == 0
    assert [name.split("_bundle-")[1] for name in files()] == [f"{b}_desc-picture_tractometry.png" for b in BUNDLES]
    for content in files().values():
        image = Image.open(io.BytesIO(content))
        assert image.height == 320
        assert image.width > 2 * image.height
    assert page().count('src="data:image/webp;base64,') == 3
    assert len(stand_in) == 1


def test_a_second_run_draws_nothing_and_touches_no_file(one, stand_in):
    one()
    before = inodes()
    ended = one("-v")
    assert "was done already" in ended.err
    assert inodes() == before
    assert len(stand_in) == 1


def test_pictures_that_were_left_out_are_drawn_when_they_are_asked_for_and_the_tables_stay(one, stand_in):
    one(draw="none")
    assert not files()
    assert "Pictures were left out (--pictures none)" in page()
    before = {k: v for k, v in inodes().items() if k.endswith((".tsv", ".json"))}
    one()
    assert len(files()) == 3
    assert page().count("data:image/webp") == 3
    assert {k: v for k, v in inodes().items() if k in before} == before


def test_one_picture_that_is_gone_is_drawn_again_and_the_others_stay(one, stand_in):
    one()
    gone = next(p for p in Path("out/sub-01/figures").glob("*CSTR*.png"))
    before = {k: v for k, v in inodes().items() if k.endswith(".png") and k != str(gone)}
    gone.unlink()
    one()
    assert gone.is_file()
    assert {k: v for k, v in inodes().items() if k in before} == before


def test_a_session_that_is_computed_anew_has_new_pictures(one, stand_in):
    one()
    for path in Path("out/sub-01/figures").glob("*.png"):
        path.write_bytes(b"old")
    one("--force")
    assert all(content != b"old" for content in files().values())


def test_bundles_that_are_placed_again_look_as_they_did(one, monkeypatch):
    monkeypatch.setattr(scenes, "_by_children", lambda *_: ({}, ""))  # matplotlib draws all, quickly enough
    one()
    first = files()
    shutil.rmtree("out/sub-01/figures")
    one()
    assert files() == first
    assert len(set(first.values())) == 3


def test_reports_only_draws_nothing_and_takes_the_pictures_that_are_there(one, stand_in):
    one()
    before = page()
    Path("out/sub-01.html").unlink()
    assert one("--reports-only").status == 0
    assert page() == before
    for path in Path("out/sub-01/figures").glob("*AFL*.png"):
        path.unlink()
    one("--reports-only")
    assert page().count("data:image/webp") == 2
    assert "No picture: it could not be drawn" in page()
    assert len(stand_in) == 1


@pytest.mark.parametrize("deed", ["os.kill(os.getpid(), 9)", "os.abort()", "raise RuntimeError('out of buffers')"])
def test_a_renderer_that_dies_fails_no_run(one, monkeypatch, deed):
    monkeypatch.setattr(scenes, "_CHILD", STAND_IN.replace("{deed}", deed))
    monkeypatch.setattr("spectra_bids.figures.scene_plain.draw_plainly", _blank)
    ended = one()
    assert ended.status == 0
    assert "matplotlib draws 9 of 9" in ended.err
    assert page().count("data:image/webp") == 3


def test_without_a_vulkan_driver_a_run_draws_by_matplotlib(one, monkeypatch, tmp_path):
    for name in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES"):
        monkeypatch.setenv(name, str(tmp_path / "none.json"))
    monkeypatch.setattr("spectra_bids.figures.scene_plain.draw_plainly", _blank)
    ended = one()
    assert ended.status == 0
    assert "matplotlib draws 9 of 9 3D pictures" in ended.err
    assert len(files()) == 3


def test_where_nothing_can_draw_the_run_is_done_and_the_page_says_so(one, monkeypatch):
    def fails(*_, **__):
        raise MemoryError("no room for a picture")

    monkeypatch.setattr(pictures, "draw", fails)
    ended = one()
    assert ended.status == 0
    assert "no 3D pictures: MemoryError: no room for a picture" in ended.err
    assert not files()
    assert "No picture: it could not be drawn" in page()
    assert not list(Path("out/sub-01").glob("log/*/crash*"))
    assert len(list(Path("out/sub-01/dwi").glob("*.tsv"))) == 3


def test_sigterm_while_pictures_are_drawn_ends_with_75_and_the_next_run_draws_them(one, monkeypatch):
    monkeypatch.setattr(
        scenes, "_CHILD", STAND_IN.replace("{deed}", "os.kill(os.getppid(), 15); import time; time.sleep(60)")
    )
    assert one().status == 75
    assert not files()
    monkeypatch.setattr(scenes, "_CHILD", STAND_IN.replace("{deed}", "pass"))
    ended = one("-v")
    assert ended.status == 0
    assert "was done already" in ended.err
    assert len(files()) == 3


def test_a_picture_that_cannot_be_read_is_left_out_of_the_page(one, stand_in):
    one()
    next(Path("out/sub-01/figures").glob("*AFL*.png")).write_bytes(b"half a file")
    assert one("--reports-only").status == 0
    assert page().count("data:image/webp") == 2


@pytest.mark.parametrize(("cores", "procs", "wanted"), [(8, 1, 8), (8, 4, 2), (2, 8, 1), (8, 3, 2)])
def test_renderers_share_the_cores_of_the_processes(cores, procs, wanted, monkeypatch):
    monkeypatch.setattr(pictures.os, "sched_getaffinity", lambda _: set(range(cores)))
    run = RunSettings(Path("bids"), Path("out"), n_procs=procs)
    assert threads(ParticipantSettings(run, Path("atlas"))) == wanted


def test_the_renderer_gets_the_threads_that_it_may_have(one, monkeypatch):
    seen = []
    popen = subprocess.Popen
    monkeypatch.setattr(scenes, "_CHILD", STAND_IN.replace("{deed}", "pass"))
    monkeypatch.delenv("LP_NUM_THREADS", raising=False)
    monkeypatch.setattr(
        scenes.subprocess, "Popen", lambda *a, **k: seen.append(k["env"]["LP_NUM_THREADS"]) or popen(*a, **k)
    )
    monkeypatch.setattr(pictures, "threads", lambda _: 3)
    one()
    assert seen == ["3"]


def _blank(scene):
    return np.full((scene.size[1], scene.size[0], 4), 100, np.uint8)
