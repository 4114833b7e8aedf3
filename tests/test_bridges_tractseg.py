"""bridges.tractseg: Tractometry's tables, one per subject, become profiles; a bundle of zeros is a missing one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spectra_bids.bridges.tractseg import import_tractseg, read_people
from spectra_bids.dataset.outputs import read_table
from spectra_bids.dataset.validate import validate
from spectra_bids.errors import InputDataError, MissingInputError, UsageError

BUNDLES = ("AF_left", "CST_right", "ICP_left", "CC_7")


def tractometry(path: Path, seed: int, shift: float = 0.0, absent: tuple[str, ...] = (), segments: int = 98) -> Path:
    """A table as TractSeg's bin/Tractometry writes it: np.savetxt, ';', header without '#', 0 for absent bundles."""
    rng = np.random.default_rng(seed)
    values = 0.4 + shift + 0.05 * np.sin(np.linspace(0, 3, segments))[:, None] + rng.normal(0, 0.02, (segments, 4))
    values[:, [BUNDLES.index(name) for name in absent]] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, values, delimiter=";", header=";".join(BUNDLES), comments="")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sixteen people in two groups; who has no ICP has zeros there."""
    lines = [f"# tractometry_path={tmp_path}/SUBJECT_ID/tractseg_output/Tractometry.csv", "# bundles=AF_left CST_right"]
    lines += ["", "subject_id group Age Sex"]
    for k in range(16):
        tractometry(
            tmp_path / f"p{k:02d}" / "tractseg_output" / "Tractometry.csv",
            k,
            -0.05 * (k % 2),
            ("ICP_left",) if k in (3, 8) else (),
        )
        lines.append(f"p{k:02d} {k % 2} {30 + k} {k // 2 % 2}.0")
    (tmp_path / "subjects.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.mark.parametrize(
    ("profiles", "error", "said"),
    [
        ({}, UsageError, "needs the tables: --profiles"),
        ({"fa": "Tractometry.csv"}, UsageError, "must hold SUBJECT_ID"),
        ({"fa": "nowhere/SUBJECT_ID.csv"}, MissingInputError, "there is no table nowhere/SUBJECT_ID.csv"),
    ],
)
def test_what_names_no_tables_is_refused(tmp_path, profiles, error, said):
    with pytest.raises(error, match=said):
        import_tractseg(profiles, None, tmp_path / "out", tmp_path / "bids")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("AF_left,CST\n0.3,0.4\n", "it has 1 columns and 1 rows"),
        ("AF_left;CST\n0.3;high\n", "is no Tractometry table: could not convert"),
        ("", "is no Tractometry table"),
    ],
)
def test_a_table_of_another_kind_is_named(folder, text, said):
    (folder / "p05" / "tractseg_output" / "Tractometry.csv").write_text(text)
    with pytest.raises(InputDataError, match=rf"p05.*{said}"):
        import_tractseg({}, folder / "subjects.txt", folder / "out", folder / "bids")
    assert not (folder / "out").exists()


def test_tables_of_other_numbers_of_segments_are_named(folder):
    tractometry(folder / "p05" / "tractseg_output" / "Tractometry.csv", 1, segments=18)
    with pytest.raises(InputDataError, match=r"p05/.* has 18 segments, .*p00/.* has 98"):
        import_tractseg({}, folder / "subjects.txt", folder / "out", folder / "bids")


def test_people_that_no_table_is_of_are_named(folder):
    text = (folder / "subjects.txt").read_text()
    (folder / "others.txt").write_text(text.replace("\np", "\nq"))
    with pytest.raises(InputDataError, match=r"nobody of .*others.txt has a table"):
        import_tractseg({}, folder / "others.txt", folder / "out", folder / "bids")
    (folder / "ragged.txt").write_text(text + "p16 1\n")
    with pytest.raises(InputDataError, match=r"4 columns. Got 2 values in 'p16 1'"):
        read_people(folder / "ragged.txt")


def test_who_has_no_table_or_no_row_is_told(folder, caplog):
    (folder / "p05/tractseg_output/Tractometry.csv").unlink()
    import_tractseg({}, folder / "subjects.txt", folder / "out", folder / "bids")
    assert "1 subjects of" in caplog.text
    assert "have no profiles and are left out: p05" in caplog.text


def test_values_come_through_and_zeros_are_a_missing_bundle(folder):
    found = import_tractseg({}, folder / "subjects.txt", folder / "out", folder / "bids")
    assert found.scalars == ("dwi_fa",)
    raw = pd.read_csv(folder / "p03" / "tractseg_output" / "Tractometry.csv", sep=";")
    table = read_table(folder / "out" / "sub-p03" / "dwi" / "sub-p03_desc-profile1D_tractometry.tsv")
    by_bundle = {name: rows["dwi_fa"].to_numpy(float) for name, rows in table.groupby("bundle", sort=False)}
    assert list(by_bundle) == ["AFleft", "CSTright", "ICPleft", "CC7"]
    np.testing.assert_allclose(by_bundle["AFleft"], raw["AF_left"], rtol=1e-5)
    assert np.isnan(by_bundle["ICPleft"]).all()
    assert set(table.loc[table["bundle"] == "ICPleft", "status"]) == {"no_bundle"}
    people = read_table(folder / "bids" / "participants.tsv")
    assert list(people.columns) == ["participant_id", "group", "Age", "Sex"]
    facts = json.loads((folder / "out/sub-p03/dwi/sub-p03_desc-bundle_tractometry.json").read_text())
    assert list(facts["SourceHashes"]) == ["Tractometry.csv"]
    assert not [f for f in validate(folder / "out") if f.level == "error"]


def test_several_scalars_stand_side_by_side_and_who_lacks_one_has_none(folder):
    for k in range(15):
        tractometry(folder / f"md_p{k:02d}.csv", 50 + k, 0.3)
    patterns = {
        "fa": f"{folder}/{{subject}}/tractseg_output/Tractometry.csv",
        "dti_md": f"{folder}/md_*.csv",
    }
    found = import_tractseg(patterns, folder / "subjects.txt", folder / "out", folder / "bids")
    assert found.scalars == ("dwi_fa", "dti_md")
    last = read_table(folder / "out" / "sub-p15" / "dwi" / "sub-p15_desc-profile1D_tractometry.tsv")
    assert last["dti_md"].isna().all()
    assert last["dwi_fa"].notna().any()


def test_the_group_level_runs_on_them_and_finds_the_difference(folder, cli):
    ended = cli("import-tractseg", folder / "out", "--subjects", folder / "subjects.txt")
    assert ended.status == 0, ended.err
    assert "16 subjects, 4 bundles with 392 segments, scalars dwi_fa; 2 bundles were all 0" in ended.out
    bids = folder / "out" / "sourcedata"
    ended = cli(bids, folder / "out", "group", "--formula", "value ~ group + Age", "--model-name", "g")
    assert ended.status == 0, ended.err
    summary = read_table(folder / "out/group/model-g/model-g_desc-profile1D_summary.tsv").set_index("contrast")
    assert summary.loc["group", "n_selected"] == 4
    stats = read_table(folder / "out/group/model-g/model-g_desc-profile1D_stats.tsv")
    assert set(stats.loc[stats["bundle"] == "ICPleft", "n"]) == {14}
