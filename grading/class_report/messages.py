"""What a check said when it did not pass, as the graded notebook has it."""

import json
import re
from pathlib import Path

LONGEST = 200
COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def failures(notebook: Path) -> dict[str, str]:
    """The first line of each failure in a graded notebook, by the check's grade id.

    Empty where the file is missing, a link, or not a notebook: a submission may have put anything there.
    """
    if notebook.is_symlink() or not notebook.is_file():
        return {}
    try:
        # Not nbformat.read, which takes many times as long for notebooks full of figures.
        cells = json.loads(notebook.read_bytes())["cells"]
        marks = [(cell["metadata"].get("nbgrader", {}), cell) for cell in cells if cell["cell_type"] == "code"]
        said = {str(mark["grade_id"]): first_failure(cell["outputs"]) for mark, cell in marks if mark.get("grade")}
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return {}
    return {name: line for name, line in said.items() if line}


def first_failure(outputs: list[dict]) -> str:
    """The first line of what cost a cell its points: an error, or text on stderr; "" where there was neither."""
    for output in outputs:
        if output["output_type"] == "error":
            return describe(output["ename"], output["evalue"])
        if output["output_type"] == "stream" and output["name"] == "stderr":
            # A list of lines, as notebooks are stored.
            return f"wrote to stderr: {first_line(''.join(output['text']))}"
    return ""


def describe(kind: str, text: str) -> str:
    """An error in a line. The workbook's checks speak for themselves; of other errors the kind is worth knowing."""
    line = first_line(text)
    speaks_for_itself = line and (not kind.endswith("Error") or kind == "AssertionError")
    return line if speaks_for_itself else f"{first_line(kind)}: {line}".removesuffix(": ")


def first_line(text: str) -> str:
    """The first line that is not empty, without colours, cut off where it is very long."""
    lines = [line.strip() for line in COLOURS.sub("", text).splitlines() if line.strip()]
    line = lines[0] if lines else ""
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"
