"""The process in which nbgrader grades one submission: its own converter, one notebook after another.

A worker starts it, as `python -m grading.autograde ARGUMENTS`, in the folder of the course's nbgrader_config.py, with
the arguments of `main` as JSON. Each notebook's result is printed at once, one line of JSON each: if this process dies,
its worker knows at which notebook. A notebook that cannot be graded does not stop the next one.
"""

import dataclasses
import gc
import json
import os
import resource
import secrets
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbformat.validator import NotebookValidationError
from nbgrader.api import Gradebook
from nbgrader.apps import AutogradeApp
from nbgrader.converters import Autograde, NbGraderException
from traitlets import List

from grading.course import printable
from grading.errors import GradingError
from grading.gradebooks import url
from grading.kernels import warm_kernels
from grading.kernels.kernel_server import die_with_parent
from grading.kernels.limits import Limits
from grading.kernels.warm_kernels import KernelServer
from grading.preprocessors import AUTOGRADE, SANITIZE, STOPPED
from grading.restored_cells import REMARKS
from grading.results import NOT_GRADED, NotebookResult

STUDENT = "submission"
"""The student's name in the private course, where no id can contain characters that nbgrader rejects."""
SOURCE = "source"
"""The folder in FOLDER with the instructor's files beside the notebooks, which nbgrader copies over the student's."""
NBGRADER_BYTES = 4 * 2**30
"""Memory of this process, which holds one notebook with its output."""
NOT_A_NOTEBOOK = "the file is not a valid notebook"

KERNEL_DID_NOT_START = ("Kernel died before replying", "Kernel didn't respond")
"""How jupyter_client's errors begin; no cell has been executed then."""
REASONS = STOPPED | {
    NotebookValidationError: "a cell or an output violates the notebook format",
    MemoryError: "the notebook with its output is too large for nbgrader's memory limit",
}


class ReportingAutograde(Autograde):
    """nbgrader's converter, which logs every error and raises a generic one; attributes keep error and remarks."""

    error: Exception | None = None
    sanitize_preprocessors = List(SANITIZE).tag(config=True)
    autograde_preprocessors = List(AUTOGRADE).tag(config=True)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.remarks: list[str] = []

    def convert_single_notebook(self, notebook_filename: str) -> None:
        try:
            super().convert_single_notebook(notebook_filename)
        except Exception as error:
            self.error = error
            raise

    def write_single_notebook(self, output: str, resources: dict) -> None:
        super().write_single_notebook(output, resources)
        self.remarks += resources["nbgrader"].get(REMARKS, ())


def main(folder: str, assignment: str, notebooks: list[str], limits: dict, sandboxed: bool, preload: str) -> None:
    """Grade notebooks of the submission in a course folder, and print the result of each.

    `folder` holds only the submission and a gradebook; `limits` are those of a notebook, `preload` is the name of a
    module to import before any.
    """
    die_with_parent()
    resource.setrlimit(resource.RLIMIT_DATA, (NBGRADER_BYTES, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    # What else is printed, here and in kernels, goes to the log.
    reports = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    root = Path(folder)
    app = make_app(root, assignment)
    inside = root / "autograded" / STUDENT / assignment
    kernels = KernelServer(root, inside, Limits(**limits), sandboxed, preload)
    warm_kernels.provide(kernels)
    gc.freeze()  # collections would search all that was imported
    for notebook in notebooks:
        app.coursedir.notebook_id = notebook
        gc.collect()  # the last notebook's output would count as this one's
        result = grade_notebook(app, kernels, root / "submitted" / STUDENT / assignment / f"{notebook}.ipynb")
        print(json.dumps([notebook, dataclasses.asdict(result)]), file=reports, flush=True)
    kernels.stop()


def make_app(folder: Path, assignment: str) -> AutogradeApp:
    """Return nbgrader's application, with the course's settings and that course folder."""
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
            f"--Execute.kernel_name={warm_kernels.NAME}",
            # All of a cell's output is there when it is done: a kernel need not be asked to exit.
            "--Execute.shutdown_kernel=immediate",
            # A student could tag a check to be skipped and get its points: make the tag unguessable.
            f"--Execute.skip_cells_with_tag={secrets.token_hex()}",
            # Sockets in the file system work without a network; their names are this one and a number.
            "--KernelManager.transport=ipc",
            f"--KernelManager.ip={folder / warm_kernels.SOCKETS / 's'}",
        ]
    )
    app.coursedir.assignment_id = assignment
    return app


def grade_notebook(app: AutogradeApp, kernels: KernelServer, file: Path) -> NotebookResult:
    """Grade a notebook; return its scores, or why it could not be graded."""
    converter = ReportingAutograde(coursedir=app.coursedir, parent=app)
    outcome = convert(converter, kernels, file)
    if kernels.excess:
        outcome = f"killed: {kernels.excess}"
    result = read_scores(app, file.stem) if outcome == "graded" else NotebookResult(outcome)
    result.remarks = converter.remarks
    return result


def convert(converter: ReportingAutograde, kernels: KernelServer, file: Path) -> str:
    """Have nbgrader grade a notebook; return `graded` or why it could not be graded."""
    try:
        kernels.ensure_ready()
        converter.start()
    except (GradingError, OSError) as error:
        return describe(error)
    except (NbGraderException, SystemExit):
        return (
            describe(converter.error)
            if isinstance(converter.error, MemoryError) or is_notebook(file)
            else NOT_A_NOTEBOOK
        )
    return "graded"


def read_scores(app: AutogradeApp, notebook: str) -> NotebookResult:
    """Read what nbgrader wrote about a graded notebook to the private gradebook."""
    with Gradebook(app.coursedir.db_url, app.coursedir.course_id) as gradebook:
        graded = gradebook.find_submission_notebook(notebook, app.coursedir.assignment_id, STUDENT)
        return NotebookResult(
            scores={grade.name: grade.auto_score for grade in graded.grades},
            needs_manual_grade=[grade.name for grade in graded.grades if grade.needs_manual_grade],
            comments={comment.name: comment.auto_comment for comment in graded.comments},
        )


def is_notebook(file: Path) -> bool:
    """Return whether a file is a notebook, of any format."""
    try:
        return isinstance(nbformat.read(file, as_version=nbformat.current_nbformat).cells, list)
    except Exception:  # from invalid JSON to JSON nested too deeply
        return False


def describe(error: Exception | None) -> str:
    """Describe an error in a few words."""
    for kind, reason in REASONS.items():
        if isinstance(error, kind):
            return reason
    first_line = printable(str(error).strip().split("\n")[0][:200])
    if isinstance(error, GradingError):
        return NOT_GRADED + first_line
    if isinstance(error, OSError) or first_line.startswith(KERNEL_DID_NOT_START):
        return f"{NOT_GRADED}{type(error).__name__}: {first_line}"
    return f"nbgrader failed ({type(error).__name__}: {first_line})" if error else "nbgrader failed, see its log"


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
