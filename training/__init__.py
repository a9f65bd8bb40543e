"""How the built-in model ioi-mini came to be: train it, export it, and report how it compares with gpt2-small."""
