# Gives the metric log-probabilities in place of logits.
# message: patching_metric is called with log-probabilities: call it with the logits as the run returns them
import torch


def get_act_patch_resid_pre(model, corrupted_tokens, clean_cache, patching_metric):
    results = torch.zeros(model.cfg.n_layers, corrupted_tokens.shape[1])
    for layer in range(model.cfg.n_layers):
        for pos in range(corrupted_tokens.shape[1]):

            def patch(x, hook, pos=pos):
                x[:, pos] = clean_cache[hook.name][:, pos]
                return x

            logits = model.run_with_hooks(corrupted_tokens, fwd_hooks=[(f"blocks.{layer}.hook_resid_pre", patch)])
            results[layer, pos] = patching_metric(logits.log_softmax(-1))
    return results
