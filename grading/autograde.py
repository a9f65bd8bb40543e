"""The process in which nbgrader grades one submission: its own converter, one notebook after another.

A worker starts it, as `python -m grading.autograde FOLDER ASSIGNMENT NOTEBOOK...`, in the folder of the course's
nbgrader_config.py. FOLDER is a course folder that holds nothing but the submission and a gradebook, and its file
settings.json says how to run kernels. What becomes of each notebook is appended to FOLDER/outcomes, one line of JSON
each, at once: should this process die, its worker knows where. A notebook that cannot be graded does not keep nbgrader
from the next one.
"""

import json
import secrets
import sys
from pathlib import Path

import nbformat
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat.validator import NotebookValidationError
from nbgrader.apps import AutogradeApp
from nbgrader.converters import Autograde, NbGraderException
from nbgrader.nbgraderformat import SchemaTooNewError, SchemaTooOldError, ValidationError

from grading.course import printable
from grading.kernels.kernel import NAME, STOPPED
from grading.kernels.warm_start import SOCKETS, KernelServer
from grading.private_gradebook import url
from grading.processes import die_with_parent

STUDENT = "submission"
"""The student's name in the private course: an id with characters that nbgrader cannot take costs nobody a grade."""
OUTCOMES = "outcomes"
SOURCE = "source"
"""Where the instructor's files beside the notebooks lie in FOLDER, for nbgrader to put them in place of a student's."""
NO_NOTEBOOK = "the file is not a notebook"

REASONS = {
    CellTimeoutError: "a cell took too long and did not let itself be interrupted",
    DeadKernelError: "the kernel died or was stopped while it ran",
    NotebookValidationError: "it has a cell or an output that a notebook cannot hold",
    ValidationError: "nbgrader's notes in the cells are damaged",
    SchemaTooOldError: "nbgrader's notes in the cells have an old format",
    SchemaTooNewError: "nbgrader's notes in the cells have a format that is too new",
}


class RememberingAutograde(Autograde):
    """nbgrader's converter, which logs what went wrong and raises one error for everything, made to remember it."""

    went_wrong: Exception | None = None

    def convert_single_notebook(self, notebook_filename: str) -> None:
        try:
            super().convert_single_notebook(notebook_filename)
        except Exception as error:
            self.went_wrong = error
            raise


def main(folder: Path, assignment: str, notebooks: list[str]) -> None:
    """Grade these notebooks, and note what became of each."""
    die_with_parent()
    app = AutogradeApp()
    app.initialize(
        [
            assignment,
            f"--course-dir={folder}",
            f"--db={url(folder / 'gradebook.db')}",
            f"--student={STUDENT}",
            f"--CourseDirectory.source_directory={SOURCE}",
            "--CourseDirectory.submitted_directory=submitted",
            "--CourseDirectory.autograded_directory=autograded",
            "--CourseDirectory.directory_structure={nbgrader_step}/{student_id}/{assignment_id}",
            f"--Execute.kernel_name={NAME}",
            # A student could tag a check so that it is not run, and gets its points; nobody knows this tag.
            f"--Execute.skip_cells_with_tag={secrets.token_hex()}",
            # Sockets in the file system work without a network; their names are this one and a number.
            "--KernelManager.transport=ipc",
            f"--KernelManager.ip={folder / SOCKETS / 's'}",
        ]
    )
    app.coursedir.assignment_id = assignment
    kernels = KernelServer(folder, inside=folder / "autograded" / STUDENT / assignment)
    for notebook in notebooks:
        app.coursedir.notebook_id = notebook
        kernels.ensure()
        outcome = grade_notebook(app, folder / "submitted" / STUDENT / assignment / f"{notebook}.ipynb")
        if (folder / STOPPED).exists():
            outcome = f"stopped, for {(folder / STOPPED).read_text(encoding='utf-8')}"
            (folder / STOPPED).unlink()
        with open(folder / OUTCOMES, "a", encoding="utf-8") as stream:
            stream.write(json.dumps([notebook, outcome]) + "\n")
    kernels.end()


def grade_notebook(app: AutogradeApp, file: Path) -> str:
    """`graded`, or what kept nbgrader from it."""
    converter = RememberingAutograde(coursedir=app.coursedir, parent=app)
    try:
        converter.start()
    except (NbGraderException, SystemExit):
        return describe(converter.went_wrong) if is_notebook(file) else NO_NOTEBOOK
    return "graded"


def is_notebook(file: Path) -> bool:
    """Whether a file can be read as a notebook, of any format."""
    try:
        return isinstance(nbformat.read(file, as_version=nbformat.current_nbformat).cells, list)
    except Exception:  # from wrong JSON to JSON that is too deep
        return False


def describe(error: Exception | None) -> str:
    """What went wrong, in a few words."""
    for kind, reason in REASONS.items():
        if isinstance(error, kind):
            return reason
    first_line = printable(str(error).strip().split("\n")[0][:200])
    return f"nbgrader failed ({type(error).__name__}: {first_line})" if error else "nbgrader failed, see its log"


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
