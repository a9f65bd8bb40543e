"""Written answers, which a course may ask for: cells that an instructor grades by hand, left out unless asked for.

In the solutions, the question, its rubric and the answer are markdown cells with tags: `written-answer` on the question
and the answer, `rubric` on the rubric.
"""

from nbformat import NotebookNode
from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets import Bool

WRITTEN_ANSWER, RUBRIC = "written-answer", "rubric"


def is_optional(cell: NotebookNode) -> bool:
    """Return whether a cell of the solutions is missing from the exercises unless written answers are asked for."""
    return not {WRITTEN_ANSWER, RUBRIC}.isdisjoint(cell.metadata.get("tags", []))


class WrittenAnswers(NbGraderPreprocessor):
    """Remove the rubrics from the exercises, and without `include` the questions and their answers too.

    It is the first of `GenerateAssignment`'s preprocessors: the gradebook then has only the cells that students get.
    """

    include = Bool(False, help="Whether the exercises ask for written answers").tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        removed = {RUBRIC} if self.include else {RUBRIC, WRITTEN_ANSWER}
        nb.cells = [cell for cell in nb.cells if removed.isdisjoint(cell.metadata.get("tags", []))]
        return nb, resources
