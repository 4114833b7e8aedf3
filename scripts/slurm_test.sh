#!/usr/bin/env bash
# A real Slurm on this machine runs `spectra-bids slurm ... --submit` on the embedded cohort.
#
#   scripts/slurm_test.sh [FOLDER]      default a new temporary folder, removed if all went well
#
# Checked: the outputs are the bytes of a serial run (logs and scripts aside); a participant task that gets SIGTERM in
# the middle ends with 75, goes back into the queue and ends well; one that is cancelled stays cancelled, and what
# depends on it never runs. Needs root, or sudo without a password (munged runs as the user munge); Debian's slurm-wlm
# and munge are installed where they are missing. The daemons use ports, sockets and a configuration of their own and are
# always stopped.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [ "$(id -u)" != 0 ]; then
  exec sudo -n --preserve-env=PATH "$root/scripts/slurm_test.sh" "$@"
fi
python=$root/.venv/bin/python
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
subjects=8
formula='value ~ group + age'

say() { printf 'slurm-test: %s\n' "$*" >&2; }
die() {
  say "FAILED: $*"
  exit 1
}

wait_for() { # SECONDS WHAT COMMAND...: until the command succeeds
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt "$end" ] || die "$what did not come about"
    sleep 0.5
  done
}

install_slurm() {
  local name missing=()
  for name in slurm-wlm munge; do
    dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing ${missing[*]}"
  apt-get update -qq
  # Packages start their daemons, which have no configuration here and are not wanted.
  DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

free_port() { "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

write_configuration() {
  local host
  host=$(hostname -s)
  mkdir -p "$etc/state" "$etc/spool"
  cat >"$SLURM_CONF" <<END
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
AuthType=auth/munge
AuthInfo=socket=$etc/munge/socket,cred_expire=5
CryptoType=crypto/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
KillWait=10
MinJobAge=3600
StateSaveLocation=$etc/state
SlurmdSpoolDir=$etc/spool
SlurmctldPidFile=$etc/slurmctld.pid
SlurmdPidFile=$etc/slurmd.pid
SlurmctldLogFile=$etc/slurmctld.log
SlurmdLogFile=$etc/slurmd.log
SchedulerParameters=sched_interval=2,bf_interval=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
}

start_daemons() {
  mkdir -p "$etc/munge"
  (umask 077 && head -c 1024 /dev/urandom >"$etc/munge/key")
  chown -R munge: "$etc/munge"
  chmod 755 "$etc" "$etc/munge"
  runuser -u munge -- munged --key-file="$etc/munge/key" --socket="$etc/munge/socket" --pid-file="$etc/munge/pid" \
    --log-file="$etc/munge/log" --seed-file="$etc/munge/seed" ||
    die "munged did not start"
  write_configuration
  slurmctld -c
  slurmd -c
  wait_for 60 "a node that is up" sh -c 'sinfo -h -o %T | grep -qx idle'
}

stop_daemons() { # by the ids that they wrote down themselves
  local name pid
  [ -f "$SLURM_CONF" ] && timeout 10 scancel --user=root 2>/dev/null
  wait_for_end
  for name in slurmd.pid slurmctld.pid munge/pid; do
    pid=$(cat "$etc/$name" 2>/dev/null) || continue
    kill "$pid" 2>/dev/null
    for _ in $(seq 50); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.2
    done
    kill -KILL "$pid" 2>/dev/null
  done
}

wait_for_end() { # of the jobs, for some seconds
  for _ in $(seq 30); do
    [ -n "$(timeout 5 squeue -h 2>/dev/null)" ] || return 0
    sleep 0.5
  done
}

finish() {
  local status=$?
  set +e
  trap - EXIT
  stop_daemons
  if [ "$status" = 0 ] && [ -n "$made" ]; then
    rm -rf "$work"
  else
    say "ended with $status; everything is in $work"
  fi
  exit "$status"
}

state_of() { scontrol show job -o "$1" | grep -o 'JobState=[A-Z]*' | cut -d = -f 2 | sort -u | tr '\n' ' '; }
is_over() { ! squeue -h -j "$1" -t PENDING,RUNNING,COMPLETING,SUSPENDED -o %i | grep -q .; }
has() { grep -qs -- "$1" "$2"; }
has_run_log() { grep -qs -- "--participant-label $2\( \|$\)" "$1"/logs/*/run.log; }

same_but_logs() { # TREE TREE
  diff -r --exclude=log --exclude=code "$1" "$2" | grep -v "^Only in [^:]*/logs: " || true
}

made=
if [ $# -gt 0 ]; then
  work=$1
  mkdir -p "$work"
else
  work=$(mktemp -d "${TMPDIR:-/tmp}/spectra-slurm.XXXXXX")
  made=yes
fi
work=$(cd "$work" && pwd)
etc=$work/etc
mkdir -p "$etc"
chmod 755 "$work"
export SLURM_CONF=$etc/slurm.conf
trap finish EXIT
trap 'exit 130' INT TERM

[ -x "$python" ] || "$root/scripts/setup.sh" core
install_slurm
say "starting munged, slurmctld and slurmd"
start_daemons

study="$work/it's a 100% study" # quoting is tried too
out="$study/derivatives/spectra"
say "a cohort of $subjects and a serial run over it"
"$python" - "$study" "$work/atlas" "$subjects" <<'END'
import sys
from pathlib import Path
from spectra_bids.demo.cohort import make_cohort
make_cohort(Path(sys.argv[1]), Path(sys.argv[2]), n=int(sys.argv[3]), seed=0, effect=0.3)
END
options=(--atlas "$work/atlas" --formula "$formula" --min-subjects 5)
"$python" -m spectra_bids "$study" "$out" participant --atlas "$work/atlas" --n-procs 2
"$python" -m spectra_bids "$study" "$out" group --formula "$formula" --min-subjects 5
mv "$out" "$work/serial"

say "the same by Slurm"
"$python" -m spectra_bids slurm "$study" "$out" "${options[@]}" -v --time 20 --max-running 2 --submit | tee "$work/ids"
participant=$(awk '$1 == "participant" {print $2}' "$work/ids")
map=$(awk '$1 == "map" {print $2}' "$work/ids")
reduce=$(awk '$1 == "reduce" {print $2}' "$work/ids")

task=${participant}_2
label=$(sed -n 2p "$out"/code/slurm/participants-*.txt)
wait_for 120 "a running task $task" has_run_log "$out" "$label"
# Slurm 22.05 delivers the signal, answers scancel "try again later", and scancel would repeat it after 5 s.
timeout 4 scancel --quiet --signal=TERM --batch "$task" || true
say "sent SIGTERM to $task (sub-$label)"
log=$out/logs/slurm/participant_$task.log
wait_for 60 "the requeue of $task" has "back into the queue, restart 1 of 3" "$log"

for job in "$participant" "$map" "$reduce"; do
  wait_for 600 "the end of job $job" is_over "$job"
done
for job in "$participant" "$map" "$reduce"; do
  state=$(state_of "$job")
  [ "$state" = "COMPLETED " ] || die "job $job ended as $state"
done
restarts=$(scontrol show job -o "$task" | grep -o 'Restarts=[0-9]*')
[ "$restarts" = Restarts=1 ] || die "$task has $restarts, expected Restarts=1"
has "stopped by SIGTERM before the end" "$log" || die "$log does not say that SIGTERM came"
different=$(same_but_logs "$work/serial" "$out")
[ -z "$different" ] || die "not the bytes of the serial run: $different"
n=$(find "$out" -type f -not -path '*/logs/*' -not -path '*/log/*' -not -path '*/code/*' | wc -l)
say "$n files as in the serial run; $task: SIGTERM, 75, requeued, done"

say "a task that is cancelled stays cancelled, and nothing follows it"
other="$work/cancelled"
"$python" -m spectra_bids slurm "$study" "$other" "${options[@]}" --participant-label 01 02 03 04 \
  --array-size 1 --submit | grep -P '\t' >"$work/ids2"
first=$(awk '$1 == "participant" {print $2; exit}' "$work/ids2")
wait_for 120 "a running task of job $first" has_run_log "$other" 01
scancel "$first"
while read -r _ job; do
  wait_for 120 "the end of job $job" is_over "$job"
done <"$work/ids2"
found=$(while read -r name job; do printf '%s %s' "$name" "$(state_of "$job")"; done <"$work/ids2")
expected="participant CANCELLED $(printf 'participant COMPLETED %.0s' 1 2 3)$(printf 'map CANCELLED %.0s' 1 2 3)reduce CANCELLED "
[ "$found" = "$expected" ] ||
  die "states after the cancelling: $found"
[ ! -e "$other/sub-01.html" ] && [ -e "$other/sub-02.html" ] || die "the wrong subject was cancelled"
[ ! -e "$other/group" ] || die "the group level ran without the subject that was cancelled"
say "passed in $SECONDS s"
