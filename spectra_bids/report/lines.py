"""What the 3D view of a page consists of: streamlines, glass brain, viewer, all inside the page.

    spectra-scene-lines     JSON; the streamlines of each bundle, quantised and packed
    spectra-scene-brain     JSON; the glass brain, likewise
    spectra-scene-library   NiiVue, packed; unpacked and run when a 3D view is first wanted

A packed array is its numbers modulo 2^16, all low bytes first, deflated, as base64. Coordinates are multiples of
`QUANTUM` from the first one's origin and stored as second differences: at even steps along smooth lines these are
small. Cells are stored as first differences. Equal lines give equal bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra_bids.figures.scene_lines import DisplayLines
from spectra_bids.report.pages import GroupPage

#: Resolution of coordinates, mm.
QUANTUM = 0.1
#: What an atlas space must be called for the brain of fsaverage to be drawn around its bundles.
_BRAIN_SPACES = ("MNI", "TAL", "FSAVERAGE")


def scene_elements(page: GroupPage) -> tuple[tuple[str, str, str], ...]:
    """(id, type, text) of the page's data elements; no text holds a `<`. Nothing where there are no streamlines."""
    if not page.lines or not viewer_library():
        return ()
    brain = packed_brain() if in_brain_space(page.space) else {}
    return (
        ("spectra-scene-lines", "application/json", _json(packed_lines(page.lines))),
        ("spectra-scene-brain", "application/json", _json(brain)),
        ("spectra-scene-library", "text/plain", _packed_library()),
    )


def in_brain_space(space: str) -> bool:
    """Whether fsaverage's brain belongs around the bundles of an atlas space."""
    return space.upper().startswith(_BRAIN_SPACES)


def scene_scripts(page: GroupPage) -> tuple[str, ...]:
    """Scripts of our own that the 3D view needs; none where there are no streamlines."""
    if not page.lines or not viewer_library():
        return ()
    folder = files("spectra_bids.report").joinpath("templates")
    parts = (folder.joinpath(f"scene3d{part}.js").read_text("utf-8") for part in ("-look", "-data", ""))
    return ('"use strict";\n(() => {\n' + "".join(parts) + "})();\n",)


def scene_hashes(page: GroupPage) -> tuple[str, ...]:
    """What the page's policy must allow beside its own scripts: the library, which becomes a script at run time."""
    if not page.lines or not viewer_library():
        return ()
    return ("sha256-" + base64.b64encode(hashlib.sha256(viewer_library().encode()).digest()).decode(),)


def picture(page: GroupPage, kind: str, scalar: str, contrast: str, bundle: str) -> str:
    """The picture behind a 3D view as a data URI, empty if there is none; bundle "" is the whole brain."""
    content = page.pictures.get((kind, scalar, contrast, bundle))
    return f"data:image/webp;base64,{base64.b64encode(content).decode()}" if content else ""


@cache
def viewer_library() -> str:
    """NiiVue's text as the installed nilearn brings it; empty if it does not."""
    from importlib.util import find_spec
    from pathlib import Path

    spec = find_spec("nilearn")
    path = Path(spec.origin or "").parent / "_assets" / "js" / "niivue.umd.js" if spec is not None else Path()
    # A script element's text knows no carriage returns: the hash is of what the browser will see.
    return path.read_text("utf-8").replace("\r\n", "\n") if path.is_file() else ""


@cache
def _packed_library() -> str:
    return _deflated(viewer_library().encode())


def packed_lines(lines: Mapping[str, DisplayLines]) -> dict[str, Any]:
    """Streamlines of every bundle, by name."""
    return {"quantum": QUANTUM, "bundles": {name: _packed(shown) for name, shown in sorted(lines.items())}}


def _packed(shown: DisplayLines) -> dict[str, Any]:
    bundle, (ns, nr) = shown.bundle, shown.shape
    if ns * nr > 65535:
        raise ValueError(f"a grid of {ns} x {nr} cells is too fine to be shown, at most 65535")
    origin, steps = quantised(bundle.points)
    return {
        "lines": bundle.n_streamlines,
        "vertices": len(bundle.points),
        "ns": ns,
        "nr": nr,
        "origin": origin,
        "counts": pack(bundle.counts),
        "points": pack(_differences(steps, 2).T),
        "cells": pack(_differences(shown.cells[:, None], 1)),
    }


@cache
def packed_brain() -> dict[str, Any]:
    """Both hemispheres of fsaverage5; {} where nilearn's own file cannot be had: a picture never fails a run."""
    from spectra_bids.errors import SpectraError
    from spectra_bids.figures.scene_meshes import glass_brain

    try:
        mesh = glass_brain()
    except SpectraError:
        return {}
    origin, steps = quantised(mesh.vertices)
    return {
        "quantum": QUANTUM,
        "vertices": len(mesh.vertices),
        "faces": len(mesh.faces),
        "origin": origin,
        "points": pack(_differences(steps, 1).T),
        "triangles": pack(_differences(mesh.faces.astype(np.int64), 1).T),
    }


def quantised(points: NDArray[np.floating]) -> tuple[list[float], NDArray[np.int64]]:
    """Lowest corner, (3,) mm, and the points as multiples of `QUANTUM` from there, (P, 3)."""
    steps = np.round(points.astype(np.float64) / QUANTUM).astype(np.int64)
    low = steps.min(axis=0) if len(steps) else np.zeros(3, np.int64)
    if len(steps) and int((steps.max(axis=0) - low).max()) > 65535:
        raise ValueError(f"points are spread over more than {65535 * QUANTUM:g} mm: too far to be shown")
    return [round(float(v) * QUANTUM, 4) for v in low], steps - low


def _differences(values: NDArray[np.int64], order: int) -> NDArray[np.int64]:
    """Differences of neighbouring rows, `order` times; what was before the first row is 0."""
    for _ in range(order):
        values = np.diff(values, axis=0, prepend=np.zeros((1, values.shape[1]), np.int64))
    return values


def pack(values: NDArray[np.integer]) -> str:
    """Numbers modulo 2^16, row by row: low bytes, high bytes, deflated, base64."""
    flat = (np.ascontiguousarray(values).ravel() & 0xFFFF).astype("<u2")
    return _deflated(flat.view(np.uint8).reshape(-1, 2).T.tobytes())


def _deflated(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 9)).decode()


def _json(content: Any) -> str:
    """JSON that may stand in a script element."""
    return json.dumps(content, separators=(",", ":"), sort_keys=True).replace("<", "\\u003c")
