"""The messages of failed checks, read from graded notebooks."""

import json
import re
from pathlib import Path

MAX_LENGTH = 200
COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def failures(notebook: Path) -> dict[str, str]:
    """Return the first line of each failure message in a graded notebook, by the check's grade id.

    Empty if the file is missing, a symbolic link, or not a notebook: a submission may have put anything there.
    """
    if notebook.is_symlink() or not notebook.is_file():
        return {}
    try:
        # Not nbformat.read, which takes many times as long for notebooks full of figures.
        cells = json.loads(notebook.read_bytes())["cells"]
        marks = [(cell["metadata"].get("nbgrader", {}), cell) for cell in cells if cell["cell_type"] == "code"]
        lines = {str(mark["grade_id"]): first_failure(cell["outputs"]) for mark, cell in marks if mark.get("grade")}
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return {}
    return {name: line for name, line in lines.items() if line}


def first_failure(outputs: list[dict]) -> str:
    """Return the first line of a cell's error or of its text on stderr, which cost it its points; "" without either."""
    for output in outputs:
        if output["output_type"] == "error":
            return describe(output["ename"], output["evalue"])
        if output["output_type"] == "stream" and output["name"] == "stderr":
            # A notebook file stores text as a list of lines.
            return f"wrote to stderr: {first_line(''.join(output['text']))}"
    return ""


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
