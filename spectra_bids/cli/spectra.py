"""SPECTRA's commands with SPECTRA's flags: spectra_lmm_fdr {single,aggregate}."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

_LMM_EPILOG = """examples:
  spectra_lmm_fdr single --metadata subjects.csv --root_dir profiles --output_dir results --bundle AF_L \\
      --stats_mode hfdr_resel
  spectra_lmm_fdr aggregate --metadata subjects.csv --root_dir profiles --output_dir results \\
      --bundle_list bundles.txt --stats_mode hfdr_resel --alpha_block 0.05 --alpha_cell 0.05 0.15 0.25

Without --formula the model is value ~ EFFECT + age + sex + (1|site), of what the metadata has; (1|subject) is added
where a subject has several rows. R is not needed."""


def lmm_parser() -> argparse.ArgumentParser:
    """The parser of spectra_lmm_fdr."""
    parser = argparse.ArgumentParser(
        prog="spectra_lmm_fdr",
        description="Mixed models at every grid cell of bundle profiles, and FDR or hierarchical FDR over all bundles. "
        "`single` fits one bundle (one job each); `aggregate` corrects over all and refits nothing.",
        epilog=_LMM_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    sub = parser.add_subparsers(dest="stage", required=True, metavar="{single,aggregate}")
    single = sub.add_parser("single", help="fit one bundle", allow_abbrev=False)
    aggregate = sub.add_parser("aggregate", help="correct over all bundles", allow_abbrev=False)
    for stage in (single, aggregate):
        _shared_options(stage)
    single.add_argument("--bundle", required=True, metavar="NAME", help="bundle to fit, as in the profiles' file names")
    aggregate.add_argument("--bundle_list", type=Path, required=True, metavar="FILE", help="text file, a bundle a line")
    aggregate.add_argument("--alpha", type=float, default=0.05, help="level of --stats_mode fdr (0.05)")
    aggregate.add_argument("--adaptive", action="store_true", help="fdr: the two-stage procedure of BKY 2006")
    aggregate.add_argument("--alpha_block", type=float, default=0.05, help="hfdr: level over blocks (0.05)")
    aggregate.add_argument(
        "--alpha_cell",
        type=float,
        nargs="+",
        default=[0.05],
        help="hfdr: level(s) within blocks (0.05); the first is confirmatory, the others exploratory",
    )
    aggregate.add_argument(
        "--combination_method",
        default="simes",
        metavar="NAME",
        help="hfdr: p of a block from its cells: simes (default), acat, bonferroni, minp-galwey, gates",
    )
    return parser


def _shared_options(stage: argparse.ArgumentParser) -> None:
    """Options of both stages."""
    stage.add_argument("--metadata", type=Path, required=True, help="CSV or TSV, a row per subject")
    stage.add_argument("--root_dir", type=Path, required=True, help="folder of the profiles")
    stage.add_argument("--output_dir", type=Path, required=True, help="folder of the results")
    add = stage.add_argument
    modes = "fdr: all cells; hfdr: blocks are bundles; hfdr_resel (default): blocks are resels"
    add("--stats_mode", choices=("fdr", "hfdr", "hfdr_resel"), default="hfdr_resel", help=modes)
    add("--effect", default="", metavar="COLUMN", help="term to test; default: the only two-level column")
    add("--formula", default="", help="model in lme4's syntax, e.g. 'value ~ dx + age + (1|site)'")
    add("--subject_column", default="", metavar="COLUMN", help="column that names the subjects' folders")
    place = "profile files below root_dir; {COLUMN} of the metadata may stand in it (%(default)s)"
    add("--pattern", default="{subject}/{bundle}_{map}.npz", help=place)
    add("--maps", nargs="+", default=[], metavar="NAME", help="maps to fit; default: all that are there")
    add("--profile", choices=("1d", "2d", "both"), default="2d", help="which profiles to fit (2d)")
    add("--min_subjects", type=int, metavar="N", help="fewest subjects of a cell; max(10, p + 5)")
    add("--allow_missing", action="store_true", help="leave out subjects who have no profile at all")


def lmm_fdr(arguments: Sequence[str]) -> int:
    """Run spectra_lmm_fdr; raises SpectraError."""
    options = lmm_parser().parse_args(arguments)
    from spectra_bids.cli.environment import some_home

    some_home()
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    from spectra_bids.lmm_fdr import Task, run_aggregate, run_single
    from spectra_bids.settings import DecisionSettings

    several = options.stage == "aggregate"
    decision = DecisionSettings(mode=options.stats_mode)
    if several:
        decision = DecisionSettings(
            mode=options.stats_mode,
            alpha=options.alpha,
            adaptive=options.adaptive,
            alpha_block=options.alpha_block,
            alpha_cell=tuple(options.alpha_cell),
            combination=options.combination_method,
        )
    task = Task(
        metadata=options.metadata,
        root_dir=options.root_dir,
        output_dir=options.output_dir,
        formula=options.formula,
        effect=options.effect,
        subject_column=options.subject_column,
        pattern=options.pattern,
        maps=tuple(options.maps),
        profile=options.profile,
        min_subjects=options.min_subjects,
        allow_missing=options.allow_missing,
        decision=decision,
    )
    made = run_aggregate(task, options.bundle_list) if several else [run_single(task, options.bundle)]
    for path in made:
        print(path)
    return 0


def main_lmm_fdr(argv: Sequence[str] | None = None) -> int:
    """Entry point of spectra_lmm_fdr; returns the exit status."""
    from spectra_bids.cli import limit_threads
    from spectra_bids.cli.guard import guarded

    arguments = list(sys.argv[1:] if argv is None else argv)
    limit_threads(arguments)
    return guarded(lambda: lmm_fdr(arguments))
