"""Bundles that are absent more often in some people than in others: their results may be biased."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectra_bids.group.tables import ABSENT
from spectra_bids.models.design import Design, Factor

#: Tables of fixed margins that are enumerated at most; larger ones have the counts that chi-squared asks for.
_MOST_TABLES = 2_000_000


def absence_warnings(
    status: pd.DataFrame, design: Design, people: Sequence[str] | None = None, alpha: float = 0.05
) -> list[str]:
    """Bundles that are absent more often in some levels of a factor than in others.

    Parameters
    ----------
    status : (n, bundles) DataFrame
        Status of each bundle in each row of the design.
    design : Design
    people : (n,) sequence of str, optional
        Whose row it is. Sessions of one person are no independent observations: where a factor says the same of all of
        them, people are counted, absent if the bundle is in any of their sessions.
    alpha : float
        Level of Fisher's exact test (Fisher-Freeman-Halton for more than two levels), not corrected: a warning is
        cheap.

    """
    found = []
    for factor in design.factors:
        codes, owner, of_people = _units(factor, people, len(status))
        for bundle in status.columns:
            rows = status[bundle].isin(ABSENT).to_numpy()
            absent = np.bincount(owner, rows, minlength=len(codes)) > 0
            if not absent.any():
                continue
            n = np.bincount(codes, minlength=len(factor.levels))
            gone = np.bincount(codes[absent], minlength=len(factor.levels))
            p = exact_p(gone, n - gone)
            if p < alpha:
                shares = ", ".join(f"{name} {a} of {b}" for name, a, b in zip(factor.levels, gone, n, strict=True))
                who = "people, in at least one session; " if of_people else ""
                found.append(
                    f"{bundle} is absent unequally between levels of {factor.name} ({shares}; {who}p = {p:.2g}): "
                    "its results may be biased towards those in whom it was found"
                )
    return found


def _units(factor: Factor, people: Sequence[str] | None, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64], bool]:
    """Level of each unit, the unit of each row, and whether units are people with several rows."""
    codes = np.asarray(factor.codes, np.int64)
    owner = np.unique(np.asarray(people, dtype=str), return_inverse=True)[1] if people is not None else np.arange(n)
    level = np.zeros(int(owner.max(initial=-1)) + 1, np.int64)
    level[owner] = codes
    if len(level) == n or (level[owner] != codes).any():
        return codes, np.arange(n), False
    return level, owner, True


def exact_p(absent: NDArray[np.int64], present: NDArray[np.int64]) -> float:
    """Fisher's exact test of counts (k,) and (k,), k >= 2; chi-squared where there are too many tables to enumerate.

    All tables with the same margins that are not likelier than the one observed (as R's fisher.test) count.
    """
    from scipy.special import gammaln
    from scipy.stats import chi2_contingency

    n = absent + present
    absent, n = absent[n > 0], n[n > 0]
    total = int(absent.sum())
    if len(n) < 2 or total in (0, int(n.sum())):
        return 1.0
    tops = np.minimum(n[:-1], total)
    if np.prod(tops + 1.0) > _MOST_TABLES:
        return float(chi2_contingency(np.stack([absent, n - absent]))[1])
    parts = np.stack(np.meshgrid(*(np.arange(top + 1) for top in tops), indexing="ij"), axis=-1).reshape(-1, len(tops))
    parts = np.column_stack([parts, total - parts.sum(axis=1)])
    parts = parts[(parts[:, -1] >= 0) & (parts[:, -1] <= n[-1])]

    def log_likelihood(tables: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(-(gammaln(tables + 1) + gammaln(n - tables + 1)).sum(axis=-1))

    every, mine = log_likelihood(parts), float(log_likelihood(absent))
    weight = np.exp(every - every.max())
    return float(min(1.0, weight[every <= mine + 1e-7].sum() / weight.sum()))
