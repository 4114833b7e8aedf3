"""`spectra_bids.validate`: what is wrong with an output directory, for programs."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from spectra_bids.dataset.validate import validate as check
from spectra_bids.errors import DatasetError


class Validation(TypedDict):
    """What must be mended, and what is odd; each `path: message`. Both empty: all is well."""

    errors: list[str]
    warnings: list[str]


def validate(root: Path | str, raise_on_error: bool = True) -> Validation:
    """Check an output directory, as `spectra-bids validate` does.

    Parameters
    ----------
    root : Path
        OUTPUT_DIR of a run.
    raise_on_error : bool
        Raise if there is an error; else it is only listed.

    Raises
    ------
    MissingInputError
        There is no such folder.
    DatasetError
        There are errors, and `raise_on_error`.

    """
    found = check(Path(root))
    errors = [f"{f.path}: {f.message}" for f in found if f.level == "error"]
    warnings = [f"{f.path}: {f.message}" for f in found if f.level == "warning"]
    if errors and raise_on_error:
        more = f" and {len(errors) - 1} more" if len(errors) > 1 else ""
        raise DatasetError(f"{root} is not a valid output directory: {errors[0]}{more}",
                           f"'spectra-bids validate {root}' lists all")  # fmt: skip
    return {"errors": errors, "warnings": warnings}
