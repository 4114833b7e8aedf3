"""The command that makes a model's outputs, as its page shows it: the same whatever was said of processes."""

from __future__ import annotations

import shlex

from spectra_bids.settings import DecisionSettings, FitSettings, GroupSettings, PermutationSettings


def group_command(settings: GroupSettings, name: str) -> str:
    """Command line of a model; options that do not count for it, or stand at their default, are left out."""
    run = settings.run
    words = ["spectra-bids", str(run.bids_dir), str(run.output_dir), "group", "--model-name", name]
    words += _selected(settings)
    words += ["--formula", settings.formula] if settings.formula else ["--model", str(settings.model_file)]
    words += ["--design", str(settings.design)] if settings.design else []
    words += ["--qc-file", str(settings.qc_file)] if settings.qc_file else []
    words += ["--contrast", *settings.contrasts] if settings.contrasts else []
    words += ["--scalars", *settings.scalars, "--profile", settings.profile]
    words += [*_fitting(settings.fitting), *_decision(settings.decision)]
    words += ["--allow-partial"] if settings.allow_partial else []
    words += _calibration(settings) if settings.calibrate else []
    words += ["--sensitivity"] if settings.sensitivity else []
    words += ["--atlas-labels", *settings.atlas_labels] if settings.atlas_labels else []
    words += ["--report-level", settings.report_level] if settings.report_level != "person" else []
    return shlex.join(words)


def _selected(settings: GroupSettings) -> list[str]:
    """Who was selected; at --report-level group only how many."""
    run = settings.run
    people: list[str] = list(run.participant_labels)
    if people and settings.report_level == "group":
        people = [f"<{len(people)} not shown>"]
    words = ["--participant-label", *people] if people else []
    return [*words, *(["--session-label", *run.session_labels] if run.session_labels else [])]


def _fitting(fitting: FitSettings) -> list[str]:
    default = FitSettings()
    flags = {"--engine": "engine", "--ddf": "ddf", "--estimation": "estimation", "--ci": "interval",
             "--weights": "weights", "--offset": "offset", "--null-formula": "null_formula",
             "--min-subjects": "min_subjects"}  # fmt: skip
    words = []
    for flag, field in flags.items():
        value = getattr(fitting, field)
        words += [flag, str(value)] if value != getattr(default, field) else []
    if fitting.harmonize is not None:
        words += ["--harmonize", "combat", "--harmonize-batch", fitting.harmonize.batch]
        words += ["--harmonize-covariates", *fitting.harmonize.covariates] if fitting.harmonize.covariates else []
        words += ["--harmonize-reference", fitting.harmonize.reference] if fitting.harmonize.reference else []
    return words


def _decision(decision: DecisionSettings) -> list[str]:
    words = ["--stats-mode", decision.mode]
    if not decision.hierarchical:
        words += ["--alpha", f"{decision.alpha:.12g}", *(["--adaptive"] if decision.adaptive else [])]
        return words + (_permutation(decision.permutation) if decision.mode == "perm" else [])
    words += ["--alpha-block", f"{decision.alpha_block:.12g}"]
    words += ["--alpha-cell", *(f"{a:.12g}" for a in decision.alpha_cell)]
    words += ["--alpha-scalar", f"{decision.alpha_scalar:.12g}"] if decision.alpha_scalar is not None else []
    words += ["--combination", decision.combination] if decision.combination != "simes" else []
    words += ["--block", str(decision.block_file)] if decision.block_file else []
    return words


def _calibration(settings: GroupSettings) -> list[str]:
    return ["--calibrate", str(settings.calibrate), *_exchange(settings.decision.permutation)]


def _permutation(chosen: PermutationSettings) -> list[str]:
    words = ["--n-permutations", str(chosen.n), "--perm-statistic", chosen.statistic]
    return [*words, *_exchange(chosen)]


def _exchange(chosen: PermutationSettings) -> list[str]:
    words = ["--exchange-within", chosen.within] if chosen.within else []
    words += ["--exchange-whole", chosen.whole] if chosen.whole else []
    return [*words, "--random-seed", str(chosen.random_seed)]
