"""Is a planted effect found where it was planted, and is nothing found where there is none?

    python benchmarks/planted_effect.py [--seeds 10] [--null-seeds 20] [--jobs 2] [--work DIR]

Cohorts of the shared make_cohort.py (24 pseudo-subjects, six bundles, four sites) go through both levels of the
command line as a user would run them (`value ~ group + age + sex + (1|site)`, hfdr .05/.05, 1D and 2D):

    CST_left:0.55, effect 0.15      UF_left:0.4, effect 0.2      no effect

Per cohort and kind of profile: was the planted bundle selected (contrast group), how many others, and how far is the
-log10 p weighted centre of the heaviest cluster from the planted point; without an effect: was any bundle selected.
Exits with 1 if a bar is missed: planted bundle in >= 9/10, others also in <= 2/10, centre within 8 mm in >= 9/10, any
bundle under the null in <= 4/20.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("SPECTRA_BIDS_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
ATLAS_NAMES = {"CST_left": "ProjectionBrainstemCorticospinalTractL", "UF_left": "AssociationUncinateFasciculusL"}
FORMULA = "value ~ group + age + sex + (1|site)"
SCENARIOS = (("CST_left:0.55", 0.15), ("UF_left:0.4", 0.2), ("CST_left:0.55", 0.0))


def one_cohort(at: str, effect: float, seed: int, work: Path) -> list[dict[str, object]]:
    """Make a cohort, run both levels, read what was found; a row per kind of profile."""
    bids, out = work / f"{at.partition(':')[0]}-{effect}-{seed}", work / f"{at.partition(':')[0]}-{effect}-{seed}-out"
    maker = [sys.executable, SHARED.parent / "tools" / "make_cohort.py", bids, "--at", at, "--effect", str(effect)]
    app = [sys.executable, "-m", "spectra_bids", bids, out]
    quiet = {"stdout": subprocess.DEVNULL, "check": True, "env": os.environ | {"OMP_NUM_THREADS": "1"}}
    subprocess.run([*maker, "--seed", str(seed)], **quiet)
    subprocess.run([*app, "participant", "--atlas", SHARED / "atlas-hcp1065", "--n-procs", "1"], **quiet)
    subprocess.run([*app, "group", "--formula", FORMULA, "--model-name", "planted"], **quiet)
    truth = json.loads((bids / "truth.json").read_text())
    rows = [read_result(out, kind, truth, effect, at, seed) for kind in ("1D", "2D")]
    shutil.rmtree(bids)
    shutil.rmtree(out)
    return rows


def read_result(out: Path, kind: str, truth: dict, effect: float, at: str, seed: int) -> dict[str, object]:
    """What was found of the planted effect in one kind of profile."""
    stem = out / "group" / "model-planted" / f"model-planted_desc-profile{kind}_"
    blocks = pd.read_csv(f"{stem}blocks.tsv", sep="\t").query("contrast == 'group'")
    clusters = pd.read_csv(f"{stem}clusters.tsv", sep="\t").query("contrast == 'group'")
    chosen = set(blocks.loc[blocks["selected"].astype(str) == "True", "block"])
    planted = ATLAS_NAMES[truth["bundle"]]
    distance = np.nan
    if len(clusters):
        centre = clusters.iloc[0][["x_mm", "y_mm", "z_mm"]].to_numpy(float)
        distance = float(np.linalg.norm(centre - truth["point_mm"]))
    return {"at": at, "effect": effect, "seed": seed, "profile": kind, "planted": planted in chosen,
            "others": len(chosen - {planted}), "any": bool(chosen), "distance_mm": distance}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--null-seeds", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--work", type=Path, help="scratch folder (default: a temporary one)")
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(dir=options.work))
    jobs = [(at, e, seed) for at, e in SCENARIOS for seed in range(options.seeds if e else options.null_seeds)]
    with ThreadPoolExecutor(options.jobs) as pool:
        found = [row for rows in pool.map(lambda job: one_cohort(*job, work), jobs) for row in rows]
    shutil.rmtree(work)
    table = pd.DataFrame(found)
    print(table.to_string(index=False))
    return report(table)


def report(table: pd.DataFrame) -> int:
    """Print the counts beside their bars; 1 if one is missed."""
    missed = 0
    for (at, effect, kind), rows in table.groupby(["at", "effect", "profile"], sort=False):
        n = len(rows)
        if effect:
            near = int((rows["distance_mm"] <= 8).sum())
            ok = rows["planted"].sum() >= 0.9 * n and (rows["others"] > 0).sum() <= 0.2 * n and near >= 0.9 * n
            text = f"planted bundle {rows['planted'].sum()}/{n}, another also {(rows['others'] > 0).sum()}/{n}, "
            text += f"centre within 8 mm {near}/{n} (largest {rows['distance_mm'].max():.1f} mm)"
        else:
            ok = rows["any"].sum() <= 0.2 * n
            text = f"any bundle {rows['any'].sum()}/{n}"
        missed += not ok
        print(f"{'ok    ' if ok else 'MISSED'} {kind} {at} effect {effect:g}: {text}")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
