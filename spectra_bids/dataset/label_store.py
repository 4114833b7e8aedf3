"""Label volumes of --atlas-labels: by path, or by the name they are kept under.

    --atlas-labels VOLUME            the table of names stands beside it (io.label_names says under which names)
    --atlas-labels VOLUME=TABLE      the table of names stands elsewhere
    --atlas-labels NAME              NAME.nii.gz, or the one volume in the folder NAME, in the folder of labels
    --atlas-labels tissues           grey and white matter of ICBM 2009a, which the installed nilearn carries

The folder of labels is $SPECTRA_BIDS_DATA_DIR/labels, else $XDG_DATA_HOME/spectra_bids/labels, else
~/.local/share/spectra_bids/labels. Nothing is fetched.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from spectra_bids.dataset.data_home import data_home
from spectra_bids.errors import AtlasError, MissingInputError, listed

#: Name of the labels that are always there, and what its two maps hold.
TISSUES = "tissues"
_TISSUE_NAMES = {1: "Grey matter", 2: "White matter"}
_TISSUE_FILES = ("mni_icbm152_gm_tal_nlin_sym_09a_converted.nii.gz", "mni_icbm152_wm_tal_nlin_sym_09a_converted.nii.gz")
_TISSUE_SPACE = "MNI152NLin2009aSym"


@dataclass(frozen=True)
class LabelFiles:
    """What --atlas-labels names.

    Parameters
    ----------
    volumes : tuple of Path
        One volume, or one map of probability per region.
    names : Path, mapping or None
        Table of names; None: what stands beside the volume.
    source : str
        What a reader calls the atlas.
    space : str
        BIDS label of the space that the file's name says; empty if it says none.

    """

    volumes: tuple[Path, ...]
    names: Path | Mapping[int, str] | None
    source: str
    space: str = ""

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file but a table that is looked for beside the volume."""
        return (*self.volumes, self.names) if isinstance(self.names, Path) else self.volumes


def labels_home() -> Path:
    """Folder of the label volumes that can be called by name."""
    return data_home() / "labels"


def find_labels(text: str) -> LabelFiles:
    """Files that a value of --atlas-labels names.

    Raises
    ------
    MissingInputError
        There is no such file or name; the message lists the names.
    AtlasError
        A folder of that name does not hold exactly one volume.

    """
    volume, table = text, ""
    if "=" in text and not Path(text).is_file():
        volume, _, table = text.rpartition("=")
    names = Path(table) if table else None
    if names is not None and not names.is_file():
        raise MissingInputError(f"--atlas-labels {text}: there is no table {names}")
    if Path(volume).is_file():
        return _described(Path(volume), names, "")
    if os.sep not in volume:
        kept = _kept(volume)
        if kept is not None:
            return _described(kept, names, volume)
        if volume == TISSUES:
            return _tissues()
    hint = f"Names are looked up in {labels_home()}; there are: {listed(known_labels())}"
    raise MissingInputError(f"--atlas-labels {text}: neither a file nor the name of a label volume", hint)


def known_labels() -> list[str]:
    """Names that --atlas-labels takes."""
    home = labels_home()
    found = {TISSUES}
    for path in home.iterdir() if home.is_dir() else ():
        if path.name.startswith("."):
            continue
        if path.is_dir() or re.search(r"\.nii(\.gz)?$", path.name):
            found.add(re.sub(r"\.nii(\.gz)?$", "", path.name))
    return sorted(found)


def _kept(name: str) -> Path | None:
    """Volume that is kept under a name."""
    home = labels_home()
    for path in (home / name, home / f"{name}.nii.gz", home / f"{name}.nii"):
        if path.is_file():
            return path
    if not name.strip(".") or not (home / name).is_dir():
        return None
    volumes = sorted(p for p in (home / name).iterdir() if re.search(r"\.nii(\.gz)?$", p.name))
    if len(volumes) != 1:
        raise AtlasError(
            f"--atlas-labels {name}: {home / name} must hold one NIfTI volume. Got {len(volumes)}",
            "Give the file's path",
        )
    return volumes[0]


def _described(volume: Path, names: Path | None, source: str) -> LabelFiles:
    entities = dict(part.split("-", 1) for part in volume.name.split("_") if "-" in part)
    return LabelFiles((volume,), names, source or _title(volume), entities.get("space") or entities.get("tpl", ""))


def _title(volume: Path) -> str:
    """The atlas that a file's name says, else the name without its ending."""
    found = re.search(r"(?:^|_)(?:atlas|seg)-([A-Za-z0-9]+)", volume.name)
    return found[1] if found else re.sub(r"(\.nii)?(\.gz)?$", "", volume.name)


def _tissues() -> LabelFiles:
    from importlib.util import find_spec

    spec = find_spec("nilearn")
    folder = Path(spec.origin).parent / "datasets" / "data" if spec and spec.origin else Path()
    volumes = tuple(folder / name for name in _TISSUE_FILES)
    if not all(path.is_file() for path in volumes):
        raise MissingInputError(f"--atlas-labels {TISSUES}: the installed nilearn does not carry {_TISSUE_FILES[0]}")
    return LabelFiles(volumes, _TISSUE_NAMES, "ICBM 2009a tissues", _TISSUE_SPACE)
