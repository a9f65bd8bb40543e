"""What is installed where: declared dependencies, pinned versions, and the wheel."""

import ast
import functools
import importlib.metadata
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import nbformat
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import utils
from selftests import REPOSITORY
from selftests.browsing import make_command
from tests.checks.notebooks import find_notebooks

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PACKAGES = ("grading", "tests", "utils")
OURS = {"bench", "preview", "selftests", "training", *PACKAGES}

# Files with imports that their folder's readers need not have, and what these are.
OPTIONAL = {
    "tests/conftest.py": {"pytest"},
    "bench/with_nnsight.py": {"nnsight"},
}


def declared(*extras: str) -> list[Requirement]:
    """What pyproject.toml asks for, with extras."""
    lines = PROJECT["dependencies"] + [line for extra in extras for line in PROJECT["optional-dependencies"][extra]]
    requirements = [Requirement(line) for line in lines]
    return [requirement for requirement in requirements if requirement.name != PROJECT["name"]]


def pins(file: str) -> list[Requirement]:
    lines = (REPOSITORY / file).read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


def names(requirements: list[Requirement]) -> list[str]:
    return [canonicalize_name(requirement.name) for requirement in requirements]


# Versions


def test_every_version_is_pinned_in_one_place() -> None:
    pinned = pins("requirements.txt") + pins("requirements-dev.txt")
    assert [str(pin) for pin in pinned if not re.fullmatch(r"==[\w.]+", str(pin.specifier))] == []
    assert sorted(names(pinned)) == sorted(set(names(pinned)))


@pytest.mark.parametrize(
    ("extras", "files"),
    [((), ["requirements.txt"]), (("grading", "dev"), ["requirements.txt", "requirements-dev.txt"])],
)
def test_what_is_declared_is_pinned_within_its_range(extras, files) -> None:
    pinned = [pin for file in files for pin in pins(file)]
    versions = {name: str(pin.specifier)[2:] for name, pin in zip(names(pinned), pinned, strict=True)}
    wrong = {
        str(requirement): versions.get(canonicalize_name(requirement.name))
        for requirement in declared(*extras)
        if not requirement.specifier.contains(versions.get(canonicalize_name(requirement.name), "0"))
    }
    assert wrong == {}


# Imports


def imported(source: str) -> set[str]:
    """The top-level names that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.split(".")[0])
    return found


@functools.cache
def providers() -> Mapping[str, list[str]]:
    """The distributions that provide each top-level name, in this environment; it takes a second to find out."""
    return importlib.metadata.packages_distributions()


def undeclared(imports: set[str], requirements: list[Requirement]) -> set[str]:
    """Of imported names, those that neither Python, nor this project, nor a requirement provides."""
    allowed = set(names(requirements))
    return {
        name
        for name in imports - sys.stdlib_module_names - OURS
        if allowed.isdisjoint(map(canonicalize_name, providers().get(name, [])))
    }


def modules(folder: str) -> Iterator[tuple[str, str]]:
    """The path and the source of each module in a folder."""
    for file in sorted((REPOSITORY / folder).rglob("*.py")):
        yield str(file.relative_to(REPOSITORY)), file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("utils", ()),
        ("tests", ()),
        ("grading", ("grading",)),
        *((folder, ("grading", "dev")) for folder in sorted(OURS.difference(PACKAGES))),
    ],
)
def test_what_a_folder_imports_is_declared(folder: str, extras: tuple[str, ...]) -> None:
    # The modules beside one another in a folder whose code runs outside the package.
    siblings = {Path(file).stem for file, _ in modules(folder)}
    found = {
        file: missing
        for file, source in modules(folder)
        if (missing := undeclared(imported(source), declared(*extras)) - siblings - OPTIONAL.get(file, set()))
    }
    assert found == {}


def test_what_the_notebooks_import_is_declared() -> None:
    found = {}
    for path in find_notebooks(REPOSITORY / "solutions"):
        cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        imports = set().union(*map(imported, cells))
        found[path.stem] = undeclared(imports, declared()) | (imports & OURS - {"tests", "utils"})
    assert found and not any(found.values()), found


@pytest.mark.parametrize("source", ["import selenium", "def f():\n    from mutmut.mutation import mutators"])
def test_an_undeclared_import_is_found(source: str) -> None:
    assert undeclared(imported(source), declared())
    assert not undeclared(imported(source), declared("dev"))


# The wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that `pip install .` makes, built from a copy of what is committed or will be."""
    folder = tmp_path_factory.mktemp("repository")
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listing, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.split("\0")
    for file in filter(None, files):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes((REPOSITORY / file).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", "wheels"], cwd=folder, capture_output=True, check=True)
    (built,) = (folder / "wheels").glob("*.whl")
    return built


def test_the_wheel_has_every_file_of_three_packages_and_nothing_else(wheel: Path) -> None:
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    sources = wheel.parents[1]
    files = {str(file.relative_to(sources)) for name in PACKAGES for file in (sources / name).rglob("*")}
    assert packed == {file for file in files if (sources / file).is_file()}


@pytest.mark.slow
def test_what_the_wheel_installs_works_in_any_folder(wheel: Path, tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(installed)]
    subprocess.run([*command, str(wheel)], capture_output=True, check=True)
    program = (
        "import utils, tests, grading.class_report\n"
        "utils.load_ioi(utils.load_model('ioi-mini')), utils.published_results()\n"
        "print(*{module.__file__.split('/')[-3] for module in (utils, tests)})"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )
    assert run.stdout.splitlines()[-1:] == ["installed"], run.stderr


@pytest.mark.slow
def test_clearing_the_cache_deletes_only_references(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IOI_CACHE", str(tmp_path))
    model = utils.load_model("ioi-mini")
    utils.reference_sweep("get_act_patch_resid_pre", model, utils.load_ioi(model))
    assert list(tmp_path.iterdir())
    (tmp_path / "mine.safetensors").touch()
    subprocess.run(make_command("clear-cache"), cwd=tmp_path, check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.safetensors"]


def test_no_test_module_imports_another() -> None:
    """What several of them need stands in a module of its own, or in a conftest file."""
    importing = [
        file.name
        for file in (REPOSITORY / "selftests").rglob("test_*.py")
        if re.search(r"^(from|import) selftests[.\w]*\.test_", file.read_text(encoding="utf-8"), re.M)
    ]
    assert importing == []
