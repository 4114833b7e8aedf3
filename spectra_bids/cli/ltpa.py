"""`spectra-bids ltpa DERIVATIVE OUT ...`: local termination pattern analysis."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spectra_bids.cli.dsi2 import joined_places, numbers, voxel

if TYPE_CHECKING:
    from spectra_bids.ltpa.settings import LtpaSettings

_EPILOG = """examples:
  spectra-bids ltpa study/derivatives/dsi2 out --labeling Lausanne_scale-33 --sphere -24,-12,30,6 \\
      --formula "value ~ group + age"
  spectra-bids ltpa study/derivatives/dsi2 out --labeling aparc --mask roi.nii.gz --formula "value ~ group" \\
      --contrast "p_vs_c: group[patient]=1 group[control]=-1"
  spectra-bids ltpa study/derivatives/dsi2 out --labeling aparc --every-voxel-of white.nii.gz --formula "value ~ group"
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spectra-bids ltpa",
        description="Do the streamlines through a place end elsewhere in one group than in another? Per session the "
        "distribution over pairs of end regions; compared pair by pair (family-wise) and as a whole, by permutation.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("derivative", type=Path, help="data set with tractograms and *_tracklabels.npz")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--labeling", required=True, metavar="NAME", help="such as Lausanne_scale-33")
    place = parser.add_argument_group("place (one of them)")
    place.add_argument("--sphere", metavar="x,y,z,r", help="mm RAS+")
    place.add_argument("--voxel", metavar="i,j,k", help="counted from 0, of --ref")
    place.add_argument("--mask", type=Path, metavar="NII", help="voxels that are not 0")
    place.add_argument("--every-voxel-of", type=Path, metavar="NII", help="each voxel of a mask in turn: maps")
    parser.add_argument("--ref", type=Path, metavar="NII", help="image whose voxels are meant (the first label volume)")
    parser.add_argument("--formula", required=True, help='as at group level, "value ~ group + age + (1|site)"')
    parser.add_argument("--contrast", nargs="+", default=[], metavar="TEXT|FILE", help="default: every term")
    parser.add_argument("--bids-dir", type=Path, metavar="DIR", help="holds participants.tsv (of the data set's own)")
    parser.add_argument("--design", type=Path, metavar="FILE", help=".tsv, .csv or .xlsx in place of participants.tsv")
    parser.add_argument("--measure", choices=("share", "count"), default="share", help="what is compared (share)")
    parser.add_argument(
        "--min-share",
        type=float,
        default=0.01,
        metavar="X",
        help="pairs of a lower mean share are taken together (.01)",
    )
    parser.add_argument(
        "--min-streamlines", type=int, default=10, metavar="N", help="fewest labelled streamlines of a session (10)"
    )
    parser.add_argument("--min-subjects", type=int, metavar="N", help="fewest people of a test")
    parser.add_argument("--n-permutations", type=int, default=5000, metavar="N", help="(5000)")
    parser.add_argument("--exchange-within", default="", metavar="COLUMN", help="exchange only within its levels")
    parser.add_argument("--exchange-whole", default="", metavar="COLUMN", help="rows of a level move together")
    parser.add_argument("--random-seed", type=int, default=0, metavar="N", help="seed of the permutations (0)")
    parser.add_argument("--any-space", action="store_true", help="names of tractograms need not say a common space")
    parser.add_argument("--name", default="", metavar="TEXT", help="of the analysis; default: made of the formula")
    return parser


def ltpa(arguments: Sequence[str]) -> int:
    """`spectra-bids ltpa DERIVATIVE OUT`."""
    options = _parser().parse_args(joined_places(arguments))
    from spectra_bids.ltpa import run
    from spectra_bids.report.ltpa import outcome

    settings = _settings(options, arguments)
    results = run(settings)
    compared = int((results.sessions["in_model"] == "yes").sum())
    print(f"{compared} of {len(results.sessions)} sessions compared; {settings.place.words}")
    search = settings.place.every_voxel_of is not None
    for row in results.summary.to_dict("records"):
        print(outcome({str(key): value for key, value in row.items()}, settings.place.words, search))
    print(f"Page: {results.page}")
    return 0


def _settings(options: argparse.Namespace, arguments: Sequence[str]) -> LtpaSettings:
    from spectra_bids.ltpa.settings import LtpaSettings, Place
    from spectra_bids.settings import PermutationSettings

    sphere = None
    if options.sphere is not None:
        x, y, z, r = numbers(options.sphere, 4, "--sphere")
        sphere = (x, y, z, r)
    place = Place(sphere, None if options.voxel is None else voxel(options.voxel), options.mask, options.every_voxel_of)
    chosen = PermutationSettings(
        options.n_permutations, "max", options.exchange_within, options.exchange_whole, options.random_seed
    )
    return LtpaSettings(
        derivative=options.derivative,
        out=options.out,
        bids_dir=options.bids_dir or _bids_dir(options.derivative),
        labeling=options.labeling,
        place=place,
        formula=options.formula,
        contrasts=tuple(options.contrast),
        design=options.design,
        reference=options.ref,
        measure=options.measure,
        min_share=options.min_share,
        min_streamlines=options.min_streamlines,
        min_subjects=options.min_subjects,
        permutation=chosen,
        any_space=options.any_space,
        name=options.name,
        command=shlex.join(["spectra-bids", "ltpa", *arguments]),
    )


def _bids_dir(derivative: Path) -> Path:
    """The data set that a derivative lies in; itself, if it lies in none."""
    path = derivative.resolve()
    return path.parent.parent if path.parent.name == "derivatives" else derivative
