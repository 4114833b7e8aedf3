"""`spectra-bids validate OUT`: is an output directory what this program writes, whole and consistent?

Looked at are names, descriptions, columns against sidecars, rows against grids, grids against their checksums, and
what stands alone: a table without its sidecar, a sidecar without its table, a temporary file of a killed run.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from spectra_bids.columns import (
    BLOCKS,
    BUNDLE,
    CALIBRATION,
    CLUSTERS,
    COMPONENTS_1D,
    COMPONENTS_2D,
    DECISIONS,
    FITS_1D,
    FITS_2D,
    MEANS_1D,
    MEANS_2D,
    NORMS,
    OUTLIERS,
    PROFILE_1D,
    PROFILE_2D,
    SELFTEST,
    SENSITIVITY,
    STATUSES,
    SUMMARY,
    Column,
    names,
)
from spectra_bids.dataset.grids import load_grid, stored_grids
from spectra_bids.dataset.names import norms_file, qc_page
from spectra_bids.dataset.outputs import read_table
from spectra_bids.dataset.qc_columns import QC_COVERAGE, QC_ORIENTATION, QC_OUTLIERS, QC_SITES, ROWS
from spectra_bids.errors import MissingInputError, SpectraError
from spectra_bids.geometry.grid import Grid

if TYPE_CHECKING:
    import pandas as pd

_ROOT = (
    "dataset_description.json",
    "README.md",
    ".bidsignore",
    "descriptions.tsv",
    "desc-bundle_tractometry.json",
    "desc-profile1D_tractometry.json",
    "desc-profile2D_tractometry.json",
)
_TABLE = re.compile(
    r"sub-(?P<sub>[A-Za-z0-9]+)(_ses-(?P<ses>[A-Za-z0-9]+))?(_space-[A-Za-z0-9+]+)?"
    r"_desc-(?P<desc>bundle|profile1D|profile2D)_tractometry\.tsv"
)
_MODEL_TABLE = re.compile(
    r"model-(?P<model>[A-Za-z0-9]+)(_bundle-(?P<bundle>[A-Za-z0-9]+))?"
    r"_desc-profile(?P<dims>1D|2D)_(?P<kind>fits|components|means|stats|blocks|summary|clusters|outliers|calibration|sensitivity)\.tsv"
)
_PROFILES: dict[str, tuple[Column, ...]] = {"bundle": BUNDLE, "profile1D": PROFILE_1D, "profile2D": PROFILE_2D}
_REDUCED: dict[str, tuple[Column, ...]] = {
    "blocks": BLOCKS,
    "summary": SUMMARY,
    "clusters": CLUSTERS,
    "outliers": OUTLIERS,
    "calibration": CALIBRATION,
    "sensitivity": SENSITIVITY,
}
_MAP_ARRAYS = re.compile(
    r"model-(?P<model>[A-Za-z0-9]+)_bundle-[A-Za-z0-9]+_desc-profile(1D|2D)_(residuals|permutations)\.npz"
)
_QUALITY: dict[str, tuple[Column, ...]] = {
    "desc-coverage_qc": QC_COVERAGE,
    "desc-outliers_qc": QC_OUTLIERS,
    "desc-orientation_qc": QC_ORIENTATION,
    "desc-sites_qc": QC_SITES,
}
#: Kinds of tables that the map step writes, one per bundle.
_MAPPED = ("fits", "components", "means")


@dataclass(frozen=True)
class Finding:
    """Something that is wrong (error) or odd (warning) with a file."""

    level: Literal["error", "warning"]
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.level.upper()} {self.path}: {self.message}"


def validate(out: Path) -> list[Finding]:
    """Findings of an output directory, errors first.

    Raises
    ------
    MissingInputError
        If there is no such directory.

    """
    if not out.is_dir():
        raise MissingInputError(f"validate: {out} is not a folder", "Give the OUTPUT_DIR of a run")
    checks: tuple[Callable[[Path], Iterator[Finding]], ...] = (
        _root,
        _atlas,
        _subjects,
        _shared,
        _models,
        _quality,
        _strays,
    )
    found = [finding for check in checks for finding in check(out)]
    return sorted(found, key=lambda f: (f.level != "error", f.path, f.message))


def _at(out: Path, path: Path, level: Literal["error", "warning"], message: str) -> Finding:
    return Finding(level, path.relative_to(out).as_posix(), message)


def _read_json(path: Path) -> dict[str, Any] | str:
    """Content of a JSON object, or what is wrong with it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "is missing"
    except (OSError, ValueError) as error:
        return f"cannot be read: {error}"
    return content if isinstance(content, dict) else "must hold a JSON object"


def _root(out: Path) -> Iterator[Finding]:
    for name in _ROOT:
        if not (out / name).is_file():
            yield _at(out, out / name, "error", "is missing")
    description = _read_json(out / "dataset_description.json")
    path = out / "dataset_description.json"
    if isinstance(description, str):
        if description != "is missing":
            yield _at(out, path, "error", description)
        return
    for key in ("Name", "BIDSVersion", "DatasetType", "GeneratedBy"):
        if not description.get(key):
            yield _at(out, path, "error", f"lacks {key}")
    if description.get("DatasetType") not in (None, "derivative"):
        yield _at(out, path, "error", f"DatasetType must be derivative. Got {description['DatasetType']!r}")
    tools = description.get("GeneratedBy")
    first = tools[0].get("Name") if isinstance(tools, list) and tools and isinstance(tools[0], dict) else None
    if first != "spectra-bids":
        yield _at(out, path, "error", f"GeneratedBy must name spectra-bids first. Got {first!r}")


def _atlas(out: Path) -> Iterator[Finding]:
    grids = stored_grids(out)
    if not grids:
        yield _at(out, out / "atlas", "error", "holds no grid")
    for bundle, (label, path) in grids.items():
        try:
            load_grid(out, label, bundle)
        except SpectraError as error:
            yield _at(out, path, "error", error.message)
    for path in sorted((out / "atlas").glob("*.npz")):
        if not path.with_suffix(".json").is_file():
            yield _at(out, path, "error", "has no JSON beside it: it will be made anew")
    for path in sorted((out / "atlas").glob("*.tck")):
        if not path.with_name(path.name.removesuffix("_streamlines.tck") + "_grid.json").is_file():
            yield _at(out, path, "error", "belongs to no grid that is here: it can be deleted")
        elif not _is_whole_tck(path):
            yield _at(out, path, "error", "is cut short or damaged: delete it and run the participant level again")


def _is_whole_tck(path: Path) -> bool:
    """Whether a .tck starts as one and ends in its closing triplet, Inf Inf Inf of 32 bits."""
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return content.startswith(b"mrtrix tracks\n") and content.endswith(b"\x00\x00\x80\x7f" * 3)


def _grids(out: Path) -> dict[str, Grid]:
    found = {}
    for bundle, (label, _) in stored_grids(out).items():
        try:
            found[bundle] = load_grid(out, label, bundle)
        except SpectraError:
            continue  # reported by _atlas
    return found


def _subjects(out: Path) -> Iterator[Finding]:
    grids = _grids(out)
    for folder in sorted(out.glob("sub-*")):
        if not folder.is_dir():
            continue
        tables = sorted(folder.glob("**/dwi/*_tractometry.tsv"))
        for path in tables:
            yield from _profile_table(out, path, grids)
        yield from _triples(out, tables, flat=bool(grids) and not any(grid.nr for grid in grids.values()))
        if tables and not (out / f"{folder.name}.html").is_file():
            yield _at(out, folder, "warning", "has no page: run with --reports-only")
        for crash in sorted(folder.glob("log/*/crash-*.txt")):
            if not tables:
                yield _at(out, crash, "warning", "a crash, and the subject has no table")
        for path in sorted(folder.glob("**/dwi/*_tractometry.json")):
            if not path.with_suffix(".tsv").is_file():
                yield _at(out, path, "error", "describes a table that is not there")


def _triples(out: Path, tables: Iterable[Path], flat: bool) -> Iterator[Finding]:
    """Every session has all three tables; two where no grid has radial bins (`flat`: profiles that were imported)."""
    stems: dict[Path, set[str]] = {}
    for path in tables:
        start, _, rest = path.name.rpartition("_desc-")
        stems.setdefault(path.parent / start, set()).add(rest.removesuffix("_tractometry.tsv"))
    for stem, kinds in stems.items():
        for kind in sorted(set(_PROFILES) - kinds - ({"profile2D"} if flat else set())):
            yield _at(out, stem.parent / f"{stem.name}_desc-{kind}_tractometry.tsv", "error", "is missing")


def _profile_table(out: Path, path: Path, grids: dict[str, Grid]) -> Iterator[Finding]:
    match = _TABLE.fullmatch(path.name)
    if match is None:
        yield _at(out, path, "error", "is not a name that this program writes")
        return
    expected = [f"sub-{match['sub']}", *([f"ses-{match['ses']}"] if match["ses"] else []), "dwi"]
    if list(path.relative_to(out).parts[:-1]) != expected:
        yield _at(out, path, "error", f"lies in the wrong folder, expected {'/'.join(expected)}")
    table, sidecar = _table_and_sidecar(path)
    if isinstance(table, str) or isinstance(sidecar, str):
        yield from (_at(out, path, "error", text) for text in (table, sidecar) if isinstance(text, str))
        return
    kind = match["desc"]
    yield from (_at(out, path, "error", text) for text in _columns(table, _PROFILES[kind], sidecar))
    if "status" in table.columns:
        for status in sorted(set(table["status"].astype(str)) - set(STATUSES)):
            yield _at(out, path, "error", f"has the unknown status {status!r}")
    for bundle, checksum in sidecar.get("GridChecksums", {}).items():
        if bundle in grids and grids[bundle].checksum != checksum:
            yield _at(out, path, "error", f"was made on another grid of {bundle} than atlas/ holds: rerun this session")
        elif bundle not in grids:
            yield _at(out, path, "error", f"was made on a grid of {bundle} that atlas/ does not hold")
    if kind != "bundle" and "bundle" in table.columns:
        yield from (_at(out, path, "error", text) for text in _rows(table, kind, grids))


def _table_and_sidecar(path: Path) -> tuple[pd.DataFrame | str, dict[str, Any] | str]:
    sidecar = _read_json(path.with_suffix(".json"))
    if isinstance(sidecar, str):
        sidecar = f"its sidecar {path.with_suffix('.json').name} {sidecar}"
    try:
        table = read_table(path)
    except SpectraError as error:
        return error.message, sidecar
    return (table if len(table.columns) > 1 else "is not a table"), sidecar


def _columns(table: pd.DataFrame, fixed: tuple[Column, ...], sidecar: dict[str, Any]) -> Iterator[str]:
    """Fixed columns first and in order; everything described, everything described there."""
    wanted = names(fixed)
    if list(table.columns[: len(wanted)]) != wanted:
        got = ", ".join(map(str, table.columns[: len(wanted)]))
        yield f"must begin with the columns {', '.join(wanted)}. Got {got}"
    described = {k for k, v in sidecar.items() if isinstance(v, dict) and "Description" in v}
    for column in table.columns:
        if column not in described:
            yield f"column {column} is not described in the sidecar"
    for column in sorted(described - set(table.columns)):
        yield f"the sidecar describes a column {column} that is not there"


def _rows(table: pd.DataFrame, kind: str, grids: dict[str, Grid]) -> Iterator[str]:
    """One row per node or cell of each grid."""
    for bundle, rows in table.groupby("bundle", sort=False):
        grid = grids.get(str(bundle))
        if grid is None:
            continue
        cells = int(grid.in_1d.sum() if kind == "profile1D" else grid.in_2d.sum())
        if len(rows) != cells:
            yield f"has {len(rows)} rows of {bundle}, its grid has {cells}"


def _shared(out: Path) -> Iterator[Finding]:
    """Findings on the table that all models share."""
    path = norms_file(out)
    if path.is_file():
        yield from _described(out, path, NORMS)
    elif path.with_suffix(".json").is_file():
        yield _at(out, path.with_suffix(".json"), "error", "describes a table that is not there")


def _models(out: Path) -> Iterator[Finding]:
    for folder in sorted((out / "group").glob("model-*")):
        name = folder.name.removeprefix("model-")
        kinds = set()
        for path in sorted(folder.glob("*.tsv")):
            if path.name == f"{folder.name}_selftest.tsv":
                yield from _described(out, path, SELFTEST)
                continue
            if path.name == f"{folder.name}_rows.tsv":
                yield from _described(out, path, ROWS)
                continue
            match = _MODEL_TABLE.fullmatch(path.name)
            if match is None or match["model"] != name or bool(match["bundle"]) != (match["kind"] in _MAPPED):
                yield _at(out, path, "error", "is not a name that this program writes")
                continue
            kinds.add(match["kind"])
            flat = match["dims"] == "1D"
            fits = FITS_1D if flat else FITS_2D
            expected = {
                "fits": fits,
                "components": COMPONENTS_1D if flat else COMPONENTS_2D,
                "means": MEANS_1D if flat else MEANS_2D,
                "stats": (*fits, *DECISIONS),
                **_REDUCED,
            }
            yield from _described(out, path, expected[match["kind"]])
        yield from _arrays(out, folder)
        for path in sorted(folder.glob("*.json")):
            described = any(path.with_suffix(suffix).is_file() for suffix in (".tsv", ".npz"))
            if not path.name.endswith("_smdl.json") and not described:
                yield _at(out, path, "error", "describes a file that is not there")
        reduced = "stats" in kinds
        for path in (folder / f"{folder.name}_smdl.json", out / f"{folder.name}.html"):
            if reduced and not path.is_file():
                yield _at(out, path, "error", "is missing")
        if not reduced:
            yield _at(
                out, folder, "warning", "holds fits that were not corrected yet: run the group level without --bundle"
            )


def _quality(out: Path) -> Iterator[Finding]:
    """Findings on the tables of quality control, which come with their page; sites where somebody has one."""
    there = sorted((out / "group").glob("*_qc.tsv"))
    for path in there:
        if path.stem in _QUALITY:
            yield from _described(out, path, _QUALITY[path.stem])
        else:
            yield _at(out, path, "error", "is not a name that this program writes")
    for name in _QUALITY:
        path = out / "group" / f"{name}.tsv"
        if path in there or (name == "desc-sites_qc" and not path.with_suffix(".json").is_file()):
            continue
        if there or path.with_suffix(".json").is_file():
            yield _at(out, path, "error", "is missing: run the group level again")
    if there and not qc_page(out).is_file():
        yield _at(out, qc_page(out), "error", "is missing: run the group level again")


def _arrays(out: Path, folder: Path) -> Iterator[Finding]:
    """Findings on the arrays that the map step leaves beside the fits."""
    for path in sorted(folder.glob("*.npz")):
        match = _MAP_ARRAYS.fullmatch(path.name)
        if match is None or match["model"] != folder.name.removeprefix("model-"):
            yield _at(out, path, "error", "is not a name that this program writes")
            continue
        described = _read_json(path.with_suffix(".json"))
        if isinstance(described, str):
            yield _at(out, path, "error", f"its sidecar {path.with_suffix('.json').name} {described}")
        elif not zipfile.is_zipfile(path):
            yield _at(out, path, "error", "cannot be read: it is no .npz file")


def _described(out: Path, path: Path, fixed: tuple[Column, ...]) -> Iterator[Finding]:
    """Findings on one table and its sidecar."""
    table, sidecar = _table_and_sidecar(path)
    if isinstance(table, str) or isinstance(sidecar, str):
        yield from (_at(out, path, "error", text) for text in (table, sidecar) if isinstance(text, str))
        return
    yield from (_at(out, path, "error", text) for text in _columns(table, fixed, sidecar))


def _strays(out: Path) -> Iterator[Finding]:
    for path in sorted(out.rglob(".*.tmp")):
        yield _at(out, path, "warning", "is left over from a run that was killed: it can be deleted")
    for page in sorted(out.glob("sub-*.html")):
        if not (out / page.stem).is_dir():
            yield _at(out, page, "warning", "is the page of a subject that is not there")
    for page in sorted(out.glob("model-*.html")):
        if not (out / "group" / page.stem).is_dir():
            yield _at(out, page, "warning", "is the page of a model that is not there")
