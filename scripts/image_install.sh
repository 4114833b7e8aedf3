#!/bin/sh
# The steps that make an image out of Debian bookworm, for Dockerfile and singularity.def alike. Run as root.
#
#   image_install.sh runtime          what the program runs on: Python, R with lme4, software Vulkan, a font
#   image_install.sh build-tools      what rpy2 is built with (not in the Docker image)
#   image_install.sh environment DIR  /opt/spectra from the locks in DIR, by hash, without what only tests need
#   image_install.sh package DIR      the program itself from its source in DIR, then all byte code
#   image_install.sh remove-tools     build tools off again, for images without stages
#
# PIP_CERT and pip's other variables decide how pip reaches its index, which no file of the project names.
set -eu

venv=/opt/spectra
export DEBIAN_FRONTEND=noninteractive PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
# TMPDIR and HOME of whoever builds may name folders that are not there.
export HOME=/root LC_ALL=C.UTF-8
unset TMPDIR TEMP TMP

build_tools="gcc libc6-dev python3.11-dev python3.11-venv r-base-dev"

install_packages() {
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "$@"
  clean
}

clean() {
  apt-get clean
  rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/lib/dpkg/*-old /var/cache/ldconfig/aux-cache
  find /var/log -type f -delete
}

leave_out() { # what dpkg need not unpack: 190 MB of manuals, headers, web fonts, drivers of graphics cards
  mkdir -p /etc/dpkg/dpkg.cfg.d
  cat >/etc/dpkg/dpkg.cfg.d/spectra-bids <<'END'
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/javascript/*
path-exclude=/usr/share/fonts-mathjax/*
path-exclude=/usr/share/R/doc/*
path-exclude=/usr/lib/R/library/translations/*
path-exclude=/usr/lib/R/library/*/doc/*
path-exclude=/usr/lib/R/library/*/html/*
path-exclude=/usr/lib/R/library/*/demo/*
path-exclude=/usr/lib/R/site-library/*/include/*
path-exclude=/usr/lib/R/site-library/*/doc/*
path-exclude=/usr/lib/R/site-library/*/help/*
path-exclude=/usr/lib/R/site-library/*/html/*
path-exclude=/usr/lib/R/site-library/*/tests/*
path-exclude=/usr/lib/x86_64-linux-gnu/libvulkan_intel*
path-exclude=/usr/lib/x86_64-linux-gnu/libvulkan_radeon*
path-exclude=/usr/share/vulkan/icd.d/intel*
path-exclude=/usr/share/vulkan/icd.d/radeon*
END
}

runtime() {
  leave_out
  install_packages python3.11 r-base-core r-cran-lme4 r-cran-lmertest r-cran-emmeans r-cran-pbkrtest \
    mesa-vulkan-drivers libvulkan1 fonts-dejavu-core
  rmdir --ignore-fail-on-non-empty /usr/local/lib/R/site-library # rpy2 warns of a library without packages
  fc-cache -f
  # Login shells forget the image's PATH; Boutiques starts its command lines in one.
  ln -s "$venv/bin/spectra-bids" /usr/local/bin/spectra-bids
  for name in spectra_profile spectra_viz spectra_lmm_fdr; do ln -s "$venv/bin/$name" "/usr/local/bin/$name"; done
}

environment() {
  python3.11 -m venv "$venv"
  pip="$venv/bin/python -m pip --quiet --no-cache-dir install --progress-bar off --no-compile --require-hashes"
  # rpy2 and docopt come as source. What builds them comes by hash too, so there is no isolated build environment.
  $pip -r "$1/image.txt" -r "$1/build.txt"
  $pip --no-build-isolation -r "$1/r.txt"
  prune
}

prune() { # 190 MB that no run reads: tests, sources of extensions, network clients of Arrow, symbols
  find "$venv/lib" -type d \( -name tests -o -name test \) -prune -exec rm -rf {} +
  find "$venv/lib" -type f \( -name '*.pyx' -o -name '*.pxd' -o -name '*.c' -o -name '*.cpp' -o -name '*.a' \) -delete
  rm -rf "$venv"/lib/python3.11/site-packages/pyarrow/include \
    "$venv"/lib/python3.11/site-packages/pyarrow/*arrow_flight* \
    "$venv"/lib/python3.11/site-packages/pyarrow/_flight* \
    "$venv"/lib/python3.11/site-packages/pyarrow/*arrow_s3* \
    "$venv"/lib/python3.11/site-packages/pyarrow/_s3fs*
  # Not *.libs: their section headers were moved by auditwheel, and strip would damage them.
  find "$venv/lib" -name '*.so*' -type f ! -path '*.libs/*' -exec strip --strip-unneeded {} +
}

check() { # what was left out must not be missed: every package and every extension is imported
  "$venv/bin/python" -W ignore - "$venv" <<'END'
import importlib, pathlib, sys
from importlib.metadata import packages_distributions

site = next(pathlib.Path(sys.argv[1]).glob("lib/python3*/site-packages"))
extensions = (p.relative_to(site).with_name(p.name.split(".")[0]).parts for p in site.rglob("*.cpython-*.so"))
# Tk is not there; Arrow's tests are not; a part of SciPy cannot be the first to be imported, anywhere.
absent = {"PIL._imagingtk", "matplotlib.backends._tkagg", "pyarrow._pyarrow_cpp_tests"}
absent |= {"scipy.linalg._matfuncs_sqrtm_triu"}
names = {name for name in packages_distributions() if name.isidentifier()}
failed = []
for name in sorted((names | {".".join(parts) for parts in extensions}) - absent):
    try:
        importlib.import_module(name)
    except Exception as error:
        failed.append(f"{name}: {error!r}")
if failed:
    sys.exit("image_install.sh: cannot be imported:\n  " + "\n  ".join(failed))
END
}

package() {
  "$venv/bin/python" -m pip --quiet --no-cache-dir install --no-compile --no-deps --no-build-isolation "$1"
  "$venv/bin/python" -m pip --quiet uninstall --yes hatchling editables trove-classifiers pathspec pluggy tomlkit \
    wheel setuptools pip
  "$venv/bin/python" -m compileall -q -j 0 "$venv/lib"
  check
}

add_tools() {
  # shellcheck disable=SC2086  # a list of names without spaces
  install_packages $build_tools
}

remove_tools() {
  # Without the options all that something recommends or suggests would stay: 32 packages.
  # shellcheck disable=SC2086  # a list of names without spaces
  apt-get purge -y -qq --auto-remove -o APT::AutoRemove::RecommendsImportant=false \
    -o APT::AutoRemove::SuggestsImportant=false $build_tools
  clean
}

case ${1:-} in
  runtime) runtime ;;
  build-tools) add_tools ;;
  environment) environment "$2" ;;
  package) package "$2" ;;
  remove-tools) remove_tools ;;
  *)
    echo "image_install.sh: expected runtime, build-tools, environment DIR, package DIR, remove-tools. Got '${1:-}'" >&2
    exit 2
    ;;
esac
