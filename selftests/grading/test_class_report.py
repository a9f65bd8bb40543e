"""`python -m grading.class_report`: the page agrees with the gradebook, and no student's text becomes HTML."""

import csv
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from unittest import mock

import nbformat
import pytest
from bs4 import BeautifulSoup, Tag
from nbclient import NotebookClient
from nbgrader.api import Gradebook

from grading import folders, gradebooks, results
from grading.class_report import __main__ as command
from grading.class_report import class_data
from grading.class_report.class_data import NO_MESSAGE
from grading.class_report.messages import NOT_ATTEMPTED, describe, failures, first_line
from grading.class_report.page import duration, number, render
from grading.classroom import Classroom
from grading.course import read_settings
from grading.results import NotebookResult, Result
from grading.submissions import fingerprint
from selftests.grading.tiny_class import COURSE, SETTINGS, gradebook, hand_in, make_cell, make_notebook
from utils.mystery import normalized_seed

# Maximum points, by notebook and cell. The essay is graded manually; a bonus point counts beyond the maximum.
CELLS = {"introduction": {}, "one": {"check": 2, "more_bonus": 0}, "two": {"check": 2, "essay": 3}}
BONUS = 'c.BonusPoints.points = {"more_bonus": 1}\n'
HANDED_OUT = "raise NotImplementedError"
UNBEGUN = "ioi_metric is not implemented yet"
SCRIPT = "<script>alert(1)</script>"
IMAGE = "<img src=x onerror=alert(1)>"


# A warning about how nbgrader creates an entry.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")


# A class whose results are entered as by `make grade`, without running notebooks.


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A course folder with settings only, as the current folder."""
    folder = tmp_path / "a course"
    folder.mkdir()
    (folder / "nbgrader_config.py").write_text(SETTINGS + BONUS)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def gradebook_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gradebook with the assignment and no students."""
    file = tmp_path_factory.mktemp("gradebook") / "gradebook.db"
    with pytest.MonkeyPatch.context() as patch:
        # nbgrader runs alembic from the PATH when it creates a gradebook.
        patch.setenv("PATH", sysconfig.get_path("scripts"), prepend=os.pathsep)
        with Gradebook(f"sqlite:///{file}", COURSE) as book:
            book.add_assignment(COURSE, duedate="2026-01-02 12:00:00 UTC")
            for notebook, cells in CELLS.items():
                book.add_notebook(notebook, COURSE)
                book.add_source_cell("answer", notebook, COURSE, source=HANDED_OUT, cell_type="code")
                for name, most in cells.items():
                    kind = "markdown" if name == "essay" else "code"
                    book.add_grade_cell(name, notebook, COURSE, max_score=most, cell_type=kind)
    return file


@pytest.fixture
def classroom(folder: Path, gradebook_file: Path) -> Classroom:
    """A class without students."""
    shutil.copy(gradebook_file, folder)
    return Classroom.of(read_settings())


Errors = dict[tuple[str, str], str]


def enter(
    classroom: Classroom,
    student: str,
    one: tuple[float, float] | None,
    two: float | None,
    errors: Errors | None = None,
    seconds: float = 7,
    timestamp: str | None = None,
    answers: dict[str, str] | None = None,
) -> None:
    """Enter a graded submission with these automatic points in `one` and `two`, None for a missing notebook."""
    notebooks = {name: NotebookResult("missing") for name in CELLS}
    if one:
        notebooks["one"] = NotebookResult(scores={"check": one[0], "more_bonus": one[1]})
    if two is not None:
        notebooks["two"] = NotebookResult(scores={"check": two, "essay": None}, needs_manual_grade=["essay"])
    place = hand_in(classroom.course.root, student, {name: "" for name in notebooks if notebooks[name].scores})
    content = fingerprint(place, classroom.course.ignore)
    result = Result(student, content, timestamp, notebooks, [], seconds)
    graded = write_graded(classroom.course.root / "just graded", notebooks, errors or {}, answers)
    results.save(classroom.course, result, graded, classroom.course.root / "no log")
    folders.remove(graded)
    gradebooks.enter(classroom.gradebook, classroom.course, classroom.settings.config, result)


def write_graded(
    folder: Path, notebooks: dict[str, NotebookResult], errors: Errors, answers: dict[str, str] | None = None
) -> Path:
    """Write notebooks as graded by nbgrader, with answers, and error messages in their outputs."""
    folder.mkdir()
    for name, graded in notebooks.items():
        if graded.scores:
            cells = [make_cell((answers or {}).get(name, HANDED_OUT), "answer", solution=True)]
            cells += [make_cell("", cell, grade=True, points=most) for cell, most in CELLS[name].items()]
            for cell in cells:
                if text := errors.get((name, cell.metadata.nbgrader.grade_id)):
                    kind = NOT_ATTEMPTED if text == UNBEGUN else "CheckFailed"
                    cell.outputs = [nbformat.v4.new_output("error", ename=kind, evalue=text, traceback=[])]
            nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / f"{name}.ipynb")
    return folder


def report(*options: str) -> BeautifulSoup:
    """Write the report on the course in the current folder; return its parsed page."""
    assert command.main([*options]) == 0
    return BeautifulSoup(page_of(Path.cwd()), "html.parser")


def page_of(folder: Path) -> str:
    return (folder / ".grading" / COURSE / "report.html").read_text(encoding="utf-8")


def texts(row: Tag) -> list[str]:
    return [" ".join(cell.get_text(" ").split()) for cell in row.find_all(["th", "td"])]


def points(page: BeautifulSoup) -> dict[str, list[str]]:
    """Return the rows of the table of points, by student."""
    return {name: rest for name, *rest in map(texts, page.select(".marks tbody tr"))}


def checks(page: BeautifulSoup) -> list[list[list[str]]]:
    """Return the tables of checks, that of the bonus checks last."""
    return [[texts(row) for row in table.select("tbody tr")] for table in page.select(".checks")]


def needs_attention(page: BeautifulSoup) -> dict[str, str]:
    return dict(map(texts, page.select(".remarks tbody tr")))


def causes(page: BeautifulSoup) -> list[list[str]]:
    """Return the rows of the tables of causes, the required checks' and then the bonus checks'."""
    return [texts(row) for row in page.select(".causes tbody tr")]


def left(page: BeautifulSoup) -> list[list[str]]:
    """Return the rows of the tables of exercises that were left as handed out."""
    return [texts(row) for row in page.select(".left tbody tr")]


# The contents of the page.


def test_points_are_those_of_nbgrader(classroom):
    enter(classroom, "ann", (2, 1), 2, seconds=65)
    enter(classroom, "bob", (2, 0), 0.5, timestamp="2026-01-02 13:00:00 UTC")
    with gradebook(Path.cwd()) as book:
        essay = book.find_grade("essay", "two", COURSE, "ann")
        essay.manual_score, essay.extra_credit, essay.needs_manual_grade = 2.5, 0.25, False
        book.find_submission_notebook("two", COURSE, "bob").late_submission_penalty = 0.75
        book.db.commit()
    page = report()
    assert points(page) == {
        # points, bonus, penalty, total, time, notebook one and its checks, notebook two and its checks
        "ann": ["6.75", "1", "", "7.75", "1 min 5 s", "2", "2", "1", "4.75", "2", "2.75"],
        "bob": ["2.5", "0", "0.75", "1.75", "7 s", "2", "2", "0", "0.5", "0.5", "0?"],
    }
    (means,) = map(texts, page.select(".marks tfoot tr"))
    assert means[1:] == ["4.6", "0.5", "0.4", "4.8", "", "2.0", "2.0", "0.5", "2.6", "1.2", "1.4"]
    assert "Of 7 points, and 1 bonus points beside them, the median of the graded students is 4.62 without" in " ".join(
        page.text.split()
    )
    assert "2 students: 2 graded, 0 submitted and not graded yet, 0 without a submission." in " ".join(
        page.text.split()
    )
    assert "and 1 min 5 s for the slowest one (ann)." in " ".join(page.text.split())
    assert "Grading took 1 min 12 s in total" in " ".join(page.text.split())


def test_checks_are_counted_and_sorted(classroom):
    wrong, unbegun = "ioi_metric returns a scalar\n  expected: a tensor", UNBEGUN
    enter(classroom, "ann", (2, 1), 2)
    enter(classroom, "bob", (0, 0), 1, {("one", "check"): wrong, ("two", "check"): "half"})
    enter(
        classroom, "cem", (0, 0), 0, {("one", "check"): wrong, ("one", "more_bonus"): wrong, ("two", "check"): "half"}
    )
    enter(classroom, "dee", (2, 0), 0, {("two", "check"): "\x1b[31m nothing\x1b[0m "})
    enter(classroom, "eve", (0, 0), None, {("one", "check"): unbegun})
    normal, bonus = checks(report())
    # check, notebook, points, failed, passed, pass rate, not run
    assert normal == [
        ["check", "one", "2", "3", "2", "40 %", "0"],
        ["check", "two", "2", "3", "1", "25 %", "1"],
        ["essay", "two", "3", "0", "0", "", "1"],
    ]
    assert bonus == [["more", "one", "1", "4", "1", "20 %", "0"]]


def test_failures_are_grouped_by_cause_with_who(classroom):
    scalar = "ioi_metric returns a {}\n  expected: a tensor\n  hint:     remove .item()"
    wrong = {"ann": scalar.format("float"), "bob": scalar.format("float"), "cem": scalar.format("number")}
    for student, message in wrong.items():
        enter(classroom, student, (0, 1), 2, {("one", "check"): message})
    enter(classroom, "dee", (0, 0), 1, {("two", "check"): "NameError", ("one", "more_bonus"): "\x1b[31m half\x1b[0m "})
    enter(classroom, "eve", (0, 0), 0, dict.fromkeys([("one", "check"), ("two", "check")], UNBEGUN))
    with gradebook(Path.cwd()) as book:
        book.update_or_create_student("ann", first_name="Ann", last_name="Okonkwo")
    page = report()
    assert causes(page) == [
        ["3", "check one", "remove .item() ioi_metric returns a float", "Ann Okonkwo (ann), bob, cem"],
        ["1", "check one", NO_MESSAGE.line, "dee"],
        ["1", "check two", "NameError", "dee"],
        ["1", "more one", "half", "dee"],
        ["1", "more one", NO_MESSAGE.line, "eve"],
    ]
    assert left(page) == [["1", "check , check", "eve"]]


def test_what_was_left_as_handed_out_is_named_apart_once_for_the_same_students(classroom):
    all_three = dict.fromkeys([("one", "check"), ("two", "check"), ("one", "more_bonus")], UNBEGUN)
    for student in ("ann", "bob"):
        enter(classroom, student, (0, 0), 0, all_three)
    enter(classroom, "cem", (0, 1), 2, {("one", "check"): UNBEGUN})
    page = report()
    assert causes(page) == []
    assert left(page) == [["3", "check", "ann, bob, cem"], ["2", "check", "ann, bob"], ["2", "more", "ann, bob"]]


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("check_get_act_patch_attn_head_out_all_pos", "attn_head_out_all_pos"),
        ("check_get_act_patch_resid_pre_fast_bonus", "resid_pre_fast"),
        ("check_my_circuit_name_mover", "my_circuit_name_mover"),
        ("essay", "essay"),
    ],
)
def test_a_name_is_short_and_breaks_behind_underscores(name: str, short: str):
    check = class_data.Check("a_notebook", name, 1, is_bonus=False, failed=1)
    assert check.short_name == short
    page = render(class_data.ClassData("tiny", "tiny", [], [check]))
    assert short.replace("_", "_<wbr>") in page and "a_<wbr>notebook" in page


# Outliers.


def test_a_check_that_everybody_failed_is_flagged(classroom):
    for student in ("ann", "bob", "cem"):
        enter(classroom, student, (0, 0), 2 * (student != "ann"), {("one", "check"): "wrong"})
    text = " ".join(report().text.split())
    assert "Nobody passed check (one): 3 failed it. Is it the class, or the check?" in text
    assert "Nobody passed more (one): 3 failed it." in text and "Nobody passed check (two)" not in text
    enter(classroom, "dee", (2, 0), 2)
    assert "Nobody passed check" not in report().text


def test_a_bonus_that_all_left_is_not_flagged(classroom):
    for student in ("ann", "bob", "cem"):
        enter(classroom, student, (2, 0), 2, {("one", "more_bonus"): UNBEGUN})
    assert "Nobody passed" not in report().text


def test_students_with_no_points_at_all_are_flagged(classroom):
    enter(classroom, "ann", (0, 0), 0, answers={"one": "x = 1"})
    enter(classroom, "bob", (0, 0), 0)
    enter(classroom, "cem", (0, 1), 0)
    enter(classroom, "dee", None, None)
    found = {name: why.split("; ")[-1] for name, why in needs_attention(report()).items()}
    assert found == {
        "ann": "no points at all",
        "bob": "no points at all, and no answer in code: all are as handed out",
        "cem": "to be graded manually: two: essay",
        "dee": "two: missing",
    }


def test_a_missing_notebook_is_named_only_where_it_has_required_checks(classroom):
    missing = Result("ann", "", None, {name: NotebookResult("missing") for name in ("one", "two", "aside")}, [], 7)
    row = class_data.Row("ann", "")
    row.marks["one", "check"] = class_data.Mark(0, False, False, False, is_bonus=False)
    row.marks["two", "more_bonus"] = class_data.Mark(0, False, False, False, is_bonus=True)
    assert list(class_data.remarks_on(row, classroom.course, missing, submitted=False)) == ["one: missing"]


def test_identical_answers_are_flagged(classroom):
    for student, answer in {"ann": "x = 1", "bob": "x  =  1\n", "cem": "x = 2", "dee": HANDED_OUT, "eve": ""}.items():
        enter(classroom, student, (2, 1), 2, answers={"one": answer, "two": "y"} if answer != HANDED_OUT else {})
    enter(classroom, "fay", (2, 1), 2)
    found = {name: why.split("; ")[-1] for name, why in needs_attention(report()).items() if "word" in why}
    assert found == {
        "ann": "all answers are word for word those of bob",
        "bob": "all answers are word for word those of ann",
    }


SEEDS = {
    "ann": 'my_seed = "Ada Lovelace"\nwith suppress(NotImplementedError):\n    raise NotImplementedError()',
    "bob": "my_seed = ''\nwith suppress(NotImplementedError):\n    my_seed: str = 'ada  lovelace '  # mine",
    "cem": 'my_seed = "Grace Hopper"',
    "dee": 'my_seed = ""',
    "eve": "my_seed = ''",
    "fay": "my_seed = 7",
    "gil": 'my_seed = "7"',
    "hal": "my_seed = input()",
    "ida": "my_seed = input()",
}


def test_students_with_the_same_seed_are_flagged():
    rows = [
        class_data.Row(name, "", answers={("08", "my_seed"): " ".join(text.split())}) for name, text in SEEDS.items()
    ]
    of_another = {("08", "my_seed"): 'my_seed = "Jon"', ("08", "my_mystery_circuit"): 'my_seed = "Grace Hopper"'}
    rows.append(class_data.Row("jon", "", answers=of_another))
    for row in rows:
        row.answers["01", "answer"] = row.student
    found = {row.student: list(class_data.outliers(row, rows)) for row in rows}
    assert {student: remarks for student, remarks in found.items() if remarks} == {
        "ann": ["my_seed is also that of bob"],
        "bob": ["my_seed is also that of ann"],
        "cem": ["my_seed is also that of jon"],
        "fay": ["my_seed is also that of gil"],
        "gil": ["my_seed is also that of fay"],
        "jon": ["my_seed is also that of cem"],
    }


@pytest.mark.parametrize("seed", ["Ada Lovelace", " ADA \u3000 lovelace", "\uff21da", "Zo\u00eb", "Zoe\u0308", "7"])
def test_a_seed_is_read_as_the_mystery_model_reads_it(seed: str):
    row = class_data.Row("ann", "", answers={("08", "my_seed"): f'my_seed = "{seed}"'})
    assert row.seed == normalized_seed(seed)


def test_a_failed_setup_cell_is_flagged(classroom):
    enter(classroom, "ann", (2, 1), 2)
    result = results.load(
        classroom.course, "ann", fingerprint(classroom.course.submission("ann"), classroom.course.ignore)
    )
    result.notebooks["two"] = NotebookResult(f"{results.NOT_GRADED}its setup cell failed: NameError: x")
    results.delete(classroom.course, "ann")
    results.save(classroom.course, result, classroom.course.root / "nothing", classroom.course.root / "no log")
    gradebooks.enter(classroom.gradebook, classroom.course, classroom.settings.config, result)
    assert "two: could not be graded: its setup cell failed: NameError: x" in needs_attention(report())["ann"]


def test_the_hardest_check_comes_first(classroom):
    enter(classroom, "ann", (2, 1), 0)
    (first, second, _), _ = checks(report())
    assert (first[:2], second[:2]) == (["check", "two"], ["check", "one"])


def test_manual_scores_do_not_change_pass_rates(classroom):
    enter(classroom, "ann", (0, 1), 2)
    with gradebook(Path.cwd()) as book:
        book.find_grade("check", "one", COURSE, "ann").manual_score = 2
        book.db.commit()
    page = report()
    assert checks(page)[0][0][:5] == ["check", "one", "2", "1", "0"]
    assert (points(page)["ann"][0], points(page)["ann"][2]) == ("4", "5")


def test_submissions_that_need_attention_are_listed_with_reasons(classroom):
    for student in ("ann", "bob", "dee"):
        enter(classroom, student, (2, 1), 2)
    enter(classroom, "cem", None, None)
    hand_in(Path.cwd(), "bob", {"one": "answer = 'changed since'"})
    hand_in(Path.cwd(), "fay", {"one": ""})
    with gradebook(Path.cwd()) as book:
        book.add_student("gil", first_name="Gil", last_name="Gamesh")
        book.find_grade("essay", "two", COURSE, "dee").needs_manual_grade = False
        book.db.commit()
    page = report()
    assert needs_attention(page) == {
        "ann": "to be graded manually: two: essay",
        "bob": "resubmitted, not graded again yet; to be graded manually: two: essay",
        "cem": "one: missing; two: missing",
        "fay": "submitted, not graded yet",
        "Gil Gamesh (gil)": "enrolled, no submission",
    }
    rows = points(page)
    assert rows["fay"] == ["not graded yet"]
    assert rows["Gil Gamesh (gil)"] == ["no submission"]
    assert rows["cem"][4:] == ["0", "–", "–", "0", "–", "–"]
    assert "6 students: 4 graded, 1 submitted and not graded yet, 1 without a submission." in " ".join(
        page.text.split()
    )
    # Students without a grade are not counted in checks and means.
    assert [row[3:5] + row[6:7] for row in checks(page)[0]] == [["0", "3", "1"], ["0", "3", "1"], ["0", "0", "1"]]
    assert texts(page.select_one(".marks tfoot tr"))[1] == "3.0"


def test_links_lead_to_existing_feedback(classroom):
    odd = "Zoë, 100 % [1] #?&\"'"
    for student in ("ann", odd):
        enter(classroom, student, (2, 1), 2)
    page = report()
    assert page.select(".marks a") == []
    assert f"nbgrader generate_feedback {COURSE}" in page.text
    for student, notebook in (("ann", "one"), (odd, "one"), (odd, "two")):
        classroom.course.feedback(student).mkdir(parents=True, exist_ok=True)
        (classroom.course.feedback(student) / f"{notebook}.html").write_text("feedback")
    page = report()
    assert f"nbgrader generate_feedback {COURSE}" not in page.text
    assert [link["href"] for link in page.select(".marks a")] == [
        "../../feedback/Zo%C3%AB%2C%20100%20%25%20%5B1%5D%20%23%3F%26%22%27/tiny/one.html",
        "../../feedback/Zo%C3%AB%2C%20100%20%25%20%5B1%5D%20%23%3F%26%22%27/tiny/two.html",
        "../../feedback/ann/tiny/one.html",
    ]


def test_submissions_graded_by_nbgrader_are_shown(classroom):
    """Without `make grade` there are no saved results: the graded notebooks show what was run."""
    enter(classroom, "ann", (2, 1), None)
    results.remove(classroom.course.state / "results")
    page = report()
    assert points(page)["ann"] == ["2", "1", "3", "2", "2", "1", "0", "–", "–"]
    assert [row[3:7] for row in checks(page)[0]] == [
        ["0", "1", "100 %", "0"],
        ["0", "0", "", "1"],
        ["0", "0", "", "1"],
    ]


# Students' texts are escaped.


def test_students_texts_do_not_become_html(classroom):
    enter(classroom, IMAGE, (0, 0), 2, {("one", "check"): f"{SCRIPT} and '\"><b>"}, seconds=99)
    enter(classroom, "link", (2, 1), 2)
    hand_in(Path.cwd(), "link", {f"{IMAGE}": ""})
    (classroom.course.submission("waits & <i>waits")).mkdir(parents=True)
    with gradebook(Path.cwd()) as book:
        book.add_student(f"'\"></th></table>{SCRIPT}", first_name=SCRIPT, last_name="{{ 7 * 7 }}")
    page = report()
    assert page.find_all(["script", "img", "b", "i"], string=re.compile("alert|waits|^$")) == []
    assert {tag.name for tag in page.find_all(True)} & {"script", "img", "i", "iframe", "link", "object"} == set()
    assert not [name for tag in page.find_all(True) for name in tag.attrs if name.startswith("on")]
    assert causes(page)[0][2:] == [f"{SCRIPT} and '\"><b>", IMAGE]
    assert IMAGE in points(page) and "waits & <i>waits" in points(page)
    assert f"{SCRIPT} {{{{ 7 * 7 }}}} ('\"></th></table>{SCRIPT})" in points(page)
    assert f"the slowest one ({IMAGE})" in " ".join(page.text.split())


def test_a_folder_name_that_is_not_utf8_does_not_prevent_the_page(classroom):
    enter(classroom, "ann", (2, 1), 2)
    classroom.course.submission("no text \udce9").mkdir(parents=True)
    page = report()
    assert len(points(page)) == 2
    assert needs_attention(page)["no text \\xe9"] == "submitted, not graded: its folder name is not valid UTF-8"


def test_a_submission_that_became_unreadable_does_not_prevent_the_page(classroom, monkeypatch: pytest.MonkeyPatch):
    enter(classroom, "ann", (2, 1), 2)
    monkeypatch.setattr(class_data, "fingerprint", mock.Mock(side_effect=PermissionError))
    assert needs_attention(report())["ann"].startswith("resubmitted, not graded again yet")


def test_the_page_needs_no_network(classroom):
    enter(classroom, "ann", (2, 1), 2)
    report()
    text = page_of(Path.cwd())
    assert not re.search(r"""(?i)(src|href|action|content)\s*=\s*["']?\s*(\w+:)?//|url\(|@import|<script""", text)
    assert "default-src 'none'" in text


# The table of grades.


def test_the_table_of_grades_is_that_of_nbgrader(classroom):
    enter(classroom, "ann", (2, 1), 2)
    enter(classroom, "bob", (2, 0), 0.5)
    with gradebook(Path.cwd()) as book:
        book.find_submission_notebook("two", COURSE, "bob").late_submission_penalty = 0.75
        book.add_student("gil", first_name="Gil")
        book.db.commit()
    page = report()
    subprocess.run([sys.executable, "-m", "nbgrader", "export"], check=True, capture_output=True)
    table = Path.cwd() / ".grading" / COURSE / "grades.csv"
    assert [line.rpartition(",")[0] for line in table.read_text().splitlines()] == Path(
        "grades.csv"
    ).read_text().splitlines(), "they differ in more than the bonus"
    with open(table, newline="") as stream:
        rows = {row["student_id"]: row for row in csv.DictReader(stream)}
    assert {student: float(row["score"]) for student, row in rows.items()} == {"ann": 5, "bob": 1.75, "gil": 0}
    assert {row["max_score"] for row in rows.values()} == {"7.0"}, "the maximum is the required points"
    assert {student: row["bonus"] for student, row in rows.items()} == {"ann": "1.0", "bob": "0.0", "gil": "0.0"}
    assert {student: points(page)[student][:4] for student in ("ann", "bob")} == {
        "ann": ["4", "1", "", "5"],
        "bob": ["2.5", "0", "0.75", "1.75"],
    }


# Errors are one sentence.


def error_of(capsys: pytest.CaptureFixture, *options: str) -> str:
    assert command.main([*options]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    return printed.err


def test_a_missing_gradebook_is_named(folder: Path, capsys: pytest.CaptureFixture):
    error = error_of(capsys)
    assert error.startswith(f"There is no gradebook {folder / 'gradebook.db'}: run `nbgrader generate_assignment tiny")
    assert not (folder / "gradebook.db").exists(), "reading the gradebook created one"
    (folder / "gradebook.db").write_text("no database, and long enough to be told apart from an empty one" * 20)
    assert "gradebook.db cannot be opened: file is not a database" in error_of(capsys)


def test_a_missing_assignment_and_missing_students_are_named(classroom, capsys: pytest.CaptureFixture):
    assert error_of(capsys, "other").startswith("The gradebook has no assignment 'other': run `nbgrader")
    assert error_of(capsys).startswith("There are no students to report on: none in the gradebook")


# Messages of failed checks.


@pytest.mark.parametrize(
    ("kind", "text", "line"),
    [
        ("CheckFailed", "a scalar\n  expected: 1", "a scalar"),
        ("NameError", "name 'x' is not defined", "NameError: name 'x' is not defined"),
        ("AssertionError", "not 42", "not 42"),
        ("AssertionError", "", "AssertionError"),
        ("KeyboardInterrupt", "", "KeyboardInterrupt"),
        ("CheckFailed", "\n\n  \x1b[0;31mred\x1b[0m\n", "red"),
    ],
)
def test_a_failure_is_described_in_a_line(kind: str, text: str, line: str):
    assert describe(kind, text) == line


def test_a_long_line_is_cut():
    assert first_line("x" * 200) == "x" * 200
    assert first_line("x" * 201) == "x" * 199 + "…"


@pytest.mark.parametrize(
    "content", ["not JSON", "[]", "{}", '{"cells": [{}]}', '{"cells": [{"cell_type": "code"}]}', "[" * 100_000, "\xff"]
)
def test_an_invalid_notebook_has_no_failures(tmp_path: Path, content: str):
    (tmp_path / "one.ipynb").write_text(content, encoding="latin-1")
    assert failures(tmp_path / "one.ipynb") == {}
    assert failures(tmp_path / "missing.ipynb") == {}


def test_links_are_not_followed(tmp_path: Path):
    errors = {("one", "check"): "wrong"}
    folder = write_graded(tmp_path / "graded", {"one": NotebookResult(scores={"check": 0})}, errors)
    assert failures(folder / "one.ipynb") == {"check": "wrong"}
    (tmp_path / "one.ipynb").symlink_to(folder / "one.ipynb")
    assert failures(tmp_path / "one.ipynb") == {}


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (7800, "2 h 10 min")]
)
def test_durations_are_readable(seconds: float, text: str):
    assert duration(seconds) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (10, "10"), (2.5, "2.5"), (100 / 3, "33.33")])
def test_points_have_no_trailing_zeros(value: float, text: str):
    assert number(value) == text


def test_failures_are_found_in_an_executed_notebook(tmp_path: Path):
    notebook = make_notebook("import sys")
    for name, source in {"kind": "[][0]", "silent": "assert False", "noise": "print('so', file=sys.stderr)"}.items():
        notebook.cells.append(make_cell(source, name, grade=True, points=1))
    NotebookClient(notebook, allow_errors=True).execute()
    nbformat.write(notebook, tmp_path / "one.ipynb")
    assert failures(tmp_path / "one.ipynb") == {
        "check": "NameError: name 'answer' is not defined",
        "kind": "IndexError: list index out of range",
        "silent": "AssertionError",
        "noise": "wrote to stderr: so",
    }
