"""One sentence on an error that a learner's code raised, read from the frames that raised it."""

import re
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.utilities import get_act_name

SIZES = "take sizes from model.cfg and corrupted_tokens.shape, which are those of the arguments"
LAYER = re.compile(r"blocks\.(\d+)\.")


def explanations(error: BaseException, arguments: Sequence[object]) -> list[str]:
    """Return a sentence on what the error means, if the frames or the function's arguments explain it."""
    frames = list(_frames(error))[::-1]
    try:
        explained = [explain(error, frame) for explain in BY_FRAME for frame in frames]
        of_arguments = [_of_metric(frame, arguments) for frame in frames]
        return [text for text in (*explained, *of_arguments, _of_index(error, arguments)) if text][:1]
    except Exception:  # a learner's error, or an object in its frames, may answer in its own way
        return []


def _frames(error: BaseException) -> Iterator[FrameType]:
    traceback = error.__traceback__
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next


def _of_cache(error: BaseException, frame: FrameType) -> str:
    """Explain a key that an activation cache does not have."""
    cache, key = frame.f_locals.get("self"), frame.f_locals.get("key")
    if frame.f_code.co_name != "__getitem__" or not isinstance(cache, ActivationCache):
        return ""
    names, layers = list(cache.cache_dict), _layers(cache)
    match key:
        case HookPoint():
            return "the cache is indexed with the hook point itself: its key is the name, hook.name"
        case str() if any(get_act_name(key, layer) in names for layer in layers):
            return f"the cache has an activation {key} in every layer: name the layer too, or take the key hook.name"
        case (str(name), int(layer), *_) if any(get_act_name(name, other) in names for other in layers):
            return f"the cache has {name} in the layers 0 to {max(layers)}, and layer {layer} was asked for"
        case str() | (str(), *_):
            asked = key if isinstance(key, str) else ", ".join(map(str, key))
            has = ", ".join(names[:2]) + (", ..." if len(names) > 2 else "")
            return f"the cache has no activation {asked}; it has {has}: hook.name is the one that is patched"
    return f"the cache is indexed with {type(key).__name__}: its keys are names, such as hook.name"


def _layers(cache: ActivationCache) -> set[int]:
    return {int(found[1]) for name in cache.cache_dict if (found := LAYER.match(name))} or {0}


def _of_hook_name(error: BaseException, frame: FrameType) -> str:
    """Explain a hook point that a model does not have."""
    model, found = frame.f_locals.get("self"), re.search(r"Hook name '(.*)' does not exist", str(error))
    if not found or not isinstance(model, TransformerBridge):
        return ""
    layer = LAYER.match(found[1])
    if layer and int(layer[1]) >= model.cfg.n_layers and found[1].replace(layer[0], "blocks.0.") in model.hook_dict:
        return f"this model has {model.cfg.n_layers} layers, and layer {layer[1]} was asked for: {SIZES}"
    return 'get_act_name gives the full name of a hook point, as in get_act_name("mlp_out", 3)'


def _of_hook_call(error: BaseException, frame: FrameType) -> str:
    """Explain a hook function that cannot be called as transformer_lens calls it."""
    raised_by_the_call = list(_frames(error))[-1] is frame
    if not isinstance(error, TypeError) or frame.f_code.co_name != "full_hook" or not raised_by_the_call:
        return ""
    hook = frame.f_locals.get("hook")
    if not callable(hook):
        return f"a {type(hook).__name__} stands in the place of a hook function"
    return "a hook function is called with the activation and hook=..., and nothing else: bind its other arguments"


def _of_metric(frame: FrameType, arguments: Sequence[object]) -> str:
    """Explain a metric that was called with something other than a run's logits."""
    logits = frame.f_locals.get("logits")
    tokens = next((value for value in arguments if isinstance(value, Tensor)), None)
    if frame.f_globals.get("__name__") != "tests.checks.cases" or logits is None or tokens is None:
        return ""
    if isinstance(logits, Tensor) and logits.shape[:-1] == tokens.shape:
        return ""
    what = f"a tensor of shape {list(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
    return f"patching_metric takes the logits of a run, [batch pos d_vocab], and was called with {what}"


def _of_index(error: BaseException, arguments: Sequence[object]) -> str:
    """Explain an index beyond the end of an axis, whose size tells which axis it is."""
    found = re.search(r"index (-?\d+) is out of bounds for dimension (\d+) with size (\d+)", str(error))
    if not found or not isinstance(error, IndexError):
        return ""
    index, axis, size = map(int, found.groups())
    model = next((value for value in arguments if isinstance(value, TransformerBridge)), None)
    tensor = next((value for value in arguments if isinstance(value, Tensor)), None)
    if model is None:
        return f"axis {axis} has {size} entries, and index {index} was asked for"
    counts = {"layers": model.cfg.n_layers, "heads": model.cfg.n_heads}
    if tensor is not None and tensor.dim() == 2:
        counts |= dict(zip(("prompts", "positions"), tensor.shape, strict=True))
    what = [name for name, count in counts.items() if count == size]
    return f"there are {size} {what[0]} here, and index {index} was asked for: {SIZES}" if len(what) == 1 else ""


BY_FRAME: tuple[Callable[[BaseException, FrameType], str], ...] = (_of_cache, _of_hook_name, _of_hook_call)
