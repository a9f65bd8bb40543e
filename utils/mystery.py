"""A copy of the model in use whose heads have other numbers: the same outputs, the circuit under other names."""

import copy
import hashlib
import unicodedata

import torch
from jaxtyping import Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers.pytorch_utils import Conv1D

from utils.errors import ModelError, WorkbookError, shown
from utils.models import model_in_use, n_key_value_heads


def mystery_model(seed: int | str) -> TransformerBridge:
    """Return a copy of the model in use in which the heads of each layer are permuted, so that none keeps its number.

    `seed` is a name or a number; the same one gives the same copy on each machine. Queries, keys, values and outputs
    of a head move together, so the outputs of the model stay what they were. Where query heads share keys and values,
    they go on sharing them. The copy has attention weights of its own and shares all others with the model in use, from
    which all hooks are removed first.

    Raises `WorkbookError` for another kind of seed, and `ModelError` for a model whose heads cannot be permuted.
    """
    model, order = model_in_use(), head_order(seed)
    model.reset_hooks(including_permanent=True)
    try:
        mystery = _copy_with(model, order)
        permuted = _is_permuted(model, mystery, order)
    except Exception:  # whatever attention of another kind raises that lacks one of the parts
        permuted = False
    if not permuted:
        raise ModelError(
            "The heads of this model cannot be permuted without changing its outputs: load another one, such as "
            'ioi-mini with load_model("ioi-mini").'
        )
    return mystery


def head_order(seed: int | str) -> Int[Tensor, "layer head"]:
    """Return which head of the model in use each head of `mystery_model(seed)` is, layer by layer."""
    cfg, n_groups = model_in_use().cfg, n_key_value_heads(model_in_use())
    if cfg.n_heads < 2:
        raise ModelError("This model has one head in each layer, and so no other order of them: load another one.")
    digest = hashlib.blake2b(normalized_seed(seed).encode(), digest_size=7).digest()
    random = torch.Generator().manual_seed(int.from_bytes(digest, "big"))
    return torch.stack([_layer_order(n_groups, cfg.n_heads // n_groups, random) for _ in range(cfg.n_layers)])


def normalized_seed(seed: object) -> str:
    """Return a seed as it counts: without differences of case, of spaces, or of how an accent is encoded."""
    if isinstance(seed, bool) or not isinstance(seed, int | str):
        raise WorkbookError(f'A seed is a name or a whole number, not {shown(seed)}: write for example "Ada Lovelace".')
    return " ".join(unicodedata.normalize("NFKC", str(seed)).casefold().split())


def _layer_order(n_groups: int, group_size: int, random: torch.Generator) -> Int[Tensor, "head"]:
    """Return a random order of one layer's heads: of the groups that share keys and values, and in each group."""
    heads = torch.arange(n_groups * group_size).view(n_groups, group_size)
    while True:
        groups = heads[torch.randperm(n_groups, generator=random)]
        order = torch.cat([group[torch.randperm(group_size, generator=random)] for group in groups])
        if (order != heads.flatten()).all():
            return order


def _copy_with(model: TransformerBridge, order: Int[Tensor, "layer head"]) -> TransformerBridge:
    """Return a copy of a model with this order of its heads; whatever else there is in it is shared."""
    replaced: dict[int, object] = {id(parameter): parameter for parameter in model.parameters()}
    replaced[id(model.tokenizer)] = model.tokenizer
    group_size = model.cfg.n_heads // n_key_value_heads(model)
    for block, heads in zip(model.blocks, order, strict=True):
        groups = heads[::group_size] // group_size
        for name, moved in {"q": heads, "k": groups, "v": groups, "o": heads}.items():
            part = getattr(block.attn, name).original_component
            # A Linear's weight is [out in], that of a Conv1D [in out]; the output part has the heads on the way in.
            weight_axis = int(isinstance(part, Conv1D) != (name == "o"))
            replaced[id(part.weight)] = _reordered(part.weight, moved, weight_axis)
            if name != "o" and part.bias is not None:
                replaced[id(part.bias)] = _reordered(part.bias, moved, 0)
    return copy.deepcopy(model, replaced)


def _reordered(parameter: Tensor, heads: Int[Tensor, "moved"], axis: int) -> torch.nn.Parameter:
    """Return a weight or bias with the rows or columns of its heads in another order."""
    by_head = parameter.unflatten(axis, (len(heads), -1))
    in_order = by_head.index_select(axis, heads.to(parameter.device)).flatten(axis, axis + 1)
    return torch.nn.Parameter(in_order, requires_grad=False)


@torch.no_grad()
def _is_permuted(model: TransformerBridge, mystery: TransformerBridge, order: Int[Tensor, "layer head"]) -> bool:
    """Return whether the copy's heads write what those of the model write, in the other order, and the logits agree."""
    tokens = torch.arange(min(model.cfg.d_vocab, 8), device=model.cfg.device)[None]
    (logits, cache), (own_logits, own_cache) = (
        each.run_with_cache(tokens, names_filter=lambda name: name.endswith("hook_z")) for each in (model, mystery)
    )
    pairs = [(own_cache["z", layer], cache["z", layer][:, :, heads]) for layer, heads in enumerate(order)]
    return all(torch.allclose(own, other, rtol=1e-3, atol=1e-3) for own, other in [(own_logits, logits), *pairs])
