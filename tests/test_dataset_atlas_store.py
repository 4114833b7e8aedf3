"""dataset.atlas_store: atlases by path and by name, and how one is fetched from an archive."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from spectra_bids.bundle import Bundle, Volume
from spectra_bids.dataset.atlas_store import atlas_home, fetch_atlas, find_atlas
from spectra_bids.errors import AtlasError, MissingInputError, OutputError, TemporaryError
from spectra_bids.io.tractograms import write_bundle


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SPECTRA_BIDS_ATLASES", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def folder(tmp_path):
    """An atlas directory with one bundle."""
    atlas = tmp_path / "made" / "atlas-tiny"
    atlas.mkdir(parents=True)
    lines = Bundle.from_streamlines([np.c_[np.zeros(9), np.linspace(0, 80, 9), np.full(9, k)] for k in range(9)])
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = -10
    write_bundle(atlas / "CST_L.trk", lines, Volume(np.zeros((60, 60, 60), np.float32), affine))
    (atlas / "atlas.json").write_text(json.dumps({"Name": "Tiny", "Space": "MNI152NLin6Asym", "License": "CC0"}))
    return atlas


def packed(folder: Path, kind: str) -> Path:
    form = {".zip": "zip", ".tar": "tar", ".tar.gz": "gztar", ".tgz": "gztar", ".tar.xz": "xztar"}[kind]
    made = Path(shutil.make_archive(str(folder.parent / "packed"), form, folder.parent, folder.name))
    return made.rename(folder.parent / f"atlas{kind}")


def nothing_left(home: Path) -> bool:
    return not home.exists() or not list(home.iterdir())


def test_the_home_is_the_variable_s_else_that_of_xdg_else_the_user_s(tmp_path, monkeypatch):
    assert atlas_home() == tmp_path / "home"
    monkeypatch.delenv("SPECTRA_BIDS_ATLASES")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    assert atlas_home() == tmp_path / "xdg" / "spectra_bids" / "atlases"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert atlas_home() == tmp_path / ".local" / "share" / "spectra_bids" / "atlases"


@pytest.mark.parametrize("kind", [".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz"])
def test_a_fetched_atlas_is_found_by_its_name(kind, folder, home):
    target, atlas = fetch_atlas(str(packed(folder, kind)), "my tiny")
    assert target == home / "mytiny"
    assert (atlas.name, atlas.space, list(atlas.bundles)) == ("Tiny", "MNI152NLin6Asym", ["CSTL"])
    assert find_atlas("mytiny") == target
    assert sorted(p.name for p in home.iterdir()) == [".sources", "mytiny"]
    assert (target / "CST_L.trk").read_bytes() == (folder / "CST_L.trk").read_bytes()


def test_an_archive_without_a_folder_around_it_is_an_atlas_too(folder, tmp_path):
    made = shutil.make_archive(str(tmp_path / "flat"), "zip", folder)
    assert fetch_atlas(made, "flat")[1].name == "Tiny"


def test_an_atlas_is_fetched_over_http(folder):
    archive = packed(folder, ".tar.gz")
    handler = partial(SimpleHTTPRequestHandler, directory=str(archive.parent))
    handler.log_message = lambda *_: None
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        assert fetch_atlas(f"{base}/{archive.name}", "far", digest.upper())[1].name == "Tiny"
        with pytest.raises(MissingInputError, match=r"cannot be reached.*404"):
            fetch_atlas(f"{base}/nothing.zip", "none")
        server.shutdown()


def test_an_unreachable_host_is_a_temporary_error(home):
    with pytest.raises(TemporaryError, match="cannot be reached"):
        fetch_atlas("http://127.0.0.1:9/atlas.zip", "far")
    assert nothing_left(home)


def test_a_folder_is_found_by_its_path_before_any_name(folder, monkeypatch):
    assert find_atlas(str(folder)) == folder
    monkeypatch.chdir(folder.parent)
    assert find_atlas("atlas-tiny") == Path("atlas-tiny")


@pytest.mark.parametrize("where", ["nobody", "/nowhere/at/all", "a/b"])
def test_what_is_not_there_is_an_error_that_says_how_to_get_one(where, folder):
    fetch_atlas(str(packed(folder, ".zip")), "tiny")
    with pytest.raises(MissingInputError, match=r"Fetched: tiny") as caught:
        find_atlas(where)
    assert "atlas fetch" in caught.value.hint
    assert "atlas build" in caught.value.hint


def test_a_name_is_taken_only_once(folder):
    archive = str(packed(folder, ".zip"))
    fetch_atlas(archive, "tiny")
    with pytest.raises(OutputError, match="there already"):
        fetch_atlas(archive, "tiny")


def test_another_checksum_than_expected_is_refused_and_leaves_nothing(folder, home):
    with pytest.raises(AtlasError, match=r"has SHA-256 .*, expected 00ff"):
        fetch_atlas(str(packed(folder, ".zip")), "tiny", "00ff")
    assert nothing_left(home)


@pytest.mark.parametrize("name", ["atlas.zip", "atlas.tar.gz", "atlas.tar"])
def test_an_archive_cut_short_is_refused_and_leaves_nothing(name, tmp_path, home):
    (tmp_path / name).write_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(AtlasError, match="cannot be unpacked"):
        fetch_atlas(str(tmp_path / name), "bad")
    assert nothing_left(home)


def test_an_archive_without_or_with_two_descriptions_is_refused(folder, tmp_path, home):
    (folder / "atlas.json").rename(tmp_path / "atlas.json")
    with pytest.raises(AtlasError, match=r"must hold one atlas.json .* Got 0"):
        fetch_atlas(str(packed(folder, ".zip")), "none")
    for name in ("a", "b"):
        (folder / name).mkdir()
        shutil.copy(tmp_path / "atlas.json", folder / name)
    with pytest.raises(AtlasError, match="Got 2"):
        fetch_atlas(str(packed(folder, ".tar")), "two")
    assert nothing_left(home)


def test_an_archive_that_holds_no_bundle_is_refused(folder, home):
    (folder / "CST_L.trk").unlink()
    with pytest.raises(AtlasError, match="one streamline file per bundle"):
        fetch_atlas(str(packed(folder, ".zip")), "empty")
    assert nothing_left(home)


@pytest.mark.parametrize("kind", [".zip", ".tar"])
@pytest.mark.parametrize("evil", ["../../escaped.txt", "/tmp/escaped-by-spectra-bids.txt"])
def test_an_archive_cannot_write_outside_its_folder(kind, evil, folder, tmp_path, home):
    archive = packed(folder, kind)
    if kind == ".zip":
        with zipfile.ZipFile(archive, "a") as file:
            file.writestr(evil, "out")
    else:
        with tarfile.open(archive, "a") as file:
            info = tarfile.TarInfo(evil)
            info.size = 3
            file.addfile(info, io.BytesIO(b"out"))
    try:
        fetch_atlas(str(archive), "evil")
    except AtlasError:
        assert nothing_left(home)
    assert not list(tmp_path.rglob("escaped*"))
    assert not Path("/tmp/escaped-by-spectra-bids.txt").exists()


def test_what_is_neither_a_url_nor_a_file_is_missing():
    with pytest.raises(MissingInputError, match="neither a URL nor a file"):
        fetch_atlas("nothing.zip", "x")
    with pytest.raises(MissingInputError, match="http, https or file"):
        fetch_atlas("ftp://example.org/atlas.zip", "x")
