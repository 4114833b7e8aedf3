"""Boutiques description (schema 0.5) made from the argument parser; boutiques.json is its output."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from spectra_bids import __version__

_TYPES: dict[Any, str] = {int: "Number", float: "Number", Path: "File"}
_FOLDERS = {"bids_dir", "output_dir", "work_dir", "bids_database_dir", "atlas"}
#: Options without a place in a pipeline description.
_LEFT_OUT = {"help", "version", "bids_exec_spec"}


def describe(parser: argparse.ArgumentParser) -> dict[str, Any]:
    """Boutiques description of a parser: one input per argument, in order."""
    actions = [a for a in parser._actions if a.dest not in _LEFT_OUT and a.dest != argparse.SUPPRESS]
    inputs = [_input(action) for action in actions]
    return {
        "name": "spectra-bids",
        "description": parser.description or "",
        "tool-version": __version__,
        "schema-version": "0.5",
        "command-line": "spectra-bids " + " ".join(entry["value-key"] for entry in inputs),
        "inputs": inputs,
        "output-files": [
            {
                "id": "output_folder",
                "name": "Outputs",
                "path-template": "[OUTPUT_DIR]",
                "description": "BIDS derivative data set with profiles, group results and reports",
            }
        ],
        "error-codes": [
            {"code": code, "description": text}
            for code, text in (
                (1, "A subject or a bundle crashed, the others are done"),
                (2, "Usage"),
                (16, "Data set invalid"),
                (18, "The filters select nothing"),
                (65, "Input data wrong"),
                (66, "Required input missing"),
                (73, "Output cannot be created"),
                (75, "Temporary failure, run again"),
            )
        ],
        "tags": {"domain": ["neuroinformatics", "diffusion MRI"]},
    }


def _input(action: argparse.Action) -> dict[str, Any]:
    key = action.dest
    flags = [o for o in action.option_strings if o.startswith("--")] or list(action.option_strings)
    entry: dict[str, Any] = {
        "id": key,
        "name": key.replace("_", " "),
        "description": (action.help or "").replace("%%", "%"),
        "type": "Flag" if action.nargs == 0 else _TYPES.get(action.type, "String"),
        "optional": bool(action.option_strings),
        "value-key": f"[{key.upper()}]",
    }
    if key in _FOLDERS:
        # An atlas may be a name, and an output folder need not exist yet: neither is a file to be checked.
        entry["type"] = "String" if key in {"atlas", "output_dir", "work_dir", "bids_database_dir"} else "File"
    if flags:
        entry["command-line-flag"] = flags[0]
    if action.nargs == "+":
        entry |= {"list": True, "min-list-entries": 1}
    if action.choices:
        entry["value-choices"] = list(action.choices)
    if action.type is int:
        entry["integer"] = True
    return entry
