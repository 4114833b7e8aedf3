"""Kill runs at random moments, run many at once, fill the disk: is the output the undisturbed one every time?

    python scripts/fault_runs.py [--kills 200] [--jobs 8] [--work DIR] [--seed 0]

A small cohort of the shared make_cohort.py goes through both levels. Half of the kills (SIGKILL) hit participant runs
that start from nothing or from what an earlier kill left, half hit group runs; after each the same command is run to
its end and the whole tree compared with an undisturbed run, byte by byte (logs/<run> and sub-*/log/ aside). Then
`--jobs` participant jobs of one subject each run at once into one directory, and both levels run on a tmpfs that is
too small (where it may be mounted: as root). Prints counts; exits with 1 on any difference.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("SPECTRA_BIDS_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
FORMULA = "value ~ group + age"
N = 10  # the fewest people that a cell needs
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def contents(out: Path) -> dict[str, bytes]:
    """Every file below a directory but the logs of runs, by path."""
    found = {}
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        name = path.relative_to(out).as_posix()
        if not (name.startswith("logs/2") or "/log/" in name):
            found[name] = path.read_bytes()
    return found


def difference(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """Names of files that differ or are in one of the two only."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


class Level:
    """One level's command on the cohort, into a directory that is always called `out` (the page shows its name)."""

    def __init__(self, name: str, arguments: list[str], work: Path) -> None:
        self.name = name
        self.work = work
        self.command = [sys.executable, "-m", "spectra_bids", "cohort", "out", name, *arguments]

    def start(self, *more: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*self.command, *more], cwd=self.work, start_new_session=True, **QUIET)

    def finish(self, *more: str) -> int:
        return self.start(*more).wait()


def kill_runs(level: Level, start: Path | None, reference: dict[str, bytes], kills: int, rng: random.Random) -> int:
    """Kill a level `kills` times, resume after each, compare; number of differing trees."""
    out, wrong = level.work / "out", 0
    began = time.monotonic()
    _reset(out, start)
    level.finish()
    whole = time.monotonic() - began
    for k in range(kills):
        _reset(out, start)
        for _ in range(rng.choice((1, 1, 2))):  # sometimes the resumed run is killed as well
            job = level.start()
            time.sleep(rng.uniform(0.05, 1.0) * whole)
            if job.poll() is None:
                os.killpg(job.pid, 9)
            job.wait()
        status = level.finish()
        odd = difference(contents(out), reference)
        if status or odd:
            wrong += 1
            print(f"{level.name} kill {k}: exit {status}, differs in {odd[:4]}", flush=True)
    return wrong


def _reset(out: Path, start: Path | None) -> None:
    shutil.rmtree(out, ignore_errors=True)
    if start is not None:
        shutil.copytree(start, out)


def concurrent(level: Level, jobs: int, reference: dict[str, bytes]) -> list[str]:
    """Participant jobs of one subject each, `jobs` at a time, into one directory; files that differ from serial."""
    _reset(level.work / "out", None)
    labels = [f"{k:03d}" for k in range(1, N + 1)]
    with ThreadPoolExecutor(jobs) as pool:
        statuses = list(pool.map(lambda label: level.finish("--participant-label", label, "--n-procs", "1"), labels))
    odd = difference(contents(level.work / "out"), reference)
    return [*odd, *(f"exit {s}" for s in statuses if s)]


def full_disk(level: Level, start: Path | None, kilobytes: int) -> tuple[int, list[str]]:
    """Exit status on a tmpfs of that size, and half files: temporary ones, and tables that a new run must not meet."""
    out = level.work / "out"
    _reset(out, None)
    out.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", out], check=True)
    try:
        if start is not None:
            shutil.copytree(start, out, dirs_exist_ok=True)
        status = level.finish()
        return status, [p.name for p in out.rglob(".*.tmp")]
    finally:
        subprocess.run(["umount", out], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    work = Path(tempfile.mkdtemp(dir=options.work))
    maker = [sys.executable, SHARED.parent / "tools" / "make_cohort.py", work / "cohort", "--n", str(N)]
    subprocess.run([*maker, "--bundles", "CST_left", "UF_left", "--streamlines", "60"], check=True, **QUIET)
    first = Level("participant", ["--atlas", str(SHARED / "atlas-hcp1065"), "--bundle", "CST_left", "UF_left"], work)
    second = Level("group", ["--formula", FORMULA, "--model-name", "m"], work)
    assert first.finish() == 0
    profiles, reference_1 = work / "profiles", contents(work / "out")
    shutil.copytree(work / "out", profiles)
    assert second.finish() == 0
    reference_2 = contents(work / "out")
    wrong = 0
    for level, start, reference in ((first, None, reference_1), (second, profiles, reference_2)):
        bad = kill_runs(level, start, reference, options.kills // 2, rng)
        print(f"{level.name}: {options.kills // 2} kills, {bad} trees differ after the resume", flush=True)
        wrong += bad
    odd = concurrent(first, options.jobs, reference_1)
    print(f"{options.jobs} jobs at once: {'identical to serial' if not odd else odd[:5]}", flush=True)
    wrong += bool(odd)
    if os.geteuid() == 0:
        size = sum(len(c) for c in reference_1.values()) // 1024
        sizes = [(first, None, k) for k in (64, size // 4, size // 2)]
        for level, start, kilobytes in (*sizes, (second, profiles, size + 300)):
            status, half = full_disk(level, start, kilobytes)
            fine = status in (73, 75) and not half
            print(f"{level.name} on a disk of {kilobytes} kB: exit {status}, half files: {half or 'none'}", flush=True)
            wrong += not fine
    shutil.rmtree(work)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
