"""`python -m grading.warm`: compute what the checks compare with once, before many kernels wait for it.

In a sandbox the folder of these results can only be read.
"""

import os

from utils import load_ioi, load_model
from utils.references import reference_sweep

SWEEPS = (
    "get_act_patch_resid_pre",
    "get_act_patch_block_every",
    "get_act_patch_attn_head_out_all_pos",
    "get_act_patch_attn_head_all_pos_every",
)


def main() -> None:
    """Read or compute the reference results for the model that everybody is graded on."""
    model = load_model(os.environ.get("IOI_MODEL", "ioi-mini"))
    data = load_ioi(model)
    for name in SWEEPS:
        reference_sweep(name, model, data)


if __name__ == "__main__":
    main()
