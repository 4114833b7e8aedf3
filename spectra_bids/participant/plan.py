"""What a participant run would do and take: --dry-run, and how many processes --mem has room for.

A few sessions are indexed and the headers of their files read; the others are taken to be like them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spectra_bids.dataset.atlases import Atlas, match
from spectra_bids.dataset.inputs import discover_derivatives, read_session
from spectra_bids.dataset.names import grid_files
from spectra_bids.errors import SpectraError, UsageError
from spectra_bids.estimate import PROCESS_GB, Estimate, SessionSize, duration, participant_level
from spectra_bids.estimate import session as session_estimate
from spectra_bids.io.sizes import count_points, count_voxels
from spectra_bids.participant.registration import choose_route
from spectra_bids.participant.session import Session
from spectra_bids.participant.stored import bundle_tables
from spectra_bids.settings import ParticipantSettings

log = logging.getLogger("spectra_bids")

#: Sessions that are looked at; indexing one takes 0.2 s.
SAMPLE = 5


@dataclass(frozen=True)
class Sampled:
    """A session that was looked at, what its files' headers say (None: they could not be read), and why not."""

    session: Session
    size: SessionSize | None
    problem: str = ""


def print_plan(
    settings: ParticipantSettings, atlas: Atlas, bundles: Sequence[str], subjects: Mapping[str, Sequence[Session]]
) -> None:
    """Print what a run would do, and an estimate of its time and memory; nothing is written."""
    run = settings.run
    print(f"Atlas {atlas.name} ({atlas.space}), {len(bundles)} bundles")
    for name, path in discover_derivatives(run):
        print(f"Input {name}: {path}")
    sessions = [s for group in subjects.values() for s in group]
    print(f"{len(sessions)} sessions of {len(subjects)} subjects: {', '.join(map(str, sessions[:20]))}"
          + (" ..." if len(sessions) > 20 else ""))  # fmt: skip
    there = sum(bool(bundle_tables(run.output_dir, subject)) for subject in subjects)
    if there:
        print(f"{there} subjects have tables already; those of unchanged inputs and settings would be kept")
    sampled = sample(settings, atlas, bundles, sessions)
    sized = [(one.session, one.size) for one in sampled if one.size is not None]
    print("\nEstimate, within a factor of 2 on an idle machine (CPU time and memory of a session):")
    print(f"  {'session':<24} {'bundles':>7} {'points':>11} {'maps':>5} {'time':>9} {'memory':>9}")
    for session, size in sized:
        one = session_estimate(size)
        print(f"  {session!s:<24} {len(size.points):>7} {sum(size.points):>11,} {size.maps:>5} "
              f"{duration(one.seconds):>9} {one.memory_gb:>6.2f} GB")  # fmt: skip
    for failed in (one for one in sampled if one.problem):
        print(f"  {failed.session!s:<24} {failed.problem}")
    if not sized:
        print("  No session could be looked at: no estimate")
        return
    found = [session_estimate(size) for _, size in sized]
    procs = min(_room(found, run.n_procs, run.mem_gb), len(subjects))
    new = sum(not grid_files(run.output_dir, atlas.label, bundle)[0].is_file() for bundle in bundles)
    total = participant_level(found, len(sessions), procs, new)
    of = f"{len(found)} of {len(sessions)} sessions looked at; " if len(found) < len(sessions) else ""
    print(f"  {of}all, with {procs} process{'es' if procs > 1 else ''}: {total}")


def processes(
    settings: ParticipantSettings, atlas: Atlas, bundles: Sequence[str], subjects: Mapping[str, Sequence[Session]]
) -> int:
    """Processes to use: as many as --n-procs says and --mem has room for.

    Raises
    ------
    UsageError
        If --mem has not room for one.

    """
    run = settings.run
    if run.mem_gb is None or run.dask_scheduler or run.reports_only:
        return run.n_procs
    sessions = [s for group in subjects.values() for s in group]
    sampled = sample(settings, atlas, bundles, sessions)
    found = [session_estimate(one.size) for one in sampled if one.size is not None]
    room = _room(found or [Estimate(0.0, PROCESS_GB)], run.n_procs, run.mem_gb)
    if room < min(run.n_procs, len(subjects)):
        log.warning("--mem %.3gG has room for %d of the %d processes of --n-procs", run.mem_gb, room, run.n_procs)
    return room


def sample(
    settings: ParticipantSettings, atlas: Atlas, bundles: Sequence[str], sessions: Sequence[Session]
) -> list[Sampled]:
    """Sizes of at most `SAMPLE` sessions, evenly spread; what is wrong with one is left to the run to report."""
    n = min(SAMPLE, len(sessions))
    chosen = [sessions[k * (len(sessions) - 1) // max(1, n - 1)] for k in range(n)]
    found = []
    for session in chosen:
        try:
            found.append(Sampled(session, _size(settings, atlas, bundles, session)))
        except SpectraError as error:
            found.append(Sampled(session, None, error.message))
    return found


def _size(settings: ParticipantSettings, atlas: Atlas, bundles: Sequence[str], session: Session) -> SessionSize:
    inputs = read_session(settings.run, session.subject, session.session, settings.scalars)
    files = {n: f for n, f in match(atlas, inputs.bundles).items() if n in bundles}
    native = [f for f in files.values() if f.org_path is None]
    registers = bool(native) and choose_route(
        inputs, native[0].entities.get("space"), atlas, settings.profile
    ).name == "slr"  # fmt: skip
    return SessionSize(
        points=tuple(count_points(f.org_path or f.path, f.group) for f in files.values()),
        maps=len(inputs.scalars),
        voxels=max((count_voxels(s.path) for s in inputs.scalars), default=0),
        registers=registers,
        pictures=settings.pictures != "none",
    )


def _room(found: Sequence[Estimate], n_procs: int, mem_gb: float | None) -> int:
    """How many processes of the largest session fit; several need one more, which hands out the work."""
    if mem_gb is None:
        return n_procs
    most = max(e.memory_gb for e in found)
    if mem_gb < most:
        raise UsageError(
            f"--mem {mem_gb:.3g}G is too little: the largest session looked at needs about {most:.2f} GB",
            "Give more memory, or select fewer --bundle or --scalars",
        )
    several = int((mem_gb - PROCESS_GB) // most)
    return max(1, min(n_procs, several))
