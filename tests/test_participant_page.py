"""participant.page: a page of what is on disk, and the command on it that makes the same again."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from spectra_bids.cli.app import parse, participant_settings, run_settings
from spectra_bids.dataset.atlases import read_atlas
from spectra_bids.dataset.grids import load_grid
from spectra_bids.participant.page import subject_command, write_page
from spectra_bids.settings import GridSettings, ParticipantSettings, ProfileSettings, RunSettings


@pytest.mark.parametrize(
    "made",
    [
        {},
        {"scalars": ("fa", "dki_md"), "bundles": ("CST_L", "Left Arcuate")},
        {"profile": ProfileSettings(GridSettings(4.12345678, 3, 30, 7, "spline", "distance"), 3, 2, "slr", 9)},
        {"profile": ProfileSettings(GridSettings(robust="none"), registration="none")},
    ],
    ids=["defaults", "selection", "numbers", "choices"],
)
def test_the_command_on_a_page_parses_to_the_same_settings(made, tmp_path):
    for name in ("my bids", "the atlas", "maps"):
        (tmp_path / name).mkdir()
    run = RunSettings(tmp_path / "my bids", tmp_path / "out", derivatives=(("maps", tmp_path / "maps"),))
    settings = ParticipantSettings(run, tmp_path / "the atlas", **made)
    words = shlex.split(subject_command(settings, "01"))
    assert words[0] == "spectra-bids"
    parsed = parse(words[1:])
    again = participant_settings(parsed, run_settings(parsed, words[1:], ""))
    for field in ("atlas", "scalars", "bundles", "profile"):
        assert getattr(again, field) == getattr(settings, field)
    assert again.run.derivatives == run.derivatives
    assert again.run.participant_labels == ("01",)


@pytest.fixture
def written(study, profiles):
    """A page written from tables alone, for other settings of the run than those that made them."""
    run = RunSettings(study.bids, profiles, n_procs=7, verbose=2, run_uuid="x")
    settings = ParticipantSettings(run, study.atlas, pictures="none")
    atlas = read_atlas(study.atlas)
    grids = {n: load_grid(profiles, "demo", n) for n in atlas.bundles}

    def write(subject: str, crashes=()) -> str:
        return write_page(settings, atlas, grids, subject, crashes).read_text()

    return write


def test_a_page_does_not_depend_on_how_it_was_run(written, study, profiles):
    made = (study.out / "sub-04.html").read_text()
    assert written("04").replace(str(profiles), str(study.out)) == made


def test_a_page_says_what_is_missing_and_where_numbers_come_from(written, profiles):
    text = written("04")
    assert "no bundle" in text
    assert "AFL" in text
    sidecar = json.loads(next(profiles.glob("sub-04/dwi/*_desc-bundle_tractometry.json")).read_text())
    for uri, digest in sidecar["SourceHashes"].items():
        assert uri in text
        assert digest[:16] in text
    assert sidecar["SettingsHash"] in text


def test_a_crash_is_on_the_page_beside_what_is_done(written):
    text = written("04", (("sub-04_ses-x", "maps/<b>fa</b>.nii.gz is empty. Copy it again."),))
    assert "1 job crashed" in text
    assert "maps/&lt;b&gt;fa&lt;/b&gt;.nii.gz is empty" in text
    assert "demo_wm" in text


def test_a_subject_without_tables_has_a_page_that_says_so(written):
    assert "No session has results" in written("77", (("sub-77", "nothing there"),))


def test_figures_stand_beside_the_tables_under_names_of_the_session(written, profiles):
    figures = profiles / "sub-04" / "figures"
    for path in list(figures.iterdir()):
        path.unlink()
    written("04")
    names = sorted(Path(p).name for p in figures.iterdir())
    assert names
    assert all(n.startswith("sub-04_") and n.endswith("_tractometry.svg") for n in names)
