"""Payload of the explorer: an index (JSON) and packed blocks, one per family and bundle, decoded when looked at.

    x-index           what there is: bundles, scalars, contrasts, families, columns of the design, colours
    x-geo-K-B         cells of bundle B in profile K: s, r; s, r, x, y, z in tenths of a mm
    x-fit-F-B         family F in bundle B: the statistic, estimate, interval, df, p, q, effect size, MDE, n, status
    x-val-V-B-K       every session's value of scalar V: (cells, sessions)
    x-sum-V-B-K       instead of values: people, mean, SD and quartiles per group of every column
    x-adj-V-B-K       adjusted means of every column's levels, with their intervals

Labels stand in the index alone; `<` is escaped there, so that no label can end the element.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from spectra_bids.columns import FIT_STATUSES
from spectra_bids.figures.plots import is_true, letter
from spectra_bids.figures.style import diverging, end_word, sequential
from spectra_bids.report.measured import FEWEST, Split, split, summaries
from spectra_bids.report.packing import Packer
from spectra_bids.report.pages import GroupPage
from spectra_bids.report.words import Family, families

if TYPE_CHECKING:
    import pandas as pd

STATUSES = tuple(FIT_STATUSES)
_FIELDS = ("value", "estimate", "ci_low", "ci_high", "df", "p", "q", "effect_size", "mde")
_EFFECTS = {
    "cohen_d": "Cohen's d",
    "partial_r": "partial r",
    "partial_eta2": "partial η²",
    "none": "",
}
Stored = Literal["values", "summary", "none"]
Element = tuple[str, str, str]


class Source:
    """A page's tables as the payload needs them: bundles, scalars and families by number."""

    def __init__(self, page: GroupPage) -> None:
        self.page = page
        self.families: list[Family] = families(page)
        frames = [f.stats["bundle"].astype(str) for f in self.families]
        self.bundles: list[str] = list(dict.fromkeys(b for frame in frames for b in frame.unique()))
        self.scalars: list[str] = list(dict.fromkeys(f.scalar for f in self.families))
        self.kinds: list[str] = sorted({f.kind for f in self.families})
        self.rows = [dict(tuple(f.stats.groupby(f.stats["bundle"].astype(str), sort=False))) for f in self.families]
        self._read: tuple[tuple[str, str], Any] = (("", ""), None)

    @cached_property
    def columns(self) -> list[str]:
        """Columns of the design that something is drawn by; "" where a contrast has none."""
        by = {c.name: c.by for c in self.page.contrasts}
        return list(dict.fromkeys(by.get(f.contrast, "") for f in self.families))

    @cached_property
    def splits(self) -> dict[str, Split]:
        """Groups by column."""
        first = next(iter(self.page.measured.values()), None)
        return {} if first is None else {by: split(first.table, by) for by in self.columns}

    @cached_property
    def cells(self) -> dict[tuple[str, str], pd.DataFrame]:
        """Cells of every kind and bundle: s, r (0 in 1D) and places, sorted."""
        import pandas as pd

        out: dict[tuple[str, str], pd.DataFrame] = {}
        for family, rows in zip(self.families, self.rows, strict=True):
            for bundle, of in rows.items():
                if (family.kind, bundle) in out and set(_keys(of)) <= set(_keys(out[family.kind, bundle])):
                    continue
                found = of if "r" in of else of.assign(r=0, r_mm=np.nan)
                kept = found.reindex(columns=["s", "r", "s_mm", "r_mm", "x_mm", "y_mm", "z_mm"])
                before = out.get((family.kind, bundle))
                joined = kept if before is None else pd.concat([before, kept]).drop_duplicates(["s", "r"])
                out[family.kind, bundle] = joined.sort_values(["s", "r"]).reset_index(drop=True)
        return out

    @cached_property
    def order(self) -> tuple[list[tuple[str, str, str]], list[tuple[str, str, str]]]:
        """Numbers of scalar and bundle, and kind: those with findings, and the rest; 1D first."""
        found = {(f.scalar, b) for f in self.families for b in f.shown}
        parts: tuple[list[tuple[str, str, str]], list[tuple[str, str, str]]] = ([], [])
        for kind in self.kinds:
            for v, scalar in enumerate(self.scalars):
                for b, bundle in enumerate(self.bundles):
                    if kind in self.page.measured and (kind, bundle) in self.cells:
                        parts[(scalar, bundle) not in found].append((str(v), str(b), kind))
        return parts

    def fits(self) -> Iterator[tuple[str, str, str]]:
        """Blocks of the cells and of the fits."""
        for (kind, bundle), cells in self.cells.items():
            packer = Packer().whole(cells["s"]).whole(cells["r"])
            for name in ("s_mm", "r_mm", "x_mm", "y_mm", "z_mm"):
                packer.whole(cells[name], 10)
            yield f"x-geo-{kind}-{self.bundles.index(bundle)}", "text/plain", packer.text()
        for f, (family, rows) in enumerate(zip(self.families, self.rows, strict=True)):
            for bundle, of in rows.items():
                cells = self.cells[family.kind, bundle]
                yield f"x-fit-{f}-{self.bundles.index(bundle)}", "text/plain", _fit(of, cells)

    def count(self, scalar: str, bundle: str, kind: str) -> int:
        """Values of a scalar in a bundle."""
        return len(self.page.measured[kind].labels) * len(self.cells[kind, self.bundles[int(bundle)]])

    def count_summary(self, scalar: str, bundle: str, kind: str) -> int:
        """Numbers of the summaries of a scalar in a bundle."""
        groups = sum(len(of.names) for of in self.splits.values())
        return 6 * groups * len(self.cells[kind, self.bundles[int(bundle)]])

    def values(self, scalar: str, bundle: str, kind: str) -> tuple[tuple[str, str, str], ...]:
        """Every session's values."""
        found = self._values(scalar, bundle, kind)
        if found is None:
            return ()
        known = found[np.isfinite(found)]
        # Where values differ little beside their size, a fourth digit tells them apart.
        narrow = known.size and np.ptp(known) < 0.1 * np.abs(known).max()
        return (
            (f"x-val-{scalar}-{bundle}-{kind}", "text/plain", Packer().decimal(found.T, 4 if narrow else 3).text()),
        )

    def summary(self, scalar: str, bundle: str, kind: str) -> tuple[tuple[str, str, str], ...]:
        """People, mean and SD of every group; quartiles too where persons may be shown."""
        found = self._values(scalar, bundle, kind)
        if found is None:
            return ()
        private = self.page.level == "group"
        people = self.page.measured[kind].table["participant"].to_numpy(object)
        packer = Packer()
        for of in self.splits.values():
            made = summaries(found, of, people, FEWEST if private else 1)
            packer.whole(made["n"]).decimal(made["mean"]).decimal(made["sd"])
            for name in ("q1", "q2", "q3"):
                packer.decimal(made[name] if not private else [])
        return ((f"x-sum-{scalar}-{bundle}-{kind}", "text/plain", packer.text()),)

    @cached_property
    def adjusted(self) -> dict[str, dict[str, Any]]:
        """Levels of the adjusted means, by column, and where numbers were set."""
        out: dict[str, dict[str, Any]] = {}
        for _, table in sorted(self.page.means.items()):
            for (column, level), of in table.groupby(["column", "level"], sort=False):
                entry = out.setdefault(str(column), {"levels": [], "at": []})
                if str(level) not in entry["levels"]:
                    at = float(
                        np.nan
                        if "at" not in of
                        else np.nanmedian(of["at"].to_numpy(float))
                        if of["at"].notna().any()
                        else np.nan
                    )
                    if self.page.level == "group" and np.isfinite(at):
                        at = float(f"{at:.2g}")  # the median of a third of few people is a person's own value
                    entry["levels"].append(str(level))
                    entry["at"].append(at if np.isfinite(at) else None)
        return {column: entry for column, entry in out.items() if column in self.columns}

    @cached_property
    def _means(self) -> dict[tuple[str, str, str], pd.DataFrame]:
        return {
            (kind, str(scalar), str(bundle)): of
            for kind, table in self.page.means.items()
            for (scalar, bundle), of in table.groupby(["scalar", "bundle"], sort=False)
        }

    def means(self, scalar: str, bundle: str, kind: str) -> tuple[tuple[str, str, str], ...]:
        """Adjusted means of every column: estimate and interval, (levels, cells)."""
        table = self._means.get((kind, self.scalars[int(scalar)], self.bundles[int(bundle)]))
        if table is None or not self.adjusted:
            return ()
        place = _places(self.cells[kind, self.bundles[int(bundle)]])
        packer = Packer()
        for column, entry in self.adjusted.items():
            mine = table[table["column"].astype(str) == column]
            shape = (len(entry["levels"]), len(place))
            level = np.array([entry["levels"].index(str(v)) for v in mine["level"]], dtype=int)
            at = np.array([place.get(key, -1) for key in _keys(mine)], dtype=int)
            kept = at >= 0
            if self.page.level == "group" and "n" in mine:
                kept &= mine["n"].fillna(0).to_numpy(float) >= FEWEST
            for name in ("estimate", "ci_low", "ci_high"):
                block = np.full(shape, np.nan)
                block[level[kept], at[kept]] = mine[name].to_numpy(float)[kept]
                packer.decimal(block)
        return ((f"x-adj-{scalar}-{bundle}-{kind}", "text/plain", packer.text()),)

    def _values(self, scalar: str, bundle: str, kind: str) -> NDArray[np.float64] | None:
        """(n, cells) in the order of `cells`; None where the scalar was not measured."""
        measured, name = self.page.measured[kind], self.bundles[int(bundle)]
        if name not in measured.cells:
            return None
        if self._read[0] != (kind, name):
            self._read = ((kind, name), measured.read(name))
        found = self._read[1].get(self.scalars[int(scalar)])
        if found is None:
            return None
        place = _places(measured.cells[name])
        at = [place.get(key, -1) for key in _keys(self.cells[kind, name])]
        out: NDArray[np.float64] = np.where(np.array(at) >= 0, np.asarray(found)[:, at], np.nan)
        return out

    def index(self, stored: dict[str, Stored]) -> str:
        """The index, as JSON that no label can leave."""
        page = self.page
        first = next(iter(page.measured.values()), None)
        person: list[int] = []
        if first is not None and page.level == "person":
            person = np.unique(first.table["participant"].astype(str), return_inverse=True)[1].tolist()
        by = {c.name: c for c in page.contrasts}
        entries = {
            "space": page.space,
            "level": page.level,
            "bundles": [self._bundle(b) for b in self.bundles],
            "scalars": [{"name": s, "units": page.units.get(s, "")} for s in self.scalars],
            "families": [_family(f, self.scalars, by.get(f.contrast)) for f in self.families],
            "columns": {name: self._column(name, of) for name, of in self.splits.items()},
            "adjusted": self.adjusted,
            "labels": list(first.labels) if first is not None and page.level == "person" else [],
            "person": person,
            "stored": {key: state[0] for key, state in stored.items()},
            "statuses": [[name, FIT_STATUSES[name]] for name in STATUSES],
            "fewest": FEWEST if page.level == "group" else 0,
            "diverging": _table(diverging()),
            "sequential": _table(sequential()),
        }
        text = json.dumps(entries, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        # NUL and lone surrogates cannot stand in a document; the rest cannot end the element.
        text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
        return text.encode("utf-8", "replace").decode("utf-8")

    def _bundle(self, name: str) -> dict[str, Any]:
        ends, sides = self.page.ends.get(name), self.page.sides.get(name)
        cells = [self.cells[kind, name] for kind in self.kinds if (kind, name) in self.cells]
        ns, nr = self.page.shape.get(name, (0, 0))
        return {
            "name": name,
            "ends": [end_word(e) for e in ends] if ends else [],
            "sides": [end_word(e) for e in sides] if sides else [],
            "ns": max([ns, *(int(c["s"].max()) + 1 for c in cells)]),
            "nr": max([nr, *(int(c["r"].max()) + 1 for c in cells)]),
        }

    def _column(self, name: str, of: Split) -> dict[str, Any]:
        first = next(iter(self.page.measured.values()))
        entry: dict[str, Any] = {"groups": list(of.names), "within": of.within, "number": of.numbers is not None}
        people = of.people(first.table["participant"].to_numpy(object))
        if self.page.level == "group":
            return {**entry, "people": [n if n >= FEWEST else 0 for n in people]}
        values = [] if of.numbers is None else [v if np.isfinite(v) else None for v in of.numbers.tolist()]
        return {**entry, "people": list(people), "codes": of.codes.tolist(), "values": values}


def _keys(rows: pd.DataFrame) -> list[tuple[int, int]]:
    s = rows["s"].to_numpy(int)
    r = rows["r"].to_numpy(int) if "r" in rows else np.zeros(len(rows), int)
    return list(zip(s.tolist(), r.tolist(), strict=True))


def _places(rows: pd.DataFrame) -> dict[tuple[int, int], int]:
    return {key: k for k, key in enumerate(_keys(rows))}


def _fit(rows: pd.DataFrame, cells: pd.DataFrame) -> str:
    """One family in one bundle."""
    place = _places(cells)
    at = np.array([place[key] for key in _keys(rows)])
    packer = Packer()
    for name in _FIELDS:
        column = np.full(len(cells), np.nan)
        if name in rows:
            column[at] = rows[name].to_numpy(float)
        packer.decimal(column)
    n = np.full(len(cells), np.nan)
    n[at] = rows["n"].to_numpy(float) if "n" in rows else np.nan
    status = np.full(len(cells), 255)
    status[at] = [STATUSES.index(v) if v in STATUSES else 255 for v in rows["fit_status"].astype(str)]
    hit = np.zeros(len(cells))
    hit[at] = is_true(rows["rejected"])
    return packer.whole(n).small(status).small(hit).text()


def _family(family: Family, scalars: list[str], contrast: Any) -> dict[str, Any]:
    kinds = set(family.stats["effect_type"].dropna().astype(str)) if "effect_type" in family.stats else set()
    return {
        "contrast": family.contrast,
        "text": contrast.text if contrast else "",
        "by": contrast.by if contrast else "",
        "up": contrast.up if contrast else "",
        "down": contrast.down if contrast else "",
        "scalar": scalars.index(family.scalar),
        "kind": family.kind,
        "letter": letter(family.stats),
        "effect": _EFFECTS.get(next(iter(sorted(kinds)), "none"), ""),
        "slope": "partial_r" in kinds,
        "df_num": float(family.stats["df_num"].median()) if "df_num" in family.stats and family.tested else 1.0,
        "fwe": str(family.main["mode"]).startswith("perm"),
        "rejected": int(is_true(family.stats["rejected"]).sum()),
    }


def _table(colours: Any) -> str:
    """256 colours as hexadecimal digits, six each."""
    steps = np.rint(np.asarray(colours(np.arange(256)))[:, :3] * 255).astype(np.uint8)
    return bytes(steps.tobytes()).hex()
