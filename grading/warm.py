"""Compute what the checks compare with once, before many kernels wait for it: nbgrader_config.py has `main` called.

In a sandbox the folder of these results can only be read.
"""

import os

from utils import load_ioi, load_model
from utils.references import compute_references


def main() -> None:
    """Read or compute the reference results for the model that everybody is graded on."""
    model = load_model(os.environ.get("IOI_MODEL", "ioi-mini"))
    compute_references(model, load_ioi(model))
