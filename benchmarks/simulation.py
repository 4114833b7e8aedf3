"""Error rates and power of the whole statistical chain, by simulation with the real engine.

    python benchmarks/simulation.py [--runs 1000] [--perm-runs 200] [--permutations 500] [--jobs 1] [--seed 0]

60 subjects of 8 sites (8, 8, 8, 8, 7, 7, 7, 7), 20 bundles of 24 x 4 cells, Gaussian noise smooth along s and r (FWHM
4 x 2 cells), smooth site effects with the intraclass correlation named. Every cell is fitted by
`value ~ dx + age + vendor + (1 | site)`: dx and age vary between subjects, vendor between sites (4 and 4). Prints
markdown: what the p values do under the null hypothesis, how blocks are combined, what the procedures reject without
any effect, and with an effect of dx on 8 of 24 nodes of 4 of 20 bundles. Errors are Monte-Carlo standard errors.
"""

import argparse
import multiprocessing
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from spectra_bids.inference import (
    Spatial,
    block_correlations,
    combine,
    correlate,
    draw_permutations,
    fdr,
    hierarchical_fdr,
    joint_maxima,
    reduce_maxima,
    resels,
    smoothness,
)
from spectra_bids.models.lmm import fit_lmm
from spectra_bids.models.permutation import permutation_test
from spectra_bids.models.residuals import conditional_residuals

BUNDLES, NODES, BINS = 20, 24, 4
CELLS = NODES * BINS
SITE = np.repeat(np.arange(8), [8, 8, 8, 8, 7, 7, 7, 7])
S, R = (a.ravel() for a in np.meshgrid(np.arange(NODES), np.arange(BINS), indexing="ij"))
BUNDLE = np.repeat(np.arange(BUNDLES), CELLS)
ICC = (0.0, 0.02, 0.05, 0.1, 0.3)
ACTIVE_BUNDLES, EFFECT = 4, 0.9  # in SD of the residual noise, 8 nodes x 4 bins of each active bundle
DX, VENDOR = np.array([0.0, 1, 0, 0]), np.array([0.0, 0, 0, 1])
COMBINATIONS = ("simes", "acat", "bonferroni", "minp-galwey", "gates")
LEVELS = (0.05, 0.15, 0.25)


def root(n, fwhm):
    """A matrix whose product with white noise is smooth, of unit variance in every cell."""
    distance = np.arange(n)[:, None] - np.arange(-3 * n, 4 * n)[None, :]
    kernel = np.exp(-0.5 * (distance / (fwhm / np.sqrt(8 * np.log(2)))) ** 2)
    kernel /= np.sqrt((kernel**2).sum(axis=1, keepdims=True))
    return np.linalg.cholesky(kernel @ kernel.T + 1e-10 * np.eye(n))


ROOT_S, ROOT_R = root(NODES, 4.0), root(BINS, 2.0)


def fields(rng, n):
    """N smooth maps of all bundles, (n, BUNDLES x CELLS)."""
    white = rng.standard_normal((n, BUNDLES, NODES, BINS))
    return np.einsum("st,nbtr,qr->nbsq", ROOT_S, white, ROOT_R, optimize=True).reshape(n, -1)


def active_cells(rng):
    """Which cells of a run have an effect: 8 nodes somewhere along each of the active bundles."""
    active = np.zeros((BUNDLES, NODES, BINS), dtype=bool)
    for bundle in rng.choice(BUNDLES, ACTIVE_BUNDLES, replace=False):
        start = rng.integers(0, NODES - 7)
        active[bundle, start : start + 8] = True
    return active.ravel()


def simulate(rng, icc, with_effect):
    """Design (n, 4), values (n, cells), which cells are active."""
    n = len(SITE)
    dx = np.zeros(n)
    dx[rng.permutation(n)[: n // 2]] = 1.0
    vendor = np.isin(SITE, rng.permutation(8)[:4]).astype(float)
    x = np.column_stack([np.ones(n), dx, rng.normal(40, 12, n), vendor])
    y = np.sqrt(1 - icc) * fields(rng, n) + np.sqrt(icc) * fields(rng, 8)[SITE]
    active = active_cells(rng) if with_effect else np.zeros(BUNDLES * CELLS, dtype=bool)
    return x, y + EFFECT * np.sqrt(1 - icc) * dx[:, None] * active, active


def null_run(job):
    """Share of p <= .05 of dx and vendor at every ICC."""
    seed, run = job
    rates = []
    for k, icc in enumerate(ICC):
        x, y, _ = simulate(np.random.default_rng([seed, 1, k, run]), icc, False)
        fit = fit_lmm(y, x, SITE, [DX, VENDOR])
        rates.append([np.nanmean(test.p <= 0.05) for test in fit.tests])
    return np.array(rates)


def scores(blocks, selected_blocks, rejected, active):
    """Block FDP, average cell FDP over selected blocks, pooled cell FDP, any false block, cell and block power."""
    names, index = np.unique(blocks, return_inverse=True)
    has_effect = np.bincount(index, weights=active) > 0
    false, true = np.bincount(index, weights=rejected & ~active), np.bincount(index, weights=rejected)
    cell_fdp = false / np.maximum(true, 1)
    chosen = np.isin(names, selected_blocks)
    power = (rejected & active).sum() / max(1, active.sum())
    return [
        (chosen & ~has_effect).sum() / max(1, chosen.sum()),
        cell_fdp[chosen].sum() / max(1, chosen.sum()),
        (rejected & ~active).sum() / max(1, rejected.sum()),
        float((chosen & ~has_effect).any()),
        power,
        (chosen & has_effect).sum() / max(1, has_effect.sum()),
    ]


def resel_labels(correlation_of):
    """Block of each cell, bundle after bundle."""
    labels = np.empty(BUNDLES * CELLS, np.int64)
    for bundle, correlation in correlation_of.items():
        labels[bundle == BUNDLE] = bundle * CELLS + resels(S, R, smoothness(correlation, S, R))
    return labels


def decision_run(job):
    """Scores of all procedures in one data set, and the combined p of its 20 blocks."""
    seed, run, with_effect, with_gates = job
    x, y, active = simulate(np.random.default_rng([seed, 2, int(with_effect), run]), 0.1, with_effect)
    fit = fit_lmm(y, x, SITE, [DX])
    p = fit.tests[0].p
    residuals = conditional_residuals(y, x, fit)
    correlation_of = {b: correlate(residuals[:, b == BUNDLE]) for b in range(BUNDLES)}
    found = {}
    for name, decided in (("BH .05", fdr(p, BUNDLE)), ("BKY .05", fdr(p, BUNDLE, adaptive=True))):
        found[name] = scores(BUNDLE, decided.blocks[decided.selected], decided.rejected[0], active)
    for name, blocks in (("hfdr", BUNDLE), ("hfdr_resel", resel_labels(correlation_of))):
        decided = hierarchical_fdr(p, blocks, 0.05, LEVELS)
        for level, rejected in zip(LEVELS, decided.rejected, strict=True):
            found[f"{name} {level:.2f}".replace("0.", ".")] = scores(
                blocks, decided.blocks[decided.selected], rejected, active
            )
    whole = block_correlations(BUNDLE, BUNDLE, correlation_of)
    for method in ("acat", "minp-galwey"):
        decided = hierarchical_fdr(p, BUNDLE, 0.05, 0.05, method, whole)
        found[f"hfdr .05, {method}"] = scores(BUNDLE, decided.blocks[decided.selected], decided.rejected[0], active)
    methods = COMBINATIONS if with_gates else COMBINATIONS[:-1]
    size = {m: np.mean([combine(p[b == BUNDLE], m, whole[b]) <= 0.05 for b in range(BUNDLES)]) for m in methods}
    return found, size


def permutation_run(job):
    """Scores of the permutation mode in one data set: dx exchanged within sites."""
    seed, run, with_effect, n_permutations = job
    x, y, active = simulate(np.random.default_rng([seed, 2, int(with_effect), run]), 0.1, with_effect)
    drawn = draw_permutations(len(x), n_permutations, seed=run, within=SITE)
    tests = [permutation_test(y[:, b == BUNDLE], x, DX, drawn, Spatial(S, R), SITE) for b in range(BUNDLES)]
    null = joint_maxima([t.null for t in tests])
    observed = [np.concatenate([getattr(t, k) for t in tests]) for k in ("z", "size", "mass", "tfce")]
    corrected = reduce_maxima(*observed, null)
    found = {}
    for name, p in (("max", corrected.peak), ("cluster mass", corrected.mass), ("TFCE", corrected.tfce)):
        rejected = p <= 0.05
        found[f"perm {name}"] = scores(BUNDLE, np.unique(BUNDLE[rejected]), rejected, active)
    return found


def mean_se(values):
    values = np.asarray(values)
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))


def cell(mean, se, digits=3):
    return f"{mean:.{digits}f} ± {se:.{digits}f}".replace("0.", ".")


def table(header, rows):
    print("| " + " | ".join(header) + " |\n|" + " --- |" * len(header))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
    print()


def null_table(found):
    mean, se = mean_se(found)
    print(f"Share of p <= .05 without any effect, {len(found)} runs x {BUNDLES * CELLS} cells\n")
    rows = zip(ICC, mean, se, strict=True)
    table(("ICC", "subject-level (dx)", "site-level (vendor)"),
          [(icc, cell(m[0], e[0], 4), cell(m[1], e[1], 4)) for icc, m, e in rows])  # fmt: skip


def size_table(sizes):
    rows = []
    for method in COMBINATIONS:
        values = [s[method] for s in sizes if method in s]
        rows.append((method, cell(*mean_se(values)), len(values)))
    print(f"Share of blocks ({CELLS} cells) with a combined p <= .05 without any effect\n")
    table(("combination", "size", "runs"), rows)


def procedure_table(title, runs):
    rows = []
    for name in runs[0]:
        mean, se = mean_se([run[name] for run in runs])
        rows.append((name, *(cell(m, e) for m, e in zip(mean, se, strict=True)), len(runs)))
    print(title + "\n")
    header = ("procedure", "block FDR", "average cell FDR", "pooled cell FDR", "any false block", "cell power",
              "block power", "runs")  # fmt: skip
    table(header, rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--perm-runs", type=int, default=200)
    parser.add_argument("--gates-runs", type=int, default=100)
    parser.add_argument("--permutations", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    start = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(args.jobs) as pool:
        null_table(np.array(pool.map(null_run, [(args.seed, k) for k in range(args.runs)], chunksize=10)))
        for effect, what in ((False, "No effect anywhere"), (True, f"{ACTIVE_BUNDLES} of {BUNDLES} bundles active")):
            jobs = [(args.seed, k, effect, k < args.gates_runs) for k in range(args.runs)]
            found = pool.map(decision_run, jobs, chunksize=10)
            if not effect:
                size_table([size for _, size in found])
            title = f"{what}, ICC .1, block level .05"
            procedure_table(title, [scored for scored, _ in found])
            if args.perm_runs:
                jobs = [(args.seed, k, effect, args.permutations) for k in range(args.perm_runs)]
                procedure_table(f"{title}: family-wise error .05 by {args.permutations} permutations within sites",
                                pool.map(permutation_run, jobs, chunksize=5))  # fmt: skip
    print(f"Seed {args.seed}; {time.perf_counter() - start:.0f} s with {args.jobs} process(es)")


if __name__ == "__main__":
    main()
