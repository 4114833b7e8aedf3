"""Every error that a user can meet, each with its exit status and a hint.

    SpectraError                      1   a subject or a bundle job crashed
    ├── UsageError (ValueError)       2   the command line
    ├── DatasetError (ValueError)    16   a data set is not what it should be
    ├── NothingSelectedError         18   the filters select nothing  (LookupError)
    ├── InputDataError (ValueError)  65   a file's content is wrong
    │   ├── TractogramError               a streamline file
    │   ├── VolumeError                   a scalar map
    │   ├── TransformError                a spatial transform
    │   ├── AtlasError                    an atlas directory or a grid
    │   └── DesignError                   participants.tsv, formula, contrast, model
    ├── MissingInputError            66   a required input is not there  (FileNotFoundError)
    ├── OutputError (OSError)        73   an output cannot be created
    └── TemporaryError (OSError)     75   disk full, SIGTERM: run again

Grammar of a message: what is wrong, where, what was expected, what was got; the hint says what to do. What is
repeated of people's files goes through `shown` and `listed`: a cell of a table may be as long as a book.
"""

from __future__ import annotations

from collections.abc import Iterable

_MOST_CHARACTERS = 80
_MOST_NAMES = 20


def shown(value: object) -> str:
    """A value for a message, cut after 80 characters."""
    text = str(value)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}... ({len(text)} characters)"


def listed(values: Iterable[object]) -> str:
    """Values for a message, 20 at most."""
    several = [shown(value) for value in values]
    more = len(several) - _MOST_NAMES
    return ", ".join(several[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


class SpectraError(Exception):
    """An error with a message for people, a `hint` (what to do next) and an `exit_status`."""

    exit_status = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[type[SpectraError], tuple[str, str]]:
        # OSError's own reduction drops `hint`, and errors travel back from worker processes.
        return (type(self), (self.message, self.hint))


class UsageError(SpectraError, ValueError):
    """The command line or a configuration file asks for something impossible."""

    exit_status = 2


class DatasetError(SpectraError, ValueError):
    """A data set is not laid out as the specification says."""

    exit_status = 16


class NothingSelectedError(SpectraError, LookupError):
    """The filters leave no subject, session, bundle or scalar."""

    exit_status = 18


class InputDataError(SpectraError, ValueError):
    """A file is there, but its content cannot be used."""

    exit_status = 65


class TractogramError(InputDataError):
    """A streamline file that cannot be used."""


class VolumeError(InputDataError):
    """A scalar map that cannot be used."""


class TransformError(InputDataError):
    """A spatial transform that cannot be used."""


class AtlasError(InputDataError):
    """An atlas directory, or a frozen grid, that cannot be used."""


class DesignError(InputDataError):
    """A participants table, formula, contrast or model file that cannot be used."""


class MissingInputError(SpectraError, FileNotFoundError):
    """A required input does not exist."""

    exit_status = 66


class OutputError(SpectraError, OSError):
    """An output cannot be created."""

    exit_status = 73


class TemporaryError(SpectraError, OSError):
    """The run was cut short by something that passes: run it again."""

    exit_status = 75
