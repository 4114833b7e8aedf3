"""The BIDS-App's command line: parser, configuration file, and the settings made of them."""

from __future__ import annotations

import argparse
import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from spectra_bids import __version__
from spectra_bids.cli import options as option_groups
from spectra_bids.cli.config import read_config
from spectra_bids.errors import MissingInputError, OutputError, UsageError
from spectra_bids.settings import (
    DecisionSettings,
    FitSettings,
    GridSettings,
    GroupSettings,
    HarmonizeSettings,
    ParticipantSettings,
    PermutationSettings,
    PointSettings,
    ProfileSettings,
    RunSettings,
)

_EPILOG = """examples:
  spectra-bids study out participant --atlas atlas-hcp1065
  spectra-bids study out participant -d bundles=deriv/qsirecon-DSIStudio maps=deriv/qsirecon-DIPYDKI \\
      xfm=deriv/qsiprep --atlas atlas-hcp1065 --scalars fa md
  spectra-bids study out group --formula "value ~ group + age + sex + (1|site)"

tools (spectra-bids TOOL --help): demo, atlas, validate, slurm, plot, selftest, import-afq, import-tractseg,
  import-dsi2, index, label, ltpa, convert, merge, write-back, export, to-modelarray, export-results, voxels, review
exit status: 0 done, 1 a subject crashed, 2 usage, 16 data set invalid, 18 nothing selected, 65 input wrong,
  66 input missing, 73 output cannot be created, 75 run again (disk full, SIGTERM)
"""


def make_parser() -> argparse.ArgumentParser:
    """The parser of the BIDS-App triple; the one source of boutiques.json too."""
    parser = argparse.ArgumentParser(
        prog="spectra-bids",
        # All options at every mistake would hide what is wrong.
        usage="spectra-bids BIDS_DIR OUTPUT_DIR {participant,group} [options]     (--help lists them)",
        description="White-matter tractometry with spatial inference: profiles of bundles, mixed models per cell, "
        "hierarchical FDR, a report.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("bids_dir", type=Path, help="root of the BIDS data set")
    parser.add_argument("output_dir", type=Path, help="where outputs go; must not be BIDS_DIR")
    parser.add_argument("analysis_level", choices=("participant", "group"), help="which level to run")
    parser.add_argument("--version", action="version", version=f"spectra-bids {__version__}")
    parser.add_argument("--bids-exec-spec", action=_ExecSpec, help="print the Boutiques description and exit")
    option_groups.selection(parser.add_argument_group("selection"))
    option_groups.profiles(parser.add_argument_group("profiles (participant)"))
    option_groups.model(parser.add_argument_group("model (group)"))
    option_groups.fitting(parser.add_argument_group("fits (group)"))
    option_groups.decision(parser.add_argument_group("inference (group)"))
    option_groups.running(parser.add_argument_group("running"))
    return parser


class _ExecSpec(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest=argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from spectra_bids.cli.boutiques import describe

        print(json.dumps(describe(parser), indent=2))
        parser.exit()


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parsed options; those of --config-file come between defaults and the command line."""
    parser = make_parser()
    pre = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    pre.add_argument("--config-file", type=Path)
    early, _ = pre.parse_known_args(list(arguments))
    if early.config_file is not None:
        parser.set_defaults(**read_config(early.config_file, parser))
    return parser.parse_args(list(arguments))


def run_settings(options: argparse.Namespace, arguments: Sequence[str], run_uuid: str) -> RunSettings:
    """What the options say about where and how."""
    bids, out = options.bids_dir, options.output_dir
    if not bids.is_dir():
        raise MissingInputError(f"BIDS_DIR {bids} is not a folder")
    if out.resolve() == bids.resolve():
        raise UsageError(
            f"OUTPUT_DIR must not be BIDS_DIR. Got {out} for both", "Use BIDS_DIR/derivatives/spectra_bids"
        )
    if out.exists() and not out.is_dir():
        raise OutputError(f"OUTPUT_DIR {out} is a file, expected a folder or nothing")
    for flag, folder in (("--work-dir", options.work_dir), ("--bids-database-dir", options.bids_database_dir)):
        if folder is not None and folder.resolve().is_relative_to(bids.resolve()):
            raise UsageError(f"{flag} must not lie in BIDS_DIR, which is only read. Got {folder}", "Name another place")
    return RunSettings(
        bids_dir=bids,
        output_dir=out,
        derivatives=tuple(_named(text) for text in options.derivatives),
        participant_labels=tuple(x.removeprefix("sub-") for x in options.participant_label),
        session_labels=tuple(x.removeprefix("ses-") for x in options.session_label),
        bids_filters=_filters(options.bids_filter_file),
        bids_database_dir=options.bids_database_dir,
        skip_bids_validation=options.skip_bids_validation,
        work_dir=options.work_dir,
        n_procs=_positive(options.n_procs, "--n-procs") or len(os.sched_getaffinity(0)),
        omp_nthreads=_positive(options.omp_nthreads, "--omp-nthreads") or 1,
        mem_gb=gigabytes(options.mem),
        stop_on_first_crash=options.stop_on_first_crash,
        reports_only=options.reports_only,
        dry_run=options.dry_run,
        force=options.force,
        verbose=options.verbose,
        dask_scheduler=_address(options.dask_scheduler),
        command="spectra-bids " + shlex.join(arguments),
        run_uuid=run_uuid,
    )


def _named(text: str) -> tuple[str, Path]:
    name, sep, path = text.partition("=")
    if not sep:
        name, path = Path(text).resolve().name, text
    name = "".join(c for c in name if c.isalnum() or c in "-_")
    if not name or not path:
        raise UsageError(f"-d takes NAME=PATH. Got {text!r}")
    return name, Path(path)


def _address(text: str | None) -> str:
    """Address of a scheduler: protocol://host:port."""
    import re

    if text is not None and not re.fullmatch(r"[a-z]+://\S+:\d+", text):
        raise UsageError(f"--dask-scheduler takes an address such as tcp://host:8786. Got {text!r}")
    return text or ""


def _positive(value: int | None, flag: str) -> int | None:
    if value is not None and value < 1:
        raise UsageError(f"{flag} must be at least 1. Got {value}")
    return value


def _filters(path: Path | None) -> str:
    if path is None:
        return "{}"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingInputError(f"--bids-filter-file {path} does not exist") from error
    except ValueError as error:
        raise UsageError(f"--bids-filter-file {path} is not JSON: {error}") from error
    kinds = {"bundle", "scalar", "xfm"}
    if not isinstance(content, dict) or set(content) - kinds or not all(isinstance(v, dict) for v in content.values()):
        raise UsageError(f"--bids-filter-file {path} must hold objects named {', '.join(sorted(kinds))}")
    return json.dumps(content, sort_keys=True)


def gigabytes(text: str | None) -> float | None:
    """A size such as 8G or 500M in GB."""
    if text is None:
        return None
    factor = {"M": 1e-3, "G": 1.0, "T": 1e3}
    number, unit = text.upper().removesuffix("B").removesuffix("I"), "G"
    if number and number[-1] in factor:
        number, unit = number[:-1], number[-1]
    try:
        size = float(number) * factor[unit]
    except ValueError as error:
        raise UsageError(f"--mem takes a size such as 8G or 500M. Got {text!r}") from error
    if size <= 0:
        raise UsageError(f"--mem must be above 0. Got {text!r}")
    return size


def participant_settings(options: argparse.Namespace, run: RunSettings) -> ParticipantSettings:
    """Settings of the participant level."""
    where = options.atlas or os.environ.get("SPECTRA_BIDS_ATLAS")
    if not where:
        raise MissingInputError(
            "no atlas: neither --atlas nor $SPECTRA_BIDS_ATLAS is given",
            "Get one with 'spectra-bids atlas fetch hcp1065' ('atlas list' shows which there are), or make one of your "
            "own bundles with 'spectra-bids atlas build'",
        )
    from spectra_bids.dataset.atlas_store import find_atlas

    grid = GridSettings(options.s_len, options.r_len, options.ns, options.nr, options.robust, options.radial)
    points = PointSettings(options.include_mask, options.exclude_mask, options.lesion_mask, options.streamline_weights)
    profile = ProfileSettings(
        grid, options.min_streamlines, options.min_points, options.registration, options.random_seed, points
    )
    return ParticipantSettings(
        run, find_atlas(where), tuple(options.scalars), tuple(options.bundle), profile, options.pictures
    )


def group_settings(options: argparse.Namespace, run: RunSettings) -> GroupSettings:
    """Settings of the group level."""
    return GroupSettings(
        run=run,
        formula=options.formula,
        model_file=options.model,
        model_name=options.model_name,
        design=options.design,
        contrasts=tuple(options.contrast),
        scalars=tuple(options.scalars),
        bundles=tuple(options.bundle),
        profile=options.profile,
        fitting=_fit_settings(options),
        decision=_decision_settings(options),
        allow_partial=options.allow_partial,
        calibrate=options.calibrate,
        sensitivity=options.sensitivity,
        qc_file=options.qc_file,
        atlas_labels=tuple(options.atlas_labels),
        report_level=options.report_level,
    )


def _fit_settings(options: argparse.Namespace) -> FitSettings:
    harmonize = None
    if options.harmonize:
        harmonize = HarmonizeSettings(
            options.harmonize_batch or "site", tuple(options.harmonize_covariates), options.harmonize_reference
        )
    elif options.harmonize_batch or options.harmonize_covariates or options.harmonize_reference:
        raise UsageError("--harmonize-batch, -covariates and -reference belong to --harmonize combat")
    return FitSettings(
        engine=options.engine,
        ddf=options.ddf,
        estimation=options.estimation,
        interval=options.ci,
        weights=options.weights,
        offset=options.offset,
        null_formula=options.null_formula,
        min_subjects=_positive(options.min_subjects, "--min-subjects"),
        harmonize=harmonize,
    )


def _decision_settings(options: argparse.Namespace) -> DecisionSettings:
    if options.combination in ("fisher", "stouffer"):
        from spectra_bids.inference.combine import require_combination

        require_combination(options.combination)
    if options.combination != "simes" and not options.stats_mode.startswith("hfdr"):
        raise UsageError("--combination belongs to --stats-mode hfdr or hfdr_resel", f"Got {options.stats_mode}")
    return DecisionSettings(
        mode=options.stats_mode,
        alpha=options.alpha,
        adaptive=options.adaptive,
        alpha_block=options.alpha_block,
        alpha_cell=tuple(options.alpha_cell),
        combination=options.combination,
        block_file=options.block,
        alpha_scalar=options.alpha_scalar,
        permutation=PermutationSettings(
            options.n_permutations,
            options.perm_statistic,
            options.exchange_within,
            options.exchange_whole,
            options.random_seed,
        ),
    )


def run_app(arguments: Sequence[str]) -> int:
    """Run one level."""
    options = parse(arguments)
    from spectra_bids.cli.environment import writable_environment
    from spectra_bids.cli.logs import new_run

    run = run_settings(options, arguments, new_run())
    with writable_environment(run.work_dir, run.output_dir):  # before what needs a temporary directory is imported
        return _run_level(options, run)


def _run_level(options: argparse.Namespace, run: RunSettings) -> int:
    from spectra_bids.cli.logs import start_logs

    if options.analysis_level == "participant":
        from spectra_bids.participant import run as run_participant

        settings = participant_settings(options, run)
        if not run.dry_run:
            start_logs(run, options)
        return run_participant(settings)
    from spectra_bids.group import run as run_group

    chosen = group_settings(options, run)
    if not run.dry_run:
        start_logs(run, options)
    return run_group(chosen)
