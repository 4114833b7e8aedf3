"""One session: its bundles and maps become three tables with sidecars. Resumable: what is done is recognised by the
content of inputs and settings, never by time stamps.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectra_bids import __version__
from spectra_bids.bundle import Bundle, Volume
from spectra_bids.columns import BUNDLE, LESION_LOAD, PROFILE_1D, PROFILE_2D, names, scalar_columns, sidecar
from spectra_bids.dataset import names as paths
from spectra_bids.dataset.atlases import Atlas, match
from spectra_bids.dataset.inputs import BundleFile, SessionInputs, discover_derivatives, read_session
from spectra_bids.dataset.outputs import bids_uri, read_table, remove, sha256, write_json, write_table
from spectra_bids.errors import InputDataError, NothingSelectedError, SpectraError
from spectra_bids.figures.bundle_pictures import thin
from spectra_bids.geometry.grid import Grid
from spectra_bids.io.tractograms import read_bundle
from spectra_bids.io.volumes import read_volume
from spectra_bids.participant.checks import (
    far_away,
    refuse_swapped_pairs,
    require_streamlines,
    require_values,
    without_lesion_mask,
    without_streamlines,
)
from spectra_bids.participant.points import Weighed, find_weighed, read_weighed
from spectra_bids.participant.registration import Distances, Route, choose_route, measure_distances, place
from spectra_bids.participant.stored import pictures_of
from spectra_bids.profiles import Cells, Profile, profile
from spectra_bids.settings import ParticipantSettings, settings_hash

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("bundle", "profile1D", "profile2D")


@dataclass(frozen=True)
class Session:
    """What identifies a session: subject and session labels, the latter None where there are no sessions."""

    subject: str
    session: str | None

    def __str__(self) -> str:
        return f"sub-{self.subject}" + (f"_ses-{self.session}" if self.session else "")


def table_files(out: Path, session: Session, space: str | None) -> dict[str, Path]:
    """Paths of a session's three tables by kind."""
    sub, ses = session.subject, session.session
    return {
        "bundle": paths.bundle_file(out, sub, ses, space),
        "profile1D": paths.profile_file(out, sub, ses, space, "1D"),
        "profile2D": paths.profile_file(out, sub, ses, space, "2D"),
    }


@dataclass(frozen=True, eq=False)
class Finished:
    """What a session that was computed leaves beside its tables: warnings, and its bundles as pictures show them."""

    warnings: tuple[str, ...]
    bundles: Mapping[str, Bundle]


def run_session(
    settings: ParticipantSettings, atlas: Atlas, grids: Mapping[str, Grid], session: Session
) -> Finished | None:
    """Compute one session and write its tables. None if they were there already.

    Raises
    ------
    NothingSelectedError
        If the session has no scalar map or none of the bundles of the atlas.
    SpectraError
        Whatever is wrong with an input file.

    """
    inputs = read_session(settings.run, session.subject, session.session, settings.scalars)
    if not inputs.scalars:
        raise NothingSelectedError(
            f"{session} has no scalar map that --scalars {' '.join(settings.scalars)} selects",
            "Name the data set that holds the maps with -d NAME=PATH",
        )
    files = _bundle_files(atlas, grids, inputs, session)
    weighed = find_weighed(settings, inputs, files)
    sources = _sources(settings, inputs, files, weighed)
    tables = table_files(settings.run.output_dir, session, inputs.space)
    key = session_key(settings, atlas, grids)
    if not settings.run.force and is_done(tables, key, sources):
        return None
    computed = _compute(settings, atlas, grids, inputs, files, weighed)
    _write(settings, atlas, grids, inputs, sources, key, tables, computed)
    return Finished(computed.warnings, computed.shown)


def place_again(
    settings: ParticipantSettings, atlas: Atlas, grids: Mapping[str, Grid], session: Session
) -> dict[str, Bundle]:
    """A session's bundles in atlas space, as `run_session` placed them: the same files by the same route."""
    inputs = read_session(settings.run, session.subject, session.session, settings.scalars)
    files = _bundle_files(atlas, grids, inputs, session)
    return _load(settings, atlas, inputs, files, read_volume(inputs.scalars[0].path) if inputs.scalars else None).placed


def _bundle_files(
    atlas: Atlas, grids: Mapping[str, Grid], inputs: SessionInputs, session: Session
) -> dict[str, BundleFile]:
    files = {n: f for n, f in match(atlas, inputs.bundles).items() if n in grids}
    if not files:
        there = ", ".join(sorted({b.label for b in inputs.bundles})) or "none"
        raise NothingSelectedError(
            ". ".join((f"{session} has no bundle of the atlas {atlas.name}. It has: {there}", *inputs.notes)),
            "Name the data set that holds the bundles with -d NAME=PATH, or use an atlas with these bundles",
        )
    return files


def session_key(settings: ParticipantSettings, atlas: Atlas, grids: Mapping[str, Grid]) -> str:
    """Hash of all that decides a session's numbers and sidecars apart from its input files."""
    checksums = {n: g.checksum for n, g in sorted(grids.items())}
    said = (atlas.name, atlas.label, atlas.space, atlas.license)
    return settings_hash(settings.profile, sorted(settings.scalars), said, checksums, __version__)


def is_done(tables: Mapping[str, Path], key: str, sources: Mapping[str, str]) -> bool:
    """Whether all tables are there, parse, and were made from these inputs with these settings."""
    for path in tables.values():
        try:
            facts = json.loads(path.with_suffix(".json").read_text())
            if facts.get("SettingsHash") != key or facts.get("SourceHashes") != dict(sources) or read_table(path).empty:
                return False
        except (OSError, ValueError, SpectraError):
            return False
    return True


def _sources(
    settings: ParticipantSettings, inputs: SessionInputs, files: Mapping[str, BundleFile], weighed: Weighed
) -> dict[str, str]:
    """BIDS URI -> SHA-256 of every input file, in a fixed order."""
    roots = dict(discover_derivatives(settings.run))
    found: dict[str, str] = {}
    for file in files.values():
        for path in (file.path, file.org_path):
            if path is not None:
                found[bids_uri(file.dataset, roots[file.dataset], path)] = sha256(path)
    for scalar in inputs.scalars:
        found[bids_uri(scalar.dataset, roots[scalar.dataset], scalar.path)] = sha256(scalar.path)
    for mask in weighed.masks.values():
        root = roots.get(mask.dataset)
        found[mask.path.name if root is None else bids_uri(mask.dataset, root, mask.path)] = sha256(mask.path)
    for name, path in weighed.weights.items():
        found[bids_uri(files[name].dataset, roots[files[name].dataset], path)] = sha256(path)
    for transform in inputs.transforms:
        for name, root in roots.items():
            if transform.path.is_relative_to(root):
                found[bids_uri(name, root, transform.path)] = sha256(transform.path)
                break
    return found


@dataclass(frozen=True, eq=False)
class _Computed:
    profiles: dict[str, Profile]
    bundles: dict[str, Bundle]
    labels: dict[str, str]
    distances: Distances
    route: Route
    few: frozenset[str]
    warnings: tuple[str, ...]
    shown: dict[str, Bundle]


@dataclass(frozen=True, eq=False)
class _Loaded:
    """Bundles as their files hold them, of rec/org pairs those in the maps' space, all in atlas space; the route."""

    loaded: dict[str, Bundle]
    own: dict[str, Bundle]
    placed: dict[str, Bundle]
    route: Route


def _load(
    settings: ParticipantSettings,
    atlas: Atlas,
    inputs: SessionInputs,
    files: Mapping[str, BundleFile],
    reference: Volume | None,
) -> _Loaded:
    loaded = {n: read_bundle(f.path, reference, f.group) for n, f in files.items()}
    own = {n: read_bundle(f.org_path, reference) for n, f in files.items() if f.org_path is not None}
    require_streamlines(loaded, files)
    native = {n: b for n, b in loaded.items() if n not in own}
    space = next((f.entities.get("space") for n, f in files.items() if n in native), atlas.space)
    route = choose_route(inputs, space, atlas, settings.profile) if native else Route("none", notes=("rec/org pairs",))
    placed, route = place(native, route, inputs, atlas, settings.profile.random_seed)
    return _Loaded(loaded, own, {**placed, **{n: loaded[n] for n in own}}, route)


def _compute(
    settings: ParticipantSettings,
    atlas: Atlas,
    grids: Mapping[str, Grid],
    inputs: SessionInputs,
    files: Mapping[str, BundleFile],
    weighed: Weighed,
) -> _Computed:
    volumes = {s.name: read_volume(s.path) for s in inputs.scalars}
    found = _load(settings, atlas, inputs, files, next(iter(volumes.values())))
    loaded, own, placed, route = found.loaded, found.own, found.placed, found.route
    masks, weights = read_weighed(weighed, settings.profile.points.streamline_weights, files, loaded)
    few = frozenset(n for n, b in loaded.items() if b.n_streamlines < settings.profile.min_streamlines)
    profiles = {}
    for name, rec in placed.items():
        if name not in few:
            profiles[name] = _profile_one(
                name, files[name], rec, own.get(name, loaded[name]), grids, volumes, masks, weights.get(name), settings
            )
    labels = {n: f.label for n, f in files.items()}
    distances = measure_distances(placed, atlas)
    refuse_swapped_pairs(own, files, distances, atlas)
    warnings = (
        *without_streamlines(loaded, files),
        *far_away(distances),
        *require_values(profiles, {s.name: s.path for s in inputs.scalars}),
        *without_lesion_mask(settings.profile.points.lesion_mask, masks),
    )
    shown = {n: thin(b) for n, b in placed.items()} if settings.pictures != "none" else {}
    return _Computed(profiles, loaded, labels, distances, route, few, warnings, shown)


def _profile_one(
    name: str,
    file: BundleFile,
    rec: Bundle,
    org: Bundle,
    grids: Mapping[str, Grid],
    volumes: Mapping[str, Volume],
    masks: Mapping[str, Volume],
    weights: NDArray[np.float64] | None,
    settings: ParticipantSettings,
) -> Profile:
    try:
        return profile(
            rec,
            grids[name],
            volumes,
            org=org,
            mask=masks.get("include"),
            exclude=masks.get("exclude"),
            lesion=masks.get("lesion"),
            weights=weights,
            min_points=settings.profile.min_points,
        )
    except ValueError as error:
        other = f" and {file.org_path}" if file.org_path else ""
        raise InputDataError(f"bundle {name}: {file.path}{other}: {error}") from error


def _cells_table(cells: Cells, grid: Grid, with_lesions: bool, radial: bool) -> pd.DataFrame:
    """Rows of one bundle's profile: the grid's cells, in (s, r) order."""
    import pandas as pd

    keep = (grid.in_2d if radial else grid.in_1d).ravel()
    s, r = np.divmod(np.arange(len(keep)), grid.nr) if radial else (np.arange(len(keep)), None)
    table: dict[str, Any] = {"bundle": grid.bundle, "s": s}
    if r is not None:
        table["r"] = r
    table["s_mm"] = grid.s_mm[s]
    if r is not None:
        table["r_mm"] = grid.r_mm[r]
    table |= {"n_points": cells.n_points, "n_streamlines": cells.n_streamlines, "status": cells.status}
    for scalar in cells.mean:
        table[scalar], table[f"{scalar}_sd"] = cells.mean[scalar], cells.sd[scalar]
    if with_lesions:
        table[LESION_LOAD.name] = np.full(len(keep), np.nan) if cells.lesion_load is None else cells.lesion_load
    return pd.DataFrame(table)[keep]


def _missing_cells(n: int, scalars: list[str], status: str) -> Cells:
    nothing = {s: np.full(n, np.nan) for s in scalars}
    zero = np.zeros(n, dtype=np.int64)
    return Cells(nothing, nothing, zero, zero, np.full(n, status))


def _profile_tables(
    computed: _Computed, grids: Mapping[str, Grid], scalars: list[str], with_lesions: bool
) -> dict[str, pd.DataFrame]:
    import pandas as pd

    along, across = [], []
    for name, grid in grids.items():
        found = computed.profiles.get(name)
        status = "few_streamlines" if name in computed.few else "no_bundle"
        one = found.along if found else _missing_cells(grid.ns, scalars, status)
        two = found.across if found else _missing_cells(grid.ns * grid.nr, scalars, status)
        along.append(_cells_table(one, grid, with_lesions, radial=False))
        across.append(_cells_table(two, grid, with_lesions, radial=True))
    return {"profile1D": pd.concat(along, ignore_index=True), "profile2D": pd.concat(across, ignore_index=True)}


def _bundle_table(
    computed: _Computed, grids: Mapping[str, Grid], scalars: list[str], with_lesions: bool
) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for name in grids:
        bundle, found = computed.bundles.get(name), computed.profiles.get(name)
        row: dict[str, Any] = dict.fromkeys(names(BUNDLE), np.nan)
        row |= {
            "bundle": name,
            "n_streamlines": 0,
            "flag": "none",
            "status": "no_bundle",
            **dict.fromkeys(scalars, np.nan),
        }
        if bundle is not None:
            row |= {
                "source": computed.labels[name],
                "n_streamlines": bundle.n_streamlines,
                "length_mm": float(bundle.lengths.mean()) if bundle.n_streamlines else np.nan,
                "distance_median_mm": computed.distances.median.get(name, np.nan),
                "distance_p95_mm": computed.distances.p95.get(name, np.nan),
                "flag": computed.distances.flag.get(name, "none"),
                "status": "few_streamlines",
            }
        if found is not None:
            row |= {"volume_mm3": found.volume_mm3, "share_outside": found.share_outside}
            row |= {"share_jumping": found.share_jumping, "status": "ok", **found.bundle_mean}
            row[LESION_LOAD.name] = np.nan if found.lesion_load is None else found.lesion_load
        rows.append(row)
    return pd.DataFrame(rows, columns=[*names(BUNDLE), *scalars, *([LESION_LOAD.name] if with_lesions else [])])


def _write(
    settings: ParticipantSettings,
    atlas: Atlas,
    grids: Mapping[str, Grid],
    inputs: SessionInputs,
    sources: Mapping[str, str],
    key: str,
    tables: Mapping[str, Path],
    computed: _Computed,
) -> None:
    """Sidecars first, tables last: a table that is there is a finished one."""
    scalars = [s.name for s in inputs.scalars]
    units = {s.name: s.units for s in inputs.scalars}
    lesions = bool(settings.profile.points.lesion_mask)
    content = {
        "bundle": _bundle_table(computed, grids, scalars, lesions),
        **_profile_tables(computed, grids, scalars, lesions),
    }
    facts = {
        "Sources": list(sources),
        "SourceHashes": dict(sources),
        "Atlas": {"Name": atlas.name, "Label": atlas.label, "Space": atlas.space, "License": atlas.license},
        "GridChecksums": {n: g.checksum for n, g in grids.items()},
        "ScalarSpace": inputs.space or "n/a",
        "RegistrationRoute": computed.route.name,
        **_route_facts(computed),
        "Notes": [*inputs.notes, *computed.route.notes, *computed.warnings],
        "Settings": {**asdict(settings.profile), "scalars": sorted(settings.scalars)},
        "SettingsHash": key,
        "SpectraBidsVersion": __version__,
    }
    # Old tables and what was made of them, page and pictures, go first: a run that is killed here leaves a session that
    # is not done, never one in which new sidecars describe old tables.
    out, subject = settings.run.output_dir, inputs.subject
    drawn = pictures_of(out, subject, tables["bundle"])
    for path in (*tables.values(), paths.subject_page(out, subject), *drawn):
        remove(path)
    for kind in KINDS:
        fixed = {"bundle": BUNDLE, "profile1D": PROFILE_1D, "profile2D": PROFILE_2D}[kind]
        described = [c for s in scalars for c in scalar_columns(s, units[s], spread=kind != "bundle")]
        described += [LESION_LOAD] if lesions else []
        write_json(tables[kind].with_suffix(".json"), {**facts, **sidecar((*fixed, *described))})
    for kind in KINDS:
        write_table(tables[kind], content[kind])


def _route_facts(computed: _Computed) -> dict[str, Any]:
    d = computed.distances
    facts: dict[str, Any] = {"Resampled": sorted(n for n, p in computed.profiles.items() if p.resampled)}
    if np.isfinite(d.session_median):
        facts["DistanceToAtlas"] = {"Median": round(d.session_median, 3), "P95": round(d.session_p95, 3), "Units": "mm"}
    if computed.route.transform is not None:
        facts["Transform"] = computed.route.transform.name
    if computed.route.affine is not None:
        facts["StreamlineAffine"] = np.round(computed.route.affine, 5).tolist()
    return facts
