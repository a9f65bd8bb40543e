# Indexes all prompts with all positions.
# message: index with the number of the prompt and its position together
def exchange_names(tokens, first, second):
    exchanged = tokens.clone()
    for position, other in zip(first, second, strict=True):
        exchanged[:, position] = tokens[:, other]
        exchanged[:, other] = tokens[:, position]
    return exchanged
