"""Documents that show commands with their output: run them again, and see whether the page still tells the truth.

A block ```console holds lines `$ command` (continued by a backslash at the end, or by an open quotation), each followed
by what it prints: messages, then results.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"
_MAINS = {
    "spectra-bids": "spectra_bids.cli:main",
    "spectra_profile": "spectra_bids.cli.profile:main_profile",
    "spectra_viz": "spectra_bids.cli.viz:main_viz",
    "spectra_lmm_fdr": "spectra_bids.cli.spectra:main_lmm_fdr",
}
#: Pictures are drawn small and by the engine that is everywhere: what is printed is the same.
_MORE = {"spectra_viz": ["-engine", "matplotlib", "-size", "240", "180"]}


def replay(name: str, folder: Path) -> str:
    """Text of a document with the output that its commands have now, run in order in a folder."""
    text = (DOCS / name).read_text()
    return re.sub(r"(?<=```console\n).*?(?=```)", lambda block: _played(block[0], folder), text, flags=re.DOTALL)


def _played(block: str, folder: Path) -> str:
    out: list[str] = []
    lines = iter(block.splitlines())
    for line in lines:
        if not line.startswith("$ "):
            continue  # the old output
        command = [line]
        while command[-1].endswith("\\") or _is_open("\n".join(command)):
            command.append(next(lines))
        typed = "\n".join(command)
        out += [typed, *_output(typed.removeprefix("$ "), folder).splitlines()]
    return "".join(f"{line}\n" for line in out)


def _is_open(command: str) -> bool:
    """Whether a quotation goes on in the next line."""
    try:
        shlex.split(command)
    except ValueError:
        return True
    return False


def _output(command: str, folder: Path) -> str:
    program, *arguments = shlex.split(command.replace("\\\n", " "))
    if program in _MAINS and not re.search(r"[|;<>*]", command):
        return _in_this_process(program, arguments, folder)
    functions = "".join(
        f"{name}() {{ '{sys.executable}' -c 'import sys; from {main.split(':')[0]} import {main.split(':')[1]} as m; "
        f'sys.exit(m())\' "$@"; }}\n'
        for name, main in _MAINS.items()
    )
    functions += f"python() {{ '{sys.executable}' \"$@\"; }}\n"
    done = subprocess.run(
        ["bash", "-c", f"{functions}{command}"], cwd=folder, env={**os.environ, "DISPLAY": "", "LC_ALL": "C.UTF-8"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    return done.stdout


def _in_this_process(program: str, arguments: list[str], folder: Path) -> str:
    from importlib import import_module

    module, function = _MAINS[program].split(":")
    said, log = io.StringIO(), logging.getLogger("spectra_bids")
    handler = logging.StreamHandler(said)
    handler.setLevel(logging.WARNING)
    log.addHandler(handler)
    try:
        with contextlib.chdir(folder), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            getattr(import_module(module), function)([*arguments, *_MORE.get(program, [])])
    finally:
        log.removeHandler(handler)
    return said.getvalue()
