"""Benchmark of the mixed-model engine with crossed intercepts and with slopes, beside lmerTest and pyblmm.

    python benchmarks/random_parts.py [--cells 15000] [--lmertest-cells 10] [--pyblmm-cells 100]

n = 1,000 sessions of 400 subjects at 50 sites, 6 fixed effects, every coefficient tested with Satterthwaite df;
complete, and with 5 % missing at random (every cell its own rows). Every case runs in a process of its own with one
BLAS thread; data are made before the clock starts. lmerTest fits the first cells, with its default tolerances for the
time and with tight ones for the largest difference of p. pyblmm (benchmarks/setup_peers.sh makes it), which takes
complete data alone, estimates its first cells without testing them: 100, of crossed factors a twentieth of that.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "peers"))

N, SUBJECTS, SITES, FIXED = 1000, 400, 50, 6
CASES = {"(1|site) + (1|subject)": "crossed", "(1 + time|subject)": "slope"}


def rows():
    """X (N, FIXED), subject and site codes, time."""
    import numpy as np

    rng = np.random.default_rng(7)
    subject = np.r_[np.arange(SUBJECTS), rng.integers(0, SUBJECTS, N - SUBJECTS)]
    site = rng.integers(0, SITES, N)
    time = (rng.normal(size=N) + 2).round(3)
    return np.column_stack([np.ones(N), time, rng.normal(size=(N, FIXED - 2))]), subject, site, time


def values(case, n_cells, missing):
    """Y (N, n_cells); column k is the same for any n_cells."""
    import numpy as np

    _, subject, site, time = rows()
    y = np.empty((N, n_cells))
    for start in range(0, n_cells, 500):
        rng = np.random.default_rng([7, start])
        block = rng.normal(size=(N, 500)) + 0.6 * rng.normal(size=(SUBJECTS, 500))[subject]
        block += 0.3 * rng.normal(size=(SITES, 500))[site]
        if case == "slope":
            block += 0.3 * rng.normal(size=(SUBJECTS, 500))[subject] * time[:, None]
        if missing:
            block[rng.random(block.shape) < missing] = np.nan
        y[:, start : start + 500] = block[:, : n_cells - start]
    return y


def fit(case, n_cells, missing, path):
    """Fit in this process and print a RESULT line."""
    import numpy as np
    from task import report, timed

    from spectra_bids.models.lmm import fit_lmm
    from spectra_bids.models.random import RandomPart

    x, subject, site, time = rows()
    parts = [RandomPart(subject), RandomPart(site)]
    if case == "slope":
        parts = [RandomPart(subject, np.column_stack([np.ones(N), time]))]
    y = values(case, n_cells, missing)
    last = {}
    took = timed(lambda: last.update(fit=fit_lmm(y, x, random=parts)), 1)
    found = last["fit"]
    p = np.stack([test.p for test in found.tests], axis=1)
    np.savetxt(path, p[:200], delimiter=",")
    statuses = {str(k): int(v) for k, v in zip(*np.unique(found.status, return_counts=True), strict=True)}
    report(cells=n_cells, **took, statuses=statuses, data_mb=y.nbytes / 1e6)


R = """
suppressMessages(library(lmerTest))
args <- commandArgs(trailingOnly = TRUE)
rows <- read.csv(args[1]); Y <- read.csv(args[2])
rows$subject <- factor(rows$subject); rows$site <- factor(rows$site)
tight <- lmerControl(check.conv.singular = "ignore",
                     optCtrl = list(xtol_abs = 1e-13, ftol_abs = 1e-15, xtol_rel = 1e-13, maxeval = 20000))
for (k in 1:2) {  # lme4's default tolerances for the time, tight ones for the numbers
  started <- proc.time()
  p <- t(sapply(seq_along(Y), function(j) {
    rows$y <<- Y[[j]]
    control <- if (k == 1) lmerControl(check.conv.singular = "ignore") else tight
    f <- suppressWarnings(lmer(as.formula(args[3]), rows, control = control))
    coef(summary(f))[, 5]
  }))
  took <- proc.time() - started
  if (k == 1) first <- took
}
write.table(p, args[4], sep = ",", row.names = FALSE, col.names = FALSE)
result <- "RESULT {\\"cells\\": %d, \\"wall\\": [%g], \\"cpu\\": [%g]}\\n"
cat(sprintf(result, length(Y), first[[3]], first[[1]] + first[[2]]))
"""


def by_lmertest(term, case, n_cells, missing, folder):
    """The first cells in R; None without it."""
    if not shutil.which("Rscript"):
        return None
    import numpy as np

    x, subject, site, _ = rows()
    names = [f"x{i}" for i in range(1, FIXED)]
    names[0] = "time"
    table = np.column_stack([x[:, 1:], subject, site])
    np.savetxt(folder / "rows.csv", table, delimiter=",", header=",".join([*names, "subject", "site"]), comments="")
    y = values(case, n_cells, missing)
    lines = [",".join("NA" if v != v else f"{v:.17g}" for v in row) for row in y]
    (folder / "y.csv").write_text("\n".join([",".join(f"y{k}" for k in range(n_cells)), *lines]) + "\n")
    (folder / "fit.R").write_text(R)
    formula = f"y ~ {' + '.join(names)} + {term}"
    return run(["Rscript", folder / "fit.R", folder / "rows.csv", folder / "y.csv", formula, folder / "r.csv"])


def by_pyblmm(python, case, n_cells, folder):
    """The first cells by pyblmm; None if it fails."""
    import numpy as np

    x, subject, site, _ = rows()
    y = values(case, n_cells, 0.0)
    np.save(folder / "rows.npy", np.column_stack([x, subject, site]))
    np.save(folder / "y.npy", y)
    script = HERE / "peers" / "random_parts_pyblmm.py"
    return run([python, script, case, folder / "rows.npy", folder / "y.npy", n_cells])


def run(command):
    """The RESULT line of a process."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([str(c) for c in command], env=environment, capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            return json.loads(line.removeprefix("RESULT "))
    print(done.stderr[-800:], file=sys.stderr)
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=15000)
    parser.add_argument("--lmertest-cells", type=int, default=10)
    parser.add_argument("--pyblmm-cells", type=int, default=100)
    parser.add_argument("--fit", nargs=2, metavar=("CASE", "MISSING"), help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fit:
        fit(options.fit[0], options.cells, float(options.fit[1]), options.out)
        return
    import numpy as np
    from engine import peer, print_machine

    pyblmm = peer("pyblmm")
    print(f"{'':36s}{'cells':>8s}{'wall, s':>10s}{'CPU, s':>10s}{'ms/cell':>10s}{'peak MB':>10s}  statuses")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for term, case in CASES.items():
            for missing in (0.0, 0.05):
                what = f"{term}, {missing:.0%} missing"
                ours = run([sys.executable, __file__, "--fit", case, missing, "--cells", options.cells,
                            "--out", folder / "ours.csv"])  # fmt: skip
                print(
                    f"{what:36s}{ours['cells']:8d}{ours['wall'][0]:10.2f}{ours['cpu'][0]:10.2f}"
                    f"{1e3 * ours['cpu'][0] / ours['cells']:10.3f}{ours['peak_mb']:10.0f}  {ours['statuses']}"
                )
                theirs = by_lmertest(term, case, options.lmertest_cells, missing, folder)
                if theirs:
                    a, b = np.loadtxt(folder / "ours.csv", delimiter=","), np.loadtxt(folder / "r.csv", delimiter=",")
                    each = 1e3 * theirs["cpu"][0] / theirs["cells"]
                    print(f"{'  lmerTest (default tolerances)':36s}{theirs['cells']:8d}{theirs['wall'][0]:10.2f}"
                          f"{theirs['cpu'][0]:10.2f}{each:10.1f}     p: {np.abs(a[: len(b)] / b - 1).max():.1e}, "
                          f"ratio {each / (1e3 * ours['cpu'][0] / ours['cells']):.0f}")  # fmt: skip
                few = max(2, options.pyblmm_cells // (20 if case == "crossed" else 1))
                peers = by_pyblmm(pyblmm, case, few, folder) if pyblmm and not missing else None
                if peers:
                    each = 1e3 * peers["cpu"][0] / peers["cells"]
                    print(f"{'  pyblmm 0.1.1 (estimates alone)':36s}{peers['cells']:8d}{peers['wall'][0]:10.2f}"
                          f"{peers['cpu'][0]:10.2f}{each:10.1f}{peers['peak_mb']:10.0f}  "
                          f"ratio {each / (1e3 * ours['cpu'][0] / ours['cells']):.0f}")  # fmt: skip
    print_machine()


if __name__ == "__main__":
    main()
