"""Copied, split and deleted cells and foreign metadata cost right answers no points, and gain wrong ones none."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from nbconvert.exporters import HTMLExporter, NotebookExporter
from nbformat import NotebookNode
from nbgrader.server_extensions.formgrader import handlers
from traitlets.config import Config

from grading.course import read_settings
from grading.gradebooks import url
from grading.preprocessors import SANITIZE
from grading.restored_cells import REMARKS
from selftests import REPOSITORY
from selftests.grading.tiny_class import (
    COURSE,
    SETTINGS,
    entries,
    grade,
    make_cell,
    make_notebook,
    nbgrader,
    remarks,
)

RIGHT, WRONG = "answer = right", "answer = right - 1"
EQUAL_LATER = """
class Answer:
    tries = 0

    def __eq__(self, other):
        self.tries += 1
        return self.tries > 1

answer = Answer()
"""
CHECK = "assert answer == right\n### BEGIN HIDDEN TESTS\nassert answer == 42\n### END HIDDEN TESTS"
WORDS = "Because 6 times 7 is 42."
SETUP, ANSWER, TESTED, WRITTEN = range(4)
"""The places of the cells with marks: set-up, answer, its check, and an answer in words, worth two points each."""
STATE = "application/vnd.jupyter.widget-state+json"
COLAB = {"0a": {"model_module": "nowhere", "model_name": "UnknownModel", "state": {}}}
"""The state of widgets as Colab saves it: without "state" around it."""
SANITIZED = "from grading.preprocessors import SANITIZE\nc.Autograde.sanitize_preprocessors = SANITIZE\n"

# As editors do that paste a cell with its id.
pytestmark = pytest.mark.filterwarnings("ignore:Non-unique cell id")

Change = Callable[[NotebookNode], object]


@dataclass(frozen=True)
class Odd:
    """A student whose notebook something ordinary happened to."""

    change: Change
    """The change to a notebook with a right answer and some words."""
    remarks: tuple[str, ...] = ()
    points: float | None = 2
    """The check's points; the answer in words waits for its points."""
    answer: str = RIGHT


def copy_of(notebook: NotebookNode, place: int, source: str | None = None) -> NotebookNode:
    """Return a copy of a cell with all of its metadata, as editors paste it, but for its text if one is given."""
    cell = nbformat.from_dict(json.loads(json.dumps(notebook.cells[place])))
    cell.source = cell.source if source is None else source
    return cell


def paste(place: int, at: int | None = None, source: str | None = None, **marks: object) -> Change:
    """Paste a copy of a cell, at the end unless said otherwise."""

    def pasted(notebook: NotebookNode) -> None:
        cell = copy_of(notebook, place, source)
        cell.metadata.nbgrader.update(marks)
        notebook.cells.insert(len(notebook.cells) if at is None else at, cell)

    return pasted


def split(place: int, *sources: str) -> Change:
    """Split a cell into two with these texts, as JupyterLab does: both keep the metadata."""

    def parted(notebook: NotebookNode) -> None:
        notebook.cells[place : place + 1] = [copy_of(notebook, place, source) for source in sources]

    return parted


def paste_all(notebook: NotebookNode) -> None:
    notebook.cells += [copy_of(notebook, place) for place in range(len(notebook.cells))]


def delete(*places: int) -> Change:
    return lambda notebook: [notebook.cells.pop(place) for place in sorted(places, reverse=True)]


def merge(place: int) -> Change:
    """Merge a cell with the one below it, as JupyterLab does: the first one's metadata stay."""

    def merged(notebook: NotebookNode) -> None:
        notebook.cells[place].source += "\n" + notebook.cells.pop(place + 1).source

    return merged


def in_turn(*changes: Change) -> Change:
    return lambda notebook: [change(notebook) for change in changes]


def without_marks(*places: int) -> Change:
    return lambda notebook: [notebook.cells[place].metadata.pop("nbgrader") for place in places]


def mark(place: int, **marks: object) -> Change:
    return lambda notebook: notebook.cells[place].metadata.nbgrader.update(marks)


def metadata(**values: object) -> Change:
    return lambda notebook: notebook.metadata.update(values)


def in_cells(**values: object) -> Change:
    return lambda notebook: [cell.metadata.update(values) for cell in notebook.cells]


def as_colab_saves(notebook: NotebookNode) -> None:
    """Colab saves format 4.0, whose cells have their ids in the metadata."""
    notebook.nbformat_minor = 0
    for cell in notebook.cells:
        cell.metadata |= {"id": cell.pop("id"), "outputId": "5b", "colab": {"base_uri": "https://localhost:8080/"}}
    notebook.metadata |= {"colab": {"provenance": []}, "accelerator": "GPU", "widgets": {STATE: COLAB}}


def copies(number: int, *names: str, times: int = 2) -> str:
    return f"one: cells found {times} times, of which number {number} counts: {', '.join(names)}"


def put_back(*names: str) -> str:
    return f"one: missing cells were put back: {', '.join(names)}"


def no_answer(*names: str) -> str:
    return f"one: answers missing or without nbgrader's marks: {', '.join(names)}"


CHECK_COPIED, CHECK_AGAIN, ANSWER_COPIED = copies(1, "check"), copies(2, "check"), copies(1, "answer")

DOUBLED = {
    "a check copied to the end": Odd(paste(TESTED), (CHECK_COPIED,)),
    "a check copied thrice": Odd(in_turn(*[paste(TESTED)] * 2), (copies(1, "check", times=3),)),
    "a check copied above its answer": Odd(paste(TESTED, ANSWER), (CHECK_AGAIN,)),
    "an answer split in two": Odd(split(ANSWER, "answer = right + 1", "answer -= 1"), (ANSWER_COPIED,)),
    "an answer split around a check": Odd(
        in_turn(split(ANSWER, "answer = right + 1", "answer -= 1"), paste(TESTED + 1, ANSWER + 1)),
        (ANSWER_COPIED, CHECK_AGAIN),
    ),
    "a notebook pasted twice": Odd(paste_all, (copies(1, "setup", "answer", "written"), CHECK_AGAIN)),
    "an answer put right in a copy": Odd(paste(ANSWER, TESTED, RIGHT), (ANSWER_COPIED,), answer=WRONG),
    "words split in two": Odd(split(WRITTEN, "Because", "6 times 7 is 42."), (copies(1, "written"),)),
    "words below those handed out": Odd(split(WRITTEN, "YOUR ANSWER HERE", WORDS), (copies(2, "written"),)),
}
DOUBLED_AND_WRONG = {
    "a copied check without its test": Odd(paste(TESTED, source="pass"), (CHECK_COPIED,), 0, WRONG),
    "a copied check above without its test": Odd(paste(TESTED, ANSWER, "pass"), (CHECK_AGAIN,), 0, WRONG),
    "a check worth 200 in a copy": Odd(paste(TESTED, points=200), (CHECK_COPIED,)),
    "a check worth 200 in its first copy": Odd(paste(TESTED, TESTED, points=200), (CHECK_COPIED,)),
    "an answer put wrong in a copy": Odd(paste(ANSWER, TESTED, WRONG), (ANSWER_COPIED,), 0),
    "checks until one passes": Odd(in_turn(*[paste(TESTED)] * 2), (copies(1, "check", times=3),), 0, EQUAL_LATER),
}
DELETED = {
    "a deleted check": Odd(delete(TESTED), (put_back("check"),)),
    "a deleted set-up": Odd(delete(SETUP), (put_back("setup"),)),
    "both deleted": Odd(delete(SETUP, TESTED), (put_back("setup", "check"),)),
    "no marks at all": Odd(
        without_marks(SETUP, ANSWER, TESTED, WRITTEN), (put_back("setup", "check", "written"), no_answer("answer"))
    ),
    "no marks on the answer": Odd(without_marks(ANSWER), (no_answer("answer"),)),
    "a check deleted below a split answer": Odd(
        in_turn(delete(TESTED), split(ANSWER, "answer = right + 1", "answer -= 1")), (ANSWER_COPIED, put_back("check"))
    ),
    "an answer merged with its check": Odd(merge(ANSWER), (put_back("check"),)),
    "deleted words": Odd(delete(WRITTEN), (put_back("written"),)),
    "a cell of another notebook": Odd(
        lambda notebook: notebook.cells.append(make_cell("1 / 0", "02_setup", locked=True)),
        ("one: cells of another notebook were run, but not graded: 02_setup",),
    ),
    "another id": Odd(
        mark(TESTED, grade_id="other"),
        (put_back("check"), "one: cells of another notebook were run, but not graded: other"),
    ),
}
DELETED_AND_WRONG = {
    "a deleted answer": Odd(delete(ANSWER), (no_answer("answer"),), 0),
    "an answer and its check deleted": Odd(delete(ANSWER, TESTED), (put_back("check"), no_answer("answer")), 0),
    "all deleted": Odd(
        lambda notebook: notebook.cells.clear(), (put_back("setup", "check", "written"), no_answer("answer")), 0
    ),
    "a wrong answer without its check": Odd(delete(TESTED), (put_back("check"),), 0, WRONG),
    "a check that is an answer": Odd(mark(TESTED, solution=True), (), 0, WRONG),
    "a check without points": Odd(mark(TESTED, grade=False, points=0), (), 0, WRONG),
}
FOREIGN = {
    "a widget state of Colab": Odd(metadata(widgets={STATE: COLAB})),
    "an empty widget state": Odd(metadata(widgets={})),
    "a widget state of another type": Odd(metadata(widgets=[STATE])),
    "an unknown widget": Odd(metadata(widgets={STATE: {"state": COLAB, "version_major": 2, "version_minor": 0}})),
    "saved on Colab": Odd(as_colab_saves),
    "saved on Colab without the check": Odd(in_turn(delete(TESTED), as_colab_saves), (put_back("check"),)),
    "saved by VS Code": Odd(in_cells(vscode={"languageId": "python"}, tags=None)),
    "saved by Kaggle": Odd(in_turn(in_cells(_uuid="5b", trusted=True), metadata(language_info={}, kaggle={"a": None}))),
    "saved by an old nbgrader": Odd(lambda notebook: [mark(place, schema_version=1)(notebook) for place in range(4)]),
    "marks of another type": Odd(
        lambda notebook: notebook.cells[TESTED].metadata.update(nbgrader=["check"]), (put_back("check"),)
    ),
}
KINDS = (DOUBLED, DOUBLED_AND_WRONG, DELETED, DELETED_AND_WRONG, FOREIGN)
ODD = {student: odd for kind in KINDS for student, odd in kind.items()}
GRADED = [student for kind in KINDS for student in list(kind)[:4]]
"""Those whose notebooks are graded; of all others it is only tested what would be."""
HONEST = {"ann": (RIGHT, 2), "bob": (WRONG, 0)}


def make_solution(place: Path) -> None:
    notebook = make_notebook(f"### BEGIN SOLUTION\n{RIGHT}\n### END SOLUTION", CHECK)
    notebook.cells.insert(0, make_cell("right = 42", "setup", locked=True))
    written = nbformat.v4.new_markdown_cell(WORDS)
    written.metadata = make_cell("", "written", grade=True, solution=True, points=2).metadata
    notebook.cells.append(written)
    place.mkdir(parents=True)
    nbformat.write(notebook, place / "one.ipynb")


def hand_in(course: Path, student: str, odd: Odd) -> None:
    """Save what the student got, with an answer and some words, after the change."""
    notebook = nbformat.read(course / "exercises" / COURSE / "one.ipynb", as_version=4)
    notebook.cells[ANSWER].source = odd.answer
    notebook.cells[WRITTEN].source = WORDS
    odd.change(notebook)
    place = course / "submitted" / student / COURSE
    place.mkdir(parents=True)
    # nbformat refuses to write some of these; other editors do not.
    (place / "one.ipynb").write_text(json.dumps(notebook), encoding="utf-8")


@pytest.fixture(scope="module")
def honest_course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course and its honest students, not graded yet."""
    course = tmp_path_factory.mktemp("restored") / "a course"
    make_solution(course / "solutions" / COURSE)
    (course / "nbgrader_config.py").write_text(SETTINGS)
    nbgrader(course, "generate_assignment", "--create")
    for student, (answer, _) in HONEST.items():
        hand_in(course, student, Odd(lambda notebook: None, answer=answer))
    return course


@pytest.fixture(scope="module")
def odd_course(honest_course: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The course with all odd students too, not to be graded."""
    course = shutil.copytree(honest_course, tmp_path_factory.mktemp("odd") / "a course")
    for student, odd in ODD.items():
        hand_in(course, student, odd)
    return course


@pytest.fixture(scope="module")
def ungraded(honest_course: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The course with some odd students of each kind, not graded yet."""
    course = shutil.copytree(honest_course, tmp_path_factory.mktemp("ungraded") / "a course")
    for student in GRADED:
        hand_in(course, student, ODD[student])
    return course


@pytest.fixture(scope="module")
def graded(ungraded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same course, graded."""
    course = shutil.copytree(ungraded, tmp_path_factory.mktemp("graded") / "a course")
    grade(course)
    return course


def sanitize(course: Path, student: str) -> tuple[NotebookNode, list[str]]:
    """Return a notebook as nbgrader is going to run it, and the remarks on its cells."""
    exporter = NotebookExporter(config=Config(Exporter={"default_preprocessors": []}))
    for each in SANITIZE:
        exporter.register_preprocessor(each)
    about = {"notebook": "one", "assignment": COURSE, "student": student, "db_url": url(course / "gradebook.db")}
    file = course / "submitted" / student / COURSE / "one.ipynb"
    text, resources = exporter.from_filename(str(file), resources={"nbgrader": about})
    return nbformat.reads(text, as_version=4), resources["nbgrader"][REMARKS]


def passes(notebook: NotebookNode, check: str) -> bool:
    """Execute a notebook's code without a kernel; return whether a check passes."""
    variables: dict[str, object] = {}
    passed = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            name = cell.metadata.get("nbgrader", {}).get("grade_id")
            try:
                exec(cell.source, variables)
                passed[name] = True
            except Exception:
                passed[name] = False
    return passed[check]


@pytest.mark.parametrize("student", ODD)
def test_each_notebook_is_restored(odd_course: Path, student: str):
    notebook, found = sanitize(odd_course, student)
    marks = [cell.metadata.nbgrader for cell in notebook.cells if cell.metadata]
    points = {mark.grade_id: mark.points for mark in marks if mark.grade}
    assert points == {"check": 2, "written": 2}
    assert passes(notebook, "check") == (ODD[student].points == 2)
    assert found == [remark.removeprefix("one: ") for remark in ODD[student].remarks]
    assert set(notebook.metadata) == {"kernelspec"} and all(
        set(cell.metadata) <= {"nbgrader"} for cell in notebook.cells
    )


def test_nbgraders_own_command_restores_cells_too(monkeypatch: pytest.MonkeyPatch):
    """With this repository's settings."""
    monkeypatch.chdir(REPOSITORY)
    assert read_settings().config.Autograde.sanitize_preprocessors == SANITIZE


# The same, graded: in a class beside honest students.


@pytest.mark.slow
@pytest.mark.parametrize("student", GRADED)
def test_each_notebook_gets_its_points_and_remarks(graded: Path, student: str):
    found = {cell: grades for (name, _, cell), grades in entries(graded).items() if name == student}
    assert found["check"][:4] == (ODD[student].points, None, 2, False)
    assert found["written"][:4] == (None, None, 2, True)
    assert remarks(graded)[student] == "; ".join(ODD[student].remarks)


@pytest.mark.slow
def test_honest_students_have_the_same_grades_in_a_class_of_their_own(graded: Path, honest_course: Path):
    grade(honest_course)
    alone = entries(honest_course)
    assert {key: value for key, value in entries(graded).items() if key[0] in HONEST} == alone
    assert {name: alone[name, "one", "check"][0] for name in HONEST} == {name: got for name, (_, got) in HONEST.items()}
    assert {remarks(graded)[name] for name in HONEST} == {""}


@pytest.mark.slow
def test_remarks_are_printed_and_in_the_report(graded: Path, tmp_path: Path):
    course = shutil.copytree(graded, tmp_path / "a course")
    printed = grade(course, "--force", "--student", "a deleted check")
    assert "a deleted check: 2 of 4 points" in printed and put_back("check") in printed
    subprocess.run([sys.executable, "-m", "grading.class_report"], cwd=course, check=True)
    page = (course / ".grading" / COURSE / "report.html").read_text(encoding="utf-8")
    assert put_back("check") in page


@pytest.mark.slow
def test_formgrader_asks_for_the_points_of_every_graded_cell(graded: Path):
    """Its pages, rendered as it renders them."""
    exporter = HTMLExporter(template_name="formgrade", extra_template_basedirs=[handlers.template_path])
    about: dict[str, object] = {"assignment_id": COURSE, "notebook_id": "one", "index": 0, "total": 1}
    about |= dict.fromkeys(("base_url", "student", "last_name", "first_name", "notebook_path", "submission_id"), "")
    for student in GRADED:
        page, _ = exporter.from_filename(str(graded / "autograded" / student / COURSE / "one.ipynb"), resources=about)
        for cell in ("check", "written"):
            assert page.count(f'<input class="score tabbable" id="{cell}"') == 1, student


@pytest.mark.slow
def test_everybody_gets_feedback(graded: Path):
    nbgrader(graded, "generate_feedback")
    assert {path.parts[-3] for path in (graded / "feedback").glob("*/*/one.html")} == {*GRADED, *HONEST}


@pytest.mark.slow
def test_nbgrader_autograde_gives_the_same_grades(graded: Path, ungraded: Path, tmp_path: Path):
    course = shutil.copytree(ungraded, tmp_path / "by nbgrader")
    with open(course / "nbgrader_config.py", "a", encoding="utf-8") as settings:
        settings.write(SANITIZED)
    nbgrader(course, "autograde")
    assert entries(course) == entries(graded)
