"""dataset.downloads: transfers that break, are damaged, or meet a file that has changed; a server on loopback."""

from __future__ import annotations

import fcntl
import hashlib
import json

import numpy as np
import pytest
from loopback import Loopback, running

from spectra_bids.dataset import downloads
from spectra_bids.dataset.downloads import FetchProgress, discard, download, expected_size, part_of
from spectra_bids.errors import AtlasError, MissingInputError, TemporaryError, UsageError

CONTENT = np.random.default_rng(0).bytes(3_500_000)
MB = 2**20
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(downloads, "_PAUSE_S", 0.0)


@pytest.fixture
def server():
    with running(Loopback(CONTENT)) as loopback:
        yield loopback


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cache" / "atlas.zip"


def starts(server):
    return [asked.get("Range") for asked in server.asked]


def left(target):
    return sorted(p.name for p in target.parent.iterdir())


@pytest.mark.parametrize("checksum", ["", SHA256, MD5])
def test_a_file_comes_whole_and_nothing_else_stays(server, target, checksum):
    assert download(f"{server.base}/atlas.zip", target, checksum) == target
    assert target.read_bytes() == CONTENT
    assert left(target) == ["atlas.zip"]
    download(f"{server.base}/atlas.zip", target, checksum)
    assert len(server.asked) == 1  # it is there


def test_a_broken_transfer_goes_on_where_it_stopped(server, target):
    server.cuts = [MB, MB, None]
    download(f"{server.base}/atlas.zip", target, SHA256)
    assert target.read_bytes() == CONTENT
    assert starts(server) == [None, f"bytes={MB}-", f"bytes={2 * MB}-"]
    assert [asked.get("If-Range") for asked in server.asked] == [None, '"one"', '"one"']


def test_a_transfer_that_was_given_up_goes_on_at_the_next_call(server, target):
    server.cuts = [MB, 0]
    with pytest.raises(TemporaryError, match="cannot be reached") as caught:
        download(f"{server.base}/atlas.zip", target)
    assert caught.value.exit_status == 75
    assert "1.0 MB are kept" in caught.value.hint
    assert left(target) == ["atlas.zip.part", "atlas.zip.part.json"]
    assert part_of(target).read_bytes() == CONTENT[:MB]
    assert expected_size(target) == len(CONTENT)
    said: list[FetchProgress] = []
    download(f"{server.base}/atlas.zip", target, progress=said.append)
    assert starts(server)[-1] == f"bytes={MB}-"
    assert target.read_bytes() == CONTENT
    assert [p.bytes_done for p in said] == sorted(p.bytes_done for p in said)
    assert (said[0].bytes_done, said[-1].bytes_done, said[-1].bytes_total) == (MB, len(CONTENT), len(CONTENT))
    assert (said[-1].phase, said[-1].file, said[-1].percent) == ("download", "atlas.zip", 100)


@pytest.mark.parametrize("by", ["tag", "date"])
def test_half_of_an_old_version_is_not_continued_by_half_of_a_new_one(server, target, by):
    server.tag, server.date = ('"old"', "") if by == "tag" else ("", "Mon, 01 Jan 2024 00:00:00 GMT")
    server.cuts = [MB, 0]
    with pytest.raises(TemporaryError):
        download(f"{server.base}/atlas.zip", target)
    server.content = CONTENT[::-1]
    server.tag, server.date = ('"new"', "") if by == "tag" else ("", "Tue, 02 Jan 2024 00:00:00 GMT")
    download(f"{server.base}/atlas.zip", target)
    assert starts(server)[-1] == f"bytes={MB}-"
    assert target.read_bytes() == CONTENT[::-1]


def test_a_server_that_knows_no_ranges_sends_all_of_it(server, target):
    server.ranges, server.cuts = False, [MB, None]
    download(f"{server.base}/atlas.zip", target, SHA256)
    assert target.read_bytes() == CONTENT
    assert starts(server) == [None, f"bytes={MB}-"]


def test_without_a_version_only_a_file_with_a_checksum_is_continued(server, target):
    server.tag = ""
    server.cuts = [MB, None, MB, None]
    download(f"{server.base}/atlas.zip", target, SHA256)
    discard(target)
    download(f"{server.base}/atlas.zip", target)
    assert starts(server) == [None, f"bytes={MB}-", None, None]
    assert target.read_bytes() == CONTENT


def test_half_of_another_address_is_not_continued(server, target):
    server.cuts = [MB, 0]
    with pytest.raises(TemporaryError):
        download(f"{server.base}/a.zip", target, SHA256)
    download(f"{server.base}/b.zip", target, SHA256)
    assert starts(server)[-1] is None
    assert target.read_bytes() == CONTENT


def test_a_run_that_was_killed_before_the_last_step_asks_for_nothing_more(server, target):
    part_of(target).parent.mkdir()
    part_of(target).write_bytes(CONTENT)
    facts = {"URL": f"{server.base}/atlas.zip", "Version": '"one"', "Bytes": len(CONTENT)}
    (target.parent / "atlas.zip.part.json").write_text(json.dumps(facts))
    (target.parent / "tmpkilled").touch()  # pooch's
    download(f"{server.base}/atlas.zip", target, SHA256)
    assert target.read_bytes() == CONTENT
    assert left(target) == ["atlas.zip"]


def test_a_file_that_has_become_shorter_is_fetched_anew(server, target):
    server.cuts = [3 * MB, 0]
    with pytest.raises(TemporaryError):
        download(f"{server.base}/atlas.zip", target)
    server.content = CONTENT[:2_000_000]
    download(f"{server.base}/atlas.zip", target)
    assert target.read_bytes() == CONTENT[:2_000_000]
    assert starts(server)[-2:] == [f"bytes={3 * MB}-", None]


@pytest.mark.parametrize("checksum", [SHA256, MD5])
def test_a_damaged_file_is_refused_and_nothing_of_it_is_kept(server, target, checksum):
    server.damaged = 500_000
    server.cuts = [MB, None]  # the damage is in what is kept between the two
    with pytest.raises(AtlasError, match=rf"has (SHA-256|MD5) \w+, expected {checksum.rpartition(':')[2]}"):
        download(f"{server.base}/atlas.zip", target, checksum)
    assert left(target) == []
    server.damaged = None
    download(f"{server.base}/atlas.zip", target, checksum)
    assert target.read_bytes() == CONTENT


def test_a_file_that_is_there_but_damaged_is_fetched_again(server, target):
    target.parent.mkdir()
    target.write_bytes(CONTENT[:-1])
    download(f"{server.base}/atlas.zip", target, SHA256)
    assert target.read_bytes() == CONTENT


def test_without_a_network_the_message_says_what_to_do(target):
    with pytest.raises(TemporaryError, match=r"cannot be reached: .*refused") as caught:
        download("http://127.0.0.1:9/atlas.zip", target, SHA256)
    assert "on a machine that has one" in caught.value.hint
    assert left(target) == []
    with pytest.raises(TemporaryError, match=r"cannot be reached: \S+"):
        download("http://nowhere.invalid/atlas.zip", target, SHA256)


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (404, MissingInputError, "404 Not Found$"),
        (403, MissingInputError, "a key may be needed"),
        (500, TemporaryError, "500"),
    ],
)
def test_what_the_server_says_is_repeated(server, target, status, kind, said):
    server.status = status
    with pytest.raises(kind, match=said):
        download(f"{server.base}/atlas.zip", target)
    assert left(target) == []


def test_a_key_goes_to_the_server_that_was_named_and_to_no_other(server, target):
    server.redirect = server.base.replace("127.0.0.1", "localhost") + "/moved"
    download(f"{server.base}/atlas.zip", target, api_key="secret")
    assert [asked.get("Authorization") for asked in server.asked] == ["Bearer secret", None]
    assert not [p for p in target.parent.iterdir() if b"secret" in p.read_bytes()]
    with pytest.raises(UsageError, match="over https alone"):
        download("http://example.org/atlas.zip", target, api_key="secret")


def test_two_processes_do_not_write_one_file(server, target):
    target.parent.mkdir()
    with part_of(target).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(TemporaryError, match="being fetched by another process"):
            download(f"{server.base}/atlas.zip", target)
    download(f"{server.base}/atlas.zip", target)
    assert target.read_bytes() == CONTENT
