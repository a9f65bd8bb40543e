"""What the checks notice of the way to a result: for each kind of conduct, a right result that is refused for it."""

import contextlib
import functools
import sys
import threading

import pytest
import torch
from transformer_lens import patching

import tests
import utils
from selftests.answer_bank import check_of
from selftests.own_sweeps import HEAD_OUT, nothing, refusal, sweep_with
from tests.checks import cases, guards, hooks, sweeps
from tests.checks.cases import tiny_cases
from utils import IOIData
from utils.sweep_specs import SWEEPS
from utils.sweeps import arithmetic, layers


def right_then(after):
    """A right sweep that does something more once it has its result."""

    def sweep(model, corrupted_tokens, clean_cache, patching_metric):
        result = sweep_with(HEAD_OUT)(model, corrupted_tokens, clean_cache, patching_metric)
        after(model)
        return result

    return sweep


def no_change(*args, **kwargs):
    return None


HOOKS = {
    "forward": lambda model: model.blocks[0].mlp.register_forward_hook(no_change),
    "forward_pre": lambda model: model.blocks[0].mlp.register_forward_pre_hook(no_change),
    "backward": lambda model: model.blocks[0].mlp.register_full_backward_hook(no_change),
    "forward on a hook point": lambda model: model.blocks[0].attn.hook_z.register_forward_hook(no_change),
    "permanent": lambda model: model.add_perma_hook("blocks.0.attn.hook_z", no_change),
    "transformer_lens": lambda model: model.add_hook("blocks.0.attn.hook_z", no_change),
}


def all_hooks(model):
    return [key for _, table in guards._hook_tables(model) for key in table] + guards.hooks_on(model)


@pytest.mark.parametrize("kind", HOOKS)
def test_a_hook_of_any_kind_left_on_the_model_is_refused(kind):
    message = refusal(check_of(HEAD_OUT, in_full=False), right_then(HOOKS[kind]))
    assert "leaves no hook on the model" in message
    assert "blocks.0" in message


@pytest.mark.parametrize("kind", HOOKS)
def test_a_hook_of_any_kind_is_taken_off_also_after_an_error(kind):
    model = next(tiny_cases()).model
    own = all_hooks(model)
    assert own  # this model has hooks of its own, which have to stay
    with pytest.raises(ZeroDivisionError), guards.hooks_left(model) as left:
        HOOKS[kind](model)
        assert all_hooks(model) != own
        raise ZeroDivisionError
    assert left
    assert all_hooks(model) == own


def blots_out(z, hook):
    return 0 * z


def test_a_permanent_hook_of_an_earlier_exercise_does_not_spoil_the_runs_of_a_check():
    case = next(tiny_cases())
    expected = sweeps._reference(SWEEPS[HEAD_OUT], case)
    case.model.add_perma_hook("blocks.0.attn.hook_z", blots_out)
    assert not torch.equal(sweeps._reference(SWEEPS[HEAD_OUT], case), expected)
    assert torch.equal(sweeps._call_sweep(sweep_with(HEAD_OUT), SWEEPS[HEAD_OUT], case), expected)


def test_a_permanent_hook_of_an_earlier_exercise_does_not_spoil_the_expected_numbers(monkeypatch):
    case = next(tiny_cases())
    clean_cache = case.model.run_with_cache(case.corrupted_tokens)[1]
    case.model.add_perma_hook("blocks.0.attn.hook_z", blots_out)
    tokens = case.corrupted_tokens
    data = IOIData([], [], tokens, tokens, answer_tokens=tokens[:, :2], positions={}, labels=[], str_tokens=[])
    monkeypatch.setattr(cases, "make_ioi_metric", lambda model, data: case.patching_metric)
    hooks, compared = [], []
    for name, function in {
        "model_in_use": lambda: case.model,
        "load_ioi": lambda model: data,
        "_check_on_tiny_models": lambda *args, **options: None,
        "reference_sweep": lambda name, model, data: hooks.append(guards.hooks_on(model)) or torch.zeros(2, 3),
        "cached_suffixes": lambda name, model, data: None,
        "_compare": lambda *args: compared.append(args[2]),
    }.items():
        monkeypatch.setattr(sweeps, name, function)
    sweeps.check_sweep(no_change, SWEEPS[HEAD_OUT])
    assert hooks == [[]]
    assert torch.equal(compared[0].clean_cache["z", 1], clean_cache["z", 1])


@pytest.mark.parametrize("where", ["sweep", "metric"])
def test_an_error_in_sweep_or_metric_leaves_no_hook(where):
    case = next(tiny_cases())
    own = all_hooks(case.model)

    def failing(*args):
        raise ZeroDivisionError

    def sweep(model, corrupted_tokens, clean_cache, patching_metric):
        model.add_hook("blocks.0.attn.hook_z", no_change)
        model.blocks[0].mlp.register_forward_hook(no_change)
        (failing if where == "sweep" else patching_metric)(model(corrupted_tokens))

    metric = failing if where == "metric" else case.patching_metric
    case = type(case)(case.model, case.corrupted_tokens, case.clean_cache, metric)
    message = refusal(lambda answer: sweeps._call_sweep(answer, SWEEPS[HEAD_OUT], case), sweep)
    assert "ZeroDivisionError" in message
    assert all_hooks(case.model) == own


def replaces_forward(module):
    forward = module.forward
    module.forward = lambda *args, **kwargs: forward(*args, **kwargs)


WAYS_TO_RUN = {
    "the model is in training mode": lambda model: model.train(),
    "blocks.0.mlp is in training mode": lambda model: model.blocks[0].mlp.train(),
    "the model has another forward": replaces_forward,
    "blocks.1.attn has another forward": lambda model: replaces_forward(model.blocks[1].attn),
}


@pytest.mark.parametrize("what", WAYS_TO_RUN)
def test_another_mode_or_forward_left_behind_is_refused_and_undone(what):
    model = next(tiny_cases()).model
    with guards.modes_and_forwards_restored(model) as changed:
        WAYS_TO_RUN[what](model)
    assert changed[0].startswith(what)
    assert not any(module.training or "forward" in vars(module) for module in model.modules())
    message = refusal(check_of(HEAD_OUT, in_full=False), right_then(WAYS_TO_RUN[what]))
    assert "leaves the model as it was" in message
    assert what in message


def test_a_forward_that_a_module_had_of_its_own_is_put_back():
    model = next(tiny_cases()).model
    module = next(module for module in model.modules() if type(module) is torch.nn.LayerNorm)
    replaces_forward(module)
    own = module.forward
    with guards.modes_and_forwards_restored(model) as changed:
        pass
    assert not changed
    with guards.modes_and_forwards_restored(model) as changed:
        del module.forward
    assert len(changed) == 1 and changed[0].endswith(" has another forward")
    assert module.forward is own


def test_of_a_hook_points_names_the_one_that_learners_know_is_shown():
    model = next(tiny_cases()).model
    model.add_hook("blocks.0.hook_in", no_change)
    model.add_hook("blocks.1.attn.o.hook_in", no_change)
    model.add_hook("blocks.1.ln1.hook_in", no_change)  # has one name only
    assert guards.hooks_on(model) == ["blocks.0.hook_resid_pre", "blocks.1.attn.hook_z", "blocks.1.ln1.hook_in"]
    assert guards.familiar_name(model, "embed.weight") == "embed.weight"


def first_weight(model):
    return model.state_dict()["blocks.0.attn.q.weight"]


def reverses(model):
    weight = first_weight(model)
    weight.copy_(weight.flip(0))


def adds_and_takes_away(model):
    first_weight(model)[0, :2] += torch.tensor([0.5, -0.5])


def through_data(model):
    weight = next(model.parameters())
    weight.data.copy_(weight.data.flip(0))


@pytest.mark.parametrize("change", [reverses, adds_and_takes_away, through_data])
def test_a_change_of_weights_that_keeps_their_sum_is_refused(change):
    model = next(tiny_cases()).model
    before, sums = guards.fingerprints(model), sum(weight.sum() for weight in model.state_dict().values())
    assert guards.fingerprints(model) == before
    change(model)
    assert torch.isclose(sum(weight.sum() for weight in model.state_dict().values()), sums, atol=1e-4)
    assert guards.fingerprints(model) != before
    message = refusal(check_of(HEAD_OUT, in_full=False), right_then(change))
    assert "leaves its arguments as they were" in message
    assert "weight was changed" in message


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_any_tensor_has_a_fingerprint(dtype):
    tensor = torch.tensor([[1, 0], [1, 1]]).to(dtype)
    assert guards._fingerprint(tensor) != guards._fingerprint(tensor.flip(1).flip(0))
    assert guards._fingerprint(tensor.t()) == guards._fingerprint(tensor.t().contiguous())
    assert guards._fingerprint(tensor[0, 0])


def always_true(*args, **kwargs):
    return True


def all_true(input, other, **kwargs):
    return torch.ones(torch.broadcast_shapes(input.shape, other.shape), dtype=torch.bool)


REBINDINGS = {
    "equal": (torch, "equal", always_true),
    "isclose": (torch, "isclose", all_true),
    "allclose": (torch, "allclose", always_true),
    "assert_close": (torch.testing, "assert_close", no_change),
    "rand": (torch, "rand", lambda *sizes, **kwargs: torch.zeros(sizes)),
    "randint": (torch, "randint", lambda high, size, **kwargs: torch.zeros(size, dtype=torch.int64)),
    "require_close": (sweeps, "require_close", no_change),
    "check_hook": (hooks, "check_hook", no_change),
    "the check": (tests, f"test_{HEAD_OUT}", print),
    "hidden check": (tests.hidden, f"test_{HEAD_OUT}", print),
    "reference": (patching, HEAD_OUT, sweep_with(HEAD_OUT, nothing)),
    "generic": (patching, "generic_activation_patch", lambda *args, **kwargs: torch.zeros(())),
}


@pytest.mark.parametrize("what", REBINDINGS)
@pytest.mark.parametrize("when", ["before", "while it runs"])
@pytest.mark.parametrize("name", [HEAD_OUT, "patch_attn_patterns"])
def test_rebinding_what_judges_a_result_does_not_help(what, when, name, monkeypatch):
    module, attribute, replacement = REBINDINGS[what]
    original = getattr(module, attribute)
    monkeypatch.setattr(module, attribute, original)  # whatever happens, it is put back after the test

    def wrong_hook(corrupted_pattern, hook, head_index, clean_cache):
        setattr(module, attribute, replacement)
        return corrupted_pattern

    def wrong_sweep(*args, **kwargs):
        setattr(module, attribute, replacement)
        return sweep_with(HEAD_OUT, nothing)(*args, **kwargs)

    if when == "before":
        setattr(module, attribute, replacement)
    refusal(check_of(name, in_full=False), wrong_sweep if name == HEAD_OUT else wrong_hook)
    assert getattr(module, attribute) is original


def test_a_reference_rebound_before_the_check_does_not_decide_its_first_case(monkeypatch):
    def wrong_on_two_layers(model, *args, **kwargs):
        return sweep_with(HEAD_OUT, *([nothing] if model.cfg.n_layers == 2 else []))(model, *args, **kwargs)

    monkeypatch.setattr(patching, HEAD_OUT, wrong_on_two_layers)
    assert "with 2 layers" in refusal(check_of(HEAD_OUT, in_full=False), wrong_on_two_layers)


FORBIDDEN = {
    "attribute": lambda: getattr(patching, HEAD_OUT),
    "module table": lambda: vars(sys.modules["transformer_lens.patching"])[HEAD_OUT],
    "partial": lambda: functools.partial(getattr(patching, HEAD_OUT)),
    "generic": lambda: functools.partial(
        patching.generic_activation_patch,
        patch_setter=patching.layer_head_vector_patch_setter,
        activation_name="z",
        index_axis_names=("layer", "head"),
    ),
}


@pytest.mark.parametrize("how", FORBIDDEN)
def test_the_reference_is_refused_by_whatever_name_it_is_called(how, monkeypatch):
    theirs = FORBIDDEN[how]()

    def quiet(model, corrupted_tokens, clean_cache, patching_metric):
        # Neither the module's progress bar nor the metric gives it away.
        monkeypatch.setattr(patching, "tqdm", list)
        logits = []

        def keep(output):
            logits.append(output)
            return torch.zeros(())

        shape = theirs(model, corrupted_tokens, clean_cache, keep).shape
        return torch.stack([patching_metric(output) for output in logits]).reshape(shape)

    message = refusal(check_of(HEAD_OUT, in_full=False), quiet)
    assert "it called a function of transformer_lens.patching" in message
    assert not is_stubbed()


def is_stubbed() -> bool:
    return any(function.__code__ is guards._STUB for function in guards._FORBIDDEN_FUNCTIONS)


FUNCTIONS = {
    "transformer_lens.patching": lambda: patching.layer_pos_patch_setter(torch.zeros(1), [0, 0], torch.zeros(1)),
    "utils.references": utils.references.cache_folder,
    "utils.sweeps": lambda: arithmetic.linear(torch.zeros(1, 1), torch.zeros(1, 1), None),
    "utils.sweeps (a method)": lambda: layers.Block.mlp(None, torch.zeros(1, 1), torch.zeros(1, 1)),
}


@pytest.mark.parametrize("what", FUNCTIONS)
def test_a_call_is_recorded_and_stopped_and_the_function_restored(what):
    with pytest.raises(guards.ForbiddenCall), guards.forbidden_calls() as called:
        FUNCTIONS[what]()
    assert called == {what.split(" ")[0]}
    assert not is_stubbed()


def test_other_functions_are_allowed():
    with guards.forbidden_calls() as called:
        assert utils.position_labels(["a"]) == ["a 0"]
    assert called == set()


def test_a_call_is_refused_also_where_its_error_is_caught():
    def sweep(*args):
        with contextlib.suppress(BaseException):
            getattr(patching, HEAD_OUT)(*args)
        return sweep_with(HEAD_OUT)(*args)

    assert "it called a function of transformer_lens.patching" in refusal(check_of(HEAD_OUT, in_full=False), sweep)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_call_in_a_thread_is_refused():
    def sweep(*args):
        thread = threading.Thread(target=getattr(patching, HEAD_OUT), args=args)
        thread.start()
        thread.join()
        return sweep_with(HEAD_OUT)(*args)

    assert "it called a function of transformer_lens.patching" in refusal(check_of(HEAD_OUT, in_full=False), sweep)


def test_a_call_in_a_hook_of_a_memoized_run_is_refused():
    def patch(x, clean, component, index, axis):
        return patching.layer_head_vector_patch_setter(x, [0, index], clean)

    message = refusal(check_of(HEAD_OUT, in_full=False), sweep_with(HEAD_OUT, patch))
    assert "it called a function of transformer_lens.patching" in message


def test_the_workbooks_own_results_are_forbidden_too():
    def sweep(model, corrupted_tokens, clean_cache, patching_metric):
        utils.references.cache_folder()
        return sweep_with(HEAD_OUT)(model, corrupted_tokens, clean_cache, patching_metric)

    assert "it called a function of utils.references" in refusal(check_of(HEAD_OUT, in_full=False), sweep)


@pytest.mark.parametrize(
    ("name", "leave"),
    [
        ("grad mode", lambda: torch.set_grad_enabled(not torch.is_grad_enabled())),
        ("default dtype", lambda: torch.set_default_dtype(torch.float64)),
        ("default device", lambda: torch.set_default_device("meta")),
    ],
)
def test_a_setting_of_torch_left_changed_is_refused_and_set_back(name, leave):
    before = [setting.get() for setting in guards.SETTINGS]
    answer = right_then(lambda model: leave())
    assert f"leaves torch's {name} as it was" in refusal(check_of(HEAD_OUT, in_full=False), answer)
    assert [setting.get() for setting in guards.SETTINGS] == before


class OddSignature:
    @property
    def __signature__(self):
        raise ZeroDivisionError

    def __call__(self, *args, **kwargs):
        return None


def wraps_itself(*args, **kwargs):
    return None


wraps_itself.__wrapped__ = wraps_itself


class OddError(NotImplementedError):
    @property
    def args(self):
        raise ZeroDivisionError

    def __str__(self):
        raise ZeroDivisionError


def raises_oddly(*args, **kwargs):
    raise OddError


def escaped_from_vmap(*args, **kwargs):
    escaped = []
    torch.func.vmap(lambda x: (escaped.append(x), x)[1])(torch.zeros(2, 2, 3))
    return escaped[0]


ODD = {
    "signature": OddSignature(),
    "wraps itself": wraps_itself,
    "raises oddly": raises_oddly,
    "escaped from vmap": escaped_from_vmap,
    "nameless": lambda *args, **kwargs: type("", (), {})(),
    "mkldnn": lambda *args, **kwargs: torch.zeros(2, 3).to_mkldnn(),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", [HEAD_OUT, "ioi_metric", "patch_attn_patterns"])
def test_an_odd_answer_gets_a_message(odd, name):
    message = refusal(check_of(name, in_full=False), ODD[odd])
    assert len(message.splitlines()) == 4
