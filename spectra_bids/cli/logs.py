"""One run's own files, logs/<run>/: the settings (TOML, usable as --config-file) and the log."""

from __future__ import annotations

import argparse
import logging
import sys
import uuid
from datetime import datetime

from spectra_bids.cli.config import to_toml
from spectra_bids.dataset.names import run_log_dir
from spectra_bids.dataset.outputs import write_text
from spectra_bids.settings import RunSettings


def new_run() -> str:
    """Name of a run: YYYYMMDD-HHMMSS_<uuid4>."""
    return f"{datetime.now():%Y%m%d-%H%M%S}_{uuid.uuid4()}"


def start_logs(run: RunSettings, options: argparse.Namespace) -> None:
    """Write logs/<run>/run.toml, and send messages to logs/<run>/run.log and standard error.

    Without -v only warnings come to standard error; to a terminal also what came of the run, which is marked by
    `extra={"outcome": True}`.
    """
    folder = run_log_dir(run.output_dir, run.run_uuid)
    write_text(folder / "run.toml", to_toml(options))
    log = logging.getLogger("spectra_bids")
    log.setLevel(logging.DEBUG)
    for old in list(log.handlers):
        log.removeHandler(old)
        old.close()
    file = logging.FileHandler(folder / "run.log", encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    screen = logging.StreamHandler(sys.stderr)
    least = {0: logging.WARNING, 1: logging.INFO}.get(run.verbose, logging.DEBUG)
    person = sys.stderr.isatty()
    screen.addFilter(lambda record: record.levelno >= least or (person and hasattr(record, "outcome")))
    screen.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(file)
    log.addHandler(screen)
    log.info("%s", run.command)
