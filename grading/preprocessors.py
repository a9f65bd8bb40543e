"""What nbgrader does to a submitted notebook before and after it runs: its own preprocessors, with ours among them."""

from nbformat import NotebookNode
from nbgrader.converters import Autograde
from nbgrader.preprocessors import DeduplicateIds, Execute, NbGraderPreprocessor
from nbgrader.utils import determine_grade, is_grade, is_solution

from grading.bonus import AwardBonus
from grading.restored_cells import REMARKS, RestoreCells
from grading.safe_notebooks import CleanOutputs, CleanText
from grading.setup_cells import ExecuteSetupFirst


class NameSilentPasses(NbGraderPreprocessor):
    """Remark checks that got full points without printing what a pass prints, `ClassGrading.pass_prints`."""

    def preprocess_cell(self, cell: NotebookNode, resources: dict, index: int) -> tuple[NotebookNode, dict]:
        if cell.cell_type == "code" and is_grade(cell) and not is_solution(cell):
            points, max_points = determine_grade(cell)
            printed = "".join(output.get("text", "") for output in cell.outputs)
            if points == max_points and self.config.ClassGrading.get("pass_prints", "") not in printed:
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
