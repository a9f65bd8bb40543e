"""The process in which nbgrader grades one submission: its own converter, one notebook after another.

A worker starts it, as `python -m grading.autograde FOLDER ASSIGNMENT NOTEBOOK...`, in the folder of the course's
nbgrader_config.py. FOLDER is a course folder that holds only the submission and a gradebook; its file settings.json
says how to run kernels. The outcome of each notebook is appended to FOLDER/outcomes at once, one line of JSON each: if
this process dies, its worker knows at which notebook. A notebook that cannot be graded does not stop the next one.
Remarks on the notebooks' cells go to FOLDER/remarks, one line each.
"""

import gc
import json
import resource
import secrets
import sys
from pathlib import Path

import nbformat
from nbformat.validator import NotebookValidationError
from nbgrader.apps import AutogradeApp
from nbgrader.converters import Autograde, NbGraderException
from traitlets import List

from grading.course import printable
from grading.errors import GradingError
from grading.kernels.kernel_launcher import KILLED, NAME
from grading.kernels.process_control import die_with_parent
from grading.kernels.warm_start import SOCKETS, KernelServer
from grading.preprocessors import AUTOGRADE, SANITIZE
from grading.private_gradebook import url
from grading.restored_cells import REMARKS
from grading.results import NOT_GRADED
from grading.setup_cells import STOPPED

STUDENT = "submission"
"""The student's name in the private course, where no id can contain characters that nbgrader rejects."""
OUTCOMES = "outcomes"
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


class ErrorKeepingAutograde(Autograde):
    """nbgrader's converter, which logs every error and raises a generic one, with the original in an attribute."""

    error: Exception | None = None
    sanitize_preprocessors = List(SANITIZE).tag(config=True)
    autograde_preprocessors = List(AUTOGRADE).tag(config=True)

    def convert_single_notebook(self, notebook_filename: str) -> None:
        try:
            super().convert_single_notebook(notebook_filename)
        except Exception as error:
            self.error = error
            raise

    def write_single_notebook(self, output: str, resources: dict) -> None:
        super().write_single_notebook(output, resources)
        with open(Path(self.coursedir.root) / REMARKS, "a", encoding="utf-8") as stream:
            for remark in resources["nbgrader"].get(REMARKS, ()):
                stream.write(f"{resources['nbgrader']['notebook']}: {remark}\n")


def main(folder: Path, assignment: str, notebooks: list[str]) -> None:
    """Grade these notebooks, and record the outcome of each."""
    die_with_parent()
    resource.setrlimit(resource.RLIMIT_DATA, (NBGRADER_BYTES, resource.getrlimit(resource.RLIMIT_DATA)[1]))
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
            # A student could tag a check to be skipped and get its points: make the tag unguessable.
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
        gc.collect()  # the last notebook's output would count as this one's
        outcome = grade_notebook(app, kernels, folder / "submitted" / STUDENT / assignment / f"{notebook}.ipynb")
        if (folder / KILLED).exists():
            outcome = f"killed: {(folder / KILLED).read_text(encoding='utf-8')}"
            (folder / KILLED).unlink()
        with open(folder / OUTCOMES, "a", encoding="utf-8") as stream:
            stream.write(json.dumps([notebook, outcome]) + "\n")
    kernels.stop()


def grade_notebook(app: AutogradeApp, kernels: KernelServer, file: Path) -> str:
    """Grade a notebook; return `graded` or why it could not be graded."""
    converter = ErrorKeepingAutograde(coursedir=app.coursedir, parent=app)
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
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
