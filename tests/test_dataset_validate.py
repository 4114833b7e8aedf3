"""spectra_bids.dataset.validate: a whole tree is silent, every kind of damage is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from spectra_bids import group, participant
from spectra_bids.cli import main
from spectra_bids.dataset.validate import validate
from spectra_bids.demo.cohort import make_cohort
from spectra_bids.errors import MissingInputError
from spectra_bids.settings import GroupSettings, ParticipantSettings, RunSettings


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output of both levels on a small demonstration cohort."""
    base = tmp_path_factory.mktemp("validate")
    make_cohort(base / "bids", base / "atlas", n=12, seed=1)
    run = RunSettings(bids_dir=base / "bids", output_dir=base / "out", command="spectra-bids")
    assert participant.run(ParticipantSettings(run=run, atlas=base / "atlas", pictures="none")) == 0
    model = GroupSettings(run=run, formula="value ~ group", model_name="m", calibrate=20, sensitivity=True)
    assert group.run(model) == 0
    return base / "out"


def _rewrite(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))


def _edit_json(path: Path, **changes: object) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))


def _table(out: Path, kind: str = "profile1D") -> Path:
    return next((out / "sub-01" / "dwi").glob(f"*_desc-{kind}_tractometry.tsv"))


def _arrays(out: Path) -> Path:
    return out / "group" / "model-m" / "model-m_bundle-AFL_desc-profile1D_residuals.npz"


class Damage(NamedTuple):
    name: str
    do: Callable[[Path], object]
    level: str
    path: str
    says: str


DAMAGES = (
    Damage("root file gone", lambda o: (o / "README.md").unlink(), "error", "README.md", "is missing"),
    Damage(
        "description not JSON",
        lambda o: (o / "dataset_description.json").write_text("{"),
        "error",
        "dataset_description.json",
        "cannot be read",
    ),
    Damage(
        "other tool first",
        lambda o: _edit_json(o / "dataset_description.json", GeneratedBy=[{"Name": "x"}]),
        "error",
        "dataset_description.json",
        "GeneratedBy must name spectra-bids first. Got 'x'",
    ),
    Damage(
        "no sidecar",
        lambda o: _table(o).with_suffix(".json").unlink(),
        "error",
        "profile1D_tractometry.tsv",
        "its sidecar",
    ),
    Damage(
        "orphan sidecar",
        lambda o: _table(o).unlink(),
        "error",
        "profile1D_tractometry.json",
        "describes a table that is not there",
    ),
    Damage(
        "one table of three gone",
        lambda o: (_table(o).unlink(), _table(o, "profile2D")),
        "error",
        "profile1D_tractometry.tsv",
        "is missing",
    ),
    Damage(
        "column renamed",
        lambda o: _rewrite(_table(o), lambda t: t.replace("n_points", "points", 1)),
        "error",
        "profile1D_tractometry.tsv",
        "must begin with the columns",
    ),
    Damage(
        "unknown status",
        lambda o: _rewrite(_table(o), lambda t: t.replace("\tok\t", "\tfine\t", 1)),
        "error",
        "profile1D_tractometry.tsv",
        "unknown status 'fine'",
    ),
    Damage(
        "row lost",
        lambda o: _rewrite(_table(o, "profile2D"), lambda t: t[: t[:-1].rindex("\n") + 1]),
        "error",
        "profile2D_tractometry.tsv",
        "its grid has",
    ),
    Damage(
        "other grid",
        lambda o: _edit_json(_table(o).with_suffix(".json"), GridChecksums={"CSTR": "0"}),
        "error",
        "profile1D_tractometry.tsv",
        "made on another grid of CSTR",
    ),
    Damage(
        "grid tampered with",
        lambda o: next((o / "atlas").glob("*CSTR*.npz")).write_bytes(b"x"),
        "error",
        "bundle-CSTR_grid.json",
        "cannot be read as a grid",
    ),
    Damage(
        "grid without JSON",
        lambda o: next((o / "atlas").glob("*CSTR*.json")).unlink(),
        "error",
        "bundle-CSTR_grid.npz",
        "has no JSON beside it",
    ),
    Damage(
        "strange name",
        lambda o: shutil.copy(_table(o), _table(o).with_name("sub-01_x_desc-profile9D_tractometry.tsv")),
        "error",
        "profile9D_tractometry.tsv",
        "not a name that this program writes",
    ),
    Damage("page gone", lambda o: (o / "sub-01.html").unlink(), "warning", "sub-01", "has no page"),
    Damage(
        "page without subject",
        lambda o: (o / "sub-99.html").write_text("x"),
        "warning",
        "sub-99.html",
        "page of a subject that is not there",
    ),
    Damage(
        "temporary file",
        lambda o: (o / "sub-01" / ".x.tsv.abc.tmp").write_text("x"),
        "warning",
        ".x.tsv.abc.tmp",
        "left over from a run that was killed",
    ),
    Damage("model page gone", lambda o: (o / "model-m.html").unlink(), "error", "model-m.html", "is missing"),
    Damage(
        "model file gone",
        lambda o: (o / "group" / "model-m" / "model-m_smdl.json").unlink(),
        "error",
        "model-m_smdl.json",
        "is missing",
    ),
    Damage(
        "arrays without sidecar",
        lambda o: _arrays(o).with_suffix(".json").unlink(),
        "error",
        "_residuals.npz",
        "its sidecar",
    ),
    Damage(
        "sidecar without arrays",
        lambda o: _arrays(o).unlink(),
        "error",
        "_residuals.json",
        "describes a file that is not there",
    ),
    Damage(
        "arrays cut off",
        lambda o: _arrays(o).write_bytes(_arrays(o).read_bytes()[:100]),
        "error",
        "_residuals.npz",
        "no .npz file",
    ),
    Damage(
        "foreign arrays",
        lambda o: _arrays(o).rename(_arrays(o).with_name("model-m_bundle-X_desc-profile1D_else.npz")),
        "error",
        "_else.npz",
        "not a name that this program writes",
    ),
    Damage(
        "sensitivity of other columns",
        lambda o: _rewrite(next(o.glob("group/model-m/*1D_sensitivity.tsv")), lambda t: t.replace("n_kept", "kept")),
        "error",
        "_sensitivity.tsv",
        "must begin with the columns",
    ),
    Damage(
        "calibration without sidecar",
        lambda o: next(o.glob("group/model-m/*1D_calibration.json")).unlink(),
        "error",
        "_calibration.tsv",
        "its sidecar",
    ),
    Damage(
        "foreign fits",
        lambda o: (o / "group" / "model-m" / "model-x_desc-profile1D_stats.tsv").write_text("a\tb\n"),
        "error",
        "model-x_desc-profile1D_stats.tsv",
        "not a name that this program writes",
    ),
)


def test_a_whole_output_has_no_findings(whole: Path) -> None:
    assert [str(f) for f in validate(whole)] == []


@pytest.mark.parametrize("damage", DAMAGES, ids=[d.name for d in DAMAGES])
def test_damage_is_named_with_its_file(whole: Path, tmp_path: Path, damage: Damage) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    damage.do(out)
    found = [f for f in validate(out) if f.level == damage.level and f.path.endswith(damage.path)]
    assert any(damage.says in f.message for f in found), [str(f) for f in validate(out)]


def test_the_tool_ends_with_16_on_an_error_and_0_on_warnings(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", str(whole)]) == 0
    assert "0 errors, 0 warnings" in capsys.readouterr().out
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    (out / "sub-99.html").write_text("x")
    assert main(["validate", str(out)]) == 0
    (out / "README.md").unlink()
    assert main(["validate", str(out)]) == 16
    assert "ERROR README.md: is missing" in capsys.readouterr().out


def test_no_folder_is_a_missing_input(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="not a folder"):
        validate(tmp_path / "nowhere")
