"""`spectra-bids slurm BIDS_DIR OUTPUT_DIR ...`: a study as Slurm jobs.

    OUT/code/slurm/   the scripts (slurm_scripts.py) and the lists of subjects and bundles that they read
    OUT/logs/slurm/   what the jobs say

The options are those of the BIDS-App, read by its own parser and held against the data before anything is submitted.
Lists carry a checksum in their name: another call never changes the list of jobs that are waiting.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from spectra_bids.cli.app import group_settings, make_parser, parse, participant_settings, run_settings
from spectra_bids.cli.slurm_scripts import Arrays, Container, Job, Resources, script, submission
from spectra_bids.errors import MissingInputError, SpectraError, UsageError
from spectra_bids.settings import ParticipantSettings, RunSettings

_STAGES = ("participant", "map", "reduce")
#: Options that the jobs set themselves, or that have been taken in already.
_OURS = ("participant_label", "bundle", "n_procs", "config_file")
_SENSELESS = ("dry_run", "reports_only", "dask_scheduler")


def slurm(arguments: Sequence[str]) -> int:
    """`spectra-bids slurm BIDS_DIR OUTPUT_DIR ...`."""
    parser = _parser()
    if not {"-h", "--help"} & set(arguments) and (len(arguments) < 2 or any(a.startswith("-") for a in arguments[:2])):
        parser.error("BIDS_DIR and OUTPUT_DIR come first")
    chosen, words = parser.parse_known_args(list(arguments))
    plan = make_plan(chosen, words)
    for path, text in plan.files.items():
        _write(path, text)
    plan.logs.mkdir(parents=True, exist_ok=True)
    print(f"{plan.summary}\nScripts: {plan.submit.parent}", flush=True)
    if not chosen.submit:
        print(f"Submit them: bash {plan.submit}")
        return 0
    return _submit(plan.submit)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spectra-bids slurm",
        usage="spectra-bids slurm BIDS_DIR OUTPUT_DIR [options below] [options of spectra-bids --help]",
        description="Write, and with --submit hand to Slurm: an array with one subject per task, an array with one "
        "bundle per task that fits the models, and a job that corrects over all and reports. Without --formula or "
        "--model only the first. A task that ends with 75 (time limit, preemption) goes back into the queue.",
        allow_abbrev=False,
    )
    parser.add_argument("bids_dir", type=Path, help="root of the BIDS data set")
    parser.add_argument("output_dir", type=Path, help="where outputs go")
    parser.add_argument("--submit", action="store_true", help="run sbatch and print the job ids")
    parser.add_argument(
        "--script-dir", type=Path, metavar="DIR", help="where scripts go (OUTPUT_DIR/code/slurm), not in BIDS_DIR"
    )
    parser.add_argument("--time", metavar="TIME", help="limit of a job, such as 2:00:00; default the partition's")
    parser.add_argument("--cpus-per-task", type=int, metavar="N", help="cores of a job; default --n-procs, else 1")
    parser.add_argument("--partition", metavar="NAME", help="partition of the cluster")
    parser.add_argument("--account", metavar="NAME", help="account to charge")
    parser.add_argument(
        "--sbatch",
        action="append",
        default=[],
        metavar="[STAGE:]NAME=VALUE",
        help="further option of sbatch, for all jobs or those of a stage (participant, map, reduce): qos=long, "
        "reduce:mem=32G; may be repeated",
    )
    parser.add_argument("--max-running", type=int, metavar="N", help="tasks of an array that run at a time")
    parser.add_argument(
        "--array-size",
        type=int,
        default=1000,
        metavar="N",
        help="longest array of the cluster, MaxArraySize - 1 (1000)",
    )
    parser.add_argument("--restarts", type=int, default=3, metavar="N", help="times that a task may be run again (3)")
    parser.add_argument(
        "--allow-failures", action="store_true", help="group level goes on without subjects whose task failed"
    )
    parser.add_argument("--container", metavar="IMAGE", help="run by apptainer in this image: a .sif file or a URI")
    parser.add_argument(
        "--container-option", action="append", default=[], metavar="OPTION", help="further option of apptainer run"
    )
    return parser


@dataclass(frozen=True)
class Plan:
    """Files to write, submit.sh among them; where the jobs' messages go; a summary in words."""

    files: dict[Path, str]
    submit: Path
    logs: Path
    summary: str


def make_plan(chosen: argparse.Namespace, words: Sequence[str]) -> Plan:
    """Check everything that can be checked before a job waits in a queue, and write the texts.

    Parameters
    ----------
    chosen : Namespace
        Options of this tool.
    words : sequence of str
        The others, for the BIDS-App.

    Raises
    ------
    SpectraError
        Whatever the jobs would have ended with at once.

    """
    places = [os.path.abspath(chosen.bids_dir), os.path.abspath(chosen.output_dir)]
    options = parse([*places, "participant", *words])
    for name in _SENSELESS:
        if getattr(options, name):
            raise UsageError(f"--{name.replace('_', '-')} makes no sense in a job", "Leave it out")
    run = run_settings(options, words, "")
    settings = participant_settings(options, run)
    options.atlas = str(settings.atlas)
    _make_absolute(options)
    folder = _script_dir(chosen, run)
    subjects, bundles = _subjects(run), _bundles(settings)
    lists = {_listed(folder, name, items): items for name, items in (("participants", subjects), ("bundles", bundles))}
    people, tracts = lists
    program = (sys.executable, "-m", "spectra_bids")
    jobs = [
        Job("participant", "one subject per task", program, _words(options, "participant", bundle=True),
            "subject", "--participant-label", people, len(subjects)),
    ]  # fmt: skip
    scripts = [folder / "participant.sh"]
    name = _model_name(options, run, subjects)
    if name:
        group = _words(options, "group", participants=True)
        jobs += [
            Job("map", f"model {name}, one bundle per task", program, (*group, "--allow-partial"),
                "bundle", "--bundle", tracts, len(bundles)),
            Job("reduce", f"model {name}, all bundles", program, group),
        ]  # fmt: skip
        scripts += [folder / f"model-{name}_map.sh", folder / f"model-{name}_reduce.sh"]
    arrays = Arrays(
        None if chosen.max_running is None else _at_least(1, chosen.max_running, "--max-running"),
        _at_least(1, chosen.array_size, "--array-size"),
        _at_least(0, chosen.restarts, "--restarts"),
    )
    resources, container = _resources(chosen, options, run), _container(chosen, options, settings)
    logs = Path(places[1]) / "logs" / "slurm"
    files = {path: "".join(f"{item}\n" for item in items) for path, items in lists.items()}
    if not name:
        del files[tracts]
    files |= {path: script(job, resources, container, logs, arrays) for job, path in zip(jobs, scripts, strict=True)}
    submit = folder / "submit.sh"
    files[submit] = submission(list(zip(jobs, scripts, strict=True)), arrays, chosen.allow_failures)
    summary = f"{len(subjects)} subjects, one per task"
    if name:
        summary += f"; model {name}: {len(bundles)} bundles, one per task, then all together"
    return Plan(files, submit, logs, summary)


def _at_least(least: int, value: int, flag: str) -> int:
    if value < least:
        raise UsageError(f"{flag} must be at least {least}. Got {value}")
    return value


def _script_dir(chosen: argparse.Namespace, run: RunSettings) -> Path:
    """Absolute folder of the scripts, in OUT/code unless named; never in BIDS_DIR."""
    if chosen.script_dir is None:
        return Path(run.output_dir) / "code" / "slurm"
    folder = Path(os.path.abspath(chosen.script_dir))
    bids, out = Path(run.bids_dir).resolve(), Path(run.output_dir).resolve()
    if folder.resolve().is_relative_to(bids) and not folder.resolve().is_relative_to(out):
        raise UsageError(f"--script-dir must not lie in BIDS_DIR. Got {folder}")
    return folder


def _subjects(run: RunSettings) -> list[str]:
    from spectra_bids.dataset.inputs import find_sessions

    return list(dict.fromkeys(subject for subject, _ in find_sessions(run)))


def _bundles(settings: ParticipantSettings) -> list[str]:
    from spectra_bids.dataset.atlases import read_atlas
    from spectra_bids.participant import wanted_bundles

    return wanted_bundles(settings, read_atlas(settings.atlas))


def _listed(folder: Path, name: str, items: Iterable[str]) -> Path:
    """Path of a list, which changes with its content."""
    digest = hashlib.sha256("\n".join(items).encode()).hexdigest()[:12]
    return folder / f"{name}-{digest}.txt"


def _model_name(options: argparse.Namespace, run: RunSettings, subjects: Sequence[str]) -> str:
    """Name of the model, which is tried on the people there will be; empty if there is none."""
    settings = group_settings(options, run)
    if not settings.formula and settings.model_file is None:
        return ""
    import pandas as pd

    from spectra_bids.dataset.inputs import find_sessions
    from spectra_bids.group.model import make_model

    pairs = [(f"sub-{sub}", None if ses is None else f"ses-{ses}") for sub, ses in find_sessions(run)]
    return make_model(settings, pd.DataFrame(pairs, columns=["participant_id", "session_id"])).name


def _make_absolute(options: argparse.Namespace) -> None:
    """Paths in the options as seen from anywhere: jobs start in other folders."""
    for name, value in vars(options).items():
        if isinstance(value, Path):
            setattr(options, name, Path(os.path.abspath(value)))
    options.atlas = os.path.abspath(options.atlas)
    named = (text.rpartition("=") for text in options.derivatives)
    options.derivatives = [f"{name}{sep}{os.path.abspath(path)}" for name, sep, path in named]
    options.contrast = [os.path.abspath(text) if _is_file(text) else text for text in options.contrast]


def _is_file(contrast: str) -> bool:
    return "=" not in contrast and Path(contrast).is_file()


def _words(
    options: argparse.Namespace, level: str, *, participants: bool = False, bundle: bool = False
) -> tuple[str, ...]:
    """The command line of a level that says what the options say; what is at its default is left out."""
    parser = make_parser()
    words = [str(options.bids_dir), str(options.output_dir), level]
    other = {"participant": "(group)", "group": "(participant)"}[level]
    left_out = {a.dest for g in parser._action_groups if (g.title or "").endswith(other) for a in g._group_actions}
    left_out |= {*_OURS} - ({"participant_label"} if participants else set()) - ({"bundle"} if bundle else set())
    for action in parser._actions:
        value = getattr(options, action.dest, None)
        if not action.option_strings or action.dest in left_out or value in (None, action.default):
            continue
        flag = next((o for o in action.option_strings if o.startswith("--")), action.option_strings[0])
        if isinstance(value, bool):
            words.append(flag)
        elif action.nargs == 0:
            words += [flag] * int(value)
        elif isinstance(value, list):
            words += [flag, *map(str, value)]
        else:
            # A value that begins with a dash would be taken for an option.
            words += [f"{flag}={value}"] if str(value).startswith("-") else [flag, str(value)]
    return tuple(words)


def _resources(chosen: argparse.Namespace, options: argparse.Namespace, run: RunSettings) -> Resources:
    further = []
    for text in chosen.sbatch:
        stage, sep, option = text.partition(":")
        if not sep or stage not in _STAGES:
            stage, option = "", text
        option = option.lstrip("-")
        if not re.fullmatch(r"[a-z][a-z-]*(=[^\n]+)?", option):
            raise UsageError(f"--sbatch takes NAME=VALUE, or STAGE:NAME=VALUE with {', '.join(_STAGES)}. Got {text!r}")
        further.append((stage, option))
    for flag in ("time", "partition", "account"):
        if (value := getattr(chosen, flag)) is not None and not re.fullmatch(r"\S+", value):
            raise UsageError(f"--{flag} must be one word. Got {value!r}")
    cpus = chosen.cpus_per_task if chosen.cpus_per_task is not None else options.n_procs or 1
    mem_mb = None if run.mem_gb is None else math.ceil(run.mem_gb * 1024)
    return Resources(
        chosen.time,
        mem_mb,
        _at_least(1, cpus, "--cpus-per-task"),
        chosen.partition,
        chosen.account,
        tuple(further),
    )


def _container(
    chosen: argparse.Namespace, options: argparse.Namespace, settings: ParticipantSettings
) -> Container | None:
    """The image and everything that the options name, bound under its own path; only outputs are writable."""
    if chosen.container is None:
        return None
    image = chosen.container
    if "://" not in image:
        image = os.path.abspath(image)
        if not Path(image).exists():
            raise MissingInputError(
                f"--container {image} does not exist", "Name a .sif file, or a URI such as docker://"
            )
    read = [options.bids_dir, settings.atlas, options.design, options.model, options.bids_filter_file]
    read += [text.rpartition("=")[2] for text in options.derivatives]
    read += [text for text in options.contrast if _is_file(text)]
    write = [options.output_dir, options.work_dir, options.bids_database_dir]
    wanted = {Path(os.path.abspath(p)): False for p in read if p is not None}
    wanted |= {Path(os.path.abspath(p)): True for p in write if p is not None}
    odd = [str(p) for p in wanted if re.search(r"[:,]", str(p))]
    if odd:
        raise UsageError(f"apptainer cannot bind a path with ':' or ','. Got {odd[0]}", "Use a symbolic link without")
    # What lies in a folder that is bound already need not be bound again, unless it is to be writable.
    inner = {p for p, rw in wanted.items() if not rw and any(q in p.parents for q in wanted)}
    binds = tuple((p, rw) for p, rw in wanted.items() if p not in inner)
    return Container(image, binds, tuple(chosen.container_option))


def _write(path: Path, text: str) -> None:
    from spectra_bids.dataset.outputs import write_text

    write_text(path, text)


def _submit(path: Path) -> int:
    """Run submit.sh; its lines, stage and job id, go to standard output."""
    if shutil.which("sbatch") is None:
        raise MissingInputError("--submit: there is no sbatch here", f"On a machine that has it: bash {path}")
    done = subprocess.run(["bash", str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SpectraError(f"sbatch refused: {done.stderr.strip()}", "Nothing of this study is left in the queue")
    print(done.stdout, end="")
    return 0
