"""Hierarchical FDR over any number of levels: TreeBH (Bogomolov, Peterson, Benjamini & Sabatti 2021).

From the leaves up, a node's p value combines those of its children (cells into blocks by any combination, above that
by Simes). From the root down, the children of a selected node are a family, tested by BH at

    α_level Π (R_a / m_a)    over the families a that its ancestors were selected from,

R_a of whose m_a members were selected. With two levels this is Benjamini & Bogomolov 2014.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spectra_bids.inference.combine import combine, require_combination, simes
from spectra_bids.inference.fdr import Bool, Correlations, F, I, bh_adjust, group


@dataclass(frozen=True, eq=False)
class TreeLevel:
    """Nodes of one level above the cells, K of them, sorted by label.

    labels (K,) tuples from the top, ("fa", "AFL"); parent (K,) row in the level above (0 at the top); p (K,) NaN
    without a valid cell; q_family (K,) BH adjusted among the parent's children; q (K,) what is compared with the
    level, NaN where the parent is not selected; selected (K,).
    """

    labels: tuple[tuple[Hashable, ...], ...]
    parent: I
    p: F
    q_family: F
    q: F
    selected: Bool


@dataclass(frozen=True, eq=False)
class TreeDecisions:
    """Decisions over a tree: its levels from the top, and for the N cells in the order of the input

    node (N,) the row of each cell's block in the last level; q_cell (N,) BH within the block; q (N,) what is compared
    with the cell level, NaN outside of selected blocks; rejected (J, N) one row per cell level.
    """

    levels: tuple[TreeLevel, ...]
    node: I
    q_cell: F
    q: F
    rejected: Bool


def tree_fdr(
    p: F,
    labels: Sequence[NDArray[np.generic]],
    alphas: Sequence[float],
    alpha_cell: float | tuple[float, ...] = 0.05,
    combination: str = "simes",
    correlations: Correlations | None = None,
) -> TreeDecisions:
    """TreeBH over cells in nested groups.

    Parameters
    ----------
    p : (N,) float
        p values of the cells; NaN = not tested.
    labels : sequence of (N,)
        Label of each cell's group, from the top level down, as (scalar, block). Blocks of the same name in two
        scalars are two blocks.
    alphas : sequence of float
        Level of each group level, as (alpha_scalar, alpha_block).
    alpha_cell : float
        Level within the lowest groups; several share all computation.
    combination : str
        How cells become a block's p (`combine`); higher levels use Simes.
    correlations : mapping, optional
        (n, n) correlation of residuals by full label, as ("fa", "AFL"), for the combinations that need it.

    Returns
    -------
    TreeDecisions

    Raises
    ------
    UsageError
        For a combination that is not offered.
    ValueError
        If levels and labels differ in number.

    Notes
    -----
    The selective FDR of level l (the FDR of families, averaged over the selected families in the sense of the paper)
    is at most α_l for p values that are independent or positively dependent.

    Examples
    --------
    >>> import numpy as np
    >>> p = np.array([0.001, 0.004, 0.8, 0.9, 0.5, 0.6])
    >>> scalar, block = np.array(list("FFFFMM")), np.array(list("AABBAA"))
    >>> found = tree_fdr(p, (scalar, block), (0.05, 0.05))
    >>> found.levels[0].selected.tolist(), found.rejected[0].tolist()
    ([True, False], [True, True, False, False, False, False])

    """
    require_combination(combination)
    if len(labels) != len(alphas) or not len(labels):
        raise ValueError(f"alphas must hold one level for each of the {len(labels)} group levels. Got {len(alphas)}")
    p = np.asarray(p, np.float64)
    paths, parents, node = _nest([np.asarray(a, dtype=object) for a in labels], len(p))
    values = _upwards(p, node, paths, parents, combination, correlations)
    levels, tested, chosen = _downwards(paths, parents, values, alphas)
    q_cell = np.full(len(p), np.nan)
    for rows in group(node)[2]:
        q_cell[rows] = bh_adjust(p[rows])
    inside = levels[-1].selected[node] if len(p) else np.zeros(0, dtype=bool)
    q = np.where(inside, np.minimum(1.0, q_cell * tested[node] / chosen[node]), np.nan)
    cuts = np.atleast_1d(np.asarray(alpha_cell, np.float64))
    return TreeDecisions(tuple(levels), node, q_cell, q, q[None, :] <= cuts[:, None])


def _nest(labels: list[NDArray[np.object_]], n: int) -> tuple[list[list[tuple[Hashable, ...]]], list[I], I]:
    """Nodes of every level as full paths, each one's row in the level above, and each cell's lowest node."""
    paths: list[list[tuple[Hashable, ...]]] = []
    parents: list[I] = []
    node = np.zeros(n, np.int64)
    for depth in range(1, len(labels) + 1):
        of_cell = list(zip(*labels[:depth], strict=True))
        nodes = sorted(set(of_cell))
        row = {path: k for k, path in enumerate(nodes)}
        above = {path: k for k, path in enumerate(paths[-1])} if paths else {(): 0}
        parents.append(np.array([above[path[:-1]] for path in nodes], np.int64))
        paths.append(nodes)
        node = np.array([row[path] for path in of_cell], np.int64)
    return paths, parents, node


def _upwards(
    p: F,
    node: I,
    paths: list[list[tuple[Hashable, ...]]],
    parents: list[I],
    combination: str,
    correlations: Correlations | None,
) -> list[F]:
    """Combined p value of every node of every level."""
    lowest = np.full(len(paths[-1]), np.nan)
    for k, rows in zip(np.unique(node), group(node)[2], strict=True):
        lowest[k] = combine(p[rows], combination, None if correlations is None else correlations.get(paths[-1][k]))
    values = [lowest]
    for depth in range(len(paths) - 1, 0, -1):
        values.insert(0, np.array([simes(values[0][parents[depth] == k]) for k in range(len(paths[depth - 1]))]))
    return values


def _downwards(
    paths: list[list[tuple[Hashable, ...]]], parents: list[I], values: list[F], alphas: Sequence[float]
) -> tuple[list[TreeLevel], F, F]:
    """Levels from the top, and for every lowest node Π m and Π R of the families that led to it."""
    levels: list[TreeLevel] = []
    tested, chosen, open_ = np.ones(1), np.ones(1), np.ones(1, dtype=bool)
    for nodes, parent, p, alpha in zip(paths, parents, values, alphas, strict=True):
        q_family, selected = np.full(len(nodes), np.nan), np.zeros(len(nodes), dtype=bool)
        q, m, r = np.full(len(nodes), np.nan), np.ones(len(nodes)), np.ones(len(nodes))
        for a in np.unique(parent):
            rows = np.flatnonzero(parent == a)
            q_family[rows] = bh_adjust(p[rows])
            if not open_[a]:
                continue
            q[rows] = np.minimum(1.0, q_family[rows] * tested[a] / chosen[a])
            selected[rows] = q[rows] <= alpha
            m[rows] = tested[a] * max(1, int(np.isfinite(p[rows]).sum()))
            r[rows] = chosen[a] * max(1, int(selected[rows].sum()))
        levels.append(TreeLevel(tuple(nodes), parent, p, q_family, q, selected))
        tested, chosen, open_ = m, r, selected
    return levels, tested, chosen
