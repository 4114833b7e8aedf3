"""Tools that write tractograms: `spectra-bids convert`, `merge`, `export-streamlines`."""

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


def export_streamlines(arguments: Sequence[str]) -> int:
    """`spectra-bids export-streamlines OUT`."""
    raise NotImplementedError
