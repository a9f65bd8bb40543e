"""nbgrader with this repository's settings, end to end, and the notebooks that it generates and grades."""

import ast
import json
import os
import re
from pathlib import Path

import nbformat
import pytest
from nbgrader.api import Gradebook
from nbgrader.utils import is_grade, is_locked, is_solution

from grading.bonus import SUFFIX
from grading.demo import demo_class as demo
from grading.written_answers import is_optional
from selftests import REPOSITORY
from selftests.grading.demo_points import POINTS, expected_points
from tests.checks.notebooks import find_notebooks

SOLUTIONS = REPOSITORY / "solutions" / demo.COURSE
EXERCISES = REPOSITORY / "exercises" / demo.COURSE
NAMES = [path.stem for path in sorted(SOLUTIONS.glob("*.ipynb"))]
BOTH = [*sorted(SOLUTIONS.glob("*.ipynb")), *sorted(EXERCISES.glob("*.ipynb"))]

# The demo's class.


@pytest.fixture(scope="module")
def demo_class(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The course folder of `make demo`, graded, which takes minutes; test_bank_grading.py compares with nbgrader."""
    folder = tmp_path_factory.mktemp("demo") / "class"
    assert demo.main(folder) == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("student", demo.CLASS)
def test_demo_gives_each_cell_its_points(demo_class: Path, student: str):
    with gradebook(demo_class) as book:
        grades = {
            notebook.name: {grade.name: (grade.auto_score, grade.max_score) for grade in notebook.grades}
            for notebook in book.find_submission(demo.COURSE, student).notebooks
        }
    assert grades == {
        # The maximum is the required points.
        notebook: {name: (points, 0 if name.endswith(SUFFIX) else most) for name, (points, most) in cells.items()}
        for notebook, cells in expected_points(student).items()
    }


@pytest.mark.slow
def test_demo_ends_at_the_report(demo_class: Path):
    page = (demo_class / ".grading" / demo.COURSE / "report.html").read_text("utf-8")
    assert all(student in page for student in demo.CLASS)
    assert "my_seed is also that of typical_mistakes" in page


@pytest.mark.slow
def test_demo_needs_no_manual_grading(demo_class: Path):
    with gradebook(demo_class) as book:
        assert [submission.needs_manual_grade for submission in book.assignment_submissions(demo.COURSE)] == [False] * 4


@pytest.mark.slow
def test_demo_writes_feedback_with_figures_that_need_no_network(demo_class: Path):
    pages = sorted((demo_class / "feedback").glob(f"*/{demo.COURSE}/*.html"))
    assert len(pages) == sum(map(len, demo.HANDED_IN.values()))
    place = demo_class / "feedback" / "all_right" / demo.COURSE
    page = (place / "03_attention_heads.html").read_text("utf-8")
    assert page.count("Plotly.newPlot(") >= 2
    assert '<script src="plotly.js">' in page and "plotly.js v" in (place / "plotly.js").read_text("utf-8")
    assert sum(file.stat().st_size for file in place.iterdir()) < 8_000_000


def test_demo_prints_bonus_points_separately(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    points = {"one": {"f": (1, 4)}, "two": {"g": (2, 6), "h_bonus": (1, 3)}, "three": {"i_bonus": (4, 8)}}
    monkeypatch.setattr(demo, "NOTEBOOKS", tuple(points))
    demo.print_table({"untouched": points})
    row = capsys.readouterr().out.splitlines()[-1]
    cells = [part.strip() for part in row.split("  ") if part.strip()]
    assert cells == ["untouched", "1 of 4", "2 of 6 + 1 of 3", "+ 4 of 8", "3 of 10 + 5 of 11"]


def test_demo_reports_unexpected_points(capsys: pytest.CaptureFixture):
    nothing = {"untouched": {"01_ioi_metric": {"check_ioi_metric": (0, 4)}}}
    assert demo.report_unexpected(nothing) == 0
    points_for_nothing = {"untouched": {"01_ioi_metric": {"check_ioi_metric": (4, 4)}}}
    assert demo.report_unexpected(points_for_nothing) == 1
    assert capsys.readouterr().err == "untouched got 4 + 0 points instead of 0 + 0.\n"


def test_demo_refuses_a_folder_that_it_did_not_create(tmp_path: Path, capsys: pytest.CaptureFixture):
    (tmp_path / "grades.csv").touch()
    assert demo.main(tmp_path) == 1
    assert "was not created by the demo: move it away." in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["grades.csv"]


# Files beside a submission have no effect, and all students are graded on one model.


def grade_one_cell(folder: Path, code: str, files: dict[str, str] | None = None) -> tuple[float, str]:
    """Grade an assignment of one cell, with `files` beside the student's notebook; return its points and output."""
    cell = nbformat.v4.new_code_cell(code)
    cell.metadata.nbgrader = dict(
        schema_version=3, grade=True, grade_id="check", locked=True, points=1, solution=False, task=False
    )
    notebook = nbformat.v4.new_notebook(cells=[cell])
    notebook.metadata.kernelspec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    for place in ("solutions", "submitted/student"):
        (folder / place / demo.COURSE).mkdir(parents=True)
        nbformat.write(notebook, folder / place / demo.COURSE / "one.ipynb")
    for name, text in (files or {}).items():
        path = folder / "submitted" / "student" / demo.COURSE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    demo.nbgrader(folder, "generate_assignment", "--create")
    demo.nbgrader(folder, "autograde")
    with gradebook(folder) as book:
        score = book.find_submission_notebook("one", demo.COURSE, "student").score
    graded = nbformat.read(folder / "autograded" / "student" / demo.COURSE / "one.ipynb", as_version=4)
    return score, "".join(output.get("text", "") for output in graded.cells[0].outputs)


@pytest.mark.slow
def test_modules_beside_a_submission_are_not_imported(tmp_path: Path):
    names = ("utils.py", "utils/__init__.py", "tests.py", "tests/__init__.py", "torch.py", "sitecustomize.py")
    files = {name: "print('the submission was here')" for name in names}
    before = "import sys\nsys.path.insert(0, '.')\n"
    code = before + "import tests, torch, utils\nprint(tests.__file__, utils.__file__, torch.__file__, sep='\\n')"
    score, printed = grade_one_cell(tmp_path, code, files)
    assert score == 1
    *ours, torch = printed.splitlines()
    assert ours == [str(REPOSITORY / name / "__init__.py") for name in ("tests", "utils")]
    assert not torch.startswith(str(tmp_path))
    assert (tmp_path / "autograded" / "student" / demo.COURSE / "tests.py").exists()


@pytest.mark.slow
def test_settings_beside_a_submission_are_not_read(tmp_path: Path):
    line = "get_config().InteractiveShellApp.exec_lines = ['print(\"the submission was here\")']"
    files = {name: line for name in ("ipython_config.py", "ipython_kernel_config.py", "nbgrader_config.py")}
    files["startup/00.py"] = "print('the submission was here')"
    code = "import os, sys\nprint(os.environ['IOI_MODEL'])\nassert '' not in sys.path and os.getcwd() not in sys.path"
    assert grade_one_cell(tmp_path, code, files) == (1, "ioi-mini\n")


@pytest.mark.slow
def test_grading_pins_the_instructors_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("IOI_MODEL", "gpt2-small")
    assert grade_one_cell(tmp_path, "import os\nprint(os.environ['IOI_MODEL'])") == (1, "gpt2-small\n")


def test_a_gradebook_is_created_without_an_active_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """nbgrader finds `alembic` by the PATH; make runs nbgrader by its own path."""
    monkeypatch.setenv("PATH", os.defpath)
    demo.make_course(tmp_path / "class")
    with gradebook(tmp_path / "class") as book:
        assert [assignment.name for assignment in book.assignments] == [demo.COURSE]


# The exercises equal those that nbgrader generates from the solutions.


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exercises generated from all of solutions/, as by `make release`, in another course folder."""
    folder = tmp_path_factory.mktemp("release")
    place = folder / "solutions" / demo.COURSE
    place.mkdir(parents=True)
    for notebook in SOLUTIONS.glob("*.ipynb"):
        (place / notebook.name).write_bytes(notebook.read_bytes())
    demo.nbgrader(folder, "generate_assignment", "--create", "--force")
    return folder


def test_exercises_are_generated_from_the_solutions(generated: Path):
    made = {path.name: path.read_bytes() for path in (generated / "exercises" / demo.COURSE).iterdir()}
    kept = {path.name: path.read_bytes() for path in EXERCISES.iterdir() if path.is_file()}
    assert sorted(made) == sorted(kept)
    stale = [name for name in made if made[name] != kept[name]]
    assert not stale, f"exercises/ differs from what `make release` generates from solutions/: {', '.join(stale)}"


def test_the_maximum_of_each_notebook_is_its_required_points(generated: Path):
    with gradebook(generated) as book:
        found = {notebook.name: notebook.max_score for notebook in book.find_assignment(demo.COURSE).notebooks}
    required = {
        name: sum(points for check, points in POINTS.get(name, {}).items() if not check.endswith(SUFFIX))
        for name in NAMES
    }
    assert found == required and sum(found.values()) > 0


@pytest.mark.slow
def test_generating_again_changes_nothing(generated: Path):
    made = {path: path.read_bytes() for path in (generated / "exercises" / demo.COURSE).iterdir()}
    demo.nbgrader(generated, "generate_assignment", "--create", "--force")
    assert {path: path.read_bytes() for path in made} == made


@pytest.mark.parametrize("name", NAMES)
def test_cells_keep_their_ids(name: str):
    assert [cell.id for cell in read(EXERCISES / f"{name}.ipynb")] == [
        cell.id for cell in read(SOLUTIONS / f"{name}.ipynb")
    ]


@pytest.mark.parametrize("name", NAMES)
def test_exercises_contain_no_solution(name: str):
    text = "\n".join(cell.source for cell in read(EXERCISES / f"{name}.ipynb"))
    assert "BEGIN" not in text and "END SOLUTION" not in text and "tests.hidden" not in text
    code = "\n".join(
        cell.source for cell in read(EXERCISES / f"{name}.ipynb") if cell.cell_type == "code" and is_solution(cell)
    )
    assert [line for line in solution_lines(name) if line in code] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_stub_raises_not_implemented_error(name: str):
    for solution, stub in zip(read(SOLUTIONS / f"{name}.ipynb"), read(EXERCISES / f"{name}.ipynb"), strict=True):
        if is_solution(solution):
            assert stub.source.count("raise NotImplementedError") == solution.source.count("### BEGIN SOLUTION") > 0


def solution_lines(name: str) -> list[str]:
    """Return the lines between the BEGIN and END lines of the solutions, but those with nothing but brackets."""
    lines, inside = [], False
    for cell in read(SOLUTIONS / f"{name}.ipynb"):
        for line in cell.source.splitlines():
            if "### BEGIN" in line or "### END" in line:
                inside = "BEGIN" in line
            elif inside and re.search(r"\w", line):
                lines.append(line.strip())
    return lines


# The notebooks themselves.


@pytest.mark.parametrize("path", BOTH, ids=lambda path: f"{path.parts[-3]}/{path.name}")
class TestNotebook:
    def test_is_valid(self, path: Path):
        nbformat.validate(json.loads(path.read_text(encoding="utf-8")))

    def test_is_as_jupyter_saves_it(self, path: Path):
        """Or else the first edit in Jupyter would bring with it changes of other cells."""
        text = path.read_text(encoding="utf-8")
        assert text == nbformat.writes(nbformat.reads(text, as_version=4)) + "\n", f"save {path.name} in Jupyter"

    def test_has_no_outputs(self, path: Path):
        code = [cell for cell in read(path) if cell.cell_type == "code"]
        assert [cell.id for cell in code if cell.outputs or cell.execution_count is not None] == []

    def test_cell_ids_are_unique(self, path: Path):
        ids = [cell["id"] for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
        assert len(set(ids)) == len(ids)

    def test_setup_cell_is_the_same_in_all_notebooks(self, path: Path):
        setup = next(cell for cell in read(path) if cell.cell_type == "code").source
        assert setup == next(cell for cell in read(BOTH[0]) if cell.cell_type == "code").source
        assert len(setup.splitlines()) <= 6

    def test_graded_cells_are_locked(self, path: Path):
        assert [cell.id for cell in read(path) if is_grade(cell) and not is_locked(cell)] == []

    def test_graded_cells_call_checks_only(self, path: Path):
        """nbgrader takes the value of a last expression as partial credit; a check returns None."""
        for cell in filter(is_grade, read(path)):
            for statement in ast.parse(cell.source).body:
                assert isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call), cell.id
                assert ast.unparse(statement.value.func).startswith(("tests.test_", "tests.hidden.test_")), cell.id


@pytest.mark.parametrize("folder", [SOLUTIONS, EXERCISES], ids=["solutions", "exercises"])
def test_grade_ids_are_unique(folder: Path):
    ids = [
        cell.metadata.nbgrader.grade_id
        for path in find_notebooks(folder)
        for cell in nbformat.read(path, as_version=4).cells
        if "nbgrader" in cell.metadata
    ]
    assert len(set(ids)) == len(ids)


def test_points_are_as_documented():
    found = {
        name: {
            cell.metadata.nbgrader.grade_id: cell.metadata.nbgrader.points
            for cell in filter(is_grade, read(SOLUTIONS / f"{name}.ipynb"))
        }
        for name in NAMES
    }
    assert {name: cells for name, cells in found.items() if cells} == POINTS


def read(path: Path) -> list[nbformat.NotebookNode]:
    """Read a notebook's cells, without those that are left out of the exercises."""
    return [cell for cell in nbformat.read(path, as_version=4).cells if not is_optional(cell)]


def gradebook(folder: Path) -> Gradebook:
    return Gradebook(f"sqlite:///{folder / 'gradebook.db'}", demo.COURSE)
