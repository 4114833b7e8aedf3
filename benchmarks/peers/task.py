"""The standard task of the mixed-model benchmark: n = 800 rows, 50 sites, 6 fixed effects. numpy alone.

The same seed makes the same numbers in every program's environment.
"""

import json
import resource
import time

import numpy as np

N, SITES, FIXED = 800, 50, 6


def rows():
    """X (N, FIXED) and site codes (N,)."""
    rng = np.random.default_rng(42)
    site = rng.integers(0, SITES, N)
    site[:SITES] = np.arange(SITES)
    return np.column_stack([np.ones(N), rng.normal(size=(N, FIXED - 1))]), site


def values(n_cells, missing=0.0):
    """Y (N, n_cells): noise 1, site effects 0.3, a share missing at random; column k is the same for any n_cells."""
    _, site = rows()
    y = np.empty((N, n_cells))
    for start in range(0, n_cells, 1000):  # by blocks of their own seed, so that a peer can take the first cells only
        rng = np.random.default_rng([42, start])
        block = rng.normal(size=(N, 1000)) + 0.3 * rng.normal(size=(SITES, 1000))[site]
        if missing:
            block[rng.random(block.shape) < missing] = np.nan
        stop = min(n_cells, start + 1000)
        y[:, start:stop] = block[:, : stop - start]
    return y


def timed(work, repeats):
    """Wall and CPU seconds of every repetition. CPU (all threads) hardly depends on what else the machine does."""
    wall, cpu = [], []
    for _ in range(repeats):
        start, busy = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - busy)
    return {"wall": wall, "cpu": cpu}


def report(**numbers):
    """One line of JSON for the benchmark that started this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print("RESULT " + json.dumps({**numbers, "peak_mb": peak}), flush=True)
