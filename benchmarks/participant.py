"""Time and memory of the participant level as a user runs it: start of Python, reading, grids, profiles, tables, page.

    python benchmarks/participant.py [--repeats 3]

real-mni of the shared data: 19 bundles x 1,000 streamlines, one map, one process. Bars: 10 s, 1 GB.
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
    seconds = []
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as out:
            command = [sys.executable, "-m", "spectra_bids", SHARED / "real-mni", out, "participant"]
            began = time.perf_counter()
            subprocess.run([*command, "--atlas", SHARED / "atlas-hcp1065", "--n-procs", "1"], check=True)
            seconds.append(time.perf_counter() - began)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"participant level, real-mni: median {statistics.median(seconds):.1f} s (smallest {min(seconds):.1f}, "
          f"largest {max(seconds):.1f}), peak memory {usage.ru_maxrss / 1024:.0f} MB; "
          f"CPU {(usage.ru_utime + usage.ru_stime) / options.repeats:.1f} s a run")  # fmt: skip
    return int(statistics.median(seconds) > 10 or usage.ru_maxrss > 1024**2)


if __name__ == "__main__":
    sys.exit(main())
