"""Benchmark of a very large cohort: from the group's Parquet file to decisions.

    python benchmarks/large.py [--subjects 10000] [--cells 15000] [--missing 0.02] [--folder DIR]

Writes `desc-profile2D_tractometry.parquet` with the columns, types and compression of group.shared (10,000 x 15,000
rows take about 2 GB of disk and two minutes, before the clock starts). Then, in a process of its own with one BLAS
thread: reads the values batch by batch, fits `value ~ group + age + sex + (1|site)` with 40 sites in every cell, tests
every coefficient with Satterthwaite degrees of freedom, and decides by hfdr. Prints wall and CPU seconds of each
phase, and the peak of the process's memory.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "peers"))

SITES, BUNDLES, BINS, SCALAR = 40, 20, 15, "tensor_fa"


def people(n):
    """X (n, 4) and site codes."""
    rng = np.random.default_rng(3)
    site = rng.integers(0, SITES, n)
    return np.column_stack([np.ones(n), rng.integers(0, 2, n), rng.normal(50, 15, n), rng.integers(0, 2, n)]), site


def grid(n_cells):
    """Bundle number, s and r of every cell."""
    ends = np.linspace(0, n_cells, BUNDLES + 1).astype(int)
    bundle = np.repeat(np.arange(BUNDLES), np.diff(ends))
    s, r = np.divmod(np.arange(n_cells) - ends[bundle], BINS)
    return bundle, s, r


def write(path, n, n_cells, missing):
    """The file, in row groups of ten subjects, as the group level makes them of tables of this size."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from spectra_bids.group.tables import column_type

    bundle, s, r = grid(n_cells)
    x, site = people(n)
    rng = np.random.default_rng(4)
    site_effect = rng.normal(0, 0.01, (SITES, n_cells))
    patient = np.where(bundle == 0, -0.01, 0.0)  # one bundle of twenty has an effect
    names = pa.array([f"Bundle{b:02d}" for b in range(BUNDLES)]).take(pa.array(bundle))
    fixed = {"bundle": names, "s": pa.array(s), "r": pa.array(r), "s_mm": pa.array(5.0 * s), "r_mm": pa.array(5.0 * r)}
    columns = ["participant_id", "session_id", *fixed, "n_points", "n_streamlines", "status", SCALAR, f"{SCALAR}_sd"]
    schema = pa.schema([(c, column_type(c)) for c in columns])
    with pq.ParquetWriter(path, schema, compression="zstd") as out:
        for start in range(0, n, 10):
            parts = []
            for k in range(start, min(n, start + 10)):
                value = 0.4 + site_effect[site[k]] + patient * x[k, 1] + rng.normal(0, 0.04, n_cells)
                gone = rng.random(n_cells) < missing
                status = pa.array(["ok", "few_points"]).take(pa.array(gone.astype(int)))
                points = np.where(gone, 2, rng.integers(5, 200, n_cells))
                rest = {
                    "participant_id": pa.array([f"sub-{k:05d}"]).take(pa.array(np.zeros(n_cells, int))),
                    "session_id": pa.nulls(n_cells, pa.string()),
                    **fixed,
                    "n_points": pa.array(points),
                    "n_streamlines": pa.array(np.minimum(points, 60)),
                    "status": status,
                    SCALAR: pa.array(value.round(6), mask=gone),
                    f"{SCALAR}_sd": pa.array(rng.gamma(4, 0.01, n_cells).round(6), mask=gone),
                }
                parts.append(pa.table([rest[c] for c in columns], schema=schema))
            out.write_table(pa.concat_tables(parts).combine_chunks())


def read(path, n, n_cells):
    """Values (n, n_cells) of the scalar, NaN where missing; rows must be whole subjects, in order."""
    import pyarrow.parquet as pq

    y = np.empty(n * n_cells)
    first = []
    row = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=10 * n_cells, columns=["participant_id", SCALAR], use_threads=False):
            y[row : row + len(batch)] = batch.column(1).to_numpy(zero_copy_only=False)
            first += batch.column(0).take(np.arange(-row % n_cells, len(batch), n_cells)).to_pylist()
            row += len(batch)
    if row != n * n_cells or len(set(first)) != n:
        raise SystemExit(f"expected {n} subjects of {n_cells} cells. Got {row} rows, {len(set(first))} subjects")
    return y.reshape(n, n_cells)


def analyse(path, n, n_cells):
    """Read, fit, decide in this process; one RESULT line."""
    from task import report, timed

    from spectra_bids.inference import hierarchical_fdr
    from spectra_bids.models.lmm import fit_lmm

    x, site = people(n)
    bundle, _, _ = grid(n_cells)
    last = {}

    def fit():
        last["fits"] = [fit_lmm(last["y"][:, bundle == b], x, site) for b in range(BUNDLES)]

    def decide():
        for k in range(1, x.shape[1]):
            p = np.concatenate([f.tests[k].p for f in last["fits"]])
            last[k] = hierarchical_fdr(p, bundle, 0.05, 0.05)

    phases = {
        "read": timed(lambda: last.update(y=read(path, n, n_cells)), 1),
        "fit": timed(fit, 1),
        "decide": timed(decide, 1),
    }
    fitted = sum(int(np.isfinite(f.tests[1].p).sum()) for f in last["fits"])
    report(phases=phases, fitted=fitted, selected=int(np.sum(last[1].selected)), data_mb=last["y"].nbytes / 1e6)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=10000)
    parser.add_argument("--cells", type=int, default=15000)
    parser.add_argument("--missing", type=float, default=0.02)
    parser.add_argument("--folder", type=Path, help="where the file is made (a temporary folder)")
    parser.add_argument("--analyse", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.analyse:
        analyse(options.analyse, options.subjects, options.cells)
        return
    from engine import print_machine, run

    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        path = Path(scratch) / "desc-profile2D_tractometry.parquet"
        write(path, options.subjects, options.cells, options.missing)
        print(f"{options.subjects} subjects x {options.cells} cells, {options.missing:.0%} missing: ", end="")
        print(f"{path.stat().st_size / 1e9:.2f} GB of Parquet", flush=True)
        size = ["--subjects", options.subjects, "--cells", options.cells]
        found = run([sys.executable, HERE / "large.py", "--analyse", path.resolve(), *size])
    if found is None:
        raise SystemExit(1)
    total = {kind: sum(phase[kind][0] for phase in found["phases"].values()) for kind in ("wall", "cpu")}
    print(f"{'':10s}{'wall, s':>10s}{'CPU, s':>10s}")
    for name, phase in found["phases"].items():
        print(f"{name:10s}{phase['wall'][0]:10.1f}{phase['cpu'][0]:10.1f}")
    print(f"{'all':10s}{total['wall']:10.1f}{total['cpu']:10.1f}")
    print(f"{found['fitted']} cells fitted, {found['selected']} of {BUNDLES} bundles selected (1 has an effect)")
    print(f"peak memory {found['peak_mb'] / 1e3:.2f} GB, of these the values {found['data_mb'] / 1e3:.2f} GB")
    print_machine()


if __name__ == "__main__":
    main()
