# Returns plain numbers; each later head is frozen or not by a rule.
def self_repair(model, tokens, clean_cache, means, ablated, negative, metric):
    def run(is_frozen):
        def replace(z, hook):
            layer = hook.layer()
            for head in range(z.shape[2]):
                if (layer, head) == ablated:
                    z[:, :, head] = means[layer, :, head]
                elif is_frozen(layer, head):
                    z[:, :, head] = clean_cache["z", layer][:, :, head]
            return z

        points = [(f"blocks.{layer}.attn.hook_z", replace) for layer in range(ablated[0], model.cfg.n_layers)]
        return metric(model.run_with_hooks(tokens, fwd_hooks=points)).item()

    nothing = run(lambda layer, head: layer > ablated[0])
    others = run(lambda layer, head: (layer, head) in negative)
    everything = run(lambda layer, head: False)
    return others - nothing, everything - others
