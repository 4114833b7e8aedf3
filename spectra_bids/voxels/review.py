"""`spectra-bids review OUT`: what voxel-wise analyses there are, without fitting anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from spectra_bids.errors import DatasetError, MissingInputError, NothingSelectedError, listed


def find_analyses(out: Path, name: str = "") -> list[Path]:
    """Model files of the analyses in an output folder, or that of one.

    Raises
    ------
    MissingInputError
        If there is none.
    NothingSelectedError
        If there is none of that name.

    """
    found = sorted(path for path in out.glob("*/*_model.json") if path.name == f"{path.parent.name}_model.json")
    if not found:
        raise MissingInputError(f"no voxel-wise analysis in {out}", "Run spectra-bids voxels into it first.")
    mine = [path for path in found if not name or path.parent.name == name]
    if not mine:
        there = listed(path.parent.name for path in found)
        raise NothingSelectedError(f"--analysis-name {name}: not in {out}. There are: {there}")
    return mine


def review_text(path: Path) -> str:
    """What an analysis holds, as lines of text."""
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        lines = [
            f"Analysis: {facts['Name']}",
            f"Formula: {facts['Formula']}",
            f"Inputs included in the analysis: {facts['Inputs']} ({facts['Subjects']} subjects)",
            *(f"  left out: {name} ({why})" for name, why in facts["LeftOut"].items()),
            f"Voxels in the mask: {facts['Voxels']}",
            f"Regressors: {listed(facts['DesignColumns'])}",
            f"Centred: {listed(facts['Centred']) if facts['Centred'] else 'none'}",
            "Contrasts:",
            *(_row(c) for c in facts["Contrasts"]),
            f"Page: {path.parent.with_name(path.parent.name + '.html')}",
            f"Files in {path.parent}:",
            *(f"  {name}" for name in sorted((*facts["Files"], path.name))),
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{path} cannot be read as a voxel-wise model: {error}", "Run the analysis again."
        ) from error
    return "\n".join(lines)


def _row(contrast: dict[str, Any]) -> str:
    weights = "; ".join(str(row) for row in contrast["Weights"])
    rejected = f"{contrast['Rejected']} voxels rejected"
    if contrast["Rejected"] and "RejectedAboveAndBelow0" in contrast:
        above, below = contrast["RejectedAboveAndBelow0"]
        rejected += f": {above} above 0, {below} below"
    return f"  {contrast['Name']}  {contrast['Type']}  [{', '.join(contrast['Columns'])}]  {weights}  {rejected}"
