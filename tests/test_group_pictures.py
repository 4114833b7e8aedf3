"""Pictures behind the 3D view of a group page: which, how large, the same each time; none of them ever fails a run."""

from __future__ import annotations

import io
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from strategies import ribbon
from test_report_build import group as group_model

from spectra_bids.bundle import Bundle
from spectra_bids.dataset.names import streamlines_file
from spectra_bids.dataset.outputs import read_table
from spectra_bids.dataset.validate import validate
from spectra_bids.figures import scenes
from spectra_bids.figures.scene_colours import GREY
from spectra_bids.figures.scene_lines import display_lines
from spectra_bids.geometry.grid import build_grid
from spectra_bids.group import pictures
from spectra_bids.group.pictures import camera_of, draw_pictures, small, stored_lines
from spectra_bids.io.tractograms import read_bundle
from spectra_bids.report.words import families

NAMES = ("AF_L", "CST_R", "CC_Minor")
FORMULA = ("--formula", "value ~ group + age + (1|site)", "--profile", "1D", "--model-name", "m")
KILLED = "import os; os.kill(os.getpid(), 9)"


@pytest.fixture(autouse=True)
def all_pictures(monkeypatch):
    """The other tests go without pictures (conftest.py), these are about them."""
    monkeypatch.setattr(pictures, "MOST_PICTURES", 24)


@pytest.fixture(scope="module")
def lines():
    found = {}
    for k, name in enumerate(NAMES):
        bundle = ribbon(k, n=40, bend=0.2 * k)
        found[name] = display_lines(bundle, build_grid(bundle, name, ns=12, nr=3), 1500)
    return found


def page(lines: Any, **settings: Any) -> Any:
    from dataclasses import replace

    return replace(group_model(**settings), lines=lines)


class Camera(NamedTuple):
    spread: tuple[float, float, float]
    centre: tuple[float, float, float]
    name: str


@pytest.mark.parametrize(
    "camera",
    [
        Camera((5, 60, 40), (-30, 0, 0), "Sagittal_L"),
        Camera((5, 60, 40), (30, 0, 0), "Sagittal_R"),
        Camera((60, 5, 40), (0, -60, 0), "Coronal_P"),
        Camera((60, 5, 40), (0, 30, 0), "Coronal_A"),
        Camera((60, 40, 5), (0, 0, 20), "Axial"),
    ],
    ids=lambda camera: camera.name,
)
def test_the_camera_sees_the_broad_side_from_where_the_bundle_lies(camera):
    points = np.random.default_rng(0).uniform(-1, 1, (50, 3)) * camera.spread + camera.centre
    assert camera_of(Bundle.from_streamlines([points])) == camera.name


def test_the_bundles_that_stand_out_are_drawn_within_the_budget(lines, monkeypatch):
    given = page(lines)
    chosen = [one.key for one in pictures._chosen(given)]
    assert chosen == [(f.kind, f.scalar, f.contrast, "AF_L") for f in families(given)]
    monkeypatch.setattr(pictures, "MOST_PICTURES", 1)
    assert [one.key for one in pictures._chosen(given)] == chosen[:1]


def test_several_bundles_of_a_family_are_seen_together_first(lines):
    from dataclasses import replace

    given = page(lines)
    blocks = {kind: table.assign(selected=True) for kind, table in given.blocks.items()}
    chosen = pictures._chosen(replace(given, blocks=blocks))
    assert [len(one.bundles) for one in chosen] == [3, 3, 1, 1, 1, 1, 1, 1]
    assert [one.key[3] for one in chosen[:4]] == ["", "", "AF_L", "AF_L"]
    assert len({one.key for one in chosen}) == len(chosen)


def test_where_nothing_was_found_the_smallest_p_is_drawn_once(lines):
    assert [one.key[3] for one in pictures._chosen(page(lines, found=False))] == ["AF_L"]


def test_a_bundle_is_painted_by_its_cells_and_what_has_no_value_is_grey(lines):
    given = page(lines)
    one = next(w for w in pictures._chosen(given) if w.key[0] == "2D")
    scene = pictures._scene(lines, one, ())
    part = lines["AF_L"]
    rows = one.family.stats.set_index(["bundle", "s", "r"])["value"]
    value = rows.loc["AF_L"].reindex(list(zip(part.where.s, part.where.r_bin, strict=True))).to_numpy()
    grey = np.isclose(scene.colours, GREY).all(axis=1)
    np.testing.assert_array_equal(grey, np.isnan(value))
    assert (scene.colours[value < -5, 2] > scene.colours[value < -5, 0]).all()  # blue: the signed map's lower end


def test_a_picture_in_the_page_is_small_and_looks_as_the_file(lines, monkeypatch):
    monkeypatch.setattr(scenes, "_CHILD", "raise SystemExit(1)")
    drawn = draw_pictures(page(lines))
    assert len(drawn) == 2
    for picture in drawn.values():
        content = small(picture)
        assert len(content) <= 60_000
        shown = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(float)
        assert np.abs(shown - picture.pixels[..., :3]).mean() < 3


class Broken(NamedTuple):
    name: str
    said: str
    files: int


@pytest.mark.parametrize(
    "broken",
    [
        Broken("no vulkan", "Vulkan", 1),
        Broken("killed", "SIGKILL", 1),
        Broken("no renderer at all", "out of colours", 0),
        Broken("damaged streamlines", "no 3D view of CSTR", 1),
        Broken("no streamlines", "", 0),
    ],
    ids=lambda broken: broken.name,
)
def test_a_group_run_ends_well_whatever_becomes_of_its_pictures(study, profiles, cli, monkeypatch, caplog, broken):
    if broken.name == "no vulkan":
        for name in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES"):
            monkeypatch.setenv(name, str(profiles / "none.json"))
    elif broken.name == "killed":
        monkeypatch.setattr(scenes, "_CHILD", KILLED)
    elif broken.name == "no renderer at all":
        monkeypatch.setattr(scenes, "_CHILD", KILLED)
        monkeypatch.setattr("spectra_bids.figures.scene_plain.draw_plainly", _fail)
    elif broken.name == "damaged streamlines":
        monkeypatch.setattr(scenes, "_CHILD", KILLED)
        monkeypatch.setattr(pictures, "MOST_PICTURES", 1)
        streamlines_file(profiles, "demo", "CSTR").write_bytes(b"mrtrix tracks\n")
    else:
        for path in (profiles / "atlas").glob("*.tck"):
            path.unlink()
    with caplog.at_level(logging.WARNING, "spectra_bids"):
        ended = cli(study.bids, profiles, "group", *FORMULA)
    assert ended.status == 0, ended.err
    assert broken.said in ended.err + caplog.text
    assert (profiles / "model-m.html").is_file()
    found = list((profiles / "group" / "model-m" / "figures").glob("*desc-scene1D.png"))
    assert (len(found) > 0) == bool(broken.files)
    text = (profiles / "model-m.html").read_text()
    assert ('id="spectra-scene-lines"' in text) == (broken.name != "no streamlines")
    assert not read_table(profiles / "group" / "model-m" / "model-m_desc-profile1D_stats.tsv").empty


def _fail(*_: object) -> None:
    raise RuntimeError("out of colours")


def test_two_runs_on_one_machine_give_the_same_pictures_and_page(study, profiles, tmp_path):
    """In processes of their own, with one processor and with all."""
    made = []
    for k, cpus in enumerate((os.sched_getaffinity(0), {min(os.sched_getaffinity(0))})):
        out = Path(shutil.copytree(profiles, tmp_path / f"run{k}" / "out"))
        code = f"import os, sys; os.sched_setaffinity(0, {cpus}); from spectra_bids.cli import main; sys.exit(main())"
        command = [sys.executable, "-c", code, study.bids, out, "group", *FORMULA]
        subprocess.run([*map(str, command)], check=True, capture_output=True)
        files = [*sorted((out / "group" / "model-m" / "figures").glob("*.png")), out / "model-m.html"]
        made.append({path.name: path.read_bytes().replace(bytes(out), b"OUT") for path in files})
    assert len(made[0]) > 1
    assert made[0] == made[1]


def test_streamlines_come_from_the_participant_level_on_the_cells_of_the_grid(study):
    from spectra_bids.dataset.grids import load_grid

    grids = {name: load_grid(study.out, "demo", name) for name in ("AFL", "CSTR", "CCForcepsMajor")}
    found = stored_lines(study.out, grids)
    assert list(found) == ["AFL", "CSTR", "CCForcepsMajor"]
    assert all(part.cells.min() >= 0 and part.cells.max() < np.prod(part.shape) for part in found.values())
    assert [f for f in validate(study.out) if "tck" in f.path] == []


def test_the_participant_level_makes_lost_streamlines_anew_with_the_same_bytes(study, profiles, cli):
    path = streamlines_file(profiles, "demo", "CSTR")
    kept = path.read_bytes()
    assert 0 < read_bundle(path).n_streamlines <= 300
    path.unlink()
    ended = cli(
        study.bids, profiles, "participant", "--atlas", study.atlas, "--n-procs", 1, "--participant-label", "01"
    )
    assert ended.status == 0, ended.err
    assert path.read_bytes() == kept


def test_validate_names_streamlines_that_are_damaged_or_belong_to_nothing(profiles):
    path = streamlines_file(profiles, "demo", "CSTR")
    path.write_bytes(path.read_bytes()[:-7])
    path.with_name("atlas-demo_bundle-Gone_streamlines.tck").write_bytes(b"mrtrix tracks\n")
    said = {Path(f.path).name: f.message for f in validate(profiles) if f.path.endswith(".tck")}
    assert "cut short" in said[path.name]
    assert "no grid" in said["atlas-demo_bundle-Gone_streamlines.tck"]


def test_values_stand_where_their_cell_is():
    rows = pd.DataFrame({"bundle": "A", "s": [0, 2], "r": [1, 0], "value": [1.5, -2.0]})
    table = pictures._values(rows, "A", (3, 2))
    np.testing.assert_array_equal(table, [[np.nan, 1.5], [np.nan, np.nan], [-2, np.nan]])
    flat = pictures._values(rows.drop(columns="r"), "A", (3, 2))
    np.testing.assert_array_equal(flat, [1.5, np.nan, -2])
