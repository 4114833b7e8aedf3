"""The options of both levels, group by group as --help shows them."""

from __future__ import annotations

import argparse
from pathlib import Path


def selection(group: argparse._ArgumentGroup) -> None:
    """Who and what."""
    group.add_argument(
        "--participant-label",
        "--participant_label",
        nargs="+",
        default=[],
        metavar="LABEL",
        help="subjects, with or without sub-",
    )
    group.add_argument(
        "--session-label",
        "--session-id",
        "--session_label",
        nargs="+",
        default=[],
        metavar="LABEL",
        help="sessions, with or without ses-",
    )
    group.add_argument(
        "--bids-filter-file",
        type=Path,
        metavar="JSON",
        help='entities of inputs: {"bundle": {...}, "scalar": {...}, "xfm": {...}}; null = absent, "*" = any',
    )
    group.add_argument(
        "-d",
        "--derivatives",
        nargs="+",
        default=[],
        metavar="NAME=PATH",
        help="data sets that hold bundles, scalar maps, transforms; default BIDS_DIR/derivatives/*",
    )
    group.add_argument(
        "--scalars",
        nargs="+",
        default=["*"],
        metavar="NAME",
        help='scalar maps by parameter (fa) or full name (dki_fa); "*" = all (default)',
    )
    group.add_argument(
        "--bundle",
        nargs="+",
        default=[],
        metavar="NAME",
        help="bundles in any spelling; at group level fit only these (map step)",
    )
    group.add_argument("--bids-database-dir", type=Path, metavar="DIR", help="where pybids keeps its index")
    group.add_argument(
        "--skip-bids-validation",
        action="store_true",
        help="accepted for BIDS-Apps; inputs are checked file by file as they are used",
    )


def profiles(group: argparse._ArgumentGroup) -> None:
    """How profiles are made."""
    group.add_argument("--atlas", metavar="PATH", help="atlas directory; default $SPECTRA_BIDS_ATLAS")
    group.add_argument(
        "--registration",
        choices=("auto", "none", "xfm", "slr"),
        default="auto",
        help="how bundles reach atlas space (default auto: none, else transform, else streamlines)",
    )
    group.add_argument(
        "--min-streamlines", type=int, default=20, metavar="N", help="fewest streamlines of a bundle (20)"
    )
    group.add_argument("--min-points", type=int, default=5, metavar="N", help="fewest points of a cell (5)")
    group.add_argument(
        "-s", dest="s_len", type=float, default=5.0, metavar="MM", help="node spacing along the tract (5)"
    )
    group.add_argument("-r", dest="r_len", type=float, default=5.0, metavar="MM", help="radial bin width (5)")
    group.add_argument("--ns", type=int, metavar="N", help="number of nodes instead of -s")
    group.add_argument("--nr", type=int, metavar="N", help="number of radial bins instead of -r")
    group.add_argument(
        "--robust",
        choices=("linear", "spline", "none"),
        default="linear",
        help="how the centroid's ends are prolonged (linear)",
    )
    group.add_argument(
        "--radial",
        choices=("signed", "distance"),
        default="signed",
        help="signed coordinate across the bundle, or distance to its core (signed)",
    )
    group.add_argument(
        "--pictures",
        choices=("bundles", "none"),
        default="bundles",
        help="3D pictures of every bundle for the page: files in sub-*/figures, drawn once per subject (bundles)",
    )
    group.add_argument(
        "--include-mask",
        default="",
        metavar="NAME|PATH",
        help="only points in this mask count: the end of a BIDS name (desc-brain_mask), or a path with {subject}",
    )
    group.add_argument("--exclude-mask", default="", metavar="NAME|PATH", help="points in this mask do not count")
    group.add_argument(
        "--lesion-mask",
        default="",
        metavar="NAME|PATH",
        help="the share of each cell's points in it becomes its lesion_load; who has no such file has none",
    )
    group.add_argument(
        "--streamline-weights",
        default="",
        metavar="NAME",
        help="weights of streamlines (SIFT2): data of a TRX, or of text files beside the bundles that end in it",
    )


def model(group: argparse._ArgumentGroup) -> None:
    """Which model."""
    group.add_argument("--formula", default="", metavar="TEXT", help='such as "value ~ group + age + sex + (1|site)"')
    group.add_argument("--model", type=Path, metavar="JSON", help="BIDS Stats Models file, instead of --formula")
    group.add_argument("--model-name", default="", metavar="NAME", help="letters and digits; default from the formula")
    group.add_argument(
        "--contrast",
        nargs="+",
        default=[],
        metavar="TEXT|FILE",
        help='"patient_vs_control: group[patient]=1 group[control]=-1", or a TSV, CSV or JSON file',
    )
    group.add_argument(
        "--design", type=Path, metavar="FILE", help="design table (tsv, csv, xlsx); default participants.tsv"
    )
    group.add_argument(
        "--qc-file",
        type=Path,
        metavar="TSV",
        help="decisions of quality control; columns participant_id [, session_id, bundle], decision (accept or reject) "
        "[, reason]",
    )
    group.add_argument("--profile", choices=("1D", "2D", "both"), default="both", help="which profiles to test (both)")
    group.add_argument("--allow-partial", action="store_true", help="go on where bundles cannot be had")


def fitting(group: argparse._ArgumentGroup) -> None:
    """How it is fitted."""
    group.add_argument(
        "--engine",
        choices=("batched", "pymer4"),
        default="batched",
        help="all cells at once, or cell by cell through R's lmerTest (batched)",
    )
    group.add_argument(
        "--ddf",
        choices=("satterthwaite", "kenward-roger"),
        default="satterthwaite",
        help="degrees of freedom; kenward-roger needs --engine pymer4 (satterthwaite)",
    )
    group.add_argument("--estimation", choices=("reml", "ml"), default="reml", help="of variance components (reml)")
    group.add_argument(
        "--ci",
        choices=("wald", "profile"),
        default="wald",
        help="confidence intervals: estimate ± t SE, or profile likelihood with --engine pymer4 (wald)",
    )
    group.add_argument("--weights", default="", metavar="COLUMN", help="prior weights of the rows, as lme4's")
    group.add_argument("--offset", default="", metavar="COLUMN", help="part of the value that is known")
    group.add_argument(
        "--null-formula", default="", metavar="TEXT", help="nested model for a likelihood-ratio test of every cell"
    )
    group.add_argument("--min-subjects", type=int, metavar="N", help="fewest subjects of a cell (max(10, p + 5))")
    group.add_argument(
        "--harmonize", choices=("combat",), help="remove site effects by ComBat before the fit, instead of (1|site)"
    )
    group.add_argument("--harmonize-batch", default="", metavar="COLUMN", help="column of the batches (site)")
    group.add_argument(
        "--harmonize-covariates", nargs="+", default=[], metavar="COLUMN", help="columns whose effects ComBat keeps"
    )
    group.add_argument(
        "--harmonize-reference", default="", metavar="COLUMN=LEVEL", help="people whom ComBat is estimated from"
    )


def decision(group: argparse._ArgumentGroup) -> None:
    """How p values become decisions."""
    group.add_argument(
        "--stats-mode",
        "--stats_mode",
        choices=("hfdr", "hfdr_resel", "fdr", "perm"),
        default="hfdr",
        help="hierarchical FDR over bundles or over resels and their cells, plain FDR over cells, or permutation with "
        "family-wise error (hfdr)",
    )
    group.add_argument("--alpha", type=float, default=0.05, help="level of fdr and perm (0.05)")
    group.add_argument("--adaptive", action="store_true", help="fdr: two-stage adaptive procedure (BKY)")
    group.add_argument(
        "--alpha-block", "--alpha_block", type=float, default=0.05, help="hfdr: level over blocks (0.05)"
    )
    group.add_argument(
        "--alpha-cell",
        "--alpha_cell",
        type=float,
        nargs="+",
        default=[0.05],
        metavar="ALPHA",
        help="hfdr: level over cells; the first is confirmatory, others exploratory (0.05)",
    )
    group.add_argument(
        "--alpha-scalar", type=float, metavar="ALPHA", help="hfdr: a level over scalars on top; default none"
    )
    group.add_argument(
        "--combination",
        "--combination-method",
        "--combination_method",
        choices=("simes", "acat", "bonferroni", "minp-galwey", "gates", "fisher", "stouffer"),
        default="simes",
        help="how a block's p values become one; minp-galwey is too liberal for smooth fields, fisher and stouffer are "
        "refused (simes)",
    )
    group.add_argument(
        "--block", type=Path, metavar="TSV", help="hfdr: blocks of your own; columns bundle, s [, r], block"
    )
    group.add_argument("--n-permutations", type=int, default=5000, metavar="N", help="perm: permutations (5000)")
    group.add_argument(
        "--perm-statistic",
        choices=("max", "cluster", "tfce"),
        default="tfce",
        help="perm: what is compared with its maximum over the family (tfce)",
    )
    group.add_argument(
        "--exchange-within", default="", metavar="COLUMN", help="rows are exchanged within its levels only, e.g. site"
    )
    group.add_argument(
        "--exchange-whole",
        default="",
        metavar="COLUMN",
        help="all rows of a level are exchanged together, e.g. participant_id",
    )
    group.add_argument(
        "--calibrate",
        type=int,
        default=0,
        metavar="N",
        help="shuffle the tested label N times and report the error rates that the procedure has on these data",
    )
    group.add_argument(
        "--sensitivity", action="store_true", help="fit again without each site, and by least number of subjects"
    )
    group.add_argument(
        "--atlas-labels",
        nargs="+",
        default=[],
        metavar="VOLUME[=TABLE]|NAME",
        help="NIfTI labels (or 4D probabilities) in the atlas's space that name where findings lie, with the table of "
        "names beside them or after '='; or the name of one in $SPECTRA_BIDS_DATA_DIR/labels, or 'tissues'",
    )
    group.add_argument(
        "--report-level",
        choices=("person", "group"),
        default="person",
        help="group: the page and its figures hold no id, line or value of a single person; the tables in "
        "OUTPUT_DIR/group still do, and so does group_qc.html (person)",
    )


def running(group: argparse._ArgumentGroup) -> None:
    """Where and how to run."""
    group.add_argument("--n-procs", "--nprocs", type=int, metavar="N", help="processes; default: the cores there are")
    group.add_argument(
        "--dask-scheduler",
        metavar="ADDRESS",
        help="tcp://host:port of a Dask cluster that does the work instead (subjects; bundles at group level)",
    )
    group.add_argument("--omp-nthreads", type=int, default=1, metavar="N", help="threads per process (1)")
    group.add_argument("--mem", metavar="SIZE", help="memory bound, such as 8G")
    group.add_argument("-w", "--work-dir", type=Path, metavar="DIR", help="scratch space, outside BIDS_DIR")
    group.add_argument("--stop-on-first-crash", action="store_true", help="stop as soon as a subject fails")
    group.add_argument(
        "--reports-only",
        action="store_true",
        help="make the pages anew from the tables and pictures that are there; at participant level, once the group "
        "level has run, over the cohort's band",
    )
    group.add_argument("--dry-run", action="store_true", help="say what would be done")
    group.add_argument("--force", action="store_true", help="compute anew what is done already")
    group.add_argument(
        "--config-file", type=Path, metavar="TOML", help="options from a file, as logs/*/run.toml holds them"
    )
    group.add_argument(
        "--random-seed",
        type=int,
        default=0,
        metavar="N",
        help="seed of streamline registration, and of permutations and shuffles (0)",
    )
    group.add_argument("-v", "--verbose", action="count", default=0, help="say more; -vv even more")
