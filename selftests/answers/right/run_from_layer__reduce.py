# A fold over the blocks.
from functools import reduce


def run_from_layer(model, residual, layer):
    last = reduce(lambda stream, block: block(stream)[0], list(model.blocks)[layer:], residual)
    return model.unembed(model.ln_final(last))
