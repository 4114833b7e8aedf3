"""`spectra-bids demo OUT`: cohort -> participant level -> group level -> report, and what was found of it.

    OUT/bids/      the pseudo-cohort, with truth.json        (demo.cohort)
    OUT/atlas/     its study atlas
    OUT/results/   what spectra-bids makes of it; the report is OUT/results/model-demo.html

The last lines name the report, what was planted and what was found.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from textwrap import fill

import numpy as np

from spectra_bids import group, participant
from spectra_bids.dataset.names import Dims, model_page, model_table
from spectra_bids.dataset.outputs import read_table
from spectra_bids.demo.cohort import FORMULA, STATEMENT, Truth, make_cohort
from spectra_bids.errors import OutputError
from spectra_bids.settings import GroupSettings, ParticipantSettings, RunSettings

MODEL = "demo"
N_SUBJECTS = 24


def run_demo(out: Path, n_procs: int = 1, n: int = N_SUBJECTS, seed: int = 0) -> int:
    """Make the cohort in `out`, run both levels on it, print what was planted and what was found.

    Parameters
    ----------
    out : Path
        Folder to make; that of an earlier demonstration is continued.
    n_procs : int
        Processes.
    n, seed : int
        Pseudo-subjects, and the seed that they are drawn with.

    Returns
    -------
    int
        Exit status: that of the first level that did not end with 0.

    """
    # Read when DIPY's libraries are loaded: waiting OpenMP threads on busy cores slow its registration 100 times.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from tqdm import tqdm

    bids, atlas, results = out / "bids", out / "atlas", out / "results"
    _refuse_strangers(out)
    print(fill(STATEMENT, 100), flush=True)
    _step(1, f"a cohort of {n} pseudo-subjects")
    with tqdm(total=n + 1, desc="Cohort", postfix="placing five people's bundles", disable=None) as bar:

        def advance(done: str) -> None:
            bar.set_postfix_str(done, refresh=False)
            bar.update()

        truth = make_cohort(bids, atlas, n=n, seed=seed, progress=advance)
    commands = (
        shlex.join(
            ["spectra-bids", str(bids), str(results), "participant", "--atlas", str(atlas), "--pictures", "none"]
        ),
        shlex.join(["spectra-bids", str(bids), str(results), "group", "--model-name", MODEL, "--formula", FORMULA]),
    )
    runs = [RunSettings(bids_dir=bids, output_dir=results, n_procs=n_procs, command=command) for command in commands]
    _step(2, f"participant level: {commands[0]}")
    status = participant.run(ParticipantSettings(run=runs[0], atlas=atlas, pictures="none"))
    if status == 0:
        _step(3, f"group level and report: {commands[1]}")
        status = group.run(GroupSettings(run=runs[1], formula=FORMULA, model_name=MODEL))
    if status == 0:
        print(_closing(results, truth, commands))
    return status


def _step(number: int, what: str) -> None:
    """A line on standard error, where the progress bars are."""
    print(f"[{number}/3] {what}", file=sys.stderr, flush=True)


def _refuse_strangers(out: Path) -> None:
    """A folder that holds something else is not written into."""
    strangers = sorted({path.name for path in out.iterdir()} - {"bids", "atlas", "results"}) if out.is_dir() else []
    if strangers:
        raise OutputError(
            "The demonstration writes into a new folder, or that of an earlier demonstration. "
            f"Got {out}, which holds something else: {strangers[0]}",
            "Name another folder.",
        )


def _closing(results: Path, truth: Truth, commands: tuple[str, ...]) -> str:
    """The last lines: where the report is, what was planted, what was found."""
    place = ", ".join(f"{x:.1f}" for x in truth.point_mm)
    lines = [
        "",
        f'Planted   in group "{truth.group}": {truth.scalar} {truth.effect:+.0%} around ({place}) mm, which is in '
        f"{truth.bundle}, falling off with {truth.sigma_mm:g} mm",
    ]
    kinds: tuple[Dims, ...] = ("1D", "2D")
    lines += [f"Found {kind}  {_found(results, kind, truth)}" for kind in kinds]
    lines += [
        "",
        f"Report    {model_page(results, MODEL).resolve()}",
        "The same by hand, with the cohort and atlas that are there now:",
        *(f"  {command}" for command in commands),
    ]
    return "\n".join(lines)


def _found(results: Path, kind: Dims, truth: Truth) -> str:
    """One line about the heaviest cluster of the group term, and the others."""
    clusters = read_table(model_table(results, MODEL, kind, "clusters"))
    mine = clusters[(clusters["scalar"] == truth.scalar) & clusters["contrast"].astype(str).str.startswith("group")]
    if mine.empty:
        return "nothing"
    first = mine.sort_values("weight", ascending=False).iloc[0]
    distance = np.linalg.norm(first[["x_mm", "y_mm", "z_mm"]].to_numpy(dtype=float) - np.array(truth.point_mm))
    text = (
        f"{first['bundle']}, {first['n_cells']} cells, smallest p {first['p_peak']:.1e} (q {first['q_peak']:.1e}), "
        f"centre {distance:.1f} mm from the planted point"
    )
    elsewhere = sorted(set(mine["bundle"]) - {first["bundle"]})
    return text + (f"; smaller clusters in {', '.join(elsewhere)}" if elsewhere else "; nothing in another bundle")
