"""Atlases by name: known ones from a server on loopback, checksums, --force, and what users register."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from loopback import Loopback, running

import spectra_bids
from spectra_bids.bundle import Bundle, Volume
from spectra_bids.dataset import downloads
from spectra_bids.dataset.atlas_registry import path_of, register, status, statuses
from spectra_bids.dataset.atlas_sources import SOURCES
from spectra_bids.dataset.atlas_store import fetch_atlas, find_atlas, kept_names, source_of
from spectra_bids.dataset.atlases import read_atlas
from spectra_bids.dataset.label_store import find_labels
from spectra_bids.errors import AtlasError, MissingInputError, OutputError, TemporaryError, UsageError
from spectra_bids.io.tractograms import write_bundle


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("SPECTRA_BIDS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("SPECTRA_BIDS_ATLASES", raising=False)
    monkeypatch.delenv("SPECTRA_BIDS_API_KEY", raising=False)
    monkeypatch.setattr(downloads, "_PAUSE_S", 0.0)
    return tmp_path / "data"


def bundles(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        lines = [np.c_[np.zeros(9), np.linspace(0, 80, 9), np.full(9, k + len(name))] for k in range(3)]
        write_bundle(folder / name, Bundle.from_streamlines(lines), Volume(np.zeros((4, 4, 4), np.float32), np.eye(4)))
    return folder


def packed(folder: Path) -> bytes:
    return Path(shutil.make_archive(str(folder.parent / "packed"), "zip", folder)).read_bytes()


@pytest.fixture
def atlas(tmp_path):
    folder = bundles(tmp_path / "made" / "atlas-tiny", "CST_L.trk", "CST_R.trk")
    said = {"Name": "Tiny", "Space": "MNI152NLin6Asym", "License": "CC0", "ReferencesAndLinks": ["Tiny et al."]}
    (folder / "atlas.json").write_text(json.dumps(said))
    return folder


@pytest.fixture
def server(atlas):
    with running(Loopback(packed(atlas))) as loopback:
        yield loopback


def test_every_known_atlas_says_where_it_is_what_it_may_be_used_for_and_whom_to_cite():
    assert {"hcp842", "hcp1065", "enigma"} <= SOURCES.keys()
    for name, source in SOURCES.items():
        assert name == source.name
        assert name.isalnum()
        assert source.license
        assert source.citation
        if source.url:
            assert source.url.startswith("https://")
            assert source.checksum.startswith(("sha256:", "md5:"))
            assert len(source.checksum.partition(":")[2]) in (32, 64)


@pytest.mark.parametrize("kind", ["hcp842", "hcp1065"])
def test_a_known_atlas_is_made_of_the_bundles_of_its_archive(kind, tmp_path, server, monkeypatch):
    """Members as the two archives have them."""
    raw, wanted = tmp_path / "raw", ["AF_L", "IFOF_R"]
    if kind == "hcp842":
        bundles(raw / "Atlas_80_Bundles", "bundles/AF_L.trk", "bundles/IFOF_R.trk", "bundles/IF0F_R.trk",
                "whole_brain/whole_brain_MNI.trk")  # fmt: skip
    else:
        bundles(raw, "association/AF_L.trk", "association/IFOF_R.trk", "cranial_nerve/CNII_L.trk", "x/CNVII_R.trk")
    server.content = packed(raw)
    checksum = "sha256:" + hashlib.sha256(server.content).hexdigest()
    monkeypatch.setitem(SOURCES, kind, replace(SOURCES[kind], url=f"{server.base}/a.zip", checksum=checksum))
    target, found = spectra_bids.fetch_atlas(kind)
    assert target == tmp_path / "data" / "atlases" / kind
    assert list(found.bundles) == [name.replace("_", "") for name in wanted]
    assert (found.space, found.license) == (SOURCES[kind].space, SOURCES[kind].license)
    assert found.citation == SOURCES[kind].citation
    assert find_atlas(kind) == target
    told = status(kind)
    assert (told.state, told.bundles, told.checksum, told.bytes) == ("fetched", 2, checksum, len(server.content))
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == ["atlases", "downloads"]
    assert list((tmp_path / "data" / "downloads").iterdir()) == []


def test_an_atlas_carried_here_by_hand_is_checked_like_a_fetched_one(tmp_path, monkeypatch):
    archive = tmp_path / "carried.zip"
    archive.write_bytes(packed(bundles(tmp_path / "raw" / "Atlas_80_Bundles", "bundles/AF_L.trk").parent))
    with pytest.raises(AtlasError, match=f"has MD5 .*, expected {SOURCES['hcp842'].checksum[4:]}"):
        fetch_atlas(str(archive), "hcp842")
    monkeypatch.setitem(SOURCES, "hcp842", replace(
        SOURCES["hcp842"], checksum="md5:" + hashlib.md5(archive.read_bytes()).hexdigest()))  # fmt: skip
    assert fetch_atlas(str(archive), "hcp842")[1].citation == SOURCES["hcp842"].citation
    assert archive.is_file()


def test_an_interrupted_fetch_shows_in_the_status_and_goes_on(server, data):
    server.cuts = [2**16, 0]
    server.content = bytes(2**18) + server.content  # anything may stand before a zip archive
    with pytest.raises(TemporaryError):
        fetch_atlas(f"{server.base}/hcp842.zip", "hcp842", hashlib.sha256(server.content).hexdigest())
    assert status("hcp842").state == "partly fetched"
    assert status("hcp842").detail == "0.1 of 0.3 MB"
    assert not (data / "atlases" / "hcp842").exists()
    said = []
    fetch_atlas(f"{server.base}/hcp842.zip", "hcp842", hashlib.sha256(server.content).hexdigest(),
                progress_callback=said.append)  # fmt: skip
    assert server.asked[-1]["Range"] == f"bytes={2**16}-"
    assert list(dict.fromkeys(p.phase for p in said)) == ["download", "check", "unpack", "done"]
    assert status("hcp842").state == "fetched"


def test_a_first_download_is_recorded_and_a_changed_one_is_not_taken_for_it(server, atlas):
    url = f"{server.base}/tiny.zip"
    target, _ = fetch_atlas(url, "tiny")
    first = "sha256:" + hashlib.sha256(server.content).hexdigest()
    assert source_of("tiny") == {"URL": url, "Checksum": first, "Bytes": len(server.content)}
    bundles(atlas, "AF_L.trk")
    server.content, server.tag = packed(atlas), '"two"'
    with pytest.raises(OutputError, match="there already") as caught:
        fetch_atlas(url, "tiny")
    assert "--force" in caught.value.hint
    with pytest.raises(AtlasError, match=f"expected {first[7:]}") as caught:
        fetch_atlas(url, "tiny", force=True)
    assert "--sha256" in caught.value.hint
    assert list(read_atlas(target).bundles) == ["CSTL", "CSTR"]
    _, found = fetch_atlas(url, "tiny", hashlib.sha256(server.content).hexdigest(), force=True)
    assert list(found.bundles) == ["AFL", "CSTL", "CSTR"]
    assert source_of("tiny")["Checksum"] != first
    assert kept_names() == ["tiny"]


def test_a_damaged_download_leaves_the_atlas_that_is_there(server, data):
    url, right = f"{server.base}/tiny.zip", hashlib.sha256(server.content).hexdigest()
    target, before = fetch_atlas(url, "tiny", right)
    server.damaged = 100
    with pytest.raises(AtlasError, match="SHA-256"):
        fetch_atlas(url, "tiny", right, force=True)
    assert read_atlas(target) == before
    assert list((data / "downloads").iterdir()) == []
    assert sorted(p.name for p in (data / "atlases").iterdir()) == [".sources", "tiny"]


def test_a_key_reaches_the_server_and_no_file(server, data):
    fetch_atlas(f"{server.base}/tiny.zip", "tiny", api_key="secret", keep_archive=True)
    assert server.asked[0]["Authorization"] == "Bearer secret"
    assert not [p for p in data.rglob("*") if p.is_file() and b"secret" in p.read_bytes()]
    assert len(list((data / "downloads").iterdir())) == 1


def test_an_archive_of_bundles_alone_needs_space_and_licence(tmp_path):
    (tmp_path / "a.zip").write_bytes(packed(bundles(tmp_path / "raw", "CST_L.trk", "deep/AF_L.trk")))
    with pytest.raises(AtlasError, match=r"must hold one atlas.json") as caught:
        fetch_atlas(str(tmp_path / "a.zip"), "mine")
    assert "--space" in caught.value.hint
    _, found = fetch_atlas(str(tmp_path / "a.zip"), "mine", space="MNI152NLin6Asym", license="CC0", citation="Me")
    assert (found.space, found.license, found.citation, list(found.bundles)) == (
        "MNI152NLin6Asym", "CC0", "Me", ["AFL", "CSTL"],
    )  # fmt: skip
    bundles(tmp_path / "raw", "other/AF_L.trk")
    (tmp_path / "b.zip").write_bytes(packed(tmp_path / "raw"))
    with pytest.raises(AtlasError, match=r"several files of one name: AF_L.trk"):
        fetch_atlas(str(tmp_path / "b.zip"), "other", space="MNI152NLin6Asym", license="CC0")


def test_what_cannot_be_fetched_says_what_to_do():
    with pytest.raises(UsageError, match="a name is needed") as usage:
        fetch_atlas("https://example.org/atlas.zip")
    assert "hcp1065" in usage.value.hint
    with pytest.raises(MissingInputError, match="no public address") as missing:
        fetch_atlas("enigma")
    assert "atlas register FOLDER --name enigma" in missing.value.hint


def test_a_registered_folder_is_found_and_keeps_its_label(atlas):
    told = register(atlas, "mine")
    assert (told.state, told.bundles, told.license, told.citation) == ("registered", 2, "CC0", "Tiny et al.")
    assert read_atlas(find_atlas("mine")).label == "tiny" == read_atlas(atlas).label
    bundles(atlas, "AF_L.trk")
    assert status("mine").bundles == 3
    with pytest.raises(OutputError, match="is taken"):
        register(atlas, "mine")
    assert register(atlas, "mine", copy=True, force=True).bundles == 3
    shutil.rmtree(atlas)
    assert status("mine").bundles == 3


def test_a_registered_folder_that_is_gone_is_broken_not_missing(atlas):
    register(atlas, "mine")
    shutil.rmtree(atlas)
    assert status("mine").state == "broken"
    with pytest.raises(MissingInputError, match="the folder that was registered is gone"):
        find_atlas("mine")
    assert "mine" in kept_names()


def test_a_folder_of_bundles_is_described_in_the_registry_not_in_the_folder(tmp_path, data, monkeypatch):
    folder = bundles(tmp_path / "lab", "CST_L.trk", "AF_L.trk")
    monkeypatch.chdir(tmp_path)  # where a folder of the same name lies
    with pytest.raises(UsageError, match=r"has no atlas\.json: --space and --license are needed"):
        register(folder, "lab")
    told = register(folder, "lab", space="MNI152NLin6Asym", license="CC0", citation="Lab 2020")
    assert (told.bundles, told.space, told.citation) == (2, "MNI152NLin6Asym", "Lab 2020")
    assert sorted(p.name for p in folder.iterdir()) == ["AF_L.trk", "CST_L.trk"]
    assert (data / "atlases" / "lab" / "AF_L.trk").is_symlink()
    assert path_of("lab") == data / "atlases" / "lab"


def test_what_is_no_atlas_is_not_registered(tmp_path, atlas, data):
    with pytest.raises(MissingInputError, match="no folder or NIfTI volume"):
        register(tmp_path / "nothing", "x")
    with pytest.raises(UsageError, match="says space and licence already"):
        register(atlas, "x", space="MNI152")
    (tmp_path / "empty").mkdir()
    with pytest.raises(AtlasError, match="one streamline file per bundle"):
        register(tmp_path / "empty", "x", space="MNI152", license="CC0")
    assert list((data / "atlases").iterdir()) == []


def test_a_label_volume_goes_to_the_folder_of_labels(tmp_path, data, cli):
    volume = tmp_path / "tpl-MNI152NLin2009cAsym_atlas-Toy_dseg.nii.gz"
    volume.touch()
    (tmp_path / "tpl-MNI152NLin2009cAsym_atlas-Toy_dseg.tsv").write_text("index\tname\n1\tOne\n")
    ended = cli("atlas", "register", volume, "--name", "toy")
    assert ended.status == 0, ended.err
    found = find_labels("toy")
    assert found.volumes == (data / "labels" / "toy" / volume.name,) == (path_of("toy"),)
    assert found.space == "MNI152NLin2009cAsym"
    assert (data / "labels" / "toy" / volume.name.replace(".nii.gz", ".tsv")).read_text().startswith("index")
    assert [(s.name, s.kind) for s in statuses()][-2:] == [("tissues", "labels"), ("toy", "labels")]
    with pytest.raises(OutputError, match="is taken"):
        register(volume, "toy")


def test_the_commands_list_tell_and_point(atlas, data, cli):
    assert cli("atlas", "register", atlas, "--name", "mine").status == 0
    listed = cli("atlas", "list").out.splitlines()
    assert listed[0].split() == ["NAME", "STATE", "BUNDLES", "SPACE", "LICENCE", "WHAT"]
    assert [line.split()[0] for line in listed[1:]] == [*SOURCES, "mine", "tissues"]
    told = cli("atlas", "status", "hcp842").out
    assert "hcp842: not fetched" in told
    assert "md5:78331d527a10ec000d4f33bac472e099" in told
    assert "Yeh et al. 2018" in told
    assert cli("atlas", "path", "mine").out.strip() == str(data / "atlases" / "mine")
    assert cli("atlas", "path", "hcp842").status == 66
    nobody = cli("atlas", "status", "nobody")
    assert nobody.status == 66
    assert "There are: hcp1065, hcp842" in nobody.err
    assert cli("atlas", "status").out.count("licence: ") == len(SOURCES) + 1


def test_the_command_shows_licence_and_citation_before_it_fetches(server, cli, monkeypatch, tmp_path):
    server.content = packed(bundles(tmp_path / "raw", "association/AF_L.trk"))
    monkeypatch.setitem(SOURCES, "hcp1065", replace(SOURCES["hcp1065"], url=f"{server.base}/a.zip", checksum=""))
    assert "recorded at first download" in cli("atlas", "status", "hcp1065").out
    ended = cli("atlas", "fetch", "hcp1065")
    assert ended.status == 0, ended.err
    assert ended.out.index("CC BY-SA 4.0") < ended.out.index("Yeh 2022") < ended.out.index("is in")
    server.status = 404
    assert cli("atlas", "fetch", "hcp1065", "--force").status == 66
    server.status = 503
    assert cli("atlas", "fetch", "hcp1065", "--force").status == 75
    assert cli("atlas", "fetch", "hcp1065").status == 73
    assert status("hcp1065").state == "fetched"
