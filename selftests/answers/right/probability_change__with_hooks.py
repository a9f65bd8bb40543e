# model.hooks, and a hook inside the function.
def probability_change(model, clean_tokens, corrupted_cache, answer_tokens, head):
    layer, index = head
    name = f"blocks.{layer}.attn.hook_z"

    def replace(z, hook):
        z = z.clone()
        z[:, :, index] = corrupted_cache[name][:, :, index]
        return z

    def probability():
        return model(clean_tokens)[:, -1].softmax(dim=-1).gather(-1, answer_tokens)[:, 0].mean()

    before = probability()
    with model.hooks(fwd_hooks=[(name, replace)]):
        return probability() - before
