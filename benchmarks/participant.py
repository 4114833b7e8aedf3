"""Time and memory of the participant level as a user runs it: start of Python, reading, grids, profiles, tables, page.

    python benchmarks/participant.py [--repeats 3]

real-mni of the shared data: 19 bundles x 1,000 streamlines, one map, one process; without 3D pictures (bars: 10 s,
1 GB) and with those of all bundles, three cameras each (bar: 60 s more).
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("SPECTRA_BIDS_TEST_DATA", REPOSITORY.parent / "shared" / "data"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    late = False
    for pictures, bar in (("none", 10), ("bundles", 70)):
        seconds, cpu = [], []
        for _ in range(options.repeats):
            with tempfile.TemporaryDirectory() as out:
                command = [sys.executable, "-m", "spectra_bids", SHARED / "real-mni", out, "participant"]
                command += ["--atlas", SHARED / "atlas-hcp1065", "--n-procs", "1", "--pictures", pictures]
                before, began = used(), time.perf_counter()
                subprocess.run(command, check=True)
                seconds.append(time.perf_counter() - began)
                cpu.append(used() - before)
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        middle = statistics.median(seconds)
        print(f"participant level, real-mni, --pictures {pictures}: median {middle:.1f} s (smallest "
              f"{min(seconds):.1f}, largest {max(seconds):.1f}), CPU {statistics.median(cpu):.1f} s, peak memory of a "
              f"process so far {memory:.0f} MB")  # fmt: skip
        late |= middle > bar or memory > 1024
    return int(late)


def used() -> float:
    """CPU seconds of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    sys.exit(main())
