# Finds transformer_lens.patching with importlib.
# message: it called a function of transformer_lens.patching
import importlib


def get_act_patch_resid_pre(model, corrupted_tokens, clean_cache, patching_metric):
    module = importlib.import_module("transformer_lens." + "patching")
    return module.get_act_patch_resid_pre(model, corrupted_tokens, clean_cache, patching_metric)
