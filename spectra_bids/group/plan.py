"""What a group run would do and take: --dry-run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from spectra_bids.estimate import ModelSize, bundle_fit, duration, group_level, group_memory, least_mem
from spectra_bids.group.model import GroupModel
from spectra_bids.group.tables import Cohort, Dims
from spectra_bids.group.values import FiledValues
from spectra_bids.settings import GroupSettings


def print_plan(
    settings: GroupSettings, model: GroupModel, cohorts: Mapping[Dims, Cohort], wanted: Sequence[str]
) -> None:
    """Print model, people and bundles, and an estimate of time and memory; nothing is written."""
    design = model.design
    print(f"Model {model.name}: {design.formula.text}")
    print(f"{design.n} sessions of {len(np.unique(design.subjects))} subjects; columns {', '.join(design.columns)}")
    for who, why in model.dropped:
        print(f"  not in the model: {who} ({why})")
    if settings.qc_file is not None:
        rejected = next(iter(cohorts.values())).absence == "qc_fail"
        n, people = int(rejected.sum()), int(rejected.any(axis=1).sum())
        print(f"{settings.qc_file} rejects {n} bundle{'s' * (n != 1)} of {people} session{'s' * (people != 1)}")
    print(f"Tested: {', '.join(c.name for c in model.contrasts)}; {settings.decision.mode}")
    extra = [
        flag
        for flag, used in (
            ("--engine pymer4", settings.fitting.engine != "batched"),
            ("--stats-mode perm", settings.decision.mode == "perm"),
            ("--calibrate", bool(settings.calibrate)),
            ("--sensitivity", settings.sensitivity),
        )
        if used
    ]
    cells = {d: {b: len(c.columns_of(b)) for b in wanted} for d, c in cohorts.items()}
    for dims, of in cells.items():
        print(f"{dims}: {len(wanted)} bundles, {sum(of.values())} cells x {len(cohorts[dims].scalars)} scalars")
    if extra:
        print(f"\nThe estimate knows the built-in engine and one fit per cell alone: {', '.join(extra)} takes longer")
    print("\nEstimate, within a factor of 2 on an idle machine (CPU time of the fits, memory):")
    size = model_size(model)
    scalars = max(len(c.scalars) for c in cohorts.values())
    width = max(len(b) for b in wanted)
    print(f"  {'bundle':<{width}}" + "".join(f" {'cells ' + d:>9} {'fits':>8}" for d in cells) + f" {'memory':>9}")
    for bundle in wanted:
        fits = [bundle_fit(size, of[bundle], scalars) for of in cells.values()]
        columns = "".join(
            f" {of[bundle]:>9} {duration(fit.seconds):>8}" for of, fit in zip(cells.values(), fits, strict=True)
        )
        print(f"  {bundle:<{width}}{columns} {max(f.memory_gb for f in fits):>6.2f} GB")
    filed = any(isinstance(c.values, FiledValues) for c in cohorts.values())
    total = group_level(size, [list(of.values()) for of in cells.values()], scalars, in_memory=not filed)
    least = max(group_memory(len(c.sessions), list(cells[d].values()), scalars) for d, c in cohorts.items())
    print(f"  all bundles, tables and page, in one process: {total}; values in {'a file' if filed else 'memory'}, "
          f"least --mem {least_mem(least)}")  # fmt: skip


def model_size(model: GroupModel) -> ModelSize:
    """What the estimate needs of a model."""
    design = model.design
    levels = 0 if design.groups is None else len(np.unique(design.groups))
    return ModelSize(design.n, design.X.shape[1], levels, len(model.contrasts))
