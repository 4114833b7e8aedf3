"""Texts of the batch scripts that `spectra-bids slurm` writes: bash, one job each, readable by who has to mend them.

    participant.sh            array, one subject per task
    model-<name>_map.sh       array, one bundle per task: `group --bundle X`
    model-<name>_reduce.sh    `group`: fits what is missing, corrects over all, reports
    submit.sh                 submits them with their dependencies and prints the job ids

A program that ends with 75 wants to be run again. SIGTERM reaches bash (a minute before the time limit, by --signal),
which hands it on, waits, and puts its own task back into the queue.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

#: Seconds between SIGTERM and the time limit.
GRACE = 60

_TAIL = """
# 75 says "run again": SIGTERM (time limit, preemption) or a full disk. What is done is kept.
"${{job[@]}}" &
child=$!
trap 'kill -TERM "$child" 2>/dev/null' TERM
while true; do # a signal cuts wait short
  wait "$child"
  status=$?
  kill -0 "$child" 2>/dev/null || break
done
if [ "$status" -eq 143 ]; then
  status=75 # SIGTERM came before the program was there to answer it
fi
restarts=${{SLURM_RESTART_COUNT:-0}}
# A task that was cancelled is not RUNNING any more, and stays cancelled.
if [ "$status" -eq 75 ] && [ "$restarts" -lt {restarts} ] &&
  scontrol show job -o "$task" | grep -q ' JobState=RUNNING '; then
  echo "ended with 75: back into the queue, restart $((restarts + 1)) of {restarts}" >&2
  scontrol requeue "$task"
fi
exit "$status"
"""


@dataclass(frozen=True)
class Resources:
    """What every job asks for; `sbatch` are further options, (stage or "", "name=value")."""

    time: str | None = None
    mem_mb: int | None = None
    cpus: int = 1
    partition: str | None = None
    account: str | None = None
    sbatch: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Arrays:
    """How lists become arrays: tasks at a time (None: as many as Slurm allows), items per array, restarts of a task."""

    running: int | None = None
    size: int = 1000
    restarts: int = 3

    def pieces(self, n: int) -> list[tuple[int, str]]:
        """(items before it, --array) of every array that a list of n items is cut into."""
        cut = math.ceil(n / self.size)
        limit = "" if self.running is None else f"%{max(1, self.running // cut)}"
        return [(k * self.size, f"1-{min(self.size, n - k * self.size)}{limit}") for k in range(cut)]


@dataclass(frozen=True)
class Container:
    """An image, what is bound into it as (path, writable), and further options of apptainer."""

    image: str
    binds: tuple[tuple[Path, bool], ...]
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """One script.

    Parameters
    ----------
    stage : str
        participant, map or reduce.
    what : str
        One line about it.
    program : tuple of str
        How the program is started where there is no container.
    arguments : tuple of str
        BIDS_DIR, OUTPUT_DIR, level and options.
    variable, flag : str
        An array's item, and the option that takes it; empty for a single job.
    items : Path or None
        The list that an array takes its items from, one per line.
    n : int
        Items in it.

    """

    stage: str
    what: str
    program: tuple[str, ...]
    arguments: tuple[str, ...]
    variable: str = ""
    flag: str = ""
    items: Path | None = None
    n: int = 0


def script(job: Job, resources: Resources, container: Container | None, logs: Path, arrays: Arrays) -> str:
    """The whole script of a job."""
    head = ["#!/bin/bash", f"# spectra-bids slurm, {job.stage}: {job.what}."]
    head += [f"#SBATCH {line}" for line in directives(job, resources, logs, arrays)]
    body = ["set -u", ""]
    if job.items is not None:
        body += [
            f"list={shlex.quote(str(job.items))}",
            "line=$((${1:-0} + SLURM_ARRAY_TASK_ID)) # a list longer than an array is submitted in pieces",
            f'{job.variable}=$(sed -n "${{line}}p" "$list")',
            f'if [ -z "${job.variable}" ]; then',
            '  echo "line $line of $list is empty" >&2',
            "  exit 66",
            "fi",
            "task=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID",
        ]
    else:
        body += ["task=$SLURM_JOB_ID"]
    body += _start(job, container)
    return "\n".join([*head, *body, ""]) + _TAIL.format(restarts=arrays.restarts)


def directives(job: Job, resources: Resources, logs: Path, arrays: Arrays) -> list[str]:
    """Options of sbatch; of one that is there twice the last counts."""
    pattern = f"{job.stage}_%A_%a.log" if job.n else f"{job.stage}_%j.log"
    lines = [f"--job-name=spectra-{job.stage}"]
    if job.n:
        lines.append(f"--array={arrays.pieces(job.n)[0][1]}")
    lines += [
        f"--output={_quoted(str(logs).replace('%', '%%') + '/' + pattern)}",
        "--open-mode=append",
        "--requeue",
        f"--signal=B:TERM@{GRACE}",
        f"--cpus-per-task={resources.cpus}",
    ]
    for name, value in (
        ("time", resources.time),
        ("mem", None if resources.mem_mb is None else f"{resources.mem_mb}M"),
        ("partition", resources.partition),
        ("account", resources.account),
    ):
        lines += [] if value is None else [f"--{name}={_quoted(value)}"]
    for stage, option in resources.sbatch:
        name, sep, value = option.partition("=")
        lines += [f"--{name}{sep}{_quoted(value)}"] if stage in ("", job.stage) else []
    return lines


def _quoted(text: str) -> str:
    """A value in a line of #SBATCH, which Slurm unquotes much as the shell does."""
    return shlex.quote(text)


def _start(job: Job, container: Container | None) -> list[str]:
    """Lines that put the command into the array `job`."""
    words = ['--n-procs "${SLURM_CPUS_PER_TASK:-1}"']
    if job.flag:
        words.append(f'{job.flag} "${job.variable}"')
    lines = ["", "job=("]
    if container is None:
        lines.append(f"  {shlex.join(job.program)}")
    else:
        scratch = 'scratch=$(mktemp -d "${SLURM_TMPDIR:-${TMPDIR:-/tmp}}/spectra-bids.XXXXXX") || exit 75'
        lines = ["", f"{scratch} # the container's /tmp", "trap 'rm -rf \"$scratch\"' EXIT", "job=("]
        lines.append('  "${APPTAINER:-apptainer}" run --containall --cleanenv --no-home --workdir "$scratch"')
        lines += [f"  {shlex.join([*container.options])}"] if container.options else []
        lines += [f"  -B {shlex.quote(f'{p}:{p}' + ('' if rw else ':ro'))}" for p, rw in container.binds]
        lines.append(f"  {shlex.quote(container.image)}")
    lines += [f"  {text}" for text in (*_by_option(job.arguments), *words)]
    return [*lines, ")"]


def _by_option(words: Sequence[str]) -> list[str]:
    """Words of a command, one option with its values per line."""
    lines: list[list[str]] = [[]]
    for word in words:
        if word.startswith("-") and " " not in word and len(word) > 1 and not word[1].isdigit():
            lines.append([])
        lines[-1].append(word)
    return [shlex.join(line) for line in lines if line]


def submission(jobs: Sequence[tuple[Job, Path]], arrays: Arrays, go_on: bool) -> str:
    """The script that submits the others.

    Parameters
    ----------
    jobs : sequence of (Job, path of its script)
        participant, then map and reduce if there is a model.
    arrays : Arrays
    go_on : bool
        Whether the group level may go on without subjects whose task failed.

    """
    lines = [
        "#!/bin/bash",
        "# spectra-bids slurm: submit all jobs and print their ids; if one is refused, take back the others.",
        "set -euo pipefail",
        "submitted=()",
        "finish() {",
        "  if [ $? -ne 0 ] && [ ${#submitted[@]} -gt 0 ]; then",
        '    scancel "${submitted[@]}"',
        "  fi",
        "}",
        "trap finish EXIT",
        "submit() { # NAME OPTION... SCRIPT [ITEMS BEFORE IT]: the id is left in $id",
        "  local name=$1",
        '  id=$(sbatch --parsable "${@:2}")',
        "  id=${id%%;*} # Slurm with several clusters adds the cluster",
        '  submitted+=("$id")',
        '  printf \'%s\\t%s\\n\' "$name" "$id"',
        "}",
    ]
    # A participant task that failed stops the group level: it would be of fewer people than were asked for. A bundle
    # that failed does not stop the reduce job, which fits what is missing or says why it cannot be had.
    after = {
        "participant": "",
        "map": f"after{'any' if go_on else 'ok'}:$participant",
        "reduce": f"afterany:$map{'' if go_on else ',afterok:$participant'}",
    }
    for job, path in jobs:
        depends = after[job.stage]
        options = f' --dependency="{depends}" --kill-on-invalid-dep=yes' if depends else ""
        quoted = shlex.quote(str(path))
        lines.append("")
        if not job.n:
            lines.append(f"submit {job.stage}{options} {quoted}")
            continue
        for k, (before, array) in enumerate(arrays.pieces(job.n)):
            lines.append(f"submit {job.stage}{options} --array={array} {quoted} {before}")
            if len(jobs) > 1:
                lines.append(f"{job.stage}=$id" if k == 0 else f"{job.stage}+=:$id")
    return "\n".join(lines) + "\n"
