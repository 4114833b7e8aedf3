"""SPECTRA's profile files: one .npz per subject, bundle and map, as spectra_profile writes them.

    <root>/<subject>/<bundle>_<map>.npz     ns, nr, s_len, r_len, profile_1d (ns,), profile_2d (ns, nr); NaN = missing

Another pattern may name the subject, the bundle, the map and any column of the metadata: `{site}/{subject}/{map}/...`.
A map's name holds no underscore unless it is asked for by name: else `CC_1_fa` would be the map `1_fa` of a bundle CC.
"""

from __future__ import annotations

import re
import string
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spectra_bids.errors import InputDataError, UsageError

PATTERN = "{subject}/{bundle}_{map}.npz"
KEYS = ("ns", "nr", "s_len", "r_len", "profile_1d", "profile_2d")


@dataclass(frozen=True, eq=False)
class ProfileStack:
    """One map of one bundle in everybody.

    Parameters
    ----------
    along : (n, ns) float64
        1D profiles; NaN where missing, and in all of a row without a file.
    across : (n, ns, nr) float64
        2D profiles.
    s_len, r_len : float, mm
        Bin sizes of the first file.
    absent : tuple of int
        Rows without a file.

    """

    along: NDArray[np.float64]
    across: NDArray[np.float64]
    s_len: float
    r_len: float
    absent: tuple[int, ...]


def check_pattern(pattern: str, columns: Sequence[str]) -> None:
    """UsageError unless a pattern names bundle and map, and else only `subject` and columns of the metadata."""
    try:
        fields = {name for _, name, _, _ in string.Formatter().parse(pattern) if name is not None}
    except ValueError as error:
        raise UsageError(f"--pattern {pattern!r} cannot be read: {error}", f"The default is {PATTERN}") from error
    allowed = {"subject", "bundle", "map", *columns}
    lost = [name for name in ("bundle", "map") if name not in fields]
    if lost or fields - allowed:
        what = f"has no {{{lost[0]}}}" if lost else f"names {{{min(fields - allowed)}}}"
        raise UsageError(
            f"--pattern {pattern!r} {what}. It may name {', '.join(sorted(allowed))}; bundle and map it must",
            f"The default is {PATTERN}",
        )


def find_profiles(
    root: Path, pattern: str, people: Sequence[Mapping[str, str]], bundle: str, maps: Sequence[str] = ()
) -> dict[str, list[Path | None]]:
    """Files of a bundle by map: one entry per row of `people`, None where there is none; maps in sorted order.

    Parameters
    ----------
    people : sequence of mappings
        What stands for `{subject}` and the metadata's columns in the pattern, row by row.
    maps : names, optional
        Maps to look for; every map that somebody has without it.

    """
    found: dict[str, list[Path | None]] = {}
    for row, person in enumerate(people):
        for path, _, name in _matches(root, pattern, person, escape(bundle), re.escape(bundle), maps):
            found.setdefault(name, [None] * len(people))[row] = path
    return dict(sorted(found.items()))


def find_bundles(
    root: Path, pattern: str, people: Sequence[Mapping[str, str]], maps: Sequence[str] = ()
) -> dict[str, set[int]]:
    """Bundle -> rows of `people` that have it, whatever the map."""
    found: dict[str, set[int]] = {}
    for row, person in enumerate(people):
        for _, bundle, _ in _matches(root, pattern, person, "*", r"[^/]+?" if maps else r"[^/]+", maps):
            found.setdefault(bundle, set()).add(row)
    return dict(sorted(found.items()))


def _matches(
    root: Path, pattern: str, person: Mapping[str, str], bundle_glob: str, bundle: str, maps: Sequence[str]
) -> list[tuple[Path, str, str]]:
    """(path, bundle, map) of a person's files; the subject may be written with or without sub-."""
    open_fields = {"bundle": (bundle_glob, bundle), "map": ("*", "|".join(map(re.escape, maps)) or r"[^_/]+")}
    subject = person["subject"]
    for spelling in dict.fromkeys((subject, f"sub-{subject}", subject.removeprefix("sub-"))):
        glob = regex = ""
        for literal, name, _, _ in string.Formatter().parse(pattern):
            glob, regex = glob + escape(literal), regex + re.escape(literal)
            if name in open_fields:
                wild, group = open_fields[name]
                regex += f"(?P={name})" if f"(?P<{name}>" in regex else f"(?P<{name}>{group})"
                glob += wild
            elif name is not None:
                value = spelling if name == "subject" else person.get(name, "n/a")
                glob, regex = glob + escape(value), regex + re.escape(value)
        found = [(path, re.fullmatch(regex, path.relative_to(root).as_posix())) for path in sorted(root.glob(glob))]
        matched = [(path, match["bundle"], match["map"]) for path, match in found if match]
        if matched:
            return matched
    return []


def read_profiles(paths: Sequence[Path | None]) -> ProfileStack:
    """Profiles of one bundle and map, one row per path.

    Raises
    ------
    InputDataError
        A file is no profile file, or its grid has another size than the first one's; names both.

    """
    there = [(row, path) for row, path in enumerate(paths) if path is not None]
    first_row, first = there[0]
    stored = read_profile(first)
    along = np.full((len(paths), *stored["profile_1d"].shape), np.nan)
    across = np.full((len(paths), *stored["profile_2d"].shape), np.nan)
    along[first_row], across[first_row] = stored["profile_1d"], stored["profile_2d"]
    for row, path in there[1:]:
        other = read_profile(path)
        if other["profile_2d"].shape != stored["profile_2d"].shape:
            raise InputDataError(
                f"{path} has another grid than {first}: expected (ns, nr) = {stored['profile_2d'].shape}, got "
                f"{other['profile_2d'].shape}",
                "Make both with one -ref atlas bundle and the same -s, -r (or -ns, -nr)",
            )
        along[row], across[row] = other["profile_1d"], other["profile_2d"]
    absent = tuple(row for row, path in enumerate(paths) if path is None)
    return ProfileStack(along, across, float(stored["s_len"]), float(stored["r_len"]), absent)


def read_profile(path: Path) -> dict[str, NDArray[np.float64]]:
    """Arrays of one file, checked against ns and nr; ±inf, which nobody measured, becomes NaN."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            lost = [key for key in KEYS if key not in stored]
            if lost:
                raise ValueError(f"it has no {', '.join(lost)}")
            arrays = {key: np.asarray(stored[key], np.float64) for key in KEYS}
        ns, nr = int(arrays["ns"]), int(arrays["nr"])
        for key, shape in (("profile_1d", (ns,)), ("profile_2d", (ns, nr))):
            if arrays[key].shape != shape:
                raise ValueError(f"{key} must have the shape {shape} that ns and nr say. Got {arrays[key].shape}")
    except (OSError, EOFError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise InputDataError(
            f"{path} cannot be read as a profile of spectra_profile: {error}", "Write it again with spectra_profile"
        ) from error
    for key in ("profile_1d", "profile_2d"):
        arrays[key] = np.where(np.isfinite(arrays[key]), arrays[key], np.nan)
    return arrays
