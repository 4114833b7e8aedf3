#!/usr/bin/env bash
# Make the lock files from pyproject.toml and locks/*.in, with hashes and without any index's address.
# They agree with one another: test is constrained by core, build and r by test.
# Where packages come from is the caller's affair (uv's own UV_* variables); no lock file says it.
#   locks/regenerate.sh [--upgrade]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
command -v uv >/dev/null || {
  echo "locks/regenerate.sh needs uv on the PATH: python -m pip install uv" >&2
  exit 1
}
compile() {
  local out=$1
  shift
  uv pip compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --python-version 3.11 "$@" \
    --output-file "$out"
}
compile locks/core.txt pyproject.toml "$@"
compile locks/test.txt pyproject.toml --extra test --extra dask --constraint locks/core.txt "$@"
compile locks/build.txt locks/build.in --constraint locks/test.txt "$@"
compile locks/r.txt pyproject.toml --extra r --constraint locks/test.txt "$@"
compile locks/image.txt locks/image.in --constraint locks/r.txt "$@"
