"""What nbgrader does to a submitted notebook before and after it runs: its own preprocessors, with ours among them."""

from collections.abc import Iterable, Mapping
from itertools import takewhile

from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbgrader.api import Gradebook
from nbgrader.converters import Autograde
from nbgrader.preprocessors import DeduplicateIds, Execute, NbGraderPreprocessor
from nbgrader.utils import determine_grade, is_grade, is_solution

from grading.bonus import AwardBonus
from grading.class_report import messages
from grading.errors import GradingError
from grading.restored_cells import REMARKS, RestoreCells, assigned_cells
from grading.safe_pages import CleanOutputs, CleanText
from grading.settings import ClassGrading

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
    """nbgrader's execution of a notebook, given up when a setup cell fails, since checks would tell nothing then.

    The setup cells are those of the assignment, wherever a submission has them and whatever else it has deleted.
    """

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


class NameSilentPasses(NbGraderPreprocessor):
    """Remark checks that got full points without printing what a pass prints, `ClassGrading.pass_prints`."""

    def preprocess_cell(self, cell: NotebookNode, resources: dict, index: int) -> tuple[NotebookNode, dict]:
        if cell.cell_type == "code" and is_grade(cell) and not is_solution(cell):
            points, max_points = determine_grade(cell)
            printed = "".join(output.get("text", "") for output in cell.outputs)
            if points == max_points and ClassGrading(config=self.config).pass_prints not in printed:
                remark = f"full points, but the check did not print that it passed: {cell.metadata.nbgrader.grade_id}"
                resources["nbgrader"].setdefault(REMARKS, []).append(remark)
        return cell, resources


# nbconvert validates the notebook's format after each of these.
SANITIZE = [
    RestoreCells,
    *(each for each in Autograde.sanitize_preprocessors.default() if each is not DeduplicateIds),
    CleanText,
]
"""Before a notebook runs."""
AUTOGRADE = [
    AwardBonus,
    *(ExecuteSetupFirst if each is Execute else each for each in Autograde.autograde_preprocessors.default()),
    NameSilentPasses,
    CleanOutputs,
]
"""While it runs, and after."""
