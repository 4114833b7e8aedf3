"""A group page with measured values and adjusted means, and what reads its payload back."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from test_report_build import BUNDLES, group

from spectra_bids.report.measured import Measured
from spectra_bids.report.pages import GroupPage

PEOPLE = 12


def explored(name: Any = str, n: int = PEOPLE, by: str = "group", **changes: Any) -> GroupPage:
    """The page of test_report_build with n sessions of n people, half of them in each group, and adjusted means."""
    page = group(name)
    bundles, scalar = [name(b) for b in BUNDLES], name("dti_fa")
    rng = np.random.default_rng(11)
    levels = [name("control"), name("patient")]
    table = pd.DataFrame({"participant": [f"sub-{k:03d}" for k in range(n)]})
    table[name("group")] = pd.Categorical([levels[k % 2] for k in range(n)], categories=levels)
    table["age"] = np.linspace(20, 75, n).round(1)
    measured, means = {}, {}
    for kind in ("1D", "2D"):
        cells = {b: _cells(kind) for b in bundles}
        values = {b: {scalar: rng.uniform(0.2, 0.7, (n, len(cells[b])))} for b in bundles}
        values[bundles[0]][scalar][3, :] = np.nan
        measured[kind] = Measured(tuple(f"sub-{k:03d}" for k in range(n)), table, cells, values.__getitem__)
        means[kind] = pd.concat([_means(b, cells[b], scalar, name("group"), levels) for b in bundles])
    contrast = replace(page.contrasts[0], by=name(by) if by == "group" else by, up="higher", down="lower")
    shape = dict.fromkeys(bundles, (12, 3))
    made = replace(page, contrasts=(contrast,), measured=measured, means=means, shape=shape)
    return replace(made, **changes)


def _cells(kind: str) -> pd.DataFrame:
    cells = [(s, r) for s in range(12) for r in range(3 if kind == "2D" else 1)]
    frame = pd.DataFrame(cells, columns=["s", "r"])
    return frame if kind == "2D" else frame[["s"]]


def _means(bundle: str, cells: pd.DataFrame, scalar: str, column: str, levels: list[str]) -> pd.DataFrame:
    frames = [
        cells.assign(bundle=bundle, scalar=scalar, column=column, level=level, at=np.nan, n=6, estimate=0.4 + 0.1 * k,
                     se=0.01, ci_low=0.38 + 0.1 * k, ci_high=0.42 + 0.1 * k)
        for k, level in enumerate(levels)
    ]  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def unpack(text: str) -> list[NDArray[np.float64]]:
    """Columns of a block, read as the format is described."""
    raw = zlib.decompress(base64.b64decode(text), -15)
    count = int.from_bytes(raw[:4], "little")
    at, columns = 4 + 4 * count, []
    for k in range(count):
        head = raw[4 + 4 * k : 8 + 4 * k]
        n = int.from_bytes(head[1:], "little")
        if head[:1] == b"b":
            columns.append(np.frombuffer(raw, np.uint8, n, at).astype(float))
            at += n
            continue
        planes = np.frombuffer(raw, np.uint8, 2 * n, at).reshape(2, n)
        whole = (planes[0].astype(np.uint16) | (planes[1].astype(np.uint16) << 8)).view(np.int16).astype(float)
        whole[whole == -32768] = np.nan
        at += 2 * n
        if head[:1] == b"d":
            exponent = np.frombuffer(raw, np.int8, n, at).astype(float)
            at += n
            whole = np.array(
                [float(f"{w:.0f}e{e:.0f}") if np.isfinite(w) else np.nan for w, e in zip(whole, exponent, strict=True)]
            )
        columns.append(whole)
    return columns


class Elements(HTMLParser):
    """Texts of the script elements of a page by id, as a browser delimits them."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=False)
        self.texts: dict[str, str] = {}
        self.scripts: list[str] = []
        self._at: str | None = None
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script":
            self._at = dict(attrs).get("id") or ""
            if not self._at:
                self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._at = None

    def handle_data(self, data: str) -> None:
        if self._at:
            self.texts[self._at] = self.texts.get(self._at, "") + data
        elif self._at == "":
            self.scripts[-1] += data

    @property
    def index(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.texts["x-index"])
        return found
