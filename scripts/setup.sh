#!/usr/bin/env bash
# Set up .venv (and, where it may, the system packages that tests use). Safe to run again: what is done is not redone.
#
#   scripts/setup.sh [core|test|r|bench]
#
#   core   the program                                                        (default)
#   r      + pymer4 and rpy2, the R engine; system: R with its headers, lme4, lmerTest, emmeans, pbkrtest
#   test   r + pytest, ruff, mypy, import-linter; system: chromium and its driver, a font, software Vulkan
#   bench  test + the programs that benchmarks/ run beside this one, each in an environment of its own
#
# PYTHON names another interpreter than the first python >= 3.11 found.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
exec </dev/null
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore

level=${1:-core}
venv=.venv
stamps=$venv/.set-up

say() { printf 'set-up: %s\n' "$*" >&2; }
die() {
  say "$*"
  exit 1
}

locks_of() { # the lock files of a level, each a superset of what it builds on
  case $1 in
    core) echo locks/core.txt ;;
    test | bench) echo locks/test.txt locks/r.txt ;;
    r) echo locks/r.txt ;;
    *) return 1 ;;
  esac
}

levels_with() { # the levels that include a level, itself first
  case $1 in
    core) echo core r test ;;
    r) echo r test ;;
    test | bench) echo test ;;
  esac
}

system_packages_of() {
  case $1 in
    r) echo r-base-core r-base-dev r-cran-lme4 r-cran-lmertest r-cran-emmeans r-cran-pbkrtest ;;
    test | bench) echo "$(system_packages_of r) chromium chromium-driver fonts-dejavu-core mesa-vulkan-drivers libvulkan1" ;;
  esac
}

is_python() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
  local candidate
  for candidate in ${PYTHON:-} python3.11 /usr/bin/python3.11 python3.12 python3.13 python3 python; do
    if is_python "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

key_of() { # changes when a lock of the level, its build tools, the interpreter, the folder do, or R comes
  # shellcheck disable=SC2046  # a list of file names without spaces
  {
    cat locks/build.txt locks/core.txt $(locks_of "$1")
    "$venv/bin/python" -c 'import sys; print(sys.version, sys.prefix)'
    [ "$1" = core ] || command -v R || true
  } | sha256sum | cut -d ' ' -f 1
}

is_stamped() { [ -f "$stamps/$1" ] && [ "$(cat "$stamps/$1")" = "$2" ]; }

make_venv() {
  if [ -x "$venv/bin/python" ] && is_python "$venv/bin/python"; then
    return
  fi
  local python
  python=$(find_python) || die "no Python >= 3.11 with venv and ensurepip was found. Install it (Debian, Ubuntu:" \
    "python3 and python3-venv), or name one: PYTHON=/path/to/python3.11 make demo"
  say "making $venv with $("$python" --version)"
  "$python" -m venv --clear "$venv"
  mkdir -p "$stamps"
}

install_packages() {
  local name lock
  for name in $(levels_with "$level"); do
    if [ -f "$stamps/$name" ] && is_stamped "$name" "$(key_of "$name")"; then
      return
    fi
  done
  for lock in locks/build.txt $(locks_of "$level"); do
    if [ "$lock" = locks/r.txt ] && [ "$level" != r ] && ! command -v R >/dev/null; then
      say "R is not there: tests of the R engine will be skipped"
      continue
    fi
    say "installing $lock"
    "$venv/bin/python" -m pip install --quiet --progress-bar off --require-hashes -r "$lock" ||
      die "pip could not install $lock (its message stands above). Nothing else was changed; run this again after that."
  done
  name=$(levels_with "$level")
  key_of "$level" >"$stamps/${name%% *}"
}

install_self() { # editable; again only when the project's metadata change
  local key
  key=$( { cat pyproject.toml; pwd; } | sha256sum | cut -d ' ' -f 1)
  if is_stamped self "$key"; then
    return
  fi
  say "installing spectra-bids itself"
  "$venv/bin/python" -m pip install --quiet --no-deps --no-build-isolation --editable .
  echo "$key" >"$stamps/self"
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

install_system_packages() {
  local wanted missing=() name
  read -ra wanted <<<"$(system_packages_of "$level")"
  [ ${#wanted[@]} -gt 0 ] || return 0
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    for name in Rscript chromium chromedriver; do
      command -v "$name" >/dev/null || say "$name is not there and this is no Debian: tests that need it will be skipped"
    done
    return 0
  fi
  for name in "${wanted[@]}"; do
    dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if ! as_root true 2>/dev/null; then
    say "not there: ${missing[*]}. Neither root nor sudo without a password: tests that need them will be skipped"
    return 0
  fi
  say "installing ${missing[*]}"
  if ! { as_root apt-get update -qq &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >&2; then
    say "apt-get could not install ${missing[*]}: tests that need them will be skipped"
  fi
}

locks_of "$level" >/dev/null || die "'$level' is not a level. Expected core, test, r or bench"
make_venv
mkdir -p "$stamps"
# First the system's part: rpy2 is built against R's headers.
install_system_packages
install_packages
install_self
if [ "$level" = bench ]; then
  benchmarks/setup_peers.sh
fi
