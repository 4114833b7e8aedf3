"""Fixtures: where the shared real data are, and R."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def shared_root() -> Path:
    """Folder of the shared real data (it may be absent)."""
    named = os.environ.get("SPECTRA_BIDS_TEST_DATA")
    return Path(named) if named else REPOSITORY.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    root = shared_root()
    if not (root / "README.md").is_file():
        pytest.skip(f"the shared real data are absent ({root}); SPECTRA_BIDS_TEST_DATA can name another place")
    return root


@cache
def _r_works() -> bool:
    if shutil.which("Rscript") is None:
        return False
    probe = subprocess.run(["Rscript", "-e", "library(lmerTest)"], capture_output=True, check=False)
    return probe.returncode == 0


@pytest.fixture(scope="session")
def rscript() -> str:
    if not _r_works():
        pytest.skip("R with lmerTest is absent; the set-up script installs it where it may")
    return shutil.which("Rscript") or ""
