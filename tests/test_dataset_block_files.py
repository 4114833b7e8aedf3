"""Blocks that a user names in a file."""

from __future__ import annotations

import pandas as pd
import pytest

from spectra_bids.dataset.block_files import read_blocks
from spectra_bids.errors import DesignError, MissingInputError

CELLS = pd.DataFrame({"bundle": ["CSTL"] * 4 + ["AFL"] * 2, "s": [0, 0, 1, 1, 0, 1], "r": [0, 1, 0, 1, 0, 0]})


def blocks(tmp_path, text: str, cells: pd.DataFrame = CELLS, name: str = "blocks.tsv") -> list[str]:
    path = tmp_path / name
    path.write_text(text)
    return list(read_blocks(path, cells))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bundle\ts\n", "no column 'block'"),
        ("bundle,block\nCSTL,a\n", "no column 'bundle'"),
        ("bundle\tblock\ts\nCSTL\ta\tx\n", "line 2: s is a whole number from 0. Got 'x'"),
        ("bundle\tblock\ts\tr\nCSTL\ta\tn/a\t1\n", "r needs its node s"),
        ("bundle\tblock\nCSTL\ta\nCSTL\tb\n", "line 3: CSTL is named for a and for b"),
        ("bundle\tblock\nCSTL\t\n", "must both be named"),
        ("bundle\tblock\nNowhere\ta\n", "names no cell of the profiles. It has the bundles Nowhere"),
        ("bundle\tblock\ts\nCSTL\ta\t7\n", "names no cell"),
        ("", "is not a table"),
    ],
)
def test_a_wrong_file_is_refused_by_name_and_line(tmp_path, text, said):
    with pytest.raises(DesignError, match=said) as raised:
        blocks(tmp_path, text)
    assert "blocks.tsv" in str(raised.value)


def test_a_missing_file_is_a_missing_input(tmp_path):
    with pytest.raises(MissingInputError, match=r"nothing\.tsv does not exist"):
        read_blocks(tmp_path / "nothing.tsv", CELLS)


def test_the_most_particular_row_names_a_cell(tmp_path):
    text = "bundle\ts\tr\tblock\nCSTL\tn/a\tn/a\tall\nCSTL\t1\tn/a\tnode\nCSTL\t1\t1\tcell\n"
    assert blocks(tmp_path, text) == ["all", "all", "node", "cell", "", ""]


def test_bundles_may_share_a_block_and_be_spelled_in_any_way(tmp_path):
    text = "\ufeffbundle,block\nLeft Corticospinal,motor\nARC_L,motor\n"
    assert blocks(tmp_path, text, name="blocks.csv") == ["motor"] * 6


def test_a_file_for_2d_serves_1d_only_where_it_names_nodes(tmp_path):
    one = CELLS.drop(columns="r")
    assert blocks(tmp_path, "bundle\tblock\ts\nCSTL\ta\t1\n", one) == ["", "", "a", "a", "", ""]
