"""models.smdl: a model survives the way through a BIDS Stats Models document."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from spectra_bids.errors import DesignError
from spectra_bids.models.contrasts import parse_contrast, resolve_contrasts, term_contrasts
from spectra_bids.models.design import build_design
from spectra_bids.models.formula import parse_formula
from spectra_bids.models.smdl import from_smdl, to_smdl


@pytest.fixture
def design():
    rng = np.random.default_rng(2)
    table = pd.DataFrame(
        {"dx": np.resize(["CN", "MCI", "AD"], 60), "age": rng.normal(size=60), "site": np.resize(list("abcdefg"), 60)}
    )
    return build_design(parse_formula("value ~ dx * age + (1|site)"), table)


def test_a_document_gives_back_formula_and_contrasts(design):
    named = parse_contrast("AD_slope: dx[MCI]:age=1/3 dx[CN]:age=-1/3", design)
    contrasts = (*term_contrasts(design), named)
    document = json.loads(json.dumps(to_smdl("main", contrasts, design)))
    formula, specs = from_smdl(document)
    assert formula == "value ~ dx * age + (1|site)"
    back = resolve_contrasts(specs, design)
    assert [(c.name, c.type, c.kind) for c in back] == [(c.name, c.type, c.kind) for c in contrasts]
    for one, other in zip(contrasts, back, strict=True):
        np.testing.assert_allclose(one.weights, other.weights)


def test_conditions_are_columns_of_x(design):
    node = to_smdl("main", term_contrasts(design), design)["Nodes"][0]
    assert node["Model"]["X"][0] == 1
    assert node["Model"]["Formula"] == "1 + dx * age"
    for contrast in node["Contrasts"]:
        assert set(contrast["ConditionList"]) <= set(node["Model"]["X"])


def test_the_document_is_valid(design):
    models = pytest.importorskip("bsmschema.models", reason="bsmschema, the specification's own validator, is absent")
    parsed = models.BIDSStatsModel.model_validate(to_smdl("main", term_contrasts(design), design))
    assert parsed.Nodes[0].Model.Software["lme4"]["Formula"].startswith("value ~")


def node(**model):
    extra = {key: model.pop(key) for key in ("Contrasts", "DummyContrasts", "Transformations") if key in model}
    return {"Nodes": [{"Level": "Dataset", "Name": "d", "GroupBy": [], "Model": model, **extra}]}


def test_models_of_other_programs_are_read():
    assert from_smdl(node(X=[1, "dx", "age"])) == ("value ~ 1 + dx + age", ())
    assert from_smdl(node(X=["dx", "my age"]))[0] == "value ~ 0 + dx + `my age`"
    assert from_smdl(node(X=["dx"], Formula="1 + dx"))[0] == "value ~ 1 + dx"
    _, specs = from_smdl(node(X=[1, "age"], DummyContrasts={"Test": "t", "Contrasts": ["age"]}))
    assert [(s.name, s.type, s.conditions, s.weights) for s in specs] == [("age", "T", ("age",), ((1.0,),))]
    contrast = {"Name": "a", "ConditionList": ["age"], "Weights": ["1/2"], "Test": "t"}
    assert from_smdl(node(X=[1, "age"], Contrasts=[contrast]))[1][0].weights == ((0.5,),)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({}, "one node of level Dataset"),
        ({"Nodes": [{"Level": "Run"}]}, "one node of level Dataset"),
        (node(X=["a*"]), "names its columns"),
        (node(X=[]), "names its columns"),
        (node(X=["a"], Transformations={"Instructions": []}), "not carried out"),
        (node(X=["a"], Contrasts=[{"Name": "x", "Test": "t"}]), "columns and weights"),
    ],
)
def test_what_a_document_must_hold_is_said(document, says):
    with pytest.raises(DesignError, match=says):
        from_smdl(document)
