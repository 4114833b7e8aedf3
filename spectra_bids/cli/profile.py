"""SPECTRA's command with SPECTRA's flags: spectra_profile. The parser; what it does is in bundle_profile.py."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from spectra_bids.cli.flags import count, flag, natural, positive

_EPILOG = """examples:
  spectra_profile -rec AF_L__rec.trk -org AF_L__org.trk -ref AF_L__atlas.trk -maps fa.nii.gz md.nii.gz \\
      -profiles outputs/AF_L_fa outputs/AF_L_md -s 5 -r 5 -robust linear
  spectra_profile -rec CST_L.tck.gz -ref atlas/CST_L.trk -maps fa_mni.nii.gz -profiles sub-01/CST_L_fa -mask wm.nii.gz

Each file holds ns, nr, s_len, r_len, profile_1d (ns,), profile_2d (ns, nr); missing values are NaN. spectra_viz draws
them, spectra_lmm_fdr tests them."""


def profile_parser() -> argparse.ArgumentParser:
    """The parser of spectra_profile; options are written with one dash, as SPECTRA's users type them, or with two."""
    parser = argparse.ArgumentParser(
        prog="spectra_profile",
        description="1D (along the tract) and 2D (along x radial) profiles of one bundle: one .npz per map.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    files = parser.add_argument_group("files (.trk .tck .trx .trk.gz .tck.gz .tt.gz; maps .nii .nii.gz)")
    flag(files, "rec", type=Path, required=True, metavar="BUNDLE", help="bundle in the atlas's space: places")
    same = "the same streamlines, same order, in the maps' space: values; default: -rec, where the spaces agree"
    flag(files, "org", type=Path, metavar="BUNDLE", help=same)
    flag(files, "ref", type=Path, required=True, metavar="BUNDLE", help="atlas bundle: it defines the grid")
    flag(files, "maps", type=Path, nargs="+", required=True, metavar="MAP", help="scalar maps in the space of -org")
    names = "files to write, one for each map; .npz is added"
    flag(files, "profiles", type=Path, nargs="+", required=True, metavar="NAME", help=names)
    flag(files, "mask", type=Path, metavar="MASK", help="points in voxels of 0 do not count; in the space of -org")
    grid = parser.add_argument_group("grid")
    flag(grid, "s", dest="s_len", type=positive, default=5.0, metavar="MM", help="node spacing (5 mm)")
    flag(grid, "r", dest="r_len", type=positive, default=5.0, metavar="MM", help="radial bin width (5 mm)")
    flag(grid, "ns", type=count, metavar="N", help="number of nodes, instead of -s")
    flag(grid, "nr", type=count, metavar="N", help="number of radial bins, instead of -r (sparse ones merge)")
    ends = "how the centroid is prolonged to where the atlas streamlines end (linear); none: not at all"
    flag(grid, "robust", choices=("linear", "spline", "none"), default="linear", help=ends)
    least = parser.add_argument_group("what is too little")
    few = "bundles with fewer streamlines have NaN everywhere (20)"
    flag(least, "min_lines", type=natural, default=20, metavar="N", help=few)
    flag(least, "min_points", type=count, default=5, metavar="N", help="cells with fewer valid points are NaN (5)")
    return parser


def profile(arguments: Sequence[str]) -> int:
    """Run spectra_profile; raises SpectraError."""
    options = profile_parser().parse_args(arguments)
    from spectra_bids.cli.environment import some_home

    some_home()
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    from spectra_bids.bundle_profile import ProfileTask, run_profile

    given = vars(options)
    task = ProfileTask(**(given | {"maps": tuple(options.maps), "profiles": tuple(options.profiles)}))
    for path in run_profile(task):
        print(path)
    return 0


def main_profile(argv: Sequence[str] | None = None) -> int:
    """Entry point of spectra_profile; returns the exit status."""
    from spectra_bids.cli import limit_threads
    from spectra_bids.cli.guard import guarded

    arguments = list(sys.argv[1:] if argv is None else argv)
    limit_threads(arguments)
    return guarded(lambda: profile(arguments))
