"""What describes the images, without building one (`make image-test` does that): pins, labels, entry, sections."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from spectra_bids import __version__

ROOT = Path(__file__).resolve().parent.parent
INSTALL = ROOT / "scripts" / "image_install.sh"


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, one pair (name, arguments) each, continuation lines joined."""
    text = "\n".join(line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#"))
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines if line.strip())]


def arguments(name: str) -> list[str]:
    return [rest for found, rest in instructions() if found == name]


def stages() -> list[list[tuple[str, str]]]:
    """Instructions of each stage, its FROM first."""
    found: list[list[tuple[str, str]]] = []
    for instruction in instructions():
        if instruction[0] == "FROM":
            found.append([])
        found[-1].append(instruction)
    return found


def pairs(text: str) -> dict[str, str]:
    """name=value name="value" ... of ENV and LABEL."""
    return {name: value.strip('"') for name, value in re.findall(r'([\w.]+)=("[^"]*"|\S+)', text)}


def section(name: str) -> str:
    """The lines of one section of singularity.def."""
    parts = re.split(r"^%(\w+)\n", (ROOT / "singularity.def").read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[name]


def steps(text: str) -> list[str]:
    """Names of the steps of image_install.sh in the order they are called."""
    return re.findall(r"(?:image_install\.sh|\$install) ([a-z-]+)", text)


def locked(name: str) -> dict[str, str]:
    """Package -> version of a lock file."""
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / "locks" / f"{name}.txt").read_text(), re.MULTILINE))


def test_the_base_is_debian_bookworm_slim_and_nothing_else():
    bases = [rest.split(" AS ")[0] for rest in arguments("FROM")]
    names = {rest.split(" AS ")[1] for rest in arguments("FROM") if " AS " in rest}
    assert {base for base in bases if base not in names} == {"debian:bookworm-slim"}
    assert "From: debian:bookworm-slim" in (ROOT / "singularity.def").read_text()


def test_every_version_that_is_written_down_is_the_programs():
    assert {pairs(text)["VERSION"] for text in arguments("ARG") if "VERSION" in text} == {__version__}
    definition = (ROOT / "singularity.def").read_text()
    assert set(re.findall(r"\b\d+\.\d+\.\d+\b", definition)) == {__version__}
    assert f"org.opencontainers.image.version {__version__}" in section("labels")
    assert f"spectra-bids:{__version__}" in (ROOT / "Dockerfile").read_text()


def test_the_build_fails_if_the_version_is_another():
    assert any("spectra-bids --version" in rest and "$VERSION" in rest for rest in arguments("RUN"))
    assert "spectra-bids --version" in section("post")


@pytest.mark.parametrize("name", ["core", "build", "r", "image"])
def test_every_locked_package_has_a_version_and_hashes(name):
    entries = re.split(r"\n(?=\S)", (ROOT / "locks" / f"{name}.txt").read_text().strip())
    assert entries
    for entry in entries:
        assert re.match(r"[\w.\[\]-]+==[\w.]+( ;[^\n]*)? \\\n +--hash=sha256:[0-9a-f]{64}", entry), entry


def test_the_image_holds_the_core_lock_in_the_same_versions():
    image = locked("r")
    assert {name: image.get(name) for name in locked("core")} == locked("core")
    assert image["rpy2"] == "3.5.17"


def test_what_builds_from_source_agrees_with_what_is_installed():
    shared = set(locked("image")) & set(locked("r"))
    assert "cffi" in shared
    assert {name: locked("image")[name] for name in shared} == {name: locked("r")[name] for name in shared}


def test_packages_are_installed_by_hash_and_without_isolated_build_environments():
    script = INSTALL.read_text()
    installs = [line for line in script.splitlines() if "-m pip" in line and " install " in line]
    assert len(installs) == 2
    for line in installs:
        assert "--require-hashes" in line or ("--no-deps" in line and "--no-build-isolation" in line), line
    assert "--editable" not in script
    for line in script.splitlines():
        if "apt-get install" in line:
            assert "--no-install-recommends" in line


def test_both_images_take_the_same_steps():
    docker = [step for rest in arguments("RUN") for step in steps(rest)]
    definition = [step for step in steps(section("post")) if step != "remove-tools"]
    assert docker == definition == ["runtime", "build-tools", "environment", "package"]
    known = set(re.findall(r"^  ([a-z-]+)\) ", INSTALL.read_text(), re.MULTILINE))
    assert known == {*docker, "remove-tools"}


@pytest.mark.parametrize(
    "package",
    [
        *("python3.11", "r-base-core", "r-cran-lme4", "r-cran-lmertest", "r-cran-emmeans", "r-cran-pbkrtest"),
        *("mesa-vulkan-drivers", "libvulkan1", "fonts-dejavu-core"),
    ],
)
def test_the_runtime_has(package):
    body = re.search(r"^runtime\(\) \{\n(.*?)^\}", INSTALL.read_text(), re.MULTILINE | re.DOTALL)
    assert body is not None
    assert package in body[1].split()


def test_a_login_shell_finds_the_program_as_well():
    """Debian's /etc/profile sets PATH anew, and Boutiques starts its command lines by `sh -l`."""
    body = re.search(r"^runtime\(\) \{\n(.*?)^\}", INSTALL.read_text(), re.MULTILINE | re.DOTALL)
    assert body is not None
    assert 'ln -s "$venv/bin/spectra-bids" /usr/local/bin/spectra-bids' in body[1]
    assert re.search(r"sh -l -c 'spectra-bids --version'", (ROOT / "scripts" / "image_test.sh").read_text())


def test_the_last_stage_has_no_compiler_and_runs_as_any_user():
    first, build, last = stages()
    assert any("build-tools" in rest for _, rest in build)
    assert not any("build-tools" in rest for _, rest in first + last)
    assert last[0] == ("FROM", "runtime")
    (user,) = (rest for name, rest in last if name == "USER")
    uid, gid = user.split(":")
    assert int(uid) > 0, "by number: clusters check that it is not root's"
    assert int(gid) > 0


def test_the_entry_point_is_the_program():
    assert arguments("ENTRYPOINT") == ['["spectra-bids"]']
    assert arguments("CMD") == []
    assert section("runscript").split("\n")[0].strip() == 'exec spectra-bids "$@"'


def test_a_proxys_certificate_is_an_argument_of_the_build_only():
    with_it = [index for index, stage in enumerate(stages()) if ("ARG", "PIP_CERT") in stage]
    assert with_it == [1], "unset unless given, and no part of the last stage"
    assert not any("PIP_CERT" in rest for rest in arguments("ENV"))


def test_the_labels_are_the_open_container_initiatives_and_invent_no_address():
    (labels,) = (pairs(text) for text in arguments("LABEL"))
    prefix = "org.opencontainers.image."
    assert {f"{prefix}{name}" for name in ("title", "description", "version", "licenses", "base.name")} <= set(labels)
    assert all(name.startswith(prefix) for name in labels)
    assert labels[f"{prefix}title"] == "spectra-bids"
    assert labels[f"{prefix}version"] == "$VERSION"
    assert labels[f"{prefix}licenses"] == "BSD-3-Clause"
    singularity = dict(line.split(None, 1) for line in section("labels").strip().splitlines())
    shared = {name: value for name, value in labels.items() if name in singularity and name != f"{prefix}version"}
    assert shared == {name: singularity[name] for name in shared}


@pytest.mark.parametrize(
    "file",
    ["Dockerfile", "singularity.def", ".dockerignore", "scripts/image_install.sh", "scripts/image_test.sh"]
    + [f"locks/{name}.txt" for name in ("core", "build", "r", "image")],
)
def test_no_file_of_the_images_names_a_host_or_proxy(file):
    text = (ROOT / file).read_text()
    assert not re.search(r"https?://|index-url|_proxy|PROXY", text)


def test_both_images_have_the_same_environment_but_for_their_own_name():
    (docker,) = (pairs(text) for text in arguments("ENV"))
    singularity = {name: value.strip('"') for name, value in re.findall(r"export (\w+)=(.*)", section("environment"))}
    assert docker.pop("SPECTRA_BIDS_DOCKER_TAG")
    assert singularity.pop("SPECTRA_BIDS_SINGULARITY_URL")
    assert docker == singularity
    assert docker["PATH"].startswith("/opt/spectra/bin:")
    assert not [name for name in docker if "THREADS" in name], "threads are the program's affair"


def test_what_is_copied_is_there_and_let_through_by_dockerignore():
    ignore = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert ignore[0] == "*"
    allowed = {line[1:] for line in ignore if line.startswith("!")}
    copied = {source for rest in arguments("COPY") if not rest.startswith("--from") for source in rest.split()[:-1]}
    assert copied == allowed
    files = {line.split()[0] for line in section("files").strip().splitlines()}
    assert files == copied
    assert all((ROOT / source).exists() for source in files)


def test_the_definition_has_all_its_sections():
    for name in ("files", "post", "environment", "runscript", "test", "labels", "help"):
        assert section(name).strip(), name
    assert "rm -rf /opt/src" in section("post")
    assert "lmerTest" in section("test")


@pytest.mark.parametrize(("shell", "text"), [
    ("sh", INSTALL.read_text()),
    ("bash", (ROOT / "scripts" / "image_test.sh").read_text()),
    *(("sh", section(name)) for name in ("post", "test", "environment", "runscript")),
])  # fmt: skip
def test_the_scripts_can_be_parsed(shell, text):
    done = subprocess.run([shell, "-n"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_step_that_does_not_exist_is_refused():
    done = subprocess.run(["sh", str(INSTALL), "everything"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Got 'everything'" in done.stderr


def test_a_login_shell_finds_every_command() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    text = INSTALL.read_text()
    linked = set(re.findall(r"/usr/local/bin/([a-z-]+)$", text, re.MULTILINE))
    linked |= set(re.search(r"for name in ([a-z_ ]+); do ln -s", text)[1].split())
    assert linked == set(project["project"]["scripts"])
