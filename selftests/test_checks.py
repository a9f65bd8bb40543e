"""The checks, tried on the bank of right and wrong answers that answer_bank.py reads."""

import functools
import io
import json
import linecache
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from transformer_lens import patching

import tests
import utils
from selftests.answer_bank import (
    ANSWERS,
    RIGHT,
    WRONG,
    check_of,
    exercise_of,
    expected_words,
    headline,
    names_put_back,
    notebook_variables,
    read_answer,
)
from tests.checks import checking
from tests.checks.cases import VOCABULARY, SweepCase, one_thread, tiny_cases
from tests.checks.checking import CheckFailed, changed_tensors, describe, exercise_check
from tests.checks.guards import hooks_on
from tests.exercises import EXERCISE_SWEEPS, FUNCTIONS
from tests.hidden import SEED
from utils import progress

pytestmark = pytest.mark.filterwarnings("ignore")  # some answers warn, or are never awaited
CHECKED_IN_FULL = {"get_act_patch_resid_pre__partial", "get_act_patch_attn_head_out_all_pos__nested_function"}
"""Right sweeps that run on the loaded model too, which takes seconds; the others run on the tiny models."""

SOLUTIONS = (
    "[:, pos] = clean_cache[hook.name][:, pos]",
    "[:, :, head_index] = ",
    "[:, head_index] = ",
    "(logit_diff - corrupted_logit_diff) / (clean_logit_diff - corrupted_logit_diff)",
)


@pytest.fixture(scope="module")
def notebook() -> dict[str, object]:
    return notebook_variables()


@pytest.fixture(autouse=True)
def rebound_names():
    """What one answer binds to a function of its own must not help the next."""
    with names_put_back():
        yield


def failure(check: Callable, answer: object) -> CheckFailed:
    with pytest.raises(CheckFailed) as caught:
        check(answer)
    return caught.value


@pytest.mark.parametrize("answer", RIGHT, ids=lambda answer: answer.stem)
def test_right_answer_passes_with_one_line(answer, notebook, capsys, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_WITHOUT_A_BAR", 1000)  # however busy the machine is
    name, function = exercise_of(answer), read_answer(answer, notebook)
    in_full = answer.stem in CHECKED_IN_FULL
    if in_full:
        utils.reference_sweep(name, notebook["model"], notebook["data"])
    capsys.readouterr()
    assert check_of(name, in_full)(function) is None
    written = capsys.readouterr()
    assert written.err == ""
    if any(word in headline(answer) for word in ("progress bar", "Prints", "prints")):
        assert written.out.endswith(f"{name}: all checks passed.\n")
    else:
        assert written.out == f"{name}: all checks passed.\n"


@pytest.mark.parametrize("answer", RIGHT, ids=lambda answer: answer.stem)
def test_right_answer_passes_the_hidden_check(answer, notebook):
    check = getattr(tests.hidden, f"test_{exercise_of(answer)}", None)
    if check:
        check(read_answer(answer, notebook))


@pytest.mark.parametrize("answer", WRONG, ids=lambda answer: answer.stem)
def test_wrong_answer_fails_with_a_message_that_names_the_trouble(answer, notebook, capsys):
    grad_mode = torch.is_grad_enabled()
    function = read_answer(answer, notebook)
    message = str(failure(check_of(exercise_of(answer)), function))
    assert expected_words(answer) in message
    assert len(message.splitlines()) <= 8
    assert max(map(len, message.splitlines())) < 400
    assert message.strip() not in ("", "AssertionError")
    assert all(solution not in message or solution in answer.read_text(encoding="utf-8") for solution in SOLUTIONS)
    assert "all checks passed" not in capsys.readouterr().out
    assert torch.is_grad_enabled() == grad_mode
    assert not hooks_on(notebook["model"])


def test_every_check_of_a_function_has_its_bank():
    checks = {name.removeprefix("test_") for name in tests.__all__ if name.startswith("test_")}
    of_variables = {"my_circuit", "my_mystery_circuit", "my_map", "early_heads_figure", "surviving_claims"}
    assert checks - of_variables == set(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_exercise_has_right_and_wrong_answers(name):
    assert sum(exercise_of(answer) == name for answer in RIGHT) >= 5
    assert sum(exercise_of(answer) == name for answer in WRONG) >= 5


@pytest.mark.parametrize("answer", [*RIGHT, *WRONG], ids=lambda answer: answer.stem)
def test_an_answer_names_its_exercise_and_says_what_it_is(answer):
    first, second, *_ = answer.read_text(encoding="utf-8").splitlines()
    assert exercise_of(answer) in FUNCTIONS, "a file's name begins with an exercise of tests/exercises.py and __"
    assert first.startswith("# "), "line 1 says what is right or wrong with the answer"
    assert answer in RIGHT or second.startswith("# message: "), "line 2 of a wrong answer: # message: words of it"


def test_no_answer_stands_twice_in_the_bank():
    bodies = ["".join(answer.read_text(encoding="utf-8").split("\n", 2)[2].split()) for answer in [*RIGHT, *WRONG]]
    assert len(set(bodies)) == len(bodies)


def test_names_that_an_answer_rebinds_are_put_back():
    before = torch.equal, torch.testing.assert_close, patching.get_act_patch_resid_pre, tests.test_ioi_metric
    with names_put_back():
        torch.equal = torch.testing.assert_close = patching.get_act_patch_resid_pre = tests.test_ioi_metric = print
    after = torch.equal, torch.testing.assert_close, patching.get_act_patch_resid_pre, tests.test_ioi_metric
    assert after == before


def moves(name: str, case: SweepCase) -> torch.Tensor:
    """By how much each patched run of a sweep moves the metric."""
    sweep = getattr(patching, name)(case.model, case.corrupted_tokens, case.clean_cache, case.patching_metric)
    return (sweep - case.patching_metric(case.model(case.corrupted_tokens))).abs()


def reads_positions(case: SweepCase) -> torch.Tensor:
    """Which positions' logits the metric reads."""
    logits = torch.zeros(*case.corrupted_tokens.shape, VOCABULARY)
    logits.requires_grad_()
    with torch.enable_grad():
        (read,) = torch.autograd.grad(case.patching_metric(logits), logits)
    return read.ne(0).any(dim=2).any(dim=0)


def can_move(name: str, case: SweepCase) -> torch.Tensor:
    """Where a patch has a causal path from a changed token, and a path on to the logits that the metric reads."""
    layers, positions = case.model.cfg.n_layers, case.corrupted_tokens.shape[1]
    if not EXERCISE_SWEEPS[name].by_position:
        return torch.ones(()).bool()
    resid_pre = torch.arange(positions).expand(layers, -1) >= 1
    resid_pre = resid_pre.clone()
    resid_pre[0] = torch.arange(positions) % 2 == 1
    output = torch.arange(positions).expand(layers, -1) >= 1
    output = output.clone()
    output[-1] = reads_positions(case)
    return resid_pre if name == "get_act_patch_resid_pre" else torch.stack([resid_pre, output, output])


@pytest.mark.parametrize("name", EXERCISE_SWEEPS)
@pytest.mark.parametrize(("seed", "least"), [(0, 1e-3), (SEED, 1e-3)])
def test_each_patch_moves_a_tiny_models_metric_by_far_more_than_the_tolerance(name, seed, least):
    for case in tiny_cases(seed):
        moved, can = moves(name, case), can_move(name, case)
        assert moved[can.expand_as(moved)].min() > least
        assert moved[~can.expand_as(moved)].eq(0).all()


@pytest.mark.parametrize("seed", [0, SEED])
def test_a_tiny_metric_changes_with_what_is_done_to_the_logits(seed):
    changes = [
        lambda x: x.log_softmax(-1),
        lambda x: x.softmax(-1),
        lambda x: x.flip(0),
        lambda x: x - x.mean(-1, True),
    ]
    case = list(tiny_cases(seed))[1]
    logits = case.model(case.corrupted_tokens)
    for change in changes:
        assert (case.patching_metric(change(logits)) - case.patching_metric(logits)).abs() > 1e-2
    assert reads_positions(case).sum() == 2


def test_tiny_cases_differ_in_every_size():
    for case in tiny_cases():
        sizes = [case.model.cfg.n_layers, case.model.cfg.n_heads, *case.corrupted_tokens.shape]
        assert len(set(sizes)) == len(sizes)


def test_tiny_cases_are_the_same_each_time():
    for once, again in zip(tiny_cases(3), tiny_cases(3), strict=True):
        assert not changed_tensors(once.clean_cache.cache_dict, again.clean_cache.cache_dict)
        assert not torch.equal(once.corrupted_tokens, next(tiny_cases(4)).corrupted_tokens)


FILES_OF_OURS = [utils.sweeps.__file__, utils.sweeps.arithmetic.__file__, utils.references.__file__, checking.__file__]


@pytest.mark.parametrize("file", [*FILES_OF_OURS, json.__file__, torch.__file__])
def test_a_line_of_the_workbook_or_of_a_library_is_not_the_learners(file):
    assert checking._is_ours(Path(file))


@pytest.mark.parametrize("file", ["02_residual_stream.ipynb, code cell 7", "/tmp/ipykernel_1/2.py", "utils.py"])
def test_a_line_of_a_notebook_is_the_learners(file):
    assert not checking._is_ours(Path(file))


@pytest.mark.parametrize("outcome", ["passes", "fails"])
def test_a_check_gives_stderr_back(outcome):
    @exercise_check
    def test_something(function):
        print("noise", file=sys.stderr)
        function()

    def answer():
        if outcome == "fails":
            raise CheckFailed("a", "b", "c", "d")

    err, out = io.StringIO(), io.StringIO()
    with redirect_stderr(err), redirect_stdout(out):
        if outcome == "fails":
            failure(test_something, answer)
        else:
            test_something(answer)
        assert sys.stderr is err
    assert err.getvalue() == ""
    assert "noise" in out.getvalue()


def test_a_check_gives_the_number_of_threads_back(notebook):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for answer in (ANSWERS / "right/get_act_patch_resid_pre__partial.py", ANSWERS / "wrong/ioi_metric__stub.py"):
            name = exercise_of(answer)
            with suppress(CheckFailed):
                check_of(name, in_full=False)(read_answer(answer, notebook))
            assert torch.get_num_threads() == 2
        with pytest.raises(ZeroDivisionError), one_thread():
            assert torch.get_num_threads() == 1
            raise ZeroDivisionError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_check_that_fails_leaves_patching_as_it_was(notebook):
    before = patching.tqdm
    for name in ("calls_patching", "error_in_metric"):
        answer = ANSWERS / f"wrong/get_act_patch_resid_pre__{name}.py"
        failure(check_of("get_act_patch_resid_pre"), read_answer(answer, notebook))
    assert patching.tqdm is before


def test_interrupting_a_check_is_no_wrong_answer():
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tests.test_ioi_metric(interrupted)


@pytest.mark.parametrize("call", ["tests.test_patch_head_vector(patch_head_vector)"])
@pytest.mark.parametrize(
    ("name", "begins"), [("wrong_axis", "Not yet. patch_head_vector"), ("stub", "patch_head_vector is not implemented")]
)
def test_ipython_shows_the_message_and_no_frame(name, begins, call, monkeypatch):
    monkeypatch.setattr(linecache, "cache", dict(linecache.cache))
    shell = InteractiveShell()
    shell.run_cell("import tests")
    shell.run_cell((ANSWERS / f"wrong/patch_head_vector__{name}.py").read_text(encoding="utf-8"))
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        result = shell.run_cell(call)
    assert isinstance(result.error_in_exec, CheckFailed)
    assert out.getvalue().strip() == (
        f"Not yet. {result.error_in_exec}" if name != "stub" else str(result.error_in_exec)
    )
    assert out.getvalue().startswith(begins)
    assert "Traceback" not in out.getvalue()


def test_a_partial_is_called_by_the_exercises_name():
    def nothing(scale, corrupted_pattern, hook, head_index, clean_cache):
        raise NotImplementedError

    message = str(failure(tests.test_patch_attn_patterns, functools.partial(nothing, 1)))
    assert message == "nothing is not implemented yet: fill in its cell, run it, and run this again."


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (0.5, "a float: 0.5"),
        ([1, 2], "a list: [1, 2]"),
        (torch.zeros(2, 3), "a tensor of shape [2, 3] and type torch.float32"),
        (torch.nn.Parameter(torch.zeros(1)), "a tensor of shape [1] and type torch.float32"),
        (torch.zeros(2).numpy(), "a ndarray: array([0., 0.], dtype=float32)"),
        (torch.zeros(2, device="meta"), "a Tensor: tensor(..., device='meta', size=(2,))"),
    ],
)
def test_describe(value, text):
    assert describe(value) == text


class Liar(type):
    """A metaclass whose classes claim to be tensors."""

    def __instancecheck__(cls, instance):
        return True

    def __eq__(cls, other):
        return True

    __hash__ = type.__hash__


ODD = {
    "class": Liar("Tensor", (), {}),
    "instance": Liar("Tensor", (), {"__eq__": lambda self, other: True})(),
    "silent": type("Silent", (), {"__repr__": lambda self: None})(),
    "generator": (x for x in ()),
    "empty": torch.zeros(0),
    "huge": torch.zeros(1).expand(10**6, 10**6),
    "complex": torch.zeros(2, 6, dtype=torch.complex64),
    "boolean": torch.zeros((), dtype=torch.bool),
    "mapping": {"a": torch.zeros(2)},
    "tuple": (torch.zeros(()),),
    "long text": "text\n" * 1000,
    "exception": AssertionError(),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("odd", ODD)
def test_odd_results_are_wrong_answers(name, odd):
    message = str(failure(check_of(name), lambda *args, **kwargs: ODD[odd]))
    assert len(message.splitlines()) <= 8
    assert max(map(len, message.splitlines())) < 400


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("answer", [None, 0, "text", int, len, lambda: 0, lambda x: x, functools.partial(print, 1)])
def test_odd_functions_are_wrong_answers(name, answer):
    failure(check_of(name), answer)


@pytest.mark.parametrize("moved_by", [0.0, 1.0])
def test_the_result_of_a_check_is_kept_whether_right_or_wrong(moved_by, notebook, capsys, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_WITHOUT_A_BAR", 0)
    model, runs = notebook["model"], []

    def get_act_patch_resid_pre(model, corrupted_tokens, clean_cache, patching_metric):
        runs.append(model)
        maps = functions["right"](model, corrupted_tokens, clean_cache, patching_metric)
        return maps + moved_by if model is notebook["model"] else maps

    functions = {"right": read_answer(ANSWERS / "right/get_act_patch_resid_pre__partial.py", notebook)}
    capsys.readouterr()
    with suppress(CheckFailed):
        tests.test_get_act_patch_resid_pre(get_act_patch_resid_pre)
        tests.hidden.test_get_act_patch_resid_pre(get_act_patch_resid_pre)
    assert "100%" in capsys.readouterr().out  # the progress bar
    expected = utils.reference_sweep("get_act_patch_resid_pre", model, notebook["data"]) + moved_by
    torch.testing.assert_close(tests.result_of(get_act_patch_resid_pre), expected)
    assert runs.count(model) == 1


def test_the_result_of_the_fast_sweep_is_that_of_its_check(notebook):
    right, calls = read_answer(ANSWERS / "right/get_act_patch_resid_pre_fast__dictionary.py", notebook), []

    def get_act_patch_resid_pre_fast(*args, **kwargs):
        calls.append(args)
        return right(*args, **kwargs)

    tests.test_get_act_patch_resid_pre_fast(get_act_patch_resid_pre_fast)
    calls.clear()
    expected = utils.reference_sweep("get_act_patch_resid_pre", notebook["model"], notebook["data"])
    torch.testing.assert_close(tests.result_of(get_act_patch_resid_pre_fast), expected)
    assert calls == []


def test_the_result_of_a_sweep_that_was_not_checked_is_computed(notebook):
    model, tokens = notebook["model"], notebook["data"].corrupted_tokens

    def two_runs(model, corrupted_tokens, clean_cache, patching_metric):
        return torch.stack([patching_metric(model(corrupted_tokens)), clean_cache["resid_pre", 0].sum()])

    assert tests.result_of(two_runs)[0] == pytest.approx(0.0, abs=1e-5)
    assert model is utils.model_in_use() and torch.equal(tokens, utils.load_ioi(model).corrupted_tokens)
