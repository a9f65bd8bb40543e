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
from grading.safe_pages import EscapeNames, escape_formgrader
from grading.written_answers import WrittenAnswers

os.environ["PYTHONPATH"] = python_path()

# nbgrader runs `alembic` from the PATH when it creates a gradebook: put this environment's programs first.
os.environ["PATH"] = sysconfig.get_path("scripts") + os.pathsep + os.environ.get("PATH", os.defpath)

PRELOAD = "grading.kernels.preload"

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

# A student could tag a check to be skipped and get its points: make the tag unguessable.
c.Execute.skip_cells_with_tag = secrets.token_hex()

c.Execute.extra_arguments = [
    "--HistoryManager.hist_file=:memory:",
    # A file named utils.py or tests.py in a submission must not replace the instructor's packages.
    "--InteractiveShellApp.ignore_cwd=True",
    # What every kernel imports first: the instructor's packages, before the submission can change sys.path.
    f"--InteractiveShellApp.extensions={PRELOAD}",
    # A warning about TCP for every notebook would bury nbgrader's own log.
    "--IPKernelApp.log_level=ERROR",
]

# What every check prints when it passes: `make grade` names a check that got full points and did not print it.
c.ClassGrading.pass_prints = " checks passed."

# `make grade` forks kernels from a process that has imported this, which also computes the checks' references.
c.ClassGrading.preload = PRELOAD
c.ClassGrading.prepare = PRELOAD
