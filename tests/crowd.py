"""A cohort of the size that mixed models want, made in a second: the study's grids, values drawn at random.

One scalar beside the study's own, `demo_md`, is noise; `demo_wm` is lower in patients at nodes 10-15 of CSTR.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

#: Nodes of CSTR in which patients differ, and by how much.
NODES, EFFECT = range(10, 16), -0.1


class Crowd(NamedTuple):
    """Input with participants alone, and the participant level's output: read it, or run models of other names."""

    bids: Path
    out: Path


def make_crowd(template: Path, folder: Path, n: int, sessions: int = 1, seed: int = 0, effect: float = EFFECT) -> Crowd:
    """Write `n` people (the last of several sessions is missing in every fourth), all tables as of sub-01."""
    rng = np.random.default_rng(seed)
    bids, out = folder / "bids", folder / "out"
    bids.mkdir(parents=True)
    shutil.copytree(template, out, ignore=shutil.ignore_patterns("sub-*", "group", "logs"))
    people = _people(n, rng)
    people.to_csv(bids / "participants.tsv", sep="\t", index=False, na_rep="n/a")
    (bids / "dataset_description.json").write_text(json.dumps({"Name": "crowd", "BIDSVersion": "1.10.0"}))
    of_site = {site: rng.normal(0, 0.03) for site in sorted(people["site"].unique())}
    for k, person in people.iterrows():
        shift = of_site[person["site"]] + rng.normal(0, 0.03)
        there = 1 if sessions == 1 else sessions - (int(k) % 4 == 3)
        for visit in range(1, there + 1):
            label = [person["participant_id"], *([f"ses-{visit}"] if sessions > 1 else [])]
            lower = effect if person["group"] == "patient" else 0.0
            _tables(template / "sub-01" / "dwi", out.joinpath(*label, "dwi"), label, shift, lower, rng)
        (out / f"{person['participant_id']}.html").write_text("")
        if sessions > 1:
            ages = [person["age"] + 1.5 * v for v in range(there)]
            visits = pd.DataFrame({"session_id": [f"ses-{v + 1}" for v in range(there)], "age": ages})
            (bids / person["participant_id"]).mkdir()
            path = bids / person["participant_id"] / f"{person['participant_id']}_sessions.tsv"
            visits.to_csv(path, sep="\t", index=False)
    return Crowd(bids, out)


def _people(n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Four sites with both groups in each; columns that are wrong for one option or another."""
    k = np.arange(n)
    return pd.DataFrame(
        {
            "participant_id": [f"sub-{i + 1:02d}" for i in k],
            "group": np.where(k % 2 == 0, "control", "patient"),
            "age": rng.uniform(30, 70, n).round(1),
            "sex": rng.choice(["F", "M"], n),
            "site": [f"site{1 + i // 2 % 4}" for i in k],
            "weight": rng.uniform(0.5, 2, n).round(2),
            "known": rng.normal(0, 0.02, n).round(4),
            "negative": np.where(k == 3, -1.0, 1.0),
            "holes": np.where(k == 5, np.nan, 1.0),
            "gap": np.where(k == 5, None, "a"),
            "lone": "scanner",
        }
    )


def _tables(
    source: Path, target: Path, label: list[str], shift: float, effect: float, rng: np.random.Generator
) -> None:
    target.mkdir(parents=True)
    for path in sorted(source.glob("*_tractometry.*")):
        _, _, rest = path.name.partition("_")
        new = target / f"{'_'.join(label)}_{rest}"
        if path.suffix == ".json":
            facts = json.loads(path.read_text())
            facts["demo_md"] = facts["demo_wm"]
            if "demo_wm_sd" in facts:
                facts["demo_md_sd"] = facts["demo_wm_sd"]
            new.write_text(json.dumps(facts))
            continue
        table = pd.read_csv(path, sep="\t", na_values=["n/a"], keep_default_na=False)
        noise = np.stack([_smooth(rng, len(table)) for _ in range(2)])
        lower = np.zeros(len(table))
        if "s" in table:
            lower = np.where((table["bundle"] == "CSTR") & table["s"].isin(NODES), effect, 0.0)
        ok = table["demo_wm"].notna()
        table["demo_wm"] = np.where(ok, 0.5 + shift + lower + 0.05 * noise[0], np.nan)
        table["demo_md"] = np.where(ok, 1e-3 * (1 + 0.1 * noise[1] + shift), np.nan)
        if "demo_wm_sd" in table:
            table["demo_md_sd"] = table["demo_wm_sd"]
        table.to_csv(new, sep="\t", index=False, na_rep="n/a", float_format="%.6g")


def _smooth(rng: np.random.Generator, n: int) -> np.ndarray:
    """Noise of unit variance, correlated along the rows."""
    return np.convolve(rng.normal(size=n + 2), np.full(3, 3**-0.5), "valid")
