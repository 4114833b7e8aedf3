"""models.means: adjusted means are emmeans'; numbers are set to the mean of thirds of the people."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spectra_bids.models.contrasts import term_contrasts
from spectra_bids.models.design import build_design
from spectra_bids.models.fits import fit_design, means_table
from spectra_bids.models.formula import parse_formula
from spectra_bids.models.means import adjusted_means, split_column

FORMULAS = (
    "value ~ group * sex + age + (1 | site)",
    "value ~ group * age + sex + (1 | site)",
    "value ~ poly(age, 2) + group + (1 | site)",
    "value ~ log(age) + group + sex",
)

# emmeans itself, at the places that are given; df by lmerTest's Satterthwaite as ours
R_CODE = """
suppressMessages({library(lmerTest); library(emmeans)})
args <- commandArgs(TRUE)
d <- read.csv(args[1], stringsAsFactors = TRUE); d$group <- factor(d$group, c("control", "patient", "at risk"))
at <- as.numeric(strsplit(args[3], ",")[[1]])
f <- as.formula(args[2])
fit <- if (grepl("|", args[2], fixed = TRUE)) lmer(f, d) else lm(f, d)
show <- function(m) {m <- as.data.frame(m); m <- m[, c("emmean", "SE", "df", "lower.CL", "upper.CL")]
  write.table(format(m, digits = 15), row.names = FALSE, col.names = FALSE, quote = FALSE)}
show(suppressMessages(emmeans(fit, ~group, lmer.df = "satterthwaite")))
show(suppressMessages(emmeans(fit, ~age, at = list(age = at), lmer.df = "satterthwaite")))
"""


def people(n: int = 90, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    levels = ["control", "patient", "at risk"]
    table = pd.DataFrame(
        {
            "participant_id": [f"sub-{k:02d}" for k in range(n)],
            "group": pd.Categorical(rng.choice(levels, n, p=[0.5, 0.3, 0.2]), categories=levels),
            "sex": rng.choice(["F", "M"], n, p=[0.7, 0.3]),
            "age": rng.uniform(20, 70, n).round(1),
            "site": rng.choice(list("abcdef"), n),
        }
    )
    site = table["site"].map(dict(zip("abcdef", rng.normal(0, 0.5, 6), strict=True)))
    table["value"] = 0.02 * table["age"] + (table["group"] == "patient") * (table["sex"] == "M") + site
    table["value"] += rng.normal(0, 0.4, n)
    return table


def ours(table: pd.DataFrame, formula: str) -> pd.DataFrame:
    design = build_design(parse_formula(formula), table)
    values = table["value"].to_numpy()[:, None]
    asked = adjusted_means(design, table, ["group", "age"])
    fit = fit_design(values, design, term_contrasts(design), means=asked)
    return means_table(fit, asked, values)


@pytest.mark.parametrize("formula", FORMULAS)
def test_means_are_those_of_emmeans(formula: str, rscript: str, tmp_path: Path):
    table = people()
    table.to_csv(tmp_path / "d.csv", index=False)
    found = ours(table, formula)
    places = ",".join(f"{x:.15g}" for x in found.loc[found["column"] == "age", "at"])
    command = [rscript, "-e", R_CODE, str(tmp_path / "d.csv"), formula, places]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    expected = np.array([line.split() for line in said.splitlines()], float)
    np.testing.assert_allclose(found["estimate"], expected[:, 0], atol=2e-6)
    np.testing.assert_allclose(found["se"], expected[:, 1], rtol=1e-5)
    np.testing.assert_allclose(found[["ci_low", "ci_high"]], expected[:, 3:], atol=2e-5)


def test_means_of_a_factor_alone_are_the_groups_own():
    table = people()
    found = ours(table, "value ~ group + age").iloc[:3]
    alone = ours(table.assign(age=40.0 + table["age"] % 2), "value ~ group + age").iloc[:3]
    assert found["level"].tolist() == ["control", "patient", "at risk"]
    assert found["n"].tolist() == table["group"].value_counts(sort=False).tolist()
    raw = table.groupby("group", observed=False)["value"].mean().to_numpy()
    assert not np.allclose(found["estimate"], raw, atol=1e-3)  # adjusted for age
    np.testing.assert_allclose(alone["estimate"], raw, atol=0.05)


def test_an_offset_is_added_at_its_mean():
    table = people()
    design = build_design(parse_formula("value ~ group"), table)
    asked = adjusted_means(design, table, ["group"])
    values, offset = table["value"].to_numpy()[:, None], np.linspace(0, 1, len(table))
    fit = fit_design(values + offset[:, None], design, term_contrasts(design), offset=offset, means=asked)
    plain = fit_design(values, design, term_contrasts(design), means=asked)
    moved = means_table(fit, asked, values, offset)["estimate"] - means_table(plain, asked, values)["estimate"]
    np.testing.assert_allclose(moved, 0.5, atol=1e-12)


def test_contrasts_are_the_same_with_means_beside_them():
    table = people()
    design = build_design(parse_formula("value ~ group + age + (1 | site)"), table)
    values, contrasts = table["value"].to_numpy()[:, None], term_contrasts(design)
    alone = fit_design(values, design, contrasts)
    beside = fit_design(values, design, contrasts, means=adjusted_means(design, table, ["group", "age"]))
    assert len(beside.tests) == len(alone.tests) == 2
    assert len(beside.means) == 6
    for one, other in zip(alone.tests, beside.tests, strict=True):
        np.testing.assert_array_equal(one.p, other.p)


def test_thirds_hold_equal_numbers_of_people_however_many_sessions_they_have():
    subjects = np.repeat([f"s{k}" for k in range(9)], [5, 1, 1, 1, 1, 1, 1, 1, 1])
    values = pd.Series(np.repeat(np.arange(9.0), [5, 1, 1, 1, 1, 1, 1, 1, 1]), name="age")
    thirds = split_column(values, subjects)
    assert [t.name for t in thirds] == ["low third", "middle third", "high third"]
    assert [len(set(subjects[t.rows])) for t in thirds] == [3, 3, 3]
    assert np.sum([t.rows for t in thirds], axis=0).tolist() == [1] * len(values)


def test_a_number_of_few_values_is_not_cut_and_missing_values_are_in_no_group():
    visits = pd.Series([1.0, 2.0, 2.0, np.nan, 3.0], name="visit")
    groups = split_column(visits, np.arange(5))
    assert [(g.name, g.at, int(g.rows.sum())) for g in groups] == [("1", 1, 1), ("2", 2, 2), ("3", 3, 1)]


def test_a_factor_of_many_levels_has_no_means():
    table = people()
    table["village"] = [f"v{k % 9}" for k in range(len(table))]
    design = build_design(parse_formula("value ~ village"), table)
    assert adjusted_means(design, table, ["village"]) == ()


def test_other_factors_count_equally_unless_their_grid_is_too_large(monkeypatch: pytest.MonkeyPatch):
    table = people()
    design = build_design(parse_formula("value ~ group + sex"), table)
    equal = [m.weights[3] for m in adjusted_means(design, table, ["group"])]
    monkeypatch.setattr("spectra_bids.models.means._MOST_ROWS", 1)
    observed = [m.weights[3] for m in adjusted_means(design, table, ["group"])]
    np.testing.assert_allclose(equal, 0.5)
    np.testing.assert_allclose(observed, (table["sex"] == "M").mean())
