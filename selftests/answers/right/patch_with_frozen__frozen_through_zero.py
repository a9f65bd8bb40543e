# The change that a frozen head makes is subtracted.
import torch


def patch_with_frozen(model, corrupted_tokens, clean_cache, patched, frozen):
    _, corrupted_cache = model.run_with_cache(corrupted_tokens)

    def set_outputs(z, hook):
        layer = hook.layer()
        mask = torch.zeros(z.shape[2], 1, dtype=torch.bool, device=z.device)
        mask[[index for of_layer, index in frozen if of_layer == layer]] = True
        z = torch.where(mask, corrupted_cache[hook.name], z)
        if layer == patched[0]:
            z[:, :, patched[1]] = clean_cache[hook.name][:, :, patched[1]]
        return z

    return model.run_with_hooks(corrupted_tokens, fwd_hooks=[(lambda name: name.endswith("hook_z"), set_outputs)])
