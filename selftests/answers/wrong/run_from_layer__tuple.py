# Forgets that a block returns a tuple.
# message: run_from_layer runs without an error
def run_from_layer(model, residual, layer):
    for block in model.blocks[layer:]:
        residual = block(residual)
    return model.unembed(model.ln_final(residual))
