"""What the repository promises about itself: layers, locks, laziness, one version, no file out of proportion."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import spectra_bids

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "spectra_bids"
MODULES = sorted(PACKAGE.rglob("*.py"))
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())

#: Who alone may import a library, wherever in a function the import stands.
ONLY_IN = {
    "bids": {"dataset/inputs.py"},
    "distributed": {"workers.py"},
    "fury": {"figures/scenes.py"},
    "pymer4": {"models/lme4.py"},
    "rpy2": {"models/lme4.py"},
    "jinja2": {"report"},
    "h5py": {"bridges/modelarray.py"},
    "pooch": {"dataset/downloads.py"},
}
#: Slow to import: none of them may come with the package, its command line or `--help`.
HEAVY = (
    "bids",
    "dipy",
    "nibabel",
    "nilearn",
    "nitransforms",
    "matplotlib",
    "fury",
    "skimage",
    "PIL",
    "pandas",
    "scipy",
    "formulaic",
    "jinja2",
    "distributed",
    "h5py",
    "pooch",
    "requests",
)
SCRIPTS = sorted(path for folder in ("scripts", "locks", "benchmarks") for path in (REPOSITORY / folder).glob("*.sh"))
#: A registry's host may stand in no file; spelled so that this one does not name them either.
REGISTRIES = tuple("".join(parts) for parts in (("py", "pi.org"), ("python", "hosted.org"), ("registry.npm", "js.org")))


def imported_names(path: Path) -> set[str]:
    """Top-level packages that a module imports anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def repository_files() -> list[Path]:
    """Files under version control, or to be; what .gitignore names is left out."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=REPOSITORY, capture_output=True, check=False
    )
    if listed.returncode:
        pytest.skip("this is no git checkout")
    files = [REPOSITORY / name for name in listed.stdout.decode().split("\0") if name]
    return [path for path in files if path.is_file()]


def heavy_modules_after(code: str) -> list[str]:
    """HEAVY modules that a fresh interpreter holds after some code; SystemExit is swallowed."""
    program = (
        "import json, sys\n"
        f"try:\n    {code}\nexcept SystemExit:\n    pass\n"
        f"print('\\n' + json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout.splitlines()[-1]))


def test_every_import_contract_is_kept():
    tool = Path(sys.executable).parent / "lint-imports"
    if not tool.is_file():
        pytest.skip("import-linter is absent; `scripts/setup.sh test` installs it")
    done = subprocess.run([str(tool), "--no-cache"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_imported_only_where_it_is_at_home(library):
    homes = ONLY_IN[library]
    strangers = [
        name
        for path in MODULES
        if library in imported_names(path)
        and not any(
            (name := path.relative_to(PACKAGE).as_posix()) == home or name.startswith(f"{home}/") for home in homes
        )
    ]
    assert strangers == []


def test_the_scan_for_imports_sees_imports_inside_functions(tmp_path):
    module = tmp_path / "module.py"
    module.write_text("def f():\n    import fury.actor\n    from bids.layout import x\n    from . import y\n")
    assert imported_names(module) == {"fury", "bids"}


def test_importing_the_package_imports_nothing_heavy():
    assert heavy_modules_after("import spectra_bids") == []


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_asking_the_command_line_for_help_imports_nothing_heavy(flag):
    assert heavy_modules_after(f"from spectra_bids.cli import main; main(['{flag}'])") == []


def test_the_watch_on_heavy_modules_can_see_one():
    assert "nibabel" in heavy_modules_after("import nibabel")


@pytest.mark.parametrize("name", spectra_bids.__all__)
def test_a_public_name_can_be_imported(name):
    assert getattr(spectra_bids, name).__module__.startswith("spectra_bids.")


def test_public_names_and_their_homes_agree():
    assert sorted(spectra_bids.__all__) == sorted(spectra_bids._HOME)


def test_there_is_one_version():
    cited = re.search(r"^version: (.+)$", (REPOSITORY / "CITATION.cff").read_text(), re.MULTILINE)
    changed = re.search(r"^## (\S+)", (REPOSITORY / "CHANGES.md").read_text(), re.MULTILINE)
    assert cited is not None
    assert changed is not None
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert {cited[1], changed[1]} == {spectra_bids.__version__}


@pytest.mark.parametrize("lock", sorted((REPOSITORY / "locks").glob("*.txt")), ids=lambda path: path.name)
def test_a_lock_pins_every_package_with_hashes_and_names_no_place(lock):
    text = lock.read_text()
    assert "://" not in text
    requirements = re.split(r"\n(?=\S)", text.strip())
    assert requirements
    for requirement in requirements:
        assert re.match(r"[A-Za-z0-9._-]+(\[[a-z,]+\])?==\S+ ", requirement), requirement[:80]
        assert "--hash=sha256:" in requirement, requirement[:80]


def pins(lock: str) -> dict[str, str]:
    """Package -> version of a lock file."""
    text = (REPOSITORY / "locks" / f"{lock}.txt").read_text()
    return dict(re.findall(r"^([A-Za-z0-9._-]+)(?:\[[a-z,]+\])?==(\S+)", text, re.MULTILINE))


@pytest.mark.parametrize("lock", ["build", "test", "r"])
def test_locks_agree_about_a_package_that_two_of_them_pin(lock):
    core, other = pins("core"), pins(lock)
    both = core.keys() & other.keys()
    assert {name: other[name] for name in both} == {name: core[name] for name in both}


def test_the_core_lock_covers_the_declared_dependencies():
    declared = {re.match(r"[A-Za-z0-9_-]+", text)[0].lower() for text in PROJECT["project"]["dependencies"]}
    assert declared <= pins("core").keys()


def test_no_file_names_a_registry_or_a_place_on_this_machine():
    for path in repository_files():
        text = path.read_bytes().decode("utf-8", "replace")
        for forbidden in (*REGISTRIES, f"{REPOSITORY}/"):
            assert forbidden not in text, f"{path} names {forbidden}"


def test_no_file_is_out_of_proportion():
    for path in repository_files():
        assert path.stat().st_size < 1_000_000, f"{path} has {path.stat().st_size} bytes"
    for path in MODULES:
        assert len(path.read_text().splitlines()) <= 450, f"{path} has grown past a few screens"


def test_every_module_says_what_it_owns():
    silent = [
        path for path in MODULES if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_every_script_stops_at_its_first_error_or_says_why_not():
    for path in SCRIPTS:
        assert "set -eu" in path.read_text()
        assert path.stat().st_mode & 0o111


def test_every_script_is_clean_to_shellcheck():
    tool = Path(sys.executable).parent / "shellcheck"
    if not tool.is_file():
        pytest.skip("shellcheck is absent; `scripts/setup.sh test` installs it")
    paths = map(str, (*SCRIPTS, REPOSITORY / ".ci" / "run"))
    done = subprocess.run([str(tool), *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_set_up_refuses_an_unknown_level():
    done = subprocess.run(
        ["bash", "scripts/setup.sh", "everything"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "'everything' is not a level. Expected core, test, r or bench" in done.stderr
