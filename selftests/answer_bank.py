"""The bank of answers: how they are read and tried on the checks.

An answer in `answers/right` or `answers/wrong` is one cell of a notebook, as a file: the notebook's variables are there
when it runs. The file's name begins with the exercise's. Line 1 says what is right or wrong with it; line 2 of a wrong
one gives words that the check's message must contain.
"""

import contextlib
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

import tests
import utils
from tests.checks.checking import CheckFailed, exercise_check
from tests.checks.sweeps import check_sweep_on_tiny_models
from tests.exercises import EXERCISE_SWEEPS

ANSWERS = Path(__file__).parent / "answers"
RIGHT, WRONG = sorted(ANSWERS.glob("right/*.py")), sorted(ANSWERS.glob("wrong/*.py"))
REBOUND = ("tests", "utils", "torch.testing", "transformer_lens")
"""Packages whose names some wrong answers bind to functions of their own."""


def exercise_of(answer: Path) -> str:
    return answer.stem.split("__")[0]


def headline(answer: Path) -> str:
    """What is right or wrong with an answer."""
    return answer.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")


def expected_words(answer: Path) -> str:
    """The words that the message on a wrong answer must contain."""
    return answer.read_text(encoding="utf-8").splitlines()[1].removeprefix("# message: ")


def notebook_variables() -> dict[str, object]:
    """What stands ready in a notebook when a learner's cell runs."""
    model = utils.model_in_use()
    data = utils.load_ioi(model)
    clean_logits, clean_cache = model.run_with_cache(data.clean_tokens)
    return {
        "model": model,
        "data": data,
        "clean_tokens": data.clean_tokens,
        "corrupted_tokens": data.corrupted_tokens,
        "answer_tokens": data.answer_tokens,
        "clean_cache": clean_cache,
        "clean_logit_diff": utils.logits_to_ave_logit_diff(clean_logits, data.answer_tokens).item(),
        "corrupted_logit_diff": utils.logits_to_ave_logit_diff(model(data.corrupted_tokens), data.answer_tokens).item(),
        "ioi_metric": utils.make_ioi_metric(model, data),
    }


def read_answer(answer: Path, notebook: dict[str, object]) -> object:
    """Run the cell and return what it binds to the exercise's name."""
    names = dict(notebook)
    exec(compile(answer.read_text(encoding="utf-8"), answer, "exec"), names)
    return names[exercise_of(answer)]


def check_of(name: str, in_full: bool = True) -> Callable:
    """The exercise's check, or of a sweep's check the part that runs on tiny models."""
    if in_full or name not in EXERCISE_SWEEPS:
        return getattr(tests, f"test_{name}")

    def on_tiny_models(function: Callable) -> None:
        check_sweep_on_tiny_models(function, EXERCISE_SWEEPS[name])

    on_tiny_models.__name__ = name
    return exercise_check(on_tiny_models)


@contextlib.contextmanager
def names_put_back() -> Iterator[None]:
    """Undo what an answer rebinds in the modules that check it, lest it help the answers after it."""
    modules = [module for name, module in sys.modules.items() if name == "torch" or name.startswith(REBOUND)]
    before = [(vars(module), dict(vars(module))) for module in modules]
    try:
        yield
    finally:
        for names, values in before:
            names.update(values)


def refusal(answer: Path, notebook: dict[str, object], in_full: bool = True) -> str | None:
    """The message with which the check refuses an answer; None where it accepts it."""
    grad_mode = torch.is_grad_enabled()
    with names_put_back(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        # The check as the notebook's cell finds it: an answer runs before the check is looked up.
        function, check = read_answer(answer, notebook), check_of(exercise_of(answer), in_full)
        try:
            check(function)
        except CheckFailed as failed:
            return str(failed)
        finally:
            torch.set_grad_enabled(grad_mode)
    return None
