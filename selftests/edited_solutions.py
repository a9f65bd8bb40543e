"""Slips that differ from a solution in a few characters, and the hint that each must get, word by word."""

METRIC, RESIDUAL, HEAD, PATTERN = (
    "ioi_metric",
    "patch_residual_component",
    "patch_head_vector",
    "patch_attn_patterns",
)
RESID_PRE, HEAD_OUT = "get_act_patch_resid_pre", "get_act_patch_attn_head_out_all_pos"
BLOCK_EVERY, HEAD_EVERY = "get_act_patch_block_every", "get_act_patch_attn_head_all_pos_every"

DIFFERENCE = "utils.logits_to_ave_logit_diff(logits, answer_tokens)"
SCALED = "(logit_diff - corrupted_logit_diff) / (clean_logit_diff - corrupted_logit_diff)"
AT_END = "logits[:, -1, answer_tokens]"
PATCH = "corrupted_residual_component[:, pos, :] = clean_cache[hook.name][:, pos, :]"
HEADS = "corrupted_head_vector[:, :, head_index] = clean_cache[hook.name][:, :, head_index]"
PATTERNS = "corrupted_pattern[:, head_index] = clean_cache[hook.name][:, head_index]"
SIZES = "model.cfg.n_layers, corrupted_tokens.shape[-1]"
NAME = 'get_act_name("resid_pre", layer)'
RUN = "model.run_with_hooks(corrupted_tokens, fwd_hooks=[(hook_name, patch)])"
VALUE = "patching_metric(patched_logits)"

# An exercise, what is replaced in its solution by what, and the hint, after the line where an error happened.
EDITS: tuple[tuple[str, dict[str, str], str], ...] = (
    (
        METRIC,
        {DIFFERENCE: f"({AT_END}[..., 0] - {AT_END}[..., 1]).mean()"},
        "logits[:, -1, tokens] takes the tokens of all prompts from each prompt: pair them with torch.arange",
    ),
    (
        METRIC,
        {"(logits, answer_tokens)": "(clean_logits[:3], answer_tokens)"},
        (
            "it uses the notebook's variable clean_logits: use the function's own argument; the result does not "
            "change with the argument logits: use every argument"
        ),
    ),
    (
        METRIC,
        {"(logits, answer_tokens)": "(logits, data.answer_tokens)"},
        "it uses the notebook's variable data: use the function's own argument",
    ),
    (
        METRIC,
        {SCALED: "logit_diff - corrupted_logit_diff"},
        "divide by the difference, clean_logit_diff - corrupted_logit_diff",
    ),
    (
        METRIC,
        {SCALED: "logit_diff - corrupted_logit_diff / (clean_logit_diff - corrupted_logit_diff)"},
        "put the numerator in parentheses: subtract before dividing",
    ),
    (
        METRIC,
        {"(clean_logit_diff - corrupted_logit_diff)": "(clean_logit_diff + corrupted_logit_diff)"},
        "divide by clean_logit_diff - corrupted_logit_diff, not by their sum",
    ),
    (METRIC, {SCALED: f"({SCALED}).abs()"}, "the metric is linear: take no absolute value"),
    (METRIC, {SCALED: f"({SCALED}).clamp(0, 1)"}, "the metric is linear: do not clamp it to 0 and 1"),
    (
        METRIC,
        {SCALED: "(logit_diff - corrupted_logit_diff) / (3.55 - corrupted_logit_diff)"},
        "the result does not change with the argument clean_logit_diff: use every argument",
    ),
    (
        METRIC,
        {"(logits, answer_tokens)": "(logits.mean(dim=1, keepdim=True), answer_tokens)"},
        "read the logits at END alone, not their average over the positions",
    ),
    (
        RESIDUAL,
        {"[hook.name]": "[hook]"},
        "the cache is indexed with the hook point itself: its key is the name, hook.name",
    ),
    (
        RESIDUAL,
        {"[hook.name]": '["resid_pre"]'},
        "the cache has an activation resid_pre in every layer: name the layer too, or take the key hook.name",
    ),
    (
        RESIDUAL,
        {"[hook.name]": '["resid_pre", layer]'},
        (
            "it uses the notebook's variable layer: use the function's own argument; it writes the clean values "
            "of blocks.1.hook_resid_pre at pos 2: the clean values are those of clean_cache[hook.name], read at "
            "the same index"
        ),
    ),
    (
        RESIDUAL,
        {"[hook.name]": '["resid_pre", hook.layer()]'},
        (
            "the cache has no activation resid_pre, 1; it has blocks.1.hook_attn_out, blocks.0.hook_attn_out: "
            "hook.name is the one that is patched"
        ),
    ),
    (
        RESIDUAL,
        {"[hook.name]": '["resid_pre", 12]'},
        "the cache has resid_pre in the layers 0 to 1, and layer 12 was asked for",
    ),
    (RESIDUAL, {"[hook.name]": "[0]"}, "the cache is indexed with int: its keys are names, such as hook.name"),
    (RESIDUAL, {"[:, pos, :]": "[pos]"}, "axis 0 has 2 entries, and index 2 was asked for"),
    (RESIDUAL, {"[:, pos, :]": "[:, pos:]"}, "it changes pos 2, 3, 4: index axis 1 with pos, on both sides"),
    (RESIDUAL, {"[:, pos, :]": "[:, :pos]"}, "it changes pos 0, 1, not pos 2"),
    (RESIDUAL, {"[:, pos, :]": "[:, -1]"}, "it changes pos 4, not pos 2"),
    (
        RESIDUAL,
        {PATCH: PATCH.replace("=", "+=")},
        (
            "it writes the sum of the corrupted and the clean values: the clean values are those of "
            "clean_cache[hook.name], read at the same index"
        ),
    ),
    (
        RESIDUAL,
        {"[hook.name][:, pos, :]": "[hook.name][:, pos - 1]"},
        (
            "it writes the clean values of blocks.1.hook_resid_pre at pos 1: the clean values are those of "
            "clean_cache[hook.name], read at the same index"
        ),
    ),
    (
        RESIDUAL,
        {"[hook.name][:, pos, :]": "[hook.name][:, pos].mean(dim=0)"},
        (
            "it writes the clean values averaged over the prompts: the clean values are those of "
            "clean_cache[hook.name], read at the same index"
        ),
    ),
    (
        RESIDUAL,
        {"return corrupted_residual_component": "return clean_cache[hook.name].clone()"},
        "it changes every pos: index axis 1 with pos, on both sides",
    ),
    (
        HEAD,
        {"[:, :, head_index]": "[:, head_index]"},
        "it changes every head, in pos 1 only, not head 1: the head axis is axis 2",
    ),
    (
        HEAD,
        {"[hook.name][:, :, head_index]": "[hook.name][:, :, 0]"},
        (
            "it writes the clean values of blocks.1.attn.hook_z at head 0: the clean values are those of "
            "clean_cache[hook.name], read at the same index"
        ),
    ),
    (
        HEAD,
        {"[:, :, head_index]": "[:, -1, head_index]"},
        "it changes head 1, in pos 4 only: take the other axes whole, with `:`",
    ),
    (
        PATTERN,
        {"[:, head_index]": "[:, :, head_index]"},
        "it changes every head, in pos_q 1 only, not head 1: the head axis is axis 1",
    ),
    (
        PATTERN,
        {PATTERNS: f"{PATTERNS}.softmax(dim=-1)"},
        (
            "it writes a softmax of the clean values: the clean values are those of clean_cache[hook.name], read "
            "at the same index"
        ),
    ),
    (
        RESID_PRE,
        {'resid_pre", layer': 'resid_post", layer'},
        (
            "the entry at layer 0, pos 0 is the metric of a run that patches resid_post of layer 0 at pos 0, not "
            "resid_pre of layer 0 at pos 0"
        ),
    ),
    (
        RESID_PRE,
        {'resid_pre", layer': 'attn_out", layer'},
        (
            "the entry at layer 0, pos 0 is the metric of a run that patches attn_out of layer 0 at pos 0, not "
            "resid_pre of layer 0 at pos 0"
        ),
    ),
    (
        RESID_PRE,
        {'resid_pre", layer': 'mlp_out", layer'},
        (
            "the entry at layer 0, pos 0 is the metric of a run that patches mlp_out of layer 0 at pos 0, not "
            "resid_pre of layer 0 at pos 0"
        ),
    ),
    (
        RESID_PRE,
        {'resid_pre", layer': 'resid_pre", 0'},
        (
            "the entry at layer 1, pos 0 is the metric of a run that patches resid_pre of layer 0 at pos 0, not "
            "resid_pre of layer 1 at pos 0"
        ),
    ),
    (
        RESID_PRE,
        {'resid_pre", layer': 'resid_pre", layer + 1'},
        (
            "this model has 2 layers, and layer 2 was asked for: take sizes from model.cfg and "
            "corrupted_tokens.shape, which are those of the arguments"
        ),
    ),
    (
        RESID_PRE,
        {'resid_pre", layer': 'resid_post", layer', "pos=pos": "pos=0"},
        (
            "the entry at layer 0, pos 0 is the metric of a run that patches resid_post of layer 0 at pos 0, not "
            "resid_pre of layer 0 at pos 0"
        ),
    ),
    (
        RESID_PRE,
        {"run_with_hooks(corrupted_tokens": "run_with_hooks(clean_tokens"},
        "it uses the notebook's variable clean_tokens: use the function's own argument",
    ),
    (
        RESID_PRE,
        {"run_with_hooks(corrupted_tokens": "run_with_hooks(data.corrupted_tokens"},
        "it uses the notebook's variable data: use the function's own argument",
    ),
    (
        RESID_PRE,
        {VALUE: "ioi_metric(patched_logits)"},
        "it uses the notebook's variable ioi_metric: use the function's own argument",
    ),
    (
        RESID_PRE,
        {VALUE: "patching_metric(patched_logits[:, -1])"},
        (
            "patching_metric takes the logits of a run, [batch pos d_vocab], and was called with a tensor of "
            "shape [4, 31]"
        ),
    ),
    (
        RESID_PRE,
        {"model.reset_hooks()": "unpatched = model(corrupted_tokens)", VALUE: "patching_metric(unpatched)"},
        "patching_metric is called with the logits of the corrupted run, without a patch, not with this run's",
    ),
    (
        RESID_PRE,
        {
            "model.reset_hooks()": "hooks = []",
            "patched_logits = ": "hooks.append((hook_name, patch))\n            patched_logits = ",
            "[(hook_name, patch)]": "hooks",
        },
        (
            "the entry at layer 0, pos 1 is the metric of a run that patches resid_pre of layer 0 at pos 0 and "
            "resid_pre of layer 0 at pos 1, not resid_pre of layer 0 at pos 1 alone: hook functions of earlier runs "
            "are called again"
        ),
    ),
    (
        BLOCK_EVERY,
        {'"attn_out", "mlp_out"]': '"attn_out"]'},
        "the axis component has 3 entries, in this order: resid_pre, attn_out, mlp_out",
    ),
    (
        RESID_PRE,
        {VALUE: "patching_metric(patched_logits.softmax(dim=-1))"},
        "patching_metric is called with probabilities: call it with the logits as the run returns them",
    ),
    (
        RESID_PRE,
        {VALUE: f"{VALUE} - patching_metric(model(corrupted_tokens))"},
        "the numbers are shifted or scaled: each entry is what patching_metric(logits) returns, and no more",
    ),
    (
        RESID_PRE,
        {"clean_cache=clean_cache": "clean_cache=model.run_with_cache(corrupted_tokens)[1]"},
        (
            "the entry at layer 0, pos 0 is the metric of a run whose hook function leaves resid_pre of layer 0 "
            "as it is in the corrupted run: the sweep never reads the clean_cache that it is called with, and "
            "makes a cache of corrupted_tokens by itself"
        ),
    ),
    (
        RESID_PRE,
        {"pos=pos": "pos=pos - 1"},
        (
            "the entry at layer 0, pos 0 is the metric of a run that patches resid_pre of layer 0 at pos 5, not "
            "resid_pre of layer 0 at pos 0"
        ),
    ),
    (
        RESID_PRE,
        {SIZES: "12, 15"},
        (
            "there are 6 positions here, and index 6 was asked for: take sizes from model.cfg and "
            "corrupted_tokens.shape, which are those of the arguments"
        ),
    ),
    (
        RESID_PRE,
        {SIZES: "model.cfg.n_layers, corrupted_tokens.shape[0]"},
        (
            "the axis pos has 4 entries, the number of prompts: one entry for each patched run, in this order of "
            "axes; layers and heads are numbered by model.cfg, positions by the corrupted tokens"
        ),
    ),
    (
        RESID_PRE,
        {"[(hook_name, patch)]": "[]"},
        (
            "the entry at layer 0, pos 0 is the metric of a run without a patch: pass (get_act_name(...), hook "
            "function) in fwd_hooks of run_with_hooks"
        ),
    ),
    (
        RESID_PRE,
        {"[(hook_name, patch)]": "[(hook_name, patch_residual_component)]"},
        ("a hook function is called with the activation and hook=..., and nothing else: bind its other arguments"),
    ),
    (
        RESID_PRE,
        {"in range(n_positions)": "in range(n_positions - 1)"},
        (
            "patching_metric is called 10 times for 12 entries, and the entry at layer 0, pos 5 was never filled "
            "in with a metric"
        ),
    ),
    (
        HEAD_OUT,
        {'"z"': '"v"'},
        (
            "the entry at layer 0, head 0 is the metric of a run that patches v of layer 0 at head 0, not z of "
            "layer 0 at head 0"
        ),
    ),
    (
        HEAD_OUT,
        {'"z"': '"attn_out"'},
        (
            "the entry at layer 0, head 0 is the metric of a run that patches attn_out of layer 0, not z of "
            "layer 0 at head 0"
        ),
    ),
    (
        HEAD_OUT,
        {"head_index=head_index": "head_index=0"},
        (
            "the entry at layer 0, head 1 is the metric of a run that patches z of layer 0 at head 0, not z of "
            "layer 0 at head 1"
        ),
    ),
    (
        HEAD_OUT,
        {"in range(n_heads)": "in range(12)"},
        (
            "there are 3 heads here, and index 3 was asked for: take sizes from model.cfg and "
            "corrupted_tokens.shape, which are those of the arguments"
        ),
    ),
    (
        BLOCK_EVERY,
        {'"attn_out", "mlp_out"': '"mlp_out", "attn_out"'},
        "the order is resid_pre, attn_out, mlp_out, but mlp_out stands in the place of attn_out",
    ),
    (
        BLOCK_EVERY,
        {'"attn_out"': '"resid_mid"'},
        (
            "the attn_out part differs and the rest is right: the entry at attn_out, layer 0, pos 0 is the "
            "metric of a run that patches resid_mid of layer 0 at pos 0, not attn_out of layer 0 at pos 0"
        ),
    ),
    (
        HEAD_EVERY,
        {'if component == "pattern"': "if False"},
        (
            "the pattern part differs and the rest is right: the entry at pattern, layer 0, head 0 is the metric "
            "of a run that patches pattern of layer 0 at every head, in pos_q 0 only, not pattern of layer 0 at "
            "head 0"
        ),
    ),
)
