"""Where data that the program did not come with are kept: atlases and label volumes, and archives on their way.

    $SPECTRA_BIDS_DATA_DIR, else $XDG_DATA_HOME/spectra_bids, else ~/.local/share/spectra_bids      atlases/ labels/
    $SPECTRA_BIDS_DATA_DIR/downloads, else $XDG_CACHE_HOME/spectra_bids, else ~/.cache/spectra_bids    half of archives

$SPECTRA_BIDS_ATLASES names another folder for the atlases alone.
"""

from __future__ import annotations

import os
from pathlib import Path


def data_home() -> Path:
    """Folder of what is kept."""
    if os.environ.get("SPECTRA_BIDS_DATA_DIR"):
        return Path(os.environ["SPECTRA_BIDS_DATA_DIR"])
    return _xdg("XDG_DATA_HOME", ".local/share")


def downloads_home() -> Path:
    """Folder of archives that are being fetched."""
    if os.environ.get("SPECTRA_BIDS_DATA_DIR"):
        return Path(os.environ["SPECTRA_BIDS_DATA_DIR"]) / "downloads"
    return _xdg("XDG_CACHE_HOME", ".cache")


def atlas_home() -> Path:
    """Folder of the atlases that can be called by name."""
    if os.environ.get("SPECTRA_BIDS_ATLASES"):
        return Path(os.environ["SPECTRA_BIDS_ATLASES"])
    return data_home() / "atlases"


def _xdg(variable: str, below_home: str) -> Path:
    base = os.environ.get(variable) or str(Path.home() / below_home)
    return Path(base) / "spectra_bids"
