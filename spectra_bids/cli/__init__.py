"""Entry point: the BIDS-App triple, or a tool by its name.

    spectra-bids BIDS_DIR OUTPUT_DIR {participant,group} [options]
    spectra-bids TOOL ...

Every error that a user can meet becomes one line, a hint and an exit status (errors.py); a traceback is a bug of ours.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    from spectra_bids.cli.guard import guarded
    from spectra_bids.cli.tools import TOOLS

    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in TOOLS:
        return guarded(lambda: TOOLS[arguments[0]](arguments[1:]))
    from spectra_bids.cli.app import run_app

    return guarded(lambda: run_app(arguments))
