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


_TRACTSEG_EPILOG = """examples:
  spectra-bids import-tractseg out --subjects subjects.txt
  spectra-bids import-tractseg out --profiles fa='Tractometry_SUBJECT_ID.csv' --subjects people.tsv
  spectra-bids import-tractseg out --profiles fa='SUBJECT_ID/fa.csv' md='SUBJECT_ID/md.csv'
then:
  spectra-bids out/sourcedata out group --formula "value ~ group + Age"
"""


def import_tractseg(arguments: Sequence[str]) -> int:
    """`spectra-bids import-tractseg OUT [--profiles NAME=PATTERN ...] [--subjects FILE]`."""
    parser = argparse.ArgumentParser(
        prog="spectra-bids import-tractseg",
        description="Take in the tables of TractSeg's Tractometry, so that the group level and its report run on them. "
        "A bundle that is 0 in all segments is one that the subject does not have.",
        epilog=_TRACTSEG_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("out", type=Path, help="OUTPUT_DIR to write")
    parser.add_argument(
        "--profiles",
        nargs="+",
        default=[],
        metavar="NAME=PATTERN",
        help="tables of a scalar, SUBJECT_ID, {subject} or * for the subject; default: what subjects.txt names, as fa",
    )
    parser.add_argument(
        "--subjects", type=Path, metavar="FILE", help="TractSeg's subjects.txt, or a CSV or TSV of people"
    )
    parser.add_argument("--bids-dir", type=Path, metavar="DIR", help="where participants.tsv goes (OUT/sourcedata)")
    options = parser.parse_args(arguments)
    from spectra_bids.bridges.tractseg import import_tractseg
    from spectra_bids.errors import UsageError

    given = [text.partition("=") for text in options.profiles]
    wrong = next((name for name, equals, pattern in given if not (name and equals and pattern)), None)
    if wrong is not None:
        raise UsageError(f"--profiles must be NAME=PATTERN, such as fa=Tractometry_SUBJECT_ID.csv. Got {wrong!r}")
    bids = options.bids_dir or options.out / "sourcedata"
    found = import_tractseg({name: pattern for name, _, pattern in given}, options.subjects, options.out, bids)
    absent = int(found.absence.sum())
    nodes = sum(int(grid.in_1d.sum()) for grid in found.grids.values())
    print(f"{len(found.sessions)} subjects, {len(found.grids)} bundles with {nodes} segments, "
          f"scalars {', '.join(found.scalars)}; {absent} bundles were all 0 and are missing")  # fmt: skip
    print(f'Next: spectra-bids {bids} {options.out} group --formula "value ~ ..."')
    return 0
