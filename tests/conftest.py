"""Give each check the learner's function of the same name, read from a folder of notebooks."""

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
def learners_work(request: pytest.FixtureRequest) -> Definitions:
    """What the learner wrote for each exercise, from the notebooks of the folder asked for.

    The errors are by exercise and, of notebooks that cannot be read, by the notebook's name.
    """
    folder = Path(request.config.getoption("--notebooks") or REPOSITORY / "solutions")
    try:
        notebooks, trouble = find_notebooks(folder), ""
    except NotebookError as error:
        notebooks, trouble = [], str(error)
    if trouble:
        pytest.fail(trouble, pytrace=False)
    work, stems = Definitions({}, {}), {notebook.stem for notebook in notebooks}
    for notebook in notebooks:
        try:
            names, errors = read_functions(notebook)
        except NotebookError as error:
            names, errors = {}, {notebook.stem: str(error)}
        for name in names.keys() & set(LEARNERS_NAMES) - work.names.keys():
            # Later notebooks define some names too: of the exercise's own notebook, if it is there, or else of any.
            if notebook.stem == _exercise(name).notebook or _exercise(name).notebook not in stems:
                work.names[name] = names[name]
        work.errors.update(errors)
    return work


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
    def learners_function(learners_work: Definitions) -> Any:
        if name not in learners_work.names:
            pytest.fail(_why_missing(name, learners_work.errors), pytrace=False)
        return learners_work.names[name]

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
