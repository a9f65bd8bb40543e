# Adds the stream to what a block returns, which holds it already.
# message: the blocks in their order
def run_from_layer(model, residual, layer):
    for block in model.blocks[layer:]:
        residual = residual + block(residual)[0]
    return model.unembed(model.ln_final(residual))
