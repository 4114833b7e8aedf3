"""The participant level on what QSIRecon, pyAFQ and a tractography-draft data set really look like."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spectra_bids.dataset.outputs import read_table

AF_R = "AssociationArcuateFasciculusR"


def table(out: Path, kind: str) -> pd.DataFrame:
    (path,) = out.glob(f"sub-*/**/dwi/*_desc-{kind}_tractometry.tsv")
    return read_table(path)


def sidecar(out: Path) -> dict:
    (path,) = out.glob("sub-*/**/dwi/*_desc-bundle_tractometry.json")
    return json.loads(path.read_text())


def status(out: Path) -> dict[str, str]:
    bundles = table(out, "bundle")
    return dict(zip(bundles["bundle"], bundles["status"], strict=True))


def assert_rows_follow_status(out: Path, scalars: list[str]) -> None:
    """A usable bundle has numbers in many cells, any other none and its own status in every row."""
    for kind in ("profile1D", "profile2D"):
        profiles = table(out, kind)
        for bundle, what in status(out).items():
            rows = profiles[profiles["bundle"] == bundle]
            assert len(rows) > 0
            if what == "ok":
                assert rows[scalars].notna().all(axis=1).mean() > 0.2  # AF_L of one subject is a fragment
            else:
                assert rows[scalars].isna().all(axis=None)
                assert set(rows["status"]) == {what}
        measured = profiles[profiles["status"] == "ok"]
        assert measured[scalars].notna().all(axis=None)


@pytest.fixture(scope="module")
def atlas(shared_data):
    return shared_data / "atlas-hcp1065"


@pytest.fixture(scope="module")
def qsirecon(shared_data, atlas, tmp_path_factory, cli):
    """QSIRecon: bundles, maps and transform in three data sets, named one by one."""
    out, root = tmp_path_factory.mktemp("qsirecon") / "out", shared_data / "real-qsirecon"
    folders = {"bundles": "qsirecon-DSIStudio", "maps": "qsirecon-DIPYDKI", "xfm": "qsiprep"}
    named = [f"{name}={root / 'derivatives' / folder}" for name, folder in folders.items()]
    ended = cli(root, out, "participant", "-d", *named, "--atlas", atlas, "--scalars", "fa", "md")
    assert ended.status == 0, ended.err
    return out


@pytest.fixture(scope="module")
def pyafq(shared_data, atlas, tmp_path_factory, cli):
    out = tmp_path_factory.mktemp("pyafq") / "out"
    ended = cli(shared_data / "real-pyafq", out, "participant", "--atlas", atlas)
    assert ended.status == 0, ended.err
    return out


@pytest.fixture(scope="module")
def mni(shared_data, atlas, tmp_path_factory, cli):
    out = tmp_path_factory.mktemp("mni") / "out"
    ended = cli(shared_data / "real-mni", out, "participant", "--atlas", atlas, "--scalars", "fa")
    assert ended.status == 0, ended.err
    return out


def test_qsirecon_bundles_reach_the_atlas_by_the_transform_of_the_preprocessing(qsirecon):
    facts = sidecar(qsirecon)
    assert facts["RegistrationRoute"] == "xfm"
    assert facts["Transform"] == "sub-tractor_from-ACPC_to-MNI152NLin2009cAsym_mode-image_xfm.txt"
    assert facts["DistanceToAtlas"]["Median"] == pytest.approx(2.2, abs=0.1)
    assert facts["DistanceToAtlas"]["P95"] == pytest.approx(8.6, abs=0.2)
    assert any("inverse" in note for note in facts["Notes"])
    found = status(qsirecon)
    assert found.pop(AF_R) == "no_bundle"
    assert found.pop("AssociationCingulumLFrontalParietal") == "few_streamlines"
    assert set(found.values()) == {"ok"}
    assert_rows_follow_status(qsirecon, ["dki_fa", "dki_md"])


def test_qsirecon_numbers_are_those_of_white_matter(qsirecon):
    profiles = table(qsirecon, "profile1D")
    assert profiles["dki_fa"].between(0.05, 0.95).sum() == profiles["dki_fa"].notna().sum()
    assert 0.3 < profiles["dki_fa"].median() < 0.6
    assert 5e-4 < profiles["dki_md"].median() < 1.2e-3
    assert sidecar(qsirecon)["dki_md"]["Units"] != ""


def test_the_bare_triple_finds_the_same_inputs_and_gives_the_same_tables(
    qsirecon, shared_data, atlas, tmp_path, cli, monkeypatch
):
    monkeypatch.setenv("SPECTRA_BIDS_ATLAS", str(atlas))
    ended = cli(shared_data / "real-qsirecon", tmp_path / "out", "participant")
    assert ended.status == 0, ended.err
    for kind in ("bundle", "profile1D", "profile2D"):
        (one,), (other,) = (
            o.glob(f"sub-tractor/dwi/*_desc-{kind}_tractometry.tsv") for o in (qsirecon, tmp_path / "out")
        )
        assert one.read_bytes() == other.read_bytes()


def test_pyafq_bundles_without_a_transform_are_registered_by_their_streamlines(pyafq):
    facts = sidecar(pyafq)
    assert facts["RegistrationRoute"] == "slr"
    assert np.array(facts["StreamlineAffine"]).shape == (4, 4)
    assert facts["DistanceToAtlas"]["Median"] == pytest.approx(1.8, abs=0.1)
    assert facts["DistanceToAtlas"]["P95"] == pytest.approx(10.2, abs=0.4)
    found = status(pyafq)
    assert found.pop(AF_R) == "no_bundle"
    assert found.pop("AssociationInferiorFrontoOccipitalFasciculusL") == "few_streamlines"
    assert set(found.values()) == {"ok"}
    assert_rows_follow_status(pyafq, ["tensor_fa"])


def test_a_pyafq_session_has_its_own_folder_and_its_bundles_keep_their_names(pyafq):
    assert [p.name for p in (pyafq / "sub-niivue").iterdir() if p.name.startswith("ses-")] == ["ses-01"]
    bundles = table(pyafq, "bundle").set_index("bundle")
    assert bundles.loc["AssociationArcuateFasciculusL", "source"] == "LeftArcuate"
    assert bundles.loc["AssociationInferiorFrontoOccipitalFasciculusL", "n_streamlines"] == 17


def test_bundles_in_mni_space_are_used_as_they_are(mni):
    facts = sidecar(mni)
    assert facts["RegistrationRoute"] == "none"
    assert any("MNI152NLin6Asym" in note and "MNI152NLin2009aAsym" in note for note in facts["Notes"])
    assert facts["DistanceToAtlas"]["Median"] == pytest.approx(2.0, abs=0.15)
    assert set(status(mni).values()) == {"ok"}
    assert len(status(mni)) == 19
    assert_rows_follow_status(mni, ["tensor_fa"])


@pytest.mark.parametrize("wanted", ["*", "tensor_fa"])
def test_scalars_by_parameter_by_full_name_and_all_are_the_same_map(wanted, mni, shared_data, atlas, tmp_path, cli):
    command = (shared_data / "real-mni", tmp_path / "out", "participant", "--atlas", atlas, "--scalars", wanted)
    ended = cli(*command, "--bundle", "CST_left", "UF_right")
    assert ended.status == 0, ended.err
    some, whole = table(tmp_path / "out", "profile2D"), table(mni, "profile2D")
    assert set(some["bundle"]) == {"ProjectionBrainstemCorticospinalTractL", "AssociationUncinateFasciculusR"}
    same = whole[whole["bundle"].isin(set(some["bundle"]))].reset_index(drop=True)
    pd.testing.assert_frame_equal(some, same)


def test_an_unknown_scalar_ends_with_18_and_the_scalars_there_are(shared_data, atlas, tmp_path, cli):
    ended = cli(
        shared_data / "real-qsirecon", tmp_path / "out", "participant", "--atlas", atlas,
        "--scalars", "fa", "ndi", "--bundle", "CST_left",
    )  # fmt: skip
    assert ended.status == 18
    for word in ("sub-tractor", "ndi", "dki_fa", "dki_md"):
        assert word in ended.err


def test_a_transform_asked_for_but_absent_ends_with_66(shared_data, atlas, tmp_path, cli):
    command = (shared_data / "real-pyafq", tmp_path / "out", "participant", "--atlas", atlas, "--bundle", "CST_left")
    ended = cli(*command, "--registration", "xfm")
    assert ended.status == 66
    for word in ("sub-niivue", "from-MNI*", "--registration slr"):
        assert word in ended.err


def test_registration_none_leaves_native_bundles_where_they_are_and_flags_them(shared_data, atlas, tmp_path, cli):
    out = tmp_path / "out"
    command = (shared_data / "real-pyafq", out, "participant", "--atlas", atlas, "--bundle", "CST_left", "AF_left")
    assert cli(*command, "--registration", "none").status == 0
    assert sidecar(out)["RegistrationRoute"] == "none"
    assert sidecar(out)["DistanceToAtlas"]["Median"] > 20
    assert set(table(out, "bundle")["flag"]) == {"far_bundle"}
    page = (out / "sub-niivue.html").read_text()
    assert page.count("mm (median) from the atlas bundle") >= 2
    assert "The bundles lie far from the atlas" in page


def test_the_input_is_left_as_it_was(shared_data, atlas, tmp_path, cli, tree):
    bids = Path(shutil.copytree(shared_data / "real-mni", tmp_path / "bids"))
    before = tree(bids, logs=True)
    command = (bids, tmp_path / "out", "participant", "--atlas", atlas, "--bundle", "CST_left", "-w", tmp_path / "work")
    assert cli(*command).status == 0
    assert tree(bids, logs=True) == before
