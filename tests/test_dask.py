"""Work of a Dask cluster: a scheduler and two workers in processes of their own give the bytes of a serial run, also
when a worker is killed in the middle.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from spectra_bids import group
from spectra_bids.errors import InputDataError, MissingInputError, TemporaryError, UsageError
from spectra_bids.workers import Workers, in_worker, map_unordered

distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")

FORMULA = "value ~ group + age + (1|site)"


class Cluster(NamedTuple):
    """Address of a scheduler, its process, and those of its workers."""

    address: str
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]]


@contextmanager
def started(folder: Path, n: int = 2) -> Iterator[Cluster]:
    folder.mkdir(parents=True, exist_ok=True)
    told, log = folder / "scheduler.json", (folder / "cluster.log").open("wb")
    found = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}  # functions travel by name
    dask = partial(subprocess.Popen, stdout=log, stderr=log, cwd=folder, env=found)
    command = [sys.executable, "-m", "dask"]
    processes = [
        dask([*command, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", told])
    ]
    try:
        until(told.is_file)
        address = json.loads(told.read_text())["address"]
        options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", folder]
        processes += [dask([*command, "worker", address, *options]) for _ in range(n)]
        with distributed.Client(address, set_as_default=False) as client:
            client.wait_for_workers(n, timeout=60)
        yield Cluster(address, processes[0], processes[1:])
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()
        log.close()


def until(true: Callable[[], object], seconds: float = 60) -> object:
    """What becomes of a condition; a failure if it does not come true."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, f"{true} did not come true in {seconds} s"
        time.sleep(0.05)
    return found


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with started(tmp_path / "cluster") as made:
        yield made


def square(x: int) -> int:
    return x * x


def where(folder: str, x: int) -> tuple[str, bool]:
    return os.getcwd(), Path(folder).is_dir()


def pid(x: int) -> int:
    time.sleep(0.2)
    return os.getpid()


def bad(x: int) -> int:
    if x == 3:
        raise InputDataError("the third is wrong", "mend it")
    return x


def die_once(function: Callable[[object], object], marker: Path, item: object) -> object:
    """The first to come here dies with its process before the work, as by the kernel's out-of-memory killer."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return function(item)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


@pytest.mark.parametrize("workers", [Workers(), Workers(1), Workers(2)], ids=["serial", "one", "pool"])
def test_every_item_is_done_once_on_this_machine(workers):
    assert sorted(map_unordered(abs, range(-5, 0), workers)) == [(i, 5 - i) for i in range(5)]


def test_this_process_takes_items_one_at_a_time():
    taken = []
    items = (taken.append(x) or x for x in range(9))
    work = map_unordered(square, items, Workers())
    assert next(work) == (0, 0)
    work.close()
    assert taken == [0]


def test_every_item_is_done_once_on_a_cluster_where_the_caller_stands(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    workers = Workers(dask_scheduler=cluster.address)
    assert sorted(map_unordered(square, range(9), workers)) == [(i, i * i) for i in range(9)]
    assert dict(map_unordered(partial(where, "here"), [1, 2], workers)) == dict.fromkeys((0, 1), (str(tmp_path), True))
    both = {pid for _, pid in map_unordered(pid, range(6), workers)}
    assert both == {process.pid for process in cluster.workers}


def test_an_error_of_ours_comes_back_whole_from_a_cluster(cluster):
    with pytest.raises(InputDataError, match="the third is wrong") as caught:
        list(map_unordered(bad, range(6), Workers(dask_scheduler=cluster.address)))
    assert (caught.value.hint, caught.value.exit_status) == ("mend it", 65)


def test_a_cluster_that_lacks_the_program_is_told(cluster, tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text("def f(x):\n    return x\n")
    monkeypatch.syspath_prepend(tmp_path)
    from only_here import f

    with pytest.raises(UsageError, match="only_here") as caught:
        list(map_unordered(f, [1], Workers(dask_scheduler=cluster.address)))
    assert "same version" in caught.value.hint


def test_an_item_whose_worker_dies_is_done_by_another(cluster, tmp_path):
    job = partial(die_once, square, tmp_path / "died")
    assert sorted(map_unordered(job, range(6), Workers(dask_scheduler=cluster.address))) == [
        (i, i * i) for i in range(6)
    ]
    assert (tmp_path / "died").is_file()
    until(lambda: sorted(w.poll() or 0 for w in cluster.workers) == [-signal.SIGKILL, 0])


def test_a_scheduler_that_is_lost_is_a_temporary_failure(cluster):
    work = map_unordered(pid, range(200), Workers(dask_scheduler=cluster.address))
    next(work)
    cluster.scheduler.kill()
    with pytest.raises(TemporaryError, match="scheduler was lost"):
        list(work)


def test_stopping_early_leaves_a_cluster_free_for_others(cluster):
    workers = Workers(dask_scheduler=cluster.address)
    work = map_unordered(pid, range(500), workers)
    next(work)
    work.close()
    with distributed.Client(cluster.address, set_as_default=False) as client:
        until(lambda: not any(client.processing().values()), 10)
    assert list(map_unordered(square, [7], workers)) == [(0, 49)]


def test_a_worker_of_another_version_or_without_the_folder_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"0\.0\.7 asked"):
        in_worker(square, str(tmp_path), "0.0.7", 1)
    from spectra_bids import __version__

    with pytest.raises(MissingInputError, match="does not see the folder"):
        in_worker(square, str(tmp_path / "nowhere"), __version__, 1)


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        ("host:8786", 2, ("--dask-scheduler", "tcp://host:8786", "'host:8786'")),
        ("tcp://127.0.0.1:1", 75, ("--dask-scheduler tcp://127.0.0.1:1", "no scheduler answers")),
    ],
)
def test_an_address_that_is_wrong_is_told(address, status, words, study, tmp_path, cli, monkeypatch):
    monkeypatch.setattr("spectra_bids.workers.TIMEOUT", "1s")
    ended = cli(study.bids, tmp_path, "participant", "--atlas", study.atlas, "--dask-scheduler", address)
    assert ended.status == status, ended.err
    assert all(word in ended.err for word in words), ended.err
    assert "Traceback" not in ended.err


def test_without_the_extra_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingInputError, match="distributed") as caught:
        list(map_unordered(square, [1], Workers(dask_scheduler="tcp://127.0.0.1:8786")))
    assert "spectra-bids[dask]" in caught.value.hint


def finished(files: dict[str, bytes]) -> dict[str, bytes]:
    """Without the temporary file that a killed process may have been writing."""
    return {k: v for k, v in files.items() if not k.endswith(".tmp")}


def elsewhere(files: dict[str, bytes], one: Path, two: Path) -> dict[str, bytes]:
    """Files as they would be in another output folder: pages hold it in their command, the description in its links."""
    import shlex

    changes = [(shlex.quote(str(one)), shlex.quote(str(two)))]
    changes += [
        (os.path.relpath(place, one), os.path.relpath(place, two))
        for place in (one.parent / "bids", one.parent / "atlas")
    ]
    out = {}
    for name, content in files.items():
        if name.endswith(".html") or name == "dataset_description.json":
            for old, new in changes:
                content = content.replace(old.encode(), new.encode())
        out[name] = content
    return out


def test_participant_level_loses_nothing_when_a_worker_is_killed_in_the_middle(cluster, study, tmp_path, tree):
    out = tmp_path / "out"
    arguments = [study.bids, out, "participant", "--atlas", study.atlas, "--dask-scheduler", cluster.address, "-v"]
    arguments += ["--pictures", "none"]
    command = [sys.executable, "-m", "spectra_bids", *map(str, arguments)]
    with (
        distributed.Client(cluster.address, set_as_default=False) as client,
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process,
    ):
        until(lambda: list(out.glob("sub-*.html")))
        busy = {name: len(tasks) for name, tasks in client.processing().items()}
        assert len(busy) == 2
        assert all(busy.values())
        cluster.workers[0].kill()
        said = process.stderr.read()
    assert process.returncode == 0, said
    assert len(re.findall(r"^sub-\d+ (?:was )?done", said, re.MULTILINE)) == 12, said
    assert finished(tree(out)) == elsewhere(tree(study.out), study.out, out)


def test_group_level_loses_nothing_when_a_worker_dies(cluster, study, profiles, tmp_path, tree, cli, monkeypatch):
    command = [study.bids, profiles, "group", "--formula", FORMULA]
    assert cli(*command).status == 0
    serial = tree(profiles)
    assert any(name.endswith("_fits.tsv") for name in serial)
    shutil.rmtree(profiles / "group")
    next(profiles.glob("model-*.html")).unlink()
    monkeypatch.setattr(group, "_fit", partial(die_once_of_three, group._fit, tmp_path / "died"))
    ended = cli(*command, "--dask-scheduler", cluster.address)
    assert ended.status == 0, ended.err
    assert (tmp_path / "died").is_file()
    assert finished(tree(profiles)) == serial


def die_once_of_three(fit: Callable[..., object], marker: Path, settings: object, model: object, job: object) -> object:
    return die_once(partial(fit, settings, model), marker, job)
