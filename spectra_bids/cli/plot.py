"""The parser of `spectra-bids plot`; what it does is in the package plot."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectra_bids.errors import UsageError

if TYPE_CHECKING:
    from spectra_bids.figures.press import Press
    from spectra_bids.plot import PlotTask

_KINDS = ("profiles", "maps", "strips", "mosaic", "fdr")
_FORMATS = ("svg", "pdf", "png")
_CAMERAS = ("Axial", "Sagittal_L", "Sagittal_R", "Coronal_A", "Coronal_P")
_EPILOG = """examples:
  spectra-bids plot out -o figures/fig.pdf
  spectra-bids plot out --figure profiles --contrast group --scalar fa --bundle CST_left AF_left -o fig2.pdf --panels a
  spectra-bids plot out --figure maps --contrast group --value effect -o fig3.svg --svg-text text --width 85mm
  spectra-bids plot out --figure mosaic --contrast group --atlas atlas-hcp1065 -o fig4.png --dpi 600 --theme dark
  spectra-bids plot out --figure fdr -o supplement.pdf --rename dti_fa=FA group="patients - controls"

Of several figures each gets a file of its own: STEM_contrast-X_scalar-Y_desc-KIND.pdf. A caption is printed for each.
The shares and tables that figures are made of may hold people: mind whom a band of few people shows."""


def plot_parser() -> argparse.ArgumentParser:
    """The parser."""
    parser = argparse.ArgumentParser(
        prog="spectra-bids plot",
        description="Figures for print (SVG, PDF, PNG) from the group tables of a model.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="OUTPUT_DIR of a group run")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="figure; .svg, .pdf or .png")
    parser.add_argument("--format", nargs="+", choices=_FORMATS, default=[], help="formats, instead of FILE's suffix")
    what = parser.add_argument_group("what is drawn")
    figures = (
        "profiles per group, maps of (s, r), strips of bundles in 3D, mosaic of the whole brain, fdr: sorted p (all)"
    )
    what.add_argument("--figure", nargs="+", choices=(*_KINDS, "all"), default=["all"], metavar="KIND", help=figures)
    what.add_argument("--model", default="", metavar="NAME", help="model; may be left out if there is one")
    what.add_argument("--contrast", nargs="+", default=[], metavar="NAME", help="what was tested; default each in turn")
    what.add_argument("--scalar", nargs="+", default=[], metavar="NAME", help="dti_fa, or fa; default each in turn")
    chosen = "in any spelling, or all; default: those with findings, all if there are none"
    what.add_argument("--bundle", nargs="+", default=[], metavar="NAME", help=f"bundles {chosen}")
    what.add_argument("--dims", choices=("1D", "2D"), default="", help="which tables (1D; maps are always 2D)")
    split = "column that profiles are split by (a number into terciles), or none; default: the contrast's own"
    what.add_argument("--by", default="", metavar="COLUMN", help=split)
    values = "what colours mean in maps, strips and mosaics (statistic)"
    what.add_argument("--value", choices=("statistic", "estimate", "effect"), default="statistic", help=values)
    what.add_argument("--rejected-only", action="store_true", help="strips, mosaic: grey where nothing is rejected")
    space = parser.add_argument_group("3D")
    lines = "atlas of the run: path or name; default: the streamlines kept in OUT/atlas"
    space.add_argument("--atlas", default="", metavar="PATH|NAME", help=lines)
    space.add_argument("--cam", dest="cameras", nargs="+", choices=_CAMERAS, default=[], metavar="CAMERA",
                       help=f"cameras, side by side: {', '.join(_CAMERAS)}")  # fmt: skip
    space.add_argument("--no-glass", dest="glass", action="store_false", help="no glass brain")
    space.add_argument("--engine", choices=("auto", "matplotlib"), default="auto", help="auto: FURY where it works")
    _look(parser.add_argument_group("look"))
    return parser


def _look(group: Any) -> None:
    group.add_argument("--width", type=_millimetres, default=180.0, metavar="SIZE", help="180mm (default), 85mm, 7in")
    group.add_argument("--dpi", type=int, default=300, metavar="N", help="of PNG, and of 3D pictures anywhere (300)")
    group.add_argument("--font-size", type=float, default=8.0, metavar="PT", help="points (8)")
    group.add_argument("--font", default="DejaVu Sans", metavar="NAME", help="an installed family (DejaVu Sans)")
    group.add_argument("--theme", choices=("light", "dark"), default="light", help="light")
    group.add_argument("--transparent", action="store_true", help="no background")
    letters = "letters of panels, from a on, or those given: --panels A, --panels a,b,d"
    group.add_argument("--panels", nargs="?", const="a", default="", metavar="LETTERS", help=letters)
    heading = "a heading; without TEXT the family's name"
    group.add_argument("--title", nargs="?", const="", default=None, metavar="TEXT", help=heading)
    texts = "text of SVG files: paths look the same everywhere, text can be edited (paths)"
    group.add_argument("--svg-text", choices=("paths", "text"), default="paths", help=texts)
    words = "other words for bundles, scalars, contrasts, levels"
    group.add_argument("--rename", nargs="+", default=[], metavar="OLD=NEW", help=words)


def _millimetres(text: str) -> float:
    match = re.fullmatch(r"([0-9.]+)\s*(mm|cm|in)?", text.strip())
    try:
        if match is None:
            raise ValueError
        return float(match[1]) * {"mm": 1.0, "cm": 10.0, "in": 25.4}[match[2] or "mm"]
    except ValueError:
        raise argparse.ArgumentTypeError(f"takes a size such as 180mm, 8.5cm or 7in. Got {text!r}") from None


def plot(arguments: Sequence[str]) -> int:
    """`spectra-bids plot OUT -o FILE ...`; raises SpectraError."""
    options = plot_parser().parse_args(arguments)
    formats = tuple(dict.fromkeys(options.format)) or (options.output.suffix.lower().lstrip("."),)
    if formats[0] not in _FORMATS:
        raise UsageError(f"-o must end in .svg, .pdf or .png. Got {options.output}", "Or say --format pdf")
    from spectra_bids.cli.environment import writable_environment

    with writable_environment(None, options.output.parent):
        from spectra_bids.plot import run_plot

        for path, caption in run_plot(_task(options, formats)):
            print(f"{path}\n  {caption}")
    return 0


def _task(options: argparse.Namespace, formats: tuple[Any, ...]) -> PlotTask:
    from spectra_bids.plot import KINDS, PlotTask
    from spectra_bids.plot.words import renamings

    try:
        renamed = renamings(options.rename)
    except ValueError as error:
        raise UsageError(f"--rename takes OLD=NEW. Got {error}") from error
    return PlotTask(
        out=options.out,
        output=options.output,
        formats=formats,
        kinds=KINDS if "all" in options.figure else tuple(dict.fromkeys(options.figure)),
        model=options.model,
        bundles=tuple(options.bundle),
        contrasts=tuple(options.contrast),
        scalars=tuple(options.scalar),
        dims=options.dims,
        by=options.by,
        value=options.value,
        rejected_only=options.rejected_only,
        cameras=tuple(options.cameras),
        glass=options.glass,
        atlas=options.atlas,
        engine=options.engine,
        renamed=renamed,
        auto_title=options.title == "",
        press=_press(options),
    )


def _press(options: argparse.Namespace) -> Press:
    from spectra_bids.figures.press import Press

    return Press(
        width=options.width,
        dpi=options.dpi,
        font_size=options.font_size,
        font=options.font,
        dark=options.theme == "dark",
        transparent=options.transparent,
        letters=tuple(letter.strip() for letter in options.panels.split(",") if letter.strip()),
        title=options.title or None,
        outlines=options.svg_text == "paths",
    )
