"""Entry point: the BIDS-App triple, or a tool by its name.

    spectra-bids BIDS_DIR OUTPUT_DIR {participant,group} [options]
    spectra-bids TOOL ...

Every error that a user can meet becomes one line, a hint and an exit status (errors.py); a traceback is a bug of ours.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def limit_threads(arguments: Sequence[str]) -> None:
    """As many BLAS and OpenMP threads per process as --omp-nthreads says; else as the environment says; else one.

    The libraries read this when they are loaded, so it comes before any of them. On a shared machine several threads
    that wait for each other make a streamline registration a hundred times slower.
    """
    asked = ""
    for position, argument in enumerate(arguments):
        flag, _, value = argument.partition("=")
        if flag == "--omp-nthreads":
            asked = value or "".join(arguments[position + 1 : position + 2])
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        if asked.isdigit():
            os.environ[name] = asked
        else:
            os.environ.setdefault(name, "1")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    from spectra_bids.cli.guard import guarded
    from spectra_bids.cli.tools import TOOLS

    arguments = list(sys.argv[1:] if argv is None else argv)
    limit_threads(arguments)
    if arguments and arguments[0] in TOOLS:
        return guarded(lambda: TOOLS[arguments[0]](arguments[1:]))
    if arguments and not {"participant", "group"} & set(arguments) and not os.path.exists(arguments[0]):
        from difflib import get_close_matches

        if near := get_close_matches(arguments[0], TOOLS):
            return guarded(lambda: _refuse(arguments[0], near[0]))
    from spectra_bids.cli.app import run_app

    return guarded(lambda: run_app(arguments))


def _refuse(name: str, near: str) -> int:
    from spectra_bids.errors import UsageError

    raise UsageError(f"{name} is neither a tool nor a folder", f"Did you mean: spectra-bids {near}")
