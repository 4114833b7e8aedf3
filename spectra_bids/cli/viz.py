"""SPECTRA's command with SPECTRA's flags: spectra_viz. The parser; what it does is in viz.py."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectra_bids.cli.flags import count, flag, natural, positive, share
from spectra_bids.errors import UsageError

if TYPE_CHECKING:
    from spectra_bids.viz import Region, VizTask

_CAMERAS = ("Axial", "Sagittal_L", "Sagittal_R", "Coronal_A", "Coronal_P")

_EPILOG = """examples:
  spectra_viz -i AF_L__rec.trk -o AF_L.png -glass default_glass -cam Sagittal_L -show
  spectra_viz -i AF_L__org.trk -o AF_L_fa.png -c fa.nii.gz -cmap turbo -vmin 0.2 -vmax 0.8 -ctitle FA -cbar bar.png
  spectra_viz -i AF_L__rec.trk -o AF_L_grid.png -ref AF_L__atlas.trk -c alternate_2d -s 5 -r 5 -cam Sagittal_L
  spectra_viz -i AF_L__rec.trk -o AF_L_profile.png -ref AF_L__atlas.trk -c AF_L_fa.npz -glass default_glass \\
      -cam Sagittal_L Axial Coronal_A
  spectra_viz -i AF_L.trk CST_L.trk -o both.png -glass default_glass -roi lesion.nii.gz -roi_color red -roi_opacity 0.4

No display is needed: FURY draws with Vulkan, in software if need be; where that is missing, matplotlib draws."""


def viz_parser() -> argparse.ArgumentParser:
    """The parser of spectra_viz; options are written with one dash, as SPECTRA's users type them, or with two."""
    parser = argparse.ArgumentParser(
        prog="spectra_viz",
        description="Pictures of bundles: coloured by a scalar map, a profile or the grid, in a glass brain.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    flag(parser, "i", dest="inputs", type=Path, nargs="+", required=True, metavar="BUNDLE", help=".trk .tck .trx .gz")
    flag(parser, "o", dest="output", type=Path, required=True, metavar="PNG", help="picture to write")
    _colour_options(parser.add_argument_group("colours"))
    _content_options(parser.add_argument_group("what else is seen"))
    _look_options(parser.add_argument_group("look"))
    return parser


def _colour_options(group: Any) -> None:
    what = "colour (red, #1f5f8b), direction, alternate_1d, alternate_2d, a map (.nii.gz), a profile (.npy, .npz)"
    flag(group, "c", dest="colour", default="", metavar="COLOUR", help=what)
    names = "colour map: matplotlib's names, sequential (default), diverging"
    flag(group, "cmap", dest="colour_map", default="sequential", metavar="NAME", help=names)
    flag(group, "vmin", type=float, metavar="X", help="value of the map's first colour; default 1st percentile")
    flag(group, "vmax", type=float, metavar="X", help="value of the map's last colour; default 99th percentile")
    flag(group, "cbar", dest="bar", type=Path, metavar="PNG", help="write the colour bar to a file of its own")
    flag(group, "ctitle", dest="title", default="", metavar="TEXT", help="title of the colour bar")
    flag(group, "ref", dest="reference", type=Path, metavar="BUNDLE", help="atlas bundle that defines the grid")
    flag(group, "s", dest="s_len", type=positive, default=5.0, metavar="MM", help="node spacing (5 mm)")
    flag(group, "r", dest="r_len", type=positive, default=5.0, metavar="MM", help="radial bin width (5 mm)")
    flag(group, "ns", type=count, metavar="N", help="number of nodes, instead of -s")
    flag(group, "nr", type=count, metavar="N", help="number of radial bins, instead of -r")
    ends = "how the grid's ends are prolonged (linear)"
    flag(group, "robust", choices=("linear", "spline", "none"), default="linear", help=ends)
    flag(group, "profile", choices=("1d", "2d"), default="2d", help="which profile of an .npz (2d)")


def _content_options(group: Any) -> None:
    brain = "default_glass (an MNI brain), a brain mask (.nii.gz) or a surface (.gii)"
    flag(group, "glass", default="", metavar="BRAIN", help=brain)
    flag(group, "glass_opacity", type=share, metavar="X", help="0..1 (0.27)")
    flag(group, "roi", type=Path, nargs="+", default=[], metavar="MASK", help="regions of interest, .nii.gz")
    one_each = "one for all, or one for each region"
    flag(group, "roi_color", nargs="+", default=[], metavar="COLOUR", help=one_each)
    flag(group, "roi_opacity", type=share, nargs="+", default=[], metavar="X", help=f"0..1 (0.5); {one_each}")


def _look_options(group: Any) -> None:
    several = "one or more cameras, side by side; default: the bundle's own side"
    flag(group, "cam", dest="cameras", nargs="+", choices=_CAMERAS, default=[], metavar="CAMERA", help=f"{several}. "
          f"{', '.join(_CAMERAS)}")  # fmt: skip
    flag(group, "linewidth", dest="line_width", type=positive, default=0.0, metavar="PX", help="pixels; by the size")
    radius = "draw tubes, of this radius (0.4 mm)"
    flag(
        group, "tubes", dest="tube_radius", type=positive, nargs="?", const=0.4, default=0.0, metavar="MM", help=radius
    )
    flag(group, "opacity", type=share, default=1.0, metavar="X", help="of the streamlines, 0..1 (1)")
    flag(group, "bg", dest="background", default="white", metavar="COLOUR", help="background (white)")
    flag(group, "transparent", action="store_true", help="no background")
    flag(group, "no_letters", dest="letters", action="store_false", help="no L, R, A, P, I, S at the edges")
    flag(group, "size", type=count, nargs=2, default=[1200, 900], metavar=("W", "H"), help="pixels (1200 900); of "
          "several cameras the height counts")  # fmt: skip
    flag(group, "dpi", type=count, default=300, metavar="N", help="pixels per inch, noted in the file (300)")
    most = "streamlines drawn of each bundle (5000); 0: all"
    flag(group, "max", dest="most", type=natural, default=5000, metavar="N", help=most)
    flag(group, "engine", choices=("auto", "matplotlib"), default="auto", help="auto: FURY where it works")
    flag(group, "show", action="store_true", help="also open a window in which the scene can be turned")


def _task(options: argparse.Namespace) -> VizTask:
    """The options as viz.py takes them."""
    from spectra_bids.viz import VizTask

    given = vars(options)
    shapes = {"inputs": tuple(options.inputs), "cameras": tuple(options.cameras), "size": tuple(options.size)}
    regions = {"regions": _regions(given.pop("roi"), given.pop("roi_color"), given.pop("roi_opacity"))}
    return VizTask(**(given | shapes | regions))


def _regions(paths: list[Path], colours: list[str], opacities: list[float]) -> tuple[Region, ...]:
    """Regions with the colours and opacities that were given for them."""
    from spectra_bids.viz import Region

    return tuple(
        Region(path, colour, opacity)
        for path, colour, opacity in zip(
            paths,
            _one_each("-roi_color", colours, "", len(paths)),
            _one_each("-roi_opacity", opacities, 0.5, len(paths)),
            strict=True,
        )
    )


def _one_each(flag: str, given: list[Any], default: Any, n: int) -> list[Any]:
    if given and len(given) not in ({1, n} if n else set()):
        raise UsageError(f"{flag} takes one value, or one for each -roi. Got {len(given)} for {n} regions")
    return given if len(given) == n else (given or [default]) * n


def viz(arguments: Sequence[str]) -> int:
    """Run spectra_viz; raises SpectraError."""
    options = viz_parser().parse_args(arguments)
    for path in (options.output, options.bar):
        if path is not None and path.suffix.lower() != ".png":
            raise UsageError(f"Pictures are written as .png. Got {path}")
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    from spectra_bids.cli.environment import writable_environment

    with writable_environment(None, options.output.parent):
        from spectra_bids.viz import run_viz

        for path in run_viz(_task(options)):
            print(path)
    return 0


def main_viz(argv: Sequence[str] | None = None) -> int:
    """Entry point of spectra_viz; returns the exit status."""
    from spectra_bids.cli import limit_threads
    from spectra_bids.cli.guard import guarded

    arguments = list(sys.argv[1:] if argv is None else argv)
    limit_threads(arguments)
    return guarded(lambda: viz(arguments))
