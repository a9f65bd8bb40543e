# Freezes no layer from the last receiver's on: these come after what is recorded.
from functools import partial


def set_to(activation, hook, head, values):
    activation[:, :, head] = values
    return activation


def path_patch(model, corrupted_tokens, clean_cache, senders, receivers, component):
    _, cache = model.run_with_cache(corrupted_tokens)
    hooks = []
    for layer in range(max(layer for layer, _ in receivers)):
        for head in range(model.cfg.n_heads):
            source = clean_cache if (layer, head) in senders else cache
            values = source["z", layer][:, :, head].clone()
            hooks.append((f"blocks.{layer}.attn.hook_z", partial(set_to, head=head, values=values)))
    with model.hooks(fwd_hooks=hooks):
        _, recorded = model.run_with_cache(corrupted_tokens)
    hooks = []
    for layer, head in receivers:
        values = recorded[component, layer][:, :, head]
        hooks.append((f"blocks.{layer}.attn.hook_{component}", partial(set_to, head=head, values=values)))
    return model.run_with_hooks(corrupted_tokens, fwd_hooks=hooks)
