"""What a session left on disk: its bundle table, and what else goes by that table's name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spectra_bids.columns import BUNDLE, LESION_LOAD, names
from spectra_bids.dataset.names import picture_file

_END = "_desc-bundle_tractometry.tsv"


def bundle_tables(out: Path, subject: str) -> list[Path]:
    """The bundle table of each session of a subject that is done; the profiles stand beside it."""
    return sorted((out / f"sub-{subject}").glob(f"**/dwi/*{_END}"))


def profile_table(table: Path, dims: str) -> Path:
    """The 1D or 2D profiles beside a bundle table."""
    return table.with_name(f"{table.name.removesuffix(_END)}_desc-profile{dims}_tractometry.tsv")


def session_label(table: Path) -> str:
    """01 of the table of ses-01; empty where there are no sessions."""
    return next((e.removeprefix("ses-") for e in table.name.split("_") if e.startswith("ses-")), "")


def picture_of(out: Path, subject: str, table: Path, bundle: str) -> Path:
    """File of a bundle's picture, by the bundle table of its session."""
    return picture_file(out, subject, table.name.removesuffix(_END), bundle)


def pictures_of(out: Path, subject: str, table: Path) -> list[Path]:
    """Files of a session's pictures that are there."""
    return sorted(
        (out / f"sub-{subject}" / "figures").glob(f"{table.name.removesuffix(_END)}_bundle-*_tractometry.png")
    )


def scalar_units(sidecar: Mapping[str, Any]) -> dict[str, str]:
    """Scalar -> unit, from the columns that a bundle table's sidecar describes beyond the fixed ones."""
    fixed = {*names(BUNDLE), LESION_LOAD.name}
    described = {k: v for k, v in sidecar.items() if isinstance(v, dict) and "Description" in v and k not in fixed}
    return {name: str(entry.get("Units", "")) for name, entry in described.items()}
