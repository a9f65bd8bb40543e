# A class that holds the arguments and has a method for one run; results in float64, cast at the end.
import torch


class Sweep:
    def __init__(self, model, tokens, cache, metric):
        self.model, self.tokens, self.cache, self.metric = model, tokens, cache, metric

    def hook(self, pos):
        def patch(x, hook):
            x[:, pos] = self.cache[hook.name][:, pos]
            return x

        return patch

    def run(self, layer, pos):
        name = f"blocks.{layer}.hook_resid_pre"
        return self.metric(self.model.run_with_hooks(self.tokens, fwd_hooks=[(name, self.hook(pos))]))

    def table(self):
        results = torch.zeros(self.model.cfg.n_layers, self.tokens.shape[1], dtype=torch.float64)
        for layer in range(results.shape[0]):
            for pos in range(results.shape[1]):
                results[layer, pos] = self.run(layer, pos)
        return results.float()


def get_act_patch_resid_pre(model, corrupted_tokens, clean_cache, patching_metric):
    return Sweep(model, corrupted_tokens, clean_cache, patching_metric).table()
