"""`make` and `install.py` after ordinary accidents, in a stand-in for the course that is installed in seconds."""

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from selftests import REPOSITORY

# Installs a pip that makes the current folder's packages importable, as for `-e .`, and as slowly as is asked for.
ENSUREPIP = '''
import sysconfig
from pathlib import Path

PIP = """
import sys, time
from pathlib import Path
if "install" in sys.argv:
    while Path("slow").exists():
        Path("installing").touch()
        time.sleep(0.1)
    Path(__file__).parents[1].joinpath("stand_in.pth").write_text(str(Path.cwd()), "utf-8")
"""
folder = Path(sysconfig.get_path("purelib"), "pip")
folder.mkdir(exist_ok=True)
(folder / "__main__.py").write_text(PIP)
'''

# What runs in the place of JupyterLab, pytest, the grading and so on: it tells what a kernel would import, and where.
TOOL = """
import subprocess, sys
program = "import sys, utils; print('imports', utils.__file__, 'in', sys.prefix)"
sys.exit(subprocess.call([sys.executable, "-I", "-c", program]))
"""
TOOLS = [
    *("jupyterlab", "pytest", "ruff", "mypy", "nbgrader", "bench", "grading", "preview"),
    *(
        "bench.grading",
        "grading.class_report",
        "grading.demo",
        "grading.release",
        "selftests.mutations",
        "selftests.bank",
    ),
    *("training.train", "training.report", "training.verify_gpt2"),
]
REFERENCES = """
import sys
from pathlib import Path

def cache_folder():
    print("imports", Path(__file__).with_name("__init__.py"), "in", sys.prefix)
    return Path("none")
"""

TARGETS = re.findall(r"^([\w-]+):(?!=)", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.M)


@dataclass(frozen=True)
class Course:
    """A course folder, and `make` in it as a student calls it."""

    folder: Path

    @property
    def environment(self) -> Path:
        return self.folder / ".venv"

    def make(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["make", f"PYTHON={sys.executable}", *arguments],
            cwd=self.folder,
            env=machine_variables() | variables,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def works(self, target: str, *arguments: str, within: Path | None = None, **variables: str) -> str:
        """Make a target whose tool must find this course's packages, in the right environment; return the output."""
        done = self.make(target, *arguments, **variables)
        assert done.returncode == 0, done.stderr
        imports = f"imports {self.folder / 'utils/__init__.py'} in {within or self.environment}"
        assert imports in done.stdout.splitlines()
        return done.stdout

    def refuses(self, target: str, *arguments: str, **variables: str) -> str:
        """Make a target that stops before its tool has run; return the sentence that says why."""
        done = self.make(target, *arguments, **variables)
        *_, sentence, error = done.stderr.splitlines()
        assert done.returncode and error.startswith("make: ***") and "imports" not in done.stdout
        assert "Traceback" not in done.stderr
        return sentence


def machine_variables() -> dict[str, str]:
    """Return the environment variables but those of make, of pip and of an active environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VIRTUAL_ENV", "MAKE", "PIP_"))}
    path = [part for part in os.environ.get("PATH", os.defpath).split(os.pathsep) if part != f"{sys.prefix}/bin"]
    return kept | {"PATH": os.pathsep.join(path), "PYTHONPATH": "programs"}


def make_course(folder: Path) -> Course:
    folder.mkdir(parents=True)
    for name in ("Makefile", "install.py"):
        shutil.copy(REPOSITORY / name, folder)
    files = {
        "pyproject.toml": 'requires-python = ">=3.11"\n',
        "requirements.txt": "-e .\n",
        "requirements-dev.txt": "-r requirements.txt\n",
        "programs/ensurepip/__init__.py": "",
        "programs/ensurepip/__main__.py": ENSUREPIP,
        "utils/__init__.py": "",
        "utils/references.py": REFERENCES,
        **{f"{tool.replace('.', '/')}{'.py' if '.' in tool else '/__main__.py'}": TOOL for tool in TOOLS},
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return Course(folder)


def make_environment(folder: Path, *options: str) -> Path:
    """Make an environment without pip, as `uv venv` does."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", *options, folder], check=True)
    return folder


@pytest.fixture
def course(tmp_path: Path) -> Course:
    """A course in which nothing has been installed."""
    return make_course(tmp_path / "My Drive ü" / "course")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Course:
    """A course with an environment; tests that change it work on a copy, which is a moved one."""
    course = make_course(tmp_path_factory.mktemp("installed") / "My Drive ü" / "course")
    assert "Installing requirements-dev.txt" in course.works("test")
    return course


@pytest.fixture(scope="module")
def active(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that several courses share, without pip at first."""
    return make_environment(tmp_path_factory.mktemp("active") / "my env ü")


# Folders with spaces and umlauts


@pytest.mark.parametrize("target", [target for target in TARGETS if not target.startswith("install")])
def test_a_target_runs_in_a_folder_with_a_space_and_an_umlaut(installed: Course, target: str) -> None:
    assert "Installing" not in installed.works(target)


def test_all_targets_are_tried() -> None:
    lines = (REPOSITORY / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    assert sorted(TARGETS) == sorted(re.findall(r"^\.PHONY: (.*)", lines, re.M)[0].split())


@pytest.mark.slow
def test_the_tools_themselves_work_in_such_a_folder(tmp_path: Path) -> None:
    """In the repository, with this environment, as if both lay there."""
    course = tmp_path / "My Drive ü" / "course"
    ignored = shutil.ignore_patterns(".*", "selftests", "submitted", "demo_class", "preview_site", "*.db")
    shutil.copytree(REPOSITORY, course, ignore=ignored)
    (course / ".venv").symlink_to(sys.prefix)
    (course / "submitted" / "ann" / "activation_patching").mkdir(parents=True)
    cached = course / "cache" / "get_act_patch_resid_pre_1.safetensors"
    cached.parent.mkdir()
    cached.touch()
    command = ["make", "INSTALL=:", "VENV=.venv", "release", "report", "clear-cache"]
    variables = machine_variables() | {"PYTHONPATH": "", "IOI_CACHE": str(cached.parent)}
    done = subprocess.run(command, cwd=course, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (course / ".grading" / "activation_patching" / "report.html").exists()
    assert not cached.exists()


@pytest.mark.parametrize("name", ["Course (1)", "it's, 100% & mine", "Übung [2]", "-x"])
def test_a_folder_has_another_odd_name(tmp_path: Path, name: str) -> None:
    make_course(tmp_path / name).works("lab")


# What was installed, and for which folder


@pytest.mark.parametrize("target", ["lab", "grade", "test"])
def test_in_a_moved_folder_it_is_installed_again(installed: Course, tmp_path: Path, target: str) -> None:
    moved = Course(shutil.copytree(installed.folder, tmp_path / "moved", symlinks=True))
    assert f"Making the environment {moved.environment} again, because it was moved" in moved.works(target)
    assert "Making" not in moved.works(target)


@pytest.mark.parametrize(
    ("file", "again"), [("requirements.txt", True), ("requirements-dev.txt", False), ("pyproject.toml", True)]
)
def test_a_change_of_what_is_pinned_is_installed(installed: Course, file: str, again: bool) -> None:
    """A student needs nothing of requirements-dev.txt. The time of a change does not count, its content does."""
    (installed.folder / file).touch()
    assert "Installing" not in installed.works("lab")
    with (installed.folder / file).open("a") as pins:
        pins.write("# changed\n")
    assert ("Installing requirements.txt" in installed.works("lab")) == again
    assert "Installing requirements-dev.txt" in installed.works("grade")
    assert "Installing" not in installed.works("lab")


def test_an_active_environment_of_another_clone_is_installed_into(active: Path, tmp_path: Path) -> None:
    clones = [make_course(tmp_path / name) for name in ("one", "two")]
    for clone in [*clones, *clones]:
        assert "Installing" in clone.works("grade", within=active, VIRTUAL_ENV=str(active))
        assert "Installing" not in clone.works("grade", within=active, VIRTUAL_ENV=str(active))
        assert not clone.environment.exists()


@pytest.mark.parametrize("accident", ["gone", "moved", "half made"])
def test_an_active_environment_that_does_not_work_is_to_be_left(
    installed: Course, course: Course, accident: str
) -> None:
    environment = course.folder.parent / "env"
    if accident == "moved":
        shutil.copytree(installed.environment, environment, symlinks=True)
    if accident == "half made":
        (make_environment(environment) / "pyvenv.cfg").unlink()
    assert course.refuses("lab", VIRTUAL_ENV=str(environment)) == (
        f"The environment {environment} was moved or is half made: "
        "run `deactivate`, and then run the same command again."
    )


# An environment that is not one


def no_folder_of_programs(environment: Path) -> None:
    shutil.rmtree(environment / "bin")


def half_deleted(environment: Path) -> None:
    environment.rename(environment.with_name(".venv-to-delete"))


def no_python_any_more(environment: Path) -> None:
    """As after an upgrade of the Python that it was made with."""
    for program in (environment / "bin").glob("python*"):
        program.unlink()
        program.symlink_to("/nowhere/python3")


def empty(environment: Path) -> None:
    shutil.rmtree(environment)
    environment.mkdir()


def without_pip(environment: Path) -> None:
    """As uv makes them."""


def half_of_pip(environment: Path) -> None:
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "pip").mkdir()
    (packages / "pip" / "__init__.py").touch()


def damaged_pip(environment: Path) -> None:
    """As after an interrupted upgrade of pip, with which the notes on what is installed stay."""
    subprocess.run([environment / "bin" / "python", "-m", "ensurepip"], check=True, stdout=subprocess.DEVNULL)
    (packages,) = environment.glob("lib/python*/site-packages")
    shutil.rmtree(packages / "pip" / "_internal")


@pytest.mark.parametrize(
    "accident", [no_folder_of_programs, half_deleted, no_python_any_more, empty, without_pip, half_of_pip]
)
def test_a_half_made_environment_is_completed(course: Course, accident) -> None:
    accident(make_environment(course.environment))
    course.works("lab")
    assert not course.environment.with_name(".venv-to-delete").exists()


# The least that pip can install, editable and without a network.
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "stand-in"
version = "1"
requires-python = ">=3.11"
"""
BACKEND = """
import zipfile
from pathlib import Path

WHEEL = "stand_in-1-py3-none-any.whl"
ABOUT = {"METADATA": "Metadata-Version: 2.1\\nName: stand-in\\nVersion: 1", "WHEEL": "Wheel-Version: 1.0", "RECORD": ""}

def build_editable(folder, *_):
    with zipfile.ZipFile(Path(folder, WHEEL), "w") as wheel:
        wheel.writestr("stand_in.pth", str(Path.cwd()))
        for name, text in ABOUT.items():
            wheel.writestr("stand_in-1.dist-info/" + name, text)
    return WHEEL
"""


@pytest.mark.slow
@pytest.mark.parametrize("accident", [None, without_pip, half_of_pip, damaged_pip])
def test_the_true_pip_installs_and_again_after_a_move(course: Course, accident) -> None:
    (course.folder / "pyproject.toml").write_text(PROJECT)
    (course.folder / "backend.py").write_text(BACKEND)
    if accident:
        accident(make_environment(course.environment))
    without_stand_in = {"PYTHONPATH": "", "PIP_NO_INDEX": "1"}
    course.works("lab", **without_stand_in)
    moved = Course(course.folder.rename(course.folder.parent / "moved ü"))
    moved.works("lab", **without_stand_in)
    pip = subprocess.run([moved.environment / "bin" / "pip", "--version"], capture_output=True, text=True, check=True)
    assert str(moved.environment) in pip.stdout


@pytest.mark.parametrize("stamp", ["", "{", "[1]"])
def test_a_stamp_that_says_nothing_is_written_again(installed: Course, stamp: str) -> None:
    (installed.environment / ".workbook").write_text(stamp)
    assert "Installing" in installed.works("test")
    assert "Installing" not in installed.works("test")


def test_after_an_interruption_the_same_command_goes_on(course: Course) -> None:
    (course.folder / "slow").touch()
    command = ["make", "lab", f"PYTHON={sys.executable}"]
    with subprocess.Popen(
        command,
        cwd=course.folder,
        env=machine_variables(),
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what runs in its background with interrupts ignored, the tests too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        while not (course.folder / "installing").exists() and process.poll() is None:
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate()
    assert "Interrupted: run the same command again, and it goes on." in said.splitlines()
    (course.folder / "slow").unlink()
    course.works("lab")


def test_a_python_that_cannot_install_pip_is_named(course: Course, tmp_path: Path) -> None:
    """As Debian's without python3-venv."""
    program = course.folder / "programs" / "ensurepip" / "__main__.py"
    program.rename(tmp_path / "ensurepip.py")
    assert course.refuses("lab") == (
        f"The environment {course.environment} has no pip, and its Python cannot install it (Debian and Ubuntu: "
        "install python3-venv): remove or rename that folder, and then run the same command again."
    )
    (tmp_path / "ensurepip.py").rename(program)
    course.works("lab")


@pytest.mark.parametrize("where", ["of the course", "active", "none"])
def test_a_python_that_is_too_old_is_named(course: Course, where: str) -> None:
    project = course.folder / "pyproject.toml"
    project.write_text(project.read_text().replace("3.11", "3.99"))
    if where != "none":
        make_environment(course.environment)
    active = {"VIRTUAL_ENV": str(course.environment)} if where == "active" else {}
    version = "Python {}.{}".format(*sys.version_info)
    needed = "and the workbook needs Python 3.99 or newer"
    remedy = {"of the course": "remove or rename that folder", "active": "run `deactivate`"}
    assert course.refuses("lab", **active) == (
        f"This is {version}, {needed}: install one and choose it, for instance with `make lab PYTHON=python3.12`."
        if where == "none"
        else f"The environment {course.environment} has {version}, {needed}: {remedy[where]}, and then run the same "
        "command again."
    )


def test_an_old_python_can_read_the_program_that_says_so() -> None:
    ast.parse((REPOSITORY / "install.py").read_text(encoding="utf-8"), feature_version=(3, 6))


@pytest.mark.parametrize("content", ["notes.txt", "bin/python", "lib/python3.11/site-packages/yaml.dist-info/RECORD"])
def test_a_folder_that_is_no_environment_is_left_alone(course: Course, content: str) -> None:
    """Half of a deleted one is not used either: pip would take what it finds there for installed."""
    file = course.environment / content
    file.parent.mkdir(parents=True)
    file.touch()
    assert course.refuses("lab") == (
        f"The environment {course.environment} has no pyvenv.cfg: remove or rename that folder, and then run the same "
        "command again."
    )
    assert [path for path in course.environment.rglob("*") if path.is_file()] == [file]


def test_a_file_in_the_place_of_the_environment_is_named(course: Course) -> None:
    course.environment.touch()
    assert "cannot be made" in course.make("lab").stderr


NO_USER = """
import os, pwd, runpy, sys

def getpwuid(uid):
    raise KeyError(uid)

pwd.getpwuid = getpwuid
os.environ.pop("HOME", None)
runpy.run_path("install.py", run_name="__main__")
"""


@pytest.mark.parametrize("home", ["/nowhere", "/dev/null", None])
def test_without_a_home_folder_a_sentence_says_so(course: Course, home: str | None) -> None:
    """None: in a container whose user has neither HOME nor an entry among the users."""
    (course.folder / "no_user.py").write_text(NO_USER)
    without = {"HOME": home} if home else {}
    options = [] if home else [f"INSTALL={sys.executable} no_user.py"]
    assert course.refuses("lab", *options, **without) == (
        "Jupyter needs a home folder to write to: set the environment variable HOME to a folder of yours."
    )
    assert not course.environment.exists()
