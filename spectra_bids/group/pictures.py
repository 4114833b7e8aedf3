"""3D pictures of the group page: what stands behind its 3D view, in print and where there is no WebGL.

A budget of pictures goes to the bundles that stand out: of every family the clearest one, then the second, and so on;
before them the whole brain with all of a family's bundles, where there are several. No picture fails a run.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Bundle
from spectra_bids.dataset.grids import stored_grids
from spectra_bids.dataset.names import model_dir, streamlines_file
from spectra_bids.dataset.outputs import write_bytes
from spectra_bids.errors import OutputError, SpectraError, TemporaryError
from spectra_bids.figures.plots import letter
from spectra_bids.figures.scene_colours import by_cell
from spectra_bids.figures.scene_lines import DisplayLines, display_lines
from spectra_bids.figures.scene_model import Mesh, Picture, Scene
from spectra_bids.figures.style import diverging, limits, sequential
from spectra_bids.geometry.grid import Grid
from spectra_bids.io.tractograms import read_bundle
from spectra_bids.report.lines import in_brain_space
from spectra_bids.report.pages import GroupPage
from spectra_bids.report.subject import alphanumeric
from spectra_bids.report.words import Family, families

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("spectra_bids")

#: Pictures of a page, 20 to 40 kB each there.
MOST_PICTURES = 24
#: Vertices of all bundles together, 3.3 bytes each in the page, and of one bundle.
MOST_VERTICES, MOST_OF_ONE = 720_000, 12_000
SIZE = (720, 540)
#: Fainter than in a picture of its own: the bundle is what the page is about.
_GLASS = 0.18
_QUALITY = 85


#: Kind of profile, scalar, contrast, bundle.
Key = tuple[str, str, str, str]


@dataclass(frozen=True)
class _Wanted:
    """A picture to be: a family, and its bundles."""

    family: Family
    bundles: tuple[str, ...]

    @property
    def key(self) -> Key:
        f = self.family
        return f.kind, f.scalar, f.contrast, self.bundles[0] if len(self.bundles) == 1 else ""


def stored_lines(out: Path, grids: Mapping[str, Grid]) -> dict[str, DisplayLines]:
    """Streamlines of every bundle that has some stored beside its grid, thinned to the page's budget."""
    labels = {bundle: label for bundle, (label, _) in stored_grids(out).items()}
    files = {
        name: streamlines_file(out, labels[name], name)
        for name, grid in grids.items()
        if grid.is_located and name in labels and grid.ns * grid.nr <= 65535
    }
    there = {name: path for name, path in files.items() if path.is_file()}
    most = min(MOST_OF_ONE, MOST_VERTICES // max(1, len(there)))
    found = {}
    for name, path in there.items():
        try:
            lines = display_lines(read_bundle(path), grids[name], most)
        except SpectraError as error:
            log.warning("no 3D view of %s: %s", name, error.message)
            continue
        if lines.bundle.n_streamlines:
            found[name] = lines
    return found


def draw_pictures(page: GroupPage) -> dict[Key, Picture]:
    """Each picture by (kind, scalar, contrast, bundle); bundle "" is the whole brain."""
    wanted = _chosen(page)
    if not wanted:
        return {}
    try:
        drawn = _rendered(page, wanted)
    except Exception as error:  # whatever a renderer can do wrong: results matter, pictures help
        log.warning("no 3D pictures: %s: %s", type(error).__name__, error)
        return {}
    return {one.key: picture for one, picture in zip(wanted, drawn, strict=True)}


def write_pictures(out: Path, model: str, pictures: Mapping[Key, Picture]) -> None:
    """Store pictures as PNG among the model's figures; a name that is taken gets a number."""
    names: dict[str, int] = {}
    for (kind, scalar, contrast, bundle), picture in pictures.items():
        parts = [f"model-{alphanumeric(model)}", f"contrast-{alphanumeric(contrast)}", f"scalar-{alphanumeric(scalar)}"]
        parts += [f"bundle-{alphanumeric(bundle)}"] if bundle else []
        stem = "_".join((*parts, f"desc-scene{kind}"))
        names[stem] = names.get(stem, 0) + 1
        number = "" if names[stem] == 1 else str(names[stem])
        write_bytes(model_dir(out, model) / "figures" / f"{stem}{number}.png", picture.png())


def with_pictures(page: GroupPage, out: Path, grids: Mapping[str, Grid]) -> GroupPage:
    """The page with its 3D view and the pictures behind it, which are stored as files too.

    Raises
    ------
    OutputError, TemporaryError
        The pictures cannot be written; nothing else that goes wrong with them is raised.

    """
    from dataclasses import replace

    try:
        page = replace(page, lines=stored_lines(out, grids))
        pictures = draw_pictures(page) if page.lines else {}
        embedded = {key: small(picture) for key, picture in pictures.items()}
    except (OutputError, TemporaryError):
        raise
    except Exception as error:  # as above
        log.warning("no 3D view: %s: %s", type(error).__name__, error)
        return page
    write_pictures(out, page.name, pictures)
    return replace(page, pictures=embedded)


def _chosen(page: GroupPage) -> list[_Wanted]:
    """What is drawn, in order; where nothing was found, the bundle with the smallest p of the first family tested."""
    every = families(page)
    shown = {f.name: [b for b in f.shown if b in page.lines] for f in every}
    whole = [_Wanted(f, tuple(shown[f.name])) for f in every if len(shown[f.name]) > 1]
    turns = zip_longest(*([_Wanted(f, (b,)) for b in shown[f.name]] for f in every))
    single = [one for turn in turns for one in turn if one is not None]
    if not single:
        best = ((f, _best(f, page.lines)) for f in every if f.tested)
        single = [_Wanted(f, (b,)) for f, b in best if b][:1]
    return (whole + single)[:MOST_PICTURES]


def _best(family: Family, lines: Mapping[str, DisplayLines]) -> str:
    """Bundle of the smallest p among those with streamlines; empty if there is none."""
    rows = family.stats[family.stats["p"].notna() & family.stats["bundle"].astype(str).isin(list(lines))]
    return str(rows.loc[rows["p"].idxmin(), "bundle"]) if len(rows) else ""


def _rendered(page: GroupPage, wanted: Sequence[_Wanted]) -> list[Picture]:
    from spectra_bids.figures.scenes import render

    glass = _glass(page)
    return render([_scene(page.lines, one, glass) for one in wanted])


def _glass(page: GroupPage) -> tuple[Mesh, ...]:
    from spectra_bids.figures.scene_meshes import glass_brain

    if not in_brain_space(page.space):
        return ()
    try:
        return (glass_brain(_GLASS),)
    except SpectraError as error:
        log.warning("3D pictures without a glass brain: %s", error.message)
        return ()


def _scene(lines: Mapping[str, DisplayLines], wanted: _Wanted, glass: tuple[Mesh, ...]) -> Scene:
    """Bundles coloured by the statistic: about 0, or from 0 where it has no sign; not tested is grey."""
    rows = wanted.family.stats
    rows = rows[rows["bundle"].astype(str).isin(wanted.bundles) & rows["p"].notna()]
    signed = letter(rows) == "t"
    top = limits(rows["value"], centred=True)[1]
    scale, colours = ((-top, top), diverging()) if signed else ((0.0, top), sequential())
    parts = [lines[name] for name in wanted.bundles]
    painted = [
        by_cell(_values(rows, name, part.shape), part.where, colours, scale)
        for name, part in zip(wanted.bundles, parts, strict=True)
    ]
    bundle = _joined([part.bundle for part in parts])
    return Scene(bundle, np.vstack(painted), glass, camera_of(bundle), size=SIZE, dpi=150)


def _values(rows: pd.DataFrame, bundle: str, shape: tuple[int, int]) -> NDArray[np.float64]:
    """The statistic of each node, (ns,), or cell, (ns, nr), NaN where there is none."""
    mine = rows[rows["bundle"].astype(str) == bundle]
    flat = "r" not in mine.columns
    out = np.full(shape[:1] if flat else shape, np.nan)
    s = mine["s"].to_numpy(int)
    out[s if flat else (s, mine["r"].to_numpy(int))] = mine["value"].to_numpy(float)
    return out


def _joined(bundles: Sequence[Bundle]) -> Bundle:
    counts = np.concatenate([b.counts for b in bundles])
    return Bundle(np.vstack([b.points for b in bundles]), np.r_[0, np.cumsum(counts)].astype(np.int64))


def camera_of(bundle: Bundle) -> str:
    """The camera that sees a bundle's broad side, from where it lies: as the 3D view's first one."""
    low, high = bundle.points.min(axis=0), bundle.points.max(axis=0)
    thin = int(np.argmin(high - low))
    right_or_front = float(bundle.points[:, thin].mean(dtype=float)) >= 0
    return (("Sagittal_L", "Sagittal_R"), ("Coronal_P", "Coronal_A"), ("Axial", "Axial"))[thin][right_or_front]


def small(picture: Picture) -> bytes:
    """A picture as the page holds it, WebP: a tenth of the PNG's bytes, and no difference that is seen."""
    from PIL import Image

    buffer = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(picture.pixels[..., :3]))
    image.save(buffer, format="WEBP", quality=_QUALITY, method=6)
    return buffer.getvalue()
