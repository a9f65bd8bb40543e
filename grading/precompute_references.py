"""Precompute the checks' references before many kernels need them: nbgrader_config.py has `main` called.

In a sandbox the cache of references is read-only.
"""

import os

from utils import load_ioi, load_model
from utils.models import GRADING_MODEL
from utils.references import compute_references


def main() -> None:
    """Load or compute the references for the model used in grading."""
    model = load_model(os.environ.get("IOI_MODEL", GRADING_MODEL))
    compute_references(model, load_ioi(model))
