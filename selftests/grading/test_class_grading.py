"""`python -m grading` grades a class as nbgrader does, in parallel and once, and isolates submissions."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import nbformat
import psutil
import pytest

from grading import __main__ as command
from grading.classroom import Classroom, Plan
from grading.course import read_settings
from grading.folders import remove
from grading.kernels.limits import Limits, Usage
from grading.settings import ClassGrading
from grading.submissions import copy_submission, inspect_submission
from grading.worker import notes_on
from selftests.grading.tiny_class import (
    CLASS,
    COURSE,
    POINTS,
    RIGHT,
    WRONG,
    GradedClass,
    entries,
    grade,
    gradebook,
    hand_in,
    hand_in_class,
    make_notebook,
    nbgrader,
    needs_sandbox,
    points,
    remarks,
    result_times,
    start,
    tree,
    wait_for,
)

# The same grades as nbgrader's.


def test_grades_equal_those_of_nbgrader_autograde(graded_class: GradedClass, empty_course: Path, tmp_path: Path):
    by_nbgrader = shutil.copytree(empty_course, tmp_path / "by nbgrader")
    hand_in_class(by_nbgrader)
    nbgrader(by_nbgrader, "autograde")
    assert points(graded_class.folder) == POINTS
    assert entries(graded_class.folder) == entries(by_nbgrader)
    assert tree(graded_class.folder / "autograded") == tree(by_nbgrader / "autograded")


def test_points_and_remarks_are_printed_and_reported(graded_class: GradedClass):
    missing = [student for student in POINTS if f"{student}: {POINTS[student]} of 4 points" not in graded_class.output]
    assert missing == [], graded_class.output
    assert remarks(graded_class.folder) == {"ann": "", "bob": "", "cem": "one: missing", "dee": ""}


def test_report_links_to_nbgraders_feedback(graded_course: Path):
    nbgrader(graded_course, "generate_feedback", "--student", "bob")
    assert (graded_course / "feedback" / "bob" / COURSE / "two.html").exists()
    subprocess.run([sys.executable, "-m", "grading.class_report"], cwd=graded_course, check=True)
    page = (graded_course / ".grading" / COURSE / "report.html").read_text(encoding="utf-8")
    assert "4 students: 4 graded" in page and "cem" in page and "one: missing" in page
    assert f"../../feedback/bob/{COURSE}/two.html" in page


# Each submission is graded once.


def test_only_new_and_changed_submissions_are_graded(graded_course: Path):
    before = result_times(graded_course)
    hand_in(graded_course, "bob", {"two": RIGHT})
    hand_in(graded_course, "eve", {"one": RIGHT, "two": WRONG})
    assert "5 submissions: 3 graded already, 2 to grade." in grade(graded_course)
    after = result_times(graded_course)
    assert {student for student in after if after[student] != before.get(student)} == {"bob", "eve"}
    assert points(graded_course) == POINTS | {"bob": 4, "eve": 2}


@pytest.mark.slow
def test_manual_scores_survive_grading_again_by_force(graded_course: Path):
    before = result_times(graded_course)
    with gradebook(graded_course) as book:
        book.find_grade("check", "one", COURSE, "dee").manual_score = 1
        book.db.commit()
    assert "4 graded already" in grade(graded_course)
    grade(graded_course, "--force", "--student", "dee", "--student", "cem")
    after = result_times(graded_course)
    assert {student for student in after if after[student] != before[student]} == {"cem", "dee"}
    assert points(graded_course) == POINTS | {"dee": 3}
    with gradebook(graded_course) as book:
        assert book.find_grade("check", "one", COURSE, "dee").needs_manual_grade


@pytest.mark.slow
def test_a_removed_gradebook_is_filled_again(graded_course: Path, empty_course: Path):
    shutil.copy(empty_course / "gradebook.db", graded_course)
    grade(graded_course, "--student", "bob")
    assert points(graded_course) == {"bob": POINTS["bob"]}


# One run at a time; test_class_kills.py kills them at random moments.


def graders_of(process: subprocess.Popen) -> list[psutil.Process]:
    """List the processes in which nbgrader grades."""
    children = psutil.Process(process.pid).children(recursive=True)
    # A process that has just exited has no command line.
    return [child for child in children if "grading.autograde" in (child.as_dict(["cmdline"])["cmdline"] or [])]


@pytest.mark.slow
def test_a_concurrent_second_run_is_refused(course: Path):
    hand_in_class(course)
    process = start(course)
    wait_for(lambda: graders_of(process))
    process.send_signal(signal.SIGSTOP)  # or it might finish before the second run begins
    assert "Another run is grading tiny" in grade(course, code=1)
    process.send_signal(signal.SIGCONT)
    process.communicate(timeout=600)
    assert points(course) == POINTS


def plan_of(course: Path, students: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[Classroom, Plan]:
    """Plan to grade these students as `python -m grading` does in a course's folder."""
    monkeypatch.chdir(course)
    classroom = Classroom.of(read_settings())
    classroom.course.state.mkdir(parents=True)
    return classroom, classroom.plan(students)


def test_workers_do_not_receive_the_gradebooks_url(course: Path, monkeypatch: pytest.MonkeyPatch):
    hand_in(course, "ann", CLASS["ann"])
    classroom, plan = plan_of(course, ["ann"], monkeypatch)
    assert b"ann" in pickle.dumps(plan.to_grade)
    assert classroom.gradebook.url.encode() not in pickle.dumps(plan.to_grade)


def test_a_result_that_a_worker_did_not_save_is_reported(course: Path, monkeypatch: pytest.MonkeyPatch):
    hand_in(course, "ann", CLASS["ann"])
    classroom, plan = plan_of(course, ["ann"], monkeypatch)
    (task,) = plan.to_grade
    progress = Mock()
    assert not classroom.enter(task, progress)
    saved = f"its worker saved no result in {classroom.course.state}, a folder that all workers must share"
    progress.write.assert_called_once_with(f"ann: NOT GRADED ({saved})")


# Hostile and invalid submissions lose their own points only; test_hostile_grading.py has many more.


@pytest.mark.parametrize(
    ("code", "limits", "reason"),
    [
        ("x = b'x' * 300_000_000; input()", {"memory": 200 * 2**20}, "it used more than 0.195312 GB of memory"),
        (
            "import mmap; x = mmap.mmap(-1, 300_000_000); x.write(b'x' * 300_000_000); input()",
            {"memory": 200 * 2**20},
            "it used more than",
        ),
        (  # which may hold much that belongs to no process
            "import socket; x = [socket.socketpair() for _ in range(300)]; input()",
            {"memory": 200 * 2**20},
            "it used more than",
        ),
        (
            "import threading; x = [threading.Thread(target=threading.Event().wait).start() for _ in range(30)]",
            {"threads": 20},
            "it had more than 20 threads",
        ),
        (  # pages shared by two processes count once
            "import os, time; x = b'x' * 150_000_000; os.wait() if os.fork() else time.sleep(2)",
            {"memory": 200 * 2**20},
            "",
        ),
        ("input()", {"seconds": 1}, "it ran longer than 1 seconds"),
        ("print()", {}, ""),
    ],
)
def test_exceeded_limits_are_detected(tmp_path: Path, code: str, limits: dict, reason: str):
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdin=subprocess.PIPE) as process:
        # This process, which may be large after many tests, takes the place of nbgrader's.
        usage = Usage(process.pid, Limits(**{"seconds": 600, "nbgrader_memory": 2**40} | limits))
        found = ""
        while not found and process.poll() is None:
            found = usage.excess()
            time.sleep(0.1)
        process.kill()
    assert found.startswith(reason) and bool(found) == bool(reason)


def test_what_nbgrader_has_used_before_a_notebook_does_not_count():
    """It may not have returned the memory in which it held the output of the notebook before."""
    kept = [b"x" * 300 * 2**20]
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        usage = Usage(process.pid, Limits(seconds=600, nbgrader_memory=100 * 2**20))
        assert usage.excess() == ""
        kept.append(b"x" * 150 * 2**20)
        assert usage.excess() == "it printed too much"
        process.kill()


def test_folders_too_deep_for_python_are_removed(tmp_path: Path):
    folder = place = tmp_path / "folder"
    for _ in range(1200):
        place = f"{place}/d"
        os.makedirs(place)
    Path(folder, "d").chmod(0)
    remove(folder)
    assert not folder.exists()


def test_everything_that_looks_like_a_notebook_is_graded_or_named(tmp_path: Path):
    names = (
        "one.ipynb",
        "exercises/two.ipynb",
        "two.ipynb.json",
        "TWO.IPYNB",
        "two (1).ipynb",
        "._two.ipynb",
        "two.py",
    )
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    rule = "was not graded: a notebook must lie beside the others and end in .ipynb"
    assert notes_on(inspect_submission(tmp_path, ignore=()), ("one", "two"), {}) == [
        f"TWO.IPYNB {rule}",
        f"exercises/two.ipynb {rule}",
        "two (1).ipynb is not a notebook of the assignment",
        f"two.ipynb.json {rule}",
    ]


def test_notebooks_are_copied_without_a_byte_order_mark(tmp_path: Path):
    """nbgrader refuses it, and some editors on Windows add it."""
    notebook = hand_in(tmp_path, "ann", {"one": RIGHT}) / "one.ipynb"
    text = notebook.read_text(encoding="utf-8")
    notebook.write_text(text, encoding="utf-8-sig")
    copy_submission(notebook.parent, tmp_path / "copy", inspect_submission(notebook.parent, ignore=()))
    assert (tmp_path / "copy" / "one.ipynb").read_text(encoding="utf-8") == text


def test_one_worker_per_core_that_may_be_used():
    program = "from grading.settings import ClassGrading; print(ClassGrading().workers)"
    one_core = ["taskset", "--cpu-list", str(min(os.sched_getaffinity(0)))]
    found = subprocess.run([*one_core, sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "1\n"


def test_unreadable_files_are_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("one.ipynb", "secret\n"):
        (tmp_path / name).touch()
    # Root, who may run this test, can read every file.
    monkeypatch.setattr(os, "access", lambda path, mode: "secret" not in str(path))
    contents = inspect_submission(tmp_path, ignore=())
    assert contents.files == [Path("one.ipynb")]
    assert contents.remarks() == ["secret\\n is unreadable and was ignored"]


@needs_sandbox
def test_a_sandbox_is_required(course: Path, grading_error: Callable[..., str], monkeypatch: pytest.MonkeyPatch):
    hand_in(course, "ann", CLASS["ann"])
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert "bubblewrap is not installed" in grading_error(course)


# Errors are one sentence.


def test_missing_things_are_named(course: Path, grading_error: Callable[..., str]):
    assert grading_error(course).startswith("There are no submissions in folders such as ")
    assert grading_error(course, "--workers=0").startswith("A setting is invalid: The value of the 'workers' trait")
    hand_in(course, "ann", CLASS["ann"])
    assert grading_error(course, "--student", "zoe") == "There is no submission by zoe."
    (course / "submitted" / "ann" / "other").mkdir()
    assert grading_error(course, "other").startswith("The gradebook has no assignment 'other': run `nbgrader")
    (course / "nbgrader_config.py").rename(course / "elsewhere.py")
    assert grading_error(course).startswith(f"There is no nbgrader_config.py in {course} that names a course: ")


@pytest.mark.parametrize(
    "address",
    ["nonsense", *(pytest.param(url, marks=pytest.mark.slow) for url in ("tcp://127.0.0.1:9", "tcp://no.such.host:9"))],
)
def test_a_scheduler_that_does_not_answer_is_named(course: Path, grading_error: Callable[..., str], address: str):
    hand_in(course, "ann", CLASS["ann"])
    assert grading_error(course, "--scheduler", address).startswith(f"No scheduler answers at {address}: ")


@pytest.mark.parametrize("where", ["", "c.CourseDirectory.db_url = 'postgresql://grader:secret@/no?host=/nowhere'"])
def test_a_gradebook_that_cannot_be_opened_is_named(course: Path, grading_error: Callable[..., str], where: str):
    hand_in(course, "ann", CLASS["ann"])
    with open(course / "nbgrader_config.py", "a", encoding="utf-8") as settings:
        settings.write(where)
    if not where:
        (course / "gradebook.db").write_text("not a database")
    error = grading_error(course)
    assert error.startswith("The gradebook ") and "cannot be opened: " in error and "secret" not in error


@pytest.mark.slow
def test_full_points_without_what_a_pass_prints_are_named(course: Path):
    check = "assert answer == 42\nprint('answer: all checks passed.')"
    solution = course / "solutions" / COURSE / "one.ipynb"
    nbformat.write(make_notebook(f"### BEGIN SOLUTION\n{RIGHT}\n### END SOLUTION", check), solution)
    nbgrader(course, "generate_assignment", "--create", "--force")
    with open(course / "nbgrader_config.py", "a", encoding="utf-8") as settings:
        settings.write("c.ClassGrading.pass_prints = 'all checks passed.'\n")
    without_check = "get_ipython().input_transformers_post.append(lambda lines: [])"
    for student, answer in {"ann": RIGHT, "bob": WRONG, "eve": without_check}.items():
        hand_in(course, student, {"one": answer})
    grade(course)
    named = "one: full points, but the check did not print that it passed: check"
    assert points(course) == {"ann": 2, "bob": 0, "eve": 2}
    assert remarks(course) == {"ann": "two: missing", "bob": "two: missing", "eve": f"two: missing; {named}"}


def test_limits_on_the_size_of_submissions_are_settings(course: Path, monkeypatch: pytest.MonkeyPatch):
    for student, size in {"ann": 1, "bob": 3, "cem": 2}.items():
        for name in ("data", "more"):
            (hand_in(course, student, {}) / name).write_bytes(b"x" * size * 10**6)
    with open(course / "nbgrader_config.py", "a", encoding="utf-8") as settings:
        settings.write("c.ClassGrading.file_megabytes = 2.5\nc.ClassGrading.submission_megabytes = 3\n")
    _, plan = plan_of(course, ["ann", "bob", "cem"], monkeypatch)
    assert [task.student for task in plan.to_grade] == ["ann"]
    assert plan.not_graded == {
        "bob": "data has 3 MB, and 2.5 are the limit of a file",
        "cem": "its files have 4 MB, and 3 are the limit",
    }


def test_the_command_lists_its_settings(capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit):
        command.main(["--help-all"])
    printed = capsys.readouterr().out
    missing = [name for name in ClassGrading.class_own_traits(config=True) if f"--ClassGrading.{name}=" not in printed]
    assert missing == []
    assert all(trait.help for trait in ClassGrading.class_own_traits(config=True).values())
