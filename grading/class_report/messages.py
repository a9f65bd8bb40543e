"""What graded notebooks say: the failures of their checks, and the answers in them."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

MAX_LENGTH = 200
COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
HINT = re.compile(r"^ *hint: *(.+)$", re.M)
"""The line of a check's message that names the usual cause."""
NOT_ATTEMPTED = "NotImplementedYet"
"""The error of a check whose exercise was left as handed out."""


@dataclass(frozen=True)
class Failure:
    """Why a check failed."""

    line: str
    """The first line of the message."""
    hint: str = ""
    attempted: bool = True

    @property
    def cause(self) -> str:
        """What failures are grouped by."""
        return self.hint or self.line


@dataclass(frozen=True)
class GradedNotebook:
    """What a graded notebook says; empty if the file is missing, a symbolic link, or not a notebook."""

    failures: dict[str, Failure] = field(default_factory=dict)
    """By the check's grade id."""
    answers: dict[str, str] = field(default_factory=dict)
    """The answers in code, by grade id."""


def read_graded(notebook: Path) -> GradedNotebook:
    """Read a graded notebook: a submission may have put anything there."""
    if notebook.is_symlink() or not notebook.is_file():
        return GradedNotebook()
    try:
        # Not nbformat.read, which takes many times as long for notebooks full of figures.
        cells = json.loads(notebook.read_bytes())["cells"]
        code = [(cell["metadata"].get("nbgrader", {}), cell) for cell in cells if cell["cell_type"] == "code"]
        found = {str(mark["grade_id"]): first_failure(cell["outputs"]) for mark, cell in code if mark.get("grade")}
        answers = {str(mark["grade_id"]): text_of(cell["source"]) for mark, cell in code if mark.get("solution")}
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return GradedNotebook()
    return GradedNotebook({name: failure for name, failure in found.items() if failure}, answers)


def failures(notebook: Path) -> dict[str, str]:
    """Return the first line of each failure message in a graded notebook, by the check's grade id."""
    return {name: failure.line for name, failure in read_graded(notebook).failures.items()}


def first_failure(outputs: list[dict]) -> Failure | None:
    """Return a cell's error or its text on stderr, which cost it its points; None without either."""
    for output in outputs:
        if output["output_type"] == "error":
            hint = HINT.search(COLOURS.sub("", output["evalue"]))
            line = describe(output["ename"], output["evalue"])
            return Failure(line, first_line(hint[1]) if hint else "", output["ename"] != NOT_ATTEMPTED)
        if output["output_type"] == "stream" and output["name"] == "stderr":
            return Failure(f"wrote to stderr: {first_line(text_of(output['text']))}")
    return None


def text_of(source: str | list[str]) -> str:
    """Return a text that a notebook file stores as a list of lines."""
    return "".join(source)


def describe(kind: str, text: str) -> str:
    """Describe an error in a line. Messages of checks need no prefix; other errors get the name of their type."""
    line = first_line(text)
    self_explanatory = line and (not kind.endswith("Error") or kind == "AssertionError")
    return line if self_explanatory else f"{first_line(kind)}: {line}".removesuffix(": ")


def first_line(text: str) -> str:
    """Return the first non-empty line, without ANSI colours, truncated to `MAX_LENGTH`."""
    lines = [line.strip() for line in COLOURS.sub("", text).splitlines() if line.strip()]
    line = lines[0] if lines else ""
    return line if len(line) <= MAX_LENGTH else line[: MAX_LENGTH - 1] + "…"
