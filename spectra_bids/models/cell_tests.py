"""Tests of cells that are fitted one by one -> rows of the fits table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spectra_bids.models.cells import Cells
from spectra_bids.models.contrasts import Contrast

if TYPE_CHECKING:
    import pandas as pd

F = NDArray[np.float64]

#: What a test of one cell and contrast is.
NUMBERS = ("estimate", "se", "df_num", "df", "value", "p")


class CellTests:
    """Numbers of all cells and contrasts, in standard deviations of each cell's values.

    Parameters
    ----------
    n_cells : int
    contrasts : sequence of Contrast

    Attributes
    ----------
    sd_random, sd_residual : (C,)
        Standard deviations of the random part and of the residuals; NaN = not fitted.

    """

    def __init__(self, n_cells: int, contrasts: Sequence[Contrast]) -> None:
        self.contrasts = tuple(contrasts)
        self._tests = np.full((n_cells, len(contrasts), len(NUMBERS)), np.nan)
        self._profiles = np.full((n_cells, len(contrasts), 2), np.nan)
        self._profiled = np.zeros((n_cells, len(contrasts)), dtype=bool)
        self.sd_random, self.sd_residual = np.full(n_cells, np.nan), np.full(n_cells, np.nan)

    def store(self, cell: int, contrast: int, numbers: F) -> None:
        """Keep the NUMBERS of one test."""
        self._tests[cell, contrast] = numbers

    def interval(self, cell: int, contrast: int, ends: F) -> None:
        """Keep an interval that is not estimate ± t(.975, df) se; NaN where it cannot be had."""
        self._profiles[cell, contrast] = ends
        self._profiled[cell, contrast] = True

    def clear(self, cell: int) -> None:
        """Forget a cell."""
        self._tests[cell] = self._profiles[cell] = np.nan

    def table(self, cells: Cells) -> pd.DataFrame:
        """Rows of the fits table, contrast by contrast."""
        import pandas as pd

        return pd.concat([self._rows(k, cells) for k in range(len(self.contrasts))], ignore_index=True)

    def _rows(self, k: int, cells: Cells) -> pd.DataFrame:
        import pandas as pd
        from scipy.special import stdtrit

        contrast, sd = self.contrasts[k], cells.sd
        found = dict(zip(NUMBERS, self._tests[:, k].T, strict=True))
        single = len(contrast.weights) == 1
        reach = stdtrit(found["df"], 0.975) * found["se"]
        low, high = found["estimate"] - reach, found["estimate"] + reach
        # where there is no random term, the profile is the t interval
        low, high = (
            np.where(self._profiled[:, k], ends, w) for ends, w in zip(self._profiles[:, k].T, (low, high), strict=True)
        )
        units = {"estimate": found["estimate"] * sd, "se": found["se"] * sd, "ci_low": low * sd, "ci_high": high * sd}
        tested = np.isfinite(found["p"])
        return pd.DataFrame(
            {
                "contrast": contrast.name,
                "cell": np.arange(len(sd)),
                "n": cells.n,
                "n_levels": cells.n_levels,
                "statistic": "t" if single else "F",
                "estimate": units["estimate"],
                "se": units["se"],
                "df_num": found["df_num"],
                "df": found["df"],
                "value": found["value"],
                "p": found["p"],
                "ci_low": units["ci_low"],
                "ci_high": units["ci_high"],
                "estimate_std": np.where(tested & (sd > 0), found["estimate"], np.nan),
                "effect_size": _effect(contrast.effect, found, self.sd_random, self.sd_residual),
                "effect_type": contrast.effect,
                "sd_random": self.sd_random * sd,
                "sd_residual": self.sd_residual * sd,
                "fit_status": cells.status,
            }
        )


def _effect(kind: str, found: Mapping[str, F], sd_random: F, sd_residual: F) -> F:
    """Effect size of the kind named in a contrast (columns.FITS_1D, `effect_type`)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if kind == "cohen_d":
            return np.asarray(found["estimate"] / np.sqrt(sd_random**2 + sd_residual**2))
        if kind == "partial_r":
            return np.asarray(found["value"] / np.sqrt(found["value"] ** 2 + found["df"]))
        explained = found["value"] * found["df_num"]
        return np.asarray(explained / (explained + found["df"]))
