#!/bin/sh
# Virtual environments of the programs that the benchmarks time beside this one. Run again: what is there stays.
#   benchmarks/setup_peers.sh [pyblmm] [pyafq] [pymer4]        default: all three
# They go to $SPECTRA_BIDS_BENCH_DIR (default .benchmarks in the repository, ignored by git). pymer4 needs R with lme4,
# lmerTest, emmeans and the compilers of r-base-dev.
set -eu
here=$(CDPATH="" cd -- "$(dirname -- "$0")/.." && pwd)
folder=${SPECTRA_BIDS_BENCH_DIR:-$here/.benchmarks}
python=${PYTHON:-python3.11}
command -v "$python" >/dev/null || python=python3
mkdir -p "$folder"

# environment NAME PIP-ARGUMENTS...: made once; a stamp of the arguments tells whether it is complete.
environment() {
  name=$1
  shift
  if [ "$(cat "$folder/$name/.complete" 2>/dev/null || true)" = "$*" ]; then
    echo "$name: there"
    return
  fi
  echo "$name: installing"
  rm -rf "${folder:?}/$name"
  "$python" -m venv "$folder/$name"
  "$folder/$name/bin/pip" install --quiet --disable-pip-version-check "$@"
  echo "$*" >"$folder/$name/.complete"
}

[ $# -gt 0 ] || set -- pyblmm pyafq pymer4
for peer in "$@"; do
  case $peer in
    # Its code asks for numpy.Inf, which numpy 2 has not.
    pyblmm) environment pyblmm "pyblmm==0.1.1" "numpy<2" ;;
    pyafq) environment pyafq "pyAFQ==3.4" ;;
    pymer4) environment pymer4 --require-hashes -r "$here/locks/r.txt" ;;
    *) echo "no peer is called '$peer'; there are pyblmm, pyafq, pymer4" >&2; exit 2 ;;
  esac
done
