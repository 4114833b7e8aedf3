"""Agreement of design + engine with R: lm and lmerTest are run here, on real tables, classic data and awkward ones.

Limits: estimates within 1e-5 standard errors, standard errors 1e-5, degrees of freedom 1e-3, p 1e-3 (relative). Every
test prints its worst case (pytest -s).
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from spectra_bids.models.contrasts import Contrast, parse_contrast, term_contrasts
from spectra_bids.models.design import Design, build_design
from spectra_bids.models.formula import parse_formula
from spectra_bids.models.lmm import LmmFit, fit_lmm

REFERENCE = Path(__file__).parent / "reference"
LIMITS = {"estimate": 1e-5, "se": 1e-5, "df": 1e-3, "p": 1e-3}


def every_column_and_term(design: Design) -> tuple[Contrast, ...]:
    """Each coefficient by t, each term of several columns by F."""
    single = [
        Contrast(name, "T", row[None], "named", "partial_r")
        for name, row in zip(design.columns, np.eye(design.p), strict=True)
    ]
    return (*single, *(c for c in term_contrasts(design) if c.type == "F"))


def ours(design: Design, contrasts: tuple[Contrast, ...], y: np.ndarray) -> tuple[pd.DataFrame, LmmFit]:
    """Our fits as a table like R's; y has the rows of the design."""
    fit = fit_lmm(y, design.X, design.groups, [c.weights for c in contrasts], min_subjects=3)
    quantities = ("estimate", "se", "df_num", "df", "value", "p")
    tables = []
    for contrast, test in zip(contrasts, fit.tests, strict=True):
        table = pd.DataFrame({name: getattr(test, name) for name in quantities})
        tables.append(table.assign(cell=np.arange(y.shape[1]), contrast=contrast.name))
    return pd.concat(tables, ignore_index=True), fit


def by_r(
    rscript: str,
    folder: Path,
    rows: pd.DataFrame,
    y: np.ndarray,
    right: str,
    factors: str,
    contrasts: tuple[Contrast, ...],
) -> pd.DataFrame:
    """R's fits: lm where the formula has no random term, else lmerTest."""
    rows.to_csv(folder / "rows.csv", index=False, na_rep="NA")
    pd.DataFrame(y).to_csv(folder / "y.csv", index=False, na_rep="NA", float_format="%.17g")
    weights = pd.concat([pd.DataFrame(c.weights).assign(contrast=c.name) for c in contrasts])
    weights[["contrast", *range(weights.shape[1] - 1)]].to_csv(folder / "contrasts.csv", index=False)
    command = [rscript, str(REFERENCE / "fit_cells.R"), "rows.csv", "y.csv", right, factors, "contrasts.csv", "out.csv"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return pd.read_csv(folder / "out.csv", skipinitialspace=True, na_values=["NA"])


def differences(found: pd.DataFrame, expected: pd.DataFrame) -> pd.DataFrame:
    """Per test: |Δ estimate| / se, and relative differences of se, df, p (of value where there is no estimate)."""
    both = found.merge(expected, on=["cell", "contrast"], suffixes=("", "_r"), validate="one_to_one")
    assert len(both) == len(expected)
    single = both["df_num_r"] == 1
    assert (both["df_num"] == both["df_num_r"]).all()
    relative = {k: (both[k] - both[f"{k}_r"]).abs() / both[f"{k}_r"].abs() for k in ("se", "df", "p", "value")}
    estimate = ((both["estimate"] - both["estimate_r"]).abs() / both["se_r"]).where(single, relative["value"])
    # An F has no standard error; p below the smallest double has no relative difference.
    out = both.assign(
        d_estimate=estimate, d_se=relative["se"].where(single, 0.0), d_df=relative["df"], d_p=relative["p"]
    )
    out.loc[(both["p"] == 0) & (both["p_r"] < 1e-300), "d_p"] = 0.0
    return out


def require_agreement(title: str, found: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Print the worst case of every quantity, then hold it to its limit."""
    table = differences(found, expected)
    n_singular = table.loc[table["singular"].astype(bool), "cell"].nunique() if "singular" in table else 0
    print(f"\n{title}: {table['cell'].nunique()} cells, {n_singular} singular, {len(table)} tests")
    for name, limit in LIMITS.items():
        worst = table.loc[table[f"d_{name}"].idxmax()]
        print(f"  {name:9s} {worst[f'd_{name}']:.1e} (limit {limit:.0e}) at cell {worst['cell']}, {worst['contrast']}")
    for name, limit in LIMITS.items():
        assert table[f"d_{name}"].notna().all(), name
        assert table[f"d_{name}"].max() <= limit, name


def nodes(table: pd.DataFrame, keys: list[str], row: list[str], value: str) -> tuple[pd.DataFrame, np.ndarray]:
    """A long table as rows (named by the first two columns of `row`) x cells."""
    rows = table[row].drop_duplicates(row[:2]).reset_index(drop=True)
    wide = table.pivot(index=row[:2], columns=keys, values=value)
    return rows, wide.loc[list(rows[row[:2]].itertuples(index=False, name=None))].to_numpy(dtype=float)


# --- real tables ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sarica(shared_data):
    people = pd.read_csv(shared_data / "tables" / "sarica_als_subjects.csv", index_col=0)
    table = pd.read_csv(shared_data / "tables" / "sarica_als_nodes.csv.gz")
    wide = table.pivot(index="subjectID", columns=["tractID", "nodeID"], values="fa")
    people["class"] = pd.Categorical(people["class"], categories=["CTRL", "ALS"])
    return people, wide.loc[people["subjectID"]]


def test_every_node_of_sarica_als_agrees_with_lm(sarica, rscript, tmp_path):
    people, wide = sarica
    design = build_design(parse_formula("fa ~ class + age + gender"), people, "subjectID")
    contrasts, y = every_column_and_term(design), wide.to_numpy()[design.rows]
    found, fit = ours(design, contrasts, y)
    assert set(fit.status) == {"ok"}
    rows = people.iloc[design.rows]
    expected = by_r(rscript, tmp_path, rows, y, "class + age + gender", "class=CTRL|ALS,gender=F|M", contrasts)
    require_agreement("sarica_als, lm", found, expected)


def test_every_node_of_sarica_als_agrees_with_the_stored_fits(sarica, shared_data):
    people, wide = sarica
    design = build_design(parse_formula("fa ~ class + age + gender"), people, "subjectID")
    stored = pd.read_csv(shared_data / "oracles" / "sarica_nodewise_lm.csv").query("metric == 'fa'")
    found, fit = ours(design, (parse_contrast("d: class[ALS]=1 class[CTRL]=-1", design),), wide.to_numpy()[design.rows])
    cell = {key: i for i, key in enumerate(wide.columns)}
    expected = stored.assign(
        cell=[cell[key] for key in zip(stored["tractID"], stored["nodeID"], strict=True)],
        contrast="d", df_num=1, value=stored["t"],
    )[["cell", "contrast", "estimate", "se", "df_num", "df", "value", "p"]]  # fmt: skip
    require_agreement("sarica_als, stored", found, expected)
    assert sorted(stored["n"]) == sorted(fit.n[expected["cell"]])


def test_every_node_of_refund_dti_agrees_with_lmertest(shared_data, rscript, tmp_path):
    table = pd.read_csv(shared_data / "tables" / "refund_dti_fa_long.csv.gz")
    rows, y = nodes(table, ["tractID", "nodeID"], ["subjectID", "visit", "visit_time", "case", "sex"], "fa")
    design = build_design(parse_formula("fa ~ case + visit_time + sex + (1|subjectID)"), rows, "subjectID")
    contrasts, y = every_column_and_term(design), y[design.rows]
    found, fit = ours(design, contrasts, y)
    assert set(fit.status) <= {"ok", "singular"}
    right = "case + visit_time + sex + (1|subjectID)"
    expected = by_r(rscript, tmp_path, rows.iloc[design.rows], y, right, "subjectID,sex=female|male", contrasts)
    require_agreement("refund_dti, lmerTest", found, expected)


# --- classic data ---------------------------------------------------------------------------------------------------


class Classic(NamedTuple):
    name: str
    response: str
    fixed: str


CLASSICS = [
    Classic("sleepstudy_int", "Reaction", "Days"),
    Classic("Dyestuff", "Yield", "1"),
    Classic("Dyestuff2_singular", "Yield", "1"),
    Classic("cake", "angle", "recipe + temp"),
    Classic("Machines_int", "score", "Machine"),
    Classic("Orthodont", "distance", "age * Sex"),
]


@pytest.mark.parametrize("case", CLASSICS, ids=[c.name for c in CLASSICS])
def test_classic_models_with_one_random_intercept_agree(shared_data, case):
    # Made by oracles/make_lmer_classic_fits.R (R 4.2.2, lme4 1.1-31, lmerTest 3.1-3)
    stored = json.loads((shared_data / "oracles" / "lmer_classic_fits.json").read_text())[case.name]
    table = pd.read_csv(shared_data / "oracles" / stored["data"])
    for name in np.atleast_1d(stored["factors"]):
        table[name] = pd.Categorical(table[name].astype(str), categories=sorted(table[name].astype(str).unique()))
    design = build_design(parse_formula(stored["formula"]), table)
    found, fit = ours(design, every_column_and_term(design), table[case.response].to_numpy(float)[:, None])
    columns = {"Estimate": "estimate", "Std. Error": "se", "df": "df", "t value": "value", "Pr(>|t|)": "p"}
    expected = pd.DataFrame(stored["satterthwaite"]).rename(columns=columns)
    expected = expected.assign(cell=0, contrast=design.columns, df_num=1, singular=stored["singular"])
    require_agreement(case.name, found[found["contrast"].isin(design.columns)], expected)
    assert (fit.status[0] == "singular") == stored["singular"]
    components = {entry["grp"]: entry["sdcor"] for entry in stored["varcomp"]}
    assert fit.sd_residual[0] == pytest.approx(components.pop("Residual"), rel=1e-6)
    assert fit.sd_random[0] == pytest.approx(next(iter(components.values())), rel=1e-5, abs=1e-6)
    for entry in stored["F_type3"]:
        test = found[found["contrast"] == entry["term"]]
        # Beside an interaction R's type III averages over the other factor; ours is the coefficient's own test.
        if len(test) == 1 and entry["NumDF"] > 1 and ":" not in case.fixed and "*" not in case.fixed:
            assert test["value"].item() == pytest.approx(entry["F value"], rel=1e-5)
            assert test["df"].item() == pytest.approx(entry["DenDF"], rel=1e-3)


# --- constructed ----------------------------------------------------------------------------------------------------


def cohort(seed: int, n: int, n_sites: int, site_level: bool = False) -> pd.DataFrame:
    """People in sites of very unequal size."""
    rng = np.random.default_rng(seed)
    size = rng.dirichlet(np.full(n_sites, 0.7))
    site = np.r_[np.arange(n_sites), np.arange(n_sites), rng.choice(n_sites, n - 2 * n_sites, p=size)]
    group = np.resize(["control", "patient", "at risk"], n)
    scanner = np.resize(["old", "new"], n_sites)[site]
    return pd.DataFrame(
        {
            "site": [f"s{i:02d}" for i in site],
            "group": pd.Categorical(rng.permutation(group), categories=["control", "patient", "at risk"]),
            "age": rng.normal(45, 15, n).round(2),
            "sex": rng.permutation(np.resize(["F", "M"], n)),
            "scanner": scanner if site_level else rng.permutation(scanner),
        }
    )


def values(table: pd.DataFrame, seed: int, n_cells: int, sd_site: float, missing: float = 0.0) -> np.ndarray:
    """Cells of many scales around 0.4 (FA) and 1e-3 (MD), with site effects, and a share missing at random."""
    rng = np.random.default_rng(seed)
    site = pd.factorize(table["site"], sort=True)[0]
    y = rng.normal(size=(len(table), n_cells)) + sd_site * rng.normal(size=(site.max() + 1, n_cells))[site]
    y += 0.03 * (table["age"].to_numpy() - 45)[:, None] + 0.5 * (table["group"] == "patient").to_numpy()[:, None]
    y = np.where(np.arange(n_cells) % 2, 0.4 + 0.05 * y, 1e-3 + 1e-4 * y)
    y[rng.random(y.shape) < missing] = np.nan
    return y


class Made(NamedTuple):
    name: str
    right: str
    n: int
    sites: int
    sd: float
    missing: float = 0.0
    site_level: bool = False


MADE = [
    Made("unbalanced", "group * age + sex + (1|site)", 90, 9, 0.7),
    Made("strong site effects", "group + age + (1|site)", 80, 6, 5.0),
    Made("weak site effects, many singular", "group + age + sex + (1|site)", 60, 8, 0.15),
    Made("site-level predictor", "scanner + age + (1|site)", 60, 8, 0.5, 0.0, True),
    Made("missing, every cell its own pattern", "group + age + sex + (1|site)", 70, 7, 0.6, 0.06),
    Made("missing and weak", "group * sex + age + (1|site)", 80, 12, 0.2, 0.05),
    Made("few sites", "group + age + (1|site)", 45, 3, 0.8, 0.03),
    Made("many small sites", "group + age + (1|site)", 70, 30, 0.8, 0.03),
    Made("least squares, missing", "group * age + sex", 60, 5, 0.3, 0.05),
]


@pytest.mark.parametrize("case", MADE, ids=[c.name for c in MADE])
def test_constructed_models_agree_with_r(case, rscript, tmp_path):
    table = cohort(11, case.n, case.sites, case.site_level)
    design = build_design(parse_formula(f"value ~ {case.right}"), table)
    y = values(table, 12, 16, case.sd, case.missing)
    contrasts = every_column_and_term(design)
    if "group" in case.right:
        pair = "pair: group[patient]=1 group[at risk]=-1"
        pairs = "pairs: group[patient]=1 group[control]=-1; age=1"
        contrasts = (*contrasts, parse_contrast(pair, design), parse_contrast(pairs, design))
    found, fit = ours(design, contrasts, y)
    factors = "group=control|patient|at risk,site,sex,scanner"
    expected = by_r(rscript, tmp_path, table, y, case.right, factors, contrasts)
    require_agreement(case.name, found, expected)
    if "weak" in case.name:
        assert (fit.status == "singular").sum() >= 2  # the case is what it says
        theirs = expected.groupby("cell")["singular"].first().to_numpy(dtype=bool)
        np.testing.assert_array_equal(fit.status == "singular", theirs)
    if case.missing:
        assert np.isnan(y).any()
        np.testing.assert_array_equal(fit.n, np.isfinite(y).sum(axis=0))
