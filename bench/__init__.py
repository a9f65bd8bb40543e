"""`python -m bench`: the fast sweeps beside transformer_lens.patching, in one run on one machine."""

import utils  # noqa: F401  before PyTorch, which reads a setting of it at import
