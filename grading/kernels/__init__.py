"""Where students' code runs: the sandbox, its limits, and the warm start of its kernels."""
