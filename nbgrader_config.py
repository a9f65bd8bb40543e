"""nbgrader's settings for this course: where things lie, and how submissions are run."""

import os
import secrets
import sysconfig
from pathlib import Path

# nbgrader starts `alembic` by its name when it makes a gradebook: this environment's programs come first.
os.environ["PATH"] = sysconfig.get_path("scripts") + os.pathsep + os.environ.get("PATH", os.defpath)

c = get_config()  # traitlets defines this function when it reads the file

c.CourseDirectory.course_id = "activation_patching"
c.CourseDirectory.source_directory = "solutions"
c.CourseDirectory.release_directory = "exercises"

# Seconds for one cell. The slowest sweep, 720 patched runs, takes 15 on ioi-mini and minutes on gpt2-small. An endless
# loop takes all of them, and each notebook gets five times as many from `make grade`.
c.Execute.timeout = 300 if os.environ.get("IOI_MODEL", "ioi-mini") == "ioi-mini" else 900

# What every kernel begins with: everybody gets one model, the one named by the instructor's IOI_MODEL or else ioi-mini,
# and figures that bring plotly.js along, without which the feedback pages would have none. Progress bars are for people
# who wait. The instructor's packages are imported before the submission can change its sys.path.
variables = {"IOI_MODEL": "ioi-mini", "PLOTLY_RENDERER": "notebook", "TQDM_DISABLE": "1"}
# Where PyTorch would work on 16 numbers at a time, softmax over our 15 positions takes four times as long as with 8.
cpuinfo = Path("/proc/cpuinfo")
arithmetic = {"ATEN_CPU_CAPABILITY": "avx2"} if cpuinfo.exists() and "avx512f" in cpuinfo.read_text() else {}


def set_variables(**values: str) -> str:
    """Statements that set environment variables, where the instructor has not set them."""
    return "; ".join(["import os", *(f'os.environ.setdefault("{name}", "{values[name]}")' for name in values)])


begin = f"{set_variables(**variables, **arithmetic)}; import tests"

# A student could tag a check so that it is not run, and gets its points; nobody knows this tag.
c.Execute.skip_cells_with_tag = secrets.token_hex()

c.Execute.extra_arguments = [
    "--HistoryManager.hist_file=:memory:",
    # A file named utils.py or tests.py in a submission must not replace the instructor's packages.
    "--InteractiveShellApp.ignore_cwd=True",
    f"--InteractiveShellApp.exec_lines={begin}",
    # A warning about TCP, once for every notebook, would drown nbgrader's own log.
    "--IPKernelApp.log_level=ERROR",
]

# `make grade` runs this before it forks kernels: so all notebooks share one import, each finds a model that nobody else
# has used, and the first figure, which takes seconds, is not the first any more.
c.ClassGrading.preload = (
    f"{begin}; import utils, utils.models, plotly.io; utils.models.make_model_ready(); utils.plots.heat_map([[0.0]]); "
    "plotly.io.renderers"
)

# `make grade` runs this once, as arguments of Python, before the class: what the checks compare with is computed, by
# the same arithmetic as in the kernels, so that these come to the same numbers, bit by bit.
c.ClassGrading.prepare = ["-c", f"{set_variables(**arithmetic)}; from grading import warm; warm.main()"]
