"""The hidden checks, which only grading runs: models, prompts, answers and metrics drawn from other seeds.

Only the instructor's notebooks call these functions, between nbgrader's marks for hidden tests. They live here so that
a feedback page shows a call and no more.
"""

import functools
from collections.abc import Callable

from tests.checks.checking import exercise_check
from tests.checks.sweeps import check_sweep_on_tiny_models
from tests.exercises import EXERCISE_SWEEPS
from tests.test_01_ioi_metric import check_metric_on_random_logits

# Every patch that can matter moves these cases' metrics by more than 0.001.
SEED = 1011

hidden_check = functools.partial(exercise_check, which="hidden")


@hidden_check
def test_ioi_metric(ioi_metric: Callable) -> None:
    """Check the metric on other random logits and answers."""
    check_metric_on_random_logits(ioi_metric, seed=SEED)


def _hidden_sweep_check(name: str) -> Callable[[Callable], None]:
    def check(function: Callable) -> None:
        """Check the sweep on other random models and prompts."""
        check_sweep_on_tiny_models(function, EXERCISE_SWEEPS[name], SEED)

    check.__name__ = f"test_{name}"
    return hidden_check(check)


# One for each sweep of tests/exercises.py.
globals().update({f"test_{name}": _hidden_sweep_check(name) for name in EXERCISE_SWEEPS})
