# Lets generic_activation_patch do the loop, with a setter of its own.
# message: it called a function of transformer_lens.patching
from transformer_lens.patching import generic_activation_patch


def set_position(corrupted_activation, index, clean_activation):
    _, pos = index
    corrupted_activation[:, pos] = clean_activation[:, pos]
    return corrupted_activation


def get_act_patch_resid_pre(model, corrupted_tokens, clean_cache, patching_metric):
    return generic_activation_patch(
        model,
        corrupted_tokens,
        clean_cache,
        patching_metric,
        patch_setter=set_position,
        activation_name="resid_pre",
        index_axis_names=("layer", "pos"),
    )
