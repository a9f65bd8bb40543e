"""Give each check the learner's function of the same name, read from a folder of notebooks."""

import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from tests import exercises
from tests.checks.checking import CheckFailed, NotImplementedYet
from tests.checks.notebooks import NotebookError, find_notebooks, read_functions
from utils.models import GRADING_MODEL

# As in grading, one model for everyone, whatever this machine has in its cache.
os.environ.setdefault("IOI_MODEL", GRADING_MODEL)

REPOSITORY = Path(__file__).parents[1]
EXERCISES = dict.fromkeys(exercise.name for exercise in exercises.EXERCISES)
LEARNERS_NAMES = (*EXERCISES, *(name for exercise in exercises.EXERCISES for name in exercise.also))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--notebooks",
        metavar="FOLDER",
        help="check the notebooks in FOLDER (default: solutions), and leave the project's own tests out",
    )


@pytest.fixture(scope="session")
def notebook_functions(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What the learner wrote for each exercise, from the notebooks of the folder asked for."""
    folder = Path(request.config.getoption("--notebooks") or REPOSITORY / "solutions")
    functions: dict[str, Any] = {}
    trouble = None
    try:
        for notebook in find_notebooks(folder):
            defined = read_functions(notebook)
            functions |= {name: defined[name] for name in LEARNERS_NAMES if name in defined and name not in functions}
    except NotebookError as error:
        trouble = str(error)
    if trouble:
        pytest.fail(trouble, pytrace=False)
    return functions


def _fixture_for(name: str) -> Callable:
    @pytest.fixture(name=name)
    def learners_function(notebook_functions: dict[str, Any]) -> Any:
        if name not in notebook_functions:
            pytest.fail(f"No notebook defines {name}.", pytrace=False)
        return notebook_functions[name]

    return learners_function


# pytest finds fixtures among this module's names; a loop saves eight functions that differ in a name.
for _name in LEARNERS_NAMES:
    globals()[f"fixture_{_name}"] = _fixture_for(_name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Generator[None, Any, Any]:
    """Of a check that did not pass, report its message and not a traceback through the check."""
    report = yield
    if call.excinfo is not None and isinstance(call.excinfo.value, CheckFailed):
        report.longrepr = str(call.excinfo.value)
        report.not_implemented = isinstance(call.excinfo.value, NotImplementedYet)
    return report


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    if getattr(report, "not_implemented", False):
        return "not implemented yet", "-", "NOT IMPLEMENTED YET"
    return None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = terminalreporter.stats.get("not implemented yet", [])
    if reports:
        terminalreporter.section("not implemented yet")
    for report in reports:
        terminalreporter.write_line(str(report.longrepr))
