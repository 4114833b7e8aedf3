"""What is odd in the folders of a data set before pybids walks them: folders named as files, links in a circle.

pybids passes over a folder with the name of a file, so that a bundle would seem absent, and follows links to folders:
one that leads back above itself would be walked forty times over.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from spectra_bids.errors import DatasetError, InputDataError


def require_description(root: Path) -> None:
    """DatasetError for a dataset_description.json that is no JSON object; there may be none."""
    path = root / "dataset_description.json"
    if not path.is_file():
        return
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DatasetError(f"{path} must be JSON. Got {error}", "Correct it: the data set cannot be read.") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path} must hold a JSON object. Got {type(content).__name__}", "Correct it.")


def refuse_folders(subject: Path, extensions: tuple[str, ...]) -> None:
    """InputDataError for a folder below `subject` that has the name of a file."""
    for folder, names, _ in os.walk(subject):
        for name in names:
            if name.endswith(extensions):
                hint = " (zip -0 -r makes a .trx of it)" if name.endswith(".trx") else ""
                raise InputDataError(
                    f"{Path(folder, name)} is a folder, expected a file", f"Put the file in its place{hint}."
                )


def circles(subject: Path) -> list[re.Pattern[str]]:
    """Patterns, for paths from `subject` on, of the links below it that lead to a folder above them."""
    found = []
    for folder, _, _ in os.walk(subject):
        with os.scandir(folder) as entries:
            links = [Path(entry.path) for entry in entries if entry.is_symlink()]
        found += [link for link in links if _leads_up(link)]
    return [re.compile("/" + re.escape(link.relative_to(subject).as_posix()) + "(/|$)") for link in found]


def _leads_up(link: Path) -> bool:
    """Whether a link leads to one of the folders it is in, or to itself."""
    try:
        target = os.path.realpath(link, strict=True)
    except OSError:
        return link.suffix == ""  # nothing, or itself; a link that has a file's name is told when it is read
    return Path(os.path.realpath(link.parent)).is_relative_to(target)
