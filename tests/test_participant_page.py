"""participant.page: a page of what is on disk, and the command on it that makes the same again."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from spectra_bids.cli.app import parse, participant_settings, run_settings
from spectra_bids.dataset.atlases import read_atlas
from spectra_bids.dataset.grids import load_grid
from spectra_bids.dataset.names import norms_file
from spectra_bids.dataset.outputs import sha256
from spectra_bids.group.norms import write_norms
from spectra_bids.group.tables import session_tables
from spectra_bids.participant.page import subject_command, write_page
from spectra_bids.settings import GridSettings, ParticipantSettings, ProfileSettings, RunSettings


@pytest.mark.parametrize(
    "made",
    [
        {},
        {"scalars": ("fa", "dki_md"), "bundles": ("CST_L", "Left Arcuate")},
        {"profile": ProfileSettings(GridSettings(4.12345678, 3, 30, 7, "spline", "distance"), 3, 2, "slr", 9)},
        {"profile": ProfileSettings(GridSettings(robust="none"), registration="none"), "pictures": "none"},
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
    for field in ("atlas", "scalars", "bundles", "profile", "pictures"):
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


@pytest.fixture
def checksums(profiles):
    path = session_tables(profiles, "1D")["path"][0]
    return json.loads(path.with_suffix(".json").read_text())["GridChecksums"]


def test_a_page_draws_the_cohort_s_band_and_says_where_it_comes_from(written, profiles, checksums):
    without = written("03")
    assert "one standard deviation over the node's points" in without.replace("&#39;", "'")
    assert "outside the cohort" not in without
    write_norms(profiles, checksums)
    text = written("03")
    assert "the cohort of 12 sessions" in text
    assert "group/desc-profile1D_norms.tsv" in text
    assert sha256(norms_file(profiles))[:16] in text
    assert "nodes outside the cohort" in text.replace("&#39;", "'")


def test_a_band_of_another_grid_is_not_drawn(written, profiles, checksums):
    without = written("03")
    write_norms(profiles, dict.fromkeys(checksums, "another"))
    assert written("03") == without
    write_norms(profiles, {**dict.fromkeys(checksums, "another"), "CSTR": checksums["CSTR"]})
    text = written("03").replace("&#39;", "'")
    assert "the cohort of 12 sessions" in text
    assert text.count("outside the cohort's band</span>") == 1  # the card of CSTR


def test_norms_that_cannot_be_read_are_done_without(written, profiles, checksums):
    without = written("03")
    write_norms(profiles, checksums)
    norms_file(profiles).with_suffix(".json").unlink()
    assert written("03") == without


def test_reports_only_after_the_group_level_draws_the_band_and_needs_no_input(study, profiles, cli, tmp_path):
    assert cli(study.bids, profiles, "group", "--formula", "value ~ age", "--profile", "1D").status == 0
    (tmp_path / "empty").mkdir()
    ended = cli(tmp_path / "empty", profiles, "participant", "--atlas", study.atlas, "--reports-only", "--n-procs", "1")
    assert ended.status == 0, ended.err
    pages = sorted(profiles.glob("sub-*.html"))
    assert len(pages) == 12
    assert all("the cohort of 12 sessions" in page.read_text() for page in pages)


def test_reports_only_tells_the_settings_of_the_tables_not_its_own(study, profiles, cli):
    run = (study.bids, profiles, "participant", "--atlas", study.atlas, "--n-procs", "1", "--participant-label", "03")
    assert cli(*run, "--reports-only").status == 0
    before = (profiles / "sub-03.html").read_bytes()
    ended = cli(*run, "--reports-only", "--min-points", "9", "-s", "11", "--registration", "slr")
    assert ended.status == 0, ended.err
    assert (profiles / "sub-03.html").read_bytes() == before


def test_reports_only_makes_the_pages_of_the_subjects_that_are_selected(study, profiles, cli):
    for page in profiles.glob("sub-*.html"):
        page.unlink()
    run = (study.bids, profiles, "participant", "--atlas", study.atlas, "--n-procs", "1", "--reports-only")
    ended = cli(*run, "--participant-label", "sub-03", "99")
    assert ended.status == 0
    assert "no tables, and so no page, of sub-99" in ended.err
    assert [page.name for page in profiles.glob("sub-*.html")] == ["sub-03.html"]
    assert cli(*run, "--participant-label", "99").status == 66


def test_a_page_says_what_can_be_used_and_what_not(written):
    text = written("07")
    assert "2 of 3 bundles can be used as they are" in text
    assert "only 12 streamlines (CCForcepsMajor)" in text


def test_panels_that_have_no_room_stay_in_their_files_and_are_named(written, profiles, monkeypatch):
    full = written("03")
    along, across = (next(profiles.glob(f"sub-03/figures/*profile{d}*.svg")).stat().st_size for d in ("1D", "2D"))
    monkeypatch.setattr("spectra_bids.report.cards.MOST_PANEL_BYTES", along + across // 2)
    text = written("03")
    assert len(text) < len(full)
    assert "are in the figures folder only: sub-03_desc-profile2D_scalar-demowm_tractometry" in text
    assert list(profiles.glob("sub-03/figures/*profile2D*.svg"))
