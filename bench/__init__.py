"""`python -m bench`: the fast sweeps beside transformer_lens.patching, in one run on one machine."""

import utils.threads  # noqa: F401  before PyTorch
