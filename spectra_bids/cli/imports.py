"""Tools that take other programs' tables in: `spectra-bids import-afq tract_profiles.csv [subjects.csv] OUT`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

_AFQ_EPILOG = """examples:
  spectra-bids import-afq tract_profiles.csv out
  spectra-bids import-afq nodes.csv subjects.csv out
  spectra-bids import-afq long.csv.gz out --session-column visit
then:
  spectra-bids out/sourcedata out group --formula "value ~ group + age"
"""


def import_afq(arguments: Sequence[str]) -> int:
    """`spectra-bids import-afq PROFILES [SUBJECTS] OUT`."""
    parser = argparse.ArgumentParser(
        prog="spectra-bids import-afq",
        description="Take in profiles that AFQ made (pyAFQ's tract_profiles.csv, AFQ-Browser's nodes.csv with "
        "subjects.csv), or any long table of profiles, so that the group level and its report run on them. Places "
        "in mm and radial bins are not known of them: those columns are n/a.",
        epilog=_AFQ_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("profiles", type=Path, help="table with a row per subject, tract and node; .csv, .tsv, .gz")
    parser.add_argument("subjects", type=Path, nargs="?", help="table with a row per subject (or session): covariates")
    parser.add_argument("out", type=Path, help="OUTPUT_DIR to write")
    parser.add_argument("--bids-dir", type=Path, metavar="DIR", help="where participants.tsv goes (OUT/sourcedata)")
    for key, default in (("subject", "subjectID"), ("session", "sessionID"), ("tract", "tractID"), ("node", "nodeID")):
        parser.add_argument(f"--{key}-column", default="", metavar="NAME", help=f"column of the {key} ({default})")
    parser.add_argument(
        "--covariates",
        nargs="+",
        default=[],
        metavar="NAME",
        help="columns of the table of profiles that describe people or visits, for participants.tsv and sessions.tsv; "
        "default: all that vary in no session",
    )
    parser.add_argument(
        "--scalars", nargs="+", default=[], metavar="NAME", help="columns to import; default: all other numbers"
    )
    options = parser.parse_args(arguments)
    from spectra_bids.bridges.afq import AfqColumns, import_afq

    columns = AfqColumns(
        options.subject_column,
        options.session_column,
        options.tract_column,
        options.node_column,
        tuple(options.covariates),
        tuple(options.scalars),
    )
    bids = options.bids_dir or options.out / "sourcedata"
    found = import_afq(options.profiles, options.subjects, options.out, bids, columns)
    nodes = sum(int(grid.in_1d.sum()) for grid in found.grids.values())
    people = found.sessions["subject"].nunique()
    print(f"{len(found.sessions)} sessions of {people} subjects, {len(found.grids)} bundles with {nodes} nodes, "
          f"scalars {', '.join(found.scalars)}")  # fmt: skip
    print(f'Next: spectra-bids {bids} {options.out} group --formula "value ~ ..."')
    return 0
