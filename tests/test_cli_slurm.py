"""`spectra-bids slurm`: what is checked before a job waits in a queue, what the scripts run and what they do about 75.

Bash runs the scripts here, with stand-ins for Slurm's commands and for the program; in scripts/slurm_test.sh it is a
real Slurm.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from spectra_bids.cli.app import make_parser, parse
from spectra_bids.cli.boutiques import describe
from spectra_bids.cli.slurm import _parser as slurm_parser
from spectra_bids.cli.slurm_scripts import Arrays

MODEL = ("--formula", "value ~ group + age")
CONTRAST = "AD_gt_CN: group[patient]=1 group[control]=-1"
SPECIAL = 'it\'s an "out" $(touch trap) `touch trap` \\\\ 100 % & more; #'

STAND_INS = {
    # Writes its words, NUL between them, then does as STUB_* say.
    "program": """printf '%s\\0' "$@" >"$STUB_DIR/words"
if [ -n "${STUB_WAIT:-}" ]; then
  trap 'exit 75' TERM
  touch "$STUB_DIR/ready"
  while true; do sleep 0.05; done
fi
if [ -n "${STUB_DEAF:-}" ]; then
  touch "$STUB_DIR/ready"
  exec sleep 60
fi
exit "${STUB_STATUS:-0}"
""",
    "apptainer": """printf '%s\\0' "$@" >"$STUB_DIR/words"
for ((i = 1; i <= $#; i++)); do
  if [ "${!i}" = --workdir ]; then j=$((i + 1)); echo "${!j}" >"$STUB_DIR/scratch"; test -d "${!j}" || exit 9; fi
done
exit "${STUB_STATUS:-0}"
""",
    "scontrol": """echo "$*" >>"$STUB_DIR/scontrol"
if [ "$1" = show ]; then echo "JobId=5 JobName=x JobState=${STUB_STATE:-RUNNING} Reason=None"; fi
""",
    "sbatch": """[ "$(wc -l <"$STUB_DIR/sbatch")" -lt "${STUB_LIMIT:-99}" ] || { echo "Invalid qos" >&2; exit 1; }
echo "$*" >>"$STUB_DIR/sbatch"
echo "$(wc -l <"$STUB_DIR/sbatch");here"
""",
    "scancel": 'echo "$*" >>"$STUB_DIR/scancel"\n',
}


class Ran(NamedTuple):
    """What running a script came to."""

    status: int
    words: list[str]
    requeued: list[str]


@pytest.fixture
def stubs(tmp_path, monkeypatch):
    """Folder of the stand-ins, which are first on PATH; the program is one of them."""
    folder = tmp_path / "stubs"
    folder.mkdir()
    for name, text in STAND_INS.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}")
        (folder / name).chmod(0o755)
    (folder / "seen").mkdir()
    (folder / "seen" / "sbatch").touch()
    monkeypatch.setattr(sys, "executable", str(folder / "program"))
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("STUB_DIR", str(folder / "seen"))
    return folder / "seen"


@pytest.fixture
def out(tmp_path):
    return tmp_path / SPECIAL


@pytest.fixture
def slurm(cli, study, out):
    """`slurm(option, ...)` on the study."""
    return lambda *options: cli("slurm", study.bids, out, "--atlas", study.atlas, *options)


def scripts(out: Path) -> Path:
    return out / "code" / "slurm"


def started(script: Path, *words: str, task: int = 1, **environment: str) -> subprocess.Popen[bytes]:
    slurm = {"SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": str(task), "SLURM_JOB_ID": "71"}
    return subprocess.Popen(
        ["bash", str(script), *words], env={**os.environ, **slurm, **environment}, stderr=subprocess.PIPE
    )


def outcome(process: subprocess.Popen[bytes], seen: Path) -> Ran:
    process.communicate(timeout=30)
    words = (seen / "words").read_text().split("\0")[:-1] if (seen / "words").exists() else []
    told = (seen / "scontrol").read_text().splitlines() if (seen / "scontrol").exists() else []
    return Ran(process.returncode, words, [line.removeprefix("requeue ") for line in told if line.startswith("req")])


def run(script: Path, seen: Path, *words: str, task: int = 1, **environment: str) -> Ran:
    return outcome(started(script, *words, task=task, **environment), seen)


# Validation


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (("--formula", "value ~ agee"), 65, ("agee", "age")),
        (("--formula", "value ~ group", "--contrast", "a: group[nobody]=1"), 65, ("group[nobody]",)),
        (("--participant-label", "77"), 18, ("--participant-label", "77")),
        (("--bundle", "Nope"), 18, ("--bundle Nope", "AFL")),
        (("--min-points", "0"), 2, ("--min-points",)),
        (("--no-such-option",), 2, ("--no-such-option",)),
        (("--dry-run",), 2, ("--dry-run",)),
        (("--dask-scheduler", "tcp://a:1"), 2, ("--dask-scheduler",)),
        (("--script-dir", "{bids}/code"), 2, ("--script-dir", "BIDS_DIR")),
        (("--sbatch", "a b"), 2, ("--sbatch", "'a b'")),
        (("--sbatch", "qos=a\n#SBATCH --uid=0"), 2, ("--sbatch",)),
        (("--time", "1:00 --uid=0"), 2, ("--time",)),
        (("--array-size", "0"), 2, ("--array-size", "0")),
        (("--max-running", "0"), 2, ("--max-running", "0")),
        (("--restarts", "-1"), 2, ("--restarts", "-1")),
        (("--cpus-per-task", "0"), 2, ("--cpus-per-task", "0")),
        (("--container", "nowhere.sif"), 66, ("--container", "nowhere.sif")),
    ],
)
def test_what_a_job_would_end_with_is_said_before_there_is_a_job(options, status, words, slurm, study, out):
    ended = slurm(*(o.format(bids=study.bids) for o in options))
    assert ended.status == status, ended.err
    assert all(word in ended.err for word in words), ended.err
    assert not out.exists()


def test_no_atlas_is_said_before_there_is_a_job(cli, study, out, monkeypatch):
    monkeypatch.delenv("SPECTRA_BIDS_ATLAS", raising=False)
    assert cli("slurm", study.bids, out).status == 66


@pytest.mark.parametrize("words", [(), ("{bids}",), ("--submit", "{bids}", "{out}"), ("{bids}", "--submit", "{out}")])
def test_both_folders_come_first(words, cli, study, out):
    ended = cli("slurm", *(w.format(bids=study.bids, out=out) for w in words))
    assert ended.status == 2
    assert "BIDS_DIR and OUTPUT_DIR come first" in ended.err


def test_without_slurm_the_scripts_are_there_and_the_message_says_so(slurm, out, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    ended = slurm("--submit")
    assert ended.status == 66
    assert f"bash {scripts(out) / 'submit.sh'}" in ended.err
    assert (scripts(out) / "participant.sh").is_file()


# What is written


def test_lists_hold_subjects_and_bundles_and_the_input_is_left_alone(slurm, study, out, tree):
    before = tree(study.bids, logs=True)
    ended = slurm(
        *MODEL,
        "--participant-label",
        "02",
        "sub-05",
        "07",
        "08",
        "09",
        "10",
        "--bundle",
        "CST_R",
        "Arcuate_Fasciculus_L",
    )
    assert ended.status == 0, ended.err
    assert next(scripts(out).glob("participants-*.txt")).read_text() == "02\n05\n07\n08\n09\n10\n"
    assert next(scripts(out).glob("bundles-*.txt")).read_text() == "AFL\nCSTR\n"
    assert {p.name for p in scripts(out).glob("*.sh")} == {
        "participant.sh", "model-groupAge_map.sh", "model-groupAge_reduce.sh", "submit.sh",
    }  # fmt: skip
    assert (out / "logs" / "slurm").is_dir()
    assert tree(study.bids, logs=True) == before


def test_a_list_that_waiting_jobs_read_is_never_changed(slurm, out):
    slurm("--participant-label", "02")
    first = {p: p.read_bytes() for p in scripts(out).glob("*.txt")}
    slurm("--participant-label", "03")
    assert all(p.read_bytes() == content for p, content in first.items())
    assert len(list(scripts(out).glob("participants-*.txt"))) == 2


def test_without_a_model_there_is_the_participant_array_alone(slurm, out):
    assert "12 subjects" in slurm().out
    assert {p.name for p in scripts(out).glob("*.sh")} == {"participant.sh", "submit.sh"}
    assert not list(scripts(out).glob("bundles-*"))


def test_the_same_call_writes_the_same_bytes(slurm, out, tree):
    slurm(*MODEL)
    before = tree(out, logs=True)
    slurm(*MODEL)
    assert tree(out, logs=True) == before


def test_resources_stand_in_every_script_and_those_of_a_stage_in_its_own(slurm, out):
    slurm(
        *(*MODEL, "--time", "1:30:00", "--mem", "1.5G", "--n-procs", "2", "--partition", "short", "--account", "lab"),
        *("--sbatch", "reduce:mem=32G", "--sbatch", "qos=long", "--sbatch", "--comment=a b", "--max-running", "5"),
    )
    for script in ("participant", "model-groupAge_map", "model-groupAge_reduce"):
        lines = (scripts(out) / f"{script}.sh").read_text().splitlines()
        wanted = ["time=1:30:00", "mem=1536M", "cpus-per-task=2", "partition=short", "account=lab", "qos=long"]
        wanted += ["comment='a b'", "requeue", "signal=B:TERM@60", "open-mode=append"]
        assert all(f"#SBATCH --{option}" in lines for option in wanted), lines
        assert ("#SBATCH --mem=32G" in lines) == script.endswith("reduce")
        assert any(line.startswith("#SBATCH --array=") for line in lines) != script.endswith("reduce")
    assert "#SBATCH --array=1-12%5" in (scripts(out) / "participant.sh").read_text()


@pytest.mark.parametrize(
    ("arrays", "n", "pieces"),
    [
        (Arrays(), 12, [(0, "1-12")]),
        (Arrays(running=4), 12, [(0, "1-12%4")]),
        (Arrays(size=1000), 2001, [(0, "1-1000"), (1000, "1-1000"), (2000, "1-1")]),
        (Arrays(running=5, size=1000), 2000, [(0, "1-1000%2"), (1000, "1-1000%2")]),
        (Arrays(running=1, size=2), 5, [(0, "1-2%1"), (2, "1-2%1"), (4, "1-1%1")]),
    ],
)
def test_a_list_longer_than_an_array_is_cut_and_the_limit_shared(arrays, n, pieces):
    assert arrays.pieces(n) == pieces


@pytest.mark.parametrize("options", [MODEL, (*MODEL, "--container", "docker://x/y", "--array-size", "5"), ()])
def test_scripts_are_clean_to_bash_and_shellcheck(options, cli, study, tmp_path):
    out = tmp_path / "an out"
    assert cli("slurm", study.bids, out, "--atlas", study.atlas, *options, "--contrast", CONTRAST).status == 0
    files = sorted(map(str, scripts(out).glob("*.sh")))
    for file in files:
        subprocess.run(["bash", "-n", file], check=True)
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if shellcheck is None:
        pytest.skip("shellcheck is absent; `scripts/setup.sh test` installs it")
    done = subprocess.run([shellcheck, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


# What the scripts run


def test_each_task_runs_its_own_item_with_the_options_as_they_were_given(stubs, slurm, study, out, tmp_path):
    given = ["--scalars", "wm", "--min-points", "7", "--registration", "none", "-s", "4", "--force", "-vv",
             "--formula", "value ~ group + age", "--contrast", CONTRAST, "--alpha-cell", "0.05", "0.2",
             "--min-subjects", "11", "--allow-partial", "--mem", "2G", "-w", str(tmp_path / "w")]  # fmt: skip
    assert slurm(*given, "--cpus-per-task", "3").status == 0
    wanted = vars(parse([str(study.bids), str(out), "participant", "--atlas", str(study.atlas), *given]))
    seen = {}
    for script, task in (("participant", 5), ("model-groupAge_map", 2), ("model-groupAge_reduce", 0)):
        ran = run(scripts(out) / f"{script}.sh", stubs, task=task, SLURM_CPUS_PER_TASK="3")
        assert ran.status == 0
        assert ran.words[:2] == ["-m", "spectra_bids"]
        seen[script] = vars(parse(ran.words[2:]))
    both = ["bids_dir", "output_dir", "scalars", "force", "verbose", "mem", "work_dir"]
    only = {"participant": ["atlas", "min_points", "registration", "s_len"]}
    only["model-groupAge_map"] = ["formula", "contrast", "alpha_cell", "min_subjects", "allow_partial"]
    only["model-groupAge_reduce"] = only["model-groupAge_map"]
    for script, options in seen.items():
        assert {k: options[k] for k in (*both, *only[script])} == {k: wanted[k] for k in (*both, *only[script])}
        assert options["n_procs"] == 3
        assert options["analysis_level"] == ("participant" if script == "participant" else "group")
    assert seen["participant"]["participant_label"] == ["05"]
    assert seen["model-groupAge_map"]["bundle"] == ["CCForcepsMajor"]
    assert seen["model-groupAge_reduce"]["bundle"] == []
    assert not list(tmp_path.rglob("trap"))
    assert not Path("trap").exists()


def test_the_group_level_is_of_the_chosen_people_and_the_reduce_job_of_all_bundles(stubs, slurm, out):
    chosen = [f"{i:02d}" for i in range(1, 7)]
    slurm(*MODEL, "--participant-label", *chosen, "--bundle", "CSTR", "--n-procs", "2")
    options = {}
    for script in ("participant", "model-groupAge_map", "model-groupAge_reduce"):
        options[script] = vars(parse(run(scripts(out) / f"{script}.sh", stubs).words[2:]))
    assert [o["participant_label"] for o in options.values()] == [["01"], chosen, chosen]
    assert [o["bundle"] for o in options.values()] == [["CSTR"], ["CSTR"], []]
    assert options["model-groupAge_map"]["allow_partial"]  # a bundle that nobody has is for the reduce job to judge


def test_relative_paths_and_a_configuration_file_are_resolved_where_the_call_is_made(
    stubs, cli, study, tmp_path, monkeypatch
):
    monkeypatch.chdir(study.bids.parent)
    monkeypatch.setenv("SPECTRA_BIDS_ATLAS", "atlas")
    config = tmp_path / "run.toml"
    config.write_text("min_points = 9\nbundle = ['CSTR']\nalpha = 0.01\n")
    out = tmp_path / "o"
    relative = os.path.relpath(out)
    derivatives = "demo=bids/derivatives/demo"
    ended = cli("slurm", "bids", relative, *MODEL, "-d", derivatives, "--config-file", config, "--design",
                "bids/participants.tsv")  # fmt: skip
    assert ended.status == 0, ended.err
    monkeypatch.chdir("/")
    words = run(scripts(out) / "participant.sh", stubs).words[2:]
    options = vars(parse(words))
    assert options["bids_dir"] == study.bids
    assert options["output_dir"] == out
    assert options["derivatives"] == [f"demo={study.bids}/derivatives/demo"]
    assert options["atlas"] == str(study.atlas)
    assert (options["min_points"], options["bundle"], options["config_file"]) == (9, ["CSTR"], None)
    group = vars(parse(run(scripts(out) / "model-groupAge_reduce.sh", stubs).words[2:]))
    assert (group["design"], group["alpha"], group["bundle"]) == (study.bids / "participants.tsv", 0.01, [])


def test_the_second_array_of_a_long_list_goes_on_where_the_first_ended(stubs, slurm, out):
    slurm("--array-size", "5")
    assert vars(parse(run(scripts(out) / "participant.sh", stubs, "5", task=3).words[2:]))["participant_label"] == [
        "08"
    ]


def test_a_task_beyond_the_list_runs_nothing(stubs, slurm, out):
    slurm()
    assert run(scripts(out) / "participant.sh", stubs, "12") == Ran(66, [], [])


def test_in_a_container_only_outputs_are_writable_and_scratch_goes_away(stubs, slurm, study, out, tmp_path):
    image = tmp_path / "spectra bids.sif"
    image.touch()
    slurm(*MODEL, "--container", image, "--container-option=--nv", "-w", tmp_path / "w", "--design",
          study.bids / "participants.tsv", "-d", f"demo={study.bids}/derivatives/demo")  # fmt: skip
    ran = run(scripts(out) / "participant.sh", stubs, task=4)
    assert ran.status == 0
    options, arguments = (ran.words[: (at := ran.words.index(str(image)))], ran.words[at + 1 :])
    scratch = (stubs / "scratch").read_text().strip()
    assert options[:6] == ["run", "--containall", "--cleanenv", "--no-home", "--workdir", scratch]
    assert not Path(scratch).exists()
    binds = [value for flag, value in pairwise(options) if flag == "-B"]
    assert sorted(binds) == sorted(
        [
            f"{study.bids}:{study.bids}:ro",
            f"{study.atlas}:{study.atlas}:ro",
            f"{out}:{out}",
            f"{tmp_path}/w:{tmp_path}/w",
        ]
    )
    assert "--nv" in options
    assert vars(parse(arguments))["participant_label"] == ["04"]


def test_a_path_that_apptainer_cannot_bind_is_refused(cli, study, tmp_path):
    ended = cli("slurm", study.bids, tmp_path / "a:b", "--atlas", study.atlas, "--container", "docker://x")
    assert ended.status == 2
    assert "a:b" in ended.err


# What the scripts do about 75


@pytest.mark.parametrize(
    ("environment", "status", "requeued"),
    [
        ({"STUB_STATUS": "75"}, 75, ["70_1"]),
        ({"STUB_STATUS": "75", "SLURM_RESTART_COUNT": "2"}, 75, ["70_1"]),
        ({"STUB_STATUS": "75", "SLURM_RESTART_COUNT": "3"}, 75, []),
        ({"STUB_STATUS": "75", "STUB_STATE": "CANCELLED"}, 75, []),
        ({"STUB_STATUS": "1"}, 1, []),
        ({"STUB_STATUS": "66"}, 66, []),
        ({}, 0, []),
    ],
)
def test_75_puts_a_task_back_into_the_queue_some_times(environment, status, requeued, stubs, slurm, out):
    slurm()
    ran = run(scripts(out) / "participant.sh", stubs, **environment)
    assert (ran.status, ran.requeued) == (status, requeued)


def test_a_single_job_goes_back_under_its_own_id(stubs, slurm, out):
    slurm(*MODEL)
    assert run(scripts(out) / "model-groupAge_reduce.sh", stubs, STUB_STATUS="75").requeued == ["71"]


def test_with_no_restarts_a_task_stays_as_it_ended(stubs, slurm, out):
    slurm("--restarts", "0")
    assert run(scripts(out) / "participant.sh", stubs, STUB_STATUS="75") == Ran(
        75, run(scripts(out) / "participant.sh", stubs).words, []
    )


@pytest.mark.parametrize("answer", ["STUB_WAIT", "STUB_DEAF"], ids=["answered with 75", "too early to be answered"])
def test_sigterm_reaches_the_program_and_the_task_goes_back(answer, stubs, slurm, out):
    slurm()
    process = started(scripts(out) / "participant.sh", **{answer: "1"})
    end = time.monotonic() + 20
    while not (stubs / "ready").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    ran = outcome(process, stubs)
    assert (ran.status, ran.requeued) == (75, ["70_1"])


# Submission


def test_jobs_are_submitted_with_their_dependencies_and_the_ids_printed(stubs, slurm, out):
    ended = slurm(*MODEL, "--submit", "--array-size", "10")
    assert ended.status == 0, ended.err
    assert [line.split("\t") for line in ended.out.splitlines() if "\t" in line] == [
        ["participant", "1"], ["participant", "2"], ["map", "3"], ["reduce", "4"],
    ]  # fmt: skip
    at, invalid = scripts(out), "--kill-on-invalid-dep=yes"
    assert (stubs / "sbatch").read_text().splitlines() == [
        f"--parsable --array=1-10 {at}/participant.sh 0",
        f"--parsable --array=1-2 {at}/participant.sh 10",
        f"--parsable --dependency=afterok:1:2 {invalid} --array=1-3 {at}/model-groupAge_map.sh 0",
        f"--parsable --dependency=afterany:3,afterok:1:2 {invalid} {at}/model-groupAge_reduce.sh",
    ]


def test_with_allow_failures_the_group_level_waits_but_does_not_ask(stubs, slurm):
    slurm(*MODEL, "--submit", "--allow-failures")
    lines = (stubs / "sbatch").read_text()
    assert "afterok" not in lines
    assert "--dependency=afterany:1 " in lines
    assert "--dependency=afterany:2 " in lines


def test_a_job_that_is_refused_takes_back_the_others(stubs, slurm, monkeypatch):
    monkeypatch.setenv("STUB_LIMIT", "2")
    ended = slurm(*MODEL, "--submit")
    assert ended.status == 1
    assert "Invalid qos" in ended.err
    assert "Traceback" not in ended.err
    assert (stubs / "scancel").read_text() == "1 2\n"


def test_help_says_what_is_passed_on(shell):
    ended = shell("slurm", "--help")
    assert ended.status == 0
    for word in ("--submit", "--container", "--sbatch", "--allow-failures", "spectra-bids --help"):
        assert word in ended.out
    code = (
        "import sys, json; from spectra_bids.cli import main\ntry: main(['slurm', '--help'])\nexcept SystemExit: pass\n"
    )
    heavy = "print('\\n' + json.dumps([m for m in ('numpy', 'pandas', 'bids', 'distributed') if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code + heavy], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []


# The recipes

DOCUMENT = (Path(__file__).parent.parent / "docs" / "clusters.md").read_text()


def options_of(parser) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings}


def test_recipes_use_options_that_exist():
    known = {"app": options_of(make_parser()), "slurm": options_of(make_parser()) | options_of(slurm_parser())}
    blocks = re.findall(r"^```\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    joined = "".join(blocks).replace("\\\n", " ")
    commands = [line for line in joined.splitlines() if re.match(r"spectra-bids |apptainer run", line)]
    assert len(commands) >= 4
    for command in commands:
        words = re.sub(r"#.*", "", command.partition(".sif")[2] or command)
        tool = "slurm" if command.startswith("spectra-bids slurm") else "app"
        used = set(re.findall(r"(?<=\s)--?[a-z][a-z-]*", words))
        assert used
        assert used <= known[tool], command
    inline = set(re.findall(r"`(--[a-z][a-z-]*)", DOCUMENT))
    assert inline <= known["slurm"] | {"--nthreads"}


def test_the_invocation_for_nipoppy_uses_inputs_of_the_descriptor():
    invocation = json.loads(re.findall(r"^```json\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)[0])
    inputs = {entry["id"]: entry for entry in describe(make_parser())["inputs"]}
    assert invocation.keys() <= inputs.keys()
    for name, value in invocation.items():
        assert isinstance(value, list) == bool(inputs[name].get("list"))
        assert isinstance(value, int) == (inputs[name]["type"] == "Number")


def test_the_configuration_for_babs_uses_options_that_exist():
    block = re.search(r"^bids_app_args:\n(.*?)^\S", DOCUMENT, re.MULTILINE | re.DOTALL)[1]
    used = re.findall(r"^  (-[^:]+):", block, re.MULTILINE)
    assert len(used) == 4
    assert set(used) <= options_of(make_parser())


# A subject's clone, as BABS makes it


def clone_of(study, label: str, folder: Path) -> Path:
    """A data set with the files of one subject and what belongs to all, participants.tsv with everybody's rows."""
    for source, name in ((study.bids, "BIDS"), (study.bids / "derivatives" / "demo", "demo")):
        others = shutil.ignore_patterns("derivatives", *(f"sub-{i:02d}" for i in range(1, 13) if f"{i:02d}" != label))
        shutil.copytree(source, folder / "inputs" / "data" / name, ignore=others)
    return folder


def run_clone(shell, study, label: str, folder: Path, monkeypatch) -> Path:
    """Run the subject as BABS does, from its folder; the output folder."""
    monkeypatch.chdir(clone_of(study, label, folder))
    ended = shell(
        *(
            "inputs/data/BIDS",
            "outputs/spectra",
            "participant",
            "--participant-label",
            f"sub-{label}",
            "--n-procs",
            "1",
        ),
        *("-d", "demo=inputs/data/demo", "--atlas", study.atlas, "-w", "work"),
    )
    assert (ended.status, ended.err) == (0, "")
    return folder / "outputs" / "spectra"


def test_a_clone_that_holds_one_subject_is_all_that_a_job_needs(shell, study, tmp_path, tree, monkeypatch):
    """Two jobs' outputs laid over each other are those of a run over both, as the recipe for BABS says."""
    made = [tree(run_clone(shell, study, label, tmp_path / f"job-{label}", monkeypatch)) for label in ("01", "02")]
    shared = made[0].keys() & made[1].keys()
    assert {"dataset_description.json", "descriptions.tsv", "README.md"} <= shared
    assert any(name.startswith("atlas/") for name in shared)
    assert {name: made[0][name] for name in shared} == {name: made[1][name] for name in shared}
    alone = [sorted(m.keys() - shared) for m in made]
    assert all(
        name.startswith(f"sub-{label}") for names, label in zip(alone, ("01", "02"), strict=True) for name in names
    )
    for label, files in zip(("01", "02"), made, strict=True):
        tables = [name for name in files if name.endswith("_tractometry.tsv")]
        assert len(tables) == 3
        assert {name: files[name] for name in tables} == {name: (study.out / name).read_bytes() for name in tables}
        assert f"sub-{label}.html" in files


def test_a_subject_whose_files_are_not_in_the_clone_is_named(cli, study, tmp_path):
    bids = clone_of(study, "01", tmp_path) / "inputs" / "data" / "BIDS"
    derivatives = f"demo={tmp_path / 'inputs' / 'data' / 'demo'}"
    words = ("participant", "--participant-label", "sub-02", "-d", derivatives, "--atlas", study.atlas)
    ended = cli(bids, tmp_path / "out", *words)
    assert ended.status == 18, ended.err
    assert "--participant-label" in ended.err
    assert "02" in ended.err
