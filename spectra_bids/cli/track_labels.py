"""`spectra-bids label TRK DSEG`: streamlines labelled by the regions that their ends lie in."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from spectra_bids.cli.dsi2 import refuse_pickle, require_radius

log = logging.getLogger("spectra_bids")

_LABEL_EPILOG = """examples:
  spectra-bids label sub-01.trk lausanne33.nii.gz --names resolution83.graphml --name Lausanne --parameters scale=33
  spectra-bids label sub-01.trk aparc.nii.gz --dilation 3 -o sub-01_seg-aparc
"""


def label(arguments: Sequence[str]) -> int:
    """`spectra-bids label TRK DSEG`."""
    parser = argparse.ArgumentParser(
        prog="spectra-bids label",
        description="A label for each streamline from the two regions that its ends lie in; the order of the ends does "
        "not count. Writes STEM_tracklabels.{npz,tsv,json} and STEM_connectivity.tsv.",
        epilog=_LABEL_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("tractogram", type=Path, metavar="TRK", help="streamlines (.trk, .tck, .trx ...)")
    parser.add_argument("volume", type=Path, metavar="DSEG", help="label volume in the same space; 0 = no region")
    parser.add_argument(
        "--names", type=Path, metavar="TABLE", help="names of regions: .graphml, .tsv, .csv, .txt, .xml, .json"
    )
    parser.add_argument(
        "--dilation", type=float, default=0.0, metavar="MM", help="an end in no region takes one within MM (0)"
    )
    parser.add_argument(
        "--name", default="", metavar="TEXT", help="family of the labelling, as Lausanne; default: the volume's name"
    )
    parser.add_argument(
        "--parameters",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="what tells versions apart, as scale=33 dilation=2",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="STEM",
        help="where to write; default: beside TRK, with entities of the name",
    )
    options = parser.parse_args(arguments)
    return _label(options)


def _label(options: argparse.Namespace) -> int:
    from spectra_bids.bridges.track_files import labeling_entities, tractogram_stem, write_labeling
    from spectra_bids.bundle import Volume
    from spectra_bids.io.labels import read_labels
    from spectra_bids.io.track_labels import label_streamlines
    from spectra_bids.io.tractograms import read_bundle

    require_radius(options.dilation, "--dilation")
    refuse_pickle(options.tractogram)
    parameters = _parameters(options.parameters)
    volume = read_labels([options.volume], options.names, options.name)
    bundle = read_bundle(options.tractogram, Volume(volume.data.astype("float32"), volume.affine))
    found = label_streamlines(
        bundle, volume, options.dilation, name=options.name, parameters=parameters,
        files=(options.tractogram.name, options.volume.name),
    )  # fmt: skip
    stem = options.output
    if stem is None:
        start = _without_desc(tractogram_stem(options.tractogram))
        stem = options.tractogram.with_name(start + labeling_entities(found.name, parameters, options.dilation))
    path = write_labeling(stem, found)
    n = bundle.n_streamlines
    lost = int((found.pairs.labels == 0).sum())
    print(f"{n} streamlines: {len(found.pairs.pairs)} pairs of {len(found.regions)} regions, "
          f"{lost} unlabelled ({lost / max(n, 1):.1%})")  # fmt: skip
    if n and lost == n:
        log.warning("No streamline has both ends in a region: is %s in the space of %s?", options.volume,
                    options.tractogram)  # fmt: skip
    for row in found.table().sort_values("n_streamlines", ascending=False, kind="stable").head(5).itertuples():
        print(f"  {row.n_streamlines:6d}  {row.name_a} - {row.name_b}")
    print(f"Labels: {path}")
    return 0


def _without_desc(stem: str) -> str:
    """`sub-01_space-X` of `sub-01_space-X_desc-wholebrain_tractography`; another name as it is."""
    parts = stem.split("_")
    if not stem.startswith("sub-"):
        return stem
    return "_".join(p for p in parts if "-" in p and not p.startswith("desc-"))


def _parameters(given: Sequence[str]) -> dict[str, object]:
    from spectra_bids.errors import UsageError

    out: dict[str, object] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise UsageError(f"--parameters takes KEY=VALUE, such as scale=33. Got {text!r}")
        try:
            out[key] = int(value)
        except ValueError:
            out[key] = value
    return out
