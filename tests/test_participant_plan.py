"""--dry-run at participant level, and how many processes --mem has room for."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

import pytest

from spectra_bids.dataset.atlases import read_atlas
from spectra_bids.errors import UsageError
from spectra_bids.estimate import PROCESS_GB
from spectra_bids.estimate import session as session_estimate
from spectra_bids.participant.plan import SAMPLE, processes, sample
from spectra_bids.participant.session import Session
from spectra_bids.settings import ParticipantSettings, RunSettings

BUNDLES = ("AFL", "CCForcepsMajor", "CSTR")
SUBJECTS = {f"{k:02d}": [Session(f"{k:02d}", None)] for k in range(1, 13)}


@pytest.fixture
def settings(study, tmp_path):
    def make(**run):
        return ParticipantSettings(
            RunSettings(study.bids, tmp_path / "out", n_procs=8, **run), study.atlas, pictures="none"
        )

    return make


def points(bids: Path, subject: str) -> int:
    from spectra_bids.io.tractograms import read_bundle

    return sum(len(read_bundle(p).points) for p in bids.glob(f"derivatives/*/sub-{subject}/dwi/*.trk"))


def test_the_plan_counts_what_the_files_hold_and_writes_nothing(study, tmp_path, cli):
    out = tmp_path / "out"
    ended = cli(study.bids, out, "participant", "--atlas", study.atlas, "--dry-run", "--n-procs", "3")
    assert ended.status == 0, ended.err
    line = re.search(r"^  sub-01 +(\d+) +([\d,]+) +1 +[\d.]+ s +[\d.]+ GB$", ended.out, re.MULTILINE)
    assert line, ended.out
    assert line[1] == "3"
    assert int(line[2].replace(",", "")) == points(study.bids, "01")
    assert re.search(r"5 of 12 sessions looked at; all, with 3 processes: [\d.]+ s, [\d.]+ GB", ended.out)
    assert not out.exists()


def test_the_estimate_grows_with_bundles_and_subjects(study, tmp_path, cli):
    def total(*options: str) -> float:
        ended = cli(
            study.bids, tmp_path / "out", "participant", "--atlas", study.atlas, "--dry-run", "--n-procs", "1", *options
        )
        found = re.search(r"all, with 1 process: ([\d.]+) s", ended.out)
        assert found, ended.out
        return float(found[1])

    assert total("--participant-label", "01") < total()
    assert total("--bundle", "AFL") < total()


def test_a_session_that_cannot_be_read_is_named_and_the_others_estimated(study, tmp_path, cli):
    bids = tmp_path / "bids"
    shutil.copytree(study.bids, bids, ignore=shutil.ignore_patterns("sub-0[3-9]", "sub-1*"))
    next(bids.glob("derivatives/*/sub-02/dwi/*CST*.trk")).write_bytes(b"damaged")
    ended = cli(bids, tmp_path / "out", "participant", "--atlas", study.atlas, "--dry-run")
    assert ended.status == 0
    assert re.search(r"^  sub-02 +The header of .*CST.*\.trk is cut short", ended.out, re.MULTILINE)
    assert re.search(r"1 of 2 sessions looked at; all", ended.out)


def test_sessions_are_looked_at_from_the_first_to_the_last(settings, study):
    sessions = [s for group in SUBJECTS.values() for s in group]
    found = sample(settings(), read_atlas(study.atlas), BUNDLES, sessions)
    assert [s.session.subject for s in found] == ["01", "03", "06", "09", "12"]
    assert len(found) == SAMPLE
    assert [s.session for s in sample(settings(), read_atlas(study.atlas), BUNDLES, sessions[:2])] == sessions[:2]


def test_the_memory_bound_limits_the_processes(settings, study, caplog):
    atlas = read_atlas(study.atlas)
    most = max(session_estimate(s.size).memory_gb for s in sample(settings(), atlas, BUNDLES, SUBJECTS["01"]) if s.size)
    assert processes(settings(), atlas, BUNDLES, SUBJECTS) == 8
    assert processes(settings(mem_gb=100.0), atlas, BUNDLES, SUBJECTS) == 8
    assert processes(settings(mem_gb=PROCESS_GB + 3.5 * most), atlas, BUNDLES, SUBJECTS) == 3
    assert "has room for 3 of the 8 processes" in caplog.text
    assert processes(settings(mem_gb=1.2 * most), atlas, BUNDLES, SUBJECTS) == 1
    with pytest.raises(UsageError, match=r"--mem 0\.05G is too little: the largest session looked at needs about"):
        processes(settings(mem_gb=0.05), atlas, BUNDLES, SUBJECTS)
    one = dataclasses.replace(settings(mem_gb=0.05), run=dataclasses.replace(settings().run, reports_only=True))
    assert processes(one, atlas, BUNDLES, SUBJECTS) == 8
