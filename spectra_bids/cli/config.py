"""Options as TOML: what a run leaves in logs/<run>/run.toml, and what --config-file reads.

One key per option, named as its `dest`; positional arguments are never in it. A file is held against the parser, so
that it can say nothing that the command line could not.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from spectra_bids.errors import MissingInputError, UsageError


def read_config(path: Path, parser: argparse.ArgumentParser) -> dict[str, object]:
    """Values of the options that a configuration file names, by `dest`.

    Raises
    ------
    MissingInputError
        There is no such file.
    UsageError
        It is not TOML, or names or sets an option as no command line could.

    """
    import tomllib

    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingInputError(f"--config-file {path} does not exist") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--config-file {path} is not TOML: {error}") from error
    options = (a for a in parser._actions if a.option_strings)
    known = {a.dest: a for a in options if argparse.SUPPRESS not in (a.dest, a.default)}
    del known["config_file"]
    unknown = sorted(set(content) - set(known))
    if unknown:
        raise UsageError(
            f"--config-file {path} has unknown keys: {', '.join(unknown)}. Known: {', '.join(sorted(known))}"
        )
    return {key: _value(path, known[key], value) for key, value in content.items()}


def _value(path: Path, action: argparse.Action, value: object) -> object:
    """A value of the configuration file, held against what its option takes (argparse checks only what is typed)."""
    listed = action.nargs == "+"
    items = value if isinstance(value, list) else [value]
    if action.nargs == 0:
        takes: tuple[type, ...] = (bool,) if action.const is True else (int,)
    else:
        takes = {int: (int,), float: (int, float)}.get(action.type, (str,))  # type: ignore[call-overload]
    if isinstance(value, list) is not listed or any(type(item) not in takes for item in items):
        words = {bool: "true or false", int: "an integer", float: "a number", str: "a text in quotes"}[takes[-1]]
        wanted = f"a list, each item {words}" if listed else words
        raise UsageError(f"--config-file {path}: {action.dest} must be {wanted}. Got {value!r}")
    if action.choices is not None and value not in action.choices:
        allowed = ", ".join(action.choices)
        raise UsageError(f"--config-file {path}: {action.dest} must be one of {allowed}. Got {value!r}")
    return Path(str(value)) if action.type is Path else value


def to_toml(options: argparse.Namespace) -> str:
    """Options as TOML; what is not set is left out."""
    lines = []
    for key, value in sorted(vars(options).items()):
        if value is None or key in {"config_file", "bids_dir", "output_dir", "analysis_level"}:
            continue
        lines.append(f"{key} = {_toml(value)}\n")
    return "".join(lines)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    if isinstance(value, int | float):
        return repr(value)
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
