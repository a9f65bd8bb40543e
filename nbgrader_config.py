"""nbgrader's settings for this course: its folders, and how submissions are run."""

import os
import secrets
import sys
import sysconfig
from pathlib import Path

from nbgrader.converters import GenerateAssignment

# The workbook's packages beside this file count, also where the environment has another copy installed.
sys.path.insert(0, str(Path(__file__).parent))
from grading.bonus import OmitBonus, bonus_points
from grading.feedback.first_screen import DescribeScore
from grading.feedback.shared_figures import FeedbackExporter, ShareFigures
from grading.kernels.sandbox import python_path
from grading.preprocessors import AUTOGRADE, SANITIZE
from grading.safe_notebooks import EscapeNames, escape_formgrader
from grading.written_answers import WrittenAnswers

os.environ["PYTHONPATH"] = python_path()

# nbgrader runs `alembic` from the PATH when it creates a gradebook: put this environment's programs first.
os.environ["PATH"] = sysconfig.get_path("scripts") + os.pathsep + os.environ.get("PATH", os.defpath)

c = get_config()  # traitlets defines this function when it reads the file

c.CourseDirectory.course_id = "activation_patching"
c.CourseDirectory.source_directory = "solutions"
c.CourseDirectory.release_directory = "exercises"

# Whether the exercises that `make release` generates ask for written answers, which are graded by hand.
c.WrittenAnswers.include = False
c.GenerateAssignment.preprocessors = [WrittenAnswers, OmitBonus, *GenerateAssignment.preprocessors.default()]

# The bonus checks, whose points count beyond the maximum.
c.BonusPoints.points = bonus_points(Path(__file__).parent / "solutions" / "activation_patching")

# `nbgrader zip_collect` takes the notebooks out of students' archives, however these are made.
c.ZipCollectApp.extractor_plugin = "grading.collecting.NotebookExtractor"
c.ZipCollectApp.collector_plugin = "grading.collecting.NotebookCollector"

# Copied, split and deleted cells, and metadata of other editors, cost a submission nothing. One whose setup cell fails
# gets no score: that is a failure of the grader's, or hides one.
c.Autograde.sanitize_preprocessors = SANITIZE
c.Autograde.autograde_preprocessors = AUTOGRADE

# No page that shows a submission runs its scripts, and in the table of grades no name is a formula.
c.HTMLExporter.preprocessors = [EscapeNames]
escape_formgrader()
c.ExportApp.plugin_class = "grading.tables.GradesTable"

# A student's feedback pages: our template, with the score and each check's message above the notebook.
c.GenerateFeedback.exporter_class = FeedbackExporter
c.GenerateFeedback.preprocessors = [DescribeScore, ShareFigures]
c.FeedbackExporter.template_name = "page"
c.FeedbackExporter.extra_template_basedirs = [str(Path(__file__).parent / "grading" / "feedback")]

# The time limit of one cell, in seconds. The slowest sweep, 720 patched runs, takes 15 on ioi-mini and minutes on
# gpt2-small. With `make grade`, the limit of a notebook is five times as long.
c.Execute.timeout = 900 if os.environ.get("IOI_MODEL") else 300

# What every kernel executes first. All students are graded on one model, the one in the instructor's IOI_MODEL or else
# ioi-mini. Figures are handed over as data, and drawn by scripts of our own. Progress bars are off.
# The instructor's packages are imported before the submission can change sys.path.
variables = {"PLOTLY_RENDERER": "plotly_mimetype", "TQDM_DISABLE": "1"}
# With AVX-512, which works on 16 numbers at a time, PyTorch's softmax over our 15 positions takes four times as long.
cpuinfo = Path("/proc/cpuinfo")
instructions = {"ATEN_CPU_CAPABILITY": "avx2"} if cpuinfo.exists() and "avx512f" in cpuinfo.read_text() else {}


def set_variables(**values: str) -> str:
    """Return statements that set environment variables, unless the instructor has set them."""
    return "; ".join(["import os", *(f'os.environ.setdefault("{name}", "{values[name]}")' for name in values)])


begin = (
    f"{set_variables(**variables, **instructions)}; import tests; from utils.models import GRADING_MODEL; "
    'os.environ.setdefault("IOI_MODEL", GRADING_MODEL)'
)

# A student could tag a check to be skipped and get its points: make the tag unguessable.
c.Execute.skip_cells_with_tag = secrets.token_hex()

c.Execute.extra_arguments = [
    "--HistoryManager.hist_file=:memory:",
    # A file named utils.py or tests.py in a submission must not replace the instructor's packages.
    "--InteractiveShellApp.ignore_cwd=True",
    f"--InteractiveShellApp.exec_lines={begin}",
    # A warning about TCP for every notebook would bury nbgrader's own log.
    "--IPKernelApp.log_level=ERROR",
]

# What every check prints when it passes: `make grade` names a check that got full points and did not print it.
c.ClassGrading.pass_prints = " checks passed."

# `make grade` executes this before it forks kernels: they share the imports, each starts with a fresh preloaded model,
# and the slow first figure of a process has been drawn.
c.ClassGrading.preload = (
    f"{begin}; import utils, utils.models, plotly.io; utils.models.preload_model(); utils.plots.heat_map([[0.0]]); "
    "plotly.io.renderers"
)

# `make grade` runs Python with these arguments once before the class. It precomputes the checks' references, with the
# same instruction set as in the kernels, so that these get bit-identical numbers.
c.ClassGrading.prepare = [
    "-c",
    f"{set_variables(**instructions)}; from grading import precompute_references; precompute_references.main()",
]
