"""Tables of grades and times of submission, with what students could write into them."""

import csv
import io
from pathlib import Path

import pytest

from grading.course import course_of, read_settings, why_invalid_name
from grading.submissions import (
    IN_THE_FUTURE,
    INVALID,
    SET_ASIDE,
    TIMESTAMP,
    read_timestamp,
    set_timestamp_aside,
)
from grading.tables import COLUMNS, GradesTable, Writer
from selftests.grading.tiny_class import COURSE, gradebook

FORMULAS = ["=1+1", '=HYPERLINK("http://x")', "+1", "-1", "@sum", "\t=1", "\r=1", "＝1"]
VALID_TIMES = ["2026-01-02 03:04:05 UTC", "2026-01-02 03:04:05.123456 +0100", ""]
INVALID_TIMES = [
    "0001-01-01",
    "9999-12-31 23:59",
    "tomorrow",
    "9" * 40,
    "x" * 101,
    " " * 20_000_000,
    "2026-01-02\x1b[2J",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_text_that_begins_like_a_formula_gets_an_apostrophe(text: str):
    stream = io.StringIO(newline="")
    Writer(stream).writerow([text, -1.5, "a=b"])
    assert next(csv.reader(io.StringIO(stream.getvalue(), newline=""))) == [f"'{text}", "-1.5", "a=b"]


def test_the_export_of_grades_has_no_formulas(course: Path, tmp_path: Path):
    with gradebook(course) as book:
        for text in FORMULAS:
            book.add_student(text, first_name=text, last_name="a, b", email=text)
        GradesTable(to=str(tmp_path / "grades.csv")).export(book)
        GradesTable(to=str(tmp_path / "one.csv"), student=["+1"], assignment=[COURSE]).export(book)
    with open(tmp_path / "grades.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == COLUMNS
    expected = {f"'{text}" for text in FORMULAS}
    assert {row["student_id"] for row in rows} == {row["first_name"] for row in rows} == expected
    assert {(row["last_name"], row["email"] in expected, row["score"]) for row in rows} == {("a, b", True, "0.0")}
    assert len((tmp_path / "one.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize("text", VALID_TIMES)
def test_a_valid_time_stays(tmp_path: Path, text: str):
    (tmp_path / TIMESTAMP).write_text(text)
    set_timestamp_aside(tmp_path)
    assert read_timestamp(tmp_path) == (text or None, "")
    assert (tmp_path / TIMESTAMP).read_text() == text


@pytest.mark.parametrize("text", INVALID_TIMES, ids=lambda text: repr(text[:12]))
def test_an_invalid_time_is_set_aside_and_named(tmp_path: Path, text: str):
    (tmp_path / TIMESTAMP).write_text(text)
    assert read_timestamp(tmp_path) == (None, INVALID)
    set_timestamp_aside(tmp_path)
    assert read_timestamp(tmp_path) == (None, INVALID)
    assert [path.name for path in tmp_path.iterdir()] == [SET_ASIDE]


def test_a_time_in_the_future_is_remarked(tmp_path: Path):
    (tmp_path / TIMESTAMP).write_text("2098-01-02 03:04:05")
    set_timestamp_aside(tmp_path)
    assert read_timestamp(tmp_path) == ("2098-01-02 03:04:05", IN_THE_FUTURE)


def test_a_name_with_a_dot_is_found_and_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "nbgrader_config.py").write_text(f'c.CourseDirectory.course_id = "{COURSE}"')
    for name in ("ann", ".bob", "..cem"):
        (tmp_path / "submitted" / name / COURSE).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    students = course_of(read_settings()).students()
    assert students == ["..cem", ".bob", "ann"]
    assert [why_invalid_name(student) for student in students] == [*["its folder name begins with a dot"] * 2, ""]
