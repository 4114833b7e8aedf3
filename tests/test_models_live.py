"""models.lmm against lmerTest run here on random designs: nested, crossed, slopes; unbalanced, singular, missing.

One R process fits all of them with tight tolerances. Limits: estimates 1e-6 standard errors, standard errors 1e-5,
degrees of freedom 1e-3 (t and type III F), variances 1e-4 (1e-6 σ² where they are 0), and a criterion that is nowhere
above lme4's + 1e-8. Where lme4 stops at a worse optimum than ours its numbers are no reference: such designs are
counted and shown (pytest -s).
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from spectra_bids.errors import DesignError
from spectra_bids.models.contrasts import term_contrasts
from spectra_bids.models.design import build_design
from spectra_bids.models.formula import parse_formula
from spectra_bids.models.lmm import LmmFit, fit_lmm

REFERENCE = Path(__file__).parent / "reference"
N_DESIGNS = 240
GROUPS = ["control", "patient", "at risk"]

FIXED = (
    "group + age", "group * age", "group * sex + age", "poly(age, 2) + sex", "bs(age, df=4) + group",
    "C(group, contr.sum) * sex + age", "scanner + age", "scanner * group + time", "time * group", "age + motion + sex",
    "group * sex * age", "1", "sex * time + age", "poly(age, 2) * group",
)  # fmt: skip
RANDOM = (
    ("(1|site)",),
    ("(1|site)", "(1|subject)"),
    ("(1|site/subject)",),
    ("(1 + age|site)",),
    ("(age||site)",),
    ("(0 + time|subject)", "(1|site)"),
    ("(1 + time|subject)", "(1|site)"),
    ("(time||subject)",),
    ("(1 + time|subject)",),
    ("(1|site)", "(1|subject)", "(1|rater)"),
    ("(1 + time + motion|site)",),
    ("(1|site)", "(1 + age|rater)"),
    ("(1 + sex|site)",),
    ("(1|site:rater)", "(1|subject)"),
    ("(1 + time||subject)", "(1 + time|site)"),
)


#: Estimates in standard errors; se, df, F relative; variances in units of 1e-4 of themselves or 1e-6 σ².
LIMITS = {"criterion": 1e-8, "estimate": 1e-6, "se": 1e-5, "df": 1e-3, "F": 1e-5, "F df": 1e-3, "variance": 1.0}


class Made(NamedTuple):
    """A random design: the table with y, our formula, the random terms R is given, and what it is made to show."""

    table: pd.DataFrame
    ours: str
    theirs: str
    reml: bool
    kind: str


def made(seed: int) -> Made:
    """Design number `seed`."""
    rng = np.random.default_rng([2024, seed])
    fixed, random = FIXED[rng.integers(len(FIXED))], RANDOM[seed % len(RANDOM)]
    kind = rng.choice(["plain", "singular", "missing", "weights", "offset", "near", "one level", "collinear"],
                      p=[0.3, 0.2, 0.2, 0.08, 0.05, 0.08, 0.05, 0.04])  # fmt: skip
    n_subjects, n_sites = int(rng.integers(25, 60)), int(rng.integers(4, 12))
    visits = rng.integers(2, 5, n_subjects)
    subject = np.repeat(np.arange(n_subjects), visits)
    n = len(subject)
    share = rng.dirichlet(np.full(n_sites, rng.choice([0.5, 2.0, 50.0])))
    home = np.r_[np.arange(n_sites), np.arange(n_sites), rng.choice(n_sites, n_subjects - 2 * n_sites, p=share)]
    moved = rng.random(n) < (0.0 if "(1|site/subject)" in random else 0.3)
    site = np.where(moved, rng.choice(n_sites, n, p=share), home[subject])
    rater = rng.integers(0, 6, n)
    age = rng.normal(50, 12, n_subjects)[subject]
    time = np.concatenate([np.arange(v) for v in visits]) + rng.normal(0, 0.1, n)
    # decades from 50: far from 0 or at larger numbers lmerTest's numerical Hessian loses digits, ours does not
    age = ((age + time - 50) / 10).round(4)
    group = rng.permutation(np.resize(GROUPS, n_subjects))[subject]
    table = pd.DataFrame(
        {
            "subject": [f"p{i:03d}" for i in subject],
            "site": [f"s{i:02d}" for i in site],
            "rater": [f"r{i}" for i in rater],
            "group": pd.Categorical(group, categories=GROUPS),
            "sex": rng.permutation(np.resize(["F", "M"], n_subjects))[subject],
            "scanner": np.resize(["new", "old"], n_sites)[site],
            "age": age,
            "time": time.round(4),
            "motion": rng.gamma(2, 0.2, n).round(4),
        }
    )
    size = 0.15 if kind == "singular" else rng.choice([0.4, 1.0, 3.0])
    y = rng.normal(size=n) + 0.2 * age + 0.5 * (group == "patient")
    y += size * (rng.normal(size=n_subjects)[subject] + rng.normal(size=n_subjects)[subject] * 0.5 * time)
    y += size * (rng.normal(size=n_sites)[site] + 0.3 * rng.normal(size=n_sites)[site] * age)
    y += 0.5 * size * rng.normal(size=6)[rater]
    table["y"] = 0.4 + 0.05 * y
    kept = random
    if kind == "missing":
        table.loc[rng.random(n) < 0.12, "y"] = np.nan
    if kind == "weights":
        table["w"] = rng.gamma(4, 0.25, n).round(3) + 0.1
    if kind == "offset":
        table["o"] = (0.1 * age).round(4)
    if kind == "near":
        table["motion"] = (0.1 * table["age"] + 0.02 * rng.normal(size=n)).round(4)
        fixed = "age + motion + sex"
    if kind == "collinear":
        table["motion"] = 2 * table["age"] - 3 * table["time"]
        fixed = "age + time + motion"
    if kind == "one level":
        table["rater"] = "r0"
        kept = ("(1|site)", "(1|subject)")
        random = (*kept, "(1|rater)")
    right = " + ".join
    return Made(table, f"y ~ {fixed} + {right(random)}", f"y ~ {fixed} + {right(kept)}", bool(rng.random() < 0.8), kind)


def ours(case: Made) -> tuple[LmmFit, list[str], list[str]]:
    """Our fit, the names of the coefficients, and of the terms, whose tests follow in this order."""
    design = build_design(parse_formula(case.ours), case.table, "row")
    terms = term_contrasts(design)
    column = {name: case.table[name].to_numpy()[design.rows] for name in ("w", "o") if name in case.table}
    fit = fit_lmm(
        case.table["y"].to_numpy()[design.rows, None], design.X,
        contrasts=[*np.eye(design.p), *(term.weights for term in terms)], random=design.random,
        estimation="reml" if case.reml else "ml", weights=column.get("w"), offset=column.get("o"), min_subjects=3,
    )  # fmt: skip
    if case.kind == "one level":
        assert any("(1|rater) is left out" in note for note in design.warnings)
    return fit, list(design.columns), [term.name for term in terms]


@pytest.fixture(scope="module")
def both(rscript, tmp_path_factory) -> tuple[list[Made], pd.DataFrame]:
    """All designs and R's results of them."""
    folder = tmp_path_factory.mktemp("designs")
    cases = [made(i) for i in range(N_DESIGNS)]
    manifest = []
    for i, case in enumerate(cases):
        case.table.to_csv(folder / f"d{i}.csv", index=False, na_rep="NA")
        levels = f"group={'|'.join(GROUPS)},sex=F|M,scanner=new|old,subject,site,rater"
        manifest.append({"design": f"d{i}", "formula": case.theirs, "reml": str(case.reml).upper(), "factors": levels})
    pd.DataFrame(manifest).to_csv(folder / "manifest.csv", index=False)
    command = [rscript, str(REFERENCE / "fit_designs.R"), "manifest.csv", "out.tsv"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    return cases, pd.read_csv(folder / "out.tsv", sep="\t", skipinitialspace=True)


def compare(fit: LmmFit, coefficients: list[str], terms: list[str], rows: pd.DataFrame) -> dict[str, float]:
    """Largest difference of every quantity for one design."""
    (head,) = rows[rows["kind"] == "fit"].to_dict("records")
    out = {"criterion": float(fit.deviance[0] - head["b"])}
    tests = fit.tests[: len(coefficients)]
    table = rows[rows["kind"] == "coef"]
    theirs = table[["a", "b", "c", "e"]].to_numpy(float)
    mine = np.array([[t.estimate[0], t.se[0], t.df[0], t.p[0]] for t in tests])
    out["estimate"] = float(np.abs((mine[:, 0] - theirs[:, 0]) / theirs[:, 1]).max())
    out["se"] = float(np.abs(mine[:, 1] / theirs[:, 1] - 1).max())
    out["df"] = float(np.abs(mine[:, 2] / theirs[:, 2] - 1).max())
    out["p"] = float(np.abs(mine[:, 3] / theirs[:, 3] - 1)[theirs[:, 3] > 1e-300].max())
    out["F"], out["F df"] = 0.0, 0.0
    for (_, row), test in zip(rows[rows["kind"] == "F"].iterrows(), fit.tests[len(coefficients) :], strict=True):
        value = test.value[0] if test.statistic == "F" else test.value[0] ** 2
        assert test.df_num[0] == row["a"]
        out["F"] = max(out["F"], abs(value - row["c"]) / max(row["c"], 0.1))
        out["F df"] = max(out["F df"], abs(test.df[0] / row["b"] - 1))
    out["variance"] = variance_gap(fit, rows)
    return out


def variance_gap(fit: LmmFit, rows: pd.DataFrame) -> float:
    """Largest difference of a variance or covariance, in units of 1e-4 of it or 1e-6 σ²; 1 is the limit."""
    sigma2 = fit.sd_residual[0] ** 2
    rows = rows[rows["kind"] == "vc"]
    table = [(*str(name).split("|"), value) for name, value in zip(rows["name"], rows["a"], strict=True)]
    residual = next(value for group, _, _, value in table if group == "Residual")
    worst = abs(sigma2 - residual) / (1e-4 * residual)
    for part, covariance in zip(fit.random, fit.covariances, strict=True):
        names = [name.replace("[T.", "").replace("]", "") for name in part.names]
        found = {}
        for group, one, other, value in table:
            same = set(group.split(".")[0].split(":")) == set(part.group.split(":"))
            if same and {one, other} - {"NA"} <= set(names):
                found[one, one if other == "NA" else other] = value
        for (one, other), value in found.items():
            i, j = names.index(one), names.index(other)
            scale = np.sqrt(covariance[0, i, i] * covariance[0, j, j])
            worst = max(worst, abs(covariance[0, i, j] - value) / (1e-4 * max(abs(value), scale, 1e-2 * sigma2)))
    return float(worst)


@pytest.mark.r
def test_random_designs_agree_with_lmertest(both):
    cases, results = both
    found, worse, refused = [], [], 0
    for i, case in enumerate(cases):
        rows = results[results["design"] == f"d{i}"]
        if "error" in set(rows["kind"]):  # as many random effects as rows
            refused += 1
            with pytest.raises(DesignError):
                ours(case)
            assert "number of" in " ".join(rows["name"].astype(str))
            continue
        head = rows[rows["kind"] == "fit"].iloc[0]
        if head["d"] > 0:  # R drops columns
            refused += 1
            with pytest.raises(DesignError, match="linear combination"):
                ours(case)
            continue
        fit, coefficients, terms = ours(case)
        assert fit.status[0] in ("ok", "singular"), (i, case.ours)
        assert fit.n[0] == head["a"]
        one = {"design": i, "formula": case.theirs, "kind": case.kind, "singular": bool(head["c"])}
        one |= compare(fit, coefficients, terms, rows)
        (worse if one["criterion"] < -1e-6 else found).append(one)
    table = pd.DataFrame(found)
    print(f"\n{len(table)} designs compared, {int(table['singular'].sum())} of them singular in R")
    print(f"{refused} refused by both; {len(worse)} where lme4 stopped at a worse optimum")
    for one in worse:
        print(f"  lme4 worse by {-one['criterion']:.2g} in design {one['design']}: {one['formula']}")
    for name, limit in LIMITS.items():
        worst = table.loc[table[name].idxmax()]
        print(f"  {name:9s} {worst[name]:.1e} (limit {limit:.0e}) design {worst['design']}: {worst['formula']}")
    assert len(table) >= 200
    for name, limit in LIMITS.items():
        assert table[name].max() <= limit, name
