"""What every kernel imports before a notebook's first cell: the instructor's packages, set up for grading.

It comes before the submission can change `sys.path`. `make grade` imports it and calls `warm_up` once for a submission,
and then forks the kernels. As a program it computes the checks' references, which a sandbox only reads, with the same
instructions of the processor as in the kernels, so that these get bit-identical numbers.
"""

import os
from pathlib import Path

# Figures are handed over as data, and drawn by scripts of our own. Progress bars are off.
os.environ.setdefault("PLOTLY_RENDERER", "plotly_mimetype")
os.environ.setdefault("TQDM_DISABLE", "1")
# With AVX-512, which works on 16 numbers at a time, PyTorch's softmax over our 15 positions takes four times as long.
cpuinfo = Path("/proc/cpuinfo")
if cpuinfo.exists() and "avx512f" in cpuinfo.read_text():
    os.environ.setdefault("ATEN_CPU_CAPABILITY", "avx2")

import tests  # noqa: F401
from utils.models import GRADING_MODEL

# All students are graded on one model, the one in the instructor's IOI_MODEL or else ioi-mini.
os.environ.setdefault("IOI_MODEL", GRADING_MODEL)


def warm_up() -> None:
    """Load the model of each kernel's first `load_model`, and draw the slow first figure of a process."""
    import plotly.io
    import torch

    from utils import models, plots

    models.preload_model()
    plots.heat_map(torch.zeros(1, 1))
    plotly.io.renderers  # noqa: B018  which looks for a browser


def main() -> None:
    """Load or compute the references for the model used in grading."""
    from utils import load_ioi, load_model
    from utils.references import compute_references

    model = load_model()
    compute_references(model, load_ioi(model))


if __name__ == "__main__":
    main()
