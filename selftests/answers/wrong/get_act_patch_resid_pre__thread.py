# Lets transformer_lens.patching do the work in another thread.
# message: it called a function of transformer_lens.patching
from concurrent.futures import ThreadPoolExecutor

from transformer_lens import patching


def get_act_patch_resid_pre(*args):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(patching.get_act_patch_resid_pre, *args).result()
