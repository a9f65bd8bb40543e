"""A failure of the grader's own is never a score: it stops the run, or that notebook could not be graded.

The course's setup cell executes the file setup.txt beside the notebooks, and a locked cell shows the answer.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from unittest.mock import Mock

import nbformat
import pytest
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from grading import autograde, gradebooks, preflight, preprocessors, worker
from grading.classroom import Classroom
from grading.course import course_of, read_settings
from grading.errors import GradingError
from grading.kernels import sandbox, warm_kernels
from grading.worker import Task
from selftests import REPOSITORY
from selftests.grading.kernel_servers import make_kernel_server
from selftests.grading.tiny_class import (
    COURSE,
    RIGHT,
    SETTINGS,
    WHY_NO_SANDBOX,
    WRONG,
    entries,
    grade,
    gradebook,
    limit_cells,
    make_cell,
    make_notebook,
    nbgrader,
    needs_sandbox,
    points,
    remarks,
)

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")

SETUP = 'import decimal\nexec(open("setup.txt").read())'


def write_notebook(file: Path, answer: str, before: str = "", setup: str = SETUP) -> None:
    """Write a notebook with a student's own cell `before` the setup, if any."""
    notebook = make_notebook(answer)
    notebook.cells.insert(0, make_cell(setup, "setup", locked=True))
    notebook.cells.insert(2, make_cell("print(answer)", "shown", locked=True))
    if before:
        notebook.cells.insert(0, nbformat.v4.new_code_cell(before))
    file.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, file)


def hand_in(course: Path, student: str, answer: str = RIGHT, before: str = "") -> None:
    """Hand in notebook `one` like that, and a right notebook `two`."""
    place = course / "submitted" / student / COURSE
    write_notebook(place / "one.ipynb", answer, before)
    write_notebook(place / "two.ipynb", RIGHT)


def write_solution(course: Path, name: str, answer: str = RIGHT, setup: str = SETUP) -> None:
    answer = f"### BEGIN SOLUTION\n{answer}\n### END SOLUTION"
    write_notebook(course / "solutions" / COURSE / f"{name}.ipynb", answer, setup=setup)


def fill_course(course: Path, settings: str = SETTINGS) -> None:
    course.mkdir(exist_ok=True)
    (course / "nbgrader_config.py").write_text(settings, encoding="utf-8")
    for name in ("one", "two"):
        write_solution(course, name)
    (course / "solutions" / COURSE / "setup.txt").touch()
    nbgrader(course, "generate_assignment", "--create")


@pytest.fixture(scope="module")
def course_with_setup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    course = tmp_path_factory.mktemp("setup") / "a course"
    fill_course(course)
    return course


@pytest.fixture
def course(course_with_setup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that course, as the current folder; one student has handed in right answers."""
    course = shutil.copytree(course_with_setup, tmp_path / "a course")
    hand_in(course, "ann")
    monkeypatch.chdir(course)
    return course


def plan(sandboxed: bool = not WHY_NO_SANDBOX) -> tuple[Classroom, Task]:
    """Prepare the current folder's class as `python -m grading` does; return it and its only task."""
    classroom = Classroom.of(read_settings())
    classroom.settings.sandboxed = sandboxed
    classroom.course.state.mkdir(parents=True, exist_ok=True)
    (task,) = classroom.plan(classroom.course.students()).to_grade
    template = worker.gradebook_template(classroom.course)
    gradebooks.make_template(classroom.gradebook, classroom.course.assignment, template)
    return classroom, task


def run_preflight(sandboxed: bool = not WHY_NO_SANDBOX) -> None:
    classroom, task = plan(sandboxed)
    preflight.run(task, preflight.right_answer(classroom.course, task.notebooks))


def mark_slow(cases: Iterable, fast: int) -> list:
    """Mark all but the first cases as slow."""
    return [case if number < fast else pytest.param(case, marks=pytest.mark.slow) for number, case in enumerate(cases)]


def preload(module: str) -> Callable[[Path], None]:
    """Have the course preload a module with this text."""

    def changed(course: Path) -> None:
        (course / "preloaded.py").write_text(module)
        append_setting(course, "c.ClassGrading.preload = 'preloaded'")

    return changed


def append_setting(course: Path, line: str) -> None:
    with open(course / "nbgrader_config.py", "a", encoding="utf-8") as settings:
        settings.write(line + "\n")


# Before anybody is graded, the setup and a right answer run as students' notebooks will.


def write_setup(text: str) -> Callable[[Path], None]:
    return lambda course: (course / "solutions" / COURSE / "setup.txt").write_text(text)


def needs_a_file_outside(course: Path) -> None:
    write_setup(f"open({str(course / 'gradebook.db')!r})")(course)


def other_setup_fails(course: Path) -> None:
    write_solution(course, "two", setup="1 / 0")
    nbgrader(course, "generate_assignment", "--create", "--force")


IN_ONE = "the instructor's own one.ipynb could not be graded: "
FAULTS = {
    "a missing package": (
        write_setup("import no_such_package"),
        f"{IN_ONE}its setup cell failed: ModuleNotFoundError: No module named 'no_such_package'",
    ),
    "the preload": (
        preload("import no_such_package"),
        f"{IN_ONE}the kernels' preload failed: ModuleNotFoundError: No module named 'no_such_package'",
    ),
    "the name of the preloaded module": (
        lambda course: append_setting(course, "c.ClassGrading.preload = 'no_such_module'"),
        f"{IN_ONE}the kernels' preload failed: there is no module no_such_module",
    ),
    "a wrong solution": (
        lambda course: write_solution(course, "one", WRONG),
        "the instructor's own answer in one.ipynb got 0 of 2 points in check: AssertionError",
    ),
    "another notebook's setup": (
        other_setup_fails,
        "the instructor's own two.ipynb could not be graded: its setup cell failed: ZeroDivisionError: ",
    ),
    "a setup that kills the kernel": (
        write_setup("import os; os._exit(1)"),
        f"{IN_ONE}its setup cell failed: the kernel died or was killed while running",
    ),
}
if not WHY_NO_SANDBOX:
    FAULTS["a setup that fails in the sandbox"] = (
        needs_a_file_outside,
        f"{IN_ONE}its setup cell failed: FileNotFoundError: ",
    )


FAST = ("a wrong solution",)  # `make grade` itself is tried without a package below


@pytest.mark.parametrize(
    "fault", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in FAULTS]
)
def test_the_right_answer_fails_first(course: Path, fault: str):
    break_course, message = FAULTS[fault]
    break_course(course)
    with pytest.raises(GradingError) as error:
        run_preflight()
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


@pytest.mark.slow
def test_a_course_without_the_instructors_notebooks_is_tried_with_an_empty_one(course: Path):
    for notebook in (course / "solutions").rglob("*.ipynb"):
        notebook.unlink()
    run_preflight()
    preload("1 / 0")(course)
    with pytest.raises(GradingError, match="the kernels' preload failed: ZeroDivisionError: division by zero"):
        run_preflight()


def test_nobody_is_graded_where_the_right_answer_fails(course: Path):
    write_setup("import no_such_package")(course)
    last_line = grade(course, code=1).splitlines()[-1]
    assert last_line.startswith("No submission was graded: the instructor's own one.ipynb could not be graded: ")
    assert last_line.endswith("ModuleNotFoundError: No module named 'no_such_package'")
    with gradebook(course) as book:
        assert book.assignment_submissions(COURSE) == []
    assert not (course / "autograded").exists() and not list(course.glob(".grading/*/results/*"))


def test_the_right_answer_is_short():
    """Every run of `make grade` waits for it."""
    course = course_of(read_settings(REPOSITORY))
    names = tuple(sorted(path.stem for path in (REPOSITORY / "solutions" / course.assignment).glob("*.ipynb")))
    (name, text), *others = preflight.right_answer(course, names).items()
    cells = nbformat.reads(text, as_version=4).cells
    assert name == "01_ioi_metric" and others == []
    assert [cell.metadata.nbgrader.grade_id for cell in cells if "nbgrader" in cell.metadata] == [
        "01_setup",
        "ioi_metric",
        "check_ioi_metric",
    ]


# A setup cell that fails in a submission: its notebook is not graded, the rest of the class is.

BREAK_SETUP = {
    "a package is gone": ("import sys\nsys.modules['decimal'] = None", "ModuleNotFoundError: import of decimal halted"),
    "a file is gone": ("import os\nos.remove('setup.txt')", "FileNotFoundError: [Errno 2]"),
    "a name is taken": ("open = None", "TypeError: 'NoneType' object is not callable"),
    "the kernel dies": ("import os\nexec = lambda text: os._exit(1)", "the kernel died or was killed while running"),
    "it takes too long": ("import time\nexec = lambda text: time.sleep(600)", "KeyboardInterrupt"),
}


def delete(*places: int) -> Callable[[NotebookNode], object]:
    return lambda notebook: [notebook.cells.pop(place) for place in sorted(places, reverse=True)]


def move(place: int, to: int) -> Callable[[NotebookNode], object]:
    return lambda notebook: notebook.cells.insert(to, notebook.cells.pop(place))


def merge_setup_and_answer(notebook: NotebookNode) -> None:
    """As JupyterLab does: the first cell's metadata, and the text of both."""
    notebook.cells[0].source += "\n\n" + notebook.cells.pop(1).source


def lose_all_marks(notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        cell.metadata = NotebookNode()


# Cells changed in a notebook of setup, answer, a locked cell that needs it, and check: the points.
CHANGED = {
    "an answer is deleted": (delete(1), 0),
    "all but the setup is deleted": (delete(1, 2, 3), 0),
    "all is deleted": (delete(0, 1, 2, 3), 0),
    "setup and answer are merged": (merge_setup_and_answer, 0),
    "a locked cell is above the answer": (move(2, to=1), 2),
    "a locked cell is at the top": (move(2, to=0), 2),
    "the setup is below the answer": (move(0, to=1), 2),
    "all marks are lost": (lose_all_marks, 2),
}


def change_notebook(course: Path, student: str, change: Callable[[NotebookNode], object]) -> None:
    """Hand in a right notebook `one` with its cells changed like that, and nothing else."""
    notebook = nbformat.read(course / "submitted" / "ann" / COURSE / "one.ipynb", as_version=4)
    change(notebook)
    place = course / "submitted" / student / COURSE
    place.mkdir(parents=True)
    nbformat.write(notebook, place / "one.ipynb")


@pytest.mark.slow
def test_a_failing_setup_cell_is_no_score(course: Path):
    limit_cells(course, 20)
    for student, (before, _) in BREAK_SETUP.items():
        hand_in(course, student, before=before)
    hand_in(course, "wrong", "print('no answer')")
    for student, (change, _) in CHANGED.items():
        change_notebook(course, student, change)
    _, again = grade(course, code=1).rstrip().split("Not graded, try again: ")
    assert set(again.split(", ")) == set(BREAK_SETUP)
    reasons = remarks(course)
    for student, (_, error) in BREAK_SETUP.items():
        assert reasons[student].startswith(f"one: could not be graded: its setup cell failed: {error}")
    assert {student: reasons[student] for student in ("ann", "wrong")} == {"ann": "", "wrong": ""}
    scores = {student: entry[0] for (student, notebook, _), entry in entries(course).items() if notebook == "one"}
    changed = {student: expected for student, (_, expected) in CHANGED.items()}
    assert scores == {"ann": 2, "wrong": 0} | dict.fromkeys(BREAK_SETUP) | changed
    assert points(course) == {"ann": 4, "wrong": 2} | dict.fromkeys(BREAK_SETUP, 2) | changed
    graded = {path.parts[-3] for path in course.glob(f"autograded/*/{COURSE}/one.ipynb")}
    assert graded == {"ann", "wrong", *CHANGED}

    classroom = Classroom.of(read_settings())
    again = classroom.plan(classroom.course.students())
    assert {task.student for task in again.to_grade} == set(BREAK_SETUP) and again.to_enter == []
    hand_in(course, "a file is gone")
    grade(course, "--student", "a file is gone")
    assert points(course)["a file is gone"] == 4
    hand_in(course, "a file is gone", before="open = None")
    grade(course, "--student", "a file is gone", code=1)
    assert entries(course)["a file is gone", "one", "check"][0] == 2, "an earlier score was replaced"


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        ([("1", {"locked": True}), ("2", {"solution": True}), ("3", {"locked": True})], ["1"]),
        ([("1", {}), ("2", {"locked": True, "grade": True, "points": 1}), ("3", {"locked": True})], ["3"]),
        ([("1", {"solution": True, "locked": True}), ("2", {"locked": True})], []),
        ([("1", {"locked": True}), ("2", {"locked": True})], ["1", "2"]),
    ],
)
def test_setup_cells_are_locked_and_stand_before_the_answers(cells: list[tuple[str, dict]], found: list[str]):
    words = [
        {"cell_type": "markdown", "grade_id": "words", **marks} for marks in ({"locked": True}, {"solution": True})
    ]
    code = [{"cell_type": "code", "grade_id": name, **marks} for name, marks in cells]
    assert preprocessors.setup_names([*words, {"cell_type": "code"}, *code]) == found


# A failure of the grader's in a submission.


@pytest.mark.parametrize(
    ("module", "reply", "sandboxed"),
    [
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'", True),
        ("raise OSError(28, 'No space left on device')", "OSError: [Errno 28] No space left on device", False),
        ("raise ValueError('one line\\nand another')", "ValueError: one line", True),
        ("import os; os._exit(1)", "", True),
    ],
)
def test_a_failing_preload_is_reported(
    module: str, reply: str, sandboxed: bool, scratch: Path, monkeypatch: pytest.MonkeyPatch
):
    if sandboxed and WHY_NO_SANDBOX:
        pytest.skip(WHY_NO_SANDBOX)
    (scratch / "preloaded.py").write_text(module)
    monkeypatch.syspath_prepend(scratch)
    server = make_kernel_server(scratch, "preloaded", sandboxed)
    with pytest.raises(GradingError, match="the kernels' preload failed: ") as error:
        server.ensure_ready()
    server.stop()
    assert reply in str(error.value)


def no_bubblewrap(course: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("PATH", "")
    patch.setattr(sandbox, "why_unavailable", lambda: "")


def long_sockets(course: Path, patch: pytest.MonkeyPatch) -> None:
    folder = course / ("long" * 25)
    folder.mkdir()
    patch.setattr(worker, "scratch", lambda _: folder)


def no_preload(course: Path, patch: pytest.MonkeyPatch) -> None:
    preload("import no_such_package")(course)


def no_kernel(course: Path, patch: pytest.MonkeyPatch) -> None:
    append_setting(course, "c.Execute.extra_arguments = ['--version']")


def no_nbgrader(course: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(worker.sys, "executable", "/bin/false")


OUR_FAILURES = {
    no_nbgrader: ("nbgrader's process exited with code 1", False),
    no_preload: ("the kernels' preload failed: ModuleNotFoundError: No module named 'no_such_package'", None),
    long_sockets: ("OSError: AF_UNIX path too long", False),
    no_kernel: ("RuntimeError: Kernel died before replying to kernel_info", None),
}
if not WHY_NO_SANDBOX:
    OUR_FAILURES[no_bubblewrap] = ("FileNotFoundError: [Errno 2] No such file or directory: 'bwrap'", True)


@pytest.mark.parametrize("fail", mark_slow(OUR_FAILURES, fast=1))
def test_our_own_failure_is_no_score(course: Path, fail: Callable, monkeypatch: pytest.MonkeyPatch):
    reason, sandboxed = OUR_FAILURES[fail]
    with monkeypatch.context() as patch:
        fail(course, patch)
        classroom, task = plan(**({} if sandboxed is None else {"sandboxed": sandboxed}))
        worker.grade(task)
    progress = Mock()
    assert not classroom.enter(task, progress)
    (line,) = progress.write.call_args.args
    assert f"one: could not be graded: {reason}" in line
    assert {score for score, *_ in entries(course).values()} == {None}
    assert plan()[1].student == "ann", "a later run does not grade the submission again"


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (OSError(28, "No space left on device"), True),
        (ConnectionRefusedError("the kernel's socket"), True),
        (TimeoutError("no answer"), True),
        (RuntimeError("Kernel died before replying to kernel_info"), True),
        (RuntimeError("Kernel didn't respond in 60 seconds"), True),
        (GradingError("the kernels' preload failed"), True),
        (CellTimeoutError("a loop"), False),
        (DeadKernelError("Kernel died"), False),
        (RuntimeError("Inconsistent checksums for cell check"), False),
        (KeyError("name"), False),
        (None, False),
    ],
)
def test_a_failure_of_the_machine_is_told_apart_from_one_of_the_submission(error: Exception | None, ours: bool):
    assert autograde.describe(error).startswith("could not be graded: ") == ours


# Sockets have short paths.

TMPDIRS = ["short", "a" * 74, "Übungen und Prüfungen 1 " * 4, "ö" * 100 + "/" + "b" * 100]


@pytest.fixture
def tmpdir(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """TMPDIR, a folder with that name."""
    with tempfile.TemporaryDirectory() as short:
        folder = Path(short) / request.param
        folder.mkdir(parents=True)
        monkeypatch.setenv("TMPDIR", str(folder))
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tmpdir", "sandboxed"),
    [(TMPDIRS[0], True), pytest.param(TMPDIRS[2], True, marks=needs_sandbox), (TMPDIRS[3], False)],
    indirect=["tmpdir"],
)
def test_kernels_run_whatever_tmpdir_is(course: Path, tmpdir: Path, sandboxed: bool):
    run_preflight(sandboxed and not WHY_NO_SANDBOX)


@pytest.mark.parametrize("tmpdir", TMPDIRS, indirect=True, ids=len)
def test_sockets_have_short_paths_in_a_folder_of_our_own(course: Path, tmpdir: Path):
    folder = worker.scratch(course_of(read_settings()))
    assert len(os.fsencode(folder / "tmp12345678" / warm_kernels.SOCKETS / "s-5")) < 104
    assert folder.parent.stat().st_uid == os.getuid()
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    assert folder.is_relative_to(tmpdir) == (tmpdir.name == "short")


@pytest.mark.parametrize("tmpdir", ["short"], indirect=True)
def test_somebody_elses_folder_is_not_used(course: Path, tmpdir: Path):
    (tmpdir / f"grading-{os.getuid()}").symlink_to(course)
    with pytest.raises(GradingError, match="belongs to another user"):
        worker.scratch(course_of(read_settings()))


# Two clones, one environment: the packages are those beside the settings.

STUBS = {
    "tests/__init__.py": "WHERE = 'the clone'\n",
    "utils/__init__.py": "WHERE = 'the clone'\n",
    "utils/models.py": "GRADING_MODEL = 'none'\ndef preload_model():\n    pass\n",
    "utils/plots.py": "def heat_map(values):\n    pass\n",
}
CLONE_SETTINGS = """
c.CourseDirectory.course_id = "tiny"
c.ClassGrading.prepare = ""
c.Execute.timeout = 30
"""


@pytest.fixture(scope="module")
def pristine_clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another copy of the workbook, with other checks, in the environment in which this one is installed."""
    clone = tmp_path_factory.mktemp("clones") / "another clone"
    shutil.copytree(REPOSITORY / "grading", clone / "grading", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in STUBS.items():
        (clone / name).parent.mkdir(exist_ok=True)
        (clone / name).write_text(text)
    fill_course(clone, (REPOSITORY / "nbgrader_config.py").read_text(encoding="utf-8") + CLONE_SETTINGS)
    check = "import tests, utils\nassert tests.WHERE == utils.WHERE == 'the clone'"
    (clone / "solutions" / COURSE / "setup.txt").write_text(check)
    hand_in(clone, "ann")
    return clone


@pytest.fixture
def clone(pristine_clone: Path, tmp_path: Path) -> Path:
    return shutil.copytree(pristine_clone, tmp_path / "another clone")


@pytest.mark.slow
def test_a_clone_is_graded_with_its_own_packages(clone: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    grade(clone)
    assert points(clone) == {"ann": 4}


@pytest.mark.slow
def test_a_clone_whose_own_packages_are_not_found_is_refused(clone: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    refused = grade(clone, "--without-sandbox", code=1).splitlines()[-1]
    assert refused.startswith("No submission was graded: the workbook's packages are imported from ")
    assert refused.endswith(f"; set PYTHONPATH={clone}")
    monkeypatch.setenv("PYTHONPATH", str(clone))
    grade(clone, "--without-sandbox")
    assert points(clone) == {"ann": 4}


def test_nbgrader_grades_a_clone_with_its_own_packages_and_enters_nothing_where_the_setup_fails(clone: Path):
    """nbgrader's own command, with this repository's settings."""
    change_notebook(clone, "changed", delete(1))
    change_notebook(
        clone, "broken", lambda notebook: notebook.cells.insert(0, nbformat.v4.new_code_cell("open = None"))
    )
    script = Path(sys.executable).with_name("nbgrader")
    done = subprocess.run([script, "autograde", COURSE], cwd=clone, capture_output=True, text=True)
    assert done.returncode == 1 and "its setup cell failed: TypeError: 'NoneType' object is not callable" in done.stderr
    scores = {student: entry[0] for (student, notebook, _), entry in entries(clone).items() if notebook == "one"}
    assert scores == {"ann": 2, "changed": 0, "broken": None}
    assert not (clone / "autograded" / "broken" / COURSE).exists(), "a later run does not grade it again"


def test_other_packages_than_the_clones_are_refused(clone: Path):
    """As on a worker of a scheduler that was started elsewhere."""
    with pytest.raises(GradingError) as error:
        preflight.require_packages_of(clone)
    packages = f"the workbook's packages are imported from {REPOSITORY} instead of {clone}"
    assert str(error.value) == f"{packages}; set PYTHONPATH={clone}"
    preflight.require_packages_of(REPOSITORY)
    preflight.require_packages_of(clone / "solutions")
