"""Masks of a session, by what the user names.

A mask is named by the end of its BIDS name, such as `desc-brain_mask` or `label-lesion_roi`, and looked for in the
subject's folders of all data sets; or by a path, in which {subject} and {session} stand for the labels without prefix.
A mask's space must be
that of the maps.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from spectra_bids.dataset.joining import space_class
from spectra_bids.errors import DatasetError, MissingInputError

_IMAGES = (".nii.gz", ".nii")


@dataclass(frozen=True)
class MaskFile:
    """A mask image and the data set that it is of; `dataset` is empty for a path of the user's."""

    path: Path
    dataset: str


def find_mask(
    wanted: str,
    option: str,
    roots: Sequence[tuple[str, Path]],
    subject: str,
    session: str | None,
    space: str | None,
) -> MaskFile | None:
    """The mask of a session; None if it has none.

    Parameters
    ----------
    wanted : str
        End of a BIDS name without extension, or a path.
    option : str
        The option that names it, for messages.
    roots : sequence of (name, folder)
        The data sets.
    subject, session : str
        Labels without prefix.
    space : str or None
        Space of the scalar maps.

    Raises
    ------
    DatasetError
        If several files fit, or a path needs a session where there is none.
    MissingInputError
        If a path without placeholders is no file.

    """
    if os.sep in wanted or wanted.endswith(_IMAGES):
        return _by_path(wanted, option, subject, session)
    parts = wanted.strip("_").split("_")
    found = [
        MaskFile(path, name)
        for name, root in roots
        for path in _images(root / f"sub-{subject}")
        if set(parts[:-1]) <= set(_stem(path).split("_")) and _stem(path).endswith(f"_{parts[-1]}")
    ]
    found = _closest(found, "ses", session, lambda text: text)
    found = _closest(found, "space", space_class(space), space_class)
    if len(found) > 1:
        raise DatasetError(
            f"{option} {wanted} fits several files: {', '.join(f.path.name for f in found[:6])}",
            "Name more of the entities, such as desc-brain_mask or acq-x_label-lesion_mask.",
        )
    return found[0] if found else None


def _by_path(wanted: str, option: str, subject: str, session: str | None) -> MaskFile | None:
    if "{session}" in wanted and session is None:
        raise DatasetError(f"{option} {wanted} names a session, and sub-{subject} has none", "Leave {session} out.")
    path = Path(os.path.abspath(wanted.replace("{subject}", subject).replace("{session}", session or "")))
    if path.is_file():
        return MaskFile(path, "")
    if "{" not in wanted:
        raise MissingInputError(f"{option}: there is no file {path}")
    return None


def _images(folder: Path) -> list[Path]:
    """Images below a subject's folder, by name; those of figures and logs are none."""
    if not folder.is_dir():
        return []
    files = (p for p in folder.rglob("*.nii*") if p.name.endswith(_IMAGES) and p.parent.name not in ("figures", "log"))
    return sorted(files)


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".nii")


def _closest(found: list[MaskFile], entity: str, wanted: str | None, said: Callable[[str], str]) -> list[MaskFile]:
    """Files with the wanted entity; where none has it, those that say nothing of it."""
    labels = [dict(p.split("-", 1) for p in _stem(f.path).split("_") if "-" in p).get(entity) for f in found]
    exact = [f for f, label in zip(found, labels, strict=True) if label is not None and said(label) == wanted]
    return exact or [f for f, label in zip(found, labels, strict=True) if label is None]
