"""models.lmm beyond one intercept: criterion and derivatives, ways to the same fit, LRT, components, effects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spectra_bids.errors import DesignError
from spectra_bids.models.components import components, intraclass_correlations
from spectra_bids.models.contrasts import term_contrasts
from spectra_bids.models.design import build_design
from spectra_bids.models.effects import random_effects
from spectra_bids.models.fits import fit_cells, fit_design
from spectra_bids.models.formula import parse_formula
from spectra_bids.models.lmm import fit_lmm
from spectra_bids.models.lrt import likelihood_ratio
from spectra_bids.models.random import RandomPart, Structure, chain
from spectra_bids.models.sums import own_batch, shared_batch

#: χ² and p (R 4.2.2, lme4 1.1-31, tight optimiser), with the command in the test
LRT_FIXED = (116.462415068, 3.76446147654e-27)
LRT_RANDOM = (42.83681343643, 4.9900414269619e-10)
RANEF = [[2.2585661716, 9.19897177661], [-40.3985792786, -8.61970282629]]


class Rows:
    """60 sessions with three crossed grouping factors and two covariates."""

    def __init__(self, seed: int = 0, n: int = 60) -> None:
        rng = np.random.default_rng(seed)
        self.subject, self.site, self.rater = (rng.integers(0, k, n) for k in (14, 5, 4))
        self.age, self.time = rng.normal(size=n) + 3, rng.normal(size=n)
        self.x = np.column_stack([np.ones(n), self.age, self.time])
        self.y = (
            rng.normal(size=(n, 4)) + rng.normal(size=(14, 4))[self.subject] + 0.7 * rng.normal(size=(5, 4))[self.site]
        )
        self.observed = rng.random((n, 4)) > 0.1
        self.slope, self.both = (
            np.column_stack([np.ones(n), self.age]),
            np.column_stack([np.ones(n), self.time, self.age]),
        )

    def parts(self, name: str) -> list[RandomPart]:
        subject, site = RandomPart(self.subject, group="subject"), RandomPart(self.site, group="site")
        return {
            "intercept": [subject],
            "crossed": [subject, site],
            "three": [subject, site, RandomPart(self.rater, group="rater")],
            "slope": [RandomPart(self.subject, self.slope)],
            "uncorrelated": [RandomPart(self.subject, self.slope, correlated=False)],
            "slope and crossed": [RandomPart(self.subject, self.slope), site],
            "slopes of both": [RandomPart(self.subject, self.slope), RandomPart(self.site, self.both)],
            "two terms of one factor": [subject, RandomPart(self.subject, self.age), site],
            "three columns": [RandomPart(self.subject, self.both)],
        }[name]


NAMES = (
    "intercept", "crossed", "three", "slope", "uncorrelated", "slope and crossed", "slopes of both",
    "two terms of one factor", "three columns",
)  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"groups": np.zeros(60), "random": ["x"]}, "not both"),
        ({"estimation": "mle"}, "'reml' or 'ml'"),
        ({"weights": np.zeros(60)}, "positive"),
        ({"weights": np.ones(3)}, "one per row"),
        ({"offset": np.full(60, np.nan)}, "finite"),
        ({"random": [RandomPart(np.zeros(7, int))]}, "60 rows"),
        ({"random": [RandomPart(np.zeros(60, int), np.full(60, np.nan))]}, "finite"),
    ],
)
def test_arguments_that_cannot_be_are_refused(arguments, says):
    rows = Rows()
    with pytest.raises(ValueError, match=says):
        fit_lmm(rows.y, rows.x, **arguments)


# --- the criterion by its definition --------------------------------------------------------------------------------


def by_definition(structure: Structure, theta: np.ndarray, x: np.ndarray, y: np.ndarray, seen: np.ndarray, reml: bool):
    """logdet, rss, (X'V⁻¹X)⁻¹ and coefficients from the n x n matrix V."""
    v = np.eye(len(y))
    for k, factor in enumerate(structure.factors):
        psi = structure.lambdas(theta[None], k)[0]
        psi = psi @ psi.T
        same = factor.codes[:, None] == factor.codes[None, :]
        v += same * (factor.z @ psi @ factor.z.T)
    v, x, y = v[np.ix_(seen, seen)], x[seen], y[seen]
    a = x.T @ np.linalg.solve(v, x)
    b = np.linalg.solve(a, x.T @ np.linalg.solve(v, y))
    rss = (y - x @ b) @ np.linalg.solve(v, y - x @ b)
    logdet = np.linalg.slogdet(v)[1] + (np.linalg.slogdet(a)[1] if reml else 0.0)
    return logdet, rss, np.linalg.inv(a), b


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
@pytest.mark.parametrize("own", [False, True], ids=["shared rows", "own rows"])
@pytest.mark.parametrize("name", NAMES)
def test_the_criterion_is_that_of_the_full_matrix_and_its_derivatives_are_right(name, own, reml):
    rows = Rows()
    structure = Structure(rows.parts(name))
    x = np.linalg.qr(rows.x)[0]
    seen = rows.observed if own else np.ones_like(rows.observed)
    if own:
        batch = own_batch(structure, x, np.where(seen, rows.y, 0.0), seen.astype(float), None, reml)
    else:
        batch = shared_batch(structure, x, rows.y, np.arange(len(x)), None, reml)
    cells, theta = np.arange(4), np.random.default_rng(1).normal(size=(4, structure.m))
    at = batch.evaluate(theta, cells)
    for c in cells:
        logdet, rss, inverse, b = by_definition(structure, theta[c], x, rows.y[:, c], np.flatnonzero(seen[:, c]), reml)
        assert at.logdet[c] == pytest.approx(logdet, abs=1e-10)
        assert at.rss[c] == pytest.approx(rss, rel=1e-10)
        np.testing.assert_allclose(at.inverse[c], inverse, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(at.coefficients[c], b, rtol=1e-8, atol=1e-9)
    logdet1, logdet2 = chain(at.logdet1, at.logdet2, theta, structure.quadratic)
    rss1, rss2 = chain(at.rss1, at.rss2, theta, structure.quadratic)
    slopes = np.einsum("cij,cipq->cjpq", 2 * np.einsum("ijk,ck->cij", structure.quadratic, theta), at.slopes)
    h = 1e-5
    for j in range(structure.m):
        step = h * np.eye(structure.m)[j]
        up, down = batch.evaluate(theta + step, cells), batch.evaluate(theta - step, cells)
        up1, down1 = gradients(up, theta + step, structure), gradients(down, theta - step, structure)
        np.testing.assert_allclose((up.logdet - down.logdet) / (2 * h), logdet1[:, j], atol=1e-6)
        np.testing.assert_allclose((up.rss - down.rss) / (2 * h), rss1[:, j], atol=1e-6)
        np.testing.assert_allclose((up1[0] - down1[0]) / (2 * h), logdet2[:, j], atol=1e-5)
        np.testing.assert_allclose((up1[1] - down1[1]) / (2 * h), rss2[:, j], atol=1e-5)
        np.testing.assert_allclose((up.inverse - down.inverse) / (2 * h), slopes[:, j], atol=1e-5)


def gradients(at, theta: np.ndarray, structure: Structure) -> list[np.ndarray]:
    """Of logdet and rss, in θ."""
    both = ((at.logdet1, at.logdet2), (at.rss1, at.rss2))
    return [chain(first, second, theta, structure.quadratic)[0] for first, second in both]


# --- ways to the same fit -------------------------------------------------------------------------------------------


def require_same(one, other, rtol: float = 1e-6):
    assert one.status.tolist() == other.status.tolist()
    for a, b in zip(one.tests, other.tests, strict=True):
        for name in ("estimate", "se", "df", "p"):
            np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=rtol, atol=1e-12, err_msg=name)
    np.testing.assert_allclose(one.deviance, other.deviance, rtol=1e-10)
    np.testing.assert_allclose(one.sd_random, other.sd_random, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("missing", [False, True])
def test_one_intercept_is_the_same_by_its_own_way_and_by_the_general_one(missing):
    rows = Rows(3)
    y = np.where(rows.observed, rows.y, np.nan) if missing else rows.y
    general = fit_lmm(y, rows.x, random=[RandomPart(rows.subject)], weights=np.ones(60))
    require_same(fit_lmm(y, rows.x, rows.subject), general)


@pytest.mark.parametrize("name", ["crossed", "slope", "slope and crossed"])
def test_cells_with_gaps_are_fitted_as_the_rows_they_have(name):
    rows = Rows(4)
    y = np.where(rows.observed, rows.y, np.nan)
    together = fit_lmm(y, rows.x, random=rows.parts(name))
    for c in range(4):
        keep = rows.observed[:, c]
        parts = [RandomPart(p.codes[keep], p.columns[keep], p.correlated, p.group) for p in rows.parts(name)]
        alone = fit_lmm(np.tile(y[keep][:, [c]], 9), rows.x[keep], random=parts)  # nine share their rows
        for a, b in zip(together.tests, alone.tests, strict=True):
            np.testing.assert_allclose([a.estimate[c], a.se[c], a.df[c]], [b.estimate[8], b.se[8], b.df[8]], rtol=1e-5)


def test_results_do_not_depend_on_the_memory_bound_or_the_order_of_cells():
    rows = Rows(5)
    y = np.tile(np.hstack([np.where(rows.observed, rows.y, np.nan), rows.y]), 5)
    y += 1e-3 * np.random.default_rng(0).normal(size=y.shape)
    parts = rows.parts("slope and crossed")
    fit = fit_lmm(y, rows.x, random=parts)
    require_same(fit, fit_lmm(y, rows.x, random=parts, chunk_bytes=1.0), 1e-5)
    turned = fit_lmm(y[:, ::-1], rows.x, random=parts)
    np.testing.assert_allclose(turned.tests[1].p[::-1], fit.tests[1].p, rtol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 365.25])
def test_units_and_origin_of_a_slope_do_not_matter(scale):
    rows = Rows(6)
    moved = RandomPart(rows.subject, np.column_stack([np.ones(60), 70 + scale * rows.age]))
    require_same(fit_lmm(rows.y, rows.x, random=rows.parts("slope")), fit_lmm(rows.y, rows.x, random=[moved]), 1e-5)


def test_units_of_the_values_do_not_matter():
    rows = Rows(7)
    fit, small = (fit_lmm(k * rows.y, rows.x, random=rows.parts("crossed")) for k in (1.0, 1e-4))
    np.testing.assert_allclose(small.tests[1].p, fit.tests[1].p, rtol=1e-7)
    np.testing.assert_allclose(small.covariances[0], 1e-8 * fit.covariances[0], rtol=1e-6)
    np.testing.assert_allclose(small.deviance, fit.deviance + 2 * 57 * np.log(1e-4), rtol=1e-8)


def test_a_cell_whose_levels_have_one_row_each_is_not_estimable():
    rows = Rows(8)
    y = rows.y.copy()
    y[np.setdiff1d(np.arange(60), np.unique(rows.subject, return_index=True)[1]), 0] = np.nan
    fit = fit_lmm(y, rows.x, random=rows.parts("crossed"), min_subjects=3)
    assert fit.status.tolist() == ["not_estimable", "ok", "ok", "ok"]
    assert np.isnan(fit.tests[0].p[0])


def test_weights_count_as_repeated_measurements_of_the_mean_do():
    # a row of weight 4 is the mean of four rows: the coefficients agree with the data written out, up to σ²
    rows = Rows(9)
    weights = np.where(np.arange(60) % 2, 4.0, 1.0)
    fit = fit_lmm(rows.y, rows.x, random=rows.parts("crossed"), weights=weights, offset=0.3 * rows.age)
    again = np.repeat(np.arange(60), weights.astype(int))
    parts = [RandomPart(p.codes[again], group=p.group) for p in rows.parts("crossed")]
    theta = fit.theta[:, ::-1] if Structure(parts).factors[0].n_levels == 5 else fit.theta
    batch = shared_batch(Structure(parts), np.linalg.qr(rows.x[again])[0], (rows.y - 0.3 * rows.age[:, None])[again],
                         np.arange(len(again)), None, True)  # fmt: skip
    at = batch.evaluate(theta, np.arange(4))
    r = np.linalg.qr(rows.x[again])[1]
    np.testing.assert_allclose(np.linalg.solve(r, at.coefficients.T).T, fit.coefficients, rtol=1e-8)


# --- comparison, components, effects --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sleepstudy(shared_data: Path) -> pd.DataFrame:
    table = pd.read_csv(shared_data / "oracles" / "sleepstudy.csv")
    return table.assign(Subject=table["Subject"].astype(str))


def fitted(table: pd.DataFrame, right: str, estimation: str = "reml"):
    design = build_design(parse_formula(f"Reaction ~ {right}"), table)
    y = table["Reaction"].to_numpy(float)[:, None]
    return fit_lmm(y, design.X, random=design.random, estimation=estimation), design


def test_likelihood_ratios_are_those_of_anova_in_r(sleepstudy):
    # anova(lmer(Reaction ~ 1 + (1|Subject), REML = FALSE), lmer(Reaction ~ Days + (1|Subject), REML = FALSE))
    one, other = (fitted(sleepstudy, f"{fixed} + (1|Subject)", "ml")[0] for fixed in ("1", "Days"))
    found = likelihood_ratio(one, other)
    assert (found.df, found.boundary) == (1, False)
    assert found.chi2[0] == pytest.approx(LRT_FIXED[0], rel=1e-8)
    assert found.p[0] == pytest.approx(LRT_FIXED[1], rel=1e-6)
    # anova(lmer(Reaction ~ Days + (1|Subject)), lmer(Reaction ~ Days + (Days|Subject)), refit = FALSE)
    one, other = (fitted(sleepstudy, f"Days + ({random}|Subject)")[0] for random in ("1", "Days"))
    found = likelihood_ratio(one, other)
    assert (found.df, found.boundary) == (2, True)
    assert found.chi2[0] == pytest.approx(LRT_RANDOM[0], rel=1e-8)
    assert found.p[0] == pytest.approx(LRT_RANDOM[1], rel=1e-6)


def test_models_that_cannot_be_compared_are_refused(sleepstudy):
    reml, ml = fitted(sleepstudy, "Days + (1|Subject)")[0], fitted(sleepstudy, "Days + (1|Subject)", "ml")[0]
    less = fitted(sleepstudy, "1 + (1|Subject)")[0]
    for one, other, says in ((reml, ml, "both"), (less, reml, "by ML"), (reml, reml, "more parameters")):
        with pytest.raises(ValueError, match=says):
            likelihood_ratio(one, other)


def test_components_are_a_table_per_cell(sleepstudy):
    fit, _ = fitted(sleepstudy, "Days + (Days|Subject)")
    table = components(fit)
    assert table.columns.tolist() == ["cell", "group", "term", "kind", "value"]
    found = {(r.group, r.term, r.kind): r.value for r in table.itertuples()}
    # as.data.frame(VarCorr(lmer(Reaction ~ Days + (Days|Subject), sleepstudy)))$sdcor
    expected = {
        ("Subject", "(Intercept)", "sd"): 24.7404500812413,
        ("Subject", "Days", "sd"): 5.92213308186667,
        ("Subject", "(Intercept):Days", "cor"): 0.0655513775524519,
        ("Residual", "", "sd"): 25.5918157386296,
    }
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, rel=1e-5)
    square = np.mean(sleepstudy["Days"] ** 2)
    added = 612.089870222393 + 2 * 4.5 * 9.60434122725561 + square * 35.0716602393396
    assert found["Subject", "", "icc"] == pytest.approx(added / (added + 654.941032799968), rel=1e-5)
    assert fit.sd_random[0] == pytest.approx(np.sqrt(added), rel=1e-5)
    assert set(intraclass_correlations(fit)) == {"Subject"}


def test_random_effects_are_those_of_ranef(sleepstudy):
    # ranef(lmer(Reaction ~ Days + (Days|Subject), sleepstudy))$Subject[1:2, ]
    fit, design = fitted(sleepstudy, "Days + (Days|Subject)")
    (b,) = random_effects(fit, sleepstudy["Reaction"].to_numpy(float)[:, None], design.X)
    np.testing.assert_allclose(b[0, :2], RANEF, rtol=1e-5)
    assert np.abs(b[0].sum(axis=0)).max() < 1e-8


def test_a_random_part_too_large_for_the_batched_engine_is_refused_with_the_way_out():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.integers(0, 900, 3000), "b": rng.integers(0, 700, 3000), "x": rng.normal(size=3000)})
    design = build_design(parse_formula("value ~ x + (1|a) + (1|b)"), table)
    with pytest.raises(DesignError, match="too large for the batched engine") as caught:
        fit_design(np.zeros((3000, 1)), design, term_contrasts(design))
    assert "(...|b)" in (caught.value.hint or "")
    assert "--engine pymer4" in (caught.value.hint or "")


@pytest.mark.parametrize("random", ["(1|site/subject)", "(1 + time|subject) + (1|site)", "(time||subject)", "(1|site)"])
def test_fit_cells_takes_any_random_part(random):
    rng = np.random.default_rng(2)
    subject = np.repeat(np.arange(30), 3)
    table = pd.DataFrame(
        {
            "participant_id": [f"sub-{i:02d}" for i in subject],
            "subject": [f"p{i}" for i in subject],
            "site": [f"s{i % 6}" for i in subject],
            "group": np.where(subject % 2, "patient", "control"),
            "time": np.tile(np.arange(3.0), 30) + rng.normal(0, 0.1, 90),
        }
    )
    design = build_design(parse_formula(f"value ~ group * time + {random}"), table)
    y = rng.normal(size=(90, 6)) + rng.normal(size=(30, 6))[subject] + rng.normal(size=(6, 6))[subject % 6]
    y[rng.random(y.shape) < 0.05] = np.nan
    found = fit_cells(y, design, term_contrasts(design))
    assert found["fit_status"].isin(["ok", "singular"]).all()
    assert found["p"].between(0, 1).all()
    assert (found["sd_random"] >= 0).all()
    assert len(found) == 6 * 3
