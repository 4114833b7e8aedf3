"""Benchmark of the mixed-model engine beside pyblmm, lmerTest and pymer4, all in one run.

    python benchmarks/engine.py [--cells 60000] [--pyblmm-cells 60000] [--lmertest-cells 50] [--pymer4-cells 10]

n = 800 rows, 50 sites, 6 fixed effects, one random intercept, every coefficient tested with Satterthwaite df; complete,
and with 5 % missing at random. Every program runs in a process of its own, one after the other, on the same numbers;
data are made before the clock starts. A peer that is not there (benchmarks/setup_peers.sh makes them) is left out.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
PEERS = Path(os.environ.get("SPECTRA_BIDS_BENCH_DIR", HERE.parent / ".benchmarks"))
sys.path.insert(0, str(HERE / "peers"))


def run(command, **environment):
    """The RESULT line of a process; None, with the reason printed, if it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, **environment},
        cwd=HERE / "peers",
        capture_output=True,
        text=True,
        check=False,
    )
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            return json.loads(line.removeprefix("RESULT "))
    print(f"{Path(command[1]).name} failed: {done.stderr.strip()[-500:]}", file=sys.stderr)
    return None


def peer(name):
    """The Python of a peer's environment; None if it is not there."""
    python = PEERS / name / "bin" / "python"
    if (PEERS / name / ".complete").is_file():
        return python
    print(f"{name}: left out, benchmarks/setup_peers.sh {name} makes it", file=sys.stderr)
    return None


def write_rows(folder, n_cells, missing):
    """The first cells of the task as CSV for R."""
    import numpy as np
    from task import rows, values

    x, site = rows()
    names = [f"x{i}" for i in range(1, x.shape[1])]
    header, table = ",".join([*names, "site"]), np.column_stack([x[:, 1:], site])
    np.savetxt(folder / "rows.csv", table, delimiter=",", header=header, comments="", fmt="%.17g")
    lines = [",".join("NA" if v != v else f"{v:.17g}" for v in row) for row in values(n_cells, missing)]
    (folder / "y.csv").write_text("\n".join([",".join(f"y{k}" for k in range(n_cells)), *lines]) + "\n")


def measure(options, folder):
    """Name and result of every program, in the order of the table."""
    import numpy as np

    out = []
    for missing in (0.0, 0.05):
        what = f"{missing:.0%} missing" if missing else "complete"
        p_ours = folder / "ours.csv"
        command = [sys.executable, "engine_ours.py", options.cells, missing, options.repeats, p_ours]
        one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # as the command line sets it
        out.append((f"spectra_bids, {what}", run(command, **one_thread)))
        if shutil.which("Rscript"):
            write_rows(folder, options.lmertest_cells, missing)
            command = ["Rscript", "engine_lmertest.R", folder / "rows.csv", folder / "y.csv", folder / "r.csv"]
            result = run(command)
            out.append((f"lmerTest, {what}", result))
            if result and out[-2][1]:
                ours, theirs = np.loadtxt(p_ours, delimiter=","), np.loadtxt(folder / "r.csv", delimiter=",")
                both = min(len(ours), len(theirs))
                gap = np.abs(ours[:both] / theirs[:both] - 1).max()
                print(f"{what}: p of ours and lmerTest (default optimiser) differ by at most {gap:.1e} (relative)")
    if python := peer("pyblmm"):
        command = [python, "engine_pyblmm.py", options.pyblmm_cells, 1000]
        out.append(("pyblmm 0.1.1, 1 thread, complete", run(command, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")))
    if python := peer("pymer4"):
        out.append(("pymer4 0.8.2, complete", run([python, "engine_pymer4.py", options.pymer4_cells])))
    return [(name, result) for name, result in out if result]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=60000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--pyblmm-cells", type=int, default=60000)
    parser.add_argument("--lmertest-cells", type=int, default=50)
    parser.add_argument("--pymer4-cells", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = measure(options, Path(folder))
    print_machine()
    ours = {name.split()[-1]: median(r["cpu"]) / r["cells"] for name, r in results if name.startswith("spectra_bids")}
    heads = ("cells", "wall, s", "(min", "max)", "CPU, s", "CPU 60k", "ratio", "peak MB", "data MB")
    print(f"{'':36s}" + "".join(f"{head:>9s}" for head in heads))
    for name, r in results:
        each = median(r["cpu"]) / r["cells"]
        base = ours.get(name.split()[-1], float("nan"))
        print(
            f"{name:36s}{r['cells']:9d}{median(r['wall']):9.2f}{min(r['wall']):9.2f}{max(r['wall']):9.2f}"
            f"{median(r['cpu']):9.2f}{each * 60000:9.1f}{each / base:9.1f}{r['peak_mb']:9.0f}{r['data_mb']:9.0f}"
        )
    print("ratio: CPU seconds per cell over ours; CPU 60k: CPU seconds for 60,000 cells, scaled where fewer were run")


def print_machine():
    """Cores and load; a warning where wall times cannot be trusted."""
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    print(f"\n{cores} cores, load {load:.1f}")
    if load > cores + 0.5:
        print("the machine is busy with other work: compare CPU seconds, not wall seconds")


if __name__ == "__main__":
    main()
