# Runs every block.
# message: loop over model.blocks[layer:]
def run_from_layer(model, residual, layer):
    for block in model.blocks:
        residual = block(residual)[0]
    return model.unembed(model.ln_final(residual))
