"""How much of what was measured a page carries: everything while there is room, what matters most first."""

from __future__ import annotations

from dataclasses import dataclass

from spectra_bids.report.explorer import Element, Source, Stored
from spectra_bids.report.measured import FEWEST
from spectra_bids.report.pages import GroupPage

#: What a page may weigh, a little below the ten million bytes that we promise.
PAGE_BYTES = 9_800_000


@dataclass(frozen=True)
class Payload:
    """Data elements of the page as (id, type, text), and what the page says of what it holds."""

    elements: tuple[tuple[str, str, str], ...]
    said: str

    @property
    def size(self) -> int:
        """Bytes that the elements take."""
        return sum(len(text) + len(name) + 60 for name, _, text in self.elements)


def payload(page: GroupPage, budget: int = PAGE_BYTES) -> Payload:
    """Everything that the explorer shows, in at most `budget` bytes where that is possible.

    Fits come first and are always whole; what was measured follows while there is room.
    """
    source = Source(page)
    fits = tuple(source.fits())
    index_size = len(source.index({})) + 200
    left = budget - index_size - Payload(fits, "").size
    measured, stored = _measured(source, left)
    index = ("x-index", "application/json", source.index(stored))
    return Payload((index, *fits, *measured), _said(source, stored))


def _measured(source: Source, left: int) -> tuple[tuple[tuple[str, str, str], ...], dict[str, Stored]]:
    """Blocks of what was measured, and what each scalar, bundle and kind got.

    In the order of importance: values and adjusted means where something was found, groups' summaries of the rest (or
    its values, where these are fewer numbers), its adjusted means, then its values in place of the summaries, 1D first.
    """
    out: dict[tuple[str, str], tuple[Element, ...]] = {}
    stored: dict[str, Stored] = {}
    room = Room(left)
    persons = source.page.level == "person"
    found, rest = source.order
    for key, place in ((f"{'-'.join(place)}", place) for place in (*found, *rest)):
        stored[key] = "none"
        few = source.count(*place) <= source.count_summary(*place)
        wanted = persons and (few or place in found) and room.holds(2 * source.count(*place))
        if wanted and (blocks := room.take(source.values(*place))):
            out[key, "x"], stored[key] = blocks, "values"
        if stored[key] == "none" and (blocks := room.take(source.summary(*place))):
            out[key, "x"], stored[key] = blocks, "summary"
        if place in found:
            out[key, "m"] = room.take(source.means(*place))
    for place in rest:
        out["-".join(place), "m"] = room.take(source.means(*place))
    for place in rest if persons else ():
        key = "-".join(place)
        if stored[key] == "values" or not room.holds(2 * source.count(*place)):  # what cannot fit is not packed to see
            continue
        if blocks := room.take(source.values(*place), out.get((key, "x"), ())):
            out[key, "x"], stored[key] = blocks, "values"
    return tuple(block for key in sorted(out) for block in out[key]), stored


class Room:
    """Bytes that are left, and who takes them."""

    def __init__(self, left: int) -> None:
        self.left = left

    def holds(self, size: int) -> bool:
        """Whether so much would fit."""
        return size <= self.left

    def take(self, blocks: tuple[Element, ...], instead: tuple[Element, ...] = ()) -> tuple[Element, ...]:
        """The blocks if they fit, in place of others; else none."""
        cost = sum(len(text) + 70 for _, _, text in blocks) - sum(len(text) + 70 for _, _, text in instead)
        if not blocks or cost > self.left:
            return ()
        self.left -= cost
        return blocks


def _said(source: Source, stored: dict[str, Stored]) -> str:
    """What of the measured values is in the page, in words."""
    if not stored:
        return ""
    kept = [key for key, state in stored.items() if state == "values"]
    short = [key for key, state in stored.items() if state == "summary"]
    if source.page.level == "group":
        return f"This page holds nothing of one person: means and SDs of groups of at least {FEWEST} people only."
    if len(kept) == len(stored):
        return ""
    rest = "means, SDs and quartiles of the groups" if short else "nothing"
    if short and len(kept) + len(short) < len(stored):
        rest += ", or nothing,"
    return (
        f"So that the page stays small, it holds every session's values of {len(kept)} of {len(stored)} profiles "
        f"(a scalar in a bundle, 1D or 2D; those with findings first), and {rest} of the others."
    )
