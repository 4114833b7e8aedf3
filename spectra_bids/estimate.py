"""What a run will take: CPU seconds and memory, from counts that are known before it (--dry-run, --mem).

Every constant below was measured, on one core of an Intel Xeon (virtual machine, two cores), Python 3.11, one BLAS
thread; times are CPU seconds. Good within a factor of 2 (benchmarks/scale.py, real subjects: README, "Scale").

Participant level. real-mni, real-pyafq, real-qsirecon (17-19 bundles, 0.9-2.2 million points, 1-2 maps), phases timed
by itself, and `profile` of one bundle of 125,510 points with 1, 2, 4 and 8 maps: 325, 360, 457, 728 ns a point.
Group level. benchmarks/scale.py with 300 and 2,000 subjects, phases timed by themselves; `fit_lmm` with n = 24 to
6,000, p = 4 and 8, 0 to 160 levels, 2 % missing at random: 61 to 289 microseconds a cell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# --- participant level -----------------------------------------------------------------------------------------------
#: Start of Python, and what a process spends once, in its first session (imports, fonts, templates).
START_S, FIRST_S = 0.5, 1.2
#: Grid of an atlas bundle, once per output directory.
GRID_S = 0.035
#: Index, sidecars, hashes, page without its figures.
SESSION_S = 0.2
#: Per bundle: header, distance to the atlas, rows of the tables.
BUNDLE_S = 0.015
#: Per bundle and map: figures.
FIGURE_S = 0.04
#: Pictures: start of the renderer, and per bundle three cameras, put into the file and into the page.
RENDERER_S, PICTURE_S = 2.0, 0.6
#: The renderer, a process beside the one whose subject it draws.
RENDERER_GB = 0.6
#: Per point: reading, distance to the nodes, frame, interpolation weights.
POINT_S = 3.2e-7
#: Per point and map: sampling and means.
POINT_MAP_S = 5e-8
#: Registration by streamlines of a session.
REGISTRATION_S = 1.2
#: Per voxel and map: unpacking.
VOXEL_S = 1.5e-8
#: A process with everything imported, as it stands at the end of a small subject.
PROCESS_GB = 0.22
#: Bytes per point of all bundles of a session (as read and as placed), and of the bundle that is worked on.
POINT_BYTES, WORKING_BYTES = 24, 250

# --- group level -----------------------------------------------------------------------------------------------------
#: Start, design, sidecars, page without figures.
GROUP_S = 1.5
#: Per session and kind of profile, and per row of a table and scalar: reading it, and writing it into the shared files.
TABLE_S, VALUE_S = 1.5e-3, 4e-7
#: Per cell: the fit as such; per session of it; per session and column of the design; per level of the random factor.
CELL_S, CELL_ROW_S, CELL_ROW_COLUMN_S, CELL_LEVEL_S = 6e-5, 1.1e-8, 6.2e-9, 4e-7
#: Per figure of the page, of which there are two per bundle worth showing.
GROUP_FIGURE_S = 0.055
#: Per row of the model's tables: decisions, writing.
ROW_S = 3e-5
#: The process with page and figures.
GROUP_GB = 0.25
#: Bytes of text of one value of a session's table, of a batch of tables (group.shared), and how often it is in memory.
TEXT_BYTES, BATCH_BYTES, BATCH_COPIES = 10, 12_000_000, 8
#: Copies of a bundle's values that exist at the same time, observed-flags and rows of the design included.
COPIES = 3
#: Bytes per row of the measured 1D profiles that the page draws.
DRAWN_BYTES = 90


@dataclass(frozen=True)
class Estimate:
    """CPU seconds, and GB at the same time."""

    seconds: float
    memory_gb: float

    def __str__(self) -> str:
        return f"{duration(self.seconds)}, {self.memory_gb:.2f} GB"


@dataclass(frozen=True)
class SessionSize:
    """What the headers of a session's files say: points in each bundle, maps, voxels of a map, and whether bundles
    must be registered by their streamlines; and whether pictures are drawn of them.
    """

    points: tuple[int, ...]
    maps: int
    voxels: int
    registers: bool = False
    pictures: bool = False


@dataclass(frozen=True)
class ModelSize:
    """Sessions, columns of X, levels of the random factor (0: none), contrasts."""

    sessions: int
    columns: int
    levels: int
    contrasts: int


def session(size: SessionSize) -> Estimate:
    """One session of the participant level, in a process that has begun."""
    points = sum(size.points)
    seconds = SESSION_S + len(size.points) * (BUNDLE_S + FIGURE_S * size.maps) + REGISTRATION_S * size.registers
    seconds += points * (POINT_S + POINT_MAP_S * size.maps) + VOXEL_S * size.voxels * size.maps
    held = POINT_BYTES * points + WORKING_BYTES * max(size.points, default=0) + 4 * size.voxels * size.maps
    seconds += size.pictures * (RENDERER_S + PICTURE_S * len(size.points))
    return Estimate(seconds, PROCESS_GB + RENDERER_GB * size.pictures + 1e-9 * held)


def participant_level(sessions: Sequence[Estimate], n: int, n_procs: int, new_grids: int) -> Estimate:
    """The whole participant level: `n` sessions like those of the sample, dealt to processes; seconds by the clock."""
    procs = max(1, min(n_procs, n))
    each = sum(e.seconds for e in sessions) / len(sessions)
    memory = max(e.memory_gb for e in sessions)
    seconds = START_S + FIRST_S + GRID_S * new_grids + each * -(-n // procs)
    return Estimate(seconds, procs * memory + (PROCESS_GB if procs > 1 else 0.0))


def bundle_fit(model: ModelSize, cells: int, scalars: int) -> Estimate:
    """Fits of one bundle and kind of profile."""
    n, random = model.sessions, model.levels > 0
    each = CELL_S + n * (CELL_ROW_S + CELL_ROW_COLUMN_S * model.columns) + CELL_LEVEL_S * model.levels
    seconds = scalars * cells * (each if random else each / 2) + ROW_S * scalars * cells * model.contrasts
    return Estimate(seconds, group_memory(n, [cells], scalars))


def group_level(model: ModelSize, cells: Sequence[Sequence[int]], scalars: int, in_memory: bool = True) -> Estimate:
    """The whole group level; `cells`: for each kind of profile the cells of every bundle."""
    n, total = model.sessions, sum(map(sum, cells))
    fits = sum(bundle_fit(model, c, scalars).seconds for kind in cells for c in kind)
    bundles = max((len(kind) for kind in cells), default=0)
    figures = min(150, model.contrasts * scalars * bundles * len(cells))
    seconds = GROUP_S + fits + n * (TABLE_S * len(cells) + VALUE_S * scalars * total) + GROUP_FIGURE_S * figures
    seconds += 2 * ROW_S * scalars * total * model.contrasts
    memory = max(group_memory(n, kind, scalars) for kind in cells)
    return Estimate(seconds, memory + (8e-9 * n * total * scalars if in_memory else 0.0))


def least_mem(memory_gb: float) -> str:
    """What --mem must say at least for so much: two decimals, rounded up."""
    return f"{math.ceil(100 * memory_gb) / 100:.2f}G"


def group_memory(sessions: int, widths: Sequence[int], scalars: int) -> float:
    """GB that the group level needs at least: the values of one bundle in memory, those of the others in a file."""
    values = COPIES * 8 * sessions * max(widths, default=0) * scalars
    drawn = DRAWN_BYTES * sessions * min(sum(widths), 30 * len(widths))
    batch = BATCH_COPIES * min(BATCH_BYTES, TEXT_BYTES * sessions * sum(widths) * (5 + 2 * scalars))
    return GROUP_GB + 1e-9 * (values + drawn + batch)


def duration(seconds: float) -> str:
    """Seconds in words: 0.04 s, 8.1 s, 3.5 min, 2.1 h; never more digits than the estimate is worth."""
    if seconds < 10:
        return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds:.2f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
