"""Benchmark of voxel-wise models: images on disk -> fits of every voxel, beside statsmodels in the same run.

    python benchmarks/voxels.py [--voxels 200000] [--images 200] [--levels 10] [--missing 0] [--peer-voxels 300]

Four regressors and the intercept, one random intercept, every term tested with Satterthwaite's degrees of freedom.
Images are float32 NIfTI, made before the clock starts. The whole command is timed (reading, fits, FDR, maps, tables,
pictures, page), and the fits alone; peak memory is of this process' child that runs the command. statsmodels' OLS
(which has no random part) and MixedLM fit some of the same voxels, one after the other.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

FORMULA = "value ~ age + sex + bmi + dose + (1|site)"
CHILD = """
import json, resource, sys, time
import spectra_bids.voxels as v
from spectra_bids.cli import main
fit, spent = v.fit_voxels, {}
def timed(*a):
    start = time.perf_counter()
    out = fit(*a)
    spent["fit"] = time.perf_counter() - start
    return out
v.fit_voxels = timed
start = time.perf_counter()
status = main(sys.argv[1:])
spent |= {"all": time.perf_counter() - start, "status": status}
spent["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
spent["cpu"] = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
print("RESULT " + json.dumps(spent))
"""


def make(folder: Path, options: argparse.Namespace) -> pd.DataFrame:
    """Images, mask and table."""
    rng = np.random.default_rng(0)
    edge = int(np.ceil(options.voxels ** (1 / 3)))
    mask = np.zeros((edge, edge, edge), np.uint8)
    mask.reshape(-1)[: options.voxels] = 1
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = -edge
    nib.save(nib.Nifti1Image(mask, affine), folder / "mask.nii.gz")
    n = options.images
    site = np.arange(n) % options.levels
    table = pd.DataFrame({"id": [f"i{k:04d}.nii" for k in range(n)], "site": [f"s{k}" for k in site]})
    table = table.assign(age=rng.normal(60, 8, n), sex=rng.integers(0, 2, n), bmi=rng.normal(25, 3, n))
    table["dose"] = rng.normal(size=n)
    table.to_csv(folder / "design.csv", index=False)
    shift = rng.normal(0, 0.02, (options.levels, *mask.shape)).astype(np.float32)
    for k in range(n):
        values = 0.4 + shift[site[k]] + rng.normal(0, 0.04, mask.shape).astype(np.float32)
        if options.missing:
            values[rng.uniform(size=mask.shape) < options.missing] = np.nan
        nib.save(nib.Nifti1Image(values, affine), folder / f"i{k:04d}.nii")
    return table


def ours(folder: Path, formula: str, name: str) -> dict[str, float]:
    """Seconds and memory of the command."""
    words = ["voxels", folder / "out", "--design", folder / "design.csv", "--mask", folder / "mask.nii.gz"]
    words += ["--formula", formula, "--analysis-name", name]
    done = subprocess.run([sys.executable, "-c", CHILD, *map(str, words)], capture_output=True, text=True, check=True)
    [line] = [x for x in done.stdout.splitlines() if x.startswith("RESULT ")]
    return json.loads(line.removeprefix("RESULT "))


def statsmodels(folder: Path, table: pd.DataFrame, options: argparse.Namespace, mixed: bool) -> tuple[float, float]:
    """Seconds per voxel, and the largest difference of a t of `age` from ours."""
    import statsmodels.formula.api as smf

    mask = nib.load(folder / "mask.nii.gz").get_fdata() > 0
    chosen = np.sort(np.random.default_rng(1).choice(mask.sum(), options.peer_voxels, replace=False))
    y = np.array([nib.load(folder / name).get_fdata()[mask][chosen] for name in table["id"]])
    name = "mixed" if mixed else "ols"
    t = nib.load(folder / f"out/{name}/contrast-Age_stat-t_statmap.nii.gz").get_fdata()[mask][chosen]
    fixed = FORMULA.partition(" + (")[0]
    start, found = time.perf_counter(), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for k in range(len(chosen)):
            data = table.assign(value=y[:, k] * 25)
            model = smf.mixedlm(fixed, data, groups="site", missing="drop") if mixed else smf.ols(fixed, data)
            found.append(float(model.fit().tvalues["age"]))
    spent = (time.perf_counter() - start) / len(chosen)
    return spent, float(np.nanmax(np.abs(np.array(found) - t)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voxels", type=int, default=200_000)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--levels", type=int, default=10)
    parser.add_argument("--missing", type=float, default=0.0)
    parser.add_argument("--peer-voxels", type=int, default=300)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = make(folder, options)
        print(f"{options.voxels} voxels, {options.images} images, 4 regressors, {options.levels} sites, "
              f"{options.missing:.0%} missing")  # fmt: skip
        for kind, formula in (("mixed", FORMULA), ("ols", FORMULA.partition(" + (")[0])):
            r = ours(folder, formula, kind)
            print(f"{kind}: whole command {r['all']:.1f} s ({r['cpu']:.1f} s CPU), fits {r['fit']:.1f} s, peak "
                  f"{r['peak_gb']:.2f} GB")  # fmt: skip
            spent, gap = statsmodels(folder, table, options, kind == "mixed")
            ratio = spent * options.voxels / r["fit"]
            print(f"  statsmodels: {1e3 * spent:.2f} ms per voxel, {ratio:.0f} times our fits; |t - t| <= {gap:.1e}")
    print(f"peak of children {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
