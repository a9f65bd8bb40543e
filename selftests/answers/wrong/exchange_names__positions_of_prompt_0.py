# Takes the positions of prompt 0 for every prompt.
# message: each prompt has positions of its own
def exchange_names(tokens, first, second):
    exchanged, a, b = tokens.clone(), int(first[0]), int(second[0])
    exchanged[:, [a, b]] = tokens[:, [b, a]]
    return exchanged
