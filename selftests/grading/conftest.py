"""The tiny course: without submissions, and graded."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest

from grading import __main__ as command
from selftests.grading import tiny_class
from selftests.grading.tiny_class import COURSE, RIGHT, SETTINGS, WHY_NO_SANDBOX, GradedClass, make_notebook, nbgrader


@pytest.fixture(scope="session")
def empty_course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course folder with a gradebook that has the assignment, and without submissions."""
    folder = tmp_path_factory.mktemp("course")
    (folder / "nbgrader_config.py").write_text(SETTINGS)
    (folder / "solutions" / COURSE).mkdir(parents=True)
    for name in ("one", "two"):
        solution = make_notebook(f"### BEGIN SOLUTION\n{RIGHT}\n### END SOLUTION")
        nbformat.write(solution, folder / "solutions" / COURSE / f"{name}.ipynb")
    nbgrader(folder, "generate_assignment", "--create")
    return folder


@pytest.fixture(scope="session")
def graded_class(empty_course: Path, tmp_path_factory: pytest.TempPathFactory) -> GradedClass:
    folder = shutil.copytree(empty_course, tmp_path_factory.mktemp("graded") / "a course")
    tiny_class.hand_in_class(folder)
    started = time.monotonic()
    output = tiny_class.grade(folder, "--workers", "2")
    return GradedClass(folder, output, time.monotonic() - started)


@pytest.fixture
def course(empty_course: Path, tmp_path: Path) -> Path:
    """A copy of the course without submissions."""
    return shutil.copytree(empty_course, tmp_path / "a course")


@pytest.fixture
def graded_course(graded_class: GradedClass, tmp_path: Path) -> Path:
    """A copy of the course with the graded class."""
    return shutil.copytree(graded_class.folder, tmp_path / "a graded course")


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder with a path short enough for sockets."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def grading_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """A function that runs `python -m grading` in this process, where it must fail, and returns its last line."""

    def run(course: Path, *options: str) -> str:
        monkeypatch.chdir(course)
        without_sandbox = ["--without-sandbox"] if WHY_NO_SANDBOX else []
        assert command.main([*without_sandbox, *options]) == 1
        printed = capsys.readouterr().err
        assert "Traceback" not in printed
        return printed.splitlines()[-1]

    return run
