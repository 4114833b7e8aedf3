"""Benchmark of the permutation test: what one family's permutations of many cells take.

    python benchmarks/permutation.py [--cells 15000] [--permutations 200]

n = 200 people of 20 sites, 4 fixed effects, one random intercept, one contrast; 20 bundles of 50 nodes x 15 bins, as
the group level permutes them: bundle by bundle, with clusters and TFCE over the (s, r) neighbourhood, then the maxima
of all bundles together. Complete, and with 5 % missing at random (every cell its own rows). One process, one BLAS
thread; data are made before the clock starts. Beside it the same bundles' ordinary fits, as the measure of a refit.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "peers"))

N, SITES, BUNDLES, BINS = 200, 20, 20, 15


def task(n_cells, missing):
    """X (N, 4), site codes, and for every bundle values (N, cells)."""
    rng = np.random.default_rng(11)
    site = np.arange(N) % SITES
    x = np.column_stack([np.ones(N), rng.permutation(N) % 2, rng.normal(size=(N, 2))])
    parts = []
    for width in np.diff(np.linspace(0, n_cells, BUNDLES + 1).astype(int)):
        y = rng.normal(size=(N, width)) + 0.4 * rng.normal(size=(SITES, width))[site]
        if missing:
            y[rng.random(y.shape) < missing] = np.nan
        parts.append(y)
    return x, site, parts


def run(n_cells, n_permutations, missing):
    """Permute all bundles in this process and print a row of the table."""
    import resource

    from task import timed

    from spectra_bids.inference import Spatial, draw_permutations, joint_maxima, reduce_maxima
    from spectra_bids.models.lmm import fit_lmm
    from spectra_bids.models.permutation import permutation_test

    x, site, parts = task(n_cells, missing)
    contrast = np.array([0.0, 1, 0, 0])
    drawn = draw_permutations(N, n_permutations, 0, within=site)
    last = {}

    def refit():
        for y in parts:
            fit_lmm(y, x, site, [contrast])

    def permute():
        cells = [np.divmod(np.arange(y.shape[1]), BINS) for y in parts]
        found = [
            permutation_test(y, x, contrast, drawn, Spatial(*place), site)
            for y, place in zip(parts, cells, strict=True)
        ]
        seen = [np.concatenate([getattr(f, name) for f in found]) for name in ("z", "size", "mass", "tfce")]
        last["p"] = reduce_maxima(*seen, joint_maxima([f.null for f in found])).tfce

    refit()  # imports
    once, took = timed(refit, 1), timed(permute, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    tested = int(np.isfinite(last["p"]).sum())
    print(
        f"{missing:10.0%}{n_permutations:14d}{tested:10d}{took['wall'][0]:10.1f}{took['cpu'][0]:10.1f}"
        f"{once['cpu'][0]:12.2f}{n_permutations * once['cpu'][0] / took['cpu'][0]:10.1f}{peak:10.0f}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=15000)
    parser.add_argument("--permutations", type=int, default=200)
    parser.add_argument("--missing", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.missing is not None:
        run(options.cells, options.permutations, options.missing)
        return
    from engine import print_machine

    heads = (("missing", 10), ("permutations", 14), ("cells", 10), ("wall, s", 10), ("CPU, s", 10))
    heads += (("one fit, s", 12), ("refits /", 10), ("peak MB", 10))
    print("".join(f"{head:>{width}s}" for head, width in heads), flush=True)
    for missing in (0.0, 0.05):
        command = [sys.executable, __file__, "--missing", str(missing), "--cells", str(options.cells)]
        subprocess.run([*command, "--permutations", str(options.permutations)], check=True)
    print("one fit: CPU seconds of an ordinary fit of all cells; refits /: as many fits as permutations over their CPU")
    print_machine()


if __name__ == "__main__":
    main()
