"""bridges.afq: AFQ's tables become an output directory that the group level and its report run on."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from spectra_bids.bridges.afq import AfqColumns, import_afq, read_afq
from spectra_bids.dataset.grids import has_radial_bins, load_grid, write_grid
from spectra_bids.errors import InputDataError, MissingInputError, OutputError, UsageError
from spectra_bids.geometry.grid import nodes_only


def table(n=3, visits=("",), tracts=("Left Arcuate", "Right Arcuate"), nodes=4):
    rows = [
        {"subjectID": f"s_{who}", **({"sessionID": visit} if visit else {}), "tractID": tract, "nodeID": node,
         "fa": round(0.3 + 0.1 * who + 0.01 * node + (0.001 if visit == "2" else 0), 4), "dki_md": 0.8}
        for who in range(n) for visit in visits for tract in tracts for node in range(nodes)
    ]  # fmt: skip
    made = pd.DataFrame(rows)
    made["dki_md"] += np.arange(len(made)) / 1000
    return made


def saved(frame, path):
    frame.to_csv(path, index=False)
    return path


# --- validation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "columns", "error", "said"),
    [
        (lambda t: t.drop(columns="tractID"), {}, InputDataError, "no column tractID"),
        (lambda t: t.rename(columns={"nodeID": "k"}), {"node": "j"}, InputDataError, "no column j"),
        (lambda t: t.assign(nodeID=t["nodeID"] + 0.5), {}, InputDataError, "numbers of nodes"),
        (lambda t: pd.concat([t, t.iloc[[5]]]), {}, InputDataError, "node 1 of RightArcuate twice in s_0"),
        (lambda t: t.replace("s_1", "s0"), {}, InputDataError, "'s_0' and 's0'"),
        (lambda t: t.replace("Right Arcuate", "Left_Arcuate"), {}, InputDataError, "LeftArcuate"),
        (lambda t: t.drop(columns=["fa", "dki_md"]), {}, InputDataError, "no column of numbers"),
        (lambda t: t.assign(fa="high"), {"scalars": ("fa",)}, InputDataError, "column fa"),
        (lambda t: t, {"scalars": ("rd",)}, UsageError, "no column rd"),
        (lambda t: t, {"covariates": ("fa",)}, InputDataError, "column fa .* varies within a session of s_0"),
        (lambda t: t.iloc[:0], {}, InputDataError, "no rows"),
    ],
)
def test_a_table_that_is_none_is_named_with_what_is_wrong(tmp_path, spoil, columns, error, said):
    path = saved(spoil(table()), tmp_path / "tract_profiles.csv")
    with pytest.raises(error, match=said) as caught:
        import_afq(path, None, tmp_path / "out", tmp_path / "bids", AfqColumns(**columns))
    assert "tract_profiles.csv" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_subjects_of_other_people_and_a_missing_table_are_refused(tmp_path):
    path = saved(table(), tmp_path / "nodes.csv")
    other = saved(pd.DataFrame({"subjectID": ["x1"], "age": [3]}), tmp_path / "subjects.csv")
    with pytest.raises(InputDataError, match="nobody of the profiles"):
        import_afq(path, other, tmp_path / "out", tmp_path / "bids")
    with pytest.raises(MissingInputError, match=r"nothing\.csv"):
        import_afq(tmp_path / "nothing.csv", None, tmp_path / "out", tmp_path / "bids")


def test_subjects_without_covariates_are_told(tmp_path, caplog):
    path = saved(table(n=3), tmp_path / "nodes.csv")
    first = str(table(n=3)["subjectID"].iloc[0])
    people = saved(pd.DataFrame({"subjectID": [first], "age": [3]}), tmp_path / "subjects.csv")
    import_afq(path, people, tmp_path / "out", tmp_path / "bids")
    assert "2 subjects of the profiles are not in" in caplog.text
    assert "covariates n/a" in caplog.text


def test_an_output_directory_with_other_grids_is_not_mixed_with(tmp_path, study):
    with pytest.raises(OutputError, match="other grids"):
        import_afq(saved(table(), tmp_path / "nodes.csv"), None, study.out, tmp_path / "bids")
    with pytest.raises(OutputError, match="two folders"):
        import_afq(saved(table(), tmp_path / "nodes.csv"), None, tmp_path / "a", tmp_path / "a")


def test_an_import_of_other_people_or_tracts_is_not_mixed_with(tmp_path, tree):
    frame = table(n=4)
    import_afq(saved(frame, tmp_path / "t.csv"), None, tmp_path / "out", tmp_path / "bids")
    before = tree(tmp_path / "out") | tree(tmp_path / "bids")
    others = frame.assign(subjectID="other" + frame["subjectID"].astype(str))
    fewer = frame[frame["tractID"] != frame["tractID"].iloc[0]]
    for changed, said in ((others, "profile1D_tractometry.tsv"), (fewer, "_grid.json")):
        with pytest.raises(OutputError, match=f"would not replace: .*{said}"):
            import_afq(saved(changed, tmp_path / "u.csv"), None, tmp_path / "out", tmp_path / "bids")
    assert tree(tmp_path / "out") | tree(tmp_path / "bids") == before
    import_afq(saved(frame, tmp_path / "t.csv"), None, tmp_path / "out", tmp_path / "bids")


# --- real data, another program's numbers ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sarica(shared_data, tmp_path_factory, cli):
    """The 48 people of Sarica 2017, imported and modelled."""
    out = tmp_path_factory.mktemp("sarica") / "out"
    tables = shared_data / "tables"
    ended = cli("import-afq", tables / "sarica_als_nodes.csv.gz", tables / "sarica_als_subjects.csv", out,
                "--scalars", "fa")  # fmt: skip
    assert ended.status == 0, ended.err
    assert "48 sessions of 48 subjects, 20 bundles with 2000 nodes, scalars dwi_fa" in ended.out
    for mode in ("fdr", "hfdr"):
        ended = cli(out / "sourcedata", out, "group", "--formula", "value ~ class + age + gender", "--stats-mode", mode,
                    "--model-name", mode)  # fmt: skip
        assert ended.status == 0, ended.err
    return out


def stats(out, model):
    found = pd.read_csv(out / f"group/model-{model}/model-{model}_desc-profile1D_stats.tsv", sep="\t", na_values="n/a")
    return found[found["contrast"] == "class"]


def oracle(shared_data, name):
    found = pd.read_csv(shared_data / "oracles" / name)
    found = found[found["metric"] == "fa"]
    return found.assign(bundle=[re.sub("[^A-Za-z0-9]", "", t) for t in found["tractID"]], s=found["nodeID"])


def test_sarica_has_the_numbers_of_lm_and_the_forty_nodes_of_bh(sarica, shared_data):
    """oracles/sarica_nodewise_lm.csv: R's lm(fa ~ class + age + gender) per node; BH over 2,000 nodes."""
    both = stats(sarica, "fdr").merge(
        oracle(shared_data, "sarica_nodewise_lm.csv"), on=["bundle", "s"], suffixes=("", "_r")
    )
    assert len(both) == 2000
    assert (both["df"] == both["df_r"]).all()
    assert (both["n"] == both["n_r"]).all()
    np.testing.assert_allclose(both["estimate"], -both["estimate_r"], atol=2e-6)  # our reference is ALS, the first
    np.testing.assert_allclose(both["se"], both["se_r"], rtol=5e-5)  # tables of profiles have six digits
    np.testing.assert_allclose(both["p"], both["p_r"], rtol=1e-3)
    found = both[both["rejected"].astype(bool)].groupby("bundle").size().to_dict()
    assert found == {"RightCorticospinal": 20, "LeftSLF": 11, "LeftCorticospinal": 8, "RightArcuate": 1}


def test_sarica_has_the_nodes_of_treebh(sarica, shared_data):
    """oracles/sarica_fa_TreeBH.csv: R's TreeBH at .05 / .05."""
    both = stats(sarica, "hfdr").merge(
        oracle(shared_data, "sarica_fa_TreeBH.csv"), on=["bundle", "s"], suffixes=("", "_r")
    )
    assert len(both) == 2000
    assert both["treebh_node"].sum() > 0
    assert (both["rejected"].astype(bool) == both["treebh_node"].astype(bool)).all()


class _Text(HTMLParser):
    def __init__(self):
        super().__init__()
        self.words, self._skip = [], 0

    def handle_starttag(self, tag, attrs):
        self._skip += tag in ("script", "style")

    def handle_endtag(self, tag):
        self._skip -= tag in ("script", "style")

    def handle_data(self, data):
        if not self._skip:
            self.words.append(data)


def test_the_page_says_nothing_of_places_that_nobody_knows(sarica):
    reader = _Text()
    reader.feed((sarica / "model-hfdr.html").read_text())
    text = " ".join(" ".join(reader.words).split())
    assert "RightCorticospinal" in text
    assert not re.search(r"\bnan\b", text)
    assert "mm from" not in text
    assert "Centre: x" not in text
    drawn = next((sarica / "group/model-hfdr/figures").glob("*bundle-RightCorticospinal_desc-effect1D.svg")).read_text()
    assert ">node<" in drawn
    assert "mm<" not in drawn


def test_what_was_imported_is_a_valid_output_directory(sarica, cli):
    ended = cli("validate", sarica)
    assert ended.out.splitlines()[-1].startswith("0 errors")


# --- layout ---------------------------------------------------------------------------------------------------------


def test_subjects_and_visits_go_where_they_belong(tmp_path):
    frame = table(visits=("1", "2"))
    frame["sex"] = frame["subjectID"].map({"s_0": "F", "s_1": "M", "s_2": None})
    frame["score"] = frame["sessionID"].astype(int) + 10
    import_afq(saved(frame, tmp_path / "long.csv"), None, tmp_path / "out", tmp_path / "bids")
    people = pd.read_csv(tmp_path / "bids/participants.tsv", sep="\t", keep_default_na=False)
    assert people.to_dict("list") == {
        "participant_id": ["sub-s0", "sub-s1", "sub-s2"], "source_id": ["s_0", "s_1", "s_2"], "sex": ["F", "M", "n/a"],
    }  # fmt: skip
    visits = pd.read_csv(tmp_path / "bids/sub-s1/sub-s1_sessions.tsv", sep="\t")
    assert visits.to_dict("list") == {"session_id": ["ses-1", "ses-2"], "score": [11, 12]}
    paths = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").glob("sub-s1/**/*1D*.tsv"))
    assert paths == [f"sub-s1/ses-{k}/dwi/sub-s1_ses-{k}_desc-profile1D_tractometry.tsv" for k in (1, 2)]
    found = pd.read_csv(tmp_path / "out" / paths[1], sep="\t", na_values="n/a")
    assert found["dwi_fa"].tolist() == pytest.approx([0.401, 0.411, 0.421, 0.431] * 2)
    assert found["s_mm"].isna().all()


def test_a_session_column_of_subjects_csv_is_joined_by_session(tmp_path):
    path = saved(table(visits=("1", "2")), tmp_path / "tract_profiles.csv")
    rows = [{"subjectID": f"s_{k}", "sessionID": v, "age": 20 + k + int(v)} for k in range(3) for v in ("1", "2")]
    people = saved(pd.DataFrame(rows), tmp_path / "subjects.csv")
    import_afq(path, people, tmp_path / "out", tmp_path / "bids")
    visits = pd.read_csv(tmp_path / "bids/sub-s2/sub-s2_sessions.tsv", sep="\t")
    assert visits["age"].tolist() == [23, 24]


def test_what_is_missing_keeps_its_row_and_a_bundle_without_values_is_no_bundle(tmp_path):
    frame = table()
    frame.loc[frame.index[1], "fa"] = np.nan
    frame.loc[(frame["subjectID"] == "s_1") & (frame["tractID"] == "Left Arcuate"), ["fa", "dki_md"]] = np.nan
    frame = frame[(frame["subjectID"] != "s_2") | (frame["tractID"] != "Right Arcuate")]
    out = tmp_path / "out"
    import_afq(saved(frame, tmp_path / "nodes.csv"), None, out, tmp_path / "bids")

    def status(who):
        read = pd.read_csv(out / f"sub-{who}/dwi/sub-{who}_desc-profile1D_tractometry.tsv", sep="\t", na_values="n/a")
        assert len(read) == 8
        return read["status"].tolist()

    assert status("s0") == ["ok", "no_points", *["ok"] * 6]
    assert status("s1") == ["no_bundle"] * 4 + ["ok"] * 4
    assert status("s2") == ["ok"] * 4 + ["no_bundle"] * 4


def test_models_of_scalars_are_kept_and_columns_may_have_other_names(tmp_path):
    frame = table().rename(columns={"subjectID": "who", "tractID": "tract", "nodeID": "k"})
    columns = AfqColumns("who", "", "tract", "k")
    found = read_afq(saved(frame, tmp_path / "x.csv"), columns)
    assert found.scalars == ("dwi_fa", "dki_md")
    assert list(found.tracts.items()) == [("LeftArcuate", "Left Arcuate"), ("RightArcuate", "Right Arcuate")]


def test_the_order_of_rows_does_not_matter_and_a_second_import_writes_the_same_bytes(tmp_path, tree):
    frame = table(n=4, visits=("1", "2"))
    import_afq(saved(frame, tmp_path / "t.csv"), None, tmp_path / "a", tmp_path / "bids_a")
    first = tree(tmp_path / "a")
    import_afq(tmp_path / "t.csv", None, tmp_path / "a", tmp_path / "bids_a")
    assert tree(tmp_path / "a") == first
    shuffled = frame.groupby("subjectID").sample(frac=1, random_state=3)
    shuffled = pd.concat([frame.iloc[:8], shuffled.drop(frame.index[:8])])  # tracts and nodes first seen in one order
    import_afq(saved(shuffled, tmp_path / "u.csv"), None, tmp_path / "b", tmp_path / "bids_b")
    tables = {k: v for k, v in tree(tmp_path / "b").items() if k.endswith(".tsv")}
    assert tables == {k: v for k, v in first.items() if k.endswith(".tsv")}
    assert tree(tmp_path / "bids_a") == tree(tmp_path / "bids_b")


def test_what_we_export_for_afq_comes_back_with_the_same_decisions(study, tmp_path, cli):
    """group/tract_profiles.csv and subjects.csv of the group level, taken in again."""
    import shutil

    from spectra_bids.dataset.outputs import read_table

    out = shutil.copytree(study.out, tmp_path / "out")
    model = ("--formula", "value ~ group + age", "--model-name", "m", "--profile", "1D")
    assert cli(study.bids, out, "group", *model).status == 0
    ended = cli("import-afq", out / "group/tract_profiles.csv", out / "group/subjects.csv", tmp_path / "back")
    assert ended.status == 0, ended.err
    ended = cli(tmp_path / "back/sourcedata", tmp_path / "back", "group", *model)
    assert ended.status == 0, ended.err
    first, second = (read_table(o / "group/model-m/model-m_desc-profile1D_stats.tsv") for o in (out, tmp_path / "back"))
    assert second["x_mm"].isna().all()
    for column in ("bundle", "s", "n", "rejected"):
        assert (first[column] == second[column]).all(), column
    np.testing.assert_allclose(first["p"], second["p"], rtol=1e-5)


# --- grids of nodes alone -------------------------------------------------------------------------------------------


def test_a_grid_of_nodes_alone_survives_the_disk_and_knows_no_place(tmp_path):
    grid = nodes_only("X", np.array([False, True, True]))
    assert not grid.is_located
    assert (grid.ns, grid.nr, grid.ends) == (3, 0, ("", ""))
    assert np.isnan(grid.s_mm).all()
    write_grid(tmp_path, "afq", grid, None, "0" * 64)
    back = load_grid(tmp_path, "afq", "X")
    assert back.checksum == grid.checksum
    np.testing.assert_array_equal(back.in_1d, grid.in_1d)
    assert json.loads((tmp_path / "atlas/atlas-afq_bundle-X_grid.json").read_text())["NodeSpacing"]["Value"] == "n/a"
    assert not has_radial_bins(tmp_path)


def test_checksums_of_grids_of_nodes_alone_tell_them_apart():
    masks = ([True] * 3, [True] * 4, [True, False, True])
    grids = [nodes_only(name, np.array(mask)) for name in ("X", "Y") for mask in masks]
    assert len({grid.checksum for grid in grids}) == 6


def test_grids_of_an_atlas_have_radial_bins(study):
    assert has_radial_bins(study.out)
