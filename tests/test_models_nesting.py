"""Which designs are nested."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from spectra_bids.errors import DesignError
from spectra_bids.models.design import Design, build_design
from spectra_bids.models.formula import parse_formula
from spectra_bids.models.nesting import require_nested


def design(formula: str) -> Design:
    rng = np.random.default_rng(3)
    who = np.repeat(np.arange(30), 4)
    table = pd.DataFrame(
        {"who": [f"p{k}" for k in who], "site": [f"s{k % 6}" for k in who], "t": np.tile(np.arange(4.0), 30),
         "age": np.repeat(rng.normal(60, 9, 30), 4), "dx": np.where(who % 2, "patient", "control"),
         "gap": np.where(np.arange(120) == 5, np.nan, 1.0 * np.arange(120))}
    )  # fmt: skip
    return build_design(parse_formula(formula), table)


@pytest.mark.parametrize(
    ("null", "said"),
    [
        ("value ~ age + (1|who)", "column 'age' is not explained"),
        ("value ~ dx + (1|who)", "the same model"),
        ("value ~ 1 + (1|site)", r"no random \(Intercept\) of site"),
        ("value ~ 1 + (1 + t|who)", "no random t of who"),
        ("value ~ gap + (1|who)", "other rows"),
    ],
)
def test_what_is_not_nested_is_refused(null, said):
    with pytest.raises(DesignError, match=said):
        require_nested(design(null), design("value ~ dx + (1|who)"))


@pytest.mark.parametrize(
    ("null", "full", "fixed"),
    [
        ("1 + (1|who)", "dx + (1|who)", True),
        ("dx + (1|who)", "dx + (1 + t|who)", False),
        ("dx", "dx + (1|who)", False),
        ("t", "poly(t, 2) + (1|who)", True),
    ],
)
def test_the_fixed_parts_decide_on_the_likelihood(null, full, fixed):
    assert require_nested(design(f"value ~ {null}"), design(f"value ~ {full}")) == fixed
