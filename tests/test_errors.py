"""errors: the tree, its exit statuses, and that an error survives the way out of a worker process."""

from __future__ import annotations

import pickle
import re

import pytest

from spectra_bids import errors
from spectra_bids.errors import SpectraError, listed, shown

STATUS = {
    "SpectraError": (1, Exception),
    "UsageError": (2, ValueError),
    "DatasetError": (16, ValueError),
    "NothingSelectedError": (18, LookupError),
    "InputDataError": (65, ValueError),
    "TractogramError": (65, ValueError),
    "VolumeError": (65, ValueError),
    "TransformError": (65, ValueError),
    "AtlasError": (65, ValueError),
    "DesignError": (65, ValueError),
    "MissingInputError": (66, FileNotFoundError),
    "OutputError": (73, OSError),
    "TemporaryError": (75, OSError),
}


def classes() -> dict[str, type[SpectraError]]:
    return {n: c for n, c in vars(errors).items() if isinstance(c, type) and issubclass(c, SpectraError)}


def test_the_tree_is_that_of_the_conventions():
    assert {n: c.exit_status for n, c in classes().items()} == {n: s for n, (s, _) in STATUS.items()}
    for name, (_, parent) in STATUS.items():
        assert issubclass(classes()[name], parent)


def test_the_drawing_in_the_docstring_is_the_tree():
    drawn = re.findall(r"(\w+Error)\b(?:[^\n\d]*?(\d+))?", errors.__doc__ or "")
    status = 0
    for name, number in drawn:
        if name in STATUS:
            status = int(number) if number else status
            assert classes()[name].exit_status == status
    assert {name for name, _ in drawn} >= set(STATUS)


@pytest.mark.parametrize("name", STATUS)
def test_message_and_hint_survive_the_way_between_processes(name):
    error = classes()[name]("a.trk is empty", "Copy it again")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert (str(back), back.message, back.hint) == ("a.trk is empty", "a.trk is empty", "Copy it again")


def test_a_value_is_shown_whole_up_to_80_characters():
    assert shown("x" * 80) == "x" * 80
    assert shown("x" * 81) == "x" * 80 + "... (81 characters)"
    assert shown(61.5) == "61.5"


def test_of_many_values_twenty_are_listed_each_shortened():
    assert listed(["a", 2, "c"]) == "a, 2, c"
    assert listed(range(20)).endswith("18, 19")
    assert listed(range(23)).endswith("18, 19 and 3 more")
    assert listed(["b" * 200_000, "c"]) == "b" * 80 + "... (200000 characters), c"
