"""Who may be exchanged with whom: the exchangeability blocks of a tested contrast, chosen or found.

Unless --exchange-within or --exchange-whole say otherwise: where people have several sessions, people with as many of
them are exchanged as wholes; where what is tested changes between sessions, these are exchanged within a person too.
Where a random factor other than the person has several levels of what is tested within it (two groups at every site),
only rows, or people, of one level are exchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spectra_bids.errors import DesignError, UsageError
from spectra_bids.group.model import GroupModel
from spectra_bids.inference.exchange import Permutations, draw_permutations
from spectra_bids.models.contrasts import Contrast
from spectra_bids.settings import GroupSettings, PermutationSettings

I = NDArray[np.int64]  # noqa: E741 - reads as an array of integers


@dataclass(frozen=True, eq=False)
class Exchange:
    """Exchangeability blocks of the rows of a design, each (n,) or None.

    Rows of one code of `whole` move together, within `within`; rows of one code of `inside` are exchanged beside that.
    """

    within: I | None
    whole: I | None
    words: str
    inside: I | None = None


def exchange_blocks(chosen: PermutationSettings, model: GroupModel, contrast: Contrast) -> Exchange:
    """Blocks for a contrast.

    Raises
    ------
    DesignError
        If a column that was named is none, or has missing values in the rows of the design.

    """
    people = model.design.subjects
    values = model.design.X[:, tested_columns(contrast)]
    repeated = len(np.unique(people)) < len(people)
    said, whole, inside = [], None, None
    if chosen.whole:
        whole = _codes(model, chosen.whole, "--exchange-whole")
        said.append(f"all rows of a {chosen.whole} together")
    elif repeated:
        changes = _varies_within(values, people)
        if not changes or (not chosen.within and _varies_between(values, people)):
            whole = people
            said.append("all sessions of a person together")
        if changes and not chosen.within:
            inside = people
            said.append("sessions within a person")
    within = None
    if chosen.within:
        within = _codes(model, chosen.within, "--exchange-within")
        said.append(f"within {chosen.within}")
    elif inside is None or whole is not None:
        factor = next((part for part in model.design.random if _is_crossed(part.codes, values, people)), None)
        if factor is not None:
            within = factor.codes
            said.append(f"within {factor.group}")
    return Exchange(within, whole, ", ".join(said) or "all rows", inside)


def require_exchangeable(settings: GroupSettings, model: GroupModel) -> None:
    """Raise before anything is computed what permutations or shuffles of this model would raise later.

    Raises
    ------
    UsageError
        Mode perm does not know this model, or a column is named that nothing is exchanged by.
    DesignError
        As `exchange_blocks` and `draw`.

    """
    chosen = settings.decision.permutation
    if settings.decision.mode == "perm":
        require_permutable(settings, model)
    elif not settings.calibrate:
        if chosen.within or chosen.whole:
            raise UsageError("--exchange-within and --exchange-whole belong to --stats-mode perm and --calibrate")
        return
    for contrast in model.contrasts:
        draw(exchange_blocks(chosen, model, contrast), model.design.n, 1, chosen.random_seed, contrast.name)


def require_permutable(settings: GroupSettings, model: GroupModel) -> None:
    """UsageError for what mode perm does not know: weights, slopes, more than one random factor."""
    random = model.design.random
    if model.null is not None:
        raise UsageError("--stats-mode perm has no likelihood-ratio test", "Leave out --null-formula")
    if len(random) > 1 or not all(part.is_intercept for part in random) or settings.fitting.weights:
        weighted = f" with --weights {settings.fitting.weights}" if settings.fitting.weights else ""
        raise UsageError(
            "--stats-mode perm takes models with one random intercept or none, and no weights. Got "
            f"'{model.design.formula.text}'{weighted}",
            "Use --stats-mode hfdr, or leave terms out",
        )


def tested_columns(contrast: Contrast) -> NDArray[np.intp]:
    """Columns of X that a contrast weighs."""
    return np.flatnonzero(np.any(contrast.weights != 0, axis=0))


def draw(exchange: Exchange, n_rows: int, n: int, seed: int, contrast: str) -> Permutations:
    """Permutations of a design's rows.

    Raises
    ------
    DesignError
        If the blocks leave nothing to exchange.

    """
    try:
        if exchange.inside is None:
            return draw_permutations(n_rows, n, seed, exchange.within, exchange.whole)
        own = int(np.random.SeedSequence([seed, 1]).generate_state(1)[0])  # a stream of its own
        inside = draw_permutations(n_rows, n, own, exchange.inside)
        if exchange.whole is None:
            return inside
        whole = draw_permutations(n_rows, n, seed, exchange.within, exchange.whole)
        index = np.take_along_axis(whole.index, inside.index, axis=1)
        return Permutations(index, None, whole.log10_possible + inside.log10_possible)
    except ValueError as error:
        raise DesignError(
            f"'{contrast}' cannot be permuted ({exchange.words}): {error}",
            "Name other blocks with --exchange-within and --exchange-whole.",
        ) from error


def _codes(model: GroupModel, column: str, flag: str) -> I:
    table = model.table
    if column not in table.columns:
        raise DesignError(f"{flag} must name a column of the design. Got '{column}'", f"There are: {_names(model)}")
    missing = table[column].isna().to_numpy()
    if missing.any():
        where = [model.design.labels[i] for i in np.flatnonzero(missing)]
        raise DesignError(f"{flag} {column} is n/a for {', '.join(where[:5])}", "Fill it in, or leave these people out")
    return np.unique(table[column].astype(str).to_numpy(dtype=str), return_inverse=True)[1].astype(np.int64)


def _names(model: GroupModel) -> str:
    return ", ".join(str(c) for c in model.table.columns)


def _varies_within(values: NDArray[np.float64], codes: I) -> bool:
    """Whether any column changes within a level."""
    order = np.argsort(codes, kind="stable")
    same = np.diff(codes[order]) == 0
    return bool(np.any(np.abs(np.diff(values[order], axis=0))[same] > 0))


def _varies_between(values: NDArray[np.float64], codes: I) -> bool:
    """Whether the means of any column differ between levels."""
    levels, code = np.unique(codes, return_inverse=True)
    sums = np.stack([np.bincount(code, column, len(levels)) for column in values.T], axis=1)
    means = sums / np.bincount(code)[:, None]
    return bool(np.any(np.ptp(means, axis=0) > 1e-9 * np.maximum(np.ptp(values, axis=0), 1e-300)))


def _is_crossed(codes: I, values: NDArray[np.float64], subjects: I) -> bool:
    """Whether a random factor that is not the person has different tested values within its levels."""
    people_in_one = not _varies_within(codes[:, None].astype(np.float64), subjects)
    several = len(np.unique(codes)) < len(np.unique(subjects))
    return several and people_in_one and _varies_within(values, codes)
