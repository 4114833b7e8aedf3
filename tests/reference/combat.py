"""Values of combat.json: neuroCombat 0.2.12 and neuroHarmonize 2.5.2 on made data, iterated to 1e-12.

    pip install --no-deps neuroCombat==0.2.12 neuroHarmonize==2.5.2    (beside numpy, pandas, statsmodels, nibabel)
    python combat.py > combat.json
neuroHarmonize declares numpy < 2, which it does not need for what is called here.
"""

import contextlib
import json
import sys

import numpy as np
import pandas as pd
from neuroCombat import neuroCombat as plain
from neuroHarmonize import harmonizationApply, harmonizationLearn

sys.modules["neuroCombat.neuroCombat"].it_sol.__defaults__ = (1e-12,)


def made() -> tuple[np.ndarray, list[str], np.ndarray, np.ndarray]:
    """Values (n, C), site, covariates (n, 2), who is a control."""
    rng = np.random.default_rng(11)
    site = np.repeat(["a", "b", "c"], [9, 7, 8])
    covariates = np.column_stack([rng.normal(60, 8, 24), rng.integers(0, 2, 24)]).astype(np.float32).astype(float)
    code = np.searchsorted(["a", "b", "c"], site)
    noise = rng.normal(size=(24, 6)) * np.array([1.0, 1.6, 0.7])[code, None]
    values = 0.45 + 0.002 * (covariates[:, [0]] - 60) + 0.02 * noise + np.array([0.03, -0.02, 0.0])[code, None]
    return values, list(site), covariates, np.arange(24) % 3 != 1


if __name__ == "__main__":
    values, site, covariates, control = made()
    table = pd.DataFrame({"SITE": site, "age": covariates[:, 0], "sex": covariates[:, 1]})
    with contextlib.redirect_stdout(sys.stderr):
        # neuroCombat makes covariates float32; neuroHarmonize calls the same function. Hence float32 numbers in `made`.
        whole = plain(values.T, table, "SITE", continuous_cols=["age", "sex"])
        model, _ = harmonizationLearn(values[control], table[control].reset_index(drop=True))
        applied = harmonizationApply(values, table, model)
    json.dump(
        {
            "whole": whole["data"].T.tolist(),
            "gamma_star": np.asarray(whole["estimates"]["gamma.star"]).tolist(),
            "delta_star": np.asarray(whole["estimates"]["delta.star"]).tolist(),
            "by_controls": applied.tolist(),
        },
        sys.stdout,
        indent=1,
    )
