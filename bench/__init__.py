"""`python -m bench`: the fast sweeps beside transformer_lens.patching, in one run on one machine."""
