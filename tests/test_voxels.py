"""`spectra-bids voxels` and `review`: what comes in, what goes out, what is done again and what is not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from spectra_bids.bridges.modelarray import ModelArrayFile
from spectra_bids.io.masks import read_mask
from spectra_bids.voxels.settings import contrast_labels

SHAPE, N = (12, 10, 9), 30
AFFINE = np.diag([4.0, 4, 4, 1])
AFFINE[:3, 3] = [-40, -20, -10]
PEAK = (3, 5, 4)
FORMULA = "value ~ age + sex + apoe4"
#: The head of a PNG with its size.
DOT = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01"


class Cohort(NamedTuple):
    folder: Path
    table: pd.DataFrame

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def map(self, name: str, stat: str, contrast: str = "EffectOfAgeNeg") -> np.ndarray:
        return nib.load(self.out / f"{name}/contrast-{contrast}_stat-{stat}_statmap.nii.gz").get_fdata()


def save(path, data):
    nib.save(nib.Nifti1Image(data, AFFINE), path)


@pytest.fixture
def cohort(tmp_path):
    """Thirty images that fall with age around one voxel; a table as of the walkthrough of VBM; two regions."""
    rng = np.random.default_rng(0)
    age = rng.uniform(50, 75, N).round(3)
    names = [f"smwc1_{k:02d}.nii" for k in range(N)]
    table = pd.DataFrame({"id": names, "age": age, "sex": rng.integers(0, 2, N), "apoe4": rng.integers(0, 2, N)})
    table["site"] = [f"s{k % 5}" for k in range(N)]
    table.to_excel(tmp_path / "dm.xlsx", index=False)
    table.to_csv(tmp_path / "dm.csv", index=False)
    table.to_csv(tmp_path / "dm.tsv", index=False, sep="\t")
    distance = ((np.indices(SHAPE) - np.array(PEAK)[:, None, None, None]) ** 2).sum(axis=0)
    mask = np.ones(SHAPE, np.uint8)
    mask[:, 0] = 0
    save(tmp_path / "mask.nii.gz", mask)
    for k, name in enumerate(names):
        data = 0.5 + rng.normal(0, 0.03, SHAPE) - 0.01 * (age[k] - 62) * np.exp(-distance / 6) * (1 + (distance == 0))
        save(tmp_path / name, data.astype(np.float32))
    regions = np.zeros(SHAPE, np.uint8)
    regions[:6, 1:6], regions[6:, 1:] = 1, 2
    save(tmp_path / "regions_dseg.nii.gz", regions)
    (tmp_path / "regions_dseg.tsv").write_text("index\tname\n1\tCaudate_L\n2\tCaudate_R\n")
    (tmp_path / "contrasts.tsv").write_text(
        "name\ttype\tcolumns\tweights\nEffect of age (+)\tT\tage\t1\nEffect of age (-)\tT\tage\t-1\n"
    )
    return Cohort(tmp_path, table)


@pytest.fixture
def voxels(cohort, cli, monkeypatch):
    """The command in the cohort's folder, without pictures."""
    monkeypatch.chdir(cohort.folder)
    monkeypatch.setattr("spectra_bids.voxels.draw", lambda *_: (DOT, DOT))

    def run(*more, design="dm.xlsx", formula=FORMULA, name="vbm_analysis", contrasts="contrasts.tsv"):
        words = ["voxels", "--design", design, "--mask", "mask.nii.gz", "--formula", formula]
        words += ["--contrasts", contrasts] if contrasts else []
        return cli(*words, "--analysis-name", name, "out", *more)

    return run


# --- validation ----------------------------------------------------------------------------------------------------


def test_without_a_formula_the_columns_are_listed(voxels):
    ended = voxels(formula="")
    assert ended.status == 2
    assert "has the columns age, sex, apoe4, site" in ended.err
    assert "--formula 'value ~ age + sex + apoe4'" in ended.err


@pytest.mark.parametrize("greedy", ["--centre", "--atlas-labels"])
def test_an_output_folder_that_an_option_took_is_told(cli, greedy):
    ended = cli("voxels", "--design", "dm.csv", "--mask", "m.nii", "--formula", "value ~ age", greedy, "all", "out")
    assert ended.status == 2
    assert "OUT is missing" in ended.err
    assert "before --centre" in ended.err


def test_a_first_column_of_no_images_is_told(cohort, voxels):
    table = cohort.table.assign(age=70.5)
    table[["age", "id", "sex", "apoe4"]].to_csv(cohort.folder / "dm.csv", index=False)
    ended = voxels(design="dm.csv")
    assert ended.status == 65
    assert "age is taken for the images' names: these stand in the first column" in ended.err


def test_missing_images_are_named_and_counted(cohort, voxels):
    for k in range(7):
        (cohort.folder / f"smwc1_{k:02d}.nii").unlink()
    ended = voxels()
    assert ended.status == 66
    assert re.search(r"7 of 30 images .* are not there: .*smwc1_00\.nii, .*smwc1_04\.nii and 2 more", ended.err)


@pytest.mark.parametrize(
    ("what", "said"),
    [("shape", r"smwc1_03\.nii must have the shape .*\(12, 10, 9\)\. Got \(12, 10, 8\)"),
     ("affine", r"smwc1_03\.nii must have the affine .*-40\.0.*Got .*-39\.0.*up to 1 mm apart")],
)  # fmt: skip
def test_an_image_in_another_space_is_named_with_what_was_expected(cohort, voxels, what, said):
    affine = AFFINE + (np.eye(4, k=3) if what == "affine" else 0)
    data = np.ones(SHAPE if what == "affine" else (12, 10, 8), np.float32)
    nib.save(nib.Nifti1Image(data, affine), cohort.folder / "smwc1_03.nii")
    ended = voxels()
    assert ended.status == 65
    assert re.search(said, ended.err)
    assert not cohort.out.exists(), "no empty folder is left"


@pytest.mark.parametrize(
    ("more", "keywords", "status", "said"),
    [
        (["--centre", "aeg"], {}, 2, "numeric covariates of the formula: age, sex, apoe4. Got aeg"),
        (["--stats-mode", "hfdr"], {}, 2, "hierarchical FDR needs regions"),
        (["--mem", "1M"], {}, 2, "is too little"),
        (["--threshold", "-1"], {}, 2, "--threshold is a value of the statistic above 0"),
        ([], {"name": "a/b"}, 2, "--analysis-name takes letters"),
        ([], {"formula": "value ~ agee"}, 65, "Did you mean 'age'?"),
        ([], {"formula": "gm ~ age"}, 65, "must be 'value'"),
        ([], {"contrasts": "x: nothing=1"}, 65, "unknown column 'nothing'"),
        ([], {"design": "absent.csv"}, 66, "There is no file absent.csv"),
        (["--blocks", "absent.nii", "--stats-mode", "hfdr"], {}, 66, "absent.nii"),
        (["--background", "absent.nii"], {}, 66, "There is no file absent.nii"),
    ],
)
def test_what_cannot_be_is_said_with_its_status(voxels, more, keywords, status, said):
    ended = voxels(*more, **keywords)
    assert ended.status == status, ended.err
    assert said in ended.err


def test_regions_in_another_space_are_refused(cohort, voxels):
    far = AFFINE.copy()
    far[:3, 3] += 500
    nib.save(nib.Nifti1Image(np.ones(SHAPE, np.uint8), far), cohort.folder / "far_dseg.nii")
    ended = voxels("--stats-mode", "hfdr", "--blocks", "far_dseg.nii")
    assert ended.status == 65
    assert "no voxel of the mask mask.nii.gz lies in a region of far_dseg" in ended.err


def test_text_among_numbers_makes_a_factor_and_is_told(cohort, voxels):
    table = cohort.table.astype({"age": object})
    table.loc[3, "age"] = "sixty"
    table.to_csv(cohort.folder / "dm.csv", index=False)
    ended = voxels(design="dm.csv", contrasts="")
    assert ended.status == 65
    assert "age" in ended.err


# --- published example ---------------------------------------------------------------------------------------------


def test_the_walkthrough_of_vbm_has_a_command_per_step(cohort, voxels, cli):
    """The recipe's table (.xlsx), regressors, contrasts with their names, explicit mask, centring, and its review."""
    ended = voxels()
    assert ended.status == 0, ended.err
    seen = cli("review", cohort.out).out
    assert "Inputs included in the analysis: 30" in seen
    assert "Effect of age (+)  T  [age]  [1.0]" in seen
    assert "Effect of age (-)  T  [age]  [-1.0]" in seen
    assert "Centred: age, sex, apoe4" in seen
    found = cohort.map("vbm_analysis", "rejected") > 0
    down = cohort.map("vbm_analysis", "t")[found] > 0
    assert f"[-1.0]  {found.sum()} voxels rejected: {down.sum()} above 0, {(~down).sum()} below" in seen
    assert (cohort.out / "vbm_analysis.html").is_file()
    assert f"Page: {cohort.out / 'vbm_analysis.html'}" in seen
    names = seen.partition("Files in ")[2].split()[1:]
    assert all((cohort.out / "vbm_analysis" / name).is_file() for name in names)
    assert {f"contrast-EffectOfAge{sign}_stat-{stat}_statmap.nii.gz" for sign in ("Pos", "Neg")
            for stat in ("t", "effect", "se", "df", "p", "q", "rejected")} <= set(names)  # fmt: skip
    up, down = cohort.map("vbm_analysis", "t", "EffectOfAgePos"), cohort.map("vbm_analysis", "t")
    np.testing.assert_array_equal(up, -down)
    assert np.unravel_index(np.nanargmax(down), SHAPE) == PEAK
    assert np.isnan(down[:, 0]).all()


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_tables_of_all_kinds_give_the_same_maps(cohort, voxels, kind):
    for name, design in (("a", "dm.xlsx"), ("b", f"dm.{kind}")):
        assert voxels(design=design, name=name).status == 0
    np.testing.assert_array_equal(cohort.map("a", "t"), cohort.map("b", "t"))


def test_the_three_tables_of_peaks_have_labels_and_percentages(cohort, voxels):
    ended = voxels("--atlas-labels", "regions_dseg.nii.gz", "--threshold", "3.1", "-k", "10")
    assert ended.status == 0, ended.err
    stem = cohort.out / "vbm_analysis/contrast-EffectOfAgeNeg_desc-"
    tables = {m: pd.read_csv(f"{stem}{m}_peaks.tsv", sep="\t") for m in ("clusters", "maxima", "extended")}
    t = cohort.map("vbm_analysis", "t")
    first = tables["clusters"].iloc[0]
    np.testing.assert_allclose(first[["x_mm", "y_mm", "z_mm"]].astype(float), (AFFINE @ [*PEAK, 1])[:3])
    assert first["value"] == pytest.approx(np.nanmax(t), rel=1e-5)
    assert (tables["clusters"]["n_voxels"] >= 10).all()
    assert set(tables["clusters"]["label"]) <= {"Caudate_L", "Caudate_R", "OUTSIDE"}
    for mode in ("clusters", "extended"):
        sums = tables[mode].groupby(["cluster", "x_mm", "y_mm", "z_mm"])["percent"].sum()
        np.testing.assert_allclose(sums, 100, atol=0.05)
    assert (tables["maxima"]["percent"] == 100).all()
    caudate = tables["clusters"].query("cluster == 1 and label == 'Caudate_L'").iloc[0]
    assert caudate["n_voxels_label"] == 6 * 5 * 9
    expected = caudate["percent"] * caudate["n_voxels"] / caudate["n_voxels_label"]
    assert caudate["percent_label"] == pytest.approx(expected, abs=0.05)
    outside = tables["extended"].query("label == 'OUTSIDE'")
    assert len(outside)
    assert (outside["n_voxels_label"] == 0).all()


def test_a_contrast_with_a_side_says_what_is_on_it(cohort, voxels):
    assert voxels().status == 0
    page = (cohort.out / "vbm_analysis.html").read_text()
    below = int(((cohort.map("vbm_analysis", "rejected", "EffectOfAgePos") > 0)
                 & (cohort.map("vbm_analysis", "t", "EffectOfAgePos") < 0)).sum())  # fmt: skip
    assert below
    assert f"above 0; {below} below" in page
    assert "A family is one contrast; each family" in page
    assert "2D" not in page.partition("<main")[2]


def test_pictures_are_png_and_stand_on_the_page(cohort, cli, monkeypatch):
    monkeypatch.chdir(cohort.folder)
    ended = cli("voxels", "out", "--design", "dm.csv", "--mask", "mask.nii.gz", "--formula", FORMULA,
                "--contrasts", "Effect of age (-): age=-1")  # fmt: skip
    assert ended.status == 0, ended.err
    for name in ("mosaic", "glass"):
        png = (cohort.out / f"voxels/figures/contrast-EffectOfAgeNeg_desc-{name}.png").read_bytes()
        assert png.startswith(b"\x89PNG")
        assert len(png) > 10_000
    page = (cohort.out / "voxels.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert not re.search(r'(src|href)="http', page)
    assert "Effect of age (-)" in page


# --- decisions -------------------------------------------------------------------------------------------------------


def test_regions_are_the_blocks_of_hierarchical_fdr(cohort, voxels):
    """The same p values through hierarchical_fdr, whose own tests hold it against TreeBH; voxels outside leave."""
    from spectra_bids import hierarchical_fdr

    ended = voxels("--stats-mode", "hfdr", "--blocks", "regions_dseg.nii.gz", "--alpha-cell", "0.1")
    assert ended.status == 0, ended.err
    regions = nib.load(cohort.folder / "regions_dseg.nii.gz").get_fdata()
    p, q = cohort.map("vbm_analysis", "p"), cohort.map("vbm_analysis", "q")
    inside = regions > 0
    found = hierarchical_fdr(p[inside], regions[inside].astype(int), 0.05, 0.1)
    np.testing.assert_allclose(q[inside], found.q, rtol=1e-5)
    np.testing.assert_array_equal(cohort.map("vbm_analysis", "rejected")[inside].astype(bool), found.rejected[0])
    assert np.isnan(q[~inside]).all()
    blocks = pd.read_csv(cohort.out / "vbm_analysis/vbm_analysis_blocks.tsv", sep="\t")
    mine = blocks[blocks["contrast"] == "Effect of age (-)"].set_index("block")
    assert list(mine.index) == ["Caudate_L", "Caudate_R"]
    assert mine["selected"].tolist() == found.selected.tolist() == [True, False]
    assert mine["n_voxels"].tolist() == [6 * 5 * 9, 6 * 9 * 9]


@pytest.mark.parametrize("centre", [["all"], ["none"], ["age"], ["age,sex"]])
def test_centring_moves_the_intercept_alone(cohort, voxels, centre):
    tested = "mean: Intercept=1"
    for name, chosen in (("none", ["none"]), ("some", centre)):
        assert voxels("--centre", *chosen, "--contrasts", tested, name=name).status == 0
    facts = json.loads((cohort.out / "some/some_model.json").read_text())
    wanted = {"all": ["age", "sex", "apoe4"], "none": [], "age": ["age"], "age,sex": ["age", "sex"]}[centre[0]]
    assert list(facts["Centred"]) == wanted
    np.testing.assert_allclose(cohort.map("some", "t"), cohort.map("none", "t"), rtol=2e-5, atol=1e-4)
    moved = cohort.map("some", "effect", "Mean") - cohort.map("none", "effect", "Mean")
    assert (np.nanmax(np.abs(moved)) > 1e-4) == bool(wanted)


def test_the_mean_of_all_people_is_a_contrast(cohort, voxels):
    images = np.array([nib.load(cohort.folder / name).get_fdata() for name in cohort.table["id"]])
    assert voxels("--contrasts", "mean: Intercept=1").status == 0
    inside = read_mask(cohort.folder / "mask.nii.gz").inside
    np.testing.assert_allclose(
        cohort.map("vbm_analysis", "effect", "Mean")[inside], images.mean(axis=0)[inside], rtol=1e-5
    )


def test_without_contrasts_every_term_is_tested(cohort, voxels):
    assert voxels(contrasts="", formula="value ~ age + sex + (1|site)").status == 0
    facts = json.loads((cohort.out / "vbm_analysis/vbm_analysis_model.json").read_text())
    assert [c["Name"] for c in facts["Contrasts"]] == ["age", "sex"]


# --- HDF5 ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def hdf5(cohort, cli):
    """The same images as FA.h5, made from a cohort file that stands in another order than the design."""
    table = cohort.table.iloc[::-1].assign(scalar_name="FA", source_mask_file="mask.nii.gz")
    table.rename(columns={"id": "source_file"}).to_csv(cohort.folder / "cohort_FA.csv", index=False)
    ended = cli("to-modelarray", "--mask", cohort.folder / "mask.nii.gz", "--cohort-file",
                cohort.folder / "cohort_FA.csv", "--output", cohort.folder / "FA.h5")  # fmt: skip
    assert ended.status == 0, ended.err
    return cohort.folder / "FA.h5"


@pytest.mark.parametrize("design", ["cohort_FA.csv", "dm.tsv"])
def test_an_hdf5_file_gives_the_maps_of_its_images_and_takes_the_results(cohort, voxels, hdf5, cli, design):
    assert voxels(name="images").status == 0
    ended = voxels("--input-hdf5", hdf5, design=design, name="stored")
    assert ended.status == 0, ended.err
    np.testing.assert_allclose(cohort.map("stored", "t"), cohort.map("images", "t"), rtol=1e-5, atol=1e-5)
    with ModelArrayFile(hdf5) as file:
        assert file.analyses == ("stored",)
        results = dict(file.results("stored"))
    inside = read_mask(cohort.folder / "mask.nii.gz").inside
    t = cohort.map("stored", "t")[inside]
    np.testing.assert_array_equal(results["Effect of age (-).statistic"].astype(np.float32), t.astype(np.float32))
    np.testing.assert_array_equal(results["model.nobs"], N)


def test_modelarrayio_exports_our_results(cohort, voxels, hdf5):
    """modelarrayio 26.0.0, export_results."""
    from modelarrayio.cli.export_results import export_results

    assert voxels("--input-hdf5", hdf5, name="stored").status == 0
    export_results(hdf5, "stored", cohort.folder / "theirs", group_mask_file=cohort.folder / "mask.nii.gz")
    inside = read_mask(cohort.folder / "mask.nii.gz").inside
    for theirs, stat in (("statistic", "t"), ("estimate", "effect"), ("p.value.fdr", "q"), ("rejected", "rejected")):
        image = nib.load(cohort.folder / f"theirs/stored_Effect_of_age_(-).{theirs}.nii.gz").get_fdata()
        np.testing.assert_array_equal(image[inside], cohort.map("stored", stat)[inside])


def test_inputs_that_the_file_lacks_are_named(cohort, voxels, hdf5):
    text = (cohort.folder / "dm.csv").read_text().replace("smwc1_07.nii", "smwc1_77.nii")
    (cohort.folder / "dm.csv").write_text(text)
    ended = voxels("--input-hdf5", hdf5, design="dm.csv")
    assert ended.status == 65
    assert "1 of 30 inputs that dm.csv names are not in" in ended.err
    assert "smwc1_77.nii" in ended.err


# --- properties and edge cases ---------------------------------------------------------------------------------------


def test_the_same_run_twice_computes_nothing_and_changes_no_byte(cohort, voxels, tree, monkeypatch):
    assert voxels().status == 0
    before = tree(cohort.out)

    def fail(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr("spectra_bids.voxels.fit_voxels", fail)
    monkeypatch.setattr("spectra_bids.voxels.draw", fail)
    ended = voxels()
    assert ended.status == 0, ended.err
    assert "was done already" in ended.out
    assert tree(cohort.out) == before


def test_another_level_decides_anew_without_fitting(cohort, voxels, monkeypatch):
    assert voxels().status == 0
    q = cohort.map("vbm_analysis", "q")
    monkeypatch.setattr("spectra_bids.voxels.fit_voxels", None)
    assert voxels("--alpha", "0.2").status == 0
    np.testing.assert_array_equal(cohort.map("vbm_analysis", "q"), q)
    assert np.nansum(cohort.map("vbm_analysis", "rejected")) == np.nansum(q <= 0.2)


def test_a_changed_image_is_fitted_again_and_old_contrasts_go(cohort, voxels):
    assert voxels().status == 0
    t = cohort.map("vbm_analysis", "t")
    path = cohort.folder / "smwc1_05.nii"
    save(path, nib.load(path).get_fdata().astype(np.float32) + 0.1)
    assert voxels(contrasts="Effect of age (-): age=-1").status == 0
    assert not np.array_equal(cohort.map("vbm_analysis", "t"), t)
    assert not list((cohort.out / "vbm_analysis").rglob("*EffectOfAgePos*"))


def test_force_gives_the_same_bytes_whatever_the_memory(cohort, voxels, tree):
    assert voxels().status == 0
    before = tree(cohort.out)
    assert voxels("--force", "--mem", "4G").status == 0
    assert tree(cohort.out) == before


def test_blocks_of_voxels_do_not_show(cohort, voxels, monkeypatch):
    assert voxels(formula=f"{FORMULA} + (1|site)", name="whole").status == 0
    monkeypatch.setattr("spectra_bids.voxels.fit.block_width", lambda n: 97)
    assert voxels(formula=f"{FORMULA} + (1|site)", name="parts").status == 0
    np.testing.assert_allclose(cohort.map("parts", "t"), cohort.map("whole", "t"), rtol=1e-6)


def test_people_without_a_covariate_leave_and_are_listed(cohort, voxels, cli):
    table = cohort.table.astype({"age": object})
    table.loc[[2, 9], "age"] = "n/a"
    table.to_csv(cohort.folder / "dm.csv", index=False)
    ended = voxels(design="dm.csv")
    assert ended.status == 0
    assert "28 inputs (2 more left out: n/a)" in ended.out
    assert "left out: smwc1_09.nii (n/a in age)" in cli("review", cohort.out).out
    facts = json.loads((cohort.out / "vbm_analysis/vbm_analysis_model.json").read_text())
    assert facts["Inputs"] == 28
    assert facts["LeftOut"] == {"smwc1_02.nii": "n/a in age", "smwc1_09.nii": "n/a in age"}
    assert facts["Centred"]["age"] == pytest.approx(cohort.table["age"].drop([2, 9]).mean())


def test_voxels_that_many_people_lack_are_nan_with_their_count(cohort, voxels):
    for name in cohort.table["id"][:25]:
        data = nib.load(cohort.folder / name).get_fdata().astype(np.float32)
        data[0, 5, 5] = np.nan
        save(cohort.folder / name, data)
    assert voxels().status == 0
    nobs = nib.load(cohort.out / "vbm_analysis/stat-nobs_statmap.nii.gz").get_fdata()
    assert nobs[0, 5, 5] == 5
    assert np.isnan(cohort.map("vbm_analysis", "t")[0, 5, 5])
    assert np.isnan(cohort.map("vbm_analysis", "rejected")[0, 5, 5])
    assert np.isnan(nobs[:, 0]).all()


def test_nothing_above_the_threshold_is_no_error(cohort, cli, monkeypatch):
    monkeypatch.chdir(cohort.folder)
    ended = cli("voxels", "out", "--design", "dm.csv", "--mask", "mask.nii.gz", "--formula", "value ~ apoe4",
                "--threshold", "50")  # fmt: skip
    assert ended.status == 0, ended.err
    assert len((cohort.out / "voxels/contrast-Apoe4_desc-clusters_peaks.tsv").read_text().splitlines()) == 1


def test_too_few_images_for_any_voxel_is_told(voxels, caplog):
    assert voxels("--min-subjects", "31").status == 0
    assert "No voxel was tested" in caplog.text
    assert "There are 30 inputs for 4 columns" in caplog.text


def test_names_that_differ_in_punctuation_alone_get_files_of_their_own():
    assert contrast_labels(["a (+)", "a (-)", "a +", "a.b", "a b", "()"]) == (
        "APos",
        "ANeg",
        "APlus",
        "AB",
        "AB2",
        "Contrast",
    )


def test_review_of_an_empty_folder_and_of_an_unknown_name(cohort, voxels, cli):
    assert cli("review", cohort.folder).status == 66
    assert voxels().status == 0
    ended = cli("review", cohort.out, "--analysis-name", "other")
    assert ended.status == 18
    assert "There are: vbm_analysis" in ended.err


def test_a_planted_effect_is_found_where_it_was_planted(shared_data, tmp_path, cli, monkeypatch):
    """Real FA, moved and changed per pseudo-subject by make_cohort.py; 40 % less around one point in patients."""
    import subprocess
    import sys

    maker = shared_data.parent / "tools" / "make_cohort.py"
    words = [sys.executable, maker, tmp_path / "bids", "--bundles", "CST_left", "--effect", "0.4", "--streamlines", "5"]
    subprocess.run([*words, "--n", "24"], check=True, capture_output=True)
    truth = json.loads((tmp_path / "bids/truth.json").read_text())
    people = pd.read_csv(tmp_path / "bids/participants.tsv", sep="\t")
    found = [next((tmp_path / "bids").rglob(f"{who}_*param-fa_dwimap.nii.gz")) for who in people["participant_id"]]
    people.insert(0, "image", [path.relative_to(tmp_path).as_posix() for path in found])
    people.to_csv(tmp_path / "design.tsv", sep="\t", index=False)
    mean = np.mean([nib.load(path).get_fdata() for path in found], axis=0)
    nib.save(nib.Nifti1Image((mean > 0.2).astype(np.uint8), nib.load(found[0]).affine), tmp_path / "mask.nii.gz")
    monkeypatch.setattr("spectra_bids.voxels.draw", lambda *_: (DOT, DOT))
    ended = cli("voxels", tmp_path / "out", "--design", tmp_path / "design.tsv", "--mask", tmp_path / "mask.nii.gz",
                "--formula", "value ~ group + age + sex + (1|site)", "--contrast",
                "lower in patients: group[control]=1 group[patient]=-1")  # fmt: skip
    assert ended.status == 0, ended.err
    clusters = pd.read_csv(tmp_path / "out/voxels/contrast-LowerInPatients_desc-clusters_peaks.tsv", sep="\t")
    peak = clusters.iloc[0]
    assert np.linalg.norm(peak[["x_mm", "y_mm", "z_mm"]].astype(float) - truth["point_mm"]) < 8
    assert peak["q"] < 0.05
    assert peak["n_rejected"] == clusters["n_rejected"].max()
