"""How a check works: calling a function safely, comparing results, messages, guards, invariants, tiny models."""
