"""Benjamini-Hochberg, its adaptive form, and hierarchical FDR over two levels: cells in blocks.

A family is one contrast x one scalar x one kind of profile; its blocks are bundles, or patches of them, or any labels.
NaN p values (cells that could not be fitted) are no hypotheses: they leave the family, and are never counted as 0 or 1.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spectra_bids.inference.combine import combine, require_combination, simes

F = NDArray[np.float64]
I = NDArray[np.int64]  # noqa: E741 - reads as F does
Bool = NDArray[np.bool_]
#: Correlation of residuals by block, (n_b, n_b), rows in the order of the block's cells among the p values.
Correlations = Mapping[Hashable, F]


@dataclass(frozen=True, eq=False)
class Decisions:
    """Decisions of one family.

    Cells, in the order of the input, (N,): `q_cell` BH within the block, `q` what is compared with the cell level
    (NaN where p is NaN or the block is not selected), `block_selected`, `rejected` (J, N) one row per cell level.
    Blocks, in the order of `blocks`, (B,): `p_block`, `q_block` (NaN without a valid cell), `selected`.
    """

    q_cell: F
    q: F
    block_selected: Bool
    rejected: Bool
    blocks: NDArray[np.object_]
    p_block: F
    q_block: F
    selected: Bool


def bh_adjust(p: F) -> F:
    """Benjamini-Hochberg adjusted p values; NaN stays NaN and does not count.

    Examples
    --------
    >>> import numpy as np
    >>> bh_adjust(np.array([0.01, 0.02, 0.9, np.nan]))
    array([0.03, 0.03, 0.9 ,  nan])

    """
    p = np.asarray(p, np.float64)
    out = np.full(p.shape, np.nan)
    valid = np.flatnonzero(np.isfinite(p))
    m = len(valid)
    order = valid[np.argsort(p[valid], kind="stable")]
    scaled = m / np.arange(1, m + 1) * p[order]  # in this order, as R has it: never below p by rounding
    out[order] = np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1])
    return out


def bky_reject(p: F, alpha: float) -> tuple[Bool, F]:
    """Two-stage adaptive BH of Benjamini, Krieger & Yekutieli 2006 (definition 6).

    Returns
    -------
    rejected : (N,) bool
    q : (N,) float
        BH adjusted p times the estimated share of true nulls times 1 + alpha: q <= alpha exactly where rejected.

    """
    adjusted = bh_adjust(p)
    m = int(np.isfinite(adjusted).sum())
    first = int((adjusted <= alpha / (1 + alpha)).sum())
    if first == 0:
        return np.zeros(len(adjusted), dtype=bool), np.minimum(1.0, adjusted * (1 + alpha))
    if first == m:
        return np.isfinite(adjusted), np.minimum(adjusted, alpha)
    q = np.minimum(1.0, adjusted * (1 + alpha) * (m - first) / m)
    return q <= alpha, q


def hierarchical_fdr(
    p: F,
    blocks: NDArray[np.generic],
    alpha_block: float = 0.05,
    alpha_cell: float | tuple[float, ...] = 0.05,
    combination: str = "simes",
    correlations: Correlations | None = None,
) -> Decisions:
    """Hierarchical FDR with two levels: blocks, then cells of the selected blocks.

    One p per block, by Simes unless said otherwise; BH over the m blocks with a valid cell at `alpha_block` selects R
    of them; within each of these BH over its cells at alpha_cell R / m (Benjamini & Bogomolov 2014; TreeBH of Bogomolov
    et al. 2021 with two levels). FDR over blocks is at most alpha_block, and the average over selected blocks of the
    cell FDR at most alpha_cell, for valid p values that are independent or positively dependent. The pooled cell FDR
    is not bounded. With Simes and alpha_cell >= alpha_block every selected block has a rejected cell; with other
    combinations it may have none.

    Parameters
    ----------
    p : (N,) float
        p values; NaN = not tested.
    blocks : (N,)
        Label of each cell's block.
    alpha_block, alpha_cell : float
        Levels; several cell levels share all computation.
    combination : str
        How a block's p values become one (`combine`).
    correlations : mapping of block label -> (n_b, n_b) float, optional
        Correlation of the residuals of each block's cells, in their order in `p`, for the combinations that need it.

    Returns
    -------
    Decisions

    Raises
    ------
    UsageError
        For a combination that is not offered.
    ValueError
        If a correlation is needed and missing.

    Examples
    --------
    >>> import numpy as np
    >>> found = hierarchical_fdr(np.array([0.001, 0.004, 0.8, 0.9]), np.array(["A", "A", "B", "B"]))
    >>> found.selected.tolist(), found.q.tolist()
    ([True, False], [0.004, 0.008, nan, nan])

    """
    require_combination(combination)
    p = np.asarray(p, np.float64)
    levels = np.atleast_1d(np.asarray(alpha_cell, np.float64))
    names, index, members = group(blocks)
    p_block = combine_blocks(p, names, members, combination, correlations)
    q_block = bh_adjust(p_block)
    m = int(np.isfinite(p_block).sum())
    selected = q_block <= alpha_block
    r = int(selected.sum())
    q_cell = np.full(len(p), np.nan)
    for rows in members:
        q_cell[rows] = bh_adjust(p[rows])
    block_selected = selected[index] if len(p) else np.zeros(0, dtype=bool)
    q = np.where(block_selected, np.minimum(1.0, q_cell * m / max(r, 1)), np.nan)
    return Decisions(q_cell, q, block_selected, q[None, :] <= levels[:, None], names, p_block, q_block, selected)


def fdr(p: F, blocks: NDArray[np.generic], alpha: float = 0.05, adaptive: bool = False) -> Decisions:
    """Benjamini-Hochberg over all valid cells of a family (`adaptive`: BKY); blocks are reported, not tested.

    `block_selected` is True where a block holds a rejected cell.
    """
    p = np.asarray(p, np.float64)
    names, index, members = group(blocks)
    if adaptive:
        rejected, q = bky_reject(p, alpha)
    else:
        q = bh_adjust(p)
        rejected = q <= alpha
    q_cell = np.full(len(p), np.nan)
    for rows in members:
        q_cell[rows] = bh_adjust(p[rows])
    p_block = np.array([simes(p[rows]) for rows in members], dtype=np.float64)
    selected = np.array([rejected[rows].any() for rows in members], dtype=bool)
    inside = selected[index] if len(p) else np.zeros(0, dtype=bool)
    return Decisions(q_cell, q, inside, rejected[None, :], names, p_block, bh_adjust(p_block), selected)


def group(labels: NDArray[np.generic]) -> tuple[NDArray[np.object_], I, list[I]]:
    """Sorted labels (B,), the number of each row's label (N,), the rows of each label in their order."""
    names, index = np.unique(np.asarray(labels, dtype=object), return_inverse=True)
    order = np.argsort(index, kind="stable")
    return names, index, np.split(order, np.cumsum(np.bincount(index, minlength=len(names)))[:-1]) if len(names) else []


def combine_blocks(
    p: F, names: NDArray[np.object_], members: list[I], combination: str, correlations: Correlations | None
) -> F:
    """Combined p value of each block, (B,); NaN without a valid cell."""
    found = np.full(len(names), np.nan)
    for b, (name, rows) in enumerate(zip(names, members, strict=True)):
        found[b] = combine(p[rows], combination, None if correlations is None else correlations.get(name))
    return found
