"""Give up a notebook whose setup cell fails while it is graded: its checks would tell nothing about the student.

The setup cells are those of the assignment, wherever a submission has them and whatever else it has deleted.
"""

from collections.abc import Iterable, Mapping
from itertools import takewhile

from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbgrader.api import Gradebook
from nbgrader.preprocessors import Execute

from grading.class_report import messages
from grading.errors import GradingError
from grading.restored_cells import assigned_cells

STOPPED = {
    CellTimeoutError: "a cell timed out and ignored the interrupt",
    DeadKernelError: "the kernel died or was killed while running",
}
"""What the errors mean that end a notebook's execution."""


def setup_names(marks: Iterable[Mapping]) -> list[str]:
    """Return the grade ids of the locked code cells before the first answer in code, from the marks of all cells."""
    code = (each for each in marks if each["cell_type"] == "code")
    before = takewhile(lambda each: not each.get("solution"), code)
    return [each["grade_id"] for each in before if each.get("locked") and not each.get("grade")]


class ExecuteSetupFirst(Execute):
    """nbgrader's execution of a notebook, given up when a setup cell fails."""

    def preprocess(self, nb: NotebookNode, resources: dict, *others) -> tuple[NotebookNode, dict]:
        about = resources["nbgrader"]
        with Gradebook(about["db_url"]) as gradebook:
            assigned = assigned_cells(gradebook.find_notebook(about["notebook"], about["assignment"]))
        self.setup = setup_names(cell.marks for cell in assigned)
        return super().preprocess(nb, resources, *others)

    def preprocess_cell(self, cell: NotebookNode, resources: dict, index: int) -> tuple[NotebookNode, dict]:
        """Execute a cell. Raises `GradingError` if it is a setup cell and fails."""
        is_setup = cell.metadata.get("nbgrader", {}).get("grade_id") in self.setup
        try:
            cell, resources = super().preprocess_cell(cell, resources, index)
        except (CellTimeoutError, DeadKernelError) as error:
            if is_setup:
                raise GradingError(f"its setup cell failed: {STOPPED[type(error)]}") from error
            raise
        for output in cell.outputs if is_setup else ():
            if output.output_type == "error":
                raise GradingError(f"its setup cell failed: {messages.describe(output.ename, output.evalue)}")
        return cell, resources
