"""Participant level: one subject at a time, resumable; one that fails never stops the others."""

from __future__ import annotations

import logging
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

from spectra_bids.bundle import Bundle
from spectra_bids.dataset.atlases import Atlas, read_atlas
from spectra_bids.dataset.grids import load_grid, read_grid, stored_grids, write_grid
from spectra_bids.dataset.inputs import discover_derivatives, find_sessions, forget_index
from spectra_bids.dataset.names import canonical, crash_dir, streamlines_file, subject_page
from spectra_bids.dataset.outputs import clear_leftovers, sha256, write_bytes, write_dataset_files, write_text
from spectra_bids.errors import (
    AtlasError,
    MissingInputError,
    NothingSelectedError,
    OutputError,
    SpectraError,
    TemporaryError,
)
from spectra_bids.figures.scene_lines import sample
from spectra_bids.geometry.grid import Grid, build_grid
from spectra_bids.io.tck import tck_bytes
from spectra_bids.io.tractograms import read_bundle
from spectra_bids.participant.plan import print_plan, processes
from spectra_bids.participant.session import Session, run_session
from spectra_bids.participant.stored import bundle_tables, session_label
from spectra_bids.settings import ParticipantSettings
from spectra_bids.workers import Workers, map_unordered

log = logging.getLogger("spectra_bids")

_STATES = {"computed": "done", "kept": "done already", "failed": "failed"}


@dataclass(frozen=True)
class Outcome:
    """What became of one session: computed, kept (it was done) or failed; warnings, or the message; exit status.

    The state `warned` is that of the subject as a whole: its pictures are not what they should be.
    """

    session: Session
    state: str
    message: str = ""
    exit_status: int = 0


def run(settings: ParticipantSettings) -> int:
    """Profiles, tables and pages of the selected subjects.

    Returns
    -------
    int
        Exit status: 0 done; 1 some sessions failed; where all failed for one reason, that reason's status.

    """
    if settings.run.reports_only:
        return _pages(settings)
    atlas = read_atlas(settings.atlas)
    sources = (*discover_derivatives(settings.run), ("atlas", settings.atlas))
    subjects = _by_subject(find_sessions(settings.run))
    if settings.run.dry_run:
        print_plan(settings, atlas, wanted_bundles(settings, atlas), subjects)
        return 0
    n_procs = processes(settings, atlas, wanted_bundles(settings, atlas), subjects)
    clear_leftovers(settings.run.output_dir, recursive=False)
    clear_leftovers(settings.run.output_dir / "atlas", recursive=False)
    write_dataset_files(settings.run.output_dir, sources)
    freeze_grids(settings, atlas)
    return _run_all(settings, subjects, n_procs)


def _pages(settings: ParticipantSettings) -> int:
    """--reports-only: pages of all subjects with tables that are selected; inputs are not looked at."""
    subjects = _with_tables(settings)
    if settings.run.dry_run:
        print(f"--reports-only: pages of {len(subjects)} subjects: {', '.join(f'sub-{s}' for s in subjects)}")
        return 0
    return _run_all(settings, subjects, settings.run.n_procs)


def _run_all(settings: ParticipantSettings, subjects: dict[str, list[Session]], n_procs: int) -> int:
    """Exit status of the work on all subjects."""
    outcomes: list[Outcome] = []
    for found in _progress(_all(settings, subjects, n_procs), subjects):
        outcomes += found
        for outcome in found:
            _tell(outcome)
    counts = Counter(o.state for o in outcomes if o.state != "warned")
    said = ", ".join(f"{counts[state]} {words}" for state, words in _STATES.items() if counts[state])
    pages = settings.run.output_dir / "sub-*.html"
    log.info("sessions: %s; pages: %s", said, pages, extra={"outcome": True})
    return exit_status(outcomes)


def exit_status(outcomes: Sequence[Outcome]) -> int:
    """Exit status of a run: that of the only reason if every session failed for it, else 1 if any failed."""
    failed = [o for o in outcomes if o.state == "failed"]
    temporary = next((o.exit_status for o in failed if o.exit_status == TemporaryError.exit_status), 0)
    if temporary or not failed:
        return temporary
    reasons = {o.exit_status for o in failed}
    n_jobs = sum(o.state != "warned" for o in outcomes)
    return reasons.pop() if len(failed) == n_jobs and len(reasons) == 1 else 1


def wanted_bundles(settings: ParticipantSettings, atlas: Atlas) -> list[str]:
    """Atlas bundles that --bundle selects, in any spelling; all without it."""
    if not settings.bundles:
        return list(atlas.bundles)
    wanted = {canonical(name): name for name in settings.bundles}
    chosen = [name for name in atlas.bundles if canonical(name) in wanted]
    unknown = [given for key, given in wanted.items() if key not in {canonical(n) for n in atlas.bundles}]
    if unknown:
        raise NothingSelectedError(
            f"--bundle {' '.join(unknown)}: not in the atlas {atlas.name}. It has: {', '.join(atlas.bundles)}"
        )
    return chosen


def freeze_grids(settings: ParticipantSettings, atlas: Atlas) -> dict[str, Grid]:
    """Grids of the wanted atlas bundles: those that are stored, and new ones, stored now with streamlines to show."""
    out, wanted = settings.run.output_dir, settings.profile.grid
    grids: dict[str, Grid] = {}
    for name in wanted_bundles(settings, atlas):
        path = atlas.bundles[name]
        source = sha256(path)
        try:
            stored = read_grid(out, atlas.label, name, wanted, source)
        except AtlasError:
            if not settings.run.force:
                raise
            stored = None
        if stored is None or not streamlines_file(out, atlas.label, name).is_file():
            write_bytes(streamlines_file(out, atlas.label, name), tck_bytes(sample(read_bundle(path))))
        if stored is None:
            stored = _build(name, path, settings)
            write_grid(out, atlas.label, stored, wanted, source)
        grids[name] = stored
    return grids


def _build(name: str, path: Path, settings: ParticipantSettings) -> Grid:
    g = settings.profile.grid
    try:
        return build_grid(
            read_bundle(path), name, s_len=g.s_len, r_len=g.r_len, ns=g.ns, nr=g.nr, robust=g.robust, radial=g.radial
        )
    except SpectraError:
        raise
    except ValueError as error:
        raise AtlasError(
            f"{path}: no grid can be built: {error}", "Remove the bundle from the atlas or mend it"
        ) from error


def _by_subject(sessions: Sequence[tuple[str, str | None]]) -> dict[str, list[Session]]:
    found: dict[str, list[Session]] = {}
    for subject, session in sessions:
        found.setdefault(subject, []).append(Session(subject, session))
    return found


def _with_tables(settings: ParticipantSettings) -> dict[str, list[Session]]:
    """Selected subjects that have tables to make pages of; those of the input that have none are named in a warning.

    Raises
    ------
    MissingInputError
        If nobody has any.

    """
    run = settings.run
    there: dict[str, list[Session]] = {}
    for folder in sorted(run.output_dir.glob("sub-*/")):
        subject = folder.name.removeprefix("sub-")
        labels = [session_label(table) for table in bundle_tables(run.output_dir, subject)]
        wanted = [label for label in labels if not run.session_labels or label in run.session_labels]
        if wanted and (not run.participant_labels or subject in run.participant_labels):
            there[subject] = [Session(subject, label or None) for label in wanted]
    try:
        asked = set(run.participant_labels) or {subject for subject, _ in find_sessions(run)}
    except SpectraError:  # the input need not be there any more
        asked = set()
    without = [f"sub-{s}" for s in sorted(asked - set(there))]
    if not there:
        raise MissingInputError(
            f"--reports-only: none of the selected subjects has tables in {run.output_dir}",
            "Run the same command without --reports-only",
        )
    if without:
        log.warning("--reports-only: no tables, and so no page, of %s", ", ".join(without))
    return there


def _all(settings: ParticipantSettings, subjects: dict[str, list[Session]], n_procs: int) -> Iterator[list[Outcome]]:
    """Outcomes of every subject as it is done; none after a failed one with --stop-on-first-crash."""
    run = settings.run
    workers = Workers(n_procs, run.omp_nthreads, run.dask_scheduler)
    job = partial(run_subject, replace(settings, run=replace(run, n_procs=min(n_procs, max(1, len(subjects))))))
    with closing(map_unordered(job, list(subjects.values()), workers)) as done:
        for _, found in done:
            yield found
            if run.stop_on_first_crash and any(o.state == "failed" for o in found):
                return


@lru_cache(maxsize=1)
def _frozen(settings: ParticipantSettings) -> tuple[Atlas, dict[str, Grid]]:
    """Atlas and stored grids, once per process and run."""
    forget_index()  # the worker of a cluster outlives runs, and files may have changed
    atlas = read_atlas(settings.atlas)
    out, wanted = settings.run.output_dir, settings.profile.grid
    if settings.run.reports_only:  # the tables' own grids, whatever this command says of grids
        return atlas, {
            n: load_grid(out, label, n) for n, (label, _) in stored_grids(out).items() if label == atlas.label
        }
    stored = {
        n: read_grid(out, atlas.label, n, wanted, sha256(atlas.bundles[n])) for n in wanted_bundles(settings, atlas)
    }
    return atlas, {n: g for n, g in stored.items() if g is not None}


def run_subject(settings: ParticipantSettings, sessions: Sequence[Session]) -> list[Outcome]:
    """All sessions of one subject, then its page. What goes wrong is recorded, not raised."""
    atlas, grids = _frozen(settings)
    clear_leftovers(settings.run.output_dir / f"sub-{sessions[0].subject}", recursive=True)
    outcomes, crashes = [], []
    placed: dict[str, Mapping[str, Bundle]] = {}
    for session in sessions:
        try:
            done = None if settings.run.reports_only else run_session(settings, atlas, grids, session)
            outcomes.append(
                Outcome(session, "kept" if done is None else "computed", ". ".join(done.warnings if done else ()))
            )
            if done is not None:
                placed[str(session)] = done.bundles
        except (OutputError, TemporaryError):
            raise  # a full disk or a missing permission stops everyone
        except Exception as error:
            outcomes.append(_failed(settings, session, error))
            crashes.append((str(session), in_words(error)))
            if settings.run.stop_on_first_crash:
                break
    page = subject_page(settings.run.output_dir, sessions[0].subject)
    drawn, said = _pictures(settings, atlas, grids, sessions[0].subject, placed)
    if drawn or settings.run.reports_only or any(o.state != "kept" for o in outcomes) or not page.is_file():
        from spectra_bids.participant.page import write_page

        try:
            write_page(settings, atlas, grids, sessions[0].subject, tuple(crashes))
        except (OutputError, TemporaryError):
            raise
        except Exception as error:
            outcomes.append(_failed(settings, Session(sessions[0].subject, None), error))
    return [*outcomes, Outcome(Session(sessions[0].subject, None), "warned", said)] if said else outcomes


def _pictures(
    settings: ParticipantSettings,
    atlas: Atlas,
    grids: dict[str, Grid],
    subject: str,
    placed: Mapping[str, Mapping[str, Bundle]],
) -> tuple[int, str]:
    """Pictures that were made, and what went wrong with the others: it is told, and fails nobody."""
    if settings.pictures == "none" or settings.run.reports_only:
        return 0, ""
    from spectra_bids.participant.pictures import add_pictures

    try:
        return add_pictures(settings, atlas, grids, subject, placed)
    except (OutputError, TemporaryError):
        raise
    except Exception as error:
        return 0, f"no 3D pictures: {in_words(error)}"


def _failed(settings: ParticipantSettings, session: Session, error: Exception) -> Outcome:
    """The outcome of a session that an error ended, recorded in the subject's log."""
    status = error.exit_status if isinstance(error, SpectraError) else SpectraError.exit_status
    record = _record_crash(settings, session, error).relative_to(settings.run.output_dir)
    return Outcome(session, "failed", f"{in_words(error)} Details: {record}", status)


def in_words(error: Exception) -> str:
    """Message and hint of an error as sentences; an error that is not ours has its kind before it."""
    if not isinstance(error, SpectraError):
        return f"{type(error).__name__}: {error}."
    return " ".join(f"{text.rstrip('.')}." for text in (error.message, error.hint) if text)


def _record_crash(settings: ParticipantSettings, session: Session, error: Exception) -> Path:
    """Leave `sub-XX/log/<run>/crash-<session>.txt` with the traceback and what was asked for."""
    folder = crash_dir(settings.run.output_dir, session.subject, settings.run.run_uuid or "run")
    text = "".join(traceback.format_exception(error))
    path = folder / f"crash-{session}.txt"
    write_text(path, f"{session}\n{settings.run.command}\n\n{text}")
    return path


def _tell(outcome: Outcome) -> None:
    if outcome.state == "failed":
        log.error("%s failed: %s", outcome.session, outcome.message)
    elif outcome.state == "warned":
        log.warning("%s: %s", outcome.session, outcome.message)
    else:
        log.info("%s %s", outcome.session, "done" if outcome.state == "computed" else "was done already")
        if outcome.message:
            log.warning("%s: %s", outcome.session, outcome.message)


def _progress(found: Iterator[list[Outcome]], subjects: dict[str, list[Session]]) -> Iterator[list[Outcome]]:
    """A bar on a terminal, nothing elsewhere (the log has a line per session)."""
    from tqdm import tqdm

    yield from tqdm(found, total=len(subjects), desc="Profiles", unit="subject", disable=None)
