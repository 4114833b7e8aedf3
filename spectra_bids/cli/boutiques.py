"""Boutiques description (schema 0.5) made from the argument parser; `make boutiques` writes boutiques.json with it.

`bosh validate --bids` asks for more than the schema does: the command line makes the output folder, then names the
triple and both labels in this order; and `[OUTPUT_DIR]` is the key of two inputs that exclude each other, a text (a
folder that need not exist) and a file (one of an earlier run, from a platform's own store). bosh 0.5.33 itself fills in
only the first of two inputs with one key, which therefore is the text: it serves for a folder that is there as well.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from spectra_bids import __version__

_TYPES: dict[Any, str] = {int: "Number", float: "Number", Path: "File"}
_FOLDERS = {"bids_dir", "output_dir", "work_dir", "bids_database_dir", "atlas"}
#: Options without a place in a pipeline description.
_LEFT_OUT = {"help", "version", "bids_exec_spec"}
#: Twice what benchmarks/participant.py measured of one subject (19 bundles of 1,000 streamlines, one map, one process):
#: 268 MB, at most 10.4 s. Boutiques counts memory in GB and time in seconds.
_RESOURCES = {"cpu-cores": 1, "ram": 1.3, "walltime-estimate": 45}
_EARLIER_OUTPUT = {
    "id": "earlier_output_dir",
    "name": "earlier output dir",
    "description": "folder with outputs of an earlier run, for platforms that hand over files of their own; "
    "elsewhere output_dir serves",
    "type": "File",
    "optional": True,
    "value-key": "[OUTPUT_DIR]",
}


def describe(parser: argparse.ArgumentParser) -> dict[str, Any]:
    """Boutiques description of a parser: one input per argument, in order, and the output folder once more."""
    actions = [a for a in parser._actions if a.dest not in _LEFT_OUT and a.dest != argparse.SUPPRESS]
    inputs = [_input(action) for action in actions]
    keys = [entry["value-key"] for entry in inputs]
    output = next(entry for entry in inputs if entry["id"] == "output_dir")
    output["optional"] = True  # one of the group is required
    inputs.insert(inputs.index(output) + 1, dict(_EARLIER_OUTPUT))
    return {
        "name": "spectra-bids",
        "description": parser.description or "",
        "tool-version": __version__,
        "schema-version": "0.5",
        # The name that docs/containers.md builds it under; without one nipoppy would run what the host has.
        "container-image": {"type": "docker", "image": f"spectra-bids:{__version__}"},
        "command-line": "mkdir -p [OUTPUT_DIR]; spectra-bids " + " ".join(keys),
        "inputs": inputs,
        "groups": [
            {
                "id": "output",
                "name": "Output folder",
                "description": "A name, or a folder that is there.",
                "members": ["output_dir", _EARLIER_OUTPUT["id"]],
                "mutually-exclusive": True,
                "one-is-required": True,
            }
        ],
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
        "suggested-resources": _RESOURCES,
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
