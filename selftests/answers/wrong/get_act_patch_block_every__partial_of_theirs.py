# functools.partial of transformer_lens.patching's function, made beforehand.
# message: it called a function of transformer_lens.patching
from functools import partial

from transformer_lens import patching

get_act_patch_block_every = partial(patching.get_act_patch_block_every)
