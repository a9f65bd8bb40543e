"""A student's feedback pages: what stands on the first screen, what the pages share, and what they leave out."""

import os
import sysconfig
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup

from grading.feedback.first_screen import MAX_LETTERS, describe_exercise, message_of, remove_hidden_marks
from grading.feedback.shared_figures import ShareFigures, digest
from grading.safe_figures import LIBRARIES, library
from selftests.grading.tiny_class import COURSE, FEEDBACK, SETTINGS, gradebook, make_cell, nbgrader

# A warning about how nbgrader creates an entry.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")

BONUS = 'c.BonusPoints.points = {"check_more_bonus": 3}\n'
FAILED = "f returns a tensor\n  expected: a tensor\n  hint:     remove .item()"
HTML = "<script>alert(1)</script>"
# By student: the points in the notebooks one and two, and the bonus in `two`.
POINTS = {"ann": (2, 2, 3), "bob": (0, 1.5, 0), "cem": (0, 0, 0)}
HIDDEN = "check()\n### BEGIN HIDDEN TESTS\nhidden.check()\n### END HIDDEN TESTS"


def error(kind: str, text: str, frames: tuple[str, ...] = ()) -> nbformat.NotebookNode:
    return nbformat.v4.new_output("error", ename=kind, evalue=text, traceback=list(frames))


def figure(*names: str) -> nbformat.NotebookNode:
    html = "".join(library(name, set()) for name in names) + "<div>a figure</div>"
    return nbformat.v4.new_output("display_data", data={"text/html": html})


def graded_notebook(name: str, outputs: list[nbformat.NotebookNode]) -> nbformat.NotebookNode:
    """Return a notebook as nbgrader grades it, with a hint, and these outputs of its check."""
    text = "<details><summary>Hint 1</summary>\n\nlook\n</details>"
    cells = [nbformat.v4.new_markdown_cell(text), make_cell("f = 1", "f", solution=True)]
    cells += [make_cell(HIDDEN, "check_f", grade=True, locked=True, points=2)]
    cells[-1].outputs = outputs
    if name == "two":
        cells += [make_cell("g()", "check_more_bonus", grade=True, locked=True, points=3)]
    return nbformat.v4.new_notebook(cells=cells)


OUTPUTS = {
    "ann": [figure("plotly", "circuitsvis"), figure()],
    "bob": [figure("plotly"), error("CheckFailed", FAILED, ("\x1b[31m1\x1b[0m ### BEGIN HIDDEN TESTS\nthe end",))],
    "cem": [error("ValueError", f"{HTML} {'long' * 2000}")],
}


@pytest.fixture(scope="module")
def feedback(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The feedback of a class of three, whose notebooks were graded by hand."""
    course = tmp_path_factory.mktemp("feedback") / "a course"
    course.mkdir()
    (course / "nbgrader_config.py").write_text(SETTINGS + FEEDBACK + BONUS)
    make_gradebook(course)
    for student, outputs in OUTPUTS.items():
        folder = course / "autograded" / student / COURSE
        folder.mkdir(parents=True)
        for name in ("one", "two"):
            nbformat.write(graded_notebook(name, outputs), folder / f"{name}.ipynb")
    nbgrader(course, "generate_feedback")
    return course / "feedback"


def make_gradebook(course: Path) -> None:
    """Make the gradebook with the class's points."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", sysconfig.get_path("scripts"), prepend=os.pathsep)  # nbgrader runs alembic from there
        gradebook(course).close()
    with gradebook(course) as book:
        book.add_assignment(COURSE)
        for notebook in ("one", "two"):
            book.add_notebook(notebook, COURSE)
            book.add_grade_cell("check_f", notebook, COURSE, max_score=2, cell_type="code")
            book.add_solution_cell("f", notebook, COURSE)
        book.add_grade_cell("check_more_bonus", "two", COURSE, max_score=0, cell_type="code")
        for student, (one, two, bonus) in POINTS.items():
            book.add_student(student, **({"first_name": "Ann", "last_name": f"O'{HTML}"} if student == "ann" else {}))
            book.add_submission(COURSE, student)
            book.find_grade("check_f", "one", COURSE, student).auto_score = one
            book.find_grade("check_f", "two", COURSE, student).auto_score = two
            book.find_grade("check_more_bonus", "two", COURSE, student).auto_score = bonus
            book.find_comment("f", "one", COURSE, student).manual_comment = f"well & {HTML}"
        book.db.commit()


def page(feedback: Path, student: str, notebook: str) -> BeautifulSoup:
    text = (feedback / student / COURSE / f"{notebook}.html").read_text(encoding="utf-8")
    return BeautifulSoup(text, "html.parser")


def first_screen(feedback: Path, student: str, notebook: str) -> tuple[str, list[list[str]]]:
    """Return the score and the rows of the exercises."""
    soup = page(feedback, student, notebook)
    rows = [[" ".join(cell.text.split()) for cell in row.find_all(["th", "td"])] for row in soup.select("tbody tr")]
    return " ".join(soup.select_one(".score").text.split()), rows


def test_the_first_screen_has_the_score_and_each_exercise_with_its_message(feedback: Path):
    failed = " ".join(FAILED.split())
    assert first_screen(feedback, "ann", "one") == ("2 of 2 points", [["f", "2 of 2", "passed"]])
    assert first_screen(feedback, "bob", "two") == (
        "1.5 of 2 points 0 of 3 bonus points",
        [["f", "1.5 of 2", failed], ["more", "0 of 3 bonus", ""]],
    )
    score, ((name, points, message),) = first_screen(feedback, "cem", "one")
    assert (score, name, points) == ("0 of 2 points", "f", "0 of 2") and message.startswith(f"ValueError: {HTML} long")
    assert first_screen(feedback, "ann", "two")[1][1] == ["more", "3 of 3 bonus", "passed"]


def test_the_first_screen_comes_before_the_notebook_and_leads_to_its_cells_and_the_other_pages(feedback: Path):
    for student in POINTS:
        soup = page(feedback, student, "two")
        assert [tag.name for tag in soup.body.find_all(recursive=False)] == ["header", "main"]
        links = [link["href"] for link in soup.header.find_all("a")]
        assert links == ["#check_f", "#check_more_bonus", "one.html", "two.html"]
        assert {tag["id"] for tag in soup.main.find_all(id=True)} >= {"f", "check_f", "check_more_bonus"}


def test_a_students_texts_do_not_become_html(feedback: Path):
    for student in POINTS:
        for notebook in ("one", "two"):
            text = page(feedback, student, notebook).decode()
            assert HTML not in text
    assert f"Ann O'{HTML}" in page(feedback, "ann", "one").text
    assert f"well & {HTML}" in page(feedback, "cem", "one").text


def test_hints_are_folded_and_hidden_marks_do_not_show(feedback: Path):
    for student in POINTS:
        soup = page(feedback, student, "one")
        assert soup.select("details:not([open]) > summary") and "HIDDEN TESTS" not in soup.text
        assert "hidden.check()" in soup.text
        # Any other `display` takes away the triangle that tells that something is folded.
        styles = "".join(style.text for style in soup.find_all("style"))
        assert "summary { padding" in styles and "summary { display" not in styles


def test_the_libraries_of_figures_lie_beside_the_pages_once(feedback: Path):
    expected = {"ann": {"plotly.js", "circuitsvis.js"}, "bob": {"plotly.js"}, "cem": set()}
    for student, scripts in expected.items():
        folder = feedback / student / COURSE
        assert {path.name for path in folder.glob("*.js")} == scripts
        for notebook in ("one", "two"):
            soup = page(feedback, student, notebook)
            local = {tag["src"] for tag in soup.find_all("script", src=True) if "//" not in tag["src"]}
            assert local == scripts
            assert (folder / f"{notebook}.html").stat().st_size < 100_000
            elsewhere = [tag.text for tag in soup.find_all("script") if "document.write" in tag.text]
            assert len(elsewhere) == len(scripts) and all("sha256-" in text for text in elsewhere)
        assert sum(path.stat().st_size for path in folder.iterdir()) < 8_000_000
    assert (feedback / "ann" / COURSE / "plotly.js").read_text(encoding="utf-8").startswith("/**\n* plotly.js v")


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_of_another_version_stays_in_the_page(name: str):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=[figure(name)])])
    data = notebook.cells[0].outputs[0].data
    data["text/html"] = data["text/html"].replace("</script>", " // older</script>")
    before = data["text/html"]
    _, resources = ShareFigures().preprocess(notebook, {})
    assert data["text/html"] == before and resources == {"libraries": []}


def test_a_digest_is_that_of_subresource_integrity():
    assert digest(b"alert('Hello, world.');") == "sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng="


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (error("CheckFailed", f"\x1b[31m{FAILED}\x1b[0m\n"), FAILED),
        (error("NotImplementedYet", "f is not implemented yet"), "f is not implemented yet"),
        (error("KeyError", "'x'\nmore"), "KeyError: 'x'"),
        (error("CheckFailed", "x" * 9999), "x" * MAX_LETTERS + "…"),
        (nbformat.v4.new_output("stream", name="stderr", text="a warning\n"), "a warning"),
        (nbformat.v4.new_output("stream", name="stdout", text="fine"), ""),
    ],
)
def test_the_message_is_what_cost_the_points(output: nbformat.NotebookNode, message: str):
    assert message_of(nbformat.v4.new_code_cell(outputs=[output])) == message


@pytest.mark.parametrize(
    ("score", "points", "expected"),
    [(2, 2, ("full", 2, False)), (1, 2, ("part", 2, False)), (0, 2, ("zero", 2, False)), (3, 0, ("full", 3, True))],
)
def test_a_mark_is_full_part_or_zero(score: float, points: float, expected: tuple[str, float, bool]):
    cell = make_cell("", "check_b_bonus", grade=True, points=points, score=score)
    found = describe_exercise(cell, {"check_b_bonus": 3})
    assert (found.mark, found.worth, found.is_bonus) == expected and found.name == "b"


@pytest.mark.parametrize(
    ("source", "left"),
    [
        (HIDDEN, "check()\nhidden.check()\n"),
        ("  ### BEGIN HIDDEN TESTS\nx\n  ### END HIDDEN TESTS\ny", "x\ny"),
        ("# no mark", "# no mark"),
    ],
)
def test_hidden_marks_are_removed(source: str, left: str):
    cell = nbformat.v4.new_code_cell(source, outputs=[error("E", "", (f"\x1b[32m{source}\x1b[0m",))])
    remove_hidden_marks(cell)
    assert cell.source == left and "HIDDEN" not in cell.outputs[0].traceback[0]
