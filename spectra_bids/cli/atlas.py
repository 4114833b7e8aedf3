"""`spectra-bids atlas {list,fetch,status,register,build,path}`: the registry of atlases."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spectra_bids.dataset.atlas_registry import AtlasStatus
    from spectra_bids.dataset.downloads import Callback, FetchProgress

_EPILOG = """examples:
  spectra-bids atlas list
  spectra-bids atlas fetch hcp1065
  spectra-bids atlas fetch https://example.org/atlas.zip --name lab --sha256 HEX
  spectra-bids atlas fetch Downloads/hcp1065_avg_tracts_trk.zip --name hcp1065
  spectra-bids atlas register my_bundles --name mine --space MNI152NLin2009cAsym --license CC0
  spectra-bids atlas register Schaefer_dseg.nii.gz --name schaefer
  spectra-bids atlas build derivatives/tractseg study_atlas
  spectra-bids BIDS OUT participant --atlas hcp1065

Atlases are kept in $SPECTRA_BIDS_ATLASES, else in atlases/ of $SPECTRA_BIDS_DATA_DIR, else of
$XDG_DATA_HOME/spectra_bids, else of ~/.local/share/spectra_bids; label volumes in labels/ beside it. A key for
servers that ask for one is read from $SPECTRA_BIDS_API_KEY.
"""


def atlas(arguments: Sequence[str]) -> int:
    """`spectra-bids atlas VERB ...`."""
    parser = argparse.ArgumentParser(
        prog="spectra-bids atlas",
        description="Make, fetch, register and list atlases.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub = parser.add_subparsers(dest="verb", required=True, metavar="{list,fetch,status,register,build,path}")
    sub.add_parser("list", help="atlases that can be had, and those that --atlas and --atlas-labels find by name")
    _fetch_parser(sub.add_parser("fetch", help="bring an atlas to where --atlas NAME finds it"))
    told = sub.add_parser("status", help="all that is known: place, size, checksum, licence, citation")
    told.add_argument("name", nargs="?", metavar="NAME", help="default: all")
    _register_parser(sub.add_parser("register", help="give a folder of bundles, or a volume of labels, a name"))
    _build_parser(sub.add_parser("build", help="study atlas from bundles that share a space"))
    sub.add_parser("path", help="print where an atlas is").add_argument("name", metavar="NAME")
    options = parser.parse_args(arguments)
    run = {"list": _list, "fetch": _fetch, "status": _status, "register": _register, "build": _build, "path": _path}
    return run[options.verb](options)


def _described_options(parser: argparse.ArgumentParser, of: str) -> None:
    parser.add_argument("--space", default="", metavar="LABEL", help=f"space {of}")
    parser.add_argument("--license", default="", metavar="TEXT", help=f"licence {of}")
    parser.add_argument("--citation", default="", metavar="TEXT", help=f"what to cite, {of}")
    parser.add_argument("--force", action="store_true", help="replace what has this name")


def _fetch_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", help="name of a known atlas, or URL or path of a zip or tar archive")
    parser.add_argument("--name", default="", metavar="NAME", help="name for --atlas; needed unless SOURCE is one")
    checked = "expected checksum of the archive; default: the known one, or that of the first download"
    parser.add_argument("--sha256", default="", metavar="HEX", help=checked)
    _described_options(parser, "of an archive without atlas.json")
    parser.add_argument("--keep-archive", action="store_true", help="leave the archive in the folder of downloads")


def _register_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, help="atlas directory, folder of bundles, or NIfTI volume of labels")
    parser.add_argument("--name", required=True, metavar="NAME", help="name for --atlas, or for --atlas-labels")
    parser.add_argument("--names", type=Path, metavar="TABLE", help="a volume's table of names; default: beside it")
    parser.add_argument("--copy", action="store_true", help="copy; default: link to it")
    _described_options(parser, "of a folder without atlas.json")


def _build_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("derivatives", type=Path, help="BIDS data set, or derivative data set, that holds the bundles")
    parser.add_argument("out", type=Path, help="atlas directory to make")
    parser.add_argument("--streamlines", type=int, default=2000, metavar="N", help="streamlines per bundle (2000)")
    parser.add_argument("--space", metavar="LABEL", help="space of the bundles, where their names do not say it")
    parser.add_argument("--name", metavar="TEXT", help="name of the atlas")
    parser.add_argument("--license", metavar="TEXT", help="licence for atlas.json; default the data set's own")
    parser.add_argument("--random-seed", type=int, default=0, metavar="N", help="seed of the draw (0)")


def _build(options: argparse.Namespace) -> int:
    from spectra_bids.atlas_build import build_atlas

    made = build_atlas(
        options.derivatives,
        options.out,
        options.streamlines,
        options.space,
        options.name,
        options.random_seed,
        options.license,
    )
    for name, pooled in made.items():
        print(f"{name}: {pooled.streamlines} streamlines of {pooled.subjects} subjects, {pooled.dropped} dropped")
    print(f"The atlas is in {options.out}")
    return 0


def _fetch(options: argparse.Namespace) -> int:
    from spectra_bids.dataset.atlas_sources import SOURCES
    from spectra_bids.dataset.atlas_store import fetch_atlas

    known = SOURCES.get(options.name) or SOURCES.get(options.source.lower())
    if known is not None and known.url:
        print(f"{known.title}\n  licence: {known.license}\n  cite: {known.citation}\n  {known.note}", flush=True)
    with _bar() as progress:
        target, found = fetch_atlas(
            options.source,
            options.name,
            options.sha256,
            force=options.force,
            space=options.space,
            license=options.license,
            citation=options.citation,
            progress_callback=progress,
            api_key=os.environ.get("SPECTRA_BIDS_API_KEY"),
            keep_archive=options.keep_archive,
        )
    print(f"{found.name} ({found.space}, {len(found.bundles)} bundles, {found.license}) is in {target}")
    if found.citation and known is None:
        print(f"  cite: {found.citation}")
    return 0


@contextmanager
def _bar() -> Iterator[Callback]:
    """A bar on a terminal; nothing in a log."""
    from tqdm import tqdm

    with tqdm(unit="B", unit_scale=True, disable=not sys.stderr.isatty(), leave=False) as bar:

        def show(progress: FetchProgress) -> None:
            bar.set_description(progress.phase, refresh=False)
            bar.total = progress.bytes_total or bar.total
            bar.update(max(progress.bytes_done - bar.n, 0))

        yield show


def _register(options: argparse.Namespace) -> int:
    from spectra_bids.dataset.atlas_registry import register
    from spectra_bids.io.label_names import find_names

    names = options.names
    if names is None and options.source.is_file():
        names = find_names(options.source)
    made = register(
        options.source,
        options.name,
        space=options.space,
        license=options.license,
        citation=options.citation,
        names=names,
        copy=options.copy,
        force=options.force,
    )
    if made.kind == "labels":
        what = f"labels of {made.space or 'an unknown space'}, names from {names or 'nowhere'}"
    else:
        what = f"{made.title} ({made.space}, {made.bundles} bundles, {made.license})"
    print(f"{made.name}: {what}, {'copied' if options.copy else 'linked'} from {options.source}")
    return 0


def _list(options: argparse.Namespace) -> int:
    from spectra_bids.dataset.atlas_registry import statuses

    rows = [("NAME", "STATE", "BUNDLES", "SPACE", "LICENCE", "WHAT")]
    for s in statuses():
        bundles = "labels" if s.kind == "labels" else str(s.bundles or "-")
        rows.append((s.name, s.state, bundles, s.space or "-", s.license or "-", s.title))
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _status(options: argparse.Namespace) -> int:
    from spectra_bids.dataset.atlas_registry import status, statuses

    for one in [status(options.name)] if options.name else statuses():
        print("\n".join(_lines(one)))
    return 0


def _lines(one: AtlasStatus) -> list[str]:
    """All that is known of an atlas."""
    facts = {
        "what": one.title,
        "space": one.space,
        "bundles": str(one.bundles) if one.bundles else "",
        "where": str(one.path or ""),
        "archive": f"{one.bytes / 1e6:.1f} MB" if one.bytes else "",
        "checksum": one.checksum or ("recorded at first download" if one.state == "not fetched" else ""),
        "licence": one.license,
        "cite": one.citation,
        "page": one.page,
        "note": one.note,
    }
    state = f"{one.state} ({one.detail})" if one.detail else one.state
    return [f"{one.name}: {state}", *(f"  {name}: {text}" for name, text in facts.items() if text)]


def _path(options: argparse.Namespace) -> int:
    from spectra_bids.dataset.atlas_registry import path_of

    print(path_of(options.name))
    return 0
