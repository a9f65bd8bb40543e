"""`nbgrader zip_collect` with this repository's plugins: an odd archive costs no other student anything."""

import io
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import pytest

from grading.demo import demo_class as demo
from selftests import REPOSITORY
from selftests.grading.tiny_class import (
    CLASS,
    COURSE,
    RIGHT,
    WRONG,
    GradedClass,
    entries,
    grade,
    make_notebook,
    points,
    tree,
)

Files = dict[str, bytes]
"""The names in an archive and their contents."""
ORDINARY = ("bob", "dee")
PLUGINS = "\n".join(
    line
    for line in (REPOSITORY / "nbgrader_config.py").read_text(encoding="utf-8").splitlines()
    if line.startswith("c.ZipCollectApp.")
)


def notebook(answer: str) -> bytes:
    return nbformat.writes(make_notebook(answer)).encode()


def notebooks(folder: str, answers: dict[str, str] = {"one": RIGHT, "two": RIGHT}) -> Files:  # noqa: B006
    return {f"{folder}{name}.ipynb": notebook(answer) for name, answer in answers.items()}


def zipped(files: Files) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tarred(files: Files) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("three.ipynb")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return stream.getvalue()


def with_password(archive: bytes) -> bytes:
    """Mark all files in a zip archive as encrypted."""
    changed = bytearray(archive)
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        start = -1
        while (start := archive.find(signature, start + 1)) >= 0:
            changed[start + offset] |= 1
    return bytes(changed)


BOTH = notebooks("tiny/")
UNCHANGED = notebooks("", {"one": WRONG, "two": WRONG})
HALF_CLONE = {"repo-main/README.md": b"", "repo-main/.git/x.ipynb": b"", **notebooks("repo-main/exercises/tiny/")}


@dataclass(frozen=True)
class Odd:
    """What a student handed in."""

    files: dict[str, bytes]
    """Paths under archive/."""
    student: str
    collected: Files = field(default_factory=lambda: notebooks(""))
    """What must be collected from it."""
    warning: str = ""


ODD = [
    Odd({"clone.zip": zipped(HALF_CLONE | notebooks("repo-main/solutions/tiny/", CLASS["bob"]))}, "clone"),
    Odd({"clone2.zip": zipped(notebooks("solutions/tiny/", CLASS["bob"]) | notebooks("exercises/tiny/"))}, "clone2"),
    Odd({"windows.zip": zipped({name.replace("/", "\\"): text for name, text in HALF_CLONE.items()})}, "windows"),
    Odd(
        {
            "mac.zip": zipped(
                {
                    "__MACOSX/tiny/._one.ipynb": b"\0",
                    "__MACOSX/tiny/one.ipynb": b"\0",
                    "tiny/.DS_Store": b"",
                    **BOTH,
                    **notebooks("tiny/.ipynb_checkpoints/", {"one": WRONG, "one-checkpoint": WRONG}),
                }
            ),
            ".DS_Store": b"",
            "__MACOSX/._mac.zip": b"",
        },
        "mac",
    ),
    Odd({"deep.zip": zipped(notebooks("a/b/c d/é/" + "f/" * 60))}, "deep"),
    Odd(
        {"outside.zip": zipped(notebooks("../" * 9, {"one": RIGHT}) | notebooks("/tmp/x/", {"two": RIGHT}))}, "outside"
    ),
    Odd({"in a zip.zip": zipped({"mine.zip": zipped(BOTH), "weights.gz": b"\x1f\x8b?", "b.zip": b"?"})}, "in a zip"),
    Odd({"tar.tar.gz": tarred(BOTH)}, "tar"),
    Odd({"folder/hand in.zip": zipped(BOTH)}, "folder"),
    Odd({f"unpacked/{name}": text for name, text in BOTH.items()}, "unpacked"),
    Odd({"UPPER.ZIP": zipped(BOTH)}, "UPPER"),
    Odd(
        {"renamed.zip": zipped({"one.ipynb.json": b"{}", "TWO.IPYNB": b"{}"})},
        "renamed",
        {"one.ipynb.json": b"{}", "TWO.IPYNB": b"{}"},
    ),
    Odd(
        {"chrome.zip": zipped(notebooks("tiny/", {"one (1)": RIGHT, "two (12)": RIGHT}))},
        "chrome",
        warning="chrome.zip: one (1).ipynb is collected as one.ipynb.",
    ),
    Odd(
        {
            "firefox_2026-11-21-10-00-00.zip": zipped(UNCHANGED),
            "firefox_2026-11-22-10-00-00.zip": zipped(notebooks("", {"one(1)": RIGHT, "two(1)": RIGHT})),
        },
        "firefox",
        notebooks("") | {"timestamp.txt": b"2026-11-22 10:00:00"},
    ),
    Odd(
        {"unclear.zip": zipped(notebooks("", {"one (1)": RIGHT, "one (2)": WRONG, "two": RIGHT, "two (1)": WRONG}))},
        "unclear",
        notebooks("", {"one (1)": RIGHT, "one (2)": WRONG, "two": RIGHT, "two (1)": WRONG}),
    ),
    Odd(
        {"copies.zip": zipped(BOTH | notebooks("tiny/old/", {"one": WRONG}))},
        "copies",
        warning="copies.zip has several copies of one.ipynb: tiny/one.ipynb is collected, tiny/old/one.ipynb is not.",
    ),
    Odd(
        {
            "eve_2026-11-21-10-00-00.zip": zipped(UNCHANGED),
            "eve_2026-11-22-09-00-00.zip": zipped(notebooks("", {"two": RIGHT})),
            "eve.zip": zipped({"three.ipynb": b"{}"}),
        },
        "eve",
        notebooks("", {"one": WRONG, "two": RIGHT}) | {"three.ipynb": b"{}", "timestamp.txt": b"2026-11-22 09:00:00"},
    ),
    Odd(
        {"twice.zip": zipped(BOTH), "twice.tgz": tarred(UNCHANGED)},
        "twice",
        warning="twice.zip replaces notebooks of another archive by twice.",
    ),
    Odd(
        {"cut.zip": zipped(BOTH)[:-100]}, "cut", {}, "cut.zip is not collected: it is not a zip or tar archive, or only"
    ),
    Odd({"text.zip": b"not a zip"}, "text", {}, "text.zip is not collected: it is not a zip or tar archive"),
    Odd({"rar.rar": b"Rar!\x1a\7"}, "rar", {}, "rar.rar is not collected: it is not a zip or tar archive"),
    Odd(
        {"bytes.zip": zipped(BOTH).replace(b"answer", b"ANSWER")}, "bytes", {}, "bytes.zip is not collected: Bad CRC-32"
    ),
    Odd(
        {"secret.zip": with_password(zipped(BOTH))},
        "secret",
        {},
        "secret.zip is not collected: it is locked with a password.",
    ),
    Odd({"empty.zip": zipped({})}, "empty", {}, "empty.zip is not collected: there is no notebook in it."),
    Odd(
        {"essay.zip": zipped({"essay.pdf": b""})},
        "essay",
        {},
        "essay.zip is not collected: there is no notebook in it.",
    ),
    Odd({"long.zip": zipped({"n" * 300 + ".ipynb": b"{}"})}, "long", {}, "has a name of more than 255 bytes."),
    Odd({"fay_2026-99-99-10-00-00.zip": zipped(BOTH)}, "fay", {}, "2026-99-99-10-00-00 is not a time."),
    Odd({"loose.ipynb": notebook(RIGHT)}, "loose", {}, "loose.ipynb is not collected: it is a notebook outside of"),
]


@dataclass(frozen=True)
class Collected:
    """A course after `nbgrader zip_collect`."""

    folder: Path
    log: str

    def submission(self, student: str) -> Files:
        place = self.folder / "submitted" / student / COURSE
        return {path.name: path.read_bytes() for path in place.iterdir()} if place.exists() else {}


def collect(course: Path, files: Files) -> Collected:
    """Collect these files of archive/."""
    with open(course / "nbgrader_config.py", "a", encoding="utf-8") as settings:
        settings.write(PLUGINS)
    for name, content in files.items():
        path = course / "downloaded" / COURSE / "archive" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    command = [sys.executable, "-m", "nbgrader", "zip_collect", COURSE]
    result = subprocess.run(command, cwd=course, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return Collected(course, result.stderr)


@pytest.fixture(scope="module")
def collected(empty_course: Path, tmp_path_factory: pytest.TempPathFactory) -> Collected:
    """The ordinary archives and all odd ones, collected."""
    course = shutil.copytree(empty_course, tmp_path_factory.mktemp("odd") / "a course")
    files = {f"{student}.zip": zipped(notebooks("tiny/", CLASS[student])) for student in ORDINARY}
    return collect(course, files | {name: content for odd in ODD for name, content in odd.files.items()})


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.student)
def test_an_odd_archive_is_collected_or_named(collected: Collected, odd: Odd):
    assert collected.submission(odd.student) == odd.collected
    assert odd.warning in collected.log
    if not odd.collected:
        (summary,) = [line for line in collected.log.splitlines() if " are not collected: " in line]
        assert all(name in summary for name in odd.files)


def test_ordinary_archives_are_collected(collected: Collected):
    for student in ORDINARY:
        assert collected.submission(student) == notebooks("", CLASS[student])
    assert not any(f"{student}.zip is" in collected.log for student in ORDINARY)


def test_nothing_else_is_written(collected: Collected):
    students = {odd.student for odd in ODD if odd.collected} | set(ORDINARY)
    assert {path.name for path in (collected.folder / "submitted").iterdir()} == students
    extracted = tree(collected.folder / "downloaded" / COURSE / "extracted")
    assert {name.split("/")[0] for name in extracted} == students and all(name.count("/") <= 1 for name in extracted)


@pytest.mark.slow
def test_collected_submissions_are_graded_as_those_that_were_handed_in(collected: Collected, graded_class: GradedClass):
    students = (*ORDINARY, "clone", "windows")
    grade(collected.folder, *(option for student in students for option in ("--student", student)))
    assert points(collected.folder) == {"bob": 2, "dee": 2, "clone": 4, "windows": 4}
    expected = {key: value for key, value in entries(graded_class.folder).items() if key[0] in ORDINARY}
    assert {key: value for key, value in entries(collected.folder).items() if key[0] in ORDINARY} == expected


def test_other_names_of_archives_can_be_described(course: Path):
    with open(course / "nbgrader_config.py", "a", encoding="utf-8") as settings:
        settings.write('c.NotebookExtractor.named_regexp = r"(?P<student_id>[^_]+)_\\d+_assignsubmission_file"\n')
    done = collect(course, {"ann_4711_assignsubmission_file/hand-in.zip": zipped(BOTH), "bob.zip": zipped(BOTH)})
    assert done.submission("ann") == notebooks("") and done.submission("bob") == {}
    assert "bob.zip is not collected: its name does not match " in done.log


def test_this_repositorys_settings_use_the_plugins(tmp_path: Path):
    archive = tmp_path / "downloaded" / demo.COURSE / "archive"
    archive.mkdir(parents=True)
    exercises = REPOSITORY / "exercises" / demo.COURSE
    files = {f"main\\exercises\\{path.name}": path.read_bytes() for path in exercises.glob("*.ipynb")}
    (archive / "ann.zip").write_bytes(zipped(files))
    (archive / "bob.zip").write_bytes(b"not a zip")
    command = [sys.executable, "-m", "nbgrader", "zip_collect", demo.COURSE, f"--CourseDirectory.root={tmp_path}"]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert result.returncode == 0 and "bob.zip is not collected" in result.stderr, result.stderr
    handed_in = tmp_path / "submitted" / "ann" / demo.COURSE
    assert sorted(path.name for path in handed_in.iterdir()) == sorted(path.name for path in exercises.glob("*.ipynb"))
