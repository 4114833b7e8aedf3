"""Tools that write tractograms: `spectra-bids convert`, `merge`, `write-back`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

_FORMATS = ".trk .tck .trx .trk.gz .tck.gz .tt.gz"

_CONVERT_EPILOG = """examples:
  spectra-bids convert AF_L.trk AF_L.tck
  spectra-bids convert AF_L.tck.gz AF_L.trx --reference fa.nii.gz
  spectra-bids convert bundles.trx:ARC_L ARC_L.tt.gz
"""

_MERGE_EPILOG = """examples:
  spectra-bids merge hcp1065 hcp1065.tck --exclude CranialNerve
  spectra-bids merge sub-01/dwi sub-01_bundles.trx --pattern '*_tractogram.trk' --exclude CC_ 'sub-01_*_tract-MCP_*'
"""


def _parser(name: str, description: str, epilog: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=f"spectra-bids {name}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _output_options(parser: argparse.ArgumentParser) -> None:
    place = "image of the streamlines' space; asked for where neither side says it. It moves no point"
    parser.add_argument("--reference", type=Path, metavar="NII", help=place)
    parser.add_argument("--force", action="store_true", help="replace OUT if it is there")


def convert(arguments: Sequence[str]) -> int:
    """`spectra-bids convert IN OUT`."""
    parser = _parser(
        "convert",
        "Write streamlines in another format. Coordinates stay as they are (mm RAS+); what the format cannot hold, "
        "groups and numbers, is named.",
        _CONVERT_EPILOG,
    )
    parser.add_argument("source", type=Path, metavar="IN", help=f"{_FORMATS}; FILE.trx:GROUP is one group of it")
    parser.add_argument("target", type=Path, metavar="OUT", help="file to write, in the same formats")
    _output_options(parser)
    options = parser.parse_args(arguments)
    from spectra_bids.conversion import convert as run

    made = run(options.source, options.target, reference=options.reference, overwrite=options.force)
    groups = f", {len(made.groups)} groups" if made.groups else ""
    print(f"{options.target}: {made.bundle.n_streamlines} streamlines, {len(made.bundle.points)} points{groups}")
    return 0


def merge(arguments: Sequence[str]) -> int:
    """`spectra-bids merge DIR OUT`."""
    parser = _parser(
        "merge",
        "Write the streamlines of all tractograms in a folder, and below it, to one file. A .trx keeps each source as "
        "a group.",
        _MERGE_EPILOG,
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help=f"folder of {_FORMATS}")
    parser.add_argument("target", type=Path, metavar="OUT", help="file to write, in the same formats")
    parser.add_argument("--pattern", default="*", metavar="GLOB", help="take files with such a name or path only")
    out = "leave out files whose path holds one of these, or matches it; case does not matter"
    parser.add_argument("--exclude", nargs="+", default=[], metavar="PATTERN", help=out)
    _output_options(parser)
    options = parser.parse_args(arguments)
    from spectra_bids.conversion import merge as run

    made = run(
        options.folder,
        options.target,
        pattern=options.pattern,
        exclude=options.exclude,
        reference=options.reference,
        overwrite=options.force,
    )
    for name, count in made.items():
        print(f"{name}: {count} streamlines")
    print(f"{options.target}: {sum(made.values())} streamlines of {len(made)} files")
    return 0


_WRITE_BACK_EPILOG = """examples:
  spectra-bids write-back OUT -o results --contrast group --atlas hcp1065
  spectra-bids write-back OUT -o results --format trk --what estimate rejected --bundle AssociationArcuateFasciculusL
  spectra-bids write-back OUT -o results --format nii --dims 1D --what value q --voxel-size 2
"""


def write_back(arguments: Sequence[str]) -> int:
    """`spectra-bids write-back OUT -o DIR`."""
    parser = _parser(
        "write-back",
        "Write group results onto the atlas's streamlines (.trx, .trk: numbers and a colour per point) and into "
        "volumes in the atlas's space (.nii.gz: labels of the cells, one map per statistic).",
        _WRITE_BACK_EPILOG,
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="OUTPUT_DIR of a run with a group level")
    parser.add_argument("-o", "--output-dir", dest="target", type=Path, required=True, metavar="DIR", help="for files")
    parser.add_argument("--model", default="", metavar="NAME", help="model; needed if there are several")
    parser.add_argument("--dims", choices=("1D", "2D"), default="2D", help="which profiles' results (2D)")
    for name in ("bundle", "scalar", "contrast"):
        parser.add_argument(f"--{name}", dest=f"{name}s", nargs="+", default=[], metavar="NAME", help="default: all")
    columns = "columns of the results (value estimate p q rejected); the first makes the colour"
    parser.add_argument("--what", nargs="+", metavar="COLUMN", help=columns)
    formats = "one or more of trx, trk, nii (trx)"
    parser.add_argument("--format", dest="formats", nargs="+", choices=("trx", "trk", "nii"), default=["trx"],
                        metavar="FORMAT", help=formats)  # fmt: skip
    full = "atlas of the participant level, for all of its streamlines; default: those in OUT, made to be shown"
    parser.add_argument("--atlas", default="", metavar="PATH|NAME", help=full)
    image = "image of the atlas's space whose voxels are taken; default: the MNI152 image"
    parser.add_argument("--reference", type=Path, metavar="NII", help=image)
    parser.add_argument("--voxel-size", type=float, default=1.0, metavar="MM", help="without --reference (1)")
    parser.add_argument("--force", dest="overwrite", action="store_true", help="replace files that are there")
    options = parser.parse_args(arguments)
    if not 0.1 <= options.voxel_size <= 10:
        parser.error(f"--voxel-size must lie in 0.1..10 mm. Got {options.voxel_size:g}")
    from spectra_bids.write_back import WHAT, WriteBackTask
    from spectra_bids.write_back import write_back as run

    task = WriteBackTask(
        out=options.out,
        target=options.target,
        model=options.model,
        dims=options.dims,
        bundles=tuple(options.bundles),
        scalars=tuple(options.scalars),
        contrasts=tuple(options.contrasts),
        what=tuple(options.what or WHAT),
        formats=tuple(dict.fromkeys(options.formats)),
        atlas=options.atlas,
        reference=options.reference,
        voxel_size=options.voxel_size,
        overwrite=options.overwrite,
    )
    for path in run(task):
        print(path)
    return 0
