"""lmm_fdr and cli.spectra: spectra_lmm_fdr, on profiles that the participant level made."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from spectra_bids.cli.spectra import main_lmm_fdr
from spectra_bids.dataset.grids import load_grid, stored_grids
from spectra_bids.lmm_fdr.aggregate import level_name
from spectra_bids.lmm_fdr.people import default_formula

FORMULA = "value ~ group + age + (1|site)"
LEVELS = ("0.05", "0.15", "0.25")


class Given(NamedTuple):
    root: object
    metadata: object
    bundles: object
    names: tuple[str, ...]


class Ended(NamedTuple):
    status: int
    out: str
    err: str


def run(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main_lmm_fdr([str(a) for a in arguments])
        except SystemExit as stop:
            status = int(stop.code or 0)
    return Ended(status, out.getvalue(), err.getvalue())


def write_npz(out, root):
    """Profiles of an output directory as spectra_profile writes them: cells outside of the grid are NaN."""
    grids = {name: load_grid(out, label, name) for name, (label, _) in stored_grids(out).items()}
    for path in sorted(out.glob("sub-*/dwi/*_desc-profile1D_tractometry.tsv")):
        along = pd.read_csv(path, sep="\t", na_values=["n/a"])
        across = pd.read_csv(str(path).replace("profile1D", "profile2D"), sep="\t", na_values=["n/a"])
        scalar = along.columns[-2]
        for name, grid in grids.items():
            one, two = along[along["bundle"] == name], across[across["bundle"] == name]
            if (one["status"].isin(["no_bundle", "few_streamlines"])).all():
                continue
            profile_1d, profile_2d = np.full(grid.ns, np.nan), np.full((grid.ns, grid.nr), np.nan)
            profile_1d[one["s"]] = one[scalar]
            profile_2d[two["s"], two["r"]] = two[scalar]
            target = root / path.parent.parent.name / f"{name}_fa.npz"
            target.parent.mkdir(parents=True, exist_ok=True)
            np.savez(target, ns=grid.ns, nr=grid.nr, s_len=grid.s_len, r_len=grid.r_len,
                     profile_1d=profile_1d, profile_2d=profile_2d)  # fmt: skip
    return tuple(grids)


@pytest.fixture(scope="module")
def given(study, tmp_path_factory) -> Given:
    folder = tmp_path_factory.mktemp("spectra")
    names = write_npz(study.out, folder / "profiles")
    people = pd.read_csv(study.bids / "participants.tsv", sep="\t")
    people.rename(columns={"participant_id": "subject"}).to_csv(folder / "subjects.csv", index=False)
    (folder / "bundles.txt").write_text("# of the study\n" + "\n".join(names) + "\n\n")
    return Given(folder / "profiles", folder / "subjects.csv", folder / "bundles.txt", names)


def common(given, out):
    return ("--metadata", given.metadata, "--root_dir", given.root, "--output_dir", out, "--effect", "group",
            "--formula", FORMULA)  # fmt: skip


@pytest.fixture(scope="module")
def fitted(given, tmp_path_factory):
    out = tmp_path_factory.mktemp("results")
    for name in given.names:
        ended = run("single", *common(given, out), "--bundle", name, "--profile", "both")
        assert ended.status == 0, ended.err
    return out


def aggregate(given, out, *more):
    return run("aggregate", *common(given, out), "--bundle_list", given.bundles, "--profile", "both", *more)


# --- what is asked for wrongly --------------------------------------------------------------------------------------


def test_the_help_names_both_stages_and_every_flag_of_spectra():
    text = run("--help").out + run("single", "--help").out + run("aggregate", "--help").out
    flags = "--metadata --root_dir --output_dir --bundle --stats_mode --bundle_list --alpha_block --alpha_cell"
    for flag in (*flags.split(), "--combination_method", "--alpha", "--adaptive", "single", "aggregate"):
        assert flag in text


def single(given, out, *more, bundle=None, **changed):
    arguments = {"metadata": given.metadata, "root_dir": given.root, "output_dir": out, "effect": "group", **changed}
    flags = [word for key, value in arguments.items() if value is not None for word in (f"--{key}", value)]
    return run("single", *flags, "--bundle", bundle or given.names[0], *more)


def test_two_columns_with_two_levels_ask_which_is_the_effect(given, tmp_path):
    ended = single(given, tmp_path, effect=None)
    assert ended.status == 2
    assert "group, sex" in ended.err
    assert "group, age, sex" in ended.err


def test_the_only_column_with_two_levels_is_the_effect(given, tmp_path):
    alone = tmp_path / "subjects.csv"
    pd.read_csv(given.metadata).drop(columns="sex").to_csv(alone, index=False)
    ended = single(given, tmp_path, effect=None, metadata=alone)
    assert ended.status == 0, ended.err
    facts = json.loads((tmp_path / f"{given.names[0]}__fits.json").read_text())
    assert (facts["Effect"], facts["Formula"]) == ("group", "value ~ group + age + (1|site)")


def test_metadata_without_subjects_lists_its_columns(given, tmp_path):
    table = tmp_path / "people.csv"
    pd.read_csv(given.metadata).rename(columns={"subject": "who"}).to_csv(table, index=False)
    ended = single(given, tmp_path, metadata=table)
    assert ended.status == 65
    assert "who, group, age, sex, site" in ended.err
    assert "--subject_column" in ended.err
    assert single(given, tmp_path, "--subject_column", "who", metadata=table).status == 0


def test_an_unknown_bundle_lists_those_there_are(given, tmp_path):
    ended = single(given, tmp_path, bundle="XYZ")
    assert ended.status == 18
    assert "XYZ" in ended.err
    assert all(name in ended.err for name in given.names)


def test_a_subject_without_any_profile_is_named_and_may_be_left_out(given, tmp_path):
    root = shutil.copytree(given.root, tmp_path / "profiles")
    shutil.rmtree(root / "sub-03")
    ended = single(given, tmp_path, root_dir=root)
    assert ended.status == 66
    assert "sub-03" in ended.err
    assert "sub-05" not in ended.err
    assert not (tmp_path / f"{given.names[0]}__fits.csv").exists()
    assert single(given, tmp_path, "--allow_missing", root_dir=root).status == 0


def test_a_subject_without_this_bundle_is_missing_and_said(given, tmp_path):
    ended = single(given, tmp_path, bundle="AFL")
    assert ended.status == 0
    facts = json.loads((tmp_path / "AFL__fits.json").read_text())
    assert facts["Maps"]["fa"]["Absent"] == ["sub-04"]
    assert pd.read_csv(tmp_path / "AFL__fits.csv")["n"].max() == 11


def test_another_grid_in_one_subject_names_the_file(given, tmp_path):
    root = shutil.copytree(given.root, tmp_path / "profiles")
    name = given.names[0]
    np.savez(root / "sub-05" / f"{name}_fa.npz", ns=2, nr=1, s_len=5.0, r_len=5.0,
             profile_1d=np.zeros(2), profile_2d=np.zeros((2, 1)))  # fmt: skip
    ended = single(given, tmp_path, root_dir=root)
    assert ended.status == 65
    assert f"sub-05/{name}_fa.npz" in ended.err
    assert "(2, 1)" in ended.err


@pytest.mark.parametrize(
    ("more", "status", "said"),
    [
        (("--formula", "value ~ age"), 2, "--effect group is no term"),
        (("--formula", "value ~ group + agee"), 65, "agee"),
        (("--maps", "md"), 18, "map md"),
        (("--pattern", "{subject}/{bundle}.npz"), 2, "--pattern"),
        (("--root_dir", "nowhere"), 66, "nowhere"),
        (("--metadata", "nowhere.csv"), 66, "nowhere.csv"),
        (("--bundle", "../x"), 2, "../x"),
    ],
)
def test_what_is_asked_for_wrongly_is_named(given, tmp_path, more, status, said):
    ended = single(given, tmp_path, *more)
    assert ended.status == status, ended.err
    assert said in ended.err
    assert list(tmp_path.glob("*__*")) == []


def test_aggregate_lists_all_bundles_without_fits(given, fitted, tmp_path):
    out = shutil.copytree(fitted, tmp_path / "results")
    gone = given.names[:2]
    (out / f"{gone[0]}__fits.csv").unlink()
    (out / f"{gone[1]}__fits.json").unlink()
    ended = aggregate(given, out)
    assert ended.status == 66
    assert f"2 of {len(given.names)} bundles" in ended.err
    assert all(name in ended.err for name in gone)
    assert given.names[2] not in ended.err


def test_fits_of_another_model_are_refused(given, fitted):
    ended = aggregate(given, fitted, "--formula", "value ~ group + sex")
    assert ended.status == 65
    assert FORMULA in ended.err


def test_combinations_that_take_cells_for_independent_are_refused(given, fitted):
    ended = aggregate(given, fitted, "--combination_method", "fisher")
    assert ended.status == 2
    assert "fisher" in ended.err


# --- another way to the same decisions ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def group(study, tmp_path_factory, cli):
    """Decisions of the group level on the same profiles, and its fits."""
    out = tmp_path_factory.mktemp("group") / "out"
    shutil.copytree(study.out, out)
    for name, mode in (("h", ("hfdr", "--alpha-cell", *LEVELS)), ("f", ("fdr",)), ("a", ("fdr", "--adaptive")),
                       ("r", ("hfdr_resel", "--alpha-cell", *LEVELS))):  # fmt: skip
        ended = cli(study.bids, out, "group", "--formula", FORMULA, "--model-name", name, "--stats-mode", *mode)
        assert ended.status == 0, ended.err
    return out


def decisions(group, name, dims):
    path = group / "group" / f"model-{name}" / f"model-{name}_desc-profile{dims}_stats.tsv"
    table = pd.read_csv(path, sep="\t", na_values=["n/a"])
    return table[table["contrast"] == "group"].set_index([c for c in ("bundle", "s", "r") if c in table])


def ours(out, name, dims, index):
    """Rows of a table of ours on the grid's cells."""
    table = pd.read_csv(out / name)
    table = table[table["profile"] == dims].set_index(["bundle", "s", "r"] if dims == "2D" else ["bundle", "s"])
    outside = table.drop(index)
    assert outside["p"].isna().all()
    return table.loc[index]


@pytest.mark.parametrize("dims", ["1D", "2D"])
@pytest.mark.parametrize(("name", "mode"), [("h", "hfdr"), ("r", "hfdr_resel")], ids=["bundles", "resels"])
def test_hierarchical_decisions_are_those_of_the_group_level(given, fitted, group, dims, name, mode):
    ended = aggregate(given, fitted, "--stats_mode", mode, "--alpha_cell", *LEVELS)
    assert ended.status == 0, ended.err
    wanted = decisions(group, name, dims)
    assert wanted["rejected"].sum() > 0
    columns = ("rejected", "rejected_ac15", "rejected_ac25")
    for level, column in zip(LEVELS, columns, strict=True):
        found = ours(fitted, f"{mode}__stats_all_{level_name(float(level))}.csv", dims, wanted.index)
        np.testing.assert_allclose(found["p"], wanted["p"], rtol=1e-5)
        np.testing.assert_allclose(found["q"], wanted["q"], rtol=1e-5)
        assert (found["rejected"] == wanted[column].astype(bool)).all()
        summary = pd.read_csv(fitted / f"{mode}__stats_summary_{level_name(float(level))}.csv")
        assert summary.loc[summary["profile"] == dims, "n_rejected"].sum() == wanted[column].sum()
    blocks = pd.read_csv(fitted / f"{mode}__stats_blocks.csv")
    chosen = set(blocks.loc[blocks["selected"] & (blocks["profile"] == dims), "bundle"])
    assert chosen == set(wanted[wanted["block_selected"].astype(bool)].index.get_level_values("bundle"))


@pytest.mark.parametrize("dims", ["1D", "2D"])
@pytest.mark.parametrize(("name", "more"), [("f", ()), ("a", ("--adaptive",))], ids=["BH", "BKY"])
def test_decisions_over_all_cells_are_those_of_the_group_level(given, fitted, group, dims, name, more):
    ended = aggregate(given, fitted, "--stats_mode", "fdr", "--alpha", "0.05", *more)
    assert ended.status == 0, ended.err
    wanted = decisions(group, name, dims)
    found = ours(fitted, "fdr__stats_all.csv", dims, wanted.index)
    assert wanted["rejected"].sum() > 0
    assert (found["rejected"] == wanted["rejected"].astype(bool)).all()
    stored = np.load(fitted / "fdr__fdr_diagnostics.npz")
    assert stored[f"fa_{dims}_n_rejected"] == wanted["rejected"].sum()
    assert stored[f"fa_{dims}_n_tests"] == wanted["p"].notna().sum()
    assert stored[f"fa_{dims}_p_threshold"] == found.loc[found["rejected"], "p"].max()
    assert (np.diff(stored[f"fa_{dims}_p_sorted"]) >= 0).all()


# --- resels, files, reruns ------------------------------------------------------------------------------------------


def test_resels_are_parts_of_bundles_that_cover_every_cell_with_data(given, fitted):
    ended = aggregate(given, fitted, "--stats_mode", "hfdr_resel", "--alpha_cell", *LEVELS)
    assert ended.status == 0, ended.err
    names = {p.name for p in fitted.glob("hfdr_resel__*")}
    assert names == {"hfdr_resel__stats_blocks.csv"} | {
        f"hfdr_resel__stats_{kind}_{level}.csv" for kind in ("all", "summary") for level in ("ac05", "ac15", "ac25")
    }
    blocks = pd.read_csv(fitted / "hfdr_resel__stats_blocks.csv")
    table = pd.read_csv(fitted / "hfdr_resel__stats_all_ac05.csv")
    for (_, _, block), cells in table[table["p"].notna()].groupby(["map", "profile", "block"]):
        assert block.startswith(cells["bundle"].iloc[0] + "_resel")
    across = blocks[(blocks["profile"] == "2D") & ~blocks["block"].str.endswith("_untested")]
    assert across.groupby("bundle").size().max() > 1
    assert (across["n_cells"] > 1).all()
    assert across["selected"].any()


@pytest.mark.parametrize("method", ["acat", "bonferroni", "minp-galwey", "gates"])
def test_every_offered_combination_selects_the_planted_bundle(given, fitted, tmp_path, method):
    out = shutil.copytree(fitted, tmp_path / "results")
    ended = aggregate(given, out, "--stats_mode", "hfdr", "--combination_method", method)
    assert ended.status == 0, ended.err
    blocks = pd.read_csv(out / "hfdr__stats_blocks.csv")
    assert "CSTR" in set(blocks.loc[blocks["selected"], "bundle"])


def test_a_second_run_writes_the_same_bytes(given, fitted, tmp_path):
    assert aggregate(given, fitted, "--stats_mode", "fdr").status == 0
    name = given.names[0]
    again = tmp_path / "results"
    for bundle in given.names:
        assert run("single", *common(given, again), "--bundle", bundle, "--profile", "both").status == 0
    assert aggregate(given, again, "--stats_mode", "fdr").status == 0
    for path in (f"{name}__fits.csv", f"{name}__fits.npz", f"{name}__fits.json", "fdr__stats_all.csv",
                 "fdr__stats_summary.csv", "fdr__fdr_diagnostics.npz"):  # fmt: skip
        assert (again / path).read_bytes() == (fitted / path).read_bytes(), path


def test_every_map_is_a_family_of_its_own(given, tmp_path):
    root = shutil.copytree(given.root, tmp_path / "profiles")
    for path in sorted(root.glob("*/*_fa.npz")):
        shutil.copy(path, path.with_name(path.name.replace("_fa", "_md")))
    for name in given.names:
        assert run("single", *common(given, tmp_path), "--root_dir", root, "--bundle", name).status == 0
    ended = run("aggregate", *common(given, tmp_path), "--root_dir", root, "--bundle_list", given.bundles,
                "--stats_mode", "hfdr")  # fmt: skip
    assert ended.status == 0, ended.err
    table = pd.read_csv(tmp_path / "hfdr__stats_all_ac05.csv")
    assert list(dict.fromkeys(table["map"])) == ["fa", "md"]
    twice = [table[table["map"] == m].drop(columns="map").reset_index(drop=True) for m in ("fa", "md")]
    pd.testing.assert_frame_equal(*twice)


@pytest.mark.parametrize(("alpha", "name"), [(0.05, "ac05"), (0.15, "ac15"), (0.1, "ac10"), (0.001, "ac001")])
def test_levels_have_short_names(alpha, name):
    assert level_name(alpha) == name


@pytest.mark.parametrize(
    ("columns", "wanted"),
    [
        ({"dx": "ab", "age": (1, 2), "site": "xy"}, "value ~ dx + age + (1|site)"),
        ({"dx": "ab", "Sex": "ff", "IQ": (1, 2)}, "value ~ dx"),
        ({"dx": "ab", "my site": "xy", "gender": "mf"}, "value ~ dx + gender"),
    ],
)
def test_the_default_model_takes_age_sex_and_site_where_they_vary(columns, wanted):
    table = pd.DataFrame(
        {"subject": ["1", "2"], "participant_id": ["1", "2"], **{k: list(v) for k, v in columns.items()}}
    )
    assert default_formula(table, "subject", "dx") == wanted


def test_visits_of_one_subject_share_a_random_factor(given, tmp_path):
    root = shutil.copytree(given.root, tmp_path / "profiles" / "v1")
    shutil.copytree(root, tmp_path / "profiles" / "v2")
    people = pd.read_csv(given.metadata)
    visits = pd.concat([people.assign(visit=v, years=k) for k, v in enumerate(("v1", "v2"))])
    visits.drop(columns=["sex", "site"]).to_csv(tmp_path / "subjects.csv", index=False)
    ended = single(given, tmp_path, "--pattern", "{visit}/{subject}/{bundle}_{map}.npz", root_dir=tmp_path / "profiles",
                   metadata=tmp_path / "subjects.csv")  # fmt: skip
    assert ended.status == 0, ended.err
    facts = json.loads((tmp_path / f"{given.names[0]}__fits.json").read_text())
    assert facts["Formula"] == "value ~ group + age + (1|participant_id)"
    assert pd.read_csv(tmp_path / f"{given.names[0]}__fits.csv")["n_levels"].max() == 11  # sub-04 lacks the bundle
