"""Values in a file are those in memory, bundle by bundle, and take no memory; --mem decides and changes no byte."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from spectra_bids.cli.environment import writable_environment
from spectra_bids.errors import UsageError
from spectra_bids.group import tables
from spectra_bids.group.tables import read_cohort
from spectra_bids.group.values import FiledValues

FORMULA = "value ~ group + (1|site)"


@pytest.fixture
def no_room(monkeypatch):
    """As if a run needed nothing: the smallest --mem is allowed, and puts the values into a file."""
    monkeypatch.setattr(tables, "group_memory", lambda *_: 0.0)


def test_values_are_read_as_they_were_put():
    rng = np.random.default_rng(0)
    widths, n = (3, 1, 5), 4
    filed, expected = FiledValues(("fa", "md"), n, widths), {}
    for scalar in ("md", "fa"):
        expected[scalar] = rng.normal(size=(n, sum(widths)))
        expected[scalar][1, 2] = np.nan
        for k in reversed(range(n)):
            filed.put(scalar, k, expected[scalar][k])
    assert list(filed) == ["fa", "md"]
    part = filed.keep([True, False, True])
    last = part.keep([False, True])
    for scalar, values in expected.items():
        np.testing.assert_array_equal(filed[scalar], values)
        np.testing.assert_array_equal(part[scalar], values[:, [0, 1, 2, 4, 5, 6, 7, 8]])
        np.testing.assert_array_equal(last[scalar], values[:, 4:])
    with pytest.raises(KeyError):
        filed["ad"]


def test_a_cohort_in_a_file_is_the_one_in_memory(profiles, no_room):
    plain, filed = read_cohort(profiles, "2D"), read_cohort(profiles, "2D", memory_gb=1e-6)
    assert isinstance(filed.values, FiledValues)
    assert not isinstance(filed.only("CSTR").values, FiledValues), "other processes get values, not an open file"
    for change in (lambda c: c, lambda c: c.without(["AFL"]), lambda c: c.only("CSTR"), lambda c: c.without(["CSTR"])):
        one, two = change(plain), change(filed)
        assert one.bundles == two.bundles
        for scalar, values in one.values.items():
            np.testing.assert_array_equal(two.values[scalar], values)


def test_the_memory_bound_changes_no_byte(study, profiles, tree, cli, no_room):
    command = (study.bids, profiles, "group", "--formula", FORMULA)
    assert cli(*command).status == 0
    before = tree(profiles)
    assert cli(*command, "--mem", "0.1M", "--force").status == 0
    assert tree(profiles) == before


def test_enough_memory_keeps_values_there_and_too_little_is_refused(profiles):
    assert not isinstance(read_cohort(profiles, "2D", memory_gb=4).values, FiledValues)
    with pytest.raises(UsageError, match=r"--mem 0\.01G is too little: 12 sessions with 1 scalars") as caught:
        read_cohort(profiles, "2D", memory_gb=0.01)
    enough = float(caught.value.hint.split("--mem ")[1].split("G")[0])
    read_cohort(profiles, "2D", memory_gb=enough)


def test_too_little_memory_ends_the_run_before_it_writes(study, profiles, tree, cli):
    before = tree(profiles)
    ended = cli(study.bids, profiles, "group", "--formula", FORMULA, "--mem", "100M")
    assert ended.status == 2
    assert "--mem 0.0977G is too little" in ended.err or "--mem 0.1G is too little" in ended.err
    assert tree(profiles) == before


_GROWTH = """
import sys
import numpy as np
from spectra_bids.group.values import FiledValues

def peak():
    with open("/proc/self/status") as file:  # ru_maxrss holds the peak of the process that started this one
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024

n, widths = 400, [400] * 50  # 64 MB
before = peak()
row = np.ones(sum(widths))
values = FiledValues(("fa",), n, widths) if sys.argv[1] == "file" else {"fa": np.empty((n, sum(widths)))}
for k in range(n):
    if sys.argv[1] == "file":
        values.put("fa", k, row)
    else:
        values["fa"][k] = row
one = values.keep([True] + [False] * 49)["fa"] if sys.argv[1] == "file" else values["fa"][:, :400].copy()
assert one.shape == (400, 400) and one.all()
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="peak memory is read from /proc")
def test_values_in_a_file_take_no_memory():
    grown = {}
    for where in ("file", "memory"):
        done = subprocess.run([sys.executable, "-c", _GROWTH, where], capture_output=True, text=True, check=True)
        grown[where] = float(done.stdout)
    assert grown["memory"] > 55, "the test measures what it should"
    assert grown["file"] < 15


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are seen in /proc")
def test_the_file_lies_in_the_work_dir(tmp_path):
    with writable_environment(tmp_path / "work", tmp_path / "out"):
        values = FiledValues(("fa",), 2, (3,))
        opened = [
            os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if fd == str(_handle(values))
        ]
    assert opened
    assert opened[0].startswith(str(tmp_path / "work"))


def _handle(values: FiledValues) -> int:
    return values._file.fileno()
