"""The whole bank of answers, on the checks, through nbgrader and `make grade`: `python -m selftests.bank`."""

import contextlib
import io
import os
import sys
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import utils
from selftests.answer_bank import RIGHT, WRONG, expected_words, notebook_variables, refusal
from selftests.bank_grading import CELLS, differences_from_make_grade, grade, scored_exercises, submissions
from tests.exercises import EXERCISE_SWEEPS


def main() -> int:
    """Try every answer, print what came out, and return the exit code."""
    os.environ |= {"OMP_NUM_THREADS": "1", "IOI_MODEL": "ioi-mini"}
    with tempfile.TemporaryDirectory(prefix="bank-") as folder:
        os.environ["IOI_CACHE"] = str(Path(folder) / "references")
        survivors = on_the_checks()
        unexpected = through_nbgrader(Path(folder))
    return 1 if survivors or unexpected else 0


def on_the_checks() -> list[str]:
    """Run the checks on every answer; return what they got wrong."""
    warnings.simplefilter("ignore")
    notebook = notebook_variables()
    print("Computing what transformer_lens.patching gives ...", flush=True)
    with contextlib.redirect_stdout(io.StringIO()):
        for name in EXERCISE_SWEEPS:  # before any answer can touch the functions that compute it
            utils.reference_sweep(name, notebook["model"], notebook["data"])
    messages = {answer: refusal(answer, notebook, in_full=answer in WRONG) for answer in [*RIGHT, *WRONG]}
    refused = [f"{answer.stem} is refused: {messages[answer]}" for answer in RIGHT if messages[answer]]
    survived = [f"{answer.stem} is accepted" for answer in WRONG if messages[answer] is None]
    unnamed = [
        f"{answer.stem} is refused without the words `{expected_words(answer)}`: {messages[answer]}"
        for answer in WRONG
        if messages[answer] and expected_words(answer) not in messages[answer]
    ]
    report("right answers accepted", len(RIGHT), refused)
    report("wrong answers refused", len(WRONG), survived)
    report("messages that name the trouble", len(WRONG) - len(survived), unnamed)
    return [*refused, *survived, *unnamed]


def through_nbgrader(folder: Path) -> list[str]:
    """Grade all answers, with `nbgrader autograde` in one course folder for each core and with `python -m grading`.

    Return the scores that are not as expected, and those that the two do not agree on.
    """
    handed_in = submissions([*RIGHT, *WRONG, *CELLS])
    workers = os.cpu_count() or 1
    courses = [folder / f"course{number}" for number in range(workers)]
    with ThreadPoolExecutor(workers) as pool:  # the work is done in nbgrader's processes
        graded = pool.map(grade, courses, [handed_in[first::workers] for first in range(workers)])
        unexpected = [line for lines in graded for line in lines]
    scores = sum(len(scored_exercises(submission)) for submission in handed_in)
    report("scores as expected", scores, unexpected)
    different = [line for course in courses for line in differences_from_make_grade(course)]
    report("scores that `make grade` gives too", scores, different)
    return unexpected + different


def report(what: str, total: int, trouble: list[str]) -> None:
    print(f"{what}: {total - len(trouble)} of {total}", *trouble, sep="\n  ", flush=True)


if __name__ == "__main__":
    sys.exit(main())
