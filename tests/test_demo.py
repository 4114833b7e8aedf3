"""The embedded cohort: where the packaged people are placed, what is planted, and the whole way to the report."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spectra_bids.bundle import Bundle
from spectra_bids.demo import cohort
from spectra_bids.demo.cohort import make_cohort
from spectra_bids.demo.people import BUNDLES, N_PEOPLE, SPACE, load_people, load_template, people_in_template
from spectra_bids.errors import OutputError, UsageError
from spectra_bids.geometry.registration import distances_to_atlas
from spectra_bids.geometry.sampling import sample
from spectra_bids.io.tractograms import read_bundle
from spectra_bids.io.volumes import read_volume

HCP1065 = {
    "AF_L": "Association_ArcuateFasciculusL",
    "CST_R": "ProjectionBrainstem_CorticospinalTractR",
    "CC_ForcepsMajor": "Commissure_CorpusCallosum_ForcepsMajor",
}


def map_file(root: Path, label: str) -> Path:
    return root / "derivatives" / "demo" / label / "dwi" / f"{label}_space-{SPACE}_model-demo_param-wm_dwimap.nii.gz"


def bundle_file(root: Path, label: str, bundle: str) -> Path:
    return root / "derivatives" / "demo" / label / "dwi" / f"{label}_space-{SPACE}_tract-{bundle}_tractogram.trk"


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def people():
    return people_in_template(3)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A cohort of six and its truth."""
    root = tmp_path_factory.mktemp("cohort")
    return root, make_cohort(root / "bids", root / "atlas", n=6, seed=1, effect=0.3)


def test_the_packaged_people_do_not_share_a_space_before_they_are_placed():
    people = load_people()
    heights = [person["CST_R"].points[:, 2].mean() for person in people]
    assert len(people) == N_PEOPLE
    assert np.ptp(heights) > 30


def test_every_placed_bundle_lies_on_its_side_of_the_brain_in_white_matter(people):
    white = load_template("white_matter", 3)
    for person in people:
        assert np.mean(person["AF_L"].points[:, 0] < 0) > 0.99
        assert np.mean(person["CST_R"].points[:, 0] > 0) > 0.9  # some decussate
        assert abs(person["CC_ForcepsMajor"].points[:, 0].mean()) < 6
        assert person["CC_ForcepsMajor"].points[:, 1].max() < -20
        points = np.concatenate([bundle.points for bundle in person.values()])
        assert np.nan_to_num(sample(white, points)).mean() > 0.55


def test_placing_keeps_the_streamlines_and_nearly_their_lengths(people):
    for before, after in zip(load_people(), people, strict=True):
        for name in BUNDLES:
            assert np.array_equal(after[name].offsets, before[name].offsets)
            ratio = after[name].lengths / before[name].lengths
            assert 0.8 < ratio.min() < ratio.max() < 1.25


@pytest.mark.parametrize("name", BUNDLES)
def test_placed_people_overlap(people, name):
    for rank, person in enumerate(people):
        others = Bundle.from_streamlines([p[name].points for k, p in enumerate(people) if k != rank])
        assert np.median(distances_to_atlas(person[name], others)) < 2.5


@pytest.mark.parametrize("name", BUNDLES)
def test_placed_people_lie_on_a_population_atlas_that_had_no_part_in_placing_them(people, name, shared_data):
    atlas = read_bundle(shared_data / "atlas-hcp1065" / f"{HCP1065[name]}.trk")
    for person in people:
        assert np.median(distances_to_atlas(person[name], atlas)) < 3


def test_a_bend_moves_image_and_streamlines_together(people):
    rng = np.random.default_rng(0)
    template = cohort._template()
    bend = cohort._Bend.draw(template, rng)
    points = people[0]["AF_L"].points
    moved = bend.push(points)
    before = sample(template, points)
    after = sample(type(template)(bend.pull(template.data), template.affine), moved)
    assert np.sqrt((bend.field**2).sum(axis=0).mean()) == pytest.approx(3.0)
    assert np.median(np.linalg.norm(moved - points, axis=1)) > 1
    assert np.corrcoef(before, after)[0, 1] > 0.99


def test_a_cohort_has_a_table_a_truth_an_atlas_and_the_files_of_every_subject(made):
    root, truth = made
    table = pd.read_csv(root / "bids" / "participants.tsv", sep="\t")
    assert list(table.columns) == ["participant_id", "group", "age", "sex", "site"]
    assert table["group"].value_counts().to_dict() == {"control": 3, "patient": 3}
    stored = json.loads((root / "bids" / "truth.json").read_text())
    assert stored["point_mm"] == list(truth.point_mm)
    assert stored["effect"] == -0.3
    assert json.loads((root / "atlas" / "atlas.json").read_text())["Space"] == SPACE
    for name in BUNDLES:
        assert read_bundle(root / "atlas" / f"{name}.trk").n_streamlines == 50 * N_PEOPLE
    for label in table["participant_id"]:
        volume = read_volume(map_file(root / "bids", label))
        assert np.isfinite(volume.data).all()


def test_groups_share_people_and_sites():
    subjects = cohort._draw_subjects(24, np.random.default_rng(3))
    for quality in ("person", "site"):
        by_group = [sorted(getattr(s, quality) for s in subjects if s.group == g) for g in ("control", "patient")]
        assert by_group[0] == by_group[1]


def test_the_flaws_are_those_that_the_truth_names(made):
    root, truth = made
    files = {p.name for p in (root / "bids").rglob("*.trk")}
    assert len(files) == 6 * 3 - 1
    assert truth.missing_bundle is not None
    assert truth.few_streamlines is not None
    assert not bundle_file(root / "bids", *truth.missing_bundle).exists()
    counts = {path.name: read_bundle(path).n_streamlines for path in (root / "bids").rglob("*.trk")}
    assert sorted(counts.values())[:2] == [12, 300]
    assert counts[bundle_file(root / "bids", *truth.few_streamlines).name] == 12


def test_only_patients_carry_the_effect_and_only_around_the_planted_point(made, tmp_path):
    root, truth = made
    make_cohort(tmp_path / "bids", tmp_path / "atlas", n=6, seed=1, effect=0.0)
    for label, group in pd.read_csv(root / "bids" / "participants.tsv", sep="\t")[
        ["participant_id", "group"]
    ].to_numpy():
        planted, null = read_volume(map_file(root / "bids", label)), read_volume(map_file(tmp_path / "bids", label))
        if group == "control":
            assert np.array_equal(planted.data, null.data)
            continue
        loss = null.data.astype(float) - planted.data
        place = planted.affine[:3, :3] @ np.array(np.unravel_index(loss.argmax(), loss.shape)) + planted.affine[:3, 3]
        # The subject's own bend (3 mm rms) carries the point, and the map's slope shifts the largest loss a little.
        assert np.linalg.norm(place - truth.point_mm) < 12
        assert loss.max() / null.data.flat[loss.argmax()] == pytest.approx(0.3, abs=0.06)
        far = np.linalg.norm(cohort._voxel_centres(planted) - truth.point_mm, axis=-1) > 60
        assert np.abs(loss[far]).max() < 1e-5


def test_equal_seeds_give_equal_bytes_and_other_seeds_do_not(made, tmp_path):
    root, _ = made
    make_cohort(tmp_path / "same" / "bids", tmp_path / "same" / "atlas", n=6, seed=1, effect=0.3)
    make_cohort(tmp_path / "other" / "bids", tmp_path / "other" / "atlas", n=6, seed=2, effect=0.3)
    assert contents(tmp_path / "same") == contents(root)
    label = "sub-01"
    assert map_file(tmp_path / "other" / "bids", label).read_bytes() != map_file(root / "bids", label).read_bytes()


def test_the_cohort_says_openly_what_it_is(made):
    root, _ = made
    for readme in ("README.md", "derivatives/demo/README.md"):
        text = (root / "bids" / readme).read_text()
        assert "pseudo-subjects" in text
        assert "not FA" in text
    described = json.loads((root / "bids" / "derivatives" / "demo" / "dataset_description.json").read_text())
    assert "not FA" in described["Name"]


@pytest.mark.parametrize("folder", ["bids", "bids/derivatives/demo"])
def test_the_bids_validator_has_no_objection_to_the_cohort(made, folder):
    tool = Path(sys.executable).parent / "bids-validator-deno"
    if not tool.is_file():
        pytest.skip("bids-validator-deno is absent; `scripts/setup.sh test` installs it")
    root, _ = made
    done = subprocess.run([str(tool), "--json", str(root / folder)], capture_output=True, text=True, check=False)
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [issue["code"] for issue in issues if issue["severity"] == "error"] == []
    assert done.returncode == 0


@pytest.mark.parametrize(("arguments", "message"), [({"bundle": "UF_L"}, "Got 'UF_L'"), ({"n": 1}, "Got 1")])
def test_an_impossible_cohort_is_refused(tmp_path, arguments, message):
    with pytest.raises(UsageError, match=message):
        make_cohort(tmp_path / "bids", tmp_path / "atlas", **arguments)


def test_the_demonstration_does_not_write_into_a_folder_with_something_else(tmp_path):
    from spectra_bids.demo.run import run_demo

    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(OutputError, match="holds something else"):
        run_demo(tmp_path)
    assert contents(tmp_path) == {"thesis.tex": b"x"}


def test_the_demonstration_finds_what_was_planted_says_so_and_changes_nothing_when_repeated(tmp_path, capsys):
    from spectra_bids.demo.run import run_demo

    assert run_demo(tmp_path / "demo", n_procs=2, n=16) == 0
    said = capsys.readouterr().out
    results = tmp_path / "demo" / "results"
    truth = json.loads((tmp_path / "demo" / "bids" / "truth.json").read_text())
    for kind in ("1D", "2D"):
        clusters = pd.read_csv(results / f"group/model-demo/model-demo_desc-profile{kind}_clusters.tsv", sep="\t")
        heaviest = clusters[clusters["contrast"].str.startswith("group")].sort_values("weight").iloc[-1]
        assert heaviest["bundle"] == truth["bundle"]
        assert np.linalg.norm(heaviest[["x_mm", "y_mm", "z_mm"]].to_numpy(float) - truth["point_mm"]) < 8
        assert heaviest["direction"] == "-"
        assert f"Found {kind}  {truth['bundle']}" in said
    statuses = pd.concat([pd.read_csv(path, sep="\t") for path in results.rglob("*_desc-bundle_tractometry.tsv")])
    assert {"no_bundle", "few_streamlines", "ok"} == set(statuses["status"])
    assert "pseudo-subjects" in said
    assert "not FA" in said
    assert str(results / "model-demo.html") in said
    before = contents(tmp_path / "demo")
    assert run_demo(tmp_path / "demo", n_procs=1, n=16) == 0
    assert contents(tmp_path / "demo") == before
    assert (results / "model-demo.html").is_file()
