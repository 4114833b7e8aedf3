"""ltpa: distributions of end regions at a place, compared by permutation; a planted difference is found where it is."""

from __future__ import annotations

import itertools
import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from dsi2_project import MOVED, PLACE, make_project

from spectra_bids.cli import main
from spectra_bids.inference import draw_permutations, fwe_p
from spectra_bids.io.tractograms import read_bundle
from spectra_bids.io.volumes import read_volume
from spectra_bids.ltpa.compare import compare
from spectra_bids.models.contrasts import term_contrasts
from spectra_bids.models.design import build_design
from spectra_bids.models.formula import parse_formula

SPHERE = ",".join(f"{x:g}" for x in PLACE)
FORMULA = "value ~ group + age"


@pytest.fixture(scope="module")
def studies(shared_data, tmp_path_factory):
    """A study with a planted difference, and one without."""
    folder = tmp_path_factory.mktemp("ltpa")
    for name, moved in (("planted", MOVED), ("null", 0)):
        path = make_project(shared_data / "real-mni", folder / f"{name}_project", n=16, moved=moved, seed=1)
        assert main(["import-dsi2", str(path), str(folder / name), "--no-index"]) == 0
    return folder


def run(cli, studies, out, *more, study="planted", formula=FORMULA, place=("--sphere", SPHERE)):
    return cli("ltpa", studies / study / "derivatives/dsi2", out, "--labeling", "Lausanne_scale-33",
               "--formula", formula, "--n-permutations", 999, *place, *more)  # fmt: skip


def table(out, kind, name="groupAge"):
    return pd.read_csv(out / f"ltpa-{name}_desc-{kind}_ltpa.tsv", sep="\t", na_values="n/a")


# --- what is refused


@pytest.mark.parametrize(
    ("more", "status", "says"),
    [
        (["--mask", "x.nii.gz"], 2, "ltpa needs one place"),
        (["--min-share", "2"], 2, "--min-share takes a share"),
        (["--min-streamlines", "500"], 18, "No session has 500 labelled streamlines"),
        (["--labeling", "Lausanne"], 16, "means several: Lausanne_scale-33_desc-dilation2, Lausanne_scale-60"),
        (["--labeling", "AAL"], 18, "has none of that name"),
        (["--formula", "value ~ grup"], 65, "Did you mean 'group'"),
        (["--formula", "value ~ group + (1 + age|participant_id)"], None, ""),
        (["--ref", "none.nii.gz"], 66, "none.nii.gz"),
        (["--bids-dir", "/nowhere"], 66, "participants.tsv"),
    ],
)
def test_what_cannot_be_analysed_is_refused(cli, studies, tmp_path, more, status, says):
    ended = run(cli, studies, tmp_path / "out", *more)
    assert ended.status == status if status is not None else ended.status in (2, 65)
    assert says in ended.err
    assert not (tmp_path / "out").exists()


def test_a_place_needs_a_common_space(cli, studies, tmp_path):
    folder = tmp_path / "derivatives/dsi2"
    source = studies / "planted/derivatives/dsi2"
    for path in source.rglob("*"):
        if path.is_file():
            target = folder / path.relative_to(source).parent / path.name.replace("_space-MNI152NLin2009aAsym", "")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path)
    ended = cli("ltpa", folder, tmp_path / "out", "--labeling", "Lausanne_scale-33", "--sphere", SPHERE,
                "--formula", FORMULA)  # fmt: skip
    assert ended.status == 16
    assert "only in a common space" in ended.err


def test_a_sphere_beyond_the_image_is_refused(cli, studies, tmp_path):
    ended = run(cli, studies, tmp_path / "out", place=("--sphere", "900,0,0,3"))
    assert ended.status == 65
    assert "holds no voxel" in ended.err


# --- numbers of others


def cohort(n=24, cells=5, seed=0, effect=0.0):
    rng = np.random.default_rng(seed)
    people = pd.DataFrame({"group": ["a", "b"] * (n // 2), "age": rng.uniform(20, 60, n)})
    y = rng.normal(size=(n, cells)) + 0.02 * people["age"].to_numpy()[:, None]
    y[:, 1] += effect * (people["group"] == "b")
    design = build_design(parse_formula(FORMULA), people)
    contrast = next(c for c in term_contrasts(design) if c.name == "group")
    return y, design, contrast


def freedman_lane(y, x, tested, index):
    """t of one column of x under permuted residuals of the model without it, by least squares, one at a time."""
    nuisance = np.delete(x, tested, axis=1)
    fitted = nuisance @ np.linalg.lstsq(nuisance, y, rcond=None)[0]
    out = []
    for order in [np.arange(len(y)), *index]:
        values = fitted + (y - fitted)[order]
        b, rss, _, _ = np.linalg.lstsq(x, values, rcond=None)
        variance = np.linalg.inv(x.T @ x)[tested, tested] * rss / (len(y) - x.shape[1])
        out.append(b[tested] / np.sqrt(variance))
    return np.array(out)


def test_p_values_are_those_of_a_permutation_written_by_hand():
    y, design, contrast = cohort(effect=0.8)
    drawn = draw_permutations(len(y), 199, seed=3)
    tested = int(np.flatnonzero(contrast.weights[0])[0])
    t = freedman_lane(y, design.X, tested, drawn.index)
    found = compare(y, np.zeros(5, np.int64), 1, design, contrast, drawn)
    np.testing.assert_allclose(found.value, t[0], rtol=1e-8)
    # t is monotone in z: ranks agree, and so do all p
    size = np.abs(t)
    np.testing.assert_allclose(found.p, [(size[:, c] >= size[0, c] * (1 - 1e-9)).mean() for c in range(5)])
    largest = size.max(axis=1)
    np.testing.assert_allclose(found.p_fwe, [(largest >= size[0, c] * (1 - 1e-9)).mean() for c in range(5)])
    df = len(y) - 3
    z = (8 * df + 1) / (8 * df + 3) * np.sqrt(df * np.log1p(t**2 / df))  # Wallace 1959
    total = (z**2).sum(axis=1)
    np.testing.assert_allclose(found.total, total[0])
    np.testing.assert_allclose(found.p_total, (total >= total[0] * (1 - 1e-9)).mean())
    np.testing.assert_array_equal(found.p_total, found.p_total_fwe)  # one place: nothing to search


def test_pairs_have_the_numbers_of_the_permutation_engine_of_the_group_level():
    from spectra_bids.inference import Spatial, reduce_maxima
    from spectra_bids.models.permutation import permutation_test

    y, design, contrast = cohort(cells=7, seed=2, effect=0.5)
    y[[3, 8], 2] = np.nan
    drawn = draw_permutations(len(y), 299, seed=1)
    theirs = permutation_test(y, design.X, contrast.weights, drawn, Spatial(2 * np.arange(7)))
    family = reduce_maxima(theirs.z, theirs.size, theirs.mass, theirs.tfce, theirs.null)
    ours = compare(y, np.zeros(7, np.int64), 1, design, contrast, drawn)
    np.testing.assert_allclose(ours.z, theirs.z)
    np.testing.assert_allclose(ours.p, theirs.p)
    np.testing.assert_allclose(ours.p_fwe, family.peak)
    np.testing.assert_allclose(ours.p_fwe, fwe_p(theirs.z, theirs.null.peak))


def test_over_places_the_standardised_cube_root_decides():
    y, design, contrast = cohort(cells=6, effect=1.2)
    drawn = draw_permutations(len(y), 199, seed=0)
    place = np.array([0, 0, 2, 2, 2, 2])  # nothing at place 1
    found = compare(y, place, 3, design, contrast, drawn)
    alone = [compare(y[:, place == k], np.zeros((place == k).sum(), np.int64), 1, design, contrast, drawn)
             for k in (0, 2)]  # fmt: skip
    np.testing.assert_allclose(found.total[[0, 2]], [a.total[0] for a in alone])
    np.testing.assert_allclose(found.p_total[[0, 2]], [a.p_total[0] for a in alone])
    assert np.isnan(found.total[1])
    assert np.isnan(found.p_total_fwe[1])
    assert (found.p_total_fwe[[0, 2]] >= found.p_total[[0, 2]] - 1e-12).all()
    assert found.p_total_fwe[0] < 0.05


def test_error_rates_over_pairs_and_of_the_whole_are_nominal():
    hits = np.zeros(2)
    for seed in range(200):
        y, design, contrast = cohort(cells=4, seed=seed)
        shares = np.exp(y) / np.exp(y).sum(axis=1, keepdims=True)
        found = compare(shares, np.zeros(4, np.int64), 1, design, contrast, draw_permutations(len(y), 59, seed))
        hits += [found.p_fwe.min() <= 0.05, found.p_total[0] <= 0.05]
    assert (hits <= 20).all()  # of 200 at .05: 10 expected, 20 or more in 0.3 % of such runs
    assert (hits > 0).all()


def test_cells_without_variance_leave_the_family():
    y, design, contrast = cohort(cells=3)
    drawn = draw_permutations(len(y), 99, seed=0)
    with_constant = np.column_stack([y, np.ones(len(y))])
    found = compare(with_constant, np.zeros(4, np.int64), 1, design, contrast, drawn)
    without = compare(y, np.zeros(3, np.int64), 1, design, contrast, drawn)
    assert np.isnan(found.p_fwe[3])
    np.testing.assert_array_equal(found.p_fwe[:3], without.p_fwe)
    np.testing.assert_allclose(found.total, without.total)
    nothing = compare(np.ones((len(y), 2)), np.zeros(2, np.int64), 1, design, contrast, drawn)
    assert np.isnan(nothing.p_total).all()


# --- real bundles


@pytest.fixture(scope="module")
def planted(studies, cli, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "ltpa"
    ended = run(cli, studies, out)
    assert ended.status == 0, ended.err
    return out, ended


def test_the_planted_difference_is_found_at_its_pairs_and_not_elsewhere(planted):
    out, ended = planted
    pairs = table(out, "pairs").set_index(["contrast", "pair"])
    group = pairs.loc["group"]
    # fronto-occipital streamlines were exchanged for longitudinal ones; the optic radiation has as many as before
    assert group.loc["lh.rostralmiddlefrontal - lh.lateraloccipital", "p_fwe"] <= 0.05
    assert group.loc["lh.rostralmiddlefrontal - lh.lateraloccipital", "estimate"] < 0
    assert group.loc["lh.temporalpole - lh.lateraloccipital", "p_fwe"] <= 0.05
    assert group.loc["lh.temporalpole - lh.lateraloccipital", "estimate"] > 0
    assert group.loc["Left-Thalamus-Proper - lh.lateraloccipital", "p_fwe"] > 0.05
    assert (pairs.loc["age", "p_fwe"] > 0.05).all()
    summary = table(out, "summary").set_index("contrast")
    assert summary.loc["group", "p_total"] <= 0.002
    assert summary.loc["age", "p_total"] > 0.05
    assert "group: the distribution of ends differs" in ended.out
    assert "age: the distribution of ends could not be shown to differ" in ended.out


@pytest.mark.parametrize("place", [("--sphere", "-22,-20,20,6"), None])
def test_where_nothing_was_planted_nothing_is_found(studies, cli, tmp_path, place):
    """The corticospinal tract of the planted study, and the planted place of the study without a difference."""
    study = "planted" if place else "null"
    ended = run(cli, studies, tmp_path, "--measure", "count", "--min-streamlines", 3, study=study,
                place=place or ("--sphere", SPHERE))  # fmt: skip
    assert ended.status == 0, ended.err
    assert (table(tmp_path, "summary")["p_fwe"] > 0.05).all()


def test_counts_are_those_of_streamlines_looked_at_one_by_one(planted, studies):
    """Which pass: by points set densely on each segment. Where they end: by DIPY's connectivity_matrix."""
    from dipy.tracking.utils import connectivity_matrix

    out, _ = planted
    folder = studies / "planted/derivatives/dsi2/sub-subj02/dwi"
    volume = nib.load(next(folder.glob("*scale-33*_dseg.nii.gz")))
    bundle = read_bundle(next(folder.glob("*_tractography.trk")))
    lines = np.split(bundle.points, bundle.offsets[1:-1])
    ijk = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij"), axis=-1)
    inside = np.linalg.norm(nib.affines.apply_affine(volume.affine, ijk) - PLACE[:3], axis=-1) <= PLACE[3]
    to_voxel = np.linalg.inv(volume.affine)

    def passes(line):
        dense = np.concatenate([a + np.linspace(0, 1, 200)[:, None] * (b - a) for a, b in itertools.pairwise(line)])
        i, j, k = np.rint(nib.affines.apply_affine(to_voxel, dense)).astype(int).T
        return inside[i, j, k].any()

    near = [line for line in lines if passes(line)]
    labels = np.asarray(volume.dataobj).astype(int)
    matrix = connectivity_matrix(near, volume.affine, labels)
    people = table(out, "sessions").set_index("participant_id").loc["sub-subj02"]
    assert people["n_through"] == len(near)
    assert people["n_labelled"] == np.triu(matrix[1:, 1:]).sum()
    mine = table(out, "patterns").query("participant_id == 'sub-subj02' and pair != 'other'")
    for row in mine.itertuples():
        assert row.count == matrix[int(row.region_a), int(row.region_b)]
        np.testing.assert_allclose(row.share, row.count / people["n_labelled"], rtol=1e-5)


def test_shares_of_a_session_add_up_to_one(planted):
    out, _ = planted
    shares = table(out, "patterns").groupby("participant_id")["share"].sum()
    np.testing.assert_allclose(shares, 1, atol=1e-5)


def test_rare_pairs_are_taken_together_whoever_has_them(studies, cli, tmp_path):
    run(cli, studies, tmp_path / "a", "--min-share", 0.2)
    pairs = table(tmp_path / "a", "pairs").query("contrast == 'group'")
    assert (pairs["pair"] == "other").sum() == 1
    np.testing.assert_allclose(pairs["mean_share"].sum(), 1, atol=1e-5)
    assert (pairs.loc[pairs["pair"] != "other", "mean_share"] >= 0.2).all()


def test_a_second_run_changes_no_byte(planted, studies, cli, tree, tmp_path):
    out, _ = planted
    run(cli, studies, tmp_path / "again")
    one, other = tree(out), tree(tmp_path / "again")
    page = next(name for name in one if name.endswith(".html"))
    assert {k: v for k, v in one.items() if k != page} == {k: v for k, v in other.items() if k != page}
    # the page holds the command, and with it the output folder
    assert one[page].replace(str(out).encode(), b"") == other[page].replace(str(tmp_path / "again").encode(), b"")


def test_the_page_names_no_person_and_no_other_host(planted):
    out, _ = planted
    page = (out / "ltpa-groupAge.html").read_text()
    assert "subj0" not in page
    assert 'src="http' not in page
    assert "lh.temporalpole" in page
    assert "Cieslak" in page
    assert "group: tbi − control" in page, "what a positive estimate means"
    assert "differs" in page
    figure = (out / "figures/ltpa-groupAge_desc-distribution.svg").read_text()
    assert "lh.temporalpole - lh.lateraloccipital *" in figure


def test_columns_are_described_and_settings_kept(planted):
    out, _ = planted
    said = json.loads((out / "ltpa-groupAge_ltpa.json").read_text())
    assert said["Permutations"] == 999
    assert said["Place"] == "sphere of 5 mm about (-30, -63.5, 3) mm"
    for kind in ("sessions", "pairs", "patterns", "summary"):
        assert set(table(out, kind)) <= set(said["Columns"])


def test_a_named_contrast_a_voxel_and_a_mask_give_the_same_where_they_mean_the_same(studies, cli, tmp_path):
    folder = studies / "planted/derivatives/dsi2/sub-subj01/dwi"
    volume = read_volume(next(folder.glob("*scale-33*_dseg.nii.gz")))
    ijk = np.rint(nib.affines.apply_affine(np.linalg.inv(volume.affine), PLACE[:3])).astype(int)
    mask = np.zeros(volume.data.shape, np.uint8)
    mask[tuple(ijk)] = 1
    nib.save(nib.Nifti1Image(mask, volume.affine), tmp_path / "mask.nii.gz")
    places = {"v": ("--voxel", ",".join(map(str, ijk))), "m": ("--mask", tmp_path / "mask.nii.gz")}
    contrast = "tbi_minus: group[tbi]=1 group[control]=-1"
    for name, place in places.items():
        ended = run(cli, studies, tmp_path / name, "--min-streamlines", 1, "--contrast", contrast, place=place)
        assert ended.status == 0, ended.err
    one, other = (table(tmp_path / name, "pairs") for name in places)
    pd.testing.assert_frame_equal(one, other)
    assert set(one["contrast"]) == {"tbi_minus"}


def test_a_search_finds_the_place_and_writes_maps(studies, cli, tmp_path):
    folder = studies / "planted/derivatives/dsi2/sub-subj01/dwi"
    volume = read_volume(next(folder.glob("*scale-33*_dseg.nii.gz")))
    mask = np.zeros(volume.data.shape, np.uint8)
    i, j, k = np.rint(nib.affines.apply_affine(np.linalg.inv(volume.affine), PLACE[:3])).astype(int)
    mask[i - 3 : i + 4, j - 3 : j + 4, k - 2 : k + 3] = 1  # where it was planted
    i, j, k = np.rint(nib.affines.apply_affine(np.linalg.inv(volume.affine), (-22, -20, 20))).astype(int)
    mask[i - 2 : i + 3, j - 2 : j + 3, k - 2 : k + 3] = 1  # the corticospinal tract
    nib.save(nib.Nifti1Image(mask, volume.affine), tmp_path / "mask.nii.gz")
    ended = run(cli, studies, tmp_path / "out", "--min-streamlines", 5, formula="value ~ group",
                place=("--every-voxel-of", tmp_path / "mask.nii.gz"))  # fmt: skip
    assert ended.status == 0, ended.err
    row = table(tmp_path / "out", "summary", "group").iloc[0]
    assert row["p_total_fwe"] <= 0.05
    assert np.linalg.norm(row[["x_mm", "y_mm", "z_mm"]].to_numpy(float) - PLACE[:3]) < 15
    maps = {kind: read_volume(tmp_path / f"out/ltpa-group_contrast-group_desc-{kind}_statmap.nii.gz").data
            for kind in ("total", "p", "pfwe")}  # fmt: skip
    seen = np.isfinite(maps["pfwe"])
    assert not seen[mask == 0].any()
    assert seen.sum() == row["n_places"]
    assert (maps["pfwe"][seen] <= 0.05).sum() == row["n_places_rejected"]
    near = nib.affines.apply_affine(volume.affine, np.argwhere(seen & (np.nan_to_num(maps["pfwe"], nan=1) <= 0.05)))
    assert (np.linalg.norm(near - PLACE[:3], axis=1) < 20).all()  # none in the corticospinal tract
    page = (tmp_path / "out/ltpa-group.html").read_text()
    assert "single voxels of mask.nii.gz" in page
    assert "data:image/png;base64" in page
    assert (tmp_path / "out/figures/ltpa-group_contrast-group_desc-p.svg").is_file()
    one = run(cli, studies, tmp_path / "one", "--min-streamlines", 5, formula="value ~ group",
              place=("--sphere", ",".join(f"{row[c]:g}" for c in ("x_mm", "y_mm", "z_mm")) + ",0"))  # fmt: skip
    assert one.status == 0, one.err
    np.testing.assert_allclose(table(tmp_path / "one", "summary", "group")["total"].iloc[0], row["total"], rtol=1e-4)
