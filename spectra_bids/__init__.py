"""White-matter tractometry with spatial inference: profiles, mixed models per cell, hierarchical FDR.

The names below are the whole public interface; they are imported on first use so that `import spectra_bids`
(and with it `spectra-bids --help`) costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spectra_bids.bundle import Bundle, Volume
    from spectra_bids.conversion import convert, merge
    from spectra_bids.dataset.atlas_store import fetch_atlas
    from spectra_bids.dataset.validation import validate
    from spectra_bids.geometry.grid import Grid, build_grid
    from spectra_bids.group.export import export_profiles
    from spectra_bids.group.loading import load_profiles
    from spectra_bids.inference import hierarchical_fdr
    from spectra_bids.io.tractograms import read_bundle
    from spectra_bids.io.volumes import read_volume
    from spectra_bids.models.lmm import fit_lmm
    from spectra_bids.profiles import profile

__version__ = "0.1.0"

__all__ = [
    "Bundle",
    "Grid",
    "Volume",
    "build_grid",
    "convert",
    "export_profiles",
    "fetch_atlas",
    "fit_lmm",
    "hierarchical_fdr",
    "load_profiles",
    "merge",
    "profile",
    "read_bundle",
    "read_volume",
    "validate",
]

_HOME = {
    "Bundle": "bundle",
    "Grid": "geometry.grid",
    "Volume": "bundle",
    "build_grid": "geometry.grid",
    "convert": "conversion",
    "export_profiles": "group.export",
    "fetch_atlas": "dataset.atlas_store",
    "fit_lmm": "models.lmm",
    "hierarchical_fdr": "inference",
    "load_profiles": "group.loading",
    "merge": "conversion",
    "profile": "profiles",
    "read_bundle": "io.tractograms",
    "read_volume": "io.volumes",
    "validate": "dataset.validation",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
