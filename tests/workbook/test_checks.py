"""The checks, tried on a bank of right and wrong answers.

An answer in `answers/` is a cell of a notebook: the notebook's variables are there when it runs. The file's name begins
with the name of the exercise. Line 1 says what is right or wrong with it; line 2 of a wrong one gives words that the
check's message must contain.
"""

import functools
import io
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
from tests.checking import CheckFailed, changed_tensors, describe, exercise_check
from tests.hidden import SEED
from tests.sweep_checks import check_sweep_on_tiny_models, hooks_on
from tests.test_02_residual_stream import BLOCK_COMPONENTS
from tests.test_04_attention_patterns import HEAD_COMPONENTS
from tests.tiny import TinyCase, one_thread, tiny_cases

ANSWERS = Path(__file__).parent / "answers"
RIGHT, WRONG = sorted(ANSWERS.glob("right/*.py")), sorted(ANSWERS.glob("wrong/*.py"))
pytestmark = pytest.mark.filterwarnings("ignore")  # some answers warn, or are never awaited
EXERCISES = [name.removeprefix("test_") for name in tests.__all__ if name.startswith("test_")]
SWEEPS = {
    "get_act_patch_resid_pre": ("layer pos",),
    "get_act_patch_block_every": ("component layer pos", BLOCK_COMPONENTS),
    "get_act_patch_attn_head_out_all_pos": ("layer head",),
    "get_act_patch_attn_head_all_pos_every": ("component layer head", HEAD_COMPONENTS),
}
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
    """The variables of a notebook."""
    model = utils.model_in_use()
    data = utils.load_ioi(model)
    clean_logits, clean_cache = model.run_with_cache(data.tokens)
    return {
        "model": model,
        "data": data,
        "clean_tokens": data.tokens,
        "corrupted_tokens": data.corrupted_tokens,
        "answer_tokens": data.answer_tokens,
        "cache": clean_cache,
        "clean_cache": clean_cache,
        "clean_logit_diff": utils.logits_to_ave_logit_diff(clean_logits, data.answer_tokens).item(),
        "corrupted_logit_diff": utils.logits_to_ave_logit_diff(model(data.corrupted_tokens), data.answer_tokens).item(),
        "ioi_metric": utils.make_ioi_metric(model, data),
    }


def exercise_of(answer: Path) -> str:
    return answer.stem.split("__")[0]


def read_answer(answer: Path, notebook: dict[str, object]) -> object:
    names = dict(notebook)
    exec(compile(answer.read_text(encoding="utf-8"), answer, "exec"), names)
    return names[exercise_of(answer)]


def check_of(name: str, in_full: bool = True) -> Callable:
    """The exercise's check, or of a sweep's check the part that runs on tiny models."""
    if in_full or name not in SWEEPS:
        return getattr(tests, f"test_{name}")

    def on_tiny_models(function: Callable) -> None:
        check_sweep_on_tiny_models(function, name, *SWEEPS[name])

    on_tiny_models.__name__ = name
    return exercise_check(on_tiny_models)


def failure(check: Callable, answer: object) -> CheckFailed:
    with pytest.raises(CheckFailed) as caught:
        check(answer)
    return caught.value


@pytest.mark.parametrize("answer", RIGHT, ids=lambda answer: answer.stem)
def test_right_answer_passes_with_one_line(answer, notebook, capsys):
    name, function = exercise_of(answer), read_answer(answer, notebook)
    in_full = answer.stem in CHECKED_IN_FULL
    if in_full:
        utils.reference_sweep(name, notebook["model"], notebook["data"])
    capsys.readouterr()
    assert check_of(name, in_full)(function) is None
    written = capsys.readouterr()
    assert written.err == ""
    if "progress bar" in answer.read_text(encoding="utf-8").splitlines()[0]:
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
    trouble = answer.read_text(encoding="utf-8").splitlines()[1].removeprefix("# message: ")
    grad_mode = torch.is_grad_enabled()
    message = str(failure(check_of(exercise_of(answer)), read_answer(answer, notebook)))
    assert trouble in message
    assert len(message.splitlines()) <= 8
    assert max(map(len, message.splitlines())) < 400
    assert message.strip() not in ("", "AssertionError")
    assert all(solution not in message or solution in answer.read_text(encoding="utf-8") for solution in SOLUTIONS)
    assert "all checks passed" not in capsys.readouterr().out
    assert torch.is_grad_enabled() == grad_mode
    assert not hooks_on(notebook["model"])


def test_every_exercise_has_right_and_wrong_answers():
    assert {exercise_of(answer) for answer in RIGHT} == set(EXERCISES)
    assert {exercise_of(answer) for answer in WRONG} == set(EXERCISES)


def moves(name: str, case: TinyCase) -> torch.Tensor:
    """By how much each patched run of a sweep moves the metric."""
    sweep = getattr(patching, name)(case.model, case.corrupted_tokens, case.clean_cache, case.patching_metric)
    return (sweep - case.patching_metric(case.model(case.corrupted_tokens))).abs()


def can_move(name: str, case: TinyCase) -> torch.Tensor:
    """Where a patch has a causal path from a changed token, and a path on to the last position's logits."""
    layers, positions = case.model.cfg.n_layers, case.corrupted_tokens.shape[1]
    if "pos" not in SWEEPS[name][0].split():
        return torch.ones(()).bool()
    resid_pre = torch.arange(positions).expand(layers, -1) >= 1
    resid_pre = resid_pre.clone()
    resid_pre[0] = torch.arange(positions) % 2 == 1
    output = torch.arange(positions).expand(layers, -1) >= 1
    output = output.clone()
    output[-1, :-1] = False
    return resid_pre if name == "get_act_patch_resid_pre" else torch.stack([resid_pre, output, output])


@pytest.mark.parametrize("name", SWEEPS)
@pytest.mark.parametrize(("seed", "least"), [(0, 1e-3), (SEED, 1e-3)])
def test_each_patch_moves_a_tiny_models_metric_by_far_more_than_the_tolerance(name, seed, least):
    for case in tiny_cases(seed):
        moved, can = moves(name, case), can_move(name, case)
        assert moved[can.expand_as(moved)].min() > least
        assert moved[~can.expand_as(moved)].eq(0).all()


def test_tiny_cases_differ_in_every_size():
    for case in tiny_cases():
        sizes = [case.model.cfg.n_layers, case.model.cfg.n_heads, *case.corrupted_tokens.shape]
        assert len(set(sizes)) == len(sizes)


def test_tiny_cases_are_the_same_each_time():
    for once, again in zip(tiny_cases(3), tiny_cases(3), strict=True):
        assert not changed_tensors(once.clean_cache.cache_dict, again.clean_cache.cache_dict)
        assert not torch.equal(once.corrupted_tokens, next(tiny_cases(4)).corrupted_tokens)


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


def test_ipython_shows_the_learners_line():
    shell = InteractiveShell()
    shell.run_cell("import tests")
    shell.run_cell((ANSWERS / "wrong/patch_residual_component__bug.py").read_text(encoding="utf-8"))
    with redirect_stdout(io.StringIO()):
        result = shell.run_cell("tests.test_patch_residual_component(patch_residual_component)")
    assert "in line 4 of patch_residual_component: corrupted_residual_component[:, position]" in str(
        result.error_in_exec
    )


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


@pytest.mark.parametrize("name", EXERCISES)
@pytest.mark.parametrize("odd", ODD)
def test_odd_results_are_wrong_answers(name, odd):
    message = str(failure(check_of(name), lambda *args, **kwargs: ODD[odd]))
    assert len(message.splitlines()) <= 8
    assert max(map(len, message.splitlines())) < 400


@pytest.mark.parametrize("name", EXERCISES)
@pytest.mark.parametrize("answer", [None, 0, "text", int, len, lambda: 0, lambda x: x, functools.partial(print, 1)])
def test_odd_functions_are_wrong_answers(name, answer):
    failure(check_of(name), answer)
