"""Names as readers of a paper want them: bundles, scalars, units, families; the user's own words win."""

from __future__ import annotations

import re
from collections.abc import Mapping

#: Parts of atlas names that say only where a tract is filed.
_FILED = re.compile(
    r"^(Association|Projection(?:BasalGanglia|Brainstem)?|Commissure|Cerebellum|CranialNerve)s?(?=[A-Z])"
)
_SIDES = {"L": "left", "R": "right", "left": "left", "right": "right"}
_UNITS = {"mm^2/s": "mm²/s", "mm^2": "mm²", "mm^3": "mm³", "um^2/ms": "µm²/ms", "arbitrary": "a.u.", "1": ""}


def bundle_title(name: str, renamed: Mapping[str, str] = {}) -> str:
    """AssociationArcuateFasciculusL -> "Arcuate fasciculus, left"; short names such as CSTR stay as they are."""
    if name in renamed:
        return renamed[name]
    rest = _FILED.sub("", name)
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]+|[a-z]+|\d+", rest)
    if "".join(words) != rest or not any(len(word) > 3 and word[1:].islower() for word in words):
        return name
    # "FasciculusL2": the side may stand before a number.
    where = next((k for k in range(len(words) - 1, 0, -1) if words[k] in _SIDES), None)
    side = "" if where is None else ", " + _SIDES[words.pop(where)]
    shown = [word if word.isupper() else word.lower() for word in words]
    shown[0] = words[0]
    return " ".join(shown).replace("ronto occipital", "ronto-occipital") + side


def scalar_title(name: str, renamed: Mapping[str, str] = {}) -> str:
    """dti_fa -> "FA (DTI)"; a name of another form stays."""
    if name in renamed:
        return renamed[name]
    model, _, parameter = name.rpartition("_")
    if not re.fullmatch(r"[a-z]{1,4}\d?", parameter):
        return name
    shown = {"tensor": "DTI", "kurtosis": "DKI"}.get(model, model.upper() if len(model) <= 5 else model)
    return parameter.upper() + (f" ({shown})" if shown else "")


def with_unit(words: str, unit: str) -> str:
    """Words and a unit in brackets, in its printed form."""
    shown = _UNITS.get(unit, unit)
    return f"{words} ({shown})" if shown else words


def renamings(texts: list[str]) -> dict[str, str]:
    """OLD=NEW texts as a mapping; ValueError for one without "="."""
    out = {}
    for text in texts:
        old, sep, new = text.partition("=")
        if not sep or not old:
            raise ValueError(text)
        out[old] = new
    return out
