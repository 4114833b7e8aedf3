#!/usr/bin/env bash
# Build the image from scratch, and the one that singularity.def describes; run both as strictly as a cluster may:
# root and /tmp read-only, no network, user id 12345, no HOME.
#
#   scripts/image_test.sh [docker|singularity]...       default: both
#
# It needs root on Debian (or a virtual machine), about 8 GB in IMAGE_TEST_DIR (/var/tmp/spectra-bids-image-test) and 8
# to 20 minutes, so it is no part of continuous integration. No container engine need run: buildah builds in a chroot,
# on a base that debootstrap makes, and the image's file system is entered by unshare and chroot, with the environment
# and entry point that its configuration names. What it leaves there: the image (podman --root .../storage images), the
# base for the next time, the messages in logs, and figures.txt. SSL_CERT_FILE names the certificates of a proxy.
# The real data (../shared/data or SPECTRA_BIDS_TEST_DATA, with tools/ beside it) are used if they are there.
set -euo pipefail
exec </dev/null

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
place=${IMAGE_TEST_DIR:-/var/tmp/spectra-bids-image-test}
certificates=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
data=$(realpath -m "${SPECTRA_BIDS_TEST_DATA:-$root/../shared/data}")
shared=$(dirname "$data") # where the data and tools/ are; mounted as /shared
[ -d "$data/real-qsirecon" ] && [ -f "$shared/tools/make_cohort.py" ] || shared=
base=docker.io/library/debian:bookworm-slim # what `FROM debian:bookworm-slim` resolves to
image=localhost/spectra-bids:image-test
tree=$place/singularity-root
container=
# A store of its own: the base's name must not replace an image that someone pulled, and old images go with it.
storage=(--root "$place/storage" --runroot "$place/storage-run")
# Folders that a run mounts; an engine makes them where an image lacks them.
mounts=(data out work shared)
export DEBIAN_FRONTEND=noninteractive

in_store() { "$1" "${storage[@]}" "${@:2}"; }
say() { printf '== %s\n' "$*" >&2; }
die() {
  printf 'image-test: %s\n' "$*" >&2
  exit 1
}
record() { printf '%-58s %s\n' "$1" "$2" | tee -a "$place/figures.txt"; }
seconds_since() { awk -v from="$1" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.1f", to - from }'; }

tidy() {
  [ -z "$container" ] || in_store buildah rm "$container" >/dev/null || true
  rm -rf "$tree" "$place/runs"
}

get_tools() {
  local missing=() tool
  for tool in buildah podman debootstrap; do
    command -v "$tool" >/dev/null || missing+=("$tool")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || die "${missing[*]} not found, and there is no apt-get to install them with"
  say "installing ${missing[*]}"
  apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

make_base() { # a minimal Debian, once; it is left as small as the published slim image is
  [ ! -f "$place/base.tar" ] || return 0
  local from=$EPOCHREALTIME
  say "debootstrap"
  rm -rf "$place/base"
  debootstrap --variant=minbase bookworm "$place/base" >"$place/debootstrap.log" 2>&1 || die "see $place/debootstrap.log"
  (cd "$place/base" && rm -rf var/lib/apt/lists/* var/cache/apt/*.bin usr/share/{doc,man,info,locale}/* &&
    find var/log -type f -delete)
  tar -C "$place/base" -cf "$place/base.tar.part" .
  mv "$place/base.tar.part" "$place/base.tar"
  rm -rf "$place/base"
  record "base: debootstrap" "$(seconds_since "$from") s"
}

# --- one run under restrictions --------------------------------------------------------------------------------------

# restricted ROOT ENVIRONMENT-FILE COMMAND...: everything is read-only but /out, /work and /dev/shm.
restricted() {
  # shellcheck disable=SC2016  # expanded by the inner shell
  unshare --net --mount --propagation private bash -euc '
    root=$1 environment=$2 runs=$3 shared=$4
    shift 4
    mount --bind "$root" "$root"
    mount -o remount,bind,ro "$root"
    mount -t proc -o ro proc "$root/proc"
    mount -t tmpfs -o mode=755 tmpfs "$root/dev"
    for device in null zero full random urandom; do
      touch "$root/dev/$device"
      mount --bind "/dev/$device" "$root/dev/$device"
    done
    mkdir "$root/dev/shm"
    mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
    ln -s /proc/self/fd "$root/dev/fd"
    mount -o remount,ro "$root/dev"
    for folder in out work; do mount --bind "$runs/$folder" "$root/$folder"; done
    if [ -n "$shared" ]; then
      mount --bind "$shared" "$root/shared"
      mount -o remount,bind,ro "$root/shared"
    fi
    mapfile -t variables <"$environment"
    exec chroot --userspec=12345:12345 --groups= "$root" /usr/bin/env -i "${variables[@]}" "$@"
  ' restricted "$1" "$2" "$place/runs" "$shared" "${@:3}"
}

fresh_folders() {
  rm -rf "$place/runs"
  mkdir -p "$place"/runs/{out,work}
  chown 12345:12345 "$place"/runs/{out,work}
}

check_restrictions() { # the runs below would prove nothing if these held not
  # shellcheck disable=SC2016  # expanded in the container
  restricted "$1" "$2" sh -c '
    test "$(id -u)" = 12345 && test -z "${HOME+set}" || { echo "not user 12345 without a home"; exit 1; }
    for folder in / /tmp /var/tmp /opt/spectra /root /dev; do
      if touch "$folder/probe" 2>/dev/null; then echo "$folder can be written"; exit 1; fi
    done
    if grep -v "lo:" /proc/net/dev | grep -q ":"; then echo "there is a network"; exit 1; fi' >&2 ||
    die "the restrictions do not hold"
}

quiet() { # a run's messages must hold neither a traceback nor a complaint about places
  if grep -n -i -E 'traceback|matplotlib|cache|not writable|read-only|runtime.?dir|tmpdir|temporary' "$1" >&2; then
    die "complaints in $1"
  fi
}

log_of() { echo "$place/logs/$(tr -cs 'A-Za-z0-9\n' - <<<"$1").log"; }

# try NAME ROOT ENVIRONMENT COMMAND...: run, record the time, keep the messages, which must be good ones.
try() {
  local name=$1 from=$EPOCHREALTIME log
  log=$(log_of "$name")
  shift
  restricted "$@" >"$log" 2>&1 || {
    tail -n 40 "$log" >&2
    die "'$name' ended with an error; the messages are in $log"
  }
  record "$name" "$(seconds_since "$from") s"
  quiet "$log"
}

# run_all KIND ROOT ENVIRONMENT ENTRY...: the same runs for each kind of image.
run_all() {
  local kind=$1 inside=$2 environment=$3 leftovers
  local entry=("${@:4}")
  for folder in "${mounts[@]}"; do mkdir -p "$inside/$folder"; done
  fresh_folders
  check_restrictions "$inside" "$environment"
  try "$kind: --version, first" "$inside" "$environment" "${entry[@]}" --version
  try "$kind: --version, again" "$inside" "$environment" "${entry[@]}" --version
  try "$kind: --version, login shell" "$inside" "$environment" sh -l -c 'spectra-bids --version'
  try "$kind: demo" "$inside" "$environment" "${entry[@]}" demo /out/demo
  grep -q '^Found 1D' "$(log_of "$kind: demo")" || die "the demonstration did not say what it found"
  [ -s "$place/runs/out/demo/results/model-demo.html" ] || die "the demonstration left no report"
  try "$kind: atlas build" "$inside" "$environment" "${entry[@]}" atlas build /out/demo/bids /out/atlas
  try "$kind: selftest of 3 cells" "$inside" "$environment" "${entry[@]}" selftest /out/demo/results -n 3
  grep -q '^ok$' "$(log_of "$kind: selftest of 3 cells")" || die "the self-test did not say ok"
  try "$kind: --engine pymer4, Kenward-Roger" "$inside" "$environment" "${entry[@]}" /out/demo/bids /out/demo/results \
    group --model-name kr --formula 'value ~ group + age + sex + (1|site)' --engine pymer4 --ddf kenward-roger \
    --profile 1D
  run_engines "$kind" "$inside" "$environment"
  if [ -n "$shared" ]; then
    run_real "$@"
  else
    say "no real data in $data: the bare triple runs on the demonstration's cohort"
    run_triple "$kind" "$inside" "$environment" /out/demo/bids /out/demo/atlas "${entry[@]}"
  fi
  leftovers=$(find "$place/runs/out" -name '.spectra_bids-scratch-*' -o -name '.*.tmp')
  [ -z "$leftovers" ] || die "left behind: $leftovers"
}

# run_triple KIND ROOT ENVIRONMENT BIDS ATLAS ENTRY...: both levels by the bare triple; the second with a work dir.
run_triple() {
  local kind=$1 inside=$2 bids=$4
  local settings=$place/atlas.env entry=("${@:6}") out
  out=/out/triple-$(basename "$bids")
  { cat "$3" && echo "SPECTRA_BIDS_ATLAS=$5"; } >"$settings"
  try "$kind: $bids participant" "$inside" "$settings" "${entry[@]}" "$bids" "$out" participant
  try "$kind: $bids group" "$inside" "$settings" "${entry[@]}" "$bids" "$out" group \
    --formula 'value ~ group + age + sex + (1|site)' -w /work
  compgen -G "$place/runs$out/model-*.html" >/dev/null || die "no model page in $out"
  compgen -G "$place/runs$out/sub-*.html" >/dev/null || die "no subject page in $out"
  grep -q '"Container"' "$place/runs$out/dataset_description.json" || die "dataset_description.json names no container"
}

run_real() { # one real subject by the bare triple, then a cohort made of another through both levels
  local kind=$1 inside=$2 environment=$3
  local entry=("${@:4}")
  local real
  real=/shared/$(basename "$data")
  local atlas=$real/atlas-hcp1065 settings=$place/atlas.env
  { cat "$environment" && echo "SPECTRA_BIDS_ATLAS=$atlas"; } >"$settings"
  try "$kind: real-qsirecon participant" "$inside" "$settings" "${entry[@]}" \
    "$real/real-qsirecon" /out/qsirecon participant -w /work
  try "$kind: real-pyafq participant" "$inside" "$settings" "${entry[@]}" "$real/real-pyafq" /out/pyafq participant
  restricted "$inside" "$environment" python /shared/tools/make_cohort.py /out/cohort >/dev/null 2>&1 ||
    die "the cohort could not be made"
  run_triple "$kind" "$inside" "$environment" /out/cohort "$atlas" "${entry[@]}"
}

run_engines() { # what needs R or Vulkan starts as well, given a folder for temporary files
  local settings=$place/engines.env
  { cat "$3" && printf '%s\n' TMPDIR=/work HOME=/work; } >"$settings"
  try "$1: R, lmerTest through pymer4" "$2" "$settings" python -W ignore -c '
import numpy as np, pandas as pd
from pymer4.models import Lmer
rng = np.random.default_rng(0)
table = pd.DataFrame({"site": np.repeat(list("abcdefgh"), 10), "x": rng.normal(size=80)})
table["y"] = 2 * table["x"] + np.repeat(rng.normal(size=8), 10) + rng.normal(size=80) / 10
model = Lmer("y ~ x + (1|site)", data=table)
model.fit(summarize=False, verbose=False)
found = model.coefs.loc["x"]
assert abs(found["Estimate"] - 2) < 0.1 and 65 < found["DF"] < 80, found'
  try "$1: a software Vulkan device" "$2" "$settings" python -c '
import ctypes
vulkan = ctypes.CDLL("libvulkan.so.1")
create = (ctypes.c_uint64 * 8)(1)  # VkInstanceCreateInfo: its type, and nothing asked for
instance, count = ctypes.c_void_p(), ctypes.c_uint32()
assert vulkan.vkCreateInstance(create, None, ctypes.byref(instance)) == 0
assert vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), None) == 0 and count.value > 0'
}

# --- the two images --------------------------------------------------------------------------------------------------

size_of() {
  in_store podman image inspect --format '{{.Size}}' "$1" | awk '{ printf "%.0f MB", $1 / 1e6 }'
}

configured() { # one list of the image's configuration, an item per line
  in_store buildah inspect --type image --format "{{range .OCIv1.Config.$1}}{{println .}}{{end}}" $image | sed '/^$/d'
}

test_docker() {
  local from=$EPOCHREALTIME inside environment=$place/docker.env
  local entry
  say "building the image"
  in_store podman rmi --all --force >/dev/null 2>&1 || true # those of an earlier run
  in_store podman import --quiet - $base <"$place/base.tar" >/dev/null
  in_store buildah bud --isolation chroot --pull=never --layers=false \
    --volume "$certificates:/run/host-ca.crt:ro" --build-arg PIP_CERT=/run/host-ca.crt \
    --tag $image --file "$root/Dockerfile" "$root" >"$place/logs/build.log" 2>&1 || {
    tail -n 40 "$place/logs/build.log" >&2
    die "the build failed; see $place/logs/build.log"
  }
  record "docker: build" "$(seconds_since "$from") s"
  record "docker: image size" "$(size_of $image)"
  record "docker: of these the base" "$(size_of $base)"
  container=$(in_store buildah from --pull=never $image)
  inside=$(in_store buildah mount "$container")
  configured Env >"$environment"
  mapfile -t entry < <(configured Entrypoint)
  run_all docker "$inside" "$environment" "${entry[@]}"
  in_store buildah rm "$container" >/dev/null
  container=
}

section() { # the lines of one section of singularity.def
  awk -v wanted="%$1" '/^%/ { inside = ($1 == wanted); next } inside' "$root/singularity.def"
}

test_singularity() {
  local from=$EPOCHREALTIME environment=$place/singularity.env source target
  say "singularity.def: %files, %post, %test"
  rm -rf "$tree"
  mkdir -p "$tree"
  tar -C "$tree" -xf "$place/base.tar"
  cp /etc/resolv.conf "$tree/etc/resolv.conf"
  section files | while read -r source target; do
    [ -n "$source" ] || continue
    mkdir -p "$(dirname "$tree$target")"
    cp -r "$root/$source" "$tree$target"
  done
  touch "$tree/run/host-ca.crt"
  # shellcheck disable=SC2016  # expanded by the inner shell
  unshare --mount --propagation private bash -euc '
    mount --bind "$1" "$2/run/host-ca.crt"
    mount -t proc proc "$2/proc"
    mount --rbind /dev "$2/dev"
    exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$2" sh -euc "$3"
  ' post "$certificates" "$tree" "$(section post)" >"$place/logs/post.log" 2>&1 || {
    tail -n 40 "$place/logs/post.log" >&2
    die "%post failed; see $place/logs/post.log"
  }
  record "singularity: %post" "$(seconds_since "$from") s"
  record "singularity: size of the tree" "$(du -sm "$tree" | awk '{ print $1 " MiB" }')"
  section environment >"$tree/environment.sh"
  section runscript >"$tree/runscript.sh"
  section test >"$tree/test.sh"
  env -i PATH=/usr/sbin:/usr/bin chroot "$tree" sh -c '. /environment.sh; exec env' |
    grep -v -E '^(PWD|_|SHLVL|OLDPWD)=' >"$environment"
  for folder in "${mounts[@]}"; do mkdir -p "$tree/$folder"; done
  fresh_folders
  try "singularity: %test" "$tree" <(cat "$environment" && echo TMPDIR=/work) sh /test.sh
  run_all singularity "$tree" "$environment" sh /runscript.sh
}

[ "$(id -u)" = 0 ] || die "must run as root: debootstrap, unshare and chroot need it"
[ -r "$certificates" ] || die "no certificates in $certificates; SSL_CERT_FILE can name another file"
mkdir -p "$place/logs"
: >"$place/figures.txt"
trap tidy EXIT
get_tools
make_base
[ $# -gt 0 ] || set -- docker singularity
for kind; do
  case $kind in
    docker | singularity) "test_$kind" ;;
    *) die "expected docker or singularity. Got '$kind'" ;;
  esac
done
say "all passed; the figures are in $place/figures.txt"
