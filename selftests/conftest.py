"""The fixtures that several test modules share."""

import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from transformer_lens.model_bridge import TransformerBridge

from selftests.browsing import browser, needed_programs
from selftests.random_gpt2 import TINY_GPT2, save_gpt2
from tests.checks.cases import one_thread
from utils import models

__all__ = ["browser", "needed_programs"]

# As in grading, one model for everyone, whatever this machine has in its cache.
os.environ.setdefault("IOI_MODEL", models.GRADING_MODEL)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With --notebooks the question is whether somebody's notebooks are right, not whether the workbook is."""
    return True if config.getoption("--notebooks", None) else None


@pytest.fixture(scope="module", autouse=True)
def environment_of_a_module() -> Iterator[None]:
    """Restore the environment after each module, in which a course's settings, read in this process, may set variables.

    Plotly, for one, chooses by them what a notebook that another module runs shows.
    """
    with mock.patch.dict(os.environ):
        yield


@pytest.fixture(autouse=True)
def environment_of_a_test(environment_of_a_module: None) -> Iterator[None]:
    """Restore the environment after each test, too."""
    with mock.patch.dict(os.environ):
        yield


@pytest.fixture
def keep_model_in_use(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restore the model in use after a test that loads one, and compute it on one thread."""
    monkeypatch.setattr(models, "_in_use", models._in_use)
    with one_thread():
        yield


@pytest.fixture(scope="session")
def tiny_gpt2(tmp_path_factory: pytest.TempPathFactory) -> TransformerBridge:
    """A random model of the library, as gpt2-small is, with 3 layers and 2 heads."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(models, "_in_use", models._in_use)
        return models.load_model(save_gpt2(tmp_path_factory.mktemp("tiny"), **TINY_GPT2), "cpu")
