# One hook for each layer, from a table of outputs.
from functools import partial


def hold(z, hook, outputs):
    z = z.clone()
    for (layer, index), output in outputs.items():
        if layer == hook.layer():
            z[:, :, index] = output
    return z


def patch_with_frozen(model, corrupted_tokens, clean_cache, patched, frozen):
    _, corrupted = model.run_with_cache(corrupted_tokens)
    outputs = {(layer, index): corrupted["z", layer][:, :, index] for layer, index in frozen}
    outputs[patched] = clean_cache["z", patched[0]][:, :, patched[1]]
    names = {f"blocks.{layer}.attn.hook_z" for layer, _ in outputs}
    return model.run_with_hooks(corrupted_tokens, fwd_hooks=[(name, partial(hold, outputs=outputs)) for name in names])
