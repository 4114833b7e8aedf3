"""Options as SPECTRA's users type them: words of several letters after one dash (or two), and what they may hold."""

from __future__ import annotations

import argparse
from typing import Any


def flag(group: Any, name: str, **settings: Any) -> None:
    """Add an option; a name of one letter has one dash only."""
    names = (f"-{name}",) if len(name) == 1 else (f"-{name}", f"--{name}")
    group.add_argument(*names, **settings)


def positive(text: str) -> float:
    """A number above 0."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0. Got {text}")
    return value


def share(text: str) -> float:
    """A number in 0..1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must lie in 0..1. Got {text}")
    return value


def natural(text: str) -> int:
    """A whole number, 0 or more."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must not be negative. Got {text}")
    return value


def count(text: str) -> int:
    """A whole number in 1..16384."""
    value = int(text)
    if value < 1 or value > 16384:
        raise argparse.ArgumentTypeError(f"must lie in 1..16384. Got {text}")
    return value
