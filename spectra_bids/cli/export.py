"""`spectra-bids export OUT`: all profiles of an output directory in one file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

_EPILOG = """examples:
  spectra-bids export OUT --format csv -o profiles.csv
  spectra-bids export OUT --format wide -o wide.tsv --scalars fa md --bundle AFL AFR
  spectra-bids export OUT --format json --profile 2D --space MNI152NLin2009cAsym --no-metadata
"""


def export(arguments: Sequence[str]) -> int:
    """`spectra-bids export OUT --format FORMAT`."""
    parser = argparse.ArgumentParser(
        prog="spectra-bids export",
        description="Write all profiles of an output directory to one file: csv and tsv have a row per session, cell "
        "and scalar, wide has a row per session. <name>_provenance.json beside it says where it comes from and what "
        "its columns are.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="OUTPUT_DIR of a run")
    parser.add_argument("--format", choices=("csv", "tsv", "json", "wide"), help="default: by the file's ending; csv")
    where = "file to write (profiles.csv, .tsv, .json; wide: profiles_wide.csv)"
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help=where)
    parser.add_argument("--profile", choices=("1D", "2D"), default="1D", help="which profiles (1D)")
    for flag, said in (("scalars", "full name or parameter"), ("bundle", "as the column bundle has it")):
        parser.add_argument(f"--{flag}", nargs="+", default=[], metavar="NAME", help=f"{said}; default: all")
    for flag, said in (("participant-label", "subjects"), ("session-label", "sessions")):
        parser.add_argument(f"--{flag}", nargs="+", default=[], metavar="LABEL", help=f"{said}; default: all")
    parser.add_argument("--space", metavar="LABEL", help="take tables of this space only")
    parser.add_argument("--pattern", default="*", metavar="GLOB", help="take tables with such a file name only")
    parser.add_argument("--no-metadata", dest="metadata", action="store_false", help="write no provenance file")
    parser.add_argument("--force", action="store_true", help="replace files that are there")
    options = parser.parse_args(arguments)
    from spectra_bids.group.export import export_profiles

    format = options.format or (None if options.output else "csv")
    default = Path("profiles_wide.csv" if format == "wide" else f"profiles.{format}")
    made = export_profiles(
        options.out,
        options.output or default,
        format,
        pattern=options.pattern,
        space=options.space,
        subjects=options.participant_label,
        sessions=options.session_label,
        scalars=options.scalars or ("*",),
        bundles=options.bundle,
        profile=options.profile,
        metadata=options.metadata,
        overwrite=options.force,
    )
    shape = f"{made.rows} profiles" if made.path.suffix == ".json" else f"{made.rows} rows, {made.columns} columns"
    print(f"{made.path}: {shape}; {made.sessions} sessions of {made.subjects} subjects, {', '.join(made.scalars)}")
    if made.provenance:
        print(made.provenance)
    return 0
