"""From bundles and maps to a report by two commands: what was planted is found, said and placed, and nothing else.

The cohort is the shared tool's, smaller than the one that the benchmark of planted effects measures ten times: 20
people and 100 streamlines per bundle find the same block as 24 and 300 do, in half the time.
"""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from spectra_bids import columns
from spectra_bids.dataset.outputs import read_table

FORMULA = "value ~ group + age + sex + (1|site)"
BUNDLE = "ProjectionBrainstemCorticospinalTractL"
MODEL = "groupAgeSexSite"


class Planted(NamedTuple):
    """A cohort with an effect whose place is known, the commands that were run on it, and what they wrote."""

    bids: Path
    out: Path
    truth: dict
    commands: tuple[tuple[object, ...], ...]
    said: str


@pytest.fixture(scope="module")
def planted(shared_data, tmp_path_factory, shell):
    base = tmp_path_factory.mktemp("planted")
    tool = shared_data.parent / "tools" / "make_cohort.py"
    if not tool.is_file():
        pytest.skip(f"the tool that makes cohorts is absent ({tool})")
    bids, out = base / "bids", base / "out"
    options = ["--n", "20", "--streamlines", "100", "--at", "CST_left:0.55", "--effect", "0.15", "--seed", "0"]
    subprocess.run([sys.executable, tool, bids, *options], check=True, capture_output=True)
    commands = (
        (bids, out, "participant", "--atlas", shared_data / "atlas-hcp1065", "--n-procs", 1, "-v"),
        (bids, out, "group", "--formula", FORMULA, "--model-name", MODEL, "-v"),
    )
    ended = [shell(*command) for command in commands]
    assert [e.status for e in ended] == [0, 0], [e.err for e in ended]
    truth = json.loads((bids / "truth.json").read_text())
    return Planted(bids, out, truth, commands, ended[1].err)


def model_table(planted: Planted, dims: str, kind: str) -> pd.DataFrame:
    return read_table(planted.out / "group" / f"model-{MODEL}" / f"model-{MODEL}_desc-profile{dims}_{kind}.tsv")


def shown(path: Path) -> str:
    """What a reader of the page reads."""
    text = re.sub(r"<(style|script)\b.*?</\1>", " ", path.read_text(), flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text.replace("<wbr>", ""))).split())


@pytest.mark.parametrize("dims", ["1D", "2D"])
def test_the_planted_block_is_selected_and_no_other(planted, dims):
    blocks = model_table(planted, dims, "blocks")
    of_group = blocks[blocks["contrast"] == "group"].set_index("block")
    assert len(of_group) == 6
    assert list(of_group.index[of_group["selected"]]) == [BUNDLE]


@pytest.mark.parametrize("dims", ["1D", "2D"])
def test_the_heaviest_cluster_lies_where_the_effect_was_planted_and_has_its_sign(planted, dims):
    clusters = model_table(planted, dims, "clusters")
    heaviest = clusters[(clusters["contrast"] == "group") & (clusters["cluster"] == 1)].iloc[0]
    centre = heaviest[["x_mm", "y_mm", "z_mm"]].to_numpy(float)
    assert heaviest["bundle"] == BUNDLE
    assert np.linalg.norm(centre - planted.truth["point_mm"]) < 8
    assert heaviest["direction"] == "-"
    assert heaviest["estimate_peak"] < 0


def test_the_page_says_what_was_found_in_which_direction_and_where(planted):
    page = shown(planted.out / f"model-{MODEL}.html")
    assert FORMULA in page
    for dims in ("1D", "2D"):
        cluster = model_table(planted, dims, "clusters").iloc[0]
        said = page.partition(f"group, tensor_fa, {dims} 1 of 6 bundles selected")[2][:600]
        x, y, z = (f"{cluster[k]:.0f}".replace("-", "\N{MINUS SIGN}") for k in ("x_mm", "y_mm", "z_mm"))
        assert BUNDLE in said
        assert "Lower in patient than in control" in said
        assert f"Centre: x {x}, y {y}, z {z} mm (MNI152NLin2009aAsym)" in said
    assert "Benjamini" in page
    assert "spectra-bids" in page


def test_every_cell_is_in_the_statistics_with_its_decision(planted):
    for dims, fits in (("1D", columns.FITS_1D), ("2D", columns.FITS_2D)):
        stats = model_table(planted, dims, "stats")
        assert list(stats.columns) == [*columns.names(fits), *columns.names(columns.DECISIONS)]
        assert set(stats["contrast"]) == {"group", "age", "sex"}
        assert not stats.duplicated(["bundle", "scalar", "contrast", "s", *(["r"] if dims == "2D" else [])]).any()
        assert (stats["p"].isna() == ~stats["fit_status"].isin(["ok", "singular"])).all()
        assert stats.loc[stats["rejected"], "block_selected"].all()
        assert (stats["q_cell"].dropna() >= stats.loc[stats["q_cell"].notna(), "p"] * (1 - 1e-5)).all()


def test_the_tree_has_the_files_of_the_conventions_and_no_other(planted):
    subjects = [f"sub-{i:03d}" for i in range(1, 21)]
    stem = f"group/model-{MODEL}/model-{MODEL}"
    grids = [re.escape(p.name.split("_bundle-")[1].split("_")[0]) for p in (planted.out / "atlas").glob("*.json")]
    assert len(grids) == 19
    allowed = [
        r"dataset_description\.json|README\.md|\.bidsignore|descriptions\.tsv",
        r"desc-(profile1D|profile2D|bundle)_tractometry\.json",
        rf"atlas/atlas-hcp1065_bundle-({'|'.join(grids)})_grid\.(json|npz)",
        rf"atlas/atlas-hcp1065_bundle-({'|'.join(grids)})_streamlines\.tck",
        rf"({'|'.join(subjects)})\.html",
        rf"({'|'.join(subjects)})/dwi/\1_space-MNI152NLin6Asym_desc-(profile1D|profile2D|bundle)_tractometry\.(tsv|json)",
        rf"({'|'.join(subjects)})/figures/\1[A-Za-z0-9_+-]*\.svg",
        r"group/desc-profile(1D|2D)_tractometry\.parquet|group/tract_profiles\.csv|group/subjects\.csv",
        rf"{stem}_smdl\.json",
        rf"{stem}_bundle-({'|'.join(grids)})_desc-profile(1D|2D)_(fits|components|means)\.(tsv|json)",
        r"group/desc-(coverage|outliers|orientation|sites)_qc\.(tsv|json)",
        r"group/desc-profile1D_norms\.(tsv|json)",
        r"group/figures/desc-[A-Za-z0-9_-]+\.svg",
        r"group_qc\.html",
        rf"{stem}_rows\.(tsv|json)",
        rf"{stem}_bundle-({'|'.join(grids)})_desc-profile(1D|2D)_residuals\.(npz|json)",
        rf"{stem}_desc-profile(1D|2D)_(stats|blocks|summary|clusters|outliers)\.(tsv|json)",
        rf"group/model-{MODEL}/figures/model-{MODEL}[A-Za-z0-9_+-]*\.svg",
        rf"group/model-{MODEL}/figures/model-{MODEL}[A-Za-z0-9_+-]*_desc-scene(1D|2D)\.png",
        rf"model-{MODEL}\.html",
        r"logs/CITATION\.(md|bib)",
        r"logs/\d{8}-\d{6}_[0-9a-f-]{36}/run\.(toml|log)",
    ]
    there = sorted(p.relative_to(planted.out).as_posix() for p in planted.out.rglob("*") if p.is_file())
    assert [p for p in there if not any(re.fullmatch(a, p) for a in allowed)] == []
    for pattern in allowed:
        assert any(re.fullmatch(pattern, p) for p in there), f"nothing matches {pattern}"
    assert sum(p.endswith("_fits.tsv") for p in there) == 12
    assert sum(p.endswith("_tractometry.tsv") for p in there) == 60


def test_every_table_has_a_sidecar_that_describes_every_column(planted):
    tables = [p for p in planted.out.rglob("*.tsv") if p.name != "descriptions.tsv"]
    assert len(tables) > 70
    for path in tables:
        described = json.loads(path.with_suffix(".json").read_text())
        header = path.read_text().partition("\n")[0].split("\t")
        assert all(described.get(c, {}).get("Description") for c in header), path.name
        extra = {k for k, v in described.items() if isinstance(v, dict) and "Description" in v} - set(header)
        assert extra == set(), path.name


def test_missing_values_are_written_as_the_standard_says(planted):
    for path in planted.out.rglob("*_desc-profile2D_*.tsv"):
        cells = {cell for line in path.read_text().splitlines() for cell in line.split("\t")}
        assert not cells & {"", "nan", "NaN", "NA", "None", "inf", "-inf", "<NA>"}, path.name


def test_the_validator_of_bids_finds_no_error(planted):
    pytest.importorskip("bids_validator_deno", reason="bids-validator-deno is absent")
    validator = Path(sys.executable).with_name("bids-validator-deno")
    done = subprocess.run([validator, planted.out, "--json"], capture_output=True, text=True, check=False)
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [i for i in issues if i["severity"] == "error"] == []
    assert done.returncode == 0


def test_the_program_s_own_check_finds_no_error(planted, cli):
    ended = cli("validate", planted.out)
    assert ended.status == 0, ended.out


class Links(HTMLParser):
    """Everything that a page would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href", "data", "action")]


def test_pages_are_small_and_ask_no_other_host(planted):
    pages = {p.name: p for p in planted.out.glob("*.html")}
    assert len(pages) == 22
    for name, path in pages.items():
        limit = 10e6 if name.startswith("model-") else 5e6
        assert path.stat().st_size < limit
        assert all(link.startswith(("#", "data:")) for link in Links(path.read_text()).found)


def test_the_shared_tables_are_those_of_the_subjects(planted):
    for dims in ("1D", "2D"):
        long = pd.read_parquet(planted.out / "group" / f"desc-profile{dims}_tractometry.parquet")
        parts = []
        for path in sorted(planted.out.glob(f"sub-*/dwi/*_desc-profile{dims}_tractometry.tsv")):
            part = read_table(path)
            part.insert(0, "participant_id", path.name.split("_")[0])
            parts.append(part)
        expected = pd.concat(parts, ignore_index=True)
        assert list(long.columns) == ["participant_id", "session_id", *expected.columns[1:]]
        pd.testing.assert_frame_equal(long.drop(columns="session_id"), expected, check_dtype=False)


def test_afq_tools_find_their_columns(planted):
    profiles = pd.read_csv(planted.out / "group" / "tract_profiles.csv")
    people = pd.read_csv(planted.out / "group" / "subjects.csv")
    assert list(profiles.columns) == ["subjectID", "sessionID", "tractID", "nodeID", "tensor_fa"]
    assert list(people.columns) == ["subjectID", "group", "age", "sex", "site"]
    assert set(profiles["subjectID"]) == set(people["subjectID"])
    assert len(people) == 20


def test_a_second_identical_run_recomputes_nothing_and_changes_no_byte(planted, shell, tree):
    before = tree(planted.out)
    inodes = {p: p.stat().st_ino for p in planted.out.rglob("*.*") if p.is_file()}
    ended = [shell(*command) for command in planted.commands]
    assert [e.status for e in ended] == [0, 0]
    assert ended[0].err.count("was done already") == 20
    assert f"model {MODEL} was done already" in ended[1].err
    assert tree(planted.out) == before
    assert {p: p.stat().st_ino for p in inodes} == inodes


def test_nothing_names_the_moment_or_the_machine(planted, tree):
    runs = [p.name for p in (planted.out / "logs").iterdir() if p.is_dir()]
    dates = {run[:8] for run in runs} | {f"{run[:4]}-{run[4:6]}-{run[6:8]}" for run in runs}
    for name, content in tree(planted.out).items():
        if name.endswith((".json", ".tsv", ".csv", ".html", ".svg", ".md")):
            text = content.decode()
            assert not any(run in text for run in runs), name
            if not name.endswith((".tsv", ".csv")):
                assert not any(re.search(rf"(?<![0-9a-f]){date}(?![0-9a-f])", text) for date in dates), name
