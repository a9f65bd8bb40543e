"""Where students' code runs: the sandbox, its resource limits, and the processes that fork kernels."""
