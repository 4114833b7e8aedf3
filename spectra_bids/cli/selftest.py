"""`spectra-bids selftest [OUT]`: the numbers of the batched engine against R's lmerTest, on a sample of cells."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spectra_bids.errors import MissingInputError, UsageError

if TYPE_CHECKING:
    from spectra_bids.group.selftest import SelfTest
    from spectra_bids.settings import GroupSettings


def selftest(arguments: Sequence[str]) -> int:
    """`spectra-bids selftest [OUT]`."""
    parser = argparse.ArgumentParser(
        prog="spectra-bids selftest",
        description="Fit a random sample of a model's own cells once more by R's lmerTest, and print how far the "
        "batched engine is from it. Exit status 0 if they agree, 1 if not, 66 without R.",
    )
    parser.add_argument(
        "out", type=Path, nargs="?", help="OUTPUT_DIR with a model; default: the demonstration's cohort"
    )
    parser.add_argument("--model", default="", metavar="NAME", help="which model, if OUT holds several")
    parser.add_argument("--bids-dir", type=Path, metavar="DIR", help="BIDS_DIR, if it is not where it was")
    parser.add_argument("-n", type=int, default=20, metavar="N", dest="n_cells", help="cells (20)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the draw (0)")
    options = parser.parse_args(arguments)
    if options.n_cells < 1 or options.seed < 0:
        raise UsageError("-n takes a number of cells above 0, and --seed a number that is not negative")
    if options.out is None and (options.model or options.bids_dir):
        raise UsageError("--model and --bids-dir belong to an OUTPUT_DIR: spectra-bids selftest OUT --model NAME")
    from spectra_bids.cli.environment import writable_environment

    with writable_environment(None, options.out or Path.cwd()):  # R writes temporary files
        from spectra_bids.models.lme4 import require_r

        require_r()  # said at once, not after the tables are read
        if options.out is None:
            return _of_demo(options.n_cells, options.seed)
        return _of_model(options.out, options.model, options.bids_dir, options.n_cells, options.seed)


def _of_demo(n_cells: int, seed: int) -> int:
    """On the embedded cohort, made for the purpose."""
    from spectra_bids.demo.run import MODEL, run_demo

    with tempfile.TemporaryDirectory(prefix="spectra_bids-selftest-") as folder:
        place = Path(folder) / "demo"
        with contextlib.redirect_stdout(sys.stderr):
            status = run_demo(place, len(os.sched_getaffinity(0)))
        return status or _of_model(place / "results", MODEL, place / "bids", n_cells, seed)


def _of_model(out: Path, name: str, bids_dir: Path | None, n_cells: int, seed: int) -> int:
    """On a model of an output directory; the table stays there."""
    from spectra_bids.group.selftest import selftest as run
    from spectra_bids.group.selftest import write_selftest

    found = run(model_settings(out, name, bids_dir), n_cells, seed)
    _print(found)
    write_selftest(out, found)
    return 0 if found.ok else 1


def model_settings(out: Path, name: str, bids_dir: Path | None) -> GroupSettings:
    """Settings that a model of an output directory was run with, from the command that its tables note.

    Raises
    ------
    MissingInputError
        There is no such model.
    UsageError
        There are several and none is named; or the command is not noted and --bids-dir is not given.

    """
    from spectra_bids.cli.app import group_settings, parse, run_settings
    from spectra_bids.cli.logs import new_run
    from spectra_bids.dataset.names import model_dir
    from spectra_bids.settings import GroupSettings, RunSettings

    chosen = _model_name(out, name)
    for sidecar in sorted(model_dir(out, chosen).glob(f"model-{chosen}_desc-profile*_stats.json")):
        command = json.loads(sidecar.read_text(encoding="utf-8")).get("Command", "")
        if command:
            words = shlex.split(command)[1:]
            words[:2] = [str(bids_dir or words[0]), str(out)]
            return group_settings(options := parse(words), run_settings(options, words, new_run()))
    if bids_dir is None:
        raise UsageError(f"the tables of model {chosen} do not say where its participants.tsv is", "Add --bids-dir DIR")
    model = model_dir(out, chosen) / f"model-{chosen}_smdl.json"
    return GroupSettings(RunSettings(bids_dir, out), model_file=model, model_name=chosen)


def _model_name(out: Path, name: str) -> str:
    """The model that is meant."""
    there = sorted(p.name.removeprefix("model-") for p in (out / "group").glob("model-*") if p.is_dir())
    if name and name not in there:
        raise MissingInputError(f"{out} has no model {name}. There are: {', '.join(there) or 'none'}")
    if name:
        return name
    if not there:
        raise MissingInputError(f"{out} has no model", "Run the group level first: spectra-bids BIDS_DIR OUT group ...")
    if len(there) > 1:
        raise UsageError(f"{out} has several models: {', '.join(there)}", "Choose one: --model NAME")
    return there[0]


def _print(found: SelfTest) -> None:
    """Largest differences, their limits, and whether all is well."""
    from spectra_bids.group.selftest import LIMITS

    words = {
        "d_estimate": "estimate, in standard errors",
        "d_se": "standard error, relative",
        "d_df": "degrees of freedom, relative",
        "d_p": "p value, relative",
        "d_sd": "standard deviations, relative",
    }
    print(f"Model {found.model}: {found.formula}")
    print(f"{found.n_cells} cells, {len(found.table)} tests, batched engine and lmerTest")
    print(f"{'largest difference of':<30} {'found':>9} {'limit':>9}")
    for name, value in found.largest.items():
        print(f"{words[name]:<30} {value:>9.1e} {LIMITS[name]:>9.0e}")
    if found.disagreements:
        print(f"{found.disagreements} tests were fitted by one engine only")
    print("ok" if found.ok else "NOT ok: the engines differ; group/model-*/model-*_selftest.tsv tells where")
