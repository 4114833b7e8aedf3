"""Self-test: a random sample of the user's own cells fitted by both engines, and how far they are apart.

    model-<name>_selftest.tsv      one row per cell and contrast: both engines' numbers and their differences

The R engine is R's lmerTest through pymer4 and shares no code with the batched one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectra_bids.columns import SELFTEST, names, sidecar
from spectra_bids.dataset.grids import has_radial_bins
from spectra_bids.dataset.names import model_dir
from spectra_bids.dataset.outputs import remove, write_json, write_table
from spectra_bids.dataset.qc_files import read_decisions
from spectra_bids.errors import NothingSelectedError
from spectra_bids.group.batches import harmonized
from spectra_bids.group.model import GroupModel, make_model
from spectra_bids.group.tables import Cohort, Dims, read_cohort
from spectra_bids.models.fits import fit_cells
from spectra_bids.models.lme4 import fit_cells_lme4, r_versions
from spectra_bids.settings import GroupSettings, settings_hash

#: Largest differences that count as equal. Estimates in standard errors; standard deviations in that of the cell's
#: random part and residuals together; the others relative. p follows df: at 1e-18 it doubles the relative difference
#: of df many times.
LIMITS = {"d_estimate": 1e-5, "d_se": 1e-5, "d_df": 1e-3, "d_p": 1e-2, "d_sd": 1e-4}
_NUMBERS = ("estimate", "se", "df", "value", "p", "sd_random", "sd_residual", "fit_status")
_FITTED = ("ok", "singular")
_KEYS = ["profile", "scalar", "column"]


@dataclass(frozen=True, eq=False)
class SelfTest:
    """What a self-test found: rows as columns.SELFTEST, the model's name, its formula and how it is fitted."""

    table: pd.DataFrame
    model: str
    formula: str
    seed: int
    fitting: str = ""

    @property
    def n_cells(self) -> int:
        """Cells that were fitted."""
        return len(self.table.drop_duplicates(["profile", "bundle", "scalar", "s", "r"]))

    @property
    def largest(self) -> dict[str, float]:
        """Largest difference of each kind; 0 where there is none."""
        return {name: float(np.nanmax(self.table[name].to_numpy(float), initial=0.0)) for name in LIMITS}

    @property
    def disagreements(self) -> int:
        """Cells that one engine could fit and the other could not."""
        one, other = (self.table[c].isin(_FITTED) for c in ("fit_status", "fit_status_r"))
        return int((one != other).sum())

    @property
    def ok(self) -> bool:
        """Whether all differences are within LIMITS."""
        return not self.disagreements and all(value <= LIMITS[name] for name, value in self.largest.items())

    @property
    def line(self) -> str:
        """The finding in one line."""
        words = {"d_estimate": "estimate {:.1e} SE", "d_se": "SE {:.1e}", "d_df": "df {:.1e}", "d_p": "p {:.1e}",
                 "d_sd": "standard deviations {:.1e}"}  # fmt: skip
        said = ", ".join(words[name].format(value) for name, value in self.largest.items())
        odd = f"; {self.disagreements} fitted by one engine only" if self.disagreements else ""
        return f"Checked against lmerTest: {self.n_cells} cells, largest difference: {said} (relative){odd}"


def selftest(settings: GroupSettings, n_cells: int = 20, seed: int = 0) -> SelfTest:
    """Fit a random sample of a model's cells by both engines.

    Parameters
    ----------
    settings : GroupSettings
        Those that the model was, or will be, run with.
    n_cells : int
        Cells of any profile, bundle and scalar that have enough data; fewer if there are not as many.
    seed : int

    Raises
    ------
    MissingInputError
        R, or a package, is absent (exit status 66).
    NothingSelectedError
        No cell can be fitted.

    """
    cohorts = _cohorts(settings)
    model = make_model(settings, next(iter(cohorts.values())).sessions)
    order = _shuffled(cohorts, seed)
    tables: list[pd.DataFrame] = []
    found = 0
    for start in range(0, len(order), n_cells):  # until as many as were asked for could be fitted
        part = order.iloc[start : start + n_cells]
        for dims, cohort in cohorts.items():
            for scalar in cohort.scalars:
                columns = part.loc[(part["profile"] == dims) & (part["scalar"] == scalar), "column"].to_numpy()
                if found >= n_cells or not len(columns):
                    continue
                values = _fitted_values(cohort, model, settings, scalar, columns)
                compared = _compared(values, model, settings, n_cells - found)
                found += compared["cell"].nunique()
                where = cohort.cells.iloc[columns[compared.pop("cell").to_numpy()]].reset_index(drop=True)
                tables.append(pd.concat([where, compared], axis=1).assign(profile=dims, scalar=scalar))
        if found >= n_cells:
            break
    if not found:
        raise NothingSelectedError(f"no cell of model {model.name} can be fitted", "The fits' fit_status says why")
    table = pd.concat(tables, ignore_index=True).reindex(columns=names(SELFTEST))
    table = table.sort_values(["profile", "bundle", "scalar", "s", "r"], kind="stable", ignore_index=True)
    return SelfTest(table, model.name, model.design.formula.text, seed, settings.fitting.key)


def write_selftest(out: Path, found: SelfTest) -> Path:
    """Write the table and its sidecar beside the model's others."""
    path = selftest_file(out, found.model)
    versions = r_versions()
    facts = {
        "Formula": found.formula,
        "Fitting": found.fitting,
        "Seed": found.seed,
        "Cells": found.n_cells,
        "Limits": LIMITS,
        "Largest": {name: float(f"{value:.3g}") for name, value in found.largest.items()},
        "Agree": found.ok,
        "Summary": found.line,
        "Versions": versions,
        "SettingsHash": settings_hash(found.formula, found.fitting, found.seed, versions, LIMITS),
    }
    remove(path)
    write_json(path.with_suffix(".json"), {**facts, **sidecar(SELFTEST)})
    write_table(path, found.table)
    return path


def selftest_file(out: Path, model: str) -> Path:
    """Table of a model's self-test."""
    return model_dir(out, model) / f"model-{model}_selftest.tsv"


def read_finding(out: Path, model: GroupModel, settings: GroupSettings) -> tuple[str, bool] | None:
    """Line and verdict of a model's self-test; None if there is none of this formula and these fits."""
    try:
        facts = json.loads(selftest_file(out, model.name).with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if (facts.get("Formula"), facts.get("Fitting")) != (model.design.formula.text, settings.fitting.key):
        return None
    return str(facts["Summary"]), bool(facts["Agree"])


def _cohorts(settings: GroupSettings) -> dict[Dims, Cohort]:
    kinds: tuple[Dims, ...] = ("1D", "2D") if settings.profile == "both" else (settings.profile,)
    run = settings.run
    decisions = None if settings.qc_file is None else read_decisions(settings.qc_file)
    if settings.profile == "both" and not has_radial_bins(run.output_dir):
        kinds = ("1D",)
    return {
        d: read_cohort(
            run.output_dir, d, settings.scalars, run.participant_labels, run.session_labels, run.mem_gb, decisions
        )
        for d in kinds
    }


def _shuffled(cohorts: Mapping[Dims, Cohort], seed: int) -> pd.DataFrame:
    """All cells of all profiles and scalars, in random order: profile, scalar, column of the cohort."""

    def every() -> Iterator[tuple[str, str, NDArray[np.int64]]]:
        for dims, cohort in cohorts.items():
            for scalar in cohort.scalars:
                yield dims, scalar, np.arange(len(cohort.cells))

    parts = [pd.DataFrame({"profile": d, "scalar": s, "column": c}) for d, s, c in every()]
    table = pd.concat(parts, ignore_index=True)[_KEYS]
    return table.iloc[np.random.default_rng(seed).permutation(len(table))]


def _fitted_values(
    cohort: Cohort, model: GroupModel, settings: GroupSettings, scalar: str, columns: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Values of some cells as they are fitted, (n, columns); ComBat learns from all cells of a bundle."""
    measured = cohort.values[scalar]
    if settings.fitting.harmonize is None:
        return np.asarray(measured[np.ix_(model.sessions, columns)])
    out = np.empty((len(model.sessions), len(columns)))
    bundles = cohort.cells["bundle"].to_numpy(dtype=object)[columns]
    for bundle in dict.fromkeys(bundles):
        index = cohort.columns_of(str(bundle))
        whole = harmonized(settings.fitting, model, measured[np.ix_(model.sessions, index)])
        mine = np.flatnonzero(bundles == bundle)
        out[:, mine] = whole[:, np.searchsorted(index, columns[mine])]
    return out


def _compared(values: NDArray[np.float64], model: GroupModel, settings: GroupSettings, most: int) -> pd.DataFrame:
    """Both engines' numbers for the first `most` cells that can be fitted, contrast by contrast, and differences."""
    fitting = settings.fitting
    rows = {"weights": model.row_values(fitting.weights), "offset": model.row_values(fitting.offset)}
    how: dict[str, Any] = {"estimation": fitting.estimation, "min_subjects": fitting.min_subjects, **rows}
    ours = fit_cells(values, model.design, model.contrasts, **how)
    # What has too few values, or is constant, has no fit to compare; both engines count alike.
    able = ours.loc[~ours["fit_status"].isin(["too_few", "constant", "not_estimable"]), "cell"].unique()[:most]
    ours = ours[ours["cell"].isin(able)].reset_index(drop=True)
    theirs = fit_cells_lme4(values[:, able], model.design, model.contrasts, **how)
    both = ours[["contrast", "cell", "statistic", "n", *_NUMBERS]].assign(
        **{f"{name}_r": theirs[name].to_numpy() for name in _NUMBERS}
    )
    return both.assign(**differences(both))


def differences(both: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """Differences of two engines' numbers, as columns.SELFTEST says; NaN where one of them has none."""
    ours = {name: both[name].to_numpy(float) for name in _NUMBERS if name != "fit_status"}
    theirs = {name: both[f"{name}_r"].to_numpy(float) for name in ours}
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = {name: np.abs(ours[name] - theirs[name]) / np.abs(theirs[name]) for name in ours}
        estimate = np.abs(ours["estimate"] - theirs["estimate"]) / theirs["se"]
        whole = np.hypot(theirs["sd_random"], theirs["sd_residual"])
        spread = np.maximum(*(np.abs(ours[k] - theirs[k]) / whole for k in ("sd_random", "sd_residual")))
    single = (both["statistic"] == "t").to_numpy()
    vanished = (ours["p"] == 0) & (theirs["p"] < 1e-300)  # below the smallest double there is nothing to compare
    return {
        "d_estimate": np.where(single, estimate, relative["value"]),
        "d_se": relative["se"],
        "d_df": relative["df"],
        "d_p": np.where(vanished, 0.0, relative["p"]),
        "d_sd": spread,
    }
