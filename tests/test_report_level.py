"""--report-level group: nothing of a single person in the page and its figures; everything else stays."""

from __future__ import annotations

import base64
import gzip
import re
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spectra_bids.cli.app import group_settings, parse
from spectra_bids.dataset.outputs import read_table
from spectra_bids.figures.plots import _mean_and_interval
from spectra_bids.group.command import group_command
from spectra_bids.settings import GroupSettings, RunSettings

FORMULA = "value ~ group + age + (1|site)"


def decoded(text: str) -> list[bytes]:
    """Every base64 block of a page as bytes, unpacked where it is packed; JSON strings may stand inside."""
    found = []
    for block in re.findall(r"[A-Za-z0-9+/]{40,}={0,2}", text):
        try:
            raw = base64.b64decode(block + "=" * (-len(block) % 4))
        except ValueError:
            continue
        found.append(raw)
        for unpack in (gzip.decompress, zlib.decompress, lambda b: zlib.decompress(b, -15)):
            try:
                found.append(unpack(raw))
                break
            except (OSError, zlib.error, EOFError):
                continue
    return found


def holds_number(raw: bytes, value: float) -> bool:
    """Whether bytes, read as an array of numbers, hold a value to its last digit."""
    for kind in (np.float32, np.float64):
        size = np.dtype(kind).itemsize
        if (np.frombuffer(raw[: len(raw) // size * size], kind) == kind(value)).any():
            return True
    return False


# --- validation ------------------------------------------------------------------------------------------------------


def options(*words):
    return parse(["bids", "out", "group", "--formula", FORMULA, *words])


def run_of(**more):
    return RunSettings(bids_dir=Path("bids"), output_dir=Path("out"), **more)


def test_the_level_comes_from_the_command_line():
    assert group_settings(options(), run_of()).report_level == "person"
    assert group_settings(options("--report-level", "group"), run_of()).report_level == "group"
    with pytest.raises(SystemExit):
        options("--report-level", "site")


def test_a_command_shows_the_level_and_at_group_level_no_labels():
    settings = GroupSettings(run=run_of(participant_labels=("wolf77", "lynx3")), formula=FORMULA)
    said = group_command(settings, "m")
    assert "wolf77" in said
    assert "--report-level" not in said
    said = group_command(replace(settings, report_level="group"), "m")
    assert "wolf77" not in said
    assert "lynx3" not in said
    assert "2 not shown" in said
    assert said.endswith("--report-level group")


# --- parts -----------------------------------------------------------------------------------------------------------


def test_a_mean_of_too_few_people_is_not_drawn():
    values = [0.5] * 6 + [np.nan, 0.5, 0.5, 0.5, 0.5, np.nan]  # at node 1 four people of six have a value
    rows = pd.DataFrame({"participant": [f"p{k}" for k in range(6)] * 2, "s": [0] * 6 + [1] * 6, "fa": values})
    mean, _, n = _mean_and_interval(rows, "fa", np.array([0, 1]), 5)
    assert n == 6
    assert mean[0] == 0.5
    assert np.isnan(mean[1])
    assert np.isfinite(_mean_and_interval(rows, "fa", np.array([0, 1]))[0]).all()


# --- the whole level -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def renamed(study, tmp_path_factory):
    """The study with ids that occur in no other word, an age that no other number has, and one person without age."""
    root = tmp_path_factory.mktemp("private")
    people = pd.read_csv(study.bids / "participants.tsv", sep="\t", dtype=str)
    new = {old: f"sub-Quagga{7919 + 31 * k}" for k, old in enumerate(people["participant_id"])}
    people["participant_id"] = people["participant_id"].map(new)
    people["age"] = [f"{20 + 3 * k}.{6113 + 7 * k}" for k in range(len(people))]
    people.loc[1, "age"] = None
    bids, out = root / "bids", root / "out"
    bids.mkdir()
    people.to_csv(bids / "participants.tsv", sep="\t", index=False, na_rep="n/a")
    for path in sorted(p for p in study.out.rglob("*") if p.is_file()):
        relative = path.relative_to(study.out).as_posix()
        if relative.split("/")[0] in ("group", "logs") or relative.endswith(".html") or "/figures/" in relative:
            continue
        old = relative.split("/")[0]
        target = out / (relative.replace(old, new[old]) if old in new else relative)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return bids, out, people


def page_texts(out):
    pages = sorted(out.glob("model-*.html"))
    figures = sorted(out.glob("group/model-*/figures/*"))
    assert pages
    assert figures
    return [
        p.read_text(encoding="utf-8") if p.suffix in (".html", ".svg") else p.read_bytes().decode("latin-1")
        for p in (*pages, *figures)
    ]


def found_of_people(texts, people):
    """Ids, and ages in full, that occur in the texts or in what they hold packed."""
    blocks = [b for text in texts for b in decoded(text)]
    everything = [*texts, *(b.decode("latin-1") for b in blocks)]
    traces = [i.removeprefix("sub-") for i in people["participant_id"]] + list(people["age"].dropna())
    hits = {trace for trace in traces for text in everything if trace in text}
    ages = people["age"].dropna().astype(float)
    return hits | {f"{age}" for age in ages if any(holds_number(raw, age) for raw in blocks)}


@pytest.mark.parametrize("formula", [FORMULA, "value ~ group + age + (1|participant_id)"], ids=["site", "person"])
def test_no_id_and_no_value_of_a_person_is_in_the_page_its_figures_or_its_payload(renamed, cli, tmp_path, formula):
    import shutil

    bids, out, people = renamed
    private = Path(shutil.copytree(out, tmp_path / "out"))
    words = (bids, private, "group", "--formula", formula, "--model-name", "m", "--n-procs", 1)
    if "participant_id" in formula:  # two rows per person, so that the factor can be fitted
        _double_sessions(private)
    shown = cli(*words)
    assert shown.status == 0, shown.err
    assert found_of_people(page_texts(private), people), "a person-level page names people: else this test is blind"
    ended = cli(*words, "--report-level", "group")
    assert ended.status == 0, ended.err
    assert found_of_people(page_texts(private), people) == set()
    page = (private / "model-m.html").read_text()
    assert "Quagga" not in page
    assert "age" in page


def _double_sessions(out):
    """Every session's table twice, as ses-1 and ses-2."""
    for folder in sorted(out.glob("sub-*/dwi")):
        for path in sorted(folder.iterdir()):
            for session in ("1", "2"):
                target = folder.parent / f"ses-{session}" / "dwi" / path.name.replace("_", f"_ses-{session}_", 1)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
            path.unlink()
        folder.rmdir()


def test_a_change_of_the_level_makes_the_page_anew_and_keeps_the_results(renamed, cli, tmp_path):
    import shutil

    bids, out, _ = renamed
    mine = Path(shutil.copytree(out, tmp_path / "out"))
    words = (bids, mine, "group", "--formula", FORMULA, "--model-name", "m", "--n-procs", 1)
    stats = mine / "group/model-m/model-m_desc-profile1D_stats.tsv"
    assert cli(*words).status == 0
    before, page = read_table(stats), (mine / "model-m.html").read_bytes()
    stray = mine / "group/model-m/figures/model-m_desc-old.svg"
    stray.write_text("sub-Quagga7919")
    assert cli(*words, "--report-level", "group").status == 0
    pd.testing.assert_frame_equal(read_table(stats), before)
    assert (mine / "model-m.html").read_bytes() != page
    assert not stray.exists()
    config = next(p for p in mine.glob("logs/*/run.toml") if 'report_level = "group"' in p.read_text())
    hidden = (mine / "model-m.html").read_bytes()
    assert cli(bids, mine, "group", "--config-file", config, "--force").status == 0
    assert (mine / "model-m.html").read_bytes() == hidden
    assert cli(*words).status == 0
    assert (mine / "model-m.html").read_bytes() == page
