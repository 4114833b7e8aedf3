"""ModelArray's HDF5 files beside modelarrayio: what it writes we read, what we write it reads, the same maps."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from spectra_bids.bridges.modelarray import ModelArrayFile, read_cohort_file, write_results, write_voxels
from spectra_bids.errors import InputDataError, MissingInputError, NothingSelectedError, VolumeError
from spectra_bids.io.masks import read_mask

AFFINE = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2.5, -72], [0, 0, 0, 1]])
SHAPE = (7, 8, 6)
N = 5


class Cohort(NamedTuple):
    folder: Path
    mask: Path
    table: Path

    @property
    def h5(self) -> Path:
        return self.folder / "FA.h5"


@pytest.fixture
def cohort(tmp_path):
    """Five images of FA and three of MD as the walkthrough of ModelArrayIO has them, each FA with a mask of its own."""
    rng = np.random.default_rng(0)
    for folder in ("FA", "MD", "individual_masks"):
        (tmp_path / folder).mkdir()
    group = rng.uniform(size=SHAPE) > 0.4
    save(tmp_path / "group_mask.nii.gz", group.astype(np.uint8))
    lines = []
    for k in range(N):
        own = tmp_path / f"individual_masks/sub-{k:02d}_mask.nii.gz"
        save(own, (group & (rng.uniform(size=SHAPE) > 0.2)).astype(np.uint8))
        save(tmp_path / f"FA/sub-{k:02d}_FA.nii.gz", rng.uniform(size=SHAPE).astype(np.float32))
        lines.append((f"sub-{k:02d}", own, 10 + k, tmp_path / f"FA/sub-{k:02d}_FA.nii.gz", "FA"))
        if k < 3:
            save(tmp_path / f"MD/sub-{k:02d}_MD.nii.gz", rng.uniform(size=SHAPE))
            lines.append((f"sub-{k:02d}", own, 10 + k, tmp_path / f"MD/sub-{k:02d}_MD.nii.gz", "MD"))
    columns = ["subject_id", "source_mask_file", "age", "source_file", "scalar_name"]
    pd.DataFrame(lines, columns=columns).to_csv(tmp_path / "cohort_FA.csv", index=False)
    return Cohort(tmp_path, tmp_path / "group_mask.nii.gz", tmp_path / "cohort_FA.csv")


def save(path, data, affine=AFFINE):
    nib.save(nib.Nifti1Image(data, affine), path)


def written(cohort):
    write_voxels(cohort.h5, read_mask(cohort.mask), read_cohort_file(cohort.table))
    return cohort.h5


def results(cohort, n=4, seed=1):
    names = ["element_id", "age.estimate", "age.p.value", "model.nobs"][:n]
    matrix = np.random.default_rng(seed).uniform(size=(n, read_mask(cohort.mask).n))
    matrix[1, 3] = np.nan
    return names, matrix


# --- validation ----------------------------------------------------------------------------------------------------


def test_columns_are_case_sensitive(cohort):
    cohort.table.write_text(cohort.table.read_text().replace("source_file", "Source_File"))
    with pytest.raises(InputDataError, match="Got: subject_id") as error:
        read_cohort_file(cohort.table)
    assert error.value.hint.startswith("Missing: source_file.")


def test_missing_images_are_named_and_counted(cohort):
    text = cohort.table.read_text()
    cohort.table.write_text(re.sub(r"_FA\.nii", "_fa.nii", text))
    with pytest.raises(MissingInputError, match=r"5 of 8 images are not there: .*sub-00_fa\.nii\.gz"):
        read_cohort_file(cohort.table)


def test_an_image_in_another_space_is_named_with_both_affines(cohort):
    save(cohort.folder / "FA/sub-03_FA.nii.gz", np.ones(SHAPE, np.float32), AFFINE + np.eye(4, k=3))
    with pytest.raises(VolumeError, match=r"sub-03_FA\.nii\.gz must have the affine .*90\.0.* Got .*91\.0") as error:
        written(cohort)
    assert error.value.exit_status == 65
    assert not cohort.h5.exists()


def test_an_image_of_another_shape_is_named_with_both_shapes(cohort):
    save(cohort.folder / "FA/sub-02_FA.nii.gz", np.ones((7, 8, 5), np.float32))
    with pytest.raises(VolumeError, match=r"sub-02_FA\.nii\.gz must have the shape .*\(7, 8, 6\)\. Got \(7, 8, 5\)"):
        written(cohort)


def test_an_input_that_stands_twice_is_refused(cohort):
    lines = cohort.table.read_text().splitlines()
    cohort.table.write_text("\n".join([*lines, lines[1]]) + "\n")
    with pytest.raises(InputDataError, match=r"the inputs of FA in .* must differ. Got .*sub-00_FA"):
        read_cohort_file(cohort.table)


def test_an_unknown_analysis_lists_those_that_are_there(cohort):
    written(cohort)
    names, matrix = results(cohort)
    write_results(cohort.h5, "mylm", names, matrix)
    with ModelArrayFile(cohort.h5) as file, pytest.raises(NothingSelectedError, match="There are: mylm"):
        next(file.results("other"))


def test_another_mask_than_the_files_is_refused(cohort):
    written(cohort)
    mask = read_mask(cohort.mask)
    moved = cohort.folder / "moved.nii.gz"
    save(moved, np.roll(mask.inside, 1, axis=0).astype(np.uint8))
    with ModelArrayFile(cohort.h5) as file:
        with pytest.raises(VolumeError, match="has other voxels"):
            file.require_mask(read_mask(moved), mask.n)
        with pytest.raises(VolumeError, match=f"has {mask.n} voxels, the file {mask.n + 1} elements"):
            file.require_mask(mask, mask.n + 1)


def test_a_file_that_is_no_hdf5_is_named(tmp_path):
    (tmp_path / "x.h5").write_text("no")
    with pytest.raises(InputDataError, match=r"x\.h5 must be an HDF5 file"):
        ModelArrayFile(tmp_path / "x.h5")


def test_a_file_without_scalars_says_so(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("scalars/FA/values", data=np.ones(3))  # no matrix
    with ModelArrayFile(tmp_path / "x.h5") as file, pytest.raises(NothingSelectedError, match="There are: none"):
        file.choose("")


def test_a_damaged_file_is_named(cohort):
    raw = bytearray(written(cohort).read_bytes())
    with h5py.File(cohort.h5) as file:
        place = file["scalars/FA/values"].id.get_chunk_info(0).byte_offset
    raw[place : place + 400] = bytes(400)
    cohort.h5.write_bytes(raw)
    with ModelArrayFile(cohort.h5) as file, pytest.raises(InputDataError, match=r"FA\.h5 cannot be read"):
        file.columns("FA", 0, 10)


# --- published example -----------------------------------------------------------------------------------------------


def test_the_commands_of_the_walkthrough_run_as_they_stand(cohort, shared_data, cli):
    """Every command of ../shared/seeds/002_*, paths and the program's name aside."""
    names, matrix = results(cohort)
    [seed] = (shared_data.parent / "seeds").glob("002_*")
    text = re.sub(r"\\\n", " ", seed.read_text())
    commands = re.findall(r"^modelarrayio (?:to-modelarray|export-results) +--.*$", text, flags=re.M)
    assert len(commands) == 4  # both, and the --help of both
    for line in commands:
        words = shlex.split(line.replace("/home/username/myProject/data", str(cohort.folder)))[1:]
        ended = cli(*words)
        assert ended.status == 0, ended.err
        if words[0] == "to-modelarray" and cohort.h5.is_file():
            write_results(cohort.h5, "mylm", names, matrix)
    maps = sorted(p.name for p in (cohort.folder / "FA_stats").iterdir())
    assert maps == [
        f"mylm_{n}.nii.gz" for n in ("age.1m.p.value", "age.estimate", "age.p.value", "element_id", "model.nobs")
    ]


# --- modelarrayio ----------------------------------------------------------------------------------------------------


def test_our_file_holds_what_modelarrayios_holds(cohort):
    """modelarrayio 26.0.0, to_modelarray on the same table: the same data sets, values, names and attributes."""
    from modelarrayio.cli.to_modelarray import to_modelarray

    theirs = cohort.folder / "theirs.h5"
    to_modelarray(cohort.table, output=theirs, group_mask_file=cohort.mask)
    with h5py.File(written(cohort)) as a, h5py.File(theirs) as b:
        assert members(a) == members(b)
        for name in members(b):
            if isinstance(b[name], h5py.Dataset):
                assert a[name].dtype == b[name].dtype
                np.testing.assert_array_equal(a[name][()], b[name][()])
            assert list(a[name].attrs.get("column_names", [])) == list(b[name].attrs.get("column_names", []))
        assert np.isnan(a["scalars/FA/values"][()]).any()


def members(file):
    found = []
    file.visit(found.append)
    return sorted(found)


@pytest.mark.parametrize("by", ["ours", "theirs"])
@pytest.mark.parametrize("compress", [True, False])
def test_exported_maps_are_modelarrayios_inside_the_mask_and_nan_outside(cohort, cli, compress, by):
    """modelarrayio 26.0.0, export_results on the same file."""
    from modelarrayio.cli.export_results import export_results
    from modelarrayio.cli.to_modelarray import to_modelarray

    if by == "ours":
        written(cohort)
    else:
        to_modelarray(cohort.table, output=cohort.h5, group_mask_file=cohort.mask)
    names, matrix = results(cohort)
    write_results(cohort.h5, "my lm", [*names[:1], "Effect of age (+)/x.estimate", *names[2:]], matrix)
    more = [] if compress else ["--no-compress"]
    ended = cli("export-results", "--mask", cohort.mask, "--analysis-name", "my lm", "--input-hdf5", cohort.h5,
                "--output-dir", cohort.folder / "ours", *more)  # fmt: skip
    assert ended.status == 0, ended.err
    export_results(cohort.h5, "my lm", cohort.folder / "theirs", group_mask_file=cohort.mask, compress=compress)
    inside = read_mask(cohort.mask).inside
    assert [p.name for p in sorted((cohort.folder / "ours").iterdir())] == [
        p.name for p in sorted((cohort.folder / "theirs").iterdir())
    ]
    for path in (cohort.folder / "theirs").iterdir():
        ours, theirs = nib.load(cohort.folder / "ours" / path.name), nib.load(path)
        assert ours.get_data_dtype() == np.float32
        np.testing.assert_array_equal(ours.affine, theirs.affine)
        assert ours.header["sform_code"] == theirs.header["sform_code"]
        np.testing.assert_array_equal(ours.get_fdata()[inside], theirs.get_fdata()[inside])
        assert np.isnan(ours.get_fdata()[~inside]).all()


def test_a_file_of_modelarrayio_is_read(cohort):
    from modelarrayio.cli.to_modelarray import to_modelarray

    to_modelarray(cohort.table, output=cohort.h5, group_mask_file=cohort.mask)
    mask = read_mask(cohort.mask)
    own = nib.load(cohort.folder / "individual_masks/sub-01_mask.nii.gz").get_fdata() > 0
    image = np.where(own, nib.load(cohort.folder / "FA/sub-01_FA.nii.gz").get_fdata(), np.nan)
    with ModelArrayFile(cohort.h5) as file:
        assert file.scalars == ("FA", "MD")
        assert [Path(name).name for name in file.inputs("MD")] == [f"sub-{k:02d}_MD.nii.gz" for k in range(3)]
        file.require_mask(mask, file.n_elements("FA"))
        np.testing.assert_array_equal(file.columns("FA", 10, 40)[1], image[mask.inside].astype(np.float32)[10:40])


def test_names_in_the_attribute_of_older_files_are_read(cohort):
    with h5py.File(cohort.h5, "w") as file:
        values = file.create_dataset("scalars/FA/values", data=np.ones((2, 3)))
        values.attrs["column_names"] = np.array([b"a.nii", b"b.nii"])
    with ModelArrayFile(cohort.h5) as file:
        assert file.inputs("FA") == ("a.nii", "b.nii")


# --- properties and edge cases ---------------------------------------------------------------------------------------


def test_the_same_images_give_the_same_bytes(cohort):
    first = written(cohort).read_bytes()
    assert written(cohort).read_bytes() == first


def test_results_of_the_same_name_are_replaced_and_others_stay(cohort):
    written(cohort)
    for analysis, seed in (("mylm", 1), ("other", 2), ("mylm", 3)):
        write_results(cohort.h5, analysis, *results(cohort, seed=seed))
    with ModelArrayFile(cohort.h5) as file:
        assert file.analyses == ("mylm", "other")
        np.testing.assert_array_equal(dict(file.results("mylm"))["model.nobs"], results(cohort, seed=3)[1][3])
        np.testing.assert_array_equal(dict(file.results("other"))["model.nobs"], results(cohort, seed=2)[1][3])


def test_a_file_with_results_or_of_another_kind_is_replaced_by_force_alone(cohort, cli):
    written(cohort)
    convert = ["to-modelarray", "--mask", cohort.mask, "--cohort-file", cohort.table, "--output"]
    assert cli(*convert, cohort.h5).status == 0, "values alone are made again"
    write_results(cohort.h5, "mylm", *results(cohort))
    ended = cli(*convert, cohort.h5)
    assert ended.status == 73
    assert "holds results: mylm" in ended.err
    table = cohort.table.read_bytes()
    assert cli(*convert, cohort.table).status == 73
    assert cohort.table.read_bytes() == table
    assert cli(*convert, cohort.h5, "--force").status == 0
    with ModelArrayFile(cohort.h5) as file:
        assert file.analyses == ()


def test_results_of_a_subset_are_placed_by_their_element_id(cohort):
    written(cohort)
    write_results(cohort.h5, "part", ["element_id", "x"], np.array([[7.0, 2.0], [0.5, 0.25]]))
    with ModelArrayFile(cohort.h5) as file:
        placed = dict(file.results("part", 10))["x"]
    np.testing.assert_array_equal(np.flatnonzero(np.isfinite(placed)), [2, 7])
    assert placed[7] == 0.5


def test_an_existing_folder_is_warned_of_and_keeps_its_files(cohort, shell):
    written(cohort)
    write_results(cohort.h5, "mylm", *results(cohort))
    out = cohort.folder / "FA_stats"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    ended = shell("export-results", "--mask", cohort.mask, "--analysis-name", "mylm", "--input-hdf5", cohort.h5,
                  "--output-dir", out)  # fmt: skip
    assert ended.status == 0
    assert "WARNING: Output directory exists" in ended.err
    assert (out / "notes.txt").read_text() == "mine"
    assert (out / "mylm_model.nobs.nii.gz").is_file()


def test_paths_are_taken_from_the_tables_folder(cohort):
    table = pd.read_csv(cohort.table)
    for column in ("source_file", "source_mask_file"):
        table[column] = [Path(p).relative_to(cohort.folder).as_posix() for p in table[column]]
    table.to_csv(cohort.table, index=False)
    assert all(row.path.is_file() and row.mask.is_file() for row in read_cohort_file(cohort.table))


@pytest.mark.parametrize("profile", ["1D", "2D"])
def test_profiles_go_out_as_elements_and_results_come_back_as_a_table(study, tmp_path, cli, profile):
    h5 = tmp_path / "profiles.h5"
    ended = cli(
        "to-modelarray", "--from-profiles", study.out, "--profile", profile, "--output", h5, "--dtype", "float64"
    )
    assert ended.status == 0, ended.err
    [path] = (study.out / "sub-05").rglob(f"*_desc-profile{profile}_tractometry.tsv")
    table = pd.read_csv(path, sep="\t", na_values="n/a", keep_default_na=False)
    who = pd.read_csv(tmp_path / "profiles_cohort.csv")
    with ModelArrayFile(h5) as file:
        scalar = file.scalars[0]
        inputs = file.inputs(scalar)
        assert inputs == tuple(who.loc[who["scalar_name"] == scalar, "source_file"])
        row = [k for k, name in enumerate(inputs) if name.startswith("sub-05")]
        np.testing.assert_array_equal(file.columns(scalar, 0, len(table))[row[0]], table[scalar])
    write_results(h5, "mylm", ["element_id", "age.estimate"], np.vstack([np.arange(len(table)), table[scalar]]))
    ended = cli("export-results", "--analysis-name", "mylm", "--input-hdf5", h5, "--output-dir", tmp_path / "stats")
    assert ended.status == 0, ended.err
    back = pd.read_csv(tmp_path / f"stats/mylm_desc-profile{profile}_results.tsv", sep="\t", na_values="n/a")
    assert back["bundle"].tolist() == table["bundle"].tolist()
    assert back["s"].tolist() == table["s"].tolist()
    np.testing.assert_allclose(back["age.estimate"], table[scalar], rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["to-modelarray", "--mask", "m.nii"], 2),
        (["to-modelarray"], 2),
        (["to-modelarray", "--mask", "absent.nii", "--cohort-file", "absent.csv"], 66),
        (["export-results", "--analysis-name", "a", "--input-hdf5", "absent.h5", "--output-dir", "out"], 66),
    ],
)
def test_what_is_missing_is_said_with_its_status(tmp_path, monkeypatch, cli, arguments, status):
    monkeypatch.chdir(tmp_path)
    ended = cli(*arguments)
    assert ended.status == status
    assert "this is a bug" not in ended.err
