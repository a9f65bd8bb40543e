"""The fixtures that several test modules share."""

import os
from pathlib import Path

import pytest

from selftests.browsing import browser, needed_programs

__all__ = ["browser", "needed_programs"]

# As in grading, one model for everyone, whatever this machine has in its cache.
os.environ.setdefault("IOI_MODEL", "ioi-mini")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With --notebooks the question is whether somebody's notebooks are right, not whether the workbook is."""
    return True if config.getoption("--notebooks", None) else None
