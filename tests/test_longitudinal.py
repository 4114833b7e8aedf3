"""Longitudinal work: visits of several sessions, time-varying covariates, docs/longitudinal.md on its own data."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs" / "longitudinal.md"
MODELS = {
    "course": "value ~ group + years + sex + (1|participant_id)",
    "slopes": "value ~ group + years + sex + (1 + years|participant_id)",
    "pasat": "value ~ pasat + years + sex + (1|participant_id)",
}
#: Nodes that are fitted in R too: the ends, the middle, and where the random effects are singular.
NODES = {"CCA": (0, 20, 46, 70, 92), "RCST": (0, 27, 54)}


def commands():
    """What a reader types of the programs that are ours or Python, as lists of words."""
    blocks = re.findall(r"```console\n(.*?)```", DOCS.read_text(), flags=re.S)
    typed = [text for block in blocks for text in re.split(r"^\$ ", block, flags=re.M)[1:]]
    found = [["python", "-c", text.split('"')[1]] for text in typed if text.startswith("python -c")]
    lines = [text.replace("\\\n", " ").splitlines()[0] for text in typed if text.startswith("spectra-bids")]
    return found + [shlex.split(line) for line in lines]


@pytest.fixture(scope="module")
def visits(shared_data, tmp_path_factory, cli):
    """The page's commands, run where the page runs them."""
    folder = tmp_path_factory.mktemp("visits")
    (folder / "refund_dti_fa_long.csv.gz").symlink_to(shared_data / "tables" / "refund_dti_fa_long.csv.gz")
    said = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for words in commands():
            if words[0] == "python":
                exec(compile(words[2], str(DOCS), "exec"), {})
            elif words[0] == "spectra-bids":
                said[" ".join(words)] = cli(*words[1:])
    return folder / "ms", said


def stats(out, model):
    path = out / f"group/model-{model}/model-{model}_desc-profile1D_stats.tsv"
    return pd.read_csv(path, sep="\t", na_values="n/a")


def test_the_page_has_the_models_of_this_test():
    told = [words[words.index("--formula") + 1] for words in commands() if "--formula" in words]
    assert set(MODELS.values()) <= set(told)


def test_every_command_of_the_page_ends_as_the_page_says(visits):
    _, said = visits
    assert said
    page = " ".join(DOCS.read_text().split())
    for command, ended in said.items():
        refused = "group * years" in command
        assert ended.status == (65 if refused else 0), ended.err
        for line in (ended.err if refused else ended.out).splitlines():
            assert " ".join(line.split()) in page, line


def test_what_changes_between_visits_stands_in_sessions_tsv(visits):
    out, _ = visits
    people = pd.read_csv(out / "sourcedata" / "participants.tsv", sep="\t")
    assert set(people) == {"participant_id", "sex", "group"}
    assert people.groupby("group").size().to_dict() == {"control": 42, "ms": 100}
    files = sorted((out / "sourcedata").glob("sub-*/*_sessions.tsv"))
    rows = pd.concat([pd.read_csv(f, sep="\t") for f in files])
    assert len(files) == 142
    assert len(rows) == 382
    assert list(rows) == ["session_id", "pasat", "years"]


@pytest.mark.r
@pytest.mark.parametrize("model", MODELS)
def test_nodes_have_the_numbers_of_lmertest(visits, rscript, tmp_path, model):
    """lmerTest::lmer with Satterthwaite df, tight settings, on the values of our session tables."""
    out, _ = visits
    found = stats(out, model).set_index(["contrast", "bundle", "s"])
    rows = []
    for path in sorted(out.glob("sub-*/ses-*/dwi/*_desc-profile1D_tractometry.tsv")):
        table = pd.read_csv(path, sep="\t").set_index(["bundle", "s"])["dwi_fa"]
        subject, session = path.parts[-4], path.parts[-3]
        rows.append({"participant_id": subject, "session_id": session,
                     **{f"{b}_{s}": table[b, s] for b, nodes in NODES.items() for s in nodes}})  # fmt: skip
    people = pd.read_csv(out / "sourcedata/participants.tsv", sep="\t")
    visit = pd.concat(
        pd.read_csv(f, sep="\t").assign(participant_id=f.parent.name)
        for f in sorted((out / "sourcedata").glob("sub-*/*_sessions.tsv"))
    )
    merged = pd.DataFrame(rows).merge(people).merge(visit, on=["participant_id", "session_id"])
    merged.to_csv(tmp_path / "d.csv", index=False)
    names = [f"{b}_{s}" for b, nodes in NODES.items() for s in nodes]
    script = f"""
    suppressMessages(library(lmerTest)); d <- read.csv('d.csv')
    tight <- lmerControl(optCtrl = list(xtol_abs = 1e-13, ftol_abs = 1e-15, xtol_rel = 1e-13, maxeval = 20000))
    for (y in strsplit('{" ".join(names)}', ' ')[[1]]) {{
      d$value <- as.numeric(scale(d[[y]])); s <- sd(d[[y]], na.rm = TRUE)
      m <- suppressMessages(lmer({MODELS[model]}, d, control = tight))
      k <- summary(m)$coefficients
      for (r in rownames(k)[-1]) cat(y, r, k[r, 1] * s, k[r, 2] * s, k[r, 3], k[r, 5], '\\n') }}"""
    done = subprocess.run([rscript, "-e", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    compared = 0
    for line in done.stdout.strip().splitlines():
        y, term, *numbers = line.split()
        bundle, _, s = y.rpartition("_")
        contrast = {"groupms": "group", "sexmale": "sex"}.get(term, term)
        estimate, se, df, p = map(float, numbers)
        ours = found.loc[(contrast, bundle, int(s))]
        assert abs(ours["estimate"] - estimate) < 1e-4 * se, (y, term)
        np.testing.assert_allclose([ours["se"], ours["df"]], [se, df], rtol=1e-4, err_msg=f"{y} {term}")
        np.testing.assert_allclose(ours["p"], p, rtol=1e-4, err_msg=f"{y} {term}")
        compared += 1
    assert compared == 3 * len(names)


def test_controls_without_a_score_leave_the_model_of_the_score(visits):
    out, _ = visits
    assert stats(out, "pasat")["n"].max() == 340  # the patients' visits
    assert stats(out, "course")["n"].max() == 382
