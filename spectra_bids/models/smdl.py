"""The model as a BIDS Stats Models document (dict in, dict out): one dataset-level node.

`Model.X` lists the columns of the design (1 for the intercept), `Model.Formula` the fixed part, and
`Model.Software.lme4.Formula` the whole formula in lme4's words, which wins when the document is read back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from spectra_bids.errors import DesignError
from spectra_bids.models.contrasts import Contrast, ContrastSpec, spec_from_entry
from spectra_bids.models.design import Design
from spectra_bids.models.formula import EXAMPLE

VERSION = "1.0.0"


def to_smdl(name: str, contrasts: Iterable[Contrast], design: Design) -> dict[str, Any]:
    """A model and its contrasts as a BIDS Stats Models document.

    Parameters
    ----------
    name : str
        Name of the model.
    contrasts : iterable of Contrast
        What is tested.
    design : Design
        Gives the formula and the columns.

    """
    conditions = [1 if column == "(Intercept)" else column for column in design.columns]
    fixed = design.formula.fixed
    explicit = fixed if fixed.split("+")[0].strip() in ("0", "1", "-1") else f"1 + {fixed}"
    entries = []
    for contrast in contrasts:
        used = np.flatnonzero(np.any(contrast.weights != 0, axis=0))
        rows = [[_plain(weight) for weight in row[used]] for row in contrast.weights]
        entries.append(
            {
                "Name": contrast.name,
                "ConditionList": [conditions[j] for j in used],
                "Weights": rows[0] if contrast.type == "T" else rows,
                "Test": "t" if contrast.type == "T" else "F",
            }
        )
    return {
        "Name": name,
        "BIDSModelVersion": VERSION,
        "Description": "One model per cell of a tract profile; X lists the columns of the design matrix as coded.",
        "Nodes": [
            {
                "Level": "Dataset",
                "Name": "dataset",
                "GroupBy": [],
                "Model": {
                    "Type": "glm",
                    "X": conditions,
                    "Formula": explicit,
                    "Software": {"lme4": {"Formula": design.formula.text}},
                },
                "Contrasts": entries,
            }
        ],
    }


def from_smdl(document: Mapping[str, Any]) -> tuple[str, tuple[ContrastSpec, ...]]:
    """The formula and the contrasts of a BIDS Stats Models document.

    Parameters
    ----------
    document : mapping
        With one dataset-level node. Without `Software.lme4.Formula`, the formula is `value ~ X1 + X2`.

    Returns
    -------
    formula : str
    contrasts : tuple of ContrastSpec
        Empty if the document has none: then the terms are tested.

    Raises
    ------
    DesignError
        If there is no such node, or the model needs what is not done here.

    """
    nodes = [node for node in document.get("Nodes", []) if str(node.get("Level", "")).lower() == "dataset"]
    if len(nodes) != 1:
        raise DesignError(
            f"a model file has one node of level Dataset. Got {len(nodes)} of {len(document.get('Nodes', []))} nodes",
            f"A formula does the same: --formula '{EXAMPLE}'",
        )
    node = nodes[0]
    if node.get("Transformations"):
        raise DesignError("Transformations of a model file are not carried out", "Write them in the formula.")
    model = node.get("Model", {})
    formula = model.get("Software", {}).get("lme4", {}).get("Formula") or _formula_from_x(model)
    dummy = node.get("DummyContrasts") or {}
    entries = [*node.get("Contrasts", []), *_dummy_entries(dummy, model)]
    return str(formula), tuple(spec_from_entry(entry) for entry in entries if entry.get("Test") != "pass")


def _formula_from_x(model: Mapping[str, Any]) -> str:
    """`value ~ X1 + X2` from Model.Formula or the list X."""
    if model.get("Formula"):
        return f"value ~ {model['Formula']}"
    names = [str(name) for name in model.get("X", [])]
    if not names or any(character in name for name in names for character in "*?["):
        raise DesignError(
            f"a model file names its columns. Got X = {', '.join(names) or 'nothing'}",
            f"Write Software.lme4.Formula, for example '{EXAMPLE}'.",
        )
    quoted = [name if name == "1" or name.isidentifier() else f"`{name}`" for name in names]
    return "value ~ " + " + ".join(quoted if "1" in names else ["0", *quoted])


def _dummy_entries(dummy: Mapping[str, Any], model: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Dummy contrasts, written out: one condition, weight 1."""
    if not dummy:
        return []
    names = dummy.get("Contrasts") or model.get("X", [])
    return [{"Name": str(n), "ConditionList": [n], "Weights": [1], "Test": dummy.get("Test", "t")} for n in names]


def _plain(weight: float) -> int | float:
    """A weight as JSON shows it best."""
    return int(weight) if float(weight).is_integer() else float(weight)
