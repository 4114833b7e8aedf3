"""Voxel-wise analysis from the command line: `spectra-bids voxels`, `spectra-bids review`."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

_EPILOG = """examples:
  spectra-bids voxels OUT --design dm.xlsx --mask brain_mask.nii.gz --formula "value ~ age + sex + apoe4" \\
      --contrasts contrasts.tsv --analysis-name vbm_analysis
  spectra-bids voxels OUT --input-hdf5 FA.h5 --design cohort_FA.csv --mask group_mask.nii.gz \\
      --formula "value ~ age + sex + (1|site)" --stats-mode hfdr --blocks regions_dseg.nii.gz
"""


def voxels(arguments: Sequence[str]) -> int:
    """`spectra-bids voxels OUT --design TABLE --mask MASK --formula FORMULA`."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.out is None:
        parser.error(
            "OUT is missing, the output folder. Put it first, or before --centre and --atlas-labels: these take all "
            "words that follow them"
        )
    from spectra_bids.cli.app import gigabytes
    from spectra_bids.cli.environment import writable_environment
    from spectra_bids.settings import DecisionSettings
    from spectra_bids.voxels import run
    from spectra_bids.voxels.settings import DisplaySettings, VoxelSettings

    decision = DecisionSettings(
        mode=options.stats_mode,
        alpha=options.alpha,
        adaptive=options.adaptive,
        alpha_block=options.alpha_block,
        alpha_cell=(options.alpha_cell,),
        combination=options.combination,
        block_file=Path(options.blocks.partition("=")[0]) if options.blocks and options.stats_mode == "hfdr" else None,
    )
    display = DisplaySettings(
        options.threshold, options.k, options.connectivity, options.min_distance, options.radius, options.background
    )
    settings = VoxelSettings(
        out=options.out,
        design=options.design,
        mask=options.mask,
        formula=options.formula,
        name=options.analysis_name,
        hdf5=options.input_hdf5,
        scalar=options.scalar,
        contrasts=tuple(options.contrasts),
        centre=tuple(part for text in options.centre for part in text.split(",") if part),
        blocks=options.blocks,
        labels=tuple(options.atlas_labels),
        decision=decision,
        tails=options.tails,
        min_subjects=options.min_subjects,
        display=display,
        mem_gb=gigabytes(options.mem),
        work_dir=options.work_dir,
        force=options.force,
        command=shlex.join(["spectra-bids", "voxels", *_lasting(arguments)]),
    )
    with writable_environment(options.work_dir, options.out):
        return run(settings)


def _lasting(arguments: Sequence[str]) -> list[str]:
    """The arguments without those that change no number: outputs do not depend on them."""
    out: list[str] = []
    skip = False
    for argument in arguments:
        flag = argument.partition("=")[0]
        if skip:
            skip = False
        elif flag in ("--mem", "--work-dir", "-w"):
            skip = "=" not in argument
        elif flag != "--force":
            out.append(argument)
    return out


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spectra-bids voxels",
        description="One model per voxel of a mask, by the engine of the bundles' cells: ordinary least squares, or "
        "mixed models with Satterthwaite's degrees of freedom. Maps, tables of peaks, pictures, a page.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    # optional to argparse alone, whose own message would not say where it went
    parser.add_argument("out", type=Path, nargs="?", metavar="OUT", help="output folder; the analysis goes to OUT/NAME")
    data = parser.add_argument_group("data")
    data.add_argument(
        "--design", type=Path, required=True, metavar="FILE",
        help=".xlsx, .csv or .tsv; the first column names the images, relative to the table",
    )  # fmt: skip
    data.add_argument("--mask", type=Path, required=True, metavar="NIFTI", help="voxels above 0 are analysed")
    data.add_argument("--input-hdf5", type=Path, metavar="H5", help="ModelArray file that holds the values instead")
    data.add_argument("--scalar", default="", metavar="NAME", help="scalar of that file, if it holds several")
    model = parser.add_argument_group("model")
    model.add_argument("--formula", default="", metavar="TEXT", help='such as "value ~ age + sex + (1|site)"')
    model.add_argument(
        "--contrasts", "--contrast", action="append", default=[], metavar="TEXT|FILE",
        help="'name: column=weight ...', or a table with the columns name, type (T, F), columns, weights; may be "
        "repeated; default: every term",
    )  # fmt: skip
    model.add_argument("--analysis-name", default="voxels", metavar="NAME", help="name of folder, page and results")
    model.add_argument(
        "--centre", nargs="+", default=["all"], metavar="COLUMN",
        help="numeric covariates that are centred on their mean: all (default), none, or names",
    )  # fmt: skip
    model.add_argument("--min-subjects", type=int, metavar="N", help="fewest subjects of a voxel (max(10, p + 5))")
    choice = parser.add_argument_group("decisions")
    choice.add_argument(
        "--stats-mode", choices=("fdr", "hfdr"), default="fdr", help="over the mask, or by regions (fdr)"
    )
    choice.add_argument("--tails", choices=("two", "one"), default="two",
                        help="p of T contrasts: two-sided, or in their direction, as SPM has it (two)")  # fmt: skip
    choice.add_argument("--alpha", type=float, default=0.05, help="level of fdr (0.05)")
    choice.add_argument("--adaptive", action="store_true", help="fdr by Benjamini, Krieger and Yekutieli")
    choice.add_argument(
        "--blocks", default="", metavar="DSEG", help="volume of regions, or VOLUME=TABLE: blocks of hfdr"
    )
    choice.add_argument("--alpha-block", type=float, default=0.05, help="level over regions (0.05)")
    choice.add_argument("--alpha-cell", type=float, default=0.05, help="level over voxels of selected regions (0.05)")
    choice.add_argument("--combination", choices=("simes", "acat", "bonferroni"), default="simes",
                        help="of a region's p values (simes)")  # fmt: skip
    shown = parser.add_argument_group("pictures and tables of peaks")
    shown.add_argument("--threshold", type=float, default=3.10, help="of the statistic that is shown (3.10)")
    shown.add_argument("-k", type=int, default=10, metavar="VOXELS", help="smallest cluster (10)")
    shown.add_argument(
        "--atlas-labels", "--labels", nargs="+", default=[], metavar="DSEG",
        help="volumes of labels, VOLUME=TABLE, or names of kept ones; default: those of --blocks",
    )  # fmt: skip
    shown.add_argument("--connectivity", type=int, choices=(6, 18, 26), default=18, help="neighbours of a voxel (18)")
    shown.add_argument("--min-distance", type=float, default=8.0, metavar="MM", help="between extended maxima (8)")
    shown.add_argument("--radius", type=float, default=10.0, metavar="MM", help="around extended maxima (10)")
    shown.add_argument("--background", type=Path, metavar="NIFTI", help="image under the slices; default: MNI152")
    how = parser.add_argument_group("running")
    how.add_argument("--mem", metavar="SIZE", help="memory bound, such as 8G")
    how.add_argument("-w", "--work-dir", type=Path, metavar="DIR", help="scratch space for the images' values")
    how.add_argument("--force", action="store_true", help="compute anew what is done already")
    return parser


def review(arguments: Sequence[str]) -> int:
    """`spectra-bids review OUT`."""
    parser = argparse.ArgumentParser(
        prog="spectra-bids review",
        description="Say how many inputs, which contrasts and which files the voxel-wise analyses of a folder have.",
        allow_abbrev=False,
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="output folder of spectra-bids voxels")
    parser.add_argument("--analysis-name", default="", metavar="NAME", help="one of them; default: all")
    options = parser.parse_args(arguments)
    from spectra_bids.voxels.review import find_analyses, review_text

    print("\n\n".join(review_text(path) for path in find_analyses(options.out, options.analysis_name)))
    return 0
