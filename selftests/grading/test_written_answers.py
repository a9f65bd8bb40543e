"""Written answers are left out of the exercises unless asked for, and are graded by hand."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from grading.demo import demo_class as demo
from selftests.grading.tiny_class import (
    COURSE,
    RIGHT,
    SETTINGS,
    grade,
    gradebook,
    make_cell,
    make_notebook,
    nbgrader,
    points,
)

QUESTION, RUBRIC, MODEL_ANSWER = "Why does it work?", "2 points: names the reason.", "Because 6 times 7 is 42."
WITH_WRITTEN_ANSWERS = """
from nbgrader.converters import GenerateAssignment
from grading.written_answers import WrittenAnswers
c.GenerateAssignment.preprocessors = [WrittenAnswers, *GenerateAssignment.preprocessors.default()]
c.WrittenAnswers.include = True
"""


def markdown(source: str, tag: str, **metadata: object) -> NotebookNode:
    return nbformat.v4.new_markdown_cell(source, metadata={"tags": [tag], **metadata})


def make_solution(place: Path) -> None:
    """Save a notebook with an exercise in code and one in words."""
    notebook = make_notebook(f"### BEGIN SOLUTION\n{RIGHT}\n### END SOLUTION")
    marks = make_cell("", "written_why", grade=True, solution=True, points=2).metadata.nbgrader
    notebook.cells += [
        markdown(QUESTION, "written-answer"),
        markdown(RUBRIC, "rubric"),
        markdown(MODEL_ANSWER, "written-answer", nbgrader=marks),
    ]
    place.mkdir(parents=True)
    nbformat.write(notebook, place / "one.ipynb")


@pytest.mark.parametrize(
    ("options", "words", "cells"),
    [
        ([], [], ["answer", "check"]),
        (
            ["--WrittenAnswers.include=True"],
            [QUESTION, "YOUR ANSWER HERE"],
            ["answer", "check", "written_why"],
        ),
    ],
    ids=["off by default", "on"],
)
def test_a_release_has_written_answers_only_if_asked(
    tmp_path: Path, options: list[str], words: list[str], cells: list[str]
):
    """With this repository's settings; the rubric and the model answer are never in it."""
    make_solution(tmp_path / "solutions" / demo.COURSE)
    demo.nbgrader(tmp_path, "generate_assignment", "--create", *options)
    released = nbformat.read(tmp_path / "exercises" / demo.COURSE / "one.ipynb", as_version=4).cells
    assert [cell.source for cell in released if cell.cell_type == "markdown"] == words
    assert [cell.metadata.nbgrader.grade_id for cell in released if "nbgrader" in cell.metadata] == cells
    with demo.Gradebook(f"sqlite:///{tmp_path / 'gradebook.db'}", demo.COURSE) as book:
        notebook = book.find_notebook("one", demo.COURSE)
        assert sorted(cell.name for cell in notebook.source_cells) == cells
        assert notebook.max_score == 2 * (len(cells) - 1)


def hand_in(course: Path, student: str, words: str | None) -> None:
    """Save a submission that is the exercises with the code's answer and, unless None, these words."""
    notebook = nbformat.read(course / "exercises" / COURSE / "one.ipynb", as_version=4)
    notebook.cells[0].source = RIGHT
    if words is not None:
        notebook.cells[-1].source = words
    place = course / "submitted" / student / COURSE
    place.mkdir(parents=True)
    nbformat.write(notebook, place / "one.ipynb")


@pytest.mark.slow
def test_a_written_answer_waits_for_its_points(tmp_path: Path):
    course = tmp_path / "a course"
    make_solution(course / "solutions" / COURSE)
    (course / "nbgrader_config.py").write_text(SETTINGS + WITH_WRITTEN_ANSWERS)
    nbgrader(course, "generate_assignment", "--create")
    hand_in(course, "ann", "Seven sixes.")
    hand_in(course, "bob", None)
    printed = grade(course)
    assert "ann: 2 of 4 points" in printed and "bob: 2 of 4 points" in printed
    assert "to be graded manually: one: written_why" in report_of(course)
    with gradebook(course) as book:
        answers = {student: book.find_grade("written_why", "one", COURSE, student) for student in ("ann", "bob")}
        found = {student: (answer.auto_score, answer.needs_manual_grade) for student, answer in answers.items()}
        assert found == {"ann": (None, True), "bob": (0, False)}  # bob wrote nothing
        answers["ann"].manual_score, answers["ann"].needs_manual_grade = 1.5, False
        book.db.commit()
    assert points(course) == {"ann": 3.5, "bob": 2}
    assert "to be graded manually" not in report_of(course)


def report_of(course: Path) -> str:
    """Write the report on the class; return its page."""
    subprocess.run([sys.executable, "-m", "grading.class_report"], cwd=course, check=True, capture_output=True)
    return (course / ".grading" / COURSE / "report.html").read_text(encoding="utf-8")
