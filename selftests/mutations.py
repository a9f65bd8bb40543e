"""Do the checks notice small mistakes in the solutions? `python -m selftests.mutations` tries several hundred.

For each mutant of a solution the exercise's check runs: of a sweep the part on tiny models, and its hidden check. The
exit code is 1 where fewer than 98 in 100 of the mutants that are mistakes are noticed.
"""

import contextlib
import functools
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import tests
from selftests import REPOSITORY
from selftests.answer_bank import check_of
from selftests.mutants import Mutant, all_mutants
from tests.checks.checking import CheckFailed
from tests.checks.notebooks import read_functions
from tests.exercises import HOOKS

PROCESSES = 2
SECONDS = 30
LEAST = 0.98
# (a part of a line, what stands there in the mutant, why the two give the same)
EQUIVALENT = (
    ("model.reset_hooks()", "pass", "no hook is on the model when a sweep begins, and run_with_hooks removes its own"),
    ("shape[-1]", "shape[+1]", "tokens have two axes, so that 1 and -1 are the same axis"),
    ("softmax(dim=-1)", "softmax(dim=+1)", "logits at END have two axes, so that 1 and -1 are the same axis"),
    (".sum(dim=-1)", ".sum(dim=+1)", "logits at END have two axes, so that 1 and -1 are the same axis"),
    ("device=corrupted_tokens.device", "device=None", "a result may lie on any device"),
    ("device=corrupted_tokens.device", "", "a result may lie on any device"),
    (
        'z_names = [get_act_name("z", layer) for layer in range(model.cfg.n_layers)]',
        'z_names = [get_act_name("z", layer) for layer in range(model.cfg.n_layers - 1)]',
        "no head reads what the last layer writes",
    ),
    ('[f"{layer}.{head}" for layer, head in heads]', "None", "a figure may have any labels, or none"),
)
NAMES_IN_A_FIGURE = re.compile(r',? ?\b(title|x|y|xaxis|yaxis|facet_labels)=("[^"]*"|\w+)')


def why_equivalent(mutant: Mutant) -> str:
    """Why the mutant gives what the solution gives; empty where it does not."""
    removed, added = mutant.diff
    if "heat_map(" in mutant.original and _without_names(mutant.original) == _without_names(mutant.source):
        return "a figure may have any labels, or none"
    return next(
        (why for part, other, why in EQUIVALENT if part in removed and removed.replace(part, other) == added), ""
    )


def _without_names(source: str) -> str:
    """Code that draws a figure, in one line, without the title and the names of axes, rows, columns and facets."""
    return re.sub(r"[ ,]*\)", ")", NAMES_IN_A_FIGURE.sub("", " ".join(source.split())))


def is_killed(mutant: Mutant) -> bool:
    """Whether the exercise's check refuses the mutant, or the mutant cannot be defined at all."""
    names = dict(_names(mutant.notebook))
    with _time_limit(), open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        try:
            exec(compile(mutant.source, mutant.name, "exec"), names)
        except Exception:
            return True
        try:
            for name in _checked(mutant):
                for check in _checks(name):
                    check(names[name])
        except (CheckFailed, TimeoutError):
            return True
    return False


def main(mutants: Iterable[Mutant] | None = None) -> int:
    """Try the mutants, print what came out, and return the exit code."""
    mutants = list(all_mutants() if mutants is None else mutants)
    equivalent = [mutant for mutant in mutants if why_equivalent(mutant)]
    mistakes = [mutant for mutant in mutants if mutant not in equivalent]
    for notebook in {mutant.notebook for mutant in mutants}:
        _names(notebook)  # once, before the processes part
    # A process for each mutant: whatever it does to torch or to the model ends with it.
    with multiprocessing.get_context("fork").Pool(PROCESSES, maxtasksperchild=1) as pool:
        killed = pool.map(is_killed, mistakes, chunksize=1)
    survivors = [mutant for mutant, dead in zip(mistakes, killed, strict=True) if not dead]
    share = sum(killed) / len(mistakes)
    for mutant in equivalent:
        print(f"equivalent {mutant.name}: {why_equivalent(mutant)}", *_signed(mutant), sep="\n  ")
    for mutant in survivors:
        print(f"SURVIVES {mutant.name}", *_signed(mutant), sep="\n  ")
    print(f"{len(mutants)} mutants: {sum(killed)} killed, {len(equivalent)} equivalent, {len(survivors)} survive")
    print(f"{share:.1%} of those that are mistakes are killed; {LEAST:.0%} are wanted")
    return 0 if share >= LEAST else 1


def _signed(mutant: Mutant) -> list[str]:
    """The diff as printed: the solution's line after -, the mutant's after +."""
    removed, added = mutant.diff
    return [f"- {removed}", f"+ {added}"]


@functools.cache
def _names(notebook: Path) -> dict[str, object]:
    """What a notebook defines, solutions included."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        return read_functions(notebook).names


def _checked(mutant: Mutant) -> list[str]:
    """The mutant's exercise, and the hooks that its cell defines too: a sweep's check does not refuse these."""
    return [mutant.exercise, *(name for name in HOOKS if f"def {name}(" in mutant.source and name != mutant.exercise)]


def _checks(exercise: str) -> list[Callable[[Callable], None]]:
    hidden = getattr(tests.hidden, f"test_{exercise}", None)
    return [check_of(exercise, in_full=False), *([hidden] if hidden else [])]


@contextlib.contextmanager
def _time_limit():
    """Interrupt what takes too long; inside the mutant, the check takes this for an error of the mutant."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"no result after {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


if __name__ == "__main__":
    os.chdir(REPOSITORY)
    sys.exit(main())
