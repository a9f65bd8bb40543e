"""What a notebook says of itself, and the contents page made of it."""

import re
from dataclasses import dataclass

from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook
from nbgrader.utils import is_solution

INTRODUCTION = """\
# Activation patching, from scratch

Notebooks in which you implement activation patching on gpt2-small with nothing but hooks. After six of them you can
sketch the circuit that solves the IOI (indirect object identification) task; in the others you put it to the test.

The **solutions** are the instructor's version with every cell run; its heat maps and attention patterns are
interactive. The **exercises** are what students get, to read: nothing in them has been run.
"""
TABLE_HEAD = """\
| notebook | you write | reading | exercises | pages |
| --- | --- | --- | --- | --- |
"""
EFFORT = re.compile(r"^\*Reading: about (?P<reading>.+?)\. Exercises: (?:about )?(?P<exercises>.+)\.\*$", re.MULTILINE)


@dataclass(frozen=True)
class Entry:
    """A notebook's line in the contents."""

    name: str
    title: str
    to_write: tuple[str, ...]
    reading: str
    exercises: str


def entry(name: str, notebook: NotebookNode) -> Entry:
    """Read the title and the minutes in the first cell, and the functions in the names of the cells to fill in."""
    first = notebook.cells[0].source
    effort = EFFORT.search(first)
    assert effort, f"{name} does not state its minutes"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return Entry(
        name=name,
        title=first.splitlines()[0].removeprefix("# ").split(":")[0],
        to_write=tuple(cell.metadata.nbgrader.grade_id for cell in code if is_solution(cell)),
        reading=effort["reading"],
        exercises=effort["exercises"],
    )


def contents(entries: list[Entry]) -> NotebookNode:
    """The contents page, as a notebook of one cell, so that it goes the same way as the others."""
    rows = "\n".join(map(row, entries))
    page = new_notebook(cells=[new_markdown_cell(INTRODUCTION + "\n" + TABLE_HEAD + rows)])
    page.metadata["title"] = "Activation patching, from scratch"
    return page


def row(entry: Entry) -> str:
    functions = "<br>".join(f"`{function}`" for function in entry.to_write)
    reading = entry.reading.replace(" ", "&nbsp;")
    pages = f"[solutions](solutions/{entry.name}.html)<br>[exercises](exercises/{entry.name}.html)"
    return f"| {entry.title} | {functions} | {reading} | {entry.exercises} | {pages} |"
