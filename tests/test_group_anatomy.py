"""group.anatomy: --atlas-labels from the command line to the tables, and what cannot be in the bundles' space."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from spectra_bids.bundle import Bundle
from spectra_bids.dataset.grids import load_grid, stored_grids
from spectra_bids.dataset.outputs import read_table
from spectra_bids.errors import AtlasError, MissingInputError
from spectra_bids.geometry.grid import build_grid, nodes_only
from spectra_bids.group.anatomy import label_files, label_hashes, read_anatomy

FAST = ("--formula", "value ~ group + age", "--profile", "both", "--model-name", "main")
SPACE = "MNI152NLin2009cAsym"


def save(path: Path, data: np.ndarray, origin, step: float = 2.0) -> Path:
    affine = np.diag([step, step, step, 1.0])
    affine[:3, 3] = origin
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


def box(path: Path, low, high, at: float, axis: int = 2) -> Path:
    """Labels of 2 mm over a box: 1 below a coordinate, 2 above it."""
    shape = np.ceil((np.array(high) - low) / 2).astype(int) + 1
    along = np.array(low)[axis] + 2 * np.arange(shape[axis])
    data = np.where(along < at, 1, 2).astype(np.uint8)
    new = [1, 1, 1]
    new[axis] = -1
    save(path, np.broadcast_to(data.reshape(new), shape).copy(), low)
    path.with_name(path.name.replace(".nii.gz", ".tsv")).write_text("index\tname\n1\tlower\n2\tupper\n")
    return path


def grids():
    lines = [np.column_stack([np.full(91, -30.0 + k), np.linspace(-45, 45, 91), np.zeros(91)]) for k in range(20)]
    return {"A": build_grid(Bundle.from_streamlines(lines), "A")}


@pytest.fixture
def group(study, profiles, cli):
    def run(*options: object):
        return cli(study.bids, profiles, "group", *FAST, "-v", *options)

    return run


@pytest.fixture
def halves(profiles, tmp_path) -> Path:
    """Labels over all bundles of the study, parted in the middle of CSTR."""
    every = {name: load_grid(profiles, label, name) for name, (label, _) in stored_grids(profiles).items()}
    nodes = np.concatenate([g.nodes for g in every.values()])
    middle = float(every["CSTR"].nodes[:, 2].mean())
    return box(tmp_path / "halves.nii.gz", nodes.min(axis=0) - 30, nodes.max(axis=0) + 30, middle)


def clusters(out: Path, dims: str) -> pd.DataFrame:
    return read_table(out / "group" / "model-main" / f"model-main_desc-profile{dims}_clusters.tsv")


def test_findings_are_named_in_tables_and_page_and_nothing_is_fitted_again(group, profiles, halves, tree):
    assert group().status == 0
    bare = {p: p.stat().st_mtime_ns for p in profiles.rglob("*_fits.tsv")}
    assert clusters(profiles, "2D")["labels"].isna().all()
    assert clusters(profiles, "2D")["side"].notna().all()
    ended = group("--atlas-labels", halves)
    assert ended.status == 0, ended.err
    assert {p: p.stat().st_mtime_ns for p in bare} == bare
    grid = load_grid(profiles, next(iter(stored_grids(profiles).values()))[0], "CSTR")
    middle = float(grid.nodes[:, 2].mean())
    for dims in ("1D", "2D"):
        found = clusters(profiles, dims)
        row = found[found["bundle"] == "CSTR"].iloc[0]
        nodes = np.arange(int(row["s_low"]), int(row["s_high"]) + 1)
        assert row["length_mm"] == pytest.approx(len(nodes) * grid.s_len, rel=1e-5)
        below = row["z_peak_mm"] < middle
        assert row["label_peak"] == ("lower" if below else "upper") or abs(row["z_peak_mm"] - middle) < 2
        assert sum(int(part.split()[-2]) for part in row["labels"].split("; ")) == 100
        facts = json.loads(
            (profiles / "group" / "model-main" / f"model-main_desc-profile{dims}_clusters.json").read_text()
        )
        assert [f["Name"] for f in facts["AtlasLabels"]] == ["halves"]
        assert set(facts["AtlasLabels"][0]["Files"]) == {"halves.nii.gz", "halves.tsv"}
    page = (profiles / "model-main.html").read_text()
    assert "Over the cluster: " in page
    assert "Atlas labels" in page
    assert "done already" in group("--atlas-labels", halves).err


def test_another_content_of_a_label_file_or_its_table_redoes_the_reduce_step_alone(group, profiles, halves):
    assert group("--atlas-labels", halves).status == 0
    fits = {p: p.stat().st_mtime_ns for p in profiles.rglob("*_fits.tsv")}
    table = halves.with_name("halves.tsv")
    table.write_text(table.read_text().replace("lower", "inferior").replace("upper", "superior"))
    assert "done already" not in group("--atlas-labels", halves).err
    assert not clusters(profiles, "1D")["labels"].str.contains("lower|upper").any()
    assert clusters(profiles, "1D")["labels"].str.contains("inferior|superior").all()
    before = label_hashes([str(halves)])
    image = nib.load(halves)
    save(halves, np.full(image.shape, 2, np.uint8), image.affine[:3, 3])
    assert label_hashes([str(halves)]) != before
    assert group("--atlas-labels", halves).status == 0
    assert set(clusters(profiles, "1D")["labels"]) == {"superior 100 %"}
    assert {p: p.stat().st_mtime_ns for p in fits} == fits


def test_labels_elsewhere_end_with_65_before_anything_is_fitted(group, profiles, tmp_path):
    path = box(tmp_path / "far.nii.gz", (300, 300, 300), (340, 340, 340), 320)
    ended = group("--atlas-labels", path)
    assert ended.status == 65
    assert "far.nii.gz (shape (21, 21, 21), voxel axes RAS, x 300 to 340" in ended.err
    assert "the bundles reach over x " in ended.err
    assert not list(profiles.rglob("*_fits.tsv"))
    assert group("--atlas-labels", tmp_path / "none.nii.gz").status == 66


def test_a_volume_that_holds_half_of_the_bundles_is_enough_and_less_is_not(tmp_path):
    whole = box(tmp_path / "whole.nii.gz", (-80, -60, -20), (80, 60, 20), 0)
    most = box(tmp_path / "most.nii.gz", (-80, -60, -20), (80, 10, 20), 0)
    part = box(tmp_path / "part.nii.gz", (-80, -60, -20), (80, -20, 20), 0)
    assert [v.source for v in read_anatomy([str(whole), str(most)], grids(), SPACE).labels] == ["whole", "most"]
    with pytest.raises(AtlasError, match=r"2\d% of their points lie in the volume part"):
        read_anatomy([str(part)], grids(), SPACE)


def test_a_volume_with_its_labels_elsewhere_is_refused_and_one_beside_the_bundles_is_not(tmp_path, caplog):
    data = np.zeros((91, 91, 91), np.uint8)
    data[80:, 80:, 80:] = 1
    with pytest.raises(AtlasError, match=r"100% .* none of its labels within 20 mm"):
        read_anatomy([str(save(tmp_path / "corner.nii.gz", data, (-90, -90, -90)))], grids(), SPACE)
    beside = np.zeros((91, 91, 91), np.uint8)
    beside[38, 25, 50] = 3  # 10 mm above the bundle
    path = save(tmp_path / "beside.nii.gz", beside, (-90, -95, -90))
    with caplog.at_level(logging.WARNING, "spectra_bids"):
        read_anatomy([str(path)], grids(), SPACE)
    assert "everything is OUTSIDE" in caplog.text


def test_any_orientation_serves(tmp_path):
    """The same labels with voxel axes to the left, to the back and upwards."""
    path = box(tmp_path / "a.nii.gz", (-80, -60, -20), (80, 60, 20), 0, axis=1)
    image = nib.load(path)
    turned = image.as_reoriented(nib.orientations.ornt_transform(
        nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(("L", "P", "S"))
    ))  # fmt: skip
    nib.save(turned, tmp_path / "b.nii.gz")
    one, other = read_anatomy([str(tmp_path / "a.nii.gz"), str(tmp_path / "b.nii.gz")], grids(), SPACE).labels
    points = np.random.default_rng(0).uniform(-90, 90, (2000, 3))
    np.testing.assert_array_equal(one.at(points), other.at(points))
    assert nib.aff2axcodes(other.affine) == ("L", "P", "S")


@pytest.mark.parametrize(("named", "fails"), [("T1w", True), (SPACE, False), ("MNI152NLin6Asym", False)])
def test_a_name_that_says_the_space_of_one_person_is_refused(tmp_path, named, fails):
    path = box(tmp_path / f"sub-01_space-{named}_dseg.nii.gz", (-80, -60, -20), (80, 60, 20), 0)
    if not fails:
        assert len(read_anatomy([str(path)], grids(), SPACE).labels) == 1
        return
    with pytest.raises(AtlasError, match=f"must be in the space of the bundle atlas, {SPACE}. Its name says T1w"):
        read_anatomy([str(path)], grids(), SPACE)


def test_one_atlas_twice_is_refused_and_tables_elsewhere_count_as_files(tmp_path):
    path = box(tmp_path / "a.nii.gz", (-80, -60, -20), (80, 60, 20), 0)
    with pytest.raises(AtlasError, match="names a more than once"):
        read_anatomy([str(path), str(path)], grids(), SPACE)
    table = tmp_path / "other.csv"
    table.write_text("index,name\n1,One\n")
    assert label_files([f"{path}={table}"]) == (path, table)
    assert label_files([str(path)]) == (path, tmp_path / "a.tsv")
    assert read_anatomy([f"{path}={table}"], grids(), SPACE).labels[0].name(1) == "One"
    with pytest.raises(MissingInputError):
        read_anatomy(["nothing"], grids(), SPACE)


def test_imported_profiles_without_places_take_any_labels(tmp_path):
    path = box(tmp_path / "a.nii.gz", (300, 300, 300), (340, 340, 340), 320)
    made = read_anatomy([str(path)], {"A": nodes_only("A", np.ones(5, bool))}, "")
    assert len(made.labels) == 1
