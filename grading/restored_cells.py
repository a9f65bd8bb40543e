"""Restore a submitted notebook's cells before it is graded: each cell of the assignment once, with nbgrader's marks.

These marks are the metadata by which nbgrader knows a cell. Editors copy, split and delete cells together with them,
and add metadata of their own, on which nbgrader's feedback and Formgrader can fail. nbgrader's DeduplicateIds empties
the marks of a doubled cell, which its own validation then rejects; its OverwriteCells restores no locked cell without
points, and fails if the cell before a deleted one is not graded.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import nbformat
from nbformat import NotebookNode
from nbgrader.api import Gradebook, Notebook
from nbgrader.preprocessors import NbGraderPreprocessor

from grading.course import printable

REMARKS = "remarks"
NO_ANSWER = "# This answer was missing from the submission, or had lost nbgrader's marks."
"""A comment, or else a heading."""


class RestoreCells(NbGraderPreprocessor):
    """Restore the assignment's cells, and put remarks on these into `resources["nbgrader"]["remarks"]`."""

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        about = resources["nbgrader"]
        with Gradebook(about["db_url"]) as gradebook:
            assigned = assigned_cells(gradebook.find_notebook(about["notebook"], about["assignment"]))
        about[REMARKS] = restore(nb, assigned)
        for remark in about[REMARKS]:
            self.log.warning("%s: %s", about["notebook"], remark)
        return nb, resources


@dataclass(frozen=True)
class AssignedCell:
    """A cell with marks, as the gradebook has it."""

    name: str
    """Its grade id."""
    source: str
    """Its text; that of an answer before it is written."""
    marks: dict

    @property
    def is_answer(self) -> bool:
        return self.marks["solution"]


def assigned_cells(notebook: Notebook) -> list[AssignedCell]:
    """Return an assigned notebook's cells with marks, in its order."""
    points = {cell.name: {"points": cell.max_score} for cell in [*notebook.grade_cells, *notebook.task_cells]}
    kinds = {"grade": notebook.grade_cells, "solution": notebook.solution_cells, "task": notebook.task_cells}
    names = {kind: {cell.name for cell in cells} for kind, cells in kinds.items()}
    return [
        AssignedCell(
            name=cell.name,
            source=cell.source,
            marks={
                "schema_version": 3,
                "grade_id": cell.name,
                **{kind: cell.name in names[kind] for kind in names},
                "locked": bool(cell.locked),
                "cell_type": cell.cell_type,
                "checksum": cell.checksum,
                **points.get(cell.name, {}),
            },
        )
        for cell in notebook.source_cells
    ]


def restore(notebook: NotebookNode, assigned: Sequence[AssignedCell]) -> list[str]:
    """Reduce cells to their text, mark one cell for each assigned one, put back missing ones; return remarks."""
    names = [grade_id(cell) for cell in notebook.cells]
    foreign = {*names} - {"", *(cell.name for cell in assigned)}
    missing = [cell for cell in assigned if cell.name not in names]
    put_back = [cell for cell in missing if not cell.is_answer or cell.marks["grade"]]
    notebook.nbformat_minor = nbformat.v4.nbformat_minor
    notebook.metadata = NotebookNode()
    notebook.cells = [new_cell(cell.cell_type, cell.source, cell.get("attachments")) for cell in notebook.cells]
    for cell in put_back:
        place = place_of(cell, assigned, names)
        names.insert(place, cell.name)
        notebook.cells.insert(place, new_cell(cell.marks["cell_type"], NO_ANSWER if cell.is_answer else cell.source))
    copies = {cell.name: [place for place, name in enumerate(names) if name == cell.name] for cell in assigned}
    counted = {cell.name: counted_copy(cell, assigned, copies, notebook) for cell in assigned if copies[cell.name]}
    for cell in assigned:
        if cell.name in counted:
            notebook.cells[counted[cell.name]].metadata.nbgrader = NotebookNode(cell.marks)
    found = name_copies(copies, counted) | {
        "missing cells were put back": [cell.name for cell in put_back],
        "answers missing or without nbgrader's marks": [cell.name for cell in missing if cell not in put_back],
        "cells of another notebook were run, but not graded": sorted(foreign),
    }
    return [f"{what}: {printable(', '.join(names))[:200]}" for what, names in found.items() if names]


def name_copies(copies: dict[str, list[int]], counted: dict[str, int]) -> dict[str, list[str]]:
    """Return the names of the cells with copies, by what there is to say about these."""
    names: dict[str, list[str]] = {}
    for name, place in counted.items():
        times, number = len(copies[name]), copies[name].index(place) + 1
        if times > 1:
            names.setdefault(f"cells found {times} times, of which number {number} counts", []).append(name)
    return names


def grade_id(cell: NotebookNode) -> str:
    """Return the grade id of a submitted cell; empty if it has none or nothing marks it."""
    marks = cell.get("metadata", {}).get("nbgrader")
    kinds = ("grade", "solution", "locked", "task")
    return str(marks.get("grade_id", "")) if isinstance(marks, dict) and any(map(marks.get, kinds)) else ""


def place_of(cell: AssignedCell, assigned: Sequence[AssignedCell], names: Sequence[str]) -> int:
    """Return where a missing cell belongs: below the marked cell before it, or else above the next one there is."""
    number = assigned.index(cell)
    if number == 0:
        return 0
    before = [place for place, name in enumerate(names) if name == assigned[number - 1].name]
    later = [each.name for each in assigned[number + 1 :]]
    after = [place for place, name in enumerate(names) if name in later]
    return max(before) + 1 if before else min(after, default=len(names))


def new_cell(kind: str, source: str, attachments: dict | None = None) -> NotebookNode:
    """Return a cell without outputs and metadata; `attachments` are the pictures in a text."""
    if kind == "code":
        return nbformat.v4.new_code_cell(source)
    create = nbformat.v4.new_markdown_cell if kind == "markdown" else nbformat.v4.new_raw_cell
    return create(source, attachments=attachments) if attachments else create(source)


def counted_copy(
    cell: AssignedCell, assigned: Sequence[AssignedCell], copies: dict[str, list[int]], notebook: NotebookNode
) -> int:
    """Return the place of the copy that gets the marks.

    Of a locked cell, it is the first copy below all copies of the answer before it, or else the last. Of an answer, it
    is the first that differs from what was handed out, or else the first.
    """
    places = copies[cell.name]
    if cell.is_answer:
        return next((place for place in places if notebook.cells[place].source != cell.source), places[0])
    answers = [each for each in assigned[: assigned.index(cell)] if each.is_answer]
    below = max(copies[answers[-1].name], default=-1) if answers else -1
    return next((place for place in places if place > below), places[-1])
