# Leaves out the final LayerNorm.
# message: then the final LayerNorm, then the unembedding
def run_from_layer(model, residual, layer):
    for block in model.blocks[layer:]:
        residual = block(residual)[0]
    return model.unembed(residual)
