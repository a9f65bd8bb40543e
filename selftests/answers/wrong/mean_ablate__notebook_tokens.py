# Runs the notebook's clean prompts.
# message: it uses the notebook's variable clean_tokens
from functools import partial


def mean_ablate(model, tokens, means, heads):
    def ablate(z, hook, layer, head):
        z[:, :, head] = means[layer, : z.shape[1], head].mean(0)
        return z

    hooks = [(f"blocks.{layer}.attn.hook_z", partial(ablate, layer=layer, head=head)) for layer, head in heads]
    return model.run_with_hooks(clean_tokens[:, :5] % model.cfg.d_vocab, fwd_hooks=hooks)
