"""Notebooks under a copy's name, and what a release would delete."""

import shutil
from pathlib import Path

import nbformat
import pytest

from grading import release
from grading.course import course_of, read_settings
from grading.submissions import renamed_copies
from selftests import REPOSITORY
from selftests.browsing import make
from selftests.grading.tiny_class import COURSE, RIGHT, grade, hand_in, needs_sandbox, points, remarks

NAMES = ("01_ioi_metric", "03_attention_heads", "03_attention_heads_2")
OWN = "03_attention_heads.ipynb"


@pytest.mark.parametrize(
    "name",
    [
        "03_attention_heads (1).ipynb",
        "03_attention_heads(12).ipynb",
        "03_attention_heads-1.ipynb",
        "03_attention_heads 2.ipynb",
        "03_attention_heads-Copy1.ipynb",
        "03_attention_heads.IPYNB",
    ],
)
def test_a_copys_name_stands_for_the_missing_notebook(name: str):
    assert renamed_copies(["01_ioi_metric.ipynb", name, "data.csv"], NAMES) == {name: OWN}


@pytest.mark.parametrize(
    "names",
    [
        ["03_attention_heads (1).ipynb", "03_attention_heads.ipynb"],
        ["03_attention_heads (1).ipynb", "03_attention_heads (2).ipynb"],
        ["03_attention_heads (1).ipynb", "03_attention_heads-Copy1.ipynb"],
        ["03_attention_heads_2.ipynb"],
        ["my 03_attention_heads (1).ipynb"],
        ["03_attention_heads (final).ipynb"],
        ["03_attention_heads (1).ipynb.json"],
        ["03_attention_headsX(1).ipynb"],
    ],
)
def test_a_name_that_may_mean_something_else_stands_for_nothing(names: list[str]):
    assert renamed_copies(names, NAMES) == {}


@pytest.mark.slow
@needs_sandbox
def test_a_copys_name_costs_no_points_and_is_remarked(course: Path):
    for student, name in {"ann": "one (1)", "bob": "one-Copy1", "cem": "one (1)"}.items():
        place = hand_in(course, student, {"one": RIGHT, "two": RIGHT})
        (place / "one.ipynb").rename(place / f"{name}.ipynb")
    shutil.copy(place / "one (1).ipynb", place / "one (2).ipynb")
    place = hand_in(course, "dee", {"one": RIGHT, "two": RIGHT})
    (place / "one.ipynb").rename(place / "one (1).ipynb")
    (place / "one.ipynb").mkdir()
    (place / "one.ipynb" / "data.csv").touch()
    grade(course)
    assert points(course) == {"ann": 4, "bob": 4, "cem": 2, "dee": 2}
    unclear = [f"one ({number}).ipynb is not a notebook of the assignment" for number in (1, 2)]
    assert remarks(course) == {
        "ann": "one (1).ipynb was graded as one.ipynb",
        "bob": "one-Copy1.ipynb was graded as one.ipynb",
        "cem": "; ".join(["one: missing", *unclear]),
        "dee": "; ".join(["one: missing", unclear[0]]),
    }


def foreign(course: Path) -> list[str]:
    """Put files of an instructor's own into the released folder; return their paths in it."""
    folder = course / "exercises" / COURSE
    (folder / "data").mkdir()
    for name in ("notes.txt", "mine.ipynb", "data/table.csv"):
        shutil.copy(folder / "one.ipynb", folder / name)
    (folder / "link").symlink_to(course / "nowhere")
    return ["data/table.csv", "link", "mine.ipynb", "notes.txt"]


def test_a_release_names_what_it_would_delete(
    course: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.chdir(course)
    assert release.main() == 0
    (course / "exercises" / COURSE / ".ipynb_checkpoints").mkdir()  # nbgrader's settings ignore it
    (course / "exercises" / COURSE / ".ipynb_checkpoints" / "one-checkpoint.ipynb").touch()
    assert release.main() == 0 and capsys.readouterr().err == ""
    names = foreign(course)
    assert release.main() == 1
    *lines, last = capsys.readouterr().err.splitlines()
    assert lines == [f"{course / 'exercises' / COURSE / name} was not made by a release." for name in names]
    assert last.startswith("Nothing was released")


@pytest.mark.parametrize("change", ["answer", "output", "execution_count", "no JSON"])
def test_a_release_names_answers(
    change: str, course: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    file = course / "exercises" / COURSE / "two.ipynb"
    notebook = nbformat.read(file, as_version=4)
    if change == "answer":
        notebook.cells[0].source = RIGHT
    elif change == "output":
        notebook.cells[0].outputs = [nbformat.v4.new_output("stream", text="42")]
    else:
        notebook.cells[0].execution_count = 1
    nbformat.write(notebook, file)
    if change == "no JSON":
        file.write_text("<<<<<<< HEAD")
    monkeypatch.chdir(course)
    assert release.main() == 1
    assert capsys.readouterr().err.startswith(f"{file} has answers or outputs.\n")


def test_make_release_deletes_nothing(course: Path):
    shutil.copy(REPOSITORY / "Makefile", course)
    before = {name: (course / "exercises" / COURSE / name).lstat().st_ino for name in foreign(course)}
    done = make(course, "release")
    assert done.returncode and "notes.txt was not made by a release" in done.stderr
    assert {name: (course / "exercises" / COURSE / name).lstat().st_ino for name in before} == before


def test_the_committed_exercises_are_as_released(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(REPOSITORY)
    assert release.answered_notebooks(course_of(read_settings())) == {}
