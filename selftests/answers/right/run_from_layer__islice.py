# Leaves out the first blocks with itertools.islice.
from itertools import islice


def run_from_layer(model, residual, layer):
    stream = residual.clone()
    for block in islice(model.blocks, layer, None):
        outputs = block(stream)
        stream = outputs[0]
    return model.unembed(model.ln_final(stream))
