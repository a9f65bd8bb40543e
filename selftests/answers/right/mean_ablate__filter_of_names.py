# A function that chooses the hook points, and a copy of the activation.
import re


def mean_ablate(model, tokens, means, heads):
    def ablate(z, hook):
        layer = int(re.search(r"blocks\.(\d+)", hook.name)[1])
        ablated = z.clone()
        for head in (head for other, head in heads if other == layer):
            ablated[:, :, head] = means[layer, :, head].expand(len(z), -1, -1)
        return ablated

    return model.run_with_hooks(tokens, fwd_hooks=[(lambda name: name.endswith("attn.hook_z"), ablate)])
