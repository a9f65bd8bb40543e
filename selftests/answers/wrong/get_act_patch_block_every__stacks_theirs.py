# Three of transformer_lens.patching's sweeps, stacked.
# message: it called a function of transformer_lens.patching
import torch
import transformer_lens.patching as tools


def get_act_patch_block_every(model, corrupted_tokens, clean_cache, patching_metric):
    sweeps = (tools.get_act_patch_resid_pre, tools.get_act_patch_attn_out, tools.get_act_patch_mlp_out)
    return torch.stack([sweep(model, corrupted_tokens, clean_cache, patching_metric) for sweep in sweeps])
