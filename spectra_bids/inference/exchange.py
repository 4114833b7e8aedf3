"""Which rows of a design may be exchanged under the null hypothesis, and random exchanges of them.

Exchangeability blocks (Winkler 2014): rows are exchanged within blocks (subjects within a site), or blocks of equal
size as wholes (subjects with as many sessions), or wholes within larger blocks; signs may be flipped instead or too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spectra_bids.inference.fdr import F, I


@dataclass(frozen=True, eq=False)
class Permutations:
    """`index` (B, n): row i of permutation b is row index[b, i] of the data; `signs` (B, n) of ±1, or None.

    `log10_possible` of all that the exchangeability blocks allow: with 8 whole blocks there are 40,320 orders.
    """

    index: I
    signs: F | None
    log10_possible: float


def draw_permutations(
    n_rows: int,
    n_permutations: int,
    seed: int,
    within: I | None = None,
    whole: I | None = None,
    *,
    exchange: bool = True,
    flip_signs: bool = False,
) -> Permutations:
    """Random permutations of the rows of a design; they depend on nothing else, so that all bundles share them.

    Parameters
    ----------
    n_rows, n_permutations, seed : int
    within : (n_rows,) int, optional
        Rows (or whole blocks) are exchanged only with others of the same code.
    whole : (n_rows,) int, optional
        Rows of one code move together, their order kept; only blocks of as many rows are exchanged with each other.
    exchange : bool
        False: no exchange, signs only.
    flip_signs : bool
        Change the sign of rows (or whole blocks) at random: for symmetric errors, as in a test of the intercept.

    Returns
    -------
    Permutations

    Raises
    ------
    ValueError
        If the blocks leave nothing to permute, or a whole block lies in several `within` blocks.

    Examples
    --------
    >>> import numpy as np
    >>> drawn = draw_permutations(4, 3, seed=0, within=np.array([0, 0, 1, 1]))
    >>> np.sort(drawn.index // 2, axis=1).tolist()[0]
    [0, 0, 1, 1]

    """
    units = _units(n_rows, within, whole)
    families = [np.stack(rows) for rows in units.values()]  # (blocks, rows of each)
    possible = sum(_log10_factorial(len(rows)) for rows in families) if exchange else 0.0
    possible += sum(map(len, families)) * np.log10(2) if flip_signs else 0.0
    if possible == 0:
        raise ValueError(
            "the exchangeability blocks leave nothing to permute: no two rows (or whole blocks of equal size) may be "
            "exchanged. Use larger blocks"
        )
    rng = np.random.default_rng(seed)
    index = np.tile(np.arange(n_rows), (n_permutations, 1))
    signs = np.ones((n_permutations, n_rows)) if flip_signs else None
    for b in range(n_permutations):
        for rows in families:
            if exchange:
                index[b, rows] = rows[rng.permutation(len(rows))]
            if signs is not None:
                signs[b, rows] = rng.choice([-1.0, 1.0], size=len(rows))[:, None]
    return Permutations(index, signs, float(possible))


def _units(n_rows: int, within: I | None, whole: I | None) -> dict[tuple[int, int], list[I]]:
    """Exchangeable units, as rows, by (code of `within`, number of rows)."""
    within = np.zeros(n_rows, np.int64) if within is None else within
    whole = np.arange(n_rows) if whole is None else whole
    order = np.argsort(whole, kind="stable")
    found: dict[tuple[int, int], list[I]] = {}
    for rows in np.split(order, np.flatnonzero(np.diff(whole[order])) + 1):
        if len(set(within[rows].tolist())) > 1:
            raise ValueError(
                f"whole block {whole[rows[0]]} must lie in one block of rows exchanged within. Got blocks "
                f"{sorted(set(within[rows].tolist()))}"
            )
        found.setdefault((int(within[rows[0]]), len(rows)), []).append(rows)
    return dict(sorted(found.items()))


def _log10_factorial(n: int) -> float:
    return float(np.log10(np.arange(1, n + 1)).sum())
