# Returns the residual stream, not logits.
# message: after the last block come ln_final and unembed
def run_from_layer(model, residual, layer):
    for block in model.blocks[layer:]:
        residual = block(residual)[0]
    return residual
