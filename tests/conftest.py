"""Give each check the learner's function of the same name, read from a folder of notebooks."""

import functools
import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from tests import exercises
from tests.checks.checking import CheckFailed, NotImplementedYet
from tests.checks.notebooks import Definitions, NotebookError, find_notebooks, read_functions
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
def learners_work(request: pytest.FixtureRequest) -> Callable[[str], Definitions]:
    """A function that reads what the learner wrote for an exercise, from the folder of notebooks asked for.

    Later notebooks define some names too: the exercise's own notebook counts, if it is there, or else any. Each is read
    when a check first needs it. The errors are by exercise and, of notebooks that cannot be read, by the notebook's
    name.
    """
    folder = Path(request.config.getoption("--notebooks") or REPOSITORY / "solutions")
    try:
        notebooks, trouble = find_notebooks(folder), ""
    except NotebookError as error:
        notebooks, trouble = [], str(error)
    if trouble:
        pytest.fail(trouble, pytrace=False)
    read = functools.cache(_read)

    def work_for(name: str) -> Definitions:
        own = [notebook for notebook in notebooks if notebook.stem == _exercise(name).notebook]
        work = Definitions({}, {})
        for notebook in own or notebooks:
            names, errors = read(notebook)
            work.names.update(names | work.names)  # the first definition of a name counts
            work.errors.update(errors)
        return work

    return work_for


def _read(notebook: Path) -> Definitions:
    try:
        return read_functions(notebook)
    except NotebookError as error:
        return Definitions({}, {notebook.stem: str(error)})


def _exercise(name: str) -> exercises.Exercise:
    """Return the exercise in which the learner writes this function or variable."""
    return next(each for each in exercises.EXERCISES if name in (each.name, *each.also))


def _why_missing(name: str, errors: dict[str, str]) -> str:
    """Explain why the notebooks do not define a name: its cell or notebook fails, or there is none."""
    exercise = _exercise(name)
    if why := errors.get(exercise.notebook) or errors.get(exercise.name):
        return why
    known = {exercise.notebook for exercise in exercises.EXERCISES} | set(EXERCISES)
    return " ".join([f"No notebook defines {name}.", *(errors[file] for file in errors.keys() - known)])


def _fixture_for(name: str) -> Callable:
    @pytest.fixture(name=name)
    def learners_function(learners_work: Callable[[str], Definitions]) -> Any:
        names, errors = learners_work(name)
        if name not in names:
            pytest.fail(_why_missing(name, errors), pytrace=False)
        return names[name]

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
